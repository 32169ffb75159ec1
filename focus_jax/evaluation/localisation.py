# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether the mask that the diffusion decoder is given says where the picture changes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from data_pipelines.world import drawing, scenes
from data_pipelines.world.scenes import Scene
from data_pipelines.world.scores import LEAK
from focus_jax.evaluation import held_out
from focus_jax.evaluation.figures import Figure, mean
from focus_jax.evaluation.protocol import Checked

MOST = 0.7  # share of what differs that has to lie under the mask


def pairs_of(config: Any) -> list[Scene]:
    """The first config.data.scenes scenes of two things from config.data.first on."""
    data, found, i = config.data, list[Scene](), config.data.first
    while len(found) < data.scenes:
        scene = scenes.scene(data.preset, data.split, i)
        found += [scene] if len(scene.things) == 2 else []
        i += 1
    return found


class Evaluator(held_out.Benchmark):
    """Of scenes of two things, drawn from their own codes and one seed without a mask, under the mask of the one thing
    and under that of the other: guidance_localisation, of the pixels that a mask makes different (scores.LEAK) those
    that lie under it, grown by config.cell pixels (a latent's cell), mean over both, 0 where nothing differs;
    guidance_localised, of the scenes those where it is MOST at least both times; guidance_changed, of the pixels under
    the mask those that differ. None of a model that draws under no given mask."""

    name = "localisation"

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        c = self.config
        return held_out.protocol(c, which="scenes of two things from the first index on", seed=c.seed)

    def run(self, model: Any, data: Sequence[Scene] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: scenes, default what the config names."""
        c = self.config
        found = pairs_of(c) if data is None else list(data)
        checked, seeds = Checked(model, self.name, c.batch_size), held_out.seeds_of(c, found)
        if not checked.redraws_under_masks("all figures are"):
            return {}
        true = held_out.pictures(found, c.side)
        masks = np.stack([[drawing.draw(s, c.side).mask(k) for k in range(2)] for s in found], axis=1)
        options = c.drawing.to_dict()
        plain = checked.redraw(true, seeds=seeds, **options)
        drawn = [checked.redraw(true, mask, seeds=seeds, **options) for mask in masks]
        wide = np.ones((2 * c.cell + 1,) * 2)
        grown = np.array([[ndimage.binary_dilation(mask, wide) for mask in of] for of in masks])
        within, other, changed = (np.zeros((2, len(found))) for _ in range(3))
        for k, picture in enumerate(drawn):
            differs = np.abs(picture.astype(np.int16) - plain).max(axis=-1) > LEAK
            for b, of in enumerate(differs):
                within[k, b], other[k, b] = ((of & grown[i, b]).sum() / max(1, of.sum()) for i in (k, 1 - k))
                changed[k, b] = of[masks[k, b]].mean()
        self.baselines = {
            "guidance_localisation": {"under the other thing's mask": float(other.mean())},
            "guidance_localised": {"by the other thing's mask": float((other >= MOST).all(axis=0).mean())},
        }
        pair = lambda k, b: (held_out.overlay(true[b], masks[k, b]), drawn[k][b])
        cells = [(plain[b], *pair(0, b), *pair(1, b)) for b in held_out.spread(len(found), c.shown)]
        columns = ("without a mask", "one mask", "drawn", "the other", "drawn")
        self.galleries = [held_out.gallery("Where a mask makes a difference", columns, cells)]
        return {
            "guidance_localisation": mean(within.mean(axis=0)),
            "guidance_localised": mean((within >= MOST).all(axis=0).astype(float)),
            "guidance_changed": mean(changed.mean(axis=0)),
        }
