# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of sequences: what an Example becomes, packing, what does not fit, what is refused; text slots."""

import dataclasses
import json

import numpy as np
import pytest

from configs import models
from data_pipelines import language, prepare, rows, slots
from data_pipelines.errors import DataError
from data_pipelines.example import Turn
from data_pipelines.loader import Loader
from data_pipelines.world import drawing, scenes
from data_pipelines.world.examples import World
from data_pipelines.world.vocabulary import COLOURS, GROUNDS
from focus_jax.sequence.layout import IGNORE, Role

QUESTIONS = ("questions", "caption")


def stream(shape_class="language", side=32, size=4, **sequence):
    given = dict(length=256, learnt=64, pack=1, images=1) | sequence
    too_long = given.pop("too_long", "drop")
    found = models.sequence("tiny", (side, side), **given) | {"too_long": too_long}
    more = {"high": 64} if shape_class == "language" else {}
    fields = {"shape_class": shape_class, "height": side, "width": side, "batch_size": size, "share": 1}
    return fields | more | {"sequence": found}


def data(stream, **more):
    options = {"tasks": list(QUESTIONS), "count": 20}
    world = {"name": "world", "path": "", "reader": "world", "options": options}
    return {
        "sources": [world],
        "validation": [world | {"options": {"tasks": list(QUESTIONS), "count": 7}}],
        "phases": [{"steps": 5, "streams": [stream]}],
        "flip": 0.0,
    } | more


def text(row, stream):
    vocabulary, tokenizer = language.writing(stream["sequence"])
    return tokenizer.decode([i for i in row["ids"].tolist() if i in vocabulary.text])


@pytest.fixture(scope="module")
def example():
    return World(tasks=QUESTIONS)[0]


def test_a_row_is_the_conversation_and_last_the_caption(example):
    s = stream()
    row = rows.row(example, s)
    assert {k: (x.shape, x.dtype) for k, x in row.items()} == rows.fields(s)
    said = text(row, s)
    for turn in example.turns:
        assert turn.text in said
    assert said.index(example.turns[-1].text) > said.index(example.turns[0].text)
    learnt = row["labels"] != IGNORE
    assert (row["labels"][learnt] == row["ids"][1:][learnt[:-1]]).all()
    assert np.array_equal(row["image"][0], rows.row(example, stream_of_pictures())["image"])
    assert (row["roles"] == Role.SEMANTIC).sum() == 4 and (row["roles"] == Role.PIXEL).sum() == 16


def stream_of_pictures():
    return {"shape_class": "picture", "height": 32, "width": 32}


def test_packing_keeps_examples_apart_and_counts_what_does_not_fit():
    world = World(tasks=QUESTIONS)
    one, three = stream(), stream(length=520, learnt=200, pack=3, images=3)
    alone = [rows.row(world[i], one) for i in range(3)]
    row = rows.join([rows.piece(world[i], three) for i in range(3)], three)
    lengths = [int((r["segments"] > 0).sum()) for r in alone]
    fit = [i for i in range(3) if sum(lengths[: i + 1]) <= 520]
    assert 1 < len(fit) < 3 and row["left_out"] == 3 - len(fit)
    start = 0
    for number, i in enumerate(fit):
        at = slice(start, start + lengths[i])
        for name in ("ids", "labels", "positions", "roles"):
            assert np.array_equal(row[name][at], alone[i][name][: lengths[i]])
        assert (row["segments"][at] == number + 1).all()
        assert np.array_equal(row["image"][number], alone[i]["image"][0])
        vectors = row["features"][at][row["roles"][at] == Role.SEMANTIC]
        assert np.array_equal(vectors, np.arange(4) + 4 * number)
        start += lengths[i]
    assert (row["segments"][start:] == 0).all() and (row["labels"][start:] == IGNORE).all()


@pytest.mark.parametrize("field", ["length", "learnt", "images"])
def test_what_is_too_long_is_left_out(example, field):
    s = stream(**{field: {"length": 100, "learnt": 10, "images": 0}[field]})
    row = rows.row(example, s)
    assert row["left_out"] == 1 and (row["segments"] == 0).all() and (row["labels"] == IGNORE).all()


def test_what_is_too_long_may_be_cut_behind_its_picture(example):
    whole = rows.row(example, stream())
    row = rows.row(example, stream(length=100, too_long="cut"))
    assert row["left_out"] == 0 and np.array_equal(row["ids"], whole["ids"][:100]) and row["labels"][-1] == IGNORE
    assert np.array_equal(row["image"], whole["image"])
    assert rows.row(example, stream(length=30, too_long="cut"))["left_out"] == 1, "a picture would be cut"


def turns(*texts, images=(0,)):
    return [
        Turn(role=("user", "assistant")[i % 2], text=t, images=list(images) if not i else [])
        for i, t in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"turns": turns("<image> <image> how many?", "two")}, "has 2 times <image> for 1 images"),
        ({"turns": turns("how many?", "two", images=(1,))}, "names image 1 of 1"),
        ({"turns": turns("how many?", "two", images=())}, "no turn shows image 0"),
        ({"turns": turns("how many?", " ")}, "empty, expected an answer"),
        ({"turns": turns("how many?")}, "expected user and assistant in turn"),
        ({"turns": turns("how many?", "two")[::-1]}, "turns alternate"),
        ({"turns": []}, "neither turns nor a caption"),
    ],
)
def test_what_is_no_conversation_is_refused(example, change, said):
    with pytest.raises(DataError, match=said) as error:
        rows.row(dataclasses.replace(example, **change), stream())
    assert example.id in str(error.value)


def test_row_r_holds_its_elements_in_order():
    packed = Loader(data(stream(length=520, learnt=200, pack=2, images=2, size=3)), seed=1)
    single = Loader(data(stream(size=6)), seed=1)
    names = packed.names(0)
    rows_of = [tuple(names[i : i + 2]) for i in range(0, 6, 2)]
    order = single.schedule[0]
    assert order[2] == 0
    elements = [
        f"world:{single._batches.mixtures[0].sources[0][single._batches.mixtures[0][i][1]].id}" for i in range(6)
    ]
    assert set(rows_of) == {tuple(elements[i : i + 2]) for i in range(0, 6, 2)}


@pytest.mark.parametrize("pack", [1, 3])
def test_one_pass_reads_every_record_once(pack):
    s = stream(length=820, learnt=300, pack=pack, images=pack, size=2)
    with Loader(data(s), seed=0).once() as batches:
        found = [batch for _, _, batch in batches]
    counted = sum(int((b["segments"].max(axis=1) + b["left_out"])[b["weight"] > 0].sum()) for b in found)
    assert counted == 7 and sum(b["bad"].sum() for b in found) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"flip": 0.5}, "data.flip: is 0.5, expected 0.0"),
        ({"sources": [{"name": "coyo", "path": "absent/coyo"}]}, "absent/coyo"),
        ({"sources": [{"name": "coyo", "path": "absent/coyo"}], "allow_missing": ["coyo"]}, "no train records"),
        ({"allow_missing": ["coco"]}, "allow_missing: coco is none of its sources"),
    ],
)
def test_data_that_cannot_be_read_as_sequences_are_refused(change, said):
    with pytest.raises(DataError, match=said):
        Loader(data(stream(), **change), seed=0)


def test_a_missing_source_may_be_allowed():
    config = data(stream(), allow_missing=["coyo"])
    config["sources"] = [*config["sources"], {"name": "coyo", "path": "absent/coyo"}]
    assert [s.name for s in Loader(config, seed=0)._batches.mixtures[0].sources] == ["world"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"length": 0}, "sequence.length: is 0, expected at least 1"),
        ({"too_long": "squeeze"}, "too_long: is 'squeeze', expected drop or cut"),
        ({"queries": "8"}, "sequence.queries: is '8', expected int"),
        ({"colour": 1}, "colour is missing or unknown"),
    ],
)
def test_a_wrong_sequence_names_its_field(change, said):
    s = stream()
    s["sequence"] |= change
    with pytest.raises(DataError, match=said):
        Loader(data(s), seed=0)


def test_conversations_without_pictures_go_through_shards(tmp_path):
    """Text alone has a bucket and a stream of its own, and a batch of it no pictures."""
    lines = [json.dumps({"instruction": f"Say {i}.", "output": f"{i}."}) for i in range(12)]
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    options = {"reader_options": {"layout": "opc-sft"}, "validation": 0.3}
    manifest = prepare.prepare("text", tmp_path / "all.jsonl", tmp_path / "shards", **options)
    s = stream(side=0, size=2, pack=2, images=0) | {"high": 0}
    source = {"name": "talk", "path": str(tmp_path / "shards"), "reader": "", "weight": 1.0}
    loader = Loader(data(s, sources=[source], validation=[source]), seed=0)
    batch = loader._batches[0]
    assert "image" not in batch and "high" not in batch
    assert all(text({"ids": ids}, s).count("Say") == 2 for ids in batch["ids"])
    with loader.once() as batches:
        held = [one for _, _, one in batches]
    held_out = sum(text({"ids": ids}, s).count("Say") for one in held for ids in one["ids"])
    assert held_out == manifest["records"]["validation"]["text"] > 0


# ------------------------------------------------------------------------------------------------------ text slots
@pytest.mark.parametrize("preset", ["easy", "standard"])
def test_slots_say_what_stands_where(preset):
    world = World(preset=preset, tasks=("panoptic", "questions"), side=64)
    s = stream("slots", side=64, length=304)
    sizes = language.sizes(s["sequence"])
    _, tokenizer = language.writing(s["sequence"])
    right = near = pixels = 0
    for index in range(30):
        scene = scenes.scene(preset, "train", index)
        bags = slots.bags(world[index], 0, sizes, tokenizer, None)
        said = [tokenizer.decode([i for i in bag.tolist() if i >= 0]).split() for bag in bags]
        cells, colours, queries = said[:16], said[16:80], said[80:]
        assert not any(queries)
        for thing in scene.things:
            cell = cells[min(int(thing.y / 16), 3) * 4 + min(int(thing.x / 16), 3)]
            places = [_place(thing.x, "left", "right"), _place(thing.y, "upper", "lower")]
            # The box of what is visible of a thing may have its centre elsewhere; most have not.
            right += {thing.shape, thing.colour, thing.size} <= set(cell)
            near += all(abs(cell.count(word) - count) <= 1 for word, count in places)
        pixels += len(scene.things)
        empty = [cell for cell in cells if len(cell) == 1]
        assert empty and all(cell == [scene.ground.colour] for cell in empty)
        drawn = drawing.draw(scene, 64)
        for (y, x), (colour,) in zip(np.ndindex(8, 8), colours):
            k = drawn.ids[8 * y + 4, 8 * x + 4]
            assert colour in COLOURS | GROUNDS
            if k:
                assert colour == scene.things[k - 1].colour or preset == "standard"
    assert right / pixels > 0.95 and near / pixels > 0.95


def _place(at, before, behind):
    """The word of a place in 0..64, and how often it stands there: by steps of 8 from the middle."""
    steps = int(at // 8) - 4
    return (before, -steps) if steps < 0 else (behind, steps + 1)


def test_queries_name_the_things_in_half_of_the_examples():
    world = World(tasks=("panoptic", "questions"), side=64)
    s = stream("slots", side=64, length=304)
    sizes = language.sizes(s["sequence"])
    _, tokenizer = language.writing(s["sequence"])
    listed = 0
    for index in range(60):
        bags = slots.bags(world[index], 0, sizes, tokenizer, np.random.default_rng(index))[80:]
        said = [tokenizer.decode([i for i in bag.tolist() if i >= 0]).split() for bag in bags]
        things = scenes.scene("easy", "train", index).things
        if any(said):
            listed += 1
            shapes = [words[0] for words in said if words]
            assert sorted(shapes) == sorted(thing.shape for thing in things)
            assert all({"left", "right"} & set(words) and {"upper", "lower"} & set(words) for words in said if words)
    assert 15 < listed < 45


def test_slots_need_to_know_the_ground():
    with pytest.raises(DataError, match="expected the task panoptic"):
        rows.row(World(tasks=("objects", "questions"))[0], stream("slots", side=64, length=304))
