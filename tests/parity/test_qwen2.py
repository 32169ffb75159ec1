# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Qwen2.5 against transformers' Qwen2ForCausalLM; parameters travel through the table in both directions.

Properties beside it: padding and packing change nothing, a scan is the loop, a cache is reading at once.
"""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

torch = pytest.importorskip("torch")

from transformers import Qwen2Config, Qwen2ForCausalLM  # noqa: E402

from configs import models  # noqa: E402
from focus_jax.models import stack  # noqa: E402
from focus_jax.models.qwen2 import qwen2  # noqa: E402
from focus_jax.training.parts import flatten, unflatten  # noqa: E402
from focus_jax.weights import files  # noqa: E402
from focus_jax.weights import qwen2 as table  # noqa: E402
from tests.parity.compare import NETWORK, assert_close, assert_gradients, gradients, randomise, state  # noqa: E402

pytestmark = pytest.mark.parity

SIZES = dict(rows=160, depth=3, width=32, heads=4, kv_heads=2, head_dim=8, mlp=48, theta=1e6, eps=1e-6, tied=True)
LENGTH = 300  # rotary mistakes grow with the position


@functools.cache
def both(tied):
    """(their model, our model, our parameters)."""
    c = SIZES | {"tied": tied}
    config = Qwen2Config(
        vocab_size=c["rows"],
        hidden_size=c["width"],
        intermediate_size=c["mlp"],
        num_hidden_layers=c["depth"],
        num_attention_heads=c["heads"],
        num_key_value_heads=c["kv_heads"],
        head_dim=c["head_dim"],
        rms_norm_eps=c["eps"],
        rope_parameters={"rope_type": "default", "rope_theta": c["theta"]},
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    theirs = randomise(Qwen2ForCausalLM(config)).eval()
    with torch.no_grad():  # randomise knows torch's norms only; and a word must not say but itself where it is the head
        for name, p in theirs.named_parameters():
            if name.endswith("norm.weight"):
                p.add_(1.0)
            elif "embed_tokens" in name:
                p.mul_(0.2 if tied else 2.0)
    flat = table.TABLE.read(state(theirs), shapes(tied), "reference")
    return theirs, qwen2(**c), unflatten(flat)["llm"]


def shapes(tied):
    return table.shapes(ConfigDict({"model": {"llm": SIZES | {"tied": tied}}}))


def ids(*shape):
    return np.random.default_rng(0).integers(1, SIZES["rows"], shape)


@functools.partial(jax.jit, static_argnums=0)
def logits(model, params, x, positions=None, segments=None):
    def run(m):
        return m.logits(m(m.embed(x), positions, segments))

    return model.apply({"params": params}, method=run)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_loss_and_gradients(tied):
    theirs, ours, params = both(tied)
    x = ids(2, LENGTH)
    theirs.zero_grad()
    found = theirs(input_ids=torch.from_numpy(x), labels=torch.from_numpy(x))
    found.loss.backward()

    def loss(params):
        y = logits(ours, params, x)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(y[:, :-1]), x[:, 1:, None], axis=-1)), y

    (value, y), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert_close(y, found.logits.detach().numpy(), NETWORK)
    assert float(value) == pytest.approx(found.loss.item(), rel=1e-5)
    back = table.TABLE.write({k: np.asarray(x) for k, x in flatten(grads, "llm/").items()}, shapes(tied))
    assert_gradients(back, gradients(theirs))


def test_padding_and_packing_change_nothing():
    _, ours, params = both(True)
    a, b = ids(2, 20)[0], ids(2, 30)[1]
    alone = [np.asarray(logits(ours, params, x[None])[0]) for x in (a, b)]
    row = np.concatenate([a, b, np.zeros(7, int)])[None]
    positions = np.concatenate([np.arange(20), np.arange(30), np.zeros(7, int)])[None]
    segments = np.repeat([1, 2, 0], [20, 30, 7])[None]
    packed = np.asarray(logits(ours, params, row, positions, segments)[0])
    assert_close(packed[:20], alone[0], NETWORK)
    assert_close(packed[20:50], alone[1], NETWORK)
    assert np.isfinite(packed).all()
    swapped = np.asarray(logits(ours, params, np.where(segments == 1, 5, row), positions, segments)[0])
    np.testing.assert_array_equal(swapped[20:50], packed[20:50])


def test_scan_and_remat_are_the_loop():
    _, ours, params = both(True)
    x = ids(2, 24)
    scanned = qwen2(**SIZES, scan=True, remat="full")

    def loss(model, params):
        return jnp.sum(jnp.sin(logits(model, params, x)))

    value, grads = jax.jit(jax.value_and_grad(functools.partial(loss, ours)))(params)
    again, found = jax.jit(jax.value_and_grad(functools.partial(loss, scanned)))(stack.stack_layers(params))
    assert float(value) == pytest.approx(float(again), rel=1e-5)
    expected, found = flatten(stack.stack_layers(grads)), flatten(found)
    for name in expected:
        assert_close(found[name], expected[name], NETWORK, name)


@functools.partial(jax.jit, static_argnums=0)
def read(model, params, x, cache, counts=None):
    def run(m):
        hidden, after = m.extend(m.embed(x), cache, counts)
        return m.logits(hidden), after

    return model.apply({"params": params}, method=run)


@pytest.mark.parametrize("scan", [False, True])
def test_extend_is_reading_at_once(scan):
    """In pieces of several lengths, rows of different lengths side by side, into a cache with room to spare."""
    _, ours, params = both(True)
    x = ids(2, 40)
    whole = np.asarray(logits(ours, params, x))
    if scan:
        ours, params = qwen2(**SIZES, scan=True), stack.stack_layers(params)
    cache = ours.empty_cache(2, 48)
    found, cache = read(ours, params, x[:, :16], cache, np.array([16, 9]))
    assert_close(found[0], whole[0, :16], NETWORK)
    assert_close(found[1, :9], whole[1, :9], NETWORK)
    rest = np.stack([x[0, 16:32], x[1, 9:25]])
    found, cache = read(ours, params, rest, cache, np.array([16, 16]))
    assert_close(found[0], whole[0, 16:32], NETWORK)
    assert_close(found[1], whole[1, 9:25], NETWORK)
    for i in range(3):
        found, cache = read(ours, params, np.stack([x[0, 32 + i], x[1, 25 + i]])[:, None], cache)
        assert_close(found[:, 0], np.stack([whole[0, 32 + i], whole[1, 25 + i]]), NETWORK)
    np.testing.assert_array_equal(cache.length, [35, 28])


def test_the_end_of_a_cache():
    """Padding that would stand behind the end is dropped and leaves the last slots alone."""
    _, ours, params = both(True)
    x = ids(1, 12)
    whole = np.asarray(logits(ours, params, x))
    _, cache = read(ours, params, x[:, :8], ours.empty_cache(1, 12))
    found, cache = read(ours, params, np.pad(x[:, 8:], ((0, 0), (0, 4))), cache, np.array([4]))
    assert_close(found[:, :4], whole[:, 8:], NETWORK)
    assert cache.k.shape[2] == 12 and cache.length[0] == 12


@pytest.mark.parametrize("tied", [True, False])
def test_through_files(tied, tmp_path):
    """What transformers saved in several files comes in; what goes out loads there and gives the same logits."""
    theirs, ours, params = both(tied)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    index = tmp_path / "theirs" / "model.safetensors.index.json"
    flat = table.TABLE.read(files.read_weights(index), shapes(tied), str(index))
    jax.tree.map(np.testing.assert_array_equal, unflatten(flat)["llm"], params)
    files.write_weights(tmp_path / "ours/model.safetensors", table.TABLE.write(flat, shapes(tied)), {"format": "pt"})
    shutil.copy(tmp_path / "theirs/config.json", tmp_path / "ours")
    again, x = Qwen2ForCausalLM.from_pretrained(tmp_path / "ours"), ids(1, 20)
    with torch.no_grad():
        assert_close(logits(ours, params, x), again(torch.from_numpy(x)).logits.numpy(), NETWORK)


@pytest.mark.parametrize("tied", [True, False])
def test_greedy_decoding_as_generate(tied):
    theirs, ours, params = both(tied)
    x = ids(1, 10)
    with torch.no_grad():
        expected = theirs.generate(torch.from_numpy(x), max_new_tokens=24, do_sample=False)[0, 10:].numpy()
    found, cache = read(ours, params, x, ours.empty_cache(1, 40))
    out = [int(found[0, -1].argmax())]
    for _ in range(23):
        found, cache = read(ours, params, np.array([[out[-1]]]), cache)
        out.append(int(found[0, -1].argmax()))
    assert len(set(expected)) > 5, "a model that repeats itself shows nothing"
    np.testing.assert_array_equal(out, expected)


def test_size_as_released():
    def count(size, rows):
        config = ConfigDict({"model": {"llm": models.llm(size, rows)}})
        return sum(int(np.prod(s)) for s in table.shapes(config).values())

    assert count("3b", 151_936) == 3_085_938_688
    assert count("7b", 152_064) == 7_615_616_512
    assert count("1.5b", 151_936) == 1_543_714_304
    assert count("0.5b", 151_936) == 494_032_768
