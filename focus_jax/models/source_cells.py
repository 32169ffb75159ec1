# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What an edit leaves alone, at hand where it is written: beside each code that is about to be said stands what the
source shows at its place.

Our addition, for the paper says nothing of how a picture's codes come back: to copy them the language model has to find
of every cell the one in the source that lies where it does, across words of any number, and a small one never does.
InstructPix2Pix (arXiv 2211.09800) tells its UNet the same, the source's latents beside the noisy ones. The maps are
zero at the start, so that a language model that was taught without them says what it said.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.models.layers import Dense


class SourceCells(nn.Module):
    """Vectors of a source of both levels, as the language model is shown them, -> what it is given beside its codes."""

    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, semantic: jax.Array, pixel: jax.Array) -> jax.Array:
        """[B, n, D] and [B, m, D] -> [B, n + m, D], numbered as the codes of a target (sequence/layout.py)."""
        make = lambda x, name: Dense(
            x.shape[-1], use_bias=False, kernel_init=nn.initializers.zeros, dtype=self.dtype,
            param_dtype=self.param_dtype, name=name,
        )(x)  # fmt: skip
        return jnp.concatenate([make(semantic, "semantic"), make(pixel, "pixel")], axis=1)
