# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures with their standard errors."""

import collections
from collections.abc import Callable, Iterable, Sequence

import numpy as np

Figure = tuple[float, int, float]  # value, n, standard error (0 where it has none)

SEED, RESAMPLES = 0, 1_000  # of the bootstrap


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """dB of each picture, uint8 or float [N, H, W, 3] of 0..255 read as [0, 1]."""
    error = np.mean(((a.astype(np.float64) - b) / 255.0) ** 2, axis=(1, 2, 3))
    return -10.0 * np.log10(np.maximum(error, 1e-10))


def mean(values: Sequence[float] | np.ndarray) -> Figure:
    """Mean of independent values with its standard error. Raises: ValueError for none."""
    x = np.asarray(values, np.float64)
    if not len(x):
        raise ValueError("the mean of no values")
    return float(x.mean()), len(x), float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else 0.0


def clustered(values: Sequence[float] | np.ndarray, groups: Sequence[int] | np.ndarray) -> Figure:
    """Mean of values that are independent between groups only, such as several questions about one scene.

    Args:
      values: [N]; groups: [N], the scene or clip of each.

    Returns: mean, N, and the linearised standard error of a ratio of sums over groups. Groups of one value each give
    what `mean` gives. Raises: ValueError for no values.
    """
    x = np.asarray(values, np.float64)
    value, n, _ = mean(x)
    _, at = np.unique(np.asarray(groups), return_inverse=True)
    residuals = np.bincount(at, weights=x - value)
    g = len(residuals)
    return value, n, float(np.sqrt(g / (g - 1) * (residuals**2).sum()) / n) if g > 1 else 0.0


def most_frequent(values: Iterable[str]) -> str:
    """The first in the alphabet of equals; values: a Counter of them serves as well. Raises: ValueError for none."""
    counts = collections.Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def bootstrapped(sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], n: int) -> Figure:
    """A statistic of sums over scenes, with its standard error from resampling scenes (Efron 1979), seed fixed.

    Args:
      sums: [scenes, ...], what each scene adds. statistic: [..., same axes as one scene's] -> [...], of summed sums.
      n: what the figure counts, such as expressions.
    """
    x = np.asarray(sums, np.float64)
    scenes = len(x)
    value = float(statistic(x.sum(0)))
    if scenes < 2:
        return value, n, 0.0
    times = np.random.default_rng(SEED).multinomial(scenes, np.full(scenes, 1 / scenes), size=RESAMPLES)
    totals = (times @ x.reshape(scenes, -1)).reshape(RESAMPLES, *x.shape[1:])
    return value, n, float(np.std(statistic(totals), ddof=1))


def sums_by(groups: Sequence[int] | np.ndarray, values: np.ndarray) -> np.ndarray:
    """[N, ...] values summed within each of the [N] groups: [groups, ...], in the order of sorted groups."""
    names, at = np.unique(np.asarray(groups), return_inverse=True)
    out = np.zeros((len(names), *values.shape[1:]), np.float64)
    np.add.at(out, at, values)
    return out
