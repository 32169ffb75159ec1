# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Lessons about places: what is said is so, in the words of the world, and a scene's lessons are one conversation."""

import pytest

from data_pipelines.errors import DataError
from data_pipelines.world import placing, scenes
from data_pipelines.world.examples import QUESTIONS, World
from data_pipelines.world.phrases import Phrases, description
from data_pipelines.world.relations import SIDES, holds

PRESETS = ("easy", "standard", "hard")


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_said_is_so(preset):
    halves = nothing = beside = 0
    for index in range(150):
        scene = scenes.scene(preset, "train", index)
        phrases, d = Phrases(scene), scenes.draws_of(scene, scenes.QUESTIONS)
        for i in phrases.named():
            thing = scene.things[i]
            if (found := placing._where(phrases, d, i)) is not None:
                words = found[2].split()
                halves += len(words)
                assert ("left" in words) == (thing.x <= 26) and ("right" in words) == (thing.x >= 38)
                assert ("upper" in words) == (thing.y <= 26) and ("lower" in words) == (thing.y >= 38)
            for side in SIDES:
                if (found := placing._beside(phrases, d, i, side)) is None:
                    continue
                there = [t for t in scene.things if t is not thing and holds(t, side, thing)]
                assert len(there) == (found[2] != placing.NOTHING)
                nothing, beside = nothing + (not there), beside + len(there)
                assert not there or set(found[2].split()) <= set(description(there[0]))
    assert halves > 200 and nothing > 10 and beside > 10


def test_of_two_things_alike_nothing_is_asked():
    alike = next(
        s
        for s in (scenes.scene("easy", "train", i) for i in range(2_000))
        if len(s.things) == 2 and len({description(t) for t in s.things}) == 1
    )
    assert placing.places(Phrases(alike), scenes.draws_of(alike, scenes.QUESTIONS)) == []


def test_as_a_task():
    world = World(tasks=("places",), side=64)
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
