# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows that end in a picture: whose pixels, where its codes go, and what an edit marks."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from configs import models
from data_pipelines import language, rows, targets
from data_pipelines.errors import DataError
from data_pipelines.example import Mask
from data_pipelines.schedule import Schedule
from data_pipelines.world.examples import World
from focus_jax.sequence.layout import IGNORE, KINDS, Role
from focus_jax.sequence.vocabulary import Vocabulary

SIDE, CODES = 64, 16 + 64  # codes of both levels


@pytest.fixture(scope="module")
def generation():
    return models.generation_stream("tiny", (SIDE, SIDE), rows=2, share=1, length=176, learnt=104)


@pytest.fixture(scope="module")
def editing():
    return models.masks_stream("tiny", (SIDE, SIDE), 2, 1, length=288, learnt=112, shape_class="editing")


@pytest.fixture(scope="module")
def reconstruction():
    return models.reconstruction_stream("tiny", (SIDE, SIDE), rows=2, share=1, length=248, learnt=104)


def positions(row):
    """Of the codes in a row: their numbers and whether the position before each is to say it."""
    at = np.flatnonzero(row["roles"] == Role.TARGET)
    return row["features"][at], row["labels"][at - 1] != IGNORE


def test_a_caption_s_picture_is_drawn(generation):
    world = World(tasks=("caption",), side=128)
    for i in range(6):
        row = rows.row(world[i], generation)
        assert row["left_out"] == 0 and "image" not in row
        numbers, learnt = positions(row)
        np.testing.assert_array_equal(numbers, np.arange(CODES))
        assert learnt.all()
        plain = models.language_stream("tiny", (SIDE, SIDE), 2, 1, length=304, learnt=64, pack=1, images=1)
        seen = rows.row(world[i], plain)
        np.testing.assert_array_equal(row["target"], seen["image"][0])
        np.testing.assert_array_equal(row["target_high"], seen["high"][0])
        # What is said: the resolution, the picture, the end of the turn.
        vocabulary = Vocabulary(**generation["sequence"]["vocabulary"])
        said = row["labels"][row["labels"] != IGNORE]
        assert said[0] == vocabulary.height_tag(SIDE) and (said[:-2] >= vocabulary.frame[0]).all()


def test_some_captions_are_left_out(generation):
    example = World(tasks=("caption",), side=128)[0]
    lengths = [
        int((rows.row(example, generation, rng=np.random.default_rng(k))["segments"] > 0).sum()) for k in range(100)
    ]
    short = np.mean(np.array(lengths) < max(lengths) - 5)
    assert 0.02 < short < 0.25, "a tenth"


def said(row, stream):
    """The words of the answer, up to its mask tokens or its picture."""
    _, tokenizer = language.writing(stream["sequence"])
    words = row["labels"][(row["labels"] != IGNORE) & (row["labels"] < tokenizer.size)]
    return tokenizer.decode([int(x) for x in words])


@pytest.mark.parametrize("task", ["edit", "absent_edit", "removal"])
def test_an_edit_marks_what_it_means(editing, task):
    world, seen = World(tasks=(task,), side=128), Counter()
    for i in range(30):
        example = world[i]
        row = rows.row(example, editing)
        numbers, learnt = positions(row)
        np.testing.assert_array_equal(numbers, np.arange(CODES))
        assert learnt.all()
        guide = targets.GUIDES[row["guide"]]
        meant = next((e for e in example.expressions if e.kind == "edit"), None)
        by_region = bool(example.regions)
        seen[guide, by_region] += 1
        there = np.unpackbits(row["targets"], axis=-1).astype(bool)[row["there"] > 0]
        slots = (row["roles"] == Role.MASK).any()
        if guide == "whole":
            assert "background" in example.instruction and meant is None
            assert said(row, editing).strip() == "the whole picture."
            assert not slots and not len(there) and not row["known"].any()
            continue
        assert slots and said(row, editing).strip() == (meant.answer or "none.")
        masks = [example.instances[k].mask.to_array() for k in meant.instances]
        assert len(there) == len(masks) and (guide == "masks") == bool(masks)
        for one in masks:
            assert any((mask == one).all() for mask in there)
        assert row["known"].sum() == (len(masks) if by_region else 1)
        assert row["kind"] == KINDS.index("regions" if by_region else "words")
        assert (row["regions"].sum() > 0) == by_region
        assert row["removes"] == (
            guide == "masks" and any(w in example.instruction for w in ("remove", "delete", "take"))
        )
        if not masks:
            np.testing.assert_array_equal(row["target"], row["image"][0])
    expected = {
        "edit": {("masks", True), ("masks", False), ("whole", False)},
        "absent_edit": {("none", False)},
        "removal": {("masks", True), ("masks", False)},
    }
    assert set(seen) >= expected[task]  # of a picture of one thing nothing is taken away


def test_a_source_without_things_marks_its_region(editing):
    example = World(tasks=("removal",), side=128)[0]
    example.expressions, example.regions = [], []
    row = rows.row(example, editing)
    there = np.unpackbits(row["targets"][0], axis=-1).astype(bool)
    np.testing.assert_array_equal(there, example.edit_region.to_array())
    assert row["known"].sum() == 1 and targets.GUIDES[row["guide"]] == "masks"


def test_a_source_without_marks_has_no_condition(editing):
    example = World(tasks=("edit",), side=128)[0]
    example.edit_region, example.expressions, example.regions = None, [], []
    row = rows.row(example, editing)
    assert not row["known"].any() and not row["there"].any() and targets.GUIDES[row["guide"]] == "own"


def test_the_decoder_may_draw_at_twice_the_codes_size(editing):
    example = World(tasks=("edit",), side=128)[0]
    row, large = rows.row(example, editing), rows.row(example, editing | {"scale": 2})
    assert "drawn" not in row and large["drawn"].shape == (2 * SIDE, 2 * SIDE, 3)
    np.testing.assert_array_equal(
        large["drawn"], np.asarray(Image.open(io.BytesIO(example.target.data)).convert("RGB"))
    )
    np.testing.assert_array_equal(large["target"], row["target"])


@pytest.mark.parametrize(
    ("instruction", "removes"),
    [("Remove the dog", True), ("take the cup away.", True), ("please delete it", True), ("get rid of the car", True),
     ("make the dog red", False), ("take a picture of a removed dog", False), ("replace the dog", False)],
)  # fmt: skip
def test_what_takes_something_away(instruction, removes):
    assert bool(targets.REMOVES.match(instruction)) == removes


def test_a_dropped_instruction_gives_the_picture_back(editing):
    example = World(tasks=("edit",), side=128)[0]
    dropped = [rows.row(example, editing, rng=np.random.default_rng(k)) for k in range(60)]
    dropped = [row for row in dropped if not (row["roles"] == Role.MASK).any()]
    assert dropped
    for row in dropped:
        np.testing.assert_array_equal(row["target"], row["image"][0])
        np.testing.assert_array_equal(row["target_high"], row["high"][0])
        assert not row["known"].any() and not row["there"].any()


def test_a_picture_comes_back(editing, reconstruction):
    """A row that asks for nothing else is that of an edit whose instruction was left out."""
    example = World(tasks=("edit",), side=128)[0]
    row = rows.row(example, reconstruction)
    dropped = next(
        other for k in range(60)
        if not ((other := rows.row(example, editing, rng=np.random.default_rng(k)))["roles"] == Role.MASK).any()
    )  # fmt: skip
    length = len(row["ids"])
    for name in ("ids", "roles", "features", "labels", "positions", "segments"):
        np.testing.assert_array_equal(row[name], dropped[name][:length])
    assert not dropped["segments"][length:].any() and "regions" not in row
    np.testing.assert_array_equal(row["target"], row["image"][0])
    np.testing.assert_array_equal(row["target_high"], row["high"][0])
    example.images.clear()
    with pytest.raises(DataError, match="has no image, expected one to give back"):
        rows.row(example, reconstruction)


def test_shapes_are_the_fields(generation, editing, reconstruction):
    for stream, task in ((generation, "caption"), (editing, "edit"), (reconstruction, "objects")):
        row = rows.row(World(tasks=(task,), side=128)[0], stream)
        short = rows.row(World(tasks=(task,), side=128)[0], stream | {"sequence": stream["sequence"] | {"learnt": 90}})
        expected = {n: (shape, np.dtype(dtype)) for n, (shape, dtype) in rows.fields(stream).items()}
        for one in (row, short):
            assert {n: (x.shape, x.dtype) for n, x in one.items()} == expected
        assert short["left_out"] == 1 and not short["target"].any()


def small_target(example):
    example.target = World(tasks=("edit",), side=64)[0].target


@pytest.mark.parametrize(
    ("task", "change", "said"),
    [
        ("caption", lambda e: e.turns.clear(), "has 0 captions and 1 images, expected captions of one image"),
        ("caption", lambda e: setattr(e.turns[0], "text", " "), "description: empty"),
        ("edit", lambda e: setattr(e, "target", None), "has 1 images, no target, expected a picture, an instruction"),
        ("edit", lambda e: setattr(e, "instruction", " "), "expected a picture, an instruction and what it makes"),
        ("edit", small_target, "the target is 64 x 64, expected the picture's 128 x 128"),
        (
            "edit",
            lambda e: setattr(e, "edit_region", Mask.from_array(np.ones((8, 9), bool))),
            "the mask of what changes is 9 x 8, expected the picture's 128 x 128",
        ),
    ],
)
def test_examples_that_cannot_be_drawn(generation, editing, task, change, said):
    example = World(tasks=(task,), side=128)[0]
    change(example)
    with pytest.raises(DataError, match=said):
        rows.row(example, generation if task == "caption" else editing)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("generation", {"images": 1}, "sequence.images: is 1, expected 0 with generation"),
        ("reconstruction", {"images": 0}, "sequence.images: is 0, expected 1 with reconstruction"),
        ("editing", {"pack": 2}, "sequence.pack: is 2, expected 1 with editing|pack: is 2, expected 1 with segm"),
    ],
)
def test_wrong_streams(generation, editing, reconstruction, name, change, said):
    stream = {"generation": generation, "editing": editing, "reconstruction": reconstruction}[name]
    with pytest.raises(DataError, match=said):
        Schedule([{"steps": 1, "streams": [stream | {"sequence": stream["sequence"] | change}]}], 0)
    assert targets.CLASSES == ("generation", "editing", "reconstruction")
