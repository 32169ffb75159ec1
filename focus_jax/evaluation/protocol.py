# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The model object that evaluators call: what goes in, what comes out, and the check that it did.

A checkpoint has the methods that its parts make possible. Pictures are uint8 RGB, NHWC; H and W are the same for all
pictures of one call. Row i of an answer belongs to row i of the call and does not depend on the other rows.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from focus_jax.errors import UserError
from focus_jax.sequence.parse import Answer


class Question(str):
    """Words that have to be thought about, as a prompt of `segment`; other words say what they mean."""


class Semantic(list):
    """Names of classes, as a prompt of `segment`: every pixel to one of them, each class one segment. Other lists are
    panoptic: single things and stuff, every pixel in one segment or none."""


class Instances(list):
    """Names of classes, as a prompt of `segment`: their single things ranked by score, the surest first, with `masks`
    that may overlap; what mask AP is of."""


# What is to be segmented: words; names of classes; a region (bool [H, W]: disc of a point, scribble, box or mask).
Prompt = str | list[str] | np.ndarray
# The same for a clip; a region there is a frame's index and its marked objects, int32 [H, W] with 0 = none.
ClipPrompt = str | list[str] | tuple[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Segments:
    """What was found in one picture or clip.

    ids: int32 [H, W], or [T, H, W] of a clip; 0 = none, k + 1 belongs to the segment of names[k] and scores[k]. A
    segment may have no pixel. All zeros is the answer "nothing there".
    names: a class of the list for a list of classes, else any words. scores: confidences, higher is surer.
    masks: bool [segments, *shape of ids], the segments before it was settled who has a pixel that several claim, for
    figures that rank them (mask AP); None: as in ids.
    """

    ids: np.ndarray
    names: tuple[str, ...]
    scores: tuple[float, ...]
    masks: np.ndarray | None = None

    @property
    def mask(self) -> np.ndarray:
        """bool, shape of ids: all segments together, the answer to words or a region."""
        return self.ids > 0


@dataclasses.dataclass(frozen=True)
class Edited:
    """images: uint8 [B, H, W, 3]; masks: bool [B, H, W], what the model took to be meant; refused: bool [B], True where
    it took the instruction to mean nothing in the picture (the image is then the source, pixel by pixel)."""

    images: np.ndarray
    masks: np.ndarray
    refused: np.ndarray


@dataclasses.dataclass(frozen=True)
class EditedClip:
    """frames: uint8 [T, H, W, 3]; masks: bool [T, H, W], where they were changed."""

    frames: np.ndarray
    masks: np.ndarray


class Model(Protocol):
    """What `focus_jax.load` returns, as far as evaluators know it. Wrong arguments raise UserError.

    high: long edge of the pictures that a tokenizer reads beside the images, 0 for none. redraws_under_masks: whether
    `redraw` takes masks.
    """

    high: int
    redraws_under_masks: bool

    def encode(self, images: np.ndarray, high: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Code indices int32 [B, h, w] by branch of uint8 [B, H, W, 3]; high: the same pictures with more pixels."""

    def decode(self, codes: dict[str, np.ndarray], size: tuple[int, int] | None = None) -> np.ndarray:
        """What `encode` gave of pictures of `size` -> pictures uint8 [B, *size, 3]."""

    def semantic_features(self, images: np.ndarray, high: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(decoded from semantic codes, what they stand for), both float32 [B, h, w, C]; arguments as of `encode`."""

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W, 3] through the tokenizer and back, same shape and dtype."""

    def chat(self, images: np.ndarray, questions: list[str]) -> list[str]:
        """One answer to one question about each picture; uint8 [B, H, W, 3], B questions -> B answers."""

    def choose(self, images: np.ndarray, questions: list[str], options: list[list[str]]) -> list[int]:
        """The number of the likeliest answer among the options of each row, by their log-likelihood.

        uint8 [B, H, W, 3], B questions, B lists of options -> B numbers from 0.
        """

    def likelihoods(self, images: np.ndarray, questions: list[str], options: list[list[str]]) -> list[np.ndarray]:
        """Log-likelihoods a token that `choose` decides by, float32 [options] of each row; arguments as there."""

    def segment(self, images: np.ndarray, prompts: list[Prompt]) -> list[Segments]:
        """One prompt a picture; uint8 [B, H, W, 3], B prompts -> B Segments with ids [H, W].

        Words: everything they mean, possibly nothing. Class list: every pixel in at most one segment, each named by a
        class of the list. Region: the object it marks.
        """

    def segment_video(self, frames: np.ndarray, prompt: ClipPrompt) -> Segments:
        """One clip, uint8 [T, H, W, 3] -> ids [T, H, W]; a number means the same object in all frames.

        Of a marked frame the numbers are those of the prompt, so there are as many names as its highest number.
        """

    def code_costs(self, images: np.ndarray, captions: list[str]) -> dict[str, np.ndarray]:
        """Cross-entropy of the codes of pictures uint8 [B, H, W, 3] given their captions, in nats a code: float32 [B]
        of `semantic`, `pixel` and `all` codes."""

    def write_codes(
        self, captions: list[str], *, height: int, width: int, seeds: list[int], **options: Any
    ) -> list[Answer]:
        """What is said to each caption where a picture is to be drawn; options: temperature 0 for the likeliest."""

    def generate(self, captions: list[str], *, height: int, width: int, seeds: list[int], **options: Any) -> np.ndarray:
        """A picture for each caption, uint8 [B, height, width, 3]; the same caption, seed and options give the same."""

    def edit(
        self,
        images: np.ndarray,
        instructions: list[str],
        regions: list[np.ndarray | None] | None = None,
        *,
        seeds: list[int],
        **options: Any,
    ) -> Edited:
        """Does one instruction to each picture, uint8 [B, H, W, 3]; regions: bool [H, W] where the place is given."""

    def edit_video(
        self, frames: np.ndarray, prompt: ClipPrompt, instruction: str, *, seed: int, **options: Any
    ) -> EditedClip:
        """Does one instruction to what a prompt means in a clip, uint8 [T, H, W, 3]."""

    def autoencode(self, images: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W, 3] through the diffusion decoder's autoencoder and back, same shape and dtype."""

    def diffuse(
        self, codes: dict[str, np.ndarray], size: tuple[int, int], *, seeds: list[int], **options: Any
    ) -> np.ndarray:
        """What `encode` gave, drawn by the diffusion decoder: pictures uint8 [B, *size, 3]; the same codes, seed and
        options (inference.diffusion.Options) give the same."""

    def redraw(
        self, images: np.ndarray, masks: np.ndarray | None = None, *, seeds: list[int], **options: Any
    ) -> np.ndarray:
        """What `generate`, or under masks (bool [B, H, W]) `edit`, draws from the pictures' own codes: its best.

        uint8 [B, H, W, 3] -> the same shape and dtype.
        """


METHODS = (
    *("encode", "decode", "semantic_features", "reconstruct"),
    *("chat", "choose", "likelihoods", "segment", "segment_video", "code_costs", "write_codes", "generate", "edit"),
    "redraw",
    *("autoencode", "diffuse", "edit_video"),
)


def batches(total: int, size: int) -> list[tuple[list[int], int]]:
    """`total` rows in batches of one size, the last filled up with its last row: (rows of a batch, how many count)."""
    return [([min(j, total - 1) for j in range(i, i + size)], min(size, total - i)) for i in range(0, total, size)]


class Checked:
    """A model object whose every answer is checked and whose batches all have one size.

    The methods are those of Model for any number of rows. Rows go to the model in batches of batch_size, the last
    filled up with its last row, so that a compiled model compiles once for every picture size.
    Raises (every method): UserError, one sentence naming benchmark and method, for a model that lacks the method or
    returns something else than Model says.
    """

    def __init__(self, model: Any, benchmark: str, batch_size: int):
        if batch_size < 1:
            raise UserError(f"config.batch_size: expected at least 1, found {batch_size}.")
        self.model, self.benchmark, self.batch_size = model, benchmark, batch_size

    def can(self, method: str) -> bool:
        return callable(getattr(self.model, method, None))

    def encode(self, images: np.ndarray, high: np.ndarray | None = None) -> dict[str, np.ndarray]:
        def batch(rows):
            found = self._call("encode")(images[rows], None if high is None else high[rows])
            if not isinstance(found, dict) or not found:
                self._wrong("encode", type(found).__name__, "codes by branch")
            for name, x in found.items():
                self._array("encode", name, x, np.int32, (len(rows), *np.shape(x)[1:3]))
            return found

        each = [(batch(rows), count) for rows, count in self._batches(len(images))]
        return {name: np.concatenate([found[name][:count] for found, count in each]) for name in each[0][0]}

    def decode(self, codes: dict[str, np.ndarray], size: tuple[int, int]) -> np.ndarray:
        def batch(rows):
            found = self._call("decode")({name: x[rows] for name, x in codes.items()}, size)
            self._array("decode", "images", found, np.uint8, (len(rows), *size, 3))
            return found

        total = len(next(iter(codes.values())))
        return np.concatenate([batch(rows)[:count] for rows, count in self._batches(total)])

    def semantic_features(
        self, images: np.ndarray, high: np.ndarray | None = None
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yields (rows, decoded, target) batch by batch, since all of them together may be large."""
        start = 0
        for rows, count in self._batches(len(images)):
            found = self._call("semantic_features")(images[rows], None if high is None else high[rows])
            if not isinstance(found, tuple) or len(found) != 2 or found[0].shape != found[1].shape:
                self._wrong("semantic_features", type(found).__name__, "two arrays of one shape")
            for name, x in zip(("decoded", "target"), found):
                self._array("semantic_features", name, x, np.float32, (len(rows), *np.shape(x)[1:4]))
            yield slice(start, start + count), found[0][:count], found[1][:count]
            start += count

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        def batch(rows):
            found = self._call("reconstruct")(images[rows])
            self._array("reconstruct", "images", found, np.uint8, images[rows].shape)
            return found

        return np.concatenate([batch(rows)[:count] for rows, count in self._batches(len(images))])

    def chat(self, images: np.ndarray, questions: Sequence[str]) -> list[str]:
        def batch(rows):
            found = self._call("chat")(images[rows], [questions[i] for i in rows])
            self._list("chat", found, str, "answers", len(rows))
            return found

        return [x for rows, count in self._batches(len(images)) for x in batch(rows)[:count]]

    def choose(self, images: np.ndarray, questions: Sequence[str], options: Sequence[Sequence[str]]) -> list[int]:
        def batch(rows):
            given = [list(options[i]) for i in rows]
            found = self._call("choose")(images[rows], [questions[i] for i in rows], given)
            self._list("choose", found, int, "numbers", len(rows))
            for number, among in zip(found, given):
                if not 0 <= number < len(among):
                    self._wrong("choose", f"{number} of {len(among)} options", "the number of one, from 0")
            return found

        return [x for rows, count in self._batches(len(images)) for x in batch(rows)[:count]]

    def likelihoods(
        self, images: np.ndarray, questions: Sequence[str], options: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        def batch(rows):
            given = [list(options[i]) for i in rows]
            found = self._call("likelihoods")(images[rows], [questions[i] for i in rows], given)
            self._list("likelihoods", found, np.ndarray, "arrays", len(rows))
            for one, among in zip(found, given):
                self._array("likelihoods", "values", one, np.float32, (len(among),))
            return found

        return [x for rows, count in self._batches(len(images)) for x in batch(rows)[:count]]

    def segment(self, images: np.ndarray, prompts: Sequence[Prompt]) -> list[Segments]:
        def batch(rows):
            found = self._call("segment")(images[rows], [prompts[i] for i in rows])
            self._list("segment", found, Segments, "Segments", len(rows))
            for i, one in zip(rows, found):
                self._segments("segment", one, images.shape[1:3])
                if isinstance(prompts[i], list) and (other := [x for x in one.names if x not in prompts[i]]):
                    self._wrong("segment", f"the class {other[0]!r}", f"one of {', '.join(prompts[i])}")
            return found

        return [x for rows, count in self._batches(len(images)) for x in batch(rows)[:count]]

    def segment_video(self, frames: np.ndarray, prompt: ClipPrompt) -> Segments:
        found = self._call("segment_video")(frames, prompt)
        if not isinstance(found, Segments):
            self._wrong("segment_video", type(found).__name__, "Segments")
        self._segments("segment_video", found, frames.shape[:3])
        if isinstance(prompt, tuple) and len(found.names) != prompt[1].max():
            self._wrong("segment_video", f"{len(found.names)} names", f"{prompt[1].max()}, one for each marked object")
        return found

    def code_costs(self, images: np.ndarray, captions: Sequence[str]) -> dict[str, np.ndarray]:
        def batch(rows):
            found = self._call("code_costs")(images[rows], [captions[i] for i in rows])
            if not isinstance(found, dict) or set(found) != {"semantic", "pixel", "all"}:
                self._wrong("code_costs", str(found)[:60], "arrays of semantic, pixel and all codes")
            for name, x in found.items():
                self._array("code_costs", name, x, np.float32, (len(rows),))
            return found

        each = [(batch(rows), count) for rows, count in self._batches(len(images))]
        return {name: np.concatenate([found[name][:count] for found, count in each]) for name in each[0][0]}

    def write_codes(
        self, captions: Sequence[str], *, height: int, width: int, seeds: Sequence[int], **options: Any
    ) -> list[Answer]:
        def batch(rows):
            found = self._call("write_codes")(
                [captions[i] for i in rows], height=height, width=width, seeds=[seeds[i] for i in rows], **options
            )
            self._list("write_codes", found, Answer, "Answers", len(rows))
            return found

        return [x for rows, count in self._batches(len(captions)) for x in batch(rows)[:count]]

    def generate(
        self, captions: Sequence[str], *, height: int, width: int, seeds: Sequence[int], **options: Any
    ) -> np.ndarray:
        def batch(rows):
            found = self._call("generate")(
                [captions[i] for i in rows], height=height, width=width, seeds=[seeds[i] for i in rows], **options
            )
            self._array("generate", "images", found, np.uint8, (len(rows), height, width, 3))
            return found

        return np.concatenate([batch(rows)[:count] for rows, count in self._batches(len(captions))])

    def edit(
        self,
        images: np.ndarray,
        instructions: Sequence[str],
        regions: Sequence[np.ndarray | None] | None = None,
        *,
        seeds: Sequence[int],
        **options: Any,
    ) -> Edited:
        def batch(rows, count):
            given = None if regions is None else [regions[i] for i in rows]
            found = self._call("edit")(
                images[rows], [instructions[i] for i in rows], given, seeds=[seeds[i] for i in rows], **options
            )
            if not isinstance(found, Edited):
                self._wrong("edit", type(found).__name__, "Edited")
            shape = images[rows].shape
            self._array("edit", "images", found.images, np.uint8, shape)
            self._array("edit", "masks", found.masks, np.bool_, shape[:3])
            self._array("edit", "refused", found.refused, np.bool_, shape[:1])
            if not np.array_equal(found.images[found.refused], images[rows][found.refused]):
                self._wrong("edit", "another picture where it refused", "the source")
            return found.images[:count], found.masks[:count], found.refused[:count]

        parts = [batch(rows, count) for rows, count in self._batches(len(images))]
        return Edited(*(np.concatenate(x) for x in zip(*parts)))

    def edit_video(
        self, frames: np.ndarray, prompt: ClipPrompt, instruction: str, *, seed: int, **options: Any
    ) -> EditedClip:
        found = self._call("edit_video")(frames, prompt, instruction, seed=seed, **options)
        if not isinstance(found, EditedClip):
            self._wrong("edit_video", type(found).__name__, "EditedClip")
        self._array("edit_video", "frames", found.frames, np.uint8, frames.shape)
        self._array("edit_video", "masks", found.masks, np.bool_, frames.shape[:3])
        return found

    def autoencode(self, images: np.ndarray) -> np.ndarray:
        def batch(rows):
            found = self._call("autoencode")(images[rows])
            self._array("autoencode", "images", found, np.uint8, images[rows].shape)
            return found

        return np.concatenate([batch(rows)[:count] for rows, count in self._batches(len(images))])

    def diffuse(
        self, codes: dict[str, np.ndarray], size: tuple[int, int], *, seeds: Sequence[int], **options: Any
    ) -> np.ndarray:
        def batch(rows):
            some = {name: x[rows] for name, x in codes.items()}
            found = self._call("diffuse")(some, size, seeds=[seeds[i] for i in rows], **options)
            self._array("diffuse", "images", found, np.uint8, (len(rows), *size, 3))
            return found

        return np.concatenate([batch(rows)[:count] for rows, count in self._batches(len(seeds))])

    def redraw(
        self, images: np.ndarray, masks: np.ndarray | None = None, *, seeds: Sequence[int], **options: Any
    ) -> np.ndarray:
        def batch(rows):
            under = None if masks is None else masks[rows]
            found = self._call("redraw")(images[rows], under, seeds=[seeds[i] for i in rows], **options)
            self._array("redraw", "images", found, np.uint8, images[rows].shape)
            return found

        return np.concatenate([batch(rows)[:count] for rows, count in self._batches(len(images))])

    def redraws_under_masks(self, figures: str) -> bool:
        """As of Model; says which figures are left out where it is not so."""
        if not self.model.redraws_under_masks:
            print(f"{self.benchmark}: {self.model.label} draws under no given mask; {figures} left out")
        return self.model.redraws_under_masks

    # --------------------------------------------------------------------------------------------------------- checks
    def _batches(self, total: int) -> list[tuple[list[int], int]]:
        return batches(total, self.batch_size)

    def _call(self, method: str) -> Callable[..., Any]:
        if not self.can(method):
            able = [m for m in METHODS if self.can(m)]
            label = getattr(self.model, "label", type(self.model).__name__)
            raise UserError(
                f"{label}: this checkpoint cannot {method}, which the "
                f"benchmark {self.benchmark} needs; it can {', '.join(able) or 'do nothing that is measured'}."
            )
        return getattr(self.model, method)

    def _wrong(self, method: str, found: str, expected: str) -> None:
        raise UserError(f"{self.benchmark}: the model's {method} returned {found}, expected {expected}.")

    def _list(self, method: str, found: Any, kind: type, word: str, count: int) -> None:
        if not isinstance(found, list) or not all(isinstance(x, kind) for x in found):
            kinds = {type(x).__name__ for x in found} if isinstance(found, (list, tuple)) else set()
            inside = f" of {' and '.join(sorted(kinds))}" if kinds else ""
            self._wrong(method, f"a {type(found).__name__}{inside}", f"a list of {count} {word}")
        if len(found) != count:
            self._wrong(method, f"{len(found)} {word}", f"{count}, one for each row")

    def _array(self, method: str, name: str, found: Any, dtype: Any, shape: tuple[int, ...]) -> None:
        if not isinstance(found, np.ndarray) or found.dtype != dtype or found.shape != tuple(shape):
            kind = f"{found.dtype}{list(found.shape)}" if hasattr(found, "dtype") else type(found).__name__
            self._wrong(method, f"{name} {kind}", f"{np.dtype(dtype).name}{list(shape)}")

    def _segments(self, method: str, found: Segments, shape: tuple[int, ...]) -> None:
        self._array(method, "ids", found.ids, np.int32, shape)
        if len(found.names) != len(found.scores):
            self._wrong(method, f"{len(found.names)} names and {len(found.scores)} scores", "one score for each name")
        if not all(isinstance(x, str) for x in found.names) or not np.isfinite(found.scores).all():
            self._wrong(method, "names or scores of another kind", "names as words and scores as finite numbers")
        if found.masks is not None:
            self._array(method, "masks", found.masks, np.bool_, (len(found.names), *shape))
        if found.ids.min() < 0 or found.ids.max() > len(found.names):
            low, high = found.ids.min(), found.ids.max()
            self._wrong(method, f"ids from {low} to {high}", f"0 to {len(found.names)}, the number of its names")
