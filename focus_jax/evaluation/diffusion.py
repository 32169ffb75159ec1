# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The diffusion decoder on scenes of the world, beside the tokenizer's own decoder, from the same codes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipelines.world.scenes import Scene
from focus_jax.errors import UserError
from focus_jax.evaluation import held_out
from focus_jax.evaluation.figures import Figure, mean, psnr
from focus_jax.evaluation.protocol import Checked
from focus_jax.evaluation.reconstruction import readback


class Evaluator(held_out.Benchmark):
    """Figures, of pictures drawn at the size of their tokens: psnr; movq_psnr, of the tokenizer's decoder; psnr_gap,
    the second minus the first, picture by picture; psnr_gap_mean8, the same for the mean of eight samples; vae_psnr, of
    the autoencoder alone, which no sample can pass; readback_NAME and movq_readback_NAME, what the checker reads off.

    Guidance is chosen on scenes of the split validation by psnr and stands in the protocol. At twice the size pictures
    are shown, not scored."""

    name = "diffusion"

    def __init__(self, config: Any):
        super().__init__(config)
        if not config.guidance or config.chosen_on < 2 or not 2 <= config.mean_of <= config.data.scenes:
            raise UserError("config: expected guidance values, chosen_on and mean_of of at least 2, of no more scenes "
                            "than there are.")  # fmt: skip
        self.chosen: dict[str, float] = {}

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        c = self.config
        how = {"steps": c.steps, "scheduler": c.scheduler, "eta": 0.0, "seed": c.seed, "samples_of_a_mean": SAMPLES}
        return held_out.protocol(c, sampling=how | self.chosen, guidance_tried=list(c.guidance))

    def run(self, model: Any, data: Sequence[Scene] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: scenes, default what the config names."""
        c, checked = self.config, Checked(model, self.name, self.config.batch_size)
        found = self.scenes(data)
        options: dict[str, Any] = {"steps": c.steps, "scheduler": c.scheduler}
        options["guidance"] = self._guidance(checked, options)
        images, codes = self._codes(checked, found)
        size, seeds = images.shape[1:3], held_out.seeds_of(c, found)
        drawn = checked.diffuse(codes, size, seeds=seeds, **options)
        movq, best = checked.decode(codes, size), checked.autoencode(images)
        ours, theirs = psnr(images, drawn), psnr(images, movq)
        out = {
            "psnr": mean(ours),
            "movq_psnr": mean(theirs),
            "psnr_gap": mean(theirs - ours),
            "psnr_gap_mean8": self._of_means(checked, images, codes, seeds, theirs, options),
            "vae_psnr": mean(psnr(images, best)),
        }
        notes, _ = readback(found, drawn)
        of_movq, _ = readback(found, movq)
        out |= notes | {f"movq_{name}": figure for name, figure in of_movq.items()}
        self.baselines = {name: {"the tokenizer's decoder": of_movq[name][0]} for name in notes}
        self.baselines["psnr"] = {"the tokenizer's decoder": out["movq_psnr"][0], "the autoencoder": out["vae_psnr"][0]}
        self._show(checked, found, images, movq, drawn, codes, seeds, options)
        return out

    def _codes(self, checked: Checked, of: Sequence[Scene]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(pictures at the side of the config, their codes)."""
        images, high = held_out.pictures(of, self.config.side), checked.model.high
        return images, checked.encode(images, held_out.pictures(of, high) if high else None)

    def _guidance(self, checked: Checked, options: dict[str, Any]) -> float:
        """The one of config.guidance that draws scenes of the split validation best."""
        c = self.config.copy_and_resolve_references()
        c.data.split, c.data.scenes = "validation", self.config.chosen_on
        of = held_out.scenes_of(c)
        images, codes = self._codes(checked, of)
        seeds = held_out.seeds_of(self.config, of)
        draw = lambda g: checked.diffuse(codes, images.shape[1:3], seeds=seeds, **options, guidance=float(g))
        values = {float(g): float(psnr(images, draw(g)).mean()) for g in self.config.guidance}
        best = max(values, key=lambda g: values[g])
        self.chosen = {"guidance": best, "validation_psnr": values[best]}
        return best

    def _of_means(
        self, checked: Checked, images: np.ndarray, codes: dict[str, np.ndarray], seeds: Sequence[int],
        theirs: np.ndarray, options: dict[str, Any],
    ) -> Figure:  # fmt: skip
        """psnr_gap of the mean of SAMPLES pictures from seeds of their own."""
        n = self.config.mean_of
        some, total = {name: x[:n] for name, x in codes.items()}, np.zeros(images[:n].shape)
        for k in range(SAMPLES):
            other = [(seed + 7_919 * k) % 2**31 for seed in seeds[:n]]
            total += checked.diffuse(some, images.shape[1:3], seeds=other, **options)
        return mean(theirs[:n] - psnr(images[:n], total / SAMPLES))

    def _show(
        self, checked: Checked, found: Sequence[Scene], images: np.ndarray, movq: np.ndarray, drawn: np.ndarray,
        codes: dict[str, np.ndarray], seeds: Sequence[int], options: dict[str, Any],
    ) -> None:  # fmt: skip
        rows = held_out.spread(len(found), self.config.shown)
        twice = (2 * images.shape[1], 2 * images.shape[2])
        large = checked.diffuse(
            {name: x[rows] for name, x in codes.items()}, twice, seeds=[seeds[i] for i in rows], **options
        )
        cells = [(images[i], movq[i], drawn[i], large[k]) for k, i in enumerate(rows)]
        columns = ("original", "tokenizer's decoder", "diffusion", "diffusion at twice the size")
        self.galleries = [held_out.gallery("Drawn from codes", columns, cells)]


SAMPLES = 8
