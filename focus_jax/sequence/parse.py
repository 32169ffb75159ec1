# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a model said: words, names, codes of an image. Malformed output gives what can be had and says what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from focus_jax.sequence import vocabulary as vocab
from focus_jax.sequence.layout import Sizes
from focus_jax.sequence.prompts import NOTHING, Codes
from focus_jax.sequence.text import TextTokenizer
from focus_jax.sequence.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Answer:
    """text: the words, stripped. names: those before <|seg|>, () for "none." and where nothing is segmented.
    segments: whether <|seg|> was said. size: (height, width) by the resolution tags, None without. codes: int32 [h, w]
    of both levels, None where a level has none. problems: what was not as it should be, () for a whole answer."""

    text: str
    names: tuple[str, ...]
    segments: bool
    size: tuple[int, int] | None
    codes: Codes | None
    problems: tuple[str, ...]


def parse(ids: Sequence[int], vocabulary: Vocabulary, tokenizer: TextTokenizer, sizes: Sizes) -> Answer:
    """Ids as a model said them, up to the first <|im_end|>; mask tokens among them count for nothing.

    A level with too few codes is filled up with its last one, one with too many is cut, as in ILLUME+'s demo.
    """
    special = vocabulary.special
    words: list[int] = []
    codes: tuple[list[int], list[int]] = [], []
    tags: dict[str, int] = {}
    problems: list[str] = []
    spoken, image, ended = None, False, False
    skipped = {special[vocab.MASK], *(special[name] for name in vocab.FRAME if name != vocab.IMAGE)}
    for i in ids:
        if i == special[vocab.END]:
            ended = True
            break
        if i in vocabulary.text:
            words.append(i)
        elif i == special[vocab.SEG]:
            spoken = len(words)
        elif i == special[vocab.IMAGE]:
            image = True
        elif i in vocabulary.semantic or i in vocabulary.pixel:
            level = 0 if i in vocabulary.semantic else 1
            codes[level].append(i - vocabulary.codes(level).start)
            image = True
        elif i in vocabulary.heights:
            tags["height"] = (vocabulary.heights.index(i) + 1) * vocabulary.tag_step
        elif i in vocabulary.widths:
            tags["width"] = (vocabulary.widths.index(i) + 1) * vocabulary.tag_step
        elif i not in skipped:
            problems.append(f"{vocabulary.name(i) if 0 <= i < vocabulary.padded else i} has no place in an answer")
    if not ended:
        problems.append("it does not end")
    drawn = None
    if image:
        semantic, pixel = _grid(0, codes[0], sizes.semantic, problems), _grid(1, codes[1], sizes.pixel, problems)
        drawn = None if semantic is None or pixel is None else (semantic, pixel)
    said = [] if spoken is None else names(tokenizer.decode(words[:spoken]))
    return Answer(
        text=tokenizer.decode(words).strip(),
        names=tuple(said),
        segments=spoken is not None,
        size=(tags["height"], tags["width"]) if len(tags) == 2 else None,
        codes=drawn,
        problems=tuple(dict.fromkeys(problems)),
    )


def names(text: str) -> list[str]:
    """ "person, dog." -> [person, dog]; "none." -> []."""
    found = [name.strip() for name in text.strip().removesuffix(".").split(",")]
    return [name for name in dict.fromkeys(found) if name and name != NOTHING]


def _grid(level: int, found: list[int], grid: tuple[int, int], problems: list[str]) -> np.ndarray | None:
    expected = grid[0] * grid[1]
    if len(found) != expected:
        problems.append(f"level {level} has {len(found)} codes, expected {expected}")
    if not found:
        return None
    return np.array((found + [found[-1]] * expected)[:expected], np.int32).reshape(grid)
