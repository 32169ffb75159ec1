# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Decoding against plain forward passes without a cache; what must not change an answer does not change it."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from configs import sharding as tables
from focus_jax.errors import UserError
from focus_jax.inference import decode
from focus_jax.inference.conversation import Conversation, Words
from focus_jax.inference.structure import PIXEL, SEMANTIC, answers, bucket, words_only
from focus_jax.models.qwen2 import qwen2
from focus_jax.sequence import vocabulary as vocab
from focus_jax.sequence.layout import Sizes
from focus_jax.sequence.parse import parse
from focus_jax.sequence.text import text_tokenizer
from focus_jax.sequence.vocabulary import Vocabulary
from focus_jax.training import parts, sharding
from tests.models.fill import random_parameters

VOCABULARY = Vocabulary(words=696, tags=2, tag_step=16, semantic_codes=9, pixel_codes=14, spare=8)
TEXT = text_tokenizer("world", VOCABULARY)
ROWS = VOCABULARY.padded
MODEL = qwen2(rows=ROWS, depth=2, width=32, heads=4, kv_heads=2, head_dim=8, mlp=48, theta=1e4)
SIZES = Sizes(semantic=(2, 3), pixel=(3, 4), queries=0, masks=0)
IMAGE = 2 + 2 * 4 + 2 + 3 * 5 + 2  # ids of an image of these sizes
COUNTS = np.array([5, 14, 9])
EVERYTHING = words_only(ROWS, [range(VOCABULARY.rows)], [])
SEG, END = (VOCABULARY.special[name] for name in (vocab.SEG, vocab.END))


def parameters(loud=()):
    """Random ones, with rows of the embedding that are likely to be said."""
    params = random_parameters(MODEL, np.zeros((1, 2, MODEL.width), np.float32))
    rows = np.random.default_rng(1).standard_normal((ROWS, MODEL.width)).astype(np.float32)
    for i in loud:
        rows[i] *= 4
    params["embedding"]["rows"] = rows
    return params


PARAMS = parameters()
PROMPTS = np.random.default_rng(2).standard_normal((3, 14, MODEL.width)).astype(np.float32)
OTHERS = np.random.default_rng(3).standard_normal((3, 11, MODEL.width)).astype(np.float32)


def conversation(rows=slice(None), params=PARAMS, x=PROMPTS, counts=COUNTS, **options):
    """One that has read its prompts."""
    x, counts = x[rows], counts[rows]
    unconditional = options.pop("unconditional", None)
    ids = options.pop("ids", None)
    found = Conversation(
        MODEL, params, VOCABULARY, TEXT, len(x), guided=unconditional is not None, **{"slots": 96, **options}
    )
    if unconditional is not None:
        unconditional = unconditional, np.full(len(x), unconditional.shape[1])
    found.read(x, counts, unconditional=unconditional, ids=ids)
    return found


def ids_of(said):
    return [list(one.ids) for one in said]


@functools.partial(jax.jit, static_argnums=1)
def _forward(params, wanted, x):
    hidden = MODEL.apply({"params": params}, x)
    return hidden if wanted == "hidden" else MODEL.apply({"params": params}, hidden, method="logits")


def forward(x, params=PARAMS, wanted="logits"):
    """One row [T, D] without a cache; padded behind, which changes nothing, so that there is one program."""
    padded = np.pad(x, ((0, 64 - len(x)), (0, 0)))[None]
    return np.asarray(_forward(params, wanted, padded))[0, : len(x)]


def embedded(ids, params=PARAMS):
    return params["embedding"]["rows"][np.asarray(ids, int)]


def by_hand(choose, count, *prompts, params=PARAMS):
    """ids by choose(logits of each prompt), each continued with what was chosen."""
    ids = []
    for _ in range(count):
        rows = [forward(np.concatenate([p, embedded(ids, params)]), params)[-1] for p in prompts]
        ids.append(int(choose(*rows)))
    return ids


def prompt(row):
    return PROMPTS[row, : COUNTS[row]]


def log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - x.max(-1, keepdims=True) - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True))


# ------------------------------------------------------------------------------------------------------------ rows
def test_greedy_is_the_forward_pass():
    said = conversation().say(EVERYTHING, limit=10)
    for row, one in enumerate(said):
        best = by_hand(lambda y: y[: VOCABULARY.rows].argmax(), 10, prompt(row))
        assert list(one.ids) == best and not one.ended
        text = np.concatenate([prompt(row), embedded(best)])
        scores = log_softmax(forward(text)[len(prompt(row)) - 1 : -1, : VOCABULARY.rows])
        np.testing.assert_allclose(one.log_p, scores[np.arange(10), best], atol=1e-4)
    assert len({tuple(one.ids) for one in said}) == 3


SETTINGS = dict(temperature=4.0, top_k=[0, 30, 500], top_p=[0.9, 1.0, 0.8], penalty=[1.0, 1.2, 1.5], seeds=[7, 8, 9])


def test_neither_rows_beside_it_nor_chunks_change_an_answer():
    settings = decode.sampling(3, **SETTINGS)
    together = conversation().say(EVERYTHING, settings, limit=[12, 5, 9])
    assert [len(one.ids) for one in together] == [12, 5, 9]
    for chunk in (1, 5):
        again = conversation().say(EVERYTHING, settings, limit=[12, 5, 9], chunk=chunk)
        assert ids_of(again) == ids_of(together)
        for a, b in zip(again, together):
            np.testing.assert_allclose(a.log_p, b.log_p, atol=1e-4)
    for row in range(3):
        one = jax.tree.map(lambda x, row=row: x[row : row + 1], settings)
        alone = conversation(slice(row, row + 1), slots=0).say(EVERYTHING, one, limit=12)
        assert alone[0].ids[: len(together[row].ids)] == together[row].ids
    other = conversation().say(EVERYTHING, decode.sampling(3, **SETTINGS | {"seeds": [8, 9, 7]}), limit=[12, 5, 9])
    assert all(a.ids != b.ids for a, b in zip(other, together))


def test_every_position_draws_anew():
    """A model to which all words are alike says each about as often, in every row its own."""
    alike = jax.tree.map(np.zeros_like, PARAMS)
    letters = words_only(ROWS, [range(10)], [])
    settings = decode.sampling(3, temperature=1.0, seeds=[1, 2, 3])
    said = ids_of(conversation(params=alike, slots=500).say(letters, settings, limit=300, chunk=300))
    for row in said:
        assert np.bincount(row, minlength=10).min() > 10
        assert 10 < sum(a == b for a, b in zip(row, row[1:])) < 60
    assert 10 < sum(a == b for a, b in zip(*said[:2])) < 60


def test_other_lengths_and_settings_meet_the_same_programs():
    options = [[[5, 6], [7]], [[9]], [[1, 2]]]
    programs = [decode.begin, decode.read, decode.prepared, decode.say, decode.score]

    def run(counts, structure, **settings):
        one = conversation(counts=np.array(counts))
        one.say(structure, decode.sampling(3, **settings), limit=6)
        one.score(options)
        return [program._cache_size() for program in programs]

    drawing = answers(VOCABULARY, SIZES)
    before = run([3, 10, 4], drawing)
    assert before == run(
        [14, 1, 12], drawing, temperature=0.9, top_k=3, top_p=[0.5, 0.6, 1], penalty=2, seeds=[1, 2, 3]
    )
    assert before == run([2, 9, 9], answers(VOCABULARY, SIZES, [vocab.SEG]), temperature=[[1, 0, 2]])
    longer = [len(x) for x in (np.zeros(bucket(n, 32)) for n in range(1, 5000))]
    assert longer == sorted(longer) and len(set(longer)) < 20
    assert all(n <= bucket(n) < 1.5 * n or n < 4 for n in range(1, 5000))


def test_turns_are_one_reading():
    """What a conversation reads in turns it could have read at once: its own answer, then what follows."""
    one = conversation(slots=0)
    first = ids_of(one.say(EVERYTHING, limit=[4, 7, 5]))
    one.read(OTHERS, np.array([6, 11, 0]))
    second = ids_of(one.say(EVERYTHING, limit=6))
    for row, count in enumerate([6, 11, 0]):
        x = np.concatenate([prompt(row), embedded(first[row]), OTHERS[row, :count]])
        assert second[row] == by_hand(lambda y: y[: VOCABULARY.rows].argmax(), 6, x)
    np.testing.assert_array_equal(one.lengths, COUNTS + [4, 7, 5] + [6, 11, 0] + [6, 6, 6])
    np.testing.assert_array_equal(one.lengths, one.state.cache.length)


def test_a_cache_that_grows():
    settings = decode.sampling(3, **SETTINGS)
    wide, narrow = conversation(slots=500), conversation(slots=0)
    assert wide.state.cache.k.shape[2] == 512 and narrow.state.cache.k.shape[2] == 32
    for _ in range(2):
        assert ids_of(wide.say(EVERYTHING, settings, limit=20)) == ids_of(narrow.say(EVERYTHING, settings, limit=20))
    assert narrow.state.cache.k.shape[2] == 64


@pytest.mark.parametrize("scan", [False, True])
def test_the_cache_is_written_in_place(scan):
    """In the compute dtype; neither a step nor a call copies it."""
    begin = lambda model: jax.eval_shape(functools.partial(decode.begin, model, rows=2, slots=4096))
    half = begin(MODEL.clone(dtype=jnp.bfloat16))
    assert half.cache.k.dtype == half.cache.v.dtype == half.hidden.dtype == jnp.bfloat16
    model = MODEL.clone(depth=4, scan=scan)
    state = begin(model)
    params = jax.eval_shape(lambda: nn.unbox(model.init(jax.random.key(0), PROMPTS))["params"])
    say = decode.say.lower(model, params, EVERYTHING, decode.sampling(2), state, np.ones(2, np.int32), steps=16)
    memory, size = say.compile().memory_analysis(), 4 * state.cache.k.size
    assert memory.alias_size_in_bytes >= 2 * size and memory.temp_size_in_bytes < size


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (dict(temperature=-1.0), "temperature: -1, expected at least 0"),
        (dict(temperature=float("nan")), "temperature: nan, expected at least 0"),
        (dict(temperature=[[1.0, float("inf"), 0.0]]), "temperature: inf, expected at least 0"),
        (dict(top_k=[0, 1, -3]), "top_k: -3, expected a whole number, at least 0"),
        (dict(top_k=0.5), "top_k: 0.5, expected a whole number, at least 0"),
        (dict(top_p=0.0), "top_p: 0, expected a share above 0, at most 1"),
        (dict(top_p=1.5), "top_p: 1.5, expected a share above 0, at most 1"),
        (dict(guidance=0.5), "guidance: 0.5, expected 1 for none, or more"),
        (dict(guidance=[1.0, 1.0, float("nan")]), "guidance: nan, expected 1 for none, or more"),
        (dict(penalty=0.0), "penalty: 0, expected more than 0"),
        (dict(seeds=-1), "seeds: -1, expected 0 to"),
    ],
)
def test_settings_that_may_not_be(setting, said):
    with pytest.raises(UserError, match=said):
        decode.sampling(3, **setting)


# -------------------------------------------------------------------------------------------------------- guidance
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_guidance_is_two_plain_runs(scale):
    one = conversation(unconditional=OTHERS)
    said = one.say(EVERYTHING, decode.sampling(3, guidance=scale), limit=6)
    for row in range(3):
        combined = lambda c, u: (log_softmax(u) + scale * (log_softmax(c) - log_softmax(u)))[: VOCABULARY.rows].argmax()
        assert list(said[row].ids) == by_hand(combined, 6, prompt(row), OTHERS[row])
    np.testing.assert_array_equal(one.lengths[::2], COUNTS + 6)
    np.testing.assert_array_equal(one.lengths[1::2], 11 + 6)
    np.testing.assert_allclose(one.hidden, np.asarray(one.state.hidden)[::2])


def test_guidance_of_one_is_the_conditional_alone():
    settings = decode.sampling(3, **SETTINGS)
    guided = conversation(unconditional=OTHERS).say(EVERYTHING, settings, limit=8)
    assert ids_of(guided) == ids_of(conversation().say(EVERYTHING, settings, limit=8))
    assert ids_of(guided) != ids_of(
        conversation(unconditional=OTHERS).say(EVERYTHING, decode.sampling(3, **SETTINGS, guidance=3), limit=8)
    )


# ------------------------------------------------------------------------------------------------------- structure
def test_text_mode_and_padding():
    """A model that would say codes, placeholders and padding says words; without text mode at least no padding."""
    wrong = [*VOCABULARY.pixel, *VOCABULARY.semantic, *range(VOCABULARY.ours[1], ROWS), VOCABULARY.special[vocab.IMAGE]]
    params = parameters(wrong)
    hot = decode.sampling(3, temperature=2.0, seeds=[1, 2, 3])
    free = conversation(params=params).say(EVERYTHING, hot, limit=40)
    assert {i for one in free for i in one.ids} & set(VOCABULARY.pixel), "a model that says no codes shows nothing"
    assert max(i for one in free for i in one.ids) < VOCABULARY.rows
    said = conversation(params=params).say(answers(VOCABULARY), hot, limit=40)
    assert not {i for one in said for i in one.ids} & set(wrong)


def test_an_image_is_whole():
    """Drawn from the first id, or entered by the model itself; back among words behind it."""
    hot = decode.sampling(3, temperature=3.0, seeds=[1, 2, 3])
    structure = answers(VOCABULARY, SIZES)
    said = conversation().say(structure, hot, limit=[IMAGE, IMAGE + 4, IMAGE + 4], draw=True, chunk=7)
    image = VOCABULARY.special[vocab.IMAGE]
    only = structure.replace(words=np.isin(np.arange(ROWS), [image]))
    entered = conversation().say(only, hot, limit=IMAGE + 1)
    assert [one.ids[IMAGE] for one in entered] == [image] * 3
    for one in [*said, *entered]:
        ids = list(one.ids[:IMAGE])
        found = parse([*ids, END], VOCABULARY, TEXT, SIZES)
        assert not found.problems and ids[0] == image and ids[-1] == VOCABULARY.special[vocab.IMAGE_END]
        assert [vocab.LINE_END == VOCABULARY.name(i) for i in ids] == [k in (5, 9, 16, 21, 26) for k in range(IMAGE)]
        assert not set(one.ids[IMAGE:]) & {*VOCABULARY.semantic, *VOCABULARY.pixel, *VOCABULARY.frame[1:]}
    drawn = [np.concatenate([c.ravel() for c in parse(one.ids, VOCABULARY, TEXT, SIZES).codes]) for one in said]
    assert len(set(np.concatenate(drawn))) > 6
    with pytest.raises(ValueError, match="the structure has no images"):
        conversation().say(answers(VOCABULARY), limit=IMAGE, draw=True)


def test_rows_may_draw_while_others_speak():
    structure, settings = answers(VOCABULARY, SIZES), decode.sampling(3, temperature=1, seeds=[1, 2, 3])
    mixed = conversation().say(structure, settings, limit=IMAGE, draw=[True, False, True])
    drawn = conversation().say(structure, settings, limit=IMAGE, draw=True)
    spoken = conversation().say(structure, settings, limit=IMAGE)
    assert ids_of(mixed) == [ids_of(drawn)[0], ids_of(spoken)[1], ids_of(drawn)[2]]


def test_codes_have_settings_of_their_own():
    """Greedy semantic codes, hot pixel codes; repeated codes cost nothing."""
    structure = answers(VOCABULARY, SIZES)
    np.testing.assert_array_equal(
        structure.kind[3 : IMAGE + 1] == SEMANTIC, np.isin(range(2, IMAGE), [2, 3, 4, 6, 7, 8])
    )
    assert (structure.kind == PIXEL).sum() == 12
    runs = []
    for seeds in ([1, 2, 3], [4, 5, 6]):
        settings = decode.sampling(3, temperature=[[5.0, 0.0, 5.0]], seeds=seeds)
        runs.append(conversation().say(structure, settings, limit=IMAGE, draw=True))
    for a, b in zip(*runs):
        assert a.ids[:11] == b.ids[:11] and a.ids[11:] != b.ids[11:]
    plain, penalised = (
        conversation().say(structure, decode.sampling(3, penalty=p), limit=IMAGE, draw=True) for p in (1.0, 9.0)
    )
    assert ids_of(plain) == ids_of(penalised)


def test_ids_that_end_an_answer():
    """Each row at its own place; what ended it is said, and read."""
    free = ids_of(conversation().say(EVERYTHING, limit=12))
    ends = {free[0][3], free[1][8]}
    structure = words_only(ROWS, [range(VOCABULARY.rows)], ends)
    one = conversation()
    said = one.say(structure, limit=12, chunk=5)
    for row, ids in enumerate(free):
        stop = next((k + 1 for k, i in enumerate(ids) if i in ends), 12)
        assert list(said[row].ids) == ids[:stop] and said[row].ended == (stop < 12)
        hidden = forward(np.concatenate([prompt(row), embedded(ids[:stop])]), wanted="hidden")[-1]
        np.testing.assert_allclose(one.hidden[row], hidden, atol=1e-4)
    assert [one.ended for one in said].count(True) >= 2
    assert [len(x) for x in ids_of(one.say(structure, limit=3))] == [0 if one.ended else 3 for one in said]
    with pytest.raises(UserError, match="'word' is no special token"):
        answers(VOCABULARY, stops=["word"])


def test_names_first_then_mask_tokens():
    """The answer ends at <|seg|>; reading the mask tokens gives the states of the whole sequence without a cache."""
    structure = answers(VOCABULARY, stops=[vocab.SEG])
    names = structure.replace(words=structure.words & np.isin(np.arange(ROWS), [SEG, *range(300, 310)]))
    one = conversation()
    said = one.say(names, decode.sampling(3, temperature=9.0, seeds=[1, 2, 3]), limit=45)
    assert all(s.ids[-1] == SEG and s.ended for s in said) and len({len(s.ids) for s in said}) > 1
    tokens = OTHERS[:, :4]
    hidden = np.asarray(one.read(tokens))
    assert hidden.shape[1] >= 4
    for row in range(3):
        x = np.concatenate([prompt(row), embedded(said[row].ids), tokens[row]])
        np.testing.assert_allclose(hidden[row, :4], forward(x, wanted="hidden")[-4:], atol=1e-4)
    assert all(s.ids for s in one.say(answers(VOCABULARY), limit=2))


# ------------------------------------------------------------------------------------------------------------ text
LINES = ("naïve 😀 日本語 end", "the red circle, the blue square.", "a\ufffdb", "ends in half a ")


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_whole_characters(size):
    for line in LINES:
        ids = [*TEXT.encode(line), END] + ([TEXT.encode("😀")[0]] if line.endswith("half a ") else [])
        words, pieces = Words(TEXT), []
        for k in range(0, len(ids), size):
            pieces.append(words.add(ids[k : k + size], k + size >= len(ids)))
        whole = TEXT.decode([i for i in ids if i < TEXT.size])
        assert "".join(pieces) == whole == words.text and words.kept() == len(ids)
        assert all("\ufffd" not in piece or "\ufffd" in line or piece == pieces[-1] for piece in pieces)
    assert any(len(TEXT.encode(c)) > 1 for c in "😀日"), "characters of one id are never half"


@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize(
    "stops, text",
    [
        (["blue"], "the red circle, the "),
        (["ed circ", "cle"], "the r"),
        (["circle, the blue square and", "square"], "the red circle, the blue "),
        (["rcle, th", "cle,"], "the red cir"),
        (["the"], ""),
        (["absent"], "the red circle, the blue square."),
    ],
)
def test_stop_strings(size, stops, text):
    """Across ids and chunks; of two that overlap the one complete first."""
    ids = TEXT.encode("the red circle, the blue square.")
    words, given = Words(TEXT, stops), ""
    for k in range(0, len(ids), size):
        if not words.stopped:
            given += words.add(ids[k : k + size], k + size >= len(ids))
    assert given == text == words.text and words.stopped == (stops != ["absent"])
    kept = words.kept()
    assert text.startswith(TEXT.decode(ids[:kept]))
    assert kept == len(ids) or not text.startswith(TEXT.decode(ids[: kept + 1]))


def test_a_stop_string_cuts_the_conversation_back():
    """Whatever the chunk, the conversation goes on as if only what was kept had been said."""
    letters = words_only(ROWS, [range(94), range(260, 500)], [])
    hot = decode.sampling(3, temperature=5.0, penalty=1.3, seeds=[1, 2, 3])
    free = conversation().say(letters, hot, limit=24)
    stop = free[0].text[9:14]
    assert not any(stop in one.text for one in free[1:])
    results = []
    for chunk in (1, 4, 24):
        one = conversation()
        pieces = list(one.stream(letters, hot, limit=24, stops=[stop], chunk=chunk))
        said = one.said
        assert ["".join(p) for p in zip(*pieces)] == [s.text for s in said]
        assert said[0].ended and stop not in said[0].text and free[0].text.startswith(said[0].text + stop)
        assert len(said[0].ids) == len(said[0].log_p) < 24 and len(said[1].ids) == 24
        np.testing.assert_array_equal(one.lengths, COUNTS + [len(s.ids) for s in said])
        assert ids_of(one.say(letters, hot, limit=2))[0] == []  # it has to read before it speaks again
        with pytest.raises(ValueError, match="has just read or said something"):
            one.score([[[1]]] * 3)
        one.read(OTHERS)
        results.append((ids_of(said), ids_of(one.say(letters, hot, limit=6))))
    assert results[0] == results[1] == results[2]
    fresh, kept = conversation(), results[0][0][0]
    fresh.read(np.stack([embedded(kept)] * 3), np.array([len(kept), 0, 0]), ids=[kept, [], []])
    fresh.read(OTHERS)
    assert ids_of(fresh.say(letters, hot, limit=6))[0] == results[0][1][0]
    with pytest.raises(ValueError, match="an empty string"):
        conversation().say(letters, limit=2, stops=[""])


def test_whoever_stops_listening_can_go_on():
    one = conversation()
    for _ in one.stream(EVERYTHING, limit=12, chunk=4):
        break
    first = ids_of(one.said)
    assert [len(ids) for ids in first] == [4, 4, 4]
    rest = ids_of(one.say(EVERYTHING, limit=8))
    assert [a + b for a, b in zip(first, rest)] == ids_of(conversation().say(EVERYTHING, limit=12))


# --------------------------------------------------------------------------------------------------------- options
def test_options_are_scored_as_without_a_cache():
    options = [[[5], [6, 7, 8], [9, 10]], [[700, 3, 3, 3, 5]], [[1, 2], [END, 4]]]
    one = conversation(slots=0)
    sums, means = one.score(options)
    again, _ = one.score(options)
    text_sums, _ = one.score(options, text_only=True)
    allowed = VOCABULARY.mask(*VOCABULARY.text_mode)
    for row, of_row in enumerate(options):
        np.testing.assert_array_equal(sums[row], again[row])
        for k, option in enumerate(of_row):
            y = forward(np.concatenate([prompt(row), embedded(option)]))[len(prompt(row)) - 1 : -1]
            want = log_softmax(y[:, : VOCABULARY.rows])[np.arange(len(option)), option].sum()
            np.testing.assert_allclose([sums[row][k], means[row][k]], [want, want / len(option)], rtol=1e-5, atol=1e-4)
            words = np.where(allowed, y, -np.inf)
            want = log_softmax(words)[np.arange(len(option)), option].sum()
            np.testing.assert_allclose(text_sums[row][k], want, rtol=1e-5, atol=1e-4)
    assert ids_of(one.say(EVERYTHING, limit=5)) == ids_of(conversation().say(EVERYTHING, limit=5))
    with pytest.raises(ValueError, match="none of them empty"):
        one.score([[[1]], [[]], [[2]]])


# -------------------------------------------------------------------------------------------------------- sharding
@pytest.mark.parametrize("table", ["fsdp", pytest.param("fsdp_tensor", marks=pytest.mark.slow)])
def test_sharded_as_on_one_device(table):
    x, counts = np.concatenate([PROMPTS] * 3)[:8], np.concatenate([COUNTS] * 3)[:8]
    others, seeds = np.concatenate([OTHERS] * 3)[:8], np.arange(8)
    settings = decode.sampling(8, temperature=[[1.0, 2.0, 0.5]], guidance=1.5, seeds=seeds)
    structure = answers(VOCABULARY, SIZES)
    options = [[[row, 5], [6]] for row in range(8)]

    def run(params, mesh=None):
        drawn = conversation(params=params, x=x, counts=counts, unconditional=others)
        said = drawn.say(structure, settings, limit=IMAGE, draw=seeds % 2 == 0)
        plain = conversation(params=params, x=x, counts=counts)
        assert mesh is None or not drawn.state.cache.k.sharding.is_fully_replicated
        return ids_of(said), plain.score(options)[0], np.asarray(plain.hidden)

    mesh = sharding.make_mesh(dict(dcn_data=1, data=2, fsdp=2, tensor=2) if "tensor" in table else dict(
        dcn_data=1, data=1, fsdp=8, tensor=1))  # fmt: skip
    axes = sharding.axis_table(tables.TABLES[table])
    names = sharding.logical_names(jax.eval_shape(MODEL.init, jax.random.key(0), x)["params"])
    flat = parts.flatten(PARAMS)
    places = {p: NamedSharding(mesh, sharding.partition_spec(a.shape, names[p], axes, mesh)) for p, a in flat.items()}
    assert sum(not place.is_fully_replicated for place in places.values()) >= len(places) // 3
    want = run(PARAMS)
    with jax.set_mesh(mesh), nn.logical_axis_rules(axes):
        found = run(parts.unflatten(jax.device_put(flat, places)), mesh)
    assert found[0] == want[0]
    np.testing.assert_allclose(found[1], want[1], atol=1e-4)
    np.testing.assert_allclose(found[2], want[2], atol=1e-4)
