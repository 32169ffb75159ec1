# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pixel branch of the tokenizer: MoVQ encoder and spatially conditioned decoder with DC down/up blocks around SimVQ.

Layer by layer as in the released DualViTok of ILLUME+ (FOCUS section 3.3). Images are NHWC.
Norm statistics are float32; parameters have the released initialisation (torch defaults).
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.layers import GroupNorm
from focus_jax.models.parameters import Conv, at_block_boundary
from focus_jax.models.resampling import KINDS
from focus_jax.models.simvq import SimVQ
from focus_jax.models.stack import call_layer, remat_policy, run_stack
from focus_jax.ops.resize import nearest, pixel_shuffle, pixel_unshuffle


class SpatialNorm(nn.Module):
    """GroupNorm(x) * conv_y(zq) + conv_b(zq), with the code map zq [B, h, w, code channels] enlarged to x by nearest.

    A 1x1 convolution commutes with nearest enlargement, so everything that depends on zq is computed on the small grid.
    """

    groups: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, zq: jax.Array) -> jax.Array:
        conv = functools.partial(Conv, x.shape[-1], kernel=1, dtype=self.dtype, param_dtype=self.param_dtype)
        a, b = GroupNorm(self.groups, param_dtype=self.param_dtype, name="norm_layer").coefficients(x)
        gain, offset = conv(name="conv_y")(zq), conv(name="conv_b")(zq)  # [B, h, w, C]
        size = x.shape[1:3]
        y = x * nearest(a * gain, size) + nearest(b * gain + offset, size)
        return y.astype(self.dtype)


def _norm(groups: int, spatial: bool, name: str, dtype: Any, param_dtype: Any) -> nn.Module:
    return (SpatialNorm if spatial else GroupNorm)(groups, dtype, param_dtype, name=name)


class ResBlock(nn.Module):
    """norm, swish, conv3, norm, swish, conv3 and a shortcut (1x1 nin_shortcut where the width changes)."""

    width: int
    groups: int
    spatial: bool = False  # SpatialNorm on the code map instead of GroupNorm
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *zq: jax.Array) -> jax.Array:
        norm = functools.partial(_norm, self.groups, self.spatial, dtype=self.dtype, param_dtype=self.param_dtype)
        conv = functools.partial(Conv, self.width, dtype=self.dtype, param_dtype=self.param_dtype)
        h = conv(name="conv1")(nn.swish(norm(name="norm1")(x, *zq)))
        h = conv(name="conv2")(nn.swish(norm(name="norm2")(h, *zq)))
        if x.shape[-1] != self.width:
            x = conv(kernel=1, name="nin_shortcut")(x)
        return at_block_boundary(x + h)


class AttnBlock(nn.Module):
    """norm, one attention head over all positions with scale 1/sqrt(C), 1x1 projection, residual."""

    groups: int
    spatial: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *zq: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        conv = functools.partial(Conv, c, kernel=1, dtype=self.dtype, param_dtype=self.param_dtype)
        y = _norm(self.groups, self.spatial, "norm", self.dtype, self.param_dtype)(x, *zq)
        q, k, v = (conv(name=name)(y).reshape(b, h * w, 1, c) for name in ("q", "k", "v"))  # [B, HW, heads, C]
        y = jax.nn.dot_product_attention(q, k, v).reshape(b, h, w, c)
        return at_block_boundary(x + conv(name="proj_out")(y))


class Layer(nn.Module):
    """A ResBlock and, on attention levels, an AttnBlock: what a level repeats."""

    width: int
    groups: int
    attention: bool
    spatial: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *zq: jax.Array) -> jax.Array:
        common = dict(groups=self.groups, spatial=self.spatial, dtype=self.dtype, param_dtype=self.param_dtype)
        x = ResBlock(self.width, **common, name="block")(x, *zq)
        return AttnBlock(**common, name="attn")(x, *zq) if self.attention else x


class Level(nn.Module):
    """`blocks` layers of one width and then a change of size, if any; layers of equal shape are one nn.scan stack."""

    width: int
    blocks: int
    attention: bool
    groups: int
    resample: str  # of resampling.KINDS, or ""
    spatial: bool = False
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *zq: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        make = functools.partial(Layer, self.width, self.groups, self.attention, self.spatial, **types)
        first = 0
        if x.shape[-1] != self.width:  # layer 0 changes the width: its parameters have other shapes
            x = call_layer(make(name="layer_0"), x, *zq, remat=self.remat)
            first = 1
        x = run_stack(make, x, *zq, count=self.blocks - first, first=first, scan=self.scan, remat=self.remat)
        if self.resample:
            name = "downsample" if self.resample.endswith("down") else "upsample"
            x = call_layer(KINDS[self.resample](**types, name=name), x, remat=self.remat)
        return x


class Mid(nn.Module):
    """ResBlock, AttnBlock, ResBlock at the lowest resolution."""

    groups: int
    spatial: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *zq: jax.Array) -> jax.Array:
        common = dict(groups=self.groups, spatial=self.spatial, dtype=self.dtype, param_dtype=self.param_dtype)
        x = ResBlock(x.shape[-1], **common, name="block_1")(x, *zq)
        x = AttnBlock(**common, name="attn_1")(x, *zq)
        return ResBlock(x.shape[-1], **common, name="block_2")(x, *zq)


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise UserError(sentence)


class Encoder(nn.Module):
    """Images [B, H, W, 3] in [-1, 1] -> [B, H/stride, W/stride, code_dim].

    widths: channels of each level; a DC-down stands between levels. patch: pixel-unshuffle before conv_in.
    """

    widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    blocks: int = 2
    attention_levels: tuple[int, ...] = (4,)
    groups: int = 32
    patch: int = 1
    code_dim: int = 32
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        for width in self.widths:
            _require(
                width % self.groups == 0,
                f"pixel encoder: width {width} is not divisible by the {self.groups} groups of its norms",
            )
        for width in self.widths[:-1]:
            _require(width % 4 == 0, f"pixel encoder: width {width} of a level with a DC-down is not divisible by 4")
        _require(
            self.widths[-1] % self.code_dim == 0,
            f"pixel encoder: last width {self.widths[-1]} is not divisible by code_dim {self.code_dim}, "
            "which the residual over conv_out needs",
        )
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        x = pixel_unshuffle(images.astype(self.dtype), self.patch)
        x = at_block_boundary(Conv(self.widths[0], **types, name="conv_in")(x))
        for i, width in enumerate(self.widths):
            down = "dc_down" if i < len(self.widths) - 1 else ""
            x = Level(
                width,
                self.blocks,
                i in self.attention_levels,
                self.groups,
                down,
                scan=self.scan,
                remat=self.remat,
                **types,
                name=f"down_{i}",
            )(x)
        x = Mid(self.groups, **types, name="mid")(x)
        x = nn.swish(GroupNorm(self.groups, **types, name="norm_out")(x))
        groups = x.reshape(*x.shape[:3], self.code_dim, -1)  # consecutive channels
        return Conv(self.code_dim, **types, name="conv_out")(x) + groups.mean(axis=-1)


class Decoder(nn.Module):
    """z and code map zq [B, h, w, code channels] -> images [B, h*stride, w*stride, 3], not clipped.

    widths: channels of each level from fine to coarse; the last level runs first. Every norm reads zq.
    """

    widths: tuple[int, ...] = (384, 384, 768, 768, 1536)
    blocks: int = 3
    attention_levels: tuple[int, ...] = (4,)
    groups: int = 32
    patch: int = 1
    code_channels: int = 64
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        for width in self.widths:
            _require(
                width % self.groups == 0,
                f"pixel decoder: width {width} is not divisible by the {self.groups} groups of its norms",
            )
        _require(
            self.widths[-1] % self.code_channels == 0,
            f"pixel decoder: last width {self.widths[-1]} is not divisible by the {self.code_channels} channels "
            "of the code map, which the residual over conv_in needs",
        )
        super().__post_init__()

    @nn.compact
    def __call__(self, z: jax.Array, zq: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        z, zq = z.astype(self.dtype), zq.astype(self.dtype)
        x = Conv(self.widths[-1], **types, name="conv_in")(z)
        x = at_block_boundary(x + jnp.repeat(z, self.widths[-1] // self.code_channels, axis=-1))
        x = Mid(self.groups, True, **types, name="mid")(x, zq)
        for i in reversed(range(len(self.widths))):
            x = Level(
                self.widths[i],
                self.blocks,
                i in self.attention_levels,
                self.groups,
                "dc_up" if i else "",
                True,
                self.scan,
                self.remat,
                **types,
                name=f"up_{i}",
            )(x, zq)

        def tail(module: nn.Module, x: jax.Array, zq: jax.Array) -> jax.Array:
            x = nn.swish(SpatialNorm(self.groups, **types, name="norm_out")(x, zq))
            return Conv(3 * self.patch**2, **types, name="conv_out")(x)

        if self.remat != "none":  # its activations are the largest of the network
            tail = nn.remat(tail, policy=remat_policy(self.remat))
        return pixel_shuffle(tail(self, x, zq), self.patch)


class PixelBranch(nn.Module):
    """Encoder, quant_conv, SimVQ, post_quant_conv and decoder; sizes default to the released ones.

    code_channels: width of the decoder's code map, semantic codes first, then this branch's.
    decoder_blocks: layers a level (the release's num_res_blocks + 1).
    """

    encoder_widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    encoder_blocks: int = 2
    encoder_attention_levels: tuple[int, ...] = (4,)
    decoder_widths: tuple[int, ...] = (384, 384, 768, 768, 1536)
    decoder_blocks: int = 3
    decoder_attention_levels: tuple[int, ...] = (4,)
    groups: int = 32
    patch: int = 1
    codes: int = 98_304
    code_dim: int = 32
    code_channels: int = 64
    code_block: int = 4096
    beta: float = 0.25
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        _require(
            len(self.encoder_widths) == len(self.decoder_widths),
            f"pixel branch: {len(self.encoder_widths)} encoder levels but {len(self.decoder_widths)} decoder "
            "levels; the decoder must double the picture as often as the encoder halves it",
        )
        super().__post_init__()

    @property
    def stride(self) -> int:
        """Pixels a code position covers on each side."""
        return self.patch * 2 ** (len(self.encoder_widths) - 1)

    def setup(self) -> None:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        common = dict(groups=self.groups, patch=self.patch, scan=self.scan, remat=self.remat, **types)
        self.encoder = Encoder(
            self.encoder_widths, self.encoder_blocks, self.encoder_attention_levels, code_dim=self.code_dim, **common
        )
        self.quant_conv = Conv(self.code_dim, kernel=1, **types)
        self.quantizer = SimVQ(self.codes, self.code_dim, self.beta, self.code_block, self.param_dtype)
        self.post_quant_conv = Conv(self.code_channels, kernel=1, **types)
        self.decoder = Decoder(
            self.decoder_widths,
            self.decoder_blocks,
            self.decoder_attention_levels,
            code_channels=self.code_channels,
            **common,
        )

    def features(self, images: jax.Array) -> jax.Array:
        """Images [B, H, W, 3] in [-1, 1] -> [B, h, w, code_dim] before quant_conv, as the language model reads them."""
        return self.encoder(images)

    def encode(self, images: jax.Array) -> jax.Array:
        """Images [B, H, W, 3] in [-1, 1] -> continuous z [B, h, w, code_dim] float32."""
        return self.quant_conv(self.encoder(images)).astype(jnp.float32)

    def decode(self, code_map: jax.Array) -> jax.Array:
        """Code map [B, h, w, code_channels] -> images [B, H, W, 3] float32, not clipped."""
        return self.decoder(self.post_quant_conv(code_map), code_map).astype(jnp.float32)
