# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures out of codes by the diffusion decoder: noise, so many steps of a scheduler, the autoencoder.

There are two programs, without guidance and with it, and a third where the mask has a guidance of its own. None is
compiled anew for another seed, scheduler, guidance or number of steps: a scheduler is a table of so many rows as
config.model.decoder.steps says (ops/noise_schedule.py), and steps i to j of it are run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.errors import UserError
from focus_jax.inference.decode import check_seeds
from focus_jax.models.mask_guidance import QUERIES
from focus_jax.models.vae import tiled
from focus_jax.ops import noise_schedule
from focus_jax.ops.resize import area
from focus_jax.stages import decoder
from focus_jax.stages.tokenizer import to_uint8

ROOM = 200  # steps at most, where the config does not say


@dataclasses.dataclass(frozen=True)
class Options:
    """How a picture is drawn. steps: of the scheduler, up to config.model.decoder.steps; guidance: 1 for none, above it
    how much the codes count beyond what the network would draw without; mask_guidance: the same of the mask, None for
    that of the codes, with which it is then left out; rescale: share by which guided deviations are brought back;
    scheduler, spacing, offset, eta: of ops.noise_schedule.plan; preview: every so many steps what there is is shown, 0
    for never; tile: pixels a side of the squares in which the autoencoder draws, 0 for all at once: it is for pictures
    too large for a device's memory, and shows where squares meet if one looks closely."""

    steps: int = 30
    guidance: float = 1.5
    mask_guidance: float | None = None
    rescale: float = 0.0
    scheduler: str = "ddim"
    spacing: str = "leading"
    offset: int = 1
    eta: float = 0.0
    preview: int = 0
    tile: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.guidance < math.inf:
            raise UserError(f"guidance: {self.guidance}, expected 1 (none) or more.")
        if self.mask_guidance is not None and not 0 <= self.mask_guidance < math.inf:
            raise UserError(f"mask_guidance: {self.mask_guidance}, expected 0 or more, or None.")
        if not 0 <= self.rescale <= 1:
            raise UserError(f"rescale: {self.rescale}, expected 0 to 1.")
        if self.preview < 0:
            raise UserError(f"preview: {self.preview}, expected 0 or a number of steps.")


Preview = Callable[[int, np.ndarray], None]  # steps done, and pictures uint8 [B, H, W, 3] as far as they are


class Diffuser:
    """Draws with a model of stage 1b or 4. Made by focus_jax.Model."""

    def __init__(self, model: Any):
        stage = getattr(model.stage, "decoder", model.stage)  # of stage 4 it is a part
        if not isinstance(stage, decoder.Stage):
            raise UserError(
                f"{model.label}: this model has no diffusion decoder; its parts are {', '.join(model.params)}."
            )
        self.model, self.stage = model, stage
        self.room = int(stage.config.model.decoder.get("steps", ROOM))
        self._steps = jax.jit(self._run, static_argnames="ways")
        self._picture = jax.jit(self._decoded)
        self._codes = jax.jit(self.stage.code_map, static_argnames="size")

    def latents(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the latents of pictures of a size. Raises: UserError for one that cannot be drawn."""
        unit = self.stage.config.model.decoder
        decoder.resolution_index(*size, unit.unit, unit.order, unit.known)
        return size[0] // self.stage.vae.stride, size[1] // self.stage.vae.stride

    def sizes(self, scale: int) -> list[tuple[int, int]]:
        """(height, width) of codes' pictures that can be drawn at `scale` times their size. Raises: UserError."""
        of = self.stage.config.model.decoder
        known = set(decoder.sizes(of.unit, of.known))
        found = []
        for height, width in sorted({(h // 2, w // 2) for h, w in decoder.sizes(of.unit, decoder.RELEASED - 1)}):
            if (scale * height, scale * width) in known and self._whole(height, width):
                found.append((height, width))
        if not found:
            raise UserError(f"{self.model.label}: draws nothing at {scale} times the size of its codes.")
        return found

    def _whole(self, height: int, width: int) -> bool:
        """Whether pictures of this size are whole codes and latents."""
        step = self.stage.vae.stride * self.stage.unet.stride
        steps = [step] if self.stage.tokenizer is None else [step, self.stage.tokenizer.stride]
        return not any(side % n for side in (height, width) for n in steps)

    def __call__(
        self,
        codes: Mapping[str, np.ndarray] | None,
        size: tuple[int, int],
        *,
        seeds: Sequence[int],
        masks: np.ndarray | None = None,
        options: Options | None = None,
        show: Preview | None = None,
    ) -> np.ndarray:
        """Pictures uint8 [B, H, W, 3] of size (H, W), one a seed; the same codes, seed and options give the same.

        codes: indices int32 [B, h, w] by branch, of the same pictures at this size or at a part of it; None for a
        model that knows none. masks: float [B, y, x], 0 to 1, of any size, on the pictures; None or a row of zeros for
        none, of a model that was taught masks; where that was by mask tokens, the states [B, N, D] of these. show:
        called as options.preview says. Raises: UserError.
        """
        options, rows, (h, w) = options or Options(), len(seeds), self.latents(size)
        check_seeds(list(seeds))
        self._check_tile(options.tile)
        plan = noise_schedule.plan(
            self.stage.schedule, options.scheduler, options.steps, spacing=options.spacing, offset=options.offset,
            eta=options.eta, room=self.room,
        )  # fmt: skip
        if (codes is None) != (self.stage.tokenizer is None):
            raise UserError(f"codes: {'none' if codes is None else 'some'}, expected what {self.model.label} reads.")
        if masks is not None and self.stage.guidance is None:
            raise UserError(f"{self.model.label}: this decoder draws under no mask, expected none.")
        tokens = self.stage.guidance is not None and self.stage.guidance.form == QUERIES
        if masks is not None and (
            np.ndim(masks) != 3 or len(masks) != rows or not (tokens or 0 <= masks.min() <= masks.max() <= 1)
        ):
            raise UserError(f"masks: {list(np.shape(masks))}, expected [{rows}, y, x] from 0 to 1, one for each seed.")
        with self.model.scope():
            seen = None
            if codes is not None:
                grids = {name: np.shape(x) for name, x in codes.items()}
                if wrong := [g for g in grids.values() if g[0] != rows or len(g) != 3]:
                    raise UserError(f"codes: {list(wrong[0])}, expected [{rows}, h, w], a row for each seed.")
                pixel = grids.get("pixel", (0, h, w))
                if h % pixel[1] or w % pixel[2] or h * pixel[2] != w * pixel[1]:
                    raise UserError(f"codes: pixel grid {pixel[1]} x {pixel[2]} does not tile latents of {h} x {w}.")
                seen = self._codes(self.model.params, {n: jnp.asarray(x) for n, x in codes.items()}, size=(h, w))
            keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
            noise = jax.vmap(lambda k: jax.random.normal(k, (h, w, self.stage.vae.channels)))(keys)
            state, ids = noise_schedule.begun(plan, noise), self.stage.size_ids(*size, rows)
            scales = jnp.array([options.guidance, options.mask_guidance or 0.0, options.rescale], jnp.float32)
            given = seen, self._masks(masks, rows, (h, w)), ids, keys, scales
            leaf = jax.tree.leaves(self.model.params)[0]
            if self.model.mesh is None and isinstance(leaf, jax.Array):
                # As later chunks' states are, so that the first is no program of its own.
                state, given = jax.device_put((state, given), leaf.sharding)
            chunk = options.preview or options.steps
            ways = 2 if options.guidance > 1 and seen is not None else 1
            if options.mask_guidance is not None and masks is not None:
                ways = 3
            for start in range(0, options.steps, chunk):
                stop = min(start + chunk, options.steps)
                bounds = jnp.int32(start), jnp.int32(stop)
                state = self._steps(self.model.params, plan, state, *given, *bounds, ways=ways)
                if show is not None and stop < options.steps:
                    show(stop, self._pictured(state.before, options.tile))
            return self._pictured(state.x, options.tile)

    def _check_tile(self, tile: int) -> None:
        stride = self.stage.vae.stride
        if tile and (tile % stride or tile < 4 * stride):
            raise UserError(f"tile: {tile} pixels, expected 0 or a multiple of {stride} from {4 * stride} on.")

    def _pictured(self, x: jax.Array, tile: int) -> np.ndarray:
        """Latents [B, h, w, C] as pictures uint8, in squares of `tile` pixels where that is not 0."""
        run = lambda x: np.asarray(self._picture(self.model.params, jnp.asarray(x)))
        if not tile:
            return run(x)
        stride = self.stage.vae.stride
        size = tile // stride
        return np.round(tiled(run, np.asarray(x), size, max(1, size // 4), stride)).astype(np.uint8)

    def _masks(self, masks: np.ndarray | None, rows: int, size: tuple[int, int]) -> tuple[jax.Array, jax.Array] | None:
        """(masks [B, h, w] at the latents' size, whether there is one [B]) of a model that was taught masks."""
        if (guidance := self.stage.guidance) is None:
            return None
        if guidance.form == QUERIES:
            states = jnp.zeros((rows, 1, guidance.states)) if masks is None else jnp.asarray(masks)
            return states, jnp.any(states != 0, axis=(1, 2)).astype(jnp.float32)
        if masks is None:
            return jnp.zeros((rows, *size)), jnp.zeros(rows)
        small = area(jnp.asarray(masks, jnp.float32)[..., None], size)[..., 0]
        return small, jnp.asarray(masks.max(axis=(1, 2)) > 0, jnp.float32)

    def _run(
        self, params: Any, plan: Any, state: Any, codes: Any, masks: Any, ids: Any, keys: Any, scales: Any,
        start: Any, stop: Any, *, ways: int,
    ) -> Any:  # fmt: skip
        """Steps start to stop of a plan. ways: how often the network is asked: 1 as it is; 2 also without codes and
        mask; 3 also without the mask alone."""
        rows = len(ids)
        guidance, mask_guidance, rescale = scales
        fold = lambda y: jnp.concatenate([y] * ways)
        seen = codes
        if ways > 1 and codes is not None:
            seen = jnp.concatenate([codes] * (ways - 1) + [jnp.zeros_like(codes)])
        context = None
        if masks is not None:
            mask, there = masks
            counts = jnp.concatenate([there] + [jnp.zeros_like(there)] * (ways - 1))
            context = self.stage.context(params, fold(mask), counts, state.x.shape[1:3])

        def body(i: jax.Array, state: noise_schedule.State) -> noise_schedule.State:
            x = plan.scale[i] * state.x
            t = jnp.full(ways * rows, plan.t[i])
            out = self.stage.foretold(params, fold(x), seen, t, fold(ids), context)
            if ways == 2:
                out = noise_schedule.guided(out[:rows], out[rows:], guidance, rescale)
            elif ways == 3:
                masked, plain, without = jnp.split(out, 3)
                out = noise_schedule.guided(plain, without, guidance, rescale) + mask_guidance * (masked - plain)
            z = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, i + 1), x.shape[1:]))(keys)
            return noise_schedule.step(plan, i, state, out, z)

        return jax.lax.fori_loop(start, stop, body, state)

    def _decoded(self, params: Any, x: jax.Array) -> jax.Array:
        vae = self.stage.vae
        one = lambda z: vae.apply({"params": params["vae"]}, z[None] / vae.scale, method="decode")[0]
        return to_uint8(jax.lax.map(one, x))  # one after the other: the attention of a large one takes a gigabyte
