# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The discriminator's row weights and buffers, and the perceptual distance without imported weights."""

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

IMAGES = jax.random.uniform(jax.random.key(1), (8, 32, 40, 3), minval=-1.0)
ONES = jnp.ones(8)


@pytest.fixture(scope="module")
def critic():
    model = PatchGAN(width=8)
    return model, nn.unbox(model.init(jax.random.key(0), IMAGES, ONES))


def test_rows_of_weight_zero_change_nothing(critic):
    model, params = critic
    weight = jnp.array([1.0, 0, 1, 1, 0, 0, 1, 1])

    def total(params, images):
        return jnp.sum(jnp.sin(model.apply(params, images, weight)) * weight[:, None, None])

    other = jnp.where(weight[:, None, None, None] > 0, IMAGES, 37.0 * IMAGES[::-1])
    value, grads = jax.value_and_grad(total)(params, IMAGES)
    value_other, grads_other = jax.value_and_grad(total)(params, other)
    np.testing.assert_allclose(value, value_other, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), grads, grads_other)
    assert np.all(np.isfinite(model.apply(params, IMAGES, jnp.zeros(8))))


def test_statistics_are_whole_across_devices(critic):
    model, params = critic
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    sharded = jax.jit(model.apply, in_shardings=(whole, rows, rows))
    np.testing.assert_allclose(sharded(params, IMAGES, ONES), model.apply(params, IMAGES, ONES), atol=1e-5)


def test_running_statistics_are_neither_read_nor_trained(critic):
    model, params = critic
    grads = jax.grad(lambda p: jnp.sum(model.apply(p, IMAGES, ONES) ** 2))(params)["params"]
    assert not any(np.any(grads["norm_1"][k]) for k in ("running_mean", "running_var", "num_batches_tracked"))
    assert np.any(grads["norm_1"]["scale"])


def test_without_norm_rows_are_independent():
    model = PatchGAN(width=8, norm="none")
    params = nn.unbox(model.init(jax.random.key(0), IMAGES, ONES))
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


def test_perceptual_random():
    model = LPIPS(widths=(4, 8, 8, 8, 8))
    a, b = IMAGES[:2], IMAGES[2:4]
    params = nn.unbox(model.init(jax.random.key(0), a, b))
    again = nn.unbox(model.init(jax.random.key(5), a, b))
    jax.tree.map(np.testing.assert_array_equal, params, again)  # the seed is the field's, not the caller's
    other = nn.unbox(LPIPS(widths=(4, 8, 8, 8, 8), seed=1).init(jax.random.key(0), a, b))
    assert not np.array_equal(params["params"]["vgg"]["conv1_1"]["kernel"], other["params"]["vgg"]["conv1_1"]["kernel"])
    distance = jax.jit(lambda a, b: model.apply(params, a, b))
    np.testing.assert_array_equal(distance(a, a), 0)
    assert distance(a, b).shape == (2,) and np.all(distance(a, b) > distance(a, 0.9 * a + 0.1 * b))
    np.testing.assert_allclose(distance(a, b), distance(b, a), rtol=1e-5)
    grads = jax.grad(lambda x: distance(x, b).sum())(jnp.zeros_like(a))  # constant pictures: still finite
    assert np.all(np.isfinite(grads)) and np.any(grads)
    with pytest.raises(UserError, match="perceptual: 8 x 40 pixels, expected at least 16 a side"):
        distance(a[:, :8], b[:, :8])
