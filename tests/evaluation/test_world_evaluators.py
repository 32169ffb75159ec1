# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Evaluators of the world on models whose figures are known: the truth, nothing at all, and guesses."""

import functools
import importlib
import json
import math

import numpy as np
import pytest

from data_pipelines.world import drawing
from data_pipelines.world.vocabulary import VERSION
from focus_jax.errors import UserError
from focus_jax.evaluation import report, video, video_edits
from focus_jax.evaluation.protocol import Segments
from focus_jax.training import config as config_lib
from tests.evaluation.world_models import Blank, Oracle, Random, one

SIZES = {
    "world_reconstruction": ("scenes=60",),
    "questions": ("scenes=60",),
    "segmentation": ("scenes=60",),
    "video": ("scenes=10",),
    "generation": ("scenes=60",),
    "editing": ("scenes=60",),
    "video_edits": ("scenes=10",),
}
OVERRIDES = {"questions": ["--config.blind_scenes=400"]}
NOTHING = ("leakage", "composite_leakage")
NO_SHARES = {"flicker", "psnr", "psnr_of_mean_picture", "perceptual_random", "majority_accuracy", "blind_accuracy"}


def config_of(name, *overrides):
    sizes = [f"--config.data.{x}" for x in SIZES[name.removeprefix("open_")]]
    more = OVERRIDES.get(name.removeprefix("open_"), [])
    return config_lib.load(f"configs/eval.py:{name}", [*sizes, "--config.shown=4", *more, *overrides])


def evaluator_of(config):
    return importlib.import_module(f"focus_jax.evaluation.{config.evaluator}").Evaluator(config)


@functools.cache
def measured(name, model):
    """The evaluator after its run, and its figures."""
    config = config_of(name)
    evaluator = evaluator_of(config)
    return evaluator, evaluator.run(Oracle(config) if model is Oracle else model())


@pytest.mark.parametrize("name", SIZES)
def test_the_oracle_is_right(name):
    evaluator, found = measured(name, Oracle)
    shares = {k: v for k, v in found.items() if k not in NO_SHARES}
    if name == "video_edits":  # the checker does not tell things of one colour apart while they pass each other
        truth = evaluator.baselines["video_edit_success"]["the target itself"]
        assert 0.9 < truth == shares.pop("video_edit_success")[0] == shares.pop("video_edit_ceiling")[0]
    assert all((value, error) == (0.0 if k in NOTHING else 1.0, 0.0) for k, (value, _, error) in shares.items()), shares
    assert all(n > 0 for _, n, _ in found.values())
    assert found.get("flicker", (0.0,))[0] < 1e-3  # of outlines, which a mask holds or not


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("model", [Oracle, Blank, Random])
def test_what_a_report_takes(name, model, tmp_path):
    """Finite figures, baselines of figures that exist, galleries in shape."""
    evaluator, found = measured(name, model)
    assert all(math.isfinite(value) and error >= 0 and n >= 1 for value, n, error in found.values())
    assert set(evaluator.baselines) <= set(found) and evaluator.baselines
    assert evaluator.protocol["world"] == {
        "version": VERSION, "preset": "easy", "split": "test", "indices": [0, config_of(name).data.scenes - 1]
    }  # fmt: skip
    json.dumps(evaluator.protocol)
    entry = {k: value for k, (value, _, _) in found.items()} | {
        "n": {k: n for k, (_, n, _) in found.items()}, "standard_error": {k: e for k, (_, _, e) in found.items() if e},
        "baselines": evaluator.baselines, "seconds": 0.0, "eval_seconds": 0.0, "steps": 0, "seed": 0, "commit": "x",
        "fingerprint": {}, "checkpoint": "y", "budget": "ladder", "device": "",
    }  # fmt: skip
    report.add(tmp_path, "stage", entry, {"benchmark": evaluator.name}, galleries=evaluator.galleries)
    assert all(1 <= len(g["rows"]) <= 4 for g in evaluator.galleries)


# ------------------------------------------------------------------------------------------------------ blank, random
def test_blank_questions():
    _, found = measured("questions", Blank)
    assert found["question_accuracy"] == (0.0, 120, 0.0)
    assert found["blind_accuracy"][0] > 0.2


def test_random_questions():
    """A random word of seventeen is right less often than an answer that knows the question."""
    evaluator, found = measured("questions", Random)
    assert 0.0 < found["question_accuracy"][0] < 0.2 < evaluator.baselines["question_accuracy"]["majority"]


def test_blank_segmentation():
    _, found = measured("segmentation", Blank)
    empty = {k: v[0] for k, v in found.items()}
    none, meant = found["no_target_accuracy"][1], found["target_accuracy"][1]
    assert none + meant == 120 and empty.pop("no_target_accuracy") == 1.0
    assert empty.pop("generalised_giou") == none / (none + meant)
    assert set(empty.values()) == {0.0}


def test_random_segmentation():
    evaluator, found = measured("segmentation", Random)
    value = {k: v[0] for k, v in found.items()}
    assert value["no_target_accuracy"] == 0.0 and value["target_accuracy"] == 1.0
    for name in (
        "referring_ciou",
        "referring_giou",
        "box_iou",
        "point_iou",
        "scribble_iou",
        "mask_iou",
        "reasoning_giou",
    ):
        beside = evaluator.baselines[name]
        assert 0.0 == beside["nothing"] < value[name] < 0.3 < min(beside["random object"], beside["largest object"])
    assert value["generalised_ciou"] < value["referring_ciou"] and value["things_pq"] < 0.1


def test_blank_video():
    """Nothing is right where the object is out of sight only."""
    evaluator, found = measured("video", Blank)
    assert all(value < 0.2 for value, _, _ in found.values())
    assert found["video_jf"][0] == pytest.approx((found["video_j"][0] + found["video_f"][0]) / 2)
    assert found["video_jf"][0] < evaluator.baselines["video_jf"]["first frame held still"] < 1.0


def test_random_video():
    evaluator, found = measured("video", Random)
    assert found["video_jf"][0] < evaluator.baselines["video_jf"]["first frame held still"]
    assert found["video_words_jf"][0] < evaluator.baselines["video_words_jf"]["largest object"]


def test_blank_reconstruction():
    """Of grey pictures nothing is read."""
    evaluator, found = measured("world_reconstruction", Blank)
    value = {k: v[0] for k, v in found.items()}
    assert [value[f"readback_{k}"] for k in ("shape", "colour", "size", "place", "object", "count")] == [0.0] * 6
    assert value["psnr"] < value["psnr_of_mean_picture"] == evaluator.baselines["psnr"]["mean picture"]
    assert evaluator.baselines["readback_shape"]["of the originals"] == 1.0


def test_random_reconstruction():
    _, found = measured("world_reconstruction", Random)
    assert found["readback_object"][0] < 0.05 and found["psnr"][0] < 10


@pytest.mark.parametrize("model", [Blank, Random])
def test_generation_without_a_caption(model):
    """Pictures that do not follow the caption score no more than pictures of other scenes, but for the ground."""
    evaluator, found = measured("generation", model)
    for name in ("object", "attributes", "relation", "scene", "one_object", "place"):
        value, other = (
            found[f"generation_{name}"][0],
            evaluator.baselines[f"generation_{name}"]["picture of another scene"],
        )
        assert value <= other + 0.05 and other < 0.6
    assert 0 < found["generation_place"][1] < found["generation_object"][1] == 60
    assert found["generation_ceiling"][0] < 0.05  # what it draws from true codes says as little


def test_blank_editing():
    """Grey pictures: nothing is kept; what should be gone is gone."""
    evaluator, found = measured("editing", Blank)
    value = {k: v[0] for k, v in found.items()}
    assert value["edit_success"] == value["edit_kept"] == value["mask_iou_of_edits"] == value["edit_ceiling"] == 0.0
    assert 0 < value["edit_change"] < 0.4 and 0 < value["edit_changed"] < 0.4
    assert value["refusal_accuracy"] == 0.5 and value["leakage"] == 0.0  # its own pictures of the source are grey too
    assert 20 < found["refusal_accuracy"][1] < 60 and found["edit_success"][1] <= 30
    beside = evaluator.baselines
    assert beside["edit_success"] == {"unedited source": 0.0, "drawn from the target's codes": 0.0}
    assert beside["edit_kept"]["unedited source"] == 1.0 and beside["leakage"]["source as it was"] > 0.9


def test_random_editing():
    evaluator, found = measured("editing", Random)
    assert found["edit_success"][0] < 0.2 and found["leakage"][0] > 0.5 and 0.2 < found["refusal_accuracy"][0] < 0.8
    assert found["edit_kept"][0] < evaluator.baselines["edit_kept"]["unedited source"] == 1.0


def test_what_a_mask_makes_different_is_found():
    """A decoder that paints under its mask, one that paints all over, one that is blind to it."""
    config = config_lib.load("configs/eval.py:localisation", ["--config.data.scenes=6", "--config.shown=2"])

    class Paints(Blank):
        def redraw(self, images, masks=None, *, seeds):
            out = images.copy()
            if masks is not None:
                out[self.where(masks)] = (255, 0, 255)
            return out

    def figures(where):
        model, evaluator = Paints(), evaluator_of(config)
        model.where = where
        return {k: v[0] for k, v in evaluator.run(model).items()}, evaluator.baselines

    under, beside = figures(lambda masks: masks)
    assert set(under.values()) == {1.0} and beside["guidance_localisation"]["under the other thing's mask"] < 0.5
    everywhere, _ = figures(np.ones_like)
    assert everywhere["guidance_localisation"] < 0.5 and everywhere["guidance_localised"] == 0
    assert everywhere["guidance_changed"] == 1.0
    blind, _ = figures(np.zeros_like)
    assert set(blind.values()) == {0.0}


class Told(Blank):
    """Draws under no given mask."""

    redraws_under_masks = False

    def redraw(self, images, masks=None, *, seeds):
        assert masks is None
        return images


def test_figures_of_given_masks_are_left_out_where_none_is_taken(capsys):
    missing = {"editing": {"edit_ceiling", "leakage"}, "video_edits": {"video_edit_ceiling", "flicker"}}
    for name, left_out in missing.items():
        (evaluator, found), (_, whole) = measured(name, Told), measured(name, Blank)
        assert left_out <= set(whole) and set(found) == set(whole) - left_out >= set(evaluator.baselines)
        assert f"{name}: blank draws under no given mask; " in capsys.readouterr().out
    localisation = config_lib.load("configs/eval.py:localisation", ["--config.data.scenes=6"])
    assert evaluator_of(localisation).run(Told()) == {}


def test_flicker_is_what_changes_from_frame_to_frame():
    rng = np.random.default_rng(0)
    source = rng.integers(0, 100, (3, 16, 16, 3)).astype(np.uint8)
    masks = np.zeros((3, 16, 16), bool)
    masks[:, 4:8, 4:8] = True
    assert video_edits._flicker(source + 9, source, masks) == 0
    brighter = source + np.array([0, 10, 0], np.uint8)[:, None, None, None]
    assert video_edits._flicker(brighter, source, masks) == 10
    inside = source.copy()
    inside[1][masks[1]] += 50
    assert video_edits._flicker(inside, source, masks) == 0


# ----------------------------------------------------------------------------------------------------------- baselines
def test_baselines_are_what_such_models_reach():
    """Of segmentation and video: a model that always marks the largest object, one that holds the first frame still."""
    config = config_of("segmentation")
    oracle = Oracle(config)

    class Largest(Blank):
        def segment(self, images, prompts):
            return [self._segment(x, prompt) for x, prompt in zip(images, prompts)]

        def _segment(self, image, prompt):
            if isinstance(prompt, list):  # all ground
                return Segments(np.ones(image.shape[:2], np.int32), ("ground",), (1.0,))
            ids = drawing.draw(oracle.by_bytes[image.tobytes()], config.side).ids
            return one(ids == np.bincount(ids[ids > 0]).argmax())

        def segment_video(self, frames, prompt):
            count = int(prompt[1].max())
            return Segments(np.repeat(prompt[1][None], len(frames), 0), ("",) * count, (1.0,) * count)

    evaluator = evaluator_of(config)
    for name, (value, _, _) in evaluator.run(Largest()).items():
        assert evaluator.baselines[name].get("largest object", evaluator.baselines[name].get("all ground")) == value


def test_prompts_given_back_and_true_masks_of_one_name_are_beside_the_figures():
    evaluator, _ = measured("segmentation", Blank)
    beside = evaluator.baselines
    assert beside["mask_iou"]["the prompt itself"] > beside["mask_iou"]["largest object"]
    assert all(
        v["nothing"] == (k == "no_target_accuracy")
        for k, v in beside.items()
        if k in ("no_target_accuracy", "target_accuracy")
    )
    (label,) = set(beside["things_pq"]) - {"all ground"}
    assert label.startswith("true masks") and 0 < beside["things_pq"][label] < 0.5 and beside["stuff_pq"][label] == 1.0


def test_a_model_that_changes_what_it_is_given_changes_nothing(monkeypatch):
    """Clips are handed over as copies, in which no truth of later frames hangs."""

    class Thief(Blank):
        def segment_video(self, frames, prompt):
            frames[:] = 0
            if isinstance(prompt, tuple):
                assert prompt[1].base is None
                prompt[1][:] = 0
                return Segments(np.zeros(frames.shape[:3], np.int32), (), ())
            return super().segment_video(frames, prompt)

    _, blank = measured("video", Blank)
    assert evaluator_of(config_of("video")).run(Thief()) == blank


def test_numbers_of_a_clip_do_not_tell_what_is_in_front():
    rising = falling = 0
    for clip in video.clips_of(config_of("video")):
        numbers = video.numbered(clip, 64)[2]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        rising += sum(a < b for a, b in zip(numbers, numbers[1:]))
        falling += sum(a > b for a, b in zip(numbers, numbers[1:]))
    assert rising and falling


@pytest.mark.parametrize(
    "name, override, sentence",
    [
        ("questions", "data.scenes=1", "config.data.scenes: expected at least 2, found 1"),
        ("generation", "data.first=-1", "config.data.first: expected at least 0, found -1"),
        ("video", "shown=-1", "config.shown: expected at least 0, found -1"),
        ("editing", "seed=-1", "config.seed: expected at least 0, found -1"),
        ("editing", "batch_size=0", "config.batch_size: expected at least 1, found 0"),
        ("editing", "absent_every=1", "config.absent_every: expected 2 to"),
        ("segmentation", "reasoning=0", "config.referring and config.reasoning: expected at least 1"),
        ("questions", "data.reader=photographs", "config.data.reader: expected world, found 'photographs'"),
        ("open_segmentation", "data.split=test", "config.label: 'open' with split test"),
        ("world_reconstruction", "data.split=open", "config.label: '' with split open"),
        ("reconstruction", "data.reader=world", "the world is :world_reconstruction"),
        ("reconstruction", "limit=0", "expected limit and batch_size of at least 1"),
        ("standins", "scenes=0", "config.scenes: expected at least 1, found 0"),
    ],
)
def test_bad_configs_are_refused_before_anything_is_read(name, override, sentence):
    with pytest.raises(UserError, match=sentence):
        evaluator_of(config_lib.load(f"configs/eval.py:{name}", [f"--config.{override}"]))
