# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every key of Qwen2-VL's released vision tower maps to a parameter of ours and back, at full size, without arrays."""

import math

import numpy as np
import pytest
from ml_collections import ConfigDict

from focus_jax.errors import UserError
from focus_jax.models.qwen_vit import QwenViT
from focus_jax.weights import qwen2_vl
from focus_jax.weights.shapes import module_shapes

TABLE = qwen2_vl.VISION
BLOCK = {
    "norm1.weight": (1280,),
    "norm1.bias": (1280,),
    "norm2.weight": (1280,),
    "norm2.bias": (1280,),
    "attn.qkv.weight": (3840, 1280),
    "attn.qkv.bias": (3840,),
    "attn.proj.weight": (1280, 1280),
    "attn.proj.bias": (1280,),
    "mlp.fc1.weight": (5120, 1280),
    "mlp.fc1.bias": (5120,),
    "mlp.fc2.weight": (1280, 5120),
    "mlp.fc2.bias": (1280,),
}
RELEASED = {
    "patch_embed.proj.weight": (1280, 3, 2, 14, 14),
    **{f"blocks.{i}.{name}": shape for i in range(32) for name, shape in BLOCK.items()},
    "merger.ln_q.weight": (1280,),
    "merger.ln_q.bias": (1280,),
    "merger.mlp.0.weight": (5120, 5120),
    "merger.mlp.0.bias": (5120,),
    "merger.mlp.2.weight": (3584, 5120),
    "merger.mlp.2.bias": (3584,),
}
TINY = ConfigDict({"model": {"vit": dict(depth=3, width=8, heads=2, patch=4, merge=2, out=6, scan=True)}})


def loop_shapes():
    return module_shapes("tokenizer/vit", QwenViT(), (1, 28, 28, 3))


def random_source(prefix=""):
    rng = np.random.default_rng(0)
    keys = TABLE.keys(TABLE.shapes(TINY))
    return {prefix + key: rng.standard_normal(shape).astype(np.float32) for key, (*_, shape) in keys.items()}


@pytest.mark.parametrize("shapes", [qwen2_vl.shapes(), loop_shapes()], ids=["scanned", "loop"])
def test_all_keys_and_shapes(shapes):
    assert {key: shape for key, (*_, shape) in TABLE.keys(shapes).items()} == RELEASED
    assert sum(math.prod(shape) for shape in shapes.values()) == 675_759_104


def test_keys_and_paths_are_one_to_one():
    paths = {key: TABLE.our_path(key) for key in RELEASED}
    assert all(paths.values())
    assert {path for path, _ in paths.values()} == set(loop_shapes())
    assert all(TABLE.their_key(path)[0] == key for key, (path, _) in paths.items())


# What stands beside the tower in each kind of file that holds it.
OTHERS = {
    "": [],
    "visual.": ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"],
    "model.visual.": ["model.language_model.norm.weight", "lm_head.weight"],
    "semantic_encoder.model.": [
        *("semantic_encoder.proj_in.weight", "semantic_encoder.blocks.0.norm1.bias", "semantic_decoder.x"),
        *("semantic_quantizer.frozen_codebook", "pixel_quant_conv.bias", "pixel_decoder.conv_in.weight"),
    ],
}


@pytest.mark.parametrize("prefix", OTHERS)
def test_there_and_back_from_every_kind_of_file(prefix):
    source, shapes = random_source(prefix), TABLE.shapes(TINY)
    theirs = source | {key: np.zeros(1) for key in OTHERS[prefix]}
    flat = TABLE.read(theirs, shapes, "file")
    assert TABLE.left_out(theirs) == OTHERS[prefix]
    assert {path: x.shape for path, x in flat.items()} == shapes
    np.testing.assert_array_equal(
        flat["tokenizer/vit/patch_embed/kernel"][2, 1, 3, 0], source[f"{prefix}patch_embed.proj.weight"][:, 2, 1, 3, 0]
    )
    np.testing.assert_array_equal(
        flat["tokenizer/vit/layers/qkv/kernel"][2], source[f"{prefix}blocks.2.attn.qkv.weight"].T
    )
    back = TABLE.write(flat, shapes)
    assert {prefix + key for key in back} == set(source)
    assert all(np.array_equal(back[key], source[prefix + key]) for key in back)


def test_refusals():
    shapes = TABLE.shapes(TINY)
    few = random_source("visual.")
    del few["visual.blocks.1.norm2.bias"]
    with pytest.raises(UserError, match="expects keys that are missing: visual.blocks.1.norm2.bias"):
        TABLE.read(few, shapes, "file")
    for key in ("visual.blocks.3.norm2.bias", "visual.pos_embed", "extra.weight"):
        with pytest.raises(UserError, match=f"file: unknown keys for format qwen2_vl_vision: {key}"):
            TABLE.read(random_source("visual.") | {key: np.zeros(8)}, shapes, "file")
    with pytest.raises(UserError, match="unknown keys .*: model.visual.merger.gate"):
        TABLE.read(random_source("model.visual.") | {"model.visual.merger.gate": np.zeros(8)}, shapes, "file")
    with pytest.raises(UserError, match=r"config.model.vit: the config has no such section"):
        TABLE.shapes(ConfigDict({"model": {}}))
