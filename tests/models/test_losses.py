# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The discriminator's row weights and buffers, and the perceptual distance without imported weights."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from focus_jax.errors import UserError
from focus_jax.models.discriminator import PatchGAN
from focus_jax.models.perceptual import LPIPS
from tests.models.fill import random_parameters

IMAGES = jax.random.uniform(jax.random.key(1), (8, 32, 40, 3), minval=-1.0)
ONES = jnp.ones(8)


@pytest.fixture(scope="module")
def critic():
    model = PatchGAN(width=8)
    return model, {"params": random_parameters(model, IMAGES, ONES)}


def test_rows_of_weight_zero_change_nothing(critic):
    model, params = critic
    weight = jnp.array([1.0, 0, 1, 1, 0, 0, 1, 1])

    def total(params, images):
        return jnp.sum(jnp.sin(model.apply(params, images, weight)) * weight[:, None, None])

    other = jnp.where(weight[:, None, None, None] > 0, IMAGES, 37.0 * IMAGES[::-1])
    value_and_grad = jax.jit(jax.value_and_grad(total))
    value, grads = value_and_grad(params, IMAGES)
    value_other, grads_other = value_and_grad(params, other)
    np.testing.assert_allclose(value, value_other, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), grads, grads_other)
    assert np.all(np.isfinite(jax.jit(model.apply)(params, IMAGES, jnp.zeros(8))))


def test_statistics_are_whole_across_devices(critic):
    model, params = critic
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    sharded = jax.jit(model.apply, in_shardings=(whole, rows, rows))
    np.testing.assert_allclose(sharded(params, IMAGES, ONES), jax.jit(model.apply)(params, IMAGES, ONES), atol=1e-5)


def test_running_statistics_are_neither_read_nor_trained(critic):
    model, params = critic
    grads = jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, IMAGES, ONES) ** 2)))(params)["params"]
    assert not any(np.any(grads["norm_1"][k]) for k in ("running_mean", "running_var", "num_batches_tracked"))
    assert np.any(grads["norm_1"]["scale"])


def test_without_norm_rows_are_independent():
    model = PatchGAN(width=8, norm="none")
    params = {"params": random_parameters(model, IMAGES, ONES)}
    assert {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(params)} == {"kernel", "bias"}
    alone = model.apply(params, IMAGES[:1], ONES[:1])
    np.testing.assert_allclose(model.apply(params, IMAGES, ONES)[:1], alone, atol=1e-5)
    with pytest.raises(UserError, match="discriminator.norm: 'group' is not"):
        PatchGAN(norm="group")


def test_patches_of_256_pixels():
    model = PatchGAN()
    images = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images, ONES[:1])
    assert logits.shape == (1, 30, 30)


def test_perceptual_random_is_one_network():
    """Its weights depend on the field `seed`, not on the key of whoever initialises it; lin weights are equal."""

    @functools.partial(jax.jit, static_argnums=1)
    def some(key, seed):
        params = LPIPS(widths=(4, 8, 8, 8, 8), seed=seed).init(key, IMAGES, IMAGES)["params"]
        return nn.unbox(
            [params["vgg"][name]["kernel"] for name in ("conv1_1", "conv5_3")] + [params["lin_2"]["kernel"]]
        )

    first, again, other = some(jax.random.key(0), 0), some(jax.random.key(5), 0), some(jax.random.key(0), 1)
    for x, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(x, same)
        assert np.all(x == 0.2) or not np.any(x == different)
    assert abs(np.std(first[1]) / (2 / (9 * 8)) ** 0.5 - 1) < 0.1  # He


def test_perceptual_random():
    model = LPIPS(widths=(4, 8, 8, 8, 8))
    a, b = IMAGES[:2], IMAGES[2:4]
    params = nn.unbox(jax.jit(model.init)(jax.random.key(0), a, b))
    distance = jax.jit(lambda a, b: model.apply(params, a, b))
    assert np.all(distance(a, a) < 1e-12)
    assert distance(a, b).shape == (2,) and np.all(distance(a, b) > distance(a, 0.9 * a + 0.1 * b))
    np.testing.assert_allclose(distance(a, b), distance(b, a), rtol=1e-5)
    grads = jax.jit(jax.grad(lambda x: distance(x, b).sum()))(jnp.zeros_like(a))  # constant pictures: still finite
    assert np.all(np.isfinite(grads)) and np.any(grads)
    with pytest.raises(UserError, match="perceptual: 8 x 40 pixels, expected at least 16 a side"):
        distance(a[:, :8], b[:, :8])
