# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rotary positions: angles of positions on one or several axes, and the rotation, both in float32."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def rope_angles(positions: jax.Array, dim: int, theta: float = 10_000.0) -> jax.Array:
    """Angles of the rotation pairs of a head of width `dim`.

    Args:
      positions: [..., axes] numbers; axis a owns the a-th of equal parts of the dim / 2 angles (Qwen2-VL's vision
        tower: axes = (row, column)).
      dim: width of a head, a multiple of 2 * axes.
      theta: base; frequency i of an axis with n angles is theta ** (-i / n).

    Returns: [..., dim / 2] float32.
    """
    positions = jnp.asarray(positions, jnp.float32)
    n = dim // 2 // positions.shape[-1]
    frequencies = np.float32(1.0) / np.float32(theta) ** (np.arange(n, dtype=np.float32) / np.float32(n))
    angles = positions[..., None] * frequencies  # [..., axes, n]
    return angles.reshape(*angles.shape[:-2], -1)


class Turns(NamedTuple):
    """Cosine and sine of angles, float32 [B or 1, N, d / 2] each."""

    cos: jax.Array
    sin: jax.Array


def turns(angles: jax.Array) -> Turns:
    """Once for all heads and layers: without the barrier XLA takes them anew wherever it fuses a rotation, which was a
    seventh of a train step of the tiny language model."""
    return Turns(*jax.lax.optimization_barrier((jnp.cos(angles), jnp.sin(angles))))


def rotate(x: jax.Array, turns: Turns) -> jax.Array:
    """x [B, N, heads, d] with its pairs (i, i + d / 2) rotated; computed in float32."""
    cos, sin = turns.cos[:, :, None], turns.sin[:, :, None]
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)
