# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The vision tower of Qwen2-VL (arXiv 2409.12191), FOCUS's semantic encoder, layer by layer as released.

Tokens stand in the order of the release: pictures' merge blocks in raster order, and inside a block its merge x merge
patches in raster order, so that the merger joins neighbours by a reshape. Attention is full within a picture.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.errors import UserError
from focus_jax.models.layers import Dense, LayerNorm, at_token_boundary
from focus_jax.models.parameters import named
from focus_jax.models.stack import run_stack
from focus_jax.ops.attention import attention
from focus_jax.ops.dense import dense
from focus_jax.ops.resize import bicubic_antialias
from focus_jax.ops.rope import Turns, rope_angles, rotate, turns

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP, for values in [0, 1]

# Picture (height, width) -> what the released tokenizer shows its tower (14-pixel patches merged 2 x 2), from ILLUME+.
RELEASED_SIZES = {
    (256, 256): (252, 252),
    (512, 512): (504, 504),
    (512, 384): (448, 336),
    (384, 512): (336, 448),
    (768, 384): (728, 364),
    (384, 768): (364, 728),
    (1024, 256): (1008, 252),
    (256, 1024): (252, 1008),
    (384, 576): (336, 504),
    (576, 384): (504, 336),
    (960, 320): (924, 308),
    (320, 960): (308, 924),
}


def vit_size(height: int, width: int, patch: int = 14, merge: int = 2) -> tuple[int, int]:
    """Size at which the tower sees a picture of height x width pixels.

    The released table where it knows the size, else each side cut down to a multiple of patch * merge, at least one.
    """
    unit = patch * merge
    if (patch, merge) == (14, 2) and (height, width) in RELEASED_SIZES:
        return RELEASED_SIZES[height, width]
    return max(unit, height // unit * unit), max(unit, width // unit * unit)


def vit_pixels(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Images [B, H, W, 3] in [-1, 1] -> the tower's input [B, *size, 3] float32.

    To [0, 1], antialiased bicubic resize, clamp, CLIP's mean and deviation.
    """
    x = jnp.clip(bicubic_antialias((images.astype(jnp.float32) + 1) / 2, size), 0, 1)
    return (x - jnp.asarray(MEAN)) / jnp.asarray(STD)


def patchify(pixels: jax.Array, patch: int, merge: int, temporal: int) -> jax.Array:
    """Pixels [B, H, W, C] -> rows [B, N, C * temporal * patch * patch]; the frame stands `temporal` times in each."""
    b, height, width, c = pixels.shape
    grid = (b, height // (merge * patch), merge, patch, width // (merge * patch), merge, patch, c)
    x = pixels.reshape(grid).transpose(0, 1, 4, 2, 5, 7, 3, 6)  # [B, by, bx, my, mx, C, py, px]
    x = jnp.repeat(x[:, :, :, :, :, :, None], temporal, axis=6)
    return x.reshape(b, height * width // patch**2, c * temporal * patch**2)


def grid_positions(height: int, width: int, merge: int) -> np.ndarray:
    """(row, column) of each token of a grid of height x width patches, [height * width, 2] int."""
    at = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
    at = at.reshape(height // merge, merge, width // merge, merge, 2).transpose(0, 2, 1, 3, 4)
    return at.reshape(-1, 2)


def quick_gelu(x: jax.Array) -> jax.Array:
    """x * sigmoid(1.702 x)."""
    return x * jax.nn.sigmoid(1.702 * x)


class Block(nn.Module):
    """LayerNorm, rotary attention, residual; LayerNorm, MLP with quick GELU, residual. [B, N, D] -> [B, N, D].

    turned: of the positions [B or 1, N]; mask as in `attention`.
    """

    heads: int
    mlp_ratio: int = 4
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, turned: Turns, mask: jax.Array | None) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        b, n, width = x.shape
        h = LayerNorm(**types, name="norm1")(x)
        qkv = Dense(3 * width, **types, name="qkv")(h).reshape(b, n, 3, self.heads, width // self.heads)
        q, k, v = (qkv[:, :, i] for i in range(3))
        h = attention(rotate(q, turned), rotate(k, turned), v, mask).reshape(b, n, width)
        x = at_token_boundary(x + Dense(width, **types, name="proj")(h))
        h = LayerNorm(**types, name="norm2")(x)
        h = quick_gelu(Dense(self.mlp_ratio * width, **types, name="fc1")(h))
        return at_token_boundary(x + Dense(width, **types, name="fc2")(h))


class PatchEmbed(nn.Module):
    """Rows [B, N, C * temporal * patch * patch] -> [B, N, width]: the release's Conv3d as one product, without bias."""

    width: int
    patch: int
    temporal: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, rows: jax.Array) -> jax.Array:
        shape = (3, self.temporal, self.patch, self.patch, self.width)
        init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=(0, 1, 2, 3), out_axis=4)
        axes = (None, None, None, None, "dense_out")
        kernel = self.param("kernel", named(init, axes), shape, self.param_dtype)
        return dense(rows.astype(self.dtype), kernel.reshape(-1, self.width), None)


class Merger(nn.Module):
    """[B, N, D] -> [B, N / merge^2, out]: LayerNorm, the tokens of a block side by side, linear, exact GELU, linear."""

    merge: int
    out: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        b, n, width = x.shape
        h = LayerNorm(**types, name="norm")(x).reshape(b, n // self.merge**2, self.merge**2 * width)
        h = nn.gelu(Dense(h.shape[-1], **types, name="fc1")(h), approximate=False)
        return Dense(self.out, **types, name="fc2")(h)


class QwenViT(nn.Module):
    """Pictures of one size, or rows of tokens of any sizes, to merged tokens; sizes default to the 7B model's tower.

    depth, width, heads, mlp_ratio: of the blocks; patch: its side in pixels; merge: patches a merged token has on each
    side; temporal: frames a patch spans (a picture is shown that often); out: width of the merged tokens.
    scan, remat: how the blocks run (models/stack.py).
    """

    depth: int = 32
    width: int = 1280
    heads: int = 16
    mlp_ratio: int = 4
    patch: int = 14
    merge: int = 2
    temporal: int = 2
    out: int = 3584
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if self.width % (4 * self.heads):
            raise UserError(
                f"vit: width {self.width} in {self.heads} heads, expected heads whose width is a multiple of 4 "
                "(two rotary axes of pairs)"
            )
        super().__post_init__()

    @property
    def stride(self) -> int:
        """Pixels a merged token covers on each side; H and W must be multiples of it."""
        return self.patch * self.merge

    def __call__(self, pixels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Pixels [B, H, W, 3] from `vit_pixels` -> (merged [B, h / merge, w / merge, out], out), h = H / patch.

        out: patches [B, h, w, width], what the last block gives, before the merger's norm.
        Raises: UserError where H or W is no multiple of patch * merge.
        """
        b, height, width = pixels.shape[:3]
        if height % self.stride or width % self.stride:
            raise UserError(f"vit: {height} x {width} pixels, expected multiples of patch * merge = {self.stride}")
        h, w, m = height // self.patch, width // self.patch, self.merge
        rows = patchify(pixels, self.patch, m, self.temporal)
        merged, tokens = self.packed(rows, grid_positions(h, w, m)[None])
        patches = tokens.reshape(b, h // m, w // m, m, m, self.width).transpose(0, 1, 3, 2, 4, 5)
        return merged.reshape(b, h // m, w // m, self.out), {"patches": patches.reshape(b, h, w, self.width)}

    @nn.compact
    def packed(
        self, rows: jax.Array, positions: jax.Array, segments: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Rows of tokens, in which pictures of several sizes may follow each other.

        rows: [B, N, 3 * temporal * patch^2], as `patchify` gives them; positions: (row, column) [B or 1, N, 2] inside
        the picture (`grid_positions`); segments: int [B, N], the picture a token belongs to (None: one a row).
        Returns: merged [B, N / merge^2, out] and the tokens before the merger's norm [B, N, width].
        """
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        x = at_token_boundary(PatchEmbed(self.width, self.patch, self.temporal, **types, name="patch_embed")(rows))
        turned = turns(rope_angles(positions, self.width // self.heads))
        mask = None if segments is None else (segments[:, :, None] == segments[:, None, :])[:, None]
        make = functools.partial(Block, self.heads, self.mlp_ratio, **types)
        x = run_stack(make, x, turned, mask, count=self.depth, scan=self.scan, remat=self.remat)
        return Merger(self.merge, self.out, **types, name="merger")(x), x


def qwen_vit(**config: Any) -> QwenViT:
    """The tower of a size table (configs/models.py): qwen_vit(**configs.models.vit("tiny"), dtype=...)."""
    return QwenViT(**config)
