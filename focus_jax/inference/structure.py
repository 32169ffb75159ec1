# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which ids may be said where: words by one mask, an image position by position by a table of ranges.

A row's automaton is one number: 0 among words, p at the p-th position of an image. Saying <start_of_image> enters the
table, its end leads back to words; nothing else depends on what was said.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.struct
import numpy as np

from focus_jax.errors import UserError
from focus_jax.sequence import vocabulary as vocab
from focus_jax.sequence.layout import Laid, Role, Sizes, Writer
from focus_jax.sequence.vocabulary import Vocabulary

WORDS, SEMANTIC, PIXEL = range(3)  # kinds of positions; each has sampling settings of its own
KINDS = 3
BEGIN = 1  # the position of <start_of_image>: a row that is put there draws


@flax.struct.dataclass
class Structure:
    """Arrays only, so that another structure of these sizes is no other program.

    words: bool [V], what may be said outside an image. ends: bool [V], what ends an answer there. image: int32 [], the
    id that leads into the table, -1 = none. low, high: int32 [P], at position p the ids low[p] to high[p] - 1 may be
    said; kind: int32 [P]; all three mean nothing at 0 and behind `last`, int32 [], the last position of an image. code:
    int32 [P], the number of the code that is said there, as of sequence.layout.Writer.target, -1 of none.
    """

    words: np.ndarray
    ends: np.ndarray
    image: np.ndarray
    low: np.ndarray
    high: np.ndarray
    kind: np.ndarray
    code: np.ndarray
    last: np.ndarray


def bucket(count: int, least: int = 1) -> int:
    """The smallest size of 1, 2, 4, 6, 8, 12, 16, 24, ... (powers of two and what lies between two) that holds count.

    Whatever is rounded up so meets few programs: prompts, slots of a cache, options.
    """
    count = max(count, least)
    power = 1 << (count - 1).bit_length()
    return power * 3 // 4 if power >= 4 and count <= power * 3 // 4 else power


def words_only(rows: int, allowed: Sequence[range], ends: Sequence[int]) -> Structure:
    """Answers without images. rows: of the embedding, V; allowed: blocks of ids; ends: ids that end an answer."""
    words, stop = np.zeros(rows, bool), np.zeros(rows, bool)
    for block in allowed:
        words[block.start : block.stop] = True
    stop[list(ends)] = True
    none = np.zeros(1, np.int32)
    return Structure(words, stop, np.int32(-1), none, none, none, none - 1, np.int32(0))


def answers(vocabulary: Vocabulary, sizes: Sizes | None = None, stops: Sequence[str] = ()) -> Structure:
    """Answers in text mode that end at <|im_end|>, or at a further special token of `stops`, such as <|seg|>.

    sizes: of the bucket whose images may be drawn, the same for all rows; None: <start_of_image> may not be said.
    Raises: UserError for a stop that is no special token.
    """
    if unknown := [name for name in stops if name not in vocabulary.special]:
        raise UserError(f"stops: {unknown[0]!r} is no special token, expected a name such as {vocab.SEG}.")
    ends = [vocabulary.special[name] for name in (vocab.END, *stops)]
    image = vocabulary.special[vocab.IMAGE]
    found = words_only(vocabulary.padded, vocabulary.text_mode, ends)
    if sizes is None:
        found.words[image] = False
        return found
    # The order is the layout's own, of an image of all first and of one of all last codes.
    laid = _image(vocabulary, sizes, 0, 0)
    first = laid.ids
    last = _image(vocabulary, sizes, len(vocabulary.semantic) - 1, len(vocabulary.pixel) - 1).ids
    code = np.where(laid.roles == Role.TARGET, laid.features, -1)
    kind = np.select([np.isin(first, block) for block in (vocabulary.semantic, vocabulary.pixel)], (SEMANTIC, PIXEL))
    pad = bucket(1 + len(first)) - 1 - len(first)
    padded = lambda x, value=0: np.pad(x.astype(np.int32), (1, pad), constant_values=value)
    return found.replace(
        image=np.int32(image), low=padded(first), high=padded(last + 1), kind=padded(kind), code=padded(code, -1),
        last=np.int32(len(first)),
    )  # fmt: skip


def _image(vocabulary: Vocabulary, sizes: Sizes, semantic: int, pixel: int) -> Laid:
    """An image that has one code everywhere, without its resolution; it has no words to tokenize."""
    grids = np.full(sizes.semantic, semantic), np.full(sizes.pixel, pixel)
    return Writer(vocabulary, None, sizes).target(*grids).done()
