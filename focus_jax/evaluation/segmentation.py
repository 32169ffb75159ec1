# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of pictures of the world: by words, by a marked region, and whole (contract 8)."""

import collections
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_pipelines import regions
from data_pipelines.world import drawing, expressions, scenes
from data_pipelines.world.drawing import Drawing
from data_pipelines.world.examples import GROUND, class_names
from data_pipelines.world.scenes import Scene
from data_pipelines.world.vocabulary import COLOURS
from focus_jax.errors import UserError
from focus_jax.evaluation import held_out
from focus_jax.evaluation.figures import Figure, bootstrapped, clustered, sums_by
from focus_jax.evaluation.metrics_masks import ciou, intersection_union, ious
from focus_jax.evaluation.metrics_panoptic import counts, over_classes
from focus_jax.evaluation.protocol import Checked, Prompt, Question, Segments
from focus_jax.sequence.layout import KINDS

REASONING = "reasoning"
SEED = 0  # of the objects that the baseline "random object" picks


class Row(NamedTuple):
    """One prompt about scenes[scene]: `things` are the indices it means, `kind` that of the expression or region."""

    scene: int
    kind: str
    prompt: Prompt
    things: tuple[int, ...]


def said(scene: Scene, referring: int, reasoning: int) -> list[expressions.Expression]:
    """The expressions about one scene."""
    return [
        *expressions.referring(scene, scenes.draws_of(scene, scenes.REFERRING), referring),
        *expressions.reasoning(scene, scenes.draws_of(scene, scenes.REASONING), reasoning),
    ]


def marked(index: int, scene: Scene, drawn: Drawing) -> list[Row]:
    """One object of a scene, marked in every way."""
    d = scenes.draws_of(scene, scenes.REGIONS)
    k = d.choice([k for k in range(len(scene.things)) if drawn.mask(k).any()])
    return [Row(index, kind, regions.region(kind, drawn.mask(k), d), (k,)) for kind in regions.KINDS]


class Evaluator(held_out.Benchmark):
    """Figures, IoU of the union of what was found:

    referring_ciou, _giou and _precision50 over expressions that mean something, referring_ciou_KIND; generalised_ciou
    and _giou with those that mean nothing (GRES); no_target_accuracy (nothing found where nothing is meant) and
    target_accuracy (something found where something is); reasoning_ciou and _giou; PROMPT_iou (mean) and PROMPT_ciou
    for the prompts point, scribble, box and mask; panoptic_pq, things_pq, _sq and _rq, stuff_pq, and pq_CLASS. Those
    of the kinds of prompt that config.asked names.
    """

    def __init__(self, config: Any):
        super().__init__(config)
        if config.referring < 1 or config.reasoning < 1:
            raise UserError("config.referring and config.reasoning: expected at least 1 each.")
        if not config.asked or not set(config.asked) <= set(KINDS):
            raise UserError(f"config.asked: {list(config.asked)}, expected some of {', '.join(KINDS)}.")
        self.name = "segmentation" if set(config.asked) == set(KINDS) else "_".join(config.asked)

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        return held_out.protocol(
            self.config,
            expressions="each scored on its own (sentence_mode each); empty mask means no target",
            matches="IoU above 0.5",
            random_object={"seed": SEED},
        )

    def run(self, model: Any, data: Sequence[Scene] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: scenes, default what the config names."""
        c = self.config
        self._scenes = self.scenes(data)
        self._model = Checked(model, self.name, c.batch_size)
        self._draw = functools.lru_cache(maxsize=64)(lambda i: drawing.draw(self._scenes[i], c.side))
        self.baselines, self.galleries = {}, []
        measured = {"words": self._words, "regions": self._regions, "classes": self._panoptic}
        return {name: figure for kind in c.asked for name, figure in measured[kind]().items()}

    # ---------------------------------------------------------------------------------------------- words and regions
    def _words(self) -> dict[str, Figure]:
        c = self.config
        rows = [
            Row(i, e.kind, Question(e.text) if e.kind == REASONING else e.text, e.things)
            for i, scene in enumerate(self._scenes)
            for e in said(scene, c.referring, c.reasoning)
        ]
        return self._measured("By words", rows, word_figures)

    def _regions(self) -> dict[str, Figure]:
        rows = [row for i, scene in enumerate(self._scenes) for row in marked(i, scene, self._draw(i))]
        return self._measured("By a marked region", rows, region_figures)

    def _answers(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Drawing, Segments]]:
        for chunk in held_out.chunks(rows, self.config.batch_size):
            drawn = [self._draw(row.scene) for row in chunk]
            found = self._model.segment(np.stack([x.picture for x in drawn]), [row.prompt for row in chunk])
            yield from zip(chunk, drawn, found)

    def _measured(
        self, title: str, rows: list[Row], of: Callable[[Sequence[Row], np.ndarray], dict[str, Figure]]
    ) -> dict[str, Figure]:
        """Figures of the model's masks, and as baselines the same of masks that need no model."""
        chosen, cells = set(held_out.spread(len(rows), self.config.shown)), []
        parts: list[tuple[int, int, int]] = []
        guesses: dict[str, list[tuple[int, int, int]]] = collections.defaultdict(list)
        picks = np.random.default_rng(SEED)
        for k, (row, x, segments) in enumerate(self._answers(rows)):
            truth = x.union(row.things)
            parts.append(_parts(segments.mask, truth))
            areas = np.bincount(x.ids.ravel(), minlength=len(self._scenes[row.scene].things) + 1)[1:]
            marked_by = {
                "random object": x.mask(int(picks.choice(np.flatnonzero(areas)))),
                "largest object": x.mask(int(areas.argmax())),
                "nothing": np.zeros_like(truth),
            }
            if isinstance(row.prompt, np.ndarray):
                marked_by["the prompt itself"] = row.prompt
            for label, mask in marked_by.items():
                guesses[label].append(_parts(mask, truth))
            if k in chosen:
                cells.append(_cells(row, x.picture, truth, segments.mask))
        out = of(rows, np.array(parts))
        for label, guessed in guesses.items():
            for name, (value, _, _) in of(rows, np.array(guessed)).items():
                self.baselines.setdefault(name, {})[label] = value
        self.galleries.append(held_out.gallery(title, ("prompt", "truth", "found", "IoU"), cells))
        return out

    # ------------------------------------------------------------------------------------------------------- panoptic
    def _panoptic(self) -> dict[str, Figure]:
        (preset_name,) = {scene.preset for scene in self._scenes}
        classes = class_names(preset_name)
        most, _ = collections.Counter(t.shape for scene in self._scenes for t in scene.things).most_common(1)[0]
        sums, cells = [], []
        guesses: dict[str, list[np.ndarray]] = {"all ground": [], f"true masks, all called {most}": []}
        chosen = set(held_out.spread(len(self._scenes), self.config.shown))
        rows = [Row(i, "panoptic", classes, ()) for i in range(len(self._scenes))]
        for i, (_, x, segments) in enumerate(self._answers(rows)):
            names = [*(thing.shape for thing in self._scenes[i].things), GROUND]
            truth = np.where(x.ids > 0, x.ids, len(names)).astype(np.int32)
            sums.append(counts(segments.ids, segments.names, truth, names, classes, (GROUND,)))
            one_name = [*[most] * (len(names) - 1), GROUND]
            for label, guess in zip(guesses, ((np.ones_like(truth), (GROUND,)), (truth, one_name))):
                guesses[label].append(counts(*guess, truth, names, classes, (GROUND,)))
            if i in chosen:
                found = _coloured(segments.ids, segments.names, classes)
                cells.append((x.picture, _coloured(truth, names, classes), found))
        out = panoptic_figures(np.array(sums), classes)
        for label, guessed in guesses.items():
            for name, (value, _, _) in panoptic_figures(np.array(guessed), classes).items():
                self.baselines.setdefault(name, {})[label] = value
        note = ", ".join(f"{a} {b}" for a, b in zip(classes[:-1], COLOURS)) + ", ground white, nothing black"
        self.galleries.append(
            held_out.gallery("Panoptic, coloured by class", ("picture", "truth", "found"), cells, note)
        )
        return out


# ------------------------------------------------------------------------------------------------------------- figures
def word_figures(rows: Sequence[Row], parts: np.ndarray) -> dict[str, Figure]:
    """Of expressions. parts: int [rows, (intersection, union, pixels found)]."""
    kinds, meant = np.array([row.kind for row in rows]), np.array([bool(row.things) for row in rows])
    referring, found = kinds != REASONING, parts[:, 2] > 0
    summed, averaged = functools.partial(_ciou, rows, parts), functools.partial(_mean, rows)
    out = {
        "referring_ciou": summed(referring & meant),
        "referring_giou": averaged(ious(parts), referring & meant),
        "referring_precision50": averaged(ious(parts) >= 0.5, referring & meant),
    }
    out |= {f"referring_ciou_{k}": summed(kinds == k) for k in expressions.KINDS if meant[kinds == k].any()}
    return out | {
        "generalised_ciou": summed(referring),
        "generalised_giou": averaged(ious(parts), referring),
        "no_target_accuracy": averaged(~found, referring & ~meant),
        "target_accuracy": averaged(found, referring & meant),
        "reasoning_ciou": summed(~referring),
        "reasoning_giou": averaged(ious(parts), ~referring),
    }


def region_figures(rows: Sequence[Row], parts: np.ndarray) -> dict[str, Figure]:
    """Of marked regions. parts: int [rows, (intersection, union, pixels found)]."""
    kinds = np.array([row.kind for row in rows])
    out: dict[str, Figure] = {}
    for kind in dict.fromkeys(row.kind for row in rows):
        out[f"{kind}_iou"] = _mean(rows, ious(parts), kinds == kind)
        out[f"{kind}_ciou"] = _ciou(rows, parts, kinds == kind)
    return out


def panoptic_figures(sums: np.ndarray, classes: Sequence[str]) -> dict[str, Figure]:
    """sums: [scenes, classes, COUNTS] of metrics_panoptic, GROUND the last class."""
    things, n = range(len(classes) - 1), len(sums)
    which = {"panoptic_pq": (range(len(classes)), 0), "things_pq": (things, 0), "things_sq": (things, 1)}
    which |= {"things_rq": (things, 2), "stuff_pq": ((len(classes) - 1,), 0)}
    there = (sums[..., 1] + sums[..., 3]).sum(0) > 0
    which |= {f"pq_{name}": ((k,), 0) for k, name in enumerate(classes[:-1]) if there[k]}
    return {
        name: bootstrapped(sums, functools.partial(over_classes, which=of, quality=quality), n)
        for name, (of, quality) in which.items()
    }


def _ciou(rows: Sequence[Row], parts: np.ndarray, chosen: np.ndarray) -> Figure:
    at = _scenes(rows, chosen)
    return bootstrapped(sums_by(at, parts[chosen]), ciou, len(at))


def _mean(rows: Sequence[Row], values: np.ndarray, chosen: np.ndarray) -> Figure:
    return clustered(values[chosen], _scenes(rows, chosen))


def _scenes(rows: Sequence[Row], chosen: np.ndarray) -> np.ndarray:
    if not chosen.any():
        kinds = ", ".join(sorted({row.kind for row in rows}))
        raise UserError(f"config.data.scenes: too few, a kind of prompt is missing among {len(rows)} ({kinds}).")
    return np.array([row.scene for row in rows])[chosen]


# ------------------------------------------------------------------------------------------------------------ pictures
def _parts(found: np.ndarray, truth: np.ndarray) -> tuple[int, int, int]:
    return *intersection_union(found, truth), int(found.sum())


def _cells(row: Row, picture: np.ndarray, truth: np.ndarray, found: np.ndarray) -> tuple[Any, ...]:
    prompt = row.prompt if isinstance(row.prompt, str) else held_out.overlay(picture, np.asarray(row.prompt))
    iou = float(ious(np.array(intersection_union(found, truth))))
    return (
        prompt,
        held_out.overlay(picture, truth, True),
        held_out.overlay(picture, found),
        f"{row.kind}, IoU {iou:.2f}",
    )


def _coloured(ids: np.ndarray, names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """uint8 [H, W, 3]: class k in the world's colour k, ground white, nothing black."""
    palette = {name: COLOURS[colour] for name, colour in zip(classes[:-1], COLOURS)} | {GROUND: (255, 255, 255)}
    return np.array([(0, 0, 0), *(palette[name] for name in names)], np.uint8)[ids]
