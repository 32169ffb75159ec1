# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures out of codes by the diffusion decoder: noise, so many steps of a scheduler, the autoencoder.

There are two programs, without guidance and with it. Neither is compiled anew for another seed, scheduler, guidance or
number of steps: a scheduler is a table (ops/noise_schedule.py) of ROOM rows, and steps i to j of it are run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.errors import UserError
from focus_jax.models.vae import tiled
from focus_jax.ops import noise_schedule
from focus_jax.stages import decoder
from focus_jax.stages.tokenizer import to_uint8

ROOM = 200  # steps at most


@dataclasses.dataclass(frozen=True)
class Options:
    """How a picture is drawn. steps: of the scheduler, up to ROOM; guidance: 1 for none, above it how much the codes
    count beyond what the network would draw without; rescale: share by which guided deviations are brought back;
    scheduler, spacing, offset, eta: of ops.noise_schedule.plan; preview: every so many steps what there is is shown, 0
    for never; tile: pixels a side of the squares in which the autoencoder draws, 0 for all at once: it is for pictures
    too large for a device's memory, and shows where squares meet if one looks closely."""

    steps: int = 30
    guidance: float = 1.5
    rescale: float = 0.0
    scheduler: str = "ddim"
    spacing: str = "leading"
    offset: int = 1
    eta: float = 0.0
    preview: int = 0
    tile: int = 0

    def __post_init__(self) -> None:
        if not self.guidance >= 1:
            raise UserError(f"guidance: {self.guidance}, expected 1 (none) or more.")
        if not 0 <= self.rescale <= 1:
            raise UserError(f"rescale: {self.rescale}, expected 0 to 1.")
        if self.preview < 0:
            raise UserError(f"preview: {self.preview}, expected 0 or a number of steps.")


Preview = Callable[[int, np.ndarray], None]  # steps done, and pictures uint8 [B, H, W, 3] as far as they are


class Diffuser:
    """Draws with a model of stage 1b. Made by focus_jax.Model."""

    def __init__(self, model: Any):
        if not isinstance(model.stage, decoder.Stage):
            raise UserError(
                f"{model.label}: this model has no diffusion decoder; its parts are {', '.join(model.params)}."
            )
        self.model, self.stage = model, model.stage
        self._steps = jax.jit(self._run, static_argnames="guided")
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
        options: Options | None = None,
        show: Preview | None = None,
    ) -> np.ndarray:
        """Pictures uint8 [B, H, W, 3] of size (H, W), one a seed; the same codes, seed and options give the same.

        codes: indices int32 [B, h, w] by branch, of the same pictures at this size or at a part of it; None for a
        model that knows none. show: called as options.preview says. Raises: UserError.
        """
        options, rows, (h, w) = options or Options(), len(seeds), self.latents(size)
        if wrong := [seed for seed in seeds if not 0 <= int(seed) < 2**32]:
            raise UserError(f"seeds: {wrong[0]}, expected 0 to {2**32 - 1}.")
        plan = noise_schedule.plan(
            self.stage.schedule, options.scheduler, options.steps, spacing=options.spacing, offset=options.offset,
            eta=options.eta, room=ROOM,
        )  # fmt: skip
        if (codes is None) != (self.stage.tokenizer is None):
            raise UserError(f"codes: {'none' if codes is None else 'some'}, expected what {self.model.label} reads.")
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
            given = seen, ids, keys, jnp.float32(options.guidance), jnp.float32(options.rescale)
            leaf = jax.tree.leaves(self.model.params)[0]
            if self.model.mesh is None and isinstance(leaf, jax.Array):
                # As later chunks' states are, so that the first is no program of its own.
                state, given = jax.device_put((state, given), leaf.sharding)
            chunk = options.preview or options.steps
            guided = options.guidance > 1 and seen is not None
            for start in range(0, options.steps, chunk):
                stop = min(start + chunk, options.steps)
                bounds = jnp.int32(start), jnp.int32(stop)
                state = self._steps(self.model.params, plan, state, *given, *bounds, guided=guided)
                if show is not None and stop < options.steps:
                    show(stop, self._pictured(state.before, options.tile))
            return self._pictured(state.x, options.tile)

    def _pictured(self, x: jax.Array, tile: int) -> np.ndarray:
        """Latents [B, h, w, C] as pictures uint8, in squares of `tile` pixels where that is not 0."""
        run = lambda x: np.asarray(self._picture(self.model.params, jnp.asarray(x)))
        if not tile:
            return run(x)
        stride = self.stage.vae.stride
        if tile % stride or tile < 4 * stride:
            raise UserError(f"tile: {tile} pixels, expected a multiple of {stride} from {4 * stride} on.")
        size = tile // stride
        return np.round(tiled(run, np.asarray(x), size, max(1, size // 4), stride)).astype(np.uint8)

    def _run(
        self, params: Any, plan: Any, state: Any, codes: Any, ids: Any, keys: Any, guidance: Any, rescale: Any,
        start: Any, stop: Any, *, guided: bool,
    ) -> Any:  # fmt: skip
        """Steps start to stop of a plan."""
        rows = len(ids)

        def body(i: jax.Array, state: noise_schedule.State) -> noise_schedule.State:
            x = plan.scale[i] * state.x
            t = jnp.full(rows, plan.t[i])
            if guided:
                twice = lambda y: jnp.concatenate([y, y])
                both = jnp.concatenate([codes, jnp.zeros_like(codes)])
                out = self.stage.foretold(params, twice(x), both, twice(t), twice(ids))
                out = noise_schedule.guided(out[:rows], out[rows:], guidance, rescale)
            else:
                out = self.stage.foretold(params, x, codes, t, ids)
            z = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, i + 1), x.shape[1:]))(keys)
            return noise_schedule.step(plan, i, state, out, z)

        return jax.lax.fori_loop(start, stop, body, state)

    def _decoded(self, params: Any, x: jax.Array) -> jax.Array:
        vae = self.stage.vae
        one = lambda z: vae.apply({"params": params["vae"]}, z[None] / vae.scale, method="decode")[0]
        return to_uint8(jax.lax.map(one, x))  # one after the other: the attention of a large one takes a gigabyte
