# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Losses of predicted masks and of their scores (Mask2Former, arXiv 2112.01527, sections 3.3 and 4; PSALM, arXiv
2403.14598), as sums over the masks or queries of each row: what they are divided by is the batch's affair.

Masks are compared at points, which are drawn where the prediction is unsure. A target of row b is there or padding.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.nn import softplus

from focus_jax.ops.matching import match
from focus_jax.ops.sampling import at_points

POINTS, OVERSAMPLE, IMPORTANT = 12_544, 3, 0.75  # points of a mask, candidates for each, share of the least sure
NO_OBJECT = 0.1  # weight of a query that no target has, among the classes
OUT = -1e9  # score of a condition that is not there


def pair_costs(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of every query and target at the same points: [..., N, P] logits, [..., T, P] of 0..1 -> (binary cross-entropy,
    mean over the points; Dice, with one added above and below), both [..., N, T] float32."""
    logits, targets = logits.astype(jnp.float32), targets.astype(jnp.float32)
    pairs = lambda x, t: jnp.einsum("...np,...tp->...nt", x, t, precision=jax.lax.Precision.HIGHEST)
    cross = (pairs(softplus(-logits), targets) + pairs(softplus(logits), 1 - targets)) / logits.shape[-1]
    inside = jax.nn.sigmoid(logits)
    sizes = inside.sum(axis=-1)[..., :, None] + targets.sum(axis=-1)[..., None, :]
    return cross, 1 - (2 * pairs(inside, targets) + 1) / (sizes + 1)


def pair_terms(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same of each mask and its own target, [..., P] and [..., P] -> both [...] float32."""
    logits, targets = logits.astype(jnp.float32), targets.astype(jnp.float32)
    cross = jnp.mean(targets * softplus(-logits) + (1 - targets) * softplus(logits), axis=-1)
    inside = jax.nn.sigmoid(logits)
    shared, sizes = jnp.sum(inside * targets, axis=-1), jnp.sum(inside + targets, axis=-1)
    return cross, 1 - (2 * shared + 1) / (sizes + 1)


def unsure_points(
    key: jax.Array, masks: jax.Array, points: int = POINTS, oversample: float = OVERSAMPLE, important: float = IMPORTANT
) -> jax.Array:
    """Points (x, y) of 0..1 for masks [..., h, w] of one row, [..., points, 2]: of oversample times as many drawn
    evenly the `important` share where the logits are nearest 0, and the rest drawn anew."""
    lead, kept = masks.shape[:-2], int(important * points)
    first, second = jax.random.split(key)
    drawn = jax.random.uniform(first, (*lead, int(oversample * points), 2))
    unsure = -jnp.abs(at_points(jax.lax.stop_gradient(masks), drawn))
    best = jax.lax.top_k(unsure, kept)[1]
    found = jnp.take_along_axis(drawn, best[..., None], axis=-2)
    return jnp.concatenate([found, jax.random.uniform(second, (*lead, points - kept, 2))], axis=-2)


def matched(
    keys: jax.Array,
    masks: jax.Array,
    class_costs: jax.Array,
    targets: jax.Array,
    there: jax.Array,
    weights: tuple[float, float, float] = (2.0, 5.0, 5.0),
    points: int = POINTS,
) -> jax.Array:
    """The query of each target by class, cross-entropy and Dice at points that are drawn once a row.

    Args:
      keys: of the rows' draws [B]. masks: logits [B, N, h, w]; class_costs: [B, N, T], 0 where classes do not count.
      targets: [B, T, H, W], there: bool [B, T]. weights: of the three costs.

    Returns: int32 [B, T], as `match`.
    """
    at = jax.vmap(lambda key: jax.random.uniform(key, (points, 2)))(keys)
    masks = jax.lax.stop_gradient(masks)
    cross, dice = pair_costs(at_points(masks, at), at_points(targets, at))
    return match(weights[0] * class_costs + weights[1] * cross + weights[2] * dice, there)


def mask_terms(
    keys: jax.Array, masks: jax.Array, targets: jax.Array, there: jax.Array, query: jax.Array, points: int = POINTS
) -> tuple[jax.Array, jax.Array]:
    """(cross-entropy, Dice) of the matched masks, sums over the targets of a row, [B] each; arguments as `matched`,
    query: int [B, T] of it."""
    picked = jnp.take_along_axis(masks, query[:, :, None, None], axis=1)
    at = jax.vmap(lambda key, mask: unsure_points(key, mask, points))(keys, picked)
    cross, dice = pair_terms(at_points(picked, at), at_points(targets, at))
    total = lambda x: jnp.sum(jnp.where(there, x, 0.0), axis=1)
    return total(cross), total(dice)


def class_costs(scores: jax.Array, known: jax.Array, labels: jax.Array) -> jax.Array:
    """Minus the share of a target's class: scores [B, N, K], known bool [B, K], labels int [B, T] -> [B, N, T]."""
    shares = jax.nn.softmax(jnp.where(known[:, None], scores, OUT), axis=-1)
    return -jnp.take_along_axis(shares, labels[:, None], axis=-1)


def choice_costs(scores: jax.Array, conditions: jax.Array) -> jax.Array:
    """Minus how sure a query is under a target's condition, which stands by itself: scores [B, N, K], conditions int
    [B, T] of the targets -> [B, N, T]."""
    return -jnp.take_along_axis(jax.nn.sigmoid(scores.astype(jnp.float32)), conditions[:, None], axis=-1)


def class_term(
    scores: jax.Array,
    known: jax.Array,
    background: jax.Array,
    labels: jax.Array,
    there: jax.Array,
    query: jax.Array,
    no_object: float = NO_OBJECT,
) -> jax.Array:
    """Cross-entropy of each query's class, of unmatched ones the background's, weighted; sums over the queries, [B].

    scores [B, N, K], known bool [B, K]: which conditions are there; background int [B]: which of them it is; labels,
    there, query [B, T]. To be divided by the sum of `class_weight`.
    """
    n = scores.shape[1]
    target, taken = _to_queries(n, jnp.broadcast_to(background[:, None], (len(scores), n)), labels, there, query)
    logs = jax.nn.log_softmax(jnp.where(known[:, None], scores.astype(jnp.float32), OUT), axis=-1)
    found = -jnp.take_along_axis(logs, target[..., None], axis=-1)[..., 0]
    return jnp.sum(jnp.where(taken, 1.0, no_object) * found, axis=1)


def class_weight(queries: int, there: jax.Array, no_object: float = NO_OBJECT) -> jax.Array:
    """Sum of the weights of a row's queries in `class_term`, [B] float32: it depends on the targets alone."""
    count = jnp.sum(there, axis=1).astype(jnp.float32)
    return count + no_object * (queries - count)


def choice_term(scores: jax.Array, right: jax.Array, asked: jax.Array, positive: jax.Array) -> jax.Array:
    """Binary cross-entropy of queries under conditions that stand by themselves, sums over both, [B].

    scores [B, N, K]; right bool [B, N, K]: whether the query shows what the condition asks for; asked bool [B, K];
    positive: weight of the right ones. To be divided by the number of queries times conditions asked.
    """
    scores = scores.astype(jnp.float32)
    found = jnp.where(right, positive * softplus(-scores), softplus(scores))
    return jnp.sum(jnp.where(asked[:, None], found, 0.0), axis=(1, 2))


def right_choices(queries: int, conditions: jax.Array, there: jax.Array, query: jax.Array, count: int) -> jax.Array:
    """bool [B, N, count]: query n is the match of a target of condition k; conditions int [B, T] of the targets."""
    of_query = jax.nn.one_hot(query, queries, dtype=jnp.float32) * there[..., None]  # [B, T, N]
    of_condition = jax.nn.one_hot(conditions, count, dtype=jnp.float32)
    return jnp.einsum("btn,btk->bnk", of_query, of_condition) > 0.5


def follow_term(embeddings: jax.Array, query: jax.Array, track: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Contrast of the embeddings e_j of two frames (IDOL, arXiv 2207.10661, section 3.2): a thing's in one frame lies
    nearer to its own in the other than to those of all other queries there, log(1 + sum exp(v k- - v k+)).

    Args:
      embeddings: [B, 2, N, E]; query: int [B, 2, T], each target's query; track: int [B, 2, T], the thing that a target
        shows, -1 = none or no target.

    Returns: (sums over the pairs, of both directions by halves; of right choices by them; the pairs), [B] each.
    """
    embeddings = embeddings.astype(jnp.float32)
    own = jnp.take_along_axis(embeddings, query[..., None], axis=2)  # [B, 2, T, E]
    pairs = _pairs(track).astype(jnp.float32)

    def one_way(frame, same):
        """From targets of `frame` to the other's queries; same [B, T of it, T of the other]."""
        near = jnp.einsum("bte,bne->btn", own[:, frame], embeddings[:, 1 - frame], precision=jax.lax.Precision.HIGHEST)
        wanted = jnp.argmax(same, axis=2)
        wanted = jnp.take_along_axis(query[:, 1 - frame], wanted, axis=1)
        cost = jax.nn.logsumexp(near, axis=2) - jnp.take_along_axis(near, wanted[..., None], axis=2)[..., 0]
        there = jnp.any(same > 0, axis=2)
        right = there & (jnp.argmax(near, axis=2) == wanted)
        return jnp.sum(jnp.where(there, cost, 0.0), axis=1), jnp.sum(right, axis=1)

    (a, right_a), (b, right_b) = one_way(0, pairs), one_way(1, pairs.swapaxes(1, 2))
    return (a + b) / 2, (right_a + right_b) / 2, pairs.sum(axis=(1, 2))


def _pairs(track: jax.Array) -> jax.Array:
    """track int [B, 2, T] -> bool [B, T, T]: the targets of both frames that show one thing."""
    return (track[:, 0, :, None] == track[:, 1, None, :]) & (track[:, 0, :, None] >= 0)


def follow_weight(track: jax.Array) -> jax.Array:
    """Pairs of a row, what `follow_term` is divided by: [B] float32."""
    return jnp.sum(_pairs(track), axis=(1, 2)).astype(jnp.float32)


def _to_queries(
    n: int, default: jax.Array, values: jax.Array, there: jax.Array, query: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(values of the targets at their queries, else default; whether a target is there), both [B, n]."""
    at = jnp.where(there, query, n)  # of a target that is not there: beyond the end, and dropped
    rows = jnp.arange(len(query))[:, None]
    out = default.at[rows, at].set(values, mode="drop")
    return out, jnp.zeros((len(query), n), bool).at[rows, at].set(True, mode="drop")
