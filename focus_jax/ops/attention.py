# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Attention: full, of encoders and of queries on maps; causal, of the language model; logits and softmax in float32.

Long rows of the language model and of the UNet take a kernel where the program is compiled for a TPU or a GPU
(flash_attention.py).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from focus_jax.ops import flash_attention

BLOCK, BLOCKS = 32, 8  # queries of a block at least; blocks of a row at most, for each is compiled


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Full attention.

    q: [B, N, heads, d]; k, v: [B, M, heads, d]; mask: bool, broadcasts to [B, heads, N, M], True where one may look.
    Returns: [B, N, heads, d] in q's dtype.
    """
    logits = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    if mask is not None:
        logits = jnp.where(mask, logits, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(logits, axis=-1).astype(q.dtype)
    return jnp.einsum("bhnm,bmhd->bnhd", weights, v)


def self_attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """`attention` of positions to each other, [B, N, heads, d] all three, for rows that may be long."""
    if not flash_attention.serves(q.shape[1]):
        return attention(q, k, v)
    segments = jnp.ones(q.shape[:2], jnp.int32)
    forms = dict(tpu=flash_attention.splash, cuda=flash_attention.triton)
    forms = {name: functools.partial(form, causal=False) for name, form in forms.items()}
    return jax.lax.platform_dependent(q, k, v, segments, **forms, default=lambda q, k, v, _: attention(q, k, v))


def causal_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segments: jax.Array | None = None,
    *,
    starts: jax.Array | None = None,
) -> jax.Array:
    """Attention of grouped queries on what stands before them.

    Query t of a row looks at keys 0..t of its own segment; with starts, at keys 0..starts + t of the row's cache.

    Args:
      q: [B, T, heads, d]; k, v: [B, S, kv_heads, d]; heads is a multiple of kv_heads: query head h reads key head
        h // (heads / kv_heads).
      segments: int [B, T], which of the examples packed into a row a position belongs to, 0 = padding, which sees only
        padding; None: one example a row. S must be T.
      starts: int [B], how many keys of the cache stand before the first query. Not together with segments.

    Returns: [B, T, heads, d] in q's dtype.
    """
    if starts is not None:
        return _causal(q, k, v, None, starts)
    given = jnp.ones(q.shape[:2], jnp.int32) if segments is None else segments
    if not flash_attention.serves(q.shape[1]):
        return _in_blocks(q, k, v, given)
    forms = dict(tpu=flash_attention.splash, cuda=flash_attention.triton, default=_in_blocks)
    return jax.lax.platform_dependent(q, k, v, given, **forms)


def _in_blocks(q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array) -> jax.Array:
    """The form of XLA. Of the keys behind a block of queries nothing is computed."""
    t = q.shape[1]
    size = max(BLOCK, -(-t // BLOCKS))
    parts = []
    for start in range(0, t, size):
        stop = min(start + size, t)
        own = segments[:, start:stop], segments[:, :stop]
        parts.append(_causal(q[:, start:stop], k[:, :stop], v[:, :stop], own, jnp.full(1, start)))
    return jnp.concatenate(parts, axis=1)


def _causal(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segments: tuple[jax.Array, jax.Array] | None,
    starts: jax.Array | None,
) -> jax.Array:
    """`causal_attention` at once; segments: of queries [B, T] and of keys [B, S]; starts: int [B or 1]."""
    b, t, heads, d = q.shape
    at = jnp.arange(t)[None] + (0 if starts is None else starts[:, None])  # [B or 1, T], the key a query stands at
    mask = jnp.arange(k.shape[1])[None, None] <= at[:, :, None]  # [B or 1, T, S]
    if segments is not None:
        mask &= segments[0][:, :, None] == segments[1][:, None, :]
    # The query heads that share a key head become more queries of that head.
    kv_heads, shared = k.shape[2], heads // k.shape[2]
    grouped = q.reshape(b, t, kv_heads, shared, d).swapaxes(2, 3).reshape(b, t * shared, kv_heads, d)
    out = attention(grouped, k, v, jnp.repeat(mask, shared, axis=1)[:, None])
    return out.reshape(b, t, shared, kv_heads, d).swapaxes(2, 3).reshape(q.shape)
