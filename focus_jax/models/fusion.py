# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fusion of the low-resolution tokens with the high-resolution maps (FOCUS section 3.1, Eq. 1 and 2).

The paper prints E' = CrossAttn(X'_L, X'_H). Here X'_L is added to it and the output starts at zero, so that the tower's
signal is there from the first step and released weights, which know no fusion, fit. Attention alone is blind to place;
fixed sine positions, in coordinates of the picture and through one map for queries and keys, let a token look at the
high-resolution cells that it covers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.layers import Dense, LayerNorm, at_token_boundary
from focus_jax.models.parameters import named
from focus_jax.ops.attention import attention

PLACES = 128  # width of the sine positions


def centres(height: int, width: int) -> jax.Array:
    """(y, x) of the centres of a grid's cells, of 0..1 over the grid: [height * width, 2] float32."""
    y, x = (jnp.arange(height) + 0.5) / height, (jnp.arange(width) + 0.5) / width
    return jnp.stack(jnp.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)


def sine_positions(at: jax.Array, dim: int = PLACES, finest: float = 8.0) -> jax.Array:
    """Sine and cosine of places [..., (y, x)] in 0..1: [..., dim] float32, y's half first.

    Wavelengths fall in equal ratios from twice the picture to `finest` times less, by default a quarter of it.
    """
    frequencies = math.pi * finest ** (jnp.arange(dim // 4) / (dim // 4 - 1))
    angles = at.astype(jnp.float32)[..., None] * frequencies  # [..., 2, dim / 4]
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*at.shape[:-1], dim)


def cells(height: int, width: int, extent: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of a grid on the padded high-resolution picture: places of its cells in the picture itself, of 0..1,
    [B, N, (y, x)], and which of them show it and no padding, bool [B, N]; extent as in `Fusion`."""
    at = centres(height, width)[None]
    return at / extent[:, None], jnp.all(at < extent[:, None], axis=-1)


class Fusion(nn.Module):
    """Eq. 2: E' = X'_L + CrossAttn(X'_L, X'_H).

    levels: maps of the hierarchical encoder that are keys and values; width, heads: of the attention.
    """

    levels: tuple[str, ...] = ("res4", "res5")
    width: int = 1024
    heads: int = 16
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"fusion: width {self.width}, expected a multiple of its {self.heads} heads")
        super().__post_init__()

    @nn.compact
    def __call__(self, low: jax.Array, maps: Mapping[str, jax.Array], extent: jax.Array | None = None) -> jax.Array:
        """low [B, h, w, C] and maps {level: [B, H, W, C_level]} -> E' [B, h, w, C] in low's dtype.

        extent: [B, 2], the shares of the high-resolution picture's height and width that the low-resolution one
        shows; the rest is padding at the bottom and on the right, which nothing looks at. None: all of it.
        Raises: UserError for a level that the maps lack.
        """
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        b, h, w, channels = low.shape
        extent = jnp.ones((b, 2)) if extent is None else extent.astype(jnp.float32)
        # At the start tokens look near their own place: place speaks loudly, content softly.
        loud, soft = (nn.initializers.variance_scaling(x, "fan_in", "normal") for x in (2.0, 0.1))
        place = Dense(self.width, use_bias=False, kernel_init=loud, **types, name="place")
        query = Dense(self.width, kernel_init=soft, **types, name="query")(
            LayerNorm(**types, name="norm")(low.reshape(b, h * w, channels))
        )
        query = query + place(sine_positions(centres(h, w)))
        keys, values, seen = [], [], []
        for level in self.levels:
            if level not in maps:
                raise UserError(f"fusion.levels: {level} is none of the encoder's maps ({', '.join(maps)})")
            x = maps[level]
            at, inside = cells(*x.shape[1:3], extent)
            x = LayerNorm(**types, name=f"norm_{level}")(x.reshape(b, -1, x.shape[-1]))
            init = named(nn.initializers.normal(0.02), ("norm",))
            mark = self.param(f"level_{level}", init, (self.width,), self.param_dtype)
            key = Dense(self.width, kernel_init=soft, **types, name=f"key_{level}")(x) + mark.astype(self.dtype)
            keys.append(key + place(sine_positions(at)))
            values.append(Dense(self.width, **types, name=f"value_{level}")(x))
            seen.append(inside)
        split = lambda x: x.reshape(b, -1, self.heads, self.width // self.heads)
        key, value = jnp.concatenate(keys, axis=1), jnp.concatenate(values, axis=1)
        mask = jnp.concatenate(seen, axis=1)[:, None, None]
        out = attention(split(query), split(key), split(value), mask).reshape(b, h * w, self.width)
        out = Dense(channels, kernel_init=nn.initializers.zeros, **types, name="out")(out)
        return low + at_token_boundary(out).reshape(low.shape).astype(low.dtype)


class FusionMLP(nn.Module):
    """Eq. 1: E = MLP(E') + E', for the language model alone; it trains from stage 2. [..., h, w, C] -> the same.

    Where a cell lies is all but lost in E': the tower turns features by place and adds none, and a language model that
    counts along one axis has to guess the rest. So the MLP is given fixed sine positions, through a map that is zero at
    the start (our addition).
    """

    hidden: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        grid = x.shape[-3:-1]
        place = Dense(self.hidden, use_bias=False, kernel_init=nn.initializers.zeros, **types, name="place")
        h = Dense(self.hidden, **types, name="fc1")(LayerNorm(**types, name="norm")(x))
        h = nn.gelu(h + place(sine_positions(centres(*grid))).reshape(*grid, self.hidden), approximate=False)
        return x + Dense(x.shape[-1], **types, name="fc2")(h).astype(x.dtype)
