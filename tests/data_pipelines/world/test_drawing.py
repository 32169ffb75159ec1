# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.errors import DataError
from data_pipelines.world import drawing, scenes
from data_pipelines.world.scenes import Ground, Scene, Thing
from data_pipelines.world.vocabulary import CANVAS, GROUNDS, MATERIALS, SHADE, SHAPES

FLAT = Ground("gray", "flat", 0.0, ((0.0,) * 6,) * 6, (0.1, 0.0, 0.0))
EIGHT = np.ones((3, 3))


@pytest.fixture(scope="module")
def some():
    """Scenes of every preset, most of them with occlusion."""
    return [
        scenes.scene(name, "test", i) for name, n in (("easy", 30), ("standard", 40), ("hard", 20)) for i in range(n)
    ]


def alone(**fields) -> Scene:
    thing = Thing("circle", "red", "large", "plain", 32.0, 32.0, 12.0, 0.0)
    return Scene("standard", "test", 0, FLAT, (dataclasses.replace(thing, **fields),))


def overlapping(scene):
    """(farther, nearer) of things of which one hides part of the other."""
    masks = [scenes.mask(t, 128) for t in scene.things]
    return [(i, j) for j in range(len(masks)) for i in range(j) if (masks[i] & masks[j]).any()]


@pytest.mark.parametrize("side", [64, 96, 128])
def test_ids_are_the_masks_painted_from_far_to_near(some, side):
    for scene in some:
        expected = np.zeros((side, side), np.uint8)
        for k, thing in enumerate(scene.things):
            expected[scenes.mask(thing, side)] = k + 1
        drawn = drawing.draw(scene, side)
        assert drawn.ids.dtype == np.uint8 and drawn.picture.shape == (side, side, 3)
        np.testing.assert_array_equal(drawn.ids, expected)
        for k in range(len(scene.things)):
            assert (drawn.mask(k) == (expected == k + 1)).all() and drawn.mask(k).any()


def test_64_and_128_pixels_show_the_same(some):
    """Each size is drawn natively; the mean of 2 x 2 pixels is the pixel of half the size, up to the outlines."""
    for scene in some:
        small, large = drawing.draw(scene, 64), drawing.draw(scene, 128)
        halved = large.picture.reshape(64, 2, 64, 2, 3).mean((1, 3))
        difference = np.abs(halved - small.picture)
        assert difference.mean() < 1.0 and np.quantile(difference, 0.99) < 20, scene
        blocks = large.ids.reshape(64, 2, 64, 2)
        clear = (blocks == small.ids[:, None, :, None]).all((1, 3))
        near = ndimage.binary_dilation(drawing.edges(small.ids), EIGHT)
        assert clear[~near].all(), scene


def test_pictures_are_antialiased_and_nothing_is_cut(some, monkeypatch):
    """The window that speeds drawing up leaves nothing out: with the whole canvas as window the picture is the same."""
    before = [drawing.draw(scene, side).picture for scene in some for side in (48, 64)]
    monkeypatch.setattr(drawing, "_window", lambda thing, side: (slice(0, side), slice(0, side)))
    after = [drawing.draw(scene, side).picture for scene in some for side in (48, 64)]
    for a, b in zip(before, after):
        np.testing.assert_array_equal(a, b)
    middle = drawing.draw(alone(), 64).picture[32, :, 0]  # a row through a red disc on gray
    assert len(set(middle.tolist())) > 2


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_as_large_as_its_radius_says(shape):
    scene = alone(shape=shape, radius=13.0)
    rows, columns = np.nonzero(drawing.draw(scene, 128).mask(0))
    assert abs(columns.mean() / 2 - 32 + 0.25) < 0.6
    reach = max(np.ptp(rows), np.ptp(columns)) / 2 / 2
    assert 0.85 * 13 <= reach <= 1.15 * 13


def test_a_thing_turns_clockwise():
    """A triangle that points up points right after a quarter turn."""
    across = drawing.draw(alone(shape="triangle", angle=np.pi / 2), 128).mask(0).sum(0)
    left, right = across[:62].sum(), across[66:].sum()
    assert left > right and across.nonzero()[0][-1] > 2 * (32 + 12)


def test_materials_have_the_dark_share_that_their_names_say():
    share = {}
    for material in MATERIALS:
        drawn = drawing.draw(alone(material=material, colour="yellow"), 128)
        level = drawn.picture[drawn.mask(0)][:, 0] / 238.0
        share[material] = (level < (1 + SHADE) / 2).mean()
        assert level.min() > SHADE - 0.02 or material == "plain"
    assert share["plain"] < 0.02 and 0.4 < share["striped"] < 0.6 and 0.18 < share["dotted"] < 0.4


@pytest.mark.parametrize("texture", ["flat", "gradient", "noise", "waves"])
def test_grounds_keep_their_colour(texture):
    """A texture changes the brightness by at most its strength (a gradient by 1.42 of it, in the corners)."""
    source = next(s for s in (scenes.scene("standard", "train", i) for i in range(99)) if s.ground.texture == texture)
    drawn = drawing.draw(source, 64)
    ratio = drawn.picture[drawn.ids == 0] / np.array(GROUNDS[source.ground.colour])
    inner = np.sort(ratio.mean(-1))[len(ratio) // 20 : -len(ratio) // 20]  # without the outlines of things
    most = 1.42 * source.ground.strength + 0.03
    assert 1 - most <= inner.min() and inner.max() <= 1 + most
    assert np.ptp(inner) > 0.02 or texture == "flat"


# ------------------------------------------------------------------------------------------------------- geometry
def test_depth_agrees_with_who_hides_whom(some):
    hidden = 0
    for scene in some:
        depth, drawn = drawing.depth(scene), drawing.draw(scene)
        assert depth.dtype == np.float32 and depth.shape == (128, 128)
        assert (depth[drawn.ids == 0] == 1).all() and depth.min() > 0
        for far, near in overlapping(scene):
            assert depth[drawn.mask(near)].max() < depth[drawn.mask(far)].min()
            hidden += 1
        for k in range(len(scene.things)):
            assert depth[drawn.mask(k)].max() < 1
    assert hidden > 20


def test_depth_can_be_read_from_the_picture(some):
    """Things that touch nothing lie equally deep, whatever the order in which they are drawn."""
    for scene in some:
        if not overlapping(scene):
            turned = dataclasses.replace(scene, things=scene.things[::-1])
            np.testing.assert_array_equal(drawing.depth(scene), drawing.depth(turned))


def test_normals_are_the_slope_of_the_depth(some):
    """Away from outlines and ridges, where the depth has no slope, the two agree."""
    for scene in some[::9]:
        side = 512
        ids, normals = drawing.draw(scene, side).ids, drawing.normals(scene, side)
        assert normals.dtype == np.float32
        np.testing.assert_allclose((normals**2).sum(-1), 1, atol=1e-5)
        assert (normals[ids == 0] == (0, 0, 1)).all()
        height = -drawing.depth(scene, side).astype(np.float64) * CANVAS
        dy, dx = np.gradient(height, CANVAS / side)
        expected = np.stack([-dx, -dy, np.ones_like(dx)], -1)
        expected /= np.sqrt((expected**2).sum(-1, keepdims=True))
        jump = np.maximum(*(np.abs(np.diff(normals, axis=a, append=0)).max(-1) for a in (0, 1)))
        inner = (ids > 0) & ~ndimage.binary_dilation(drawing.edges(ids).astype(bool) | (jump > 0.1), EIGHT, 2)
        assert inner.mean() > 0.5 * (ids > 0).mean()
        np.testing.assert_allclose(normals[inner], expected[inner], atol=0.06)  # twice that is a ridge, above


def test_normals_point_outwards():
    normals = drawing.normals(alone(radius=12.0), 64)
    right, below = normals[32, 42], normals[42, 32]  # near the outline on the right and below
    assert right[0] > 0.4 and abs(right[1]) < 0.1 and right[2] > 0.4
    assert below[1] > 0.4 and abs(below[0]) < 0.1


def test_edges_are_where_ids_change(some):
    ids = drawing.draw(some[-1], 64).ids
    expected = np.zeros((64, 64), np.uint8)
    for y in range(64):
        for x in range(64):
            right, below = ids[y, min(x + 1, 63)], ids[min(y + 1, 63), x]
            expected[y, x] = ids[y, x] != right or ids[y, x] != below
    np.testing.assert_array_equal(drawing.edges(ids), expected)
    assert 0 < expected.mean() < 0.5


@pytest.mark.parametrize("side", [100, 0, 8, -64, 2048])
def test_refused(side):
    with pytest.raises(DataError) as error:
        drawing.draw(alone(), side)
    assert str(error.value) == f"world: a picture of {side} pixels, expected a multiple of 16 from 16 to 1024."
