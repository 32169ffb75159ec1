# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0: tiny stand-ins for the public SDXL that a full-size decoder starts from, trained on the world.

    python -m focus_jax.train --config=configs/stage0_decoder.py:vae --workdir=runs/standins/vae
    python -m focus_jax.train --config=configs/stage0_decoder.py:unet --workdir=runs/standins/unet

vae: the autoencoder. unet: a diffusion model of pictures of the world, four input channels and no codes, as SDXL knows
pictures before it is shown codes; it starts from assets/vae.safetensors. There is no full size: those weights are
imported (python -m focus_jax.convert import --format=sdxl_unet).
"""

from ml_collections import ConfigDict

from configs import common, models, sharding
from data_pipelines import buckets

STEPS = {"vae": 3_000, "unet": 2_500}


def get_config(network: str = "vae") -> ConfigDict:
    """Args: network: "vae" or "unet"."""
    if network not in STEPS:
        raise ValueError(f"configs/stage0_decoder.py:{network}: expected :{' or :'.join(STEPS)}")
    drawn = network == "unet"
    c = ConfigDict()
    c.stage = "decoder" if drawn else "autoencoder"  # focus_jax/stages
    c.name = f"standins:{network}"
    c.seed = 0
    c.compute_dtype = "float32"
    c.model = ConfigDict({"vae": models.vae("tiny")})
    c.loss = ConfigDict({"weights": {"reconstruction": 1.0, "divergence": 1e-6}})
    c.init = ConfigDict({network: "random"})
    c.assign = ((f"{network}/.*", "rest"), (f"{network}/.*/kernel", "matrices"))
    c.groups = ConfigDict()
    if drawn:
        c.model.unet, c.model.schedule = models.unet("tiny", 0), models.schedule("tiny")
        c.model.decoder = models.decoder("tiny")
        c.loss = models.diffusion_loss("tiny")
        c.loss.drop = ConfigDict({"all": 0.0, "semantic": 0.0, "pixel": 0.0})
        c.init.vae = "assets/vae.safetensors"
        c.assign += (("vae/.*", "frozen"),)
        c.groups.frozen = ConfigDict({"trained": False, "dtype": "float32"})
    c.init_weights = "ema"
    c.alias = ConfigDict()
    c.groups.rest = _group("adamw", 2e-3)
    c.groups.matrices = _group("muon", 0.01)

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
    c.data = ConfigDict()
    c.data.phases = [{"steps": STEPS[network], "streams": buckets.picture_streams([(64, 64)], 16)}]
    c.data.sources = [world("easy", 1.0), world("standard", 1.0)]
    c.data.validation = [world("easy", 1.0)]
    c.data.max_crop_loss = 0.0
    c.data.flip = 0.0
    c.data.random_crop = False
    c.data.workers = 0
    c.data.threads = 2
    c.data.prefetch = 8
    c.data.verify = "auto"
    c.data.bad_record_budget = 0

    c.validate_every = 1_000
    c.validate_batches = 16
    c.validate_weights = "ema"
    c.checkpoint_every = 500
    c.checkpoint_keep = 1
    c.best = "accuracy" if drawn else "psnr"
    c.log_every = 100
    c.pictures_every = 1_000

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
            "ema": 0.999,
            "layers_from": 0,
        }
    )
