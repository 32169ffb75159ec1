# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Masks on the official files of segmentation sets, read as `prepare` reads them, at the pictures' own size (contract
8): words, classes, marked regions, and clips."""

import collections
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from data_pipelines import readers, transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Example, Instance
from focus_jax.errors import UserError
from focus_jax.evaluation import files, held_out
from focus_jax.evaluation.figures import Figure, bootstrapped, clustered, sums_by
from focus_jax.evaluation.metrics_instances import AveragePrecision
from focus_jax.evaluation.metrics_masks import (
    BOUNDARY,
    ciou,
    class_areas,
    intersection_union,
    ious,
    j_and_f,
    semantic_miou,
)
from focus_jax.evaluation.metrics_panoptic import counts, over_classes
from focus_jax.evaluation.protocol import Checked, Instances, Question, Segments, Semantic

SENTENCES = ("each", "first", "joined")
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
ASKED = ("words", "classes", "semantic", "instances", "regions")
IGNORED = "ignore"  # category of a crowd whose pixels count neither way (ReasonSeg)


class Evaluator:
    """Figures of what config.asked names, the benchmark's name before them:

    words     ciou, giou (mean IoU; 1 where nothing is meant and nothing found), precision50 to precision90 over words
              that mean something; no_target_accuracy and target_accuracy where some mean nothing
    classes   pq, sq, rq over the classes that were anywhere, and each of things and of stuff where there is both
    semantic  miou over the classes that are somewhere true; what is of none counts neither way
    instances ap, ap50, ap75, ar1 and ar10, of pictures also ap_small, ap_medium and ap_large; of clips the IoU of all
              frames together (YouTube-VIS's mAP)
    regions   KIND_iou (mean) and KIND_ciou of point, scribble, box, mask
    of clips  j, f and jf: of words each frame, of marks (those of the first frame) all but the first and the last
    """

    def __init__(self, config: Any):
        if config.sentences not in SENTENCES:
            raise UserError(f"config.sentences: {config.sentences!r}, expected one of {', '.join(SENTENCES)}.")
        if not config.asked or not set(config.asked) <= set(ASKED):
            raise UserError(f"config.asked: {list(config.asked)}, expected some of {', '.join(ASKED)}.")
        for field, value in (("batch_size", config.batch_size), ("limit", config.limit + 1)):
            if value < 1:
                raise UserError(f"config.{field}: {config[field]}, expected at least {int(field == 'batch_size')}.")
        self.config, self.name = config, config.benchmark
        self.baselines: dict[str, dict[str, float]] = {}
        self.galleries: list[held_out.Gallery] = []

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        c = self.config
        return {
            "reader": c.data.reader,
            "options": c.data.options.to_dict(),
            "split": c.data.split,
            "sentence_mode": c.sentences,
            "records": c.limit or "all",
            "empty_masks": "an empty answer to words that mean nothing counts 1, any other 0",
            "matches": "IoU above 0.5",
            "scored_frames": "of marks all but the first and the last; of words all",
            "boundary_tolerance": BOUNDARY,
            "ap": "pycocotools: IoU .50 to .95, 100 answers a picture or clip; all frames of a clip are one",
        }

    def run(self, model: Any, data: Sequence[Example] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: records, default what the config names. Raises: UserError, DataError."""
        self._model = Checked(model, self.name, self.config.batch_size)
        self._single = Checked(model, self.name, 1)
        self._words: list[tuple[int, bool, int, int, int]] = []  # record, something meant, both, either, found
        self._regions: dict[str, list[tuple[int, int, int]]] = collections.defaultdict(list)
        self._panoptic: list[np.ndarray] = []
        self._semantic: list[np.ndarray] = []
        self._ranked: AveragePrecision | None = None
        self._stuff: set[str] = set()
        self._clips: list[tuple[int, float, float]] = []
        self._classes: list[str] = []
        self._cells: list[tuple[Any, ...]] = []
        count = 0
        for count, example in enumerate(self._examples() if data is None else data, 1):
            (self._clip if example.frames else self._picture)(count - 1, example)
        if not count:
            data = self.config.data
            raise UserError(f"config.data: no record of the split {data.split!r} in {data.path}.")
        self.galleries = [held_out.gallery("Masks", ("asked", "truth", "found", "IoU"), self._cells)]
        found = self._figures()
        if not found:
            raise UserError(f"config.asked: nothing of {', '.join(self.config.asked)} in {count} records.")
        return found

    def _examples(self) -> Iterator[Example]:
        data = self.config.data
        reader = readers.get(data.reader)(data.path, **data.options.to_dict())
        return itertools.islice(files.examples(reader, data.split), self.config.limit or None)

    # -------------------------------------------------------------------------------------------------------- pictures
    def _picture(self, number: int, example: Example) -> None:
        picture = np.asarray(transforms.decode(example.images[0].data, example.id))
        masks = [None if i.mask is None else i.mask.to_array() for i in example.instances]
        size = picture.shape[:2]
        if wrong := [k for k, mask in enumerate(masks) if mask is not None and mask.shape != size]:
            raise DataError(f"{example.id}: the mask of instance {wrong[0]} is not of its picture's size.")
        union = lambda chosen: np.logical_or.reduce([np.zeros(size, bool), *(masks[i] for i in chosen)])
        ignored = union(k for k, i in enumerate(example.instances) if i.crowd and i.category == IGNORED)
        if "words" in self.config.asked and example.expressions:
            asked = sentences(example, self.config.sentences)
            found = self._segment(picture, [prompt for prompt, _ in asked])
            for (prompt, meant), one in zip(asked, found):
                mask, truth = one.mask & ~ignored, union(meant) & ~ignored
                both, either = intersection_union(mask, truth)
                self._words.append((number, bool(meant), both, either, int(mask.sum())))
                self._show(prompt, picture, truth, mask)
        if "regions" in self.config.asked and example.regions:
            pointed = [r for r in example.regions if r.instance is not None]
            found = self._segment(picture, [r.mask.to_array() for r in pointed])
            for region, one in zip(pointed, found):
                truth = masks[region.instance]
                self._regions[region.kind].append((number, *intersection_union(one.mask, truth)))
                self._show(held_out.overlay(picture, region.mask.to_array()), picture, truth, one.mask)
        if example.classes:
            self._classed(number, example, picture, masks)

    def _classed(self, number: int, example: Example, picture: np.ndarray, masks: list[np.ndarray | None]) -> None:
        """A picture's list of classes, asked as config.asked says."""
        self._classes = self._classes or list(example.classes)
        if list(example.classes) != self._classes:
            raise DataError(f"{example.id}: has other classes than the record before it, expected one list.")
        there = [(i, mask) for i, mask in zip(example.instances, masks) if mask is not None]
        if "classes" in self.config.asked:
            (one,) = self._listed(picture, self._classes)
            truth, names, crowds = np.zeros(picture.shape[:2], np.int32), [], []
            for instance, mask in there:
                names.append(instance.category)
                truth[mask] = len(names)
                crowds += [len(names)] if instance.crowd else []
            self._stuff |= set(self.config.stuff) | set(example.stuff)
            stuff = tuple(self._stuff)
            self._panoptic.append(counts(one.ids, one.names, truth, names, self._classes, stuff, crowds))
            self._show(", ".join(one.names) or "nothing", picture, truth > 0, one.mask)
        if "semantic" in self.config.asked:
            (one,) = self._listed(picture, Semantic(self._classes))
            place = {name: k for k, name in enumerate(self._classes, 1)}
            truth = np.zeros(picture.shape[:2], np.int32)
            for instance, mask in there:
                truth[mask] = place[instance.category]
            found = np.array([0, *(place[name] for name in one.names)])[one.ids]
            self._semantic.append(class_areas(found, truth, len(place)))
            self._show(", ".join(one.names), picture, truth > 0, one.mask)
        if "instances" in self.config.asked:
            (one,) = self._listed(picture, Instances(self._classes))
            self._rank(one, [mask for _, mask in there], [i for i, _ in there])
            self._show(", ".join(one.names[:8]) or "nothing", picture, self._union(there, picture), one.mask)

    @staticmethod
    def _union(there: list[tuple[Instance, np.ndarray]], picture: np.ndarray) -> np.ndarray:
        return np.logical_or.reduce([np.zeros(picture.shape[:2], bool), *(mask for _, mask in there)])

    def _rank(self, found: Segments, masks: list[np.ndarray], things: list[Instance]) -> None:
        self._ranked = self._ranked or AveragePrecision(self._classes)
        self._ranked.add(found, masks, [i.category for i in things], [i.crowd for i in things])

    def _segment(self, picture: np.ndarray, prompts: list[Any]) -> list[Segments]:
        return self._model.segment(np.stack([picture] * len(prompts)), prompts)

    def _listed(self, picture: np.ndarray, classes: list[str]) -> list[Segments]:
        """A list of classes is asked once a picture: a batch would be filled up with the same again."""
        return self._single.segment(picture[None], [classes])

    def _show(self, asked: Any, picture: np.ndarray, truth: np.ndarray, found: np.ndarray) -> None:
        if len(self._cells) < self.config.shown:
            iou = float(ious(np.array(intersection_union(found, truth))))
            shown = held_out.overlay(picture, truth, True), held_out.overlay(picture, found)
            self._cells.append((asked, *shown, f"{iou:.2f}"))

    # ----------------------------------------------------------------------------------------------------------- clips
    def _clip(self, number: int, example: Example) -> None:
        frames = np.stack([np.asarray(transforms.decode(f.image.data, example.id)) for f in example.frames])
        tracks = sorted({i.track for i in example.instances if i.track is not None})
        ids = np.zeros(frames.shape[:3], np.int32)  # of the tracks by their places from 1
        for instance in example.instances:
            if instance.track is not None and instance.mask is not None:
                ids[instance.frame][instance.mask.to_array()] = tracks.index(instance.track) + 1
        if "words" in self.config.asked and example.expressions:
            for prompt, meant in sentences(example, self.config.sentences):
                wanted = [tracks.index(example.instances[i].track) + 1 for i in meant]
                truth = np.isin(ids, wanted)
                found = self._model.segment_video(frames.copy(), prompt).mask
                self._clips.append((number, *j_and_f(found, truth)))
                self._show(prompt, frames, truth, found)
        if "instances" in self.config.asked and example.classes:
            self._classes = self._classes or list(example.classes)
            of = {i.track: i for i in example.instances}
            found = self._model.segment_video(frames.copy(), Instances(self._classes))
            self._rank(found, [ids == k for k in range(1, len(tracks) + 1)], [of[track] for track in tracks])
            self._show(", ".join(found.names) or "nothing", frames, ids > 0, found.mask)
        if "regions" in self.config.asked and (ids[0] > 0).any():
            given = [int(n) for n in np.unique(ids[0]) if n]
            marked = np.zeros_like(ids[0])
            for k, n in enumerate(given, 1):
                marked[ids[0] == n] = k
            found = self._model.segment_video(frames.copy(), (0, marked)).ids
            scored = slice(1, -1 if len(frames) > 2 else None)
            for k, n in enumerate(given, 1):
                self._clips.append((number, *j_and_f(found[scored] == k, ids[scored] == n)))
            self._show(held_out.overlay(frames[0], marked > 0), frames, ids > 0, found > 0)

    # --------------------------------------------------------------------------------------------------------- figures
    def _figures(self) -> dict[str, Figure]:
        out: dict[str, Figure] = {}
        if self._words:
            rows = np.array(self._words, np.int64)
            at, meant, parts, found = rows[:, 0], rows[:, 1] > 0, rows[:, 2:4], rows[:, 4] > 0
            out["ciou"] = bootstrapped(sums_by(at, parts), ciou, len(rows))
            out["giou"] = clustered(ious(parts), at)
            for threshold in THRESHOLDS if meant.any() else ():
                right = ious(parts[meant]) >= threshold
                out[f"precision{round(100 * threshold)}"] = clustered(right, at[meant])
            if not meant.all():
                out["no_target_accuracy"] = clustered(~found[~meant], at[~meant])
                if meant.any():
                    out["target_accuracy"] = clustered(found[meant], at[meant])
        for kind, regions in self._regions.items():
            at, parts = np.array(regions)[:, 0], np.array(regions)[:, 1:]
            out[f"{kind}_iou"] = clustered(ious(parts), at)
            out[f"{kind}_ciou"] = bootstrapped(sums_by(at, parts), ciou, len(parts))
        if self._panoptic:
            sums, every = np.array(self._panoptic), range(len(self._classes))
            sets = {"": every}
            if self._stuff and self._stuff < set(self._classes):
                stuff = [k for k in every if self._classes[k] in self._stuff]
                sets |= {"things_": [k for k in every if k not in stuff], "stuff_": stuff}
            for (prefix, which), (k, name) in itertools.product(sets.items(), enumerate(("pq", "sq", "rq"))):
                quality = lambda x, k=k, which=which: over_classes(x, which=which, quality=k)
                out[prefix + name] = bootstrapped(sums, quality, len(sums))
        if self._semantic:
            out["miou"] = bootstrapped(np.stack(self._semantic), semantic_miou, len(self._semantic))
        if self._ranked:
            out |= self._ranked.figures()
        if self._clips:
            at, j, f = (np.array(x) for x in zip(*self._clips))
            for name, values in (("jf", (j + f) / 2), ("j", j), ("f", f)):
                out[name] = clustered(values, at)
        return {f"{self.name}_{name}": figure for name, figure in out.items()}


def sentences(example: Example, mode: str) -> list[tuple[str, list[int]]]:
    """(prompt, instances) of a record's expressions: each by itself, the first for each set of instances, or those of a
    set joined to one."""
    groups: dict[tuple[int, ...], list[Any]] = {}
    for expression in example.expressions:
        groups.setdefault(tuple(sorted(expression.instances)), []).append(expression)
    made = lambda kind, text: Question(text) if kind.startswith("reason") else text
    if mode == "each":
        return [(made(e.kind, e.text), list(e.instances)) for e in example.expressions]
    first = mode == "first"
    return [
        (made(of[0].kind, of[0].text if first else " ".join(e.text for e in of)), list(instances))
        for instances, of in groups.items()
    ]
