# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Deterministic randomness by name: every draw is a function of (seed, purpose, counters), never of call order.

Permutations sort raw output of a bit generator, whose stream numpy guarantees across versions (that of Generator's
methods it does not), because the order of the data must survive an upgrade in the middle of a run.
"""

import numpy as np

# purposes: one number each, so that two uses never share a stream
BLOCK, ROWS, SHUFFLE, AUGMENT, SUBSTITUTE, MIX = range(6)


def _sequence(*words: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([int(word) for word in words])


def permutation(length: int, *words: int) -> np.ndarray:
    """int64 [length], a permutation of range(length)."""
    return np.argsort(np.random.PCG64(_sequence(*words)).random_raw(length), kind="stable")


def integer(*words: int) -> int:
    """One uint32."""
    return int(_sequence(*words).generate_state(1)[0])


def generator(*words: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(_sequence(*words)))
