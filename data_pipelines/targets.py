# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows whose answer is a picture: generation, of a caption's picture, editing, of what an instruction makes of one, and
reconstruction, of the very picture that is shown, as of an edit whose instruction was left out.

The frozen tokenizer's codes of the target are what is learnt. The step fills them in: a row holds the target's pixels,
and its positions are numbered in the order of the sequence, semantic codes first. Editing is also a row of
segmentation.py: the answer names and marks what changes before it draws. What an instruction means is the example's
expression of the kind EDIT, or the things that its regions point at; without either, its edit region. An edit
region of all pixels is an edit of the whole picture, of which nothing is marked.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipelines import buckets, language, segmentation, transforms
from data_pipelines.errors import DataError
from data_pipelines.example import EDIT, Example
from focus_jax.errors import UserError
from focus_jax.sequence import layout, prompts

GENERATION, EDITING, RECONSTRUCTION = "generation", "editing", "reconstruction"
CLASSES = (GENERATION, EDITING, RECONSTRUCTION)
GUIDES = ("none", "masks", "whole", "own")  # of a row of editing: what says where to draw
REMOVES = re.compile(r"^(please )?(remove|delete|erase|get rid of|take (out|away)|take .* (out|away)[.!]?$)", re.I)
DROPPED = 0.1  # chance that a caption or an instruction is left out, for guidance (ILLUME+'s)


def fields(stream: dict) -> dict[str, tuple[tuple[int, ...], type]]:
    """Those of language.fields, of editing of segmentation.fields, and target uint8 [H, W, 3], target_high
    [H', W', 3] where the stream has `high`: what is drawn; zeros where the example did not fit.

    Of editing also drawn uint8 [s H, s W, 3], the target as the diffusion decoder draws it, where the stream's `scale`
    s is not 1; guide: number in GUIDES; removes: whether the instruction takes something away, 0 or 1.
    """
    bucket = stream["height"], stream["width"]
    edits = stream["shape_class"] == EDITING
    found = segmentation.fields(stream) if edits else language.fields(stream)
    found |= {"target": ((*bucket, 3), np.uint8)}
    if stream.get("high"):
        found["target_high"] = ((*buckets.high_size(bucket, stream["high"]), 3), np.uint8)
    if edits:
        found |= {"guide": ((), np.int32), "removes": ((), np.int32)}
        if (scale := stream.get("scale", 1)) != 1:
            found["drawn"] = ((scale * bucket[0], scale * bucket[1], 3), np.uint8)
    return found


def check(stream: dict, where: str) -> None:
    """Raises: DataError for a stream without a bucket, with several examples a row, or, of generation, with pictures
    that are looked at."""
    if not stream["height"] or not stream["width"]:
        raise DataError(f"{where}: has no bucket, expected the size of the pictures to draw.")
    expected = {"pack": 1, "images": int(stream["shape_class"] != GENERATION)}
    for field, value in expected.items():
        if (found := stream["sequence"][field]) != value:
            name = stream["shape_class"]
            raise DataError(f"{where}.sequence.{field}: is {found}, expected {value} with {name}.")


def piece(example: Example, stream: dict, *, rng: np.random.Generator | None = None, **options: Any) -> language.Piece:
    """An example laid out, with its pictures. options: of transforms.place; source and target are cropped alike.

    rng: draws crop, caption and whether it is left out; None: the first caption, nothing is left out. Raises: DataError
    for an example without caption and picture, or without instruction and target.
    """
    crop = None if rng is None else int(rng.integers(2**32))
    dropped = rng is not None and rng.random() < DROPPED
    sequence, bucket = stream["sequence"], (stream["height"], stream["width"])

    def placed(encoded: Any) -> tuple[dict[str, np.ndarray], transforms.Placement]:
        original = transforms.decode(encoded.data, example.id)
        own = None if crop is None else np.random.default_rng(crop)
        image, placement = transforms.place(original, bucket, name=example.id, rng=own, **options)
        arrays = {"image": image}
        if stream.get("high"):
            arrays["high"] = placement.cut(original, segmentation.high_of(stream))
        if (scale := stream.get("scale", 1)) != 1:
            arrays["drawn"] = placement.cut(original, (scale * bucket[0], scale * bucket[1]))
        return arrays, placement

    vocabulary, tokenizer = language.writing(sequence)
    writer = layout.Writer(vocabulary, tokenizer, language.sizes(sequence))
    try:
        if stream["shape_class"] == GENERATION:
            captions = [turn.text for turn in example.turns if turn.role == "caption"]
            if not captions or len(example.images) != 1:
                told = f"{len(captions)} captions and {len(example.images)} images"
                raise DataError(f"{example.id}: has {told}, expected captions of one image.")
            text = captions[0 if rng is None else int(rng.integers(len(captions)))]
            asked = prompts.generate(writer, None if dropped else text, bucket, numbers(writer.sizes))
            drawn, _ = placed(example.images[0])
            found = language.Piece(asked.done(), {})
        elif stream["shape_class"] == RECONSTRUCTION:
            if not example.images:
                raise DataError(f"{example.id}: has no image, expected one to give back.")
            drawn, _ = placed(example.images[0])
            asked = prompts.edit(writer, None, bucket, None, numbers(writer.sizes))
            found = language.Piece(asked.done(), {name: x[None] for name, x in drawn.items()})
        else:
            found, drawn = _edit(example, stream, writer, placed, dropped)
    except UserError as error:
        raise DataError(f"{example.id}: {error}") from error
    laid = found.laid
    if laid is None or len(laid) > sequence["length"] or laid.learnt > sequence["learnt"]:
        return language.Piece(None, {})
    names = {"image": "target", "high": "target_high", "drawn": "drawn"}
    return language.Piece(laid, found.arrays | {names[name]: x for name, x in drawn.items()})


def _edit(
    example: Example, stream: dict, writer: layout.Writer, placed: Any, dropped: bool
) -> tuple[language.Piece, dict[str, np.ndarray]]:
    """(the row's piece without its target, the target's arrays)."""
    if len(example.images) != 1 or example.target is None or not example.instruction.strip():
        has = f"{len(example.images)} images, {'a' if example.target else 'no'} target"
        raise DataError(f"{example.id}: has {has}, expected a picture, an instruction and what it makes of it.")
    source, target = example.images[0], example.target
    if (source.height, source.width) != (target.height, target.width):
        raise DataError(
            f"{example.id}: the target is {target.width} x {target.height}, expected the picture's {source.width} x "
            f"{source.height}."
        )
    arrays, placement = placed(source)
    bucket, codes = (stream["height"], stream["width"]), numbers(writer.sizes)
    if dropped:  # the picture itself comes back
        laid = prompts.edit(writer, None, bucket, None, codes).done()
        question, guide, drawn = segmentation.Question("words", 0, [], [], [], [], laid), "none", arrays
    else:
        asking = segmentation.Asking(example, stream, placement, segmentation.high_of(stream), None)
        asking.writer = writer
        question, guide = _question(asking, bucket, codes)
        drawn = placed(target)[0]
    found = segmentation.laid_out(question, stream, arrays["image"], arrays["high"])
    removes = int(guide == "masks" and bool(REMOVES.match(example.instruction.strip())))
    flags = {"guide": np.array(GUIDES.index(guide), np.int32), "removes": np.array(removes, np.int32)}
    return language.Piece(found.laid, found.arrays | flags), drawn


def _question(asking: segmentation.Asking, bucket: buckets.Bucket, codes: Any) -> tuple[segmentation.Question, str]:
    """(what the instruction asks for, of GUIDES)."""
    example, region = asking.example, asking.example.edit_region
    changes = None if region is None else asking.cut(region, "what changes")
    meant = next((e for e in example.expressions if e.kind == EDIT), None)
    laid = lambda answer, **more: prompts.edit(asking.writer, example.instruction, bucket, answer, codes, **more).done()
    if region is not None and region.to_array().all():
        answer = prompts.names([prompts.WHOLE])
        return segmentation.Question("words", 0, [], [], [], [], laid(answer, masks=False)), "whole"
    named = lambda things: prompts.names([example.instances[i].category or segmentation.UNNAMED for i in things])
    said = meant.answer if meant else ""
    if hints := [hint for hint in example.regions if hint.instance is not None]:
        things, masks, marks = asking.marked(hints)
        order, sequence = list(range(len(things))), laid(said or named(things), regions=len(things))
        return segmentation.Question("regions", len(things), masks, order, things, marks, sequence), "masks"
    if meant:
        masks, answer = [asking.mask(number) for number in meant.instances], said or named(meant.instances)
    elif changes is None:  # a source that marks nothing does not say what changes
        return segmentation.Question("words", 0, [], [], [], [], laid("")), "own"
    else:
        masks, answer = [changes], prompts.names([segmentation.UNNAMED] if changes.any() else [])
    masks, things = asking.bounded(masks, [-1] * len(masks))
    question = segmentation.Question("words", 1, masks, [0] * len(masks), things, [], laid(answer))
    return question, "masks" if masks else "none"


def numbers(sizes: layout.Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Codes that stand for what is not known yet: of both levels code 0 (layout.Writer.target numbers the places)."""
    return np.zeros(sizes.semantic, np.int32), np.zeros(sizes.pixel, np.int32)


def join(pieces: Sequence[language.Piece], stream: dict) -> dict[str, np.ndarray]:
    """One row of one example."""
    base = segmentation.join if stream["shape_class"] == EDITING else language.join
    out = base(pieces, stream)
    for name, (shape, dtype) in fields(stream).items():
        if name not in out:
            out[name] = pieces[0].arrays.get(name, np.zeros(shape, dtype))
    return out
