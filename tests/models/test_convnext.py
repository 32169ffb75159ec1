# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""ConvNeXt: sizes, shapes, dtypes, layouts and refusals. Numbers are in tests/parity."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import models
from focus_jax.errors import UserError
from focus_jax.models.convnext import convnext, convnext_pixels
from focus_jax.models.stack import stack_layers
from tests.models.fill import random_parameters

TINY = dict(widths=(4, 8, 12), depths=(1, 2, 0), patch=2)
X = np.random.default_rng(0).standard_normal((2, 16, 24, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def parameters():
    return random_parameters(convnext(**TINY), X)


@pytest.fixture(scope="module")
def run():
    """One compiled network for all tests of its maps."""
    return jax.jit(lambda params: convnext(**TINY).apply({"params": params}, X))


def test_maps(parameters, run):
    """Any number of stages, also one without blocks; each output is normalised."""
    maps = run(parameters)
    assert {name: x.shape for name, x in maps.items()} == {
        **{"res2": (2, 8, 12, 4), "res3": (2, 4, 6, 8), "res4": (2, 2, 3, 12)}
    }
    assert "layer_0" not in parameters["stage_2"] and convnext(**TINY).stride == 8
    plain = {**parameters, "norm_1": {"scale": np.ones(8), "bias": np.zeros(8)}}
    res3 = run(plain)["res3"]
    np.testing.assert_allclose(res3.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(res3.std(-1), 1, atol=1e-3)


def test_full_parameters_are_those_of_the_release():
    """ConvNeXt-L with four output norms, without the pooled norm that ConvNextModel's 196,230,336 hold."""
    model = convnext(**models.convnext("full"))
    abstract = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    count = sum(math.prod(x.shape) for x in jax.tree.leaves(nn.unbox(abstract)))
    assert count == 196_230_336 - 2 * 1536 + 2 * (192 + 384 + 768 + 1536)
    maps = jax.eval_shape(lambda p: model.apply(p, jnp.zeros((1, 768, 768, 3))), nn.unbox(abstract))
    assert [maps[f"res{i}"].shape for i in range(2, 6)] == [
        *((1, 192, 192, 192), (1, 96, 96, 384), (1, 48, 48, 768), (1, 24, 24, 1536))
    ]


def test_start_values():
    model = convnext(widths=(8,), depths=(1,), patch=4, layer_scale=0.25)
    params = nn.unbox(jax.jit(model.init)(jax.random.key(0), X))["params"]
    block = params["stage_0"]["layer_0"]
    assert np.all(block["layer_scale"] == 0.25) and not np.any(block["depthwise"]["bias"])
    assert 0.5 < 7 * np.std(block["depthwise"]["kernel"]) < 1.5


def test_tiny_config():
    model = convnext(**models.convnext("tiny"))
    pixels = jax.ShapeDtypeStruct((2, 128, 128, 3), jnp.float32)
    maps = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], pixels)
    assert {name: x.shape[1:] for name, x in maps.items()} == {
        **{"res2": (32, 32, 24), "res3": (16, 16, 48), "res4": (8, 8, 80), "res5": (4, 4, 112)}
    }


def test_pixels():
    images = jnp.asarray([[[[-1.0, 0.0, 1.0]]]])
    want = [(0 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(convnext_pixels(images)[0, 0, 0], want, rtol=1e-6)


def test_dtypes(parameters, run):
    model = convnext(**TINY, dtype=jnp.bfloat16)
    maps, want = jax.jit(lambda params: model.apply({"params": params}, X))(parameters), run(parameters)
    for name, x in maps.items():
        assert x.dtype == jnp.bfloat16 and want[name].dtype == jnp.float32
        assert 0 < np.max(np.abs(x.astype(jnp.float32) - want[name])) < 0.05 * np.max(np.abs(want[name]))


@pytest.mark.slow
def test_scan_equals_loop_and_remat_none(parameters):
    def run(params, **change):
        model = convnext(**TINY, **change)
        loss = lambda params, x: sum(jnp.sum(jnp.sin(m)) for m in model.apply({"params": params}, x).values())
        value, (grads, dx) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, X)
        return value, grads, dx

    value, grads, dx = run(parameters)
    stacked = stack_layers(parameters)
    assert "layers" in stacked["stage_1"] and "layer_0" in stacked["stage_0"]
    found, want = run(stacked, scan=True, remat="full"), (value, stack_layers(grads), dx)
    assert jax.tree.structure(found) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        assert np.max(np.abs(a - b)) <= 1e-5 * max(np.max(np.abs(b)), 1e-3)


def test_refusals(parameters):
    with pytest.raises(UserError, match="convnext: 16 x 20 pixels, expected multiples of the stride 8"):
        convnext(**TINY).apply({"params": parameters}, X[:, :, :20])
    with pytest.raises(UserError, match="convnext: 3 widths but 2 depths, expected one a stage"):
        convnext(widths=(4, 8, 12), depths=(1, 2))
