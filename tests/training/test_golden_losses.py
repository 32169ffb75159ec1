# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The first 20 losses of the tiny stage 1 do not drift; one list a jax version and platform."""

import jax
import pytest

from tests.golden import renew


@pytest.mark.slow
def test_first_losses():
    key, stored = f"jax {jax.__version__} {jax.default_backend()}", renew.stored("losses")
    if key not in stored:
        pytest.skip(f"no golden losses for {key}: run python -m tests.golden.renew losses once and commit the file")
    assert renew.losses()[key] == pytest.approx(stored[key], rel=1e-3)
