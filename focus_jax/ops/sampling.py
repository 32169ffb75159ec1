# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Values of a feature map at points between its cells."""

import jax
import jax.numpy as jnp


def bilinear(features: jax.Array, points: jax.Array) -> jax.Array:
    """Features [B, h, w, C] at points (x, y) [B, N, 2] in shares of the map's sides -> [B, N, C].

    A cell's value stands at its centre, as in a resize with half-pixel centres; beyond the outermost centres the border
    value holds. Positions are float32 whatever the features' dtype.
    """
    height, width = features.shape[1:3]
    at = points.astype(jnp.float32) * jnp.array([width, height], jnp.float32) - 0.5
    at = jnp.clip(at, 0.0, jnp.array([width - 1, height - 1], jnp.float32))
    low = jnp.floor(at)
    share = (at - low).astype(features.dtype)
    x0, y0 = (low[..., i].astype(jnp.int32) for i in (0, 1))
    x1, y1 = jnp.minimum(x0 + 1, width - 1), jnp.minimum(y0 + 1, height - 1)
    pick = jax.vmap(lambda rows, y, x: rows[y, x])  # [h, w, C], [N], [N] -> [N, C]
    sx, sy = share[..., :1], share[..., 1:]
    upper = pick(features, y0, x0) * (1 - sx) + pick(features, y0, x1) * sx
    lower = pick(features, y1, x0) * (1 - sx) + pick(features, y1, x1) * sx
    return upper * (1 - sy) + lower * sy
