# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The shipped checkpoints: sizes, records beside them, and that they still do what their records say."""

import json
import pathlib

import pytest

import focus_jax
from configs import eval as eval_config
from data_pipelines.world.vocabulary import VERSION
from focus_jax.evaluation import segmentation, standins, text_slots

ASSETS = pathlib.Path(__file__).resolve().parents[1] / "assets"
FILES = sorted(ASSETS.glob("*.safetensors"))


def test_files_are_small_and_each_has_its_record():
    assert FILES and sum(f.stat().st_size for f in FILES) <= 24 * 2**20
    assert {f.stem for f in FILES} == {f.stem for f in ASSETS.glob("*.json")}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_record_says_what_a_reader_wants_to_know(file):
    record = json.loads(file.with_suffix(".json").read_text())
    assert record["world"] == VERSION, "trained or measured on another version of the world: make standins assets"
    assert record["seconds"] > 0 and record["steps"] > 0 and record["device"] and record["seed"] == 0
    assert set(record["figures"]) == set(record["n"])
    model = focus_jax.load(file)
    parts = ("tokenizer/", "llm", "mask_", "vae", "unet")
    held = {part: print_ for part, print_ in record["fingerprints"].items() if part.startswith(parts)}
    assert held and held.items() <= model.fingerprints.items()


@pytest.mark.slow
@pytest.mark.parametrize("file", [f for f in FILES if f.stem in ("vit", "convnext")], ids=lambda f: f.stem)
def test_probe_finds_what_the_record_says(file):
    """On 150 scenes: within four standard errors and 3 points (the probe learns on fewer scenes) of the record."""
    config = eval_config.get_config("standins")
    config.scenes, config.probe_scenes, config.presets = 150, 1_500, ("easy",)
    figures = standins.Evaluator(config).run(focus_jax.load(file))
    record = json.loads(file.with_suffix(".json").read_text())["figures"]
    for attribute in ("shape", "colour"):
        name = f"{file.stem}_{attribute}_easy"
        value, _, error = figures[name]
        assert value >= record[name] - 4 * error - 0.03, name


@pytest.mark.slow
@pytest.mark.parametrize("file", [f for f in FILES if f.stem == "llm"], ids=lambda f: f.stem)
def test_the_language_model_answers_as_the_record_says(file):
    """On 150 scenes: within four standard errors of the record."""
    config = eval_config.get_config("text_slots")
    config.data.scenes, config.blind_scenes = 150, 150
    value, _, error = text_slots.Evaluator(config).run(focus_jax.load(file))[text_slots.NAME]
    assert value >= json.loads(file.with_suffix(".json").read_text())["figures"][text_slots.NAME] - 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("file", [f for f in FILES if f.stem == "masks"], ids=lambda f: f.stem)
def test_the_mask_decoder_finds_what_the_record_says(file):
    """On 100 scenes: within four standard errors of the record."""
    config = eval_config.get_config("classes")
    config.data.scenes = 100
    value, _, error = segmentation.Evaluator(config).run(focus_jax.load(file))["things_pq"]
    assert value >= json.loads(file.with_suffix(".json").read_text())["figures"]["things_pq"] - 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("file", [f for f in FILES if f.stem == "stage3"], ids=lambda f: f.stem)
def test_stage_3_marks_what_the_record_says(file):
    """On 60 scenes: within four standard errors of the record."""
    config = eval_config.get_config("segmentation")
    config.data.scenes, config.asked = 60, ("words", "regions")
    found = segmentation.Evaluator(config).run(focus_jax.load(file))
    record = json.loads(file.with_suffix(".json").read_text())["figures"]
    for name in ("referring_ciou", "no_target_accuracy", "point_iou", "box_iou"):
        value, _, error = found[name]
        assert value >= record[name] - 4 * error, name
