# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Instructions done to pictures of the world, read by its checker (contract 8)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipelines import regions
from data_pipelines.world import checker, drawing, edits, scenes, scores
from data_pipelines.world.edits import Edit
from data_pipelines.world.scenes import Scene
from focus_jax.errors import UserError
from focus_jax.evaluation import held_out
from focus_jax.evaluation.figures import Figure, mean
from focus_jax.evaluation.metrics_masks import intersection_union, ious
from focus_jax.evaluation.protocol import Checked, Edited


def instructed(scene: Scene, absent_every: int, side: int) -> tuple[Edit, np.ndarray | None]:
    """The edit of one scene, and bool [side, side] at what it means where its words do not say that.

    Of every `absent_every` scenes one gets words that mean nothing in the picture.
    """
    d = scenes.draws(scene.preset, scene.split, scene.index, scenes.EDIT)
    made = edits.edit(scene, d, absent=scene.index % absent_every == absent_every - 1)
    if made.by == "words":
        return made, None
    drawn, kind = drawing.draw(scene, side), d.choice(regions.KINDS)
    return made, np.logical_or.reduce([regions.region(kind, drawn.mask(k), d) for k in made.things])


class Evaluator:
    """Figures over instructions that mean something: edit_NAME for the names of scores.editing, whose success is here
    called edit_change; edit_success and edit_success_KIND: that and every other thing kept; leakage (scores.leakage,
    over edits that were not refused); mask_iou of the model's mask with what the edit may change. Over all:
    refusal_accuracy, the mean of how often an instruction that means nothing is refused and how often another is not.

    Beside them what the unedited source scores, and the target's own picture after the model's tokenizer (the ceiling).
    """

    name = "editing"

    def __init__(self, config: Any):
        self.config = config
        self.baselines: dict[str, dict[str, float]] = {}
        self.galleries: list[held_out.Gallery] = []
        if config.absent_every < 2:
            raise UserError(f"config.absent_every: expected at least 2, found {config.absent_every}.")

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        source = "leakage: the result beside the source after the model's tokenizer"
        return held_out.protocol(self.config, seed=self.config.seed, source=source)

    def run(self, model: Any, data: Sequence[Scene] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: scenes, default what the config names."""
        c = self.config
        found = held_out.scenes_of(c) if data is None else list(data)
        checked = Checked(model, self.name, c.batch_size)
        made, hints = zip(*(instructed(scene, c.absent_every, c.side) for scene in found))
        pictures = held_out.pictures(found, c.side)
        answer = checked.edit(pictures, [x.instruction for x in made], hints, seed=c.seed)
        meant = [i for i, x in enumerate(made) if x.target != x.source]
        if not 0 < len(meant) < len(made):
            raise UserError(f"config.data.scenes: expected at least config.absent_every ({c.absent_every}).")
        asked, allowed = [made[i] for i in meant], np.stack([edits.region(made[i], c.side) for i in meant])
        source = checked.reconstruct(pictures[meant])
        target = held_out.pictures([x.target for x in asked], c.side)
        of = Edited(answer.images[meant], answer.masks[meant], answer.refused[meant])

        rows = _rows(asked, of.images)
        out = _figures(rows)
        done = np.flatnonzero(~of.refused)
        overlap = ious(np.array([intersection_union(*x) for x in zip(of.masks, allowed)]))
        out |= {
            **_leakage(source[done], of.images[done], allowed[done]),
            "mask_iou": mean(overlap),
            "refusal_accuracy": _refusals(answer.refused, meant),
        }
        others = {
            "unedited source": _figures(_rows(asked, pictures[meant])),
            "target after the tokenizer": _figures(_rows(asked, checked.reconstruct(target))),
        }
        self.baselines = {
            k: {label: f[k][0] for label, f in others.items() if k in f} for k in others["unedited source"]
        }
        self.baselines["refusal_accuracy"] = {"refuse nothing": 0.5}
        before = _leakage(source[done], pictures[meant][done], allowed[done])
        self.baselines |= {k: {"source before the tokenizer": v[0]} for k, v in before.items()}
        self.galleries = [self._gallery(made, hints, pictures, answer, dict(zip(meant, rows)))]
        return out

    def _gallery(self, made, hints, pictures, answer, rows) -> held_out.Gallery:
        cells = []
        for i in held_out.spread(len(made), self.config.shown):
            hint = None if hints[i] is None else held_out.overlay(pictures[i], hints[i], True)
            nothing = "right" if answer.refused[i] else "should have been refused"
            verdict = held_out.missed(rows[i]) if i in rows else nothing
            verdict += " (refused)" if answer.refused[i] else ""
            shown = held_out.overlay(pictures[i], answer.masks[i])
            cells.append((pictures[i], made[i].instruction, hint, shown, answer.images[i], verdict))
        columns = ("source", "instruction", "by region", "mask", "result", "missed")
        return held_out.gallery("Edits", columns, cells)


def _rows(asked: Sequence[Edit], pictures: np.ndarray) -> list[dict[str, scores.Score]]:
    out = []
    for x, picture in zip(asked, pictures):
        row = scores.editing(x, checker.read(picture, x.target.preset))
        if row.get("success", (0.0, 0.0))[1]:
            row["change"] = row["success"]
            row["success"] = float(row["success"][0] == 1.0 and row["kept"][0] == row["kept"][1]), 1.0
            row[f"success_{x.kind}"] = row["success"]
        out.append(row)
    return out


def _figures(rows: Sequence[dict[str, scores.Score]]) -> dict[str, Figure]:
    return {f"edit_{name}": figure for name, figure in scores.totals(rows).items()}


def _leakage(*of: np.ndarray) -> dict[str, Figure]:
    """of: sources, results and regions. Empty where every edit was refused."""
    return scores.totals({"leakage": scores.leakage(*x)} for x in zip(*of))


def _refusals(refused: np.ndarray, meant: Sequence[int]) -> Figure:
    """Mean of the two rates, of independent pictures."""
    something = np.isin(np.arange(len(refused)), meant)
    rates = [mean(refused[~something].astype(float)), mean(~refused[something])]
    return float(np.mean([r[0] for r in rates])), len(refused), float(np.hypot(rates[0][2], rates[1][2]) / 2)
