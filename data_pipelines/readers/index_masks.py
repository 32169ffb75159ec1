# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The user's own pictures with a PNG of numbers each: what is where, by class or thing by thing."""

import json

import numpy as np
from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Image, Instance, Mask
from data_pipelines.readers import folder, mask_formats, tried
from data_pipelines.readers.coco import hints

_PER_PARTITION = 256


class IndexMasks:
    """A folder of pictures, and in --masks a PNG of the same path for each, whose numbers --classes explains: a JSON
    file {"1": "person", "2": "sky"}. 0 is nothing, 255 is ignored. Every number is one segment of its picture; the
    class list is all names. Without --classes the numbers are things without names, which are pointed at: a point, a
    scribble, a box and a rough mask of each are drawn. A key is the picture's path.

      prepare index_masks --source=PICTURES --masks=PNGS --classes=classes.json --output=data/mine --validation=0.1
    """

    def __init__(self, source: str, *, masks: str = "", classes: str = "", licence: str = ""):
        self.source, self.masks, self.classes, self.licence = epath.Path(source), masks, classes, licence
        for option, path in (("source", source), ("masks", masks)):
            if not path or not epath.Path(path).is_dir():
                raise DataError(f"index_masks: --{option}={path!r} is no directory, expected one.")
        self.names = _names(epath.Path(classes)) if classes else {}

    def options(self) -> dict:
        return {"masks": self.masks, "classes": self.classes, "licence": self.licence}

    def _files(self) -> list[str]:
        return sorted(name for name, _ in folder.walk(self.source, folder.SUFFIXES))

    def partitions(self) -> list[str]:
        count = len(self._files())
        if not count:
            raise DataError(f"{self.source}: holds no picture, expected some.")
        return [str(start) for start in range(0, count, _PER_PARTITION)]

    def read(self, partition: str):
        start = int(partition)
        for key in self._files()[start : start + _PER_PARTITION]:
            yield key, tried(key, self._example, key)

    def _example(self, key: str) -> Example:
        content = (self.source / key).read_bytes()
        size = mask_formats.picture_size(content, key)
        file = epath.Path(self.masks) / f"{key.rpartition('.')[0]}.png"
        if not file.exists():
            raise DataError(f"{key}: {file} is missing, expected its PNG of numbers.")
        ids = mask_formats.id_map(file.read_bytes(), size, key)
        seen = [int(i) for i in np.unique(ids) if i not in (0, 255)]
        if not seen:
            raise DataError(f"{key}: {file.name} marks nothing, expected numbers from 1.")
        if self.names and (undeclared := [i for i in seen if i not in self.names]):
            raise DataError(f"{key}: {file.name} holds the id {undeclared[0]}, which {self.classes} does not declare.")
        out = Example(
            id=key,
            source="index_masks",
            licence=self.licence,
            images=[Image(data=content, width=0, height=0)],
            instances=[Instance(category=self.names.get(i, ""), mask=Mask.from_array(ids == i)) for i in seen],
            classes=list(dict.fromkeys(self.names.values())),
        )
        if not self.names:
            out.regions = hints(out.instances, key)
        return out


def _names(path: epath.Path) -> dict[int, str]:
    """{number: name} of a JSON file. Raises: DataError."""
    try:
        found = {int(number): str(name).strip() for number, name in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f'{path}: cannot be read ({error}), expected JSON like {{"1": "person"}}.') from error
    if not found or not all(found.values()) or not all(0 < number < 255 for number in found):
        raise DataError(f"{path}: expected names for numbers 1 to 254.")
    return found
