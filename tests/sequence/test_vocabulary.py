# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Ids to the digit as released, blocks without gap or overlap, and what is no id said so."""

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest

from configs import models
from data_pipelines import buckets
from focus_jax.errors import UserError
from focus_jax.sequence import vocabulary as vocabulary_lib
from focus_jax.sequence.vocabulary import OURS, QWEN, Vocabulary

FULL, TINY = (Vocabulary(**models.vocabulary(size)) for size in ("full", "tiny"))
BOTH = pytest.mark.parametrize("v", [FULL, TINY], ids=["full", "tiny"])


def test_released_ids_to_the_digit():
    assert {name: FULL.special[name] for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|file_sep|>")} == {
        "<|endoftext|>": 151_643,
        "<|im_start|>": 151_644,
        "<|im_end|>": 151_645,
        "<|file_sep|>": 151_664,
    }
    assert [FULL.special[f"<|{n}|>"] for n in ("vision_start", "vision_end", "image_pad")] == [151652, 151653, 151655]
    assert [FULL.special[f"<{n}>"] for n in ("start_of_image", "end_of_image", "end_of_line")] == [
        151665,
        151666,
        151667,
    ]
    levels = [FULL.special[f"<{side}_of_level{n}>"] for n in (0, 1) for side in ("start", "end")]
    assert levels == [151_668, 151_669, 151_670, 151_671]
    assert [FULL.height_tag(64), FULL.height_tag(1024)] == [151_672, 151_687]
    assert [FULL.width_tag(64), FULL.width_tag(512), FULL.width_tag(1024)] == [151_688, 151_695, 151_703]
    assert [FULL.code_id(0, 0), FULL.code_id(0, 32_767)] == [151_704, 184_471]
    assert [FULL.code_id(1, 0), FULL.code_id(1, 98_303)] == [184_472, 282_775]
    assert [FULL.special[name] for name in OURS] == list(range(282_776, 282_776 + len(OURS)))
    assert (FULL.rows, FULL.padded) == (283_047, 283_136)
    assert FULL.rows - 151_936 == 131_111 == FULL.pixel.stop - FULL.qwen.stop


@BOTH
def test_blocks_follow_each_other_and_every_id_has_one_name(v):
    blocks = [v.text, v.qwen, v.frame, v.heights, v.widths, v.semantic, v.pixel, v.ours]
    assert blocks[0].start == 0 and all(a.stop == b.start for a, b in zip(blocks, blocks[1:]))
    assert v.ours.stop <= v.rows <= v.padded < v.rows + 128 and v.padded % 128 == 0
    names = [v.name(i) for i in range(v.padded)]
    assert len(set(names)) == v.padded
    assert [names[i] for i in v.qwen] == list(QWEN) and [names[i] for i in v.ours] == list(OURS)
    assert {name: names.index(name) for name in v.special} == dict(v.special)
    assert names[v.semantic[5]] == "<|image_level0_5|>" and names[v.pixel[-1]].startswith("<|image_level1_")
    assert names[v.heights[0]] == f"<height_{v.tag_step}>" and names[v.widths[-1]] == f"<width_{16 * v.tag_step}>"
    assert names[0] == "<text 0>" and names[v.padded - 1] == f"<padding {v.padded - 1}>"
    for i in (-1, v.padded):
        with pytest.raises(IndexError, match=f"id {i} "):
            v.name(i)


@BOTH
def test_special_tokens_cannot_be_changed_and_the_vocabulary_hashes_and_travels(v):
    assert v.special and v.name(v.ours[0])  # what has been asked for is kept, and must not be in the way
    for twin in (dataclasses.replace(v), pickle.loads(pickle.dumps(v))):
        assert v == twin and hash(v) == hash(twin) and v.special == twin.special
    with pytest.raises(TypeError):
        v.special["<|seg|>"] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        v.words = 3


@BOTH
def test_codes_of_every_type_of_integer(v):
    last = {0: v.semantic_codes - 1, 1: v.pixel_codes - 1}
    for level in (0, 1):
        grid = np.array([[0, 1], [last[level], 7]])
        for dtype in (np.int64, np.uint32, np.int32):
            ids = v.code_id(level, grid.astype(dtype))
            assert ids.dtype == np.int32
            np.testing.assert_array_equal(ids, grid + v.codes(level).start)
        np.testing.assert_array_equal(v.code_id(level, np.uint8([3, 255])), np.array([3, 255]) + v.codes(level).start)
        assert isinstance(v.code_id(level, 3), int) and v.code_id(level, np.zeros((0, 4), np.int32)).shape == (0, 4)
        for wrong in (-1, last[level] + 1, grid + 1):
            with pytest.raises(UserError, match=f"codes of level {level}: .*expected 0 to {last[level]}"):
                v.code_id(level, wrong)
        with pytest.raises(UserError, match="dtype float64, expected integers"):
            v.code_id(level, 1.0)
    with pytest.raises(KeyError):
        v.code_id(-1, 0)


@BOTH
def test_a_size_without_a_tag_is_refused(v):
    assert [v.height_tag(v.tag_step * k) for k in range(1, 17)] == list(v.heights)
    assert [v.width_tag(v.tag_step * k) for k in range(1, 17)] == list(v.widths)
    for px in (0, -v.tag_step, v.tag_step + 1, 17 * v.tag_step):
        with pytest.raises(UserError, match=f"height of {px} pixels, expected a multiple of {v.tag_step} up to "):
            v.height_tag(px)
        with pytest.raises(UserError, match=f"width of {px} pixels"):
            v.width_tag(px)


@BOTH
def test_what_text_mode_may_emit(v):
    allowed = v.mask(*v.text_mode)
    assert allowed.dtype == bool and allowed.shape == (v.padded,)
    assert all(a.stop <= b.start for a, b in zip(v.text_mode, v.text_mode[1:]))
    yes = [*QWEN, "<start_of_image>", "<|seg|>", f"<height_{v.tag_step}>", f"<width_{16 * v.tag_step}>"]
    assert allowed[: v.words].all() and all(allowed[v.special[name]] for name in yes)
    assert allowed.sum() == v.words + len(QWEN) + 1 + 2 * v.tags + 1
    assert not allowed[v.semantic.start : v.pixel.stop].any() and not allowed[v.special["<|seg|>"] + 1 :].any()


def test_fingerprint_moves_with_every_field_and_name(monkeypatch):
    seen = {FULL.fingerprint, TINY.fingerprint}
    for field in dataclasses.fields(TINY):
        seen.add(dataclasses.replace(TINY, **{field.name: getattr(TINY, field.name) + 1}).fingerprint)
    monkeypatch.setattr(vocabulary_lib, "OURS", OURS[::-1])
    seen.add(dataclasses.replace(TINY).fingerprint)
    monkeypatch.undo()
    monkeypatch.setattr(vocabulary_lib, "VERSION", -1)
    seen.add(dataclasses.replace(TINY).fingerprint)
    assert len(seen) == 4 + len(dataclasses.fields(TINY)) and all(len(f) == 16 for f in seen)


def test_fingerprints_of_this_version():
    """Whoever changes one of them has changed what ids mean: VERSION goes up, and old checkpoints are refused."""
    assert (vocabulary_lib.VERSION, FULL.fingerprint, TINY.fingerprint) == (1, "240825b0c80cecbe", "c834bb430e77516b")


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=r"vocabulary.spare: 5, expected at least 6\."):
        dataclasses.replace(TINY, spare=5)
    with pytest.raises(UserError, match=r"vocabulary.words: 0, expected at least 1\."):
        dataclasses.replace(TINY, words=0)


def test_tags_for_the_pictures_that_are_drawn():
    for height, width in [(256, 256), *buckets.ANCHORS_512]:
        assert FULL.name(FULL.height_tag(height)) == f"<height_{height}>"
        assert FULL.name(FULL.width_tag(width)) == f"<width_{width}>"
    assert TINY.name(TINY.height_tag(64)) == "<height_64>" and TINY.name(TINY.width_tag(128)) == "<width_128>"


def test_ids_and_text_need_no_jax():
    code = "import sys, focus_jax.sequence.vocabulary, focus_jax.sequence.text; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
