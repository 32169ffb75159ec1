# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 1: the dual tokenizer. Semantic branch on the frozen, fused encoders; pixel branch; a decoder that reads both.

Full recipe (FOCUS Table 6 and section 3.5; what the paper leaves open follows the released ILLUME+ tokenizer):

    python -m focus_jax.convert import --format=qwen2_vl_vision --source=VISION.safetensors \
        --output=weights/vit.safetensors
    python -m focus_jax.convert import --format=convnext_classifier --source=pytorch_model.bin \
        --output=weights/convnext.safetensors
    python -m focus_jax.convert import --format=vgg16 --source=vgg16.pth --format=lpips_lin --source=vgg.pth \
        --output=weights/perceptual.safetensors
    python -m focus_jax.train --config=configs/stage1_tokenizer.py --workdir=gs://BUCKET/stage1 --distributed \
        --config.data.sources[0].path=/mnt/shards --config.data.validation[0].path=/mnt/shards

    /mnt/shards is a local or mounted folder (a bucket through gcsfuse) made by data_pipelines.prepare --buckets=512.
    Needs a slice whose devices divide the batch of 256; `python -m focus_jax.compile` prints what a device needs.
    Expected result: not trained at this size yet.

Tiny, on the world, two CPU cores (figures and how they were measured: docs/tiny.md); :long takes five times as long and
reads two presets:

    python -m focus_jax.train --config=configs/stage1_tokenizer.py:tiny --workdir=runs/stage1_tokenizer
"""

from ml_collections import ConfigDict

from configs import common, models, sharding
from data_pipelines import buckets

# Relative frequency of the 11 aspect ratios (ours: square pictures dominate web photographs; no paper gives them).
SHARES = dict(zip(buckets.ANCHORS_512, (4, 2, 2, 1, 1, 2, 2, 1, 1, 1, 1)))


def get_config(size: str = "full") -> ConfigDict:
    """Args: size: "full" (the paper's recipe), "tiny" (minutes on two cores) or "long" (tiny, for longer)."""
    if size not in ("full", "tiny", "long"):
        raise ValueError(f"configs/stage1_tokenizer.py:{size}: expected :full, :tiny or :long")
    if size != "long":
        return recipe(size, models.tokenizer(size))
    c = recipe("tiny", models.tokenizer("tiny"))
    c.name = "stage1_tokenizer:long"
    c.data.phases[0]["steps"] = 20_000
    drawn = c.data.sources[0] | {"name": "world_easy"}
    # Scenes of `standard` take longer to draw than a step takes; they are drawn once, at the first start.
    options = {"preset": "standard", "tasks": "objects", "train": 20_000, "held_out": 256}
    stored = drawn | {"name": "world_standard", "path": "data/world/standard", "options": options}
    c.data.sources = [drawn, stored]
    c.data.validation = [c.data.validation[0], stored]
    c.validate_every = c.checkpoint_every = c.pictures_every = 1_000
    c.validate_batches = 64  # all 512 scenes
    return c


def recipe(size: str, tokenizer: ConfigDict) -> ConfigDict:
    """The stage for a tokenizer of any branches and form (configs/ablations.py has others than the model's own)."""
    tiny, semantic = size == "tiny", "semantic" in tokenizer.branches
    focus = semantic and tokenizer.form == "focus"
    high = tokenizer.high if focus else 0
    c = ConfigDict()
    c.stage = "tokenizer"  # focus_jax/stages/tokenizer.py
    c.name = f"stage1_tokenizer:{size}"
    c.seed = 0
    c.compute_dtype = "float32" if tiny else "bfloat16"  # parameters, losses, norms and the quantiser stay float32

    c.model = ConfigDict()
    c.model.tokenizer = tokenizer
    c.model.discriminator = models.discriminator(size)
    c.model.perceptual = models.perceptual(size)

    c.loss = ConfigDict()
    c.loss.reconstruction = "l1"  # FOCUS 3.3; ILLUME+ used "l2"
    c.loss.weights = ConfigDict()  # perceptual and adversarial: with 0 their networks are not built
    c.loss.weights.reconstruction = 1.0  # this and the others: ILLUME+ tokenizer config
    c.loss.weights.pixel_quantiser = 1.0  # codebook + 0.25 commitment
    c.loss.weights.semantic = 1.0  # 1 - cosine with the frozen tower's features
    c.loss.weights.semantic_quantiser = 0.25 if tiny else 1.0  # tiny: more of its codes stay in use (docs/tiny.md)
    c.loss.weights.perceptual = 0.0 if tiny else 1.0  # LPIPS; tiny: no gain measured in minutes
    c.loss.weights.adversarial = 0.0 if tiny else 0.5  # also the weight of the discriminator's hinge loss
    c.loss.adversarial_from = 20_000  # step from which D and its gradient count
    c.loss.commitment = 0.25
    # Unquantised steps before the codebooks take the mean and covariance of their vectors; 0 = off, as for a tokenizer
    # that config.init brings.
    c.loss.codebook_start = 100 if tiny else 1_000
    # ILLUME+ at 256 px: a share `rate` of the pixel codes in a share `rows` of the pictures is another picture's.
    c.loss.pixel_drop = ConfigDict({"rate": 0.1, "rows": 0.1, "phases": 1})  # in the first phase alone

    # Where parts come from: a run directory, an Orbax step, a safetensors file with our paths, or "random".
    folder = "assets" if tiny else "weights"
    c.init = ConfigDict({"tokenizer": "random", "discriminator": "random"})
    c.init.perceptual = "random" if tiny else f"{folder}/perceptual.safetensors"
    if semantic:
        c.init["tokenizer/vit"] = f"{folder}/vit.safetensors"
    if focus:
        c.init["tokenizer/convnext"] = f"{folder}/convnext.safetensors"
    c.init_weights = "ema"  # from a run take EMA where there is one; "raw" switches
    c.alias = ConfigDict()  # names that are not leaves: {name: part they stand for}

    # Path patterns to groups, last match wins; groups below. Buffers (frozen codebook) are a group of their own.
    assign = [("tokenizer/pixel/.*", "pixel")]  # its decoder is there without pixel codes too
    if semantic:
        assign += [("tokenizer/semantic/.*", "semantic"), ("tokenizer/vit/.*", "frozen")]
    if focus:
        assign += [("tokenizer/fusion/.*", "semantic"), ("tokenizer/convnext/.*", "frozen")]
    if c.loss.weights.adversarial:
        assign += [("discriminator/.*", "discriminator")]
    if c.loss.weights.perceptual:
        assign += [("perceptual/.*", "frozen")]
    c.assign = tuple(assign)
    c.groups = ConfigDict()
    c.groups.pixel = _adam(lr=2.5e-3 if tiny else 2e-4, tiny=tiny, ema=0.99 if tiny else 0.0)  # 2e-4: FOCUS Table 6
    c.groups.semantic = _adam(lr=1.5e-3 if tiny else 1e-4, tiny=tiny, ema=0.99 if tiny else 0.0)  # 1e-4: FOCUS Table 6
    c.groups.discriminator = _adam(lr=1e-4, tiny=tiny, ema=0.0)  # ILLUME+
    c.groups.frozen = ConfigDict({"trained": False, "dtype": "float32"})

    c.mesh = ConfigDict({"dcn_data": 1, "data": 1, "fsdp": -1, "tensor": 1})  # -1: all devices that are left
    c.sharding = "fsdp"  # which of the tables: data, fsdp, fsdp_tensor
    c.axes = ConfigDict(sharding.TABLES)
    c.accumulate = 1  # micro-batches per step

    c.data = ConfigDict()
    if tiny:
        # Without a path the world is drawn as it is read; with the path of prepared data those are read.
        source = {"name": "world", "path": "", "reader": "world", "weight": 1.0, "options": {"preset": "easy"}}
        held_out = source | {"options": {"preset": "easy", "count": 256}}
        c.data.phases = [{"steps": 4_000, "streams": buckets.picture_streams([(64, 64)], 8, high=high)}]
    else:
        held_out = source = {"name": "pictures", "path": "data/pictures", "reader": "", "weight": 1.0}
        c.data.phases = [  # FOCUS 3.5: 136k steps at 256, 28k at 512, batch 256
            {
                "steps": 136_000,
                "streams": buckets.picture_streams(256, 256, dict(zip(buckets.ANCHORS_256, SHARES.values())), high),
            },
            {"steps": 28_000, "streams": buckets.picture_streams(512, 256, SHARES, high)},
        ]
    c.data.sources = [source]
    c.data.validation = [dict(held_out)]  # its validation split
    c.data.max_crop_loss = 0.2  # ILLUME+: a picture that loses more to the bucket's crop is left out
    c.data.flip = 0.0 if tiny else 0.5
    c.data.random_crop = not tiny
    c.data.workers = 0 if tiny else 8  # Grain processes; 0 = threads in this one
    c.data.threads = 2 if tiny else 16
    c.data.prefetch = 8
    c.data.verify = "auto"  # checksums of shards at first open: auto (up to 256 MiB), always, never
    c.data.bad_record_budget = 0 if tiny else 1_000  # substitutes over a whole run before all hosts stop

    c.validate_every = 500 if tiny else 2_000
    c.validate_batches = 32 if tiny else 16  # tiny: all 256 scenes
    c.validate_weights = "ema"  # of groups that keep one; else raw
    c.checkpoint_every = 500 if tiny else 1_000
    c.checkpoint_keep = 2
    c.best = "psnr"  # highest wins
    c.log_every = 50 if tiny else 100
    c.pictures_every = 500 if tiny else 2_000

    return common.watched(c)


def _adam(lr: float, tiny: bool, ema: float) -> ConfigDict:
    """AdamW without decay is Adam: betas and clip of the ILLUME+ tokenizer; constant rate (FOCUS 3.5), tiny: cosine."""
    return ConfigDict(
        {
            "trained": True,
            "dtype": "float32",
            "optimizer": "adamw",
            "lr": lr,
            "schedule": "cosine" if tiny else "constant",
            "warmup": 50 if tiny else 0,
            "b1": 0.9,
            "b2": 0.95,
            "weight_decay": 0.0,
            "clip": 1.0,  # global norm of this group's gradients
            "ema": ema,  # decay; 0 = none kept
            "layers_from": 0,  # of a scanned stack only layers from here on train
        }
    )
