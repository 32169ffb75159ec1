# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Captions that say all of a scene: every thing with its attributes, the ground, and how two things stand."""

import dataclasses

from data_pipelines.world import relations
from data_pipelines.world.draws import Draws
from data_pipelines.world.phrases import NUMBERS, Phrases, a, enumeration, phrase
from data_pipelines.world.scenes import Scene, Thing

_WORDINGS = ("{list} on {ground}", "a picture of {list} on {ground}", "on {ground}, {list}")
_HALVES = (("upper", "lower"), ("left", "right"))


@dataclasses.dataclass(frozen=True)
class Caption:
    """relation: (i, side, j) where the text says that things[i] is on that side of things[j]; halves: of the picture
    (names of relations.HALVES) in which it says that the only thing is."""

    text: str
    relation: tuple[int, str, int] | None = None
    halves: tuple[str, ...] = ()


def caption(scene: Scene, d: Draws) -> Caption:
    """The scene in words: all attributes that the preset varies, and one relation where two things allow it.

    One thing: the half or quarter of the picture it is in, 'a small red circle in the upper half on a gray background'.
    Two things: 'a small red circle left of a large blue square on a gray background'. More: a list of all, then the
    relation of two that their names tell from the rest.
    """
    phrases = Phrases(scene)
    relation = _relation(phrases, d)
    wording, ground = d.choice(_WORDINGS), f"a {scene.ground.colour} background"
    full = [phrase(phrases.whole(i)) for i in range(len(scene.things))]
    if len(full) == 1:
        return _alone(scene.things[0], full[0], wording, ground)
    if relation and len(full) == 2:
        i, side, j = relation
        return Caption(wording.format(list=f"{a(full[i])} {side} {a(full[j])}", ground=ground), relation)
    text = wording.format(list=_list(phrases, d), ground=ground)
    if relation:
        i, side, j = relation
        text += f", with the {phrases.called(d, i)} {side} the {phrases.called(d, j)}"
    return Caption(text, relation)


def _alone(thing: Thing, words: str, wording: str, ground: str) -> Caption:
    """Near a middle line nothing is said of that line's sides."""
    halves = tuple(half for pair in _HALVES for half in pair if relations.in_half(thing, half))
    where = f" in the {' '.join(halves)} {'half' if len(halves) == 1 else 'quarter'}" if halves else ""
    return Caption(wording.format(list=a(words) + where, ground=ground), halves=halves)


def _relation(phrases: Phrases, d: Draws) -> tuple[int, str, int] | None:
    named = phrases.named()
    options = [
        (i, side, j)
        for i in named
        for j in named
        for side in relations.SIDES
        if relations.holds(phrases.things[i], side, phrases.things[j])
    ]
    return d.choice(options) if options else None


def _list(phrases: Phrases, d: Draws) -> str:
    """'a small red circle and two large blue squares', in an order that tells nothing."""
    keys = d.shuffled(list(dict.fromkeys(map(phrases.whole, range(len(phrases.things))))))
    counts = [len(phrases.groups[key]) for key in keys]
    return enumeration(
        [a(phrase(k)) if n == 1 else f"{NUMBERS[n]} {phrase(k, many=True)}" for k, n in zip(keys, counts)]
    )
