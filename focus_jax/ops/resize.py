# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Resizing as torch's interpolate does it, on which the released checkpoints rest. Images are [B, H, W, C].

Two of torch's four modes differ from jax.image.resize: bicubic without antialias (a = -0.75, border pixels repeated)
and nearest at ratios that are no integer (floor index instead of pixel centres).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel at distance t."""
    t = np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def bicubic_matrix(n_in: int, n_out: int) -> np.ndarray:
    """[n_out, n_in] float32: a = -0.75, half-pixel centres, four taps, taps beyond the border fall on the border."""
    matrix = np.zeros((n_out, n_in))
    source = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
    base = np.floor(source).astype(int)
    for tap in range(-1, 3):
        column = np.clip(base + tap, 0, n_in - 1)
        np.add.at(matrix, (np.arange(n_out), column), _cubic(source - (base + tap), -0.75))
    return matrix.astype(np.float32)


def bicubic(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B, H, W, C] -> [B, *size, C] as F.interpolate(mode="bicubic", antialias=False, align_corners=False)."""
    rows, columns = bicubic_matrix(x.shape[1], size[0]), bicubic_matrix(x.shape[2], size[1])
    y = jnp.einsum("Hh,bhwc->bHwc", rows, x.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)
    y = jnp.einsum("Ww,bHwc->bHWc", columns, y, precision=jax.lax.Precision.HIGHEST)
    return y.astype(x.dtype)


def _image_resize(x: jax.Array, size: tuple[int, int], method: str, antialias: bool) -> jax.Array:
    shape = (x.shape[0], *size, x.shape[3])
    y = jax.image.resize(x.astype(jnp.float32), shape, method, antialias=antialias, precision=jax.lax.Precision.HIGHEST)
    return y.astype(x.dtype)


def bicubic_antialias(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B, H, W, C] -> [B, *size, C] as F.interpolate(mode="bicubic", antialias=True) (Keys a = -0.5, renormalised)."""
    return _image_resize(x, size, "cubic", True)


def bilinear(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B, H, W, C] -> [B, *size, C] as F.interpolate(mode="bilinear", antialias=False, align_corners=False)."""
    return _image_resize(x, size, "linear", False)


def nearest(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """[B, h, w, C] -> [B, H, W, C] as F.interpolate(mode="nearest"): output o reads input floor(o * n_in / n_out)."""
    b, h, w, c = x.shape
    height, width = size
    if height % h == 0 and width % w == 0:  # a broadcast, which XLA fuses into whatever reads it
        sy, sx = height // h, width // w
        y = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, sy, w, sx, c))
        return y.reshape(b, height, width, c)
    rows, columns = np.arange(height) * h // height, np.arange(width) * w // width
    return x[:, rows][:, :, columns]


def area_matrix(n_in: int, n_out: int, extent: float = 1.0) -> np.ndarray:
    """[n_out, n_in] float32: the share of every output cell that each input cell covers; rows add up to 1. extent: the
    share of the input, from its beginning, that the output shows."""
    edges = np.arange(n_out + 1) * extent * n_in / n_out
    low, high = np.maximum(edges[:-1, None], np.arange(n_in)), np.minimum(edges[1:, None], np.arange(n_in) + 1)
    return (np.maximum(high - low, 0) * n_out / (extent * n_in)).astype(np.float32)


def area(x: jax.Array, size: tuple[int, int], extent: tuple[float, float] = (1.0, 1.0)) -> jax.Array:
    """[B, H, W, C] -> [B, *size, C]: means over what each cell covers, in whole and in part. extent: the shares of
    height and width that are shown, the rest at the bottom and on the right being cut off."""
    rows, columns = area_matrix(x.shape[1], size[0], extent[0]), area_matrix(x.shape[2], size[1], extent[1])
    y = jnp.einsum("Hh,bhwc->bHwc", rows, x.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)
    y = jnp.einsum("Ww,bHwc->bHWc", columns, y, precision=jax.lax.Precision.HIGHEST)
    return y.astype(x.dtype)


def pixel_unshuffle(x: jax.Array, factor: int) -> jax.Array:
    """[B, H, W, C] -> [B, H/f, W/f, C*f*f] in torch's channel order c*f*f + dy*f + dx; f = 1 is the identity."""
    if factor == 1:
        return x
    b, h, w, c = x.shape
    y = x.reshape(b, h // factor, factor, w // factor, factor, c)
    return y.transpose(0, 1, 3, 5, 2, 4).reshape(b, h // factor, w // factor, c * factor * factor)


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """[B, H, W, C*f*f] -> [B, H*f, W*f, C], the inverse of `pixel_unshuffle`."""
    if factor == 1:
        return x
    b, h, w, c = x.shape
    y = x.reshape(b, h, w, c // (factor * factor), factor, factor)
    return y.transpose(0, 1, 4, 2, 5, 3).reshape(b, h * factor, w * factor, c // (factor * factor))
