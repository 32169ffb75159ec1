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
def confusion(found: np.ndarray, truth: np.ndarray, count: int) -> np.ndarray:
    """float64 [count + 1, count + 1]: pixels by class found and true, of integers [H, W]; 0 = none, k + 1 class k."""
    pairs = found.astype(np.int64).ravel() * (count + 1) + truth.ravel()
    return np.bincount(pairs, minlength=(count + 1) ** 2).reshape(count + 1, count + 1).astype(np.float64)


def semantic_miou(sums: np.ndarray) -> np.ndarray:
    """Mean IoU over the classes that are somewhere true, [..., C + 1, C + 1] of `confusion` -> [...]; pixels of no true
    class count neither way."""
    known = sums[..., 1:]
    right = np.diagonal(sums, axis1=-2, axis2=-1)[..., 1:]
    there = known.sum(-2)
    either = known[..., 1:, :].sum(-1) + there - right
    each = np.where(there > 0, right / np.maximum(either, 1), 0.0)
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
