# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pascal-Part as its authors give it (arXiv 1406.2031): a MATLAB file a picture, things and their parts.

VLPart's conversion of it is a COCO file, which the reader `coco` takes.
"""

import io
import re

import numpy as np
from etils import epath
from scipy.io import loadmat

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Image, Instance, Mask
from data_pipelines.readers import mask_formats, tried

_PER_PARTITION = 256
_SPLITS = {"train": "train", "val": "validation"}
_THINGS = {"aeroplane": "airplane", "pottedplant": "potted plant", "tvmonitor": "tv monitor", "diningtable": "table"}
# Words for the authors' abbreviations; what stands before them are sides, of trains h (of the head) and c (of a coach).
_PARTS = {
    **{name: name for name in ("body", "stern", "tail", "engine", "wheel", "saddle", "handlebar", "chainwheel")},
    **{name: name for name in ("head", "eye", "beak", "torso", "neck", "wing", "foot", "cap", "door", "window")},
    **{name: name for name in ("ear", "muzzle", "horn", "leg", "nose", "mouth", "hair", "arm", "hand", "pot", "plant")},
    **{name: name for name in ("screen", "mirror", "headlight", "coach", "side")},
    **{"liplate": "license plate", "ebrow": "eyebrow", "ho": "hoof", "pa": "paw"},
    **{"leftside": "side", "rightside": "side", "frontside": "front", "backside": "back", "roofside": "roof"},
    **{"uarm": "upper arm", "larm": "lower arm", "uleg": "upper leg", "lleg": "lower leg"},
}
_SIDE = re.compile("left|right|[lr][fb](?!oot)|[lrfbhc]")
# What each thing has of those; a part that is not listed is added where it is seen.
_OF = {
    "airplane": "body stern wing tail engine wheel",
    "bicycle": "wheel saddle handlebar chainwheel headlight",
    "bird": "head eye beak torso neck wing leg foot tail",
    "boat": "",
    "bottle": "cap body",
    "bus": "front back side roof mirror license_plate door wheel headlight window",
    "car": "front back side roof mirror license_plate door wheel headlight window",
    "cat": "head eye ear nose torso neck leg paw tail",
    "chair": "",
    "cow": "head eye ear muzzle horn torso neck upper_leg lower_leg tail",
    "table": "",
    "dog": "head eye ear nose muzzle torso neck leg paw tail",
    "horse": "head eye ear muzzle torso neck upper_leg lower_leg hoof tail",
    "motorbike": "wheel handlebar saddle headlight",
    "person": "head eye ear eyebrow nose mouth hair torso neck upper_arm lower_arm hand upper_leg lower_leg foot",
    "potted plant": "pot plant",
    "sheep": "head eye ear muzzle horn torso neck upper_leg lower_leg tail",
    "sofa": "",
    "train": "head front back side roof coach headlight",
    "tv monitor": "screen",
}
CLASSES = [
    name
    for thing, parts in _OF.items()
    for name in (thing, *(f"{thing} {part.replace('_', ' ')}" for part in parts.split()))
]


class PascalPart:
    """A folder Annotations_Part with NAME.mat. A key is SPLIT/NAME.

    images: JPEGImages of VOC2010; sets: its ImageSets/Main with train.txt and val.txt, empty for no split (`prepare`
    deals). Its classes are things, and parts as "dog tail", left and right alike.

      prepare pascal_part --source=Annotations_Part --images=VOC2010/JPEGImages --sets=VOC2010/ImageSets/Main \\
          --output=data/pascal_part
    """

    def __init__(self, source: str, *, images: str = "", sets: str = "", licence: str = ""):
        self.source, self.images, self.sets, self.licence = epath.Path(source), images, sets, licence
        if not source or not self.source.is_dir():
            raise DataError(f"pascal_part: --source={source!r} is no directory, expected Annotations_Part.")
        if not images or not epath.Path(images).is_dir():
            raise DataError(f"pascal_part: --images={images!r} is no directory, expected VOC2010's JPEGImages.")

    def options(self) -> dict:
        return {"images": self.images, "sets": self.sets, "licence": self.licence}

    def partitions(self) -> list[str]:
        count = len(self._names())
        if not count:
            raise DataError(f"{self.source}: holds no NAME.mat, expected some.")
        return [f"{start}-{min(start + _PER_PARTITION, count)}" for start in range(0, count, _PER_PARTITION)]

    def _names(self) -> list[tuple[str, str]]:
        """(split, name), those of --sets alone where it is given."""
        there = sorted(p.stem for p in self.source.iterdir() if p.suffix == ".mat")
        if not self.sets:
            return [("", name) for name in there]
        known = set(there)
        out = []
        for listed, split in _SPLITS.items():
            file = epath.Path(self.sets) / f"{listed}.txt"
            if file.exists():
                out += [(split, name) for name in file.read_text().split() if name in known]
        if not out:
            raise DataError(
                f"pascal_part: --sets={self.sets!r} lists no picture of {self.source} in train.txt or val.txt."
            )
        return out

    def read(self, partition: str):
        start, stop = map(int, partition.split("-"))
        for split, name in self._names()[start:stop]:
            key = f"{split}/{name}" if split else name
            yield key, tried(key, self._example, key, split, name)

    def _example(self, key: str, split: str, name: str) -> Example:
        file = epath.Path(self.images) / f"{name}.jpg"
        if not file.exists():
            raise DataError(f"{key}: {file} is missing, expected the picture.")
        content = file.read_bytes()
        size = mask_formats.picture_size(content, key)
        try:
            anno = loadmat(io.BytesIO((self.source / f"{name}.mat").read_bytes()))["anno"][0, 0]
        except Exception as error:  # a broken file raises whatever its bytes lead to
            raise DataError(f"{key}: its MATLAB file cannot be read ({type(error).__name__}: {error}).") from error
        instances: list[Instance] = []
        for thing in anno["objects"].ravel():
            called = str(thing["class"].item())
            called = _THINGS.get(called, called)
            whole = len(instances)
            instances.append(Instance(category=called, mask=_mask(thing["mask"], size, key)))
            for part in thing["parts"].ravel():
                category = f"{called} {part_name(str(part['part_name'].item()))}"
                instances.append(Instance(category=category, mask=_mask(part["mask"], size, key), part_of=whole))
        if not instances:
            raise DataError(f"{key}: marks nothing, expected a thing.")
        return Example(
            id=key,
            source="Pascal-Part",
            split=split,
            licence=self.licence,
            images=[Image(data=content, width=0, height=0)],
            instances=instances,
            classes=list(dict.fromkeys([*CLASSES, *(one.category for one in instances)])),
        )


def _mask(mask: np.ndarray, size: tuple[int, int], key: str) -> Mask:
    if mask.shape != size:
        raise DataError(f"{key}: a mask is {mask.shape[1]} x {mask.shape[0]}, its picture {size[1]} x {size[0]}.")
    return Mask.from_array(mask > 0)


def part_name(short: str) -> str:
    """Words for an abbreviation: "lfwing" -> "wing", "engine_2" -> "engine"; one that is not known stays as it is."""
    plain = re.sub(r"_\d+$", "", short)
    # A side first: a bird's lleg is its left leg, the lower one of a person llleg.
    side = _SIDE.match(plain)
    rest = plain[side.end() :] if side else plain
    return _PARTS.get(rest) or _PARTS.get(plain, plain)
