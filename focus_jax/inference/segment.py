# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Masks of whole pictures: the model's own words first, then its mask tokens, then who has which pixel.

The answer's names are said as any answer is, greedily, up to <|seg|>; the sequence is then laid out with them as in
training and read once more, mask tokens included. So what is measured is what a user gets, and nothing is told that the
model did not say.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from data_pipelines import buckets, segmentation, transforms
from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import Prompt, Question, Segments
from focus_jax.inference.chat import padded
from focus_jax.inference.queries import Rules, enlarged, listed, settled, sigmoid
from focus_jax.inference.structure import answers
from focus_jax.sequence import prompts as ask
from focus_jax.sequence import vocabulary as vocab
from focus_jax.sequence.layout import KINDS, Laid, Writer
from focus_jax.stages import masks as masks_stage

NAMES = 64  # ids of an answer's names at most
EXPLAINED = 256  # of an answer to a question, which may say why
LONGEST = 120  # letters of a name; longer answers explain
UNNAMED = "it"  # what was found where the answer names nothing


@dataclasses.dataclass(frozen=True)
class Looked:
    """What the model made of some pictures. said: its words; masks: logits [B, N, h, w] on the padded square; scores: z
    [B, N, K]; embeddings: e_j [B, N, E], None where it has none; fit: of the pictures in their bucket."""

    said: list[str]
    masks: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray | None
    fit: transforms.Fit


Asked = Prompt | int  # a number: of regions that are given by themselves


def last(stage: Any, params: Any, batch: Any) -> tuple[Any, ...]:
    """(masks, scores, embeddings as in Looked, mask tokens' states [B, N, D]) of rows as stage.predict reads them."""
    hidden, found = stage.predict(params, batch)
    states = masks_stage.read(hidden, batch, found.masks.shape[2])[0]
    return found.masks[-1], found.scores[-1], found.embeddings, states


class Segmenter:
    """Segmentation by a model of stage 3. Made by focus_jax.Model."""

    def __init__(self, model: Any):
        self.model, self.chat, self.stage = model, model.talk, model.stage
        if getattr(self.stage.focus, "mask_decoder", None) is None:
            raise UserError(f"{model.label}: this model has no mask decoder; its parts are {', '.join(model.params)}.")
        self.streams = [s for s in self.chat.streams if s["shape_class"] == segmentation.CLASS]
        if not self.streams:
            raise UserError(f"{model.label}: its last phase has no stream of segmentation, expected one.")
        self.limits, self.high = self.streams[0]["segmentation"], self.streams[0]["high"]
        self.structure = answers(self.chat.vocabulary, stops=(vocab.SEG,))
        self._run = jax.jit(functools.partial(last, self.stage))

    def __call__(
        self, images: np.ndarray, prompts: Sequence[Prompt], *, names: bool = True, rules: Rules | None = None
    ) -> list[Segments]:
        """One prompt a picture, uint8 [B, H, W, 3] -> what was found in each, at the pictures' size.

        names: False leaves the answer's words out (an ablation). rules: default Rules().
        Raises: UserError for a prompt that means nothing.
        """
        if len(images) != len(prompts):
            raise UserError(f"prompts: {len(prompts)} for {len(images)} images, expected one each.")
        fit = self.fit(images)
        regions = np.stack([self._region(prompt, fit) for prompt in prompts])
        found = self.look(images, prompts, regions, names=names)
        return [
            self._segments(prompt, answer, found.masks[b], found.scores[b], fit, rules or Rules())
            for b, (prompt, answer) in enumerate(zip(prompts, found.said))
        ]

    def fit(self, images: np.ndarray) -> transforms.Fit:
        """Of pictures uint8 [B, H, W, 3] in their bucket."""
        size = images.shape[1:3]
        return transforms.fit(*size, [self.chat.bucket(*size)])

    def look(self, images: np.ndarray, prompts: Sequence[Asked], regions: np.ndarray, *, names: bool = True) -> Looked:
        """uint8 [B, H, W, 3], one prompt each. regions: [G, R, h, w] as `covered` gives them, on the first of every
        B / G pictures (Focus.asked). names: as in __call__."""
        fit = self.fit(images)
        where = fit.bucket
        shown = {k: x[:, None] for k, x in self.chat.pictures([Image.fromarray(x) for x in images], where).items()}
        said = [""] * len(prompts)
        if names:
            laid = [self._laid(prompt, where, None) for prompt in prompts]
            limit = EXPLAINED if any(isinstance(prompt, Question) for prompt in prompts) else NAMES
            answers = self.chat.say(laid, shown | {"regions": regions}, limit=limit, structure=self.structure)
            said = [one.text.strip() for one in answers]
        laid = [self._laid(prompt, where, answer) for prompt, answer in zip(prompts, said)]
        kinds = [_kind(prompt) for prompt in prompts]
        found = self.predicted(laid, shown | {"regions": regions}, [_conditions(prompt) for prompt in prompts], kinds)
        return Looked(said, *found[:3], fit)

    def predicted(
        self, laid: Sequence[Laid], shown: dict[str, np.ndarray], conditions: Sequence[int], kinds: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, jax.Array]:
        """Masks, scores and embeddings as in Looked of sequences with mask tokens, and these tokens' states [B, N, D].
        shown: pictures and regions; conditions: how many the answers have; kinds: of sequence.layout.KINDS."""
        # Rows as data_pipelines/segmentation.py makes them, without targets.
        names = ("ids", "roles", "features", "conditions", "segments", "positions")
        batch = padded(laid, names) | shown
        batch["known"] = np.arange(self.limits["conditions"])[None] < np.array(conditions)[:, None]
        batch["kind"] = np.array([KINDS.index(kind) for kind in kinds], np.int32)
        with self.model.scope():
            *found, states = self._run(self.model.params, jax.tree.map(jnp.asarray, batch))
            return *jax.device_get(found), states  # which edits under mask tokens alone read

    # -------------------------------------------------------------------------------------------------- what is read
    def _laid(self, prompt: Asked, where: buckets.Bucket, answer: str | None) -> Laid:
        """The sequence of a prompt; answer: None where it is to be written."""
        writer = Writer(self.chat.vocabulary, self.chat.tokenizer, self.chat.sizes(where))
        if isinstance(prompt, str):
            return ask.segment_words(writer, prompt, answer, reasoning=isinstance(prompt, Question)).done()
        if isinstance(prompt, np.ndarray | int):
            return ask.segment_regions(writer, prompt if isinstance(prompt, int) else 1, answer).done()
        classes = listed(prompt, self.limits["conditions"] - 1)
        return ask.segment_classes(writer, classes, answer).done()

    def _region(self, prompt: Prompt, fit: transforms.Fit) -> np.ndarray:
        """The coverage of a marked region, uint8 [R, h, w]; zeros without one. Raises: UserError."""
        if not isinstance(prompt, np.ndarray):
            return self.covered([], fit)
        if prompt.dtype != bool or prompt.shape != fit.size:
            raise UserError(f"prompts: a region {prompt.dtype}{list(prompt.shape)}, expected bool{list(fit.size)}.")
        if not prompt.any():
            raise UserError("prompts: a region without a pixel, expected one that marks something.")
        return self.covered([prompt], fit)

    def covered(self, marked: Sequence[np.ndarray], fit: transforms.Fit) -> np.ndarray:
        """Regions bool [H, W] of a picture -> uint8 [R, h, w] as in data_pipelines/segmentation.py; the rest zeros."""
        size = buckets.high_size(fit.bucket, self.high)
        out = np.zeros((self.limits["regions"], *segmentation.coverage_size(size)), np.uint8)
        height, width = fit.inside_of(size)
        for to, region in zip(out, marked):
            canvas = np.zeros(size, bool)
            whole = Image.fromarray(region.astype(np.uint8) * 255)
            small = np.asarray(whole.resize((width, height), Image.Resampling.BOX))
            # What is smaller than a pixel there must not vanish.
            canvas[:height, :width] = small >= min(128, small.max())
            to[:] = segmentation.coverage(canvas)
        return out

    # -------------------------------------------------------------------------------------------- what comes of masks
    def _inside(self, fit: transforms.Fit) -> tuple[int, tuple[int, int]]:
        """Of X_H: the padded square's side, and the height and width of what is picture, pixels."""
        size = buckets.high_size(fit.bucket, self.high)
        return self.stage.focus.tokenizer.padded_side(*size), fit.inside_of(size)

    def upright(self, masks: np.ndarray, fit: transforms.Fit) -> np.ndarray:
        """Logits [N, h, w] on the padded square -> float32 [N, H, W] on the picture; of few queries at a time."""
        return enlarged(masks, *self._inside(fit), fit.size)

    def quality(self, masks: np.ndarray, fit: transforms.Fit) -> np.ndarray:
        """Mean sigmoid of each mask where it is, [N], at the size of the logits; 0 of one that is nowhere."""
        side, inside = self._inside(fit)
        height, width = (-(-i * n // side) for i, n in zip(inside, masks.shape[1:]))
        masks = masks[:, :height, :width]
        there = masks > 0
        return np.sum(sigmoid(masks) * there, axis=(1, 2)) / np.maximum(there.sum(axis=(1, 2)), 1)

    def chosen(
        self, kind: str, masks: np.ndarray, scores: np.ndarray, fit: transforms.Fit, rules: Rules
    ) -> tuple[list[int], np.ndarray]:
        """(queries that show what words or a region mean, how sure each query is [N]); arguments as of `_segments`."""
        sure = sigmoid(scores[:, 0]) * self.quality(masks, fit)
        found = [int(np.argmax(sure))] if kind == "regions" else np.flatnonzero(sure >= rules.words).tolist()
        return found, sure

    def soft(self, kind: str, masks: np.ndarray, scores: np.ndarray, fit: transforms.Fit, rules: Rules) -> np.ndarray:
        """What words or a region mean as float32 [H, W] from 0 to 1, zeros for nothing."""
        found, _ = self.chosen(kind, masks, scores, fit, rules)
        if not found:
            return np.zeros(fit.size, np.float32)
        return np.max(sigmoid(self.upright(masks[found], fit)), axis=0).astype(np.float32)

    def _segments(
        self, prompt: Prompt, answer: str, masks: np.ndarray, scores: np.ndarray, fit: transforms.Fit, rules: Rules
    ) -> Segments:
        """masks: logits [N, h, w] on the padded square; scores: z [N, K]."""
        kind = _kind(prompt)
        if kind == "classes":
            upright = lambda kept: self.upright(masks[kept], fit)
            return settled(prompt, scores, upright, fit.size, rules)
        chosen, sure = self.chosen(kind, masks, scores, fit, rules)
        if not chosen:
            return Segments(np.zeros(fit.size, np.int32), (), ())
        mask = np.any(self.upright(masks[chosen], fit) > 0, axis=0)
        name = " ".join(answer.split()).rstrip(".")
        if name in ("", ask.NOTHING) or len(name) > LONGEST:  # an explanation is no name
            name = UNNAMED
        return Segments(mask.astype(np.int32), (name,), (float(sure[chosen].max()),))


def _kind(prompt: Asked) -> str:
    return "words" if isinstance(prompt, str) else "regions" if isinstance(prompt, np.ndarray | int) else "classes"


def _conditions(prompt: Asked) -> int:
    """How many the answer has; a list of classes has the background behind them."""
    return prompt if isinstance(prompt, int) else len(prompt) + 1 if isinstance(prompt, list) else 1
