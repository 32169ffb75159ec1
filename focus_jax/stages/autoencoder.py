# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0: a stand-in for SDXL's autoencoder, trained on pictures by L1 and a small KL divergence, as in latent
diffusion (arXiv 2112.10752), without its perceptual and adversarial terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.vae import vae
from focus_jax.stages.tokenizer import psnr, to_float, to_uint8
from focus_jax.training.step import Batch, Metrics

TERMS = ("reconstruction", "divergence")
SHOWN = 8


def validate(config: Any) -> None:
    """Checks the loss section. Raises: UserError."""
    if set(config.loss) != {"weights"} or set(config.loss.weights) != set(TERMS):
        raise UserError(f"config.loss: {config.loss.to_dict()}, expected weights of {' and '.join(TERMS)}.")


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """A bucket must be whole latents. Raises: UserError."""
    if stream["shape_class"] != "picture":
        raise UserError(f"{where}.shape_class: expected picture, found {stream['shape_class']!r}.")
    stride = vae(**config.model.vae).stride
    for side in ("height", "width"):
        if stream[side] % stride:
            raise UserError(
                f"{where}.{side}: {stream[side]}, expected a multiple of the autoencoder's stride {stride}."
            )


class Stage:
    """The network and its losses; see training.step.Stage for the protocol."""

    events = ()

    def __init__(self, config: Any):
        self.config = config
        self.vae = vae(**config.model.vae, dtype=jnp.dtype(config.compute_dtype))

    def init(self, rng: jax.Array) -> dict[str, Any]:
        side = 2 * self.vae.stride
        return {"vae": self.vae.init(rng, jnp.zeros((1, side, side, 3)))["params"]}

    def notes(self) -> list[str]:
        return []

    def alarms(self, step: int, figures: Mapping[str, float]) -> list[str]:
        return []

    def weights(self, step: jax.Array) -> dict[str, Any]:
        return dict(self.config.loss.weights)

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        return dict.fromkeys(TERMS, batch["weight"].astype(jnp.float32).sum())

    def numerators(
        self, params, batch: Batch, norm, rng: jax.Array, step: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        del norm, step
        images, w = to_float(batch["image"]), batch["weight"].astype(jnp.float32)
        grid = tuple(side // self.vae.stride for side in images.shape[1:3])
        draw = lambda e: jax.random.normal(jax.random.fold_in(rng, e), (*grid, self.vae.channels))
        back, latents = self.vae.apply({"params": params["vae"]}, images, jax.vmap(draw)(batch["element"]))
        sums = {
            "reconstruction": jnp.sum(w * jnp.mean(jnp.abs(back - images), axis=(1, 2, 3))),
            "divergence": jnp.sum(w * latents.divergence()),
        }
        return sums, {"psnr": (jnp.sum(w * psnr(batch["image"], to_uint8(back))), w.sum())}

    def measures(self, params, batch: Batch) -> Metrics:
        """psnr of what the means give back; deviation: root mean square of the means, whose inverse is config.model.vae
        .scale for a diffusion model on these latents."""
        images, w = to_float(batch["image"]), batch["weight"].astype(jnp.float32)
        back, latents = self.vae.apply({"params": params["vae"]}, images)
        shown = to_uint8(back)
        square = jnp.mean(latents.mean**2, axis=(1, 2, 3))
        return {
            "psnr": (jnp.sum(w * psnr(batch["image"], shown)), w.sum()),
            "deviation": (jnp.sum(w * jnp.sqrt(square)), w.sum()),
            "show/reconstruction": jnp.concatenate([batch["image"], shown], axis=2)[:SHOWN],
        }
