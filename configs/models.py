# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Sizes of the networks. `full` is the published model, `tiny` the same code with small numbers (two CPU cores).

Sources: the released DualViTok (ILLUME+) for the tokenizer and PatchGAN, torchvision's VGG16 for LPIPS; the tiny
numbers are the ones that learn within minutes on two cores.
"""

from ml_collections import ConfigDict

from focus_jax.models.qwen_vit import vit_size
from focus_jax.sequence.vocabulary import Vocabulary


def tokenizer(size: str) -> ConfigDict:
    """Dual tokenizer (FOCUS section 3.3): frozen encoders and their fusion, semantic branch, pixel branch, SimVQ."""
    full = size == "full"
    c = ConfigDict()
    c.branches = ("semantic", "pixel")
    c.form = "focus"  # "illume": the vision tower alone, as the released DualViTok
    c.high = 768 if full else 128  # long edge of the hierarchical encoder's picture (FOCUS 3.1); 0: the images
    c.semantic_dim = 32 if full else 8  # width of a semantic code; its half of the decoder's code map
    c.pixel = pixel_branch(size)
    c.semantic = semantic_branch(size)
    c.vit, c.convnext = vit(size), convnext(size)
    c.fusion = ConfigDict(dict(levels=("res4", "res5"), width=1024 if full else 96, heads=16 if full else 4))
    return c


def semantic_branch(size: str) -> ConfigDict:
    """Blocks of the vision tower before and after the codes."""
    if size == "full":
        sizes = dict(depth=4, width=1280, heads=16, mlp_ratio=4, codes=32_768, code_block=4_096)
        return ConfigDict(sizes | dict(code_scale=1.0, scan=True, remat="full"))
    sizes = dict(depth=2, width=96, heads=4, mlp_ratio=4, codes=2_048, code_block=2_048)
    return ConfigDict(sizes | dict(code_scale=0.05, scan=False, remat="none"))


def pixel_branch(size: str) -> ConfigDict:
    """MoVQ encoder and spatially conditioned decoder, SimVQ codebook."""
    if size == "full":
        return ConfigDict(
            dict(
                patch=1,
                groups=32,  # GroupNorm groups, eps 1e-6
                code_dim=32,
                codes=98_304,
                code_block=4_096,  # codes searched at a time: 128 MiB for 4,096 vectors (benchmark codes)
                encoder=dict(widths=(128, 128, 256, 256, 512), blocks=2, attention_levels=(4,)),
                decoder=dict(widths=(384, 384, 768, 768, 1536), blocks=3, attention_levels=(4,)),
                scan=True,
                remat="full",
            )
        )
    return ConfigDict(
        dict(
            patch=4,  # pixel-unshuffle in the stem: 64 px become 16 x 16, one DC level later 8 x 8 tokens
            groups=8,
            code_dim=8,
            codes=512,
            code_block=512,
            encoder=dict(widths=(48, 64), blocks=1, attention_levels=(1,)),
            decoder=dict(widths=(64, 96), blocks=1, attention_levels=(1,)),
            scan=False,
            remat="none",
        )
    )


def discriminator(size: str) -> ConfigDict:
    """PatchGAN: three strided layers, BatchNorm over the micro-batch (pix2pix; ILLUME+ keeps its numbers)."""
    return ConfigDict(dict(width=64 if size == "full" else 16, layers=3, norm="batch"))


def perceptual(size: str) -> ConfigDict:
    """VGG16 stages that LPIPS reads (relu1_2 ... relu5_3)."""
    widths = (64, 128, 256, 512, 512) if size == "full" else (8, 16, 32, 32, 32)
    return ConfigDict(dict(widths=widths))


def vae(size: str) -> ConfigDict:
    """Autoencoder of the diffusion decoder: SDXL's (arXiv 2307.01952)."""
    if size == "full":
        sizes = dict(widths=(128, 256, 512, 512), blocks=2, channels=4, groups=32, patch=1, scale=0.13025)
        return ConfigDict(sizes | dict(scan=True, remat="full"))
    # A picture of 64 px becomes 16 x 16 latents; scale: 1 / their deviation on the world.
    sizes = dict(widths=(32, 64), blocks=1, channels=4, groups=8, patch=2, scale=1.24)
    return ConfigDict(sizes | dict(scan=False, remat="none"))


def unet(size: str, codes: int) -> ConfigDict:
    """SDXL's UNet with `codes` channels of a code map behind the latents', and no text."""
    if size == "full":
        return ConfigDict(
            dict(
                widths=(320, 640, 1280),
                depths=(0, 2, 10),
                heads=(5, 10, 20),
                blocks=2,
                inputs=4 + codes,
                outputs=4,
                context=2048,
                pooled=1280,
                ids=256,
                groups=32,
                scan=True,
                remat="full",
            )
        )
    sizes = dict(widths=(64, 96), depths=(0, 1), heads=(2, 4), blocks=1, inputs=4 + codes, outputs=4)
    return ConfigDict(sizes | dict(context=32, pooled=16, ids=16, groups=8, scan=False, remat="none"))


def schedule(size: str) -> ConfigDict:
    """How much noise there is at which time: SDXL's. The tiny one foretells v: of what its latents hold most is told
    apart late, where epsilon says little."""
    sizes = dict(steps=1_000, start=0.00085, end=0.012, kind="scaled_linear", zero_terminal=False)
    return ConfigDict(sizes | dict(prediction="epsilon" if size == "full" else "v"))


def latents_stream(
    tokenizer: ConfigDict, vae: ConfigDict, bucket: tuple[int, int], rows: int, share: int, tokens: float
) -> dict:
    """A stream of stored codes, of pictures at a share `tokens` of their sides, and stored latents."""
    height, width = bucket
    low = round(tokens * height), round(tokens * width)
    seen = vit_size(*low, tokenizer.vit.patch, tokenizer.vit.merge)
    cell = tokenizer.vit.patch * tokenizer.vit.merge
    stride = tokenizer.pixel.patch * 2 ** (len(tokenizer.pixel.encoder.widths) - 1)
    down = vae.patch * 2 ** (len(vae.widths) - 1)
    return {
        "shape_class": "latents",
        "height": height,
        "width": width,
        "batch_size": rows,
        "share": share,
        "tokens": tokens,
        "semantic_grid": (seen[0] // cell, seen[1] // cell),
        "pixel_grid": (low[0] // stride, low[1] // stride),
        "latents": (height // down, width // down, 2 * vae.channels),
    }


def decoder(size: str) -> ConfigDict:
    """unit: pixels that stand for 512 in the list of sizes; order: how that list is read; known: how many of it the
    network knows, 12 of ILLUME+'s released decoder (stages/decoder.py). steps: at most, to draw in one program."""
    return ConfigDict({"unit": 512 if size == "full" else 64, "order": "width,height", "known": 22, "steps": 200})


def mask_guidance(size: str) -> ConfigDict:
    """FOCUS Eq. 6, what the mask is to the UNet; width: that of its context (models/mask_guidance.py)."""
    sizes = dict(width=2048, finest=64.0) if size == "full" else dict(width=32, finest=8.0)
    return ConfigDict(sizes | dict(form="places", grid="level"))


def diffusion_loss(size: str) -> ConfigDict:
    """Mean square error of what is foretold; weights of times and shares of rows that see no codes, or half of them."""
    c = ConfigDict({"weights": {"diffusion": 1.0}})
    # Of FOCUS 3.5's L2 on denoised outputs "sample" would be the literal form. The tiny one learns as much at noisy
    # times, in which the codes tell the most: epsilon's errors count little there.
    c.space = "epsilon" if size == "full" else "v"
    c.min_snr = 0.0
    c.offset_noise = 0.0
    c.drop = ConfigDict({"all": 0.1, "semantic": 0.0, "pixel": 0.0})
    return c


def editing_loss(size: str) -> ConfigDict:
    """Stage 4's: of masks and words as stage 3's, and of what is drawn under them. truth: share of true masks at the
    start and from half of the run on, the others being the model's own; source_codes: of the removals, how many are
    drawn from the source's codes; the share of all rows that these are, some 0.3, is the mixture's, and logged."""
    c = mask_loss(size)
    c.text_mode, c.codes_start, c.levels_apart = False, 0.0, size != "full"
    c.weights.update(text=1.0, semantic=1.0, pixel=1.0, follow=2.0, latent=0.1, diffusion=1.0)
    c.drawing = diffusion_loss(size)
    del c.drawing["weights"]
    c.truth, c.source_codes = (1.0, 0.2), 1.0
    return c


def vit(size: str) -> ConfigDict:
    """Semantic encoder: the vision tower of Qwen2-VL-7B (arXiv 2409.12191), the encoder of ILLUME+'s tokenizer."""
    if size == "full":
        return ConfigDict(
            dict(
                depth=32,
                width=1280,
                heads=16,
                mlp_ratio=4,
                patch=14,
                merge=2,  # 2 x 2 patches become a token
                temporal=2,  # a patch spans two frames; a picture is shown twice
                out=3584,  # the 7B model's width
                scan=True,
                remat="full",
            )
        )
    return ConfigDict(
        dict(depth=4, width=96, heads=4, mlp_ratio=4, patch=8, merge=2, temporal=2, out=192, scan=False, remat="none")
    )


def convnext(size: str) -> ConfigDict:
    """Hierarchical encoder: ConvNeXt-L (arXiv 2201.03545; FOCUS section 3.1)."""
    if size == "full":
        return ConfigDict(
            dict(
                widths=(192, 384, 768, 1536),
                depths=(3, 3, 27, 3),
                patch=4,
                layer_scale=1e-6,  # start value; imported weights bring their own
                scan=True,
                remat="full",
            )
        )
    return ConfigDict(
        dict(widths=(24, 48, 80, 112), depths=(1, 1, 2, 1), patch=4, layer_scale=0.1, scan=False, remat="none")
    )


# Qwen2.5 (arXiv 2412.15115, Table 1): depth, width, heads, key heads, head width, inner width, tied.
QWEN2 = {
    "7b": (28, 3584, 28, 4, 128, 18_944, False),
    "3b": (36, 2048, 16, 2, 128, 11_008, True),
    "1.5b": (28, 1536, 12, 2, 128, 8_960, True),
    "0.5b": (24, 896, 14, 2, 64, 4_864, True),
    "tiny": (4, 96, 4, 2, 24, 192, True),
}


def llm(size: str, rows: int) -> ConfigDict:
    """Language model of a size in QWEN2; rows: of the vocabulary, padding included."""
    names = ("depth", "width", "heads", "kv_heads", "head_dim", "mlp", "tied")
    tiny = size == "tiny"
    sizes = dict(zip(names, QWEN2[size])) | dict(rows=rows, theta=1e4 if tiny else 1e6, eps=1e-6)
    return ConfigDict(sizes | dict(scan=not tiny, remat="none" if tiny else "full"))


def vocabulary(size: str) -> ConfigDict:
    """Blocks of ids (focus_jax/sequence/vocabulary.py). Full: those of the released ILLUME+ model, whose 283,047 rows
    are Qwen2.5's 151,936 and 131,111 more; the last 271 have no token there."""
    if size == "full":
        sizes = dict(words=151_643, tags=16, tag_step=64, spare=271)
    else:
        # Tags up to 256 px in steps of 16, the coarsest that buckets have; two spare rows that nothing uses.
        sizes = dict(words=696, tags=16, tag_step=16, spare=8)
    codes = dict(semantic_codes=semantic_branch(size).codes, pixel_codes=pixel_branch(size).codes)
    return ConfigDict(sizes | codes)


def text_tokenizer(size: str) -> str:
    """Source of the text tokenizer (focus_jax/sequence/text.py): a name or a folder of the user's."""
    return "qwen" if size == "full" else "world"


def adapter(size: str) -> ConfigDict:
    """Gated adapter (FOCUS Eq. 3-4): HyperSeg's sizes (arXiv 2411.17606), for the paper gives none."""
    sizes = dict(queries=128, width=512, heads=8) if size == "full" else dict(queries=8, width=96, heads=4)
    return ConfigDict(sizes | dict(levels=("res3", "res4", "res5")))


def mask_pixel_decoder(size: str) -> ConfigDict:
    """Mask2Former's pixel decoder (arXiv 2112.01527), official numbers."""
    if size == "full":
        sizes = dict(width=256, heads=8, points=4, mlp=1024, depth=6, groups=32)
        return ConfigDict(sizes | dict(scan=True, remat="full"))
    return ConfigDict(dict(width=64, heads=4, points=4, mlp=128, depth=2, groups=8, scan=False, remat="none"))


def mask_decoder(size: str) -> ConfigDict:
    """Mask2Former's transformer decoder, official numbers; a query is a mask token. embedding: of e_j, 0 = none."""
    if size == "full":
        sizes = dict(width=256, heads=8, mlp=2048, depth=9, embedding=0, remat="full")
        return ConfigDict(dict(queries=MASKS[size]) | sizes)
    return ConfigDict(dict(queries=MASKS[size], width=64, heads=4, mlp=128, depth=3, embedding=0, remat="none"))


def fusion_mlp(size: str) -> ConfigDict:
    """MLP of FOCUS Eq. 1; the paper gives no inner width, this is the features' own."""
    return ConfigDict(dict(hidden=vit(size).out))


def understanding(size: str) -> ConfigDict:
    """config.model of what reads pictures and answers in words: stage 2, and stage 3 with mask decoders beside it."""
    c = ConfigDict(dict(tokenizer=tokenizer(size), vocabulary=vocabulary(size), text_tokenizer=text_tokenizer(size)))
    c.llm = llm("tiny" if size == "tiny" else "3b", Vocabulary(**c.vocabulary).padded)
    c.fusion_mlp, c.adapter = fusion_mlp(size), adapter(size)
    return c


def sequence(
    size: str,
    bucket: tuple[int, int],
    length: int,
    learnt: int,
    pack: int,
    images: int,
    pixel_grid: tuple[int, int] | None = None,
) -> dict:
    """`sequence` of a stream (data_pipelines/language.py) for pictures of a bucket (H, W): positions of a row, how many
    of them may be learnt, examples packed into it, pictures it has room for; pixel_grid: of text slots that have other
    pixel cells than the bucket."""
    tower, stride = vit(size), 8 if size == "tiny" else 16
    seen = vit_size(*bucket, tower.patch, tower.merge)
    return dict(
        length=length,
        learnt=learnt,
        pack=pack,
        images=images,
        too_long="drop",  # or "cut", where no picture is cut
        vocabulary=vocabulary(size).to_dict(),
        text_tokenizer=text_tokenizer(size),
        semantic_grid=[side // (tower.patch * tower.merge) for side in seen],
        pixel_grid=list(pixel_grid or [side // stride for side in bucket]),
        queries=adapter(size).queries,
        masks=MASKS[size],
    )


MASKS = {"full": 100, "tiny": 12}  # mask tokens of an answer (FOCUS: 100 queries)


def language_stream(size: str, bucket: tuple[int, int], rows: int, share: int, **row: int) -> dict:
    """A stream of conversations about pictures of a bucket (data_pipelines/language.py); row: as in `sequence`."""
    return {
        "shape_class": "language",
        "height": bucket[0],
        "width": bucket[1],
        "high": tokenizer(size).high,
        "batch_size": rows,
        "share": share,
        "sequence": sequence(size, bucket, **row),
    }


def text_stream(size: str, rows: int, share: int, length: int, pack: int) -> dict:
    """A stream of conversations without pictures, several to a row."""
    side = 64 if size == "tiny" else 256  # of grids that no row has
    found = sequence(size, (side, side), length=length, learnt=length, pack=pack, images=0)
    return dict(shape_class="language", height=0, width=0, batch_size=rows, share=share, sequence=found)


def sampling(size: str) -> ConfigDict:
    """How codes are written where nobody says otherwise (inference.decode.sampling); a checkpoint keeps it. Full:
    ILLUME+'s settings, of its pixel codes three times as many; at the tiny one those of captions were chosen on
    validation scenes."""
    if size == "tiny":
        return ConfigDict({"generation": dict(temperature=0.5, guidance=2.0), "editing": dict(temperature=0.5)})
    codes = lambda k: ((0, k, 3 * k),)  # of words, semantic and pixel codes
    generation = dict(temperature=1.0, top_k=codes(2_048), guidance=2.0)
    editing = dict(temperature=0.7, top_k=codes(512), top_p=0.8, guidance=1.25)
    return ConfigDict({"generation": generation, "editing": editing})


def mask_loss(size: str) -> ConfigDict:
    """What masks cost (focus_jax/stages/masks.py): Mask2Former's weights, costs (class, mask, Dice) and points; words
    and regions weigh as classes do, as in PSALM (arXiv 2403.14598)."""
    weights = dict(mask=5.0, dice=5.0, classes=2.0, words=2.0, regions=2.0)
    points, choice = (12_544, 0.0) if size == "full" else (256, 2.0)
    # choice_cost: what a query's score under words or a region weighs in the matching; 0 as in PSALM, by masks alone.
    more = dict(costs=(2.0, 5.0, 5.0), choice_cost=choice, weights=weights)
    return ConfigDict(dict(points=points, no_object=0.1) | more)


def masks_stream(
    size: str,
    bucket: tuple[int, int],
    rows: int,
    share: int,
    length: int,
    learnt: int,
    shape_class: str = "segmentation",
    scale: int = 1,
) -> dict:
    """A stream of questions that masks answer (data_pipelines/segmentation.py), one picture a row, or two frames of a
    clip (data_pipelines/clips.py). scale: of edits, how much larger they are drawn than their codes' picture."""
    # COCO's panoptic list has 133 classes; an answer's list may have the background beside them.
    full = dict(conditions=134, targets=MASKS["full"], regions=10, names=0.9)
    tiny = dict(conditions=8, targets=8, regions=4, names=0.9)
    words = language_stream(size, bucket, rows, share, length=length, learnt=learnt, pack=1, images=1)
    found = words | {"shape_class": shape_class, "segmentation": full if size == "full" else tiny}
    return found | ({"scale": scale} if scale != 1 else {})


def generation_stream(size: str, bucket: tuple[int, int], rows: int, share: int, length: int, learnt: int) -> dict:
    """A stream of captions whose picture is drawn (data_pipelines/targets.py)."""
    words = language_stream(size, bucket, rows, share, length=length, learnt=learnt, pack=1, images=0)
    return words | {"shape_class": "generation"}


def reconstruction_stream(size: str, bucket: tuple[int, int], rows: int, share: int, length: int, learnt: int) -> dict:
    """A stream of pictures that are given back, code by code (data_pipelines/targets.py)."""
    words = language_stream(size, bucket, rows, share, length=length, learnt=learnt, pack=1, images=1)
    return words | {"shape_class": "reconstruction"}
