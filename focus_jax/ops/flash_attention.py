# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Attention that keeps no logits: JAX's own kernels, splash on TPUs and Pallas through Triton on NVIDIA GPUs.

Both mean what ops/attention.py says of `causal_attention` with segments, or without `causal` of `attention` inside a
segment. XLA cannot cut a kernel in shards, so under a
mesh each device runs it on its own rows and heads.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from focus_jax.training import sharding

LANES = 128  # of a TPU: widths of heads and of blocks are multiples of it
BLOCK = 1024  # positions of a block at most
AXES = ("batch", None, "heads", None)


def serves(length: int) -> bool:
    """Whether the kernels take rows of this length, and are worth it."""
    return length >= 4 * LANES and length % LANES == 0


def splash(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, *, causal: bool = True, interpret: bool = False
) -> jax.Array:
    """q [B, T, heads, d], k, v [B, T, kv_heads, d], segments int [B, T] -> [B, T, heads, d] in q's dtype."""
    return _on_shards(functools.partial(_splash, causal=causal, interpret=interpret), q, k, v, segments)


def triton(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, *, causal: bool = True, interpret: bool = False
) -> jax.Array:
    """The same on a GPU."""
    return _on_shards(functools.partial(_triton, causal=causal, interpret=interpret), q, k, v, segments)


def _splash(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, *, causal: bool, interpret: bool
) -> jax.Array:
    # Imported where long rows are: it takes a third of a second.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    t, heads, d = q.shape[1:]
    n = math.gcd(t, BLOCK)
    sizes = kernel.BlockSizes(
        block_q=n, block_kv=n, block_kv_compute=n, block_q_dkv=n, block_kv_dkv=n, block_kv_dkv_compute=n,
        use_fused_bwd_kernel=True,
    )  # fmt: skip
    mask = masks.MultiHeadMask([(masks.CausalMask if causal else masks.FullMask)((t, t))] * heads)
    run = kernel.make_splash_mha(mask, block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret)
    wide = lambda x: jnp.pad(x.swapaxes(1, 2), ((0, 0), (0, 0), (0, 0), (0, -d % LANES)))
    out = jax.vmap(run)(wide(q * d**-0.5), wide(k), wide(v), kernel.SegmentIds(segments, segments))
    return out[..., :d].swapaxes(1, 2).astype(q.dtype)


def _triton(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, *, causal: bool, interpret: bool
) -> jax.Array:
    from jax.experimental.pallas.ops.gpu import attention as kernel

    shared, d = q.shape[2] // k.shape[2], q.shape[3]
    k, v = jnp.repeat(k, shared, axis=2), jnp.repeat(v, shared, axis=2)
    wide = lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, (1 << (d - 1).bit_length()) - d)))  # to a power of two
    out = kernel.mha(wide(q), wide(k), wide(v), segments, sm_scale=d**-0.5, causal=causal, interpret=interpret)
    return out[..., :d]


def _on_shards(run: Any, q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array) -> jax.Array:
    if (current := sharding.current()) is None:
        return run(q, k, v, segments)
    mesh, table = current
    spec = sharding.partition_spec(k.shape, AXES, table, mesh)  # what divides the key heads divides the query heads
    rows = PartitionSpec(*spec[:1])
    return jax.shard_map(run, mesh=mesh, in_specs=(spec, spec, spec, rows), out_specs=spec, check_vma=False)(
        q, k, v, segments
    )
