# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 3: the language model learns on, what it says of a picture becomes masks, and it says pictures (FOCUS sections
3.3 and 3.5).

Full recipe (Tables 5 and 6). Not here yet: the switch that trains the upper layers of the vision tower.

    python -m focus_jax.convert import --format=mask2former --source=MASK2FORMER/model.safetensors \
        --output=weights/mask2former.safetensors
    python -m data_pipelines.prepare refer --source=REFER --images=COCO/train2014 --output=data/refcoco --buckets=512
    python -m focus_jax.train --config=configs/stage3.py --workdir=gs://BUCKET/stage3 --distributed \
        --config.init.tokenizer=gs://BUCKET/stage1

    configs/mixtures.py names the data. Needs a slice whose devices divide 128 rows; `python -m focus_jax.compile`
    prints what a device needs. Expected result: not trained at this size yet.

Tiny, on the world, two CPU cores; :long takes longer. Expected result: docs/tiny.md, stage 3. It starts from
assets/masks.safetensors, which configs/stage0_masks.py makes:

    python -m focus_jax.train --config=configs/stage3.py:tiny --workdir=runs/stage3

:drawing goes on from runs/long/stage3, which :long makes: 7,500 steps, 80 minutes, after which pictures are drawn as
captions say. :editing goes on from runs/long/stage3_drawing, which that makes: 2,400 steps, after which what is edited
comes back as it was but for what was asked.
"""

from ml_collections import ConfigDict

from configs import common, mixtures, models, sharding
from configs.stage1_tokenizer import SHARES
from data_pipelines import buckets

# (side, steps, rows) of the two phases: the 43M examples of Table 5 once at 256 px and twice at 512; rows as Appendix D
# says.
FULL = ((256, 168_000, 256), (512, 672_000, 128))
LEARNT = (
    *("llm", "fusion_mlp", "projector", "adapter"),
    *("mask_tokens", "mask_pixel_decoder", "mask_decoder", "source_cells"),
)
SIZES = ("full", "tiny", "long", "drawing", "editing")


def get_config(size: str = "full") -> ConfigDict:
    """Args: size: "full" (the paper's recipe), "tiny" (minutes on two cores), "long" (tiny, for longer), "drawing"
    (what :long has learnt goes on, above all with pictures that are written) or "editing" (what :drawing has learnt
    goes on, above all with pictures that are edited, or only given back)."""
    if size not in SIZES:
        raise ValueError(f"configs/stage3.py:{size}: expected :{', :'.join(SIZES)}")
    tiny, sizes = size != "full", "full" if size == "full" else "tiny"
    c = ConfigDict()
    c.stage = "multimodal"  # focus_jax/stages/multimodal.py
    c.name = f"stage3:{size}"
    c.seed = 0
    c.compute_dtype = "float32" if tiny else "bfloat16"

    c.model = models.understanding(sizes)
    c.model.mask_pixel_decoder = models.mask_pixel_decoder(sizes)
    c.model.mask_decoder = models.mask_decoder(sizes)
    c.model.mask_decoder.embedding = 32 if tiny else 256
    c.model.source_cells = True  # ours: codes are written beside what the source shows (models/source_cells.py)

    c.loss = models.mask_loss(sizes)
    c.sampling = models.sampling(sizes)
    c.loss.text_mode = False  # codes are words too
    # How long rows of codes begin, as the codes' vectors, beside words' (stages/drawing.py, begun); 0: as they are.
    c.loss.codes_start = 0.0
    c.loss.levels_apart = False  # words and the codes of each level with a softmax each, as answers are decoded
    c.loss.weights.update(text=1.0 if not tiny else 4.0, semantic=1.0, pixel=1.0, follow=2.0, latent=1.0)

    if tiny:
        c.init = ConfigDict({"tokenizer": "assets/tokenizer.safetensors", "llm": "assets/llm.safetensors"})
        c.init.update({part: "assets/stage2.safetensors" for part in ("fusion_mlp", "projector", "adapter")})
        masks_from = "assets/masks.safetensors"
    else:
        c.init = ConfigDict({"tokenizer": "runs/stage1_tokenizer", "llm": "weights/llm.safetensors"})
        c.init.update({part: "runs/stage2" for part in ("fusion_mlp", "projector", "adapter")})
        masks_from = "weights/mask2former.safetensors"
    c.init.update({part: masks_from for part in ("mask_pixel_decoder", "mask_decoder/decoder")})
    c.init.update({part: "random" for part in ("mask_decoder", "mask_tokens")})  # what joins it to the language model
    c.init.source_cells = "random"
    c.init_weights = "ema"
    # The understanding path has no encoders of its own: these names stand for the tokenizer's.
    c.alias = ConfigDict({"vit": "tokenizer/vit", "convnext": "tokenizer/convnext", "pixel_encoder": "tokenizer/pixel"})
    c.assign = (
        ("tokenizer/.*", "tokenizer"),
        ("(llm|fusion_mlp|projector|adapter)/.*", "llm"),
        ("mask_tokens/.*", "mask_tokens"),
        ("source_cells/.*", "source_cells"),
        ("(mask_pixel_decoder|mask_decoder)/.*", "masks"),
    )
    c.groups = ConfigDict()
    c.groups.tokenizer = ConfigDict({"trained": False, "dtype": "float32"})
    if tiny:
        c.assign += (("(llm|fusion_mlp|projector|adapter)/.*/kernel", "llm_matrices"),)
        c.assign += (("mask_decoder/.*/kernel", "mask_matrices"),)
        # Half of the time of a step, and it finds the world's things as it comes.
        c.assign += (("mask_pixel_decoder/.*", "tokenizer"),)
        c.groups.llm = group("adamw", 5e-4)
        c.groups.llm_matrices = group("muon", 2e-3)
        c.groups.mask_tokens = group("adamw", 2e-3)
        c.groups.masks = group("adamw", 2e-3)
        c.groups.mask_matrices = group("muon", 0.01)
        c.groups.source_cells = group("muon", 0.02)
    else:  # Table 6; the clip of 0.01 is Mask2Former's own
        c.groups.llm = group("adamw", 2e-5)
        c.groups.mask_tokens = group("adamw", 1e-3)
        c.groups.masks = group("adamw", 1e-3, clip=0.01)
        c.groups.source_cells = group("adamw", 1e-3)
    for one in c.groups.values():
        if one.trained:
            one.update(schedule="cosine" if tiny else "constant", warmup=50 if tiny else 0, ema=0.998 if tiny else 0.0)

    c.mesh = ConfigDict({"dcn_data": 1, "data": 1, "fsdp": -1, "tensor": 1})
    c.sharding = "fsdp"
    c.axes = ConfigDict(sharding.TABLES)
    c.accumulate = 1

    masks = lambda task, weight, **more: mixtures.world(task, weight, "masks", shape_class="segmentation", **more)
    words = lambda task, weight, **more: mixtures.world(task, weight, shape_class="language", **more)
    c.data = ConfigDict()
    if tiny:
        streams = [
            models.language_stream("tiny", (64, 64), rows=8, share=1, length=304, learnt=64, pack=1, images=1),
            models.masks_stream("tiny", (64, 64), rows=16, share=3, length=208, learnt=24),
            models.masks_stream("tiny", (64, 64), rows=8, share=1, length=208, learnt=24, shape_class="clips"),
            models.generation_stream("tiny", (64, 64), rows=16, share=1, length=176, learnt=104),
            models.masks_stream("tiny", (64, 64), rows=8, share=1, length=288, learnt=112, shape_class="editing"),
        ]
        c.data.phases = [{"steps": 1_500 if size == "tiny" else 6_000, "streams": streams}]
        c.data.sources = [
            *(words("questions", 0.8), words("caption", 0.2)),
            *(masks("referring", 0.65), masks("reasoning", 0.1), masks("regions", 0.1), masks("panoptic", 0.15)),
            mixtures.world("clip", 1.0, shape_class="clips"),
            mixtures.world("caption", 1.0, shape_class="generation"),
            mixtures.world("edit", 1.0, shape_class="editing"),
        ]
        c.data.validation = [words("questions", 1.0, count=128)]
        c.data.validation += [masks(task, 1.0, count=64) for task in ("referring", "regions", "panoptic")]
        c.data.validation.append(mixtures.world("clip", 1.0, shape_class="clips", count=32))
        c.data.validation.append(mixtures.world("caption", 1.0, shape_class="generation", count=64))
        c.data.validation.append(mixtures.world("edit", 1.0, shape_class="editing", count=32))
    else:
        c.data.phases = [{"steps": steps, "streams": _streams(side, rows)} for side, steps, rows in FULL]
        c.data.sources = mixtures.sources(mixtures.STAGE3_WORDS, shape_class="language")
        c.data.sources += mixtures.sources(mixtures.STAGE3_MASKS, shape_class="segmentation")
        c.data.sources += mixtures.sources(mixtures.STAGE3_CLIPS, shape_class="clips")
        c.data.sources += mixtures.sources(mixtures.STAGE3_EDITS, shape_class="editing")
        c.data.sources += mixtures.sources(mixtures.DRAWN, shape_class="generation")
        c.data.validation = mixtures.sources({"refcoco": 1.0}, shape_class="segmentation")
    common.reads_words(c.data, tiny)

    c.validate_every = 300 if tiny else 2_000
    c.validate_batches = 32
    c.validate_weights = "ema" if tiny else "raw"
    c.checkpoint_every = 300 if tiny else 1_000
    c.checkpoint_keep = 2
    c.best = "mask_iou"
    c.log_every = 50 if tiny else 100
    c.pictures_every = 1_000_000  # this stage shows none
    if size == "drawing":
        _drawing(c)
    elif size == "editing":
        _editing(c)

    return common.watched(c)


def _goes_on(c: ConfigDict, run: str, **rates: float) -> None:
    """Changes :tiny to what goes on from a run that had no source_cells, with a group for rows of the vocabulary; masks
    learn slower than they did. rates: of groups."""
    c.init = ConfigDict({"tokenizer": c.init.tokenizer} | dict.fromkeys(LEARNT, run))
    c.init.source_cells = "random"
    c.loss.levels_apart = True
    c.loss.weights.update(pixel=2.0, latent=0.1)  # what is drawn hangs on pixel codes; beside text's 4
    c.assign += (("llm/embedding/rows", "rows"),)
    c.groups.rows = ConfigDict(c.groups.llm.to_dict())
    for name, rate in (dict(mask_tokens=5e-4, masks=5e-4, mask_matrices=2e-3) | rates).items():
        c.groups[name].lr = rate


def _drawing(c: ConfigDict) -> None:
    """Changes :tiny to what goes on from :long. Rows of codes begin anew, as the codes' vectors, and find their place
    before what reads them moves; questions are asked often, for they are what is forgotten first."""
    _goes_on(c, "runs/long/stage3", rows=3e-3, llm_matrices=3e-3)
    c.loss.codes_start, c.loss.weights.semantic = 0.3, 2.0
    for name in ("llm", "llm_matrices"):
        c.groups[name].update(begin=100, warmup=200)
    (phase,) = c.data.phases
    for stream, share in zip(phase["streams"], (3, 2, 1, 5, 1), strict=True):
        stream["share"] = share
    c.data.phases = [phase | {"steps": 7_500}]
    c.data.validation = [v for v in c.data.validation if v["shape_class"] not in ("clips", "editing")]
    c.best = "accuracy"  # of all that is said, pictures above all: masks are what they were


def _editing(c: ConfigDict) -> None:
    """Changes :tiny to what goes on from :drawing. To give back what is shown is learnt from rows that ask for nothing
    else; clips are left to stage 4."""
    _goes_on(c, "runs/long/stage3_drawing", rows=2e-3)
    side = 64, 64
    language, masks, _, generation, _ = c.data.phases[0]["streams"]
    language["share"], masks["share"], generation["share"] = 2, 1, 2
    edits = models.masks_stream("tiny", side, rows=12, share=7, length=288, learnt=120, shape_class="editing")
    back = models.reconstruction_stream("tiny", side, rows=16, share=6, length=248, learnt=104)
    c.data.phases = [{"steps": 2_400, "streams": [language, masks, generation, edits, back]}]
    c.data.sources = [source for source in c.data.sources if source["shape_class"] != "clips"]
    c.data.sources.append(mixtures.world("objects", 1.0, shape_class="reconstruction"))
    c.data.validation = [v for v in c.data.validation if v["shape_class"] in ("language", "editing")]
    c.validate_every, c.best = 1_200, "accuracy"


def group(optimizer: str, lr: float, clip: float = 1.0) -> ConfigDict:
    return ConfigDict(
        {
            "trained": True,
            "dtype": "float32",
            "optimizer": optimizer,
            "lr": lr,
            "b1": 0.95 if optimizer == "muon" else 0.9,
            "b2": 0.95,
            "weight_decay": 0.0,
            "clip": clip,
            "layers_from": 0,
        }
    )


def _streams(side: int, rows: int) -> list[dict]:
    """Of a phase: masks, clips and edits in every shape and dialogues without pictures, by their examples in Table 5:
    3M of segmentation, a tenth of them clips, 35M edits, 5M dialogues; and a tenth as many captions as edits."""
    anchors = {256: buckets.ANCHORS_256, 512: buckets.ANCHORS_512}[side]
    shares = dict(zip(anchors, SHARES.values()))
    # A picture of 512 px takes 1,404 positions, one of 256 px 368; queries 128, mask tokens 100, a list of 133 parts of
    # things some 800. Of an edit both pictures stand in the row.
    length, longer, codes = {256: (1_664, 1_152, 448), 512: (2_816, 3_200, 1_536)}[side]
    row = dict(length=length, learnt=512)
    edit = dict(rows=rows, length=longer, learnt=codes, shape_class="editing")
    out = []
    for bucket, share in shares.items():
        out.append(models.masks_stream("full", bucket, rows=rows, share=27 * share, **row))
        out.append(models.masks_stream("full", bucket, rows=rows // 2, share=6 * share, shape_class="clips", **row))
        out.append(models.masks_stream("full", bucket, share=350 * share, **edit))
        drawn = dict(length=codes + 256, learnt=codes)
        out.append(models.generation_stream("full", bucket, rows=rows, share=35 * share, **drawn))
    return [*out, models.text_stream("full", rows, share=50 * sum(shares.values()), length=length, pack=4)]
