# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""SDXL's autoencoder (AutoencoderKL of arXiv 2112.10752 with the sizes of arXiv 2307.01952): pictures to latents and
back. It stays frozen but in its own training; decoding is float32, for half precision overflows in the release.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.errors import UserError
from focus_jax.models.layers import GroupNorm
from focus_jax.models.parameters import Conv, at_block_boundary
from focus_jax.models.pixel_branch import Level, Mid
from focus_jax.ops.resize import pixel_shuffle, pixel_unshuffle

LOG_VARIANCE = (-30.0, 20.0)  # what it is cut to


@flax.struct.dataclass
class Latents:
    """A normal distribution for each position, unscaled. mean, log_variance: float32 [B, h, w, C]."""

    mean: jax.Array
    log_variance: jax.Array

    def sample(self, noise: jax.Array) -> jax.Array:
        """noise: of deviation 1, shape of mean."""
        return self.mean + jnp.exp(0.5 * self.log_variance) * noise

    def divergence(self) -> jax.Array:
        """KL divergence from the standard normal distribution in nats, summed over positions and channels, [B]."""
        each = self.mean**2 + jnp.exp(self.log_variance) - 1.0 - self.log_variance
        return 0.5 * jnp.sum(each, axis=(1, 2, 3))


class Encoder(nn.Module):
    """Images [B, H, W, 3] -> [B, H / stride, W / stride, 2 * channels]."""

    widths: tuple[int, ...]
    blocks: int
    channels: int
    groups: int
    patch: int
    scan: bool
    remat: str
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        x = pixel_unshuffle(images.astype(self.dtype), self.patch)
        x = at_block_boundary(Conv(self.widths[0], **types, name="conv_in")(x))
        last = len(self.widths) - 1
        for i, width in enumerate(self.widths):
            down = "conv_down" if i < last else ""
            level = functools.partial(Level, width, self.blocks, False, self.groups, down, False, self.scan, self.remat)
            x = level(**types, name=f"down_{i}")(x)
        x = Mid(self.groups, **types, name="mid")(x)
        x = nn.swish(GroupNorm(self.groups, **types, name="norm_out")(x))
        return Conv(2 * self.channels, **types, name="conv_out")(x)


class Decoder(nn.Module):
    """Latents [B, h, w, channels] -> images [B, h * stride, w * stride, 3]. Level up_0 runs first and is the widest."""

    widths: tuple[int, ...]
    blocks: int
    groups: int
    patch: int
    scan: bool
    remat: str
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        x = at_block_boundary(Conv(self.widths[-1], **types, name="conv_in")(z.astype(self.dtype)))
        x = Mid(self.groups, **types, name="mid")(x)
        last = len(self.widths) - 1
        for i, width in enumerate(reversed(self.widths)):
            up = "conv_up" if i < last else ""
            level = functools.partial(
                Level, width, self.blocks + 1, False, self.groups, up, False, self.scan, self.remat
            )
            x = level(**types, name=f"up_{i}")(x)
        x = nn.swish(GroupNorm(self.groups, **types, name="norm_out")(x))
        return pixel_shuffle(Conv(3 * self.patch**2, **types, name="conv_out")(x), self.patch)


class VAE(nn.Module):
    """Sizes default to SDXL's.

    widths: of the levels from fine to coarse, between which the map is halved; blocks: a level of the encoder, one more
    in the decoder; channels: of the latents; groups: of the norms, eps 1e-6; patch: pixel-unshuffle before the first
    convolution; scale: what latents are multiplied by, so that the diffusion model sees deviation 1.
    scan, remat: how the layers run (models/stack.py).
    """

    widths: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    channels: int = 4
    groups: int = 32
    patch: int = 1
    scale: float = 0.13025
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        for width in self.widths:
            if width % self.groups:
                raise UserError(f"vae.widths: {width} is not divisible by the {self.groups} groups of its norms.")
        if self.scale <= 0:
            raise UserError(f"vae.scale: {self.scale}, expected more than 0.")
        super().__post_init__()

    @property
    def stride(self) -> int:
        """Pixels a latent covers on each side."""
        return self.patch * 2 ** (len(self.widths) - 1)

    def setup(self) -> None:
        common = dict(groups=self.groups, patch=self.patch, scan=self.scan, remat=self.remat)
        types = dict(param_dtype=self.param_dtype)
        self.encoder = Encoder(self.widths, self.blocks, self.channels, **common, dtype=self.dtype, **types)
        self.quant_conv = Conv(2 * self.channels, kernel=1, **types)
        self.post_quant_conv = Conv(self.channels, kernel=1, **types)
        self.decoder = Decoder(self.widths, self.blocks, **common, **types)

    def encode(self, images: jax.Array) -> Latents:
        """Images [B, H, W, 3] in [-1, 1] -> distributions [B, h, w, channels], not yet scaled."""
        moments = self.quant_conv(self.encoder(images).astype(jnp.float32))
        mean, log_variance = jnp.split(moments, 2, axis=-1)
        return Latents(mean, jnp.clip(log_variance, *LOG_VARIANCE))

    def decode(self, latents: jax.Array) -> jax.Array:
        """Latents [B, h, w, channels], not scaled -> images [B, H, W, 3] float32, not clipped."""
        return self.decoder(self.post_quant_conv(latents.astype(jnp.float32)))

    def __call__(self, images: jax.Array, noise: jax.Array | None = None) -> tuple[jax.Array, Latents]:
        """(images back, their latents); noise: of the sample that is decoded, None for the mean."""
        latents = self.encode(images)
        return self.decode(latents.mean if noise is None else latents.sample(noise)), latents


def vae(**config: Any) -> VAE:
    """The model of a size table (configs/models.py): vae(**configs.models.vae("tiny"), dtype=...)."""
    return VAE(**{**config, "widths": tuple(config["widths"])} if "widths" in config else config)


def tiled(run: Callable[[np.ndarray], np.ndarray], x: np.ndarray, tile: int, overlap: int, scale: float) -> np.ndarray:
    """run on squares of a map too large for it, [B, H, W, C] -> [B, H scale, W scale, C'], blended where they overlap.

    Args:
      run: [B, h, w, C] -> [B, h scale, w scale, C'], of one size for all squares. tile, overlap: in positions of x.
        scale: how many positions of the result one of x is, on a side; 1/8 of a VAE's encoder.

    A side shorter than the tile is not cut, so that a map that fits goes through run as it is. Norms see one square
    only, so that the result is not that of the whole map; the wider the overlap, the less a seam shows.
    Raises: UserError.
    """
    unit = max(1, round(1 / scale))
    if not 0 < overlap < tile or any(n % unit for n in (tile, overlap, *x.shape[1:3])):
        told = f"tile {tile}, overlap {overlap} and {x.shape[1]} x {x.shape[2]} positions"
        raise UserError(f"tile: {told}, expected 0 < overlap < tile and multiples of {unit}.")
    height, width = (min(tile, n) for n in x.shape[1:3])
    if (height, width) == x.shape[1:3]:
        return run(x)
    size = lambda n: round(n * scale)

    def ramp(length: int) -> np.ndarray:
        rising = np.minimum(np.arange(size(length)) + 1, size(overlap))
        return np.minimum(rising, rising[::-1]) / size(overlap)

    out = weight = None
    blend = (ramp(height)[:, None] * ramp(width)[None])[None, :, :, None]
    for top in _starts(x.shape[1], height, overlap, scale):
        for left in _starts(x.shape[2], width, overlap, scale):
            part = np.asarray(run(x[:, top : top + height, left : left + width]), np.float32)
            if out is None:
                shape = x.shape[0], size(x.shape[1]), size(x.shape[2]), part.shape[-1]
                out, weight = np.zeros(shape, np.float32), np.zeros((1, *shape[1:3], 1), np.float32)
            rows, columns = (slice(size(n), size(n) + size(length)) for n, length in ((top, height), (left, width)))
            out[:, rows, columns] += blend * part
            weight[:, rows, columns] += blend
    assert out is not None and weight is not None
    return out / weight


def _starts(length: int, tile: int, overlap: int, scale: float) -> list[int]:
    """Where squares begin, the last at the end; whole positions of the result."""
    unit = max(1, round(1 / scale))
    starts = list(range(0, length - tile, max(unit, (tile - overlap) // unit * unit)))
    return [*starts, length - tile]
