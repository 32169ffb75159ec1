# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Masks as public annotation files hold them: COCO's polygons and run lengths, and pictures of ids.

Run lengths are read here, not by pycocotools, whose C code trusts what it is given. Polygons are its affair, for
figures compare only where all draw them alike.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as PilImage
from pycocotools import mask as coco

from data_pipelines import transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Mask

FAR = 4  # sides of a picture beyond which a polygon is no slip: pycocotools would ask for as much memory


def coco_mask(segmentation: Any, height: int, width: int, key: str) -> Mask:
    """COCO's field `segmentation` of a picture: polygons [[x, y, x, y, ...], ...], or run lengths {size, counts} with
    counts as numbers or as COCO's letters; a list of these is their union.

    Raises: DataError, naming `key`, for another form, another size, fewer than three points, or counts that do not
    cover the picture.
    """
    if isinstance(segmentation, Mapping):
        return _runs(segmentation, height, width, key)
    if not isinstance(segmentation, Sequence) or isinstance(segmentation, str | bytes) or not segmentation:
        raise DataError(f"{key}: segmentation is {_named(segmentation)}, expected polygons or run lengths.")
    if all(isinstance(part, Mapping) for part in segmentation):
        parts = [_runs(part, height, width, key).to_array() for part in segmentation]
    else:
        parts = [polygon(part, height, width, key) for part in segmentation]
    return Mask.from_array(np.logical_or.reduce(parts))


def polygon(points: Any, height: int, width: int, key: str) -> np.ndarray:
    """[x, y, x, y, ...] in pixels -> bool [H, W], as pycocotools fills it. Raises: DataError."""
    try:
        flat = np.asarray(points, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{key}: a polygon is {_named(points)}, expected numbers x, y, x, y, ....") from error
    if flat.ndim != 1 or flat.size % 2 or not np.isfinite(flat).all():
        raise DataError(f"{key}: a polygon of shape {list(flat.shape)}, expected finite numbers x, y, x, y, ....")
    if np.abs(flat).max(initial=0) > FAR * max(height, width):
        raise DataError(f"{key}: a polygon reaches to {np.abs(flat).max():g}, far beyond {width} x {height} pixels.")
    if flat.size < 6:
        raise DataError(f"{key}: a polygon of {flat.size // 2} points, expected at least three.")
    return coco.decode(coco.frPyObjects([flat.tolist()], height, width))[..., 0].astype(bool)


def _runs(runs: Mapping, height: int, width: int, key: str) -> Mask:
    size, counts = runs.get("size"), runs.get("counts")
    if size not in ([height, width], (height, width)):
        raise DataError(f"{key}: run lengths of size {size}, expected the picture's [{height}, {width}].")
    if isinstance(counts, str | bytes):
        counts = _letters(counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts, key)
    if not isinstance(counts, Sequence) or any(type(n) is not int or n < 0 for n in counts):
        raise DataError(f"{key}: run lengths are {_named(counts)}, expected numbers from 0 or COCO's letters.")
    if sum(counts) != height * width:
        raise DataError(f"{key}: run lengths sum to {sum(counts)}, expected {height} * {width}.")
    # A run of none joins its neighbours; Mask has none but at its beginning.
    mask = Mask(height=height, width=width, counts=np.array(counts, np.uint32))
    return Mask.from_array(mask.to_array())


def _letters(text: bytes, key: str) -> list[int]:
    """COCO's compressed counts: five bits a letter from '0' on, the sixth says that more follow; from the fourth number
    on differences to the last but one."""
    counts: list[int] = []
    value, shift = 0, 0
    for letter in text:
        bits = letter - 48
        if not 0 <= bits < 64:
            raise DataError(f"{key}: run lengths hold the letter {chr(letter)!r}, expected COCO's, '0' to 'o'.")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise DataError(f"{key}: run lengths end in the middle of a number.")
    return counts


def id_map(data: bytes, size: tuple[int, int], key: str) -> np.ndarray:
    """A picture of ids, R + 256 G + 65536 B or one channel -> int32 [H, W]. Raises: DataError."""
    try:
        image = PilImage.open(io.BytesIO(data), formats=transforms.FORMATS)
        pixels = np.asarray(image if image.mode in ("P", "L", "I", "I;16", "1") else image.convert("RGB"))
    except Exception as error:
        raise DataError(f"{key}: its picture of ids cannot be read ({error}).") from error
    if pixels.shape[:2] != size:
        raise DataError(
            f"{key}: its picture of ids is {pixels.shape[1]} x {pixels.shape[0]}, expected the picture's "
            f"{size[1]} x {size[0]}."
        )
    ids = pixels.astype(np.int64)
    return (ids if ids.ndim == 2 else ids @ np.array([1, 256, 65536])).astype(np.int32)


def picture_size(data: bytes, key: str) -> tuple[int, int]:
    """(height, width) of an encoded picture as displayed. Raises: DataError."""
    image = transforms.decode(data, key)
    return image.height, image.width


def _named(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"a {type(value).__name__}"
