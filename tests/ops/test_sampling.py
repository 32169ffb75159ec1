# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Values between cells beside jax's own interpolation, borders and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from focus_jax.ops.sampling import bilinear

X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 7, 3)), jnp.float32)
POINTS = jnp.asarray(np.random.default_rng(1).random((2, 11, 2)), jnp.float32)


def test_bilinear_equals_map_coordinates():
    found = bilinear(X, POINTS)
    for b in range(2):
        at = [POINTS[b, :, 1] * 5 - 0.5, POINTS[b, :, 0] * 7 - 0.5]
        for c in range(3):
            want = map_coordinates(X[b, :, :, c], at, order=1, mode="nearest")
            np.testing.assert_allclose(found[b, :, c], want, atol=1e-5)


def test_centre_of_a_cell_gives_its_value_and_corners_the_border():
    points = jnp.array([[[2.5 / 7, 1.5 / 5], [0.0, 0.0], [1.0, 1.0], [9.0, -3.0]]] * 2)
    found = bilinear(X, points)
    want = jnp.stack([X[:, 1, 2], X[:, 0, 0], X[:, 4, 6], X[:, 0, 6]], axis=1)
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_gradient_reaches_the_four_cells_around():
    g = jax.grad(lambda x: bilinear(x, jnp.array([[[3.0 / 7, 2.0 / 5]]])).sum())(X[:1])
    assert np.count_nonzero(np.asarray(g)[0, :, :, 0]) == 4
