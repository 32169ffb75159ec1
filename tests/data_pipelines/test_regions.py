# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy import ndimage

from data_pipelines import regions, seeds
from data_pipelines.errors import DataError
from data_pipelines.world.draws import Draws

EIGHT = np.ones((3, 3))


def disc(size, y, x, radius, hole=0.0):
    away = np.hypot(np.arange(size[0])[:, None] - y, np.arange(size[1])[None, :] - x)
    return (away <= radius) & (away >= hole)


def bar(size, top, left, bottom, right):
    out = np.zeros(size, bool)
    out[top:bottom, left:right] = True
    return out


LARGE, SMALL = (480, 640), (128, 128)
MASKS = {
    "disc": disc(LARGE, 200, 300, 70),
    "ring": disc(LARGE, 240, 320, 80, 50),
    "corner": disc(LARGE, 0, 639, 90),
    "bar": bar(LARGE, 400, 20, 412, 600),
    "two": disc(LARGE, 150, 150, 50) | bar(LARGE, 300, 400, 420, 600),
    "all": np.ones((96, 128), bool),
    "small": disc(SMALL, 60, 40, 11),
    "small ring": disc(SMALL, 30, 90, 12, 7),
    "pixel": bar((64, 64), 10, 20, 11, 21),
}
CASES = [(kind, name) for kind in regions.KINDS for name in MASKS]


def parts(mask):
    labels, count = ndimage.label(mask, EIGHT)
    return [labels == i + 1 for i in range(count)]


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def centre(points, shape):
    """The pixel whose disc `points` is, cut by the picture's border."""
    rows, columns = np.nonzero(points)
    away = lambda y, x: np.hypot(rows - y, columns - x).max()
    return min(zip(rows, columns), key=lambda at: away(*at))


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_hint_lies_in_the_picture_and_on_the_mask(kind, name):
    mask = MASKS[name]
    for seed in range(6):
        hint = regions.region(kind, mask, seeds.generator(seed))
        assert hint.dtype == bool and hint.shape == mask.shape
        for part in parts(mask):
            assert (hint & part).any()


@pytest.mark.parametrize("kind", regions.KINDS)
def test_the_numbers_decide(kind):
    """From a numpy Generator and from the world's Draws alike."""
    mask = MASKS["two"]
    for make in (lambda k: seeds.generator(7, k), lambda k: Draws(7, k)):
        first = [regions.region(kind, mask, make(k)) for k in range(4)]
        for k in range(4):
            np.testing.assert_array_equal(first[k], regions.region(kind, mask, make(k)))
        assert kind == "mask" or any((a != first[0]).any() for a in first[1:])


@pytest.mark.parametrize(("size", "radius"), [(LARGE, 10), ((240, 320), 5), (SMALL, 2), ((64, 64), 1), ((32, 32), 1)])
def test_points_are_discs_around_a_pixel_of_the_mask(size, radius):
    """Near the centre of mass, of a radius that scales with the picture: 10 pixels of 640, at least one."""
    h, w = size
    for seed in range(12):
        for mask in (disc(size, h * 0.5, w * 0.5, h * 0.3), disc(size, h * 0.5, w * 0.5, h * 0.4, h * 0.3)):
            points = regions.region("point", mask, seeds.generator(seed))
            y, x = centre(points, size)
            np.testing.assert_array_equal(points, disc(size, y, x, radius))
            assert mask[y, x]
            assert np.hypot(y - h * 0.5, x - w * 0.5) <= h * 0.4 * 2**0.5


def test_points_come_from_the_whole_part():
    """Over many draws they lie on all sides of the centre, denser near it, as the recipe's polar numbers are."""
    found = []
    for seed in range(150):
        points = regions.region("point", MASKS["small"], seeds.generator(seed))
        found.append(centre(points, SMALL))
    y, x = np.array(found).T - np.array([[60], [40]])
    assert min((y > 3).sum(), (y < -3).sum(), (x > 3).sum(), (x < -3).sum()) > 10
    assert np.median(np.hypot(y, x)) < 11 * 0.5**0.5  # where an even spread has it


def test_a_part_far_from_its_own_centre_gets_a_point():
    """Of a thin frame no pixel is near the centre of mass along both axes; the point is its nearest pixel."""
    mask = bar(LARGE, 100, 20, 102, 620) | bar(LARGE, 100, 20, 460, 22)  # an L with the centre of mass far from it
    points = regions.region("point", mask, seeds.generator(0))
    y, x = centre(points, LARGE)
    assert mask[y, x]


def test_boxes_are_the_bounding_box_within_a_tenth():
    top, left, bottom, right = bounds(MASKS["disc"])
    scales = []
    for seed in range(120):
        t, l, b, r = bounds(box := regions.region("box", MASKS["disc"], seeds.generator(seed)))
        assert box.sum() == (b - t) * (r - l)  # filled
        assert abs((t + b) - (top + bottom)) <= 2 and abs((l + r) - (left + right)) <= 2
        assert abs((b - t) - (r - l)) <= 2  # one scale for both sides
        scales.append((b - t) / (bottom - top))
    assert 0.89 <= min(scales) < 0.92 and 1.08 < max(scales) <= 1.11 and abs(np.mean(scales) - 1) < 0.02


def test_each_part_gets_its_own_box():
    mask = MASKS["two"]
    assert len(parts(regions.region("box", mask, seeds.generator(0)))) == 2
    assert len(parts(regions.region("point", mask, seeds.generator(0)))) == 2


@pytest.mark.parametrize("size", [LARGE, (240, 320), SMALL])
def test_scribbles_are_bent_strokes_along_a_diagonal(size):
    """In one piece, as thick as the recipe says, as long as the jittered box is wide, bent by at most the amplitude."""
    h, w = size
    scale = w / 640
    mask = bar(size, h // 4, w // 4, 3 * h // 4, 3 * w // 4)
    thickness, up = [], 0
    for seed in range(24):
        stroke = regions.region("scribble", mask, seeds.generator(seed))
        (part,) = parts(stroke)
        top, left, bottom, right = bounds(part)
        slack = 2 * (max(1, 5 * scale) + 1)
        assert 0.5 * w / 2 - slack <= right - left <= 1.2 * w / 2 + slack
        assert bottom - top <= 1.2 * h / 2 + 2 * 20 * scale + slack
        assert (right - left) * (bottom - top) >= 0.4 * mask.sum()  # the box overlaps by half
        thickness.append(2 * ndimage.distance_transform_edt(stroke).max())
        rows = [np.flatnonzero(stroke[:, x]).mean() for x in (left + slack, right - 1 - slack) for x in [int(x)]]
        up += rows[0] > rows[1]
    assert abs(np.median(thickness) - 2 * max(1.0, 5 * scale)) <= 2 + scale
    assert 4 <= up <= 20  # both diagonals


def test_masks_are_smoothed():
    """Blurred with sigma 2 at 640 pixels and cut at the mean of the whole picture, so a little larger than before."""
    for name in ("disc", "ring", "corner", "two"):
        mask = MASKS[name]
        hint = regions.region("mask", mask, seeds.generator(0))
        assert hint[ndimage.binary_erosion(mask, EIGHT, 4)].all()
        assert not (hint & ~ndimage.binary_dilation(mask, EIGHT, 9)).any()
        assert mask.sum() < hint.sum() < 1.6 * mask.sum()
    spiky = MASKS["disc"] | bar(LARGE, 199, 360, 200, 400)
    assert regions.region("mask", spiky, seeds.generator(0)).sum() > 0
    assert regions.region("mask", MASKS["all"], seeds.generator(0)).all()


def test_crumbs_are_not_pointed_at():
    """Parts of up to five pixels of a picture of 640: left out beside a larger one, refused alone."""
    crumb = bar(LARGE, 10, 10, 11, 15)
    hint = regions.region("box", MASKS["disc"] | crumb, seeds.generator(0))
    assert len(parts(hint)) == 1 and not hint[10, 12]
    with pytest.raises(DataError) as error:
        regions.region("point", crumb, seeds.generator(0))
    assert str(error.value) == "regions: no part of the mask is larger than 5.0 pixels, expected one to point at."


def test_own_points_and_boxes():
    np.testing.assert_array_equal(regions.point(40.7, 60.2, 128, 128), disc(SMALL, 60, 40, 2))
    np.testing.assert_array_equal(regions.point(0, 0, 480, 640), disc(LARGE, 0, 0, 10))
    np.testing.assert_array_equal(regions.box(10, 20, 30, 40, 128, 128), bar(SMALL, 20, 10, 60, 40))
    np.testing.assert_array_equal(regions.box(-10, 100, 30, 400, 128, 128), bar(SMALL, 100, 0, 128, 20))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regions.region("lasso", MASKS["disc"], seeds.generator(0)), "kind is 'lasso', expected one of point,"),
        (
            lambda: regions.region("box", np.zeros(SMALL, bool), seeds.generator(0)),
            "the mask is empty, expected at least",
        ),
        (lambda: regions.region("mask", np.zeros(SMALL, bool), seeds.generator(0)), "the mask is empty, expected at"),
        (lambda: regions.region("box", np.ones((2, 4, 4), bool), seeds.generator(0)), "the mask has shape (2, 4, 4)"),
        (
            lambda: regions.point(128, 5, 128, 128),
            "point (128, 5) is outside the picture, expected x < 128 and y < 128.",
        ),
        (lambda: regions.point(-1, 5, 128, 128), "point (-1, 5) is outside the picture"),
        (lambda: regions.box(200, 5, 20, 20, 128, 128), "box (200, 5, 20, 20) covers no pixel of the picture"),
        (lambda: regions.box(5, 5, 0, 20, 128, 128), "box (5, 5, 0, 20) covers no pixel of the picture"),
    ],
)
def test_refused(call, message):
    with pytest.raises(DataError) as error:
        call()
    text = str(error.value)
    assert text.startswith(f"regions: {message}") and text.endswith(".") and "\n" not in text


def test_strokes_that_miss_are_an_error(monkeypatch):
    """Not an empty hint: here the sine carries every stroke past a bar one pixel high."""
    monkeypatch.setattr(regions, "_AMPLITUDE", (400.0, 400.0))
    monkeypatch.setattr(regions, "_FREQUENCY", (0.0, 0.0))
    monkeypatch.setattr(regions, "_TRIES", 20)

    class Up:
        def random(self):
            return 0.25  # a quarter period: the whole stroke is moved down

    with pytest.raises(DataError, match="20 scribbles missed a part of the mask, expected one to touch it"):
        regions.region("scribble", bar(LARGE, 10, 100, 20, 300), Up())
