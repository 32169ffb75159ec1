# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Linear map with a bias whose parameter gradients are summed in float32, as those of ops/convolution.py."""

import jax
import jax.numpy as jnp
from flax import linen as nn


@jax.custom_vjp
def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
    """x @ kernel + bias.

    Args:
      x: [..., C_in] in the compute dtype. kernel: [C_in, C_out], bias: [C_out] or None, any floating dtype: they are
        cast to x's.

    Returns: [..., C_out] in x's dtype. Gradients of kernel and bias have the dtype of these, from float32 sums.
    """
    y = x @ _gathered(kernel.astype(x.dtype))
    return y if bias is None else y + bias.astype(x.dtype)


def _gathered(kernel):
    """Whole on every device but for tensor parallelism, after the cast: FSDP gathers parameters, not activations."""
    return nn.with_logical_constraint(kernel, (None, "channels"))


def _kernel(x, dy):
    """Kernel gradient [C_in, C_out] float32 of x [..., C_in] and the cotangent dy [..., C_out]."""
    rows = tuple(range(x.ndim - 1))
    return jax.lax.dot_general(x, dy, ((rows, rows), ((), ())), preferred_element_type=jnp.float32)


def _flat_kernel(x, dy):
    """The form of CPUs, where XLA would transpose x for a sum over several axes, computing it a second time.

    A TPU sums over several axes as they lie; there the reshape would copy where positions are no multiple of eight.
    """
    return _kernel(x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1]))


def _forward(x, kernel, bias):
    return dense(x, kernel, bias), (x, kernel, bias)


def _backward(saved, dy):
    x, kernel, bias = saved
    dy = dy.astype(x.dtype)
    dx = dy @ _gathered(kernel.astype(x.dtype)).T
    dkernel = jax.lax.platform_dependent(x, dy, cpu=_flat_kernel, default=_kernel)
    dbias = None if bias is None else jnp.sum(dy.astype(jnp.float32), axis=tuple(range(x.ndim - 1))).astype(bias.dtype)
    return dx, dkernel.astype(kernel.dtype), dbias


dense.defvjp(_forward, _backward)
