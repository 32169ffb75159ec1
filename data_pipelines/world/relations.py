# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What holds between things, with margins: where people could disagree it is undefined, and no text speaks of it."""

import math
from collections.abc import Sequence

from data_pipelines.world import scenes, shapes
from data_pipelines.world.scenes import Thing
from data_pipelines.world.vocabulary import CANVAS, SIZES

MARGIN = 8.0  # canvas units between centres; more than two radii of one preset differ by, so that the edges agree too
HALF_MARGIN = 6.0  # between a centre and the middle line of the picture
HIDDEN = 0.06  # least share of a thing under another that reads as hidden; below it and above 0 nothing is asked

SIDES = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}  # axis (0 x, 1 y) and sign
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
PLACES = {"leftmost": "left of", "rightmost": "right of", "highest": "above", "topmost": "above", "lowest": "below"}
HALVES = {"left": "left of", "right": "right of", "upper": "above", "lower": "below"}
EXTENTS = {"largest": 1, "smallest": -1}


def holds(a: Thing, side: str, b: Thing) -> bool | None:
    """Whether a lies on that side of b; None where their places differ by less than MARGIN on its axis."""
    axis, sign = SIDES[side]
    ahead = sign * (a.x - b.x if axis == 0 else a.y - b.y)
    return True if ahead >= MARGIN else False if ahead <= -MARGIN else None


def in_half(thing: Thing, half: str) -> bool | None:
    """Whether the thing's centre lies in that half of the picture; None within HALF_MARGIN of its middle line."""
    axis, sign = SIDES[HALVES[half]]
    ahead = sign * ((thing.x if axis == 0 else thing.y) - CANVAS / 2)
    return True if ahead >= HALF_MARGIN else False if ahead <= -HALF_MARGIN else None


def extreme(things: Sequence[Thing], among: Sequence[int], word: str) -> int | None:
    """Which of things[among] is the `word` (of PLACES or EXTENTS) of them; None where no one is, or there is only one.

    By place: it lies on that side of all the others. By extent: its word for size is its alone and beyond the others'.
    """
    if len(among) < 2:
        return None
    if word in EXTENTS:
        rank = lambda k: EXTENTS[word] * SIZES.index(things[k].size)
        first, second = sorted(among, key=rank)[-1:-3:-1]
        return first if rank(first) > rank(second) else None
    axis, sign = SIDES[PLACES[word]]
    ahead = lambda k: sign * (things[k].x if axis == 0 else things[k].y)
    first, second = sorted(among, key=ahead)[-1:-3:-1]
    return first if ahead(first) - ahead(second) >= MARGIN else None


def covered(things: Sequence[Thing]) -> dict[tuple[int, int], float]:
    """(nearer, farther) -> share of the farther thing's area that lies under the nearer, where any does."""
    shares = {}
    for near, a in enumerate(things):
        for far, b in enumerate(things[:near]):
            reach = a.radius * shapes.reach(a.shape) + b.radius * shapes.reach(b.shape)
            if math.hypot(a.x - b.x, a.y - b.y) < reach:
                area = scenes.mask(b)
                share = float((area & scenes.mask(a)).sum() / area.sum())
                if share > 0:
                    shares[near, far] = share
    return shares
