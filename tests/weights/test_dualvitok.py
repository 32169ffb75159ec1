# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every pixel key of the released DualViTok maps to a parameter of ours and back, at full size, without arrays."""

import json
import math
import pathlib

import numpy as np
import pytest

from configs import models
from focus_jax.errors import UserError
from focus_jax.models.dual_tokenizer import DualTokenizer, dual_tokenizer
from focus_jax.models.pixel_branch import PixelBranch
from focus_jax.models.semantic_branch import SemanticBranch
from focus_jax.weights import dualvitok, patchgan
from focus_jax.weights.shapes import module_shapes
from focus_jax.weights.table import Table

# {key: shape} of the pixel half of the released checkpoint.
RELEASED = json.loads((pathlib.Path(__file__).parent / "dualvitok_pixel_keys.json").read_text())


def loop_shapes():
    model = DualTokenizer(pixel=PixelBranch())
    return module_shapes("tokenizer", model, (1, 16, 16, 3))


@pytest.mark.parametrize("shapes", [dualvitok.shapes(), loop_shapes()], ids=["scanned", "loop"])
def test_all_keys_and_shapes(shapes):
    keys = dualvitok.TABLE.keys(shapes)
    assert {key: list(shape) for key, (*_, shape) in keys.items()} == RELEASED


def test_keys_and_paths_are_one_to_one():
    paths = {key: dualvitok.TABLE.our_path(key) for key in RELEASED}
    assert all(paths.values())
    assert {path for path, _ in paths.values()} == set(loop_shapes())
    assert all(dualvitok.TABLE.their_key(path)[0] == key for key, (path, _) in paths.items())


def count(shapes, prefix):
    buffers = ("frozen_codebook", "running_mean", "running_var", "num_batches_tracked")
    return sum(math.prod(s) for p, s in shapes.items() if p.startswith(prefix) and not p.endswith(buffers))


def test_counts_of_the_released_sizes():
    """Counts of the released DualViTok and of its discriminator, from the ILLUME+ model code."""
    shapes = dualvitok.shapes()
    assert count(shapes, "tokenizer/pixel/encoder/") == 27_159_264
    assert count(shapes, "tokenizer/pixel/decoder/") == 476_363_523
    assert count(shapes, "tokenizer/pixel/quant_conv/") == 1_056
    assert count(shapes, "tokenizer/pixel/post_quant_conv/") == 4_160
    assert count(shapes, "tokenizer/pixel/quantizer/") == 1_024
    assert shapes["tokenizer/pixel/quantizer/frozen_codebook"] == (98_304, 32)
    assert count(patchgan.shapes(), "discriminator/") == 2_765_633


@pytest.mark.parametrize("scan", [True, False])
def test_semantic_rules_cover_the_release(scan):
    """Every key of the semantic half, the tower's aside, with its shape; counts of the release."""
    shapes = module_shapes(dualvitok.SEMANTIC, SemanticBranch(scan=scan), (1, 9, 9, 3584))
    table = Table("dualvitok", (dualvitok.SEMANTIC,), dualvitok.SEMANTIC_RULES, lambda config: shapes)
    released = json.loads((pathlib.Path(__file__).parent / "dualvitok_semantic_keys.json").read_text())
    assert {key: list(shape) for key, (*_, shape) in table.keys(shapes).items()} == released
    assert count(shapes, "tokenizer/semantic/encoder/") == 83_339_552
    assert count(shapes, "tokenizer/semantic/decoder/") == 83_350_272
    assert count(shapes, "tokenizer/semantic/quantizer/") == 1_024


def test_the_whole_release():
    """Its 999 keys and its counts, for the tokenizer that `dual_tokenizer` builds at full size in the form illume."""
    sizes = dict(depth=4, width=1280, heads=16, codes=32_768, code_block=4_096, scan=True, remat="full")
    model = dual_tokenizer(
        **models.tokenizer("full").to_dict() | {"branches": ("semantic", "pixel")},
        form="illume",
        vit=models.vit("full"),
        semantic=sizes,
    )
    shapes = module_shapes("tokenizer", model, (1, 32, 32, 3))
    table = Table("dualvitok", ("tokenizer",), dualvitok.WHOLE_RULES, lambda config: shapes)
    assert len(table.keys(shapes)) == 999
    trainable = count(shapes, "tokenizer/pixel/") + count(shapes, "tokenizer/semantic/")
    assert trainable == 670_219_875
    assert trainable + count(shapes, "tokenizer/vit/") == 1_345_978_979


def test_semantic_half_is_named_as_left_out():
    keys = ["semantic_encoder.proj_in.weight", "semantic_quantizer.frozen_codebook", "pixel_quant_conv.weight"]
    assert dualvitok.TABLE.left_out(keys) == keys[:2]
    with pytest.raises(UserError, match="unknown keys for format dualvitok: semantics"):
        dualvitok.TABLE.read({"semantics": np.zeros(1)}, dualvitok.shapes(), "x.pth")
