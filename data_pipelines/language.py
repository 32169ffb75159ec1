# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of sequences: conversations as the language model reads them, one or several packed, with their pictures.

Shape class `language` brings the pictures; `slots` brings, in their place, what they show as words (slots.py).
"""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines import buckets, slots, transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Example, Turn
from focus_jax.errors import UserError
from focus_jax.sequence import layout, prompts
from focus_jax.sequence import vocabulary as vocab
from focus_jax.sequence.text import TextTokenizer, text_tokenizer
from focus_jax.sequence.vocabulary import Vocabulary

CLASSES = ("language", "slots")
# A stream's `sequence`: positions of a row, how many of them may be learnt (the loss is computed at so many), examples
# that a row is made of, pictures it has room for, what happens to an example longer than a row ("drop" or "cut"); and
# of the model: ids, text tokenizer, (h, w) of a picture's features of both levels, queries of the adapter behind each
# picture, mask tokens of an answer. MAY: what may be there too: whether pictures stand pixel codes first (an ablation).
FIELDS: dict[str, type | tuple[type, ...]] = {
    "length": int,
    "learnt": int,
    "pack": int,
    "images": int,
    "too_long": str,
    "vocabulary": dict,
    "text_tokenizer": str,
    "semantic_grid": (list, tuple),
    "pixel_grid": (list, tuple),
    "queries": int,
    "masks": int,
}
MAY: dict[str, type | tuple[type, ...]] = {"pixel_first": bool}
TOO_LONG = ("drop", "cut")


def check(sequence: Any, where: str) -> None:
    """Raises: DataError for a `sequence` that lacks a field, has another or one of a wrong type."""
    if not isinstance(sequence, Mapping) or set(sequence) - set(MAY) != set(FIELDS):
        wrong = sorted((set(sequence) - set(MAY)) ^ set(FIELDS)) if isinstance(sequence, Mapping) else [repr(sequence)]
        raise DataError(f"{where}: {wrong[0]} is missing or unknown, expected the fields {', '.join(FIELDS)}.")
    for field, kind in (FIELDS | MAY).items():
        if field in sequence and not isinstance(sequence[field], kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            named = " or ".join(k.__name__ for k in kinds)
            raise DataError(f"{where}.{field}: is {sequence[field]!r}, expected {named}.")
    for field, least in (("length", 1), ("learnt", 1), ("pack", 1), ("images", 0)):
        if sequence[field] < least:
            raise DataError(f"{where}.{field}: is {sequence[field]}, expected at least {least}.")
    if sequence["too_long"] not in TOO_LONG:
        raise DataError(f"{where}.too_long: is {sequence['too_long']!r}, expected {' or '.join(TOO_LONG)}.")


def sizes(sequence: Mapping) -> layout.Sizes:
    """What an image brings to a sequence of this stream."""
    (h, w), (ph, pw) = sequence["semantic_grid"], sequence["pixel_grid"]
    order = sequence.get("pixel_first", False)
    return layout.Sizes((h, w), (ph, pw), sequence["queries"], sequence["masks"], pixel_first=order)


def writing(sequence: Mapping) -> tuple[Vocabulary, TextTokenizer]:
    """Ids and text tokenizer of a stream's `sequence`."""
    return _writing(json.dumps(sequence["vocabulary"], sort_keys=True), sequence["text_tokenizer"])


@functools.cache
def _writing(vocabulary: str, source: str) -> tuple[Vocabulary, TextTokenizer]:
    ids = Vocabulary(**json.loads(vocabulary))
    return ids, text_tokenizer(source, ids)


def fields(stream: dict) -> dict[str, tuple[tuple[int, ...], type]]:
    """ids, roles, features, conditions, labels, segments, positions [T] as in layout.Laid.

    left_out: examples that did not fit. image [I, H, W, 3] and, where the stream has `high`, high [I, H', W', 3]: the
    pictures in the order in which the sequence shows them, zero where there are fewer. Of the class slots instead:
    bags [vectors of I pictures, BAG], ids of words, -1 = none.
    """
    sequence = stream["sequence"]
    length, room = sequence["length"], sequence["images"]
    names = ("ids", "features", "conditions", "labels", "segments", "positions")
    found: dict[str, tuple[tuple[int, ...], type]] = {name: ((length,), np.int32) for name in names}
    found |= {"roles": ((length,), np.int8), "left_out": ((), np.int32)}
    if stream["shape_class"] == "slots":
        vectors = slots.vectors(sizes(sequence))
        return found | {"bags": ((room * vectors, slots.BAG), np.int32)}
    if room:
        bucket = stream["height"], stream["width"]
        found["image"] = ((room, *bucket, 3), np.uint8)
        if stream.get("high"):
            found["high"] = ((room, *buckets.high_size(bucket, stream["high"]), 3), np.uint8)
    return found


@dataclasses.dataclass(frozen=True)
class Piece:
    """One example of a row. laid: None where it is too long for any row. arrays: what its pictures bring, [n, ...]."""

    laid: layout.Laid | None
    arrays: dict[str, np.ndarray]


def conversation(example: Example, rng: np.random.Generator | None) -> list[Turn]:
    """What is said about an example: its turns, and last, where it has a caption, one of these as an answer.

    Raises: DataError where it has neither.
    """
    turns = [turn for turn in example.turns if turn.role != "caption"]
    captions = [turn for turn in example.turns if turn.role == "caption"]
    if captions:
        chosen = captions[0 if rng is None else int(rng.integers(len(captions)))]
        shown = any(turn.images for turn in turns)
        turns.append(Turn(role="user", text=prompts.CAPTION, images=[] if shown else chosen.images))
        turns.append(Turn(role="assistant", text=chosen.text))
    if not turns:
        raise DataError(f"{example.id}: has neither turns nor a caption, expected a conversation.")
    return turns


def piece(example: Example, stream: dict, *, rng: np.random.Generator | None = None, **options) -> Piece:
    """An example laid out, with its pictures. options: of transforms.place.

    Raises: DataError for an example that is no conversation, or whose pictures are missing or do not fit the bucket.
    """
    sequence, bucket = stream["sequence"], (stream["height"], stream["width"])
    vocabulary, tokenizer = writing(sequence)
    turns = conversation(example, rng)
    shown = [i for turn in turns for i in turn.images]
    if wrong := [i for i in shown if not 0 <= i < len(example.images)]:
        raise DataError(f"{example.id}: a turn names image {wrong[0]} of {len(example.images)}, expected one it has.")
    if unseen := set(range(len(example.images))) - set(shown):
        raise DataError(f"{example.id}: no turn shows image {min(unseen)}, expected each of its images in a turn.")
    try:
        laid: layout.Laid | None = prompts.chat(layout.Writer(vocabulary, tokenizer, sizes(sequence)), turns).done()
    except UserError as error:
        raise DataError(f"{example.id}: {error}") from error
    if laid is not None and len(laid) > sequence["length"]:
        laid = layout.cut(laid, sequence["length"]) if sequence["too_long"] == "cut" else None
    if laid is None or len(shown) > sequence["images"] or laid.learnt > sequence["learnt"]:
        return Piece(None, {})
    if stream["shape_class"] == "slots":
        bags = [slots.bags(example, i, sizes(sequence), tokenizer, rng) for i in shown]
        return Piece(laid, {"bags": np.concatenate(bags)} if bags else {})
    found: dict[str, list[np.ndarray]] = {}
    for i in shown:
        original = transforms.decode(example.images[i].data, example.id)
        image, placement = transforms.place(original, bucket, name=example.id, rng=rng, **options)
        found.setdefault("image", []).append(image)
        if stream.get("high"):
            found.setdefault("high", []).append(placement.cut(original, buckets.high_size(bucket, stream["high"])))
    return Piece(laid, {name: np.stack(x) for name, x in found.items()})


def join(pieces: Sequence[Piece], stream: dict) -> dict[str, np.ndarray]:
    """One row of several examples; those that do not fit are left out and counted."""
    sequence = stream["sequence"]
    fitting = [p for p in pieces if p.laid is not None]
    laid, left = layout.pack(
        [p.laid for p in fitting if p.laid is not None],
        sequence["length"],
        sizes(sequence),
        writing(sequence)[0].special[vocab.PAD],
        images=sequence["images"],
        learnt=sequence["learnt"],
    )
    kept = [p for i, p in enumerate(fitting) if i not in left]
    out = dict(laid.arrays) | {"left_out": np.array(len(pieces) - len(kept), np.int32)}
    for name, (shape, dtype) in fields(stream).items():
        if name in ("image", "high", "bags"):
            out[name] = np.full(shape, -1 if name == "bags" else 0, dtype)
            parts = [p.arrays[name] for p in kept if name in p.arrays]
            if parts:
                found = np.concatenate(parts)
                out[name][: len(found)] = found
    return out
