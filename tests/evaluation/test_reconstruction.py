# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures of reconstruction against their definitions."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from focus_jax.evaluation import reconstruction
from focus_jax.training import config as config_lib


class Blur:
    """Stands in for a model: every 8 x 8 block is a code (its mean grey), decoded as that grey."""

    class config:
        class model:
            class tokenizer:
                class pixel:
                    codes = 256

    def encode(self, images):
        b, h, w, _ = images.shape
        return images.reshape(b, h // 8, 8, w // 8, 8, 3).mean((2, 4, 5)).astype(np.int32)

    def decode(self, indices):
        return np.repeat(np.repeat(indices, 8, 1), 8, 2)[..., None].repeat(3, -1).astype(np.uint8)

    def reconstruct(self, images):
        return self.decode(self.encode(images))


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
    codes = Blur().encode(images)
    assert figures["pixel_codebook_usage"][0] == len(np.unique(codes)) / 256
    assert 0 < figures["pixel_codebook_perplexity"][0] <= len(np.unique(codes))
    assert figures["perceptual_random"][0] > 0 and "lpips" not in figures
    assert evaluator.baselines == {"psnr": {"mean picture": figures["psnr_of_mean_picture"][0]}}
    (shown,) = evaluator.galleries
    assert shown["columns"] == ["original", "reconstruction"] and len(shown["rows"]) == 3


def test_perfect_pictures():
    x = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), np.uint8)
    np.testing.assert_allclose(reconstruction.psnr(x, x), 100.0)
    np.testing.assert_allclose(reconstruction.ssim(x, x), 1.0)
