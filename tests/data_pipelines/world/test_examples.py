# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Examples of every task: they survive encoding, say what the scene says, and do not depend on each other."""

import io

import numpy as np
import pytest
from PIL import Image

from data_pipelines import example, regions
from data_pipelines.errors import DataError
from data_pipelines.world import drawing, questions, scenes
from data_pipelines.world.examples import EXPRESSIONS, GROUND, QUESTIONS, TASKS, World
from data_pipelines.world.vocabulary import OPEN_PAIRS, PRESETS

PICTURE_TASKS = [task for task in TASKS if task != "clip"]


def pixels(image):
    return np.asarray(Image.open(io.BytesIO(image.data)))


@pytest.fixture(scope="module", params=["easy", "standard"])
def made(request):
    world = World(split="test", preset=request.param, tasks=PICTURE_TASKS)
    return [(scenes.scene(request.param, "test", i), world[i]) for i in range(12)]


def test_examples_survive_encoding(made):
    for _, e in made:
        assert example.decode(example.encode(e)) == e


def test_picture_is_the_drawing_and_instances_are_its_things(made):
    for scene, e in made:
        drawn = drawing.draw(scene, 128)
        np.testing.assert_array_equal(pixels(e.images[0]), drawn.picture)
        for k, (thing, instance) in enumerate(zip(scene.things, e.instances)):
            assert (instance.category, instance.attributes) == (thing.shape, [thing.colour, thing.size, thing.material])
            np.testing.assert_array_equal(instance.mask.to_array(), drawn.mask(k))
            x, y, w, h = map(int, instance.box)
            assert drawn.mask(k)[y : y + h, x : x + w].sum() == drawn.mask(k).sum()
        assert e.instances[-1].category == GROUND and len(e.instances) == len(scene.things) + 1


def test_turns_hold_a_caption_and_questions_of_all_types(made):
    for scene, e in made:
        assert [t.role for t in e.turns] == ["caption", *["user", "assistant"] * QUESTIONS]
        assert scene.ground.colour in e.turns[0].text
        d = scenes.draws(scene.preset, "test", scene.index, scenes.QUESTIONS)
        asked = questions.questions(scene, d, QUESTIONS)
        assert len({q.type for q in asked}) == QUESTIONS
        assert [t.text for t in e.turns[1::2]] == [q.text for q in asked]


def test_expressions_and_regions_point_at_instances(made):
    for scene, e in made:
        assert sum(x.kind not in ("reasoning", "edit") for x in e.expressions) == EXPRESSIONS
        assert all(0 <= i < len(scene.things) for x in e.expressions for i in x.instances)
        assert [r.kind for r in e.regions[: len(regions.KINDS)]] == list(regions.KINDS)
        for region in e.regions:
            assert (region.mask.to_array() & e.instances[region.instance].mask.to_array()).any()


def test_target_differs_from_the_picture_within_the_region_only(made):
    for _, e in made:
        changed = (pixels(e.target) != pixels(e.images[0])).any(-1)
        region = e.edit_region.to_array()
        grown = region.copy()
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                grown |= np.roll(region, (dy, dx), (0, 1))
        assert changed.any() and e.instruction and not (changed & ~grown).any()


def test_a_task_does_not_depend_on_the_others(made):
    for scene, e in made[:4]:
        alone = World(split="test", preset=scene.preset, tasks=("edit",))[scene.index]
        assert (alone.instruction, alone.target, alone.edit_region) == (e.instruction, e.target, e.edit_region)


def test_clip_has_frames_and_tracks():
    world = World(preset="easy", tasks=("clip",))
    for i in range(4):
        e = world[i]
        assert not e.images and 4 <= len(e.frames) <= 8
        assert [f.time for f in e.frames] == sorted(f.time for f in e.frames)
        for instance in e.instances:
            assert 0 <= instance.frame < len(e.frames) and instance.mask.to_array().any()
        words = {}
        for instance in e.instances:
            assert words.setdefault(instance.track, (instance.category, instance.attributes)) == (
                instance.category,
                instance.attributes,
            )
    with pytest.raises(DataError, match="expected clip alone"):
        World(tasks=("clip", "edit"))


@pytest.mark.parametrize("preset", PRESETS)
def test_open_pairs_appear_in_the_open_split_alone(preset):
    def pairs(split, i):
        return {(t.shape, t.colour) for t in scenes.scene(preset, split, i).things}

    assert all(pairs("open", i) & set(OPEN_PAIRS) for i in range(10))
    assert not any(pairs(split, i) & set(OPEN_PAIRS) for split in ("train", "test") for i in range(10))
    assert World(split="open", preset=preset)[0].split == "test"
