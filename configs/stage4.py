# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 4: instruction tuning for editing; what is meant is marked, and the diffusion decoder draws under the mask
(FOCUS 3.4 and 3.5).

Full recipe (Tables 5 and 6, one epoch of 9.5M examples):

    python -m data_pipelines.prepare instruct_pix2pix --source=clip-filtered-dataset --output=data/instruct_pix2pix \
        --buckets=512
    python -m focus_jax.train --config=configs/stage4.py --workdir=gs://BUCKET/stage4 --distributed \
        --config.init.llm=gs://BUCKET/stage3 --config.init.unet=gs://BUCKET/decoder

    configs/mixtures.py names the data. Needs a slice whose devices divide 256 rows; `python -m focus_jax.compile`
    prints what a device needs. Expected result: not trained at this size yet.

Tiny, on the world, two CPU cores; :long takes longer. It starts from what assets/ ships of the stages before:

    python -m focus_jax.train --config=configs/stage4.py:tiny --workdir=runs/stage4
"""

from ml_collections import ConfigDict

from configs import common, mixtures, models, sharding
from configs.stage1_tokenizer import SHARES
from configs.stage3 import LEARNT, group
from data_pipelines import buckets

STEPS = 37_000  # 9.5M examples once, 256 at a time


def get_config(size: str = "full") -> ConfigDict:
    """Args: size: "full" (the paper's recipe), "tiny" (minutes on two cores) or "long" (tiny, for longer)."""
    if size not in ("full", "tiny", "long"):
        raise ValueError(f"configs/stage4.py:{size}: expected :full, :tiny or :long")
    tiny, sizes = size != "full", "full" if size == "full" else "tiny"
    c = ConfigDict()
    c.stage = "editing"  # focus_jax/stages/editing.py
    c.name = f"stage4:{size}"
    c.seed = 0
    c.compute_dtype = "float32" if tiny else "bfloat16"

    c.model = models.understanding(sizes)
    c.model.mask_pixel_decoder = models.mask_pixel_decoder(sizes)
    c.model.mask_decoder = models.mask_decoder(sizes)
    c.model.mask_decoder.embedding = 32 if tiny else 256
    c.model.vae = models.vae(sizes)
    c.model.unet = models.unet(sizes, c.model.tokenizer.semantic_dim + c.model.tokenizer.pixel.code_dim)
    c.model.schedule, c.model.decoder = models.schedule(sizes), models.decoder(sizes)
    c.model.mask_guidance = models.mask_guidance(sizes)
    c.model.source_cells = True  # ours: codes are written beside what the source shows (models/source_cells.py)
    c.loss = models.editing_loss(sizes)
    c.sampling = models.sampling(sizes)

    if tiny:
        c.init = ConfigDict({"tokenizer": "assets/tokenizer.safetensors"})
        c.init.update({part: "assets/stage3.safetensors" for part in LEARNT})
        c.init.source_cells = "random"  # the shipped stage 3 was taught without
        c.init.update({"vae": "assets/vae.safetensors", "unet": "assets/decoder.safetensors"})
    else:
        c.init = ConfigDict({"tokenizer": "runs/stage1_tokenizer"} | dict.fromkeys(LEARNT, "runs/stage3"))
        c.init.update({"vae": "weights/vae.safetensors", "unet": "runs/stage1_decoder"})
    c.init.mask_guidance = "random"
    c.init_weights = "ema"
    c.alias = ConfigDict({"vit": "tokenizer/vit", "convnext": "tokenizer/convnext", "pixel_encoder": "tokenizer/pixel"})
    c.assign = (
        ("(tokenizer|vae|unet)/.*", "frozen"),
        ("unet/[^/]*_attn_[^/]*/.*(attn2|norm2)/.*", "masks"),  # residual blocks have a norm2, too
        ("(llm|fusion_mlp|projector|adapter|mask_tokens)/.*", "llm"),
        ("(mask_pixel_decoder|mask_decoder)/.*", "masks"),
        ("mask_guidance/.*", "mask_guidance"),
        ("source_cells/.*", "source_cells"),
    )
    c.groups = ConfigDict({"frozen": ConfigDict({"trained": False, "dtype": "float32"})})
    if tiny:
        c.assign += (("mask_pixel_decoder/.*", "frozen"), ("(llm|fusion_mlp|projector|adapter)/.*/kernel", "matrices"))
        c.assign += (("unet/[^/]*_attn_[^/]*/.*(attn2|norm2)/.*", "drawing"),)
        c.assign += (("unet/.*/attn2/(q|k|v|out)", "drawing_matrices"),)
        c.assign += (("llm/embedding/rows", "rows"),)
        c.groups.llm = group("adamw", 5e-4)
        c.groups.matrices = group("muon", 2e-3)
        c.groups.rows = group("adamw", 2e-3)
        c.groups.masks = group("adamw", 2e-4)
        # The stand-in's attn2 never read anything: to find its own cell has to be learnt from some thousand removals.
        c.groups.drawing = group("adamw", 2e-3)
        c.groups.drawing_matrices = group("muon", 2e-2)
        c.groups.mask_guidance = group("adamw", 5e-2)
        c.groups.source_cells = group("muon", 2e-2)
    else:  # Table 6; mask_guidance and source_cells are new and learn as new things do in the stages before
        c.groups.llm = group("adamw", 2e-5)
        c.groups.masks = group("adamw", 2e-6)
        c.groups.mask_guidance = group("adamw", 1e-3)
        c.groups.source_cells = group("adamw", 1e-3)
    for one in c.groups.values():
        if one.trained:
            one.update(schedule="cosine" if tiny else "constant", warmup=50 if tiny else 0, ema=0.998 if tiny else 0.0)

    c.mesh = ConfigDict({"dcn_data": 1, "data": 1, "fsdp": -1, "tensor": 1})
    c.sharding = "fsdp"
    c.axes = ConfigDict(sharding.TABLES)
    c.accumulate = 1

    c.data = ConfigDict()
    if tiny:
        side, of = (64, 64), lambda rows, share, **more: dict(size="tiny", bucket=side, rows=rows, share=share, **more)
        streams = [
            models.language_stream("tiny", side, rows=8, share=1, length=304, learnt=64, pack=1, images=1),
            models.masks_stream(**of(16, 1), length=208, learnt=24),
            models.masks_stream(**of(8, 1), length=208, learnt=24, shape_class="clips"),
            models.generation_stream(**of(16, 2), length=176, learnt=104),
            models.masks_stream(**of(12, 7), length=288, learnt=120, shape_class="editing"),
        ]
        c.data.phases = [{"steps": 900 if size == "tiny" else 6_000, "streams": streams}]
        world = mixtures.world
        masks = lambda task, weight, **more: world(task, weight, "masks", shape_class="segmentation", **more)
        edits = lambda task, weight, **more: world(task, weight, shape_class="editing", **more)
        c.data.sources = [
            *(world("questions", 0.8, shape_class="language"), world("caption", 0.2, shape_class="language")),
            *(masks("referring", 0.65), masks("reasoning", 0.1), masks("regions", 0.1), masks("panoptic", 0.15)),
            *(world("clip", 1.0, shape_class="clips"), world("caption", 1.0, shape_class="generation")),
            *(edits("edit", 0.45), edits("removal", 0.4), edits("absent_edit", 0.15)),
        ]
        for source in c.data.sources:
            source["name"] += f"_{source['shape_class']}"
        c.data.validation = [edits("edit", 1.0, count=96), masks("referring", 1.0, count=64)]
        c.data.validation.append(world("questions", 1.0, shape_class="language", count=64))
        c.data.validation.append(world("clip", 1.0, shape_class="clips", count=16))
        c.data.validation.append(world("caption", 1.0, shape_class="generation", count=32))
    else:
        c.data.phases = [{"steps": STEPS, "streams": _streams(256)}]
        for shape_class, mixture, kept in (
            ("language", mixtures.STAGE4_WORDS, mixtures.STAGE3_WORDS),
            ("segmentation", mixtures.STAGE4_MASKS, mixtures.STAGE3_MASKS),
            ("clips", mixtures.STAGE4_CLIPS, mixtures.STAGE3_CLIPS),
            ("editing", mixtures.STAGE4_EDITS, mixtures.STAGE3_EDITS),
            ("generation", mixtures.DRAWN, mixtures.DRAWN),
        ):
            c.data.sources = (*c.data.get("sources", ()), *mixtures.sources(
                mixtures.blended(mixture, kept), shape_class=shape_class
            ))  # fmt: skip
        c.data.sources = list(c.data.sources)
        c.data.validation = mixtures.sources({"instruct_pix2pix": 1.0}, shape_class="editing")
    common.reads_words(c.data, tiny)

    c.validate_every = 450 if tiny else 2_000
    c.validate_batches = 32
    c.validate_weights = "ema" if tiny else "raw"
    c.checkpoint_every = 300 if tiny else 1_000
    c.checkpoint_keep = 2
    c.best = "mask_iou"
    c.log_every = 50 if tiny else 100
    c.pictures_every = 1_000_000  # this stage shows none

    return common.watched(c)


def _streams(rows: int) -> list[dict]:
    """By examples in Table 5: edits 4M of pictures, half of them drawn at twice their codes' size, 1.7M conversations
    about pictures and 1.3M without, 0.7M of masks and 1.8M of clips; beside them a tenth as many captions as edits."""
    shares = dict(zip(buckets.ANCHORS_512, SHARES.values()))
    row = dict(length=2_816, learnt=512)
    edit = dict(rows=rows, length=3_200, learnt=1_536, shape_class="editing")
    # Two pictures of 1,404 positions; what M4-Instruct says of more is left out and counted.
    talk = dict(length=3_200, learnt=768, pack=2, images=2)
    out = []
    for bucket, share in shares.items():
        out.append(models.masks_stream("full", bucket, rows=rows, share=7 * share, **row))
        out.append(models.masks_stream("full", bucket, rows=rows, share=18 * share, shape_class="clips", **row))
        out += [models.masks_stream("full", bucket, share=20 * share, scale=scale, **edit) for scale in (1, 2)]
        out.append(models.language_stream("full", bucket, rows=rows, share=17 * share, **talk))
        out.append(models.generation_stream("full", bucket, rows=rows, share=4 * share, length=1_792, learnt=1_536))
    return [*out, models.text_stream("full", rows, share=13 * sum(shares.values()), length=2_816, pack=4)]
