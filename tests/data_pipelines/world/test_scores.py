# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.errors import DataError
from data_pipelines.world import captions, checker, drawing, edits, scenes, scores
from data_pipelines.world.checker import Reading, Seen
from data_pipelines.world.scenes import CAPTION, EDIT, Ground, Scene, Thing
from data_pipelines.world.vocabulary import PRESETS

COUNTS = {"easy": 30, "standard": 30, "hard": 20}
GROUND = Ground("gray", "flat", 0.0, ((0.0,) * 6,) * 6, (0.1, 0.0, 0.0))


def thing(shape, colour, x, y, size="medium", material="plain"):
    low, high = PRESETS["standard"].radius[size]
    return Thing(shape, colour, size, material, x, y, (low + high) / 2, 0.0)


RED, BLUE, GREEN = (
    thing("circle", "red", 12.0, 12.0),
    thing("square", "blue", 45.0, 14.0, "large"),
    thing("star", "green", 30.0, 46.0, "small", "striped"),
)


def scene_of(*things, preset="standard", ground="gray"):
    return Scene(preset, "test", 0, dataclasses.replace(GROUND, colour=ground), things)


def read_as(scene, **changes):
    """What a perfect checker reads of a scene in which things[i] is `ti`, None where it is gone, with an `extra`."""
    things = [changes.get(f"t{i}", t) for i, t in enumerate(scene.things)] + [changes.get("extra")]
    fields = ("shape", "colour", "size", "material", "x", "y", "radius")
    seen = tuple(Seen(**{f: getattr(t, f) for f in fields}, confidence=1.0) for t in things if t)
    return Reading(changes.get("ground", scene.ground.colour), seen)


def shares(row):
    """Score names to right / asked; what is not asked is left out."""
    return {name: right / asked for name, (right, asked) in row.items() if asked}


SCENE = scene_of(RED, BLUE, GREEN)


# ------------------------------------------------------------------------------------------------------- matching
def test_matched_is_one_to_one_and_as_many_as_near():
    """The nearer of two readings goes to another thing where both things are then matched; far ones are not."""
    a, b = thing("circle", "red", 20, 20), thing("circle", "red", 27, 20)
    seen = read_as(scene_of(thing("star", "blue", 23.1, 20), thing("star", "blue", 16.0, 20))).things
    assert scores.matched((a, b), seen) == {0: 1, 1: 0}  # the first is nearer to a, but b has no other
    assert scores.matched((a, b), seen[:1]) == {0: 0}
    assert scores.matched((a,), read_as(scene_of(thing("circle", "red", 26.0, 20))).things) == {0: 0}
    assert scores.matched((a,), read_as(scene_of(thing("circle", "red", 26.01, 20))).things) == {}
    assert scores.matched((a, b), seen, [3.0, 6.0]) == {1: 0}  # its own limit for each thing
    near = read_as(scene_of(thing("star", "blue", 20.1, 20), thing("star", "blue", 17.3, 25.25))).things
    a = thing("circle", "red", 14.2, 20)  # 5.9 and 6.1 from the two; the other is .1 and 5.9 from them
    assert scores.matched((a, thing("circle", "red", 20, 20)), near) == {0: 0, 1: 1}  # two pairs, not the nearest one
    assert scores.matched((), seen) == scores.matched((a,), ()) == {}


def test_visible():
    far, near = thing("square", "red", 30, 30, "large"), thing("square", "blue", 40, 30)
    first, second = scores.visible(scene_of(far, near))
    width, height = 0.88 * (far.radius + near.radius) - 10, 2 * 0.88 * near.radius  # of what overlaps
    assert second == 1.0 and first == pytest.approx(1 - width * height / (2 * 0.88 * far.radius) ** 2, abs=0.02)
    assert scores.visible(scene_of(near, far))[0] < 0.5


# ------------------------------------------------------------------------------------------------------- readback
def test_readback_of_a_perfect_reading():
    row = scores.readback(SCENE, read_as(SCENE))
    assert set(row) == {"shape", "colour", "size", "place", "object", "material", "count", "ground"}
    assert row["object"] == row["material"] == (6.0, 6.0) and row["count"] == (1.0, 1.0)
    assert set(shares(row).values()) == {1.0}
    assert "material" not in scores.readback(scene_of(RED, preset="easy"), read_as(scene_of(RED)))


@pytest.mark.parametrize(
    ("field", "value"), [("colour", "pink"), ("shape", "ring"), ("size", "small"), ("material", "dotted")]
)
def test_readback_of_one_wrong_attribute(field, value):
    """Only its own score falls, and that of whole things; these do not ask for the material."""
    row = shares(scores.readback(SCENE, read_as(SCENE, t0=dataclasses.replace(RED, **{field: value}))))
    lower = {field: 2 / 3} | ({} if field == "material" else {"object": 2 / 3})
    assert row == pytest.approx(dict.fromkeys(row, 1.0) | lower)


def test_readback_of_places():
    """3 units off are right, 5 are wrong only in place, 7 are another thing: one missing and one too many."""
    moved = lambda by: shares(scores.readback(SCENE, read_as(SCENE, t0=dataclasses.replace(RED, x=RED.x + by))))
    assert set(moved(3.0).values()) == {1.0}
    five = moved(5.0)
    assert five == pytest.approx(dict.fromkeys(five, 1.0) | {"place": 2 / 3, "object": 2 / 3})
    seven = moved(7.0)
    assert seven == pytest.approx(dict.fromkeys(seven, 2 / 3) | {"count": 1.0, "ground": 1.0})


def test_readback_of_a_missing_and_an_extra_thing():
    missing = shares(scores.readback(SCENE, read_as(SCENE, t1=None)))
    assert missing == pytest.approx(dict.fromkeys(missing, 4 / 5) | {"count": 0.0, "ground": 1.0})
    extra = shares(scores.readback(SCENE, read_as(SCENE, extra=thing("ring", "pink", 52, 52))))
    assert extra == pytest.approx(dict.fromkeys(extra, 6 / 7) | {"count": 0.0, "ground": 1.0})
    ghost = shares(scores.readback(SCENE, read_as(SCENE, extra=dataclasses.replace(RED, x=RED.x + 1))))
    assert ghost["object"] == pytest.approx(6 / 7)  # read twice is not read better
    nothing = shares(scores.readback(SCENE, Reading(None, ())))
    assert set(nothing.values()) == {0.0}


def test_readback_of_the_ground():
    row = shares(scores.readback(SCENE, read_as(SCENE, ground="white")))
    assert row == dict.fromkeys(row, 1.0) | {"ground": 0.0}


def test_readback_neither_asks_for_hidden_things_nor_holds_them_against():
    far, near = thing("square", "red", 30, 30), thing("square", "blue", 37.5, 30)
    scene = scene_of(far, near)
    assert scores.visible(scene)[0] < scores.VISIBLE
    for reading in (read_as(scene), read_as(scene, t0=None), read_as(scene, t0=thing("star", "pink", 30, 30))):
        row = scores.readback(scene, reading)
        assert row["object"] == (2.0, 2.0) and set(shares(row).values()) == {1.0}


# ----------------------------------------------------------------------------------------------------- generation
RELATION = (0, "left of", 1)


def test_generation_of_the_scene():
    row = scores.generation(SCENE, read_as(SCENE), RELATION)
    assert set(row) == {"object", "colour", "attributes", "count", "ground", "relation", "scene"}
    assert row["attributes"] == (3.0, 3.0) and set(shares(row).values()) == {1.0}
    assert "relation" not in scores.generation(SCENE, read_as(SCENE))


def test_generation_anywhere():
    """A caption does not say where things are, but for the relation."""
    other = read_as(
        SCENE,
        t0=dataclasses.replace(RED, y=50),
        t1=dataclasses.replace(BLUE, x=32),
        t2=dataclasses.replace(GREEN, x=12, y=12),
    )
    assert set(shares(scores.generation(SCENE, other, RELATION)).values()) == {1.0}


@pytest.mark.parametrize(("ahead", "right"), [(4.0, 1.0), (3.9, 0.0), (-20.0, 0.0)])
def test_generation_relation(ahead, right):
    """Reversed or by less than half the margin of relations it fails, and nothing else does but the whole."""
    reading = read_as(SCENE, t1=dataclasses.replace(BLUE, x=32.0), t0=dataclasses.replace(RED, x=32.0 - ahead))
    row = shares(scores.generation(SCENE, reading, RELATION))
    assert row == dict.fromkeys(row, 1.0) | {"relation": right, "scene": right}
    assert shares(scores.generation(SCENE, reading, (1, "right of", 0)))["relation"] == right
    assert shares(scores.generation(SCENE, reading, (0, "right of", 1)))["relation"] == float(ahead == -20)


def test_generation_relation_of_things_that_are_not_there():
    row = shares(scores.generation(SCENE, read_as(SCENE, t1=None), RELATION))
    assert row["relation"] == row["count"] == row["scene"] == 0.0 and row["object"] == pytest.approx(2 / 3)
    shape = read_as(SCENE, t1=dataclasses.replace(BLUE, shape="ring"))  # one blue thing: its colour is enough
    assert shares(scores.generation(SCENE, shape, RELATION))["relation"] == 1.0
    two = scene_of(RED, BLUE, thing("ring", "blue", 12.0, 45.0))  # two: its shape must tell which is meant
    swapped = read_as(two, t1=dataclasses.replace(BLUE, x=5.0), t2=dataclasses.replace(two.things[2], x=50.0))
    assert shares(scores.generation(two, read_as(two), RELATION))["relation"] == 1.0
    assert shares(scores.generation(two, swapped, RELATION))["relation"] == 0.0


def test_generation_of_swapped_attributes():
    """A red square and a blue circle are no red circle and blue square; colours and number are right."""
    swap = read_as(SCENE, t0=dataclasses.replace(RED, shape="square"), t1=dataclasses.replace(BLUE, shape="circle"))
    row = shares(scores.generation(SCENE, swap, RELATION))
    lower = {"object": 1 / 3, "attributes": 1 / 3, "scene": 0.0}
    assert row == pytest.approx(dict.fromkeys(row, 1.0) | lower)
    size = shares(scores.generation(SCENE, read_as(SCENE, t0=dataclasses.replace(RED, size="large"))))
    assert size == pytest.approx(dict.fromkeys(size, 1.0) | {"attributes": 2 / 3, "scene": 0.0})
    dots = read_as(SCENE, t0=dataclasses.replace(RED, material="dotted"))
    assert scores.generation(SCENE, dots)["attributes"] == (2.0, 3.0)
    assert scores.generation(dataclasses.replace(SCENE, preset="easy"), dots)["attributes"] == (3.0, 3.0)


def test_generation_counts():
    """Too many or too few is wrong; what is asked for twice must be there twice."""
    extra = shares(scores.generation(SCENE, read_as(SCENE, extra=thing("ring", "pink", 52, 52)), RELATION))
    assert extra == dict.fromkeys(extra, 1.0) | {"count": 0.0, "scene": 0.0}
    twins = scene_of(RED, dataclasses.replace(RED, x=40.0))
    once = scores.generation(twins, read_as(twins, t1=BLUE))
    assert once["object"] == once["colour"] == once["attributes"] == (1.0, 2.0) and once["count"] == (1.0, 1.0)
    ground = shares(scores.generation(SCENE, read_as(SCENE, ground=None)))
    assert ground == dict.fromkeys(ground, 1.0) | {"ground": 0.0, "scene": 0.0}


@pytest.mark.parametrize(
    ("x", "y", "right"), [(12, 12, 1.0), (29, 29, 1.0), (29.1, 12, 0.0), (50, 12, 0.0), (12, 50, 0.0)]
)
def test_generation_place_of_a_lone_thing(x, y, right):
    alone = scene_of(RED)
    reading = read_as(alone, t0=dataclasses.replace(RED, x=x, y=y))
    row = shares(scores.generation(alone, reading, None, ("upper", "left")))
    assert row == dict.fromkeys(row, 1.0) | {"place": right, "scene": right}
    assert "place" not in scores.generation(alone, reading)


# -------------------------------------------------------------------------------------------------------- editing
def made(kind, things, source=SCENE, ground=None, **changes):
    """An edit of source.things[i] for i in things; remove where there are no changes."""
    kept = [t for i, t in enumerate(source.things) if kind != "remove" or i not in things]
    new = [dataclasses.replace(t, **changes) if kind != "remove" and i in things else t for i, t in enumerate(kept)]
    target = dataclasses.replace(source, things=tuple(new))
    if ground:
        target = dataclasses.replace(target, ground=dataclasses.replace(source.ground, colour=ground))
    return edits.Edit(kind, "words", "", source, target, things)


EDITS = {
    "recolour": made("recolour", (0,), colour="pink"),
    "recolour two": made("recolour", (0, 1), colour="pink"),
    "rematerial": made("rematerial", (0,), material="dotted"),
    "rematerial two": made("rematerial", (0, 1), material="dotted"),
    "replace": made("replace", (0,), shape="cross"),
    "remove": made("remove", (0,)),
    "remove two": made("remove", (0, 2)),
    "move": made("move", (0,), x=12.0, y=45.0),
    "background": made("background", (), ground="white"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_editing_of_the_target_and_of_the_source(edit):
    target = scores.editing(edit, read_as(edit.target))
    assert set(shares(target).values()) == {1.0}
    assert target["changed"][1] == max(1, len(edit.things)) and target["success"] == (1.0, 1.0)
    others = len(edit.source.things) - len(edit.things)
    assert target["kept"] == target["kept_shape"] == (others, others)
    assert ("kept_ground" in target) == (edit.kind != "background")
    source = scores.editing(edit, read_as(edit.source))
    assert source["success"] == (0.0, 1.0) and source["changed"][0] == 0.0
    assert source["kept"] == target["kept"] and shares(source)["count"] == float(edit.kind != "remove")


def test_editing_in_part():
    """Of two things meant one is done: half is changed, and the edit has no success."""
    for edit in (EDITS["recolour two"], EDITS["rematerial two"]):
        row = scores.editing(edit, read_as(edit.target, t1=BLUE))
        assert row["changed"] == (1.0, 2.0) and row["success"] == (0.0, 1.0) and shares(row)["kept"] == 1.0
    edit = EDITS["remove two"]
    row = scores.editing(edit, read_as(edit.target, extra=RED))
    assert row["changed"] == (1.0, 2.0) and row["success"] == (0.0, 1.0) and shares(row)["count"] == 0.0


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_editing_of_something_else_as_well(edit):
    """The change asked for is made; of the other things one is changed too, or gone, or there is one more."""
    k = len(edit.target.things) - 1  # never one that is meant
    other, n = edit.target.things[k], shares(scores.editing(edit, read_as(edit.target)))
    asked = len(edit.source.things) - len(edit.things)
    for change, lower in (
        ({"colour": "purple"}, {"kept", "kept_shape"}),
        ({"x": other.x + 4.0}, {"kept", "kept_shape"}),
        ({"shape": "triangle"}, {"kept_shape"}),
    ):
        row = shares(scores.editing(edit, read_as(edit.target, **{f"t{k}": dataclasses.replace(other, **change)})))
        assert row == pytest.approx(n | dict.fromkeys(lower, 1 - 1 / asked))
    gone = shares(scores.editing(edit, read_as(edit.target, **{f"t{k}": None})))
    assert gone == pytest.approx(n | dict.fromkeys(("kept", "kept_shape"), 1 - 1 / asked) | {"count": 0.0})
    extra = shares(scores.editing(edit, read_as(edit.target, extra=thing("ring", "purple", 54, 54))))
    assert extra == n | {"count": 0.0}
    if edit.kind != "background":
        ground = shares(scores.editing(edit, read_as(edit.target, ground="beige")))
        assert ground == n | {"kept_ground": 0.0}


@pytest.mark.parametrize(
    ("kind", "wrong", "changed"),
    [
        ("recolour", {"colour": "orange"}, 0.0),  # another colour than the one asked for
        ("recolour", {"shape": "star"}, 1.0),  # the colour asked for on another thing
        ("rematerial", {"material": "striped"}, 0.0),
        ("rematerial", {"colour": "blue"}, 1.0),
        ("replace", {"shape": "ring"}, 0.0),
        ("replace", {"colour": "orange"}, 1.0),
        ("move", {"x": 28.0}, 0.0),  # elsewhere
        ("move", {"x": 20.1}, 0.0),  # not near enough
        ("move", {"shape": "star"}, 1.0),  # there, but another
        ("move", {"x": 19.9}, 1.0),
    ],
)
def test_editing_done_wrong(kind, wrong, changed):
    edit = EDITS[kind]
    row = scores.editing(edit, read_as(edit.target, t0=dataclasses.replace(edit.target.things[0], **wrong)))
    assert row["changed"] == (changed, 1.0) and row["success"] == (float("x" in wrong and changed), 1.0)
    assert shares(row)["kept"] == 1.0


def test_editing_move_that_leaves_the_thing_behind():
    edit = EDITS["move"]
    row = scores.editing(edit, read_as(edit.target, extra=RED))
    assert row["changed"] == (1.0, 1.0) and row["success"] == (0.0, 1.0) and row["count"] == (0.0, 1.0)
    other = scores.editing(edit, read_as(edit.target, extra=dataclasses.replace(RED, colour="pink")))
    assert other["success"] == (1.0, 1.0)  # something else there is for count to tell


def test_editing_move_by_little():
    """Half of the way is not there, however near that is."""
    edit = made("move", (0,), x=RED.x + 9.0)
    for by, right in ((9.0, 1.0), (4.6, 1.0), (4.4, 0.0), (0.0, 0.0)):
        row = scores.editing(edit, read_as(edit.target, t0=dataclasses.replace(RED, x=RED.x + by)))
        assert row["changed"] == (right, 1.0), by


def test_editing_removed_means_nothing_there():
    edit = EDITS["remove"]
    for left in (dataclasses.replace(RED, colour="pink"), dataclasses.replace(RED, x=RED.x + 5.0)):
        assert scores.editing(edit, read_as(edit.target, extra=left))["success"] == (0.0, 1.0)
    beside = scene_of(
        RED, dataclasses.replace(BLUE, x=RED.x + 5.0, y=RED.y)
    )  # what stays there is not what was removed
    edit_beside = made("remove", (0,), beside)
    assert scores.editing(edit_beside, read_as(edit_beside.target))["success"] == (1.0, 1.0)
    assert scores.editing(edit_beside, read_as(beside))["success"] == (0.0, 1.0)
    assert scores.editing(edit, Reading(None, ()))["success"] == (1.0, 1.0)  # all is gone: kept tells
    assert scores.editing(edit, Reading(None, ()))["kept"] == (0.0, 2.0)


def test_editing_of_nothing_asks_nothing():
    for kind in edits.KINDS[:-1]:
        edit = edits.Edit(kind, "words", "", SCENE, SCENE, ())
        row = scores.editing(edit, read_as(SCENE))
        assert "changed" not in row and "success" not in row
        assert row["kept"] == (3.0, 3.0) and set(shares(row).values()) == {1.0}
        assert scores.editing(edit, read_as(SCENE, t0=None))["kept"] == (2.0, 3.0)


def test_editing_does_not_ask_for_hidden_things():
    far, near = thing("square", "red", 30, 30), thing("square", "blue", 37.5, 30)
    source = scene_of(far, near)
    of_far, of_near = made("recolour", (0,), source, colour="pink"), made("recolour", (1,), source, colour="pink")
    row = scores.editing(of_far, read_as(of_far.target, t0=None))
    assert "success" not in row and row["kept"] == (1.0, 1.0) and row["count"] == (1.0, 1.0)
    assert scores.editing(of_far, read_as(of_far.target))["count"] == (1.0, 1.0)  # read it may be
    both = made("rematerial", (0, 1), source, material="dotted")
    for hidden in (far, None):
        row = scores.editing(both, read_as(both.target, t0=hidden))
        assert row["changed"] == (1.0, 1.0) and row["success"] == (1.0, 1.0)
    row = scores.editing(of_near, read_as(of_near.target, t0=None))
    assert row["success"] == (1.0, 1.0) and row["kept"] == (0.0, 0.0) and row["count"] == (1.0, 1.0)


# -------------------------------------------------------------------------------------------------------- leakage
def test_leakage_by_hand():
    source = np.full((8, 9, 3), 100, np.uint8)
    region = np.zeros((8, 9), bool)
    region[3:5, 3:5] = True
    result = source.copy()
    result[2:6, 2:6] = 255  # the region and one pixel around it, corners too
    assert scores.leakage(source, result, region) == (0.0, 8 * 9 - 16)
    result[1, 3] = (100, 124, 100)  # 24 levels in one channel are none
    assert scores.leakage(source, result, region)[0] == 0.0
    result[1, 3], result[1, 4], result[7, 8] = (100, 100, 125), (75, 100, 100), (0, 0, 0)  # 25 up, 25 down
    assert scores.leakage(source, result, region) == (3.0, 56.0)
    assert scores.leakage(result, source, region) == (3.0, 56.0)  # uint8 does not wrap around
    assert scores.leakage(source, 255 - source, np.zeros_like(region)) == (72.0, 72.0)
    assert scores.leakage(source, result, np.ones_like(region)) == (0.0, 0.0)  # asks nothing


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"result": np.zeros((8, 9, 3), np.uint8)}, "result is uint8 (8, 9, 3) and region bool (8, 8)"),
        ({"result": np.zeros((8, 8), np.uint8)}, "result is uint8 (8, 8)"),
        ({"source": np.zeros((4, 8, 3), np.uint8)}, "source is uint8 (4, 8, 3)"),
        ({"source": np.zeros((8, 8, 3))}, "source is float64"),
        ({"region": np.zeros((8, 8), np.int64)}, "region int64 (8, 8)"),
        ({"region": np.zeros((16, 16), bool)}, "region bool (16, 16)"),
    ],
)
def test_leakage_refuses(changes, message):
    fine = {"source": np.zeros((8, 8, 3), np.uint8), "result": np.zeros((8, 8, 3), np.uint8)}
    with pytest.raises(DataError) as error:
        scores.leakage(**{**fine, "region": np.zeros((8, 8), bool), **changes})
    assert message in str(error.value) and str(error.value).endswith("expected uint8 [H, W, 3] and bool [H, W].")


# --------------------------------------------------------------------------------------------------------- totals
def test_totals_by_hand():
    rows = [
        {"a": (1.0, 2.0), "b": (0.0, 0.0)},
        {"a": (3.0, 3.0)},
        {"a": (0.0, 1.0)},
        {"a": (0.0, 0.0), "b": (0.0, 0.0)},
    ]
    out = scores.totals(iter(rows))
    assert list(out) == ["a"]  # nobody asked for b
    value, n, error = out["a"]
    # 4 of 6 right; residuals 1 - 2 * 2/3, 3 - 3 * 2/3, 0 - 2/3
    assert value == pytest.approx(4 / 6) and n == 3
    assert error == pytest.approx(np.sqrt((1 / 9 + 1 + 4 / 9) * 3 / 2) / 6)
    assert scores.totals([]) == {} and scores.totals([{"a": (1.0, 2.0)}]) == {"a": (0.5, 1, 0.0)}


def test_totals_of_one_each_are_a_mean():
    right = np.random.default_rng(0).random(50) < 0.7
    (value, n, error) = scores.totals([{"a": (float(r), 1.0)} for r in right])["a"]
    assert n == 50 and value == pytest.approx(right.mean())
    assert error == pytest.approx(right.std(ddof=1) / np.sqrt(50))


def test_totals_standard_error_is_that_of_resampled_pictures():
    rng = np.random.default_rng(1)
    asked = rng.integers(1, 6, 400)
    right = rng.binomial(asked, rng.choice([0.3, 0.95], 400))  # things of one picture stand and fall together
    _, _, error = scores.totals([{"a": (float(r), float(k))} for r, k in zip(right, asked)])["a"]
    times = rng.multinomial(400, np.full(400, 1 / 400), 4000)
    assert error == pytest.approx(np.std((times @ right) / (times @ asked)), rel=0.05)
    independent = np.sqrt(right.sum() / asked.sum() * (1 - right.sum() / asked.sum()) / asked.sum())
    assert error > 1.3 * independent


# ------------------------------------------------------------------------------------------------- drawn pictures
@pytest.fixture(scope="module", params=COUNTS)
def drawn(request):
    """Scenes of a preset with their pictures and readings."""
    name = request.param
    found = [scenes.scene(name, "validation", i) for i in range(COUNTS[name])]
    pictures = [drawing.draw(scene, 64).picture for scene in found]
    return [(scene, picture, checker.read(picture, name)) for scene, picture in zip(found, pictures)]


def test_generation_of_drawn_scenes(drawn):
    """The picture of the scene is what its caption asks for; the picture of another is not, nor is its mirror image."""
    rows, others, mirrored = [], [], []
    for (scene, picture, reading), (_, _, other) in zip(drawn, drawn[1:] + drawn[:1]):
        said = captions.caption(scene, scenes.draws(scene.preset, scene.split, scene.index, CAPTION))
        rows.append(scores.generation(scene, reading, said.relation, said.halves))
        others.append(scores.generation(scene, other, said.relation, said.halves))
        if said.relation:
            axis = 1 if said.relation[1] in ("left of", "right of") else 0
            flipped = checker.read(np.ascontiguousarray(np.flip(picture, axis)), scene.preset)
            mirrored.append(scores.generation(scene, flipped, said.relation))
    assert {name: value for name, (value, _, _) in scores.totals(rows).items() if value < 1} == {}
    others, mirrored = scores.totals(others), scores.totals(mirrored)
    assert others["scene"][0] == 0.0 and others["object"][0] < 0.5
    assert mirrored["relation"][0] == mirrored["scene"][0] == 0.0 and mirrored["colour"][0] > 0.97


def test_readback_of_drawn_scenes(drawn):
    figures = scores.totals([scores.readback(scene, reading) for scene, _, reading in drawn])
    assert min(value for value, _, _ in figures.values()) > 0.99


@pytest.mark.slow
def test_edits_of_drawn_scenes(drawn):
    """Target and source as pictures, for each kind of edit that the scene allows: one has success, the other none."""
    kinds, targets, sources, leaks, blurred = set(), [], [], [], []
    for n, (scene, picture, reading) in enumerate(drawn):
        for kind in (edits.KINDS[n % 6], edits.KINDS[(n + 2) % 6]):
            try:
                edit = edits.edit(scene, scenes.draws(scene.preset, scene.split, scene.index, EDIT), kind)
            except DataError as error:
                assert "allows no edit of kind" in str(error)
                continue
            target = drawing.draw(edit.target, 64).picture
            targets.append(scores.editing(edit, checker.read(target, scene.preset)))
            sources.append(scores.editing(edit, reading))
            leaks.append({"leak": scores.leakage(picture, target, edits.region(edit, 64))})
            all_over = ndimage.uniform_filter(target, (9, 9, 1))
            blurred.append({"leak": scores.leakage(picture, all_over, edits.region(edit, 64))})
            kinds |= {kind} if "success" in targets[-1] else set()
    assert kinds == set(edits.KINDS) - ({"rematerial"} if drawn[0][0].preset == "easy" else set())
    assert {name: value for name, (value, _, _) in scores.totals(targets).items() if value < 1} == {}
    unedited = scores.totals(sources)
    assert unedited["success"][0] == unedited["changed"][0] == 0.0
    assert unedited["kept"][0] == unedited["kept_ground"][0] == 1.0
    assert scores.totals(leaks)["leak"][0] == 0.0 and scores.totals(blurred)["leak"][0] > 0.02
