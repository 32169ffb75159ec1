# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions about one thing or one description: existence, count, colour, shape, size, material."""

from collections.abc import Callable, Sequence

from data_pipelines.world import naming
from data_pipelines.world.draws import Draws
from data_pipelines.world.phrases import (
    ANYTHING,
    COLOUR,
    MATERIAL,
    NOUNS,
    SHAPE,
    SIZE,
    Key,
    Phrases,
    a,
    description,
    only,
    phrase,
    weighted,
)

Asked = tuple[str, str, str]  # wording, text, answer
Form = Callable[[Phrases, Draws], Asked | None]  # None: this draw found no such question in the scene

_TRIES = 6
_TOTAL = 0.15  # share of counting questions that count all things
_LENGTHS = (1, 1, 2, 2, 3, 4)  # words of a description that may be absent


def ask(d: Draws, wordings: Sequence[str], answer: str, **words: str) -> Asked:
    """The question in one of its wordings."""
    wording = d.choice(wordings)
    return wording, wording.format(**words), answer


def existence(phrases: Phrases, d: Draws) -> Asked | None:
    key = phrases.some(d, d.integer(0, len(phrases.things) - 1), _LENGTHS)
    if (absent := phrases.absent(d, key)) is None:
        return None
    answer = d.choice(("yes", "no"))
    named = a(phrase(key if answer == "yes" else absent, d.choice(NOUNS)))
    return ask(d, ("Is there {a}?", "Can you see {a}?", "Does the picture show {a}?"), answer, a=named)


def count(phrases: Phrases, d: Draws) -> Asked | None:
    wordings = ("How many {a} are there?", "How many {a} can you see?", "What is the number of {a}?")
    noun = d.choice(NOUNS)
    if d.chance(_TOTAL):
        return ask(d, wordings, str(len(phrases.things)), a=phrase(ANYTHING, noun, many=True))
    key = phrases.some(d, d.integer(0, len(phrases.things) - 1), (1, 1, 1, 2))
    if (absent := phrases.absent(d, key)) is None:
        return None
    alike = [tuple([v if k else None for v, k in zip(description(thing), key)]) for thing in phrases.things]
    options: dict[int, list[Key]] = {0: [absent]}
    for k in dict.fromkeys(alike):
        options.setdefault(len(phrases.groups[k]), []).append(k)
    number = weighted(d, list(options), [max(2, 1 + n * n) for n in options])  # more than one is rare
    return ask(d, wordings, str(number), a=phrase(d.choice(options[number]), noun, many=True))


# ------------------------------------------------------------------------------------------------------- attributes
_WORDINGS = {
    COLOUR: ("What colour is {a}?", "What is the colour of {a}?", "Which colour does {a} have?"),
    SHAPE: ("What shape is {a}?", "What is the shape of {a}?", "Which shape does {a} have?"),
    SIZE: ("What size is {a}?", "How big is {a}?", "Is {a} {options}?"),
    MATERIAL: ("What pattern does {a} have?", "What does the surface of {a} look like?", "Is {a} {options}?"),
}


def _attribute(phrases: Phrases, d: Draws, field: int, name: str, i: int) -> Asked:
    *most, last = phrases.values[field]
    options = f"{', '.join(most)} or {last}"
    return ask(d, _WORDINGS[field], description(phrases.things[i])[field], a=f"the {name}", options=options)


def attribute(field: int) -> Form:
    """'What colour is the small circle?'"""

    def form(phrases: Phrases, d: Draws) -> Asked | None:
        by_answer: dict[str, list[int]] = {}
        for i in phrases.named(field):
            by_answer.setdefault(description(phrases.things[i])[field], []).append(i)
        if not by_answer:
            return None
        i = d.choice(by_answer[d.choice(tuple(by_answer))])
        return _attribute(phrases, d, field, phrases.called(d, i, field), i)

    return form


def placed(field: int) -> Form:
    """'What colour is the leftmost circle?' 'What colour is the thing above the ring?'"""

    def form(phrases: Phrases, d: Draws) -> Asked | None:
        answer = d.choice(tuple(dict.fromkeys(description(thing)[field] for thing in phrases.things)))
        for _ in range(_TRIES):
            by_place = d.chance(0.5)
            name = (naming.superlative if by_place else naming.relative)(phrases, d, without=field)
            if name and description(phrases.things[name.things[0]])[field] == answer:
                return _attribute(phrases, d, field, name.text, name.things[0])
        return None

    return form


def which(field: int) -> Form:
    """'Which is in the picture, a circle or a square?'"""

    def form(phrases: Phrases, d: Draws) -> Asked | None:
        here = [v for v in phrases.values[field] if only(field, v) in phrases.groups]
        absent = [v for v in phrases.values[field] if v not in here]
        if not absent:
            return None
        answer, other = d.choice(here), weighted(d, absent, [phrases.rate(field, v) for v in absent])
        first, second = d.shuffled((answer, other))
        if field == SHAPE:
            first, second = a(first), a(second)
        else:
            first, second = f"something {first}", f"something {second}"
        return ask(d, ("Which is in the picture, {a} or {b}?",), answer, a=first, b=second)

    return form


def background(phrases: Phrases, d: Draws) -> Asked:
    return ask(d, ("What colour is the background?",), phrases.scene.ground.colour)
