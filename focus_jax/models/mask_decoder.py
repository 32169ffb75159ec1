# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Mask2Former's transformer decoder (arXiv 2112.01527) as the predictor F_p of FOCUS: its queries begin as hidden
states of the language model, E_Q, and are scored by dot products with the conditions that it read, E_P.

Layer by layer as the official one, so that its weights fit. What HyperSeg (arXiv 2411.17606) and PSALM (arXiv
2403.14598) put around it has no released weights: projections of E_Q and E_P by kind of condition, and the optional
embedding e_j by which things are followed through clips.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.layers import Dense, LayerNorm, at_token_boundary
from focus_jax.models.mask_pixel_decoder import EPS, places
from focus_jax.models.parameters import named, torch_uniform
from focus_jax.models.stack import call_layer
from focus_jax.ops.attention import attention
from focus_jax.ops.resize import bilinear
from focus_jax.sequence.layout import KINDS

_XAVIER = nn.initializers.xavier_uniform()


@flax.struct.dataclass
class Predictions:
    """Of the queries before the first layer and behind each one, L + 1 in all.

    masks: logits [L + 1, B, N, H / 4, W / 4] float32; scores: z_j [L + 1, B, N, K] float32; embeddings: e_j [B, N, E]
    of the last layer, None where the decoder has no such head.
    """

    masks: jax.Array
    scores: jax.Array
    embeddings: jax.Array | None


class MLP(nn.Module):
    """Linear layers with ReLU between them, all of `width`, initialised as torch does by default."""

    width: int
    depth: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.depth):
            init = torch_uniform(x.shape[-1])
            x = Dense(self.width, kernel_init=init, dtype=self.dtype, param_dtype=self.param_dtype, name=f"fc{i}")(x)
            x = nn.relu(x) if i + 1 < self.depth else x
        return x


class Attention(nn.Module):
    """Attention with its linear maps; queries, keys and values come from different arrays."""

    heads: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """query [B, N, D], key and value [B, M, D], mask as in `ops.attention.attention` -> [B, N, D]."""
        b, _, width = query.shape
        dense = functools.partial(Dense, width, kernel_init=_XAVIER, dtype=self.dtype, param_dtype=self.param_dtype)
        split = lambda x: x.reshape(b, -1, self.heads, width // self.heads)
        q, k, v = (split(dense(name=name)(x)) for name, x in (("q", query), ("k", key), ("v", value)))
        return dense(name="out")(attention(q, k, v, mask).reshape(query.shape))


class MaskedLayer(nn.Module):
    """Masked attention on a map, attention among the queries, feed-forward; each with residual and LayerNorm."""

    heads: int
    mlp: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, own: jax.Array, level: jax.Array, at: jax.Array, allowed: jax.Array) -> jax.Array:
        """x [B, N, D]; own [N, D], the queries' positions; level [B, M, D], a map's cells; at [M, D], their places;
        allowed bool [B, N, M]."""
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        own, at = own.astype(x.dtype), at.astype(x.dtype)
        found = Attention(self.heads, **types, name="cross")(x + own, level + at, level, allowed[:, None])
        x = at_token_boundary(LayerNorm(EPS, **types, name="cross_norm")(x + found))
        x = x + Attention(self.heads, **types, name="self")(x + own, x + own, x)
        x = at_token_boundary(LayerNorm(EPS, **types, name="self_norm")(x))
        h = nn.relu(Dense(self.mlp, kernel_init=_XAVIER, **types, name="fc1")(x))
        x = x + Dense(x.shape[-1], kernel_init=_XAVIER, **types, name="fc2")(h)
        return at_token_boundary(LayerNorm(EPS, **types, name="mlp_norm")(x))


class Decoder(nn.Module):
    """The official layers: queries -> masks. queries: how many; width, heads, mlp, depth: of the layers."""

    queries: int
    width: int
    heads: int
    mlp: int
    depth: int
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, mask_features: jax.Array, maps: Sequence[jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """x [B, N, D] -> (mask logits [L + 1, B, N, H / 4, W / 4] float32, the states that they are of, normalised,
        [L + 1, B, N, D], the last state before the norm [B, N, D]): of x itself and behind each of the L layers."""
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        b, n, _ = x.shape
        init = named(nn.initializers.normal(1.0), (None, "norm"))
        own = self.param("query_positions", init, (self.queries, self.width), self.param_dtype)
        marks = self.param("levels", init, (len(maps), self.width), self.param_dtype)
        levels = [m.reshape(b, -1, self.width) + marks[i].astype(m.dtype) for i, m in enumerate(maps)]
        at = [places(*m.shape[1:3], self.width) for m in maps]
        norm, embedding = LayerNorm(EPS, **types, name="norm"), MLP(self.width, 3, **types, name="mask_embedding")
        masks_of = functools.partial(jnp.einsum, "bnd,bhwd->bnhw", preferred_element_type=jnp.float32)
        states = [norm(x)]
        masks = [masks_of(embedding(states[0]), mask_features)]
        for i in range(self.depth):
            k = i % len(maps)
            layer = MaskedLayer(self.heads, self.mlp, **types, name=f"layer_{i}")
            seen = allowed(masks[-1], maps[k].shape[1:3])
            x = call_layer(layer, x, own, levels[k], at[k], seen, remat=self.remat)
            states.append(norm(x))
            masks.append(masks_of(embedding(states[-1]), mask_features))
        return jnp.stack(masks), jnp.stack(states), x


def allowed(masks: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Where masks [B, N, h, w] (logits) are, at a map's size: bool [B, N, cells]; of a mask that is nowhere, all."""
    masks = jax.lax.stop_gradient(masks).transpose(0, 2, 3, 1)
    inside = bilinear(masks, size).reshape(len(masks), -1, masks.shape[-1]).swapaxes(1, 2) >= 0
    return inside | ~jnp.any(inside, axis=-1, keepdims=True)


class MaskDecoder(nn.Module):
    """Sizes default to the official ones; queries is the number of mask tokens.

    width, heads, mlp, depth: of the layers; embedding: width of e_j, 0 = none.
    """

    queries: int = 100
    width: int = 256
    heads: int = 8
    mlp: int = 2048
    depth: int = 9
    embedding: int = 0
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 4:
            raise UserError(f"mask_decoder: width {self.width}, expected a multiple of its {self.heads} heads and of 4")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        queries: jax.Array,
        conditions: jax.Array,
        kind: jax.Array,
        mask_features: jax.Array,
        maps: Sequence[jax.Array],
    ) -> Predictions:
        """Masks and their scores under each condition.

        Args:
          queries: E_Q, hidden states of the mask tokens [B, N, D_llm]; conditions: E_P, pooled hidden states of each
            condition [B, K, D_llm]; kind: int [B], number in KINDS of what these are.
          mask_features [B, H / 4, W / 4, width], maps: of the pixel decoder.

        Raises: UserError for another number of queries.
        """
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        if queries.shape[1] != self.queries:
            raise UserError(f"mask_decoder.queries: {self.queries}, expected {queries.shape[1]}, the mask tokens")
        decoder = Decoder(
            self.queries, self.width, self.heads, self.mlp, self.depth, self.remat, **types, name="decoder"
        )
        masks, states, x = decoder(Dense(self.width, **types, name="query")(queries), mask_features, maps)
        of_kind = jax.nn.one_hot(kind, len(KINDS), dtype=jnp.float32)  # [B, 3]
        prompts = [Dense(self.width, **types, name=f"condition_{name}")(conditions) for name in KINDS]
        sought = [MLP(self.width, 2, **types, name=f"score_{name}")(states) for name in KINDS]
        prompt = jnp.einsum("bt,tbkd->bkd", of_kind, jnp.stack(prompts).astype(jnp.float32))
        sought = jnp.einsum("bt,tlbnd->lbnd", of_kind, jnp.stack(sought).astype(jnp.float32))
        scores = jnp.einsum("lbnd,bkd->lbnk", sought, prompt)
        if not self.embedding:
            return Predictions(masks, scores, None)
        follow = nn.relu(MLP(self.width, 2, **types, name="follow")(x))
        return Predictions(masks, scores, Dense(self.embedding, **types, name="follow_out")(follow).astype(jnp.float32))


def mask_decoder(**config: Any) -> MaskDecoder:
    """The network of a size table (configs/models.py)."""
    return MaskDecoder(**config)
