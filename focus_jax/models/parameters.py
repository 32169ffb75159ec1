# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Parameters with logical axis names, and the convolution that every network of the tokenizer is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.ops.convolution import conv2d

Initialiser = Callable[..., jax.Array]

ACTIVATION_AXES = ("batch", "height", "width", "channels")
CONV_AXES = (None, None, "conv_in", "conv_out")
DENSE_AXES = ("dense_in", "dense_out")


def named(init: Initialiser, axes: Sequence[str | None]) -> Callable[..., Any]:
    """The initialiser `init` whose result carries the logical axis names `axes` (one a dimension)."""
    return nn.with_logical_partitioning(init, tuple(axes))


def scale_and_bias(
    module: Any, channels: int, scale_init: Initialiser = nn.initializers.ones
) -> tuple[jax.Array, jax.Array]:
    """The parameters scale and bias [channels] of a normalisation layer, as float32."""
    scale = module.param("scale", named(scale_init, ("norm",)), (channels,), module.param_dtype)
    bias = module.param("bias", named(nn.initializers.zeros, ("norm",)), (channels,), module.param_dtype)
    return scale.astype(jnp.float32), bias.astype(jnp.float32)


def torch_uniform(fan_in: int) -> Initialiser:
    """What torch's Linear and Conv2d draw weights and biases from: U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = 1.0 / np.sqrt(fan_in)

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def at_block_boundary(x: jax.Array) -> jax.Array:
    """Names the axes of an activation [B, H, W, C] for the sharding table; without mesh and rules it does nothing."""
    return nn.with_logical_constraint(x, ACTIVATION_AXES)


class Conv(nn.Module):
    """Square convolution [B, H, W, C_in] -> [B, H', W', features], zero padded, initialised as torch does by default.

    kernel: side; padding: pixels on each side (None = kernel // 2, which keeps the size at stride 1).
    kernel_init, bias_init: None = torch's uniform.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    padding: int | None = None
    use_bias: bool = True
    kernel_init: Initialiser | None = None
    bias_init: Initialiser | None = None
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        default = torch_uniform(self.kernel * self.kernel * x.shape[-1])
        kernel = self.param("kernel", named(self.kernel_init or default, CONV_AXES), shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", named(self.bias_init or default, ("norm",)), (self.features,), self.param_dtype)
        pad = self.kernel // 2 if self.padding is None else self.padding
        return conv2d(x.astype(self.dtype), kernel, bias, self.stride, pad)
