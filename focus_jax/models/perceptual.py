# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""LPIPS: distance of two pictures in the features of a VGG16 (arXiv 1801.03924, version 0.1 of the lpips package).

Without imported weights the network is a fixed random one with equal weights for all channels. That is another
measure, and logs, tables and files call it perceptual_random.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.errors import UserError
from focus_jax.models.parameters import Conv, Initialiser, at_block_boundary

SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)


def _fixed_he_normal(seed: int, number: int) -> Initialiser:
    """He-normal values that depend on the seed and the layer's number only, not on the caller's key."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        del key
        draw = nn.initializers.he_normal()
        return draw(jax.random.fold_in(jax.random.key(seed), number), shape, dtype)

    return init


class VGG16(nn.Module):
    """Scaled images [B, H, W, 3] -> the last activation of each of the five stages, before its max-pool.

    widths, depths: channels and convolutions of each stage; H and W at least 16.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    seed: int = 0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        features, number = [], 0
        for i, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            if i:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for j in range(depth):
                conv = Conv(
                    width,
                    kernel_init=_fixed_he_normal(self.seed, number),
                    bias_init=nn.initializers.zeros,
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                    name=f"conv{i + 1}_{j + 1}",
                )
                x, number = nn.relu(conv(x)), number + 1
            features.append(at_block_boundary(x))
        return features


class LPIPS(nn.Module):
    """Distance [B] float32 of images a and b [B, H, W, 3] in [-1, 1]; 0 (to rounding) where they are equal.

    Sum over stages of the spatial mean of lin * (unit(a) - unit(b))^2, unit = features over their channel norm.
    Unimported lin weights are 1 / stages: the mean over stages of the squared distance of unit vectors, in [0, 4].
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    seed: int = 0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
        smallest = 2 ** (len(self.widths) - 1)
        if min(a.shape[1:3]) < smallest:
            raise UserError(f"perceptual: {a.shape[1]} x {a.shape[2]} pixels, expected at least {smallest} a side")
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        vgg = VGG16(tuple(self.widths), tuple(self.depths), self.seed, **types, name="vgg")
        rows = a.shape[0]
        # Two passes, so that a picture without gradient (the original, in training) costs no backward pass.
        features = [vgg((x.astype(jnp.float32) - SHIFT) / SCALE) for x in (a, b)]
        total = jnp.zeros(rows, jnp.float32)
        for i, (x, y) in enumerate(zip(*features, strict=True)):
            difference = (_unit(x) - _unit(y)) ** 2
            lin = Conv(
                1,
                kernel=1,
                use_bias=False,
                kernel_init=nn.initializers.constant(1 / len(self.widths)),
                param_dtype=self.param_dtype,
                name=f"lin_{i}",
            )
            total += jnp.mean(lin(difference), axis=(1, 2, 3))
        return total


def _unit(x: jax.Array) -> jax.Array:
    """Features over their channel norm, float32."""
    x = x.astype(jnp.float32)
    # The norm's gradient is not finite at 0, where all channels of a position can be after relu.
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    norm = jnp.sqrt(jnp.where(square > 0, square, 1.0)) * (square > 0)
    return x / (norm + 1e-10)
