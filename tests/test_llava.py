# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Real photographs with real conversations, end to end: prepare, loader, one training step, chat."""

import json

import numpy as np
import pytest

import focus_jax
from configs import models
from data_pipelines import prepare, transforms
from data_pipelines.loader import Loader
from focus_jax.sequence.layout import IGNORE
from focus_jax.training import loop
from tests.stages.test_language import small

BUCKETS = ((48, 64), (64, 48), (64, 64))


def config(prepared):
    """Stage 2 with few layers on the prepared set, everything drawn at random."""
    c = small("configs/stage2.py:tiny")
    stream = c.data.phases[0]["streams"][0]
    sized = lambda bucket: {
        "height": bucket[0],
        "width": bucket[1],
        "batch_size": 8,
        "sequence": models.sequence("tiny", bucket, length=704, learnt=256, pack=1, images=1),
    }
    c.data.phases = [{"steps": 1, "streams": [stream | sized((48, 64))]}]
    source = {"name": "llava", "path": str(prepared), "reader": "", "weight": 1.0}
    c.data.sources, c.data.validation = [source], [source | {"split": "train"}]
    c.data.bad_record_budget = 5
    c.init = {part: "random" for part in ("tokenizer", "llm", "fusion_mlp", "projector", "adapter")}
    c.validate_batches, c.checkpoint_every = 1, 1
    return c


@pytest.fixture(scope="module")
def prepared(fixtures, tmp_path_factory):
    out = tmp_path_factory.mktemp("llava") / "prepared"
    path = fixtures / "llava" / "llava_instruct.json"
    prepare.prepare("llava", path, out, buckets=BUCKETS, reader_options={"images": str(fixtures)})
    return out


@pytest.fixture(scope="module")
def entries(fixtures):
    return json.loads((fixtures / "llava" / "llava_instruct.json").read_text())


def test_every_conversation_is_laid_out(prepared, entries):
    loader = Loader(config(prepared).data, seed=0)
    with loader.once(split="train") as batches:
        found = [batch for _, _, batch in batches]
    rows = sum(int((b["weight"] > 0).sum()) for b in found)
    assert 0 < rows <= len(entries) and sum(b["left_out"].sum() for b in found) == 0
    assert all((b["labels"] != IGNORE).any(axis=1)[b["weight"] > 0].all() for b in found)


@pytest.mark.slow
def test_a_step_is_trained_and_the_model_answers(prepared, entries, fixtures, tmp_path):
    figures = loop.train(config(prepared), tmp_path / "run")
    assert np.isfinite(figures["nll"])
    model = focus_jax.load(tmp_path / "run")
    entry = entries[0]
    photograph = transforms.decode((fixtures / entry["image"]).read_bytes())
    session = model.session()
    asked = [turn["value"].replace("<image>\n", "") for turn in entry["conversations"] if turn["from"] == "human"]
    for i, question in enumerate(asked[:2]):
        "".join(session.stream(question, [photograph] if i == 0 else [], limit=4))
        assert session.conversation.said[0].ids
