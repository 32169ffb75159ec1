# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""From logits to the next id: guidance, penalty, temperature, top-k, top-p, in this order, each applied once.

All settings are arrays, one a row, so that another setting is no other program. ILLUME+ hands temperature and top-k to
two samplers after each other; here a temperature of 0.7 is 0.7.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def guided(conditional: jax.Array, unconditional: jax.Array, scale: jax.Array) -> jax.Array:
    """Classifier-free guidance on log-probabilities: u + scale (c - u). [B, V] each, scale [B] -> [B, V] float32."""
    c, u = (jax.nn.log_softmax(x.astype(jnp.float32)) for x in (conditional, unconditional))
    # At 1 exactly c: what one side rules out (-inf) must not turn into nan.
    return jnp.where(scale[:, None] == 1.0, c, jnp.where(jnp.isneginf(c), c, u + scale[:, None] * (c - u)))


def penalised(logits: jax.Array, seen: jax.Array, penalty: jax.Array) -> jax.Array:
    """Repetition penalty (arXiv 1909.05858): logits of ids that were seen, positive ones over, others times penalty.

    logits [B, V]; seen bool [B, V]; penalty [B], 1 = none.
    """
    p = penalty[:, None]
    return jnp.where(seen, jnp.where(logits > 0, logits / p, logits * p), logits)


def sample(
    keys: jax.Array, logits: jax.Array, temperature: jax.Array, top_k: jax.Array, top_p: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One id a row.

    Args:
      keys: [B], random keys. logits: [B, V], -inf where an id may not come.
      temperature: [B], 0 = the likeliest id, the first of equals. top_k: int [B], how many of the likeliest may come,
        0 = all. top_p: [B], the likeliest may come up to the first whose sum with those before passes it, 1 = all.

    Returns: ids int32 [B], and their log-probabilities before temperature and filters, float32 [B].
    """
    logits = logits.astype(jnp.float32)
    log_p = jax.nn.log_softmax(logits)
    greedy = jnp.argmax(logits, axis=-1)

    def drawn() -> jax.Array:
        order = jnp.argsort(logits, axis=-1, descending=True, stable=True)
        warm = jnp.where(temperature > 0, temperature, 1.0)[:, None]
        ranked = jnp.take_along_axis(logits, order, axis=-1) / warm
        allowed = jnp.where(top_k > 0, top_k, logits.shape[-1])[:, None]
        ranked = jnp.where(jnp.arange(logits.shape[-1]) < allowed, ranked, -jnp.inf)
        p = jax.nn.softmax(ranked)
        before = jnp.cumsum(p, axis=-1) - p
        ranked = jnp.where((before < top_p[:, None]) | (jnp.arange(logits.shape[-1]) == 0), ranked, -jnp.inf)
        rank = jax.vmap(jax.random.categorical)(keys, ranked)
        return jnp.where(temperature > 0, jnp.take_along_axis(order, rank[:, None], axis=-1)[:, 0], greedy)

    # Sorting the vocabulary costs more than anything else here, and a greedy batch needs none of it.
    ids = jax.lax.cond(jnp.any(temperature > 0), drawn, lambda: greedy).astype(jnp.int32)
    return ids, jnp.take_along_axis(log_p, ids[:, None], axis=-1)[:, 0]
