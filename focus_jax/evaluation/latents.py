# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0's stand-ins for SDXL on scenes of the world: what the autoencoder gives back, what the UNet foretells."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.world.scenes import Scene
from focus_jax.evaluation import held_out
from focus_jax.evaluation.figures import Figure, mean, psnr
from focus_jax.evaluation.protocol import Checked, batches
from focus_jax.stages import decoder


class Evaluator(held_out.Benchmark):
    """Figures: vae_psnr, of pictures through the autoencoder's means. Of a checkpoint whose UNet sees no codes,
    unet_error instead: mean square error of what it foretells, at times drawn by the scenes' numbers; a network that
    says nothing reaches 1. Shown are pictures drawn from noise alone."""

    name = "latents"

    def run(self, model: Any, data: Sequence[Scene] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load, of stage 0; data: scenes, default what the config names. Raises: UserError."""
        c = self.config
        found = self.scenes(data)
        images = held_out.pictures(found, c.side)
        if isinstance(model.stage, decoder.Stage) and model.stage.tokenizer is None:
            return self._foretold(model, images)
        checked = Checked(model, self.name, c.batch_size)
        back = checked.autoencode(images)
        cells = [(images[i], back[i]) for i in held_out.spread(len(found), c.shown)]
        self.galleries = [held_out.gallery("The autoencoder", ("original", "given back"), cells)]
        return {"vae_psnr": mean(psnr(images, back))}

    def _foretold(self, model: Any, images: np.ndarray) -> dict[str, Figure]:
        c, run = self.config, jax.jit(model.stage.errors)
        self.name = "latents_unet"
        key, errors = jax.random.key(c.seed), []
        with model.scope():
            for index, count in batches(len(images), c.batch_size):
                batch = {"image": jnp.asarray(images[index]), "element": jnp.asarray(index, jnp.int32)}
                errors.append(np.asarray(run(model.params, batch, key))[:count])
        self.baselines = {"unet_error": {"says nothing": 1.0}}
        if c.shown:
            drawn = model.diffuse(None, images.shape[1:3], seeds=list(range(c.shown)), guidance=1.0)
            self.galleries = [held_out.gallery("Drawn from noise alone", ("drawn",), [(x,) for x in drawn])]
        return {"unet_error": mean(np.concatenate(errors))}
