# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Takes a picture apart: what its ground looks like, and how much of each pixel each colour covers."""

import dataclasses

import numpy as np
from scipy import ndimage

from data_pipelines.world.vocabulary import COLOURS, GROUNDS, Preset

DIM, BRIGHT = 0.5, 1.1  # brightness of a thing's surface with its gloss and shade, share of its colour's
_GROUND = 36.0  # farthest that a pixel of the ground lies from its colour at any brightness, RGB levels
_SHARE = 0.05  # least share of the picture that makes a ground
_QUIET = 2.5  # noise below which nothing is smoothed, RGB levels
_UNKNOWN = 40.0  # residual beyond which no colour explains a pixel
_MIXED = 32.0  # what a pixel half covered costs against one wholly covered: only outlines are mixed


@dataclasses.dataclass(frozen=True)
class Layers:
    """A picture, each pixel explained by each colour of the preset as (1 - cover) * ground + light * colour.

    Dark stripes and dots change the light only, so that they stay part of their thing. With colours C:
    raw: float32 [S, S, 3], pixels: the same smoothed where it is noisy, noise: standard deviation in RGB levels.
    ground: float32 [S, S, 3]; name: of GROUNDS, None where too little looks like one.
    colours: float32 [C, 3]; residual: float32 [S, S, C], RGB levels; cover: float32 [S, S, C], 0 where another colour
    explains the pixel clearly better.
    label: int [S, S], k + 1 for colour k that explains it best, -1 for none; covered: float32 [S, S], that one's cover.
    """

    raw: np.ndarray
    pixels: np.ndarray
    noise: float
    name: str | None
    ground: np.ndarray
    colours: np.ndarray
    residual: np.ndarray
    cover: np.ndarray
    label: np.ndarray
    covered: np.ndarray


def layers(raw: np.ndarray, preset: Preset) -> Layers:
    """raw: float32 [S, S, 3] of 0..255."""
    noise = _noise(raw)
    sigma = min(1.0, 0.35 + noise / 30) if noise > _QUIET else 0.0
    pixels = ndimage.gaussian_filter(raw, (sigma, sigma, 0)) if sigma else raw
    name, ground = _ground(pixels)
    colours = np.array([COLOURS[c] for c in preset.colours], np.float32)
    # least squares for 1 - cover and light, then within their bounds; residuals by scalar products
    gg, cc, gc = _dot(ground, ground)[..., None] + 1.0, _dot(colours, colours), ground @ colours.T
    pp, pg, pc = _dot(pixels, pixels)[..., None], _dot(pixels, ground)[..., None], pixels @ colours.T
    det = np.maximum(gg * cc - gc**2, 1.0)
    u, v = (pg * cc - pc * gc) / det, np.maximum((pc * gg - pg * gc) / det, 0.0)
    cover = np.minimum(np.maximum(np.maximum(1.0 - u, v / BRIGHT), 0.0), np.minimum(v / DIM, 1.0))
    light, rest = np.minimum(np.maximum(v, DIM * cover), BRIGHT * cover), 1.0 - cover
    square = pp + rest * (rest * gg - 2 * pg) + light * (light * cc - 2 * pc + 2 * rest * gc)
    residual = np.sqrt(np.maximum(square, 0.0))
    best = (residual + _MIXED * cover * rest).argmin(-1)[..., None]
    least = np.take_along_axis(residual, best, -1)
    covered = np.take_along_axis(cover, best, -1)[..., 0]
    label = np.where(least[..., 0] > _UNKNOWN + 2 * noise, -1, best[..., 0] + 1)
    cover = np.where(residual <= least + 10 + noise, cover, 0.0)
    return Layers(raw, pixels, noise, name, ground, colours, residual, cover, label, covered)


def mixture(pixels: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, 3] as mixtures of two colours [3]: the first one's share [N] and the residual [N], RGB levels.

    The residual is infinite where the two together are darker than things are.
    """
    mix = np.stack([a, b])
    lights = np.clip(pixels @ np.linalg.pinv(mix), 0.0, BRIGHT)
    residual = np.sqrt(((pixels - lights @ mix) ** 2).sum(1))
    both = lights.sum(1)
    return lights[:, 0] / np.maximum(both, 1e-3), np.where(both < DIM, np.inf, residual)


def _noise(pixels: np.ndarray) -> float:
    """Standard deviation of pixel noise (Immerkaer 1996), by the median, which outlines do not move."""
    rows = pixels[:-2] - 2 * pixels[1:-1] + pixels[2:]
    both = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return float(np.median(np.abs(both)) / (6 * 0.6745))


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[...] of [..., 3]; much faster than a sum over so short an axis."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _ground(pixels: np.ndarray) -> tuple[str | None, np.ndarray]:
    """Name of the ground and what it looks like without the things, float32 [S, S, 3]."""
    colours = np.array(list(GROUNDS.values()), np.float32)
    square, along = _dot(colours, colours), pixels @ colours.T
    share = np.clip(along / square, 0.8, 1.2)
    off = _dot(pixels, pixels)[..., None] - 2 * share * along + share**2 * square  # [S, S, grounds], squared
    near = off < _GROUND**2
    count = np.bincount(off.argmin(-1)[near.any(-1)], minlength=len(colours)) / off[..., 0].size
    best = int(np.argmax(count))
    if count[best] < _SHARE:
        return None, np.broadcast_to(np.median(pixels, (0, 1)), pixels.shape)
    mask = near[..., best]
    colour = np.median(pixels[mask], 0)
    mask = (ndimage.binary_erosion(mask) if count[best] > 0.3 else mask).astype(np.float32)
    light = mask * (pixels @ (colour / (colour @ colour)))
    light = (ndimage.gaussian_filter(light, 2.0) + 1e-3) / (ndimage.gaussian_filter(mask, 2.0) + 1e-3)
    return list(GROUNDS)[best], light[..., None] * colour
