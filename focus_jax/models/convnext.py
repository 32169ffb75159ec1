# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""ConvNeXt (arXiv 2201.03545), the hierarchical encoder of FOCUS section 3.1: four maps at strides 4, 8, 16 and 32.

Layer by layer as transformers' ConvNextBackbone, whose maps pass a LayerNorm each on their way out. Images are NHWC.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.layers import Dense, LayerNorm
from focus_jax.models.parameters import CONV_AXES, Conv, at_block_boundary, named
from focus_jax.models.stack import run_stack
from focus_jax.ops.depthwise import depthwise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for values in [0, 1]


def convnext_pixels(images: jax.Array) -> jax.Array:
    """Images [B, H, W, 3] in [-1, 1] -> the same normalised with ImageNet's mean and deviation, float32."""
    return ((images.astype(jnp.float32) + 1) / 2 - jnp.asarray(MEAN)) / jnp.asarray(STD)


def square_side(height: int, width: int, stride: int) -> int:
    """Side of the smallest square of whole cells that holds height x width pixels."""
    return -(-max(height, width) // stride) * stride


def square_pixels(images: jax.Array, side: int) -> tuple[jax.Array, jax.Array]:
    """`convnext_pixels` of images [B, H, W, 3] made a square of `side`, below and on the right with the mean colour,
    which is zero once normalised; and the share of its height and width that is no padding [B, 2]."""
    b, height, width = images.shape[:3]
    pixels = jnp.pad(convnext_pixels(images), ((0, 0), (0, side - height), (0, side - width), (0, 0)))
    return pixels, jnp.tile(jnp.array([[height / side, width / side]]), (b, 1))


class Depthwise(nn.Module):
    """Depthwise convolution of side `kernel` that keeps the size [B, H, W, C]; bias zero at the start."""

    kernel: int = 7
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape, init = (self.kernel, self.kernel, 1, x.shape[-1]), nn.initializers.lecun_normal()
        kernel = self.param("kernel", named(init, CONV_AXES), shape, self.param_dtype)
        bias = self.param("bias", named(nn.initializers.zeros, ("norm",)), (x.shape[-1],), self.param_dtype)
        return depthwise(x.astype(self.dtype), kernel, bias)


class Block(nn.Module):
    """Depthwise 7x7, LayerNorm, linear to four times the width, exact GELU, linear back, layer scale, residual."""

    layer_scale: float = 1e-6
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types, width = dict(dtype=self.dtype, param_dtype=self.param_dtype), x.shape[-1]
        h = Depthwise(**types, name="depthwise")(x)
        h = LayerNorm(**types, name="norm")(h)
        h = nn.gelu(Dense(4 * width, **types, name="fc1")(h), approximate=False)
        h = Dense(width, **types, name="fc2")(h)
        init = named(nn.initializers.constant(self.layer_scale), ("norm",))
        scale = self.param("layer_scale", init, (width,), self.param_dtype)
        return at_block_boundary(x + h * scale.astype(self.dtype))


class Stage(nn.Module):
    """`depth` blocks of one width; first, where `down`, LayerNorm and a 2x2 convolution with stride 2 to that width."""

    width: int
    depth: int
    down: bool
    layer_scale: float = 1e-6
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        if self.down:
            x = LayerNorm(**types, name="downsample_norm")(x)
            x = at_block_boundary(Conv(self.width, 2, 2, 0, **types, name="downsample")(x))
        make = functools.partial(Block, self.layer_scale, **types)
        return run_stack(make, x, count=self.depth, scan=self.scan, remat=self.remat)


class ConvNeXt(nn.Module):
    """Pictures [B, H, W, 3] from `convnext_pixels` -> {"res2": [B, H/4, W/4, widths[0]], ..., "res5"}.

    Sizes default to ConvNeXt-L. widths, depths: of the stages, each stage after the first halves the map.
    patch: side and stride of the stem. layer_scale: its start value (1e-6 in the paper; weights that are imported
    bring their own). scan, remat: how the blocks of a stage run (models/stack.py).
    """

    widths: tuple[int, ...] = (192, 384, 768, 1536)
    depths: tuple[int, ...] = (3, 3, 27, 3)
    patch: int = 4
    layer_scale: float = 1e-6
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.depths):
            raise UserError(f"convnext: {len(self.widths)} widths but {len(self.depths)} depths, expected one a stage")
        super().__post_init__()

    @property
    def stride(self) -> int:
        """Pixels a position of the last map covers on each side; H and W must be multiples of it."""
        return self.patch * 2 ** (len(self.widths) - 1)

    @nn.compact
    def __call__(self, pixels: jax.Array) -> dict[str, jax.Array]:
        height, width = pixels.shape[1:3]
        if height % self.stride or width % self.stride:
            raise UserError(f"convnext: {height} x {width} pixels, expected multiples of the stride {self.stride}")
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        x = Conv(self.widths[0], self.patch, self.patch, 0, **types, name="stem")(pixels.astype(self.dtype))
        x = at_block_boundary(LayerNorm(**types, name="stem_norm")(x))
        common = dict(layer_scale=self.layer_scale, scan=self.scan, remat=self.remat, **types)
        maps = {}
        for i, (channels, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            x = Stage(channels, depth, i > 0, **common, name=f"stage_{i}")(x)
            maps[f"res{i + 2}"] = LayerNorm(**types, name=f"norm_{i}")(x)
        return maps


def convnext(
    *,
    widths: Sequence[int],
    depths: Sequence[int],
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
    **rest: Any,
) -> ConvNeXt:
    """The encoder of a size table (configs/models.py): convnext(**configs.models.convnext("tiny"), dtype=...)."""
    return ConvNeXt(tuple(widths), tuple(depths), dtype=dtype, param_dtype=param_dtype, **rest)
