# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Things in clips, frame by frame (FOCUS 3.3): by words, by their masks in any one frame, or by classes.

By words each frame answers for itself. Marked things are described by their features in the frame that marks them, as
in PSALM (arXiv 2403.14598), and sought in every other frame, before and behind it. Of classes the segments of a frame
are joined to those of earlier ones by e_j, as in IDOL (arXiv 2207.10661).
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import ClipPrompt, Instances, Segments
from focus_jax.inference.queries import Rules, claimed, sigmoid
from focus_jax.inference.segment import UNNAMED, Looked, Segmenter

CHUNK = 8  # frames at a time: all clips run the same program
CANDIDATES = 20  # queries of a frame that may be things of a clip, and answers of a clip, where they are ranked
WEAK = 0.02  # mean share up to a frame below which a thing that is not in it is forgotten


class VideoSegmenter:
    """Segmentation of clips by a model of stage 3. Made by focus_jax.Model."""

    def __init__(self, segmenter: Segmenter):
        self.segmenter = segmenter

    def __call__(
        self, frames: np.ndarray, prompt: ClipPrompt, *, names: bool = True, rules: Rules | None = None
    ) -> Segments:
        """uint8 [T, H, W, 3] -> ids [T, H, W]; see evaluation.protocol. names, rules: as of pictures.

        Raises: UserError for a prompt that means nothing.
        """
        rules = rules or Rules()
        if isinstance(prompt, str):
            return self._words(frames, prompt, names, rules)
        if isinstance(prompt, tuple):
            return self._marked(frames, *prompt, names, rules)
        if isinstance(prompt, Instances):
            return self._instances(frames, prompt, names, rules)
        return self._classes(frames, prompt, names, rules)

    def _words(self, frames: np.ndarray, prompt: str, names: bool, rules: Rules) -> Segments:
        found: list[Segments] = []
        for chunk, count in chunks(frames, CHUNK):
            found += self.segmenter(chunk, [prompt] * CHUNK, names=names, rules=rules)[:count]
        ids = np.stack([one.ids for one in found])
        seen = [one for one in found if one.names]
        if not seen:
            return Segments(ids, (), ())
        name = collections.Counter(one.names[0] for one in seen).most_common(1)[0][0]
        return Segments(ids, (name,), (float(np.mean([one.scores[0] for one in seen])),))

    def _marked(self, frames: np.ndarray, at: int, marked: np.ndarray, names: bool, rules: Rules) -> Segments:
        shape = list(frames.shape[1:3])
        if not 0 <= at < len(frames):
            raise UserError(f"prompt: marks frame {at}, expected 0 to {len(frames) - 1}.")
        if not np.issubdtype(marked.dtype, np.integer) or list(marked.shape) != shape:
            raise UserError(f"prompt: marked things are {marked.dtype}{list(marked.shape)}, expected integers{shape}.")
        if marked.min() < 0 or not marked.any():
            raise UserError("prompt: marks nothing, expected numbers from 1 where something is, else 0.")
        numbers = [int(n) for n in np.unique(marked) if n]
        claims = np.zeros((len(frames), *shape))  # of each pixel, of who has it
        ids, sure = np.zeros(claims.shape, np.int32), np.zeros((len(frames), max(numbers) + 1))
        for some in _split(numbers, self.segmenter.limits["regions"]):
            self._follow(frames, at, marked, some, names, rules, ids, claims, sure)
        ids[at] = marked
        sure[at, numbers] = 1.0
        scores = sure.sum(axis=0) / np.maximum((sure > 0).sum(axis=0), 1)
        return Segments(ids, (UNNAMED,) * max(numbers), tuple(float(x) for x in scores[1:]))

    def _follow(
        self, frames: np.ndarray, at: int, marked: np.ndarray, numbers: list[int], names: bool, rules: Rules,
        ids: np.ndarray, claims: np.ndarray, sure: np.ndarray,
    ) -> None:  # fmt: skip
        """Seeks the things `numbers` in all frames and writes down where each is surer than who was there before."""
        one = self.segmenter
        regions = one.covered([marked == n for n in numbers], one.fit(frames))[None]
        done = 0
        for chunk, count in chunks(frames, CHUNK - 1):
            pictures = np.concatenate([frames[at : at + 1], chunk])
            found = one.look(pictures, [len(numbers)] * CHUNK, regions, names=names)
            for b in range(1, count + 1):
                quality = one.quality(found.masks[b], found.fit)
                surest = sigmoid(found.scores[b][:, : len(numbers)]) * quality[:, None]  # [N, K]
                queries, conditions = linear_sum_assignment(-surest)
                t = done + b - 1
                for q, k in zip(queries, conditions):
                    if surest[q, k] < rules.follow:
                        continue
                    (mask,) = one.upright(found.masks[b][[q]], found.fit)
                    claim = surest[q, k] * sigmoid(mask)
                    won = (mask > 0) & (claim > claims[t])
                    ids[t][won], claims[t][won] = numbers[k], claim[won]
                    sure[t, numbers[k]] = surest[q, k]
            done += count

    def _classes(self, frames: np.ndarray, classes: list[str], names: bool, rules: Rules) -> Segments:
        memory, ids = Memory(rules), np.zeros(frames.shape[:3], np.int32)
        none = self.segmenter.covered([], self.segmenter.fit(frames))
        t = 0
        for chunk, count in chunks(frames, CHUNK):
            found = self.segmenter.look(chunk, [classes] * CHUNK, np.stack([none] * CHUNK), names=names)
            for b in range(count):
                segments, queries = self._claimed(found, b, classes, rules)
                tracks = memory.join(t, segments, queries, self._embeddings(found)[b])
                ids[t] = np.array([0, *tracks], np.int32)[segments.ids]
                t += 1
        return Segments(ids, *memory.told())

    def _embeddings(self, found: Looked) -> np.ndarray:
        if found.embeddings is None:
            told = "mask_decoder.embedding is 0"
            raise UserError(f"{self.segmenter.model.label}: {told}, so that it cannot join classes over frames.")
        return found.embeddings

    def _instances(self, frames: np.ndarray, classes: list[str], names: bool, rules: Rules) -> Segments:
        """The surest pairs of thing and class, masks whole. Of each frame the CANDIDATES queries that are least the
        background are joined by e_j; a thing's share of a class is its mean over all frames, 0 where it was not
        seen."""
        memory, none = Memory(rules), self.segmenter.covered([], self.segmenter.fit(frames))
        masks: dict[int, np.ndarray] = {}
        shares: dict[int, np.ndarray] = {}
        t = 0
        for chunk, count in chunks(frames, CHUNK):
            found = self.segmenter.look(chunk, [classes] * CHUNK, np.stack([none] * CHUNK), names=names)
            for b in range(count):
                z = found.scores[b][:, : len(classes) + 1]
                share = _softmax(z, 1)[:, :-1] * self.segmenter.quality(found.masks[b], found.fit)[:, None]
                chosen = np.argsort(-share.max(axis=1), kind="stable")[:CANDIDATES]
                best = [classes[k] for k in share[chosen].argmax(axis=1)]
                seen = Segments(np.zeros(frames.shape[1:3], np.int32), tuple(best), tuple(share[chosen].max(axis=1)))
                tracks = memory.join(t, seen, chosen.tolist(), self._embeddings(found)[b])
                for track, query, mask in zip(
                    tracks, chosen, self.segmenter.upright(found.masks[b][chosen], found.fit)
                ):
                    masks.setdefault(track, np.zeros(frames.shape[:3], bool))[t] |= mask > 0
                    shares[track] = shares.get(track, 0.0) + share[query] / len(frames)
                # What was seen once and is weak does not come back: its masks would fill the memory.
                for track in [k for k in masks if shares[k].max() * len(frames) < WEAK * (t + 1) and k not in tracks]:
                    del masks[track], shares[track]
                t += 1
        pairs = sorted(((float(x), track, k) for track, row in shares.items() for k, x in enumerate(row)), reverse=True)
        pairs = [one for one in pairs if one[0] >= rules.instances and masks[one[1]].any()][
            : min(rules.most, CANDIDATES)
        ]
        whole = np.stack([masks[track] for _, track, _ in pairs]) if pairs else np.zeros((0, *frames.shape[:3]), bool)
        ids = np.zeros(frames.shape[:3], np.int32)
        for k, mask in reversed(list(enumerate(whole, 1))):
            ids[mask] = k
        return Segments(ids, tuple(classes[k] for *_, k in pairs), tuple(score for score, *_ in pairs), whole)

    def _claimed(self, found: Looked, b: int, classes: list[str], rules: Rules) -> tuple[Segments, list[int]]:
        upright = lambda kept: self.segmenter.upright(found.masks[b][kept], found.fit)
        return claimed(classes, found.scores[b], upright, found.fit.size, rules)


@dataclasses.dataclass
class Track:
    """A thing that was seen. embedding [E]: a mean that forgets; seen: the last frame; names: how often it was which
    class; scores: of its segments."""

    embedding: np.ndarray
    seen: int
    names: collections.Counter
    scores: list[float]


class Memory:
    """The tracks of a clip, from 1 on in the order in which they came."""

    def __init__(self, rules: Rules):
        self.rules, self.tracks = rules, list[Track]()
        self.beside = np.zeros((0, 0), np.float32)  # of the last frame's queries that showed nothing, [n, E]

    def join(self, t: int, segments: Segments, queries: Sequence[int], embeddings: np.ndarray) -> list[int]:
        """The track of each segment of frame t; what is like none becomes one. queries: of the segments; embeddings:
        e_j of all queries [N, E]."""
        known = [k for k, track in enumerate(self.tracks) if t - track.seen <= self.rules.forget]
        chosen: dict[int, int] = {}
        if known and len(queries):
            like = self._like(known, queries, embeddings)
            for i, j in zip(*linear_sum_assignment(-like)):
                if like[i, j] >= self.rules.same:
                    chosen[int(i)] = known[j]
        out = []
        for i, (query, name, score) in enumerate(zip(queries, segments.names, segments.scores)):
            if i not in chosen:
                chosen[i] = len(self.tracks)
                self.tracks.append(Track(embeddings[query], t, collections.Counter(), []))
            track = self.tracks[chosen[i]]
            track.embedding, track.seen = (track.embedding + embeddings[query]) / 2, t
            track.names[name] += 1
            track.scores.append(score)
            out.append(chosen[i] + 1)
        self.beside = np.delete(embeddings, list(queries), axis=0)
        return out

    def _like(self, known: Sequence[int], queries: Sequence[int], embeddings: np.ndarray) -> np.ndarray:
        """How much each segment is each known track, [segments, known], both ways as e_j was trained: among all queries
        of this frame, and among the tracks and the last frame's queries that showed nothing."""
        tracks = np.stack([self.tracks[k].embedding for k in known])
        there = _softmax(embeddings @ tracks.T, 0)[list(queries)]
        own = embeddings[list(queries)]
        back = np.concatenate([own @ tracks.T, own @ self.beside.T], axis=1)
        return (there + _softmax(back, 1)[:, : len(known)]) / 2

    def told(self) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Names and scores of the tracks."""
        names = tuple(track.names.most_common(1)[0][0] for track in self.tracks)
        return names, tuple(float(np.mean(track.scores)) for track in self.tracks)


def chunks(frames: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """`size` frames at a time, the last filled up with its last one, and how many count."""
    for start in range(0, len(frames), size):
        chunk = frames[start : start + size]
        yield np.concatenate([chunk, np.repeat(chunk[-1:], size - len(chunk), axis=0)]), len(chunk)


def _split(numbers: list[int], size: int) -> list[list[int]]:
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]


def _softmax(x: np.ndarray, axis: int) -> Any:
    shares = np.exp(x - x.max(axis=axis, keepdims=True))
    return shares / shares.sum(axis=axis, keepdims=True)
