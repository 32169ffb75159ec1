# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The pixel branch of the tokenizer in torch, with the released key names: the peer of `benchmark tokenizer`.

It needs torch (the extra `convert`) and is imported only by the benchmark and the parity tests; those also run it with
blocks from diffusers in place of the ones below (`Blocks`). NCHW, as torch has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpatialNorm(nn.Module):
    """GroupNorm scaled and shifted by 1x1 convolutions of the code map, enlarged to the features by nearest."""

    def __init__(self, channels: int, code_channels: int, groups: int) -> None:
        super().__init__()
        self.norm_layer = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv_y = nn.Conv2d(code_channels, channels, 1)
        self.conv_b = nn.Conv2d(code_channels, channels, 1)

    def forward(self, x: Tensor, zq: Tensor) -> Tensor:
        zq = F.interpolate(zq, size=x.shape[-2:], mode="nearest")
        return self.norm_layer(x) * self.conv_y(zq) + self.conv_b(zq)


class GroupNorm(nn.GroupNorm):
    """GroupNorm that takes and ignores a code map."""

    def forward(self, x: Tensor, zq: Tensor | None = None) -> Tensor:
        return super().forward(x)


def make_norm(channels: int, code_channels: int, groups: int) -> nn.Module:
    """SpatialNorm, or GroupNorm where there is no code map (0 code channels)."""
    if code_channels:
        return SpatialNorm(channels, code_channels, groups)
    return GroupNorm(groups, channels, eps=1e-6)


class ResBlock(nn.Module):
    """Two norm-swish-convolution steps and a shortcut."""

    def __init__(self, width_in: int, width: int, code_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = make_norm(width_in, code_channels, groups)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.norm2 = make_norm(width, code_channels, groups)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()

    def forward(self, x: Tensor, zq: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, zq)))
        h = self.conv2(F.silu(self.norm2(h, zq)))
        return self.nin_shortcut(x) + h


class AttnBlock(nn.Module):
    """One-head attention over all positions with a residual."""

    def __init__(self, norm: nn.Module, width: int) -> None:
        super().__init__()
        self.norm = norm
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor, zq: Tensor | None = None) -> Tensor:
        y = self.norm(x, zq)
        q, k, v = (conv(y).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))  # [B, HW, C]
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(y)


class Down(nn.Module):
    """DC-down: convolution and pixel-unshuffle beside a group mean of the unshuffled input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width // 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(self.conv(x), 2) + F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4)).mean(dim=2)


class Up(nn.Module):
    """DC-up: convolution and pixel-shuffle beside the repeated input, shuffled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2) + F.pixel_shuffle(x.repeat_interleave(4, dim=1), 2)


class Blocks:
    """The classes a coder is built from: res(width_in, width, code_channels, groups), down(width), up(width)."""

    res: Callable[..., nn.Module] = ResBlock
    norm: Callable[..., nn.Module] = staticmethod(make_norm)
    down: Callable[..., nn.Module] = Down
    up: Callable[..., nn.Module] = Up


def _level(blocks: type[Blocks], width_in: int, width: int, count: int, attention: bool, zq: int, groups: int) -> Any:
    level = nn.Module()
    level.block = nn.ModuleList(blocks.res(width if i else width_in, width, zq, groups) for i in range(count))
    attended = count if attention else 0
    level.attn = nn.ModuleList(AttnBlock(blocks.norm(width, zq, groups), width) for _ in range(attended))
    return level


def _run_level(level: Any, x: Tensor, zq: Tensor | None = None) -> Tensor:
    for i, block in enumerate(level.block):
        x = block(x, zq)
        if level.attn:
            x = level.attn[i](x, zq)
    return x


def _mid(blocks: type[Blocks], width: int, zq: int, groups: int) -> Any:
    mid = nn.Module()
    mid.block_1, mid.block_2 = (blocks.res(width, width, zq, groups) for _ in range(2))
    mid.attn_1 = AttnBlock(blocks.norm(width, zq, groups), width)
    return mid


def _run_mid(mid: Any, x: Tensor, zq: Tensor | None = None) -> Tensor:
    return mid.block_2(mid.attn_1(mid.block_1(x, zq), zq), zq)


class Encoder(nn.Module):
    """Images [B, 3, H, W] -> [B, code_dim, h, w]."""

    def __init__(
        self,
        widths: Sequence[int],
        blocks: int,
        attention_levels: Sequence[int],
        groups: int,
        patch: int,
        code_dim: int,
        kinds: type[Blocks] = Blocks,
    ) -> None:
        super().__init__()
        self.patch, self.code_dim = patch, code_dim
        self.conv_in = nn.Conv2d(3 * patch**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            level = _level(kinds, widths[max(i - 1, 0)], width, blocks, i in attention_levels, 0, groups)
            if i < len(widths) - 1:
                level.downsample = kinds.down(width)
            self.down.append(level)
        self.mid = _mid(kinds, widths[-1], 0, groups)
        self.norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], code_dim, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_in(F.pixel_unshuffle(images, self.patch))
        for level in self.down:
            x = _run_level(level, x)
            if hasattr(level, "downsample"):
                x = level.downsample(x)
        x = F.silu(self.norm_out(_run_mid(self.mid, x)))
        return self.conv_out(x) + x.unflatten(1, (self.code_dim, -1)).mean(dim=2)


class Decoder(nn.Module):
    """z, code map [B, code_channels, h, w] -> images [B, 3, H, W]."""

    def __init__(
        self,
        widths: Sequence[int],
        blocks: int,
        attention_levels: Sequence[int],
        groups: int,
        patch: int,
        code_channels: int,
        kinds: type[Blocks] = Blocks,
    ) -> None:
        super().__init__()
        self.patch, self.repeat = patch, widths[-1] // code_channels
        self.conv_in = nn.Conv2d(code_channels, widths[-1], 3, padding=1)
        self.mid = _mid(kinds, widths[-1], code_channels, groups)
        levels = []
        for i, width in enumerate(widths):
            width_in = widths[min(i + 1, len(widths) - 1)]
            level = _level(kinds, width_in, width, blocks, i in attention_levels, code_channels, groups)
            if i:
                level.upsample = kinds.up(width)
            levels.append(level)
        self.up = nn.ModuleList(levels)
        self.norm_out = kinds.norm(widths[0], code_channels, groups)
        self.conv_out = nn.Conv2d(widths[0], 3 * patch**2, 3, padding=1)

    def forward(self, z: Tensor, zq: Tensor) -> Tensor:
        x = _run_mid(self.mid, self.conv_in(z) + z.repeat_interleave(self.repeat, dim=1), zq)
        for level in reversed(self.up):
            x = _run_level(level, x, zq)
            if hasattr(level, "upsample"):
                x = level.upsample(x)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x, zq))), self.patch)


class SimVQ(nn.Module):
    """Frozen codebook behind a learned linear map; [..., dim] -> (straight-through codes, loss, indices)."""

    def __init__(self, codes: int, dim: int, beta: float = 0.25) -> None:
        super().__init__()
        self.beta = beta
        self.register_buffer("frozen_codebook", torch.randn(codes, dim) * dim**-0.5)
        self.code_transform = nn.Linear(dim, dim, bias=False)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        codebook = self.code_transform(self.frozen_codebook)
        with torch.no_grad():
            indices = torch.cdist(z.flatten(0, -2), codebook).argmin(dim=-1).reshape(z.shape[:-1])
        codes = codebook[indices]
        loss = F.mse_loss(codes, z.detach()) + self.beta * F.mse_loss(z, codes.detach())
        return z + (codes - z).detach(), loss, indices


class PixelTokenizer(nn.Module):
    """The whole pixel branch; sizes as in configs/models.py. Images [B, 3, H, W] -> (reconstruction, loss, indices).

    The semantic half of the code map is zero.
    """

    def __init__(self, *, semantic_dim: int, pixel: Any, kinds: type[Blocks] = Blocks) -> None:
        super().__init__()
        channels = semantic_dim + pixel["code_dim"]
        common: dict[str, Any] = dict(groups=pixel["groups"], patch=pixel["patch"], kinds=kinds)
        self.semantic_dim = semantic_dim
        self.pixel_encoder = Encoder(**pixel["encoder"], **common, code_dim=pixel["code_dim"])
        self.pixel_quant_conv = nn.Conv2d(pixel["code_dim"], pixel["code_dim"], 1)
        self.pixel_quantizer = SimVQ(pixel["codes"], pixel["code_dim"])
        self.pixel_post_quant_conv = nn.Conv2d(channels, channels, 1)
        self.pixel_decoder = Decoder(**pixel["decoder"], **common, code_channels=channels)

    def decode(self, code_map: Tensor) -> Tensor:
        return self.pixel_decoder(self.pixel_post_quant_conv(code_map), code_map)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = self.pixel_quant_conv(self.pixel_encoder(images)).permute(0, 2, 3, 1)
        codes, loss, indices = self.pixel_quantizer(z)
        codes = codes.permute(0, 3, 1, 2)
        semantic = codes.new_zeros(codes.shape[0], self.semantic_dim, *codes.shape[2:])
        return self.decode(torch.cat([semantic, codes], dim=1)), loss, indices
