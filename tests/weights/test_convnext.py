# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every key of ConvNeXt-L in three namings maps to a parameter of ours and back, at full size, without arrays."""

import math

import numpy as np
import pytest
from ml_collections import ConfigDict

from focus_jax.errors import UserError
from focus_jax.models.convnext import ConvNeXt
from focus_jax.weights import convnext
from focus_jax.weights.shapes import module_shapes

WIDTHS, DEPTHS = (192, 384, 768, 1536), (3, 3, 27, 3)
TINY = ConfigDict({"model": {"convnext": dict(widths=(4, 6, 8, 10), depths=(1, 2, 3, 1), scan=True)}})


def pair(name, weight, bias):
    return {f"{name}.weight": weight, f"{name}.bias": (bias,)}


def released_keys(stem, stem_norm, stage, down, block, depthwise, norm, fc1, fc2, layer_scale):
    """{key: shape} of ConvNeXt-L without output norms; stage holds an {s}."""
    keys = pair(stem, (192, 3, 4, 4), 192) | pair(stem_norm, (192,), 192)
    for s, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
        at = stage.format(s=s)
        if s:
            before = WIDTHS[s - 1]
            keys |= pair(f"{at}.{down}.0", (before,), before) | pair(f"{at}.{down}.1", (width, before, 2, 2), width)
        for layer in (f"{at}.{block}.{i}" for i in range(depth)):
            keys |= pair(f"{layer}.{depthwise}", (width, 1, 7, 7), width) | pair(f"{layer}.{norm}", (width,), width)
            keys |= pair(f"{layer}.{fc1}", (4 * width, width), 4 * width)
            keys |= pair(f"{layer}.{fc2}", (width, 4 * width), width)
            keys[f"{layer}.{layer_scale}"] = (width,)
    return keys


TRANSFORMERS = released_keys(
    *("embeddings.patch_embeddings", "embeddings.layernorm", "encoder.stages.{s}", "downsampling_layer", "layers"),
    *("dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter"),
)
TIMM = released_keys(
    *("stem.0", "stem.1", "stages.{s}", "downsample", "blocks", "conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma")
)
NORMS = {k: v for i, w in enumerate(WIDTHS) for k, v in pair(f"hidden_states_norms.stage{i + 1}", (w,), w).items()}
TABLES = pytest.mark.parametrize(
    "table, released",
    [(convnext.BACKBONE, TRANSFORMERS | NORMS), (convnext.CLASSIFIER, TRANSFORMERS), (convnext.TIMM, TIMM)],
    ids=["backbone", "classifier", "timm"],
)


def loop_shapes():
    return module_shapes(convnext.PART, ConvNeXt(), (1, 32, 32, 3))


def random_source(table, prefix=""):
    rng = np.random.default_rng(0)
    keys = table.keys(table.shapes(TINY))
    return {prefix + key: rng.standard_normal(shape).astype(np.float32) for key, (*_, shape) in keys.items()}


@TABLES
def test_all_keys_and_shapes(table, released):
    for shapes in (table.shapes(), loop_shapes()):
        assert {key: shape for key, (*_, shape) in table.keys(shapes).items()} == released
        assert sum(math.prod(shape) for shape in shapes.values()) == 196_233_024


@TABLES
def test_keys_and_paths_are_one_to_one(table, released):
    paths = {key: table.our_path(key) for key in released}
    assert all(paths.values())
    assert {path for path, _ in paths.values()} == set(loop_shapes()) - set(table.set_to_constants(loop_shapes()))
    assert all(table.their_key(path)[0] == key for key, (path, _) in paths.items())


# A prefix of the format's files and keys that stand beside the trunk in such a file.
FILES = [
    (convnext.BACKBONE, "", []),
    (convnext.CLASSIFIER, "convnext.", ["convnext.layernorm.weight", "classifier.bias"]),
    (convnext.CLASSIFIER, "", ["layernorm.bias"]),
    (convnext.TIMM, "", ["head.norm.weight", "head.fc.bias"]),
    (
        convnext.TIMM,
        "visual.trunk.",
        ["visual.head.mlp.fc1.weight", "transformer.resblocks.0.ln_1.bias", "logit_scale"],
    ),
]


@pytest.mark.parametrize("table, prefix, others", FILES, ids=[f"{t.name}-{p}" for t, p, _ in FILES])
def test_there_and_back_from_every_kind_of_file(table, prefix, others):
    source, shapes = random_source(table, prefix), table.shapes(TINY)
    flat = table.read(source | {key: np.zeros(1) for key in others}, shapes, "file")
    assert {path: x.shape for path, x in flat.items()} == shapes
    back = table.write(flat, shapes)
    first = table.prefixes[0]
    assert {prefix + key.removeprefix(first) for key in back} == set(source)
    assert all(np.array_equal(x, source[prefix + key.removeprefix(first)]) for key, x in back.items())


def test_output_norms_that_a_format_lacks_are_one_and_zero_and_must_stay_so():
    table, shapes = convnext.TIMM, convnext.shapes(TINY)
    flat = table.read(random_source(table), shapes, "file")
    norms = [f"{convnext.PART}/norm_{i}/{name}" for i in range(4) for name in ("scale", "bias")]
    assert sorted(table.set_to_constants(flat)) == sorted(norms) and not convnext.BACKBONE.set_to_constants(flat)
    assert all(np.all(flat[path] == path.endswith("scale")) and flat[path].dtype == np.float32 for path in norms)
    flat[norms[3]] = flat[norms[3]] + 0.5
    with pytest.raises(UserError, match="convnext_timm: .* no key for tokenizer/convnext/norm_1/bias, which is not 0"):
        table.write(flat, shapes)
    assert "hidden_states_norms.stage2.bias" in convnext.BACKBONE.write(flat, shapes)


def test_refusals():
    shapes = convnext.shapes(TINY)
    for key in random_source(convnext.BACKBONE):
        if key.startswith("hidden_states_norms") or key.endswith("layers.1.dwconv.bias"):
            source = random_source(convnext.BACKBONE)
            del source[key]
            with pytest.raises(UserError, match=f"format convnext expects keys that are missing: {key}"):
                convnext.BACKBONE.read(source, shapes, "file")
    for table, key in [
        (convnext.BACKBONE, "classifier.weight"),
        (convnext.BACKBONE, "encoder.stages.2.layers.3.dwconv.bias"),
        (convnext.CLASSIFIER, "hidden_states_norms.stage1.weight"),
        (convnext.TIMM, "stages.0.downsample.0.weight"),
    ]:
        with pytest.raises(UserError, match=f"unknown keys for format {table.name}: {key}"):
            table.read(random_source(table) | {key: np.zeros(4)}, shapes, "file")
