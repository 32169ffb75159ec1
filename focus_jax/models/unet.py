# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""SDXL's UNet (arXiv 2307.01952) with the code map of the tokenizer as 64 more input channels (FOCUS section 3.3): what
draws pictures out of tokens.

Layer by layer as diffusers' UNet2DConditionModel, so that SDXL's and ILLUME+'s weights fit. No text is read: the
cross-attention attn2 sees a context of zeros, where it gives just its bias, until FOCUS's mask takes it (Eq. 6).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.layers import GroupNorm, LayerNorm, at_token_boundary
from focus_jax.models.parameters import DENSE_AXES, Conv, at_block_boundary, named, torch_uniform
from focus_jax.models.resampling import ConvDown, ConvUp
from focus_jax.models.stack import call_layer, run_stack
from focus_jax.ops.attention import attention, self_attention
from focus_jax.ops.dense import dense

PERIOD = 10_000.0  # the longest wave of `waves`


def waves(x: jax.Array, width: int) -> jax.Array:
    """float [...] -> [..., width] float32: cosines and then sines of x at width / 2 frequencies."""
    frequencies = jnp.exp(-math.log(PERIOD) * jnp.arange(width // 2) / (width // 2))
    angles = x[..., None].astype(jnp.float32) * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class Linear(nn.Module):
    """Linear layer as torch initialises it."""

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = torch_uniform(x.shape[-1])
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", named(init, DENSE_AXES), shape, self.param_dtype)
        bias = self.param("bias", named(init, ("norm",)), (self.features,), self.param_dtype) if self.use_bias else None
        return dense(x.astype(self.dtype), kernel, bias)


class Embedding(nn.Module):
    """Two linear layers with SiLU between them."""

    width: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        linear = functools.partial(Linear, self.width, dtype=self.dtype, param_dtype=self.param_dtype)
        return linear(name="fc2")(nn.silu(linear(name="fc1")(x)))


class ResBlock(nn.Module):
    """norm, SiLU, conv3, plus a projection of the time; norm, SiLU, conv3; and a shortcut, 1x1 where the width changes.
    Norms have eps 1e-5."""

    width: int
    groups: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        """x: [B, h, w, C]; time: SiLU of its embedding, [B, 4 * first width]."""
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(GroupNorm, self.groups, **types, eps=1e-5)
        h = Conv(self.width, **types, name="conv1")(nn.silu(norm(name="norm1")(x)))
        h = h + Linear(self.width, **types, name="time")(time)[:, None, None]
        h = Conv(self.width, **types, name="conv2")(nn.silu(norm(name="norm2")(h)))
        if x.shape[-1] != self.width:
            x = Conv(self.width, kernel=1, **types, name="shortcut")(x)
        return at_block_boundary(x + h)


class SelfAttention(nn.Module):
    """Full attention among the positions; no bias but that of the last map."""

    heads: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        b, n, width = x.shape
        split = lambda name: Linear(width, False, **types, name=name)(x).reshape(b, n, self.heads, -1)
        out = self_attention(split("q"), split("k"), split("v")).reshape(b, n, width)
        return Linear(width, **types, name="out")(out)


class CrossAttention(nn.Module):
    """Attention to a context [B, M, context width]; None stands for zeros, on which only the last map's bias is left.

    Its parameters are there either way, for a checkpoint holds them. places: [n, width], added to what asks. silent:
    the last map begins as zeros.
    """

    heads: int
    context: int
    silent: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array | None, places: jax.Array | None = None) -> jax.Array:
        b, n, width = x.shape
        kernel = lambda name, fan_in: self.param(
            name, named(torch_uniform(fan_in), DENSE_AXES), (fan_in, width), self.param_dtype
        )
        q, k, v = kernel("q", width), kernel("k", self.context), kernel("v", self.context)
        last = nn.initializers.zeros if self.silent else torch_uniform(width)
        out = self.param("out", named(last, DENSE_AXES), (width, width), self.param_dtype)
        bias = self.param("bias", named(last, ("norm",)), (width,), self.param_dtype)
        if context is None:
            return jnp.broadcast_to(bias.astype(self.dtype), x.shape)
        split = lambda y, by: dense(y.astype(self.dtype), by, None).reshape(b, y.shape[1], self.heads, -1)
        asking = x if places is None else x + places.astype(x.dtype)
        seen = attention(split(asking, q), split(context, k), split(context, v)).reshape(b, n, width)
        return dense(seen, out, bias)


class Block(nn.Module):
    """LayerNorm, attention, residual; the same with the context; the same with GEGLU, whose inner width is four times
    the outer. separate: attn2 sees none, and behind it stands another of the kind, which sees the context."""

    heads: int
    context: int
    separate: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array | None, places: jax.Array | None = None) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(LayerNorm, 1e-5, **types)
        x = x + SelfAttention(self.heads, **types, name="attn1")(norm(name="norm1")(x))
        attn2 = CrossAttention(self.heads, self.context, **types, name="attn2")
        if self.separate:
            x = x + attn2(norm(name="norm2")(x), None)
            beside = CrossAttention(self.heads, self.context, True, **types, name="attn_mask")
            x = x + beside(norm(name="norm_mask")(x), context, places)
        else:
            x = x + attn2(norm(name="norm2")(x), context, places)
        h = Linear(8 * x.shape[-1], **types, name="ff_in")(norm(name="norm3")(x))
        h, gate = jnp.split(h, 2, axis=-1)
        h = h * nn.gelu(gate, approximate=False)
        return at_token_boundary(x + Linear(x.shape[-1], **types, name="ff_out")(h))


class Transformer(nn.Module):
    """`depth` blocks on the positions of a map, between two linear maps, a residual around all; norm of eps 1e-6."""

    depth: int
    heads: int
    context: int
    groups: int
    separate: bool = False
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array | None, places: jax.Array | None = None) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        b, height, width, channels = x.shape
        h = GroupNorm(self.groups, **types, name="norm")(x).reshape(b, height * width, channels)
        h = at_token_boundary(Linear(channels, **types, name="proj_in")(h))
        make = functools.partial(Block, self.heads, self.context, self.separate, **types)
        h = run_stack(make, h, context, places, count=self.depth, scan=self.scan, remat=self.remat)
        h = Linear(channels, **types, name="proj_out")(h).reshape(x.shape)
        return at_block_boundary(x + h)


class UNet(nn.Module):
    """Sizes default to SDXL's with 64 channels of codes.

    widths: of the levels from fine to coarse; depths: blocks of each transformer of a level, 0 for none; heads: of a
    level; blocks: residual blocks a level on the way down, one more on the way up; inputs, outputs: channels;
    context: width of what attn2 reads; pooled: width of the text's vector, of which zeros are given; ids: width of the
    waves of each of the six size ids; groups: of the norms; separate: the context has attention of its own beside
    attn2, whose output begins as zeros. scan, remat: how the layers run (models/stack.py).
    """

    widths: tuple[int, ...] = (320, 640, 1280)
    depths: tuple[int, ...] = (0, 2, 10)
    heads: tuple[int, ...] = (5, 10, 20)
    blocks: int = 2
    inputs: int = 68
    outputs: int = 4
    context: int = 2048
    pooled: int = 1280
    ids: int = 256
    groups: int = 32
    separate: bool = False
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.depths) == len(self.heads):
            told = f"{len(self.widths)} widths, {len(self.depths)} depths and {len(self.heads)} heads"
            raise UserError(f"unet: {told}, expected one of each a level.")
        for width, heads in zip(self.widths, self.heads):
            if width % self.groups or width % heads:
                raise UserError(
                    f"unet.widths: {width}, expected a multiple of the {self.groups} groups of the norms and of the "
                    f"{heads} heads."
                )
        super().__post_init__()

    @property
    def stride(self) -> int:
        """What height and width of a latent must be multiples of."""
        return 2 ** (len(self.widths) - 1)

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        ids: jax.Array,
        context: Any = None,
        pooled: jax.Array | None = None,
    ) -> jax.Array:
        """What the scheduler asks of the noise in x.

        Args:
          x: [B, h, w, inputs], the scaled noisy latents and behind them the code map. t: [B], times. ids: [B, 6], size
            ids; of this project's decoder five zeros and the index of the resolution. context: [B, M, context width];
            None for zeros; or a function (h, w, width) of a level -> one of both, and places [h * w, width] that are
            added where the level asks, or None (models/mask_guidance.py). pooled: [B, pooled], None for zeros.

        Returns: [B, h, w, outputs] float32.
        """
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        b, height, width, _ = x.shape
        if height % self.stride or width % self.stride:
            raise UserError(f"unet: latents of {height} x {width}, expected multiples of {self.stride}.")
        inner = 4 * self.widths[0]
        pooled = jnp.zeros((b, self.pooled)) if pooled is None else pooled
        added = jnp.concatenate([pooled, waves(ids, self.ids).reshape(b, -1)], axis=-1)
        embed = functools.partial(Embedding, inner, **types)
        time = embed(name="time")(waves(t, self.widths[0])) + embed(name="added")(added)
        time = nn.silu(time)

        res = functools.partial(ResBlock, groups=self.groups, **types)
        shared = dict(groups=self.groups, separate=self.separate, scan=self.scan, remat=self.remat, **types)

        def attend(x: jax.Array, level: int, name: str) -> jax.Array:
            if not self.depths[level]:
                return x
            made = Transformer(self.depths[level], self.heads[level], self.context, **shared, name=name)
            return made(x, *(context(*x.shape[1:]) if callable(context) else (context, None)))

        run = functools.partial(call_layer, remat=self.remat)
        x = at_block_boundary(Conv(self.widths[0], **types, name="conv_in")(x.astype(self.dtype)))
        kept, last = [x], len(self.widths) - 1
        for i, channels in enumerate(self.widths):
            for j in range(self.blocks):
                x = run(res(channels, name=f"down_{i}_res_{j}"), x, time)
                x = attend(x, i, f"down_{i}_attn_{j}")
                kept.append(x)
            if i < last:
                x = ConvDown(True, **types, name=f"down_{i}_downsample")(x)
                kept.append(x)
        x = run(res(self.widths[-1], name="mid_res_0"), x, time)
        x = attend(x, last, "mid_attn_0")
        x = run(res(self.widths[-1], name="mid_res_1"), x, time)
        for i, level in enumerate(reversed(range(len(self.widths)))):
            for j in range(self.blocks + 1):
                x = jnp.concatenate([x, kept.pop()], axis=-1)
                x = run(res(self.widths[level], name=f"up_{i}_res_{j}"), x, time)
                x = attend(x, level, f"up_{i}_attn_{j}")
            if level:
                x = ConvUp(**types, name=f"up_{i}_upsample")(x)
        x = nn.silu(GroupNorm(self.groups, **types, eps=1e-5, name="norm_out")(x))
        return Conv(self.outputs, **types, name="conv_out")(x).astype(jnp.float32)


def unet(**config: Any) -> UNet:
    """The model of a size table (configs/models.py): unet(**configs.models.unet("tiny"), dtype=...)."""
    return UNet(**{k: tuple(v) if k in ("widths", "depths", "heads") else v for k, v in config.items()})
