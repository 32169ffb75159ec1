# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Qwen2.5 (arXiv 2412.15115), layer by layer as transformers' Qwen2ForCausalLM, on embeddings instead of ids.

The caller builds the embeddings, because most positions of FOCUS's sequence are no words; it multiplies the hidden
states with `head` itself, because the loss does that in blocks.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.layers import Dense, RMSNorm, at_token_boundary
from focus_jax.models.parameters import named
from focus_jax.models.stack import run_stack
from focus_jax.ops.attention import causal_attention
from focus_jax.ops.cross_entropy import HEAD_AXES
from focus_jax.ops.rope import Turns, rope_angles, rotate, turns

_NORMAL = nn.initializers.normal(0.02)
CACHE_AXES = (None, "batch", None, None, None)


@flax.struct.dataclass
class Cache:
    """Keys and values of what has been read. k, v: [layers, B, S, kv_heads, d]; length: int32 [B], slots in use."""

    k: jax.Array
    v: jax.Array
    length: jax.Array


class Rows(nn.Module):
    """A vector for each id, [rows, width]: the embedding, and the head that gives ids their logits."""

    rows: int
    width: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param("rows", named(_NORMAL, HEAD_AXES), (self.rows, self.width), self.param_dtype)


class Block(nn.Module):
    """RMSNorm, rotary grouped-query attention, residual; RMSNorm, SwiGLU, residual.

    The carry is (x [B, T, D], None) in training and (x, (k, v, layer)) with a cache, of which the layer with that
    number is written and read in place.
    """

    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    eps: float = 1e-6
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, carry: tuple[jax.Array, Any], turned: Turns, segments: jax.Array | None, starts: jax.Array | None
    ) -> tuple[jax.Array, Any]:
        """turned: of the positions [B or 1, T]; segments, starts as in `causal_attention`."""
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        dense = functools.partial(Dense, kernel_init=_NORMAL, **types)
        x, cache = carry
        b, t, width = x.shape
        h = RMSNorm(self.eps, **types, name="attention_norm")(x)
        q = dense(self.heads * self.head_dim, name="q")(h).reshape(b, t, self.heads, self.head_dim)
        k = dense(self.kv_heads * self.head_dim, name="k")(h).reshape(b, t, self.kv_heads, self.head_dim)
        v = dense(self.kv_heads * self.head_dim, name="v")(h).reshape(b, t, self.kv_heads, self.head_dim)
        q, k = rotate(q, turned), rotate(k, turned)
        if cache is not None:
            keys, values, layer = cache
            at = layer, jnp.arange(b)[:, None], starts[:, None] + jnp.arange(t)
            # A slot behind the end is padding of a shorter row and is dropped.
            keys = keys.at[at].set(k.astype(keys.dtype), mode="drop")
            values = values.at[at].set(v.astype(values.dtype), mode="drop")
            k, v, cache = keys[layer].astype(q.dtype), values[layer].astype(q.dtype), (keys, values, layer + 1)
        h = causal_attention(q, k, v, segments, starts=starts).reshape(b, t, self.heads * self.head_dim)
        x = at_token_boundary(x + dense(width, use_bias=False, name="o")(h))
        h = RMSNorm(self.eps, **types, name="mlp_norm")(x)
        gate = nn.silu(dense(self.mlp, use_bias=False, name="gate")(h))
        h = gate * dense(self.mlp, use_bias=False, name="up")(h)
        return at_token_boundary(x + dense(width, use_bias=False, name="down")(h)), cache


class Qwen2(nn.Module):
    """Sizes default to Qwen2.5-3B with the vocabulary of ILLUME+.

    rows: of the embedding, real ids and padding; depth, width: of the layers; heads, kv_heads, head_dim: of the
    attention; mlp: inner width of the SwiGLU; theta: base of the rotary frequencies; tied: the embedding is the head.
    scan, remat: how the layers run (models/stack.py).
    """

    rows: int = 283_136
    depth: int = 36
    width: int = 2048
    heads: int = 16
    kv_heads: int = 2
    head_dim: int = 128
    mlp: int = 11_008
    theta: float = 1e6
    eps: float = 1e-6
    tied: bool = True
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise UserError(
                f"llm: {self.heads} heads of {self.head_dim} on {self.kv_heads} key heads, expected a multiple of the "
                "key heads and an even width"
            )
        super().__post_init__()

    def setup(self) -> None:
        self.embedding = Rows(self.rows, self.width, self.param_dtype)
        if not self.tied:
            self.output = Rows(self.rows, self.width, self.param_dtype)

    def head(self) -> jax.Array:
        """[rows, D]: the logits of hidden states are hidden @ head.T."""
        return self.embedding() if self.tied else self.output()

    def embed(self, ids: jax.Array) -> jax.Array:
        """int [B, T] -> [B, T, D]."""
        return at_token_boundary(self.embedding()[ids].astype(self.dtype))

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[..., D] -> [..., rows] float32; the rows of padding are not masked here."""
        head = self.head().astype(hidden.dtype)
        return jnp.einsum("...d,vd->...v", hidden, head, preferred_element_type=jnp.float32)

    def __call__(
        self, x: jax.Array, positions: jax.Array | None = None, segments: jax.Array | None = None
    ) -> jax.Array:
        """Embeddings [B, T, D] -> hidden states [B, T, D] after the last norm.

        positions: int [B, T], of a position inside its example, None = 0..T-1; segments as in `causal_attention`.
        """
        positions = jnp.arange(x.shape[1])[None] if positions is None else positions
        return self._run((x.astype(self.dtype), None), positions, segments, None)[0]

    def extend(self, x: jax.Array, cache: Cache, counts: jax.Array | None = None) -> tuple[jax.Array, Cache]:
        """Reads T more embeddings of each row: [B, T, D] -> (hidden [B, T, D], cache).

        counts: int [B], how many of the T are real, the first ones; None = all. Hidden states of the others mean
        nothing. The caller sees to it that length + counts stays within the cache.
        """
        starts, t = cache.length, x.shape[1]
        carry = x.astype(self.dtype), (cache.k, cache.v, jnp.zeros((), jnp.int32))
        hidden, (k, v, _) = self._run(carry, starts[:, None] + jnp.arange(t), None, starts)
        return hidden, Cache(k, v, starts + (t if counts is None else counts))

    def empty_cache(self, batch: int, slots: int) -> Cache:
        """A cache for `slots` positions a row, in the compute dtype."""
        shape = self.depth, batch, slots, self.kv_heads, self.head_dim
        k, v = (nn.with_logical_constraint(jnp.zeros(shape, self.dtype), CACHE_AXES) for _ in range(2))
        return Cache(k, v, jnp.zeros(batch, jnp.int32))

    @nn.compact
    def _run(self, carry: tuple[jax.Array, Any], positions: jax.Array, segments: Any, starts: Any) -> Any:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        make = functools.partial(Block, self.heads, self.kv_heads, self.head_dim, self.mlp, self.eps, **types)
        turned = turns(rope_angles(positions[..., None], self.head_dim, self.theta))
        shared = turned, segments, starts
        if self.is_initializing():
            self.embedding(), self.head()
        x, cache = run_stack(make, carry, *shared, count=self.depth, scan=self.scan, remat=self.remat)
        return RMSNorm(self.eps, **types, name="norm")(x), cache


def qwen2(**config: Any) -> Qwen2:
    """The model of a size table (configs/models.py): qwen2(**configs.models.llm("tiny"), dtype=...)."""
    return Qwen2(**config)
