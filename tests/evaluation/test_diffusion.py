# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures of the diffusion decoder on a model whose errors are known: gaps, means of samples, guidance; and of its
stand-ins."""

import jax
import numpy as np
import pytest

from configs import eval as eval_config
from focus_jax.errors import UserError
from focus_jax.evaluation import held_out, latents
from focus_jax.evaluation.diffusion import SAMPLES, Evaluator
from focus_jax.evaluation.figures import psnr
from focus_jax.training.parts import unflatten
from tests.stages.test_decoder import SIDE, Run

MOVQ, SAMPLE, VAE = 4.0, 8.0, 2.0  # standard deviations of the noise that each adds


class Noisy:
    """Remembers pictures by a code and gives them back with noise; guidance other than 1.5 adds more."""

    high, label = 0, "noisy"

    def __init__(self):
        self.seen, self.calls = [], []

    def encode(self, images, high=None):
        first = len(self.seen)
        self.seen += list(images)
        return {"pixel": np.arange(first, len(self.seen), dtype=np.int32)[:, None, None]}

    def _of(self, codes, size):
        found = np.stack([self.seen[i] for i in codes["pixel"][:, 0, 0]]).astype(float)
        return found.repeat(size[0] // found.shape[1], 1).repeat(size[1] // found.shape[2], 2)

    def _noised(self, x, deviation, seeds):
        noise = np.stack([np.random.default_rng(seed).normal(0, deviation, x.shape[1:]) for seed in seeds])
        # Towards the middle, so that nothing is cut off.
        return np.clip(np.where(x > 127, x - np.abs(noise), x + np.abs(noise)), 0, 255).astype(np.uint8)

    def decode(self, codes, size=None):
        return self._noised(self._of(codes, size), MOVQ, range(len(codes["pixel"])))

    def autoencode(self, images):
        return self._noised(images.astype(float), VAE, range(len(images)))

    def diffuse(self, codes, size, *, seeds, **options):
        self.calls.append((size, options))
        return self._noised(self._of(codes, size), SAMPLE + 4 * abs(options["guidance"] - 1.5), seeds)


def config(**change):
    c = eval_config.get_config("diffusion")
    c.data.scenes, c.chosen_on, c.mean_of, c.shown, c.batch_size = 6, 3, 4, 2, 2
    c.update(change)
    return c


def test_gaps_and_the_choice_of_guidance():
    evaluator, model = Evaluator(config()), Noisy()
    found = {name: figure[0] for name, figure in evaluator.run(model).items()}
    assert evaluator.chosen["guidance"] == 1.5 and evaluator.protocol["sampling"]["guidance"] == 1.5
    assert evaluator.protocol["sampling"]["steps"] == 30 and evaluator.protocol["sampling"]["scheduler"] == "ddim"
    assert found["psnr_gap"] == pytest.approx(20 * np.log10(SAMPLE / MOVQ), abs=0.7)
    assert found["psnr_gap"] == pytest.approx(found["movq_psnr"] - found["psnr"], abs=1e-9)
    assert found["vae_psnr"] > found["movq_psnr"] > found["psnr"]
    # |N(0, s)| has the mean 0.8 s, which no averaging removes; of the rest an eighth is left.
    left = np.sqrt(2 / np.pi + (1 - 2 / np.pi) / SAMPLES)
    assert found["psnr_gap_mean8"] == pytest.approx(20 * np.log10(SAMPLE * left / MOVQ), abs=0.7)
    assert found["readback_colour"] == found["movq_readback_colour"] == 1.0
    assert set(evaluator.baselines) >= {"psnr", "readback_colour", "readback_shape"}
    (gallery,) = evaluator.galleries
    assert len(gallery["rows"]) == 2 and gallery["rows"][0][3].shape == (128, 128, 3)
    tried = {options["guidance"] for _, options in model.calls}
    assert tried == {1.0, 1.5, 2.0, 3.0, 4.0, 6.0}


@pytest.mark.parametrize("change", [dict(guidance=()), dict(chosen_on=1), dict(mean_of=7)])
def test_wrong_configs(change):
    with pytest.raises(UserError, match="expected guidance values, chosen_on and mean_of"):
        Evaluator(config(**change))


def of_latents():
    c = eval_config.get_config("latents")
    c.data.scenes, c.shown, c.batch_size, c.side = 5, 2, 2, SIDE
    return latents.Evaluator(c)


def test_the_autoencoder_alone():
    model, evaluator = Run("configs/stage0_decoder.py:vae").model(), of_latents()
    found = evaluator.run(model)
    assert evaluator.name == "latents" and set(found) == {"vae_psnr"}
    images = held_out.pictures(held_out.scenes_of(evaluator.config), SIDE)
    back = model.autoencode(images)
    assert found["vae_psnr"][0] == pytest.approx(psnr(images, back).mean(), abs=1e-3)
    assert back.shape == images.shape and len(evaluator.galleries[0]["rows"]) == 2


@pytest.mark.slow
def test_a_unet_that_sees_no_codes():
    run, evaluator = Run("configs/stage0_decoder.py:unet"), of_latents()
    silent = {path: np.zeros_like(x) if path.startswith("unet/conv_out") else x for path, x in run.params.items()}
    assert any(path.startswith("unet/conv_out") for path in silent)
    run.params = silent
    found = evaluator.run(run.model())
    assert evaluator.name == "latents_unet" and set(found) == {"unet_error"}
    batch = {"image": held_out.pictures(held_out.scenes_of(evaluator.config), SIDE), "element": np.arange(5)}
    *_, target, _ = run.stage.noised(unflatten(silent), batch, jax.random.key(0))
    assert found["unet_error"][0] == pytest.approx(float(np.mean(target**2)), rel=1e-4)  # it says nothing at all
    assert evaluator.galleries[0]["rows"][0][0].shape == (SIDE, SIDE, 3)
