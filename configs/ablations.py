# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Recipes with something left out or done otherwise: what each part is worth.

    python -m focus_jax.train --config=configs/ablations.py:no_pixel_branch --workdir=gs://BUCKET/no_pixel_branch
    python -m focus_jax.train --config=configs/ablations.py:no_pixel_branch_tiny --workdir=runs/no_pixel_branch

Of the tokenizer, stage 1:

no_hierarchical_encoder   the semantic branch reads the vision tower alone (the form `illume`)
no_pixel_branch           pictures have semantic codes alone; the decoder's pixel half is zero
no_semantic_branch        pictures have pixel codes alone; the decoder's semantic half is zero
single_resolution         the hierarchical encoder sees the images themselves, not their high-resolution copies

Of what the language model reads and says, stage 3:

pixel_first               images stand with their pixel codes before the semantic ones
no_names                  answers are masks alone, without naming what they mark before

Of how masks reach the diffusion decoder, stage 4:

no_mask_guidance          it sees no mask
literal_mask_guidance     Eq. 6 as printed: cells of the mask without places
mask_tokens               it sees the mask tokens' states E_Q instead of masks, which the paper tried
mask_attention            masks have attention of their own, which begins silent, instead of SDXL's attn2
separate_masks            it draws under true masks alone, so that what is drawn never teaches the mask decoder

Of how edits are written, stage 4:

no_source_cells           without what the source shows beside each code, which is ours (models/source_cells.py)

All else is the stage's recipe, full or, with _tiny, tiny. launch/ablations.py trains and measures the tiny ones and
writes docs/ablations.md.
"""

from ml_collections import ConfigDict

from configs import models, stage1_tokenizer, stage3, stage4

TOKENIZER = {
    "no_hierarchical_encoder": {"form": "illume"},
    "no_pixel_branch": {"branches": ("semantic",)},
    "no_semantic_branch": {"branches": ("pixel",)},
    "single_resolution": {"high": 0},
}


def pixel_first(c: ConfigDict) -> None:
    for phase in c.data.phases:
        for stream in phase["streams"]:
            stream["sequence"]["pixel_first"] = True


def no_names(c: ConfigDict) -> None:
    for phase in c.data.phases:
        for stream in phase["streams"]:
            if "segmentation" in stream and stream["shape_class"] != "editing":  # an edit says what it edits
                stream["segmentation"]["names"] = 0.0


def no_mask_guidance(c: ConfigDict) -> None:
    c.model.mask_guidance = None
    c.assign = tuple(entry for entry in c.assign if not entry[0].startswith("mask_guidance/"))
    del c.groups["mask_guidance"], c.init["mask_guidance"]


def literal_mask_guidance(c: ConfigDict) -> None:
    c.model.mask_guidance.update(form="literal", grid="latent")


def mask_tokens(c: ConfigDict) -> None:
    c.model.mask_guidance.update(form="queries", states=c.model.llm.width)


def mask_attention(c: ConfigDict) -> None:
    c.model.mask_guidance.gated, c.model.unet.separate = False, True
    c.assign += (("unet/[^/]*_attn_[^/]*/.*attn2/.*", "frozen"), ("unet/[^/]*_attn_[^/]*/.*norm2/.*", "frozen"))
    tiny = "drawing" in c.groups
    c.assign += (("unet/.*/(attn_mask|norm_mask)/.*", "drawing" if tiny else "mask_guidance"),)
    c.assign += (("unet/.*/attn_mask/(q|k|v|out)", "drawing_matrices"),) * tiny
    c.init.update({f"unet/{path}": "random" for path in _blocks(c.model.unet)})


def _blocks(unet: ConfigDict) -> list[str]:
    """Paths of what mask_attention adds to the blocks of a UNet."""
    last, depths = len(unet.depths) - 1, list(enumerate(unet.depths))
    depth = {f"down_{i}_attn_{j}": count for i, count in depths for j in range(unet.blocks)}
    depth |= {f"up_{last - i}_attn_{j}": count for i, count in depths for j in range(unet.blocks + 1)}
    depth["mid_attn_0"] = unet.depths[last]
    layers = lambda count: ["layers"] if unet.scan and count > 1 else [f"layer_{k}" for k in range(count)]
    parts = ("attn_mask", "norm_mask")
    return [f"{name}/{layer}/{part}" for name, count in depth.items() for layer in layers(count) for part in parts]


def separate_masks(c: ConfigDict) -> None:
    c.loss.truth = (1.0, 1.0)


def no_source_cells(c: ConfigDict) -> None:
    c.model.source_cells = False
    c.assign = tuple(entry for entry in c.assign if not entry[0].startswith("source_cells/"))
    del c.groups["source_cells"], c.init["source_cells"]


CHANGES = {change.__name__: (stage3, change) for change in (pixel_first, no_names)}
OF_EDITS = (no_mask_guidance, literal_mask_guidance, mask_tokens, mask_attention, separate_masks, no_source_cells)
CHANGES |= {change.__name__: (stage4, change) for change in OF_EDITS}
ABLATIONS = (*TOKENIZER, *CHANGES)


def get_config(name: str = "") -> ConfigDict:
    """Args: name: of ABLATIONS, alone or followed by _tiny."""
    plain = name.removesuffix("_tiny")
    if plain not in ABLATIONS:
        raise ValueError(f"configs/ablations.py:{name}: expected :{', :'.join(ABLATIONS)}, or one of them with _tiny")
    size = "full" if plain == name else "tiny"
    if plain in TOKENIZER:
        tokenizer = models.tokenizer(size)
        tokenizer.update(TOKENIZER[plain])
        c = stage1_tokenizer.recipe(size, tokenizer)
    else:
        stage, change = CHANGES[plain]
        c = stage.get_config(size)
        change(c)
    c.name = f"{plain}:{size}"
    return c
