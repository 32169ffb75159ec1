# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""New rows have the mean and covariance of the old ones, depend on the key alone, and padding is zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import models
from focus_jax.errors import UserError
from focus_jax.sequence.embedding import extended, new_rows
from focus_jax.sequence.vocabulary import Vocabulary

TINY = Vocabulary(**models.vocabulary("tiny"))
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def embedding() -> np.ndarray:
    """float32 [800, 6], columns that hang together and have a mean."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(800, 6)) @ rng.normal(size=(6, 6)) * 0.02 + rng.normal(size=6)).astype(np.float32)


def test_mean_and_covariance_are_those_of_the_existing_rows(embedding):
    count = 40_000
    rows = np.asarray(new_rows(jnp.asarray(embedding), count, KEY), np.float64)
    assert rows.shape == (count, 6)
    # Whitened by the covariance of the old rows, the new ones are standard normal, within 5 standard errors.
    covariance = np.cov(embedding.T.astype(np.float64), bias=True)
    z = np.linalg.solve(np.linalg.cholesky(covariance), (rows - embedding.mean(0)).T)
    assert np.abs(z.mean(1)).max() < 5 / np.sqrt(count)
    assert np.abs(np.cov(z) - np.eye(6)).max() < 5 * np.sqrt(2 / count)
    assert abs((z**4).mean() - 3.0) < 0.1, "normal, not only of those moments"


def test_rows_are_a_function_of_the_key_in_float32(embedding):
    draw = lambda key, dtype=jnp.float32: new_rows(jnp.asarray(embedding, dtype), 5, key)
    np.testing.assert_array_equal(draw(KEY), draw(KEY))
    assert np.abs(draw(KEY) - draw(jax.random.key(4))).max() > 0.01
    half = draw(KEY, jnp.bfloat16)
    assert half.dtype == jnp.float32 and np.abs(half - draw(KEY)).max() < 0.02
    assert new_rows(jnp.asarray(embedding), 0, KEY).shape == (0, 6)


def test_rows_stay_in_the_span_of_few_existing_ones():
    """Fewer rows than columns: the covariance has no inverse and no Cholesky factor."""
    few = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    rows = np.asarray(new_rows(jnp.asarray(few), 50, KEY)) - few.mean(0)
    basis = np.linalg.svd(few - few.mean(0))[2][:2]
    np.testing.assert_allclose(rows @ basis.T @ basis, rows, atol=2e-3)
    assert np.linalg.matrix_rank(rows, tol=1e-2) == 2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_an_embedding_is_extended_and_padded(embedding, dtype):
    known = jnp.asarray(embedding[: TINY.qwen.stop], dtype)
    full = extended(known, TINY, KEY)
    assert full.shape == (TINY.padded, 6) and full.dtype == dtype
    np.testing.assert_array_equal(full[: TINY.qwen.stop], known)
    expected = new_rows(known, TINY.rows - TINY.qwen.stop, KEY).astype(dtype)
    np.testing.assert_array_equal(full[TINY.qwen.stop : TINY.rows], expected)
    assert TINY.padded > TINY.rows and not full[TINY.rows :].any()


def test_released_rows_are_kept_as_they_are():
    whole = jnp.arange(TINY.rows * 2, dtype=jnp.float32).reshape(-1, 2)
    full = extended(whole, TINY, KEY)
    np.testing.assert_array_equal(full[: TINY.rows], whole)
    assert full.shape == (TINY.padded, 2) and not full[TINY.rows :].any()


@pytest.mark.parametrize("count", [TINY.qwen.stop - 1, TINY.rows + 1])
def test_an_embedding_of_another_model_is_refused(count):
    with pytest.raises(UserError, match=rf"embedding: {count} rows, expected {TINY.qwen.stop} .* to {TINY.rows}"):
        extended(jnp.zeros((count, 2)), TINY, KEY)
