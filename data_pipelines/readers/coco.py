# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Annotations in COCO's layouts, instances and panoptic, of COCO itself or of the user's own pictures."""

import functools
import json
import re
import zlib
from typing import Any

import numpy as np
from etils import epath

from data_pipelines import regions, seeds
from data_pipelines.errors import DataError
from data_pipelines.example import Example, Image, Instance, Mask, Region
from data_pipelines.readers import MISSHAPEN, mask_formats, tried

_PER_PARTITION = 256  # pictures
_BESIDE = re.compile(r"_\([^)]*\)")  # LVIS's hints at what is meant
_CLEANED = ("-merged", "-other", "-stuff")  # endings of COCO's names of stuff that say nothing to a reader


class Coco:
    """A JSON file with images, annotations and categories. A key is the picture's file name.

    images: the folder of the pictures (default: beside the file, the one that holds the first). Annotations with
    segments_info are panoptic: their PNGs lie in `masks` (default: the folder named as the JSON file, beside it).
    split: train, validation or test of all records; empty: `prepare` deals them. The class list of every picture is all
    categories, in the file's order, so that the file should hold no more than are to be told apart.

    ask: what a record asks for: classes, all that the file's categories name, or regions, hints drawn from each
    instance as for COCO-Interactive (a point, a scribble, a box, a rough mask), the same at every run.

    PACO-LVIS, and PartImageNet and Pascal-Part in this layout, are read so: "mug_(drink):handle" is "mug handle", and a
    picture n01440764_10029.JPEG may lie in n01440764.

    A picture that is missing, a polygon of less than three points, run lengths that do not cover their picture, a
    category or an id in a PNG that the file does not declare make one bad record.

    without: files of references (refs(unc).p, grefs(unc).json, commas between): pictures of their validation and test
    splits are left out, by their numbers, which COCO 2014 and 2017 share. RefCOCO's lie in COCO's train.

      prepare coco --source=annotations/instances_val2017.json --images=val2017 --output=data/coco --split=validation
    """

    def __init__(
        self,
        source: str,
        *,
        images: str = "",
        masks: str = "",
        split: str = "",
        ask: str = "classes",
        without: str = "",
        licence: str = "",
    ):
        self.source, self.images, self.masks = epath.Path(source), images, masks
        self.split, self.ask, self.without, self.licence = split, ask, without, licence
        if ask not in ("classes", "regions"):
            raise DataError(f"coco: --ask={ask}, expected classes or regions.")
        if not source or not self.source.is_file():
            raise DataError(f"coco: --source={source!r} is no file, expected a JSON file of annotations.")

    def options(self) -> dict:
        return {name: getattr(self, name) for name in ("images", "masks", "split", "ask", "without", "licence")}

    def partitions(self) -> list[str]:
        count = len(self._pictures())
        if not count:
            raise DataError(f"{self.source}: holds no picture, expected some.")
        return [f"{start}-{min(start + _PER_PARTITION, count)}" for start in range(0, count, _PER_PARTITION)]

    def read(self, partition: str):
        start, stop = map(int, partition.split("-"))
        data = annotations(str(self.source))
        folder = self._folder(data)
        for picture in self._pictures()[start:stop]:
            key = str(picture.get("file_name", picture.get("id")))
            yield key, tried(key, self._example, key, picture, data, folder)

    def _pictures(self) -> list[dict]:
        found, left_out = annotations(str(self.source))["images"], held_out(self.without)
        return [one for one in found if one.get("id") not in left_out] if left_out else found

    def _folder(self, data: dict) -> epath.Path:
        if self.images:
            folder = epath.Path(self.images)
            if not folder.is_dir():
                raise DataError(f"coco: --images={self.images!r} is not a directory, expected that of the pictures.")
            return folder
        first = str(data["images"][0].get("file_name"))
        beside = self.source.parent
        for folder in (beside, beside / "images", *(p for p in beside.parent.iterdir() if p.is_dir())):
            if (folder / first).exists():
                return folder
        raise DataError(f"coco: {first} is not near {self.source}, expected --images with the folder of the pictures.")

    def _example(self, key: str, picture: dict, data: dict, folder: epath.Path) -> Example:
        file = next((f for f in (folder / key, folder / key.partition("_")[0] / key) if f.exists()), None)
        if file is None:
            raise DataError(f"{key}: is not in {folder}, expected the picture.")
        content = file.read_bytes()
        size = mask_formats.picture_size(content, key)
        given = picture.get("height", size[0]), picture.get("width", size[1])
        if given != size:
            raise DataError(f"{key}: is {size[1]} x {size[0]}, its annotations are of {given[1]} x {given[0]}.")
        found = data["annotations"].get(picture.get("id"), [])
        if data["panoptic"] and not found:
            raise DataError(f"{key}: has no annotation in a panoptic file, expected one.")
        out = Example(
            id=key,
            source=self.source.stem,
            split=self.split,
            licence=self.licence,
            images=[Image(data=content, width=0, height=0)],
            instances=self._segments(key, found[0], data, size)
            if data["panoptic"]
            else _instances(key, found, data, size),
        )
        if self.ask == "regions":
            out.regions = hints(out.instances, key)
        else:
            out.classes, out.stuff = list(data["names"]), list(data["stuff"])
        return out

    def _segments(self, key: str, annotation: dict, data: dict, size: tuple[int, int]) -> list[Instance]:
        folder = epath.Path(self.masks) if self.masks else self.source.parent / self.source.stem
        file = folder / str(annotation.get("file_name"))
        if not file.exists():
            raise DataError(f"{key}: {file} is missing, expected its picture of ids (--masks).")
        ids = mask_formats.id_map(file.read_bytes(), size, key)
        declared = {segment.get("id"): segment for segment in annotation["segments_info"]}
        seen = {int(i) for i in np.unique(ids)} - {0}
        if undeclared := sorted(seen - set(declared)):
            raise DataError(f"{key}: {file.name} holds the id {undeclared[0]}, which segments_info does not declare.")
        return [
            Instance(
                category=_category(key, segment, data),
                mask=Mask.from_array(ids == i),
                box=_box(segment),
                crowd=bool(segment.get("iscrowd")),
            )
            for i, segment in declared.items()
            if i in seen
        ]


def _instances(key: str, found: list[dict], data: dict, size: tuple[int, int]) -> list[Instance]:
    return [
        Instance(
            category=_category(key, annotation, data),
            mask=mask_formats.coco_mask(annotation.get("segmentation"), *size, f"{key}: annotation {number}"),
            box=_box(annotation),
            crowd=bool(annotation.get("iscrowd")),
        )
        for number, annotation in enumerate(found)
    ]


def hints(instances: list[Instance], key: str) -> list[Region]:
    """A hint of every kind at each instance, from numbers of the record's key; none at a crowd, nor at what is too
    small to be pointed at. Raises: DataError where none is left."""
    out = []
    for number, instance in enumerate(instances):
        if instance.crowd or instance.mask is None:
            continue
        mask = instance.mask.to_array()
        for k, kind in enumerate(regions.KINDS):
            try:
                drawn = regions.region(kind, mask, seeds.generator(zlib.crc32(key.encode()), number, k))
            except DataError:
                continue  # too small, or no stroke fits; the other kinds remain
            out.append(Region(kind=kind, mask=Mask.from_array(drawn), instance=number))
    if not out:
        raise DataError(f"{key}: none of its {len(instances)} instances can be pointed at, expected one that can.")
    return out


def _category(key: str, annotation: dict, data: dict) -> str:
    number = annotation.get("category_id")
    if number not in data["categories"]:
        raise DataError(f"{key}: category {number} is not among the file's categories.")
    return data["categories"][number]


def _box(annotation: dict) -> list[float] | None:
    box = annotation.get("bbox")
    return [float(x) for x in box] if isinstance(box, list) and len(box) == 4 else None


@functools.lru_cache(maxsize=2)
def held_out(files: str) -> frozenset:
    """Numbers of the pictures that files of references do not train on. Raises: DataError."""
    from data_pipelines.readers.refer import references

    named = [file.strip() for file in files.split(",") if file.strip()]
    if missing := [file for file in named if not epath.Path(file).is_file()]:
        raise DataError(f"coco: --without={missing[0]} is no file, expected one of references such as refs(unc).p.")
    refs = [ref for file in named for ref in references(file)]
    return frozenset(ref.get("image_id") for ref in refs if ref.get("split") != "train")


@functools.lru_cache(maxsize=2)
def annotations(file: str) -> dict[str, Any]:
    """A COCO file: images as they are, annotations by the id of their picture, names of categories by id, all names,
    and those of stuff (isthing is 0).

    Raises: DataError for a file that is no such JSON.
    """
    try:
        data = json.loads(epath.Path(file).read_text())
        images, categories = data["images"], {c["id"]: clean(c["name"]) for c in data["categories"]}
        things = {clean(c["name"]) for c in data["categories"] if c.get("isthing", 1)}
        found: dict[Any, list[dict]] = {}
        for annotation in data["annotations"]:
            found.setdefault(annotation["image_id"], []).append(annotation)
        panoptic = any("segments_info" in annotation for annotation in data["annotations"])
        if not all(isinstance(picture, dict) for picture in images):
            raise TypeError("a picture is no object")
    except MISSHAPEN as error:
        raise DataError(f"{file}: is no COCO file ({error!r}), expected images, annotations and categories.") from error
    names = list(dict.fromkeys(categories.values()))
    stuff = [name for name in names if name not in things]
    return dict(images=images, annotations=found, categories=categories, panoptic=panoptic, names=names, stuff=stuff)


def clean(name: str) -> str:
    """The name of a category as words: "wall-other-merged" -> "wall", "mug_(drink):handle" -> "mug handle"."""
    name = _BESIDE.sub("", name)
    while ending := next((e for e in _CLEANED if name.endswith(e)), None):
        name = name.removesuffix(ending)
    return name.replace("-", " ").replace("_", " ").replace(":", " ")
