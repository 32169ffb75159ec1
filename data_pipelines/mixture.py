# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The element stream of one sub-stream: weighted sources, each shuffled anew every epoch, by global element index."""

import bisect
from collections.abc import Sequence

import grain

from data_pipelines import seeds
from data_pipelines.errors import DataError


class Mixture:
    """mixture[i] -> (source number, record number) of element i, for any i >= 0.

    What is mixed are record numbers, so that a look-up reads nothing from disk. Each source is seeded, shuffled and
    repeated before mixing; the shuffle differs in every epoch. Sources without records must be left out before.
    """

    def __init__(self, sources: Sequence, weights: Sequence[float], *words: int):
        """words: what the order is drawn from, for example (seed, stream id)."""
        self.sources = list(sources)
        self._starts, parts = [], []
        start = 0
        for number, source in enumerate(self.sources):
            if not len(source):
                raise DataError(f"{source.name}: has no records, expected at least one.")
            self._starts.append(start)
            records = grain.MapDataset.range(start, start + len(source))
            parts.append(records.seed(seeds.integer(*words, seeds.SHUFFLE, number)).shuffle().repeat())
            start += len(source)
        if any(not weight > 0 for weight in weights):
            raise DataError(f"data.sources: the weights are {list(weights)}, expected all above 0.")
        self._mix = grain.MapDataset.mix(parts, weights=list(weights))

    def __getitem__(self, index: int) -> tuple[int, int]:
        record = self._mix[index]
        source = bisect.bisect_right(self._starts, record) - 1
        return source, record - self._starts[source]
