# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""ConvNeXt against transformers' ConvNextBackbone and ConvNextForImageClassification, and weights in timm's names.

Parameters travel through the tables in both directions, so the tables are under test as well.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

torch = pytest.importorskip("torch")

from transformers import ConvNextBackbone, ConvNextConfig, ConvNextForImageClassification  # noqa: E402
from transformers.models.convnext.modeling_convnext import ConvNextLayer  # noqa: E402

from focus_jax.models import convnext as ours  # noqa: E402
from focus_jax.training.parts import flatten, unflatten  # noqa: E402
from focus_jax.weights import convnext as tables  # noqa: E402
from tests.parity.compare import (  # noqa: E402
    BLOCK,
    NETWORK,
    assert_close,
    assert_gradients,
    gradients,
    nchw,
    nhwc,
    randomise,
    state,
)

pytestmark = pytest.mark.parity

SIZES = dict(widths=(16, 32, 48, 64), depths=(1, 1, 2, 1), patch=4)
PIXELS = np.random.default_rng(0).standard_normal((2, 64, 96, 3)).astype(np.float32)


def their_config(**change):
    config = dict(hidden_sizes=list(SIZES["widths"]), depths=list(SIZES["depths"]), num_labels=5)
    return ConvNextConfig(**config, **change)


def our_config(scan):
    convnext = SIZES | dict(scan=scan, remat="full" if scan else "none")
    return ConfigDict({"model": {"convnext": convnext}})


def load(table, source, config):
    """(our network, our parameters, shapes) with the weights of a state dict, which must come back bit for bit."""
    shapes = table.shapes(config)
    flat = table.read(source, shapes, "reference")
    assert {path: x.shape for path, x in flat.items()} == shapes
    back = table.write(flat, shapes)
    assert set(back) == set(source) - set(table.left_out(source))
    assert all(np.array_equal(back[k], source[k]) for k in back)
    return ours.convnext(**config.model.convnext), unflatten(flat)["tokenizer"]["convnext"], shapes


@functools.cache
def backbone():
    return randomise(ConvNextBackbone(their_config(out_features=["stage1", "stage2", "stage3", "stage4"])))


@pytest.mark.parametrize("scan", [False, True])
def test_maps_and_gradients(scan):
    theirs = backbone()
    model, params, shapes = load(tables.BACKBONE, state(theirs), our_config(scan))
    theirs.zero_grad()
    tensor = nchw(PIXELS).requires_grad_()
    wanted = theirs(tensor).feature_maps
    rng = np.random.default_rng(1)
    cotangents = [rng.standard_normal(m.shape).astype(np.float32) for m in wanted]
    sum((m * torch.from_numpy(c)).sum() for m, c in zip(wanted, cotangents, strict=True)).backward()

    def loss(params, pixels):
        maps = model.apply({"params": params}, pixels)
        ct = {f"res{i + 2}": np.moveaxis(c, 1, -1) for i, c in enumerate(cotangents)}
        return sum(jnp.sum(maps[name] * ct[name]) for name in ct), maps

    with jax.default_matmul_precision("highest"):
        (_, maps), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, PIXELS)
    assert sorted(maps) == ["res2", "res3", "res4", "res5"]
    for i, want in enumerate(wanted):
        assert maps[f"res{i + 2}"].shape == (2, 16 >> i, 24 >> i, SIZES["widths"][i])
        assert_close(maps[f"res{i + 2}"], nhwc(want), NETWORK, f"res{i + 2}")
    assert_close(grads[1], nhwc(tensor.grad), NETWORK, "gradient of the pixels")
    flat = {f"{tables.PART}/{path}": np.asarray(g) for path, g in flatten(grads[0]).items()}
    want_grads = gradients(theirs)
    assert set(want_grads) == set(state(theirs))
    assert_gradients(tables.BACKBONE.write(flat, shapes), want_grads)


@pytest.mark.parametrize("size", [(9, 14), (2, 3)])
def test_block(size):
    """One block, also on a map smaller than its kernel."""
    theirs = randomise(ConvNextLayer(their_config(), 24))
    prefix = "encoder.stages.0.layers.0."
    by_key = {key: tables.BACKBONE.our_path(prefix + key) for key in state(theirs)}
    params = unflatten({path: rule.transform.to_ours(state(theirs)[key]) for key, (path, rule) in by_key.items()})
    params = params["tokenizer"]["convnext"]["stage_0"]["layer_0"]
    rng = np.random.default_rng(2)
    x, cotangent = rng.standard_normal((2, 2, *size, 24)).astype(np.float32)
    tensor = nchw(x).requires_grad_()
    want = theirs(tensor)
    (want * nchw(cotangent)).sum().backward()
    with jax.default_matmul_precision("highest"):
        got, vjp = jax.vjp(jax.jit(lambda p, x: ours.Block().apply({"params": p}, x)), params, x)
        grads, dx = vjp(jnp.asarray(cotangent))
    assert_close(got, nhwc(want), BLOCK, "output")
    assert_close(dx, nhwc(tensor.grad), NETWORK, "gradient of the input")
    flat = flatten(grads, f"{tables.PART}/stage_0/layer_0/")
    assert_gradients(
        {key: rule.transform.to_theirs(np.asarray(flat[path])) for key, (path, rule) in by_key.items()},
        gradients(theirs),
    )


@functools.cache
def classifier():
    """(state dict of a classifier, its maps normalised without scale and shift): what its weights give as encoder."""
    theirs = randomise(ConvNextForImageClassification(their_config()), seed=3)
    hidden = theirs(nchw(PIXELS), output_hidden_states=True).hidden_states
    hidden = hidden[-4:]  # after each stage
    return state(theirs), [
        torch.nn.functional.layer_norm(m.permute(0, 2, 3, 1), m.shape[1:2], eps=1e-6) for m in hidden
    ]


def assert_maps(table, source):
    model, params, _ = load(table, source, our_config(True))
    with jax.default_matmul_precision("highest"):
        maps = jax.jit(lambda p: model.apply({"params": p}, PIXELS))(params)
    for i, want in enumerate(classifier()[1]):
        assert_close(maps[f"res{i + 2}"], want.detach().numpy(), NETWORK, f"res{i + 2}")


def test_classifier():
    source = classifier()[0]
    assert tables.CLASSIFIER.left_out(source) == [
        *("convnext.layernorm.weight", "convnext.layernorm.bias", "classifier.weight", "classifier.bias")
    ]
    assert_maps(tables.CLASSIFIER, source)


def timm_name(key):
    """A classifier's key in timm's naming."""
    key = key.removeprefix("convnext.")
    for theirs, timm in [
        (r"embeddings\.patch_embeddings", "stem.0"),
        (r"embeddings\.layernorm", "stem.1"),
        (r"encoder\.stages\.(\d)\.downsampling_layer", r"stages.\1.downsample"),
        (r"encoder\.stages\.(\d)\.layers\.(\d+)", r"stages.\1.blocks.\2"),
        (r"\.dwconv\.", ".conv_dw."),
        (r"(blocks\.\d+)\.layernorm", r"\1.norm"),
        (r"pwconv(\d)", r"mlp.fc\1"),
        ("layer_scale_parameter", "gamma"),
        (r"^layernorm", "head.norm"),
        (r"^classifier", "head.fc"),
    ]:
        key = re.sub(theirs, timm, key)
    return key


@pytest.mark.parametrize("prefix", ["", "visual.trunk."])
def test_timm_names(prefix):
    source = {prefix + timm_name(key): x for key, x in classifier()[0].items()}
    assert f"{prefix}stages.2.blocks.1.mlp.fc1.weight" in source and f"{prefix}stages.1.blocks.0.gamma" in source
    if prefix:  # open_clip's text tower beside it
        source |= {name: np.zeros(1) for name in ("logit_scale", "transformer.resblocks.0.ln_1.weight")}
    shapes = tables.TIMM.shapes(our_config(True))
    flat = tables.TIMM.read(source, shapes, "timm")
    want = tables.CLASSIFIER.read(classifier()[0], shapes, "transformers")
    assert set(flat) == set(want) and all(np.array_equal(flat[path], want[path]) for path in want)
    back = tables.TIMM.write(flat, shapes)
    assert set(back) == {key.removeprefix(prefix) for key in source} - set(
        tables.TIMM.left_out(key.removeprefix(prefix) for key in source)
    )


def test_pixels():
    images = np.random.default_rng(4).uniform(-1, 1, (1, 5, 7, 3)).astype(np.float32)
    byte = (images + 1) * 127.5
    want = (byte - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    assert_close(ours.convnext_pixels(jnp.asarray(images)), want, BLOCK, "pixels")


def test_keys_and_shapes_of_the_full_network():
    with torch.device("meta"):
        sizes = dict(hidden_sizes=[192, 384, 768, 1536], depths=[3, 3, 27, 3])
        whole = ConvNextBackbone(ConvNextConfig(**sizes, out_features=["stage1", "stage2", "stage3", "stage4"]))
        classifier = ConvNextForImageClassification(ConvNextConfig(**sizes))
    for table, theirs in ((tables.BACKBONE, whole), (tables.CLASSIFIER, classifier)):
        keys = {table.prefixes[0] + key: shape for key, (*_, shape) in table.keys(table.shapes()).items()}
        want = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
        assert keys == {key: shape for key, shape in want.items() if key not in table.left_out(want)}
    assert sum(p.numel() for p in whole.parameters()) == 196_233_024  # with the norms of the four maps
    assert sum(p.numel() for p in classifier.convnext.parameters()) == 196_230_336  # with the norm of the pooled map
