# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 2: the language model is shown pictures. Projectors, fusion_mlp and gated adapter learn, all else is frozen.

Full recipe (FOCUS section 3.5 and Tables 5 and 6):

    python -m focus_jax.convert import --format=qwen2 --source=Qwen2.5-3B-Instruct --output=weights/llm.safetensors
    python -m data_pipelines.prepare llava --source=LLAVA --output=data/llava_instruct_150k --buckets=256
    python -m focus_jax.train --config=configs/stage2.py --workdir=gs://BUCKET/stage2 --distributed \
        --config.init.tokenizer=gs://BUCKET/stage1

    configs/mixtures.py names the data. Needs a slice whose devices divide 256 rows; `python -m focus_jax.compile`
    prints what a device needs. Expected result: not trained at this size yet.

Tiny, on the world, two CPU cores (figures and how they were measured: docs/tiny.md); :long takes longer:

    python -m focus_jax.train --config=configs/stage2.py:tiny --workdir=runs/stage2
"""

from ml_collections import ConfigDict

from configs import common, mixtures, models, sharding
from configs.stage1_tokenizer import SHARES
from data_pipelines import buckets


def get_config(size: str = "full") -> ConfigDict:
    """Args: size: "full" (the paper's recipe), "tiny" (minutes on two cores) or "long" (tiny, for longer)."""
    if size not in ("full", "tiny", "long"):
        raise ValueError(f"configs/stage2.py:{size}: expected :full, :tiny or :long")
    tiny, sizes = size != "full", "full" if size == "full" else "tiny"
    c = ConfigDict()
    c.stage = "language"  # focus_jax/stages/language.py
    c.name = f"stage2:{size}"
    c.seed = 0
    c.compute_dtype = "float32" if tiny else "bfloat16"

    c.model = models.understanding(sizes)

    c.loss = ConfigDict()
    # Ids of codes and what frames an image do not count: a Qwen2.5 does not know them yet. False for ILLUME+ weights.
    c.loss.text_mode = True
    c.loss.weights = ConfigDict({"text": 1.0, "semantic": 1.0, "pixel": 1.0})

    folder = "assets" if tiny else "weights"
    c.init = ConfigDict({part: "random" for part in ("fusion_mlp", "projector", "adapter")})
    c.init.tokenizer = f"{folder}/tokenizer.safetensors" if tiny else "runs/stage1_tokenizer"
    c.init.llm = f"{folder}/llm.safetensors"
    c.init_weights = "ema"
    # The understanding path has no encoders of its own: these names stand for the tokenizer's.
    c.alias = ConfigDict({"vit": "tokenizer/vit", "convnext": "tokenizer/convnext", "pixel_encoder": "tokenizer/pixel"})
    c.assign = (
        ("tokenizer/.*", "tokenizer"),
        ("llm/.*", "llm"),
        ("(fusion_mlp|projector|adapter)/.*", "projector"),
    )
    c.groups = ConfigDict()
    c.groups.tokenizer = ConfigDict({"trained": False, "dtype": "float32"})
    c.groups.llm = ConfigDict({"trained": False, "dtype": "float32" if tiny else "bfloat16"})
    c.groups.projector = ConfigDict(
        {
            "trained": True,
            "dtype": "float32",
            "optimizer": "adamw",
            "lr": 2e-3 if tiny else 1e-3,  # 1e-3: FOCUS Table 6
            "schedule": "cosine" if tiny else "constant",
            "warmup": 50 if tiny else 0,
            "b1": 0.9,
            "b2": 0.95,
            "weight_decay": 0.0,
            "clip": 1.0,
            "ema": 0.99 if tiny else 0.0,
            "layers_from": 0,
        }
    )

    c.mesh = ConfigDict({"dcn_data": 1, "data": 1, "fsdp": -1, "tensor": 1})
    c.sharding = "fsdp"
    c.axes = ConfigDict(sharding.TABLES)
    c.accumulate = 1

    c.data = ConfigDict()
    if tiny:
        stream = models.language_stream("tiny", (64, 64), rows=16, share=1, length=304, learnt=64, pack=1, images=1)
        # Much of a caption is chance (its order, its wording), which drowns what questions teach.
        c.data.phases = [{"steps": 600 if size == "tiny" else 2_000, "streams": [stream]}]
        c.data.sources = [mixtures.world("questions", 0.75), mixtures.world("caption", 0.25)]
        c.data.validation = [mixtures.world("questions", 1.0, count=256)]
    else:
        # 512 examples a step (Table 6): 256 rows of two. A picture of 256 px takes 368 positions and its queries 128.
        per_row = dict(rows=256, length=1_536, learnt=768, pack=2, images=2)
        shares = dict(zip(buckets.ANCHORS_256, SHARES.values()))
        streams = [models.language_stream("full", bucket, share=share, **per_row) for bucket, share in shares.items()]
        c.data.phases = [{"steps": 58_600, "streams": streams}]  # one epoch of 30M (Table 5)
        c.data.sources = mixtures.sources(mixtures.STAGE2)
        c.data.validation = mixtures.sources({"llava_instruct_150k": 1.0})
    common.reads_words(c.data, tiny)

    c.validate_every = 200 if tiny else 2_000
    c.validate_batches = 16
    c.validate_weights = "ema"
    c.checkpoint_every = 200 if tiny else 1_000
    c.checkpoint_keep = 2
    c.best = "answer_accuracy"
    c.log_every = 50 if tiny else 100
    c.pictures_every = 1_000_000  # this stage shows none

    return common.watched(c)
