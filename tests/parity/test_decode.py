# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Greedy decoding token for token as transformers' generate, whose prompts are padded on the left and ours right.

That reading into a cache in pieces equals reading at once stands in test_qwen2.py.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from transformers import Qwen2Config, Qwen2ForCausalLM  # noqa: E402

from focus_jax.inference import decode  # noqa: E402
from focus_jax.inference.conversation import Conversation  # noqa: E402
from focus_jax.inference.structure import words_only  # noqa: E402
from focus_jax.models.qwen2 import qwen2  # noqa: E402
from focus_jax.sequence.text import text_tokenizer  # noqa: E402
from focus_jax.sequence.vocabulary import Vocabulary  # noqa: E402
from focus_jax.training.parts import unflatten  # noqa: E402
from focus_jax.weights import qwen2 as table  # noqa: E402
from tests.parity.compare import randomise, state  # noqa: E402

pytestmark = pytest.mark.parity

VOCABULARY = Vocabulary(words=696, tags=2, tag_step=16, semantic_codes=9, pixel_codes=14, spare=8)
ROWS, PAD, LIMIT = VOCABULARY.padded, 0, 30
SIZES = dict(rows=ROWS, depth=3, width=32, heads=4, kv_heads=2, head_dim=8, mlp=48)
LENGTHS = (3, 25, 40, 11)  # of the prompts; they lie in two buckets


@pytest.fixture(scope="module")
def both():
    """(their model, our model, our parameters, prompts)."""
    config = Qwen2Config(
        vocab_size=ROWS,
        hidden_size=SIZES["width"],
        intermediate_size=SIZES["mlp"],
        num_hidden_layers=SIZES["depth"],
        num_attention_heads=SIZES["heads"],
        num_key_value_heads=SIZES["kv_heads"],
        head_dim=SIZES["head_dim"],
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=PAD,
    )
    theirs = randomise(Qwen2ForCausalLM(config)).eval()
    with torch.no_grad():  # randomise knows torch's norms only
        for name, p in theirs.named_parameters():
            if name.endswith("norm.weight"):
                p.add_(1.0)
            elif "embed_tokens" in name:
                p.mul_(4.0)
    ours = qwen2(**SIZES, tied=False)
    flat = table.TABLE.read(state(theirs), table.module_shapes("llm", ours, (1, 1, ours.width)), "reference")
    rng = np.random.default_rng(0)
    return theirs, ours, unflatten(flat)["llm"], [rng.integers(1, ROWS, n).tolist() for n in LENGTHS]


def generated(theirs, prompts, **options):
    """Their ids of each row, without the padding behind those that ended."""
    longest = max(map(len, prompts))
    x = torch.tensor([[PAD] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    with torch.no_grad():
        out = theirs.generate(x, attention_mask=mask, max_new_tokens=LIMIT, do_sample=False, **options)
    return out[:, longest:].tolist()


def said(ours, params, prompts, ends=(), **settings):
    """Our answers; as theirs, every id may come, and padding in front of a prompt counts as seen."""
    longest = max(map(len, prompts))
    rows = np.asarray(params["embedding"]["rows"])
    x = np.stack([rows[p + [PAD] * (longest - len(p))] for p in prompts])
    conversation = Conversation(ours, params, VOCABULARY, text_tokenizer("world", VOCABULARY), len(prompts))
    ids = [p + [PAD] * (longest > len(p)) for p in prompts]
    conversation.read(x, [len(p) for p in prompts], ids=ids)
    structure = words_only(ROWS, [range(ROWS)], ends)
    return [
        list(one.ids) for one in conversation.say(structure, decode.sampling(len(prompts), **settings), limit=LIMIT)
    ]


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy(both, penalty):
    theirs, ours, params, prompts = both
    expected = generated(theirs, prompts, repetition_penalty=penalty)
    assert all(len(set(row)) > 5 for row in expected), "a model that repeats itself shows nothing"
    assert said(ours, params, prompts, penalty=penalty) == expected
    assert expected != generated(theirs, prompts, repetition_penalty=2.3 - penalty)


def test_rows_that_end(both):
    theirs, ours, params, prompts = both
    free = generated(theirs, prompts)
    end = free[0][7]
    expected = generated(theirs, prompts, eos_token_id=end)
    stopped = [row[: row.index(end) + 1] if end in row else row for row in expected]
    assert len({len(row) for row in stopped}) > 1
    assert said(ours, params, prompts, ends=[end]) == stopped
