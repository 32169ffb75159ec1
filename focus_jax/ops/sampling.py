# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Values of a map at points between its cells: inside the border, or with zeros around it, and deformable attention.

A cell's value stands at its centre, as in a resize with half-pixel centres. Places are float32 whatever the map's
dtype: bfloat16 has eight bits, too few to name the cells of a map.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

QUERIES = 256  # of the form for TPUs at a time: its weights of all cells of 256 queries are some hundred MiB at 768 px


def bilinear(features: jax.Array, points: jax.Array) -> jax.Array:
    """Features [B, h, w, C] at points (x, y) [B, N, 2] in shares of the map's sides -> [B, N, C].

    Beyond the outermost centres the border value holds.
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


def corners(points: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """The four cells around points (x, y) [..., 2] in shares of a map's sides, outside of which all is zero.

    Returns: (row-major index of the cells [..., 4] int32, their weights [..., 4] float32), as torch's grid_sample with
    zero padding and align_corners=False. Cells outside have weight 0 and the index of one inside.
    """
    at = points.astype(jnp.float32) * jnp.array([width, height], jnp.float32) - 0.5
    low = jnp.floor(at)
    share = at - low
    indices, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = low[..., 0] + dx, low[..., 1] + dy
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            weight = (share[..., 0] if dx else 1 - share[..., 0]) * (share[..., 1] if dy else 1 - share[..., 1])
            cell = jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)
            indices.append(cell.astype(jnp.int32))
            weights.append(jnp.where(inside, weight, 0.0))
    return jnp.stack(indices, axis=-1), jnp.stack(weights, axis=-1)


def at_points(maps: jax.Array, points: jax.Array) -> jax.Array:
    """Maps [..., h, w] at points (x, y) [..., P, 2] in shares of their sides -> [..., P] float32; zero around them.

    The leading dimensions of points are those of maps, or fewer ones that stand before: these share their points.
    """
    height, width = maps.shape[-2:]
    index, weight = corners(points, height, width)
    missing = maps.ndim - 2 - (points.ndim - 2)
    lift = lambda x: x.reshape(*x.shape[:-2], *(1,) * missing, -1)
    flat = maps.reshape(*maps.shape[:-2], height * width)
    index, weight = lift(index), lift(weight)
    found = jnp.take_along_axis(flat, jnp.broadcast_to(index, (*flat.shape[:-1], index.shape[-1])), axis=-1)
    found = found.astype(jnp.float32) * weight
    return found.reshape(*found.shape[:-1], points.shape[-2], 4).sum(axis=-1)


def deformable_attention(
    values: jax.Array, shapes: Sequence[tuple[int, int]], points: jax.Array, weights: jax.Array
) -> jax.Array:
    """Multi-scale deformable attention (arXiv 2010.04159, Eq. 3) without its linear maps.

    Args:
      values: [B, S, heads, d], the levels' cells row by row, one level after the other.
      shapes: (h, w) of the levels, S in all.
      points: float32 [B, Q, heads, levels, P, (x, y)] in shares of a level's sides; weights: [B, Q, heads, levels, P].

    Returns: [B, Q, heads, d] in values' dtype: sums of the values at the points, zero outside, by weight.
    On TPUs, where gathering is slow, sums over all cells; elsewhere gathered. Both mean the same.
    """
    return jax.lax.platform_dependent(
        values,
        points.astype(jnp.float32),
        weights.astype(jnp.float32),
        tpu=lambda v, p, w: deformable_by_matmul(v, shapes, p, w),
        default=lambda v, p, w: deformable_by_gather(v, shapes, p, w),
    )


def _levels(values: jax.Array, shapes: Sequence[tuple[int, int]]) -> list[jax.Array]:
    """[B, S, heads, d] -> the levels' [B, h * w, heads, d]."""
    starts = [0]
    for h, w in shapes:
        starts.append(starts[-1] + h * w)
    assert starts[-1] == values.shape[1], (starts, values.shape)
    return [values[:, a:b] for a, b in zip(starts, starts[1:])]


def deformable_by_gather(
    values: jax.Array, shapes: Sequence[tuple[int, int]], points: jax.Array, weights: jax.Array
) -> jax.Array:
    """`deformable_attention`, level by level: what a point needs is four cells.

    The cells found are four times as many numbers as the points' values, so the backward pass finds them again, one
    level at a time.
    """
    b, q, heads, _, count, _ = points.shape

    @functools.partial(jax.checkpoint, static_argnums=(3, 4))
    def of_level(cells: jax.Array, at: jax.Array, weight: jax.Array, h: int, w: int) -> jax.Array:
        index, share = corners(at, h, w)  # [B, Q, heads, P, 4]
        share = (share * weight[..., None]).reshape(b, q, heads, count * 4)
        index = index.reshape(b, q, heads, count * 4).swapaxes(1, 2).reshape(b, heads, q * count * 4, 1)
        found = jnp.take_along_axis(cells.swapaxes(1, 2), index, axis=2).reshape(b, heads, q, count * 4, -1)
        return jnp.einsum("bhqpd,bqhp->bqhd", found, share, preferred_element_type=jnp.float32)

    each = enumerate(zip(_levels(values, shapes), shapes))
    return sum(of_level(cells, points[:, :, :, i], weights[:, :, :, i], h, w) for i, (cells, (h, w)) in each).astype(
        values.dtype
    )


def deformable_by_matmul(
    values: jax.Array, shapes: Sequence[tuple[int, int]], points: jax.Array, weights: jax.Array
) -> jax.Array:
    """`deformable_attention`, QUERIES at a time: a cell counts by how near it is, max(0, 1 - |x|) max(0, 1 - |y|).

    Nothing is gathered, and the backward pass scatters nothing.
    """
    b, q, heads, levels, count, _ = points.shape
    size = min(QUERIES, q)
    pad = -q % size
    split = lambda x: (
        jnp.pad(x, ((0, 0), (0, pad), *((0, 0),) * (x.ndim - 2))).reshape(b, -1, size, *x.shape[2:]).swapaxes(0, 1)
    )
    found = _levels(values, shapes)

    @jax.checkpoint
    def some(chunk):
        at, weight = chunk  # [B, size, heads, levels, P, 2], [B, size, heads, levels, P]
        total = 0.0
        for i, (cells, (h, w)) in enumerate(zip(found, shapes)):
            near = lambda x, n: jnp.maximum(1 - jnp.abs(x[..., None] * n - 0.5 - jnp.arange(n)), 0.0)
            rows = near(at[:, :, :, i, :, 1], h) * weight[:, :, :, i, :, None]
            columns = near(at[:, :, :, i, :, 0], w)
            share = jnp.einsum("bqhpy,bqhpx->bhqyx", rows, columns).astype(values.dtype)
            cells = cells.reshape(b, h, w, heads, -1)
            total += jnp.einsum("bhqyx,byxhd->bqhd", share, cells, preferred_element_type=jnp.float32)
        return total

    out = jax.lax.map(some, (split(points), split(weights)))  # [chunks, B, size, heads, d]
    return out.swapaxes(0, 1).reshape(b, q + pad, heads, -1)[:, :q].astype(values.dtype)
