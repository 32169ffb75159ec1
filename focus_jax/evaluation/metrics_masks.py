# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""IoU of masks, summed and averaged, with the rules for expressions without a target, and J and F of clips."""

import math

import numpy as np
from scipy import ndimage

BOUNDARY = 0.008  # tolerance of F, share of the picture's diagonal (Perazzi et al. 2016)


def intersection_union(found: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """Pixels of both and of either, of two bool masks [H, W]."""
    return int((found & truth).sum()), int((found | truth).sum())


def ious(parts: np.ndarray) -> np.ndarray:
    """IoU of each sample: [..., (intersection, union)] -> [...]; 1 where both masks are empty.

    That is the rule of generalised referring too (GRES, Liu et al. 2023): without a target an empty answer counts 1 and
    any other 0, and what it marks adds to the union.
    """
    intersection, union = parts[..., 0], parts[..., 1]
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


def ciou(sums: np.ndarray) -> np.ndarray:
    """cIoU: sum of intersections over sum of unions, [..., (intersections, unions)] -> [...]."""
    return ious(sums)


# ---------------------------------------------------------------------------------------------------------------- mIoU
def class_areas(found: np.ndarray, truth: np.ndarray, count: int) -> np.ndarray:
    """float64 [3, count]: of each class the pixels that are rightly it, that are said to be it and that are it, of
    integers [H, W]; 0 = none, k + 1 class k. Pixels of no true class count neither way."""
    known = truth > 0
    areas = (truth[known & (found == truth)], found[known & (found > 0)], truth[known])
    return np.stack([np.bincount(x.astype(np.int64) - 1, minlength=count) for x in areas]).astype(np.float64)


def semantic_miou(sums: np.ndarray) -> np.ndarray:
    """Mean IoU over the classes that are somewhere true, [..., 3, C] of `class_areas` -> [...]."""
    right, said, there = np.moveaxis(np.asarray(sums), -2, 0)
    each = np.where(there > 0, right / np.maximum(said + there - right, 1), 0.0)
    return each.sum(-1) / np.maximum((there > 0).sum(-1), 1)


# ------------------------------------------------------------------------------------------------------------- J and F
def jaccard(found: np.ndarray, truth: np.ndarray) -> float:
    """J of one object in one frame, bool [H, W] each; 1 where both are empty."""
    return float(ious(np.array(intersection_union(found, truth))))


def boundary(mask: np.ndarray) -> np.ndarray:
    """bool [H, W]: pixels that differ from their right, lower or lower right neighbour, as DAVIS has it."""
    m = np.asarray(mask, bool)
    right, below, diagonal = m.copy(), m.copy(), m.copy()
    right[:, :-1], below[:-1], diagonal[:-1, :-1] = m[:, 1:], m[1:], m[1:, 1:]
    out = (m ^ right) | (m ^ below) | (m ^ diagonal)
    # In the last row and column only the neighbour that exists counts.
    out[-1], out[:, -1], out[-1, -1] = (m ^ right)[-1], (m ^ below)[:, -1], False
    return out


def boundary_f(found: np.ndarray, truth: np.ndarray) -> float:
    """F of one object in one frame, bool [H, W] each: boundaries within ceil(BOUNDARY * diagonal) pixels match."""
    tolerance = math.ceil(BOUNDARY * math.hypot(*truth.shape))
    a, b = boundary(found), boundary(truth)
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    near = lambda x: ndimage.distance_transform_edt(~x) <= tolerance  # dilation by a disk
    precision, recall = (a & near(b)).sum() / a.sum(), (b & near(a)).sum() / b.sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def j_and_f(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Means over the frames of one object, bool [T, H, W] each."""
    pairs = list(zip(found, truth))
    return float(np.mean([jaccard(a, b) for a, b in pairs])), float(np.mean([boundary_f(a, b) for a, b in pairs]))
