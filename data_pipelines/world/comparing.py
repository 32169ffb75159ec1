# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions about two things or two groups: relation and comparison. Order is drawn, so that it never tells."""

import itertools

from data_pipelines.world.asking import Asked, ask
from data_pipelines.world.draws import Draws
from data_pipelines.world.phrases import (
    FIELD_WORDS,
    NOUNS,
    SHAPE,
    SIZE,
    Phrases,
    a,
    description,
    only,
    phrase,
    weighted,
)
from data_pipelines.world.relations import HALVES, HIDDEN, OPPOSITE, SIDES, holds, in_half
from data_pipelines.world.vocabulary import SIZES, preset

_LENGTHS = (1, 1, 2, 3)  # words of a description that need not be a name


def _pairs(phrases: Phrases, without: int | None = None) -> list[tuple[int, int]]:
    """Pairs of things that both have a name, each once."""
    return list(itertools.combinations(phrases.named(without), 2))


# --------------------------------------------------------------------------------------------------------- relation
def _sides(phrases: Phrases, d: Draws) -> tuple[int, str, int] | None:
    """(i, side, j): things[i] is on that side of things[j]; each way of saying so alike."""
    things = phrases.things
    options = [(i, side, j) for i, j in _pairs(phrases) for side in SIDES if holds(things[i], side, things[j])]
    if not options:
        return None
    i, side, j = d.choice(options)
    return (i, side, j) if d.chance(0.5) else (j, OPPOSITE[side], i)


def is_on_side(phrases: Phrases, d: Draws) -> Asked | None:
    """'Is the red circle left of the square?'"""
    if (found := _sides(phrases, d)) is None:
        return None
    i, side, j = found
    answer = d.choice(("yes", "no"))
    words = {"a": phrases.called(d, i), "b": phrases.called(d, j), "side": side if answer == "yes" else OPPOSITE[side]}
    return ask(d, ("Is the {a} {side} the {b}?", "Does the {a} lie {side} the {b}?"), answer, **words)


def which_side(phrases: Phrases, d: Draws) -> Asked | None:
    """'Is the red circle above or below the square?'"""
    if (found := _sides(phrases, d)) is None:
        return None
    i, side, j = found
    wording = "Is the {a} left or right of the {b}?" if side.endswith("of") else "Is the {a} above or below the {b}?"
    return ask(d, (wording,), side.removesuffix(" of"), a=phrases.called(d, i), b=phrases.called(d, j))


def anything(phrases: Phrases, d: Draws) -> Asked | None:
    """'Is there anything above the ring?'; of a lone thing only where no half of the picture can be asked about."""
    things = phrases.things
    if len(things) == 1 and any(in_half(things[0], half) for half in HALVES):
        return None
    options: dict[str, list[tuple[int, str]]] = {"yes": [], "no": []}
    for i, side in itertools.product(phrases.named(), SIDES):
        there = [holds(thing, side, things[i]) for k, thing in enumerate(things) if k != i]
        if True in there:
            options["yes"].append((i, side))
        elif None not in there:
            options["no"].append((i, side))
    if not options["no"] or (not options["yes"] and len(things) > 1):
        return None
    fewest, most = preset(phrases.scene.preset).things
    lone = 1 / most if fewest == 1 else 0.0  # share of scenes of one thing; in its middle there is only `no` to ask for
    answer = "yes" if options["yes"] and d.chance(0.5 + 0.3 * lone) else "no"
    i, side = d.choice(options[answer])
    wordings = ("Is there anything {side} the {a}?", "Does anything lie {side} the {a}?")
    return ask(d, wordings, answer, side=side, a=phrases.called(d, i))


def beside_another(phrases: Phrases, d: Draws) -> Asked | None:
    """'Is there a circle left of another thing?' This needs no names, so things that look alike allow it as well."""
    things, side = phrases.things, d.choice(tuple(SIDES))
    standing = [{holds(t, side, other) for other in things if other is not t} for t in things]
    hits = [i for i, found in enumerate(standing) if True in found]
    misses = [i for i, found in enumerate(standing) if found == {False}]
    if not hits:
        return None
    key = phrases.some(d, d.choice(hits), _LENGTHS)
    other = phrases.some(d, d.choice(misses), _LENGTHS) if misses and d.chance(0.5) else None
    if other is None or any(i not in misses for i in phrases.groups[other]):
        other = phrases.absent(d, key)
    if other is None:
        return None
    answer, noun = d.choice(("yes", "no")), d.choice(NOUNS)
    wordings = ("Is there {a} {side} another thing?", "Does {a} lie {side} another thing?")
    return ask(d, wordings, answer, a=a(phrase(key if answer == "yes" else other, noun)), side=side)


def in_front(phrases: Phrases, d: Draws) -> Asked | None:
    """'Does the red circle cover part of the square?'"""
    if not (options := [pair for pair in _pairs(phrases) if phrases.covered.get(pair[::-1], 0.0) >= HIDDEN]):
        return None
    far, near = d.choice(options)
    answer = d.choice(("yes", "no"))
    i, j = (near, far) if answer == "yes" else (far, near)
    wordings = ("Does the {a} cover part of the {b}?", "Is the {a} in front of the {b}?")
    return ask(d, wordings, answer, a=phrases.called(d, i), b=phrases.called(d, j))


def in_the_half(phrases: Phrases, d: Draws) -> Asked | None:
    """'Is there a circle in the left half of the picture?'"""
    key = phrases.some(d, d.integer(0, len(phrases.things) - 1), _LENGTHS)
    options: dict[str, list[str]] = {"yes": [], "no": []}
    for half in HALVES:
        there = [in_half(phrases.things[k], half) for k in phrases.groups[key]]
        if True in there:
            options["yes"].append(half)
        elif None not in there:
            options["no"].append(half)
    if not options["yes"] or not options["no"]:
        return None
    answer = d.choice(("yes", "no"))
    wordings = ("Is there {a} in the {half} half of the picture?", "Can you see {a} in the {half} half of the picture?")
    return ask(d, wordings, answer, a=a(phrase(key, d.choice(NOUNS))), half=d.choice(options[answer]))


# ------------------------------------------------------------------------------------------------------- comparison
def _counts(phrases: Phrases, d: Draws) -> tuple[dict[str, int], dict[str, str], dict[str, float]]:
    """Of the values of one field: how many things have it, the words for them, how common it is in the world."""
    field, noun = d.choice([f for f in phrases.fields if f != SIZE]), d.choice(NOUNS)
    counts = {v: len(phrases.groups.get(only(field, v), ())) for v in phrases.values[field]}
    words = {v: phrase(only(field, v), noun, many=True) for v in counts}
    return counts, words, {v: phrases.rate(field, v) for v in counts}


def more(phrases: Phrases, d: Draws) -> Asked | None:
    """'Are there more circles than squares?', also where there are no squares."""
    counts, words, rates = _counts(phrases, d)
    if not (options := [(v, w) for v in counts for w in counts if counts[v] > counts[w]]):
        return None
    most, least = weighted(d, options, [rates[w] for _, w in options])
    answer = d.choice(("yes", "no"))
    wording = d.choice(("Are there more {a} than {b}?", "Are there fewer {a} than {b}?"))
    first, second = (most, least) if (answer == "yes") == ("more" in wording) else (least, most)
    return ask(d, (wording,), answer, a=words[first], b=words[second])


def as_many(phrases: Phrases, d: Draws) -> Asked | None:
    """'Are there as many circles as squares?', where both answers are possible."""
    counts, words, rates = _counts(phrases, d)
    options = {
        "yes": [(v, w) for v, w in itertools.combinations(counts, 2) if counts[v] == counts[w] > 0],
        "no": [(v, w) for v in counts for w in counts if counts[v] > counts[w]],
    }
    if not options["yes"] or not options["no"]:
        return None
    answer = d.choice(("yes", "no"))
    pair = weighted(d, options[answer], [rates[w] if answer == "no" else 1.0 for _, w in options[answer]])
    first, second = d.shuffled(pair)
    wordings = ("Are there as many {a} as {b}?", "Is the number of {a} equal to the number of {b}?")
    return ask(d, wordings, answer, a=words[first], b=words[second])


def is_larger(phrases: Phrases, d: Draws) -> Asked | None:
    """'Is the red circle larger than the square?'"""
    if not (options := [pair for pair in _pairs(phrases, SIZE) if _sizes_differ(phrases, pair)]):
        return None
    answer, word = d.choice(("yes", "no")), d.choice(("larger", "smaller"))
    larger, smaller = _by_size(phrases, d.choice(options))
    i, j = (larger, smaller) if (answer == "yes") == (word == "larger") else (smaller, larger)
    names = {"a": phrases.called(d, i, SIZE), "b": phrases.called(d, j, SIZE)}
    return ask(d, (f"Is the {{a}} {word} than the {{b}}?",), answer, **names)


def which_is_larger(phrases: Phrases, d: Draws) -> Asked | None:
    """'Which is larger, the red circle or the square?'"""
    things = phrases.things
    keys = [[k for k in phrases.unique(i, SIZE) if k[SHAPE]] for i in range(len(things))]
    pairs = itertools.combinations([i for i, k in enumerate(keys) if k], 2)
    options = [(i, j) for i, j in pairs if _sizes_differ(phrases, (i, j)) and things[i].shape != things[j].shape]
    if not options:
        return None
    pair, word = d.choice(options), d.choice(("larger", "smaller"))
    larger, smaller = _by_size(phrases, pair)
    first, second = [phrase(d.choice(keys[i])) for i in d.shuffled(pair)]
    answer = things[larger if word == "larger" else smaller].shape
    return ask(d, (f"Which is {word}, the {{a}} or the {{b}}?",), answer, a=first, b=second)


def _sizes_differ(phrases: Phrases, pair: tuple[int, int]) -> bool:
    return phrases.things[pair[0]].size != phrases.things[pair[1]].size


def _by_size(phrases: Phrases, pair: tuple[int, int]) -> list[int]:
    """The larger first."""
    return sorted(pair, key=lambda k: -SIZES.index(phrases.things[k].size))


def same(phrases: Phrases, d: Draws) -> Asked | None:
    """'Do the circle and the square have the same colour?', where both answers are possible."""
    field = d.choice(phrases.fields)
    value = lambda k: description(phrases.things[k])[field]
    pairs = _pairs(phrases, field)
    options = {
        "yes": [(i, j) for i, j in pairs if value(i) == value(j)],
        "no": [(i, j) for i, j in pairs if value(i) != value(j)],
    }
    if not options["yes"] or not options["no"]:
        return None
    answer = d.choice(("yes", "no"))
    i, j = d.shuffled(d.choice(options[answer]))
    names = {"a": phrases.called(d, i, field), "b": phrases.called(d, j, field)}
    wordings = (
        "Do the {a} and the {b} have the same {field}?",
        "Is the {field} of the {a} the same as that of the {b}?",
    )
    return ask(d, wordings, answer, field=FIELD_WORDS[field], **names)
