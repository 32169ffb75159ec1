# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""FOCUS and SGT in JAX. `focus_jax.load(DIR)` gives a model; importing the package alone loads nothing heavy."""

from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # imports JAX, so only when somebody asks
        from focus_jax.model import load

        return load
    raise AttributeError(f"module 'focus_jax' has no attribute {name!r}")
