# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Scan = loop and remat = none, forward and gradients, and the two parameter layouts turn into each other."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.errors import UserError
from focus_jax.models.pixel_branch import Level
from focus_jax.models.stack import run_stack, stack_layers, unstack_layers

X = jax.random.normal(jax.random.key(1), (2, 6, 4, 8))
ZQ = jax.random.normal(jax.random.key(2), (2, 3, 2, 6))


def level(width, scan, remat):
    """Three decoder layers with attention and a DC-up, on a level that keeps (8) or changes (16) the width."""
    return Level(width, 3, True, 4, "dc_up", spatial=True, scan=scan, remat=remat)


@functools.cache
def loop(width):
    """(parameters in loop layout, output, gradients) of the plain loop."""
    params = nn.unbox(level(width, False, "none").init(jax.random.key(0), X, ZQ))["params"]
    return params, *run(width, False, "none", params)


def run(width, scan, remat, params):
    model = level(width, scan, remat)

    @jax.jit
    def value_and_grads(params, x):
        y = model.apply({"params": params}, x, ZQ)
        return jnp.mean(jnp.sin(y)), y

    (_, y), grads = jax.value_and_grad(value_and_grads, argnums=(0, 1), has_aux=True)(params, X)
    return y, grads


def assert_equal(a, b, tolerance=1e-6):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.max(np.abs(x - y)) <= tolerance * max(np.max(np.abs(y)), 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "width, remat", [(8, "none"), (16, "none"), (16, "full"), (16, "dots_with_no_batch_dims_saveable")]
)
def test_scan_equals_loop(width, remat):
    params, want, (want_params, want_x) = loop(width)
    y, (grads, dx) = run(width, True, remat, stack_layers(params))
    assert_equal((y, unstack_layers(grads), dx), (want, want_params, want_x))


def test_remat_equals_none():
    params, want, want_grads = loop(16)
    y, grads = run(16, False, "full", params)
    assert_equal((y, grads), (want, want_grads))


def test_remat_saves_less():
    params = loop(8)[0]

    def temporaries(remat):
        def loss(params):
            return jnp.mean(level(8, False, remat).apply({"params": params}, X, ZQ) ** 2)

        return str(jax.make_jaxpr(jax.grad(loss))(params)).count("conv_general_dilated")

    assert temporaries("full") > temporaries("none")  # convolutions run again in the backward pass


def test_layouts_convert():
    for width, names in ((8, {"layers", "upsample"}), (16, {"layer_0", "layers", "upsample"})):
        params = loop(width)[0]
        stacked = stack_layers(params)
        scanned = jax.eval_shape(level(width, True, "none").init, jax.random.key(0), X, ZQ)["params"]
        assert set(stacked) == names
        assert jax.tree.map(jnp.shape, stacked) == jax.tree.map(lambda s: s.shape, nn.unbox(scanned))
        assert_equal(unstack_layers(stacked), params, 0)
        kernel = scanned["layers"]["block"]["conv1"]["kernel"]
        assert kernel.names == ("layers", None, None, "conv_in", "conv_out")


def test_layers_start_differently():
    scanned = nn.unbox(level(8, True, "none").init(jax.random.key(0), X, ZQ))["params"]
    kernel = scanned["layers"]["block"]["conv1"]["kernel"]
    assert not np.allclose(kernel[0], kernel[1])


def test_unknown_remat():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return run_stack(functools.partial(nn.Dense, 8), x, count=2, remat="sometimes")

    with pytest.raises(UserError, match="remat: 'sometimes'"):
        Two().init(jax.random.key(0), X)
