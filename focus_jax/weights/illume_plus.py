# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""ILLUME+ (arXiv 2504.01934): its Qwen2.5, its projectors and the encoders that it looks at pictures with.

These encoders are trained copies of DualViTok's tower and pixel encoder, so here they are parts of their own, `vit` and
`pixel_encoder`; a file may lack them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from focus_jax.models.adapter import Projectors
from focus_jax.weights import dualvitok, qwen2
from focus_jax.weights.qwen2_vl import RULES as TOWER_RULES
from focus_jax.weights.qwen2_vl import VIT
from focus_jax.weights.shapes import module_shapes
from focus_jax.weights.shapes import sizes as section
from focus_jax.weights.table import Piece, Rule, Shape, Table, linear

PROJECTOR, TOWER, ENCODER = "projector", "vit", "pixel_encoder"
THEIR_TOWER, THEIR_ENCODER = "model.vision_tower.semantic_encoder", "model.vision_tower.pixel_encoder"
FEATURES = 3584, 32  # widths of semantic and pixel features as released


def _moved(rule: Rule, theirs: str, ours: tuple[str, str]) -> Rule:
    return dataclasses.replace(rule, theirs=theirs, ours=rule.ours.replace(*ours, 1))


RULES = [
    *qwen2.RULES,
    *(
        rule
        for i, name in ((1, "semantic"), (2, "pixel"))
        for j, layer in ((0, "fc1"), (2, "fc2"))
        for rule in linear(f"model.mm_projector.projector_{i}.{j}", f"{PROJECTOR}/{name}/{layer}")
    ),
    *(_moved(rule, f"{THEIR_TOWER}.{rule.theirs}", (VIT, TOWER)) for rule in TOWER_RULES),
    *(
        _moved(rule, f"model.vision_tower.{rule.theirs}", (dualvitok.PIXEL, ENCODER))
        for rule in dualvitok.PIXEL_RULES
        if rule.theirs.startswith("pixel_encoder.")
    ),
]


def held(names: Iterable[str]) -> tuple[str, ...]:
    """Which of the encoders keys of theirs, or paths of ours, belong to: of `vit` and `pixel_encoder`."""
    names = list(names)
    prefixes = {TOWER: (f"{TOWER}/", f"{THEIR_TOWER}."), ENCODER: (f"{ENCODER}/", f"{THEIR_ENCODER}.")}
    return tuple(part for part, own in prefixes.items() if any(name.startswith(own) for name in names))


def shapes(
    config: Any = None, llm: Mapping[str, Any] | None = None, encoders: Iterable[str] = (TOWER, ENCODER)
) -> dict[str, Shape]:
    """{our path: shape} of the parts llm, projector and some of the encoders.

    config.model holds the sizes, None means the released ones; llm: other sizes of the language model than these.
    """
    llm = (dict(scan=True, rows=283_047) if config is None else section(config, qwen2.PART)) if llm is None else llm
    found = qwen2.llm_shapes(llm)
    semantic, pixel = FEATURES
    if config is not None:
        tokenizer = section(config, "tokenizer")
        semantic, pixel = tokenizer.vit.out, tokenizer.pixel.code_dim
    width = found[f"{qwen2.PART}/norm/scale"][0]
    found |= module_shapes(PROJECTOR, Projectors(width), (1, 1, 1, semantic), (1, 1, 1, pixel))
    if encoders := tuple(encoders):
        own = {TOWER: (VIT, TOWER), ENCODER: (f"{dualvitok.PIXEL}/encoder", f"{ENCODER}/encoder")}
        for path, shape in dualvitok.shapes(config).items():
            for old, new in (own[part] for part in encoders):
                if path.startswith(f"{old}/"):
                    found[path.replace(old, new, 1)] = shape
    return found


TABLE = Table(
    "illume_plus",
    (qwen2.PART, PROJECTOR, TOWER, ENCODER),
    RULES,
    shapes,
    others=(qwen2.HEAD,),
    pieces=(
        Piece((TOWER,), r"model\.vision_tower\.semantic_encoder\..*", f"no {THEIR_TOWER} (part {TOWER})"),
        Piece((ENCODER,), r"model\.vision_tower\.pixel_encoder\..*", f"no {THEIR_ENCODER} (part {ENCODER})"),
    ),
    beyond=(
        ("fusion_mlp", "fusion_mlp and adapter have no key in this format; who reads it does without them"),
        ("source_cells", "source_cells has no key in this format; who reads it writes edits without it"),
    ),
)
