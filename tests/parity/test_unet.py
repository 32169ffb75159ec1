# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The UNet against diffusers' UNet2DConditionModel, parameters travelling through the table in both directions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

torch = pytest.importorskip("torch")

from diffusers import UNet2DConditionModel  # noqa: E402

from focus_jax.models.unet import unet, waves  # noqa: E402
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

SIZES = dict(
    widths=(32, 64, 128), depths=(0, 1, 2), heads=(2, 4, 8), blocks=2, inputs=12, outputs=4, context=48, pooled=24,
    ids=8,
    groups=8,
)  # fmt: skip
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 8, 12, 12)).astype(np.float32)
T = np.array([10, 501])
IDS = np.array([[0, 0, 0, 0, 0, 3], [1, 2, 3, 4, 5, 6]], np.float32)
CONTEXT = RNG.standard_normal((2, 5, 48)).astype(np.float32)
POOLED = RNG.standard_normal((2, 24)).astype(np.float32)


def their_unet(inputs=12):
    return UNet2DConditionModel(
        sample_size=16, in_channels=inputs, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), block_out_channels=(32, 64, 128),
        layers_per_block=2, cross_attention_dim=48, transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 8),
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24, norm_num_groups=8,
    ).eval()  # fmt: skip


@functools.cache
def reference():
    return randomise(their_unet())


def load(source, scan):
    """(our network, our parameters, shapes); the weights must come back bit for bit."""
    sizes = SIZES | dict(scan=scan, remat="full" if scan else "none")
    shapes = sdxl.unet_shapes(ConfigDict({"model": {"unet": sizes}}))
    flat = sdxl.UNET.read(source, shapes, "reference")
    back = sdxl.UNET.write(flat, shapes)
    assert set(back) == set(source) and all(np.array_equal(back[k], source[k]) for k in back)
    return unet(**sizes), unflatten(flat)["unet"], shapes


def theirs(model, context, pooled, x=X):
    given = dict(text_embeds=torch.from_numpy(pooled), time_ids=torch.from_numpy(IDS))
    return model(nchw(x), torch.from_numpy(T), torch.from_numpy(context), added_cond_kwargs=given).sample


@pytest.mark.slow
def test_output_and_gradients():
    model, (network, params, shapes) = reference(), load(state(reference()), True)
    model.zero_grad()
    want = theirs(model, CONTEXT, POOLED)
    weights = RNG.standard_normal(want.shape).astype(np.float32)
    (want * torch.from_numpy(weights)).sum().backward()

    def loss(params):
        out = network.apply({"params": params}, X, T, IDS, CONTEXT, POOLED)
        return jnp.sum(out * nhwc(torch.from_numpy(weights))), out

    with jax.default_matmul_precision("highest"):
        grads, out = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert_close(out, nhwc(want), NETWORK)
    found = sdxl.UNET.write(flatten(jax.tree.map(np.asarray, grads), "unet/"), shapes)
    assert_gradients(found, gradients(model))


@pytest.mark.slow
def test_no_context_is_zeros_and_costs_nothing():
    model, (network, params, _) = reference(), load(state(reference()), False)
    want = theirs(model, np.zeros((2, 7, 48), np.float32), np.zeros((2, 24), np.float32))
    run = jax.jit(lambda *more: network.apply({"params": params}, X, T, IDS, *more))
    assert_close(run(), nhwc(want), NETWORK)
    assert_close(run(jnp.zeros((2, 3, 48))), nhwc(want), NETWORK)


@pytest.mark.slow
def test_a_context_of_each_level():
    """A function of the grid stands for one array a level."""
    network, params, _ = load(state(reference()), False)
    asked = []

    def of_grid(height, width, channels):
        asked.append((height, width, channels))
        return jnp.asarray(CONTEXT), None

    run = lambda context: jax.jit(lambda params: network.apply({"params": params}, X, T, IDS, context))(params)
    np.testing.assert_allclose(run(of_grid), run(CONTEXT), atol=1e-5)
    assert set(asked) == {(4, 6, 64), (2, 3, 128)}


@pytest.mark.slow
def test_codes_of_an_imported_model_begin_unheard():
    """SDXL's 4 channels in a network with 8 more: the same picture whatever the codes are."""
    model = randomise(their_unet(inputs=4), seed=1)
    shapes = sdxl.unet_shapes(ConfigDict({"model": {"unet": SIZES}}))
    source = state(model)
    assert sdxl.UNET.widened(source, shapes) == ["unet/conv_in/kernel"]
    params = unflatten(sdxl.UNET.read(source, shapes, "reference"))["unet"]
    context, pooled = np.zeros((2, 1, 48), np.float32), np.zeros((2, 24), np.float32)
    want = nhwc(theirs(model, context, pooled, X[..., :4]))
    run = jax.jit(lambda x: unet(**SIZES).apply({"params": params}, x, T, IDS))
    for seed in (0, 1):
        codes = np.random.default_rng(seed).standard_normal((*X.shape[:3], 8)).astype(np.float32)
        assert_close(run(np.concatenate([X[..., :4], codes], -1)), want, 1e-5)


def test_waves():
    from diffusers.models.embeddings import get_timestep_embedding

    x = np.array([0.0, 3.0, 977.0], np.float32)
    want = get_timestep_embedding(torch.from_numpy(x), 32, flip_sin_to_cos=True, downscale_freq_shift=0)
    np.testing.assert_allclose(waves(jnp.asarray(x), 32), want.numpy(), atol=2e-4)
