# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Shape classes: what a row of a batch holds and how it is made from an Example (contract 3).

picture    image
objects    image, and what stands where in it: category and attributes as numbers, boxes
"""

import numpy as np

from data_pipelines import transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Example
from data_pipelines.world import vocabulary

MAX_OBJECTS = 8  # rows of labels a picture has room for
# Words of Instance.category and Instance.attributes that become numbers, a column each.
LABELS = (vocabulary.SHAPES, tuple(vocabulary.COLOURS), vocabulary.SIZES, vocabulary.MATERIALS)
_NUMBER = {word: (column, i) for column, words in enumerate(LABELS) for i, word in enumerate(words)}

Fields = dict[str, tuple[tuple[int, ...], type]]


def picture_fields(stream: dict) -> Fields:
    return {"image": ((stream["height"], stream["width"], 3), np.uint8)}


def objects_fields(stream: dict) -> Fields:
    """labels: the numbers of each object's words by LABELS, -1 where it has none.

    boxes: (x, y, width, height) in shares of the picture's sides, zero in rows without an object.
    """
    return picture_fields(stream) | {
        "labels": ((MAX_OBJECTS, len(LABELS)), np.int32),
        "boxes": ((MAX_OBJECTS, 4), np.float32),
    }


FIELDS = {"picture": picture_fields, "objects": objects_fields}


def fields(stream: dict) -> Fields:
    """{name: (shape, dtype)} of one row of a stream, without those that every shape class has (COMMON)."""
    return FIELDS[stream["shape_class"]](stream)


# weight: 0 where a row does not count; element: global element index modulo 2^32; bad: records replaced on the way.
COMMON: Fields = {"weight": ((), np.float32), "element": ((), np.uint32), "bad": ((), np.int32)}


def row(example: Example, stream: dict, **options) -> dict[str, np.ndarray]:
    """One row of a stream. options: of transforms.place. Raises: DataError for an example that cannot give it."""
    if not example.images:
        raise DataError(f"{example.id}: has no image, expected one.")
    bucket = stream["height"], stream["width"]
    image, placement = transforms.place(example.images[0].data, bucket, name=example.id, **options)
    out = {"image": image}
    if stream["shape_class"] == "objects":
        out |= _objects(example, placement, bucket)
    return out


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
