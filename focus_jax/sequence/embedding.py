# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of an imported embedding (or untied output layer) for ids that the imported model does not have."""

import functools

import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.sequence.vocabulary import Vocabulary


@functools.partial(jax.jit, static_argnums=1)
def new_rows(embedding: jax.Array, count: int, key: jax.Array) -> jax.Array:
    """Rows drawn from the normal distribution with mean and covariance of the existing ones.

    transformers draws with a billionth of the covariance, so that new rows are all but equal; here they differ as words
    do.

    Args:
      embedding: [V, D], any float dtype; computed in float32.

    Returns: [count, D] float32, a function of the key.
    """
    x = embedding.astype(jnp.float32)
    mean = x.mean(axis=0)
    x = x - mean
    with jax.default_matmul_precision("highest"):
        # The symmetric root: unlike a Cholesky factor it exists for fewer rows than columns, and unlike the
        # eigenvectors it is unique, so that processors agree on the rows.
        values, vectors = jnp.linalg.eigh(x.T @ x / len(x))
        root = (vectors * jnp.sqrt(jnp.maximum(values, 0.0))) @ vectors.T  # [D, D]
        return mean + jax.random.normal(key, (count, len(mean))) @ root


def extended(embedding: jax.Array, vocabulary: Vocabulary, key: jax.Array) -> jax.Array:
    """The embedding with a row for every id, and zeros as padding.

    Args:
      embedding: [V, D]. Of a released ILLUME+ model all rows; of Qwen2.5 itself embedding[:vocabulary.qwen.stop], for
        the rows behind its last token were never trained.

    Returns: [padded, D], dtype of the embedding; the first V rows are the given ones.
    Raises: UserError for less rows than Qwen's tokens and more than the vocabulary's.
    """
    count, width = embedding.shape
    if not vocabulary.qwen.stop <= count <= vocabulary.rows:
        raise UserError(
            f"embedding: {count} rows, expected {vocabulary.qwen.stop} (Qwen2.5's tokens) to {vocabulary.rows}: "
            "it is of another model."
        )
    drawn = new_rows(embedding, vocabulary.rows - count, key).astype(embedding.dtype)
    padding = jnp.zeros((vocabulary.padded - vocabulary.rows, width), embedding.dtype)
    return jnp.concatenate([embedding, drawn, padding])
