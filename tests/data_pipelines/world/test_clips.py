# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import collections
import dataclasses
import itertools

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.errors import DataError
from data_pipelines.world import clips, drawing, scenes
from data_pipelines.world.vocabulary import CANVAS, OPEN_PAIRS

COUNTS = {"easy": 120, "standard": 70, "hard": 16}
EIGHT = np.ones((3, 3))


@pytest.fixture(scope="module")
def made():
    return {name: [clips.clip(name, "train", i) for i in range(count)] for name, count in COUNTS.items()}


def every(made):
    return itertools.chain.from_iterable(made.values())


def places(clip):
    """{identity: {frame: thing}}."""
    found = collections.defaultdict(dict)
    for t, (frame, track) in enumerate(zip(clip.frames, clip.tracks)):
        for identity, thing in zip(track, frame.things):
            found[identity][t] = thing
    return found


def share_seen(frame, k):
    """Visible pixels of things[k] over those it has on the canvas."""
    return drawing.draw(frame, 64).mask(k).sum() / scenes.mask(frame.things[k]).sum()


def test_a_clip_begins_with_its_scene_and_lasts_four_to_eight_frames(made):
    lengths = collections.Counter()
    for name, found in made.items():
        for i, clip in enumerate(found):
            count = len(clip.frames)
            lengths[count] += 1
            assert clip.frames[0] == scenes.scene(name, "train", i)
            assert len(clip.tracks) == len(clip.times) == count
            np.testing.assert_allclose(clip.times, np.arange(count) / 6)
            assert clip.tracks[0] == tuple(range(len(clip.frames[0].things)))
    assert set(lengths) == {4, 5, 6, 7, 8} and min(lengths.values()) > 0.12 * lengths.total()


def test_identities_persist_and_only_places_change(made):
    fixed = lambda thing: dataclasses.replace(thing, x=0.0, y=0.0, angle=0.0)
    for clip in every(made):
        first = clip.frames[0]
        for frame, track in zip(clip.frames, clip.tracks):
            assert len(track) == len(frame.things) and list(track) == sorted(set(track))  # the order of layers stays
            assert dataclasses.replace(frame, things=first.things) == first  # ground and name
            for identity, thing in zip(track, frame.things):
                assert fixed(thing) == fixed(first.things[identity])


def test_things_move_smoothly(made):
    """Speeds change at a constant rate; per frame nobody turns much or jumps across the picture."""
    moved = []
    for clip in every(made):
        for seen in places(clip).values():
            for t in range(len(clip.frames) - 3):
                if all(t + i in seen for i in range(4)):
                    track = np.array([(seen[t + i].x, seen[t + i].y) for i in range(4)])
                    assert np.abs(np.diff(track, 3, axis=0)).max() < 0.01
            for t, u in itertools.pairwise(seen):
                if u == t + 1:
                    moved.append(np.hypot(seen[u].x - seen[t].x, seen[u].y - seen[t].y))
                    assert abs(seen[u].angle - seen[t].angle) < 0.13
    assert np.median(moved) > 1 and np.quantile(moved, 0.95) < 20 and max(moved) < 0.75 * CANVAS
    assert np.mean(np.array(moved) < 0.1) < 0.05  # hardly anybody stands still


def test_who_is_missing_is_outside(made):
    """The path of a thing, a parabola through three places where it was seen, is outside the canvas when it is not."""
    missing = 0
    for clip in every(made):
        for identity, seen in places(clip).items():
            for thing in seen.values():
                assert clips.on_canvas(thing) >= clips.PRESENT
            absent = [t for t in range(len(clip.frames)) if t not in seen]
            if absent and len(seen) >= 3:
                times = [list(seen)[i] for i in (0, 1, -1)]
                path = np.polyfit(times, [(seen[t].x, seen[t].y) for t in times], 2)
                for t in absent:
                    x, y = (np.polyval(path[:, axis], t) for axis in (0, 1))
                    gone = dataclasses.replace(seen[0], x=float(x), y=float(y))
                    assert scenes.mask(gone).sum() < 0.2 * scenes.mask(clip.frames[0].things[identity]).sum()
                    missing += 1
    assert missing > 30


def test_share_on_the_canvas():
    """A disc centred on the border is half there, one far outside not at all."""
    disc = scenes.Thing("circle", "red", "large", "plain", 0.0, 32.0, 12.0, 0.0)
    assert abs(clips.on_canvas(disc) - 0.5) < 0.05
    assert clips.on_canvas(dataclasses.replace(disc, x=-30.0)) == 0
    assert clips.on_canvas(dataclasses.replace(disc, x=12.0)) == 1
    assert abs(clips.on_canvas(dataclasses.replace(disc, y=64.0)) - 0.25) < 0.05


@pytest.mark.parametrize("name", COUNTS)
def test_a_thing_that_was_clear_is_hidden_by_another_on_its_way(made, name):
    """In a quarter of the clips and more, measured on the pictures."""
    told = []
    for clip in made[name]:
        clear, hidden = set(), False
        for frame, track in zip(clip.frames, clip.tracks):
            shares = {identity: share_seen(frame, k) for k, identity in enumerate(track)}
            hidden |= any(share <= 0.8 and identity in clear for identity, share in shares.items())
            clear |= {identity for identity, share in shares.items() if share >= 0.9}
        told.append(hidden)
    assert np.mean(told) >= 0.25


@pytest.mark.parametrize("name", COUNTS)
def test_a_thing_leaves_and_returns(made, name):
    """In a quarter of the clips and more a thing is absent for a frame and more, and half of it comes back."""
    told = []
    for clip in made[name]:
        returned = False
        for seen in places(clip).values():
            gone = [t for t in range(len(clip.frames)) if t not in seen]
            returned |= any(t > min(gone, default=99) and clips.on_canvas(seen[t]) >= 0.5 for t in seen)
        told.append(returned)
    assert np.mean(told) >= 0.25


def test_everything_in_a_frame_can_be_seen_and_told_apart(made):
    """Things of one colour never touch; what another hides stays in one piece and shows at least a seventh."""
    for clip in every(made):
        for frame in clip.frames[1:]:
            for a, b in itertools.combinations(frame.things, 2):
                if a.colour == b.colour:
                    wide = ndimage.binary_dilation(scenes.mask(a, 128), EIGHT)
                    assert not (wide & scenes.mask(b, 128)).any()
            for side in (64, 128):
                drawn = drawing.draw(frame, side)
                for k, thing in enumerate(frame.things):
                    seen, whole = drawn.mask(k), scenes.mask(thing, side)
                    assert seen.any() and seen.sum() >= 0.14 * whole.sum()
                    if scenes.inside(thing, 0.0):
                        assert ndimage.label(seen, EIGHT)[1] == 1


def test_drawing_a_clip_numbers_pixels_by_identity(made):
    clip = next(c for c in every(made) if any(track != c.tracks[0] for track in c.tracks))
    pictures, ids = clips.draw(clip, 64)
    assert pictures.shape == (len(clip.frames), 64, 64, 3) and pictures.dtype == np.uint8
    assert ids.shape == (len(clip.frames), 64, 64) and ids.dtype == np.uint8
    for t, (frame, track) in enumerate(zip(clip.frames, clip.tracks)):
        drawn = drawing.draw(frame, 64)
        np.testing.assert_array_equal(pictures[t], drawn.picture)
        for k, identity in enumerate(track):
            np.testing.assert_array_equal(ids[t] == identity + 1, drawn.mask(k))
        assert set(np.unique(ids[t])) == {0, *(identity + 1 for identity in track)}


@pytest.mark.parametrize("frames", range(4, 9))
def test_the_number_of_frames_can_be_asked_for(frames):
    for index in range(8):
        clip = clips.clip("standard", "validation", index, frames)
        assert len(clip.frames) == len(clip.tracks) == len(clip.times) == frames
    assert clip == clips.clip("standard", "validation", index, frames)


def test_open_pairs_are_in_open_clips_only(made):
    assert not any(t.pair in OPEN_PAIRS for clip in every(made) for frame in clip.frames for t in frame.things)
    assert all(any(t.pair in OPEN_PAIRS for t in clips.clip("easy", "open", i).frames[0].things) for i in range(5))


@pytest.mark.parametrize("frames", [0, 3, 9, -1])
def test_refused(frames):
    with pytest.raises(DataError) as error:
        clips.clip("easy", "train", 0, frames)
    assert str(error.value) == f"world: a clip of {frames} frames, expected 4 to 8."


def test_unknown_preset():
    with pytest.raises(DataError, match="preset is 'simple'"):
        clips.clip("simple", "train", 0)
