# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A stream of random numbers by name. It reads raw bits, whose stream numpy guarantees across versions."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Draws:
    """Numbers that follow from the words alone: Draws(version, preset, split, index, purpose)."""

    def __init__(self, *words: int):
        self._bits = np.random.PCG64(np.random.SeedSequence([int(word) for word in words]))
        self._block: list[float] = []

    def random(self) -> float:
        """Uniform in [0, 1)."""
        if not self._block:
            self._block = ((self._bits.random_raw(64) >> np.uint64(11)) * 2.0**-53).tolist()
        return self._block.pop()

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def integer(self, low: int, high: int) -> int:
        """low <= n <= high."""
        return low + int((high - low + 1) * self.random())

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def choice(self, options: Sequence[T]) -> T:
        return options[int(len(options) * self.random())]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        out = list(options)
        for i in range(len(out) - 1, 0, -1):
            j = int((i + 1) * self.random())
            out[i], out[j] = out[j], out[i]
        return out

    def normal(self) -> float:
        """Standard normal (Box and Muller 1958)."""
        return math.sqrt(-2.0 * math.log(1.0 - self.random())) * math.cos(2.0 * math.pi * self.random())

    def array(self, *shape: int) -> np.ndarray:
        """Uniform in [0, 1), float64."""
        raw = self._bits.random_raw(math.prod(shape))
        return ((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)
