# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The pixel branch against torch: blocks and whole networks from diffusers, and the benchmark's plain torch peer.

Parameters travel through the DualViTok table in both directions, so the table is under test as well.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

torch = pytest.importorskip("torch")

from focus_jax.benchmarks import torch_tokenizer as peer  # noqa: E402
from focus_jax.models import pixel_branch as ours  # noqa: E402
from focus_jax.models import resampling  # noqa: E402
from focus_jax.models.dual_tokenizer import dual_tokenizer  # noqa: E402
from focus_jax.models.simvq import SimVQ  # noqa: E402
from focus_jax.training.parts import flatten, unflatten  # noqa: E402
from focus_jax.weights import dualvitok  # noqa: E402
from focus_jax.weights.table import DENSE, Rule, Table, conv  # noqa: E402
from tests.parity import reference_tokenizer as reference  # noqa: E402
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

WIDTH, CODES = 64, 16  # two channels a group; with one, a bias before a norm would have no gradient to compare
X = np.random.default_rng(0).standard_normal((2, 8, 12, WIDTH)).astype(np.float32)
ZQ = np.random.default_rng(1).standard_normal((2, 4, 6, CODES)).astype(np.float32)


def block_rules():
    """(our module, their module, table rules, whether it reads the code map) of every block."""
    res = functools.partial(dualvitok._res_block, "m", "p/m")
    attn = functools.partial(dualvitok._attn_block, "m", "p/m")
    plain, spatial = dict(groups=32), dict(groups=32, spatial=True)
    attention = lambda zq: peer.AttnBlock(reference.norm(WIDTH, zq, 32), WIDTH)
    return {
        "spatial_norm": (
            ours.SpatialNorm(32),
            reference.norm(WIDTH, CODES, 32),
            dualvitok._norm("m", "p/m", True),
            True,
        ),
        "res": (ours.ResBlock(WIDTH, **plain), reference.res_block(WIDTH, WIDTH, 0, 32), res(False), False),
        "res_wider": (ours.ResBlock(96, **plain), reference.res_block(WIDTH, 96, 0, 32), res(False), False),
        "res_spatial": (ours.ResBlock(WIDTH, **spatial), reference.res_block(WIDTH, WIDTH, CODES, 32), res(True), True),
        "res_spatial_wider": (ours.ResBlock(96, **spatial), reference.res_block(WIDTH, 96, CODES, 32), res(True), True),
        "attn": (ours.AttnBlock(**plain), attention(0), attn(False), False),
        "attn_spatial": (ours.AttnBlock(**spatial), attention(CODES), attn(True), True),
        "dc_down": (resampling.DCDown(), reference.DiffusersBlocks.down(WIDTH), conv("m.conv", "p/m/conv"), False),
        "dc_up": (resampling.DCUp(), reference.DiffusersBlocks.up(WIDTH), conv("m.conv", "p/m/conv"), False),
    }


@pytest.mark.parametrize("name", list(block_rules()))
def test_block(name):
    module, theirs, rules, reads_codes = block_rules()[name]
    randomise(theirs)
    inputs = (X, ZQ) if reads_codes else (X,)
    shapes = jax.tree.map(jnp.shape, flatten(ours.nn.unbox(jax.eval_shape(module.init, jax.random.key(0), *inputs))))
    shapes = {path.replace("params/", "p/m/"): shape for path, shape in shapes.items()}
    table = Table("block", ("p",), rules, lambda config: shapes)
    source = {f"m.{key}": value for key, value in reference.released(state(theirs)).items()}
    params = unflatten(table.read(source, shapes, "reference"))["p"]["m"]

    tensors = [nchw(x).requires_grad_() for x in inputs]
    time = (None,) if name in ("res", "res_wider") else ()  # diffusers' plain block asks for a time embedding
    want = theirs(*tensors, *time)
    cotangent = np.random.default_rng(2).standard_normal(want.shape).astype(np.float32)
    (want * torch.from_numpy(cotangent)).sum().backward()
    with jax.default_matmul_precision("highest"):
        got, vjp = jax.vjp(jax.jit(lambda params, *inputs: module.apply({"params": params}, *inputs)), params, *inputs)
        grads = vjp(jnp.asarray(np.moveaxis(cotangent, 1, -1)))
    assert_close(got, nhwc(want), BLOCK, "output")
    for grad, tensor in zip(grads[1:], tensors, strict=True):
        assert_close(grad, nhwc(tensor.grad), NETWORK, "gradient of an input")
    ours_by_key = table.write({f"p/m/{path}": np.asarray(g) for path, g in flatten(grads[0]).items()}, shapes)
    assert_gradients(ours_by_key, {f"m.{key}": g for key, g in reference.released(gradients(theirs)).items()})


def sizes(scan, patch=1):
    coder = dict(widths=(64, 64, 128), attention_levels=(2,))
    return ConfigDict(
        dict(
            branches=("pixel",),
            semantic_dim=8,
            pixel=dict(
                patch=patch,
                groups=32,
                code_dim=8,
                codes=64,
                code_block=24,
                scan=scan,
                remat="full" if scan else "none",
                encoder=dict(**coder, blocks=2),
                decoder=dict(**coder, blocks=3),
            ),
        )
    )


@functools.cache
def whole(scan, patch=1, kinds=reference.DiffusersBlocks):
    """(our tokenizer, our parameters, torch's tokenizer, shapes) with the same random weights."""
    config = ConfigDict({"model": {"tokenizer": sizes(scan, patch)}})
    c = config.model.tokenizer
    theirs = randomise(peer.PixelTokenizer(semantic_dim=c.semantic_dim, pixel=c.pixel, kinds=kinds))
    shapes = dualvitok.shapes(config)
    source = reference.released(state(theirs))
    params = unflatten(dualvitok.TABLE.read(source, shapes, "reference"))["tokenizer"]
    # And back: every array of the state dict returns bit for bit.
    back = dualvitok.TABLE.write(flatten({"tokenizer": params}), shapes)
    assert set(back) == set(source) and all(np.array_equal(back[k], source[k]) for k in source)
    return dual_tokenizer(**c), params, theirs, shapes


def check(model, theirs, run_ours, run_theirs, params, inputs, shapes, prefix):
    """Output, input gradients and the gradients of all parameters whose key starts with prefix."""
    theirs.zero_grad()
    tensors = [nchw(x).requires_grad_() for x in inputs]
    want = run_theirs(*tensors)
    cotangent = np.random.default_rng(3).standard_normal(want.shape).astype(np.float32)
    (want * torch.from_numpy(cotangent)).sum().backward()
    with jax.default_matmul_precision("highest"):
        run = jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs, method=run_ours))
        got, vjp = jax.vjp(run, params, *inputs)
        grads = vjp(jnp.asarray(np.moveaxis(cotangent, 1, -1)))
    assert_close(got, nhwc(want), NETWORK, "output")
    for grad, tensor in zip(grads[1:], tensors, strict=True):
        assert_close(grad, nhwc(tensor.grad), NETWORK, "gradient of an input")
    flat = {path: np.asarray(g) for path, g in flatten({"tokenizer": grads[0]}).items()}
    by_key = dualvitok.TABLE.write(flat, shapes)
    wanted = reference.released(gradients(theirs))
    assert wanted and all(key.startswith(prefix) for key in wanted)
    assert_gradients(by_key, wanted)


IMAGES = np.random.default_rng(4).uniform(-1, 1, (2, 32, 48, 3)).astype(np.float32)


@pytest.mark.parametrize("scan", [False, True])
def test_encoder(scan):
    model, params, theirs, shapes = whole(scan)
    check(
        model, theirs, lambda m, x: m.pixel.features(x), theirs.pixel_encoder, params, [IMAGES], shapes, "pixel_encoder"
    )


@pytest.mark.parametrize("scan", [False, True])
def test_decoder(scan):
    model, params, theirs, shapes = whole(scan)
    code_map = np.random.default_rng(5).standard_normal((2, 4, 6, 16)).astype(np.float32)
    check(
        model,
        theirs,
        lambda m, x: m.decode(x),
        theirs.decode,
        params,
        [code_map],
        shapes,
        ("pixel_decoder", "pixel_post"),
    )


@pytest.mark.slow
@pytest.mark.parametrize("patch, kinds", [(1, reference.DiffusersBlocks), (2, peer.Blocks)])
def test_whole_with_losses(patch, kinds):
    """Reconstruction, code indices, and all gradients of L1 + quantiser loss; kinds = Blocks checks the plain peer."""
    model, params, theirs, shapes = whole(False, patch, kinds)
    theirs.zero_grad()
    images = nchw(IMAGES).requires_grad_()
    reconstruction, quantiser, indices = theirs(images)
    ((reconstruction - images).abs().mean() + quantiser).backward()

    def loss(params, images):
        y, out = model.apply({"params": params}, images)
        return jnp.abs(y - images).mean() + out["pixel"]["error"].mean(), (y, out["pixel"])

    with jax.default_matmul_precision("highest"):
        (_, (y, out)), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, IMAGES)
    np.testing.assert_array_equal(out["indices"], indices.numpy())
    assert_close(y, nhwc(reconstruction), NETWORK, "reconstruction")
    assert_close(out["error"].mean(), quantiser.detach().numpy(), NETWORK, "quantiser loss")
    assert_close(grads[1], nhwc(images.grad), NETWORK, "gradient of the images")
    flat = {path: np.asarray(g) for path, g in flatten({"tokenizer": grads[0]}).items()}
    assert_gradients(dualvitok.TABLE.write(flat, shapes), reference.released(gradients(theirs)))


def test_simvq():
    theirs = peer.SimVQ(50, 8)
    torch.nn.init.normal_(theirs.code_transform.weight)
    z = np.random.default_rng(6).standard_normal((2, 3, 5, 8)).astype(np.float32)
    tensor = torch.from_numpy(z).requires_grad_()
    codes, loss, indices = theirs(tensor)
    cotangent = np.random.default_rng(7).standard_normal(z.shape).astype(np.float32)
    (loss + (codes * torch.from_numpy(cotangent)).sum()).backward()
    params = {
        "frozen_codebook": theirs.frozen_codebook.numpy(),
        "code_transform": {"kernel": theirs.code_transform.weight.detach().numpy().T},
    }
    model = SimVQ(50, 8, block=16)

    def total(params, z):
        quantised, out = model.apply({"params": params}, z)
        return jnp.sum(quantised * cotangent) + out["error"].mean(), (quantised, out)

    (_, (quantised, out)), grads = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(params, z)
    np.testing.assert_array_equal(out["indices"], indices.numpy())
    assert_close(quantised, codes.detach().numpy(), BLOCK, "codes")
    assert_close(out["error"].mean(), loss.detach().numpy(), BLOCK, "loss")
    assert_close(grads[1], tensor.grad.numpy(), BLOCK, "gradient of z")
    kernel = grads[0]["code_transform"]["kernel"]
    assert_close(kernel, theirs.code_transform.weight.grad.numpy().T, BLOCK, "gradient of W")
    assert not np.any(grads[0]["frozen_codebook"])


def test_rules_of_dense_layers_transpose():
    rule = Rule("a.weight", "p/a/kernel", DENSE)
    table = Table("dense", ("p",), [rule], lambda config: {})
    x = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(table.read({"a.weight": x}, {"p/a/kernel": (3, 2)}, "x")["p/a/kernel"], x.T)
