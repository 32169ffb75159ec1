# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Referring expressions in the layout of lichengunc/refer: RefCOCO, RefCOCO+, RefCOCOg, RefCLEF; and gRefCOCO's."""

import functools
import io
import json
import pickle
from typing import Any

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Expression, Image, Instance
from data_pipelines.readers import mask_formats, tried
from data_pipelines.readers.coco import annotations

_PER_PARTITION = 256  # pictures
# Names of splits -> prepare's. testA, testB and testC are test; which one, `subset` chooses.
_SPLITS = {"train": "train", "val": "validation"}


class Refer:
    """A folder with instances.json and refs(NAME).p or grefs(NAME).json. A key is SPLIT/PICTURE.

    by: the NAME in the file of references (unc, umd, google, berkeley; default: the only one there). images: folder
    below which the pictures lie by the names of instances.json (the names in the references have a suffix and are not
    looked at). subset: train, val, test, testA, testB, testC; empty: all of them, with a split each. Every expression
    of a picture that belongs to the split stands in one record; expressions of gRefCOCO may mean several things, or
    none.

    A pickle that holds more than lists, dicts, texts and numbers is refused as a whole: it could run code. An
    expression whose annotation is missing, and a mask that cannot be read, make one bad record.

      prepare refer --source=refer_seg/refcoco --images=train2014 --by=unc --output=data/refcoco
    """

    def __init__(self, source: str, *, images: str = "", by: str = "", subset: str = "", licence: str = ""):
        self.source, self.images, self.by = epath.Path(source), images, by
        self.subset, self.licence = subset, licence
        if not source or not (self.source / "instances.json").exists():
            raise DataError(f"refer: --source={source!r} holds no instances.json, expected a folder such as refcoco.")
        if not images or not epath.Path(images).is_dir():
            raise DataError(f"refer: --images={images!r} is not a directory, expected that of the pictures.")

    def options(self) -> dict:
        return {"images": self.images, "by": self.by, "subset": self.subset, "licence": self.licence}

    def partitions(self) -> list[str]:
        count = len(self._records())
        if not count:
            raise DataError(f"{self._file()}: holds no reference of the subset {self.subset!r}, expected some.")
        return [f"{start}-{min(start + _PER_PARTITION, count)}" for start in range(0, count, _PER_PARTITION)]

    def read(self, partition: str):
        start, stop = map(int, partition.split("-"))
        data = annotations(str(self.source / "instances.json"))
        pictures = {picture["id"]: picture for picture in data["images"]}
        for (split, number), refs in list(self._records().items())[start:stop]:
            key = f"{split}/{pictures.get(number, {}).get('file_name', number)}"
            yield key, tried(key, self._example, key, split, number, refs, pictures, data)

    def _file(self) -> epath.Path:
        names = [self.source / f"{kind}({self.by}).{end}" for kind, end in (("refs", "p"), ("grefs", "json"))]
        if self.by:
            found = [file for file in names if file.exists()]
        else:
            found = sorted(file for file in self.source.iterdir() if file.name.startswith(("refs(", "grefs(")))
        if len(found) != 1:
            there = ", ".join(file.name for file in found) or "none"
            raise DataError(f"{self.source}: files of references are {there}, expected one, chosen by --by=NAME.")
        return found[0]

    def _records(self) -> dict[tuple[str, Any], list[dict]]:
        """References by (split, picture), in the file's order."""
        file = self._file()
        refs = references(str(file))
        out: dict[tuple[str, Any], list[dict]] = {}
        for ref in refs:
            split = str(ref.get("split"))
            wanted = self.subset
            # RefCLEF deals pictures to several tests at once ("testAB").
            if (
                wanted
                and split != wanted
                and not (wanted.startswith("test") and wanted[4:] in split[4:] and wanted[4:])
            ):
                continue
            if any(str(sentence.get("sent", "")).strip() for sentence in ref.get("sentences") or []):
                out.setdefault((wanted or split, ref.get("image_id")), []).append(ref)
        return out

    def _example(self, key: str, split: str, number: Any, refs: list[dict], pictures: dict, data: dict) -> Example:
        if number not in pictures:
            raise DataError(f"{key}: picture {number} is not in instances.json.")
        file = epath.Path(self.images) / str(pictures[number]["file_name"])
        if not file.exists():
            raise DataError(f"{key}: {file} is missing, expected the picture.")
        content = file.read_bytes()
        size = mask_formats.picture_size(content, key)
        by_id = {annotation["id"]: annotation for annotation in data["annotations"].get(number, [])}
        places: dict[Any, int] = {}
        out = Example(
            id=key,
            source=self.source.name,
            split=_SPLITS.get(split, "test"),
            licence=self.licence,
            images=[Image(data=content, width=0, height=0)],
        )
        for ref in refs:
            meant = ref.get("ann_id")
            meant = [i for i in (meant if isinstance(meant, list) else [meant]) if i != -1]  # -1: nothing is meant
            for i in meant:
                if i not in by_id:
                    raise DataError(f"{key}: reference {ref.get('ref_id')} names annotation {i}, which is missing.")
                if i not in places:
                    places[i] = len(out.instances)
                    name = data["categories"].get(by_id[i].get("category_id"), "")
                    mask = mask_formats.coco_mask(by_id[i].get("segmentation"), *size, f"{key}: annotation {i}")
                    out.instances.append(Instance(category=name, mask=mask, box=by_id[i].get("bbox")))
            for sentence in ref.get("sentences", []):
                text = str(sentence.get("sent", "")).strip()
                if text:
                    out.expressions.append(Expression(text=text, instances=[places[i] for i in meant]))
        return out


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise DataError(f"names {module}.{name}")


@functools.lru_cache(maxsize=2)
def references(file: str) -> list[dict]:
    """The references of a file. Raises: DataError for one that is no list of them."""
    try:
        refs = json.loads(epath.Path(file).read_text()) if file.endswith(".json") else plain_pickle(file)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is no JSON ({error}).") from error
    if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
        raise DataError(f"{file}: is no list of references, expected one.")
    return refs


def plain_pickle(file: str) -> Any:
    """A pickle of lists, dicts, texts and numbers. Raises: DataError for one that would do anything else."""
    try:
        return _Plain(io.BytesIO(epath.Path(file).read_bytes()), encoding="latin1").load()
    except Exception as error:
        raise DataError(f"{file}: {error}, expected a pickle of plain lists, dicts, texts and numbers.") from error
