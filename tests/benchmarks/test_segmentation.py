# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`benchmark segmentation` on small pictures: the same work on both sides. No time is judged here."""

import json

import pytest

from focus_jax import benchmark
from focus_jax.benchmarks import segmentation
from focus_jax.errors import UserError


@pytest.mark.slow
@pytest.mark.parity
def test_parts(tmp_path, capsys):
    pytest.importorskip("torch")
    file = tmp_path / "figures.json"
    benchmark.main(["segmentation", "--pixels=64", "--steps=1", "--repeats=1", f"--json={file}"])
    found = json.loads(file.read_text())
    assert list(found) == ["pixel", "decoder", "matching", "memory"]
    for part in ("pixel", "decoder"):
        assert found[part]["ratio"] > 0
        assert found[part]["loss"] == pytest.approx(found[part]["torch_loss"], rel=1e-4)
    assert found["matching"]["milliseconds"] > 0 and 0 < found["memory"]["gib"] < 1
    assert "goal below 15" in capsys.readouterr().out


def test_mistakes():
    with pytest.raises(UserError, match="--pixels=100: expected a multiple of 32"):
        segmentation.maps_of(100, 1)
    with pytest.raises(UserError, match="no part 'speed', expected some of pixel,decoder,matching,memory"):
        segmentation.main(["--part=speed"])
