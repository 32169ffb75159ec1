# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import collections
import dataclasses
import itertools
import re

import numpy as np
import pytest
from scipy import ndimage, stats

from data_pipelines.errors import DataError
from data_pipelines.world import drawing, edits, relations, scenes
from data_pipelines.world.scenes import EDIT
from data_pipelines.world.vocabulary import COLOURS, GROUNDS, MATERIALS, OPEN_PAIRS, PRESETS, SHAPES, SIZES

COUNTS = {"easy": 50, "standard": 60, "hard": 20}
EIGHT = np.ones((3, 3))
ADJECTIVES = {w: f for f, ws in (("size", SIZES), ("material", MATERIALS), ("colour", COLOURS)) for w in ws}
NAMED = re.compile(rf"\b(the|all) ((?:(?:{'|'.join(ADJECTIVES)}) )*)(thing|object|{'|'.join(SHAPES)})(?:s|es)?\b")


def draws(scene, salt=0):
    return scenes.Draws(1, salt, *scene.preset.encode(), scene.index, EDIT)


def attempt(scene, kind, by, salt=0, **options):
    try:
        return edits.edit(scene, draws(scene, salt), kind, by, **options)
    except DataError as error:
        assert "allows no edit of kind" in str(error)
        return None


@pytest.fixture(scope="module")
def drawn():
    return {name: [scenes.scene(name, "train", i) for i in range(count)] for name, count in COUNTS.items()}


@pytest.fixture(scope="module")
def made(drawn):
    """Edits of all kinds, in both ways, of every scene that allows them."""
    ways = [(kind, by) for kind in edits.KINDS for by in edits.BY if (kind, by) != ("background", "region")]
    found = [attempt(scene, *way) for group in drawn.values() for scene in group for way in ways]
    return [edit for edit in found if edit]


@pytest.fixture(scope="module")
def absent(drawn):
    kinds = edits.KINDS[:-1]
    found = [attempt(s, k, "words", absent=True) for group in drawn.values() for s in group for k in kinds]
    return [edit for edit in found if edit]


def denoted(match, scene):
    """Things of the scene that a noun phrase denotes."""
    words = [(ADJECTIVES[word], word) for word in match[2].split()]
    words += [("shape", match[3])] if match[3] in SHAPES else []
    return tuple(i for i, t in enumerate(scene.things) if all(getattr(t, f) == w for f, w in words))


def after(edit, i):
    """things[i] of the source, which is not removed, as the target has it."""
    return edit.target.things[i - sum(k < i for k in edit.things) if edit.kind == "remove" else i]


def test_there_are_edits_of_all_kinds(made):
    counts = collections.Counter((e.source.preset, e.kind, e.by) for e in made)
    assert len(made) > 1_000
    for preset, kind, by in itertools.product(PRESETS, edits.KINDS, edits.BY):
        impossible = (kind, by) == ("background", "region") or (preset, kind) == ("easy", "rematerial")
        assert (counts[preset, kind, by] == 0) == impossible, (preset, kind, by)


@pytest.mark.parametrize("side", [64, 128])
def test_pictures_differ_in_the_region_only(made, side):
    """To the pixel; the region holds not much more than the things' outlines and all of what changes shows in it."""
    pick = made[::2] if side == 64 else made[1::4]
    assert len(pick) >= 300
    for edit in pick:
        before, now = drawing.draw(edit.source, side), drawing.draw(edit.target, side)
        region = edits.region(edit, side)
        assert region.dtype == bool and region.shape == (side, side)
        different = (before.picture != now.picture).any(-1)
        assert different.any() and not (different & ~region).any(), edit
        if edit.kind == "background":
            assert region[before.ids == 0].all() and (before.ids == now.ids).all()
            whole = before.ids == 0
        else:
            things = [edit.source.things[i] for i in edit.things]
            things += [] if edit.kind == "remove" else [edit.target.things[i] for i in edit.things]
            whole = np.logical_or.reduce([scenes.mask(thing, side) for thing in things])
            assert all(region[before.mask(i)].all() for i in edit.things)
            assert different[region].mean() > 0.5 or edit.kind in ("rematerial", "replace")
        beyond = region & ~ndimage.binary_dilation(whole, EIGHT, 3)  # tips reach far
        assert not beyond.any() or (edit.kind == "background" and beyond.sum() < 20)  # ground between two outlines


def test_what_is_not_meant_stays(made):
    for edit in made:
        same = dataclasses.replace(edit.target, things=edit.source.things, ground=edit.source.ground)
        assert same == edit.source
        assert edit.things == tuple(sorted(set(edit.things)))
        for i, thing in enumerate(edit.source.things):
            if i not in edit.things:
                assert after(edit, i) == thing
        if edit.kind != "background":
            assert edit.things and edit.target.ground == edit.source.ground


def test_kinds_do_what_they_say(made):
    """One field of each thing meant is another, to the value that the instruction names."""
    for edit in made:
        text = edit.instruction
        if edit.kind == "background":
            colour = edit.target.ground.colour
            assert edit.things == () and colour != edit.source.ground.colour and text.endswith(colour)
            assert dataclasses.replace(edit.target.ground, colour=edit.source.ground.colour) == edit.source.ground
        elif edit.kind == "remove":
            assert len(edit.target.things) == len(edit.source.things) - len(edit.things) >= 1
        elif edit.kind == "move":
            (i,) = edit.things
            thing, to = edit.source.things[i], edit.target.things[i]
            assert dataclasses.replace(to, x=thing.x, y=thing.y) == thing
        else:
            field = {"recolour": "colour", "rematerial": "material", "replace": "shape"}[edit.kind]
            values = {getattr(edit.target.things[i], field) for i in edit.things}
            (value,) = values
            assert value in text
            for i in edit.things:
                was, to = edit.source.things[i], edit.target.things[i]
                assert getattr(was, field) != value and dataclasses.replace(to, **{field: getattr(was, field)}) == was


def test_moves_can_be_verified(made):
    """Where it went is on the side asked for, clearly, and it was not before."""
    sides = {"left side": "left", "right side": "right", "top": "upper", "bottom": "lower"}
    beside = {"to the left of": "left of", "to the right of": "right of", " above the": "above", " below the": "below"}
    seen, verbs = collections.Counter(), set()
    for edit in (e for e in made if e.kind == "move"):
        (i,) = edit.things
        thing, to = edit.source.things[i], edit.target.things[i]
        assert np.hypot(to.x - thing.x, to.y - thing.y) >= relations.MARGIN
        others = [t for k, t in enumerate(edit.source.things) if k != i]
        assert all(scenes.apart(to, other) for other in others)
        side = [half for words, half in sides.items() if edit.instruction.endswith(f"to the {words}")]
        if side:
            assert relations.in_half(to, side[0])
            assert min(scenes.points(to).min(), 64 - scenes.points(to).max()) <= 2.01
            assert edit.instruction.split()[0] in ("move", "shift")
            seen["border"] += 1
        else:
            (relation,) = [r for words, r in beside.items() if words in edit.instruction]
            *_, last = NAMED.finditer(edit.instruction)
            (j,) = denoted(last, edit.source)
            assert j != i and not relations.holds(thing, relation, edit.source.things[j])
            assert relations.holds(to, relation, edit.target.things[j])
            seen["beside"] += 1
            verbs.add(edit.instruction.split()[0])
    assert min(seen.values()) > 0.2 * seen.total() and verbs == {"move", "shift", "put"}


def test_words_mean_exactly_the_things(made):
    """Read by another parser: 'the' denotes one thing, 'all' several, and these are the things of the edit."""
    for edit in (e for e in made if e.by == "words" and e.kind != "background"):
        first = NAMED.search(edit.instruction)
        assert denoted(first, edit.source) == edit.things, edit
        assert (len(edit.things) > 1) == (first[1] == "all"), edit


def test_by_region_the_words_do_not_tell(made):
    for edit in (e for e in made if e.by == "region"):
        assert ("these" if len(edit.things) > 1 else "this") in edit.instruction.split()
        landmarks = [denoted(m, edit.source) for m in NAMED.finditer(edit.instruction)]
        assert not landmarks or (edit.kind == "move" and len(landmarks) == 1 and landmarks[0][0] not in edit.things)


def test_targets_obey_the_rules_of_scenes(made):
    for edit in made:
        hidden = PRESETS[edit.target.preset].hidden
        assert edit.target.things
        for thing in edit.target.things:
            assert scenes.inside(thing) and thing.pair not in OPEN_PAIRS
        for far, near in itertools.combinations(edit.target.things, 2):
            if scenes.apart(far, near):
                continue
            assert far.colour != near.colour
            assert hidden[0] <= scenes.hidden_share(far, near) <= hidden[1]  # 1 where it would be in pieces
    for edit in made[::5]:
        for side in (64, 128):
            drawn = drawing.draw(edit.target, side)
            assert all(ndimage.label(drawn.mask(k), EIGHT)[1] == 1 for k in range(len(edit.target.things)))


def test_open_scenes_may_become_and_lose_open_pairs():
    """Of the split `open` only: there the target may hold such a pair that the source does not."""
    found = set()
    for i in range(150):
        edit = attempt(scenes.scene("easy", "open", i), "recolour", "words")
        found |= {t.pair for t in edit.target.things} - {t.pair for t in edit.source.things}
    assert found & set(OPEN_PAIRS)


def test_kinds_have_equal_shares_where_all_are_possible(drawn):
    several = [scene for scene in drawn["standard"] if len(scene.things) > 1]
    some = [edits.edit(scene, draws(scene, salt)) for scene in several for salt in range(8)]
    counts = collections.Counter(edit.kind for edit in some)
    assert stats.chisquare([counts[kind] for kind in edits.KINDS]).pvalue > 0.01, counts
    others = [edit for edit in some if edit.kind != "background"]
    assert 0.45 < np.mean([edit.by == "words" for edit in others]) < 0.55
    assert 0.15 < np.mean([len(edit.things) > 1 for edit in others]) < 0.5


def test_easy_has_equal_shares_but_for_removing(drawn):
    """A picture of one thing cannot lose it, and there is one material."""
    some = [edits.edit(scene, draws(scene, salt)) for scene in drawn["easy"] for salt in range(8)]
    counts = collections.Counter(edit.kind for edit in some)
    assert set(counts) == set(edits.KINDS) - {"rematerial"}
    assert all(0.16 * len(some) < counts[k] < 0.29 * len(some) for k in ("recolour", "replace", "move", "background"))
    assert 0.07 * len(some) < counts["remove"] < 0.2 * len(some)
    assert all(len(edit.source.things) > 1 for edit in some if edit.kind == "remove")


def test_values_are_balanced(drawn):
    """The colour asked for tells nothing about the picture."""
    some = [attempt(scene, "recolour", "words", salt) for scene in drawn["standard"] for salt in range(6)]
    counts = collections.Counter(edit.target.things[edit.things[0]].colour for edit in some)
    assert set(counts) == set(COLOURS) and min(counts.values()) > 0.05 * len(some)
    grounds = collections.Counter(attempt(scene, "background", "words").target.ground.colour for scene in drawn["easy"])
    assert set(grounds) == set(GROUNDS)


def test_every_scene_allows_edits_without_a_referent(drawn):
    """Of each kind, of a single thing as well, which every shorter name would fit."""
    for scene in [*drawn["easy"], *(scenes.scene("easy", "open", i, things=1) for i in range(40))]:
        for kind in ("recolour", "remove", "replace", "move"):
            for salt in range(3):
                assert edits.edit(scene, draws(scene, salt), kind, absent=True).things == ()


def test_nothing_meant(absent):
    """Words of an edit without a referent denote nothing, in forms that edits with one have, and nothing changes."""
    counts = collections.Counter(edit.kind for edit in absent)
    assert set(counts) == set(edits.KINDS) - {"background"} and len(absent) > 500
    plural = 0
    for edit in absent:
        assert edit.target == edit.source and edit.things == () and edit.by == "words"
        assert not edits.region(edit, 64).any()
        first = NAMED.search(edit.instruction)
        assert denoted(first, edit.source) == (), edit
        plural += first[1] == "all"
        for match in NAMED.finditer(edit.instruction):
            colours = [word for word in match[2].split() if word in COLOURS]
            assert not any((match[3], colour) in OPEN_PAIRS for colour in colours), edit
        words = edit.instruction.split()
        if edit.kind == "recolour":  # nor would the edit make one
            assert (first[3], words[-1]) not in OPEN_PAIRS
    assert 0.15 < plural / len(absent) < 0.5


def test_the_same_numbers_give_the_same_edit(drawn):
    scene = drawn["hard"][0]
    assert edits.edit(scene, draws(scene)) == edits.edit(scene, draws(scene))
    assert len({edits.edit(scene, draws(scene, salt)).instruction for salt in range(9)}) > 3


@pytest.mark.parametrize(
    ("kind", "by", "absent", "message"),
    [
        ("paint", None, False, "kind of edit is 'paint', expected one of recolour, rematerial, remove, replace, move"),
        (None, "voice", False, "an edit by 'voice', expected one of words, region."),
        ("background", "region", False, "an edit of the background by region, expected by words."),
        ("remove", "region", True, "an edit of nothing by region, expected by words."),
        ("background", None, True, "an edit of kind background with absent things, expected one of recolour"),
        ("rematerial", None, False, "scene easy/train/1 allows no edit of kind rematerial by words or region."),
        ("rematerial", "words", True, "scene easy/train/1 allows no edit of kind rematerial by words."),
    ],
)
def test_refused(kind, by, absent, message):
    scene = scenes.scene("easy", "train", 1)
    with pytest.raises(DataError) as error:
        edits.edit(scene, draws(scene), kind, by, absent=absent)
    assert str(error.value).startswith(f"world: {message}")


def test_the_last_thing_cannot_be_removed():
    scene = scenes.scene("easy", "train", 0, things=1)
    with pytest.raises(DataError, match="scene easy/train/0 allows no edit of kind remove by words or region"):
        edits.edit(scene, draws(scene), "remove")
