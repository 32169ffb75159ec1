# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolution with a bias whose parameter gradients are summed in float32, whatever dtype it computes in.

Autodiff of a bfloat16 convolution gives a bfloat16 kernel gradient, and a mesh would sum its parts in bfloat16 too.
Here the operands stay in the compute dtype, while the contraction over rows and places, across devices as well, is
float32.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

_FORWARD = ("NHWC", "HWIO", "NHWC")
_KERNEL = ("CHWN", "IHWO", "HWNC")  # x as C_in pictures of B channels, the cotangent as their kernels


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def conv2d(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, stride: int, pad: int) -> jax.Array:
    """Cross-correlation, zero padded by `pad` on each side.

    Args:
      x: [B, H, W, C_in] in the compute dtype. kernel: [k, k, C_in, C_out], bias: [C_out] or None, any floating dtype:
        they are cast to x's.

    Returns: [B, H', W', C_out] in x's dtype. Gradients of kernel and bias have the dtype of these, from float32 sums.
    """
    y = _conv(x, _gathered(kernel.astype(x.dtype)), stride, pad)
    return y if bias is None else y + bias.astype(x.dtype)


def _gathered(kernel):
    """Whole on every device but for tensor parallelism; after the cast: bfloat16 is half the bytes for FSDP to gather.

    Left to itself, XLA's partitioner also gave wrong kernel gradients where rows lie on two mesh axes and the kernel on
    one of them and a third (jax 0.10.2, 2 x 2 x 2 CPU devices).
    """
    return nn.with_logical_constraint(kernel, (None, None, None, "channels"))


def _conv(x, kernel, stride, pad):
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), ((pad, pad),) * 2, dimension_numbers=_FORWARD)


def _forward(x, kernel, bias, stride, pad):
    return conv2d(x, kernel, bias, stride, pad), (x, kernel, bias)


def _backward(stride, pad, saved, dy):
    x, kernel, bias = saved
    dy = dy.astype(x.dtype)
    dx = jax.linear_transpose(lambda x: _conv(x, _gathered(kernel.astype(x.dtype)), stride, pad), x)(dy)[0]
    # What the far side needs so that the output has the kernel's size; negative where the stride left pixels unread.
    far = [kernel.shape[i] + (dy.shape[i + 1] - 1) * stride - x.shape[i + 1] - pad for i in range(2)]
    dkernel = jax.lax.conv_general_dilated(
        x,
        dy,
        (1, 1),
        [(pad, f) for f in far],
        rhs_dilation=(stride, stride),
        dimension_numbers=_KERNEL,
        preferred_element_type=jnp.float32,
    )
    dbias = None if bias is None else jnp.sum(dy.astype(jnp.float32), axis=(0, 1, 2)).astype(bias.dtype)
    return dx, _gathered(dkernel).astype(kernel.dtype), dbias


conv2d.defvjp(_forward, _backward)
