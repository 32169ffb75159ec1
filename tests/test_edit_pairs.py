# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Real pairs of edits, end to end: prepare, one training step of stage 4, `infer edit`, the scorers."""

import json

import numpy as np
import pytest
from PIL import Image

from configs import models
from data_pipelines import prepare
from data_pipelines.loader import Loader
from data_pipelines.targets import GUIDES
from focus_jax import evaluate, infer
from focus_jax.training import config as config_lib
from focus_jax.training import loop
from tests.stages.test_editing import config as small

BUCKET = (64, 64)


def config(prepared):
    """Stage 4 with few layers on the prepared set, everything drawn at random."""
    c = small()
    (stream,) = (s for s in c.data.phases[0]["streams"] if s["shape_class"] == "editing")
    high = c.model.tokenizer.high = 128
    sized = {"height": BUCKET[0], "width": BUCKET[1], "high": high, "batch_size": 8}
    sized["sequence"] = models.sequence("tiny", BUCKET, length=400, learnt=144, pack=1, images=1)
    masks = {**stream, **sized, "shape_class": "segmentation"}
    c.data.phases = [{"steps": 1, "streams": [stream | sized, masks]}]
    c.model.decoder.unit = BUCKET[0]
    pairs = {"name": "pairs", "path": str(prepared), "reader": "", "weight": 1.0, "shape_class": "editing"}
    world = {"name": "world", "path": "", "reader": "world", "weight": 1.0, "shape_class": "segmentation"}
    world["options"] = {"preset": "easy", "tasks": ["referring", "masks"]}
    c.data.sources, c.data.validation = [pairs, world], [pairs | {"split": "train"}]
    c.data.max_crop_loss, c.data.bad_record_budget = 0.5, 5
    c.init = {name: "random" for name in dict.fromkeys((*c.init, "vae", "unet", "mask_guidance"))}
    c.validate_batches, c.checkpoint_every = 1, 1
    return c


@pytest.fixture(scope="module")
def source(fixtures):
    return fixtures / "edit_ip2p"


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("pairs") / "prepared"
    prepare.prepare("instruct_pix2pix", source, out, buckets=(BUCKET,), max_crop_loss=0.5)
    return out


def test_every_pair_is_a_row(prepared, source):
    c = config(prepared)
    c.data.phases = [{"steps": 1, "streams": c.data.phases[0]["streams"][:1]}]
    c.data.sources = c.data.sources[:1]
    with Loader(c.data, seed=0).once(split="train") as batches:
        found = [batch for _, _, batch in batches]
    there = np.concatenate([b["weight"] > 0 for b in found])
    pairs = sum(len(seeds) for _, seeds in json.loads((source / "seeds.json").read_text()))
    assert there.sum() == pairs >= 7 and sum(int(b["left_out"].sum()) for b in found) == 0
    guides = np.concatenate([b["guide"] for b in found])[there]
    named = {GUIDES[guide] for guide in guides}
    assert {"masks", "own"} <= named  # with a mask of what changes, and without one


@pytest.mark.slow
def test_a_step_is_trained_and_the_model_edits(prepared, source, tmp_path, capsys):
    figures = loop.train(config(prepared), tmp_path / "run")
    assert np.isfinite(figures["diffusion_error"]) and 0 <= figures["source_codes"] <= 1
    picture = next(source.glob("0900001/*_0.jpg"))
    more = ["--steps=2", "--guidance=1", "--force", "--no-composite"]
    infer.main([
        "edit", str(picture), f"--checkpoint={tmp_path / 'run'}", f"--output={tmp_path / 'out'}",
        "--instruction=Make the boots a vibrant red.", *more,
    ])  # fmt: skip
    told = json.loads((tmp_path / "out" / "edit.json").read_text())
    (done,) = told["pictures"]
    assert len(done["edits"]) == 1
    with Image.open(picture) as before, Image.open(tmp_path / "out" / f"{done['name']}.png") as after:
        assert before.size == after.size
    c = config_lib.load("configs/eval.py:instruct_pix2pix")
    c.data.path, c.limit, c.batch_size = str(source), 2, 1
    c.drawing = {"steps": 2, "guidance": 1.0}
    entry = evaluate.evaluate(c, str(tmp_path / "run"), str(tmp_path / "report"))
    assert entry["n"]["instruct_pix2pix_l1"] == 2 and 0 <= entry["instruct_pix2pix_target_l1"] <= 1
    assert entry["baselines"]["instruct_pix2pix_l1"] == {"unedited source": 0.0}
