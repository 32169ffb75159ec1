# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Conversations side by side: what was read stays in a cache between turns, what is said becomes text chunk by chunk.

    conversation = Conversation(model, params, vocabulary, tokenizer, rows=2)
    conversation.read(prompts, counts)                        # embeddings, with their images
    for texts in conversation.stream(structure, limit=256):   # new words of each row
        ...
    conversation.read(more, counts)                           # the next turn, or mask tokens, whose states come back

Shapes are rounded up (structure.bucket), so that prompts of other lengths meet the programs that are there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from focus_jax.inference import decode
from focus_jax.inference.structure import Structure, bucket
from focus_jax.models.qwen2 import Qwen2
from focus_jax.sequence.text import TextTokenizer
from focus_jax.sequence.vocabulary import Vocabulary

CHUNK = 16  # ids between two looks of the host
LEAST = 32  # the smallest bucket of prompts and slots
BROKEN = "\ufffd"  # what decodes to no whole character yet


@dataclasses.dataclass(frozen=True)
class Spoken:
    """An answer. ids: as said, the one that ended it with them; log_p: of each. text: of the text ids among them.
    ended: by an id that ends or a stop string; False: its limit came first.

    A stop string is cut off the text, and the id in which it begins and all behind it off the ids.
    """

    ids: tuple[int, ...]
    log_p: tuple[float, ...]
    text: str
    ended: bool


class Words:
    """The text of one answer as its ids come: whole characters, up to the first stop string.

    Of two stop strings the one that is complete first counts, so that the cut does not depend on how ids are dealt out.
    """

    def __init__(self, tokenizer: TextTokenizer, stops: Sequence[str] = ()):
        self.tokenizer, self.stops = tokenizer, stops
        self.ids: list[int] = []
        self.text, self.stopped = "", False  # what was given out

    def add(self, ids: Sequence[int], final: bool) -> str:
        """What the further ids add to the text that is certain; all of it where they are the last."""
        self.ids += ids
        text = self._decoded(len(self.ids))
        text = text if final else text.rstrip(BROKEN)
        found = [(at + len(stop), at) for stop in self.stops if (at := text.find(stop)) >= 0]
        if found:
            text, self.stopped = text[: min(found)[1]], True
        elif not final:
            text = text[: len(text) - self._held(text)]
        new, self.text = text[len(self.text) :], text
        return new

    def kept(self) -> int:
        """How many of the ids spell nothing behind the text."""
        return next(
            (n - 1 for n in range(1, len(self.ids) + 1) if len(self._decoded(n)) > len(self.text)), len(self.ids)
        )

    def _decoded(self, count: int) -> str:
        return self.tokenizer.decode([i for i in self.ids[:count] if i < self.tokenizer.size])

    def _held(self, text: str) -> int:
        """Length of the end of the text that may be the beginning of a stop string."""
        most = max(map(len, self.stops), default=1) - 1
        ends = (n for n in range(min(most, len(text)), 0, -1) if any(stop.startswith(text[-n:]) for stop in self.stops))
        return next(ends, 0)


class Conversation:
    """`rows` conversations of a Qwen2 with parameters `params`.

    guided: each has an unconditional prompt beside its own. slots: positions a row that the cache has room for from the
    start; it grows where that is not enough. state: on the device (decode.State). said: the answers so far, of every
    row since the last call of `say` or `stream`.
    """

    def __init__(
        self,
        model: Qwen2,
        params: Any,
        vocabulary: Vocabulary,
        tokenizer: TextTokenizer,
        rows: int,
        *,
        guided: bool = False,
        slots: int = 0,
    ):
        self.model, self.params, self.vocabulary, self.tokenizer = model, params, vocabulary, tokenizer
        self.rows, self.copies = rows, 1 + guided
        self.lengths = np.zeros(rows * self.copies, np.int32)  # as in the cache
        self.words: list[list[int]] = [[] for _ in range(rows)]  # text ids that were read or said, for the penalty
        self.said: list[Spoken] = []
        self.stale = np.ones(rows, bool)  # whose last position has no hidden state
        self.state = decode.begin(model, rows=rows, slots=bucket(slots, LEAST), guided=guided)

    @property
    def hidden(self) -> jax.Array:
        """[B, D], the hidden state of the position that was read or said last; of no meaning after a stop string."""
        return self.state.hidden[:: self.copies]

    def read(
        self,
        x: ArrayLike,
        counts: ArrayLike | None = None,
        *,
        unconditional: tuple[ArrayLike, ArrayLike] | None = None,
        ids: Sequence[Sequence[int]] | None = None,
    ) -> jax.Array:
        """Embeddings [B, T, D], of each row the first counts int [B] (None: all).

        Returns: hidden states [B, N, D], N the largest count rounded up; those behind a row's count mean nothing.

        A row of which something is read may speak again; one with count 0 stays as it is. unconditional: the same of
        the other prompts, where guided. ids: of the words among what is read, which the repetition penalty lowers.
        Raises: ValueError for another number of rows, and where `unconditional` is missing or not expected.
        """
        if (unconditional is not None) != (self.copies == 2):
            raise ValueError("unconditional: expected in a guided conversation, and in no other")
        given = [(x, counts)] if unconditional is None else [(x, counts), unconditional]
        given = [(jnp.asarray(a), np.full(self.rows, np.shape(a)[1]) if n is None else np.asarray(n)) for a, n in given]
        if any(len(a) != self.rows or len(n) != self.rows for a, n in given):
            raise ValueError(f"{[len(a) for a, _ in given]} rows, expected {self.rows} each")
        both = np.stack([n for _, n in given], axis=1).reshape(-1).astype(np.int32)
        length = bucket(int(both.max()), LEAST)
        self._reserve(int((self.lengths + both).max()))
        fitted = [jnp.pad(a[:, :length], ((0, 0), (0, max(0, length - a.shape[1])), (0, 0))) for a, _ in given]
        x = fitted[0] if self.copies == 1 else jnp.stack(fitted, axis=1).reshape(-1, *fitted[0].shape[1:])
        self.state, hidden = decode.read(self.model, self.params, self.state, x, both)
        self.lengths += both
        self.stale &= both[:: self.copies] == 0
        for row, new in zip(self.words, ids or [()] * self.rows, strict=True):
            row += new
        return hidden[:: self.copies]

    def say(self, structure: Structure, settings: decode.Sampling | None = None, **options: Any) -> list[Spoken]:
        """The answers of all rows; arguments as of `stream`."""
        for _ in self.stream(structure, settings, **options):
            pass
        return self.said

    def stream(
        self,
        structure: Structure,
        settings: decode.Sampling | None = None,
        *,
        limit: ArrayLike,
        stops: Sequence[str] = (),
        draw: ArrayLike = False,
        beside: jax.Array | None = None,
        chunk: int = CHUNK,
    ) -> Iterator[list[str]]:
        """Answers, chunk by chunk: each row's new text, whole characters only; joined it is the answer's text.

        Whoever stops listening leaves a conversation that can go on from what was said.

        Args:
          structure: which ids may be said where. settings: None = greedy.
          limit: ids that are said at most, a number or one a row; a row that ends by it goes on at the next call.
          stops: strings that end an answer and are not part of it.
          draw: whether an answer begins with an image, for all rows or each.
          beside: what is read beside its codes, as of decode.say.
          chunk: ids between two texts; it changes no answer.

        Raises: ValueError for an empty stop string, and where a structure without images is to draw.
        """
        if not all(stops):
            raise ValueError("stops: an empty string, expected text that ends an answer")
        if np.any(draw) and not structure.last:
            raise ValueError("draw: the structure has no images, expected one with the sizes of their grids")
        settings = decode.sampling(self.rows) if settings is None else settings
        limits = np.broadcast_to(np.asarray(limit, np.int32), self.rows)
        start = self.lengths.copy()
        self._reserve(int((start + np.repeat(limits, self.copies)).max()))
        seen = _padded(self.words, bucket(max(map(len, self.words)), LEAST), self.model.rows)
        self.state = decode.prepared(self.state, seen, np.broadcast_to(np.asarray(draw), self.rows))
        texts = [Words(self.tokenizer, stops) for _ in range(self.rows)]
        log_p: list[list[float]] = [[] for _ in range(self.rows)]
        before, over = [list(words) for words in self.words], np.zeros(self.rows, bool)
        while True:
            left = np.where(over, 0, limits - [len(text.ids) for text in texts]).astype(np.int32)
            self.state, found = decode.say(
                self.model, self.params, structure, settings, self.state, left, beside, steps=chunk
            )  # fmt: skip
            found, done = jax.device_get((found, self.state.done))
            self.lengths += np.repeat(found.counts, self.copies)
            new, cut = [], np.zeros(self.rows, bool)
            for b, text in enumerate(texts):
                count = found.counts[b]
                log_p[b] += found.log_p[b, :count].tolist()
                final = bool(done[b] or count == left[b])
                new.append("" if over[b] else text.add(found.ids[b, :count].tolist(), final))
                cut[b] = text.stopped and not over[b]
                over[b] |= final or text.stopped
            self._cut_back(cut, start, texts)
            self.said = [
                Spoken(tuple(text.ids), tuple(p[: len(text.ids)]), text.text, bool(end or text.stopped))
                for text, p, end in zip(texts, log_p, done, strict=True)
            ]
            self.words = [w + [i for i in one.ids if i in self.vocabulary.text] for w, one in zip(before, self.said)]
            yield new
            if over.all():
                return

    def score(
        self, options: Sequence[Sequence[Sequence[int]]], *, text_only: bool = False
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Log-likelihoods of ids as what comes next; the conversation stays where it is.

        Args:
          options: of each row the options, each a list of ids; rows may have different numbers of them.
          text_only: only ids of text mode share the probability, else all of the vocabulary.

        Returns: of each row the sums, and the means by id, float32 [options of the row].
        Raises: ValueError for an option without ids, a guided conversation, and a row that has read nothing at all, or
        nothing since a stop string.
        """
        if len(options) != self.rows or not all(option for row in options for option in row):
            raise ValueError(f"options: expected of {self.rows} rows lists of ids, none of them empty")
        if self.copies == 2 or self.stale.any():
            raise ValueError("score: expected a conversation that is not guided and has just read or said something")
        most, longest = (max(sizes) for sizes in (map(len, options), (len(o) for row in options for o in row)))
        self._reserve(int(self.lengths.max()) + longest - 1)
        ids = np.full((bucket(most), self.rows, bucket(longest)), -1, np.int32)
        for b, row in enumerate(options):
            for k, option in enumerate(row):
                ids[k, b, : len(option)] = option
        excluded = self.vocabulary.outside(self.vocabulary.text_mode) if text_only else ()
        self.state, sums = decode.score(
            self.model, self.params, self.state, ids, np.int32(most), valid=self.vocabulary.rows, excluded=excluded
        )
        sums = np.asarray(sums)
        of_row = [sums[: len(row), b] for b, row in enumerate(options)]
        return of_row, [x / np.array([len(o) for o in row], np.float32) for x, row in zip(of_row, options)]

    def _reserve(self, length: int) -> None:
        """Sees to it that every row has that many slots."""
        if length > self.state.cache.k.shape[2]:
            self.state = decode.grown(self.state, slots=bucket(length, LEAST))

    def _cut_back(self, cut: np.ndarray, start: np.ndarray, texts: list[Words]) -> None:
        """Takes back, of rows that met a stop string, what was said from the id in which it begins."""
        if not cut.any():
            return
        for b in np.flatnonzero(cut):
            texts[b].ids = texts[b].ids[: texts[b].kept()]
            rows = slice(b * self.copies, (b + 1) * self.copies)
            self.lengths[rows] = start[rows] + len(texts[b].ids)
        self.stale |= cut
        self.state = decode.cut_back(self.state, self.lengths.copy(), cut)


def _padded(rows: Sequence[Sequence[int]], length: int, value: int) -> np.ndarray:
    """int32 [rows, length]."""
    out = np.full((len(rows), length), value, np.int32)
    for to, row in zip(out, rows):
        to[: len(row)] = row
    return out
