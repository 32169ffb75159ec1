# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""From queries to segments: who has which pixel of a picture whose classes were asked for, by Mask2Former's rules.

scores: z [N, K], of the classes and behind them the background; upright: logits [n, H, W] of some queries' masks.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import Instances, Segments, Semantic

Upright = Callable[[list[int]], np.ndarray]
AT_ONCE = 16  # masks that are enlarged together: a hundred of a large picture would take gigabytes


@dataclasses.dataclass(frozen=True)
class Rules:
    """When a query counts. words: least sigmoid(z) times mean sigmoid of its mask, of one that shows what words mean;
    where none reaches it nothing is there. classes: least share of a query's class; overlap: least share of its mask
    that a query must win; stuff: classes whose segments in a picture are one. instances: least share times mean
    sigmoid of one of the ranked instances, of which there are at most `most`. In clips (inference/video.py) follow: as
    words, of a thing that was marked in another frame; same: least likeness of two frames' queries to be one thing;
    forget: frames a thing may be out of sight."""

    words: float = 0.8  # of 0.3 to 0.9 the best on 120 validation scenes of the world, with the tiny stage 3
    classes: float = 0.5
    overlap: float = 0.8
    stuff: tuple[str, ...] = ()
    instances: float = 0.0
    most: int = 100
    follow: float = 0.5
    same: float = 0.5
    forget: int = 10


def listed(classes: Sequence[str], most: int) -> list[str]:
    """The classes as a plain list. Raises: UserError for none, too many, and one that is named twice."""
    if not 0 < len(classes) <= most:
        raise UserError(f"prompts: a list of {len(classes)} classes, expected 1 to {most}.")
    if twice := [name for name, count in collections.Counter(classes).items() if count > 1]:
        raise UserError(f"prompts: the list of classes names {twice[0]!r} twice, expected each once.")
    return list(classes)


def settled(
    classes: Sequence[str], scores: np.ndarray, upright: Upright, size: tuple[int, int], rules: Rules
) -> Segments:
    """What a list of classes asks for by its kind: panoptic, Semantic or Instances."""
    if isinstance(classes, Semantic):
        return semantic(classes, scores, upright, size)
    if isinstance(classes, Instances):
        return instances(classes, scores, upright, size, rules)
    return claimed(classes, scores, upright, size, rules)[0]


def claimed(
    classes: Sequence[str], scores: np.ndarray, upright: Upright, size: tuple[int, int], rules: Rules
) -> tuple[Segments, list[int]]:
    """Panoptic: every pixel to the query that claims it most, weighed by its class's share; and each segment's query
    (of stuff the first)."""
    shares = _shares(scores, len(classes) + 1)
    label, share = shares.argmax(axis=1), shares.max(axis=1)
    kept = [q for q in range(len(shares)) if label[q] < len(classes) and share[q] >= rules.classes]
    ids, names, found = np.zeros(size, np.int32), list[str](), list[float]()
    queries: list[int] = []
    if not kept:
        return Segments(ids, (), ()), queries
    winner, most, whole = np.zeros(size, np.int32), np.zeros(size, np.float32), np.zeros((len(kept), *size), bool)
    for start in range(0, len(kept), AT_ONCE):
        some = kept[start : start + AT_ONCE]
        for i, mask in enumerate(upright(some), start):
            claim, whole[i] = share[kept[i]] * sigmoid(mask), mask > 0
            more = claim > most
            winner[more], most[more] = i, claim[more]
    for i, q in enumerate(kept):
        own = winner == i
        won = own & whole[i]
        # As published: all that it won, also where its mask is not sure, against all of its mask.
        if not won.any() or own.sum() < rules.overlap * whole[i].sum():
            continue
        name = classes[label[q]]
        if name in rules.stuff and name in names:
            ids[won] = names.index(name) + 1
            continue
        names.append(name)
        found.append(float(share[q]))
        queries.append(q)
        ids[won] = len(names)
    return Segments(ids, tuple(names), tuple(found)), queries


def semantic(classes: Sequence[str], scores: np.ndarray, upright: Upright, size: tuple[int, int]) -> Segments:
    """Every pixel to the class whose queries, weighed by its share, claim it most. A segment's score is the mean claim
    on its pixels, at most 1."""
    shares = _shares(scores, len(classes) + 1)[:, :-1]
    claims = np.zeros((len(classes), *size), np.float32)
    for start in range(0, len(shares), AT_ONCE):
        some = list(range(start, min(start + AT_ONCE, len(shares))))
        sure = sigmoid(upright(some))
        for first in range(0, len(classes), AT_ONCE):  # in pieces: of many classes a second copy would be large
            few = slice(first, first + AT_ONCE)
            claims[few] += np.tensordot(shares[some, few].T, sure, 1)
    label = claims.argmax(axis=0)
    there = np.unique(label)
    surest = [float(min(1.0, claims[c][label == c].mean())) for c in there]
    ids = (np.searchsorted(there, label) + 1).astype(np.int32)
    return Segments(ids, tuple(classes[c] for c in there), tuple(surest))


def instances(
    classes: Sequence[str], scores: np.ndarray, upright: Upright, size: tuple[int, int], rules: Rules
) -> Segments:
    """The surest pairs of query and class, the surest first: masks may overlap, and a query may be several classes. The
    score is the class's share times the mean sigmoid of the mask where it is."""
    shares = _shares(scores, len(classes) + 1)[:, :-1]
    pairs = np.argsort(-shares, axis=None, kind="stable")[: rules.most]
    chosen: list[tuple[float, int, np.ndarray]] = []
    for start in range(0, len(pairs), AT_ONCE):
        some = pairs[start : start + AT_ONCE]
        at, label = np.unravel_index(some, shares.shape)
        for mask, q, c in zip(upright(at.tolist()), at, label):
            there = mask > 0
            if there.any():
                chosen.append((float(shares[q, c] * sigmoid(mask[there]).mean()), int(c), there))
    chosen = sorted((one for one in chosen if one[0] >= rules.instances), key=lambda one: -one[0])
    masks = np.stack([mask for _, _, mask in chosen]) if chosen else np.zeros((0, *size), bool)
    ids = np.zeros(size, np.int32)
    for k, mask in reversed(list(enumerate(masks, 1))):
        ids[mask] = k
    return Segments(ids, tuple(classes[c] for _, c, _ in chosen), tuple(score for score, _, _ in chosen), masks)


def _shares(scores: np.ndarray, count: int) -> np.ndarray:
    """Softmax of z over the first `count` conditions, [N, count]."""
    z = scores[:, :count]
    shares = np.exp(z - z.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def enlarged(masks: np.ndarray, side: int, inside: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Logits [N, h, w] on the padded square of `side` pixels, of which `inside` is picture -> [N, *size], float32."""
    large = jax.image.resize(jnp.asarray(masks), (len(masks), side, side), "linear", antialias=False)
    large = large[:, : inside[0], : inside[1]]
    return np.asarray(jax.image.resize(large, (len(masks), *size), "linear", antialias=False))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))
