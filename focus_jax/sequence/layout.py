# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What stands at each position of the language model's sequence (contract 5): a writer, packing, cutting.

Positions are written from left to right. Images that are looked at stand as in ILLUME+: frame tokens around rows of
continuous features of both levels; the adapter's queries follow their end. Labels are those of the next position and
never cross the end of an example, so that packed examples learn what they learn alone.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Sequence

import numpy as np

from focus_jax.errors import UserError
from focus_jax.sequence import vocabulary as vocab
from focus_jax.sequence.text import TextTokenizer
from focus_jax.sequence.vocabulary import Vocabulary

# What the conditions of an answer with masks are: a list of classes, an expression, marked regions.
KINDS = ("classes", "words", "regions")
IGNORE = -100  # label of a position that learns nothing


class Role(enum.IntEnum):
    """What a position's embedding is: a row of the embedding (TEXT, TARGET) or a vector from elsewhere."""

    TEXT = 0
    SEMANTIC = 1  # projected feature of the frozen tower
    PIXEL = 2  # projected feature of the pixel encoder
    QUERY = 3  # of the adapter
    REGION = 4  # pooled features of a region that a user marked
    MASK = 5  # learned; its hidden state becomes a query of the mask decoder
    TARGET = 6  # a code of an image that is to be drawn


Position = tuple[int, Role, int, int, bool]  # id, role, feature, condition, learn

PLACEHOLDERS = {
    Role.SEMANTIC: vocab.SEMANTIC,
    Role.PIXEL: vocab.PIXEL,
    Role.QUERY: vocab.QUERY,
    Role.REGION: vocab.REGION,
    Role.MASK: vocab.MASK,
}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is the same for all examples of a bucket: (h, w) of an image's features of both levels, how many queries of
    the adapter follow it, how many mask tokens an answer has. pixel_first: whether images stand pixel level first."""

    semantic: tuple[int, int]
    pixel: tuple[int, int]
    queries: int
    masks: int
    pixel_first: bool = False

    def count(self, role: Role) -> int:
        """Vectors of a role that one image (or, of masks, one answer) brings."""
        return {
            Role.SEMANTIC: self.semantic[0] * self.semantic[1],
            Role.PIXEL: self.pixel[0] * self.pixel[1],
            Role.QUERY: self.queries,
            Role.MASK: self.masks,
        }.get(role, 1)


@dataclasses.dataclass(frozen=True)
class Laid:
    """One example, or several packed into a row; all arrays [T].

    ids: of the vocabulary, of a vector from elsewhere its placeholder. roles: int8, of Role. features: which vector of
    the role, counted over the images (regions, answers) of the row; 0 for rows of the embedding. conditions: int32,
    0 = none, k = belongs to condition k. labels: what the position is to say next, or IGNORE. segments: 0 = padding.
    positions: inside the example. counts: how many (images, regions, conditions, answers with masks) it has.
    whole: (start, stop) of what must not be cut.
    """

    ids: np.ndarray
    roles: np.ndarray
    features: np.ndarray
    conditions: np.ndarray
    labels: np.ndarray
    segments: np.ndarray
    positions: np.ndarray
    counts: tuple[int, int, int, int]
    whole: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def learnt(self) -> int:
        """How many of its positions are learnt."""
        return int((self.labels != IGNORE).sum())

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What goes to the device, by name."""
        return {f.name: x for f in dataclasses.fields(self) if isinstance(x := getattr(self, f.name), np.ndarray)}


class Writer:
    """Writes one example from left to right.

    learn: whether the positions are to be said, that is, labels of those before them. condition: the number of the
    condition they belong to, 0 = none.
    """

    def __init__(self, vocabulary: Vocabulary, tokenizer: TextTokenizer, sizes: Sizes):
        self.vocabulary, self.tokenizer, self.sizes = vocabulary, tokenizer, sizes
        self._rows: list[Position] = []
        self._whole: list[tuple[int, int]] = []
        self._images = self._regions = self._conditions = self._answers = 0

    # ------------------------------------------------------------------------------------------------- words
    def text(self, text: str, *, learn: bool = False, condition: int = 0) -> Writer:
        return self._ids(self.tokenizer.encode(text), learn=learn, condition=condition)

    def special(self, name: str, *, learn: bool = False, condition: int = 0) -> Writer:
        return self._ids([self.vocabulary.special[name]], learn=learn, condition=condition)

    def condition(self) -> int:
        """The number of a new condition."""
        self._conditions += 1
        return self._conditions

    # ----------------------------------------------------------------------------------------------- vectors
    def image(self) -> Writer:
        """The next image that is looked at: frame, rows of features of both levels, the adapter's queries."""
        start, number = len(self._rows), self._images
        grids = (Role.SEMANTIC, self.sizes.semantic), (Role.PIXEL, self.sizes.pixel)
        self._framed(
            [[self._vectors(role, (number * h + row) * w, w) for row in range(h)] for role, (h, w) in grids],
            learn=False,
        )
        self._rows += self._vectors(Role.QUERY, number * self.sizes.queries, self.sizes.queries)
        self._images += 1
        return self._keep(start)

    def region(self, condition: int) -> Writer:
        """The next marked region."""
        self._rows += self._vectors(Role.REGION, self._regions, 1, condition)
        self._regions += 1
        return self

    def masks(self) -> Writer:
        """The mask tokens of an answer."""
        start = len(self._rows)
        self._rows += self._vectors(Role.MASK, self._answers * self.sizes.masks, self.sizes.masks)
        self._answers += 1
        return self._keep(start)

    def tags(self, height: int, width: int, *, learn: bool = False) -> Writer:
        """The resolution of an image in pixels."""
        return self._ids([self.vocabulary.height_tag(height), self.vocabulary.width_tag(width)], learn=learn)

    def target(self, semantic: np.ndarray, pixel: np.ndarray) -> Writer:
        """An image that is to be drawn, by its codes int [h, w] of both levels; all of it is learnt. Its codes are
        numbered from 0 as features, semantic codes first, so that others can be put in their places.

        Raises: UserError for a grid of another shape than the bucket's and for codes out of range.
        """
        start, count = len(self._rows), 0
        levels: list[list[list[Position]]] = []
        for level, (codes, grid) in enumerate(((semantic, self.sizes.semantic), (pixel, self.sizes.pixel))):
            if np.shape(codes) != grid:
                raise UserError(f"codes of level {level}: shape {list(np.shape(codes))}, expected {list(grid)}.")
            ids = self.vocabulary.code_id(level, codes).tolist()
            levels.append([])
            for row in ids:
                levels[-1].append([(i, Role.TARGET, count + k, 0, True) for k, i in enumerate(row)])
                count += len(row)
        return self._framed(levels, learn=True)._keep(start)

    # ---------------------------------------------------------------------------------------------- the result
    def done(self) -> Laid:
        """What was written."""
        ids, roles, features, conditions, learn = (np.array(x) for x in zip(*self._rows, strict=True))
        labels = np.full(len(ids), IGNORE, np.int32)
        labels[:-1] = np.where(learn[1:], ids[1:], IGNORE)
        length = len(ids)
        return Laid(
            ids.astype(np.int32),
            roles.astype(np.int8),
            features.astype(np.int32),
            conditions.astype(np.int32),
            labels,
            np.ones(length, np.int32),
            np.arange(length, dtype=np.int32),
            (self._images, self._regions, self._conditions, self._answers),
            tuple(self._whole),
        )

    def _ids(self, ids: Iterable[int], *, learn: bool, condition: int = 0) -> Writer:
        self._rows += [(i, Role.TEXT, 0, condition, learn) for i in ids]
        return self

    def _vectors(self, role: Role, first: int, count: int, condition: int = 0) -> list[Position]:
        i = self.vocabulary.special[PLACEHOLDERS[role]]
        return [(i, role, first + k, condition, False) for k in range(count)]

    def _framed(self, levels: Sequence[Sequence[list[Position]]], *, learn: bool) -> Writer:
        """An image's frame around the rows of both levels."""
        self.special(vocab.IMAGE, learn=learn)
        order = range(len(levels))
        for level in reversed(order) if self.sizes.pixel_first else order:
            self.special(vocab.LEVEL[level], learn=learn)
            for row in levels[level]:
                self._rows += row
                self.special(vocab.LINE_END, learn=learn)
            self.special(vocab.LEVEL_END[level], learn=learn)
        return self.special(vocab.IMAGE_END, learn=learn)

    def _keep(self, start: int) -> Writer:
        self._whole.append((start, len(self._rows)))
        return self


def cut(laid: Laid, length: int) -> Laid | None:
    """The first `length` positions; None where an image or the masks of an answer would be cut or nothing is learnt."""
    if len(laid) <= length:
        return laid
    if any(start < length < stop for start, stop in laid.whole):
        return None
    arrays = {name: x[:length].copy() for name, x in laid.arrays.items()}
    arrays["labels"][-1] = IGNORE  # what it would say is gone
    if (arrays["labels"] == IGNORE).all():
        return None
    whole = tuple(span for span in laid.whole if span[1] <= length)
    return Laid(**arrays, counts=laid.counts, whole=whole)


def pack(
    examples: Sequence[Laid],
    length: int,
    sizes: Sizes,
    pad: int,
    images: int | None = None,
    learnt: int | None = None,
) -> tuple[Laid, list[int]]:
    """Examples after each other in one row of `length` positions.

    pad: the id of padding. images, learnt: for how many pictures and learnt positions a row has room, None = any.
    Returns: the row, and the indices of the examples that did not fit; they are left out, the later ones still tried.
    """
    parts: list[dict[str, np.ndarray]] = []
    used, left, whole, total, learning = 0, [], [], np.zeros(4, int), 0
    most = tuple(math.inf if room is None else room for room in (length, images, learnt))
    for i, one in enumerate(examples):
        if any(n > m for n, m in zip((used + len(one), total[0] + one.counts[0], learning + one.learnt), most)):
            left.append(i)
            continue
        arrays = dict(one.arrays)
        seen, regions, conditions, answers = total
        before = {
            Role.SEMANTIC: seen,
            Role.PIXEL: seen,
            Role.QUERY: seen,
            Role.REGION: regions,
            Role.MASK: answers,
        }
        shift = np.array([before.get(role, 0) * sizes.count(role) for role in Role], np.int32)
        arrays["features"] = arrays["features"] + shift[arrays["roles"]]
        arrays["conditions"] = np.where(arrays["conditions"] > 0, arrays["conditions"] + conditions, 0).astype(np.int32)
        arrays["segments"] = np.full(len(one), len(parts) + 1, np.int32)
        parts.append(arrays)
        whole += [(used + start, used + stop) for start, stop in one.whole]
        used, total, learning = used + len(one), total + np.array(one.counts), learning + one.learnt
    rest = length - used
    fill = dict(ids=pad, roles=Role.TEXT, features=0, conditions=0, labels=IGNORE, segments=0, positions=0)
    kind = lambda name: np.int8 if name == "roles" else np.int32
    joined = {
        name: np.concatenate([*(part[name] for part in parts), np.full(rest, value, kind(name))])
        for name, value in fill.items()
    }
    seen, regions, conditions, answers = (int(n) for n in total)
    return Laid(**joined, counts=(seen, regions, conditions, answers), whole=tuple(whole)), left
