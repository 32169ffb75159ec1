# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""DualViTok, the released dual tokenizer of ILLUME+ (arXiv 2504.01934): all its keys, or those of a branch."""

from __future__ import annotations

import dataclasses
from typing import Any

from focus_jax.models.dual_tokenizer import DualTokenizer, dual_tokenizer
from focus_jax.models.pixel_branch import PixelBranch
from focus_jax.models.qwen_vit import QwenViT
from focus_jax.models.semantic_branch import SemanticBranch
from focus_jax.weights.qwen2_vl import RULES as TOWER_RULES
from focus_jax.weights.qwen2_vl import VIT, block_rules
from focus_jax.weights.shapes import module_shapes, sizes
from focus_jax.weights.table import DENSE, Piece, Rule, Shape, Table, Transform, conv, linear, norm

PIXEL, SEMANTIC = "tokenizer/pixel", "tokenizer/semantic"
# A 1x1 convolution that is a linear layer here: [out, in, 1, 1] -> [in, out].
CONV1 = Transform(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None], lambda shape: (*shape[::-1], 1, 1))


def _norm(theirs: str, ours: str, spatial: bool) -> list[Rule]:
    if not spatial:
        return norm(theirs, ours)
    modulation = [rule for name in ("conv_y", "conv_b") for rule in conv(f"{theirs}.{name}", f"{ours}/{name}")]
    return norm(f"{theirs}.norm_layer", f"{ours}/norm_layer") + modulation


def _res_block(theirs: str, ours: str, spatial: bool) -> list[Rule]:
    norms = [rule for name in ("norm1", "norm2") for rule in _norm(f"{theirs}.{name}", f"{ours}/{name}", spatial)]
    convs = [rule for name in ("conv1", "conv2", "nin_shortcut") for rule in conv(f"{theirs}.{name}", f"{ours}/{name}")]
    return norms + convs


def _attn_block(theirs: str, ours: str, spatial: bool) -> list[Rule]:
    convs = [rule for name in ("q", "k", "v", "proj_out") for rule in conv(f"{theirs}.{name}", f"{ours}/{name}")]
    return _norm(f"{theirs}.norm", f"{ours}/norm", spatial) + convs


def _coder(theirs: str, ours: str, level: str, resample: str, spatial: bool) -> list[Rule]:
    """Encoder (level "down", resample "downsample") or decoder ("up", "upsample")."""
    layer = f"{ours}/{level}_{{l}}/layer_{{i}}"
    return [
        *conv(f"{theirs}.conv_in", f"{ours}/conv_in"),
        *_res_block(f"{theirs}.{level}.{{l}}.block.{{i}}", f"{layer}/block", spatial),
        *_attn_block(f"{theirs}.{level}.{{l}}.attn.{{i}}", f"{layer}/attn", spatial),
        *conv(f"{theirs}.{level}.{{l}}.{resample}.conv", f"{ours}/{level}_{{l}}/{resample}/conv"),
        *_res_block(f"{theirs}.mid.block_{{i}}", f"{ours}/mid/block_{{i}}", spatial),
        *_attn_block(f"{theirs}.mid.attn_1", f"{ours}/mid/attn_1", spatial),
        *_norm(f"{theirs}.norm_out", f"{ours}/norm_out", spatial),
        *conv(f"{theirs}.conv_out", f"{ours}/conv_out"),
    ]


SEMANTIC_RULES = [
    Rule("semantic_encoder.proj_in.weight", f"{SEMANTIC}/encoder/proj_in/kernel", CONV1),
    Rule("semantic_encoder.proj_in.bias", f"{SEMANTIC}/encoder/proj_in/bias"),
    *block_rules("semantic_encoder.blocks.{i}", f"{SEMANTIC}/encoder/layer_{{i}}"),
    *linear("semantic_encoder.proj_out.0", f"{SEMANTIC}/encoder/proj_out"),
    Rule("semantic_quantizer.frozen_codebook", f"{SEMANTIC}/quantizer/frozen_codebook"),
    Rule("semantic_quantizer.code_transform.weight", f"{SEMANTIC}/quantizer/code_transform/kernel", DENSE),
    *linear("semantic_decoder.proj_in", f"{SEMANTIC}/decoder/proj_in"),
    *block_rules("semantic_decoder.blocks.{i}", f"{SEMANTIC}/decoder/layer_{{i}}"),
    *linear("semantic_decoder.proj_out.0", f"{SEMANTIC}/decoder/proj_out"),
    *norm("semantic_decoder.proj_out.1", f"{SEMANTIC}/decoder/norm_out"),
]

PIXEL_RULES = [
    *_coder("pixel_encoder", f"{PIXEL}/encoder", "down", "downsample", spatial=False),
    *conv("pixel_quant_conv", f"{PIXEL}/quant_conv"),
    Rule("pixel_quantizer.frozen_codebook", f"{PIXEL}/quantizer/frozen_codebook"),
    Rule("pixel_quantizer.code_transform.weight", f"{PIXEL}/quantizer/code_transform/kernel", DENSE),
    *conv("pixel_post_quant_conv", f"{PIXEL}/post_quant_conv"),
    *_coder("pixel_decoder", f"{PIXEL}/decoder", "up", "upsample", spatial=True),
]

WHOLE_RULES = [
    *(dataclasses.replace(rule, theirs=f"semantic_encoder.model.{rule.theirs}") for rule in TOWER_RULES),
    *SEMANTIC_RULES,
    *PIXEL_RULES,
]


def shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape} of the parts that the format has keys for: tower, semantic and pixel branch, or one branch.

    config.model.tokenizer holds sizes and branches, None means the released ones: all 999 keys. The three parts are the
    same in the forms `focus` and `illume`.
    """
    if config is None:
        model = DualTokenizer(PixelBranch(scan=True), SemanticBranch(scan=True), QwenViT(scan=True))
    else:
        model = dual_tokenizer(**{**sizes(config, "tokenizer"), "form": "illume"})
    return module_shapes("tokenizer", model, (1, model.stride, model.stride, 3))


TABLE = Table(
    "dualvitok",
    (VIT, SEMANTIC, PIXEL),
    WHOLE_RULES,
    shapes,
    pieces=(
        Piece((SEMANTIC,), r"semantic_(encoder|quantizer|decoder)\..*", "the pixel half only", beside=(VIT,)),
        Piece(
            tuple(f"{PIXEL}/{name}" for name in ("encoder", "quant_conv", "quantizer")),
            r"pixel_(encoder|quant_conv|quantizer)\..*",
            "the semantic half and the pixel decoder only",
        ),
    ),
    beyond=(
        (
            "tokenizer/fusion",
            "tokenizer/fusion and tokenizer/convnext have no key in this format; the exported tokenizer is exact only "
            "where fusion's output is zero",
        ),
    ),
)
