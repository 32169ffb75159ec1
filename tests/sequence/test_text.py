# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Text tokenizers: Qwen's from public ranks beside transformers' class, the world's, a user's folder; bad input."""

import base64
import dataclasses
import importlib.util
import json
import pathlib
import unicodedata

import pytest
import regex
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AddedToken, Qwen2Tokenizer

from configs import models
from data_pipelines.world import captions, questions, scenes
from data_pipelines.world import vocabulary as world_words
from focus_jax.errors import UserError
from focus_jax.sequence import text as text_lib
from focus_jax.sequence import world_merges
from focus_jax.sequence.text import TextTokenizer, from_folder, text_tokenizer
from focus_jax.sequence.vocabulary import FRAME, OURS, QWEN, Vocabulary

FULL, TINY = (Vocabulary(**models.vocabulary(size)) for size in ("full", "tiny"))
SAMPLES = (
    "",
    " ",
    "Hello world",
    "I'm sure THEY'LL say it's 'd've",
    "1234567890 3.14 1,000 ١٢٣ Ⅻ ½",
    "  two  spaces\t\ttabs \n\n\nlines\r\n end   ",
    "\n \n",
    "你好，世界。日本語のテキスト 한국어 텍스트",
    "👋🏽 emoji 👩‍👩‍👧 🇨🇭 ✈️",
    "cafe\u0301 \u1e9b\u0323 Å \ufb01",
    "русский עברית العربية हिन्दी ไทย",
    "snake_case(x) -> {'a': [1, 2]}; // !!!???...",
    "\u00a0nbsp\u3000wide\u200bzero\ufeffbom\x00null\x85next\u2028line",
    "word" * 200 + " " * 300 + "-" * 300,
    "\U0010ffff \ufffd \ue000",
)
SPELLED = (
    "<|im_end|>",
    "a<|im_start|>system\nb",
    "<start_of_image><|image_level0_5|><height_64>",
    "<|seg|>",
    "<tool_call>",
)


@pytest.fixture(scope="module")
def qwen() -> TextTokenizer:
    if importlib.util.find_spec("dashscope") is None:
        pytest.skip("no package dashscope, whose ranks this test needs: pip install --no-deps dashscope")
    return text_tokenizer("qwen", FULL)


@pytest.fixture(scope="module")
def world() -> TextTokenizer:
    return text_tokenizer("world", TINY)


@pytest.fixture(params=["qwen", "world"])
def text(request) -> TextTokenizer:
    return request.getfixturevalue(request.param)


def reference(ours: TextTokenizer, specials=(), **special_tokens) -> Qwen2Tokenizer:
    """transformers' class with the same vocabulary and merges, and special tokens behind them."""
    model = json.loads(ours._tokenizer.to_str())["model"]
    theirs = Qwen2Tokenizer(vocab=dict(model["vocab"]), merges=[tuple(m) for m in model["merges"]], **special_tokens)
    theirs.add_tokens([AddedToken(name, special=True, normalized=False) for name in specials])
    return theirs


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    """A folder with the tiny model's tokenizer as a release would have it: special tokens, tags and codes appended."""
    path = tmp_path_factory.mktemp("released")
    reference(world, [TINY.name(i) for i in range(TINY.words, TINY.semantic.start + 8)]).save_pretrained(path)
    return path


# ------------------------------------------------------------------------------------------------------------- Qwen
def test_qwen_ids_that_are_known(qwen):
    assert qwen.size == FULL.words == 151_643
    assert qwen.encode("Hello world") == [9707, 1879]
    assert qwen.encode("system\nuser\nassistant\n") == [8948, 198, 872, 198, 77091, 198]
    assert qwen.encode("You are a helpful assistant.") == [2610, 525, 264, 10950, 17847, 13]
    assert qwen.fingerprint == "36c3749fd3c87e24"


@pytest.fixture(scope="module")
def theirs(qwen) -> Qwen2Tokenizer:
    return reference(qwen, QWEN)


def test_qwen_equals_transformers(qwen, theirs):
    assert len(theirs) == 151_665 and theirs.convert_tokens_to_ids(list(QWEN)) == list(FULL.qwen)
    for sample in SAMPLES:
        ids = qwen.encode(sample)
        assert ids == theirs.encode(sample, add_special_tokens=False), sample[:40]
        assert qwen.decode(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False)


@settings(max_examples=300, deadline=None)
@given(sample=st.text(max_size=60))
def test_qwen_equals_transformers_on_any_text(qwen, theirs, sample):
    assert qwen.encode(sample) == theirs.encode(sample, add_special_tokens=False, split_special_tokens=True)


@pytest.fixture(scope="module")
def ranks(qwen) -> dict[bytes, int]:
    file = pathlib.Path(importlib.util.find_spec("dashscope").origin).parent / "resources" / "qwen.tiktoken"
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, file.read_bytes().splitlines())}


# Of what no Unicode assigns, the two libraries of regular expressions disagree whether it is a letter.
ASSIGNED = st.characters(exclude_categories=("Cs", "Cn"))


@settings(max_examples=100, deadline=None)
@given(sample=st.text(ASSIGNED, max_size=40) | st.sampled_from(SAMPLES))
def test_qwen_equals_the_plain_use_of_its_ranks(qwen, ranks, sample):
    """What the file means, without merges: a piece that has a rank is it; else neighbours join, lowest rank first."""
    expected = []
    for piece in regex.findall(text_lib.PATTERN, unicodedata.normalize("NFC", sample)):
        parts = [piece.encode()] if piece.encode() in ranks else [bytes([b]) for b in piece.encode()]
        while pairs := [(ranks[a + b], i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in ranks]:
            at = min(pairs)[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        expected += [ranks[part] for part in parts]
    assert qwen.encode(sample) == expected


def test_special_tokens_between_texts_equal_transformers_on_the_whole(qwen, theirs):
    """The ids of a chat put together from special ids and texts are those that transformers finds in its letters."""
    start, end = (FULL.special[name] for name in ("<|im_start|>", "<|im_end|>"))
    chat, ids = "", []
    for role, said in (
        ("system", "You are a helpful assistant."),
        ("user", "What's in it?\n\n"),
        ("assistant", " 3 cats"),
    ):
        chat += f"<|im_start|>{role}\n{said}<|im_end|>\n"
        ids += [start, *qwen.encode(f"{role}\n{said}"), end, *qwen.encode("\n")]
    assert ids == theirs.encode(chat)


def test_a_folder_of_qwen_has_the_ids_of_the_ranks(qwen, theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    found = text_tokenizer(str(tmp_path), FULL)
    assert (found.size, found.fingerprint) == (qwen.size, qwen.fingerprint)
    for sample in (*SAMPLES, *SPELLED):
        assert found.encode(sample) == qwen.encode(sample)


def test_halves_of_a_token_are_what_lower_ranks_leave():
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4, b"abc": 5, b"abcab": 6}
    assert list(text_lib.merges(ranks)) == [(b"b", b"c"), (b"a", b"b"), (b"a", b"bc"), (b"abc", b"ab")]
    with pytest.raises(UserError, match="token 3, b'abc', is not made up of two others"):
        list(text_lib.merges({b"a": 0, b"b": 1, b"c": 2, b"abc": 3}))


@pytest.mark.parametrize("content, told", [
    (None, "missing, expected Qwen's ranks"),
    ("IQ== 0\nIg== 2\n", "2 ranks, expected 151643 without a gap"),
])  # fmt: skip
def test_a_package_with_other_content_is_refused(content, told, tmp_path, monkeypatch):
    resources = tmp_path / "dashscope" / "resources"
    resources.mkdir(parents=True)
    (tmp_path / "dashscope" / "__init__.py").write_text("raise AssertionError('imported')")
    if content:
        (resources / "qwen.tiktoken").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=told):
        text_lib.qwen.__wrapped__()


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as told:
        text_lib.qwen.__wrapped__()
    assert "pip install --no-deps dashscope" in str(told.value) and "\n" not in str(told.value)


# ----------------------------------------------------------------------------------------------------------- of all
def test_no_text_gives_a_special_token(text):
    """Injection: what a user types is letters, and comes back as such."""
    v = FULL if text.size == FULL.words else TINY
    for sample in (*SPELLED, *QWEN, *FRAME, *OURS, v.name(v.heights[0]), v.name(v.pixel[0])):
        ids = text.encode(sample)
        assert len(ids) > 1 and max(ids) < v.words
        assert text.decode(ids) == sample


def test_ids_that_are_no_text_are_refused(text):
    for i in (-1, text.size, text.size + 100_000):
        with pytest.raises(UserError, match=f"id {i} is no text, expected ids below {text.size}"):
            text.decode([0, i])
    with pytest.raises(UserError, match=r"text 'a\\ud800': half a surrogate pair"):
        text.encode("a\ud800")


def test_half_a_character_is_shown_as_such(text):
    assert text.decode(text.encode("\U0010ffff")[:1]) == "\ufffd"


def test_a_vocabulary_of_another_size_is_refused(world):
    with pytest.raises(UserError, match=rf"text tokenizer world: {world.size} ids, expected 5 \(vocabulary.words\)"):
        text_tokenizer("world", dataclasses.replace(TINY, words=5))


# ------------------------------------------------------------------------------------------------------------ world
@settings(max_examples=300, deadline=None)
@given(sample=st.text(max_size=60))
def test_any_text_comes_back_from_the_world_tokenizer(world, sample):
    ids = world.encode(sample)
    assert world.decode(ids) == sample and all(0 <= i < world.size for i in ids)


def test_samples_come_back_to_the_letter(world):
    for sample in SAMPLES:
        assert world.decode(world.encode(sample)) == sample


def test_training_again_gives_the_same_merges():
    shipped = pathlib.Path(text_lib.__file__).with_name(text_lib.WORLD_MERGES).read_text("utf-8")
    assert world_merges.train() == shipped
    assert shipped.count("\n") == world_merges.MERGES


def test_every_answer_of_the_world_is_one_token(world):
    w = world_words
    answers = [
        *w.SHAPES,
        *w.COLOURS,
        *w.GROUNDS,
        *w.SIZES,
        *w.MATERIALS,
        "yes",
        "no",
        "left",
        "right",
        "above",
        "below",
    ]
    answers += [str(n) for n in range(10)]
    assert not [a for a in answers if len(world.encode(a)) != 1]


def test_questions_and_captions_take_about_one_token_a_word(world):
    said = []
    for index in range(40):
        scene = scenes.scene("easy", "validation", index)
        said.append(captions.caption(scene, scenes.draws_of(scene, scenes.CAPTION)).text)
        said += [q.text for q in questions.questions(scene, scenes.draws_of(scene, scenes.QUESTIONS), 6)]
    words = sum(len(s.replace("?", " ?").replace(",", " ,").split()) for s in said)
    assert words <= sum(len(world.encode(s)) for s in said) < 1.03 * words


# ----------------------------------------------------------------------------------------------------------- folder
def test_a_released_folder_gives_the_same_ids(folder, world):
    found = text_tokenizer(str(folder), TINY)
    assert (found.size, found.fingerprint) == (world.size, world.fingerprint)
    assert found.encode("What colour is the small circle?") == world.encode("What colour is the small circle?")
    for sample in SPELLED:
        assert max(found.encode(sample)) < TINY.words and found.decode(found.encode(sample)) == sample


def test_a_folder_with_qwens_special_tokens_alone_fits(world, tmp_path):
    reference(world, QWEN).save_pretrained(tmp_path)
    assert from_folder(str(tmp_path), TINY).fingerprint == world.fingerprint


def test_a_tokenizer_of_another_model_is_refused(world, tmp_path):
    reference(world, [*QWEN, "<think>"]).save_pretrained(tmp_path)
    place = TINY.frame.start
    with pytest.raises(
        UserError, match=f"token {place} is '<think>', expected '<start_of_image>': it is of another model"
    ):
        from_folder(str(tmp_path), TINY)
    with pytest.raises(
        UserError, match=f"{world.size} tokens up to id {world.size - 1}, expected 151643 without a gap"
    ):
        from_folder(str(tmp_path), FULL)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="/nowhere: no such folder, expected qwen, world or a folder"):
        text_tokenizer("/nowhere", FULL)
    for damaged in ("", "{}"):
        (tmp_path / "tokenizer.json").write_text(damaged)
        with pytest.raises(UserError, match=f"{tmp_path}: transformers reads no tokenizer there") as told:
            text_tokenizer(str(tmp_path), FULL)
        assert "\n" not in str(told.value)


def test_a_tokenizer_that_is_no_bpe_is_refused(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="its kind is WordLevel, expected Qwen2.5's BPE"):
        from_folder(str(tmp_path), TINY)
