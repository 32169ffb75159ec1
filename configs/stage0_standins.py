# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0: tiny stand-ins for the public weights that a full-size run starts from, trained on the world.

    python -m focus_jax.train --config=configs/stage0_standins.py:vit --workdir=runs/standins/vit
    python -m focus_jax.train --config=configs/stage0_standins.py:convnext --workdir=runs/standins/convnext

`make standins` does both and evaluates them; what they reach and how long it takes is in docs/tiny.md. There is no full
size: those weights are imported (python -m focus_jax.convert import).
"""

from ml_collections import ConfigDict

from configs import common, models, sharding

# Picture size, batch, learning rate, steps, and the maps that tell what stands where, by encoder.
ENCODERS = {
    "vit": dict(side=64, batch=32, lr=1.5e-3, steps=9_000, maps=("patches", "merged")),
    "convnext": dict(side=128, batch=16, lr=2e-3, steps=5_000, maps=("res3", "res4", "res5")),
}


def get_config(encoder: str = "vit") -> ConfigDict:
    """Args: encoder: "vit" or "convnext"."""
    if encoder not in ENCODERS:
        raise ValueError(f"configs/stage0_standins.py:{encoder}: expected one of :{', :'.join(ENCODERS)}")
    size = ENCODERS[encoder]
    c = ConfigDict()
    c.stage = "standins"  # focus_jax/stages/standins.py
    c.name = f"standins:{encoder}"
    c.seed = 0
    c.compute_dtype = "float32"
    c.encoder = encoder
    c.model = ConfigDict({encoder: getattr(models, encoder)("tiny")})

    c.loss = ConfigDict()
    c.loss.object_maps = size["maps"]
    c.loss.masked_share = 0.25  # of the pictures; they count for the masked term alone
    c.loss.masked_cells = 0.4  # of the 8 x 8 cells of such a picture
    c.loss.weights = ConfigDict(
        dict(shape=1.0, colour=0.5, size=0.5, material=0.5, centre=1.0, box=0.5, count=0.2, look=0.5, masked=0.25)
    )

    c.init = ConfigDict({f"tokenizer/{encoder}": "random", "heads": "random"})
    c.init_weights = "ema"
    c.alias = ConfigDict()
    c.assign = ((f"tokenizer/{encoder}/.*", "encoder"), ("heads/.*", "encoder"))
    c.groups = ConfigDict()
    c.groups.encoder = ConfigDict(
        {
            "trained": True,
            "dtype": "float32",
            "optimizer": "adamw",
            "lr": size["lr"],
            "schedule": "cosine",
            "warmup": 200,
            "b1": 0.9,
            "b2": 0.98,
            "weight_decay": 0.02,
            "clip": 1.0,
            "ema": 0.999,
            "layers_from": 0,
        }
    )

    c.mesh = ConfigDict({"dcn_data": 1, "data": 1, "fsdp": -1, "tensor": 1})
    c.sharding = "data"
    c.axes = ConfigDict(sharding.TABLES)
    c.accumulate = 1

    world = lambda preset, weight: {
        "name": f"world_{preset}",
        "path": f"data/world/{preset}",  # drawn once, at the first start
        "reader": "world",
        "weight": weight,
        "options": {"preset": preset, "tasks": "objects", "train": 20_000, "held_out": 256},
    }
    stream = {
        "shape_class": "objects",
        "height": size["side"],
        "width": size["side"],
        "batch_size": size["batch"],
        "share": 1,
    }
    c.data = ConfigDict()
    c.data.phases = [{"steps": size["steps"], "streams": [stream]}]
    c.data.sources = [world("easy", 1.0), world("standard", 2.0)]
    c.data.validation = [world("easy", 1.0), world("standard", 1.0)]
    c.data.max_crop_loss = 0.0
    c.data.flip = 0.0
    c.data.random_crop = False
    c.data.workers = 1
    c.data.threads = 1
    c.data.prefetch = 16
    c.data.verify = "auto"
    c.data.bad_record_budget = 0

    c.validate_every = 1_000
    c.validate_batches = 32
    c.validate_weights = "ema"
    c.checkpoint_every = 500
    c.checkpoint_keep = 1
    c.best = "shape"
    c.log_every = 100
    c.pictures_every = 1_000_000  # this stage shows none

    return common.watched(c, warmup=200, watchdog=20.0)
