# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Mask AP as pycocotools has it: of the things of pictures (COCO), and of clips, where the IoU of two things is that of
all their frames together (YouTube-VIS)."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from focus_jax.evaluation.figures import SEED, Figure
from focus_jax.evaluation.protocol import Segments

RESAMPLES = 50  # of the bootstrap: each is a pass over all instances
AREAS = ("all", "small", "medium", "large")  # in the order of pycocotools: below 32^2 and 96^2 pixels
MOST = (1, 10, 100)  # answers of a class in a picture or clip that count


class AveragePrecision:
    """Gathers pictures or clips and gives AP over `classes`."""

    def __init__(self, classes: Sequence[str]):
        self.classes = list(classes)
        self._true: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._sizes: list[tuple[int, int]] = []
        self._clips = False

    def add(self, found: Segments, masks: Sequence[np.ndarray], names: Sequence[str], crowds: Sequence[bool]) -> None:
        """One picture or clip. masks: bool, shape of found.ids each, of the true things; crowds: those that are neither
        to be found nor wrong where found. Raises: ValueError for a name that is not among the classes."""
        self._sizes.append((found.ids.size // found.ids.shape[-1], found.ids.shape[-1]))
        self._clips |= found.ids.ndim == 3
        for mask, name, crowd in zip(masks, names, crowds, strict=True):
            self._true.append(self._entry(len(self._true), mask, name) | {"iscrowd": int(crowd)})
        for k, (name, score) in enumerate(zip(found.names, found.scores)):
            mask = found.ids == k + 1 if found.masks is None else found.masks[k]
            self._found.append(self._entry(len(self._found), mask, name) | {"iscrowd": 0, "score": float(score)})

    def _entry(self, number: int, mask: np.ndarray, name: str) -> dict[str, Any]:
        # The frames of a clip one below the other are a picture whose IoUs are those of the clip.
        runs = coco.encode(np.asfortranarray(mask.reshape(-1, mask.shape[-1]).astype(np.uint8)))
        category = self.classes.index(name) + 1
        entry = {"id": number + 1, "image_id": len(self._sizes), "category_id": category, "segmentation": runs}
        return entry | {"area": float(coco.area(runs)), "bbox": coco.toBbox(runs).tolist()}

    def figures(self) -> dict[str, Figure]:
        """ap, ap50, ap75, ar1 and ar10; of pictures also ap_small, ap_medium and ap_large where there are such. n: the
        true things; errors from resampling pictures or clips."""
        with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
            run = COCOeval(self._coco(self._true), self._coco(self._found), "segm")
            run.params.maxDets = list(MOST)
            run.evaluate()
            shape = len(run.params.catIds), len(run.params.areaRng), len(run.params.imgIds)
            each = np.empty(len(run.evalImgs), object)
            each[:] = run.evalImgs
            values = self._summary(run)
            random, columns = np.random.default_rng(SEED), each.reshape(shape)
            again = []
            count = len(self._sizes)
            for _ in range(RESAMPLES if count > 1 else 0):
                chosen = random.integers(0, count, count)
                run.evalImgs = columns[:, :, chosen].ravel().tolist()
                again.append(self._summary(run))
        n = sum(not one["iscrowd"] for one in self._true)
        out = {}
        for name, value in values.items():
            if np.isnan(value):
                continue
            drawn = [one[name] for one in again if not np.isnan(one[name])]
            # It adds 2^-52 to what it divides by: beyond twelve digits there is nothing to be read.
            out[name] = round(float(value), 12), n, float(np.std(drawn, ddof=1)) if len(drawn) > 1 else 0.0
        return out

    def _coco(self, entries: list[dict[str, Any]]) -> COCO:
        out = COCO()
        categories = [{"id": k, "name": name} for k, name in enumerate(self.classes, 1)]
        images = [{"id": i, "height": h, "width": w} for i, (h, w) in enumerate(self._sizes, 1)]
        out.dataset = {"images": images, "categories": categories, "annotations": entries}
        out.createIndex()
        return out

    def _summary(self, run: COCOeval) -> dict[str, float]:
        run.accumulate()
        precision, recall = run.eval["precision"], run.eval["recall"]  # [T, R, K, A, M], [T, K, A, M]; -1: no such
        mean = lambda x: float(x[x > -1].mean()) if (x > -1).any() else float("nan")
        out = {"ap": mean(precision[..., 0, -1])}
        for name, threshold in (("ap50", 0.5), ("ap75", 0.75)):
            out[name] = mean(precision[np.isclose(run.params.iouThrs, threshold)][..., 0, -1])
        for k, name in enumerate(AREAS[1:] if not self._clips else (), 1):
            out[f"ap_{name}"] = mean(precision[..., k, -1])
        return out | {f"ar{MOST[k]}": mean(recall[..., 0, k]) for k in (0, 1)}
