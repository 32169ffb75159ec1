# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions with answers of one word, balanced by construction: who sees the text alone learns next to nothing.

The answer is drawn before the things it is about, and what a text names is drawn alike for every answer to it. Each
type has forms that any scene allows, so that types come in equal shares however few things there are.
"""

import dataclasses
from collections.abc import Sequence

from data_pipelines.errors import DataError
from data_pipelines.world import asking, comparing
from data_pipelines.world.asking import Form, attribute, placed, which
from data_pipelines.world.draws import Draws
from data_pipelines.world.phrases import COLOUR, MATERIAL, SHAPE, SIZE, Phrases, values
from data_pipelines.world.scenes import Scene

TYPES = ("existence", "count", "colour", "shape", "size", "material", "relation", "comparison")
FORMS: dict[str, tuple[Form, ...]] = {  # tried in an order that is drawn; one that stands twice is first twice as often
    "existence": (asking.existence,),
    "count": (asking.count,),
    "colour": (attribute(COLOUR), attribute(COLOUR), placed(COLOUR), which(COLOUR), asking.background),
    "shape": (attribute(SHAPE), attribute(SHAPE), placed(SHAPE), which(SHAPE)),
    "size": (attribute(SIZE), attribute(SIZE), placed(SIZE), which(SIZE)),
    "material": (attribute(MATERIAL), attribute(MATERIAL), placed(MATERIAL), which(MATERIAL)),
    "relation": (
        comparing.is_on_side,
        comparing.is_on_side,
        comparing.which_side,
        comparing.anything,
        comparing.beside_another,
        comparing.in_front,
        comparing.in_the_half,
    ),
    "comparison": (
        comparing.more,
        comparing.as_many,
        comparing.is_larger,
        comparing.which_is_larger,
        comparing.same,
    ),
}
_TRIES = 20


@dataclasses.dataclass(frozen=True)
class Question:
    """template: the wording, with {a}, {b}, ... where the things are named; answer: one word, or a number in digits."""

    type: str
    template: str
    text: str
    answer: str


def types(preset_name: str) -> tuple[str, ...]:
    """The types that a preset has: no material where all things are plain. Raises: DataError for an unknown preset."""
    return _of(preset_name)


def questions(scene: Scene, d: Draws, count: int, types: Sequence[str] | None = None) -> list[Question]:
    """`count` questions about a scene, their types in equal shares: fewer than there are types are all different.

    A type of which the draws found no question gives way to existence, which every scene allows.

    Args:
      types: to draw from, None for all that the preset has.

    Raises: DataError for a type that the preset does not have.
    """
    possible = _of(scene.preset)
    chosen = possible if types is None else tuple(types)
    if not chosen or (unknown := [t for t in chosen if t not in possible]):
        named = repr(unknown[0]) if chosen else "none"
        raise DataError(
            f"world: question type {named} of preset {scene.preset}, expected some of {', '.join(possible)}."
        )
    phrases = Phrases(scene)
    out: list[Question] = []
    waiting: list[str] = []
    while len(out) < count:
        waiting = waiting or d.shuffled(chosen)
        out.append(_question(phrases, d, waiting.pop()))
    return out


def _of(preset_name: str) -> tuple[str, ...]:
    return tuple(t for t in TYPES if t != "material" or values(preset_name)[MATERIAL])


def _question(phrases: Phrases, d: Draws, type_: str) -> Question:
    for _ in range(_TRIES):
        for form in d.shuffled(FORMS[type_]):
            if (asked := form(phrases, d)) is not None:
                return Question(type_, *asked)
    return _question(phrases, d, "existence")
