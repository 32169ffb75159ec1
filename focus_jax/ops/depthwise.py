# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution in two equal forms, chosen where the program is compiled for.

XLA on CPU runs a grouped convolution twenty times slower than shifted multiply-adds, so a CPU takes these; every other
platform takes the convolution. The choice falls at lowering: a program compiled for a TPU on a machine without one gets
the TPU's form.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

_FORWARD = ("NHWC", "HWIO", "NHWC")
_KERNEL = ("CHWN", "IHWO", "HWNC")  # x as C pictures of B channels, the cotangent as their kernels


@jax.custom_vjp
def depthwise(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Each channel's cross-correlation with its own kernel, zero padded so that the size stays.

    Args:
      x: [B, H, W, C] in the compute dtype. kernel: [k, k, 1, C], k odd, bias: [C], any floating dtype: they are cast
        to x's.

    Returns: [B, H, W, C] in x's dtype. Gradients of kernel and bias have the dtype of these, from float32 sums.
    """
    y = jax.lax.platform_dependent(x, _gathered(kernel.astype(x.dtype)), cpu=_shifted, default=_grouped)
    return y + bias.astype(x.dtype)


def _gathered(kernel):
    """Whole on every device but for tensor parallelism, as in ops/convolution.py."""
    return nn.with_logical_constraint(kernel, (None, None, None, "channels"))


def _pad(x, k):
    return jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))


def _grouped(x, kernel):
    """The form of accelerators: [B, H, W, C] and [k, k, 1, C] of one dtype -> [B, H, W, C]."""
    pad = ((kernel.shape[0] // 2,) * 2,) * 2
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), pad, dimension_numbers=_FORWARD, feature_group_count=x.shape[-1]
    )


def _grouped_kernel(x, dy, k):
    """Kernel gradient of `_grouped` [k, k, 1, C] float32."""
    return jax.lax.conv_general_dilated(
        x,
        dy,
        (1, 1),
        ((k // 2, k // 2),) * 2,
        dimension_numbers=_KERNEL,
        batch_group_count=x.shape[-1],
        preferred_element_type=jnp.float32,
    )


def _shifted(x, kernel):
    """The form of CPUs: k * k shifted multiply-adds in float32, which XLA fuses into one loop."""
    height, width, k = x.shape[1], x.shape[2], kernel.shape[0]
    padded, taps = _pad(x, k).astype(jnp.float32), kernel[:, :, 0].astype(jnp.float32)
    y = sum(padded[:, i : i + height, j : j + width] * taps[i, j] for i in range(k) for j in range(k))
    return y.astype(x.dtype)


def _shifted_kernel(x, dy, k):
    """Kernel gradient of `_shifted` [k, k, 1, C] float32: one product and sum a tap."""
    batch, height, width, channels = x.shape
    padded, dy = _pad(x, k).astype(jnp.float32), dy.astype(jnp.float32)

    def tap(at):
        window = jax.lax.dynamic_slice(padded, (0, at // k, at % k, 0), (batch, height, width, channels))
        return jnp.sum(window * dy, axis=(1, 2))

    # Rows are summed after the loop: a mesh then adds its parts once instead of once a tap.
    return jnp.sum(jax.lax.map(tap, jnp.arange(k * k)), axis=1).reshape(k, k, 1, channels)


def _forward(x, kernel, bias):
    return depthwise(x, kernel, bias), (x, kernel, bias)


def _backward(saved, dy):
    x, kernel, bias = saved
    dy, k = dy.astype(x.dtype), kernel.shape[0]
    flipped = _gathered(kernel.astype(x.dtype))[::-1, ::-1]
    dx = jax.lax.platform_dependent(dy, flipped, cpu=_shifted, default=_grouped)
    in_forms = dict(cpu=functools.partial(_shifted_kernel, k=k), default=functools.partial(_grouped_kernel, k=k))
    dkernel = _gathered(jax.lax.platform_dependent(x, dy, **in_forms))
    dbias = jnp.sum(dy.astype(jnp.float32), axis=(0, 1, 2))
    return dx, dkernel.astype(kernel.dtype), dbias.astype(bias.dtype)


depthwise.defvjp(_forward, _backward)
