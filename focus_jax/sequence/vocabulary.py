# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which id means what: text, Qwen's special tokens, what frames an image, resolution tags, codes of both levels, ours.

At full size the ids are those of the released ILLUME+ model: Qwen2.5's 151,665, then 131,111 that stand for images. Its
embedding has 271 rows more than it has tokens (Qwen2.5's own is padded); our special tokens stand in the first of them,
so that released weights fit row by row. The tiny model has the same blocks behind a small text part.

Special tokens are placed by their ids. No text ever gives one, whatever it spells (text.py).
"""

import dataclasses
import functools
import hashlib
import json
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from focus_jax.errors import UserError

VERSION = 1  # changes when an id changes its meaning; checkpoints carry it beside the fingerprint

PAD, TURN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"  # padding; a turn begins, a turn ends
QWEN = (  # the special tokens of Qwen2.5 in their order
    PAD, TURN, END, "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",
    "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>",
)  # fmt: skip

IMAGE, IMAGE_END, LINE_END = "<start_of_image>", "<end_of_image>", "<end_of_line>"
LEVEL, LEVEL_END = ("<start_of_level0>", "<start_of_level1>"), ("<end_of_level0>", "<end_of_level1>")
FRAME = (IMAGE, IMAGE_END, LINE_END, LEVEL[0], LEVEL_END[0], LEVEL[1], LEVEL_END[1])  # ILLUME+'s order

SEG = "<|seg|>"  # ends a condition and an answer whose masks follow; the only one of ours that is ever emitted
# The others hold the place of vectors that are no row of the embedding: mask tokens, pooled region features, queries of
# the adapter, continuous semantic and pixel features of an image that is looked at.
MASK, REGION, QUERY, SEMANTIC, PIXEL = "<|mask|>", "<|region|>", "<|fvp|>", "<|img|>", "<|pix|>"
OURS = (SEG, MASK, REGION, QUERY, SEMANTIC, PIXEL)

LANES = 128  # rows on device are padded to a multiple of it


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The blocks of ids, each a `range` (start, stop), in the order of the properties below. Hashable.

    Sizes come from configs/models.py.

    words: ids of the text tokenizer. tags: resolution tags for heights, and as many for widths. tag_step: pixels
    between two tags; the first stands for tag_step. semantic_codes, pixel_codes: sizes of the codebooks, level 0 and
    level 1. spare: rows behind the last pixel code, the first of which are ours.

    Raises: UserError for a size below 1 and for less spare rows than special tokens of ours.
    """

    words: int
    tags: int
    tag_step: int
    semantic_codes: int
    pixel_codes: int
    spare: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            least = len(OURS) if field.name == "spare" else 1
            if (size := getattr(self, field.name)) < least:
                raise UserError(f"vocabulary.{field.name}: {size}, expected at least {least}.")

    # ------------------------------------------------------------------------------------------------------ blocks
    @functools.cached_property
    def text(self) -> range:
        """Ids of the text tokenizer."""
        return range(self.words)

    @functools.cached_property
    def qwen(self) -> range:
        """Ids of QWEN."""
        return self._after(self.text, len(QWEN))

    @functools.cached_property
    def frame(self) -> range:
        """Ids of FRAME."""
        return self._after(self.qwen, len(FRAME))

    @functools.cached_property
    def heights(self) -> range:
        """Ids of the height tags."""
        return self._after(self.frame, self.tags)

    @functools.cached_property
    def widths(self) -> range:
        """Ids of the width tags."""
        return self._after(self.heights, self.tags)

    @functools.cached_property
    def semantic(self) -> range:
        """Ids of the semantic codes, level 0."""
        return self._after(self.widths, self.semantic_codes)

    @functools.cached_property
    def pixel(self) -> range:
        """Ids of the pixel codes, level 1."""
        return self._after(self.semantic, self.pixel_codes)

    @functools.cached_property
    def ours(self) -> range:
        """Ids of OURS."""
        return self._after(self.pixel, len(OURS))

    @staticmethod
    def _after(block: range, size: int) -> range:
        return range(block.stop, block.stop + size)

    @property
    def rows(self) -> int:
        """Rows of the embedding as released; those from ours.stop on are never used."""
        return self.pixel.stop + self.spare

    @property
    def padded(self) -> int:
        """Rows of the embedding on device. Logits from `rows` on are to be masked, and an export leaves them out."""
        return -(-self.rows // LANES) * LANES

    def codes(self, level: int) -> range:
        """Ids of a level's codes: 0 semantic, 1 pixel. Raises: KeyError."""
        return {0: self.semantic, 1: self.pixel}[level]

    # --------------------------------------------------------------------------------------------------------- ids
    @property
    def special(self) -> Mapping[str, int]:
        """Id of every special token and resolution tag by its name."""
        return types.MappingProxyType(self._special)

    @functools.cached_property
    def _special(self) -> dict[str, int]:
        tags = range(self.tag_step, (self.tags + 1) * self.tag_step, self.tag_step)
        blocks = {
            self.qwen: QWEN,
            self.frame: FRAME,
            self.heights: [f"<height_{px}>" for px in tags],
            self.widths: [f"<width_{px}>" for px in tags],
            self.ours: OURS,
        }
        return {name: i for block, names in blocks.items() for i, name in zip(block, names)}

    def height_tag(self, px: int) -> int:
        """Id of the tag of a height in pixels. Raises: UserError where there is none."""
        return self._tag(self.heights, px, "height")

    def width_tag(self, px: int) -> int:
        """Id of the tag of a width in pixels. Raises: UserError where there is none."""
        return self._tag(self.widths, px, "width")

    def _tag(self, block: range, px: int, side: str) -> int:
        number, rest = divmod(px, self.tag_step)
        if rest or not 1 <= number <= self.tags:
            raise UserError(
                f"vocabulary: no tag for a {side} of {px} pixels, expected a multiple of {self.tag_step} up to "
                f"{self.tags * self.tag_step}."
            )
        return block[number - 1]

    def code_id(self, level: int, code: Any) -> Any:
        """Ids of codes: an int of an int, int32 [...] of integers [...].

        Raises: UserError for codes that are no integers or that the level's codebook does not have.
        """
        codes, block = np.asarray(code), self.codes(level)
        if codes.dtype.kind not in "iu":
            raise UserError(f"codes of level {level}: dtype {codes.dtype}, expected integers.")
        if codes.size and not (0 <= codes.min() and codes.max() < len(block)):
            raise UserError(
                f"codes of level {level}: from {codes.min()} to {codes.max()}, expected 0 to {len(block) - 1}: "
                "they are of another tokenizer."
            )
        ids = codes.astype(np.int32) + block.start
        return ids if codes.ndim else int(ids)

    def name(self, i: int) -> str:
        """What an id is called, for a printer; the letters of text ids are known to the text tokenizer alone.

        Raises: IndexError for an id that no row has.
        """
        if not 0 <= i < self.padded:
            raise IndexError(f"id {i} of a vocabulary of {self.padded} rows")
        if i in self.text:
            return f"<text {i}>"
        for level in (0, 1):
            if i in self.codes(level):
                return f"<|image_level{level}_{i - self.codes(level).start}|>"
        if i >= self.ours.stop:
            return f"<unused {i}>" if i < self.rows else f"<padding {i}>"
        return self._names[i]

    @functools.cached_property
    def _names(self) -> dict[int, str]:
        return {i: name for name, i in self._special.items()}

    # ------------------------------------------------------------------------------------------------------- modes
    @property
    def text_mode(self) -> tuple[range, ...]:
        """What may be emitted outside an image, disjoint and ascending: text, Qwen's special tokens, the start of an
        image and its resolution tags, SEG. Not: codes, what stands inside an image, placeholders, unused rows."""
        start, seg = self.special[IMAGE], self.special[SEG]
        return (
            range(self.qwen.stop),
            range(start, start + 1),
            range(self.heights[0], self.widths.stop),
            range(seg, seg + 1),
        )

    def outside(self, blocks: Sequence[range]) -> tuple[tuple[int, int], ...]:
        """What ascending blocks leave of the rows, as (start, stop): outside(text_mode) are the ids of images."""
        edges = [0, *(edge for block in blocks for edge in (block.start, block.stop)), self.rows]
        return tuple((a, b) for a, b in zip(edges[::2], edges[1::2]) if a < b)

    def mask(self, *blocks: range) -> np.ndarray:
        """bool [padded]: True for the ids of the blocks, as in mask(*vocabulary.text_mode), mask(range(rows))."""
        out = np.zeros(self.padded, bool)
        for block in blocks:
            out[block.start : block.stop] = True
        return out

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits over VERSION and the meaning of all ids but text, which TextTokenizer.fingerprint covers."""
        content = [VERSION, dataclasses.astuple(self), QWEN, FRAME, OURS]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


# Of ILLUME+: Qwen2.5's 151,936 rows and 131,111 more; the last 271 have no token there.
RELEASED = Vocabulary(words=151_643, tags=16, tag_step=64, semantic_codes=32_768, pixel_codes=98_304, spare=271)
