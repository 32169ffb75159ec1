# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures and sources that the tests of the data share. Importable by the loader's worker processes."""

import hashlib
import io

import numpy as np
from PIL import Image as PilImage

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Image


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [H, W, 3], smooth enough to survive JPEG and rich enough for a perceptual hash."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(PilImage.fromarray(small).resize((width, height), PilImage.Resampling.BICUBIC))


def encoded(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    PilImage.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


class Numbered:
    """A source whose record i is a picture of the one colour (i // 256, i % 256, mark); records in `broken` are bad."""

    def __init__(self, name: str, length: int, mark: int = 0, size: int = 16, broken: tuple[int, ...] = ()):
        self.name, self.length, self.mark, self.size, self.broken = name, length, mark, size, broken
        self.fingerprint = hashlib.sha256(repr((name, length, mark, size, broken)).encode()).hexdigest()

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if not 0 <= index < self.length:
            raise IndexError(index)
        key = f"{self.name}-{index}"
        if index in self.broken:
            raise DataError(f"{key}: broken on purpose, expected a picture.")
        colour = np.array([index // 256, index % 256, self.mark], np.uint8)
        data = encoded(np.broadcast_to(colour, (self.size, self.size, 3)))
        return Example(id=key, images=[Image(data=data, width=self.size, height=self.size)])


def numbers(batch: dict) -> list[tuple[int, int]]:
    """(mark, record number) of every row of a batch made from Numbered sources."""
    pixels = batch["image"][:, 0, 0].astype(int)
    return [(int(b), int(r) * 256 + int(g)) for r, g, b in pixels]
