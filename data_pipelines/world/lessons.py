# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a language model learns first to answer questions, in stage 0; none of it is asked in questions.py but `pairs`.

A yes or no about a place is as good as a coin until both the place and the comparison are learnt. To say where a thing
lies, or what lies beside it, needs the place alone, and teaches it. To say how far apart two things lie needs both, and
who knows one of them already guesses better than a coin. Each lesson gives (wording, text, answer) in an order that is
drawn.
"""

import itertools

from data_pipelines.world import comparing, naming
from data_pipelines.world.asking import Asked, ask, attribute, placed
from data_pipelines.world.draws import Draws
from data_pipelines.world.phrases import COLOUR, SHAPE, SIZE, Phrases, phrase
from data_pipelines.world.relations import HALVES, MARGIN, SIDES, holds, in_half
from data_pipelines.world.vocabulary import CANVAS

NOTHING = "nothing"
EDGES = {
    "left": "right of",
    "right": "left of",
    "upper": "below",
    "lower": "above",
}  # edge -> which side of it is inside


def places(phrases: Phrases, d: Draws) -> list[Asked]:
    """Where each thing with a name lies, what lies beside it on each side where one thing does, and once where nothing
    does."""
    named = phrases.named()
    where = [_where(phrases, d, i) for i in named]
    beside = [_beside(phrases, d, i, side) for i, side in d.shuffled(list(itertools.product(named, SIDES)))]
    found = [one for one in beside if one is not None]
    empty = [one for one in found if one[2] == NOTHING][:1]
    return d.shuffled([one for one in where if one is not None] + [one for one in found if one[2] != NOTHING] + empty)


def pairs(phrases: Phrases, d: Draws) -> list[Asked]:
    """Questions of the forms that need two things, each twice where the scene allows it, and one that compares numbers.

    Few scenes allow them, so that among all forms they come up too seldom to be learnt.
    """
    forms = (
        comparing.is_larger,
        comparing.which_is_larger,
        comparing.same,
        comparing.which_side,
        comparing.beside_another,
    )
    asked = [form(phrases, d) for form in d.shuffled([*forms, *forms, comparing.more])]
    return [one for one in asked if one is not None]


def descriptions(phrases: Phrases, d: Draws) -> list[Asked]:
    """What stands out by place or extent, or lies beside something: all its words, and single ones; and the shape of
    something by another name."""
    whole = [_described(phrases, d, naming.superlative(phrases, d)) for _ in range(2)]
    whole.append(_described(phrases, d, naming.relative(phrases, d)))
    single = [form(phrases, d) for form in (placed(SHAPE), placed(SIZE), placed(COLOUR), attribute(SHAPE))]
    return d.shuffled([one for one in whole + single if one is not None])


def _described(phrases: Phrases, d: Draws, name: naming.Name | None) -> Asked | None:
    """'What is the leftmost circle?' 'small red circle'."""
    if name is None:
        return None
    return ask(d, ("What is the {a}?",), phrase(phrases.whole(name.things[0])), a=name.text)


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


def distances(phrases: Phrases, d: Draws) -> list[Asked]:
    """How far things with names lie from edges of the picture and from each other, in whole steps of MARGIN: of pairs
    those on the side that is asked, and half as many that are not ("0")."""
    named = phrases.named()
    edges = [_from_edge(phrases, d, i, edge) for i, edge in d.shuffled(list(itertools.product(named, EDGES)))]
    pairs = d.shuffled(list(itertools.product(itertools.permutations(named, 2), SIDES)))
    there = [p for p in pairs if holds(phrases.things[p[0][0]], p[1], phrases.things[p[0][1]])]
    other = [p for p in pairs if holds(phrases.things[p[0][0]], p[1], phrases.things[p[0][1]]) is False]
    asked = there + other[: len(there) // 2]
    return d.shuffled(edges[: max(2, len(asked) // 3)] + [_apart(phrases, d, i, j, side) for (i, j), side in asked])


def _from_edge(phrases: Phrases, d: Draws, i: int, edge: str) -> Asked:
    """'How far is the red circle from the left edge?' '5'."""
    axis, sign = SIDES[EDGES[edge]]
    at = phrases.things[i].x if axis == 0 else phrases.things[i].y
    steps = int((at if sign > 0 else CANVAS - at) / MARGIN)
    return ask(d, ("How far is the {a} from the {edge} edge?",), str(steps), a=phrases.called(d, i), edge=edge)


def _apart(phrases: Phrases, d: Draws, i: int, j: int, side: str) -> Asked:
    """'How far is the red circle left of the square?' '2'; '0' where it is on the other side."""
    axis, sign = SIDES[side]
    a, b = phrases.things[i], phrases.things[j]
    steps = max(int(sign * (a.x - b.x if axis == 0 else a.y - b.y) / MARGIN), 0)
    wordings = ("How far is the {a} {side} the {b}?", "How far does the {a} lie {side} the {b}?")
    return ask(d, wordings, str(steps), side=side, a=phrases.called(d, i), b=phrases.called(d, j))
