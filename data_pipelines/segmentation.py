# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of segmentation: a picture, what is asked for, the names of the answer, and the masks that it means.

What an Example allows is asked: one of its expressions, its marked regions, or its list of classes; which, is drawn.
Masks lie on the crop that the row shows, at the size of X_H, a bit a pixel.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines import buckets, language, transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Example, Mask, Region
from focus_jax.errors import UserError
from focus_jax.sequence import layout, prompts
from focus_jax.sequence.layout import KINDS

CLASS = "segmentation"
UNNAMED = "the target"  # what an answer calls the target of a question, where nothing tells its category
STRIDE = 8  # pixels of X_H that a cell of a region's coverage is wide
# A stream's `segmentation`: conditions of an answer at most (classes and background, or regions), masks at most, marked
# regions at most, and the chance that names stand before the mask tokens.
FIELDS: dict[str, Any] = {"conditions": int, "targets": int, "regions": int, "names": float}


def check(stream: Mapping[str, Any], where: str) -> None:
    """Raises: DataError for a `segmentation` that lacks a field, has another or one of a wrong type or size, and for a
    stream without `high` or with more than one example or picture in a row."""
    if not stream["height"] or not stream["width"]:
        raise DataError(f"{where}: has no bucket, expected the size of the pictures to segment.")
    if not stream.get("high"):
        raise DataError(f"{where}.high: is missing, expected the long edge of X_H, on which masks lie.")
    for field in ("pack", "images"):
        if stream["sequence"][field] != 1:
            raise DataError(f"{where}.sequence.{field}: is {stream['sequence'][field]}, expected 1 with segmentation.")
    given, where = stream[CLASS], f"{where}.{CLASS}"
    if not isinstance(given, Mapping) or set(given) != set(FIELDS):
        wrong = sorted(set(given) ^ set(FIELDS)) if isinstance(given, Mapping) else [repr(given)]
        raise DataError(f"{where}: {wrong[0]} is missing or unknown, expected the fields {', '.join(FIELDS)}.")
    for field, kind in FIELDS.items():
        value: Any = given[field]
        right = type(value) is int if kind is int else type(value) in (int, float)
        if not right or not (0 <= value <= 1 if kind is float else value >= 1):
            expected = "a number in 0..1" if kind is float else "a positive int"
            raise DataError(f"{where}.{field}: is {value!r}, expected {expected}.")
    if given["conditions"] < max(2, given["regions"]):
        raise DataError(f"{where}.conditions: is {given['conditions']}, expected at least 2 and the number of regions.")


def coverage_size(size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of the grid on which regions are given, for a picture X_H of a size (H, W)."""
    return -(-size[0] // STRIDE), -(-size[1] // STRIDE)


def fields(stream: dict) -> dict[str, tuple[tuple[int, ...], type]]:
    """Those of language.fields, and

    kind: number in KINDS; known: bool [K], conditions that there are, of classes the background last; targets: uint8
    [T, H, W / 8], masks at the size of `high` with eight pixels a byte, there: bool [T], of: int32 [T], the condition
    of each; regions: uint8 [R, h, w], how much of each cell a region covers, 255 = all.
    """
    s = stream["segmentation"]
    height, width = high_of(stream)
    return language.fields(stream) | {
        "kind": ((), np.int32),
        "known": ((s["conditions"],), np.bool_),
        "targets": ((s["targets"], height, -(-width // 8)), np.uint8),
        "there": ((s["targets"],), np.bool_),
        "of": ((s["targets"],), np.int32),
        "regions": ((s["regions"], *coverage_size((height, width))), np.uint8),
    }


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of a picture. masks: bool [H, W] at X_H's size, each of condition `of` (from 0) and of instance
    `things`, -1 for several as one; conditions: how many there are; regions: bool [H, W]; laid: the sequence."""

    kind: str
    conditions: int
    masks: Sequence[np.ndarray]
    of: Sequence[int]
    things: Sequence[int]
    regions: Sequence[np.ndarray]
    laid: layout.Laid


def piece(example: Example, stream: dict, *, rng: np.random.Generator | None = None, **options: Any) -> language.Piece:
    """An example as a question, laid out, with its picture and masks. options: of transforms.place.

    rng: draws what is asked; None: the first of what may be, with names. Raises: DataError for an example that allows
    no question, whose masks do not belong to its picture or are lost to the crop, or that asks for too much.
    """
    if len(example.images) != 1:
        raise DataError(f"{example.id}: has {len(example.images)} images, expected one.")
    original = transforms.decode(example.images[0].data, example.id)
    bucket, size = (stream["height"], stream["width"]), high_of(stream)
    image, placement = transforms.place(original, bucket, name=example.id, rng=rng, **options)
    found = Asking(example, stream, placement, size, rng).question()
    return laid_out(found, stream, image, placement.cut(original, size))


def high_of(stream: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of a stream's X_H."""
    return buckets.high_size((stream["height"], stream["width"]), stream["high"])


def laid_out(found: Question, stream: dict, image: np.ndarray, high: np.ndarray) -> language.Piece:
    """A question about a picture uint8 [H, W, 3], high the same at X_H's size, as a piece of a row."""
    if len(found.laid) > stream["sequence"]["length"] or found.laid.learnt > stream["sequence"]["learnt"]:
        return language.Piece(None, {})
    arrays: dict[str, np.ndarray] = {
        name: np.zeros(shape, dtype) for name, (shape, dtype) in fields(stream).items() if name in _OWN
    }
    arrays["kind"][...] = KINDS.index(found.kind)
    arrays["known"][: found.conditions] = True
    for t, (mask, condition) in enumerate(list(zip(found.masks, found.of))[: stream[CLASS]["targets"]]):
        arrays["targets"][t], arrays["there"][t], arrays["of"][t] = np.packbits(mask, axis=1), True, condition
    for r, region in enumerate(found.regions):
        arrays["regions"][r] = coverage(region)
    arrays["image"], arrays["high"] = image[None], high[None]
    return language.Piece(found.laid, arrays)


_OWN = ("kind", "known", "targets", "there", "of", "regions")


def join(pieces: Sequence[language.Piece], stream: dict) -> dict[str, np.ndarray]:
    """One row of one example."""
    out = language.join(pieces, stream)
    for name, (shape, dtype) in fields(stream).items():
        if name in _OWN:
            out[name] = pieces[0].arrays.get(name, np.zeros(shape, dtype))
    return out


def coverage(region: np.ndarray) -> np.ndarray:
    """bool [H, W] -> uint8 [ceil(H / STRIDE), ceil(W / STRIDE)], the shares of the cells that it covers, times 255."""
    height, width = region.shape
    padded = np.pad(region, ((0, -height % STRIDE), (0, -width % STRIDE)))
    rows, columns = coverage_size(region.shape)
    shares = padded.reshape(rows, STRIDE, columns, STRIDE).mean(axis=(1, 3))
    # What is smaller than a cell must not vanish.
    return np.where(shares > 0, np.maximum(np.round(255 * shares), 1), 0).astype(np.uint8)


def cut(
    mask: Mask | None,
    placement: transforms.Placement,
    image: Any,
    size: tuple[int, int],
    name: str,
    what: str = "what changes",
) -> np.ndarray:
    """A mask of the picture `image` -> bool [H, W] of the row's crop at X_H's size. Raises: DataError."""
    if mask is None:
        raise DataError(f"{name}: {what} has no mask, expected one.")
    if (mask.height, mask.width) != (image.height, image.width):
        raise DataError(
            f"{name}: the mask of {what} is {mask.width} x {mask.height}, expected the picture's {image.width} x "
            f"{image.height}."
        )
    whole = Image.fromarray(mask.to_array().astype(np.uint8) * 255)
    return placement.cut(whole, size) >= 128


class Asking:
    """One example's question being made; arguments as in `piece`."""

    def __init__(
        self,
        example: Example,
        stream: dict,
        placement: transforms.Placement,
        size: tuple[int, int],
        rng: np.random.Generator | None,
    ):
        self.example, self.placement, self.size, self.rng = example, placement, size, rng
        self.limits = stream["segmentation"]
        vocabulary, tokenizer = language.writing(stream["sequence"])
        self.writer = layout.Writer(vocabulary, tokenizer, language.sizes(stream["sequence"]))

    def question(self) -> Question:
        example = self.example
        kinds = {"words": example.expressions, "regions": example.regions, "classes": example.classes}
        allowed = [kind for kind, given in kinds.items() if given]
        if not allowed:
            raise DataError(f"{example.id}: has no expression, region or class list, expected something to segment.")
        kind = allowed[self._draw(len(allowed))]
        try:
            return {"words": self.words, "regions": self._regions, "classes": self.classes}[kind]()
        except UserError as error:
            raise DataError(f"{example.id}: {error}") from error

    def _draw(self, count: int) -> int:
        return 0 if self.rng is None else int(self.rng.integers(count))

    def names(self, found: Sequence[str]) -> str:
        """The answer's names; "" where they are left out, so that masks do not come to depend on them."""
        told = self.rng is None or self.rng.random() < self.limits["names"]
        return prompts.names(found) if told else ""

    def cut(self, mask: Mask | None, what: str) -> np.ndarray:
        """Of the picture -> bool [H, W] on the row's crop at X_H's size. Raises: DataError."""
        return cut(mask, self.placement, self.example.images[0], self.size, self.example.id, what)

    def mask(self, number: int) -> np.ndarray:
        """Of an instance, bool [H, W] on the row's crop at X_H's size. Raises: DataError."""
        if not 0 <= number < len(self.example.instances):
            raise DataError(
                f"{self.example.id}: names instance {number} of {len(self.example.instances)}, expected one it has."
            )
        return self.cut(self.example.instances[number].mask, f"instance {number}")

    def words(self, lost: bool = False) -> Question:
        """For what an expression means. lost: whether that may be out of the picture. Raises: DataError."""
        expression = self.example.expressions[self._draw(len(self.example.expressions))]
        things = list(expression.instances)
        masks = [self.mask(number) for number in things]
        if masks and not lost and not any(mask.any() for mask in masks):
            raise DataError(f"{self.example.id}: the target of {expression.text!r} is lost to the crop.")
        masks, things = self.bounded(masks, things)
        reasoning = expression.kind.startswith("reason")
        unnamed = UNNAMED if reasoning else expression.text
        named = [self.example.instances[number].category or unnamed for number in expression.instances]
        answer = self.names(named)
        if expression.answer and answer:
            answer = expression.answer
        writer = prompts.segment_words(self.writer, expression.text, answer, reasoning=reasoning)
        return Question("words", 1, masks, [0] * len(masks), things, [], writer.done())

    def bounded(self, masks: list[np.ndarray], things: list[int]) -> tuple[list[np.ndarray], list[int]]:
        """Those that are seen, and whose they are; of more than fit, which must not be cut short, their union."""
        if len(masks) > self.limits["targets"]:
            masks, things = [np.logical_or.reduce(masks)], [-1]
        seen = [k for k, mask in enumerate(masks) if mask.any()]
        return [masks[k] for k in seen], [things[k] for k in seen]

    def _regions(self) -> Question:
        regions, most = list(self.example.regions), min(self.limits["regions"], self.limits["targets"])
        if self.rng is not None:
            self.rng.shuffle(regions)  # type: ignore[arg-type]
            most = 1 + int(self.rng.integers(most))
        meant, masks, hints = self.marked(regions, most)
        named = [self.example.instances[number].category for number in meant]
        answer = self.names([name for name in named if name]) if any(named) else ""
        writer = prompts.segment_regions(self.writer, len(masks), answer)
        return Question("regions", len(masks), masks, list(range(len(masks))), meant, hints, writer.done())

    def marked(
        self, regions: Sequence[Region], most: int | None = None
    ) -> tuple[list[int], list[np.ndarray], list[np.ndarray]]:
        """(instances that regions point at, their masks, what marks them), at most so many. Raises: DataError."""
        most = min(self.limits["regions"], self.limits["targets"]) if most is None else most
        meant: list[int] = []  # a thing is marked once: two conditions with one mask would contradict each other
        masks: list[np.ndarray] = []
        hints: list[np.ndarray] = []
        for region in regions:
            if region.instance is None:
                raise DataError(f"{self.example.id}: a region names no instance, expected what it points at.")
            if region.instance in meant or len(masks) == most:
                continue
            mask, hint = self.mask(region.instance), self.cut(region.mask, f"a {region.kind}")
            if mask.any() and hint.any():
                meant.append(region.instance)
                masks.append(mask)
                hints.append(hint)
        if not masks:
            raise DataError(f"{self.example.id}: all its regions are lost to the crop, expected one that is seen.")
        return meant, masks, hints

    def classes(self) -> Question:
        """For all that the list of classes names. Raises: DataError."""
        example, room = self.example, self.limits["conditions"] - 1
        things = [i for i, instance in enumerate(example.instances) if not instance.crowd]
        if wrong := [i for i in things if example.instances[i].category not in example.classes]:
            category = example.instances[wrong[0]].category
            raise DataError(f"{example.id}: the category {category!r} is not in its list of classes.")
        seen = [(i, self.mask(i)) for i in things]
        seen = sorted(((i, mask) for i, mask in seen if mask.any()), key=lambda one: -int(one[1].sum()))
        seen = seen[: self.limits["targets"]]
        present = list(dict.fromkeys(example.instances[i].category for i, _ in seen))
        others = [name for name in dict.fromkeys(example.classes) if name not in present]
        if len(present) > room:
            raise DataError(f"{example.id}: {len(present)} classes are in the picture, expected at most {room}.")
        if len(present) + len(others) > room:  # a list too long: of those that are not there some are drawn
            if self.rng is not None:
                self.rng.shuffle(others)
            others = others[: room - len(present)]
        listed = [name for name in dict.fromkeys(example.classes) if name in {*present, *others}]
        if self.rng is not None:
            self.rng.shuffle(listed)
        answer = self.names([name for name in listed if name in present])
        writer = prompts.segment_classes(self.writer, listed, answer)
        of = [listed.index(example.instances[i].category) for i, _ in seen]
        things, masks = [i for i, _ in seen], [mask for _, mask in seen]
        return Question("classes", len(listed) + 1, masks, of, things, [], writer.done())
