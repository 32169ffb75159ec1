# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Segmentation end to end on random weights: answers of every kind are whole and belong to their own row; the rules of
who has a pixel on hand-made masks; prompts that mean nothing."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import focus_jax
from data_pipelines import transforms
from focus_jax import infer
from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import Checked, Question, Segments
from focus_jax.inference import masks
from focus_jax.inference.queries import Rules
from focus_jax.inference.segment import Segmenter
from focus_jax.model import Model
from focus_jax.training.parts import unflatten
from tests.stages.test_multimodal import Run


@pytest.fixture(scope="module")
def model():
    run = Run()
    return Model(run.config, run.stage, unflatten(run.trained | run.frozen), {"llm": ""}, "random", None)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 60, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def prompts():
    region = np.zeros((60, 80), bool)
    region[20:30, 40:60] = True
    return ["the red circle", ["circle", "square", "ground"], region]


@pytest.fixture(scope="module")
def found(model, images, prompts):
    return Checked(model, "test", 3).segment(images, prompts)


def test_every_kind_of_prompt(found):
    assert [one.ids.shape for one in found] == [(60, 80)] * 3
    assert len(found[2].names) == 1  # a region is of something


def test_rows_do_not_see_each_other(model, images, prompts, found):
    order = [2, 0, 1]
    again = model.segment(images[order], [prompts[i] for i in order])
    for i, one in zip(order, again):
        np.testing.assert_array_equal(one.ids, found[i].ids)
        assert one.names == found[i].names
        np.testing.assert_allclose(one.scores, found[i].scores, rtol=1e-3)


@pytest.mark.slow
def test_the_region_is_looked_at(model, images, prompts):
    other = np.zeros_like(prompts[2])
    other[40:, :20] = True
    a, b = (model.segment(images[:1], [region])[0] for region in (prompts[2], other))
    assert abs(a.scores[0] - b.scores[0]) > 1e-6


def test_names_may_be_left_out(model, images):
    assert model.segment(images[:1], ["the red circle"], names=False)[0].ids.shape == (60, 80)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("  ", "words: empty"),
        ([], "a list of 0 classes, expected 1 to 5"),
        ([f"thing{i}" for i in range(9)], "a list of 9 classes, expected 1 to 5"),
        (np.zeros((60, 80), bool), "a region without a pixel"),
        (np.ones((10, 80), bool), r"a region bool\[10, 80\], expected bool\[60, 80\]"),
    ],
)
def test_prompts_that_mean_nothing(model, images, prompt, said):
    with pytest.raises(UserError, match=said):
        model.segment(images[:1], [prompt])


# -------------------------------------------------------------------------------------------------- who has a pixel
FIT = transforms.fit(64, 64, [(32, 32)])  # a picture that fills the square; a logit stands for 8 x 8 of its pixels


def logits(*boxes):
    masks = np.full((len(boxes), 8, 8), -6.0, np.float32)
    for mask, (top, left, bottom, right) in zip(masks, boxes):
        mask[top:bottom, left:right] = 6.0
    return masks


def test_classes_share_the_picture(model):
    """The second query's mask is all but taken by the surer first, the third is the background's, the fourth stands."""
    found = logits((0, 0, 4, 8), (0, 0, 4, 7), (4, 0, 8, 8), (6, 6, 8, 8))
    scores = np.array([[9, 0, 0], [2, 0, 0], [0, 0, 9], [0, 9, 0]], np.float32)
    one = Segmenter(model)._segments(["a", "b"], "", found, scores, FIT, Rules())
    assert one.names == ("a", "b") and (one.ids[:32] == 1).all() and (one.ids[50:, 50:] == 2).all()
    assert abs((one.ids > 0).sum() - 36 * 64) < 40


def test_words_mean_all_that_are_sure_or_nothing(model):
    found, scores = logits((0, 0, 2, 2), (4, 4, 8, 8), (0, 6, 2, 8)), np.array([[3.0], [2.0], [-2.0]])
    segmenter = Segmenter(model)
    one = segmenter._segments("two", "circle.", found, scores, FIT, Rules())
    assert abs(one.mask.sum() - 20 * 64) < 40 and one.names == ("circle",)
    assert one.scores[0] == pytest.approx(0.95, abs=0.01)  # sigmoid(3) times that of the mask
    none = segmenter._segments("two", "none.", found, scores - 9, FIT, Rules())
    assert not none.mask.any() and none.names == ()
    assert segmenter._segments("two", "none.", found, scores, FIT, Rules()).names == ("it",)
    # What an edit is drawn under is the union of all that is meant.
    soft = segmenter.soft("words", found, scores, FIT, Rules())
    assert soft.shape == (64, 64) and 0 <= soft.min() and soft[4, 4] > 0.9 and soft[56, 56] > 0.9 > 0.1 > soft[4, 60]
    assert not segmenter.soft("words", found, scores - 9, FIT, Rules()).any()
    strict = Rules(words=0.9)
    assert abs(segmenter._segments("two", "circle.", found, scores, FIT, strict).mask.sum() - 4 * 64) < 20


def test_a_region_is_its_best_mask(model):
    found, scores = logits((0, 0, 2, 2), (4, 4, 8, 8)), np.array([[-3.0], [-1.0]])
    one = Segmenter(model)._segments(np.ones((64, 64), bool), "circle.", found, scores, FIT, Rules())
    assert abs(one.mask.sum() - 16 * 64) < 20


@pytest.mark.slow
def test_rules_are_the_caller_s(model, images):
    nothing = model.segment(images[:1], ["the red circle"], rules=Rules(words=1.1))[0]
    assert not nothing.mask.any() and nothing.names == ()


def test_masks_come_back_to_the_picture(model):
    """A picture of 60 x 80 stands in the upper part of the square; a mask of its right half comes back as that."""
    fit = transforms.fit(60, 80, [(32, 32)])
    masks = np.full((1, 16, 16), -6.0, np.float32)
    masks[:, :, 8:] = 6.0
    upright = Segmenter(model).upright(masks, fit) > 0
    assert upright.shape == (1, 60, 80)
    assert upright[0, :, 44:].all() and not upright[0, :, :36].any()
    small = Image.fromarray(upright[0]).resize((2, 1), Image.Resampling.NEAREST)
    assert np.asarray(small).tolist() == [[False, True]]


# ------------------------------------------------------------------------------------------------------- files
def test_a_question_is_asked_as_one(model):
    """Words to be thought about have an instruction of their own, as in training."""
    segmenter = Segmenter(model)
    plain, question = (segmenter._laid(kind("what floats?"), (32, 32), None) for kind in (str, Question))
    assert plain.ids.tolist() != question.ids.tolist()


def run(monkeypatch, model, *argv):
    monkeypatch.setattr(focus_jax, "load", lambda *_, **__: model)
    infer.main(["segment", *argv, "--checkpoint=random"])


@pytest.mark.slow
def test_files_out(model, images, tmp_path, monkeypatch, capsys):
    picture, stroke = tmp_path / "in.png", tmp_path / "stroke.png"
    Image.fromarray(images[0]).save(picture)
    drawn = np.zeros((60, 80), np.uint8)
    drawn[10:20, 10:40] = 255
    Image.fromarray(drawn).save(stroke)
    listed = "--classes=circle, square"
    for asked in (
        (listed,),
        (listed, "--task=semantic"),
        (listed, "--threshold=0", "--stuff=circle"),
        ("--point=20,30",),
        ("--box=5,5,30,20",),
        (f"--scribble={stroke}",),
    ):
        out = tmp_path / "".join(asked).replace("/", "")[:40]
        run(monkeypatch, model, str(picture), *asked, f"--output={out}")
        (told,) = json.loads((out / "segment.json").read_text())["pictures"]
        ids = np.asarray(Image.open(out / "in.ids.png"))
        assert ids.shape == (60, 80) and Image.open(out / "in.overlay.png").width >= 80
        for segment in told["segments"]:
            mask = coco.decode(segment["segmentation"]).astype(bool)
            np.testing.assert_array_equal(mask, ids == segment["id"])
            assert mask.sum() == segment["area"]
    assert "in: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "nothing: expected one of --words, --question"),
        (("--words=x", "--point=1,2"), "--words, --point: expected one of"),
        (("--point=1",), "--point=1: expected X,Y in pixels"),
        (("--point=400,2",), "point (400, 2) is outside the picture"),
        (("--box=a,b,c,d",), "expected X,Y,W,H in pixels"),
        (("--words=x", "--task=semantic"), "--task: goes with --classes"),
        (("--classes=a,b", "--task=instance", "--stuff=a"), "--stuff=a: is of panoptic answers"),
        (("--classes=a,b", "--stuff=c"), "--stuff: c is not among --classes"),
        (("--words=x", "--threshold=2"), "--threshold=2.0: expected 0 to 1"),
    ],
)
def test_mistakes_on_the_command_line(model, images, tmp_path, monkeypatch, capsys, argv, said):
    picture = tmp_path / "in.png"
    Image.fromarray(images[0]).save(picture)
    with pytest.raises(SystemExit):
        run(monkeypatch, model, str(picture), *argv, f"--output={tmp_path / 'out'}")
    assert said in capsys.readouterr().err


def test_an_overlay_says_that_nothing_is_there(images):
    none = Segments(np.zeros((60, 80), np.int32), (), ())
    shown = masks.overlay(images[0], none)
    assert shown.height > 60 and np.array_equal(np.asarray(shown)[:60, :80], images[0])
    assert masks.entries(none) == []
