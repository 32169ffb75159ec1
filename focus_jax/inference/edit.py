# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Edits: the model says what an instruction means and marks it, writes the codes of what is to be, and the diffusion
decoder draws these under the mask. Where nothing in the picture is meant, nothing is done.

A mask marks what an instruction means, in the source: of a move, the thing that is moved and not where it goes. To keep
the source's own pixels outside the mask (`feather`) is therefore for edits that stay in their place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines import buckets, targets, transforms
from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import Edited
from focus_jax.inference.composite import composite
from focus_jax.inference.draw import check, codes_of
from focus_jax.inference.queries import Rules
from focus_jax.inference.segment import NAMES, Segmenter
from focus_jax.models.mask_guidance import QUERIES
from focus_jax.sequence import parse, prompts
from focus_jax.sequence.layout import Laid, Writer


@dataclasses.dataclass(frozen=True)
class Done:
    """What was done to one picture. names: what was taken to be meant, () for nothing and for the whole picture; whole:
    whether all of it; refused: whether nothing was meant, and so nothing was done. mask: float32 [H, W] from 0 to 1,
    where; codes: by branch, of what was drawn, in the frame of `fit`. image: uint8 [H, W, 3]."""

    names: tuple[str, ...]
    whole: bool
    refused: bool
    mask: np.ndarray
    codes: dict[str, np.ndarray]
    fit: transforms.Fit
    image: np.ndarray

    @property
    def marked(self) -> np.ndarray:
        """The mask as bool [H, W]."""
        return self.mask >= 0.5


class Editor:
    """Editing by a model of stage 4. Made by focus_jax.Model."""

    def __init__(self, model: Any):
        self.model, self.segmenter = model, Segmenter(model)
        self.chat = self.segmenter.chat
        if not any(s["shape_class"] == targets.EDITING for s in self.chat.streams):
            raise UserError(f"{model.label}: its last phase has no stream of editing, expected one.")
        guidance = model.stage.decoder.guidance
        self.form = "" if guidance is None else guidance.form

    def __call__(
        self,
        images: np.ndarray,
        instructions: Sequence[str],
        regions: Sequence[np.ndarray | None] | None = None,
        *,
        seeds: Sequence[int],
        masks: Sequence[np.ndarray | None] | None = None,
        force: bool = False,
        decoder: str = "diffusion",
        scale: int = 1,
        feather: int | None = None,
        sampling: Mapping[str, float] | None = None,
        limit: int = 0,
        repair: bool = False,
        before: Callable[[list[Done]], None] | None = None,
        **options: Any,
    ) -> list[Done]:
        """One instruction to each picture, uint8 [B, H, W, 3] of any size.

        regions: bool [H, W] that mark what is meant, a click, a stroke, a box or a rough mask; the mask is sought from
        it. masks: bool [H, W], taken as they are; a picture has one of the two at most. force: does also what means
        nothing, without a mask and so without the source's pixels. decoder, scale: as of inference.draw.Drawer.
        feather: keep the source's own pixels outside the mask, with so many of its pixels to blend
        (inference.composite); None for what was drawn. sampling: of inference.decode.sampling, in place of the model's
        own. limit, repair: as of inference.draw, of the codes. before: called with what is meant before anything is
        written or drawn: without codes, the image the source. options: of inference.diffusion.Options. Raises:
        UserError.
        """
        count, size = len(images), images.shape[1:3]
        regions, masks = list(regions or [None] * count), list(masks or [None] * count)
        for name, given in (("instructions", instructions), ("regions", regions), ("masks", masks), ("seeds", seeds)):
            if len(given) != count:
                raise UserError(f"{name}: {len(given)} for {count} images, expected one each.")
        for name, given in (("regions", regions), ("masks", masks)):
            for one in given:
                if one is not None and (one.dtype != bool or one.shape != size or not one.any()):
                    told = f"{one.dtype}{list(one.shape)}" if one.any() else "nothing marked"
                    raise UserError(f"{name}: {told}, expected bool{list(size)} that marks something.")
        if twice := [i for i in range(count) if regions[i] is not None and masks[i] is not None]:
            raise UserError(f"masks: picture {twice[0]} has a region, too, expected one of them.")
        check(decoder, scale, options)
        fit = self.segmenter.fit(images)
        where = fit.bucket
        shown = {k: x[:, None] for k, x in self.chat.pictures([Image.fromarray(x) for x in images], where).items()}
        hints = [region if mask is None else mask for region, mask in zip(regions, masks)]
        shown["regions"] = np.stack([self.segmenter.covered([] if h is None else [h], fit) for h in hints])
        said = self._names(instructions, hints, where, shown)
        meant, states = self._meant(instructions, hints, said, where, shown, fit)
        whole = [text.startswith(prompts.WHOLE) and h is None for text, h in zip(said, hints)]
        found = [soft if mask is None else mask.astype(np.float32) for soft, mask in zip(meant, masks)]
        found = [np.ones(size, np.float32) if all_of_it else mask for all_of_it, mask in zip(whole, found)]
        refused = [not soft.any() and not force for soft in found]
        names = [() if a or b else tuple(parse.names(text)) for a, b, text in zip(whole, refused, said)]
        asked = [Done(names[i], whole[i], refused[i], found[i], {}, fit, images[i]) for i in range(count)]
        if before is not None:
            before(asked)
        written = self._written(instructions, hints, said, where, shown, seeds, sampling or {}, limit)
        codes = codes_of(written, "instructions", repair)
        under = self._under(np.stack(found), fit)
        if self.form == QUERIES:
            under = np.asarray(states) * ~np.array(whole)[:, None, None]  # as it was taught
        drawn = self.model.drawer.draw(codes, where, seeds, decoder=decoder, scale=scale, masks=under, **options)
        out = []
        for i, one in enumerate(asked):
            image = images[i] if one.refused else fit.back(drawn[i])
            if feather is not None and not one.refused and one.mask.any():
                image = composite(images[i], image, one.marked, feather)
            out.append(dataclasses.replace(one, codes={name: x[i] for name, x in codes.items()}, image=image))
        return out

    def redraw(
        self, images: np.ndarray, masks: np.ndarray | None = None, *, seeds: Sequence[int], scale: int = 1,
        decoder: str = "diffusion", **options: Any,
    ) -> np.ndarray:  # fmt: skip
        """What `__call__` draws from the pictures' own codes under masks [B, H, W], 0 to 1: its best; arguments as
        there. Raises: UserError, also for masks where the decoder is given the mask tokens' states instead."""
        if masks is not None and self.form == QUERIES:
            raise UserError(
                f"masks: given, expected none: {self.model.label} has model.mask_guidance.form={QUERIES!r}, whose "
                "decoder is told the states of mask tokens, which no mask has."
            )
        fit = self.segmenter.fit(images)
        shown = self.chat.pictures([Image.fromarray(x) for x in images], fit.bucket)
        codes = self.model.encode(shown["image"], shown.get("high"))
        under = None if masks is None else self._under(masks, fit)
        drawn = self.model.drawer.draw(codes, fit.bucket, seeds, decoder=decoder, scale=scale, masks=under, **options)
        return np.stack([fit.back(x) for x in drawn])

    # ------------------------------------------------------------------------------------------------- what is said
    def _laid(self, instruction: str, hint: Any, answer: str | None, where: buckets.Bucket) -> Laid:
        """The sequence up to the names (answer None), or with them, mask tokens and the size of what is drawn."""
        writer = Writer(self.chat.vocabulary, self.chat.tokenizer, self.chat.sizes(where))
        masks = hint is not None or not (answer or "").startswith(prompts.WHOLE)
        return prompts.edit(writer, instruction, where, answer, None, regions=int(hint is not None), masks=masks).done()

    def _names(self, instructions: Sequence[str], hints: Sequence[Any], where: Any, shown: Any) -> list[str]:
        laid = [self._laid(text, hint, None, where) for text, hint in zip(instructions, hints)]
        found = self.chat.say(laid, shown, limit=NAMES, structure=self.segmenter.structure)
        return [one.text.strip() for one in found]

    def _meant(
        self, instructions: Sequence[str], hints: Sequence[Any], said: Sequence[str], where: Any, shown: Any, fit: Any
    ) -> tuple[list[np.ndarray], Any]:
        """Soft masks of what the instructions mean, float32 [H, W] on the pictures, zeros for nothing; and the mask
        tokens' states [B, N, D]."""
        plain = lambda answer: "" if answer.startswith(prompts.WHOLE) else answer
        laid = [self._laid(text, hint, plain(one), where) for text, hint, one in zip(instructions, hints, said)]
        kinds = ["words" if hint is None else "regions" for hint in hints]
        masks, scores, _, states = self.segmenter.predicted(laid, shown, [1] * len(laid), kinds)
        soft = self.segmenter.soft
        return [soft(kind, masks[b], scores[b], fit, Rules()) for b, kind in enumerate(kinds)], states

    def _under(self, masks: Sequence[np.ndarray], fit: transforms.Fit) -> np.ndarray | None:
        """Masks [B, H, W] as the diffusion decoder is given them; None for one that sees none."""
        return np.stack([fit.values(m) for m in masks]) if self.form not in ("", QUERIES) else None

    def _written(
        self, instructions: Sequence[str], hints: Sequence[Any], said: Sequence[str], where: Any, shown: Any,
        seeds: Sequence[int], sampling: Mapping[str, float], limit: int,
    ) -> list[parse.Answer]:  # fmt: skip
        """What is said where the edited pictures are to be written."""
        laid = [self._laid(text, hint, answer, where) for text, hint, answer in zip(instructions, hints, said)]
        writer = Writer(self.chat.vocabulary, self.chat.tokenizer, self.chat.sizes(where))
        none = prompts.edit(writer, None, where, None, None).done()
        how = self.model.drawer.own("editing") | dict(sampling)
        return self.model.drawer.said(laid, none, where, shown, seeds, how, limit)


def edited(done: Sequence[Done]) -> Edited:
    """As evaluators read them (evaluation/protocol.py)."""
    return Edited(
        np.stack([one.image for one in done]),
        np.stack([one.marked for one in done]),
        np.array([one.refused for one in done]),
    )
