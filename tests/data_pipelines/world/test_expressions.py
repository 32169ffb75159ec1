# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import collections
import dataclasses
import re

import pytest

from data_pipelines.world import expressions, reasons, relations, scenes
from data_pipelines.world.phrases import Phrases
from data_pipelines.world.scenes import Ground, Scene, Thing
from data_pipelines.world.vocabulary import OPEN_PAIRS, SPLITS
from tests.data_pipelines.world import solver
from tests.data_pipelines.world.solver import Solver, Unclear

COUNTS = {"easy": 520, "standard": 260, "hard": 32}  # scenes, a quarter of them of each split
GROUND = Ground("gray", "flat", 0.0, (), (1.0, 0.0, 0.0))


def draws(scene, purpose):
    return scenes.draws(scene.preset, scene.split, scene.index, purpose)


@pytest.fixture(scope="module")
def world():
    """[(scene, referring expressions, reasoning expressions)] of all presets and splits."""
    out = []
    for name, count in COUNTS.items():
        for split in SPLITS:
            for i in range(count // 4):
                s = scenes.scene(name, split, i)
                referring = expressions.referring(s, draws(s, scenes.REFERRING), 10)
                out.append((s, referring, expressions.reasoning(s, draws(s, scenes.REASONING), 6)))
    return out


def scene(*things, preset="standard"):
    return Scene(preset, "train", 0, GROUND, things)


def thing(words, x, y, radius=None, preset="standard"):
    size, material, colour, shape = words.split()
    radius = radius or {"small": 6.4, "medium": 9.0, "large": 12.6}[size]
    return Thing(shape, colour, size, material, float(x), float(y), radius, 0.0)


FOUR = scene(
    thing("large plain red ring", 48, 16),
    thing("small striped red circle", 14, 14),
    thing("medium plain blue square", 16, 44),
    thing("small plain green square", 24, 53),  # covers part of the blue one
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the red circle", {1}),
        ("the small plain object", {3}),
        ("the purple thing", set()),
        ("the red thing", None),  # two
        ("all red things", {0, 1}),
        ("the red things", {0, 1}),
        ("all circles", None),  # one
        ("all stars", set()),
        ("the red thing left of the ring", {1}),
        ("the thing above the blue square", None),  # two
        ("the things above the blue square", {0, 1}),
        ("the circle right of the ring", set()),
        ("the square below the circle", None),  # two
        ("the circle above the ring", None),  # too close to call
        ("the circle above the square", None),  # which square
        ("the rightmost object", {0}),
        ("the leftmost thing", None),  # 14 and 16
        ("the lowest red thing", None),
        ("the lowest thing", {3}),
        ("the largest thing", {0}),
        ("the smallest thing", None),
        ("the smallest square", {3}),
        ("the shapes with the most corners", {2, 3}),
        ("the shape with the most corners", None),
        ("the things with the fewest corners", {0, 1}),
        ("the shapes with exactly four corners", {2, 3}),
        ("the things that could roll", {0, 1}),
        ("what would fit into the ring", {1}),
        ("the other things too large to fit into the ring", {2, 3}),
        ("the odd one out in pattern", {1}),
        ("the odd one out in colour", None),
        ("the thing that covers another", {3}),
        ("the thing that is partly hidden", {2}),
        ("the thing closest to the blue square", {3}),
        ("the things that have the colour of ripe tomatoes", {0, 1}),
        ("the thing that has the colour of fresh grass", {3}),
        ("the other thing of the same shape as the green thing", {2}),
        ("the other thing of the same size as the blue thing", set()),
        ("the wheel-like shape with a hole", {0}),
        ("the shape you would draw for the night sky", set()),
        ("the thing with the shape of a coin", {1}),
        ("the nicest thing", None),
    ],
)
def test_the_solver_decides_as_people_do(text, expected):
    if expected is None:
        with pytest.raises(Unclear):
            Solver(FOUR).referents(text)
    else:
        assert Solver(FOUR).referents(text) == expected


@pytest.mark.slow
def test_ten_thousand_expressions_have_exactly_their_referents(world):
    checked, rules = 0, collections.Counter()
    for s, referring, reasoning in world:
        solve = Solver(s)
        for e in (*referring, *reasoning):
            assert solve.referents(e.text) == set(e.things), (s.preset, s.split, s.index, e)
            assert e.things == tuple(sorted(e.things))
            rules[next(p for p in solver.RULES if re.fullmatch(p, e.text)).replace("the thing(s?) that", "what")] += 1
            checked += 1
    assert checked >= 10_000
    assert all(n >= 10 for p, n in rules.items() if "would fit" not in p), rules
    assert len(rules) == len(solver.RULES) - 1, set(solver.RULES) - set(rules)  # two texts for what fits, a rare thing


def test_kinds(world):
    assert expressions.KINDS == ("attributes", "relation", "superlative", "plural", "none")
    number = {"attributes": (1, 1), "relation": (1, 1), "superlative": (1, 1), "plural": (2, 8), "none": (0, 0)}
    kinds = collections.Counter()
    for s, referring, reasoning in world:
        assert len(referring) == 10
        assert {e.kind for e in reasoning} <= {"reasoning"} and len({e.text for e in reasoning}) == len(reasoning) <= 6
        for e in referring:
            low, high = number[e.kind]
            assert low <= len(e.things) <= high
            assert e.text.startswith(("the ", "all ")) and e.text == e.text.lower() and e.text[-1].isalpha()
        if len(s.things) > 2:
            kinds.update(e.kind for e in referring)
    total = sum(kinds.values())
    assert all(0.17 * total <= kinds[kind] <= 0.24 * total for kind in expressions.KINDS), kinds


def test_names_are_minimal_and_not(world):
    """A name is minimal where no word before its noun can go; ('thing' adds nothing)."""
    short = long = 0
    for s, referring, _ in world:
        phrases = Phrases(s)
        for e in referring:
            if e.kind == "attributes" and len(s.things) > 1:
                words = len([w for w in e.text.split()[1:] if w not in ("thing", "object")])
                least = min(4 - k.count(None) for k in phrases.unique(e.things[0]))
                short, long = short + (words == least), long + (words > least)
    assert short > 0.3 * (short + long) and long > 0.3 * (short + long)


def test_absent_things_are_near_misses_half_of_the_time_and_in_the_form_of_the_others(world):
    near = far = 0
    forms = collections.Counter()
    for s, referring, _ in world:
        for e in referring:
            if e.kind == "none":
                side = re.search(r" (left of|right of|above|below) ", e.text)
                words = {w.removesuffix("s").removesuffix("e") if w != "cross" else w for w in e.text.split()[1:]}
                forms["relation" if side else "plural" if e.text.endswith("s") else "singular"] += 1
                words -= {"thing", "object"}
                if not side and len(words) > 1:
                    of = [{t.shape, t.colour, t.size, t.material} | {t.shape.removesuffix("e")} for t in s.things]
                    off = min(len({w for w in words if w not in o and w + "e" not in o}) for o in of)
                    near, far = near + (off == 1), far + (off > 1)
    assert near > 0.5 * (near + far) and far > 0.1 * (near + far)
    assert all(forms[form] > 0.1 * sum(forms.values()) for form in ("relation", "plural", "singular")), forms


def test_no_text_outside_open_names_an_open_pair(world):
    named = lambda text: any(f"{colour} {shape}" in text for shape, colour in OPEN_PAIRS)
    count = {True: 0, False: 0}
    for s, referring, reasoning in world:
        count[s.split == "open"] += sum(named(e.text) for e in (*referring, *reasoning))
    assert count[False] == 0 and count[True] > 100


# ----------------------------------------------------------------------------------------------------------- margins
def test_relations_are_undefined_within_the_margin():
    a, b = thing("small plain red circle", 20, 20), thing("large plain red circle", 28, 27.9)
    assert relations.holds(a, "left of", b) is True and relations.holds(b, "left of", a) is False
    assert relations.holds(a, "above", b) is None and relations.holds(b, "below", a) is None
    assert relations.extreme((a, b), [0, 1], "leftmost") == 0 and relations.extreme((a, b), [0, 1], "highest") is None
    assert relations.extreme((a, b), [0, 1], "largest") == 1 and relations.extreme((a, a), [0, 1], "largest") is None
    assert relations.extreme((a,), [0], "leftmost") is None
    assert relations.in_half(a, "left") and relations.in_half(b, "left") is None and not relations.in_half(a, "lower")


def test_every_margin_of_a_rule_is_kept():
    """What fits, what is close and what is hidden by a hair is not asked about; by the margin it is."""
    asked = lambda rule, s: rule(Phrases(s), scenes.draws("standard", "train", 0, 0))
    ring = thing("large plain red ring", 46, 46, 12.5)  # a hole of 7.0
    circle = lambda radius: thing("small plain blue circle", 12, 12, radius)
    assert [found[1] for found in asked(reasons.fits, scene(ring, circle(6.6)))] == [(1,)]
    assert asked(reasons.fits, scene(ring, circle(7.4))) == [("the other thing too large to fit into the ring", (1,))]
    assert not asked(reasons.fits, scene(ring, circle(6.8))) and not asked(reasons.fits, scene(ring, circle(7.2)))
    assert not asked(reasons.fits, scene(ring, dataclasses.replace(ring, x=16.0), circle(6.6)))
    square = lambda x: thing("small plain blue square", x, 12)
    covers = lambda x: asked(reasons.covers, scene(thing("small plain red square", 12, 12), square(x)))
    assert [found[1] for found in covers(12 + 10.2)] == [(1,), (0,)]  # a tenth hidden
    assert not covers(12 + 11.2) and not covers(12 + 14.0)
    star, cross = thing("small plain cyan star", 50, 50), thing("small plain blue cross", 12, 50)
    sky = lambda s: [text for text, _ in asked(reasons.typical_colour, s) if "sky" in text]
    assert sky(scene(cross)) and not sky(scene(cross, star))
    assert asked(reasons.odd_one_out, scene(cross, star)) == []


def test_draws_decide_all():
    s = scenes.scene("standard", "train", 3)
    make = lambda purpose, function: function(s, draws(s, purpose), 8)
    for function in (expressions.referring, expressions.reasoning):
        assert make(scenes.REFERRING, function) == make(scenes.REFERRING, function)
        assert make(scenes.REFERRING, function) != make(scenes.REASONING, function)
    assert expressions.referring(s, draws(s, scenes.REFERRING), 0) == []
