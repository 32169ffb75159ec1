# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures drawn from captions of the world, read by its checker (contract 8)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipelines.world import captions, checker, scenes, scores
from data_pipelines.world.captions import Caption
from data_pipelines.world.scenes import Scene
from focus_jax.evaluation import held_out
from focus_jax.evaluation.figures import Figure
from focus_jax.evaluation.protocol import Checked


def described(scene: Scene) -> Caption:
    """The caption of one scene."""
    return captions.caption(scene, scenes.draws_of(scene, scenes.CAPTION))


class Evaluator(held_out.Benchmark):
    """Figures: generation_NAME for the names of scores.generation, over all scenes (place: over those of one thing,
    whose captions say where it is), and generation_one_NAME over scenes of one thing; generation_ceiling: the object
    score of what the model draws from the codes of the scenes' own pictures. Beside each what that scores and what
    pictures of other scenes do (a model that ignores its caption)."""

    name = "generation"

    def run(self, model: Any, data: Sequence[Scene] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: scenes, default what the config names."""
        c = self.config
        found = self.scenes(data)
        said = [described(scene) for scene in found]
        checked, seeds = Checked(model, self.name, c.batch_size), held_out.seeds_of(c, found)
        how, more = c.drawing.to_dict(), held_out.generation_options(c)
        drawn = checked.generate([x.text for x in said], height=c.side, width=c.side, seeds=seeds, **more)
        true = held_out.pictures(found, c.side)
        rows = _rows(found, said, drawn)
        out = _figures(found, rows)
        others = {
            "picture of another scene": _rows(found, said, np.roll(true, 1, axis=0)),
            "drawn from its own codes": _rows(found, said, checked.redraw(true, seeds=seeds, **how)),
        }
        beside = {label: _figures(found, scored) for label, scored in others.items()}
        self.baselines = {name: {label: f[name][0] for label, f in beside.items()} for name in out}
        out["generation_ceiling"] = beside["drawn from its own codes"]["generation_object"]
        cells = [
            (said[i].text, drawn[i], true[i], held_out.missed(rows[i])) for i in held_out.spread(len(found), c.shown)
        ]
        self.galleries = [held_out.gallery("Drawn from captions", ("caption", "drawn", "its scene", "missed"), cells)]
        return out


def _rows(found: Sequence[Scene], said: Sequence[Caption], pictures: np.ndarray) -> list[dict[str, scores.Score]]:
    return [
        scores.generation(scene, checker.read(x, scene.preset), caption.relation, caption.halves)
        for scene, caption, x in zip(found, said, pictures)
    ]


def _figures(found: Sequence[Scene], rows: Sequence[dict[str, scores.Score]]) -> dict[str, Figure]:
    alone = [row for scene, row in zip(found, rows) if len(scene.things) == 1]
    out = {f"generation_{name}": figure for name, figure in scores.totals(rows).items()}
    one = {f"generation_one_{name}": figure for name, figure in scores.totals(alone).items() if name != "place"}
    return out | one
