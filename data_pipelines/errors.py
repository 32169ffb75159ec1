# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The one error of bad data."""


class DataError(ValueError):
    """Bad data or a bad data setting: one sentence that names file, field and expectation."""
