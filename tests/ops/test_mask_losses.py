# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the losses of masks and scores mean: perfect and empty masks, padding, unsure points. Parity with transformers
is in tests/parity/test_mask2former.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.ops import mask_losses

KEYS = jax.random.split(jax.random.key(0), 2)
RNG = np.random.default_rng(0)
TARGETS = np.zeros((2, 3, 32, 32), np.float32)
TARGETS[:, 0, 4:20, 4:28], TARGETS[:, 1, 20:30, 8:16], TARGETS[:, 2, :, :3] = 1, 1, 1
THERE = np.array([[True, True, True], [True, True, False]])
POINTS = 400


def perfect(sure=20.0):
    """Logits of 5 queries at half the size; the queries 4, 2, 0 show the targets."""
    masks = np.full((2, 5, 16, 16), -sure, np.float32)
    for t, q in enumerate((4, 2, 0)):
        masks[:, q] = (TARGETS[:, t].reshape(2, 16, 2, 16, 2).mean(axis=(2, 4)) - 0.5) * 2 * sure
    return masks


@pytest.mark.slow
def test_perfect_masks_are_matched_and_cost_nothing():
    masks = perfect()
    query = mask_losses.matched(KEYS, masks, np.zeros((2, 5, 3)), TARGETS, THERE, points=POINTS)
    np.testing.assert_array_equal(query[0], [4, 2, 0])
    np.testing.assert_array_equal(query[1, :2], [4, 2])
    cross, dice = mask_losses.mask_terms(KEYS, masks, TARGETS, THERE, query, POINTS)
    empty = mask_losses.mask_terms(KEYS, np.full_like(masks, -20.0), TARGETS, THERE, query, POINTS)
    # Half of the points lie on outlines, which masks at half the size cannot follow.
    assert np.all(dice < 0.2 * empty[1]) and np.all(cross < 0.5 * empty[0])


def test_a_target_that_is_not_there_counts_nothing():
    masks, query = perfect(), np.array([[4, 2, 0]] * 2)
    other = TARGETS.copy()
    other[1, 2] = 1
    for a, b in zip(
        mask_losses.mask_terms(KEYS, masks, TARGETS, THERE, query, POINTS),
        mask_losses.mask_terms(KEYS, masks, other, THERE, query, POINTS),
    ):
        np.testing.assert_array_equal(a, b)


def test_points_lie_where_the_mask_is_unsure():
    mask = jnp.linspace(-8, 8, 64)[None, None, :] * jnp.ones((1, 64, 64))
    points = mask_losses.unsure_points(jax.random.key(1), mask, points=200)
    assert points.shape == (1, 200, 2)
    near = np.abs(np.asarray(points)[0, :, 0] - 0.5)
    assert np.all(near[:150] < 0.3) and near[150:].max() > 0.4  # three in four of the least sure, the rest anywhere


@pytest.mark.slow
def test_a_row_s_draws_are_its_own():
    """Rows in another order, or alone, draw the same points."""
    masks, query = 0.1 * RNG.standard_normal((2, 5, 16, 16)).astype(np.float32), np.array([[4, 2, 0]] * 2)
    both = mask_losses.mask_terms(KEYS, masks, TARGETS, THERE, query, POINTS)
    alone = mask_losses.mask_terms(KEYS[1:], masks[1:], TARGETS[1:], THERE[1:], query[1:], POINTS)
    for a, b in zip(both, alone):
        np.testing.assert_allclose(a[1:], b, rtol=1e-6)


def test_class_term_by_hand():
    """Two queries, classes a, b and background; query 1 is b. The weights of a row are those of its queries."""
    scores = np.log(np.array([[[0.2, 0.3, 0.5], [0.1, 0.6, 0.3]]], np.float32))
    known, there, query = np.ones((1, 3), bool), np.array([[True, False]]), np.array([[1, 0]])
    got = mask_losses.class_term(scores, known, np.array([2]), np.array([[1, 0]]), there, query)
    np.testing.assert_allclose(got, [-np.log(0.6) - 0.1 * np.log(0.5)], rtol=1e-6)
    np.testing.assert_allclose(mask_losses.class_weight(2, there), [1.1], rtol=1e-6)


def test_classes_that_are_not_in_the_list_count_nothing():
    scores = RNG.standard_normal((1, 4, 6)).astype(np.float32)
    known = np.array([[True, True, True, True, False, False]])
    args = np.array([3]), np.array([[1, 2]]), np.array([[True, True]]), np.array([[0, 3]])
    long = mask_losses.class_term(scores, known, *args)
    np.testing.assert_allclose(long, mask_losses.class_term(scores[..., :4], known[:, :4], *args), rtol=1e-6)
    costs = mask_losses.class_costs(scores, known, np.array([[1, 2]]))
    shares = np.exp(scores[..., :4]) / np.exp(scores[..., :4]).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(costs, -shares[..., 1:3], rtol=1e-5)


def test_choices():
    """Two regions, three queries: region 0 is query 2, region 1 is not there."""
    right = mask_losses.right_choices(3, np.array([[0, 1]]), np.array([[True, False]]), np.array([[2, 0]]), 2)
    want = np.zeros((1, 3, 2), bool)
    want[0, 2, 0] = True
    np.testing.assert_array_equal(right, want)
    scores = np.zeros((1, 3, 2), np.float32)
    got = mask_losses.choice_term(scores, right, np.array([[True, False]]), 2.0)
    np.testing.assert_allclose(got, [4 * np.log(2)], rtol=1e-6)  # one right, weighing two, and two wrong


@pytest.mark.slow
def test_gradients_reach_masks_and_scores_alone():
    masks, query = jnp.asarray(perfect(1.0)), np.array([[4, 2, 0]] * 2)

    def loss(masks):
        matched = mask_losses.matched(KEYS, masks, jnp.zeros((2, 5, 3)), TARGETS, THERE, points=50)
        cross, dice = mask_losses.mask_terms(KEYS, masks, TARGETS, THERE, matched, 50)
        return jnp.sum(cross + dice)

    grads = np.asarray(jax.grad(loss)(masks))
    assert np.all(np.isfinite(grads)) and np.all(np.abs(grads[:, query[0, :2]]).sum(axis=(2, 3)) > 0)
    assert np.all(grads[:, [1, 3]] == 0)


@pytest.mark.slow
def test_contrast_is_what_the_paper_says():
    """Each thing that both frames show, either way: log(1 + sum exp(v k- - v k+)) over the other frame's queries."""
    rng = np.random.default_rng(0)
    e = rng.normal(size=(3, 2, 6, 4)).astype(np.float32)
    query = np.stack([[rng.permutation(6)[:4] for _ in range(2)] for _ in range(3)]).astype(np.int32)
    track = np.array([[[7, 2, 5, -1], [5, -1, 7, 9]], [[-1] * 4, [0, -1, -1, -1]], [[1, 2, 3, 4], [4, 3, 2, 1]]])
    found, right, pairs = map(np.asarray, mask_losses.follow_term(e, query, jnp.asarray(track)))
    np.testing.assert_array_equal(pairs, [2, 0, 4])
    np.testing.assert_array_equal(mask_losses.follow_weight(jnp.asarray(track)), pairs)
    for b in range(3):
        total = hits = 0.0
        for a in (0, 1):
            for i, name in enumerate(track[b, a]):
                for j, other in enumerate(track[b, 1 - a]):
                    if name >= 0 and name == other:
                        near = e[b, 1 - a] @ e[b, a, query[b, a, i]]
                        own = query[b, 1 - a, j]
                        total += np.log(1 + sum(np.exp(near[n] - near[own]) for n in range(6) if n != own)) / 2
                        hits += (near.argmax() == own) / 2
        np.testing.assert_allclose(found[b], total, rtol=1e-5, atol=1e-6)
        assert right[b] == hits
    assert np.abs(jax.grad(lambda x: mask_losses.follow_term(x, query, jnp.asarray(track))[0].sum())(e)[0]).max() > 0


def test_cost_of_a_choice():
    scores = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    conditions = np.array([[0, 2], [1, 1]])
    found = np.asarray(mask_losses.choice_costs(scores, conditions))
    for b, n, t in np.ndindex(2, 4, 2):
        np.testing.assert_allclose(found[b, n, t], -1 / (1 + np.exp(-scores[b, n, conditions[b, t]])), rtol=1e-6)
