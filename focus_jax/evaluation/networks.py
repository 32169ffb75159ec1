# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks that only measure, with the weights that a user gives, and distances of pictures in their features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import batches
from focus_jax.models.inception import Inception
from focus_jax.models.perceptual import LPIPS
from focus_jax.stages.tokenizer import to_float
from focus_jax.training import store
from focus_jax.training.parts import unflatten
from focus_jax.weights import inception, vgg16


def imported(file: str, part: str, shapes: Mapping[str, tuple[int, ...]], field: str) -> dict[str, Any]:
    """Parameters of one part, float32, out of a file that `convert import` wrote; shapes: all that it must hold.

    Raises: UserError, naming the field, where the file is none of ours, holds another network or lacks something.
    """
    entries = store.catalogue(file, "raw", field).entries
    if missing := [path for path in shapes if path not in entries]:
        held = any(path.startswith(f"{part}/") for path in entries)
        raise UserError(f"{field}: {file} " + (f"lacks {missing[0]}." if held else f"holds no part {part}."))
    targets = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes.items()}
    return unflatten(store.read(entries, targets))[part]


def perceptual_distance(a: np.ndarray, b: np.ndarray, file: str, batch_size: int) -> np.ndarray:
    """LPIPS [N] of pictures uint8 [N, H, W, 3]; file: imported weights, "" = the fixed random network."""
    net, shape = LPIPS(), (1, *a.shape[1:])
    if file:
        params = imported(file, "perceptual", vgg16.lpips_shapes(), "config.perceptual")
    else:
        params = nn.unbox(jax.jit(net.init)(jax.random.key(0), jnp.zeros(shape), jnp.zeros(shape)))["params"]
    distance = jax.jit(lambda p, x, y: net.apply({"params": p}, to_float(x), to_float(y)))
    return _in_batches(functools.partial(distance, params), batch_size, a, b)


def rfid(a: np.ndarray, b: np.ndarray, file: str, batch_size: int) -> float:
    """FID of two sets of pictures uint8 [N, H, W, 3]; file: imported weights of its Inception-v3. Raises: UserError."""
    params = imported(file, inception.PART, inception.shapes(), "config.inception")
    features = jax.jit(lambda p, x: Inception().apply({"params": p}, to_float(x)))
    return frechet(*(_in_batches(functools.partial(features, params), batch_size, x) for x in (a, b)))


def _in_batches(function: Callable[..., jax.Array], size: int, *arrays: np.ndarray) -> np.ndarray:
    """function of the rows of arrays [N, ...], `size` at a time -> what it gives for all of them [N, ...]."""
    each = batches(len(arrays[0]), size)
    return np.concatenate([np.asarray(function(*(x[rows] for x in arrays)))[:count] for rows, count in each])


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance of the Gaussians with the mean and covariance of features [N, C] and [M, C].

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), arXiv 1706.08500 Eq 6. The last trace is the sum of singular
    values of R_a R_b^T where R^T R is a covariance, which needs no root of a matrix that few pictures leave singular.
    Raises: ValueError for less than two rows.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError("a covariance needs two rows")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    means = a.mean(axis=0), b.mean(axis=0)
    roots = [np.linalg.qr(x - m, mode="r") / np.sqrt(len(x) - 1) for x, m in zip((a, b), means)]
    cross = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return float(((means[0] - means[1]) ** 2).sum() + sum((r**2).sum() for r in roots) - 2.0 * cross)
