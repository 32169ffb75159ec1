# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The network of FID and the Frechet distance: against plain torch, against hand-worked Gaussians, files in and out."""

import jax
import numpy as np
import pytest
import scipy.linalg
import torch

from focus_jax import convert
from focus_jax.errors import UserError
from focus_jax.evaluation import networks, reconstruction
from focus_jax.models.inception import Inception
from focus_jax.training import config as config_lib
from focus_jax.training.parts import unflatten
from focus_jax.weights import inception as table
from tests.parity import compare
from tests.parity.reference_inception import Inception as Reference

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def reference():
    """With statistics in its batch norms that a mistaken order or eps would not forgive."""
    net = compare.randomise(Reference()).eval()
    generator = torch.Generator().manual_seed(1)
    for child in net.modules():
        if isinstance(child, torch.nn.BatchNorm2d):
            child.running_mean.copy_(0.1 * torch.randn(child.running_mean.shape, generator=generator))
            child.running_var.copy_(0.1 + torch.rand(child.running_var.shape, generator=generator))
    return net


@pytest.fixture(scope="module")
def params(reference):
    return unflatten(table.TABLE.read(compare.state(reference), table.shapes(), "reference"))["inception"]


@pytest.mark.slow
@pytest.mark.parametrize("size, side", [((64, 96), 107), ((320, 200), 107)])  # drawn larger, drawn smaller
def test_features(reference, params, size, side):
    x = np.random.default_rng(0).uniform(-1, 1, (2, *size, 3)).astype(np.float32)
    ours = jax.jit(Inception(side).apply)({"params": params}, x)
    assert ours.shape == (2, 2048)
    with torch.no_grad():
        compare.assert_close(ours, reference(compare.nchw(x), side).numpy(), compare.NETWORK)


@pytest.mark.slow
def test_features_at_the_size_of_fid(reference, params):
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    with torch.no_grad():
        expected = reference(compare.nchw(x)).numpy()
    compare.assert_close(jax.jit(Inception().apply)({"params": params}, x), expected, compare.NETWORK)


def test_its_size():
    """What the release holds without its classifier: 21,785,568 trained numbers and the batch norms' statistics."""
    shapes = table.shapes()
    trained = [s for path, s in shapes.items() if path.endswith(("/kernel", "/scale", "/bias"))]
    assert sum(int(np.prod(s)) for s in trained) == 21_785_568
    assert len(table.TABLE.keys(shapes)) == 94 * 5 == len(shapes)


@pytest.fixture(scope="module")
def ours(reference, tmp_path_factory):
    """The reference's weights as a torch file, imported."""
    folder = tmp_path_factory.mktemp("inception")
    torch.save(reference.state_dict(), folder / "pt_inception.pth")
    output = folder / "inception.safetensors"
    convert.main(["import", "--format=inception", f"--source={folder}/pt_inception.pth", f"--output={output}"])
    return output


def test_through_a_file(params, ours):
    found = networks.imported(str(ours), "inception", table.shapes(), "config.inception")
    jax.tree.map(np.testing.assert_array_equal, found, params)
    with pytest.raises(UserError, match=r"config.perceptual: .*inception.safetensors holds no part perceptual\."):
        networks.imported(str(ours), "perceptual", {"perceptual/lin_0/kernel": (1, 1, 64, 1)}, "config.perceptual")
    with pytest.raises(UserError, match=r"lacks inception/none\."):
        networks.imported(str(ours), "inception", {"inception/none": (1,)}, "config.inception")
    with pytest.raises(UserError, match="shape"):
        networks.imported(str(ours), "inception", {"inception/Conv2d_1a_3x3/kernel": (3, 3, 3, 16)}, "config.inception")


class Greys:
    """Stands in for a model that loses `lost` of the colours."""

    label, high = "greys", 0

    def __init__(self, lost):
        self.lost = lost

    def reconstruct(self, images):
        grey = images.mean(-1, keepdims=True)
        return (self.lost * grey + (1 - self.lost) * images).astype(np.uint8)


@pytest.mark.slow
def test_rfid(reference, ours):
    fields = [f"--config.inception={ours}", "--config.batch_size=4", "--config.shown=1"]
    evaluator = reconstruction.Evaluator(config_lib.load("configs/eval.py:reconstruction", fields))
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    with torch.no_grad():
        features = lambda x: reference(compare.nchw(x.astype(np.float32) / 127.5 - 1)).numpy()
        expected = networks.frechet(features(images), features(Greys(1.0).reconstruct(images)))
    value, n, _ = evaluator.run(Greys(1.0), images)["rfid"]
    assert value == pytest.approx(expected, rel=1e-2) and n == 4
    assert evaluator.run(Greys(0.0), images)["rfid"][0] == pytest.approx(0.0, abs=1e-6 * expected)


def test_weights_of_another_training_are_refused(reference, tmp_path):
    arrays = compare.state(reference) | {"AuxLogits.fc.weight": np.zeros((1000, 768), np.float32)}
    with pytest.raises(UserError, match="unknown keys for format inception: AuxLogits.fc.weight"):
        table.TABLE.read(arrays, table.shapes(), "inception_v3_google.pth")


def gaussian(rng, mean, root, count):
    """Features whose sample mean and covariance are exactly `mean` and root root^T."""
    x = rng.normal(size=(count, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / (count - 1))).T
    return x @ np.asarray(root).T + mean


def test_frechet_of_gaussians_worked_by_hand():
    rng = np.random.default_rng(0)
    a = gaussian(rng, [1.0, 2.0], [[2.0, 0.0], [0.0, 3.0]], 50)
    b = gaussian(rng, [4.0, -2.0], [[1.0, 0.0], [0.0, 5.0]], 70)
    assert networks.frechet(a, b) == pytest.approx(9 + 16 + (2 - 1) ** 2 + (3 - 5) ** 2)  # commuting covariances
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert networks.frechet(a @ turn, b @ turn) == pytest.approx(30.0)
    assert networks.frechet(a, a) == pytest.approx(0.0, abs=1e-9)
    assert networks.frechet(a, a + 3.0) == pytest.approx(18.0)


@pytest.mark.parametrize("rows", [(200, 300), (6, 9)])  # more and fewer pictures than features
def test_frechet_as_its_formula(rows):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(rows[0], 12)), rng.normal(size=(rows[1], 12)) @ rng.normal(size=(12, 12)) + 0.5
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = np.trace(scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real)
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected = means + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * cross
    assert networks.frechet(a, b) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="two rows"):
        networks.frechet(a[:1], b)
