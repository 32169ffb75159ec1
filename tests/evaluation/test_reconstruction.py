# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures of reconstruction against their definitions."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from skimage.metrics import peak_signal_noise_ratio

from focus_jax.errors import UserError
from focus_jax.evaluation import reconstruction
from focus_jax.evaluation.protocol import Checked
from focus_jax.training import config as config_lib


class Blur:
    """Stands in for a model: every 8 x 8 block is a code (its mean grey), decoded as that grey."""

    config = ConfigDict({"model": {"tokenizer": {"pixel": {"codes": 256}}}})
    high = 0

    def encode(self, images, high=None):
        b, h, w, _ = images.shape
        return {"pixel": images.reshape(b, h // 8, 8, w // 8, 8, 3).mean((2, 4, 5)).astype(np.int32)}

    def decode(self, codes, size=None):
        return np.repeat(np.repeat(codes["pixel"], 8, 1), 8, 2)[..., None].repeat(3, -1).astype(np.uint8)


@pytest.fixture(scope="module")
def measured():
    config = config_lib.load("configs/eval.py:reconstruction", ["--config.batch_size=4", "--config.shown=3"])
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    evaluator = reconstruction.Evaluator(config)
    return images, evaluator, evaluator.run(Blur(), images)


def test_figures(measured):
    images, evaluator, figures = measured
    back = Blur().decode(Blur().encode(images))
    by_hand = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(images, back)]
    value, n, error = figures["psnr"]
    assert (
        value == pytest.approx(np.mean(by_hand)) and n == 6 and error == pytest.approx(np.std(by_hand, ddof=1) / 6**0.5)
    )
    codes = Blur().encode(images)["pixel"]
    assert figures["pixel_codebook_usage"][0] == len(np.unique(codes)) / 256
    assert 0 < figures["pixel_codebook_perplexity"][0] <= len(np.unique(codes))
    assert figures["perceptual_random"][0] > 0 and "lpips" not in figures
    assert evaluator.baselines == {"psnr": {"mean picture": figures["psnr_of_mean_picture"][0]}}
    (shown,) = evaluator.galleries
    assert shown["columns"] == ["original", "reconstruction"] and len(shown["rows"]) == 3


def test_figures_of_the_diffusion_decoder_have_names_of_their_own(measured):
    """Beside the tokenizer's, which have the names and values that they had; each picture has a seed of its own."""
    images, _, of_tokenizer = measured

    class Draws(Blur):
        def diffuse(self, codes, size, *, seeds, **options):
            assert size == (32, 32) and options["steps"] == 4 and options["guidance"] == 1.5 and len(set(seeds)) > 1
            return self.decode(codes) // 2

    fields = ["--config.batch_size=4", "--config.shown=3", "--config.decoder=diffusion", "--config.drawing.steps=4"]
    evaluator = reconstruction.Evaluator(config_lib.load("configs/eval.py:reconstruction", fields))
    found = evaluator.run(Draws(), images)
    assert evaluator.name == "diffusion_reconstruction" and evaluator.protocol["drawing"]["steps"] == 4
    assert set(found) == {"diffusion_psnr", "diffusion_ssim", "diffusion_perceptual_random"}
    by_hand = reconstruction.psnr(images, Blur().decode(Blur().encode(images)) // 2)
    assert found["diffusion_psnr"][0] == pytest.approx(by_hand.mean()) != of_tokenizer["psnr"][0]
    for name in found:
        value = evaluator.baselines[name]["the tokenizer's decoder"]
        assert value == pytest.approx(of_tokenizer[name.removeprefix("diffusion_")][0])
    (shown,) = evaluator.galleries
    assert shown["columns"] == ["original", "tokenizer's decoder", "diffusion"] and len(shown["rows"]) == 3
    with pytest.raises(UserError, match="config.decoder: 'unet' with seed 0, expected ''"):
        reconstruction.Evaluator(config_lib.load("configs/eval.py:reconstruction", ["--config.decoder=unet"]))


def test_perfect_pictures():
    x = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), np.uint8)
    np.testing.assert_allclose(reconstruction.psnr(x, x), 100.0)
    np.testing.assert_allclose(reconstruction.ssim(x, x), 1.0)


class Features(Blur):
    """Blur with semantic features: the mean colours of 8 x 8 cells and their squares, `lost` of them not decoded."""

    config = ConfigDict({"model": {"tokenizer": {"pixel": {"codes": 256}, "semantic": {"codes": 4}}}})
    high = 96

    def __init__(self, lost=()):
        self.lost, self.seen = list(lost), set()

    def encode(self, images, high):
        self.seen.add((images.shape[1:], high.shape[1:]))
        return super().encode(images) | {"semantic": np.zeros((len(images), 2, 2), np.int32)}

    def semantic_features(self, images, high):
        cells = images.reshape(len(images), 8, 8, 8, 8, 3).mean((2, 4)).astype(np.float32) / 255
        target = np.concatenate([cells, cells**2], axis=-1)
        decoded = target.copy()
        decoded[..., self.lost] = 0.5
        return decoded, target


@pytest.fixture(scope="module")
def world():
    fields = ["--config.data.scenes=40", "--config.probe_scenes=150", "--config.batch_size=16", "--config.shown=2"]
    return config_lib.load("configs/eval.py:world_reconstruction", fields)


@pytest.mark.slow
def test_semantic_figures(world):
    evaluator, whole = reconstruction.Evaluator(world), Features()
    figures = evaluator.run(whole)
    assert whole.seen == {((64, 64, 3), (96, 96, 3))}  # the same scenes drawn at the model's two sizes
    assert figures["semantic_cosine"][0] == pytest.approx(1.0, abs=1e-6)
    assert 0.5 < figures["mean_feature_cosine"][0] < 0.999
    assert figures["semantic_codebook_usage"][0] == 0.25 and figures["semantic_codebook_perplexity"][0] == 1.0
    assert figures["probe_kept"] == (1.0, figures["probe_shape"][1], 0.0)
    own = evaluator.baselines["probe_colour"]["from the tower's own features"]
    assert figures["probe_colour"][0] == pytest.approx(own) and own > 0.6
    assert evaluator.protocol["probe"]["scenes"] == 150


@pytest.mark.slow
def test_a_feature_that_codes_lose_shows_in_the_probe(world):
    evaluator = reconstruction.Evaluator(world)
    figures = evaluator.run(Features(lost=[0, 1, 3, 4]))  # red and green
    assert figures["semantic_cosine"][0] < 0.999
    kept = [
        figures[f"probe_{name}"][0] / evaluator.baselines[f"probe_{name}"]["from the tower's own features"]
        for name in ("shape", "colour", "size")
    ]
    assert figures["probe_kept"][0] == pytest.approx(min(kept)) and min(kept) < 0.8 and figures["probe_kept"][2] > 0


def test_likeness_by_hand():
    """In batches as all at once: cosines, and that of the one constant vector which is the mean of all targets."""
    rng = np.random.default_rng(0)
    both = rng.normal(size=(2, 5, 2, 2, 7)).astype(np.float32) + 1

    class Given:
        def semantic_features(self, images, high):
            return tuple(x[images[:, 0, 0, 0]] for x in both)

    images = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(3, -1)
    found = reconstruction.Features(Checked(Given(), "test", 2), {"image": images})
    cosine = lambda a, b: (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    np.testing.assert_allclose(found.cosine, cosine(*both).mean((1, 2)), atol=1e-6)
    constant = both[1].reshape(-1, 7).mean(0)
    np.testing.assert_allclose(found.cosine_of_mean(), cosine(constant, both[1]).mean((1, 2)), atol=1e-6)
