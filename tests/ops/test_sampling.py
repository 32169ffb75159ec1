# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Values between cells beside jax's own interpolation, borders and gradients; the two forms of deformable attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.ndimage import map_coordinates

from focus_jax.ops import sampling
from focus_jax.ops.sampling import at_points, bilinear, deformable_by_gather, deformable_by_matmul

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


def test_points_outside_see_zeros():
    maps = jnp.ones((2, 3, 4, 6))
    points = jnp.array([[0.5, 0.5], [0.0, 0.5], [0.0, 0.0], [-0.2, 0.5], [1.0, 0.5]])
    want = np.array([1.0, 0.5, 0.25, 0.0, 0.5])
    np.testing.assert_allclose(at_points(maps, points), np.broadcast_to(want, (2, 3, 5)), atol=1e-6)


def test_points_may_be_shared_or_each_map_s_own():
    maps = jnp.asarray(np.random.default_rng(2).standard_normal((2, 3, 4, 6)), jnp.float32)
    shared = jnp.asarray(np.random.default_rng(3).random((2, 9, 2)), jnp.float32)
    found = at_points(maps, shared)
    own = at_points(maps, jnp.broadcast_to(shared[:, None], (2, 3, 9, 2)))
    np.testing.assert_array_equal(found, own)
    inside = 0.2 + 0.6 * shared  # where no border is near
    np.testing.assert_allclose(
        at_points(maps, inside).swapaxes(1, 2), bilinear(maps.transpose(0, 2, 3, 1), inside), atol=1e-6
    )


SHAPES = ((2, 3), (4, 5), (7, 6))


def deformable_inputs(dtype=jnp.float32):
    """Points in and around the maps; more queries than one chunk and no multiple of it."""
    rng = np.random.default_rng(4)
    cells, queries, heads = sum(h * w for h, w in SHAPES), 11, 2
    values = jnp.asarray(rng.standard_normal((2, cells, heads, 5)), dtype)
    points = jnp.asarray(rng.uniform(-0.2, 1.2, (2, queries, heads, 3, 4, 2)), jnp.float32)
    weights = jnp.asarray(rng.random((2, queries, heads, 3, 4)), jnp.float32)
    return values, points, weights


@pytest.mark.slow
def test_both_forms_of_deformable_attention_are_equal(monkeypatch):
    monkeypatch.setattr(sampling, "QUERIES", 4)
    values, points, weights = deformable_inputs()
    cotangent = jnp.asarray(np.random.default_rng(5).standard_normal((2, 11, 2, 5)), jnp.float32)

    def run(form):
        loss = lambda v, p, w: jnp.sum(form(v, SHAPES, p, w) * cotangent)
        with jax.default_matmul_precision("highest"):
            return form(values, SHAPES, points, weights), jax.grad(loss, argnums=(0, 1, 2))(values, points, weights)

    (one, grads), (other, others) = run(deformable_by_gather), run(deformable_by_matmul)
    np.testing.assert_allclose(one, other, atol=1e-5)
    for a, b in zip(grads, others):
        assert np.abs(a).max() > 0
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_array_equal(sampling.deformable_attention(values, SHAPES, points, weights), one)


@pytest.mark.parametrize("form", [deformable_by_gather, deformable_by_matmul])
def test_bfloat16_values_keep_their_places(form):
    """Values in bfloat16, places in float32: off by the rounding of the values alone."""
    values, points, weights = deformable_inputs()
    want = form(values, SHAPES, points, weights)
    got = form(values.astype(jnp.bfloat16), SHAPES, points, weights)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(got, np.float32), want, atol=0.05)
