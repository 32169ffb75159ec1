# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The torch pixel branch composed from diffusers' DC, SpatialNorm and residual blocks."""

from diffusers.models.attention_processor import SpatialNorm
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d
from diffusers.models.resnet import ResnetBlock2D, ResnetBlockCondNorm2D

from focus_jax.benchmarks import torch_tokenizer as peer

GROUPS = 32  # diffusers' SpatialNorm has no other number


def res_block(width_in, width, code_channels, groups):
    """ResnetBlock2D, or the one with SpatialNorm where there is a code map."""
    if code_channels:
        return ResnetBlockCondNorm2D(
            in_channels=width_in,
            out_channels=width,
            temb_channels=code_channels,
            groups=groups,
            eps=1e-6,
            time_embedding_norm="spatial",
        )
    return ResnetBlock2D(in_channels=width_in, out_channels=width, temb_channels=None, groups=groups, eps=1e-6)


def norm(channels, code_channels, groups):
    """diffusers' SpatialNorm, or a GroupNorm."""
    assert groups == GROUPS
    return SpatialNorm(channels, code_channels) if code_channels else peer.make_norm(channels, 0, groups)


class DiffusersBlocks(peer.Blocks):
    """Same state-dict keys as the release but for `conv_shortcut` (see `released`)."""

    res = staticmethod(res_block)
    norm = staticmethod(norm)
    down = staticmethod(lambda width: DCDownBlock2d(width, width, downsample=True))
    up = staticmethod(lambda width: DCUpBlock2d(width, width, interpolate=False))


def released(arrays):
    """The released key names of {key: array}."""
    return {key.replace("conv_shortcut", "nin_shortcut"): value for key, value in arrays.items()}
