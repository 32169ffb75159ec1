# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Edits and prompts of official files: what is read, and that right, wrong and idle models get what the rules say."""

import numpy as np
import pytest

from data_pipelines.errors import DataError
from focus_jax.errors import UserError
from focus_jax.evaluation import edit_files, geneval, prompt_files
from focus_jax.evaluation.protocol import Edited, Segments
from focus_jax.training import config as config_lib
from tests.data_pipelines.pictures import encoded
from tests.evaluation.official_files import lines, parquet, plain, write


def config(name, **data):
    c = config_lib.load(f"configs/eval.py:{name}")
    c.data.update(data)
    c.batch_size = 2
    return c


def run(c, model, data=None):
    evaluator = __import__(f"focus_jax.evaluation.{c.evaluator}", fromlist=["Evaluator"]).Evaluator(c)
    return evaluator, {name: value for name, (value, _, _) in evaluator.run(model, data).items()}


class Editor:
    """Gives back what `made` says of each picture."""

    def __init__(self, made):
        self.made, self.seeds = made, []

    def edit(self, images, instructions, regions=None, *, seeds, **options):
        self.seeds += seeds
        out = np.stack([self.made(image, text) for image, text in zip(images, instructions)])
        nothing = np.zeros(len(images), bool)
        return Edited(out, np.zeros(images.shape[:3], bool), nothing)


def test_emu_edit(tmp_path):
    rows = [
        {"instruction": f"edit {i}", "image": {"bytes": plain(i, *((20, 30), (30, 20))[i % 2]), "path": ""},
         "task": ("add", "style")[i // 2], "input_caption": "a", "output_caption": "b", "idx": i}
        for i in range(4)
    ]  # fmt: skip
    parquet(tmp_path / "test-00000-of-00001.parquet", rows)
    model = Editor(lambda image, text: 255 - image)
    evaluator, found = run(config("emu_edit", path=str(tmp_path)), model)
    levels = [abs(255 - 2.0 * x) / 255 for i in range(4) for x in (i, 0, 255)]
    assert found["emu_edit_l1"] == pytest.approx(np.mean(levels))
    assert {"emu_edit_add_l1", "emu_edit_style_l1", "emu_edit_refused"} <= set(found)
    assert evaluator.baselines["emu_edit_l1"] == {"unedited source": 0.0}
    assert sorted(set(model.seeds)) == [0, 1, 2, 3]
    assert "emu_edit_clip_i" not in found  # no weights were given
    parquet(tmp_path / "test-00000-of-00001.parquet", [{k: v for k, v in rows[0].items() if k != "task"}])
    with pytest.raises(DataError, match="has no column task"):
        run(config("emu_edit", path=str(tmp_path)), model)


def test_real_edits_score_as_the_protocol_says(monkeypatch, fixtures):
    """A model that gives back the target is perfect against it, one that does nothing has the source's scores."""
    features = lambda images, file, size: np.stack(
        [x / np.linalg.norm(x) for x in (image.reshape(-1, 3).mean(0) + 1.0 for image in images)]
    )
    texts = np.random.default_rng(0)
    said = {}
    monkeypatch.setattr(edit_files.networks, "clip_features", features)
    monkeypatch.setattr(edit_files.networks, "dino_features", features)
    monkeypatch.setattr(edit_files.networks, "clip_ids", lambda words, folder: words)
    vector = lambda text: said.setdefault(text, texts.normal(size=3) / 2)
    monkeypatch.setattr(
        edit_files.networks, "clip_text_features", lambda words, file, size: np.stack([vector(text) for text in words])
    )
    c = config("instruct_pix2pix", path=str(fixtures / "edit_ip2p"))
    c.clip = c.dino = c.clip_tokenizer = "given"
    pairs = edit_files.instruct_pix2pix(c.data)
    assert len(pairs) >= 7 and all(pair.before and pair.after for pair in pairs)
    target = {pair.source.tobytes(): pair.target for pair in pairs}
    evaluator, perfect = run(c, Editor(lambda image, text: target[image.tobytes()]))
    assert perfect["instruct_pix2pix_target_l1"] == 0.0
    assert perfect["instruct_pix2pix_target_clip_i"] == pytest.approx(1.0)
    assert perfect["instruct_pix2pix_target_dino"] == pytest.approx(1.0)
    assert perfect["instruct_pix2pix_clip_dir"] != 0.0 and perfect["instruct_pix2pix_l1"] > 0
    _, idle = run(c, Editor(lambda image, text: image))
    assert idle["instruct_pix2pix_l1"] == 0.0 and idle["instruct_pix2pix_clip_dir"] == 0.0
    for name in ("clip_i", "dino"):
        assert idle[f"instruct_pix2pix_{name}"] == pytest.approx(1.0)
    same = {name: value for name, value in idle.items() if not name.endswith("refused")}
    assert {name: found["unedited source"] for name, found in evaluator.baselines.items()} == pytest.approx(same)


def thing(name, left, top, side=10, score=0.95):
    mask = np.zeros((64, 64), bool)
    mask[top : top + side, left : left + side] = True
    return geneval.Detection(name, score, mask)


PICTURE = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("asked", "things", "wrong"),
    [
        (dict(include=[{"class": "cat", "count": 1}]), [thing("cat", 0, 0)], ""),
        (dict(include=[{"class": "cat", "count": 2}]), [thing("cat", 0, 0)], "1 cat, expected 2"),
        (dict(include=[{"class": "cat", "count": 1}]), [thing("cat", 0, 0, score=0.2)], "0 cat, expected 1"),
        (dict(include=[{"class": "cat", "count": 1, "color": "red"}]), [thing("cat", 0, 0)], ""),
        (dict(include=[{"class": "cat", "count": 1, "color": "blue"}]), [thing("cat", 0, 0)], "red cat, expected blue"),
        (
            dict(include=[{"class": "cat", "count": 1}], exclude=[{"class": "cat", "count": 2}]),
            [thing("cat", 0, 0), thing("cat", 30, 0)],
            "2 cat or more",
        ),
    ],
)
def test_geneval_rules(asked, things, wrong):
    found = geneval.kept(things, "two_object")
    assert geneval.failed(PICTURE, asked, found, lambda crop, name: "red") == wrong


def test_geneval_places():
    asked = dict(include=[{"class": "cat", "count": 1}, {"class": "dog", "count": 1, "position": ["right of", 0]}])
    colour = lambda crop, name: "red"
    at = lambda left, top: geneval.kept([thing("cat", 20, 20), thing("dog", left, top)], "position")
    assert geneval.failed(PICTURE, asked, at(45, 20), colour) == ""
    assert geneval.failed(PICTURE, asked, at(0, 20), colour) == "dog not right of the other"
    assert geneval.directions(thing("a", 20, 20), thing("b", 21, 20)) == set()  # nearer than a tenth of both
    assert geneval.directions(thing("a", 45, 45), thing("b", 20, 20)) == {"right of", "below"}
    assert geneval.directions(thing("a", 20, 0), thing("b", 21, 40)) == {"above"}
    assert geneval.failed(PICTURE, asked, geneval.kept([thing("dog", 45, 20)], "position"), colour) == (
        "0 cat, expected 1; dog not right of the other"
    )
    assert geneval.kept([thing("cat", 0, 0, score=0.6)], "counting") == {"cat": []}
    crop = geneval.on_grey(PICTURE, thing("cat", 3, 5, side=7))
    assert crop.shape == (7, 7, 3) and not crop.any()


class Drawer:
    """Draws the number in a prompt as a grey, finds one `cat` in dark pictures, and says yes to light ones."""

    def generate(self, captions, *, height, width, seeds, **options):
        return np.stack([np.full((height, width, 3), int(text.split()[-1]), np.uint8) for text in captions])

    def segment(self, images, prompts):
        (image,), (classes,) = images, prompts
        ids = np.zeros(image.shape[:2], np.int32)
        found = ("cat",) if image.max() < 100 and "cat" in classes else ()
        ids[: 8 * len(found)] = 1
        return [Segments(ids, found, (0.9,) * len(found), ids[None] > 0 if found else np.zeros((0, *ids.shape), bool))]

    def choose(self, images, questions, options):
        return [among.index("black") for among in options]

    def likelihoods(self, images, questions, options):
        assert all(question.startswith('Does this figure show "') for question in questions)
        return [np.log(np.array([x.mean() / 255 + 1e-6, 1 - x.mean() / 255], np.float32)) for x in images]


def test_geneval_files(tmp_path):
    rows = [
        {"tag": "single_object", "include": [{"class": "cat", "count": 1}], "prompt": "a cat 20"},
        {"tag": "single_object", "include": [{"class": "cat", "count": 1}], "prompt": "a cat 200"},
        {"tag": "colors", "include": [{"class": "cat", "count": 1, "color": "black"}], "prompt": "a black cat 20"},
    ]
    write(tmp_path / "evaluation_metadata.jsonl", lines(rows))
    evaluator, found = run(config("geneval", path=str(tmp_path)), Drawer())
    assert found == {"geneval_overall": 0.75, "geneval_single_object": 0.5, "geneval_colors": 1.0}
    assert "mask predictor, not GenEval's" in evaluator.protocol["detector"]
    c = config("geneval", path=str(tmp_path))
    c.detector = "tests.evaluation.test_drawn_files:nothing_there"
    assert run(c, Drawer())[1]["geneval_overall"] == 0.0
    c.detector = "tests.evaluation.nowhere:detector"
    with pytest.raises(UserError, match="config.detector: 'tests.evaluation.nowhere:detector' cannot be made"):
        run(c, Drawer())


def nothing_there():
    return lambda picture, classes: []


def test_genai_bench_files(tmp_path):
    write(tmp_path / "genai_image.json", {f"{i:05d}": {"prompt": f"a scene {x}"} for i, x in enumerate((51, 204, 9))})
    write(tmp_path / "genai_skills.json", {"basic": [0], "advanced": [1], "counting": [1]})
    _, found = run(config("genai_bench", path=str(tmp_path)), Drawer())
    assert found["genai_bench_basic"] == pytest.approx(0.2, abs=1e-3)
    assert found["genai_bench_advanced"] == found["genai_bench_counting"] == pytest.approx(0.8, abs=1e-3)
    assert found["genai_bench_overall"] == pytest.approx(0.5, abs=1e-3)  # the third prompt has no skill
    write(tmp_path / "genai_skills.json", {"basic": 1})
    with pytest.raises(UserError, match="genai_skills.json: basic is int, expected list"):
        run(config("genai_bench", path=str(tmp_path)), Drawer())


def test_mjhq_files(tmp_path, monkeypatch):
    prompts = {f"id{i}": {"category": "animals", "prompt": f"a scene {10 * i}"} for i in range(3)}
    write(tmp_path / "meta_data.json", prompts)
    for i in range(3):
        picture = np.full((40, 40, 3), 10 * i, np.uint8)
        write(tmp_path / "images" / "animals" / f"id{i}.jpg", encoded(picture))
    read = []

    def network(file, size):
        def features(images):
            read.append(len(images))
            return np.stack([[x.mean(), 0.5 * x.std()] for x in images]).astype(float)

        return features

    monkeypatch.setattr(prompt_files.networks, "inception_network", network)
    c = config("mjhq", path=str(tmp_path), images=str(tmp_path / "images"))
    with pytest.raises(UserError, match="config.inception: is empty"):
        run(c, Drawer())
    c.inception = "given"
    evaluator, found = run(c, Drawer())
    assert found["mjhq_fid"] == pytest.approx(0.0, abs=1.0)  # the same grey pictures
    assert read == [2, 1, 2, 1]  # drawn and real: no more at once than a batch
    ((words, picture, _), *_) = evaluator.galleries[0]["rows"]
    assert words == "a scene 0" and picture.max() == 0
    c.data.images = str(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="config.data.images"):
        run(c, Drawer())


def test_directions_of_nothing():
    a = np.array([[1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(edit_files.direction(a, np.array([[2.0, 0.0], [1.0, 1.0]])), [1.0, 0.0])
