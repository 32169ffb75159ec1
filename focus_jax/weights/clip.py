# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""CLIP's towers and DINO's ViT in the names that transformers' checkpoints have: networks that measure."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.models.clip import PictureTower, TextTower, dino
from focus_jax.training.parts import flatten
from focus_jax.weights.shapes import module_shapes
from focus_jax.weights.table import DENSE, Rule, Shape, Table, Transform, conv, linear, norm

PICTURES, TEXTS, DINO = "clip_pictures", "clip_texts", "dino"

_FIRST = Transform(lambda x: x[0, 0], lambda x: x[None, None], lambda shape: (1, 1, *shape))
_PLACES = Transform(lambda x: x[0], lambda x: x[None], lambda shape: (1, *shape))


def _layers(theirs: str, ours: str, names: dict[str, str]) -> list[Rule]:
    rules = [rule for i in (1, 2) for rule in norm(f"{theirs}.{names[f'norm{i}']}", f"{ours}/norm{i}")]
    for name in ("q", "k", "v", "out", "fc1", "fc2"):
        rules += linear(f"{theirs}.{names[name]}", f"{ours}/{name}")
    return rules


_CLIP = {"norm1": "layer_norm1", "norm2": "layer_norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
_CLIP |= {name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")}
_DINO = {"norm1": "layernorm_before", "norm2": "layernorm_after", "fc1": "intermediate.dense", "fc2": "output.dense"}
_DINO |= {"q": "attention.attention.query", "k": "attention.attention.key", "v": "attention.attention.value"}
_DINO |= {"out": "attention.output.dense"}

_CLIP_RULES = [
    *conv("vision_model.embeddings.patch_embedding", f"{PICTURES}/patches", bias=False),
    Rule("vision_model.embeddings.class_embedding", f"{PICTURES}/first"),
    Rule("vision_model.embeddings.position_embedding.weight", f"{PICTURES}/places"),
    *norm("vision_model.pre_layrnorm", f"{PICTURES}/norm_in"),
    *norm("vision_model.post_layernorm", f"{PICTURES}/norm_out"),
    Rule("visual_projection.weight", f"{PICTURES}/projection/kernel", DENSE),
    *_layers("vision_model.encoder.layers.{i}", f"{PICTURES}/layer_{{i}}", _CLIP),
    Rule("text_model.embeddings.token_embedding.weight", f"{TEXTS}/rows"),
    Rule("text_model.embeddings.position_embedding.weight", f"{TEXTS}/places"),
    *norm("text_model.final_layer_norm", f"{TEXTS}/norm_out"),
    Rule("text_projection.weight", f"{TEXTS}/projection/kernel", DENSE),
    *_layers("text_model.encoder.layers.{i}", f"{TEXTS}/layer_{{i}}", _CLIP),
]
_DINO_RULES = [
    *conv("embeddings.patch_embeddings.projection", f"{DINO}/patches"),
    Rule("embeddings.cls_token", f"{DINO}/first", _FIRST),
    Rule("embeddings.position_embeddings", f"{DINO}/places", _PLACES),
    *norm("layernorm", f"{DINO}/norm_out"),
    *_layers("encoder.layer.{i}", f"{DINO}/layer_{{i}}", _DINO),
]


def clip_shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape} of both towers; config.model.clip_pictures and .clip_texts hold sizes, None means ViT-L/14."""
    given = {} if config is None else config.model
    tower = PictureTower(**given.get(PICTURES, {}))
    texts = TextTower(**given.get(TEXTS, {}))
    out = module_shapes(PICTURES, tower, (1, tower.side, tower.side, 3))
    made: Any = jax.eval_shape(lambda: texts.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32)))["params"]
    return out | {path: tuple(leaf.shape) for path, leaf in flatten(nn.unbox(made), f"{TEXTS}/").items()}


def dino_shapes(config: Any = None) -> dict[str, Shape]:
    """The same of DINO; config.model.dino holds sizes, None means ViT-S/16."""
    tower = dino(**({} if config is None else config.model.get(DINO, {})))
    return module_shapes(DINO, tower, (1, tower.side, tower.side, 3))


CLIP = Table(
    "clip",
    (PICTURES, TEXTS),
    _CLIP_RULES,
    clip_shapes,
    others=(r"logit_scale", r"(text|vision)_model\.embeddings\.position_ids"),
)
DINO_VIT = Table("dino", (DINO,), _DINO_RULES, dino_shapes, others=(r"pooler\..*",), prefixes=("", "vit."))
