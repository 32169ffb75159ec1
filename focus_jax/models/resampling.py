# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Halving and doubling of maps [B, H, W, C] between levels of a network, width unchanged: the DC blocks of MoVQ (arXiv
2410.10733), and the strided and nearest ones of SDXL's networks."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.models.parameters import Conv, at_block_boundary
from focus_jax.ops.resize import nearest, pixel_shuffle, pixel_unshuffle


class DCDown(nn.Module):
    """[B, H, W, C] -> [B, H/2, W/2, C]: conv3 to C/4 and pixel-unshuffle, plus the 2x2 average of each channel."""

    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        y = Conv(c // 4, dtype=self.dtype, param_dtype=self.param_dtype, name="conv")(x)
        # Unshuffled channels averaged in consecutive fours are a 2x2 average pool when the width stays.
        pooled = x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
        return at_block_boundary(pixel_unshuffle(y, 2) + pooled)


class DCUp(nn.Module):
    """[B, H, W, C] -> [B, 2H, 2W, C]: conv3 to 4C and pixel-shuffle, plus nearest enlargement."""

    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        y = Conv(4 * c, dtype=self.dtype, param_dtype=self.param_dtype, name="conv")(x)
        return at_block_boundary(pixel_shuffle(y, 2) + nearest(x, (2 * h, 2 * w)))


class ConvDown(nn.Module):
    """[B, H, W, C] -> [B, H/2, W/2, C]: conv3 of stride 2. even: padded by one pixel on each side, as in the UNet, else
    below and to the right alone, as in the VAE's encoder."""

    even: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x if self.even else jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
        conv = Conv(
            x.shape[-1], stride=2, padding=int(self.even), dtype=self.dtype, param_dtype=self.param_dtype, name="conv"
        )
        return at_block_boundary(conv(x))


class ConvUp(nn.Module):
    """[B, H, W, C] -> [B, 2H, 2W, C]: nearest enlargement and conv3."""

    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nearest(x, (2 * x.shape[1], 2 * x.shape[2]))
        return at_block_boundary(Conv(x.shape[-1], dtype=self.dtype, param_dtype=self.param_dtype, name="conv")(x))


KINDS = {"dc_down": DCDown, "dc_up": DCUp, "conv_down": ConvDown, "conv_up": ConvUp}
