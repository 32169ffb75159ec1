# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which devices JAX looks for; to be called before the first of them is used."""

import importlib.util
import os
import pathlib

import jax


def without_absent_tpu() -> None:
    """Keeps JAX from asking for a TPU on a machine that has none but has libtpu, installed to compile ahead of time.

    Nothing is changed where JAX_PLATFORMS is set, libtpu is not installed or a TPU's device files are there.
    """
    chips = [*pathlib.Path("/dev").glob("accel*"), *pathlib.Path("/dev/vfio").glob("[0-9]*")]
    if "JAX_PLATFORMS" in os.environ or chips or importlib.util.find_spec("libtpu") is None:
        return
    cuda = any(importlib.util.find_spec(f"jax_cuda{v}_plugin") for v in (12, 13))
    jax.config.update("jax_platforms", "cuda,cpu" if cuda else "cpu")
