# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""PatchGAN discriminator (pix2pix's 70x70 critic; numbers of the released ILLUME+ tokenizer)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.parameters import Conv, at_block_boundary, named, scale_and_bias


def _normal_around_one(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


class BatchNorm(nn.Module):
    """BatchNorm of [B, H, W, C] with the statistics of the batch at hand, rows weighted; eps 1e-5.

    The mean over B is a mean over the whole (micro-)batch on every device, because the program is one program over the
    mesh. A row of weight 0 takes part in no statistic. The running statistics are buffers that travel with the release
    format; nothing reads or updates them.
    """

    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        scale, bias = scale_and_bias(self, channels, _normal_around_one)
        buffers = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0.0}
        for name, value in buffers.items():
            shape, axes = ((), ()) if name == "num_batches_tracked" else ((channels,), ("norm",))
            self.param(name, named(nn.initializers.constant(value), axes), shape, jnp.float32)
        x = x.astype(jnp.float32)
        # A batch of only empty rows divides by the smallest positive float instead of 0; its rows count nowhere.
        rows = weight.astype(jnp.float32) / jnp.maximum(jnp.sum(weight), jnp.finfo(jnp.float32).tiny)  # [B], sum 1
        mean = jnp.einsum("b,bc->c", rows, jnp.mean(x, axis=(1, 2)))
        centred = x - mean
        variance = jnp.einsum("b,bc->c", rows, jnp.mean(centred**2, axis=(1, 2)))
        return (centred * (jax.lax.rsqrt(variance + 1e-5) * scale) + bias).astype(self.dtype)


class PatchGAN(nn.Module):
    """Images [B, H, W, 3] in [-1, 1] and row weights [B] -> logits [B, h, w] float32, one for each patch.

    width: channels of the first convolution, doubled at each of the `layers` that follow (at most 8 times);
    norm: "batch" as released, or "none", which makes rows independent. 256 px give 30x30 logits.
    """

    width: int = 64
    layers: int = 3
    norm: str = "batch"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if self.norm not in ("batch", "none"):
            raise UserError(f"discriminator.norm: {self.norm!r} is not 'batch' or 'none'")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, weight: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        draw = nn.initializers.normal(0.02)

        def conv(features: int, i: int, stride: int, bias: bool) -> Conv:
            return Conv(features, 4, stride, 1, bias, draw, **types, name=f"conv_{i}")

        def activate(x: jax.Array) -> jax.Array:
            return at_block_boundary(nn.leaky_relu(x, 0.2))

        normed = self.norm == "batch"
        x = activate(conv(self.width, 0, 2, True)(images))
        for i in range(1, self.layers + 1):
            stride = 2 if i < self.layers else 1
            x = conv(self.width * min(2**i, 8), i, stride, not normed)(x)
            x = activate(BatchNorm(**types, name=f"norm_{i}")(x, weight) if normed else x)
        return conv(1, self.layers + 1, 1, True)(x)[..., 0].astype(jnp.float32)
