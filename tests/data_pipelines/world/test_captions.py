# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from data_pipelines.world import captions, scenes
from data_pipelines.world.scenes import Ground, Scene, Thing
from data_pipelines.world.vocabulary import OPEN_PAIRS
from tests.data_pipelines.world.solver import Solver, Unclear

COUNTS = {"easy": 300, "standard": 150, "hard": 20}


def caption(scene):
    return captions.caption(scene, scenes.draws(scene.preset, scene.split, scene.index, scenes.CAPTION))


@pytest.fixture(scope="module")
def world():
    return [
        scenes.scene(name, split, i) for name, n in COUNTS.items() for split in ("train", "open") for i in range(n // 2)
    ]


def test_a_caption_tells_of_every_thing_and_its_relation_holds(world):
    """The solver reads every phrase with an article of its own, finds each thing told of once and in full."""
    with_relation = with_place = alone = 0
    for scene in world:
        made = caption(scene)
        assert Solver(scene).caption(made.text) == (made.relation, made.halves), made.text
        with_relation += made.relation is not None
        alone += len(scene.things) == 1
        with_place += bool(made.halves)
        assert not made.halves or len(scene.things) == 1
    assert with_relation > 0.5 * len(world) and with_place > 0.8 * alone > 20


def test_a_caption_of_another_scene_is_noticed(world):
    """The test above can fail: captions of scenes that differ in one word are refused."""
    for scene in world[:50]:
        ground = dataclasses.replace(scene.ground, colour="white" if scene.ground.colour != "white" else "black")
        with pytest.raises(Unclear):
            Solver(dataclasses.replace(scene, ground=ground)).caption(caption(scene).text)
        other = dataclasses.replace(scene.things[0], colour="red" if scene.things[0].colour != "red" else "green")
        with pytest.raises(Unclear):
            Solver(dataclasses.replace(scene, things=(other, *scene.things[1:]))).caption(caption(scene).text)


def test_relations_are_of_things_with_names_and_beyond_the_margin():
    ground = Ground("gray", "flat", 0.0, (), (1.0, 0.0, 0.0))
    one = Thing("circle", "red", "small", "plain", 20.0, 20.0, 9.5, 0.0)
    twin = dataclasses.replace(one, x=44.0)
    near = dataclasses.replace(one, x=27.0, y=27.0, colour="green")
    texts = lambda *things: {
        captions.caption(Scene("easy", "train", 0, ground, things), scenes.draws("easy", "train", i, scenes.CAPTION))
        for i in range(60)
    }
    assert all(made.relation is None and "two small red circles" in made.text for made in texts(one, twin))
    assert all(made.relation is None for made in texts(one, near))
    sides = {made.relation for made in texts(one, dataclasses.replace(twin, size="large", radius=13.0))}
    assert sides == {(0, "left of", 1), (1, "right of", 0)}
    text = "a small red circle left of a large red circle on a gray background"
    assert text in {made.text for made in texts(one, dataclasses.replace(twin, size="large", radius=13.0))}


def test_the_place_of_a_lone_thing():
    """Said of every middle line from which it is farther than the margin, and it is that place."""
    ground = Ground("gray", "flat", 0.0, (), (1.0, 0.0, 0.0))
    one = Thing("circle", "red", "small", "plain", 20.0, 50.0, 9.5, 0.0)
    for x, y, words in (
        (20.0, 50.0, " in the lower left quarter"),
        (33.0, 14.0, " in the upper half"),
        (44.0, 28.0, " in the right half"),
        (33.0, 28.0, ""),
    ):
        scene = Scene("easy", "train", 0, ground, (dataclasses.replace(one, x=x, y=y),))
        text = caption(scene).text
        assert f"a small red circle{words}" in text and ("half" in text or "quarter" in text) == bool(words)
        if words:
            elsewhere = dataclasses.replace(scene, things=(dataclasses.replace(one, x=64 - x, y=64 - y),))
            with pytest.raises(Unclear):
                Solver(elsewhere).caption(text)


def test_no_caption_outside_open_names_an_open_pair(world):
    named = lambda scene: any(f"{colour} {shape}" in caption(scene).text for shape, colour in OPEN_PAIRS)
    assert not any(named(scene) for scene in world if scene.split != "open")
    assert all(named(scene) for scene in world if scene.split == "open")
