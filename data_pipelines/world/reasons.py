# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rules of reasoning expressions: what a text asks for follows from geometry, counting or common knowledge.

A rule gives every (text, things) that it finds in a scene, none where the answer could be disputed.
"""

import collections
import math
from collections.abc import Callable, Iterable

from data_pipelines.world import shapes
from data_pipelines.world.draws import Draws
from data_pipelines.world.phrases import FIELD_WORDS, NOUNS, NUMBERS, Phrases, description
from data_pipelines.world.relations import HIDDEN, MARGIN
from data_pipelines.world.vocabulary import CANVAS, CORNERS

Found = list[tuple[str, tuple[int, ...]]]

_FIT = 0.05  # share of the hole's radius by which a thing fits in or is too large
_TYPICAL = {  # something of a colour; next to a thing of the second colour it could be disputed
    "ripe tomatoes": ("red", ""),
    "fresh grass": ("green", ""),
    "a clear sky": ("blue", "cyan"),
    "a ripe lemon": ("yellow", ""),
    "an aubergine": ("purple", ""),
    "a carrot": ("orange", ""),
    "a flamingo": ("pink", ""),
}
_LIKE = {"a coin": "circle", "a chess board": "square", "a slice of pizza": "triangle", "a doughnut": "ring"}


def _text(things: Iterable[int], one: str, several: str) -> Found:
    """The answer under a text of its number; nothing where it is empty."""
    things = tuple(things)
    return [(one if len(things) == 1 else several, things)] if things else []


def _where(phrases: Phrases, condition: Callable) -> list[int]:
    return [i for i, thing in enumerate(phrases.things) if condition(thing)]


def most_corners(phrases: Phrases, d: Draws) -> Found:
    corners = [CORNERS[thing.shape] for thing in phrases.things]
    if min(corners) == max(corners):
        return []
    noun = d.choice(("shape", "thing"))
    found = []
    for word, extreme in (("most", max(corners)), ("fewest", min(corners))):
        things = [i for i, n in enumerate(corners) if n == extreme]
        found += _text(things, f"the {noun} with the {word} corners", f"the {noun}s with the {word} corners")
    return found


def exact_corners(phrases: Phrases, d: Draws) -> Found:
    noun, found = d.choice(("shape", "thing")), []
    for n in (3, 4, 12):  # of a star some count the tips only
        things = _where(phrases, lambda thing, n=n: CORNERS[thing.shape] == n)
        tail = f"with exactly {NUMBERS[n]} corners"
        found += _text(things, f"the {noun} {tail}", f"the {noun}s {tail}")
    return found


def rolls(phrases: Phrases, d: Draws) -> Found:
    things = _where(phrases, lambda thing: CORNERS[thing.shape] == 0)
    tail = d.choice(("that could roll", "without any corners"))
    return _text(things, f"the thing {tail}", f"the things {tail}")


def fits(phrases: Phrases, d: Draws) -> Found:
    rings = _where(phrases, lambda thing: thing.shape == "ring")
    if len(rings) != 1:
        return []
    hole = shapes.HOLE * phrases.things[rings[0]].radius
    needs = {i: shapes.reach(t.shape) * t.radius / hole for i, t in enumerate(phrases.things) if i != rings[0]}
    if any(abs(need - 1) < _FIT for need in needs.values()):
        return []
    fit, too_large = [i for i, need in needs.items() if need < 1], [i for i, need in needs.items() if need > 1]
    one, several = ("what would fit into the ring",) * 2
    if d.chance(0.5):
        one, several = "the thing that would fit into the ring", "the things that would fit into the ring"
    rest = "too large to fit into the ring"
    return _text(fit, one, several) + _text(too_large, f"the other thing {rest}", f"the other things {rest}")


def odd_one_out(phrases: Phrases, d: Draws) -> Found:
    if len(phrases.things) < 3:
        return []
    found: Found = []
    for f in phrases.fields:
        values = [description(thing)[f] for thing in phrases.things]
        (_, common), *rest = collections.Counter(values).most_common()
        if common == len(values) - 1:
            odd = next(i for i, v in enumerate(values) if v == rest[0][0])
            found.append((f"the odd one out in {FIELD_WORDS[f]}", (odd,)))
    return found


def covers(phrases: Phrases, d: Draws) -> Found:
    if any(share < HIDDEN for share in phrases.covered.values()):
        return []
    near = list(dict.fromkeys(near for near, _ in phrases.covered))
    far = list(dict.fromkeys(far for _, far in phrases.covered))
    tail = d.choice(("partly hidden", "partly covered"))
    return _text(near, "the thing that covers another", "the things that cover another") + _text(
        far, f"the thing that is {tail}", f"the things that are {tail}"
    )


def middle(phrases: Phrases, d: Draws) -> Found:
    away = [math.hypot(t.x - CANVAS / 2, t.y - CANVAS / 2) for t in phrases.things]
    found: Found = []
    noun = d.choice(NOUNS)
    for words, sign in (("nearest to", -1), ("farthest from", 1)):
        if (i := _first(range(len(away)), [sign * a for a in away])) is not None:
            found.append((f"the {noun} {words} the middle of the picture", (i,)))
    return found


def closest(phrases: Phrases, d: Draws) -> Found:
    """By the distance of centres and, so that sizes do not matter, by that of outlines as well."""
    found: Found = []
    if len(phrases.things) < 3:
        return found
    for j, b in enumerate(phrases.things):
        others = [i for i in range(len(phrases.things)) if i != j]
        centres = {i: -math.hypot(t.x - b.x, t.y - b.y) for i, t in enumerate(phrases.things)}
        first = _first(others, centres)
        gaps = {i: centres[i] + phrases.things[i].radius for i in others}
        if first is not None and first == max(others, key=gaps.__getitem__) and phrases.unique(j):
            found.append((f"the thing closest to the {phrases.called(d, j)}", (first,)))
    return found


def _first(among: Iterable[int], ahead) -> int | None:
    """The one with the largest `ahead`, None where the next is less than MARGIN behind or there is no next."""
    order = sorted(among, key=lambda i: ahead[i], reverse=True)
    return order[0] if len(order) > 1 and ahead[order[0]] - ahead[order[1]] >= MARGIN else None


def typical_colour(phrases: Phrases, d: Draws) -> Found:
    found = []
    for what, (colour, near) in _TYPICAL.items():
        if not _where(phrases, lambda thing, near=near: thing.colour == near):
            things = _where(phrases, lambda thing, colour=colour: thing.colour == colour)
            tail = f"that {{}} the colour of {what}"
            found += _text(things, f"the thing {tail.format('has')}", f"the things {tail.format('have')}")
    return found


def same_as(phrases: Phrases, d: Draws) -> Found:
    found: Found = []
    for j, thing in enumerate(phrases.things):
        for f in phrases.fields:
            things = _where(phrases, lambda t, f=f, v=description(thing)[f]: description(t)[f] == v)
            if len(things) > 1 and phrases.unique(j, f):
                tail = f"of the same {FIELD_WORDS[f]} as the {phrases.called(d, j, f)}"
                found += _text([i for i in things if i != j], f"the other thing {tail}", f"the other things {tail}")
    return found


def night_sky(phrases: Phrases, d: Draws) -> Found:
    things = _where(phrases, lambda thing: thing.shape == "star")
    return _text(things, "the shape you would draw for the night sky", "the shapes you would draw for the night sky")


def wheel(phrases: Phrases, d: Draws) -> Found:
    things = _where(phrases, lambda thing: thing.shape == "ring")
    return _text(things, "the wheel-like shape with a hole", "the wheel-like shapes with a hole")


def looks_like(phrases: Phrases, d: Draws) -> Found:
    found = []
    for what, shape in _LIKE.items():
        things = _where(phrases, lambda thing, shape=shape: thing.shape == shape)
        found += _text(things, f"the thing with the shape of {what}", f"the things with the shape of {what}")
    return found


Rule = Callable[[Phrases, Draws], Found]
RULES: tuple[Rule, ...] = (
    most_corners,
    exact_corners,
    rolls,
    fits,
    odd_one_out,
    covers,
    middle,
    closest,
    typical_colour,
    same_as,
    night_sky,
    wheel,
    looks_like,
)
