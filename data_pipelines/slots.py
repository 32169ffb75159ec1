# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A picture's place in a sequence filled with words instead of features: text slots, on which stage 0 learns to answer.

Every vector of a picture is a bag of words, whose embeddings are summed. A semantic cell says what has its centre in it
and how far from the middle of the picture: `left` three times in the first of four columns, four times in the outer
half of that column. An empty cell says the ground's colour, a pixel cell the colour at its centre; the queries say of
the things one by one what their cells say, in half of the examples. To project features onto such sums is a nearly
linear task.
"""

import functools

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Instance
from data_pipelines.world.examples import GROUND
from data_pipelines.world.vocabulary import COLOURS
from focus_jax.sequence.layout import Role, Sizes
from focus_jax.sequence.text import TextTokenizer

BAG = 24  # ids of a vector at most: two things in a corner of a picture of 4 x 4 cells
LISTED = 0.5  # share of the examples whose queries name the things


def vectors(sizes: Sizes) -> int:
    """How many vectors a picture has: semantic cells, pixel cells, queries."""
    return sum(sizes.count(role) for role in (Role.SEMANTIC, Role.PIXEL, Role.QUERY))


def bags(
    example: Example, image: int, sizes: Sizes, tokenizer: TextTokenizer, rng: np.random.Generator | None
) -> np.ndarray:
    """Ids of words, int32 [vectors, BAG], -1 = none. rng: draws whether the queries say anything; None: they do not.

    Raises: DataError for an example whose instances do not tell what there is, and for more things than a cell holds.
    """
    instances = [x for x in example.instances if x.frame == image]
    things = [x for x in instances if x.category != GROUND]
    ground = [x.attributes[0] for x in instances if x.category == GROUND and x.attributes]
    if not ground or any(x.box is None for x in things):
        raise DataError(f"{example.id}: its instances do not tell boxes and ground, expected the task panoptic.")
    size = example.images[image].width, example.images[image].height
    centres = np.array([_centre(x, size) for x in things]).reshape(-1, 2)
    (h, w), (ph, pw) = sizes.semantic, sizes.pixel
    cells: list[list[str]] = [[] for _ in range(h * w)]
    whole = []  # what is said of each thing
    for thing, (x, y) in zip(things, centres):
        whole.append([*_words(thing), *_far(x, w, "left", "right"), *_far(y, h, "upper", "lower")])
        cells[min(int(y * h), h - 1) * w + min(int(x * w), w - 1)] += whole[-1]
    colours = [_colour(things, size, (i % pw + 0.5) / pw, (i // pw + 0.5) / ph) or ground[0] for i in range(ph * pw)]
    listed = rng is not None and rng.random() < LISTED
    order = np.lexsort((centres[:, 0], centres[:, 1]))[: sizes.queries if listed else 0]
    named = [whole[k] for k in order]
    found = [cell or ground for cell in cells] + [[c] for c in colours] + named
    out = np.full((vectors(sizes), BAG), -1, np.int32)
    for k, words in enumerate(found):
        ids = [i for word in words for i in _ids(tokenizer, word)]
        if len(ids) > BAG:
            raise DataError(f"{example.id}: {len(ids)} words in one cell, expected at most {BAG}.")
        out[k, : len(ids)] = ids
    return out


def _centre(thing: Instance, size: tuple[int, int]) -> tuple[float, float]:
    """(x, y) in shares of the picture."""
    assert thing.box is not None
    x, y, width, height = thing.box
    return (x + width / 2) / size[0], (y + height / 2) / size[1]


def _far(at: float, cells: int, before: str, behind: str) -> list[str]:
    """How far a place (of 0..1) is from the middle of so many cells: one of the words for every half cell or part."""
    steps = min(int(at * 2 * cells), 2 * cells - 1) - cells
    return [before] * -steps if steps < 0 else [behind] * (steps + 1)


def _words(thing: Instance) -> list[str]:
    return [thing.category, *thing.attributes]


def _colour(things: list[Instance], size: tuple[int, int], x: float, y: float) -> str | None:
    """Colour of the thing whose box holds the place (of several the one whose centre is nearest), None for none."""
    inside = []
    for thing in things:
        assert thing.box is not None
        left, top, width, height = thing.box
        at, down = (x * size[0] - left) / width, (y * size[1] - top) / height
        if 0 <= at <= 1 and 0 <= down <= 1:
            inside.append((abs(at - 0.5) + abs(down - 0.5), next(a for a in thing.attributes if a in COLOURS)))
    return min(inside)[1] if inside else None


@functools.lru_cache(maxsize=1024)
def _ids(tokenizer: TextTokenizer, word: str) -> list[int]:
    return tokenizer.encode(f" {word}")
