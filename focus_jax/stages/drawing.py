# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures as what a sequence says: the frozen tokenizer's codes of a row's target are put in their places, and beside
their cross-entropy the expected code vector is held against the true one (the L2 of FOCUS 3.5; no gradient passes
through sampled codes and the frozen decoder, so that it is taken between code vectors).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines import targets
from data_pipelines.rows import BRANCHES  # in the order of the vocabulary's levels
from focus_jax.models.dual_tokenizer import DualTokenizer
from focus_jax.models.focus import following
from focus_jax.sequence.layout import IGNORE, Role
from focus_jax.sequence.vocabulary import Vocabulary
from focus_jax.stages.tokenizer import to_float
from focus_jax.training.step import Batch

LATENT = "latent"  # the term of the code vectors
CLASSES = targets.CLASSES


def filled(tokenizer: DualTokenizer, params: Any, vocabulary: Vocabulary, batch: Batch) -> Batch:
    """A batch whose ids and labels hold the codes of its targets; others as they are. params: of the tokenizer."""
    if "target" not in batch:
        return batch
    high = to_float(batch["target_high"]) if "target_high" in batch else None
    found = tokenizer.apply({"params": params}, to_float(batch["target"]), high, method="indices")
    codes = [found[name].reshape(len(batch["ids"]), -1) + vocabulary.codes(i).start for i, name in enumerate(BRANCHES)]
    codes = jax.lax.stop_gradient(jnp.concatenate(codes, axis=1)).astype(jnp.int32)
    drawn = batch["roles"] == Role.TARGET
    own = jnp.take_along_axis(codes, jnp.where(drawn, batch["features"], 0), axis=1)
    ids = jnp.where(drawn, own, batch["ids"])
    labels = jnp.where(following(drawn) & (batch["labels"] != IGNORE), following(ids), batch["labels"])
    return {**batch, "ids": ids, "labels": labels}


def tables(tokenizer: DualTokenizer, params: Any, vocabulary: Vocabulary) -> list[tuple[int, jax.Array]]:
    """(first id, vectors of the codes [codes, C] float32) of both levels; they have one width."""
    books = tokenizer.apply({"params": params}, method="codebooks")
    return [(vocabulary.codes(i).start, jax.lax.stop_gradient(books[name])) for i, name in enumerate(BRANCHES)]


def begun(rows: jax.Array, books: list[tuple[int, jax.Array]], like: range, share: float, key: jax.Array) -> jax.Array:
    """Rows of the vocabulary [V, D] in which those of codes begin as their vectors: white, turned at random into D
    dimensions, and about a vector of their level. Codes that are alike are then alike to the language model, which else
    has to learn every one of a large codebook by itself.

    books: as of `tables`; share: how long the rows of codes are of the average of the rows `like`. Where the rows are
    the head as well, as long as words they would be said in place of words, and what is learnt is lost in the first
    steps.
    """
    known = rows[like.start : like.stop].astype(jnp.float32)
    length = share * jnp.mean(jnp.linalg.norm(known, axis=1))
    for level, (start, book) in enumerate(books):
        turn, about = jax.random.split(jax.random.fold_in(key, level))
        centred = book.astype(jnp.float32) - jnp.mean(book, axis=0)
        count, width = centred.shape
        covariance = centred.T @ centred / count
        root = jnp.linalg.cholesky(covariance + 1e-6 * jnp.trace(covariance) / width * jnp.eye(width))
        white = jax.scipy.linalg.solve_triangular(root, centred.T, lower=True).T
        axes = jnp.linalg.qr(jax.random.normal(turn, (rows.shape[1], width)))[0]
        found = white @ axes.T
        found *= length / jnp.mean(jnp.linalg.norm(found, axis=1))
        found += 0.5 * share * jnp.std(known) * jax.random.normal(about, (rows.shape[1],))
        rows = rows.at[start : start + count].set(found.astype(rows.dtype))
    return rows


def distances(expected: jax.Array, labels: jax.Array, books: list[tuple[int, jax.Array]]) -> jax.Array:
    """Mean square between expected and true code vectors at positions [B, K] whose label is a code, else 0: float32.

    expected: [B, K, C] of ops.cross_entropy with the tables `books`.
    """
    total = jnp.zeros(labels.shape, jnp.float32)
    for start, book in books:
        mine = (labels >= start) & (labels < start + len(book))
        true = book[jnp.where(mine, labels - start, 0)]
        total += jnp.where(mine, jnp.mean(jnp.square(expected - true), axis=-1), 0.0)
    return total


def code_positions(vocabulary: Vocabulary, labels: jax.Array) -> jax.Array:
    """bool like labels: where a code is to be said."""
    first, last = vocabulary.codes(0).start, vocabulary.codes(1).stop
    return (labels >= first) & (labels < last)


def figures(
    vocabulary: Vocabulary, batch: Mapping[str, jax.Array], labels: jax.Array, nll: jax.Array, correct: jax.Array
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """image_nll and image_accuracy by code, of both levels together."""
    at = code_positions(vocabulary, labels) * batch["weight"].astype(jnp.float32)[:, None]
    total = lambda x: jnp.sum(x, dtype=jnp.float32)
    return {
        "image_nll": (total(jnp.where(at > 0, at * nll, 0.0)), total(at)),
        "image_accuracy": (total(at * correct), total(at)),
    }
