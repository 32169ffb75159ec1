# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Lessons: what is said is so, in the words of the world, and a scene's lessons are one conversation."""

import re

import pytest

from data_pipelines.errors import DataError
from data_pipelines.world import lessons, scenes
from data_pipelines.world.examples import QUESTIONS, World
from data_pipelines.world.phrases import NOUNS, Phrases, description, phrase
from data_pipelines.world.relations import MARGIN, SIDES, holds
from tests.data_pipelines.world.solver import Solver

PRESETS = ("easy", "standard", "hard")
SIDE = "|".join(SIDES)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_said_is_so(preset):
    halves = nothing = beside = 0
    for index in range(150):
        scene = scenes.scene(preset, "train", index)
        phrases, d = Phrases(scene), scenes.draws_of(scene, scenes.QUESTIONS)
        for i in phrases.named():
            thing = scene.things[i]
            if (found := lessons._where(phrases, d, i)) is not None:
                words = found[2].split()
                halves += len(words)
                assert ("left" in words) == (thing.x <= 26) and ("right" in words) == (thing.x >= 38)
                assert ("upper" in words) == (thing.y <= 26) and ("lower" in words) == (thing.y >= 38)
            for side in SIDES:
                if (found := lessons._beside(phrases, d, i, side)) is None:
                    continue
                there = [t for t in scene.things if t is not thing and holds(t, side, thing)]
                assert len(there) == (found[2] != lessons.NOTHING)
                nothing, beside = nothing + (not there), beside + len(there)
                assert not there or set(found[2].split()) <= set(description(there[0]))
    assert halves > 200 and nothing > 10 and beside > 10


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_distances_are_those_of_the_scene(preset):
    """Read back from the wording: the thing that it names, measured from the edge or from the other thing."""
    edges = apart = none = 0
    for index in range(100):
        scene = scenes.scene(preset, "train", index)
        phrases = Phrases(scene)
        called = {}
        for key, hits in phrases.groups.items():
            for noun in NOUNS:
                called[phrase(key, noun)] = [scene.things[i] for i in hits]
        for wording, text, answer in lessons.distances(phrases, scenes.draws_of(scene, scenes.QUESTIONS)):
            found = parse(wording, text)
            (thing,) = called[found["a"]]
            if "edge" in wording:
                ahead = {"left": thing.x, "right": 64 - thing.x, "upper": thing.y, "lower": 64 - thing.y}[found["edge"]]
                edges += 1
            else:
                (other,) = called[found["b"]]
                axis, sign = SIDES[found["side"]]
                ahead = sign * (thing.x - other.x if axis == 0 else thing.y - other.y)
                assert abs(ahead) >= MARGIN and holds(thing, found["side"], other) == (answer != "0")
                apart, none = apart + 1, none + (answer == "0")
            assert int(answer) == max(int(ahead // MARGIN), 0)
    assert edges > 100 and apart > 50 and 0.2 < none / apart < 0.4


def test_pairs_are_asked_where_there_are_two_and_are_right():
    """Beside the one about numbers, questions of the world: its own solver answers them from the picture's truth."""
    forms: dict[str, int] = {}
    for index in range(200):
        scene = scenes.scene("easy", "train", index)
        asked = lessons.pairs(Phrases(scene), scenes.draws_of(scene, scenes.QUESTIONS))
        assert asked and (len(scene.things) > 1 or len(asked) == 1)
        for wording, text, answer in asked:
            forms[wording] = forms.get(wording, 0) + 1
            assert Solver(scene).answer(text) == answer
    assert len(forms) >= 12 and forms["Is the {a} larger than the {b}?"] >= 10


def test_descriptions_are_of_what_is_meant():
    """The solver finds what the words mean; single words are its answers."""
    whole = 0
    for index in range(200):
        scene = scenes.scene("easy", "train", index)
        solve = Solver(scene)
        asked = lessons.descriptions(Phrases(scene), scenes.draws_of(scene, scenes.QUESTIONS))
        for wording, text, answer in asked:
            if wording != "What is the {a}?":
                assert solve.answer(text) == answer
                continue
            (i,) = solve.referents(f"the {parse(wording, text)['a']}")
            thing = scene.things[i]
            assert answer == f"{thing.size} {thing.colour} {thing.shape}"
            whole += 1
    assert whole > 150


def parse(wording: str, text: str) -> dict[str, str]:
    """What stands in the places of a wording."""
    pattern = re.sub(r"\\{(\w+)\\}", lambda m: f"(?P<{m[1]}>{SIDE if m[1] == 'side' else '.+?'})", re.escape(wording))
    return re.fullmatch(pattern, text).groupdict()


def test_of_two_things_alike_nothing_is_asked():
    alike = next(
        s
        for s in (scenes.scene("easy", "train", i) for i in range(2_000))
        if len(s.things) == 2 and len({description(t) for t in s.things}) == 1
    )
    for lesson in (lessons.places, lessons.distances):
        assert lesson(Phrases(alike), scenes.draws_of(alike, scenes.QUESTIONS)) == []


@pytest.mark.parametrize("task", ["places", "distances", "pairs", "descriptions"])
def test_as_a_task(task):
    world = World(tasks=(task,), side=64)
    for index in range(50):
        turns = world[index].turns
        assert len(turns) % 2 == 0 and len(turns) <= 2 * QUESTIONS
        assert [t.role for t in turns[::2]] == ["user"] * (len(turns) // 2)
        assert all(t.images == ([0] if k == 0 else []) for k, t in enumerate(turns))


def test_questions_of_one_type_as_a_task():
    turns = World(tasks=("questions_size",), side=64)[3].turns
    assert {t.text for t in turns[1::2]} <= {"small", "large"}
    with pytest.raises(DataError, match="question type .material. of preset easy"):
        World(tasks=("questions_material",), side=64)[0]
