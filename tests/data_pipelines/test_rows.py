# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of each shape class: labels and boxes follow the picture through resize, crop and flip."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from data_pipelines import buckets, loader, prepare, rows, seeds, transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Instance
from data_pipelines.readers.world import WorldScenes
from data_pipelines.world import scenes
from data_pipelines.world.examples import GROUND, World, example, picture
from data_pipelines.world.vocabulary import SHAPES

OBJECTS = {"shape_class": "objects", "height": 64, "width": 64}


def colour_at(image, box):
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return image[int(y * len(image)), int(x * len(image))].astype(int)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_labels_name_what_stands_in_the_middle_of_their_box(flip):
    from data_pipelines.world.vocabulary import COLOURS

    world, names = World(tasks=("objects",)), list(COLOURS)
    for index in range(20):
        rng = seeds.generator(0, index)
        row = rows.row(world[index], OBJECTS, rng=rng, flip=flip)
        scene = scenes.scene("easy", "train", index)
        assert (row["labels"][:, 0] >= 0).sum() == len(scene.things)
        for label, box in zip(row["labels"], row["boxes"]):
            if label[0] >= 0:
                seen = colour_at(row["image"], box)
                distance = [np.abs(seen - np.array(rgb)).sum() for rgb in COLOURS.values()]
                assert names[int(np.argmin(distance))] == names[label[1]]


def test_objects_cropped_away_are_left_out():
    world = World(tasks=("objects",))[3]
    wide = {"shape_class": "objects", "height": 64, "width": 32}
    row = rows.row(world, wide, max_crop_loss=0.6)
    kept = [i for i in world.instances if 32 <= i.box[0] + i.box[2] / 2 < 96]
    assert (row["labels"][:, 0] >= 0).sum() == len(kept)


def test_box_and_picture_agree_under_a_random_crop():
    made, placement = transforms.place(
        transforms.decode(World()[0].images[0].data),
        (64, 48),
        rng=seeds.generator(1),
        random_crop=True,
        flip=1.0,
        max_crop_loss=0.5,
    )
    assert made.shape == (64, 48, 3) and placement.flipped
    box = placement.boxes(np.array([[0, 0, 128, 128]]))[0]
    assert box[2] == 64 and box[3] == 64 and box[0] <= 0 and box[0] + box[2] >= 48


@pytest.mark.parametrize("size", [(200, 300), (300, 200), (96, 144), (1, 1), (5, 400)])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_high_is_the_same_crop_at_another_size(size, flip):
    """Of a picture of two ramps, shrunk to the row's own size: the same but for filters at the borders."""
    y, x = np.mgrid[: size[0], : size[1]]
    ramps = np.stack([255 * x / size[1], 255 * y / size[0], 0 * x], axis=-1).astype(np.uint8)
    one = dataclasses.replace(World()[0], images=[picture(ramps)])
    stream = {"shape_class": "picture", "height": 32, "width": 48, "high": 96}
    row = rows.row(one, stream, rng=seeds.generator(3), random_crop=True, flip=flip, max_crop_loss=0.99)
    assert {k: (x.shape, x.dtype) for k, x in row.items()} == rows.fields(stream)
    assert row["high"].shape == (64, 96, 3)
    shrunk = np.asarray(Image.fromarray(row["high"]).resize((48, 32), Image.Resampling.LANCZOS))
    assert np.abs(shrunk.astype(int) - row["image"].astype(int))[2:-2, 2:-2].max() <= 3


def test_a_picture_at_its_own_size_is_high_itself():
    stream = {"shape_class": "picture", "height": 64, "width": 64, "high": 128}
    one = World()[0]
    np.testing.assert_array_equal(
        rows.row(one, stream, flip=0.0)["high"], np.asarray(transforms.decode(one.images[0].data))
    )
    assert "high" not in rows.row(one, {k: v for k, v in stream.items() if k != "high"})


def test_high_size_keeps_the_anchors_aspect():
    for anchor in buckets.ANCHORS_512:
        height, width = buckets.high_size(anchor, 768)
        assert max(height, width) == 768 and height * anchor[1] == width * anchor[0]
        assert buckets.high_size((anchor[0] // 2, anchor[1] // 2), 768) == (height, width)


def test_too_many_objects_and_missing_boxes_are_data_errors():
    crowded = World(tasks=("objects",))[0]
    crowded.instances *= 9
    with pytest.raises(DataError, match="more than 8 labelled objects"):
        rows.row(crowded, OBJECTS)
    boxless = dataclasses.replace(crowded, instances=[Instance(category="circle")])
    with pytest.raises(DataError, match="has no box"):
        rows.row(boxless, OBJECTS)
    with pytest.raises(DataError, match="has no image"):
        rows.row(dataclasses.replace(crowded, images=[]), OBJECTS)


def config(**source):
    stream = OBJECTS | {"batch_size": 4, "share": 1}
    return {
        "sources": [{"name": "world", "reader": "world"} | source],
        "phases": [{"steps": 3, "streams": [stream]}],
        "validation": [{"name": "world", "reader": "world"} | source],
        "max_crop_loss": 0.0,
        "flip": 0.0,
    }


def test_loader_draws_the_world_or_reads_it_from_shards(tmp_path):
    options = {"preset": "easy", "tasks": ["objects"], "count": 6}
    with loader.Loader(config(options=options), 0) as drawn:
        _, _, live = next(iter(drawn.once()))
        _, _, first = next(iter(drawn.iter_from(0)))
        _, _, again = next(iter(drawn.iter_from(0)))
    np.testing.assert_array_equal(first["image"], again["image"])
    source = {"path": str(tmp_path / "w"), "reader": "world"}
    prepare.ensure_prepared(source | {"options": {"preset": "easy", "train": 6, "held_out": 6}})
    with loader.Loader(config(path=source["path"]), 0) as read:
        _, _, stored = next(iter(read.once()))
    for name in ("image", "labels", "boxes"):
        np.testing.assert_array_equal(live[name], stored[name])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"preset": "medium"}, "preset is 'medium'"),
        ({"tasks": ["poetry"]}, "task 'poetry' is unknown"),
        ({"split": "dev"}, "split is 'dev'"),
        ({"side": 100}, "100 pixels"),
        ({"count": 0}, "count is 0"),
    ],
)
def test_bad_world_options_are_data_errors(options, message):
    with pytest.raises(DataError, match=message):
        World(**options)


@pytest.mark.parametrize(
    "source, options, message",
    [
        ("somewhere", {}, "takes no source"),
        ("", {"train": 0}, "train is 0 and held_out 1000"),
        ("", {"preset": "medium"}, "preset is 'medium'"),
        ("", {"tasks": "objects,clip"}, "tasks has clip, expected tasks of one picture"),
    ],
)
def test_bad_options_of_the_reader_are_data_errors(source, options, message):
    with pytest.raises(DataError, match=message):
        WorldScenes(source, **options)


def test_example_holds_masks_of_every_pixel_and_geometry():
    made = example(scenes.scene("standard", "test", 5), ("objects", "panoptic", "geometry"))
    total = sum(i.mask.to_array().astype(int) for i in made.instances)
    assert (total == 1).all() and set(made.classes) == {*SHAPES, GROUND}
    assert [i.category for i in made.instances][-1] == "ground"
    assert made.depth.shape == (128, 128) and made.normals.shape == (128, 128, 3) and made.edges.max() == 1
