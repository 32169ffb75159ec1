# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Qwen2-VL (arXiv 2409.12191): the keys of its vision tower."""

from __future__ import annotations

from typing import Any

from focus_jax.models.qwen_vit import QwenViT, qwen_vit
from focus_jax.weights.shapes import module_shapes, sizes
from focus_jax.weights.table import Rule, Shape, Table, linear, norm, permute

VIT = "tokenizer/vit"
CONV3D = permute(1, 2, 3, 4, 0)  # [out, in, t, kh, kw] -> [in, t, kh, kw, out]


def block_rules(theirs: str, ours: str) -> list[Rule]:
    """Rules of one block of the tower."""
    return [
        *norm(f"{theirs}.norm1", f"{ours}/norm1"),
        *linear(f"{theirs}.attn.qkv", f"{ours}/qkv"),
        *linear(f"{theirs}.attn.proj", f"{ours}/proj"),
        *norm(f"{theirs}.norm2", f"{ours}/norm2"),
        *linear(f"{theirs}.mlp.fc1", f"{ours}/fc1"),
        *linear(f"{theirs}.mlp.fc2", f"{ours}/fc2"),
    ]


RULES = [
    Rule("patch_embed.proj.weight", f"{VIT}/patch_embed/kernel", CONV3D),
    *block_rules("blocks.{i}", f"{VIT}/layer_{{i}}"),
    *norm("merger.ln_q", f"{VIT}/merger/norm"),
    *linear("merger.mlp.0", f"{VIT}/merger/fc1"),
    *linear("merger.mlp.2", f"{VIT}/merger/fc2"),
]


def shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape}; config.model.vit holds the sizes, None means the released ones."""
    model = QwenViT(scan=True) if config is None else qwen_vit(**sizes(config, "vit"))
    return module_shapes(VIT, model, (1, model.stride, model.stride, 3))


# The tower alone (transformers' Qwen2VisionTransformerPretrainedModel), in a Qwen2-VL of either age, in a DualViTok.
VISION = Table(
    "qwen2_vl_vision",
    (VIT,),
    RULES,
    shapes,
    others=(
        r"model\.(?!visual\.).*",  # the language model
        r"lm_head\..*",
        r"semantic_encoder\.(proj_in|blocks|proj_out)\..*",
        r"(semantic_quantizer|semantic_decoder|pixel_\w+)\..*",
    ),
    prefixes=("", "visual.", "model.visual.", "semantic_encoder.model."),
)
