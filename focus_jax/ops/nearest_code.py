# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Exact nearest-code search in blocks of codes, so that the [vectors, codes] distance matrix never stands in memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def nearest_code(z: jax.Array, codebook: jax.Array, *, block: int = 4096) -> jax.Array:
    """Index of the nearest row of `codebook` by Euclidean distance; ties go to the lower index.

    z [..., d], codebook [K, d] -> int32 [...]. Distances are float32 at the highest matmul precision: tf32 or bfloat16
    passes would change indices. No gradient flows. The largest temporary is [..., block] float32; z keeps its leading
    axes, so a batch axis that is sharded over the mesh stays sharded through the loop.
    """
    z = jax.lax.stop_gradient(z).astype(jnp.float32)
    codebook = jax.lax.stop_gradient(codebook).astype(jnp.float32)
    codes, width = codebook.shape
    block = min(block, codes)
    blocks = -(-codes // block)
    # |c|^2 - 2 z.c orders codes as |z - c|^2 does; padding codes are infinitely far.
    square = jnp.pad(jnp.sum(codebook**2, axis=-1), (0, blocks * block - codes), constant_values=jnp.inf)
    rows = jnp.pad(codebook, ((0, blocks * block - codes), (0, 0)))
    within = jnp.arange(block, dtype=jnp.int32)

    def step(best, scanned):
        best_distance, best_index = best
        start, c, c_square = scanned  # (), [block, d], [block]
        dot = jnp.einsum("...d,kd->...k", z, c, precision=jax.lax.Precision.HIGHEST)
        distance = c_square - 2.0 * dot  # [..., block]
        nearest = jnp.min(distance, axis=-1)
        # Two plain reductions instead of argmin, which every XLA backend runs as a slow pair reduction.
        index = jnp.min(jnp.where(distance == nearest[..., None], within, block), axis=-1)
        better = nearest < best_distance
        return (jnp.where(better, nearest, best_distance), jnp.where(better, start + index, best_index)), None

    start = (jnp.full(z.shape[:-1], jnp.inf, jnp.float32), jnp.zeros(z.shape[:-1], jnp.int32))
    scanned = (
        jnp.arange(blocks, dtype=jnp.int32) * block,
        rows.reshape(blocks, block, width),
        square.reshape(blocks, block),
    )
    return jax.lax.scan(step, start, scanned)[0][1]
