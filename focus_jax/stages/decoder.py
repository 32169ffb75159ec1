# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 1b: the diffusion decoder, pictures out of the frozen tokenizer's codes (FOCUS sections 3.3 and 3.5, Table 6).
ILLUME+ never released this training; what is not in the papers is said where it is chosen.

A picture is drawn at its crop's size. The tokenizer reads it at that size or, where a stream's `tokens` says so, at a
share of it, so that the decoder learns to enlarge: only X_L shrinks, X_H stays the crop's. Without a tokenizer in the
config it is stage 0's stand-in for SDXL, which sees no codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines import buckets
from focus_jax.errors import UserError
from focus_jax.models.dual_tokenizer import dual_tokenizer
from focus_jax.models.mask_guidance import QUERIES, Context, mask_guidance
from focus_jax.models.unet import unet
from focus_jax.models.vae import Latents, vae
from focus_jax.ops import noise_schedule
from focus_jax.ops.resize import nearest
from focus_jax.stages import tokenizer as stage1
from focus_jax.stages.tokenizer import to_float, to_uint8
from focus_jax.training import fingerprint
from focus_jax.training.parts import flatten
from focus_jax.training.step import Batch, Metrics

LOSS = ("weights", "space", "min_snr", "offset_noise", "drop")
DROP = ("all", "semantic", "pixel")
ORDERS = ("width,height", "height,width")
SHOWN = 8  # rows of pictures
# ILLUME+'s list, as its released inference reads it: (width, height) / 512 of 22 sizes. 0 to 10 are the anchors drawn
# at twice their size and 11 is 512^2; 12 to 21 are the other anchors at their own size, which ILLUME+ does not have.
_TWICE = ((2, 2), (1.5, 2), (2, 1.5), (1, 4), (4, 1), (1.25, 3.75), (3.75, 1.25), (1.5, 3), (3, 1.5), (1.5, 2.25))
_TWICE += ((2.25, 1.5),)
RESOLUTIONS = (*_TWICE, *((w / 2, h / 2) for w, h in _TWICE))
RELEASED = 12  # so many of them ILLUME+ knows


def resolution_index(height: int, width: int, unit: int, order: str = ORDERS[0], known: int = 22) -> int:
    """The number of a size, of which the network is told.

    unit: pixels that stand for 512, a side of the square anchor. order: how the list is read; ILLUME+'s training and
    its inference disagree, and released weights follow the inference, width first. known: how many of the list the
    network knows; ILLUME+'s RELEASED. Raises: UserError.
    """
    pair = (width / unit, height / unit) if order == ORDERS[0] else (height / unit, width / unit)
    if pair not in RESOLUTIONS[:known]:
        expected = ", ".join(f"{h}x{w}" for h, w in sizes(unit, known))
        raise UserError(f"size: {height} x {width} pixels, expected one of {expected} (height x width).")
    return RESOLUTIONS.index(pair)


def sizes(unit: int, known: int = 22) -> list[buckets.Bucket]:
    """(height, width) of all that can be drawn."""
    return [(round(h * unit), round(w * unit)) for w, h in RESOLUTIONS[:known]]


def validate(config: Any) -> None:
    """Checks the loss section, the schedule and that the networks fit each other. Raises: UserError."""
    loss = config.loss
    for given, known, where in ((loss, LOSS, "config.loss"), (loss.get("drop", {}), DROP, "config.loss.drop")):
        if wrong := sorted(set(given) ^ set(known)):
            is_there = "is unknown" if wrong[0] in given else "is missing"
            raise UserError(f"{where}.{wrong[0]}: {is_there}; expected the fields {', '.join(known)}.")
    if set(loss.weights) != {"diffusion"}:
        raise UserError(f"config.loss.weights: {', '.join(loss.weights)}, expected diffusion alone.")
    if loss.space not in noise_schedule.LOSS_SPACES:
        raise UserError(f"config.loss.space: {loss.space!r}, expected {' or '.join(noise_schedule.LOSS_SPACES)}.")
    for name in ("min_snr", "offset_noise"):
        if not loss[name] >= 0:
            raise UserError(f"config.loss.{name}: {loss[name]!r}, expected 0 or more.")
    for name, share in loss.drop.items():
        if not 0 <= share <= 1:
            raise UserError(f"config.loss.drop.{name}: {share!r}, expected a share of the rows.")
    if config.model.decoder.known not in (RELEASED, len(RESOLUTIONS)):
        told = f"{RELEASED} (ILLUME+) or {len(RESOLUTIONS)}"
        raise UserError(f"config.model.decoder.known: {config.model.decoder.known!r}, expected {told}.")
    if config.model.decoder.unit < 1:
        raise UserError(f"config.model.decoder.unit: {config.model.decoder.unit}, expected pixels, 1 or more.")
    if config.model.decoder.order not in ORDERS:
        raise UserError(f"config.model.decoder.order: {config.model.decoder.order!r}, expected {' or '.join(ORDERS)}.")
    noise_schedule.Schedule(**config.model.schedule)
    codes = code_channels(config)
    if config.model.unet.inputs != config.model.vae.channels + codes:
        told = f"{config.model.vae.channels} of the latents and {codes} of the codes"
        raise UserError(f"config.model.unet.inputs: {config.model.unet.inputs}, expected {told}.")


def code_channels(config: Any) -> int:
    """Of the code map that the UNet reads: 0 without a tokenizer."""
    given = config.model.get("tokenizer")
    return given.semantic_dim + given.pixel.code_dim if given else 0


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """A bucket must be a known size, whole codes and whole latents. Raises: UserError."""
    if stream["shape_class"] not in ("picture", "latents"):
        raise UserError(f"{where}.shape_class: expected picture or latents, found {stream['shape_class']!r}.")
    unit, share = max(1, config.model.decoder.unit), stream.get("tokens", 1.0)
    height, width = stream["height"], stream["width"]
    try:
        resolution_index(height, width, unit, known=config.model.decoder.known)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    net = unet(**config.model.unet)
    if (step := vae(**config.model.vae).stride * net.stride) and (height % step or width % step):
        raise UserError(f"{where}: {height} x {width} pixels, expected multiples of {step}, whole latents.")
    if not config.model.get("tokenizer"):
        if stream["shape_class"] == "latents":
            raise UserError(f"{where}.shape_class: latents, which come with codes, but this model has no tokenizer.")
        return
    tokenizer = dual_tokenizer(**config.model.tokenizer)
    reads = tokenizer.reads_high if stream["shape_class"] == "picture" else 0
    if stream.get("high", 0) != reads:
        raise UserError(f"{where}.high: {stream.get('high', 0)}, expected {reads}, as of stage 1.")
    low = round(height * share), round(width * share)
    latents = tuple(side // vae(**config.model.vae).stride for side in (height, width))
    grid = tuple(side // tokenizer.stride for side in low)
    if any(side % tokenizer.stride for side in low) or any(a % b for a, b in zip(latents, grid)):
        raise UserError(
            f"{where}.tokens: {share}, tokens of {low[0]} x {low[1]} pixels do not tile latents of {latents[0]} x "
            f"{latents[1]}."
        )
    if stream["shape_class"] == "latents":
        expected = {f"{name}_grid": grid for name, grid in tokenizer.grids(*low).items()}
        expected["latents"] = *latents, 2 * config.model.vae.channels
        if wrong := [name for name, shape in expected.items() if tuple(stream.get(name, ())) != shape]:
            told = " x ".join(map(str, expected[wrong[0]]))
            raise UserError(f"{where}.{wrong[0]}: {stream.get(wrong[0])}, expected {told}.")


def latents_fingerprint(params: Mapping[str, Any]) -> str:
    """Of an autoencoder's parameters (nested dict below vae): those that pictures pass on their way to latents."""
    read = {path: x for path, x in flatten(params).items() if path.startswith(("encoder/", "quant_conv/"))}
    return fingerprint.fingerprint(read)


class Stage:
    """Networks and the loss; see training.step.Stage for the protocol."""

    events = ()

    def __init__(self, config: Any):
        self.config, self.loss = config, config.loss
        dtype = jnp.dtype(config.compute_dtype)
        given = config.model.get("tokenizer")
        self.tokenizer = dual_tokenizer(**given, dtype=dtype) if given else None
        self.vae = vae(**config.model.vae, dtype=dtype)
        self.unet = unet(**config.model.unet, dtype=dtype)
        guide = config.model.get("mask_guidance")
        self.guidance = mask_guidance(**guide, dtype=dtype) if guide else None
        self.schedule = noise_schedule.Schedule(**config.model.schedule)
        self.levels = noise_schedule.levels(self.schedule)

    def init(self, rng: jax.Array) -> dict[str, Any]:
        rngs = [jax.random.fold_in(rng, i) for i in range(3)]
        side = self.vae.stride * self.unet.stride
        latents = jnp.zeros((1, self.unet.stride, self.unet.stride, self.unet.inputs))
        out: dict[str, Any] = {}
        if self.tokenizer is not None:
            small = 4 * self.tokenizer.stride
            high = jnp.zeros((1, *2 * (self.tokenizer.reads_high,), 3))
            out["tokenizer"] = self.tokenizer.init(rngs[0], jnp.zeros((1, small, small, 3)), high)["params"]
        out["vae"] = self.vae.init(rngs[1], jnp.zeros((1, side, side, 3)))["params"]
        out["unet"] = self.unet.init(rngs[2], latents, jnp.zeros(1), jnp.zeros((1, 6)))["params"]
        if self.guidance is not None:
            size = 2 * (self.unet.stride,)
            given = jnp.zeros((1, 1, self.guidance.states) if self.guidance.form == QUERIES else (1, *size))
            args = given, jnp.ones(1), size, self.unet.stride
            out["mask_guidance"] = self.guidance.init(rngs[2], *args)["params"]
        return out

    def notes(self) -> list[str]:
        return []

    def alarms(self, step: int, figures: Mapping[str, float]) -> list[str]:
        return []

    def codes_fingerprint(self, params: Mapping[str, Any]) -> str:
        return stage1.codes_fingerprint(self.config.model.tokenizer, params["tokenizer"])

    def latents_fingerprint(self, params: Mapping[str, Any]) -> str:
        """16 hex digits of all that latents depend on, so not of the decoder nor of their scale."""
        return latents_fingerprint(params["vae"])

    def weights(self, step: jax.Array) -> dict[str, Any]:
        return dict(self.loss.weights)

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        return {"diffusion": batch["weight"].astype(jnp.float32).sum()}

    # ------------------------------------------------------------------------------------------------ what is read
    def size_ids(self, height: int, width: int, rows: int) -> jax.Array:
        """[rows, 6]: five zeros and the number of the size, as ILLUME+ gives them."""
        decoder = self.config.model.decoder
        index = resolution_index(height, width, decoder.unit, decoder.order)
        return jnp.broadcast_to(jnp.array([0.0, 0, 0, 0, 0, index]), (rows, 6))

    def code_map(self, params: Mapping[str, Any], indices: Mapping[str, jax.Array], size: tuple[int, int]) -> jax.Array:
        """Code indices int32 [B, h, w] by branch -> what the UNet reads of them, float32 [B, *size, channels]; size: of
        the latents."""
        assert self.tokenizer is not None
        found = self.tokenizer.apply({"params": params["tokenizer"]}, indices, method="map_of")
        return nearest(found.astype(jnp.float32), size)

    def _indices(self, params: Mapping[str, Any], batch: Batch) -> dict[str, jax.Array]:
        assert self.tokenizer is not None
        if "latents" in batch:
            return {name: batch[f"{name}_codes"] for name in self.tokenizer.branches}
        low = to_float(batch["low"] if "low" in batch else batch["image"])
        high = to_float(batch["high"]) if "high" in batch else None
        found = self.tokenizer.apply({"params": params["tokenizer"]}, low, high, method="indices")
        return {name: jax.lax.stop_gradient(x) for name, x in found.items()}

    def dropped(self, codes: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The code map without all of it, its semantic or its pixel half, of the rows that the keys draw; and 0 where
        all is gone, else 1, float32 [B]."""
        drop, split = self.loss.drop, self.config.model.tokenizer.semantic_dim
        draws = jax.vmap(lambda k: jax.random.uniform(k, (3,)))(keys)
        keep = lambda i, share: (draws[:, i] >= share).astype(codes.dtype)[:, None, None, None]
        halves = codes[..., :split] * keep(1, drop.semantic), codes[..., split:] * keep(2, drop.pixel)
        kept = keep(0, drop["all"])
        return jnp.concatenate(halves, axis=-1) * kept, kept[:, 0, 0, 0].astype(jnp.float32)

    def context(self, params: Mapping[str, Any], masks: jax.Array, there: jax.Array, size: tuple[int, int]) -> Context:
        """What masks [B, H, W], 0 to 1, on pictures whose latents have a size are to the UNet; there: [B], 0 for rows
        without; of the form queries mask tokens' states [B, N, D] (models/mask_guidance.py)."""
        assert self.guidance is not None
        return self.guidance.apply({"params": params["mask_guidance"]}, masks, there, size, self.unet.stride)

    def foretold(
        self,
        params: Mapping[str, Any],
        x: jax.Array,
        codes: jax.Array | None,
        t: jax.Array,
        ids: jax.Array,
        context: Context | None = None,
    ) -> jax.Array:
        """What the UNet foretells of x [B, h, w, channels] beside the code map of that size, at times t [B]."""
        given = x if codes is None else jnp.concatenate([x, codes.astype(x.dtype)], axis=-1)
        return self.unet.apply({"params": params["unet"]}, given, t, ids, context)

    def _latents(self, params: Mapping[str, Any], batch: Batch) -> Latents:
        """Those that are stored, or of the pictures."""
        if "latents" in batch:
            return Latents(*jnp.split(batch["latents"].astype(jnp.float32), 2, axis=-1))
        return self.vae.apply({"params": params["vae"]}, to_float(batch["image"]), method="encode")

    # ---------------------------------------------------------------------------------------------------- the loss
    def noised(
        self,
        params: Mapping[str, Any],
        batch: Batch,
        rng: jax.Array,
        times: jax.Array | None = None,
        indices: Mapping[str, jax.Array] | None = None,
    ) -> Any:
        """(x_t, code map or None, t, ids, target, keys of the rows) of a batch; all is drawn by (rng, size, element).

        times: of the rows, instead of such as are drawn. indices: codes by branch, instead of those of the batch.
        """
        latents = self._latents(params, batch)
        height, width = (side * self.vae.stride for side in latents.mean.shape[1:3])
        key = jax.random.fold_in(jax.random.fold_in(rng, height), width)
        keys = jax.vmap(lambda e: jax.random.split(jax.random.fold_in(key, e), 5))(batch["element"])
        shape = latents.mean.shape[1:]
        normal = lambda i: jax.vmap(lambda k: jax.random.normal(k[i], shape))(keys)
        z = jax.lax.stop_gradient(latents.sample(normal(0))) * self.vae.scale
        noise = normal(1)
        if self.loss.offset_noise:
            noise = noise_schedule.offset_noise(keys[:, 4], noise, self.loss.offset_noise)
        t = times
        if t is None:
            t = jax.vmap(lambda k: jax.random.randint(k[2], (), 0, self.schedule.steps))(keys)
        codes = None
        if self.tokenizer is not None:
            codes = jax.lax.stop_gradient(self.code_map(params, indices or self._indices(params, batch), shape[:2]))
        x = noise_schedule.noised(self.levels, z, noise, t)
        target = noise_schedule.target(self.levels, self.schedule.prediction, z, noise, t)
        return x, codes, t, self.size_ids(height, width, len(z)), target, keys[:, 3]

    def numerators(
        self, params, batch: Batch, norm, rng: jax.Array, step: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        del norm, step
        x, codes, t, ids, target, keys = self.noised(params, batch, rng)
        codes = None if codes is None else self.dropped(codes, keys)[0]
        error = self.error(params, target, x, codes, t, ids)
        w = batch["weight"].astype(jnp.float32)
        return {"diffusion": jnp.sum(w * self.weighed(error, t))}, {"error": (jnp.sum(w * error), w.sum())}

    def errors(self, params: Mapping[str, Any], batch: Batch, rng: jax.Array) -> jax.Array:
        """Mean square error of what is foretold of each row, float32 [B], at times and with noise drawn by (rng, size,
        element); all codes are seen."""
        x, codes, t, ids, target, _ = self.noised(params, batch, rng)
        return self.error(params, target, x, codes, t, ids)

    def error(self, params: Mapping[str, Any], target: jax.Array, *given: Any) -> jax.Array:
        """Mean square error of what is foretold of each row, float32 [B]; given: as of `foretold`."""
        return jnp.mean((self.foretold(params, *given) - target) ** 2, axis=(1, 2, 3))

    def weighed(self, error: jax.Array, t: jax.Array) -> jax.Array:
        """Errors [B] at times t by the weights of their times."""
        space, gamma = self.loss.space, self.loss.min_snr
        of = noise_schedule.loss_weights(self.levels, self.schedule.prediction, t, space=space, min_snr=gamma)
        return of * error

    def measures(self, params, batch: Batch) -> Metrics:
        """error: of what is foretold, mean square; accuracy: the same as -10 log10 of a row, highest is best. Shown:
        pictures, at half of the noise, and what one step makes of that."""
        key, w = jax.random.key(self.config.seed), batch["weight"].astype(jnp.float32)
        error = self.errors(params, batch, key)
        decibels = -10.0 * jnp.log10(jnp.maximum(error, 1e-10))
        total = lambda values: (jnp.sum(w * values), w.sum())
        return {"error": total(error), "accuracy": total(decibels), "show/denoised": self._shown(params, batch, key)}

    def _shown(self, params: Mapping[str, Any], batch: Batch, key: jax.Array) -> jax.Array:
        few = {name: x[:SHOWN] for name, x in batch.items()}
        rows = len(few["element"])
        plan = noise_schedule.plan(self.schedule, "ddim", 2, spacing="trailing")  # its second step is at half the time
        t = jnp.full(rows, plan.t[1].astype(jnp.int32))
        x, codes, t, ids, _, _ = self.noised(params, few, key, t)
        z = plan.p[1] * x + plan.q[1] * self.foretold(params, x, codes, t, ids)
        decoded = lambda z: to_uint8(self.vae.apply({"params": params["vae"]}, z / self.vae.scale, method="decode"))
        shown = few["image"] if "image" in few else decoded(self._latents(params, few).mean * self.vae.scale)
        return jnp.concatenate([shown, decoded(x), decoded(z)], axis=2)
