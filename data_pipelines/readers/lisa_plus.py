# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions about several things of a COCO picture: LISA++'s Instance_Seg (arXiv 2312.17240)."""

import functools
import json
from typing import Any

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Expression, Image, Instance
from data_pipelines.readers import mask_formats, tried
from data_pipelines.readers.coco import annotations, held_out

_PER_PARTITION = 256


class LisaPlus:
    """LISA_Plus_Instance_Seg/data.json: a list of "English Question", img_path and ID, the numbers of COCO's
    annotations. A key is PLACE/PICTURE.

    annotations: COCO's instances_train2017.json, which has the masks; images: the folder train2017. The other three
    files of LISA++ (COT, Conversations, Caption) name their things within their answers and are not read. without: as
    of the reader `coco`.

      prepare lisa_plus --source=LISA_Plus_Instance_Seg/data.json --annotations=instances_train2017.json \\
          --images=train2017 --output=data/lisa_plus
    """

    def __init__(self, source: str, *, annotations: str = "", images: str = "", without: str = "", licence: str = ""):
        self.source, self.annotations, self.images = epath.Path(source), annotations, images
        self.without, self.licence = without, licence
        if not source or not self.source.is_file():
            raise DataError(f"lisa_plus: --source={source!r} is no file, expected data.json.")
        if not annotations or not epath.Path(annotations).is_file():
            raise DataError(f"lisa_plus: --annotations={annotations!r} is no file, expected instances_train2017.json.")
        if not images or not epath.Path(images).is_dir():
            raise DataError(f"lisa_plus: --images={images!r} is no directory, expected train2017.")

    def options(self) -> dict:
        return {name: getattr(self, name) for name in ("annotations", "images", "without", "licence")}

    def partitions(self) -> list[str]:
        count = len(self._questions())
        if not count:
            raise DataError(f"{self.source}: holds no question, expected some.")
        return [f"{start}-{min(start + _PER_PARTITION, count)}" for start in range(0, count, _PER_PARTITION)]

    def read(self, partition: str):
        start, stop = map(int, partition.split("-"))
        for number, one in enumerate(self._questions()[start:stop], start):
            key = f"{number}/{epath.Path(str(one.get('img_path', ''))).name}"
            yield key, tried(key, self._example, key, one)

    def _questions(self) -> list[dict]:
        return _without(str(self.source), self.without)

    def _example(self, key: str, one: dict) -> Example:
        file = epath.Path(self.images) / epath.Path(str(one["img_path"])).name
        if not file.exists():
            raise DataError(f"{key}: {file} is missing, expected the picture.")
        text, meant = str(one["English Question"]).strip(), one["ID"]
        if not text or not isinstance(meant, list) or not meant:
            raise DataError(f"{key}: asks {text!r} for the things {meant!r}, expected a question and their numbers.")
        content = file.read_bytes()
        size = mask_formats.picture_size(content, key)
        data, by_id = annotations(self.annotations), _by_id(self.annotations)
        instances = []
        for number in meant:
            found = by_id.get(int(number))
            if found is None:
                raise DataError(f"{key}: names annotation {number}, which {self.annotations} does not have.")
            mask = mask_formats.coco_mask(found.get("segmentation"), *size, f"{key}: annotation {number}")
            instances.append(Instance(category=data["categories"][found["category_id"]], mask=mask))
        asked = Expression(text=text, kind="reasoning", instances=list(range(len(instances))))
        return Example(
            id=key,
            source="LISA++",
            split="train",
            licence=self.licence,
            images=[Image(data=content, width=0, height=0)],
            instances=instances,
            expressions=[asked],
        )


@functools.lru_cache(maxsize=2)
def _questions(file: str) -> list[dict]:
    try:
        data = json.loads(epath.Path(file).read_text())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is no JSON ({error}).") from error
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise DataError(f"{file}: is no list of questions, expected one.")
    return data


@functools.lru_cache(maxsize=2)
def _without(file: str, references: str) -> list[dict]:
    """The questions about pictures that the references do not hold out."""
    found, left_out = _questions(file), set(map(str, held_out(references)))
    number = lambda one: epath.Path(str(one.get("img_path", ""))).stem.rpartition("_")[2].lstrip("0")
    return [one for one in found if number(one) not in left_out] if left_out else found


@functools.lru_cache(maxsize=2)
def _by_id(file: str) -> dict[int, dict[str, Any]]:
    return {int(one["id"]): one for each in annotations(file)["annotations"].values() for one in each}
