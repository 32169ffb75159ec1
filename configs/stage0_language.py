# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0 of the language model: the tiny stand-in for Qwen2.5, which answers about scenes that are given as words.

    python -m focus_jax.train --config=configs/stage0_language.py --workdir=runs/standins/llm

`make standins` trains it with the image encoders; what it reaches and how long it takes is in docs/tiny.md. There is no
full size: Qwen2.5 is imported (python -m focus_jax.convert import --format=qwen2).
"""

from ml_collections import ConfigDict

from configs import common, mixtures, models, sharding
from focus_jax.sequence.vocabulary import Vocabulary

BUCKET = (64, 64)

# What each phase reads, drawn as it is read, so that no question comes twice. First captions alone: they teach to read
# the slots out within some hundred steps, and nothing that questions ask is learnt before that. Later much of a caption
# is chance (its order, its wording), which drowns what questions teach, so they all but go. Then counting, which
# teaches what a yes or no about something's being there hardly does. Then the lessons about places and comparing, and
# last relations, which need all of it, and comparing once more.
MIXES = (
    ((0,), {"caption": 1.0}),
    (
        (1,),
        {
            "caption": 0.25,
            "questions": 2.0,
            "questions_count": 2.0,
            "questions_existence": 1.0,
            "questions_relation": 0.25,
            "places": 0.75,
            "distances": 0.5,
            "pairs": 0.5,
            "descriptions": 0.5,
        },
    ),
    (
        (2,),
        {
            "caption": 0.1,
            "questions": 2.0,
            "questions_count": 0.75,
            "questions_existence": 0.5,
            "questions_relation": 1.0,
            "places": 1.0,
            "distances": 1.25,
            "pairs": 0.75,
            "descriptions": 0.75,
        },
    ),
    (
        (3, 4),
        {
            "caption": 0.1,
            "questions": 2.0,
            "questions_count": 0.25,
            "questions_existence": 0.25,
            "questions_relation": 2.0,
            "places": 1.0,
            "distances": 1.25,
            "pairs": 0.5,
            "descriptions": 1.25,
        },
    ),
    (
        (5,),
        {
            "caption": 0.1,
            "questions": 2.0,
            "questions_count": 0.25,
            "questions_existence": 0.25,
            "questions_relation": 1.0,
            "questions_comparison": 2.0,
            "places": 1.0,
            "distances": 1.25,
            "pairs": 0.5,
            "descriptions": 1.25,
        },
    ),
)


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.stage = "text_slots"  # focus_jax/stages/text_slots.py
    c.name = "standins:llm"
    c.seed = 0
    c.compute_dtype = "float32"
    c.model = ConfigDict()
    c.model.vocabulary = models.vocabulary("tiny")
    c.model.text_tokenizer = models.text_tokenizer("tiny")
    c.model.llm = models.llm("tiny", Vocabulary(**c.model.vocabulary).padded)

    c.loss = ConfigDict()
    c.loss.text_mode = True  # only ids that may stand in a text count
    c.loss.weights = ConfigDict({"text": 1.0, "semantic": 1.0, "pixel": 1.0})

    c.init = ConfigDict({"llm": "random"})
    c.init_weights = "ema"
    c.alias = ConfigDict()
    c.assign = (("llm/.*", "rest"), ("llm/.*/kernel", "matrices"))
    c.groups = ConfigDict()
    c.groups.rest = _group("adamw", 2e-3, 0.0)
    # Without decay the matrices grow tenfold in 10,000 steps; what is learnt after that is learnt a tenth as fast.
    c.groups.matrices = _group("muon", 0.02, 0.05)

    c.mesh = ConfigDict({"dcn_data": 1, "data": 1, "fsdp": -1, "tensor": 1})
    c.sharding = "data"
    c.axes = ConfigDict(sharding.TABLES)
    c.accumulate = 1

    stream = lambda **sequence: {
        "shape_class": "slots",
        "height": BUCKET[0],
        "width": BUCKET[1],
        "batch_size": 16,
        "share": 1,
        "sequence": models.sequence("tiny", BUCKET, **sequence),
    }
    c.data = ConfigDict()
    # 64 pixel cells, which say colours alone, take a third of a row and are where attention gets lost; they come when
    # the rest is learnt.
    few = dict(length=208, pixel_grid=(1, 1))
    c.data.phases = [
        {"steps": 1_000, "streams": [stream(**few, learnt=64, pack=2, images=2)]},
        {"steps": 4_000, "streams": [stream(**few, learnt=40, pack=1, images=1)]},
        {"steps": 6_500, "streams": [stream(**few, learnt=40, pack=1, images=1)]},
        {"steps": 3_500, "streams": [stream(**few, learnt=40, pack=1, images=1)]},
        {"steps": 8_000, "streams": [stream(length=288, learnt=40, pack=1, images=1)]},
        {"steps": 2_200, "streams": [stream(length=288, learnt=40, pack=1, images=1)]},
    ]
    c.data.sources = [_world(task, weight, phases) for phases, mix in MIXES for task, weight in mix.items()]
    c.data.validation = [_world("questions", 1.0, (0, 1, 2, 3, 4, 5), count=256)]
    c.data.max_crop_loss = 0.0
    c.data.flip = 0.0
    c.data.random_crop = False
    c.data.workers = 1
    c.data.threads = 1
    c.data.prefetch = 16
    c.data.verify = "auto"
    c.data.bad_record_budget = 1_000  # scenes with more words than a cell holds

    c.validate_every = 1_000
    c.validate_batches = 16
    c.validate_weights = "ema"
    c.checkpoint_every = 500
    c.checkpoint_keep = 1
    c.best = "answer_accuracy"
    c.log_every = 100
    c.pictures_every = 1_000_000  # this stage shows none

    return common.watched(c, warmup=200, watchdog=20.0)


def _world(task: str, weight: float, phases: tuple[int, ...], **options: int) -> dict:
    name = f"world_{task}_{'_'.join(map(str, phases))}"
    found = mixtures.world(task, weight, "panoptic", side=64, **options)
    return found | {"name": name, "phases": list(phases)}


def _group(optimizer: str, lr: float, decay: float) -> ConfigDict:
    return ConfigDict(
        {
            "trained": True,
            "dtype": "float32",
            "optimizer": optimizer,
            "lr": lr,
            "schedule": "cosine",
            "warmup": 200,
            "b1": 0.95 if optimizer == "muon" else 0.9,
            "b2": 0.95,
            "weight_decay": decay,
            "clip": 1.0,
            "ema": 0.998,
            "layers_from": 0,
        }
    )
