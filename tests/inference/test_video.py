# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Things in clips: what joins frames, on hand-made answers of the networks; and end to end on random weights."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import focus_jax
from focus_jax import infer
from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import Checked, Instances, Segments
from focus_jax.inference import clip_files, video
from focus_jax.inference.queries import Rules
from focus_jax.inference.segment import Looked, Segmenter
from focus_jax.inference.video import CHUNK, Memory, VideoSegmenter
from tests.inference.test_segment import model  # noqa: F401, a fixture

SIZE = 32  # of the bucket and of the frames: X_H is twice that, masks a quarter of X_H


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (CHUNK + 3, SIZE, SIZE, 3), dtype=np.uint8)


@dataclasses.dataclass
class Hand:
    """A segmenter whose networks see what `where` says: of frame t (its first pixel) the columns of thing k's mask."""

    where: dict  # {(t, k): (first column, last column)} at the masks' 16
    real: Segmenter
    asked: list = dataclasses.field(default_factory=list)
    limits = {"regions": 2}

    def look(self, images, prompts, regions, *, names):
        assert len(images) == len(prompts) == CHUNK and names
        count = regions.shape[0]
        self.asked.append((images[:, 0, 0, 0].tolist(), prompts[0], count, regions[0].max(axis=(1, 2)) > 0))
        masks = np.full((CHUNK, 4, 16, 16), -8.0, np.float32)
        scores = np.full((CHUNK, 4, 4), -8.0, np.float32)
        embeddings = np.zeros((CHUNK, 4, 4), np.float32)
        first = self.first_of(regions)
        for b, t in enumerate(images[:, 0, 0, 0].tolist()):
            for (frame, k), (left, right) in self.where.items():
                if frame != t:
                    continue
                query = (k + t) % 4  # a thing has another query in every frame
                masks[b, query, :, left:right] = 8.0
                embeddings[b, query, k] = 6.0
                if first is not None and 0 <= k - first < 2:
                    scores[b, query, k - first] = 8.0 - 2 * k  # the first is surest
                elif first is None:
                    scores[b, query, k % 2] = 8.0
        return Looked(["it."] * CHUNK, masks, scores, embeddings, self.fit(images))

    def first_of(self, regions):
        """The first thing that is asked for: things 0 and 1 are marked on the left half of their frame."""
        if not regions.any():
            return None
        return 0 if regions[0, 0][:, : regions.shape[-1] // 2].any() else 2

    def __getattr__(self, name):
        return getattr(self.real, name)


@pytest.fixture
def hand(model, frames):  # noqa: F811
    frames[:, 0, 0, 0] = np.arange(len(frames))
    return lambda where: Hand(where, Segmenter(model))


def columns(ids, number):
    """First and last column of a number in ids [H, W], None where it is not."""
    (found,) = np.nonzero((ids == number).any(axis=0))
    return (int(found.min()), int(found.max()) + 1) if len(found) else None


def test_marked_things_are_sought_before_and_behind(hand, frames):
    """Three things, two at a time, marked in frame 4; one is out of sight in frame 7, one has overlap taken."""
    where = {(t, k): (4 * k + (t == 2), 4 * k + 3) for t in range(len(frames)) for k in range(3)}
    del where[7, 1]
    where[6, 2] = (2, 11)  # reaches into that of another, which is surer and keeps it
    marked = np.zeros((SIZE, SIZE), np.int32)
    marked[:, 0:6], marked[:, 8:14], marked[:, 16:22] = 3, 1, 2
    # Things in the order of their numbers: 1, 2 together, then 3.
    order = {1: 0, 2: 1, 3: 2}
    one = hand({(t, order[n]): where[t, k] for (t, k) in where for n, at in ((3, 0), (1, 1), (2, 2)) if at == k})
    one.first_of = lambda regions: 0 if regions[0, 1].any() else 2
    found = VideoSegmenter(one)(frames, (4, marked))
    np.testing.assert_array_equal(found.ids[4], marked)
    assert len(found.names) == 3
    for t in range(len(frames)):
        if t in (4, 6, 7, 2):
            continue
        assert [columns(found.ids[t], n) for n in (3, 1, 2)] == [(0, 6), (8, 14), (16, 22)], t
    assert columns(found.ids[2], 3) == (2, 6)
    assert columns(found.ids[7], 1) is None, "out of sight"
    assert columns(found.ids[6], 1) == (9, 13), "all but its border"
    chunks = -(-len(frames) // (CHUNK - 1))
    assert len(one.asked) == 2 * chunks
    assert all(seen[0] == 4 and count == 1 for seen, _, count, _ in one.asked), "the marked frame comes first"
    assert [prompt for _, prompt, _, _ in one.asked] == [2] * chunks + [1] * chunks


def test_classes_are_joined_by_what_follows_them(hand, frames):
    where = {(t, 0): (t, t + 3) for t in range(len(frames))}
    where |= {(t, 3): (14, 16) for t in range(3, len(frames) - 1)}  # comes later, of the class of the other list place
    del where[5, 0]
    one = hand(where)
    found = VideoSegmenter(one)(frames, ["circle", "square"])
    assert found.names == ("circle", "square")
    for t in range(len(frames) - 2):
        assert columns(found.ids[t], 1) == (None if t == 5 else (2 * t, 2 * t + 6)), t
    assert columns(found.ids[4], 2) == (28, 32) and columns(found.ids[2], 2) is None
    with pytest.raises(UserError, match="mask_decoder.embedding is 0, so that it cannot join classes"):
        blind = one.look
        one.look = lambda *a, **k: dataclasses.replace(blind(*a, **k), embeddings=None)
        VideoSegmenter(one)(frames, ["circle", "square"])


def test_ranked_things_are_whole_and_need_no_threshold(hand, frames):
    """What is in all frames is surer than what comes later; where they cross both keep their masks."""
    where = {(t, 0): (t, t + 3) for t in range(len(frames))}
    where |= {(t, 3): (8, 11) for t in range(3, len(frames))}
    found = VideoSegmenter(hand(where))(frames, Instances(["circle", "square"]))
    assert found.names[:2] == ("circle", "square") and list(found.scores) == sorted(found.scores, reverse=True)
    for t in range(len(frames)):
        assert columns(found.masks[0, t].astype(int), 1) == (2 * t, 2 * t + 6), t
        assert columns(found.masks[1, t].astype(int), 1) == ((16, 22) if t >= 3 else None), t


def test_memory():
    """What is like nothing begins a track; what was out of sight for too long is another thing."""
    segments = lambda *names: Segments(np.zeros((1, 1), np.int32), names, (0.9,) * len(names))
    e = np.eye(5, dtype=np.float32) * 4  # of queries: what 0 and 1 show, c; 3 and 4 show nothing
    memory = Memory(Rules(forget=2))
    assert memory.join(0, segments("a", "b"), [0, 1], e) == [1, 2]
    assert memory.join(1, segments("b", "a"), [1, 0], e) == [2, 1]
    assert memory.join(2, segments("c"), [2], e) == [3], "neither of the two"
    assert memory.join(3, segments("x", "a"), [4, 3], e[[2, 3, 4, 0, 1]]) == [2, 1], "queries change places"
    assert memory.join(4, segments(), [], e) == []
    assert memory.join(6, segments("a"), [0], e) == [4], "forgotten"
    assert memory.told()[0] == ("a", "b", "c", "a")


def test_by_words_each_frame_answers(monkeypatch, hand, frames):
    one = hand({})
    there = np.ones((SIZE, SIZE), np.int32)
    said = lambda t: Segments(there, ("cup" if t else "mug",), (0.8,)) if t != 2 else Segments(0 * there, (), ())
    monkeypatch.setattr(Segmenter, "__call__", lambda self, x, prompts, **k: [said(t) for t in x[:, 0, 0, 0].tolist()])
    found = VideoSegmenter(one.real)(frames, "the cup")
    assert found.names == ("cup",) and found.scores == (pytest.approx(0.8),)
    np.testing.assert_array_equal(found.ids.max(axis=(1, 2)), [t != 2 for t in range(len(frames))])
    monkeypatch.setattr(Segmenter, "__call__", lambda self, x, prompts, **k: [said(2)] * len(x))
    assert VideoSegmenter(one.real)(frames, "the cup").names == ()


@pytest.mark.slow
def test_end_to_end_on_random_weights(model, frames):  # noqa: F811
    checked = Checked(model, "test", 4)
    marked = np.zeros((SIZE, SIZE), np.int32)
    marked[4:12, 4:12], marked[20:28, 8:30] = 1, 2
    found = checked.segment_video(frames, (1, marked))
    np.testing.assert_array_equal(found.ids[1], marked)
    again = checked.segment_video(frames[:4], (1, marked))
    np.testing.assert_array_equal(again.ids, found.ids[:4]), "later frames change nothing"
    assert checked.segment_video(frames[:3], ["circle", "square"]).ids.shape == (3, SIZE, SIZE)
    assert checked.segment_video(frames[:3], "the circle").ids.shape == (3, SIZE, SIZE)
    ranked = checked.segment_video(frames[:3], Instances(["circle", "square"]))
    assert ranked.masks.shape == (len(ranked.names), 3, SIZE, SIZE) and len(ranked.names) > 2
    assert list(ranked.scores) == sorted(ranked.scores, reverse=True)
    np.testing.assert_array_equal(ranked.ids == 1, ranked.masks[0])  # the surest is on top


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ((99, np.ones((SIZE, SIZE), np.int32)), "marks frame 99, expected 0 to 10"),
        ((0, np.zeros((SIZE, SIZE), np.int32)), "marks nothing, expected numbers from 1"),
        ((0, np.ones((5, SIZE), np.int32)), r"are int32\[5, 32\], expected integers\[32, 32\]"),
        ((0, np.ones((SIZE, SIZE), bool)), r"are bool\[32, 32\], expected integers"),
    ],
)
def test_prompts_that_mean_nothing(model, frames, prompt, said):  # noqa: F811
    with pytest.raises(UserError, match=said):
        model.segment_video(frames, prompt)


def test_chunks_have_one_size(frames):
    assert [(len(chunk), count) for chunk, count in video.chunks(frames, 4)] == [(4, 4), (4, 4), (4, 3)]


# ------------------------------------------------------------------------------------------------------------- files
def infer_video(monkeypatch, model, *argv):  # noqa: F811
    monkeypatch.setattr(focus_jax, "load", lambda *_, **__: model)
    infer.main(["video", *argv, "--checkpoint=random"])


@pytest.mark.slow
def test_files_in_and_out(model, frames, tmp_path, monkeypatch, capsys):  # noqa: F811
    folder, first = tmp_path / "frames", tmp_path / "first.png"
    folder.mkdir()
    for t, frame in enumerate(frames[:3]):
        Image.fromarray(frame).save(folder / f"{t:03d}.png")
    numbers = np.zeros((SIZE, SIZE), np.uint8)
    numbers[4:12, 4:12], numbers[20:28, 8:30] = 1, 2
    palette = Image.fromarray(numbers)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(first)
    out = tmp_path / "out"
    infer_video(monkeypatch, model, str(folder), f"--mask={first}", "--frame=1", f"--output={out}")
    told = json.loads((out / "video.json").read_text())
    assert [frame["frame"] for frame in told["frames"]] == ["000", "001", "002"] and len(told["names"]) == 2
    for frame in told["frames"]:
        ids = np.asarray(Image.open(out / "ids" / f"{frame['frame']}.png"))
        for segment in frame["segments"]:
            np.testing.assert_array_equal(coco.decode(segment["segmentation"]).astype(bool), ids == segment["id"])
    np.testing.assert_array_equal(np.asarray(Image.open(out / "ids" / "001.png")), numbers)
    shown = Image.open(out / "overlay.gif")
    assert shown.n_frames == 3 and shown.height > SIZE
    assert "1 it: in " in capsys.readouterr().out
    read = clip_files.read(str(out / "overlay.gif"))
    assert list(read) == ["00000", "00001", "00002"]
    white = tmp_path / "white.png"
    Image.fromarray((numbers == 1).astype(np.uint8) * 255).save(white)
    assert set(np.unique(clip_files.marked(str(white), (SIZE, SIZE)))) == {0, 1}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("frames",), "nothing: expected one of --words, --question, --classes, --mask"),
        (("frames", "--words=a", "--frame=2"), "--frame=2: goes with --mask"),
        (("nowhere", "--words=a"), "nowhere: there is no such file or folder"),
        (("empty", "--words=a"), "empty: holds no picture"),
        (("mixed", "--words=a"), r"mixed: frame a is 32 x 32 and b is 16 x 32, expected one size"),
        (("text.mp4", "--words=a"), "is no picture; of a video write the frames to a folder first"),
        (("frames", "--mask=small.png"), "small.png: is 5 x 5, expected the frames' 32 x 32"),
        (("frames", "--mask=black.png"), "black.png: marks nothing"),
        (("frames", "--mask=text.mp4"), "text.mp4: cannot be read as a picture of numbers"),
    ],
)
def test_mistakes_on_the_command_line(model, frames, tmp_path, monkeypatch, capsys, argv, said):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    for name in ("frames", "empty", "mixed"):
        (tmp_path / name).mkdir()
    Image.fromarray(frames[0]).save("frames/a.png")
    Image.fromarray(frames[0]).save("mixed/a.png")
    Image.fromarray(frames[0][:, :16]).save("mixed/b.png")
    Image.fromarray(np.ones((5, 5), np.uint8)).save("small.png")
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save("black.png")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SystemExit):
        infer_video(monkeypatch, model, *argv, "--output=out")
    assert said in capsys.readouterr().err
