# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of figures against cases worked by hand."""

import numpy as np
import pytest

from focus_jax.evaluation import figures, metrics_masks, metrics_panoptic


def box(top, left, height, width, side=20):
    out = np.zeros((side, side), bool)
    out[top : top + height, left : left + width] = True
    return out


# --------------------------------------------------------------------------------------------------- standard errors
def test_mean():
    value, n, error = figures.mean([0, 1, 1, 0])
    assert (value, n) == (0.5, 4) and error == pytest.approx(np.sqrt(1 / 3) / 2)
    assert figures.mean([3.0]) == (3.0, 1, 0.0)
    with pytest.raises(ValueError):
        figures.mean([])


def test_clustered_is_the_error_of_group_means_where_groups_are_equal():
    values, groups = [1, 1, 0, 1, 0, 0], [7, 7, 8, 8, 9, 9]
    value, n, error = figures.clustered(values, groups)
    assert (value, n) == (0.5, 6) and error == pytest.approx(figures.mean([1, 0.5, 0])[2])
    assert figures.clustered(values, range(6)) == pytest.approx(figures.mean(values))


def test_bootstrap_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(0).integers(0, 2, 400).astype(float)
    sums = np.stack([x, np.ones_like(x)], -1)
    value, n, error = figures.bootstrapped(sums, lambda s: s[..., 0] / s[..., 1], 400)
    assert value == x.mean() and n == 400 and error == pytest.approx(figures.mean(x)[2], rel=0.1)
    assert figures.bootstrapped(sums, lambda s: s[..., 0] / s[..., 1], 400)[2] == error
    assert figures.bootstrapped(sums[:1], lambda s: s[..., 0], 1)[2] == 0.0


def test_sums_by():
    np.testing.assert_array_equal(figures.sums_by([5, 2, 5], np.array([[1, 2], [3, 4], [10, 20]])), [[3, 4], [11, 22]])


# ------------------------------------------------------------------------------------------------------------- masks
def test_iou_family():
    """Two targets, one missed, and two expressions without a target, one answered with 12 pixels."""
    found = [box(0, 0, 4, 4), box(0, 0, 0, 0), box(0, 0, 0, 0), box(0, 0, 3, 4)]
    truth = [box(0, 2, 4, 4), box(9, 9, 4, 4), box(0, 0, 0, 0), box(0, 0, 0, 0)]
    parts = np.array([metrics_masks.intersection_union(a, b) for a, b in zip(found, truth)])
    np.testing.assert_array_equal(parts, [(8, 24), (0, 16), (0, 0), (0, 12)])
    np.testing.assert_allclose(metrics_masks.ious(parts), [1 / 3, 0, 1, 0])
    assert metrics_masks.ciou(parts.sum(0)) == 8 / 52 and metrics_masks.ciou(parts[:2].sum(0)) == 8 / 40


def test_boundary_pixels():
    """Of a 3 x 3 square: those that differ from the pixel to the right, below or diagonally below."""
    marked = metrics_masks.boundary(box(1, 1, 3, 3, side=6))
    expected = box(0, 0, 4, 4, side=6) & ~box(1, 1, 2, 2, side=6)
    np.testing.assert_array_equal(marked, expected)
    corner = metrics_masks.boundary(box(4, 4, 2, 2, side=6))  # runs out of the picture
    np.testing.assert_array_equal(np.argwhere(corner), [(3, 3), (3, 4), (3, 5), (4, 3), (5, 3)])


def test_boundary_f():
    """At 125 x 125 the tolerance is ceil(0.008 * 176.8) = 2 pixels."""
    square = lambda shift, size=40: box(30, 30 + shift, size, size, side=125)
    assert metrics_masks.boundary_f(square(0), square(0)) == 1.0
    assert metrics_masks.boundary_f(square(2), square(0)) == 1.0
    # Shifted by 3: of the 160 boundary pixels the left and the right side are too far away, but for their pixels within
    # two of the other's upper or lower side.
    f = metrics_masks.boundary_f(square(3), square(0))
    a, b = metrics_masks.boundary(square(3)), metrics_masks.boundary(square(0))
    near = lambda p, m: (((np.argwhere(m) - p) ** 2).sum(1) <= 4).any()
    precision = np.mean([near(p, b) for p in np.argwhere(a)])
    recall = np.mean([near(p, a) for p in np.argwhere(b)])
    assert f == pytest.approx(2 * precision * recall / (precision + recall)) and 0.4 < f < 0.6
    none = np.zeros((125, 125), bool)
    assert metrics_masks.boundary_f(none, none) == 1.0
    assert metrics_masks.boundary_f(square(0), none) == metrics_masks.boundary_f(none, square(0)) == 0.0


def test_j_and_f_are_means_over_frames():
    truth = np.stack([box(2, 2, 4, 4), box(2, 4, 4, 4), np.zeros((20, 20), bool)])
    held = np.stack([truth[0], truth[0], np.zeros((20, 20), bool)])
    j, f = metrics_masks.j_and_f(held, truth)
    assert j == pytest.approx((1 + 8 / 24 + 1) / 3)
    assert f == pytest.approx((1 + metrics_masks.boundary_f(held[1], truth[1]) + 1) / 3)


# ----------------------------------------------------------------------------------------------------------- panoptic
CLASSES = ("circle", "square", "ground")


def panoptic(found, found_names, truth, truth_names):
    return metrics_panoptic.counts(found, found_names, truth, truth_names, CLASSES, stuff=("ground",))


def ids(*masks, rest=0, side=20):
    out = np.full((side, side), rest, np.int32)
    for mask, number in masks:
        out[mask] = number
    return out


def test_panoptic_counts():
    truth = ids((box(0, 0, 4, 4), 1), (box(8, 8, 4, 4), 2), rest=3)
    names = ("circle", "square", "ground")
    # The circle is found with 12 of its 16 pixels, the square is called a circle, the ground comes in two segments.
    found = ids((box(0, 0, 4, 3), 1), (box(8, 8, 4, 4), 2), (box(10, 0, 10, 8), 4), rest=3)
    got = panoptic(found, ("circle", "circle", "ground", "ground"), truth, names)
    np.testing.assert_allclose(got, [(12 / 16, 1, 1, 0), (0, 0, 0, 1), (368 / 372, 1, 0, 0)])
    pq, sq, rq = metrics_panoptic.qualities(got).T
    np.testing.assert_allclose(pq, [0.75 / 1.5, 0, 368 / 372])
    np.testing.assert_allclose(sq, [0.75, 0, 368 / 372])
    np.testing.assert_allclose(rq, [1 / 1.5, 0, 1])
    assert metrics_panoptic.over_classes(got, (0, 1)) == pytest.approx(0.25)


def test_panoptic_half_is_no_match():
    truth, found = ids((box(0, 0, 4, 4), 1), rest=2), ids((box(0, 0, 4, 2), 1), rest=2)
    got = panoptic(found, ("circle", "ground"), truth, ("circle", "ground"))
    np.testing.assert_allclose(got[0], (0, 0, 1, 1))


def test_panoptic_void():
    """Pixels of the truth's void neither lessen an IoU nor make a false positive."""
    truth = ids((box(0, 0, 4, 4), 1))
    found = ids((box(0, 0, 4, 6), 1), (box(10, 10, 4, 4), 2))
    np.testing.assert_allclose(
        panoptic(found, ("circle", "square"), truth, ("circle",)), [(1, 1, 0, 0), (0,) * 4, (0,) * 4]
    )
    nothing = panoptic(np.zeros_like(truth), (), truth, ("circle",))
    np.testing.assert_allclose(nothing[0], (0, 0, 0, 1))
    assert np.isnan(metrics_panoptic.qualities(nothing)[1:]).all()
    assert metrics_panoptic.over_classes(nothing, (0, 1)) == 0.0


def test_panoptic_segment_without_a_pixel_counts_nothing():
    truth = ids((box(0, 0, 4, 4), 1), rest=2)
    got = panoptic(truth, ("circle", "ground", "square"), truth, ("circle", "ground"))
    np.testing.assert_allclose(got, [(1, 1, 0, 0), (0, 0, 0, 0), (1, 1, 0, 0)])
