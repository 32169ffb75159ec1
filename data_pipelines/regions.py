# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Hints that a user draws on a picture: points, scribbles, boxes and masks, made from masks as for COCO-Interactive.

The recipe is PSALM's (arXiv:2403.14598), part by part of the mask: a point near the centre of mass, drawn as a disc;
the diagonal of a jittered box bent by a sine, drawn as a stroke; the box, a little too large or too small; the mask,
blurred and cut at its mean. Its lengths are pixels of pictures whose longer side is 640; here they scale with the
picture.
"""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from scipy import ndimage

from data_pipelines.errors import DataError

KINDS = ("point", "scribble", "box", "mask")
_REFERENCE = 640.0  # longer side of the pictures that the lengths below belong to
_DISC, _STROKE, _BLUR = (
    10.0,
    5.0,
    2.0,
)  # radius of a point's disc and of a stroke, sigma of the blur; at least one pixel
_LEAST = 5.0  # area of a part that is too small to be pointed at
_AMPLITUDE, _FREQUENCY = (10.0, 20.0), (0.2, 1.0)  # of the sine, pixels and periods along a stroke
_BOX, _DIAGONAL = (0.9, 1.1), (0.5, 1.2)  # scale of a box, and of either side of the box whose diagonal is a stroke
_OVERLAP = 0.5  # least intersection over union of that box with the part's box
_TRIES = 1000


class Numbers(Protocol):
    """Where the randomness comes from: a numpy Generator (seeds.generator) or the world's Draws."""

    def random(self) -> float:
        """Uniform in [0, 1)."""


def region(kind: str, mask: np.ndarray, d: Numbers) -> np.ndarray:
    """A hint at what `mask` shows; parts that do not touch are hinted at one by one.

    Args:
      kind: of KINDS; mask: bool [H, W] of the picture; d: the same numbers give the same hint.

    Returns: bool [H, W], never empty, on the mask in at least one pixel; what would lie outside the picture is cut off.
    Raises: DataError for an unknown kind, a mask that is empty, not of two dimensions or of parts too small to be
      pointed at, and where _TRIES strokes missed.
    """
    mask = np.asarray(mask, bool)
    if kind not in KINDS:
        raise DataError(f"regions: kind is {kind!r}, expected one of {', '.join(KINDS)}.")
    if mask.ndim != 2:
        raise DataError(f"regions: the mask has shape {mask.shape}, expected [H, W].")
    if not mask.any():
        raise DataError("regions: the mask is empty, expected at least one pixel of the picture in it.")
    scale = max(mask.shape) / _REFERENCE
    if kind == "mask":
        return _smooth(mask, max(1.0, _BLUR * scale))
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    parts = [part for part in (labels == i + 1 for i in range(count)) if part.sum() > _LEAST * scale * scale]
    if not parts:
        least = _LEAST * scale * scale
        raise DataError(f"regions: no part of the mask is larger than {least:.1f} pixels, expected one to point at.")
    drawn = np.logical_or.reduce([_MAKE[kind](part, scale, d) for part in parts])
    return drawn if kind == "box" else _thick(drawn, (_DISC if kind == "point" else _STROKE) * scale)


def point(x: float, y: float, height: int, width: int) -> np.ndarray:
    """bool [height, width]: the disc around a user's own click, in pixels. Raises: DataError outside the picture."""
    if not (0 <= x < width and 0 <= y < height):
        raise DataError(f"regions: point ({x:g}, {y:g}) is outside the picture, expected x < {width} and y < {height}.")
    seed = np.zeros((height, width), bool)
    seed[int(y), int(x)] = True
    return _thick(seed, _DISC * max(height, width) / _REFERENCE)


def box(x: float, y: float, w: float, h: float, height: int, width: int) -> np.ndarray:
    """bool [height, width]: a user's own box, in pixels. Raises: DataError where none of it lies in the picture."""
    out = _filled(y, x, y + h, x + w, (height, width))
    if not out.any():
        raise DataError(
            f"regions: box ({x:g}, {y:g}, {w:g}, {h:g}) covers no pixel of the picture, "
            f"expected one in {width} x {height} pixels."
        )
    return out


# ------------------------------------------------------------------------------------------------------ the recipe
def _point(part: np.ndarray, scale: float, d: Numbers) -> np.ndarray:
    top, left, bottom, right = bounding_box(part)
    rows, columns = np.nonzero(part)
    y, x = float(rows.mean()), float(columns.mean())
    reach = 0.5 * min(bottom - top, right - left)
    seed = np.zeros(part.shape, bool)
    for _ in range(_TRIES):
        angle = 2 * math.pi * d.random()
        row, column = int(y + reach * d.random() * math.cos(angle)), int(x + reach * d.random() * math.sin(angle))
        if 0 <= row < part.shape[0] and 0 <= column < part.shape[1] and part[row, column]:
            break
    else:  # a part that is nowhere near its centre of mass
        nearest = int(np.argmin((rows - y) ** 2 + (columns - x) ** 2))
        row, column = int(rows[nearest]), int(columns[nearest])
    seed[row, column] = True
    return seed


def _box(part: np.ndarray, scale: float, d: Numbers) -> np.ndarray:
    top, left, bottom, right = bounding_box(part)
    grow = (_between(d, _BOX) - 1.0) / 2
    high, wide = grow * (bottom - top), grow * (right - left)
    return _filled(top - high, left - wide, bottom + high, right + wide, part.shape)


def _scribble(part: np.ndarray, scale: float, d: Numbers) -> np.ndarray:
    bounds = bounding_box(part)
    high, wide = bounds[2] - bounds[0], bounds[3] - bounds[1]
    rows, columns = np.nonzero(part)
    y, x = float(rows.mean()) + 0.5, float(columns.mean()) + 0.5
    for _ in range(_TRIES):
        h, w = _between(d, _DIAGONAL) * high / 2, _between(d, _DIAGONAL) * wide / 2
        top, left = max(0.0, y - h), max(0.0, x - w)
        bottom, right = min(float(part.shape[0]), y + h), min(float(part.shape[1]), x + w)
        if _iou((top, left, bottom, right), bounds) < _OVERLAP:
            continue
        start, end = ((top, left), (bottom, right)) if d.random() < 0.5 else ((bottom, left), (top, right))
        amplitude, phase = _between(d, _AMPLITUDE) * scale, 2 * math.pi * d.random()
        along = np.linspace(0.0, 1.0, 2 + 4 * max(part.shape))
        wave = amplitude * np.sin(2 * math.pi * _between(d, _FREQUENCY) * along + phase)
        path = np.zeros(part.shape, bool)
        path[
            np.clip(start[0] + (end[0] - start[0]) * along + wave, 0, part.shape[0] - 1).astype(int),
            np.clip(start[1] + (end[1] - start[1]) * along, 0, part.shape[1] - 1).astype(int),
        ] = True
        if (path & part).any():  # bent past a thin part, the stroke would point at nothing
            return path
    raise DataError(f"regions: {_TRIES} scribbles missed a part of the mask, expected one to touch it.")


def _smooth(mask: np.ndarray, sigma: float) -> np.ndarray:
    blurred = ndimage.gaussian_filter(mask.astype(np.float64), sigma)
    return blurred >= blurred.mean() - 1e-9  # a mask of the whole picture is its own mean


_MAKE: dict[str, Callable[[np.ndarray, float, Numbers], np.ndarray]] = {
    "point": _point,
    "scribble": _scribble,
    "box": _box,
}


# --------------------------------------------------------------------------------------------------------- drawing
def _between(d: Numbers, bounds: tuple[float, float]) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * d.random()


def bounding_box(part: np.ndarray) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of a mask [H, W] that is not empty, the last two behind the last pixel."""
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    both = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    return both / (area(a) + area(b) - both)


def _filled(top: float, left: float, bottom: float, right: float, shape: tuple[int, ...]) -> np.ndarray:
    """Edges rounded to whole pixels and cut to the picture."""
    out = np.zeros(shape, bool)
    cut = lambda low, high, size: slice(max(0, min(size, round(low))), max(0, min(size, round(high))))
    out[cut(top, bottom, shape[0]), cut(left, right, shape[1])] = True
    return out


def _thick(seed: np.ndarray, radius: float) -> np.ndarray:
    return ndimage.distance_transform_edt(~seed) <= max(1.0, radius)
