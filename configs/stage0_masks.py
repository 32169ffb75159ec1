# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0: a tiny stand-in for the public Mask2Former that a full-size stage 3 starts from, trained on the world.

    python -m focus_jax.train --config=configs/stage0_masks.py --workdir=runs/standins/masks

There is no full size: those weights are imported (python -m focus_jax.convert import --format=mask2former).
"""

from ml_collections import ConfigDict

from configs import common, mixtures, models, sharding


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.stage = "mask_former"  # focus_jax/stages/mask_former.py
    c.name = "standins:masks"
    c.seed = 0
    c.compute_dtype = "float32"
    c.model = ConfigDict()
    c.model.vocabulary = models.vocabulary("tiny")
    c.model.text_tokenizer = models.text_tokenizer("tiny")
    c.model.convnext = models.convnext("tiny")
    c.model.mask_pixel_decoder = models.mask_pixel_decoder("tiny")
    c.model.mask_decoder = models.mask_decoder("tiny")
    c.loss = models.mask_loss("tiny")

    c.init = ConfigDict({name: "random" for name in ("mask_pixel_decoder", "mask_decoder", "heads")})
    c.init["tokenizer/convnext"] = "assets/convnext.safetensors"
    c.init_weights = "ema"
    c.alias = ConfigDict()
    c.assign = (
        ("tokenizer/.*", "encoder"),
        ("(mask_pixel_decoder|mask_decoder|heads)/.*", "rest"),
        ("(mask_pixel_decoder|mask_decoder)/.*/kernel", "matrices"),
    )
    c.groups = ConfigDict()
    c.groups.encoder = ConfigDict({"trained": False, "dtype": "float32"})
    c.groups.rest = _group("adamw", 2e-3)
    c.groups.matrices = _group("muon", 0.01)

    c.mesh = ConfigDict({"dcn_data": 1, "data": 1, "fsdp": -1, "tensor": 1})
    c.sharding = "data"
    c.axes = ConfigDict(sharding.TABLES)
    c.accumulate = 1

    stream = models.masks_stream("tiny", (64, 64), rows=16, share=1, length=208, learnt=24)
    c.data = ConfigDict()
    c.data.phases = [{"steps": 2_000, "streams": [stream]}]
    c.data.sources = [mixtures.world("panoptic", 1.0), mixtures.world("panoptic", 1.0, preset="standard")]
    c.data.validation = [mixtures.world("panoptic", 1.0, count=256)]
    c.data.max_crop_loss = 0.0
    c.data.flip = 0.0
    c.data.random_crop = False
    c.data.workers = 1
    c.data.threads = 1
    c.data.prefetch = 8
    c.data.verify = "auto"
    c.data.bad_record_budget = 0

    c.validate_every = 500
    c.validate_batches = 16
    c.validate_weights = "ema"
    c.checkpoint_every = 500
    c.checkpoint_keep = 1
    c.best = "mask_iou"
    c.log_every = 100
    c.pictures_every = 1_000_000  # this stage shows none

    return common.watched(c, warmup=200, watchdog=20.0)


def _group(optimizer: str, lr: float) -> ConfigDict:
    return ConfigDict(
        {
            "trained": True,
            "dtype": "float32",
            "optimizer": optimizer,
            "lr": lr,
            "schedule": "cosine",
            "warmup": 100,
            "b1": 0.95 if optimizer == "muon" else 0.9,
            "b2": 0.95,
            "weight_decay": 0.0,
            "clip": 1.0,
            "ema": 0.998,
            "layers_from": 0,
        }
    )
