# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Shape classes: what a row of a batch holds and how it is made from an Example (contract 3).

picture    image, and where the stream has `high`, the same crop at a long edge of so many pixels; where it has
           `tokens`, the same at that share of its sides, for a tokenizer
objects    image, and what stands where in it: category and attributes as numbers, boxes
codes      picture's, and the codes that `prepare codes` stored with the record; crop and flip must be off
latents    the codes and what `prepare codes --latents` stored of an autoencoder, without the picture
language   conversations, one or several packed into a row, and the pictures that they show (language.py)
slots      the same with words in place of the pictures (slots.py)
segmentation   one picture, what to segment in it, the answer's names and its masks (segmentation.py)
clips      two frames with the same question, and which masks show the same thing (clips.py)
generation, editing, reconstruction   a sequence that ends in a picture, and that picture's pixels (targets.py)

A row is made of pieces, one an Example: of one, or where its stream packs them of several.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipelines import buckets, clips, language, segmentation, targets, transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Example
from data_pipelines.world import vocabulary

MAX_OBJECTS = 8  # rows of labels a picture has room for
# Words of Instance.category and Instance.attributes that become numbers, a column each.
LABELS = (vocabulary.SHAPES, tuple(vocabulary.COLOURS), vocabulary.SIZES, vocabulary.MATERIALS)
BRANCHES = ("semantic", "pixel")  # of codes
LATENTS = "latents"
STORED = ("codes", LATENTS)  # classes of what is stored with the records
_NUMBER = {word: (column, i) for column, words in enumerate(LABELS) for i, word in enumerate(words)}

Fields = dict[str, tuple[tuple[int, ...], type]]


def picture_fields(stream: dict) -> Fields:
    bucket = stream["height"], stream["width"]
    found: Fields = {"image": ((*bucket, 3), np.uint8)}
    if stream.get("high"):
        found["high"] = ((*buckets.high_size(bucket, stream["high"]), 3), np.uint8)
    if low_size(stream) != bucket:
        found["low"] = ((*low_size(stream), 3), np.uint8)
    return found


def low_size(stream: dict) -> tuple[int, int]:
    """(height, width) at which a stream's tokenizer reads its pictures: its share `tokens` of the bucket's sides."""
    share = stream.get("tokens", 1.0)
    return round(share * stream["height"]), round(share * stream["width"])


def objects_fields(stream: dict) -> Fields:
    """labels: the numbers of each object's words by LABELS, -1 where it has none.

    boxes: (x, y, width, height) in shares of the picture's sides, zero in rows without an object.
    """
    return picture_fields(stream) | {
        "labels": ((MAX_OBJECTS, len(LABELS)), np.int32),
        "boxes": ((MAX_OBJECTS, 4), np.float32),
    }


def codes_fields(stream: dict) -> Fields:
    """semantic_codes, pixel_codes: of the branches whose grid the stream names."""
    return picture_fields(stream) | {f"{branch}_codes": (grid, np.int32) for branch, grid in grids(stream).items()}


def latents_fields(stream: dict) -> Fields:
    """The codes, and latents: mean and log-variance behind each other."""
    stored: Fields = {f"{branch}_codes": (grid, np.int32) for branch, grid in grids(stream).items()}
    return stored | {"latents": (latents_shape(stream), np.float16)}


FIELDS = {"picture": picture_fields, "objects": objects_fields, "codes": codes_fields, LATENTS: latents_fields}
FIELDS |= dict.fromkeys(language.CLASSES, language.fields)
FIELDS |= {segmentation.CLASS: segmentation.fields, clips.CLASS: clips.fields}
FIELDS |= dict.fromkeys(targets.CLASSES, targets.fields)
# Who makes rows of sequences, by shape class.
_MAKERS: dict[str, Any] = {segmentation.CLASS: segmentation, clips.CLASS: clips}
_MAKERS |= dict.fromkeys(language.CLASSES, language) | dict.fromkeys(targets.CLASSES, targets)


def grids(stream: dict) -> dict[str, tuple[int, int]]:
    """(h, w) of the codes that a stream's rows hold, by branch."""
    if stream["shape_class"] not in STORED:
        return {}
    named = {branch: stream.get(f"{branch}_grid") for branch in BRANCHES}
    return {branch: (grid[0], grid[1]) for branch, grid in named.items() if grid}


def latents_shape(stream: dict) -> tuple[int, ...]:
    """(h, w, C) of the latents that a stream's rows hold, () for none."""
    return tuple(stream.get(LATENTS, ()))


def fields(stream: dict) -> Fields:
    """{name: (shape, dtype)} of one row of a stream, without those that every shape class has (COMMON)."""
    return FIELDS[stream["shape_class"]](stream)


# weight: 0 where a row does not count; element: global element index modulo 2^32; bad: records replaced on the way.
COMMON: Fields = {"weight": ((), np.float32), "element": ((), np.uint32), "bad": ((), np.int32)}


def packed(stream: dict) -> int:
    """Of how many pieces a row is made."""
    return stream["sequence"]["pack"] if "sequence" in stream else 1


def row(example: Example, stream: dict, **options) -> dict[str, np.ndarray]:
    """The row of one example alone. Raises: DataError."""
    return join([piece(example, stream, **options)], stream)


def join(pieces: Sequence[Any], stream: dict) -> dict[str, np.ndarray]:
    """The row of pieces, `packed` many at most and one at least."""
    maker = _MAKERS.get(stream["shape_class"])
    return maker.join(pieces, stream) if maker else pieces[0]


def piece(example: Example, stream: dict, **options) -> Any:
    """What an example brings to a row, for `join`. options: of transforms.place.

    Raises: DataError for an example that cannot give it.
    """
    if maker := _MAKERS.get(stream["shape_class"]):
        return maker.piece(example, stream, **options)
    if stream["shape_class"] == LATENTS:
        return _codes(example, grids(stream)) | _latents(example, latents_shape(stream))
    if not example.images:
        raise DataError(f"{example.id}: has no image, expected one.")
    bucket = stream["height"], stream["width"]
    original = transforms.decode(example.images[0].data, example.id)
    image, placement = transforms.place(original, bucket, name=example.id, **options)
    out = {"image": image}
    if stream.get("high"):
        out["high"] = placement.cut(original, buckets.high_size(bucket, stream["high"]))
    if low_size(stream) != bucket:
        out["low"] = placement.cut(original, low_size(stream))
    if stream["shape_class"] == "objects":
        out |= _objects(example, placement, bucket)
    if stream["shape_class"] == "codes":
        out |= _codes(example, grids(stream))
    return out


def _codes(example: Example, grids: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    found = {}
    for branch, grid in grids.items():
        codes = getattr(example.codes, branch, None)
        if codes is None:
            raise DataError(f"{example.id}: has no {branch} codes, expected those of `data_pipelines.prepare codes`.")
        if codes.dtype != np.int32 or codes.shape != grid:
            raise DataError(
                f"{example.id}: {branch} codes are {codes.dtype}{list(codes.shape)}, expected int32{list(grid)}."
            )
        found[f"{branch}_codes"] = codes
    return found


def _latents(example: Example, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    values = None if example.latents is None else example.latents.values
    if values is None:
        raise DataError(f"{example.id}: has no latents, expected those of `data_pipelines.prepare codes --latents`.")
    if values.dtype != np.float16 or values.shape != shape:
        raise DataError(f"{example.id}: latents are {values.dtype}{list(values.shape)}, expected float16{list(shape)}.")
    if not np.isfinite(values).all():
        raise DataError(f"{example.id}: latents are not finite.")
    return {"latents": values}


def _objects(example: Example, placement: transforms.Placement, bucket: tuple[int, int]) -> dict[str, np.ndarray]:
    """Instances without words of LABELS (the ground) are passed over; one whose centre was cropped away as well."""
    labels = np.full((MAX_OBJECTS, len(LABELS)), -1, np.int32)
    boxes = np.zeros((MAX_OBJECTS, 4), np.float32)
    named = [(i, [w for w in (i.category, *i.attributes) if w in _NUMBER]) for i in example.instances]
    found = 0
    for instance, words in named:
        if not words:
            continue
        if instance.box is None:
            raise DataError(f"{example.id}: an instance {instance.category!r} has no box, expected one.")
        box = placement.boxes(np.array(instance.box))[0] / (bucket[1], bucket[0], bucket[1], bucket[0])
        if not (0 <= box[0] + box[2] / 2 < 1 and 0 <= box[1] + box[3] / 2 < 1):
            continue
        if found == MAX_OBJECTS:
            raise DataError(f"{example.id}: has more than {MAX_OBJECTS} labelled objects, expected at most that many.")
        for word in words:
            column, number = _NUMBER[word]
            labels[found, column] = number
        boxes[found] = box
        found += 1
    return {"labels": labels, "boxes": boxes}
