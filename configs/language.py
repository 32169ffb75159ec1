# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The language model alone, on conversations without pictures: to adapt it to a domain, and what it costs by itself.

    python -m focus_jax.convert import --format=qwen2 --source=Qwen2.5-3B-Instruct --output=weights/llm.safetensors
    python -m data_pipelines.prepare text --source=MAGPIE --output=data/magpie
    python -m focus_jax.train --config=configs/language.py --workdir=gs://BUCKET/language --distributed

Rows of 4,096 ids, 128 of them a step; docs/scale.md says what a step needs. Expected result: not trained at this size
yet.
"""

from ml_collections import ConfigDict

from configs import common, mixtures, models, sharding
from focus_jax.sequence.vocabulary import Vocabulary

LENGTH = 4_096


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.stage = "language"  # focus_jax/stages/language.py
    c.name = "language"
    c.seed = 0
    c.compute_dtype = "bfloat16"
    c.model = ConfigDict()
    c.model.vocabulary = models.vocabulary("full")
    c.model.text_tokenizer = models.text_tokenizer("full")
    c.model.llm = models.llm("3b", Vocabulary(**c.model.vocabulary).padded)

    c.loss = ConfigDict()
    c.loss.text_mode = False
    c.loss.weights = ConfigDict({"text": 1.0, "semantic": 1.0, "pixel": 1.0})

    c.init = ConfigDict({"llm": "weights/llm.safetensors"})
    c.init_weights = "ema"
    c.alias = ConfigDict()
    c.assign = (("llm/.*", "llm"),)
    c.groups = ConfigDict()
    c.groups.llm = ConfigDict(
        {
            "trained": True,
            "dtype": "float32",
            "optimizer": "adamw",
            "lr": 1e-5,
            "schedule": "cosine",
            "warmup": 100,
            "b1": 0.9,
            "b2": 0.95,
            "weight_decay": 0.0,
            "clip": 1.0,
            "ema": 0.0,
            "layers_from": 0,
        }
    )
    c.mesh = ConfigDict({"dcn_data": 1, "data": 1, "fsdp": -1, "tensor": 1})
    c.sharding = "fsdp"
    c.axes = ConfigDict(sharding.TABLES)
    c.accumulate = 1
    stream = models.text_stream("full", rows=128, share=1, length=LENGTH, pack=8)
    c.data = ConfigDict()
    c.data.phases = [{"steps": 1_000, "streams": [stream]}]
    c.data.sources = mixtures.sources({"magpie": 1.0})
    c.data.validation = mixtures.sources({"magpie": 1.0})
    common.reads_words(c.data, tiny=False)

    c.validate_every = 500
    c.validate_batches = 16
    c.validate_weights = "ema"
    c.checkpoint_every = 500
    c.checkpoint_keep = 2
    c.best = "nll"
    c.log_every = 20
    c.pictures_every = 1_000_000
    return common.watched(c)
