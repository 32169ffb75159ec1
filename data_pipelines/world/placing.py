# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions whose answers are places, or what is found there: lessons for a language model, not part of questions.py.

A yes or no about a place is as good as a coin until both the place and the comparison are learnt. To say where a thing
lies, or what lies beside it, needs the place alone, and teaches it (stage 0 of the language model).
"""

import itertools

from data_pipelines.world.asking import Asked, ask
from data_pipelines.world.draws import Draws
from data_pipelines.world.phrases import Phrases, phrase
from data_pipelines.world.relations import HALVES, SIDES, holds, in_half

NOTHING = "nothing"


def places(phrases: Phrases, d: Draws) -> list[Asked]:
    """(wording, text, answer): where each thing with a name lies, what lies beside it on each side where one thing
    does, and once where nothing does. In an order that is drawn."""
    named = phrases.named()
    where = [_where(phrases, d, i) for i in named]
    beside = [_beside(phrases, d, i, side) for i, side in d.shuffled(list(itertools.product(named, SIDES)))]
    found = [one for one in beside if one is not None]
    empty = [one for one in found if one[2] == NOTHING][:1]
    return d.shuffled([one for one in where if one is not None] + [one for one in found if one[2] != NOTHING] + empty)


def _where(phrases: Phrases, d: Draws, i: int) -> Asked | None:
    """'Where is the red circle?' 'upper left'; of a half that is not clear nothing is said."""
    halves = [half for half in HALVES if in_half(phrases.things[i], half)]
    if not halves:
        return None
    return ask(d, ("Where is the {a}?", "Where does the {a} lie?"), " ".join(halves[::-1]), a=phrases.called(d, i))


def _beside(phrases: Phrases, d: Draws, i: int, side: str) -> Asked | None:
    """'What is left of the square?' 'small red circle'; None for several things and where one may or may not lie."""
    there = {k: holds(thing, side, phrases.things[i]) for k, thing in enumerate(phrases.things) if k != i}
    hits = [k for k, found in there.items() if found]
    if None in there.values() or len(hits) > 1:
        return None
    answer = phrase(phrases.whole(hits[0])) if hits else NOTHING
    return ask(d, ("What is {side} the {a}?", "What lies {side} the {a}?"), answer, side=side, a=phrases.called(d, i))
