# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Linear layer and norms, with logical axis names."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.models.parameters import DENSE_AXES, Initialiser, named, scale_and_bias
from focus_jax.ops.dense import dense

TOKEN_AXES = ("batch", "positions", "channels")


def at_token_boundary(x: jax.Array) -> jax.Array:
    """Names the axes of an activation [B, N, D] for the sharding table; without mesh and rules it does nothing."""
    return nn.with_logical_constraint(x, TOKEN_AXES)


def normalised(x: jax.Array, eps: float = 1e-6) -> jax.Array:
    """Mean 0 and deviation 1 over the last axis, float32: LayerNorm without parameters."""
    x = x.astype(jnp.float32)
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)


class Dense(nn.Module):
    """Linear layer [..., C_in] -> [..., features]; kernel N(0, 1/C_in) cut at two deviations, bias zero."""

    features: int
    use_bias: bool = True
    kernel_init: Initialiser = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", named(self.kernel_init, DENSE_AXES), shape, self.param_dtype)
        bias = None
        if self.use_bias:
            init = named(nn.initializers.zeros, ("norm",))
            bias = self.param("bias", init, (self.features,), self.param_dtype)
        return dense(x.astype(self.dtype), kernel, bias)


class LayerNorm(nn.Module):
    """Affine LayerNorm over the last axis, eps 1e-6, computed in float32."""

    eps: float = 1e-6
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale, bias = scale_and_bias(self, x.shape[-1])
        return (normalised(x, self.eps) * scale + bias).astype(self.dtype)


def group_coefficients(
    x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, eps: float = 1e-6
) -> tuple[jax.Array, jax.Array]:
    """(a, b) [B, 1, 1, C] float32 with GroupNorm(x) = x * a + b, for x [B, H, W, C].

    Sums over H and W are taken per channel first, so x is read once and never reshaped into groups, which on a TPU
    would split its lane axis; the groups are formed on [B, C].
    """
    batch, channels = x.shape[0], x.shape[-1]
    x = x.astype(jnp.float32)
    moments = jnp.stack([jnp.mean(x, axis=(1, 2)), jnp.mean(x * x, axis=(1, 2))])  # [2, B, C]
    mean, square = jnp.mean(moments.reshape(2, batch, groups, channels // groups), axis=-1)  # [B, G] each
    rstd = jax.lax.rsqrt(jnp.maximum(square - mean * mean, 0.0) + eps)
    mean, rstd = (jnp.repeat(v, channels // groups, axis=-1) for v in (mean, rstd))  # [B, C]
    a = rstd * scale
    b = bias - mean * a
    return a[:, None, None, :], b[:, None, None, :]


class GroupNorm(nn.Module):
    """Affine GroupNorm over [B, H, W, C], computed in float32."""

    groups: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    eps: float = 1e-6

    @nn.compact
    def coefficients(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `group_coefficients`."""
        return group_coefficients(x, *scale_and_bias(self, x.shape[-1]), self.groups, self.eps)

    def __call__(self, x: jax.Array) -> jax.Array:
        a, b = self.coefficients(x)
        return (x * a + b).astype(self.dtype)


class RMSNorm(nn.Module):
    """x over its root mean square on the last axis, times a scale; the square in float32, the scale as Qwen2 does it
    after the cast."""

    eps: float = 1e-6
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", named(nn.initializers.ones, ("norm",)), (x.shape[-1],), self.param_dtype)
        x = x.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + self.eps)
        return x.astype(self.dtype) * scale.astype(self.dtype)
