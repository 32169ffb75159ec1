# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""De-duplication of pictures: hashes are taken in parallel, the decision is made once, over all records, in order.

Exact duplicates share the hash of their decoded pixels, so the same picture in another container or with other metadata
is found. Near-duplicates differ in at most `near` of the 64 bits of the DCT perceptual hash. Of a group the first is
kept, and test comes before validation before train: a held-out picture stays held out. Of conversations many are about
one picture: they are duplicates only where their words are the same, too.
"""

import hashlib
import json
from collections.abc import Iterable

import imagehash
import numpy as np
from PIL import Image

from data_pipelines.example import Turn

_SPLIT_ORDER = {"test": 0, "validation": 1}
_BITS = 64


def hashes(images: list[Image.Image], near: int) -> tuple[str, int | None]:
    """(exact hash of all pictures of a record, perceptual hash of its first); the latter only if near >= 0."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr(image.size).encode())
        digest.update(image.tobytes())
    return digest.hexdigest(), int(str(imagehash.phash(images[0])), 16) if near >= 0 and images else None


def with_words(pictures: str, turns: list[Turn]) -> str:
    """The exact hash of a conversation about pictures with this exact hash."""
    said = json.dumps([pictures, *([turn.role, turn.text, turn.images] for turn in turns)])
    return hashlib.sha256(said.encode()).hexdigest()


def duplicates(records: Iterable[tuple[str, str, int | None]], near: int) -> dict[int, str]:
    """{index: reason} of the records to drop.

    Args:
      records: (split, exact hash, perceptual hash) in the order of the data set.
      near: largest number of differing bits of a near-duplicate; below 0 only exact ones are dropped.
    """
    records = list(records)
    order = sorted(range(len(records)), key=lambda i: _SPLIT_ORDER.get(records[i][0], 2))  # stable
    seen, close, dropped = set(), _Close(near) if near >= 0 else None, {}
    for i in order:
        _, exact, perceptual = records[i]
        if exact in seen:
            dropped[i] = "exact duplicate"
        elif close is not None and perceptual is not None and not close.add(perceptual):
            dropped[i] = "near duplicate"
        seen.add(exact)
    return dropped


class _Close:
    """A set of 64-bit hashes with look-up within `near` bits.

    Cut into near + 1 bands, two hashes within `near` bits agree in at least one whole band, so only hashes that share a
    band are compared: exact, and far from quadratic.
    """

    def __init__(self, near: int):
        self._near = near
        cuts = np.linspace(0, _BITS, near + 2).astype(int)
        self._bands = [(int(a), (1 << int(b - a)) - 1) for a, b in zip(cuts, cuts[1:])]
        self._tables: list[dict[int, list[int]]] = [{} for _ in self._bands]

    def add(self, value: int) -> bool:
        """Adds the hash; False (and not added) where one within `near` bits is there already."""
        keys = [(value >> shift) & mask for shift, mask in self._bands]
        for table, key in zip(self._tables, keys):
            if any((value ^ other).bit_count() <= self._near for other in table.get(key, ())):
                return False
        for table, key in zip(self._tables, keys):
            table.setdefault(key, []).append(value)
        return True
