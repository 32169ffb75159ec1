# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Files for servers, from answers made by hand: every set's layout, runs that go on, what is wrong is named."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import focus_jax
from focus_jax import infer
from focus_jax.evaluation.protocol import Instances, Question, Segments
from focus_jax.inference import submission
from focus_jax.inference.commands import submit
from tests.data_pipelines.pictures import encoded, noise

SIZE = (20, 30)
A, B = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
A[2:8, 3:9], B[10:18, 15:28] = True, True
IDS = np.where(A, 1, np.where(B, 2, 0)).astype(np.int32)
CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 90, "name": "sky-other-merged", "isthing": 0}]


class Told:
    """Finds A and B everywhere, in a clip's last frame B alone."""

    label, fingerprints = "told", {"llm": "0"}

    def __init__(self):
        self.asked = []

    def segment(self, images, prompts, rules=None):
        self.asked += prompts
        overlapping = np.stack([A, A | B]) if isinstance(prompts[0], Instances) else None
        return [Segments(IDS, ("cat", "sky"), (0.9, 0.8), overlapping) for _ in images]

    def segment_video(self, frames, prompt):
        self.asked.append(prompt)
        ids = np.stack([IDS] * len(frames))
        ids[-1][A] = 0
        return Segments(ids, ("cat", "sky"), (0.9, 0.8))


@pytest.fixture
def told(monkeypatch):
    model = Told()
    monkeypatch.setattr(focus_jax, "load", lambda *_, **__: model)
    return model


def pictures(folder, *names, size=SIZE):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        (folder / name).write_bytes(encoded(noise(*size, seed=i)))


def run(name, root, **options):
    given = [f"--{k}={v}" for k, v in options.items()]
    infer.main(["submit", name, f"--output={root / 'out'}", "--checkpoint=told", *given])


def written(root, **content):
    for name, data in content.items():
        (root / f"{name}.json").write_text(json.dumps(data))


def test_the_help_names_every_set():
    assert tuple(submission.SETS) == submit.NAMES
    assert all(f"\n  {name} " in submit.DESCRIPTION for name in submit.NAMES)


def test_youtube_vis(tmp_path, told):
    pictures(tmp_path / "JPEGImages/v", "0.jpg", "1.jpg")
    video = {"id": 3, "file_names": ["v/0.jpg", "v/1.jpg"]}
    written(tmp_path, valid={"videos": [video], "categories": CATEGORIES})
    run("youtube_vis", tmp_path, source=tmp_path / "valid.json", pictures=tmp_path / "JPEGImages")
    found = json.loads((tmp_path / "out/results.json").read_text())
    assert [(e["video_id"], e["category_id"], e["score"]) for e in found] == [(3, 7, 0.9), (3, 90, 0.8)]
    assert found[0]["segmentations"][1] is None
    for entry, mask in zip(found, (A, B)):
        np.testing.assert_array_equal(coco.decode(entry["segmentations"][0]), mask)


def test_coco(tmp_path, told):
    pictures(tmp_path / "test", "12.jpg", "13.jpg")
    images = [{"id": 12, "file_name": "12.jpg"}, {"id": 13, "file_name": "13.jpg"}]
    written(tmp_path, info={"images": images}, categories={"categories": CATEGORIES})
    where = dict(source=tmp_path / "info.json", pictures=tmp_path / "test", categories=tmp_path / "categories.json")
    run("coco_panoptic", tmp_path, **where)
    found = json.loads((tmp_path / "out/results.json").read_text())["annotations"]
    assert [e["image_id"] for e in found] == [12, 13] and found[1]["file_name"] == "13.png"
    assert found[0]["segments_info"] == [{"id": 1, "category_id": 7}, {"id": 2, "category_id": 90}]
    png = np.asarray(Image.open(tmp_path / "out/pictures/12.png")).astype(int)
    np.testing.assert_array_equal(png[..., 0] + 256 * png[..., 1] + 256**2 * png[..., 2], IDS)
    assert told.asked[0] == ["cat", "sky"]

    other = tmp_path / "instances"
    run("coco_instances", other, **where)
    found = json.loads((other / "out/results.json").read_text())
    assert len(found) == 4 and found[1]["category_id"] == 90
    np.testing.assert_array_equal(coco.decode(found[1]["segmentation"]), A | B)


def test_words_of_videos(tmp_path, told):
    pictures(tmp_path / "JPEGImages/v", "00.jpg", "05.jpg")
    said = {"0": {"exp": "the cat"}, "1": {"exp": "who purrs?", "type_id": 1}}
    written(tmp_path, words={"videos": {"v": {"frames": ["00", "05"], "expressions": said}}})
    run("words_of_videos", tmp_path, source=tmp_path / "words.json", pictures=tmp_path / "JPEGImages")
    first, last = (np.asarray(Image.open(tmp_path / f"out/Annotations/v/1/{n}.png")) for n in ("00", "05"))
    np.testing.assert_array_equal(first, np.where(A | B, 255, 0))
    np.testing.assert_array_equal(last, np.where(B, 255, 0))
    assert told.asked == ["the cat", "who purrs?"] and [isinstance(x, Question) for x in told.asked] == [False, True]


def test_davis(tmp_path, told):
    root = tmp_path / "DAVIS"
    pictures(root / "JPEGImages/480p/v", "00000.jpg", "00001.jpg")
    (root / "Annotations/480p/v").mkdir(parents=True)
    marked = Image.fromarray(np.where(A, 1, np.where(B, 255, 0)).astype(np.uint8))
    marked.putpalette(list(range(256)) * 3)
    marked.save(root / "Annotations/480p/v/00000.png")
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/test-dev.txt").write_text("v\n")
    run("davis", tmp_path, source=root)
    png = Image.open(tmp_path / "out/v/00000.png")
    assert png.mode == "P"
    np.testing.assert_array_equal(np.asarray(png), IDS)
    at, first = told.asked[0]
    np.testing.assert_array_equal(first, np.where(A, 1, 0))  # void is no thing
    assert at == 0


def test_a_stopped_run_goes_on_and_another_checkpoint_may_not(tmp_path, told, capsys):
    pictures(tmp_path / "test", "12.jpg")
    images = [{"id": 12, "file_name": "12.jpg"}, {"id": 13, "file_name": "13.jpg"}]
    written(tmp_path, info={"images": images, "categories": CATEGORIES})
    where = dict(source=tmp_path / "info.json", pictures=tmp_path / "test")
    with pytest.raises(SystemExit):
        run("coco_instances", tmp_path, **where)
    assert "13.jpg: cannot be read" in capsys.readouterr().err and not (tmp_path / "out/results.json").exists()
    pictures(tmp_path / "test", "13.jpg")
    run("coco_instances", tmp_path, **where)
    assert "1 of 2 answers are there already" in capsys.readouterr().out and len(told.asked) == 2
    assert len(json.loads((tmp_path / "out/results.json").read_text())) == 4
    told.fingerprints = {"llm": "1"}
    with pytest.raises(SystemExit):
        run("coco_instances", tmp_path, **where)
    assert "holds answers of another fingerprint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("coco_instances", {}, "--pictures: coco_instances needs the folder"),
        ("coco_instances", {"pictures": "."}, "lists no categories, expected --categories"),
        ("coco_panoptic", {"pictures": ".", "categories": "{root}/list.json"}, "is a JSON list, expected an object"),
        ("coco_panoptic", {"pictures": ".", "categories": "{root}/twice.json"}, "two of its categories have one name"),
        ("youtube_vis", {"pictures": ".", "source": "{root}/none.json"}, "has no list of videos"),
        ("davis", {"source": "{root}"}, "test-dev.txt: is missing"),
        ("words_of_videos", {"pictures": ".", "source": "{root}/mute.json"}, "v, expression 0 has no words"),
        ("words_of_videos", {"pictures": ".", "source": "{root}/still.json"}, "v lists no frame"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, told, capsys, name, options, said):
    one = lambda **entry: {"videos": {"v": entry}}
    words = dict(mute=one(frames=["0"], expressions={"0": {"exp": " "}}), still=one(expressions={}))
    written(tmp_path, info={"images": [{"id": 1, "file_name": "1.jpg"}]}, list=[], **words)
    written(tmp_path, twice={"categories": [CATEGORIES[0]] * 2}, none={"categories": CATEGORIES})
    given = {k: v.format(root=tmp_path) for k, v in ({"source": "{root}/info.json"} | options).items()}
    with pytest.raises(SystemExit):
        run(name, tmp_path, **given)
    assert said in capsys.readouterr().err
