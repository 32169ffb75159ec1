# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every key of the released DualViTok maps to a parameter of ours and back: at full size without arrays, tiny with."""

import functools
import json
import math
import pathlib

import numpy as np
import pytest
from ml_collections import ConfigDict

from focus_jax.errors import UserError
from focus_jax.models.dual_tokenizer import DualTokenizer
from focus_jax.models.pixel_branch import PixelBranch
from focus_jax.models.qwen_vit import QwenViT
from focus_jax.models.semantic_branch import SemanticBranch
from focus_jax.weights import dualvitok, patchgan
from focus_jax.weights.shapes import module_shapes

TABLE = dualvitok.TABLE
# {key: shape} of the released checkpoint.
RELEASED = json.loads((pathlib.Path(__file__).parent / "dualvitok_keys.json").read_text())
KINDS = [("semantic", "pixel"), ("pixel",), ("semantic",)]


@functools.cache
def full_shapes(scan):
    if scan:
        return dualvitok.shapes()
    return module_shapes("tokenizer", DualTokenizer(PixelBranch(), SemanticBranch(), QwenViT()), (1, 16, 16, 3))


@pytest.mark.parametrize("scan", [True, False])
def test_all_keys_and_shapes(scan):
    keys = TABLE.keys(full_shapes(scan))
    assert len(RELEASED) == 999
    assert {key: list(shape) for key, (*_, shape) in keys.items()} == RELEASED


def test_keys_and_paths_are_one_to_one():
    paths = {key: TABLE.our_path(key) for key in RELEASED}
    assert all(paths.values())
    assert {path for path, _ in paths.values()} == set(full_shapes(False))
    assert all(TABLE.their_key(path)[0] == key for key, (path, _) in paths.items())


def count(shapes, prefix):
    buffers = ("frozen_codebook", "running_mean", "running_var", "num_batches_tracked")
    return sum(math.prod(s) for p, s in shapes.items() if p.startswith(prefix) and not p.endswith(buffers))


def test_counts_of_the_released_sizes():
    """Counts of the released DualViTok and of its discriminator, from the ILLUME+ model code."""
    shapes = full_shapes(True)
    assert count(shapes, "tokenizer/vit/") == 675_759_104
    assert count(shapes, "tokenizer/semantic/encoder/") == 83_339_552
    assert count(shapes, "tokenizer/semantic/decoder/") == 83_350_272
    assert count(shapes, "tokenizer/semantic/quantizer/") == 1_024
    assert count(shapes, "tokenizer/pixel/encoder/") == 27_159_264
    assert count(shapes, "tokenizer/pixel/decoder/") == 476_363_523
    assert count(shapes, "tokenizer/pixel/quant_conv/") == 1_056
    assert count(shapes, "tokenizer/pixel/post_quant_conv/") == 4_160
    assert count(shapes, "tokenizer/pixel/quantizer/") == 1_024
    assert count(shapes, "tokenizer/semantic/") + count(shapes, "tokenizer/pixel/") == 670_219_875
    assert count(shapes, "tokenizer/") == 1_345_978_979
    assert shapes["tokenizer/semantic/quantizer/frozen_codebook"] == (32_768, 32)
    assert shapes["tokenizer/pixel/quantizer/frozen_codebook"] == (98_304, 32)
    assert count(patchgan.shapes(), "discriminator/") == 2_765_633


def config(branches=("semantic", "pixel"), scan=False, **changes):
    """A tokenizer in the form focus with two or three layers in every stack."""
    run = dict(scan=scan, remat="none")
    coder = dict(widths=(8, 16), attention_levels=(1,))
    pixel = dict(
        patch=2, groups=4, code_dim=4, codes=8, code_block=8, encoder=dict(**coder, blocks=2),
        decoder=dict(**coder, blocks=3), **run,
    )  # fmt: skip
    tokenizer = dict(
        branches=branches, form="focus", semantic_dim=4, high=64, pixel=pixel,
        semantic=dict(depth=2, width=8, heads=2, codes=6, code_block=6, **run),
        vit=dict(depth=3, width=8, heads=2, patch=4, merge=2, out=6, **run),
        convnext=dict(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), **run), fusion=dict(levels=("res5",), width=8, heads=2),
    )  # fmt: skip
    return ConfigDict({"model": {"tokenizer": tokenizer | changes}})


@functools.cache
def shapes_of(branches, scan):
    return dualvitok.shapes(config(branches, scan))


@functools.cache
def released(branches=("semantic", "pixel")):
    """{their key: random array} of the tiny tokenizer."""
    rng = np.random.default_rng(0)
    keys = TABLE.keys(shapes_of(branches, False))
    return {key: rng.standard_normal(shape).astype(np.float32) for key, (*_, shape) in keys.items()}


def assert_same(got, want):
    assert set(got) == set(want) and all(np.array_equal(got[key], want[key]) for key in want)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("branches", KINDS)
def test_there_and_back(branches, scan):
    """The whole release, read by a network with these branches, which takes its own keys and passes over the others."""
    whole, shapes = released(), shapes_of(branches, scan)
    mine = {key: whole[key] for key in released(branches)}
    assert any("/layers/" in path for path in shapes) == scan
    assert {path.split("/")[1] for path in shapes} == (
        {"pixel"} if branches == ("pixel",) else {"vit", "semantic", "pixel"}
    )
    flat = TABLE.read(whole, shapes, "file")
    assert {path: x.shape for path, x in flat.items()} == shapes
    assert_same(TABLE.read(mine, shapes, "file"), flat)  # a file without the others will do
    assert TABLE.left_out(whole, flat) == [key for key in whole if key not in mine]
    other = {("pixel",): "semantic_", ("semantic",): ("pixel_encoder.", "pixel_quant")}.get(branches, ())
    assert all(key.startswith(other) for key in TABLE.left_out(whole, flat))
    assert_same(TABLE.write(flat, shapes), mine)
    assert_same(TABLE.write(flat), mine)
    said = {("pixel",): "the pixel half only", ("semantic",): "the semantic half and the pixel decoder only"}
    assert TABLE.remarks(flat, flat) == [f"it holds {said[branches]}" for _ in said if branches in said][:1]


@pytest.mark.parametrize("scan", [False, True])
def test_form_focus(scan):
    """The three parts are those of the form illume; fusion and convnext are not written, and that is said."""
    shapes = shapes_of(("semantic", "pixel"), scan)
    assert shapes == dualvitok.shapes(config(scan=scan, form="illume"))
    flat = TABLE.read(released(), shapes, "file")
    more = flat | {"tokenizer/fusion/out/kernel": np.zeros(1), "tokenizer/convnext/stem/bias": np.zeros(1)}
    assert_same(TABLE.write(more, shapes), released())
    assert_same(TABLE.write(more), released())
    (remark,) = TABLE.remarks(more, shapes)
    assert remark.startswith("tokenizer/fusion and tokenizer/convnext have no key in this format")


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"semantic_encoder.model.blocks.1.norm2.bias": None}, "missing: semantic_encoder.model.blocks.1.norm2.bias"),
        ({"semantic_decoder.proj_out.1.weight": None}, "missing: semantic_decoder.proj_out.1.weight"),
        ({"pixel_quantizer.frozen_codebook": None}, "missing: pixel_quantizer.frozen_codebook"),
        ({"semantic_encoder.model.blocks.3.norm2.bias": np.zeros(8)}, "unknown .*: semantic_encoder.model.blocks.3"),
        ({"semantic_encoder.gate": np.zeros(1)}, "unknown keys for format dualvitok: semantic_encoder.gate"),
        ({"pixel_gate": np.zeros(1)}, "unknown keys for format dualvitok: pixel_gate"),
        (
            {"semantic_encoder.blocks.1.attn.qkv.weight": np.zeros((24, 9))},
            r"semantic_encoder.blocks.1.attn.qkv.weight has shape \[24, 9\], expected \[24, 8\]",
        ),
        ({"semantic_encoder.proj_in.weight": np.zeros((8, 6))}, r"has shape \[8, 6\], expected \[8, 6, 1, 1\]"),
        ({"pixel_decoder.conv_out.bias": np.zeros(3)}, r"conv_out.bias has shape \[3\], expected \[12\]"),
    ],
)
def test_reading_is_strict(scan, change, sentence):
    theirs = {key: x for key, x in (released() | change).items() if x is not None}
    with pytest.raises(UserError, match=f"^file: .*{sentence}"):
        TABLE.read(theirs, shapes_of(("semantic", "pixel"), scan), "file")


def test_a_branch_is_read_strictly_beside_the_other():
    shapes = shapes_of(("pixel",), False)
    with pytest.raises(UserError, match="unknown keys for format dualvitok: pixel_gate"):
        TABLE.read(released() | {"pixel_gate": np.zeros(1)}, shapes, "file")
    with pytest.raises(UserError, match="unknown keys for format dualvitok: semantics"):
        TABLE.read(released() | {"semantics": np.zeros(1)}, shapes, "file")
    few = {key: x for key, x in released().items() if key != "pixel_encoder.conv_out.bias"}
    with pytest.raises(UserError, match="missing: pixel_encoder.conv_out.bias"):
        TABLE.read(few, shapes, "file")


# One parameter of each part that every size has, and what no network of the kind has.
FIXED = {
    "tokenizer/vit/patch_embed/kernel": "semantic",
    "tokenizer/semantic/encoder/proj_in/kernel": "semantic",
    "tokenizer/semantic/quantizer/code_transform/kernel": "semantic",
    "tokenizer/pixel/encoder/conv_in/kernel": "pixel",
    "tokenizer/pixel/quantizer/frozen_codebook": "pixel",
    "tokenizer/pixel/decoder/conv_in/kernel": "",
}


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("branches", KINDS)
def test_writing_without_sizes_asks_for_what_every_size_has(branches, scan):
    flat = TABLE.read(released(), shapes_of(branches, scan), "file")
    for path, branch in FIXED.items():
        assert (path in flat) == (branch in (*branches, ""))
        if path in flat:
            with pytest.raises(UserError, match=f"dualvitok: the checkpoint lacks {path}"):
                TABLE.write({p: x for p, x in flat.items() if p != path})


def test_writing_parts_of_a_tokenizer():
    flat = TABLE.read(released(), shapes_of(("semantic", "pixel"), False), "file")
    only = lambda *prefixes: {path: x for path, x in flat.items() if path.startswith(prefixes)}
    half = {key: released()[key] for key in released(("pixel",))}
    assert_same(TABLE.write(flat, shapes_of(("pixel",), False)), half)
    # The tower may be there for another end than this tokenizer's.
    assert_same(TABLE.write(only("tokenizer/vit/", "tokenizer/pixel/")), half)
    with pytest.raises(UserError, match="lacks tokenizer/vit/merger"):
        TABLE.write(only("tokenizer/semantic/", "tokenizer/pixel/"))
    with pytest.raises(UserError, match="lacks tokenizer/pixel/decoder/conv_in/bias"):
        TABLE.write(only("tokenizer/vit/", "tokenizer/semantic/"))
    for prefix in ("tokenizer/vit/", "tokenizer/pixel/decoder/", "llm/"):
        with pytest.raises(UserError, match="holds no parameter of tokenizer/semantic, tokenizer/pixel/encoder"):
            TABLE.write(only(prefix))
    with pytest.raises(UserError, match="lacks tokenizer/semantic/decoder/layer_0/fc1/bias"):
        TABLE.write(only("tokenizer/pixel/"), shapes_of(("semantic", "pixel"), False))


def test_a_config_without_a_tokenizer():
    with pytest.raises(UserError, match="config.model.tokenizer: the config has no such section"):
        dualvitok.shapes(ConfigDict({"model": {}}))
