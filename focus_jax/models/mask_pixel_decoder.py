# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Mask2Former's pixel decoder (arXiv 2112.01527): maps of the hierarchical encoder -> three maps that masks are sought
in, and features whose dot products with queries are masks. Layer by layer as the official one, so that its weights fit.

Deformable attention mixes the three coarse levels; the finest is added once, at stride 4.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.errors import UserError
from focus_jax.models.fusion import centres
from focus_jax.models.layers import Dense, GroupNorm, LayerNorm, at_token_boundary
from focus_jax.models.parameters import Conv, named
from focus_jax.models.stack import run_stack
from focus_jax.ops.resize import bilinear
from focus_jax.ops.sampling import deformable_attention

LEVELS = ("res5", "res4", "res3")  # in the official order, from coarse to fine
EPS = 1e-5  # of all norms, torch's default
Shapes = tuple[tuple[int, int], ...]

_XAVIER = nn.initializers.xavier_uniform()


def places(height: int, width: int, dim: int) -> jax.Array:
    """Sine positions of a map's cells, counted from 1 and scaled to 2 pi over the map: [h * w, dim] float32, y's half
    first, sine and cosine by turns (DETR's, normalised, temperature 10,000)."""
    y, x = (np.arange(1, n + 1) / (n + 1e-6) * 2 * math.pi for n in (height, width))
    wavelengths = 10_000.0 ** (2 * (np.arange(dim // 2) // 2) / (dim // 2))
    turns = lambda at: at[:, None] / wavelengths  # [n, dim / 2]
    waves = lambda a: np.stack([np.sin(a[:, 0::2]), np.cos(a[:, 1::2])], axis=-1).reshape(len(a), -1)
    y, x = waves(turns(y)), waves(turns(x))
    half = (height, width, dim // 2)
    both = np.concatenate([np.broadcast_to(y[:, None], half), np.broadcast_to(x[None], half)], axis=-1)
    return jnp.asarray(both.reshape(-1, dim), jnp.float32)


def _rays(heads: int, levels: int, points: int) -> Any:
    """Initialiser of the offsets' bias: each head looks in a direction of its own, point p at p + 1 cells."""

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        turn = np.arange(heads) * (2 * math.pi / heads)
        ray = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        ray /= np.abs(ray).max(axis=-1, keepdims=True)
        steps = np.broadcast_to(
            ray[:, None, None] * np.arange(1, points + 1)[None, None, :, None], (heads, levels, points, 2)
        )
        return jnp.asarray(steps.reshape(shape), dtype)

    return init


class DeformableLayer(nn.Module):
    """Deformable attention among all cells of the levels, residual, LayerNorm; feed-forward, residual, LayerNorm.

    shapes: (h, w) of the levels; heads, points: of the attention; mlp: inner width.
    """

    shapes: Shapes
    heads: int
    points: int
    mlp: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, marks: jax.Array) -> jax.Array:
        """x [B, S, D], marks [S, D] (places and levels, added where the cells ask, not where they answer)."""
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        b, s, width = x.shape
        levels, zeros = len(self.shapes), nn.initializers.zeros
        asking = x + marks.astype(x.dtype)
        value = Dense(width, kernel_init=_XAVIER, **types, name="value")(x).reshape(b, s, self.heads, -1)
        each = (b, s, self.heads, levels, self.points)
        # Places in float32 under any compute dtype.
        spread = nn.with_logical_partitioning(_rays(self.heads, levels, self.points), ("norm",))
        count = self.heads * levels * self.points
        offsets = Dense(2 * count, use_bias=False, kernel_init=zeros, param_dtype=self.param_dtype, name="offsets")(
            asking.astype(jnp.float32)
        )
        offsets = offsets + self.param("offsets_bias", spread, (2 * count,), self.param_dtype).astype(jnp.float32)
        sizes = np.array([(w, h) for h, w in self.shapes], np.float32)
        own = jnp.concatenate([centres(*shape)[:, ::-1] for shape in self.shapes])  # (x, y) of each cell
        points = own[:, None, None, None] + offsets.reshape(*each, 2) / sizes[:, None]
        weights = Dense(count, kernel_init=zeros, **types, name="weights")(asking).astype(jnp.float32)
        weights = jax.nn.softmax(weights.reshape(b, s, self.heads, -1), axis=-1).reshape(each)
        found = deformable_attention(value, self.shapes, points, weights).reshape(b, s, width)
        x = x + Dense(width, kernel_init=_XAVIER, **types, name="out")(found)
        x = at_token_boundary(LayerNorm(EPS, **types, name="norm1")(x))
        h = nn.relu(Dense(self.mlp, kernel_init=_XAVIER, **types, name="fc1")(x))
        x = x + Dense(width, kernel_init=_XAVIER, **types, name="fc2")(h)
        return at_token_boundary(LayerNorm(EPS, **types, name="norm2")(x))


class MaskPixelDecoder(nn.Module):
    """Sizes default to the official ones.

    width: of everything; heads, points, mlp, depth: of the deformable layers; groups: of the GroupNorms.
    """

    width: int = 256
    heads: int = 8
    points: int = 4
    mlp: int = 1024
    depth: int = 6
    groups: int = 32
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % self.groups or self.width % 4:
            raise UserError(
                f"mask_pixel_decoder: width {self.width}, expected a multiple of its {self.heads} heads, of its "
                f"{self.groups} groups and of 4"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, maps: Mapping[str, jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
        """{res2 ... res5: [B, h, w, C]} -> (mask features [B, H / 4, W / 4, D], maps [B, h, w, D] of LEVELS)."""
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(GroupNorm, self.groups, eps=EPS, **types)
        conv = functools.partial(Conv, self.width, kernel_init=_XAVIER, **types)
        shapes = tuple(maps[level].shape[1:3] for level in LEVELS)
        mark = named(nn.initializers.normal(1.0), (None, "norm"))
        levels = self.param("levels", mark, (len(LEVELS), self.width), self.param_dtype).astype(jnp.float32)
        cells, marks = [], []
        for i, (level, shape) in enumerate(zip(LEVELS, shapes)):
            x = conv(1, bias_init=nn.initializers.zeros, name=f"input_{i}")(maps[level])
            x = norm(name=f"input_norm_{i}")(x)
            cells.append(x.reshape(len(x), -1, self.width))
            marks.append(places(*shape, self.width) + levels[i])
        x = at_token_boundary(jnp.concatenate(cells, axis=1))
        make = functools.partial(DeformableLayer, shapes, self.heads, self.points, self.mlp, **types)
        x = run_stack(make, x, jnp.concatenate(marks), count=self.depth, scan=self.scan, remat=self.remat)
        ends = np.cumsum([h * w for h, w in shapes])[:-1].tolist()
        coarse = [part.reshape(len(x), *shape, -1) for part, shape in zip(jnp.split(x, ends, axis=1), shapes)]
        fine = norm(name="lateral_norm")(conv(1, use_bias=False, name="lateral")(maps["res2"]))
        fine = fine + bilinear(coarse[-1], fine.shape[1:3])
        fine = nn.relu(norm(name="output_norm")(conv(3, use_bias=False, name="output")(fine)))
        return conv(1, bias_init=nn.initializers.zeros, name="mask_features")(fine), coarse


def mask_pixel_decoder(**config: Any) -> MaskPixelDecoder:
    """The network of a size table (configs/models.py)."""
    return MaskPixelDecoder(**config)
