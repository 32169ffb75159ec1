# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The external formats by name."""

from __future__ import annotations

from focus_jax.errors import UserError
from focus_jax.weights import (
    clip,
    convnext,
    dualvitok,
    illume_plus,
    inception,
    lpips,
    mask2former,
    patchgan,
    qwen2,
    qwen2_vl,
    sdxl,
    vgg16,
)
from focus_jax.weights.table import Table

TABLES = {
    t.name: t
    for t in (
        *(dualvitok.TABLE, patchgan.TABLE, vgg16.TABLE, lpips.TABLE, lpips.LIN, inception.TABLE),
        *(clip.CLIP, clip.DINO_VIT),
        *(qwen2.TABLE, illume_plus.TABLE, qwen2_vl.VISION, convnext.BACKBONE, convnext.CLASSIFIER, convnext.TIMM),
        *(mask2former.TRANSFORMERS, mask2former.DETECTRON),
        *(sdxl.UNET, sdxl.UNET_ORIGINAL, sdxl.VAE_DIFFUSERS, sdxl.VAE_ORIGINAL),
    )
}


def table(name: str) -> Table:
    """The table of a format. Raises: UserError for an unknown name."""
    if name not in TABLES:
        raise UserError(f"--format={name}: expected one of {', '.join(TABLES)}.")
    return TABLES[name]
