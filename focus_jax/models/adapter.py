# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the language model sees of pictures beside their tokens: the gated adapter (FOCUS Eq. 3 and 4), and projectors.

A few learned queries look at the hierarchical encoder's maps, a level a layer from fine to coarse, and stand behind the
picture in the sequence. The paper gives no sizes; they are HyperSeg's (arXiv 2411.17606), whose code has no gates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.fusion import cells, sine_positions
from focus_jax.models.layers import Dense, LayerNorm, at_token_boundary
from focus_jax.models.parameters import named
from focus_jax.ops.attention import attention


class Layer(nn.Module):
    """Eq. 3 and 4: h' = h + tanh(gamma) CrossAttn(h, f); h' + tanh(beta) FFN(h'). Both gates are 0 at the start.

    Keys carry the places of their cells, so that a query can look somewhere; without, attention is blind to place.
    """

    heads: int
    mlp_ratio: int = 4
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: jax.Array, level: jax.Array, extent: jax.Array) -> jax.Array:
        """h [B, N, D], a map [B, H, W, C], extent [B, 2] as in `Fusion` -> [B, N, D]."""
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        b, _, width = h.shape
        dense = lambda features, name: Dense(features, use_bias=False, **types, name=name)
        split = lambda x: x.reshape(b, -1, self.heads, width // self.heads)
        gate = lambda name: jnp.tanh(
            self.param(name, named(nn.initializers.zeros, ("norm",)), (1,), self.param_dtype)
        ).astype(self.dtype)
        at, inside = cells(*level.shape[1:3], extent)
        mark = self.param("level", named(nn.initializers.normal(0.02), ("norm",)), (width,), self.param_dtype)
        seen = Dense(width, **types, name="map")(level.reshape(b, -1, level.shape[-1])) + mark.astype(self.dtype)
        seen = LayerNorm(**types, name="map_norm")(seen)
        key = dense(width, "key")(seen) + dense(width, "place")(sine_positions(at))
        query = dense(width, "query")(LayerNorm(**types, name="norm1")(h))
        out = attention(split(query), split(key), split(dense(width, "value")(seen)), inside[:, None, None])
        h = at_token_boundary(h + gate("gamma") * dense(width, "out")(out.reshape(h.shape)))
        x = nn.gelu(dense(self.mlp_ratio * width, "fc1")(LayerNorm(**types, name="norm2")(h)), approximate=False)
        return at_token_boundary(h + gate("beta") * dense(width, "fc2")(x))


class Adapter(nn.Module):
    """Maps of the hierarchical encoder -> vectors for the language model.

    queries: how many; width, heads: of the attention; levels: one a layer; out: the language model's width.
    """

    queries: int = 128
    width: int = 512
    heads: int = 8
    levels: tuple[str, ...] = ("res3", "res4", "res5")
    out: int = 2048
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"adapter: width {self.width}, expected a multiple of its {self.heads} heads")
        super().__post_init__()

    @nn.compact
    def __call__(self, maps: Mapping[str, jax.Array], extent: jax.Array | None = None) -> jax.Array:
        """{level: [B, H, W, C_level]}, extent as in `Fusion` -> [B, queries, out]. Raises: UserError for a level."""
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        for level in self.levels:
            if level not in maps:
                raise UserError(f"adapter.levels: {level} is none of the encoder's maps ({', '.join(maps)})")
        b = len(maps[self.levels[0]])
        extent = jnp.ones((b, 2)) if extent is None else extent.astype(jnp.float32)
        init = named(nn.initializers.normal(1.0), (None, "norm"))
        queries = self.param("queries", init, (self.queries, self.width), self.param_dtype)
        h = jnp.broadcast_to(queries.astype(self.dtype), (b, *queries.shape))
        for i, level in enumerate(self.levels):
            h = Layer(self.heads, **types, name=f"layer_{i}")(h, maps[level], extent)
        return Dense(self.out, **types, name="out")(LayerNorm(**types, name="norm")(h))


class Projector(nn.Module):
    """Features [..., C] -> vectors of the language model [..., out]: linear, exact GELU, linear, as ILLUME+."""

    out: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        h = nn.gelu(Dense(self.out, **types, name="fc1")(x.astype(self.dtype)), approximate=False)
        return Dense(self.out, **types, name="fc2")(h)


class Projectors(nn.Module):
    """Semantic features (E of Eq. 1) [B, h, w, C] and pixel features [B, h', w', c] -> both at width `out`."""

    out: int = 2048
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, semantic: jax.Array, pixel: jax.Array) -> tuple[jax.Array, jax.Array]:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        return (
            Projector(self.out, **types, name="semantic")(semantic),
            Projector(self.out, **types, name="pixel")(pixel),
        )
