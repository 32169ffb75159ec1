# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Sizes of the networks. `full` is the published model, `tiny` the same code with small numbers (two CPU cores).

Sources: the released DualViTok (ILLUME+) for the tokenizer and PatchGAN, torchvision's VGG16 for LPIPS; the tiny
numbers are the ones that learn within minutes on two cores.
"""

from ml_collections import ConfigDict


def tokenizer(size: str) -> ConfigDict:
    """Dual tokenizer: MoVQ encoder and spatially conditioned decoder, SimVQ codebook (FOCUS section 3.3)."""
    if size == "full":
        return ConfigDict(
            dict(
                branches=("pixel",),
                semantic_dim=32,  # width of a semantic code; its half of the decoder's code map
                pixel=dict(
                    patch=1,
                    groups=32,  # GroupNorm groups, eps 1e-6
                    code_dim=32,
                    codes=98_304,
                    code_block=4_096,  # codes searched at a time: 128 MiB for 4,096 vectors (benchmark codes)
                    encoder=dict(widths=(128, 128, 256, 256, 512), blocks=2, attention_levels=(4,)),
                    decoder=dict(widths=(384, 384, 768, 768, 1536), blocks=3, attention_levels=(4,)),
                    scan=True,
                    remat="full",
                ),
            )
        )
    return ConfigDict(
        dict(
            branches=("pixel",),
            semantic_dim=8,
            pixel=dict(
                patch=4,  # pixel-unshuffle in the stem: 64 px become 16 x 16, one DC level later 8 x 8 tokens
                groups=8,
                code_dim=8,
                codes=512,
                code_block=512,
                encoder=dict(widths=(48, 64), blocks=1, attention_levels=(1,)),
                decoder=dict(widths=(64, 96), blocks=1, attention_levels=(1,)),
                scan=False,
                remat="none",
            ),
        )
    )


def discriminator(size: str) -> ConfigDict:
    """PatchGAN: three strided layers, BatchNorm over the micro-batch (pix2pix; ILLUME+ keeps its numbers)."""
    return ConfigDict(dict(width=64 if size == "full" else 16, layers=3, norm="batch"))


def perceptual(size: str) -> ConfigDict:
    """VGG16 stages that LPIPS reads (relu1_2 ... relu5_3)."""
    widths = (64, 128, 256, 512, 512) if size == "full" else (8, 16, 32, 32, 32)
    return ConfigDict(dict(widths=widths))
