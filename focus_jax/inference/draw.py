# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures out of captions: the language model writes their codes, the diffusion decoder draws them where there is one,
else the tokenizer's own.

Under the structure mask (inference/structure.py) every picture is whole: a caption leads to a frame with so many codes
of both levels. What the model itself would have said without it is not asked.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from data_pipelines import rows, targets, transforms
from data_pipelines.example import Example, Turn
from data_pipelines.world.examples import picture
from focus_jax.errors import UserError
from focus_jax.inference import decode
from focus_jax.inference.chat import padded
from focus_jax.inference.diffusion import Options
from focus_jax.inference.structure import answers
from focus_jax.sequence import parse, prompts
from focus_jax.sequence.layout import Laid, Writer
from focus_jax.stages import drawing

DECODERS = ("diffusion", "tokenizer")
BEHIND = 8  # ids behind a picture's last: the end of the turn, and room to miss it
GREEDY = dict(temperature=0.0, top_k=0, top_p=1.0, guidance=1.0)  # of inference.decode.sampling: its defaults


@dataclasses.dataclass(frozen=True)
class Drawn:
    """picture: uint8 [H, W, 3]; codes: int32 [h, w] by branch; fit: of a picture of the codes' bucket in it."""

    picture: np.ndarray
    codes: dict[str, np.ndarray]
    fit: transforms.Fit


def check(decoder: str, scale: int, options: Mapping[str, Any]) -> None:
    """How codes are to be drawn, before they are written. Raises: UserError."""
    if decoder not in DECODERS:
        raise UserError(f"decoder: {decoder!r}, expected {' or '.join(DECODERS)}.")
    if scale not in (1, 2) or (scale == 2 and decoder == "tokenizer"):
        raise UserError(f"scale: {scale!r}, expected 1, or 2 of the diffusion decoder.")
    Options(**{name: x for name, x in options.items() if name != "show"})


def codes_of(
    found: Sequence[parse.Answer], name: str, repair: bool = False, numbers: Sequence[int] | None = None
) -> dict[str, np.ndarray]:
    """Codes by branch of pictures that were written, int32 [B, h, w]; repair: of such as were cut short what lacks is
    the last code again, with a warning; numbers: of the pictures in these sentences, by default from 0 on. Raises:
    UserError naming whose is none, or cut short."""
    for i, one in zip(range(len(found)) if numbers is None else numbers, found, strict=True):
        said = "; ".join(one.problems)
        if one.codes is None:
            raise UserError(f"{name}[{i}]: no picture was written ({said}).")
        if short := [problem for problem in one.problems if problem.startswith("level")]:
            said = "; ".join(short)
            if not repair:
                raise UserError(f"{name}[{i}]: its picture was cut short ({said}), expected a higher limit, or repair.")
            warnings.warn(f"{name}[{i}]: cut short ({said}); what lacks is the last code again.", stacklevel=2)
    return {branch: np.stack([one.codes[i] for one in found]) for i, branch in enumerate(drawing.BRANCHES)}


class Drawer:
    """Text to image by a model of stage 3 or 4. Made by focus_jax.Model."""

    def __init__(self, model: Any):
        self.model, self.chat = model, model.talk
        if not any(s["shape_class"] in targets.CLASSES for s in self.chat.streams):
            raise UserError(f"{model.label}: its last phase has no stream of generation or editing, expected one.")
        self.streams = [s for s in self.chat.streams if s["shape_class"] == targets.GENERATION]
        self._costs = jax.jit(self._code_costs)

    def own(self, task: str) -> dict[str, Any]:
        """How the model writes codes by itself, its config's `sampling`: of inference.decode.sampling; greedily without
        one. task: generation or editing."""
        return GREEDY | dict(self.model.config.get("sampling", {}).get(task, {}))

    def write(
        self, captions: Sequence[str], *, height: int, width: int, seeds: Sequence[int], limit: int = 0, **options: Any
    ) -> list[parse.Answer]:
        """What is said to each caption for a picture of the bucket nearest to height x width; one seed each.

        limit: ids at most, 0 for what a picture takes. options: of inference.decode.sampling, in place of the model's
        own; guidance above 1 holds a caption against none. Raises: UserError for captions and seeds of other numbers,
        and an empty caption.
        """
        if len(captions) != len(seeds):
            raise UserError(f"seeds: {len(seeds)} for {len(captions)} captions, expected one each.")
        bucket = self.chat.bucket(height, width, "the picture")
        laid = [prompts.generate(self._writer(bucket), text, bucket, None).done() for text in captions]
        none = prompts.generate(self._writer(bucket), None, bucket, None).done()
        return self.said(laid, none, bucket, {}, seeds, self.own("generation") | options, limit)

    def said(
        self, laid: Sequence[Laid], none: Laid, bucket: tuple[int, int], shown: Mapping[str, np.ndarray],
        seeds: Sequence[int], options: Mapping[str, Any], limit: int = 0,
    ) -> list[parse.Answer]:  # fmt: skip
        """What is said behind sequences that end where a picture of the bucket is to be written. none: the sequence
        without words, for guidance; shown: what they show; options: of inference.decode.sampling; limit: as of `write`.
        """
        if limit < 0:
            raise UserError(f"limit: {limit}, expected 0 or a number of ids.")
        sizes, count = self.chat.sizes(bucket), len(laid)
        sampling = decode.sampling(count, seeds=seeds, **options)
        guided = float(options.get("guidance", 1.0)) > 1
        structure = answers(self.chat.vocabulary, sizes)
        limit = limit or int(structure.last) + BEHIND
        conversation = self.chat.begin(count, guided=guided, slots=max(map(len, laid)) + limit)
        embedded = lambda found: self.chat.embed(padded(found, ("ids", "roles", "features")) | dict(shown))
        with self.model.scope():
            beside = (embedded([none] * count), [len(none)] * count) if guided else None
            conversation.read(embedded(laid), [len(one) for one in laid], unconditional=beside)
            found = conversation.say(structure, sampling, limit=limit, draw=True, beside=self.chat.beside_codes(shown))
        return [parse.parse(one.ids, self.chat.vocabulary, self.chat.tokenizer, sizes) for one in found]

    def __call__(self, captions: Sequence[str], **options: Any) -> np.ndarray:
        """uint8 [B, height, width, 3]; arguments as of `made`."""
        return np.stack([one.picture for one in self.made(captions, **options)])

    def made(
        self, captions: Sequence[str], *, height: int, width: int, seeds: Sequence[int], decoder: str = "",
        scale: int = 1, diffusion: Mapping[str, Any] | None = None, repair: bool = False,
        numbers: Sequence[int] | None = None, **options: Any,
    ) -> list[Drawn]:  # fmt: skip
        """A picture of each caption; arguments as of `write`.

        decoder: of DECODERS, "" for the first that the model has; scale: times the codes' picture that the diffusion
        decoder draws, 1 or 2; diffusion: of inference.diffusion.Options; repair, numbers: as of codes_of. Raises:
        UserError.
        """
        decoder = decoder or self.decoder
        check(decoder, scale, diffusion or {})
        found = self.write(captions, height=height, width=width, seeds=seeds, **options)
        bucket = self.chat.bucket(height, width, "the picture")
        codes = codes_of(found, "captions", repair, numbers)
        drawn = self.draw(codes, bucket, seeds, decoder=decoder, scale=scale, **(diffusion or {}))
        if drawn.shape[1:3] != (height, width):
            resize = lambda x: np.asarray(Image.fromarray(x).resize((width, height), Image.Resampling.LANCZOS))
            drawn = np.stack([resize(x) for x in drawn])
        fit = transforms.whole(*bucket, bucket)
        return [Drawn(x, {name: y[i] for name, y in codes.items()}, fit) for i, x in enumerate(drawn)]

    @property
    def decoder(self) -> str:
        """The first of DECODERS that the model has."""
        return "diffusion" if self.model.edits_pictures else "tokenizer"

    def draw(
        self, codes: dict[str, np.ndarray], bucket: tuple[int, int], seeds: Sequence[int], *, decoder: str, scale: int,
        masks: np.ndarray | None = None, **options: Any,
    ) -> np.ndarray:  # fmt: skip
        """Pictures uint8 [B, H, W, 3] of codes of a bucket by one of DECODERS. Raises: UserError."""
        check(decoder, scale, options)
        if decoder == "tokenizer":
            return self.model.decode(codes)
        size = scale * bucket[0], scale * bucket[1]
        return self.model.diffuse(codes, size, seeds=seeds, masks=masks, **options)

    def costs(self, images: np.ndarray, captions: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Cross-entropy of the codes of pictures uint8 [B, H, W, 3] given their captions, nats a code: float32 [B]
        of `semantic`, `pixel` and `all` codes. Raises: UserError, DataError."""
        if len(images) != len(captions):
            raise UserError(f"captions: {len(captions)} for {len(images)} images, expected one each.")
        if not self.streams:
            raise UserError(f"{self.model.label}: its last phase has no stream of generation, expected one.")
        bucket = self.chat.bucket(*images.shape[1:3])
        stream = next((s for s in self.streams if (s["height"], s["width"]) == bucket), self.streams[0])
        made = []
        for i, (image, caption) in enumerate(zip(images, captions)):
            turn = Turn(role="caption", text=caption, images=[0])
            made.append(rows.row(Example(id=str(i), source="given", images=[picture(image)], turns=[turn]), stream))
            if made[-1]["left_out"]:
                raise UserError(f"captions[{i}]: is too long for a row of {stream['sequence']['length']} positions.")
        batch = {name: np.stack([row[name] for row in made]) for name in made[0]}
        batch["weight"] = np.ones(len(made), np.float32)
        with self.model.scope():
            found = self._costs(self.model.params, jax.tree.map(jnp.asarray, batch))
        return {name: np.asarray(x) for name, x in found.items()}

    def _code_costs(self, params: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        stage = self.model.stage
        batch = stage.filled(params, batch)
        _, labels, found = stage.cross_entropy(params, batch)
        out, total, count = {}, 0.0, 0.0
        for level, name in enumerate(drawing.BRANCHES):
            ids = stage.vocabulary.codes(level)
            mine = (labels >= ids.start) & (labels < ids.stop)
            cost, codes = jnp.sum(jnp.where(mine, found.nll, 0.0), axis=1), jnp.sum(mine, axis=1)
            out[name], total, count = cost / codes, total + cost, count + codes
        return out | {"all": total / count}

    def _writer(self, bucket: tuple[int, int]) -> Writer:
        return Writer(self.chat.vocabulary, self.chat.tokenizer, self.chat.sizes(bucket))
