# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The tokenizer as a whole: shapes, the codebook's gradients, the unquantised warm-up, what it refuses."""

import copy

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import models
from focus_jax.errors import UserError
from focus_jax.models.dual_tokenizer import DualTokenizer, drop_mask, dual_tokenizer
from focus_jax.models.pixel_branch import PixelBranch
from tests.models.fill import random_parameters

SIZES = dict(branches=("pixel",), semantic_dim=8, pixel=models.pixel_branch("tiny").to_dict())
SIZES["pixel"] |= dict(codes=64, groups=4)
for side in ("encoder", "decoder"):  # compiling is what these tests cost
    SIZES["pixel"][side] |= dict(widths=(8, 16), attention_levels=())
IMAGES = jax.random.uniform(jax.random.key(1), (2, 16, 24, 3), minval=-1.0)


@pytest.fixture(scope="module")
def tokenizer():
    """(model, parameters, jitted call)."""
    model = dual_tokenizer(**SIZES)
    params = random_parameters(model, IMAGES)
    params["pixel"]["quantizer"]["frozen_codebook"] *= 8**0.5  # standard deviation 1, as z
    call = jax.jit(lambda params, images, quantise: model.apply({"params": params}, images, quantise=quantise))
    return model, params, call


def test_shapes_and_parts(tokenizer):
    model, params, call = tokenizer
    y, out = call(params, IMAGES, True)
    assert model.stride == 8 and y.shape == IMAGES.shape and y.dtype == jnp.float32
    assert out["pixel"]["z"].shape == (2, 2, 3, 8) and out["pixel"]["indices"].shape == (2, 2, 3)
    assert set(params) == {"pixel"}
    assert set(params["pixel"]) == {"encoder", "quant_conv", "quantizer", "post_quant_conv", "decoder"}


def test_codes_decode_to_the_reconstruction(tokenizer):
    model, params, call = tokenizer
    y, out = call(params, IMAGES, True)
    decode = jax.jit(
        lambda params, indices: model.apply({"params": params}, {"pixel": indices}, method="indices_to_images")
    )
    images = decode(params, out["pixel"]["indices"])
    np.testing.assert_allclose(images, y, atol=1e-4)
    codebook = model.apply({"params": params}, method=lambda m: m.pixel.quantizer.codebook())
    np.testing.assert_allclose(out["pixel"]["codes"], codebook[out["pixel"]["indices"]], atol=1e-6)


def test_semantic_half_is_zero_and_first(tokenizer):
    model, params, _ = tokenizer
    code_map = model.apply({"params": params}, {"pixel": jnp.ones((1, 2, 3, 8))}, (2, 3), method="code_map")
    assert code_map.shape == (1, 2, 3, 16)
    assert not np.any(code_map[..., :8]) and np.all(code_map[..., 8:] == 1)


def test_unquantised_warm_up(tokenizer):
    """quantise=False, traced or static: z passes through and the errors are zero; with True they are not."""
    model, params, call = tokenizer
    static = jax.jit(lambda params: model.apply({"params": params}, IMAGES, quantise=False))
    y = call(params, IMAGES, False)[0]
    for _, out in (call(params, IMAGES, False), static(params)):
        out = out["pixel"]
        np.testing.assert_array_equal(out["quantised"], out["z"])
        assert not any(np.any(out[name]) for name in ("error", "codebook_error", "commitment_error"))
    y_quantised, quantised = call(params, IMAGES, True)
    assert np.all(quantised["pixel"]["error"] > 0) and np.max(np.abs(y - y_quantised)) > 1e-3


@pytest.mark.slow
def test_gradients_of_the_terms(tokenizer):
    """Reconstruction reaches the encoder and not W; the codebook term reaches W and not the encoder."""
    _, params, call = tokenizer

    def terms(params, quantise):
        y, out = call(params, IMAGES, quantise)
        out = out["pixel"]
        return jnp.stack([jnp.abs(y - IMAGES).mean(), out["codebook_error"].mean(), out["commitment_error"].mean()])

    jacobian = jax.jit(jax.jacrev(terms))

    def reached(quantise):
        """{part: for each term, whether any of its parameters has a gradient}."""
        grads = jacobian(params, quantise)["pixel"]
        return {k: [any(bool(np.any(g[i])) for g in jax.tree.leaves(grads[k])) for i in range(3)] for k in grads}

    quantised = reached(True)
    assert quantised["encoder"] == [True, False, True]
    assert quantised["quantizer"] == [False, True, False]
    warm_up = reached(False)
    assert warm_up["encoder"] == [True, False, False]
    assert warm_up["quantizer"] == [False, False, False]
    out = call(params, IMAGES, True)[1]["pixel"]
    np.testing.assert_allclose(out["error"], out["codebook_error"] + 0.25 * out["commitment_error"], rtol=1e-6)


def test_bfloat16_compute_keeps_the_quantiser_in_float32(tokenizer):
    _, params, _ = tokenizer
    model = dual_tokenizer(**SIZES, dtype=jnp.bfloat16)
    text = str(jax.make_jaxpr(lambda p: model.apply({"params": p}, IMAGES))(params))
    assert "bf16" in text
    y, out = jax.eval_shape(lambda p: model.apply({"params": p}, IMAGES), params)
    assert y.dtype == jnp.float32
    assert all(out["pixel"][name].dtype == jnp.float32 for name in ("z", "quantised", "codes", "error"))


def test_initial_values_are_torch_defaults():
    """Uniform within 1/sqrt(fan_in) for kernels and biases; norms 1 and 0; codebook N(0, 1/dim)."""

    @jax.jit
    def some(key):  # only what is looked at gets compiled
        pixel = nn.unbox(dual_tokenizer(**SIZES).init(key, IMAGES))["params"]["pixel"]
        norm = pixel["decoder"]["norm_out"]["norm_layer"]
        return pixel["decoder"]["conv_in"], norm, pixel["quantizer"]["frozen_codebook"]

    conv, norm, frozen = some(jax.random.key(0))
    bound = (9 * 16) ** -0.5
    for leaf in (conv["kernel"], conv["bias"]):
        assert 0.8 * bound < np.max(np.abs(leaf)) <= bound
    assert abs(np.std(conv["kernel"]) - bound / 3**0.5) < 0.02 * bound
    assert np.all(norm["scale"] == 1) and np.all(norm["bias"] == 0)
    assert abs(np.std(frozen) - 8**-0.5) < 0.05


def sizes(**changes):
    changed = copy.deepcopy(SIZES)
    for path, value in changes.items():
        at = changed
        *folders, name = path.split("__")
        for folder in folders:
            at = at[folder]
        at[name] = value
    return changed


@pytest.mark.parametrize(
    "changes, sentence",
    [
        (
            {"branches": ("pixel", "semantics")},
            r"tokenizer.branches: \('pixel', 'semantics'\), expected \('semantic', 'pixel'\) or \('pixel',\) or \('sem",
        ),
        ({"branches": ()}, "tokenizer.branches"),
        ({"form": "llava"}, "tokenizer.form: 'llava', expected one of focus, illume"),
        ({"branches": ("semantic", "pixel")}, "in the form focus need sizes of semantic, vit, convnext, fusion"),
        ({"branches": ("semantic", "pixel"), "form": "illume"}, "in the form illume need sizes of semantic, vit"),
        ({"pixel__encoder__widths": (8, 18)}, "pixel encoder: width 18 is not divisible by the 4 groups"),
        ({"pixel__code_dim": 12}, "pixel encoder: last width 16 is not divisible by code_dim 12"),
        ({"pixel__decoder__widths": (8, 20)}, "pixel decoder: last width 20 is not divisible by the 16 channels"),
        ({"pixel__decoder__widths": (8, 16, 16)}, "2 encoder levels but 3 decoder levels"),
        ({"pixel__remat": "sometimes"}, "remat: 'sometimes' is not 'none', 'full'"),
    ],
)
def test_sizes_that_do_not_fit(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        jax.eval_shape(dual_tokenizer(**sizes(**changes)).init, jax.random.key(0), IMAGES)


def test_images_that_do_not_fit(tokenizer):
    model, params, _ = tokenizer
    with pytest.raises(UserError, match="images: 16 x 20 pixels, expected multiples of the stride 8"):
        model.apply({"params": params}, IMAGES[:, :, :20])
    with pytest.raises(UserError, match="code map has 64 channels, expected 16 semantic . 32 pixel"):
        DualTokenizer(pixel=PixelBranch(), semantic_dim=16)


# ----------------------------------------------------------------------------------------------------- both branches
LARGE = jax.random.uniform(jax.random.key(2), (2, 32, 48, 3), minval=-1.0)
HIGH = jax.image.resize(LARGE, (2, 64, 96, 3), "cubic")
BOTH = SIZES | {
    "branches": ("semantic", "pixel"),
    "vit": dict(depth=1, width=16, heads=2, patch=8, merge=2, out=24),
    "semantic": dict(depth=1, width=16, heads=2, codes=32, code_block=32),
    "convnext": dict(widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), layer_scale=0.1),
    "fusion": dict(width=32, heads=2),
    "high": 96,
}


@pytest.fixture(scope="module")
def both():
    """(focus, its parameters, illume, jitted calls of the two)."""
    focus, illume = dual_tokenizer(**BOTH), dual_tokenizer(**BOTH, form="illume")
    params = random_parameters(focus, LARGE, HIGH)
    fused = jax.jit(lambda p, x, high, drop: focus.apply({"params": p}, x, high, drop=drop))
    alone = jax.jit(lambda p, x: illume.apply({"params": p}, x))
    return focus, params, illume, fused, alone


def asleep(params):
    out = jax.tree.map(np.zeros_like, params["fusion"]["out"])
    return params | {"fusion": params["fusion"] | {"out": out}}


def test_focus_with_its_zero_output_is_illume(both):
    focus, params, illume, fused, alone = both
    assert set(params) == {"pixel", "semantic", "vit", "convnext", "fusion"}
    rest = {k: v for k, v in params.items() if k not in ("convnext", "fusion")}
    y, out = fused(asleep(params), LARGE, HIGH, None)
    z, plain = alone(rest, LARGE)
    np.testing.assert_allclose(y, z, atol=1e-5)
    np.testing.assert_array_equal(out["semantic"]["indices"], plain["semantic"]["indices"])
    assert out["semantic"]["decoded"].shape == out["semantic"]["target"].shape == (2, 2, 3, 24)
    awake, found = fused(params, LARGE, HIGH, None)
    assert float(jnp.abs(awake - y).max()) > 1e-3
    np.testing.assert_allclose(
        found["semantic"]["target"], plain["semantic"]["target"], atol=1e-5
    )  # the frozen tower's


def test_gradients_of_the_losses_reach_what_trains(both):
    """Of the reconstruction: pixel and semantic branch and fusion, no encoder; the target moves nothing."""
    focus, params, _, _, _ = both
    loss = lambda p: jnp.abs(focus.apply({"params": p}, LARGE, HIGH)[0] - LARGE).mean()
    grads = jax.jit(jax.grad(loss))(params)
    moved = {name for name, part in grads.items() if any(bool(jnp.any(g)) for g in jax.tree.leaves(part))}
    assert moved == {"pixel", "semantic", "fusion"}


def test_codes_of_both_halves_decode_to_the_reconstruction(both):
    focus, params, _, fused, _ = both
    y, out = fused(params, LARGE, HIGH, None)
    decode = lambda p, i: focus.apply({"params": p}, i, method="indices_to_images")
    indices = {name: found["indices"] for name, found in out.items()}
    np.testing.assert_allclose(jax.jit(decode)(params, indices), y, atol=1e-4)
    again = jax.jit(lambda p, x, high: focus.apply({"params": p}, x, high, method="indices"))(params, LARGE, HIGH)
    jax.tree.map(np.testing.assert_array_equal, again, indices)
    assert {k: x.shape[1:] for k, x in again.items()} == focus.grids(32, 48) == {"semantic": (2, 3), "pixel": (4, 6)}
    with pytest.raises(UserError, match="codes of the branches pixel, expected pixel, semantic"):
        decode(params, {"pixel": indices["pixel"]})


def test_dropped_codes_are_those_of_the_previous_picture(both):
    focus, params, _, fused, _ = both
    y, _ = fused(params, LARGE, HIGH, None)
    none, _ = fused(params, LARGE, HIGH, jnp.zeros((2, 4, 6), bool))
    np.testing.assert_allclose(none, y, atol=1e-5)
    every, out = fused(params, LARGE, HIGH, jnp.ones((2, 4, 6), bool))
    indices = {"pixel": out["pixel"]["indices"][::-1], "semantic": out["semantic"]["indices"]}
    wanted = jax.jit(lambda p, i: focus.apply({"params": p}, i, method="indices_to_images"))(params, indices)
    np.testing.assert_allclose(every, wanted, atol=1e-4)


def test_drop_mask_has_its_rates():
    mask = np.asarray(drop_mask(jax.random.split(jax.random.key(0), 4000), (4, 6), 0.1, 0.25))
    rows = mask.any((1, 2))
    assert abs(rows.mean() - 0.25 * (1 - 0.9**24)) < 0.03 and abs(mask[rows].mean() - 0.1 / (1 - 0.9**24)) < 0.01


@pytest.mark.slow
def test_focus_asks_for_the_high_resolution(both):
    focus, params, _, _, _ = both
    with pytest.raises(UserError, match="the form focus needs the high-resolution pictures"):
        focus.apply({"params": params}, LARGE)
    with pytest.raises(UserError, match="pictures of 32 x 48 pixels, expected a long edge of 96"):
        focus.apply({"params": params}, LARGE, LARGE)
    with pytest.raises(UserError, match="tokenizer.high: 100, expected a multiple of .* stride 32"):
        dual_tokenizer(**BOTH | {"high": 100})
    assert focus.reads_high == 96 and dual_tokenizer(**BOTH, form="illume").reads_high == 0


def test_bfloat16_of_both_branches():
    """Compute is bfloat16; z, codes, what the cosine compares and the pictures are float32."""
    model = dual_tokenizer(**BOTH, dtype=jnp.bfloat16)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), LARGE, HIGH)["params"])
    y, out = jax.eval_shape(lambda p: model.apply({"params": p}, LARGE, HIGH), params)
    assert y.dtype == jnp.float32 and "bf16" in str(
        jax.make_jaxpr(lambda p: model.apply({"params": p}, LARGE, HIGH))(params)
    )
    for branch, found in out.items():
        wrong = {
            name: x.dtype for name, x in found.items() if x.dtype != (jnp.int32 if name == "indices" else jnp.float32)
        }
        assert not wrong, (branch, wrong)


def test_single_resolution(both):
    """high = 0: the hierarchical encoder sees the images, padded to whole cells of its last map."""
    _, params, _, _, _ = both
    model = dual_tokenizer(**BOTH | {"high": 0})
    low, fused = jax.jit(lambda p, x: model.apply({"params": p}, x, method="tokens"))(params, LARGE)
    same = dual_tokenizer(**BOTH | {"high": 64})
    padded = jnp.pad(LARGE, ((0, 0), (0, 0), (0, 16), (0, 0)))
    assert low.shape == fused.shape == (2, 2, 3, 24) and model.reads_high == 0
    assert float(jnp.abs(fused - low).max()) > 1e-3 and padded.shape[2] == same.high


def test_semantic_codes_alone(both):
    """The ablation without a pixel branch: its networks are the same, the decoder's pixel half is zero."""
    _, params, _, _, _ = both
    model = dual_tokenizer(**BOTH | {"branches": ("semantic",)})
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), LARGE, HIGH)["params"])
    assert set(shapes["pixel"]) == {"post_quant_conv", "decoder"}
    used = params | {"pixel": {name: params["pixel"][name] for name in shapes["pixel"]}}
    y, out = jax.jit(lambda p: model.apply({"params": p}, LARGE, HIGH, drop=jnp.ones((2, 4, 6), bool)))(used)
    assert set(out) == {"semantic"} and y.shape == LARGE.shape and model.grids(32, 48) == {"semantic": (2, 3)}
    decode = lambda p, i, grid: model.apply({"params": p}, i, grid, method="indices_to_images")
    again = jax.jit(decode, static_argnums=2)(used, {"semantic": out["semantic"]["indices"]}, (4, 6))
    np.testing.assert_allclose(again, y, atol=1e-4)
    with pytest.raises(UserError, match="semantic codes alone do not tell the picture's size"):
        decode(used, {"semantic": out["semantic"]["indices"]}, None)
