# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The vision tower: sizes, shapes, dtypes, packing, layouts and refusals. Numbers are in tests/parity."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import models
from focus_jax.errors import UserError
from focus_jax.models.qwen_vit import grid_positions, patchify, qwen_vit, vit_pixels, vit_size
from focus_jax.models.stack import stack_layers
from tests.models.fill import random_parameters

TINY = dict(depth=3, width=16, heads=2, patch=4, merge=2, out=24)
X = np.random.default_rng(0).standard_normal((2, 16, 24, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def parameters():
    return random_parameters(qwen_vit(**TINY), X)


@pytest.mark.parametrize(
    "picture, size",
    [
        ((256, 256), (252, 252)),
        ((512, 384), (448, 336)),  # keeps the aspect, which floor / 28 would not
        ((768, 384), (728, 364)),
        ((320, 960), (308, 924)),
        ((300, 500), (280, 476)),  # not in the table
        ((20, 56), (28, 56)),  # at least one token
    ],
)
def test_released_sizes(picture, size):
    assert vit_size(*picture) == size
    assert vit_size(*picture[::-1]) == size[::-1]


def test_sizes_of_another_geometry():
    assert vit_size(64, 64, patch=8, merge=2) == (64, 64)
    assert vit_size(512, 384, patch=8, merge=2) == (512, 384) and vit_size(70, 15, patch=8, merge=2) == (64, 16)


def test_pixels_are_clamped_and_normalised():
    """A white picture is white after a resize that overshoots at its borders."""
    images = np.full((1, 32, 32, 3), -1, np.float32)
    images[:, 8:24, 8:24] = 1
    pixels = vit_pixels(jnp.asarray(images), (28, 28))
    assert pixels.dtype == jnp.float32 and pixels.shape == (1, 28, 28, 3)
    back = np.asarray(pixels) * (0.26862954, 0.26130258, 0.27577711) + (0.48145466, 0.4578275, 0.40821073)
    assert -1e-6 <= back.min() and back.max() <= 1 + 1e-6 and np.isclose(back[0, 14, 14], 1, atol=1e-5).all()


def test_full_parameters_are_those_of_the_release():
    model = qwen_vit(**models.vit("full"))
    abstract = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 3)))
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(nn.unbox(abstract))) == 675_759_104


def test_tiny_config():
    model = qwen_vit(**models.vit("tiny"))
    pixels = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    merged, out = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], pixels)
    assert merged.shape == (2, 4, 4, 192) and out["patches"].shape == (2, 8, 8, 96)


def test_dtypes(parameters):
    run = lambda **types: jax.jit(lambda params: qwen_vit(**TINY, **types).apply({"params": params}, X))(parameters)
    merged, out = run(dtype=jnp.bfloat16)
    assert merged.dtype == out["patches"].dtype == jnp.bfloat16
    want, _ = run()
    assert want.dtype == jnp.float32
    assert 0 < np.max(np.abs(merged.astype(jnp.float32) - want)) < 0.05 * np.max(np.abs(want))


def test_pictures_do_not_see_each_other(parameters):
    """A row of two pictures of different sizes gives what each gives alone; padding is a segment of its own."""
    model = qwen_vit(**TINY)
    other = X[:1, :8, :8]
    rows = [patchify(jnp.asarray(x), 4, 2, 2) for x in (X[:1], other)]
    positions = [grid_positions(4, 6, 2), grid_positions(2, 2, 2)]
    empty = 4
    packed = jnp.concatenate([*rows, jnp.full((1, empty, 96), 7.0)], axis=1)
    at = np.concatenate([*positions, np.zeros((empty, 2), int)])[None]
    segments = np.repeat([1, 2, 0], [24, 4, empty])[None]
    run = jax.jit(
        lambda params, *inputs, method=None: model.apply({"params": params}, *inputs, method=method),
        static_argnames="method",
    )
    merged, tokens = run(parameters, packed, at, segments, method="packed")
    assert merged.shape == (1, 8, 24) and tokens.shape == (1, 32, 16)
    alone = [run(parameters, x)[0].reshape(-1, 24) for x in (X[:1], other)]
    np.testing.assert_allclose(merged[0, :7], np.concatenate(alone), atol=2e-5)


def test_scan_equals_loop_and_remat_none(parameters):
    def run(params, **change):
        model = qwen_vit(**TINY, **change)
        loss = lambda params, x: jnp.sum(jnp.sin(model.apply({"params": params}, x)[0]))
        value, (grads, dx) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, X)
        return value, grads, dx

    value, grads, dx = run(parameters)
    assert {"patch_embed", "merger", "layer_0", "layer_1", "layer_2"} == set(parameters)
    found = run(stack_layers(parameters), scan=True, remat="full")
    want = value, stack_layers(grads), dx
    assert jax.tree.structure(found) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        assert np.max(np.abs(a - b)) <= 1e-5 * max(np.max(np.abs(b)), 1e-3)


def test_refusals(parameters):
    with pytest.raises(UserError, match=r"vit: 16 x 20 pixels, expected multiples of patch \* merge = 8"):
        qwen_vit(**TINY).apply({"params": parameters}, X[:, :, :20])
    with pytest.raises(UserError, match="vit: width 18 in 2 heads, expected heads whose width is a multiple of 4"):
        qwen_vit(**TINY | dict(width=18))
