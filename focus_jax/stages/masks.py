# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What predicted masks cost: each of the decoder's outputs is matched with the targets anew and compared with them in
outline and in score.

The paper names cross-entropy and Dice of masks and no loss of the scores z_j; without one they would not learn, so
classes, words and regions each have a term, as in PSALM (arXiv 2403.14598).
"""

from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines import rows, segmentation
from focus_jax.errors import UserError
from focus_jax.models.mask_decoder import Predictions
from focus_jax.ops import mask_losses
from focus_jax.sequence.layout import KINDS, Role
from focus_jax.training.step import Batch, Metrics

TERMS = ("mask", "dice", *KINDS)
FOLLOW = "follow"  # the term of e_j, of clips alone
FIELDS = ("points", "no_object", "costs", "choice_cost")  # of config.loss


def validate(config: Any) -> None:
    """Raises: UserError where sizes of the networks are missing."""
    if "mask_decoder" not in config.model or "mask_pixel_decoder" not in config.model:
        raise UserError("config.model: expected sizes of mask_pixel_decoder and mask_decoder.")


def validate_stream(config: Any, stream: dict[str, Any], where: str) -> None:
    """Raises: UserError for more targets, or another number of mask tokens, than the mask decoder has queries."""
    given, own = stream["sequence"]["masks"], config.model.mask_decoder.queries
    if given != own:
        raise UserError(f"{where}.sequence.masks: {given}, expected {own}, the mask decoder's queries.")
    targets = stream[segmentation.CLASS]["targets"] if segmentation.CLASS in stream else 0
    if targets > own:
        raise UserError(f"{where}.segmentation.targets: {targets}, expected at most the {own} queries.")


def opened(batch: Batch) -> Batch:
    """Rows of clips [B, F, ...] as rows of their frames [B * F, ...]; regions once a clip. Others as they are."""
    if "track" not in batch or batch["ids"].ndim == 2:
        return batch
    frames = batch["track"].shape[1]
    own = {"regions": batch["regions"][:, 0], "track": batch["track"]}
    own |= {name: jnp.repeat(batch[name], frames, axis=0) for name in rows.COMMON if name in batch}
    return {name: x.reshape(-1, *x.shape[2:]) for name, x in batch.items() if name not in own} | own


def normalisers(batch: Batch, queries: int, loss: Any) -> dict[str, jax.Array]:
    """What each term is divided by; batch: opened; loss: config.loss."""
    w = batch["weight"]
    masks = jnp.sum(w * jnp.sum(batch["there"], axis=1))
    # Of classes all queries count, of words and regions every pair of query and condition.
    conditions = jnp.sum(batch["known"], axis=1).astype(jnp.float32)
    each = {
        # A row whose example did not fit is of no kind: it has no condition.
        "classes": mask_losses.class_weight(queries, batch["there"], loss.no_object) * (conditions > 0),
        "words": queries * conditions,
        "regions": queries * conditions,
    }
    of_kind = {name: jnp.sum(w * (batch["kind"] == i) * each[name]) for i, name in enumerate(KINDS)}
    if "track" in batch:
        pairs = mask_losses.follow_weight(batch["track"])
        of_kind[FOLLOW] = jnp.sum(w.reshape(len(pairs), -1)[:, 0] * pairs)  # its frames weigh alike
    return {"mask": masks, "dice": masks} | of_kind


def read(hidden: jax.Array, batch: Batch, queries: int) -> tuple[jax.Array, jax.Array]:
    """E_Q and E_P: hidden states [B, T, D] at the mask tokens [B, N, D], and means over each condition's positions
    [B, K, D]; zeros for a condition that is not there."""
    roles = batch["roles"]
    at = jnp.argsort(roles != Role.MASK, axis=1, stable=True)[:, :queries]
    states = jnp.take_along_axis(hidden, at[..., None], axis=1)
    k = batch["known"].shape[1]
    member = (batch["conditions"][:, :, None] == jnp.arange(1, k + 1)).astype(jnp.float32)  # [B, T, K]
    total = jnp.einsum("btk,btd->bkd", member, hidden.astype(jnp.float32))
    return states, (total / jnp.maximum(member.sum(axis=1), 1.0)[..., None]).astype(hidden.dtype)


def terms(
    predictions: Predictions, batch: Batch, rng: jax.Array, loss: Any, side: int
) -> tuple[dict[str, jax.Array], Metrics, jax.Array]:
    """Sums of the terms of each row [B], over all outputs of the decoder. Figures: mask_iou, of the last one's matched
    masks, where they are targets at all; of clips follow_accuracy, how often e_j finds a thing again. Last the query
    that the last output has for each target, int32 [B, T].

    batch: opened. side: of the padded square in pixels that the masks are of.
    """
    height, width = batch["high"].shape[2:4]
    targets = jnp.unpackbits(batch["targets"], axis=-1)[..., :width]
    targets = jnp.pad(targets, ((0, 0), (0, 0), (0, side - height), (0, side - width)))
    # A key of each row, the same however rows are split among devices and accumulated.
    keys = jax.vmap(lambda element: jax.random.fold_in(rng, element))(batch["element"])
    known, there, of = batch["known"], batch["there"], batch["of"]
    is_kind = [(batch["kind"] == i) & jnp.any(known, axis=1) for i in range(len(KINDS))]
    background = jnp.maximum(jnp.sum(known, axis=1) - 1, 0)
    n, k = predictions.scores.shape[2:]
    # A right pair weighs as much as all wrong ones of its row.
    right_pairs = jnp.maximum(jnp.sum(there, axis=1), 1).astype(jnp.float32)
    pairs = n * jnp.sum(known, axis=1)
    positive = ((pairs - right_pairs) / right_pairs)[:, None, None]

    def one(output):
        masks, scores, number = output
        own = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
        drawn, points = jax.vmap(jax.random.split, out_axes=1)(own)
        costs = mask_losses.class_costs(scores, known, of) * is_kind[0][:, None, None]
        if loss.choice_cost:  # of two queries with one mask always the same is right
            chosen = mask_losses.choice_costs(scores, of) * ~is_kind[0][:, None, None]
            costs += loss.choice_cost / loss.costs[0] * chosen
        query = mask_losses.matched(drawn, masks, costs, targets, there, tuple(loss.costs), loss.points)
        cross, dice = mask_losses.mask_terms(points, masks, targets, there, query, loss.points)
        classes = mask_losses.class_term(scores, known, background, of, there, query, loss.no_object)
        right = mask_losses.right_choices(n, of, there, query, k)
        choice = mask_losses.choice_term(scores, right, known, positive)
        found = {"mask": cross, "dice": dice, "classes": jnp.where(is_kind[0], classes, 0.0)}
        return found | {name: jnp.where(is_kind[i], choice, 0.0) for i, name in enumerate(KINDS) if i}, query

    count = len(predictions.masks)
    found, query = jax.lax.map(one, (predictions.masks, predictions.scores, jnp.arange(count)))
    found = {name: jnp.sum(x, axis=0) for name, x in found.items()}
    picked = jnp.take_along_axis(predictions.masks[-1], query[-1][:, :, None, None], axis=1) > 0
    size = picked.shape[2:]
    cells = targets.reshape(*targets.shape[:2], size[0], side // size[0], size[1], side // size[1])
    wanted = cells.mean(axis=(3, 5), dtype=jnp.float32) >= 0.5
    both, either = (jnp.sum(x, axis=(2, 3)) for x in (picked & wanted, picked | wanted))
    counts = batch["weight"][:, None] * there
    iou = jnp.sum(counts * both / jnp.maximum(either, 1), dtype=jnp.float32)
    figures = {"mask_iou": (iou, jnp.sum(counts, dtype=jnp.float32))}
    if "track" in batch and predictions.embeddings is not None:
        clips, frames, _ = batch["track"].shape
        pair = lambda x: x.reshape(clips, frames, *x.shape[1:])
        follow, right, pairs = mask_losses.follow_term(pair(predictions.embeddings), pair(query[-1]), batch["track"])
        found[FOLLOW] = jnp.repeat(follow / frames, frames)
        w = pair(batch["weight"])[:, 0]
        figures["follow_accuracy"] = (jnp.sum(w * right), jnp.sum(w * pairs))
    return found, figures, query[-1]
