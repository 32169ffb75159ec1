# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 1: the tokenizer's pixel branch against L1, LPIPS, SimVQ and, later, a PatchGAN (FOCUS 3.3 and 3.5, Table 6).

Terms are means over a row's positions, summed over rows by weight; so a batch of any bucket counts its pictures alike.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.discriminator import PatchGAN
from focus_jax.models.dual_tokenizer import dual_tokenizer
from focus_jax.models.perceptual import LPIPS
from focus_jax.training.parts import unflatten
from focus_jax.training.state import Flat, Plan, Trained, all_params
from focus_jax.training.step import Batch, Event, Metrics, put

QUANTIZER = "tokenizer/pixel/quantizer"
RECONSTRUCTION = {"l1": jnp.abs, "l2": jnp.square}


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """A bucket must be a whole number of codes. Raises: UserError."""
    stride = dual_tokenizer(**config.model.tokenizer).stride
    for side in ("height", "width"):
        if stream[side] % stride:
            raise UserError(f"{where}.{side}: {stream[side]} is not a multiple of the tokenizer's stride {stride}.")


def validate(config: Any) -> None:
    """Checks the loss section. Raises: UserError."""
    if config.loss.reconstruction not in RECONSTRUCTION:
        raise UserError(
            f"config.loss.reconstruction: expected {' or '.join(RECONSTRUCTION)}, found {config.loss.reconstruction!r}."
        )
    for term, weight in config.loss.weights.items():
        if not weight >= 0:
            raise UserError(f"config.loss.weights.{term}: expected 0 or more, found {weight!r}.")


def to_float(images: jax.Array) -> jax.Array:
    """uint8 [B, H, W, 3] -> float32 in [-1, 1]: (x / 255 - 0.5) / 0.5, as the released DualViTok does."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: jax.Array) -> jax.Array:
    """Decoder output -> uint8 by clamp(127.5 x + 128, 0, 255), as the released DualViTok does."""
    return jnp.clip(127.5 * images + 128.0, 0, 255).astype(jnp.uint8)


def psnr(images: jax.Array, reconstructions: jax.Array) -> jax.Array:
    """dB of each row, both uint8 [B, H, W, 3] read as [0, 1]."""
    error = (images.astype(jnp.float32) - reconstructions.astype(jnp.float32)) / 255.0
    return -10.0 * jnp.log10(jnp.maximum(jnp.mean(error**2, axis=(1, 2, 3)), 1e-10))


class Stage:
    """Networks, losses and events of stage 1; see training.step.Stage for the protocol."""

    def __init__(self, config: Any):
        self.config, self.loss = config, config.loss
        self.dtype = jnp.dtype(config.compute_dtype)
        self.tokenizer = dual_tokenizer(**config.model.tokenizer, commitment=config.loss.commitment, dtype=self.dtype)
        self.gan = PatchGAN(**config.model.discriminator, dtype=self.dtype) if self.loss.weights.adversarial else None
        self.perceptual = LPIPS(**config.model.perceptual, dtype=self.dtype) if self.loss.weights.perceptual else None
        start = self.loss.codebook_start
        self.events = (Event("codebook_start", start, self.start_codebook),) if start else ()

    def init(self, rng: jax.Array) -> dict[str, Any]:
        side = 4 * self.tokenizer.stride
        images, row = jnp.zeros((1, side, side, 3)), jnp.ones((1,))
        rngs = [jax.random.fold_in(rng, i) for i in range(3)]
        out = {"tokenizer": self.tokenizer.init(rngs[0], images)["params"]}
        if self.gan:
            out["discriminator"] = self.gan.init(rngs[1], images, row)["params"]
        if self.perceptual:
            out["perceptual"] = self.perceptual.init(rngs[2], images, images)["params"]
        return out

    def notes(self) -> list[str]:
        """What a user should know of this combination of settings."""
        if self.gan and self.config.accumulate > 1 and self.config.model.discriminator.norm == "batch":
            return [
                "the discriminator's BatchNorm sees one micro-batch at a time, so accumulate="
                f"{self.config.accumulate} is not exactly the same as 1 here"
            ]
        return []

    def weights(self, step: jax.Array) -> dict[str, Any]:
        w = self.loss.weights
        out: dict[str, Any] = {"reconstruction": w.reconstruction, "quantiser": w.quantiser}
        if self.perceptual:
            out["perceptual"] = w.perceptual
        if self.gan:
            out["adversarial"] = out["discriminator"] = jnp.where(
                step >= self.loss.adversarial_from, w.adversarial, 0.0
            )
        return out

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        rows = batch["weight"].astype(jnp.float32).sum()
        return dict.fromkeys(self.weights(jnp.zeros((), jnp.int32)), rows)

    def numerators(
        self, params, batch: Batch, norm, rng: jax.Array, step: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        del norm, rng  # nothing here is drawn
        images, w = to_float(batch["image"]), batch["weight"].astype(jnp.float32)
        total = lambda per_row: jnp.sum(w * per_row)
        mean = lambda x: jnp.mean(x.astype(jnp.float32).reshape(x.shape[0], -1), axis=1)  # [B, ...] -> [B]
        fake, out = self.tokenizer.apply(
            {"params": params["tokenizer"]}, images, quantise=step >= self.loss.codebook_start
        )
        sums = {
            "reconstruction": total(mean(RECONSTRUCTION[self.loss.reconstruction](fake - images))),
            "quantiser": total(mean(out["pixel"]["error"])),
        }
        if self.perceptual:
            # Rematerialised: at full size VGG's activations are large.
            distance = jax.checkpoint(lambda p, x: self.perceptual.apply({"params": p}, x, images))
            sums["perceptual"] = total(distance(params["perceptual"], fake))
        aux: Metrics = {"psnr": (total(psnr(batch["image"], to_uint8(fake))), w.sum()), **self._codes(out, w)}
        if self.gan:
            judge = lambda p, x: self.gan.apply({"params": p}, x, w)
            fixed = jax.lax.stop_gradient(params["discriminator"])
            sums["adversarial"] = -total(mean(judge(fixed, fake)))
            real_logits = judge(params["discriminator"], images)
            fake_logits = judge(params["discriminator"], jax.lax.stop_gradient(fake))
            hinge = mean(jax.nn.relu(1.0 - real_logits)) + mean(jax.nn.relu(1.0 + fake_logits))
            sums["discriminator"] = 0.5 * total(hinge)
            aux |= {
                "discriminator_real": (total(mean(real_logits)), w.sum()),
                "discriminator_fake": (total(mean(fake_logits)), w.sum()),
            }
        return sums, aux

    def _codes(self, out: Mapping[str, Any], w: jax.Array) -> Metrics:
        """How often each code was hit by rows that count."""
        indices = out["pixel"]["indices"]
        hits = jnp.broadcast_to(w.reshape(-1, 1, 1), indices.shape)
        return {
            "hist/pixel_codebook": jnp.zeros(self.config.model.tokenizer.pixel.codes)
            .at[indices.reshape(-1)]
            .add(hits.reshape(-1))
        }

    def measures(self, params, batch: Batch) -> Metrics:
        w = batch["weight"].astype(jnp.float32)
        fake, out = self.tokenizer.apply({"params": params["tokenizer"]}, to_float(batch["image"]))
        shown = to_uint8(fake)
        pair = jnp.concatenate([batch["image"], shown], axis=2)[:8]  # original | reconstruction
        l1 = jnp.mean(jnp.abs(fake - to_float(batch["image"])), axis=(1, 2, 3))
        return {
            "psnr": (jnp.sum(w * psnr(batch["image"], shown)), w.sum()),
            "l1": (jnp.sum(w * l1), w.sum()),
            **self._codes(out, w),
            "show/reconstruction": pair,
        }

    def start_codebook(self, plan: Plan, trained: Trained, frozen: Flat, batch: Batch) -> tuple[Trained, Flat]:
        """Gives the codes the mean and covariance of the encoder's vectors, measured on this batch.

        With cov z = L L^T the rows n ~ N(0, 1/d) of the frozen codebook become codes n W + mean for W = sqrt(d) L^T;
        SimVQ has no bias, so mean W^-1 is added to every row of the frozen codebook, which the checkpoint carries.
        """
        params = all_params(trained, frozen)
        part = {p.removeprefix("tokenizer/"): x for p, x in params.items() if p.startswith("tokenizer/")}
        z = self.tokenizer.apply({"params": unflatten(part)}, to_float(batch["image"]), method="encode")
        w = jnp.broadcast_to(batch["weight"].reshape(-1, 1, 1), z.shape[:3]).reshape(-1, 1)
        z = z.reshape(-1, z.shape[-1])
        mean = jnp.sum(w * z, axis=0) / w.sum()
        centred = z - mean
        cov = jnp.matmul((w * centred).T, centred, precision="highest") / w.sum()
        d = z.shape[-1]
        floor = 1e-6 * jnp.trace(cov) / d  # a channel that never moves must not make W singular
        kernel = jnp.sqrt(d) * jnp.linalg.cholesky(cov + floor * jnp.eye(d)).T
        shift = jnp.linalg.solve(kernel.T, mean)  # shift @ kernel = mean
        codebook = params[f"{QUANTIZER}/frozen_codebook"] + shift
        return put(
            plan,
            trained,
            frozen,
            {f"{QUANTIZER}/code_transform/kernel": kernel, f"{QUANTIZER}/frozen_codebook": codebook},
        )
