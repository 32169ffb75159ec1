# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of clips: two frames, each with the same question, and which of its masks show the same thing.

Things are marked by their masks in the first of the two frames, which may be the later one, or both frames are asked
for a list of classes, or for what words mean. A frame's half of the row is a row of segmentation.py; regions lie on
the first frame in both.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines import language, segmentation, transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Example, Expression, Instance
from focus_jax.sequence import prompts

CLASS = "clips"
FRAMES = 2  # of a row


def fields(stream: dict) -> dict[str, tuple[tuple[int, ...], type]]:
    """Those of segmentation.fields, each with the two frames in front, and track: int32 [2, T], the number of the thing
    that a mask shows, -1 where none is known."""
    found = segmentation.fields(stream)
    found |= {"track": (found["of"][0], np.int32)}
    return {name: ((FRAMES, *shape), dtype) for name, (shape, dtype) in found.items()}


@dataclasses.dataclass(frozen=True)
class Piece:
    """One example of a row: of each frame its piece, and the tracks of its masks."""

    frames: Sequence[language.Piece]
    tracks: Sequence[Sequence[int]]


def piece(example: Example, stream: dict, *, rng: np.random.Generator | None = None, **options) -> Piece:
    """Two frames of a clip and a question. options: of transforms.place; both frames are cropped alike.

    rng: draws frames and question; None: the first with things and the last, things marked. Raises: DataError for
    an example with fewer than two frames, or without tracked things in any.
    """
    if len(example.frames) < FRAMES:
        raise DataError(f"{example.id}: has {len(example.frames)} frames, expected at least {FRAMES}.")
    chosen = _chosen(example, rng)
    crop = None if rng is None else int(rng.integers(2**32))
    bucket = stream["height"], stream["width"]
    images, asking = [], []
    for number in chosen:
        name, encoded = f"{example.id} frame {number}", example.frames[number].image
        original = transforms.decode(encoded.data, name)
        own = None if crop is None else np.random.default_rng(crop)
        image, placement = transforms.place(original, bucket, name=name, rng=own, **options)
        size = segmentation.high_of(stream)
        things = [i for i in example.instances if i.frame == number]
        frame = Example(id=name, images=[encoded], instances=things, classes=_classes(example))
        images.append((image, placement.cut(original, size)))
        asking.append(segmentation.Asking(frame, stream, placement, size, rng))
    kinds = [_marked] if any(i.track is not None for i in asking[0].example.instances) else []
    kinds += [_listed] if asking[0].example.classes and kinds else []
    kinds += [_described] if example.expressions else []
    if not kinds:
        raise DataError(f"{asking[0].example.id}: no tracked thing is in it and no words are said of it.")
    questions, tracks = kinds[0 if rng is None else int(rng.integers(len(kinds)))](example, asking, rng)
    return Piece([segmentation.laid_out(q, stream, *x) for q, x in zip(questions, images)], tracks)


def _chosen(example: Example, rng: np.random.Generator | None) -> list[int]:
    """Two frames, the first with something to follow, where there is one. None: the first such and the last."""
    seen = sorted({i.frame for i in example.instances if i.track is not None})
    every = list(range(len(example.frames)))
    first = (seen or every)[0 if rng is None else int(rng.integers(len(seen or every)))]
    others = [number for number in every if number != first]
    return [first, others[-1 if rng is None else int(rng.integers(len(others)))]]


def _marked(
    example: Example, asking: Sequence[segmentation.Asking], rng: np.random.Generator | None
) -> tuple[list[segmentation.Question], list[list[int]]]:
    """Of each frame the question for things that are marked in the first, and the tracks of its masks."""
    first, limits = asking[0], asking[0].limits
    seen = {_track(i): first.mask(k) for k, i in enumerate(first.example.instances) if i.track is not None}
    tracks = [track for track, mask in seen.items() if mask.any()]
    if not tracks:
        raise DataError(f"{first.example.id}: no tracked thing is in it, expected one to follow.")
    most = min(limits["regions"], limits["targets"], len(tracks))
    if rng is not None:
        rng.shuffle(tracks)
        most = 1 + int(rng.integers(most))
    tracks = tracks[:most]
    questions, shown = [], []
    for one in asking:
        found = {_track(i): k for k, i in enumerate(one.example.instances) if _track(i) in tracks}
        masks = {track: one.mask(k) for track, k in found.items()}
        there = [track for track in tracks if track in masks and masks[track].any()]
        named = [one.example.instances[found[track]].category for track in there]
        told = any(i.category for i in example.instances)
        answer = one.names([name for name in named if name]) if told else ""
        questions.append(
            segmentation.Question(
                kind="regions",
                conditions=len(tracks),
                masks=[masks[track] for track in there],
                of=[tracks.index(track) for track in there],
                things=[found[track] for track in there],
                regions=[seen[track] for track in tracks],
                laid=prompts.segment_regions(one.writer, len(tracks), answer).done(),
            )
        )
        shown.append(there)
    return questions, shown


def _listed(
    example: Example, asking: Sequence[segmentation.Asking], rng: np.random.Generator | None
) -> tuple[list[segmentation.Question], list[list[int]]]:
    """Of each frame the question for all that a list of classes names, and the tracks of its masks."""
    questions = [one.classes() for one in asking]
    return questions, [[_track(a.example.instances[i]) for i in q.things] for a, q in zip(asking, questions)]


def _described(
    example: Example, asking: Sequence[segmentation.Asking], rng: np.random.Generator | None
) -> tuple[list[segmentation.Question], list[list[int]]]:
    """Of each frame the question for what words mean, which may not be in it, and the tracks of its masks."""
    chosen = example.expressions[0 if rng is None else int(rng.integers(len(example.expressions)))]
    tracks = {_track(example.instances[i]) for i in chosen.instances}
    questions = []
    for one in asking:
        meant = [k for k, i in enumerate(one.example.instances) if _track(i) in tracks]
        one.example.expressions = [Expression(text=chosen.text, kind=chosen.kind, instances=meant)]
        questions.append(one.words(lost=True))
    named = lambda one, question: [_track(one.example.instances[i]) if i >= 0 else -1 for i in question.things]
    return questions, [named(one, question) for one, question in zip(asking, questions)]


def _classes(example: Example) -> list[str]:
    """Its list, or what its things are called; none where one of them has no name."""
    names = list(dict.fromkeys(instance.category for instance in example.instances))
    return example.classes or ([] if "" in names else names)


def _track(instance: Instance) -> int:
    return -1 if instance.track is None else instance.track


def join(pieces: Sequence[Piece], stream: dict) -> dict[str, np.ndarray]:
    """The row of one example."""
    (found,) = pieces
    rows = [segmentation.join([frame], stream) for frame in found.frames]
    for row, frame, tracks in zip(rows, found.frames, found.tracks):
        row["track"] = np.full(row["of"].shape, -1, np.int32)
        kept = tracks[: len(row["track"])] if frame.laid is not None else ()
        row["track"][: len(kept)] = kept
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
