# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions that have to be thought about, with the mask they mean, in ReasonSeg's layout (arXiv 2308.00692)."""

import json

import numpy as np
from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Expression, Image, Instance, Mask
from data_pipelines.readers import mask_formats, tried

_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_PER_PARTITION = 64


class ReasonSeg:
    """A folder with train, val and test (any of them), each with NAME.jpg beside NAME.json. A key is SPLIT/NAME.

    Of the JSON: text, one question or several ways to ask it; is_sentence; shapes with a label and points. Shapes
    labelled target are what is meant, those labelled ignore count neither way, flags are passed over; the large ones
    come first, so that a small one cuts its piece out of them, as in LISA. LISA also draws outlines of one pixel, so
    that masks differ from its at their borders. What is to be ignored becomes an instance of the category `ignore`,
    marked as a crowd. explanatory/train.json, where it is there, gives answers: a list of image, query and outputs.

      prepare reason_seg --source=ReasonSeg --output=data/reason_seg
    """

    def __init__(self, source: str, *, licence: str = ""):
        self.source, self.licence = epath.Path(source), licence
        if not source or not self.source.is_dir():
            raise DataError(f"reason_seg: --source={source!r} is no directory, expected one with train, val or test.")

        self._explained: dict[str, dict[str, str]] | None = None

    def options(self) -> dict:
        return {"licence": self.licence}

    def partitions(self) -> list[str]:
        out = []
        for split in _SPLITS:
            names = self._names(split)
            out += [f"{split}/{start}" for start in range(0, len(names), _PER_PARTITION)]
        if not out:
            raise DataError(f"{self.source}: holds no NAME.json below {', '.join(_SPLITS)}, expected some.")
        return out

    def _names(self, split: str) -> list[str]:
        folder = self.source / split
        return sorted(p.stem for p in folder.iterdir() if p.suffix == ".json") if folder.is_dir() else []

    def read(self, partition: str):
        split, _, start = partition.partition("/")
        for name in self._names(split)[int(start) : int(start) + _PER_PARTITION]:
            key = f"{split}/{name}"
            yield key, tried(key, self._example, key)

    def _example(self, key: str) -> Example:
        data, picture = self._json(key), self.source / f"{key}.jpg"
        if not picture.exists():
            raise DataError(f"{key}: {picture} is missing, expected the picture.")
        content = picture.read_bytes()
        height, width = mask_formats.picture_size(content, key)
        text = data.get("text")
        asked = [
            t.strip() for t in ([text] if isinstance(text, str) else text or []) if isinstance(t, str) and t.strip()
        ]
        if not asked:
            raise DataError(f"{key}: its text is {text!r}, expected a question.")
        target, ignored = self._masks(key, data.get("shapes"), height, width)
        out = Example(
            id=key,
            source="ReasonSeg",
            split=_SPLITS[key.partition("/")[0]],
            licence=self.licence,
            images=[Image(data=content, width=0, height=0)],
        )
        if not target.any():
            raise DataError(f"{key}: no polygon labelled target is left, expected what is meant.")
        out.instances.append(Instance(mask=Mask.from_array(target)))
        if ignored.any():
            out.instances.append(Instance(category="ignore", mask=Mask.from_array(ignored), crowd=True))
        answers = self._answers().get(picture.name, {}) if key.startswith("train/") else {}
        for one in dict.fromkeys([*asked, *answers]):
            out.expressions.append(Expression(text=one, answer=answers.get(one, ""), kind="reasoning", instances=[0]))
        return out

    def _answers(self) -> dict[str, dict[str, str]]:
        """{picture: {question: answer}} of explanatory/train.json. Raises: DataError."""
        if self._explained is None:
            file = self.source / "explanatory" / "train.json"
            listed = _listed(file) if file.exists() else []
            found: dict[str, dict[str, str]] = {}
            for number, one in enumerate(listed):
                texts = [one.get(name) if isinstance(one, dict) else None for name in ("image", "query", "outputs")]
                if not all(isinstance(text, str) and text.strip() for text in texts):
                    raise DataError(f"{file}: entry {number} lacks one of image, query and outputs.")
                image, query, outputs = (str(text).strip() for text in texts)
                found.setdefault(image, {})[query] = outputs
            self._explained = found
        return self._explained

    def _json(self, key: str) -> dict:
        raw = (self.source / f"{key}.json").read_bytes()
        try:
            try:
                data = json.loads(raw.decode())
            except UnicodeDecodeError:
                data = json.loads(raw.decode("cp1252"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{key}: its JSON cannot be read ({error}).") from error
        if not isinstance(data, dict):
            raise DataError(f"{key}: its JSON is a {type(data).__name__}, expected text and shapes.")
        return data

    @staticmethod
    def _masks(key: str, shapes: object, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """(what is meant, what is to be ignored), bool [H, W] each."""
        if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
            raise DataError(f"{key}: its shapes are a {type(shapes).__name__}, expected a list of polygons.")
        drawn = []
        for shape in shapes:
            label = str(shape.get("label", "")).lower()
            if "flag" in label:
                continue
            points = [x for point in shape.get("points") or [] for x in point]
            drawn.append(("ignore" in label, mask_formats.polygon(points, height, width, key)))
        state = np.zeros((height, width), np.uint8)
        for ignored, mask in sorted(drawn, key=lambda one: -int(one[1].sum())):
            state[mask] = 2 if ignored else 1
        return state == 1, state == 2


def _listed(file: epath.Path) -> list:
    try:
        data = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is no JSON ({error}).") from error
    if not isinstance(data, list):
        raise DataError(f"{file}: is a {type(data).__name__}, expected a list of image, query and outputs.")
    return data
