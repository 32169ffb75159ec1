# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 1: the tokenizer (FOCUS 3.3 and 3.5, Table 6). Pictures come back by L1, LPIPS and, later, a PatchGAN; the
frozen tower's features by their cosine; each branch's codes by SimVQ. All terms train together, as in ILLUME+.

Terms are means over a row's positions, summed over rows by weight; so a batch of any bucket counts its pictures alike.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.discriminator import PatchGAN
from focus_jax.models.dual_tokenizer import AFTER_CODES, PREPROCESSING, drop_mask, dual_tokenizer
from focus_jax.models.perceptual import LPIPS
from focus_jax.models.semantic_branch import cosine
from focus_jax.training import fingerprint
from focus_jax.training.parts import flatten, source_of, unflatten
from focus_jax.training.state import Flat, Plan, Trained, all_params
from focus_jax.training.step import Batch, Event, Metrics, put

LOSS = ("reconstruction", "weights", "adversarial_from", "commitment", "codebook_start", "pixel_drop")
WEIGHTS = ("reconstruction", "pixel_quantiser", "semantic", "semantic_quantiser", "perceptual", "adversarial")
DROP = ("rate", "rows", "phases")
RECONSTRUCTION = {"l1": jnp.abs, "l2": jnp.square}
DEAD = 0.05  # a codebook of which less is in use is in trouble


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """A bucket must be a whole number of codes and bring the pictures that the form reads. Raises: UserError."""
    tokenizer = dual_tokenizer(**config.model.tokenizer)
    if stream["shape_class"] != "picture":
        raise UserError(f"{where}.shape_class: expected picture, found {stream['shape_class']!r}.")
    for side in ("height", "width"):
        if stream[side] % tokenizer.stride:
            raise UserError(
                f"{where}.{side}: {stream[side]} is not a multiple of the tokenizer's stride {tokenizer.stride}."
            )
    if stream.get("high", 0) != tokenizer.reads_high:
        raise UserError(
            f"{where}.high: {stream.get('high', 0)}, expected {tokenizer.reads_high}, the long edge of the pictures "
            "that this tokenizer's hierarchical encoder reads (config.model.tokenizer.high; 0 for none)."
        )


def validate(config: Any) -> None:
    """Checks the loss section. Raises: UserError."""
    loss = config.loss
    for given, known, where in (
        (loss, LOSS, "config.loss"),
        (loss.get("weights", {}), WEIGHTS, "config.loss.weights"),
        (loss.get("pixel_drop", {}), DROP, "config.loss.pixel_drop"),
    ):
        if wrong := sorted(set(given) ^ set(known)):
            is_there = "is unknown" if wrong[0] in given else "is missing"
            raise UserError(f"{where}.{wrong[0]}: {is_there}; expected the fields {', '.join(known)}.")
    if loss.reconstruction not in RECONSTRUCTION:
        raise UserError(
            f"config.loss.reconstruction: expected {' or '.join(RECONSTRUCTION)}, found {loss.reconstruction!r}."
        )
    for term, weight in loss.weights.items():
        if not weight >= 0:
            raise UserError(f"config.loss.weights.{term}: expected 0 or more, found {weight!r}.")
    for field, value in (("codebook_start", loss.codebook_start), ("pixel_drop.phases", loss.pixel_drop.phases)):
        if value < 0:
            raise UserError(f"config.loss.{field}: expected 0 or more, found {value!r}.")
    for share in ("rate", "rows"):
        if not 0 <= loss.pixel_drop[share] < 1:
            raise UserError(
                f"config.loss.pixel_drop.{share}: expected a share below 1, found {loss.pixel_drop[share]}."
            )
    if loss.codebook_start and not started(config):
        raise UserError(
            f"config.loss.codebook_start: {loss.codebook_start}, but config.init brings every codebook and none is to "
            "be replaced, expected 0."
        )


def started(config: Any) -> tuple[str, ...]:
    """The branches whose codebooks config.init draws: they train unquantised before, and start at codebook_start."""
    quantizers = {name: f"tokenizer/{name}/quantizer/frozen_codebook" for name in config.model.tokenizer.branches}
    drawn = lambda key: key is not None and config.init[key] == "random"
    return tuple(name for name, path in quantizers.items() if drawn(source_of(path, config.init)))


def to_float(images: jax.Array) -> jax.Array:
    """uint8 [B, H, W, 3] -> float32 in [-1, 1]: (x / 255 - 0.5) / 0.5, as the released DualViTok does."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: jax.Array) -> jax.Array:
    """Decoder output -> uint8 by clamp(127.5 x + 128, 0, 255), as the released DualViTok does."""
    return jnp.clip(127.5 * images + 128.0, 0, 255).astype(jnp.uint8)


def codes_fingerprint(tokenizer: Any, params: Mapping[str, Any]) -> str:
    """16 hex digits of all that a picture's codes depend on, so not of the decoders.

    Args:
      tokenizer: config.model.tokenizer; params: nested dict of the parts below `tokenizer`.
    """
    read = {p: x for p, x in flatten(params).items() if not p.startswith(AFTER_CODES)}
    net = dual_tokenizer(**tokenizer)
    how = {"preprocessing": PREPROCESSING, "high": net.reads_high, "stride": net.stride}
    # What no parameter's path or shape tells.
    semantic = net.semantic is not None
    how |= {"pixel": [tokenizer.pixel.patch, tokenizer.pixel.groups]} if net.pixel_codes else {}
    how |= {name: [tokenizer[name].heads] for name in ("vit", "semantic") if semantic}
    how |= {"fusion": [tokenizer.fusion.heads, *tokenizer.fusion.levels]} if net.fusion is not None else {}
    said = json.dumps(how, sort_keys=True)
    return hashlib.sha256(f"{said} {fingerprint.fingerprint(read)}".encode()).hexdigest()[: fingerprint.LENGTH]


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
        self.codes = tuple(self.tokenizer.branches)
        self.drops = set(self.codes) == {"semantic", "pixel"} and self.loss.pixel_drop.rate > 0
        steps = [int(phase["steps"]) for phase in config.data.phases]
        self.drop_until = sum(steps[: self.loss.pixel_drop.phases])
        # Without VGG's and LPIPS's weights it is another distance, and so it is called.
        random = self.perceptual and config.init[source_of("perceptual/", config.init) or ""] == "random"
        self.perceptual_term = "perceptual_random" if random else "perceptual"
        self.started, start = started(config), self.loss.codebook_start
        self.events = (Event("codebook_start", start, self.start_codebooks),) if start else ()

    def init(self, rng: jax.Array) -> dict[str, Any]:
        side = 4 * self.tokenizer.stride
        images, row = jnp.zeros((1, side, side, 3)), jnp.ones((1,))
        high = jnp.zeros((1, *2 * (self.tokenizer.reads_high,), 3))
        rngs = [jax.random.fold_in(rng, i) for i in range(3)]
        out = {"tokenizer": self.tokenizer.init(rngs[0], images, high)["params"]}
        if self.gan:
            out["discriminator"] = self.gan.init(rngs[1], images, row)["params"]
        if self.perceptual:
            out["perceptual"] = self.perceptual.init(rngs[2], images, images)["params"]
        return out

    def notes(self) -> list[str]:
        """What a user should know of this combination of settings."""
        coupled = []
        if self.gan and self.config.model.discriminator.norm == "batch":
            coupled.append("the discriminator's BatchNorm")
        if self.drops:
            coupled.append("pixel drop, which borrows codes of another picture")
        if coupled and self.config.accumulate > 1:
            return [
                f"{' and '.join(coupled)}: of one micro-batch at a time, so accumulate={self.config.accumulate} is not "
                "exactly the same as 1 here"
            ]
        return []

    def alarms(self, step: int, figures: Mapping[str, float]) -> list[str]:
        """Codebooks that are dying, once their codes count."""
        used = {name: figures.get(f"{name}_codebook_usage", 1.0) for name in self.codes}
        if step <= self.loss.codebook_start:
            return []
        return [
            f"{name}_codebook_usage {usage:.3f}: less than {DEAD:.0%} of the {name} codes are in use; see "
            "config.loss.codebook_start and this branch's learning rate"
            for name, usage in used.items()
            if usage < DEAD
        ]

    def weights(self, step: jax.Array) -> dict[str, Any]:
        w = self.loss.weights
        out: dict[str, Any] = {"reconstruction": w.reconstruction}
        for name in self.codes:
            out[f"{name}_quantiser"] = w[f"{name}_quantiser"]
        if "semantic" in self.codes:
            out["semantic"] = w.semantic
        if self.perceptual:
            out[self.perceptual_term] = w.perceptual
        if self.gan:
            out["adversarial"] = out["discriminator"] = jnp.where(
                step >= self.loss.adversarial_from, w.adversarial, 0.0
            )
        return out

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        rows = batch["weight"].astype(jnp.float32).sum()
        return dict.fromkeys(self.weights(jnp.zeros((), jnp.int32)), rows)

    def _drop(self, batch: Batch, rng: jax.Array, step: jax.Array) -> jax.Array | None:
        """Pixel codes to replace, drawn from (seed, bucket, element)."""
        if not self.drops:
            return None
        drop, grid = self.loss.pixel_drop, self.tokenizer.grids(*batch["image"].shape[1:3])["pixel"]
        for side in grid:
            rng = jax.random.fold_in(rng, side)
        keys = jax.vmap(lambda e: jax.random.fold_in(rng, e))(batch["element"])
        return drop_mask(keys, grid, drop.rate, drop.rows) & (step < self.drop_until)

    def numerators(
        self, params, batch: Batch, norm, rng: jax.Array, step: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        del norm
        (images, high), w = pictures(batch), batch["weight"].astype(jnp.float32)
        total = lambda per_row: jnp.sum(w * per_row)
        mean = lambda x: jnp.mean(x.astype(jnp.float32).reshape(x.shape[0], -1), axis=1)  # [B, ...] -> [B]
        fake, out = self.tokenizer.apply(
            {"params": params["tokenizer"]},
            images,
            high,
            quantise={name: (name not in self.started) | (step >= self.loss.codebook_start) for name in self.codes},
            drop=self._drop(batch, rng, step),
        )
        sums = {"reconstruction": total(mean(RECONSTRUCTION[self.loss.reconstruction](fake - images)))}
        sums |= {f"{name}_quantiser": total(mean(found["error"])) for name, found in out.items()}
        aux: Metrics = {"psnr": (total(psnr(batch["image"], to_uint8(fake))), w.sum()), **self._codes(out, w)}
        if "semantic" in out:
            likeness = _likeness(out["semantic"])
            sums["semantic"] = total(1.0 - likeness)
            aux["semantic_cosine"] = total(likeness), w.sum()
        if self.perceptual:
            # Rematerialised: at full size VGG's activations are large.
            distance = jax.checkpoint(lambda p, x: self.perceptual.apply({"params": p}, x, images))
            sums[self.perceptual_term] = total(distance(params["perceptual"], fake))
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
        hits: Metrics = {}
        for name, found in out.items():
            indices = found["indices"]
            counts = jnp.broadcast_to(w.reshape(-1, 1, 1), indices.shape)
            codes = jnp.zeros(self.tokenizer.branches[name].codes)
            hits[f"hist/{name}_codebook"] = codes.at[indices.reshape(-1)].add(counts.reshape(-1))
        return hits

    def measures(self, params, batch: Batch) -> Metrics:
        w = batch["weight"].astype(jnp.float32)
        images, high = pictures(batch)
        fake, out = self.tokenizer.apply({"params": params["tokenizer"]}, images, high)
        shown = to_uint8(fake)
        pair = jnp.concatenate([batch["image"], shown], axis=2)[:8]  # original | reconstruction
        l1 = jnp.mean(jnp.abs(fake - images), axis=(1, 2, 3))
        found: Metrics = {
            "psnr": (jnp.sum(w * psnr(batch["image"], shown)), w.sum()),
            "l1": (jnp.sum(w * l1), w.sum()),
            **self._codes(out, w),
            "show/reconstruction": pair,
        }
        if "semantic" in out:
            found["semantic_cosine"] = jnp.sum(w * _likeness(out["semantic"])), w.sum()
        return found

    def start_codebooks(self, plan: Plan, trained: Trained, frozen: Flat, batch: Batch) -> tuple[Trained, Flat]:
        """Gives codes that were drawn the mean and covariance of their encoder's vectors, measured on this batch.

        With cov z = L L^T the rows n ~ N(0, 1/d) of the frozen codebook become codes n W + mean for W = sqrt(d) L^T;
        SimVQ has no bias, so mean W^-1 is added to every row of the frozen codebook, which the checkpoint carries.
        """
        params = all_params(trained, frozen)
        found = self.tokenizer.apply({"params": unflatten(params)["tokenizer"]}, *pictures(batch), method="encode")
        leaves = {}
        for name in self.started:
            z = found[name]
            quantizer = f"tokenizer/{name}/quantizer"
            kernel, shift = matched(z, batch["weight"])
            leaves[f"{quantizer}/code_transform/kernel"] = kernel
            leaves[f"{quantizer}/frozen_codebook"] = params[f"{quantizer}/frozen_codebook"] + shift
        return put(plan, trained, frozen, leaves)


def _likeness(found: Mapping[str, jax.Array]) -> jax.Array:
    """Cosine of decoded features with what they stand for, [B], a mean over positions."""
    return jnp.mean(cosine(found["decoded"], found["target"]), axis=(1, 2))


def pictures(batch: Batch) -> tuple[jax.Array, jax.Array | None]:
    """The float pictures [B, H, W, 3] of a batch, and their high-resolution copies where it has such."""
    return to_float(batch["image"]), to_float(batch["high"]) if "high" in batch else None


def matched(z: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(W [d, d], shift [d]) that give N(0, 1/d) rows plus shift, times W, the mean and covariance of z [B, h, w, d]."""
    w = jnp.broadcast_to(weight.reshape(-1, 1, 1), z.shape[:3]).reshape(-1, 1)
    z = z.reshape(-1, z.shape[-1])
    mean = jnp.sum(w * z, axis=0) / w.sum()
    centred = z - mean
    cov = jnp.matmul((w * centred).T, centred, precision="highest") / w.sum()
    d = z.shape[-1]
    floor = 1e-6 * jnp.trace(cov) / d  # a channel that never moves must not make W singular
    kernel = jnp.sqrt(d) * jnp.linalg.cholesky(cov + floor * jnp.eye(d)).T
    return kernel, jnp.linalg.solve(kernel.T, mean)  # shift @ kernel = mean
