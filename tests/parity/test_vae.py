# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The autoencoder against diffusers' AutoencoderKL, parameters travelling through the table in both directions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

torch = pytest.importorskip("torch")

from diffusers import AutoencoderKL  # noqa: E402

from focus_jax.models.vae import Latents, tiled, vae  # noqa: E402
from focus_jax.training.parts import flatten, unflatten  # noqa: E402
from focus_jax.weights import sdxl  # noqa: E402
from tests.parity.compare import (  # noqa: E402
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

SIZES = dict(widths=(32, 32, 64), blocks=1, channels=4, groups=8)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 32, 48, 3)).astype(np.float32)


@functools.cache
def reference():
    model = AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3, block_out_channels=(32, 32, 64), layers_per_block=1,
        latent_channels=4, norm_num_groups=8, sample_size=32, scaling_factor=0.13025,
    )  # fmt: skip
    return randomise(model.eval())


def load(scan=False):
    sizes = SIZES | dict(scan=scan, remat="full" if scan else "none")
    shapes, source = sdxl.vae_shapes(ConfigDict({"model": {"vae": sizes}})), state(reference())
    flat = sdxl.VAE_DIFFUSERS.read(source, shapes, "reference")
    back = sdxl.VAE_DIFFUSERS.write(flat, shapes)
    assert set(back) == set(source) and all(np.array_equal(back[k], source[k]) for k in back)
    return vae(**sizes), unflatten(flat)["vae"], shapes


def test_encode_decode_and_gradients():
    model, (network, params, shapes) = reference(), load(True)
    model.zero_grad()
    latents = model.encode(nchw(IMAGES)).latent_dist
    noise = np.random.default_rng(1).standard_normal((2, 8, 12, 4)).astype(np.float32)
    drawn = latents.mean + latents.std * nchw(noise)
    want = model.decode(drawn).sample
    weights = np.random.default_rng(2).standard_normal(IMAGES.shape).astype(np.float32)
    ((want * nchw(weights)).sum() + 0.1 * latents.kl().sum()).backward()

    def loss(params):
        out, found = network.apply({"params": params}, IMAGES, noise)
        return jnp.sum(out * weights) + 0.1 * jnp.sum(found.divergence()), (out, found)

    with jax.default_matmul_precision("highest"):
        grads, (out, found) = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert_close(found.mean, nhwc(latents.mean), NETWORK)
    assert_close(found.log_variance, nhwc(latents.logvar), NETWORK)
    assert_close(found.divergence(), latents.kl().detach().numpy(), NETWORK)
    assert_close(out, nhwc(want), NETWORK)
    grads = sdxl.VAE_DIFFUSERS.write(flatten(jax.tree.map(np.asarray, grads), "vae/"), shapes)
    want_grads = {k.replace("to_k.bias", "k.bias"): v for k, v in gradients(model).items()}
    want_grads = {k.replace("to_k.weight", "k.weight"): v for k, v in want_grads.items()}
    ours = {k.replace("to_k.", "k."): v for k, v in grads.items()}
    assert_gradients(ours, want_grads)


@pytest.mark.slow
def test_variances_are_cut():
    network, params, _ = load()
    bias = np.where(np.arange(8) < 4, params["quant_conv"]["bias"], 99.0)
    params = params | {"quant_conv": params["quant_conv"] | {"bias": bias}}
    found = network.apply({"params": params}, IMAGES, method="encode")
    assert found.log_variance.max() == 20.0
    assert float(Latents(jnp.zeros((1, 2, 2, 4)), jnp.zeros((1, 2, 2, 4))).divergence()[0]) == 0.0


@pytest.mark.parametrize(("height", "width"), [(6, 34), (34, 6), (3, 40), (12, 13), (30, 30)])
def test_tiles_are_cut_to_the_map(height, width):
    """A side shorter than the tile is one stretch of its own length."""
    x = np.random.default_rng(7).standard_normal((2, height, width, 4)).astype(np.float32)
    shapes = []

    def local(x):
        shapes.append(x.shape[1:3])
        return np.repeat(np.repeat(x[..., :3], 4, 1), 4, 2)

    found = tiled(local, x, 12, 4, 4)
    assert set(shapes) == {(min(height, 12), min(width, 12))} and len(shapes) > 1
    np.testing.assert_allclose(found, local(x), atol=1e-5)


@pytest.mark.slow
def test_tiles():
    """A map that fits is run as it is; with a network that looks at no neighbour tiles make no difference."""
    network, params, _ = load()
    decode = jax.jit(lambda z: network.apply({"params": params}, z, method="decode"))
    z = np.random.default_rng(3).standard_normal((1, 8, 12, 4)).astype(np.float32)
    np.testing.assert_array_equal(tiled(decode, z, 12, 4, 4), decode(z))
    local = lambda x: np.repeat(np.repeat(x[..., :3] * 2, 4, 1), 4, 2)
    large = np.random.default_rng(4).standard_normal((2, 21, 34, 4)).astype(np.float32)
    np.testing.assert_allclose(tiled(local, large, 12, 4, 4), local(large), atol=1e-5)
    halved = lambda x: x.reshape(x.shape[0], x.shape[1] // 4, 4, x.shape[2] // 4, 4, 3).mean((2, 4))
    pictures = np.random.default_rng(5).standard_normal((1, 64, 96, 3)).astype(np.float32)
    np.testing.assert_allclose(tiled(halved, pictures, 32, 8, 1 / 4), halved(pictures), atol=1e-5)
    # Real decodings of tiles are near the whole one: norms see less, borders more.
    z = np.random.default_rng(6).standard_normal((1, 24, 24, 4)).astype(np.float32)
    whole, parts = np.asarray(decode(z)), tiled(decode, z, 16, 8, 4)
    assert parts.shape == whole.shape and np.corrcoef(whole.ravel(), parts.ravel())[0, 1] > 0.95
