# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Panoptic quality (Kirillov et al. 2019) by the rules of the COCO evaluation."""

from collections.abc import Sequence

import numpy as np

VOID = 0
COUNTS = ("IoU of matches", "matches", "unmatched found", "unmatched true")


def counts(
    found: np.ndarray,
    found_names: Sequence[str],
    truth: np.ndarray,
    truth_names: Sequence[str],
    classes: Sequence[str],
    stuff: Sequence[str] = (),
    crowds: Sequence[int] = (),
) -> np.ndarray:
    """What one picture adds to each class.

    Args:
      found, truth: integer [H, W]; 0 = VOID, k + 1 is of the class names[k]. A segment without a pixel does not exist.
      classes: the classes counted; stuff: those whose segments in one picture are one. crowds: numbers (k + 1) of true
        segments that are several things: they match nothing and are not missed.

    Returns: float64 [classes, COUNTS]. Segments of one class match where their IoU, without the found segment's pixels
    on true VOID, is above a half. An unmatched found segment that lies more than half on true VOID and crowds of its
    class is not counted.
    Raises: ValueError for a name that is not among classes.
    """
    found, found_classes = _one_stuff(found, found_names, classes, stuff)
    truth, truth_classes = _one_stuff(truth, truth_names, classes, stuff, crowds)
    shape = len(found_classes) + 1, len(truth_classes) + 1
    both = np.bincount(found.ravel() * shape[1] + truth.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    found_area, truth_area, on_void = both.sum(1), both.sum(0), both[:, VOID]
    out = np.zeros((len(classes), len(COUNTS)))
    found_matched, truth_matched = {VOID}, {VOID}
    for i, j in zip(*np.nonzero(both)):
        if VOID in (i, j) or j in crowds or found_classes[i - 1] != truth_classes[j - 1]:
            continue
        iou = both[i, j] / (found_area[i] + truth_area[j] - both[i, j] - on_void[i])
        if iou > 0.5:  # at most one segment can have that
            out[truth_classes[j - 1], :2] += iou, 1
            found_matched.add(i)
            truth_matched.add(j)
    for i in set(np.flatnonzero(found_area).tolist()) - found_matched:
        excused = on_void[i] + sum(both[i, j] for j in crowds if truth_classes[j - 1] == found_classes[i - 1])
        out[found_classes[i - 1], 2] += excused <= 0.5 * found_area[i]
    for j in set(np.flatnonzero(truth_area).tolist()) - truth_matched - set(crowds):
        out[truth_classes[j - 1], 3] += 1
    return out


def _one_stuff(ids, names, classes, stuff, apart=()) -> tuple[np.ndarray, list[int]]:
    """ids with all segments of a stuff class under the number of its first, and the class index of every number; apart:
    numbers that stay as they are."""
    at = [list(classes).index(name) for name in names]
    first = [names.index(name) if name in stuff and k + 1 not in apart else k for k, name in enumerate(names)]
    return np.concatenate([[VOID], np.array(first, np.int64) + 1])[ids].astype(np.int64), at


def qualities(sums: np.ndarray) -> np.ndarray:
    """PQ, SQ and RQ of each class: [..., classes, COUNTS] -> [..., classes, 3]; nan for a class that nowhere was."""
    iou, matched, found, true = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    size = matched + 0.5 * found + 0.5 * true
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([iou / size, np.where(size > 0, iou / np.maximum(matched, 1), np.nan), matched / size], axis=-1)


def over_classes(sums: np.ndarray, which: Sequence[int], quality: int = 0) -> np.ndarray:
    """Mean over the classes `which` that were anywhere: [..., classes, COUNTS] -> [...]; quality: 0 PQ, 1 SQ, 2 RQ."""
    x = qualities(sums)[..., list(which), quality]
    there = ~np.isnan(x)
    return np.where(there, x, 0.0).sum(-1) / np.maximum(there.sum(-1), 1)
