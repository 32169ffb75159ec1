# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""PatchGAN (BatchNorm in train mode) and LPIPS against plain torch, through their weight tables."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

torch = pytest.importorskip("torch")

from focus_jax.models.discriminator import PatchGAN  # noqa: E402
from focus_jax.models.perceptual import LPIPS  # noqa: E402
from focus_jax.training.parts import flatten, unflatten  # noqa: E402
from focus_jax.weights import lpips, patchgan, vgg16  # noqa: E402
from tests.parity import reference_losses as reference  # noqa: E402
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

CONFIG = ConfigDict(
    {
        "model": {
            "discriminator": {"width": 8, "layers": 3, "norm": "batch"},
            "perceptual": {"widths": (8, 12, 16, 16, 20)},
        }
    }
)
RNG = np.random.default_rng(0)
A, B = RNG.uniform(-1, 1, (2, 3, 32, 48, 3)).astype(np.float32)


def compare(table, theirs, run, inputs):
    """Output, and gradients of inputs and parameters, of run(params, *inputs) and theirs(*inputs)."""
    part = table.parts[0]
    shapes = table.shapes(CONFIG)
    source = state(theirs)
    params = unflatten(table.read(source, shapes, "reference"))[part]
    back = table.write(flatten({part: params}), shapes)
    assert set(back) == set(source)
    assert all(np.array_equal(back[k], source[k]) and back[k].dtype == source[k].dtype for k in source)
    tensors = [nchw(x).requires_grad_() for x in inputs]
    want = theirs(*tensors)
    cotangent = RNG.standard_normal(want.shape).astype(np.float32)
    (want * torch.from_numpy(cotangent)).sum().backward()
    with jax.default_matmul_precision("highest"):
        got, vjp = jax.vjp(jax.jit(run), params, *inputs)
        grads = vjp(cotangent)
    assert_close(got, want.detach().numpy(), NETWORK, "output")
    for grad, tensor in zip(grads[1:], tensors, strict=True):
        assert_close(grad, nhwc(tensor.grad), NETWORK, "gradient of an input")
    by_key = table.write({path: np.asarray(g) for path, g in flatten({part: grads[0]}).items()}, shapes)
    assert_gradients(by_key, gradients(theirs))


def test_patchgan():
    theirs = randomise(reference.PatchGAN(8)).train()
    with torch.no_grad():
        theirs(nchw(B))  # running statistics and the counter leave their initial values
    model = PatchGAN(**CONFIG.model.discriminator)
    compare(patchgan.TABLE, theirs, lambda p, x: model.apply({"params": p}, x, np.ones(3, np.float32)), [A])


def test_patchgan_weight_zero_rows_are_absent():
    """Rows of weight 0 change neither statistics nor gradients: as torch on the other rows."""
    theirs = randomise(reference.PatchGAN(8)).train()
    shapes = patchgan.TABLE.shapes(CONFIG)
    params = unflatten(patchgan.TABLE.read(state(theirs), shapes, "reference"))["discriminator"]
    model = PatchGAN(**CONFIG.model.discriminator)
    got = model.apply({"params": params}, A, np.array([1, 0, 1], np.float32))
    assert_close(got[np.array([0, 2])], theirs(nchw(A[[0, 2]])).detach().numpy(), NETWORK, "logits")


def test_lpips():
    theirs = randomise(reference.LPIPS(CONFIG.model.perceptual.widths))
    model = LPIPS(**CONFIG.model.perceptual)
    compare(lpips.TABLE, theirs, lambda p, a, b: model.apply({"params": p}, a, b), [A, B])


def test_vgg_and_lin_files_make_the_whole():
    """torchvision's VGG16 file and the file of lin layers give what LPIPS's own state dict gives."""
    theirs = state(randomise(reference.LPIPS(CONFIG.model.perceptual.widths)))
    whole = lpips.TABLE.read(theirs, lpips.TABLE.shapes(CONFIG), "lpips")
    vgg = {f"features.{k.split('.', 2)[2]}": v for k, v in theirs.items() if k.startswith("net.")}
    vgg["classifier.0.bias"] = np.zeros(3, np.float32)
    lin = {k: v for k, v in theirs.items() if k.startswith("lin")}
    both = vgg16.TABLE.read(vgg, vgg16.TABLE.shapes(CONFIG), "vgg16")
    both |= lpips.LIN.read(lin, lpips.LIN.shapes(CONFIG), "lin")
    assert set(both) == set(whole) and all(np.array_equal(both[k], whole[k]) for k in whole)
