# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Sampling against transformers' warpers and against frequencies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.ops.token_sampling import guided, penalised, sample

ROWS, IDS = 6, 40
LOGITS = np.random.default_rng(0).normal(0, 2, (ROWS, IDS)).astype(np.float32)
draw = jax.jit(sample)


def frequencies(logits, temperature=1.0, top_k=0, top_p=1.0, times=4_000):
    """How often each id comes from one row of logits."""
    full = lambda x, dtype: jnp.full(times, x, dtype)
    keys = jax.random.split(jax.random.key(1), times)
    tiled = jnp.tile(jnp.asarray(logits), (times, 1))
    ids, _ = draw(keys, tiled, full(temperature, jnp.float32), full(top_k, jnp.int32), full(top_p, jnp.float32))
    return np.bincount(np.asarray(ids), minlength=len(logits)) / times


def softmax(x):
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def their_p(logits, temperature, top_k, top_p):
    """Probabilities behind transformers' warpers in the same order."""
    torch = pytest.importorskip("torch")
    from transformers.generation import logits_process as warpers

    x = torch.from_numpy(logits)[None]
    for warper in [
        warpers.TemperatureLogitsWarper(temperature),
        *([warpers.TopKLogitsWarper(top_k)] if top_k else []),
        *([warpers.TopPLogitsWarper(top_p)] if top_p < 1 else []),
    ]:
        x = warper(None, x)
    return torch.softmax(x, -1)[0].numpy()


@pytest.mark.parity
@pytest.mark.parametrize("temperature, top_k, top_p", [(1.0, 0, 1.0), (0.7, 5, 1.0), (1.0, 0, 0.8), (1.5, 12, 0.6)])
def test_frequencies_are_the_probabilities_of_transformers(temperature, top_k, top_p):
    for logits in LOGITS[:2]:
        p = their_p(logits, temperature, top_k, top_p)
        found = frequencies(logits, temperature, top_k, top_p)
        assert not found[p == 0].any()
        assert np.abs(found - p).max() < 4 * np.sqrt(0.25 / 4_000)


def test_rows_have_their_own_settings_and_one_program():
    keys = jax.random.split(jax.random.key(0), ROWS)
    settings = (jnp.array([0.0, 1, 1, 1, 0.5, 0]), jnp.array([0, 1, 0, 3, 0, 7]), jnp.array([1, 1, 1e-6, 1, 0.5, 1.0]))
    before = draw._cache_size()
    ids, log_p = draw(keys, LOGITS, *settings)
    again, _ = draw(keys, LOGITS, *(x + 0 for x in settings))
    assert draw._cache_size() == before + 1
    np.testing.assert_array_equal(ids, again)
    for row in (0, 1, 2, 5):  # greedy by temperature, by top-k, by top-p
        assert ids[row] == LOGITS[row].argmax()
    np.testing.assert_allclose(log_p, [np.log(softmax(x))[i] for x, i in zip(LOGITS, np.asarray(ids))], rtol=1e-5)
    alone, _ = draw(keys[3:4], LOGITS[3:4], *(x[3:4] for x in settings))
    assert alone[0] == ids[3]


def test_what_may_not_come_never_comes():
    logits = np.where(np.arange(IDS) % 2, -np.inf, LOGITS[0])
    assert not frequencies(logits, 5.0)[1::2].any()
    only = np.full(IDS, -np.inf, np.float32)
    only[7] = -3.0
    assert frequencies(only, times=10)[7] == 1.0
    equal, _ = draw(
        jax.random.split(jax.random.key(0), 1), np.zeros((1, IDS)), jnp.zeros(1), jnp.zeros(1, int), jnp.ones(1)
    )
    assert equal[0] == 0


def test_guidance():
    c, u = LOGITS[:3], LOGITS[3:]
    found = guided(c, u, jnp.array([1.0, 2.0, 0.0]))
    log_c, log_u = np.log([softmax(x) for x in c]), np.log([softmax(x) for x in u])
    np.testing.assert_array_equal(found[0], jax.nn.log_softmax(c)[0])
    np.testing.assert_allclose(found[1], 2 * log_c[1] - log_u[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[2], log_u[2], rtol=1e-4, atol=1e-5)
    masked = np.where(np.arange(IDS) < 9, -np.inf, LOGITS[:1])
    out = guided(masked, masked, jnp.array([3.0]))
    assert np.isneginf(out[0, :9]).all() and np.isfinite(out[0, 9:]).all()


@pytest.mark.parity
def test_penalty_as_transformers():
    torch = pytest.importorskip("torch")
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

    ids = np.random.default_rng(1).integers(0, IDS, (ROWS, 8))
    seen = np.zeros((ROWS, IDS), bool)
    np.put_along_axis(seen, ids, True, axis=1)
    expected = RepetitionPenaltyLogitsProcessor(1.3)(torch.from_numpy(ids), torch.from_numpy(LOGITS.copy())).numpy()
    np.testing.assert_allclose(penalised(LOGITS, seen, jnp.full(ROWS, 1.3)), expected, rtol=1e-6)
