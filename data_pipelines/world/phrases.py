# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Noun phrases: which things of a scene a description matches, and descriptions that match none."""

import functools
import itertools
from collections.abc import Sequence
from typing import TypeVar

from data_pipelines.world import relations
from data_pipelines.world.draws import Draws
from data_pipelines.world.scenes import Scene, Thing
from data_pipelines.world.vocabulary import OPEN_PAIRS, PRESETS, preset

T = TypeVar("T")
FIELDS = ("size", "material", "colour", "shape")  # in the order in which a phrase names them
SIZE, MATERIAL, COLOUR, SHAPE = range(4)
FIELD_WORDS = ("size", "pattern", "colour", "shape")  # what texts call them
Key = tuple[str | None, ...]  # one value or None (not named) a field
ANYTHING: Key = (None, None, None, None)
NOUNS = ("thing", "object")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_TRIES = 10  # draws of an absent description before its neighbours are listed


@functools.cache
def values(preset_name: str) -> tuple[tuple[str, ...], ...]:
    """The values of each of FIELDS that a preset varies; () where it has one only, which no text then mentions."""
    p = preset(preset_name)
    return tuple(v if len(v) > 1 else () for v in (p.sizes, p.materials, p.colours, p.shapes))


@functools.cache
def fields(preset_name: str) -> tuple[int, ...]:
    """Positions in FIELDS that a preset varies."""
    return tuple(f for f in range(4) if values(preset_name)[f])


@functools.cache
def _subsets(preset_name: str) -> tuple[tuple[bool, ...], ...]:
    options = [(False, True) if v else (False,) for v in values(preset_name)]
    return tuple(itertools.product(*options))


@functools.cache
def pairs(preset_name: str) -> tuple[tuple[str, str], ...]:
    """(shape, colour) that every split may name."""
    p = PRESETS[preset_name]
    return tuple(pair for pair in itertools.product(p.shapes, p.colours) if pair not in OPEN_PAIRS)


@functools.cache
def rate(preset_name: str, things: int, field: int, value: str | None, is_open: bool) -> float:
    """How often one of so many things has the value, next to the field's other values."""
    if field not in (COLOUR, SHAPE):
        return 1.0
    common = sum(value in pair for pair in pairs(preset_name)) / len(pairs(preset_name))
    first = sum(value in pair for pair in OPEN_PAIRS) / len(OPEN_PAIRS) if is_open else common
    return (first + (things - 1) * common) / things


def weighted(d: Draws, options: Sequence[T], weights: Sequence[float]) -> T:
    """One of the options, with chances in proportion to the weights."""
    at = d.random() * sum(weights)
    for option, weight in zip(options, weights):
        at -= weight
        if at < 0:
            return option
    return options[-1]


def description(thing: Thing) -> tuple[str, ...]:
    """All that a phrase can say of a thing: its value of each of FIELDS."""
    return thing.size, thing.material, thing.colour, thing.shape


def only(field: int, value: str) -> Key:
    """The description that names one field."""
    return tuple([value if f == field else None for f in range(4)])


def phrase(key: Key, noun: str = "thing", *, many: bool = False) -> str:
    """'small red circle', 'red things': the words of a description, `noun` where it names no shape."""
    *adjectives, shape = key
    word = shape or noun
    if many:
        word += "es" if word.endswith("s") else "s"
    return " ".join([a for a in adjectives if a] + [word])


def a(words: str) -> str:
    """'a red circle', 'an orange circle'."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def enumeration(parts: Sequence[str]) -> str:
    """'one, two and three'."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


class Phrases:
    """What the things of one scene can be called. Made once a scene, it serves any number of texts.

    groups: description -> the things that match it, for every description that matches any.
    """

    def __init__(self, scene: Scene):
        self.scene, self.things = scene, scene.things
        self.is_open = scene.split == "open"
        self.values, self.fields = values(scene.preset), fields(scene.preset)
        self.groups: dict[Key, list[int]] = {}
        self._keys: list[list[Key]] = []
        for i, thing in enumerate(scene.things):
            full = description(thing)
            keys = [tuple([v if named else None for v, named in zip(full, s)]) for s in _subsets(scene.preset)]
            for key in keys:
                self.groups.setdefault(key, []).append(i)
            self._keys.append(keys)

    @functools.cached_property
    def covered(self) -> dict[tuple[int, int], float]:
        """(nearer, farther) -> hidden share (relations.covered)."""
        return relations.covered(self.things)

    def keys(self, i: int, without: int | None = None) -> list[Key]:
        """All descriptions of things[i], without those that name the field `without`."""
        return self._keys[i] if without is None else [k for k in self._keys[i] if k[without] is None]

    def whole(self, i: int) -> Key:
        """The description of things[i] that names all fields the preset varies."""
        return self._keys[i][-1]

    def unique(self, i: int, without: int | None = None) -> list[Key]:
        """Descriptions that match things[i] alone."""
        return [k for k in self.keys(i, without) if len(self.groups[k]) == 1]

    def name(self, d: Draws, i: int, without: int | None = None) -> Key | None:
        """One of `unique`: half of the time one of the shortest, else any; None where there is none."""
        keys = self.unique(i, without)
        if not keys:
            return None
        if d.chance(0.5):
            lengths = [_length(k) or len(FIELDS) for k in keys]  # 'the thing' names nothing
            keys = [k for k, length in zip(keys, lengths) if length == min(lengths)]
        return d.choice(keys)

    def named(self, without: int | None = None) -> list[int]:
        """Things that have a name: a description that matches them alone."""
        return [i for i in range(len(self.things)) if self.unique(i, without)]

    def called(self, d: Draws, i: int, without: int | None = None) -> str:
        """The name of one of `named`, in words without an article."""
        key = self.name(d, i, without)
        assert key is not None, f"things[{i}] has no name"
        return phrase(key, d.choice(NOUNS))

    def some(self, d: Draws, i: int, lengths: Sequence[int]) -> Key:
        """A description of things[i] that names one of `lengths` fields, at most all the preset has."""
        length = min(d.choice(lengths), len(self.fields))
        return d.choice([k for k in self._keys[i] if _length(k) == length])

    def absent(self, d: Draws, key: Key) -> Key | None:
        """A description of the same fields that matches nothing; half of the time it differs from `key` in one word.

        Over scenes each such description comes about as often as it matches something, so that its words tell nothing.
        It names one of OPEN_PAIRS only in the split `open`, and there in place of the other. None: there is no such.
        """
        if (key[SHAPE], key[COLOUR]) in OPEN_PAIRS:
            shape, colour = OPEN_PAIRS[1 - OPEN_PAIRS.index((key[SHAPE], key[COLOUR]))]  # type: ignore[arg-type]
            other = (*key[:COLOUR], colour, shape)
            if other not in self.groups:
                return other
        named = [f for f in self.fields if key[f] is not None]
        if len(named) > 1 and d.chance(0.5):
            for _ in range(_TRIES):
                far = self._redrawn(d, named)
                if far not in self.groups:
                    return far
        for field in d.shuffled(named):
            near = [(*key[:field], v, *key[field + 1 :]) for v in self.values[field]]
            near = [k for k in near if k not in self.groups and (k[SHAPE], k[COLOUR]) not in OPEN_PAIRS]
            if near:
                both = key[SHAPE] and key[COLOUR]
                return weighted(d, near, [1.0 if both else self.rate(field, k[field]) for k in near])
        return None

    def _redrawn(self, d: Draws, named: Sequence[int]) -> Key:
        words: list[str | None] = [d.choice(v) if v else None for v in self.values]
        words[SHAPE], words[COLOUR] = d.choice(pairs(self.scene.preset))
        if self.is_open and not (SHAPE in named and COLOUR in named) and d.chance(1 / len(self.things)):
            words[SHAPE], words[COLOUR] = d.choice(OPEN_PAIRS)
        return tuple([word if f in named else None for f, word in enumerate(words)])

    def rate(self, field: int, value: str | None) -> float:
        """How often a thing of such a scene has the value, next to the field's other values."""
        return rate(self.scene.preset, len(self.things), field, value, self.is_open)


def _length(key: Key) -> int:
    return 4 - key.count(None)
