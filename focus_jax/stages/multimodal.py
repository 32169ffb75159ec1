# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 3: the language model learns on, and what it says of a picture becomes masks (FOCUS 3.3 and 3.5).

Rows of the shape class `segmentation` are learnt by their words, as those of `language`, and by their masks: each of
the decoder's outputs is matched with the targets anew and compared with them in outline and in score. The paper names
cross-entropy and Dice of masks and no loss of the scores z_j; without one they would not learn, so classes, words
and regions each have a term, as in PSALM (arXiv 2403.14598).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines import segmentation
from focus_jax.errors import UserError
from focus_jax.models.focus import Vectors
from focus_jax.models.mask_decoder import KINDS, Predictions
from focus_jax.ops import mask_losses
from focus_jax.sequence.layout import Role
from focus_jax.stages import language
from focus_jax.stages.tokenizer import to_float
from focus_jax.training.parts import resolve
from focus_jax.training.step import Batch, Metrics

SHAPE_CLASSES = (language.SHAPE_CLASS, segmentation.CLASS)
MASK_TERMS = ("mask", "dice", *KINDS)


def validate(config: Any) -> None:
    """Checks vocabulary, loss section and networks. Raises: UserError."""
    language.validate_vocabulary(config)
    expected = {"text_mode", "weights", "points", "no_object", "costs"}
    terms = {*language.TERMS, *MASK_TERMS}
    if set(config.loss) != expected or set(config.loss.weights) != terms:
        raise UserError(f"config.loss: expected {', '.join(sorted(expected))}, and weights of {', '.join(terms)}.")
    if "mask_decoder" not in config.model or "mask_pixel_decoder" not in config.model:
        raise UserError("config.model: expected sizes of mask_pixel_decoder and mask_decoder.")


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """Raises: UserError, as stage 2's, and for another number of mask tokens than the mask decoder has queries."""
    if stream["shape_class"] not in SHAPE_CLASSES:
        raise UserError(f"{where}.shape_class: {stream['shape_class']!r}, expected {' or '.join(SHAPE_CLASSES)}.")
    language.validate_stream(config, stream, where, stream["shape_class"])
    given, own = stream["sequence"]["masks"], config.model.mask_decoder.queries
    if given != own:
        raise UserError(f"{where}.sequence.masks: {given}, expected {own}, the mask decoder's queries.")
    targets = stream[segmentation.CLASS]["targets"] if segmentation.CLASS in stream else 0
    if targets > own:
        raise UserError(f"{where}.segmentation.targets: {targets}, expected at most the {own} queries.")


class Stage(language.Stage):
    """Networks and losses of stage 3; see training.step.Stage for the protocol."""

    def weights(self, step: jax.Array) -> dict[str, Any]:
        return super().weights(step) | {name: self.loss.weights[name] for name in MASK_TERMS}

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        found = super().normalisers(batch)
        if "targets" not in batch:
            return found | dict.fromkeys(MASK_TERMS, jnp.zeros(()))
        w, n = batch["weight"], self.focus.mask_decoder.queries
        masks = jnp.sum(w * jnp.sum(batch["there"], axis=1))
        # Of classes all queries count, of words and regions every pair of query and condition.
        conditions = jnp.sum(batch["known"], axis=1).astype(jnp.float32)
        each = {
            # A row whose example did not fit is of no kind: it has no condition.
            "classes": mask_losses.class_weight(n, batch["there"], self.loss.no_object) * (conditions > 0),
            "words": n * conditions,
            "regions": n * conditions,
        }
        of_kind = {name: jnp.sum(w * (batch["kind"] == i) * each[name]) for i, name in enumerate(KINDS)}
        return found | {"mask": masks, "dice": masks} | of_kind

    def numerators(
        self, params, batch: Batch, norm, rng: jax.Array, step: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        if "targets" not in batch:
            sums, aux = super().numerators(params, batch, norm, rng, step)
            return sums | dict.fromkeys(MASK_TERMS, jnp.zeros(())), aux
        (at, labels, found), predictions = self.answers(params, batch)
        sums = self._by_term(batch["weight"][:, None] * found.nll, labels)
        keys = jax.vmap(lambda element: jax.random.fold_in(jax.random.fold_in(rng, step), element))(batch["element"])
        terms, iou = self.mask_terms(predictions, batch, keys)
        totals = {name: jnp.sum(batch["weight"] * x) for name, x in terms.items()}
        return sums | totals, language.figures(batch, at, labels, found) | iou

    def measures(self, params, batch: Batch) -> Metrics:
        if "targets" not in batch:
            return super().measures(params, batch)
        said, predictions = self.answers(params, batch)
        keys = jax.vmap(lambda element: jax.random.fold_in(jax.random.key(0), element))(batch["element"])
        _, iou = self.mask_terms(predictions, batch, keys)
        return language.figures(batch, *said) | iou

    def vectors(self, params: Mapping[str, Any], batch: Batch) -> Vectors:
        """As stage 2's; of rows with regions also mask tokens and these; params with aliases resolved."""
        return self._seen(params, batch)[0] if "regions" in batch else super().vectors(params, batch)

    def _seen(self, params: Mapping[str, Any], batch: Batch) -> tuple[Vectors, Mapping[str, jax.Array]]:
        seen = self.focus.look(params, to_float(batch["image"]), to_float(batch["high"]))
        grid = self.focus.tokenizer.grids(*batch["image"].shape[2:4])["semantic"]
        return self.focus.asked(params, seen, grid, batch["regions"] / 255.0), seen.maps

    def answers(self, params: Mapping[str, Any], batch: Batch) -> tuple[tuple, Predictions]:
        """((learnt positions, their labels, their cross-entropy), predicted masks) of rows with one picture each."""
        hidden, predictions = self.predict(params, batch)
        return self.losses(params, hidden, batch), predictions

    def predict(self, params: Mapping[str, Any], batch: Batch) -> tuple[jax.Array, Predictions]:
        """(hidden states [B, T, D], predicted masks) of rows with one picture each; no labels are needed."""
        params = resolve(params, self.config.alias)
        vectors, maps = self._seen(params, batch)
        x = self.focus.embeddings(params, batch["ids"], batch["roles"], batch["features"], vectors)
        hidden = self.hidden(params, x, batch)
        queries, conditions = read(hidden, batch, self.focus.mask_decoder.queries)
        return hidden, self.focus.masks(params, maps, queries, conditions, batch["kind"])

    def mask_terms(
        self, predictions: Predictions, batch: Batch, keys: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        """Sums of the terms of each row [B], over all outputs of the decoder; mask_iou: of the last one's matched
        masks, where they are targets at all."""
        height, width = batch["high"].shape[2:4]
        targets = jnp.unpackbits(batch["targets"], axis=-1)[..., :width]
        side = self.focus.tokenizer.padded_side(height, width)
        targets = jnp.pad(targets, ((0, 0), (0, 0), (0, side - height), (0, side - width)))
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
            query = mask_losses.matched(drawn, masks, costs, targets, there, tuple(self.loss.costs), self.loss.points)
            cross, dice = mask_losses.mask_terms(points, masks, targets, there, query, self.loss.points)
            classes = mask_losses.class_term(scores, known, background, of, there, query, self.loss.no_object)
            right = mask_losses.right_choices(n, of, there, query, k)
            choice = mask_losses.choice_term(scores, right, known, positive)
            terms = {"mask": cross, "dice": dice, "classes": jnp.where(is_kind[0], classes, 0.0)}
            return terms | {name: jnp.where(is_kind[i], choice, 0.0) for i, name in enumerate(KINDS) if i}, query

        count = len(predictions.masks)
        terms, query = jax.lax.map(one, (predictions.masks, predictions.scores, jnp.arange(count)))
        terms = {name: jnp.sum(x, axis=0) for name, x in terms.items()}
        picked = jnp.take_along_axis(predictions.masks[-1], query[-1][:, :, None, None], axis=1) > 0
        size = picked.shape[2:]
        cells = targets.reshape(*targets.shape[:2], size[0], side // size[0], size[1], side // size[1])
        wanted = cells.mean(axis=(3, 5), dtype=jnp.float32) >= 0.5
        both, either = (jnp.sum(x, axis=(2, 3)) for x in (picked & wanted, picked | wanted))
        counts = batch["weight"][:, None] * there
        iou = jnp.sum(counts * both / jnp.maximum(either, 1), dtype=jnp.float32)
        return terms, {"mask_iou": (iou, jnp.sum(counts, dtype=jnp.float32))}


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
