# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The tasks as sequences: FOCUS Table 10's instructions and conditions in Qwen's chat format.

    <|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n
    <|im_start|>user\\n IMAGE \\n instruction condition <|im_end|>\\n
    <|im_start|>assistant\\n answer <|im_end|>\\n

The assistant's words, the <|im_end|> behind them and the line break are learnt, nothing else. An answer that segments
ends in <|seg|> and the mask tokens: names first, masks after. Table 10 fixes the instructions; what surrounds them, and
the two sentences of dropped conditions, are ILLUME+'s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_pipelines.example import PLACEHOLDER, Turn
from focus_jax.errors import UserError
from focus_jax.sequence import vocabulary as vocab
from focus_jax.sequence.layout import Writer

SYSTEM = "You are a helpful assistant."
CLASSES = "Please segment all the positive objects by the following candidate categories."
REFERRING = "Please segment the target referred to by the language description."
REASONING = "Please segment the target referred to by the reasoning-based description."
REGIONS = "Please segment according to the given visual reference regions."
GENERATE = "Please generate an image according to the following description."
EDIT = "Please edit the image according to the following instruction."
CAPTION = "Please describe the image."
RANDOM = "Generate a random image of "  # and its resolution: a description that was dropped
RECONSTRUCT = "Reconstruct the image according to the given image"  # an instruction that was dropped
WHOLE = "the whole picture"  # the name of what changes where everything may
NOTHING = "none"  # the name of a target that is not there
BACKGROUND = "background"  # the last candidate of every list of classes

Codes = tuple[np.ndarray, np.ndarray]  # int [h, w] of both levels


def begin(writer: Writer, system: str = SYSTEM) -> Writer:
    """The system's turn."""
    return _close(_open(writer, "system").text(system))


def _open(writer: Writer, role: str) -> Writer:
    return writer.special(vocab.TURN).text(f"{role}\n")


def _close(writer: Writer, learn: bool = False) -> Writer:
    return writer.special(vocab.END, learn=learn).text("\n", learn=learn)


def chat(writer: Writer, turns: Sequence[Turn], *, open_end: bool = False) -> Writer:
    """A conversation about any number of images, which stand in the order in which turns name them.

    turns: user and assistant in turn, a system's may come first. open_end: the last turn is a user's, and the answer is
    to be written; else it is an assistant's, and every answer is learnt.
    Raises: UserError for turns in another order, an empty answer, and for text whose placeholders are not as many as
    its images.
    """
    turns = list(turns)
    system = turns.pop(0).text if turns and turns[0].role == "system" else SYSTEM
    begin(writer, system)
    if not turns or len(turns) % 2 != open_end:
        raise UserError(f"turns: {len(turns)}, expected user and assistant in turn, the last by the {_last(open_end)}.")
    for i, turn in enumerate(turns):
        expected = ("user", "assistant")[i % 2]
        if turn.role != expected:
            raise UserError(f"turns[{i}].role: {turn.role}, expected {expected}: turns alternate.")
        _open(writer, expected)
        if expected == "user":
            _with_images(writer, turn, i)
            _close(writer)
        elif not turn.text.strip():
            raise UserError(f"turns[{i}].text: empty, expected an answer.")
        elif turn.images:
            raise UserError(f"turns[{i}].images: an assistant's turn shows none, expected them in the user's.")
        else:
            _close(writer.text(turn.text, learn=True), learn=True)
    return _open(writer, "assistant") if open_end else writer


def reply(writer: Writer, turn: Turn, *, ended: bool = True) -> Writer:
    """What stands behind an answer: the user's next turn, and the beginning of another. ended: by its <|im_end|>."""
    if not ended:
        writer.special(vocab.END)
    writer.text("\n")
    _open(writer, "user")
    _with_images(writer, turn, 0)
    return _open(_close(writer), "assistant")


def _last(open_end: bool) -> str:
    return "user" if open_end else "assistant"


def _with_images(writer: Writer, turn: Turn, number: int) -> None:
    pieces = turn.text.split(PLACEHOLDER)
    shown, named = len(pieces) - 1, len(turn.images)
    if shown not in (0, named):
        raise UserError(f"turns[{number}]: its text has {shown} times {PLACEHOLDER} for {named} images.")
    if not shown:
        for _ in turn.images:
            writer.image().text("\n")
        writer.text(turn.text)
        return
    for i, piece in enumerate(pieces):
        if i:
            writer.image()
        if piece:
            writer.text(piece)


def _ask(writer: Writer, instruction: str, images: int = 1, size: tuple[int, int] | None = None) -> Writer:
    """The user's turn up to the condition. size: (height, width) in pixels, told before an image that is edited."""
    begin(writer)
    _open(writer, "user")
    for _ in range(images):
        if size is not None:
            writer.tags(*size)
        writer.image().text("\n")
    return writer.text(instruction)


def _masks(writer: Writer, answer: str | None, condition: int = 0, slots: bool = True) -> Writer:
    """The assistant's turn: names, the marker, mask tokens (slots). None: the answer is to be written.

    condition: the one that the answer belongs to, too. What words mean is known where they have been thought about:
    E_P of "the circle left of the square" knows the circle once the answer has said "small red circle", for at the
    words themselves nothing behind them is seen.
    """
    _open(_close(writer), "assistant")
    if answer is None:
        return writer
    if answer:
        writer.text(answer, learn=True, condition=condition)
    writer.special(vocab.SEG, learn=True, condition=condition)
    return writer.masks() if slots else writer


def names(found: Sequence[str]) -> str:
    """The names of what was found, once each, as an answer says them: "person, dog.", or "none."."""
    return f"{', '.join(dict.fromkeys(found)) or NOTHING}."


def segment_classes(
    writer: Writer, classes: Sequence[str], answer: str | None, *, images: int = 1, end: bool = True
) -> Writer:
    """Class-based segmentation; condition k is classes[k - 1] with its marker, the last one the background.

    images: frames of a clip, or 1. answer: `names` of the classes that are there; "" leaves the names out.
    """
    if not classes:
        raise UserError("classes: none, expected the candidate categories.")
    _ask(writer, CLASSES, images)
    for i, name in enumerate([*classes, BACKGROUND]):
        condition = writer.condition()
        writer.text(f" {name}", condition=condition).special(vocab.SEG, condition=condition)
        writer.text("." if i == len(classes) else ",")
    return _end(_masks(writer, answer), answer, end)


def segment_words(
    writer: Writer, words: str, answer: str | None, *, reasoning: bool = False, images: int = 1, end: bool = True
) -> Writer:
    """Referring segmentation, or by a description that has to be thought about; the words and the answer are condition
    1."""
    if not words.strip():
        raise UserError("words: empty, expected a description of what to segment.")
    _ask(writer, REASONING if reasoning else REFERRING, images)
    condition = writer.condition()
    writer.text(f' "{words}"', condition=condition).special(vocab.SEG, condition=condition)
    return _end(_masks(writer, answer, condition), answer, end)


def segment_regions(writer: Writer, regions: int, answer: str | None, *, images: int = 1, end: bool = True) -> Writer:
    """Interactive segmentation; region k is condition k."""
    if regions < 1:
        raise UserError(f"regions: {regions}, expected at least one marked region.")
    _ask(writer, f"{REGIONS} ", images)
    for i in range(regions):
        writer.region(writer.condition())
        writer.text("." if i == regions - 1 else ", ")
    return _end(_masks(writer, answer), answer, end)


def _end(writer: Writer, answer: str | None, end: bool) -> Writer:
    return _close(writer, learn=True) if end and answer is not None else writer


def caption(writer: Writer, text: str | None) -> Writer:
    """An image and what it shows. None: that is to be written."""
    _open(_close(_ask(writer, CAPTION)), "assistant")
    if text is None:
        return writer
    if not text.strip():
        raise UserError("caption: empty, expected words.")
    return _close(writer.text(text, learn=True), learn=True)


def generate(writer: Writer, text: str | None, size: tuple[int, int], codes: Codes | None) -> Writer:
    """Text to image. text: None where it was dropped for guidance. codes: None where they are to be written."""
    begin(writer)
    _open(writer, "user")
    if text is None:
        writer.text(RANDOM).tags(*size).text("\n")
    elif not text.strip():
        raise UserError("description: empty, expected words; None stands for a dropped one.")
    else:
        condition = writer.condition()
        writer.text(GENERATE).text(f" {text}", condition=condition)
    return _draw(_open(_close(writer), "assistant"), size, codes)


def edit(
    writer: Writer,
    instruction: str | None,
    size: tuple[int, int],
    answer: str | None,
    codes: Codes | None,
    *,
    regions: int = 0,
    masks: bool = True,
) -> Writer:
    """Editing: the name and mask of what changes, then the image.

    instruction: None where it was dropped; the codes are then the source's, and nothing is segmented. answer, codes:
    None where they are to be written. regions: how many the instruction points at ("remove this"); region k is then
    condition k, else the instruction is condition 1, and the answer with it. masks: False leaves the mask tokens out,
    for an edit of WHOLE.
    """
    if instruction is None:
        _open(_close(_ask(writer, f"{RECONSTRUCT}\n", size=size)), "assistant")
        return _draw(writer, size, codes)
    if not instruction.strip():
        raise UserError("instruction: empty, expected words; None stands for a dropped one.")
    _ask(writer, EDIT, size=size)
    condition = 0 if regions else writer.condition()
    writer.text(f" {instruction}", condition=condition)
    if regions:
        writer.text(" ")
    else:
        writer.special(vocab.SEG, condition=condition)
    for i in range(regions):
        writer.region(writer.condition())
        writer.text("." if i == regions - 1 else ", ")
    _masks(writer, answer, condition, slots=masks)
    return writer if answer is None else _draw(writer, size, codes)


def _draw(writer: Writer, size: tuple[int, int], codes: Codes | None) -> Writer:
    """The resolution, then the image. Without codes the resolution is given and the rest to be written."""
    if codes is None:
        return writer.tags(*size)
    return _close(writer.tags(*size, learn=True).target(*codes), learn=True)
