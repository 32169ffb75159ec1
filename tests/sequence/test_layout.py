# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every task position by position: roles, labels, conditions, features; packing, cutting, answers read back."""

import dataclasses

import numpy as np
import pytest

from configs import models
from data_pipelines.example import Turn
from focus_jax.errors import UserError
from focus_jax.inference.structure import answers
from focus_jax.sequence import layout, prompts
from focus_jax.sequence import vocabulary as vocab
from focus_jax.sequence.layout import IGNORE, Role, Sizes, Writer
from focus_jax.sequence.parse import parse
from focus_jax.sequence.printing import coloured
from focus_jax.sequence.text import text_tokenizer
from focus_jax.sequence.vocabulary import Vocabulary

VOCABULARY = Vocabulary(**models.vocabulary("tiny"))
TEXT = text_tokenizer("world", VOCABULARY)
SIZES = Sizes(semantic=(2, 3), pixel=(3, 4), queries=5, masks=4)
CODES = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4) + 100
SIZE = (48, 64)


def writer():
    return Writer(VOCABULARY, TEXT, SIZES)


def spelled(laid, start=0, stop=None):
    """Ids as text with the names of special tokens, placeholders as ~."""
    out = ""
    for i, role in list(zip(laid.ids, laid.roles))[start:stop]:
        if role not in (Role.TEXT, Role.TARGET):
            out += "~"
        else:
            out += TEXT.decode([int(i)]) if i in VOCABULARY.text else VOCABULARY.name(int(i))
    return out


def learnt(laid):
    """What is to be said, in order."""
    ids = laid.labels[laid.labels != IGNORE]
    return "".join(TEXT.decode([int(i)]) if i in VOCABULARY.text else VOCABULARY.name(int(i)) for i in ids)


IMAGE = (
    "<start_of_image><start_of_level0>~~~<end_of_line>~~~<end_of_line><end_of_level0>"
    "<start_of_level1>" + 3 * "~~~~<end_of_line>" + "<end_of_level1><end_of_image>~~~~~"
)
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
ASKED = SYSTEM + "<|im_start|>user\n" + IMAGE + "\n"
ANSWER = "<|im_end|>\n<|im_start|>assistant\n"
DRAWN = (
    "<start_of_image><start_of_level0>"
    + "".join("".join(f"<|image_level0_{c}|>" for c in row) + "<end_of_line>" for row in CODES[0])
    + "<end_of_level0><start_of_level1>"
    + "".join("".join(f"<|image_level1_{c}|>" for c in row) + "<end_of_line>" for row in CODES[1])
    + "<end_of_level1><end_of_image>"
)


def qa(*texts, images=(0,)):
    turns = [Turn(role=("user", "assistant")[i % 2], text=t) for i, t in enumerate(texts)]
    turns[0].images = list(images)
    return turns


TASKS = {
    "chat": (
        lambda w: prompts.chat(w, qa("how many circles?", "2", "and squares?", "1")),
        ASKED + "how many circles?" + ANSWER + "2<|im_end|>\n<|im_start|>user\nand squares?" + ANSWER + "1<|im_end|>\n",
        "2<|im_end|>\n1<|im_end|>\n",
    ),
    "two images": (
        lambda w: prompts.chat(w, qa("<image> or <image>?", "the first", images=(0, 1))),
        SYSTEM + "<|im_start|>user\n" + IMAGE + " or " + IMAGE + "?" + ANSWER + "the first<|im_end|>\n",
        "the first<|im_end|>\n",
    ),
    "text": (
        lambda w: prompts.chat(w, [Turn(role="system", text="Be short."), *qa("hi", "hello", images=())]),
        "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nhi" + ANSWER + "hello<|im_end|>\n",
        "hello<|im_end|>\n",
    ),
    "question": (
        lambda w: prompts.chat(w, qa("what is it?"), open_end=True),
        ASKED + "what is it?" + ANSWER,
        "",
    ),
    "caption": (
        lambda w: prompts.caption(w, "a red circle"),
        ASKED + prompts.CAPTION + ANSWER + "a red circle<|im_end|>\n",
        "a red circle<|im_end|>\n",
    ),
    "classes": (
        lambda w: prompts.segment_classes(w, ["circle", "square"], prompts.names(["square", "square"])),
        ASKED
        + prompts.CLASSES
        + " circle<|seg|>, square<|seg|>, background<|seg|>."
        + ANSWER
        + "square.<|seg|>~~~~<|im_end|>\n",
        "square.<|seg|><|im_end|>\n",
    ),
    "referring": (
        lambda w: prompts.segment_words(w, "the red one", prompts.names([])),
        ASKED + prompts.REFERRING + ' "the red one"<|seg|>' + ANSWER + "none.<|seg|>~~~~<|im_end|>\n",
        "none.<|seg|><|im_end|>\n",
    ),
    "reasoning without names": (
        lambda w: prompts.segment_words(w, "it rolls", "", reasoning=True),
        ASKED + prompts.REASONING + ' "it rolls"<|seg|>' + ANSWER + "<|seg|>~~~~<|im_end|>\n",
        "<|seg|><|im_end|>\n",
    ),
    "regions of a clip": (
        lambda w: prompts.segment_regions(w, 2, "circle, ring.", images=2),
        SYSTEM
        + "<|im_start|>user\n"
        + 2 * (IMAGE + "\n")
        + prompts.REGIONS
        + " ~, ~."
        + ANSWER
        + "circle, ring.<|seg|>~~~~<|im_end|>\n",
        "circle, ring.<|seg|><|im_end|>\n",
    ),
    "generate": (
        lambda w: prompts.generate(w, "a red circle", SIZE, CODES),
        SYSTEM
        + "<|im_start|>user\n"
        + prompts.GENERATE
        + " a red circle"
        + ANSWER
        + "<height_48><width_64>"
        + DRAWN
        + "<|im_end|>\n",
        "<height_48><width_64>" + DRAWN + "<|im_end|>\n",
    ),
    "generate anything": (
        lambda w: prompts.generate(w, None, SIZE, None),
        SYSTEM
        + "<|im_start|>user\nGenerate a random image of <height_48><width_64>\n"
        + ANSWER
        + "<height_48><width_64>",
        "",
    ),
    "edit": (
        lambda w: prompts.edit(w, "make it blue", SIZE, "circle.", CODES),
        SYSTEM
        + "<|im_start|>user\n<height_48><width_64>"
        + IMAGE
        + "\n"
        + prompts.EDIT
        + " make it blue<|seg|>"
        + ANSWER
        + "circle.<|seg|>~~~~<height_48><width_64>"
        + DRAWN
        + "<|im_end|>\n",
        "circle.<|seg|><height_48><width_64>" + DRAWN + "<|im_end|>\n",
    ),
    "reconstruct": (
        lambda w: prompts.edit(w, None, SIZE, None, CODES),
        SYSTEM
        + "<|im_start|>user\n<height_48><width_64>"
        + IMAGE
        + "\n"
        + prompts.RECONSTRUCT
        + "\n"
        + ANSWER
        + "<height_48><width_64>"
        + DRAWN
        + "<|im_end|>\n",
        "<height_48><width_64>" + DRAWN + "<|im_end|>\n",
    ),
}
ALL = pytest.mark.parametrize("task", TASKS)


def laid_out(task):
    return TASKS[task][0](writer()).done()


@ALL
def test_what_stands_there_and_what_is_learnt(task):
    laid = laid_out(task)
    assert spelled(laid) == TASKS[task][1]
    assert learnt(laid) == TASKS[task][2]


@ALL
def test_labels_are_the_next_ids(task):
    laid = laid_out(task)
    at = np.nonzero(laid.labels != IGNORE)[0]
    np.testing.assert_array_equal(laid.labels[at], laid.ids[at + 1])
    assert laid.labels[-1] == IGNORE and (laid.segments == 1).all()
    np.testing.assert_array_equal(laid.positions, np.arange(len(laid)))
    vectors, drawn = ~np.isin(laid.roles, (Role.TEXT, Role.TARGET)), laid.roles == Role.TARGET
    assert not laid.features[laid.roles == Role.TEXT].any()
    np.testing.assert_array_equal(laid.features[drawn], np.arange(drawn.sum()))
    assert set(laid.ids[vectors]) <= {VOCABULARY.special[name] for name in layout.PLACEHOLDERS.values()}


@ALL
def test_features_are_counted_through(task):
    """Of each role 0, 1, 2, ... in raster order, over all images, regions and answers."""
    laid = laid_out(task)
    images, regions, _, answers = laid.counts
    times = {
        Role.SEMANTIC: images,
        Role.PIXEL: images,
        Role.QUERY: images,
        Role.REGION: regions,
        Role.MASK: answers,
    }
    for role, count in times.items():
        np.testing.assert_array_equal(laid.features[laid.roles == role], np.arange(count * SIZES.count(role)))


def test_conditions_hold_their_words_and_marker():
    laid = laid_out("classes")
    said = ["".join(spelled(laid, i, i + 1) for i in np.nonzero(laid.conditions == k)[0]) for k in (1, 2, 3)]
    assert said == [" circle<|seg|>", " square<|seg|>", " background<|seg|>"] and laid.counts[2] == 3
    laid = laid_out("referring")
    said = "".join(spelled(laid, i, i + 1) for i in np.nonzero(laid.conditions)[0])
    assert said == ' "the red one"<|seg|>none.<|seg|>'  # the answer too
    laid = laid_out("regions of a clip")
    np.testing.assert_array_equal(laid.roles[laid.conditions > 0], [Role.REGION, Role.REGION])
    np.testing.assert_array_equal(laid.conditions[laid.conditions > 0], [1, 2])


def test_packing_keeps_every_example_as_it_is():
    ones = [laid_out(task) for task in ("classes", "edit", "two images", "chat")]
    length = sum(map(len, ones)) + 9
    row, left = layout.pack(ones, length, SIZES, VOCABULARY.special[vocab.PAD])
    assert not left and len(row) == length
    at, before = 0, np.zeros(4, int)
    for i, one in enumerate(ones):
        part = slice(at, at + len(one))
        for name in ("ids", "roles", "labels", "positions"):
            np.testing.assert_array_equal(row.arrays[name][part], one.arrays[name], name)
        assert (row.segments[part] == i + 1).all()
        images, regions, conditions, answers = before
        for role, count in (
            (Role.SEMANTIC, images),
            (Role.QUERY, images),
            (Role.MASK, answers),
            (Role.REGION, regions),
        ):
            here = one.roles == role
            np.testing.assert_array_equal(
                row.features[part][here], one.features[here] + count * SIZES.count(role), role.name
            )
        held = one.conditions > 0
        np.testing.assert_array_equal(row.conditions[part][held], one.conditions[held] + conditions)
        at, before = at + len(one), before + one.counts
    assert (row.ids[at:] == VOCABULARY.special[vocab.PAD]).all() and not row.segments[at:].any()
    assert (row.labels[at:] == IGNORE).all() and row.counts == tuple(before)


def test_what_does_not_fit_is_left_out_and_the_rest_goes_on():
    ones = [laid_out(task) for task in ("chat", "edit", "text")]
    row, left = layout.pack(ones, len(ones[0]) + len(ones[2]), SIZES, 0)
    assert left == [1] and row.segments.max() == 2 and row.segments.all()
    row, left = layout.pack(ones[:1], 4, SIZES, 0)
    assert left == [0] and not row.segments.any() and row.counts == (0, 0, 0, 0)


def test_cutting():
    laid = laid_out("chat")
    assert layout.cut(laid, len(laid)) is laid
    short = layout.cut(laid, len(laid) - 3)
    np.testing.assert_array_equal(short.ids, laid.ids[:-3])
    np.testing.assert_array_equal(short.labels[:-1], laid.labels[:-4])
    assert short.labels[-1] == IGNORE
    (start, stop) = laid.whole[0]
    assert layout.cut(laid, (start + stop) // 2) is None  # in the image
    assert layout.cut(laid, stop) is None  # nothing learnt


@pytest.mark.parametrize(
    "write, said",
    [
        (lambda w: prompts.chat(w, qa("a", "b")[:1]), "expected user and assistant in turn, the last by the assistant"),
        (lambda w: prompts.chat(w, []), "expected user and assistant in turn"),
        (lambda w: prompts.chat(w, [qa("a")[0], qa("a")[0]]), r"turns\[1\].role: user, expected assistant"),
        (lambda w: prompts.chat(w, qa("a", "  ")), r"turns\[1\].text: empty, expected an answer"),
        (lambda w: prompts.chat(w, qa("<image>", "b", images=())), "has 1 times <image> for 0 images"),
        (lambda w: prompts.chat(w, qa("<image>", "b", images=(0, 1))), "has 1 times <image> for 2 images"),
        (lambda w: prompts.segment_classes(w, [], ""), "expected the candidate categories"),
        (lambda w: prompts.segment_words(w, " ", ""), "expected a description"),
        (lambda w: prompts.segment_regions(w, 0, ""), "expected at least one marked region"),
        (lambda w: prompts.caption(w, ""), "caption: empty"),
        (lambda w: prompts.generate(w, "", SIZE, None), "description: empty"),
        (lambda w: prompts.generate(w, "a", (50, 64), None), "no tag for a height of 50 pixels"),
        (lambda w: prompts.generate(w, "a", SIZE, (CODES[0].T, CODES[1])), r"shape \[3, 2\], expected \[2, 3\]"),
        (lambda w: prompts.generate(w, "a", SIZE, (CODES[0] + 9_999, CODES[1])), "another tokenizer"),
        (lambda w: prompts.edit(w, "", SIZE, "", None), "instruction: empty"),
    ],
)
def test_mistakes(write, said):
    with pytest.raises(UserError, match=said):
        write(writer())


def answered(task):
    """Ids of an answer, as a model would say them, from its labels."""
    laid = laid_out(task)
    return [int(i) for i in laid.labels if i != IGNORE]


def read(ids):
    return parse(ids, VOCABULARY, TEXT, SIZES)


def test_answers_are_read_back():
    found = read(answered("classes"))
    assert found.names == ("square",) and found.segments and found.codes is None and not found.problems
    assert read(answered("referring")).names == () and read(answered("referring")).segments
    assert read(answered("caption")).text == "a red circle" and not read(answered("caption")).segments
    found = read(answered("edit"))
    assert found.names == ("circle",) and found.size == SIZE and not found.problems
    for ours, expected in zip(found.codes, CODES):
        np.testing.assert_array_equal(ours, expected)


def test_pixel_codes_first():
    """An ablation: both levels change places, numbers of the codes stay, and answers and their structure follow."""
    sizes = dataclasses.replace(SIZES, pixel_first=True)
    first = Writer(VOCABULARY, TEXT, sizes).target(*CODES).done()
    usual = writer().target(*CODES).done()
    cut = usual.ids.tolist().index(VOCABULARY.special[vocab.LEVEL[1]])
    order = [0, *range(cut, len(usual) - 1), *range(1, cut), len(usual) - 1]
    for name in ("ids", "roles", "features"):
        np.testing.assert_array_equal(getattr(first, name), getattr(usual, name)[order])
    end = VOCABULARY.special[vocab.END]
    for found, told in zip(parse([*first.ids.tolist(), end], VOCABULARY, TEXT, sizes).codes, CODES):
        np.testing.assert_array_equal(found, told)
    structure = answers(VOCABULARY, sizes)
    at = 1 + np.arange(len(first))
    assert ((structure.low[at] <= first.ids) & (first.ids < structure.high[at])).all()


def test_malformed_answers():
    whole = answered("generate")
    short = [i for i in whole if i != VOCABULARY.code_id(0, 5)]
    found = read(short)
    assert found.problems == ("level 0 has 5 codes, expected 6",)
    np.testing.assert_array_equal(found.codes[0].reshape(-1), [0, 1, 2, 3, 4, 4])
    found = read([*whole[:-2], VOCABULARY.code_id(1, 7)])
    assert found.problems == ("it does not end", "level 1 has 13 codes, expected 12")
    np.testing.assert_array_equal(found.codes[1], CODES[1])
    found = read([VOCABULARY.special[vocab.IMAGE], VOCABULARY.special[vocab.END]])
    assert found.codes is None and len(found.problems) == 2
    assert read([]).problems == ("it does not end",)
    found = read([VOCABULARY.special[vocab.TURN], 10**9, VOCABULARY.special[vocab.END]])
    assert found.problems == ("<|im_start|> has no place in an answer", "1000000000 has no place in an answer")


def test_printed():
    row, _ = layout.pack([laid_out("edit"), laid_out("regions of a clip")], 400, SIZES, 0)
    text = coloured(row, VOCABULARY, TEXT)
    assert "[semantic 0-2]" in text.plain and "[pixel 0-3]" in text.plain and "[query 0-4]" in text.plain
    assert "make it blue^1" in text.plain and "[mask 0-3]" in text.plain and "[3 of semantic codes]" in text.plain
    assert "[region 0]^2" in text.plain and "[mask 4-7]" in text.plain and "[padding" in text.plain
    underlined = "".join(text.plain[s.start : s.end] for s in text.spans if "underline" in str(s.style))
    assert underlined.startswith("circle.<|seg|><height_48><width_64><start_of_image>") and "make" not in underlined
