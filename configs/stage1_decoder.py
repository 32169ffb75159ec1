# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 1b: the diffusion decoder. SDXL's UNet learns to draw a picture from its codes, at their size and at twice it.

Full recipe (FOCUS Table 6; steps split between the phases are ours):

    python -m focus_jax.convert import --format=sdxl_unet --source=unet/diffusion_pytorch_model.safetensors \
        --output=weights/unet.safetensors
    python -m focus_jax.convert import --format=sdxl_vae --source=vae/diffusion_pytorch_model.safetensors \
        --output=weights/vae.safetensors
    python -m focus_jax.train --config=configs/stage1_decoder.py --workdir=gs://BUCKET/decoder --distributed \
        --config.data.sources[0].path=/mnt/shards --config.data.validation[0].path=/mnt/shards

    /mnt/shards is made by data_pipelines.prepare --buckets=1024. The tokenizer comes from stage 1; codes and latents
    are made as pictures come. Needs a slice whose devices divide 128 rows; `python -m focus_jax.compile` prints what a
    device needs. Expected result: not trained at this size yet.

    The same from codes and latents that are stored, at both shares of the pictures' sides (:stored), with neither
    tokenizer nor encoder in the step, and without flips and random crops:

    python -m data_pipelines.prepare codes --tokenizer=runs/stage1_tokenizer --latents=weights/vae.safetensors \
        --source=/mnt/shards --output=data/codes_1 --buckets=512
    python -m data_pipelines.prepare codes --tokenizer=runs/stage1_tokenizer --latents=weights/vae.safetensors \
        --source=/mnt/shards --output=data/codes_half_512 --buckets=512 --tokens=0.5
    python -m data_pipelines.prepare codes --tokenizer=runs/stage1_tokenizer --latents=weights/vae.safetensors \
        --source=/mnt/shards --output=data/codes_half_1024 --buckets=1024 --tokens=0.5

Tiny, on the world, two CPU cores; :long takes longer. Expected result: docs/tiny.md, stage 1b:

    python -m focus_jax.train --config=configs/stage1_decoder.py:tiny --workdir=runs/stage1_decoder
"""

from ml_collections import ConfigDict

from configs import common, models, sharding
from configs.stage1_tokenizer import SHARES
from data_pipelines import buckets

TOKENS = (1.0, 0.5)  # shares of a picture's sides at which it is tokenized


def get_config(size: str = "full") -> ConfigDict:
    """Args: size: "full" (the paper's recipe), "stored" (the same from stored codes and latents), "tiny" (minutes on
    two cores) or "long" (tiny, for longer)."""
    if size not in ("full", "stored", "tiny", "long"):
        raise ValueError(f"configs/stage1_decoder.py:{size}: expected :full, :stored, :tiny or :long")
    tiny, stored = size in ("tiny", "long"), size == "stored"
    sizes = "tiny" if tiny else "full"
    c = ConfigDict()
    c.stage = "decoder"  # focus_jax/stages/decoder.py
    c.name = f"stage1_decoder:{size}"
    c.seed = 0
    c.compute_dtype = "float32" if tiny else "bfloat16"

    c.model = ConfigDict()
    c.model.tokenizer = models.tokenizer(sizes)
    c.model.vae = models.vae(sizes)
    c.model.unet = models.unet(sizes, c.model.tokenizer.semantic_dim + c.model.tokenizer.pixel.code_dim)
    c.model.schedule = models.schedule(sizes)
    c.model.decoder = models.decoder(sizes)
    c.loss = models.diffusion_loss(sizes)

    folder = "assets" if tiny else "weights"
    c.init = ConfigDict({"tokenizer": "assets/tokenizer.safetensors" if tiny else "runs/stage1_tokenizer"})
    c.init.update({name: f"{folder}/{name}.safetensors" for name in ("vae", "unet")})
    c.init_weights = "ema"
    c.alias = ConfigDict()
    c.assign = (("(tokenizer|vae)/.*", "frozen"), ("unet/.*", "unet"))
    c.groups = ConfigDict()
    c.groups.frozen = ConfigDict({"trained": False, "dtype": "float32"})  # codes and latents are those of other stages
    c.groups.unet = _group("adamw", 1e-3 if tiny else 2e-5, tiny)
    if tiny:
        c.assign += (("unet/.*/kernel", "matrices"),)
        c.groups.matrices = _group("muon", 5e-3, tiny)

    c.mesh = ConfigDict({"dcn_data": 1, "data": 1, "fsdp": -1, "tensor": 1})
    c.sharding = "fsdp"
    c.axes = ConfigDict(sharding.TABLES)
    c.accumulate = 1

    c.data = ConfigDict()
    high = c.model.tokenizer.high
    if tiny:
        # The figures are of 64 px; twice the codes' size is there to be seen.
        once = buckets.picture_streams([(64, 64)], 16, 3, high)
        twice = [s | {"tokens": 0.5} for s in buckets.picture_streams([(128, 128)], 4, 1, high)]
        c.data.phases = [{"steps": 1_200 if size == "tiny" else 3_000, "streams": once + twice}]
        source = {"name": "world", "path": "", "reader": "world", "weight": 1.0, "options": {"preset": "easy"}}
        held_out = source | {"options": {"preset": "easy", "count": 256}}
    else:
        held_out = source = {"name": "pictures", "path": "data/pictures", "reader": "", "weight": 1.0}
        at_512 = [s | {"tokens": share} for share in TOKENS for s in buckets.picture_streams(512, 128, SHARES, high)]
        shares = dict(zip(buckets.ANCHORS_1024, SHARES.values()))
        at_1024 = [s | {"tokens": 0.5} for s in buckets.picture_streams(1024, 128, shares, high)]
        if stored:
            made = lambda s: models.latents_stream(
                c.model.tokenizer, c.model.vae, (s["height"], s["width"]), s["batch_size"], s["share"], s["tokens"]
            )
            at_512, at_1024 = [made(s) for s in at_512], [made(s) for s in at_1024]
        c.data.phases = [{"steps": 150_000, "streams": at_512}, {"steps": 70_000, "streams": at_1024}]
    names = {"codes_1": [0], "codes_half_512": [0], "codes_half_1024": [1]} if stored else {}
    named = [source | {"name": name, "path": f"data/{name}", "phases": phases} for name, phases in names.items()]
    c.data.sources = named or [source]
    c.data.validation = [dict(one) for one in c.data.sources] if stored else [dict(held_out)]
    c.data.max_crop_loss = 0.2
    c.data.flip = 0.0 if tiny or stored else 0.5
    c.data.random_crop = not tiny and not stored
    c.data.workers = 0 if tiny else 16
    c.data.threads = 2 if tiny else 16
    c.data.prefetch = 8
    c.data.verify = "auto"
    c.data.bad_record_budget = 0 if tiny else 1_000

    c.validate_every = 500 if tiny else 2_000
    c.validate_batches = 16
    c.validate_weights = "ema"
    c.checkpoint_every = 500 if tiny else 1_000
    c.checkpoint_keep = 2
    c.best = "accuracy"
    c.log_every = 50 if tiny else 100
    c.pictures_every = 500 if tiny else 2_000

    return common.watched(c)


def _group(optimizer: str, lr: float, tiny: bool) -> ConfigDict:
    return ConfigDict(
        {
            "trained": True,
            "dtype": "float32",
            "optimizer": optimizer,
            "lr": lr,
            "schedule": "cosine" if tiny else "constant",
            "warmup": 50 if tiny else 0,
            "b1": 0.95 if optimizer == "muon" else 0.9,
            "b2": 0.95 if tiny else 0.999,
            "weight_decay": 0.0,
            "clip": 1.0,
            "ema": 0.998 if tiny else 0.9999,
            "layers_from": 0,
        }
    )
