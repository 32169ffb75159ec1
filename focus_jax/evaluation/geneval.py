# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""GenEval's rules (arXiv 2310.11513): whether a picture shows the things, numbers, colours and places of its prompt.

What finds things is anything that answers like `Detector`. By default it is the model's own mask predictor, which
favours the model that drew; the published figures come from Mask2Former on COCO.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from focus_jax.evaluation import networks
from focus_jax.evaluation.protocol import Checked, Instances

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
SURE, SURE_OF_COUNTS = 0.3, 0.9  # scores from which a thing counts, and where things are counted
MOST = 16  # things of a class
MARGIN = 0.1  # share of both sizes by which things may overlap before they have a direction
GREY = 153  # behind a thing whose colour is asked for


@dataclasses.dataclass(frozen=True)
class Detection:
    """name: of its class; score: 0 to 1; mask: bool [H, W]."""

    name: str
    score: float
    mask: np.ndarray

    @property
    def box(self) -> np.ndarray:
        """left, top, right, bottom."""
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)


class Detector(Protocol):
    def __call__(self, picture: np.ndarray, classes: Sequence[str]) -> list[Detection]:
        """Things of these classes in uint8 [H, W, 3]."""


Colours = Callable[[np.ndarray, str], str]  # a thing on grey, uint8 [h, w, 3], and its class -> of COLOURS


def own_detector(checked: Checked) -> Detector:
    """The model's mask predictor."""

    def detect(picture: np.ndarray, classes: Sequence[str]) -> list[Detection]:
        found = checked.segment(picture[None], [Instances(classes)])[0]
        masks = found.masks if found.masks is not None else [found.ids == k + 1 for k in range(len(found.names))]
        each = zip(found.names, found.scores, masks)
        return [Detection(name, score, mask) for name, score, mask in each if mask.any()]

    return detect


def colours_by_clip(file: str, folder: str, batch_size: int) -> Colours:
    """Zero-shot as GenEval does; file: imported CLIP; folder: of its tokenizer.json."""
    known: dict[str, np.ndarray] = {}
    see = networks.clip_network(file, 1)

    def colour(thing: np.ndarray, name: str) -> str:
        if name not in known:
            forms = [f"a photo of a {{}} {name}", f"a photo of a {{}}-colored {name}", "a photo of a {} object"]
            ids = networks.clip_ids([form.format(c) for c in COLOURS for form in forms], folder)
            words = networks.clip_text_features(ids, file, batch_size).reshape(len(COLOURS), len(forms), -1)
            known[name] = networks.unit(words.mean(axis=1))
        seen = see(thing[None])[0]
        return COLOURS[int(np.argmax(known[name] @ seen))]

    return colour


def colours_by_question(checked: Checked) -> Colours:
    """What the model itself says."""

    def colour(thing: np.ndarray, name: str) -> str:
        (best,) = checked.choose(thing[None], [f"What color is the {name}?"], [list(COLOURS)])
        return COLOURS[best]

    return colour


def kept(found: Sequence[Detection], tag: str) -> dict[str, list[Detection]]:
    """Those that count, by class, the surest first."""
    least, out = SURE_OF_COUNTS if tag == "counting" else SURE, dict[str, list[Detection]]()
    for one in sorted(found, key=lambda one: -one.score):
        of = out.setdefault(one.name, [])
        if one.score > least and len(of) < MOST:
            of.append(one)
    return out


def directions(a: Detection, b: Detection) -> set[str]:
    """Where a is, seen from b."""
    boxes = [one.box.reshape(2, 2) for one in (a, b)]
    offset = boxes[0].mean(axis=0) - boxes[1].mean(axis=0)
    sizes = sum(box[1] - box[0] for box in boxes)
    apart = np.maximum(np.abs(offset) - MARGIN * sizes, 0) * np.sign(offset)
    if not np.any(np.abs(apart) >= 1e-3):
        return set()
    x, y = apart / np.linalg.norm(offset)
    rules = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return {name for name, true in rules.items() if true}


def on_grey(picture: np.ndarray, thing: Detection) -> np.ndarray:
    """The thing alone, cut out."""
    left, top, right, bottom = thing.box.astype(int)
    whole = np.where(thing.mask[..., None], picture, np.uint8(GREY))
    return whole[top:bottom, left:right]


def failed(picture: np.ndarray, asked: dict[str, Any], found: dict[str, list[Detection]], colour: Colours) -> str:
    """What is not as it was asked for, "" for nothing. asked: include and exclude of a line of
    evaluation_metadata.jsonl."""
    groups: list[list[Detection] | None] = []
    wrong = []
    for want in asked.get("include", []):
        name, count = want["class"], want["count"]
        things = found.get(name, [])[:count]
        said = f"{len(things)} {name}, expected {count}" if len(things) < count else ""
        if not said and "color" in want:
            seen = [colour(on_grey(picture, thing), name) for thing in things]
            if seen.count(want["color"]) < count:
                said = f"{', '.join(seen)} {name}, expected {want['color']}"
        if not said and "position" in want:
            place, other = want["position"]
            others = groups[other]
            if others is None or any(place not in directions(a, b) for a in things for b in others):
                said = f"{name} not {place} the other"
        groups.append(None if said else things)
        wrong += [said] if said else []
    for want in asked.get("exclude", []):
        if len(found.get(want["class"], [])) >= want["count"]:
            wrong.append(f"{want['count']} {want['class']} or more")
    return "; ".join(wrong)
