# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Instructions done to pictures of the world, read by its checker (contract 8)."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines import regions
from data_pipelines.world import checker, drawing, edits, scenes, scores
from data_pipelines.world.edits import Edit
from data_pipelines.world.scenes import Scene
from focus_jax.errors import UserError
from focus_jax.evaluation import held_out
from focus_jax.evaluation.figures import Figure, mean
from focus_jax.evaluation.metrics_masks import intersection_union, ious
from focus_jax.evaluation.protocol import Checked
from focus_jax.inference.composite import composite


def instructed(scene: Scene, absent_every: int, side: int) -> tuple[Edit, np.ndarray | None]:
    """The edit of one scene, and bool [side, side] at what it means where its words do not say that.

    Of every `absent_every` scenes one gets words that mean nothing in the picture.
    """
    d = scenes.draws_of(scene, scenes.EDIT)
    made = edits.edit(scene, d, absent=scene.index % absent_every == absent_every - 1)
    if made.by == "words":
        return made, None
    drawn, kind = drawing.draw(scene, side), d.choice(regions.KINDS)
    return made, np.logical_or.reduce([regions.region(kind, drawn.mask(k), d) for k in made.things])


class Evaluator(held_out.Benchmark):
    """Figures over instructions that mean something: edit_NAME for the names of scores.editing, whose success is here
    called edit_change; edit_success and edit_success_KIND: that, and every other thing has kept colour and place;
    edit_ceiling: the edit_success of what the model draws from the codes of the target under the true mask;
    mask_iou_of_edits: of the model's mask with what shows of the things meant, backgrounds left out; leakage
    (scores.leakage) over edits that were not refused, beside the source drawn from its own codes under the same mask;
    composite_leakage: with the source's own pixels outside the model's mask (inference.composite), after a PNG, of the
    pixels there those that differ at all. edit_ceiling and leakage are left out of a model that draws under no given
    mask.

    refusal_accuracy: the mean of how often an instruction that means nothing is refused, and how often one that means
    something is not, over as many of both. Those that mean something are by words and not of the background, as those
    that mean nothing are; without that the form of an instruction would tell.
    """

    name = "editing"

    def __init__(self, config: Any):
        super().__init__(config)
        if not 2 <= config.absent_every <= config.data.scenes:
            raise UserError(
                f"config.absent_every: expected 2 to config.data.scenes ({config.data.scenes}), found "
                f"{config.absent_every}."
            )

    def run(self, model: Any, data: Sequence[Scene] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: scenes, default what the config names."""
        c = self.config
        found = self.scenes(data)
        checked, seeds = Checked(model, self.name, c.batch_size), held_out.seeds_of(c, found)
        made, hints = zip(*(instructed(scene, c.absent_every, c.side) for scene in found))
        pictures = held_out.pictures(found, c.side)
        how, more = c.drawing.to_dict(), held_out.edit_options(c)
        answer = checked.edit(pictures, [x.instruction for x in made], hints, seeds=seeds, **more)

        told = [i for i, x in enumerate(made) if x.target != x.source]
        asked, of = [made[i] for i in told], [seeds[i] for i in told]
        truth = np.stack([meant(x, c.side) for x in asked])
        target = held_out.pictures([x.target for x in asked], c.side)
        rows = scored(asked, answer.images[told])
        out = _figures(rows)
        others = {"unedited source": _figures(scored(asked, pictures[told]))}
        if given := checked.redraws_under_masks("edit_ceiling and leakage are"):
            best = _figures(scored(asked, checked.redraw(target, truth, seeds=of, **how)))
            others["drawn from the target's codes"], out["edit_ceiling"] = best, best["edit_success"]
        names = others["unedited source"]
        self.baselines = {k: {label: f[k][0] for label, f in others.items() if k in f} for k in names}
        things = [k for k, x in enumerate(asked) if x.things]
        masks = answer.masks[told]
        out["mask_iou_of_edits"] = mean(ious(np.array([intersection_union(masks[k], truth[k]) for k in things])))
        out["refusal_accuracy"] = _refusals(made, answer.refused, told)
        self.baselines["refusal_accuracy"] = {"refuse nothing": 0.5}
        if done := [i for i in told if not answer.refused[i]]:
            out["composite_leakage"] = mean([_stray(pictures[i], answer.images[i], answer.masks[i]) for i in done])
        if done and given:
            source = checked.redraw(pictures[done], answer.masks[done], seeds=[seeds[i] for i in done], **how)
            allowed = np.stack([edits.region(made[i], c.side) for i in done])
            out |= _leakage(source, answer.images[done], allowed)
            self.baselines["leakage"] = {"source as it was": _leakage(source, pictures[done], allowed)["leakage"][0]}
        self.galleries = [self._gallery(made, hints, pictures, answer, dict(zip(told, rows)))]
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


def scored(asked: Iterable[Edit], pictures: np.ndarray) -> list[dict[str, scores.Score]]:
    """scores.editing of each picture; success: that, called change here, and every other thing is kept."""
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


def meant(edit: Edit, side: int) -> np.ndarray:
    """bool [side, side]: what shows of the things meant; everything for a background."""
    return drawing.draw(edit.source, side).union(edit.things) if edit.things else np.ones((side, side), bool)


def _leakage(*of: np.ndarray) -> dict[str, Figure]:
    """of: sources, results and regions."""
    return scores.totals({"leakage": scores.leakage(*x)} for x in zip(*of))


def _stray(source: np.ndarray, drawn: np.ndarray, mask: np.ndarray) -> float:
    """Of the pixels outside the mask the share that is not the source's, after composite and a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(composite(source, drawn, mask)).save(buffer, format="PNG")
    differs = (np.asarray(Image.open(buffer)) != source).any(axis=-1)
    return float(differs[~mask].mean()) if not mask.all() else 0.0


def _refusals(made: Sequence[Edit], refused: np.ndarray, told: Sequence[int]) -> Figure:
    """Share of right decisions, the first of as many of either kind."""
    nothing = sorted(set(range(len(made))) - set(told))
    alike = [i for i in told if made[i].by == "words" and made[i].kind != "background"]
    count = min(len(nothing), len(alike))
    if not count:
        raise UserError("config.data.scenes: too few, no instruction by words means something.")
    right = np.concatenate([refused[nothing[:count]], ~refused[alike[:count]]]).astype(float)
    return mean(right)
