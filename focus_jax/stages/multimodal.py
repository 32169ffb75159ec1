# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 3: the language model learns on, and what it says of a picture becomes masks (FOCUS 3.3 and 3.5).

Rows of the shape class `segmentation` are learnt by their words, as those of `language`, and by their masks
(stages/masks.py); `clips` likewise, frame by frame, and by which masks show the same thing.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines import clips, segmentation
from focus_jax.errors import UserError
from focus_jax.models.focus import Vectors
from focus_jax.models.mask_decoder import Predictions
from focus_jax.stages import language, masks
from focus_jax.stages.tokenizer import to_float
from focus_jax.training.parts import resolve
from focus_jax.training.step import Batch, Metrics

SHAPE_CLASSES = (language.SHAPE_CLASS, segmentation.CLASS, clips.CLASS)
TERMS = (*masks.TERMS, masks.FOLLOW)  # beside those of words


def validate(config: Any) -> None:
    """Checks vocabulary, loss section and networks. Raises: UserError."""
    language.validate_vocabulary(config)
    expected = {"text_mode", "weights", *masks.FIELDS}
    terms = {*language.TERMS, *TERMS}
    if set(config.loss) != expected or set(config.loss.weights) != terms:
        raise UserError(f"config.loss: expected {', '.join(sorted(expected))}, and weights of {', '.join(terms)}.")
    masks.validate(config)


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """Raises: UserError, as stage 2's, and for another number of mask tokens than the mask decoder has queries."""
    if stream["shape_class"] not in SHAPE_CLASSES:
        raise UserError(f"{where}.shape_class: {stream['shape_class']!r}, expected {', '.join(SHAPE_CLASSES)}.")
    language.validate_stream(config, stream, where, stream["shape_class"])
    masks.validate_stream(config, stream, where)


class Stage(language.Stage):
    """Networks and losses of stage 3; see training.step.Stage for the protocol."""

    def weights(self, step: jax.Array) -> dict[str, Any]:
        return super().weights(step) | {name: self.loss.weights[name] for name in TERMS}

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        batch = masks.opened(batch)
        found = super().normalisers(batch) | dict.fromkeys(TERMS, jnp.zeros(()))
        if "targets" not in batch:
            return found
        return found | masks.normalisers(batch, self.focus.mask_decoder.queries, self.loss)

    def numerators(
        self, params, batch: Batch, norm, rng: jax.Array, step: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        if "targets" not in batch:
            sums, aux = super().numerators(params, batch, norm, rng, step)
            return sums | dict.fromkeys(TERMS, jnp.zeros(())), aux
        batch = masks.opened(batch)
        (at, labels, found), predictions = self.answers(params, batch)
        sums = self._by_term(batch["weight"][:, None] * found.nll, labels)
        terms, iou = self.mask_terms(predictions, batch, jax.random.fold_in(rng, step))
        totals = {name: jnp.sum(batch["weight"] * x) for name, x in terms.items()}
        return sums | dict.fromkeys(TERMS, jnp.zeros(())) | totals, language.figures(batch, at, labels, found) | iou

    def measures(self, params, batch: Batch) -> Metrics:
        if "targets" not in batch:
            return super().measures(params, batch)
        batch = masks.opened(batch)
        said, predictions = self.answers(params, batch)
        _, iou = self.mask_terms(predictions, batch, jax.random.key(0))
        return language.figures(batch, *said) | iou

    def vectors(self, params: Mapping[str, Any], batch: Batch) -> Vectors:
        """As stage 2's; of rows with regions also mask tokens and these; params with aliases resolved."""
        return self._seen(params, batch)[0] if "regions" in batch else super().vectors(params, batch)

    def _seen(self, params: Mapping[str, Any], batch: Batch) -> tuple[Vectors, Mapping[str, jax.Array]]:
        seen = self.focus.look(params, to_float(batch["image"]), to_float(batch["high"]))
        grid = self.focus.tokenizer.grids(*batch["image"].shape[2:4])["semantic"]
        return self.focus.asked(params, seen, grid, batch["regions"] / 255.0), seen.maps

    def answers(self, params: Mapping[str, Any], batch: Batch) -> tuple[tuple, Predictions]:
        """((learnt positions, their labels, their cross-entropy), predicted masks) of rows with one picture each; of
        clips opened (stages.masks.opened)."""
        hidden, predictions = self.predict(params, batch)
        return self.losses(params, hidden, batch), predictions

    def predict(self, params: Mapping[str, Any], batch: Batch) -> tuple[jax.Array, Predictions]:
        """(hidden states [B, T, D], predicted masks) of rows with one picture each; no labels are needed."""
        params = resolve(params, self.config.alias)
        vectors, maps = self._seen(params, batch)
        x = self.focus.embeddings(params, batch["ids"], batch["roles"], batch["features"], vectors)
        hidden = self.hidden(params, x, batch)
        queries, conditions = masks.read(hidden, batch, self.focus.mask_decoder.queries)
        return hidden, self.focus.masks(params, maps, queries, conditions, batch["kind"])

    def mask_terms(
        self, predictions: Predictions, batch: Batch, rng: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        """stages.masks.terms."""
        side = self.focus.tokenizer.padded_side(*batch["high"].shape[2:4])
        return masks.terms(predictions, batch, rng, self.loss, side)
