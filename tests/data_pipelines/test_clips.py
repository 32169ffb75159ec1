# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of clips: two frames, one question, and which masks show the same thing."""

import numpy as np
import pytest

from configs import models
from data_pipelines import rows
from data_pipelines.errors import DataError
from data_pipelines.segmentation import coverage
from data_pipelines.world.examples import World, class_names

SIDE = 64


@pytest.fixture(scope="module")
def stream():
    return models.masks_stream("tiny", (64, 64), rows=2, share=1, length=208, learnt=24, shape_class="clips") | {
        "high": SIDE
    }


@pytest.fixture(scope="module")
def world():
    return World(tasks=("clip",), side=SIDE)


def truth(example, frame, track):
    """The mask of a thing in a frame, all zeros where it is not there."""
    for i in example.instances:
        if i.frame == frame and i.track == track:
            return i.mask.to_array()
    return np.zeros((SIDE, SIDE), bool)


def test_things_marked_in_the_first_frame_are_found_in_the_last(world, stream):
    gone = 0
    for index in range(12):
        example = world[index]
        last = len(example.frames) - 1
        if index % 3 == 0:  # one that left
            example.instances.remove(next(i for i in example.instances if i.frame == last))
        row = rows.row(example, stream)
        assert (row["kind"] == 2).all()
        masks = np.unpackbits(row["targets"], axis=-1).astype(bool)
        (of_track,) = [dict(zip(row["of"][0][row["there"][0]].tolist(), row["track"][0].tolist()))]
        assert row["known"].sum(axis=1).tolist() == [len(of_track)] * 2
        for frame, number in enumerate((0, last)):
            there, of, track = row["there"][frame], row["of"][frame], row["track"][frame]
            assert (track[~there] == -1).all()
            for t in np.flatnonzero(there):
                assert track[t] == of_track[of[t]]
                np.testing.assert_array_equal(masks[frame, t], truth(example, number, track[t]))
            shown = {of_track[k] for k in of[there].tolist()}
            wanted = {track for track in of_track.values() if truth(example, number, track).any()}
            assert shown == wanted
            gone += len(of_track) - len(shown)
        for k, track in of_track.items():  # regions lie on the first frame
            for frame in (0, 1):
                np.testing.assert_array_equal(row["regions"][frame, k], coverage(truth(example, 0, track)))
        assert not np.array_equal(row["image"][0], row["image"][1])
    assert gone


def test_frames_and_questions_are_drawn(world, stream):
    example, kinds, backwards = world[0], set(), set()
    pictures = [rows.row(example, stream)["high"][0, 0]]
    for seed in range(60):
        row = rows.row(example, stream, rng=np.random.default_rng(seed))
        again = rows.row(example, stream, rng=np.random.default_rng(seed))
        assert all(np.array_equal(row[name], again[name]) for name in row)
        kinds.add(int(row["kind"][0]))
        backwards.add(bool((row["high"][1, 0] == pictures[0]).all()))
        assert set(row["track"][row["there"]].tolist()) <= {i.track for i in example.instances}
    assert kinds == {0, 2} and backwards == {True, False}


def test_shapes_are_the_fields(world, stream):
    row = rows.row(world[0], stream)
    assert {n: (x.shape, x.dtype) for n, x in row.items()} == {
        n: (shape, np.dtype(dtype)) for n, (shape, dtype) in rows.fields(stream).items()
    }


def test_a_sequence_that_is_too_long_is_left_out(world, stream):
    short = stream | {"sequence": stream["sequence"] | {"length": 40}}
    row = rows.row(world[0], short)
    assert row["left_out"].tolist() == [1, 1] and not row["there"].any() and (row["track"] == -1).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.frames.pop(0) and e.frames.__delitem__(slice(1, None)), "has 1 frames, expected at least 2"),
        (lambda e: [setattr(i, "track", None) for i in e.instances], "frame 0: no tracked thing is in it"),
        (lambda e: setattr(e.instances[0], "mask", None), "frame 0: instance 0 has no mask"),
        (lambda e: setattr(e.frames[-1].image, "data", b"?"), "cannot be decoded|not a picture|cannot"),
    ],
)
def test_clips_that_cannot_be_asked_about(world, stream, change, said):
    example = world[0]
    change(example)
    with pytest.raises(DataError, match=said):
        rows.row(example, stream)


def test_classes_are_its_own_or_what_its_things_are_called(world, stream):
    example = world[0]
    example.classes = class_names("easy")
    known = {int(rows.row(example, stream, rng=np.random.default_rng(seed))["known"][0].sum()) for seed in range(20)}
    assert len(class_names("easy")) + 1 in known
    for instance in example.instances:
        instance.category = ""
    example.classes = []
    kinds = {int(rows.row(example, stream, rng=np.random.default_rng(seed))["kind"][0]) for seed in range(8)}
    assert kinds == {2}, "what has no name is marked"
