# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Qwen2.5 (arXiv 2412.15115): the keys of its language model, tied or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from focus_jax.models.qwen2 import Qwen2, qwen2
from focus_jax.weights.shapes import module_shapes, sizes
from focus_jax.weights.table import DENSE, Rule, Shape, Table, linear

PART = "llm"
EMBEDDING, OUTPUT = f"{PART}/embedding/rows", f"{PART}/output/rows"
THEIRS, OURS = "model.layers.{i}", f"{PART}/layer_{{i}}"

RULES = [
    Rule("model.embed_tokens.weight", EMBEDDING),
    *(rule for name in "qkv" for rule in linear(f"{THEIRS}.self_attn.{name}_proj", f"{OURS}/{name}")),
    Rule(f"{THEIRS}.self_attn.o_proj.weight", f"{OURS}/o/kernel", DENSE),
    *(Rule(f"{THEIRS}.mlp.{name}_proj.weight", f"{OURS}/{name}/kernel", DENSE) for name in ("gate", "up", "down")),
    Rule(f"{THEIRS}.input_layernorm.weight", f"{OURS}/attention_norm/scale"),
    Rule(f"{THEIRS}.post_attention_layernorm.weight", f"{OURS}/mlp_norm/scale"),
    Rule("model.norm.weight", f"{PART}/norm/scale"),
    Rule("lm_head.weight", OUTPUT),
]
HEAD = r"lm_head\.weight"  # torch lists a tied model's one matrix under both names; files hold the first alone


def shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape}; config.model.llm holds the sizes, None means Qwen2.5-3B as released."""
    return llm_shapes(dict(rows=151_936, scan=True) if config is None else sizes(config, PART))


def llm_shapes(sizes: Mapping[str, Any]) -> dict[str, Shape]:
    """{our path: shape} of a language model of these sizes (fields of models.qwen2.Qwen2)."""
    model: Qwen2 = qwen2(**sizes)
    return module_shapes(PART, model, (1, 1, model.width))


TABLE = Table("qwen2", (PART,), RULES, shapes, others=(HEAD,))
