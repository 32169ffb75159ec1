# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Names by place, extent or relation: 'the leftmost circle', 'the thing left of the red square'."""

import dataclasses

from data_pipelines.world.draws import Draws
from data_pipelines.world.phrases import NOUNS, SIZE, Phrases, phrase
from data_pipelines.world.relations import EXTENTS, PLACES, SIDES, extreme, holds

_TRIES = 8


@dataclasses.dataclass(frozen=True)
class Name:
    """text: without an article, 'leftmost circle'; things: what 'the' or 'all' before it denotes."""

    text: str
    things: tuple[int, ...]


def superlative(phrases: Phrases, d: Draws, without: int | None = None) -> Name | None:
    """One of several things by place or extent, without a word for the field `without`; None: no one stands out."""
    words = (*PLACES, *EXTENTS) if without != SIZE else tuple(PLACES)
    for key in d.shuffled([k for k, group in phrases.groups.items() if len(group) > 1]):
        if without is None or key[without] is None:
            found = [(word, extreme(phrases.things, phrases.groups[key], word)) for word in words]
            if options := [(word, i) for word, i in found if i is not None]:
                word, i = d.choice(options)
                return Name(f"{word} {phrase(key, d.choice(NOUNS))}", (i,))
    return None


def relative(phrases: Phrases, d: Draws, number: str = "one", without: int | None = None) -> Name | None:
    """Things by their side of another that has a name; `number` of them: none, one or several.

    Every thing that the words before the side describe lies on that side or, by the margin, on the opposite one. Those
    words leave out the field `without`. None where a few draws found no such name.
    """
    named = phrases.named()
    if not named or len(phrases.things) < 2:
        return None
    for _ in range(_TRIES):
        j, side = d.choice(named), d.choice(tuple(SIDES))
        there = [None if k == j else holds(thing, side, phrases.things[j]) for k, thing in enumerate(phrases.things)]
        wanted = [k for k, is_there in enumerate(there) if is_there is (number != "none")]
        if not wanted:
            continue
        options = [k for k in phrases.keys(d.choice(wanted), without) if _number(phrases.groups[k], there, j) == number]
        if options:
            key = d.choice(options)
            words = phrase(key, d.choice(NOUNS), many=number == "several")
            return Name(f"{words} {side} the {phrases.called(d, j)}", tuple(k for k in phrases.groups[key] if there[k]))
    return None


def _number(group: list[int], there: list[bool | None], j: int) -> str | None:
    """How many of a group lie there; None where one is undecided."""
    standing = [there[k] for k in group if k != j]
    return None if None in standing else ("none", "one", "several")[min(2, sum(map(bool, standing)))]
