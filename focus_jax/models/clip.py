# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""CLIP's towers (arXiv 2103.00020) and DINO's ViT (arXiv 2104.14294), layer by layer as in transformers. They measure
only: nothing here is trained or part of FOCUS."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.layers import Dense, LayerNorm
from focus_jax.models.parameters import Conv
from focus_jax.models.stack import run_stack
from focus_jax.ops.attention import attention

_NORMAL = nn.initializers.normal(0.02)


def quick_gelu(x: jax.Array) -> jax.Array:
    """x sigmoid(1.702 x)."""
    return x * nn.sigmoid(1.702 * x)


class Layer(nn.Module):
    """LayerNorm, attention, residual; LayerNorm, two linear layers, residual. quick: quick_gelu, else the exact one."""

    heads: int
    mlp: int
    quick: bool
    eps: float

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        b, n, width = x.shape
        h = LayerNorm(self.eps, name="norm1")(x)
        q, k, v = (Dense(width, name=name)(h).reshape(b, n, self.heads, -1) for name in ("q", "k", "v"))
        x = x + Dense(width, name="out")(attention(q, k, v, mask).reshape(b, n, width))
        h = Dense(self.mlp, name="fc1")(LayerNorm(self.eps, name="norm2")(x))
        h = quick_gelu(h) if self.quick else nn.gelu(h, approximate=False)
        return x + Dense(width, name="fc2")(h)


class PictureTower(nn.Module):
    """Pictures, normalised [B, side, side, 3] -> a vector each: the first position behind the last norm, projected to
    `out` where that is not 0. Sizes default to CLIP ViT-L/14; `dino` has those of DINO ViT-S/16."""

    side: int = 224
    patch: int = 14
    width: int = 1024
    depth: int = 24
    heads: int = 16
    mlp: int = 4096
    out: int = 768
    clip: bool = True  # a norm before the layers, patches without bias, quick_gelu; else ViT's
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if x.shape[1:3] != (self.side, self.side):
            raise UserError(f"pictures of {x.shape[1]} x {x.shape[2]} pixels, expected {self.side} x {self.side}.")
        count = (self.side // self.patch) ** 2
        x = Conv(self.width, self.patch, self.patch, 0, use_bias=not self.clip, name="patches")(x)
        first = self.param("first", _NORMAL, (self.width,))
        places = self.param("places", _NORMAL, (count + 1, self.width))
        x = x.reshape(x.shape[0], count, self.width)
        x = jnp.concatenate([jnp.broadcast_to(first, (x.shape[0], 1, self.width)), x], axis=1) + places
        x = LayerNorm(self.eps, name="norm_in")(x) if self.clip else x
        make = functools.partial(Layer, self.heads, self.mlp, self.clip, self.eps)
        x = run_stack(make, x, None, count=self.depth)
        x = LayerNorm(self.eps, name="norm_out")(x[:, 0])
        return Dense(self.out, use_bias=False, name="projection")(x) if self.out else x


class TextTower(nn.Module):
    """Ids int [B, T] -> a vector each, of the position of the first `end`. Sizes default to CLIP ViT-L/14's."""

    rows: int = 49_408
    length: int = 77
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp: int = 3072
    out: int = 768
    end: int = 49_407
    eps: float = 1e-5

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        if ids.shape[1] > self.length:
            raise UserError(f"texts of {ids.shape[1]} ids, expected at most {self.length}.")
        rows = self.param("rows", _NORMAL, (self.rows, self.width))
        places = self.param("places", _NORMAL, (self.length, self.width))
        x = rows[ids] + places[: ids.shape[1]]
        mask = jnp.tril(jnp.ones((ids.shape[1],) * 2, bool))[None, None]
        x = run_stack(functools.partial(Layer, self.heads, self.mlp, True, self.eps), x, mask, count=self.depth)
        x = LayerNorm(self.eps, name="norm_out")(x)
        at = jnp.argmax(ids == self.end, axis=1)
        return Dense(self.out, use_bias=False, name="projection")(x[jnp.arange(len(ids)), at])


def dino(**sizes: Any) -> PictureTower:
    """DINO's ViT-S/16, or of other sizes."""
    given = dict(patch=16, width=384, depth=12, heads=6, mlp=1536, out=0, clip=False, eps=1e-12)
    return PictureTower(**{**given, **sizes})
