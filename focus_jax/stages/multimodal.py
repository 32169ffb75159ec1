# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 3: the language model learns on, and what it says of a picture becomes masks (FOCUS 3.3 and 3.5).

Rows of the shape class `segmentation` are learnt by their words, as those of `language`, and by their masks
(stages/masks.py); `clips` likewise, frame by frame, and by which masks show the same thing. Rows of `generation`,
`editing` and `reconstruction` end in a picture, whose codes are words like others (stages/drawing.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines import clips, segmentation
from focus_jax.errors import UserError
from focus_jax.models.focus import Vectors
from focus_jax.models.mask_decoder import Predictions
from focus_jax.stages import drawing, language, masks
from focus_jax.stages.tokenizer import to_float
from focus_jax.training.parts import resolve, unflatten
from focus_jax.training.state import all_params
from focus_jax.training.step import Batch, Event, Metrics, put

SHAPE_CLASSES = (language.SHAPE_CLASS, segmentation.CLASS, clips.CLASS, *drawing.CLASSES)
TERMS = (*masks.TERMS, masks.FOLLOW, drawing.LATENT)  # beside those of words
# Of config.loss. codes_start: how long rows of codes are, begun as the codes' vectors, beside those of words; 0: not
# begun. levels_apart: whether words and the codes of each level have a softmax each, as where answers are decoded
# (inference/structure.py); absent: one softmax over all.
MAY = {"codes_start", "levels_apart"}
ROWS = "llm/embedding/rows"


def validate(config: Any, more: Sequence[str] = (), beside: Sequence[str] = TERMS) -> None:
    """Checks vocabulary, loss section and networks; more: further fields of config.loss. Raises: UserError."""
    language.validate_vocabulary(config)
    expected = {"text_mode", "weights", *masks.FIELDS, *more}
    terms = {*language.TERMS, *beside}
    if set(config.loss) - MAY != expected or set(config.loss.weights) != terms:
        raise UserError(f"config.loss: expected {', '.join(sorted(expected))}, and weights of {', '.join(terms)}.")
    masks.validate(config)
    if not 0 <= (share := config.loss.get("codes_start", 0.0)) <= 1:
        raise UserError(f"config.loss.codes_start: {share!r}, expected a length beside that of words' rows, 0 to 1.")


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """Raises: UserError, as stage 2's, and for another number of mask tokens than the mask decoder has queries."""
    if stream["shape_class"] not in SHAPE_CLASSES:
        raise UserError(f"{where}.shape_class: {stream['shape_class']!r}, expected {', '.join(SHAPE_CLASSES)}.")
    language.validate_stream(config, stream, where, stream["shape_class"])
    masks.validate_stream(config, stream, where)
    if stream["shape_class"] in drawing.CLASSES and config.loss.text_mode:
        raise UserError(f"config.loss.text_mode: True, expected False with {where}, whose answers are codes.")


class Stage(language.Stage):
    """Networks and losses of stage 3; see training.step.Stage for the protocol."""

    beside: tuple[str, ...] = TERMS

    def __init__(self, config: Any):
        super().__init__(config)
        if config.loss.get("codes_start", 0.0):
            self.events = (Event("codes_start", 0, self.start_codes),)

    def start_codes(self, plan: Any, trained: Any, frozen: Any, batch: Batch) -> tuple[Any, Any]:
        """An event: drawing.begun, of a language model whose head is its embedding."""
        del batch
        params = all_params(trained, frozen)
        books = drawing.tables(self.tokenizer, unflatten(params)["tokenizer"], self.vocabulary)
        key = jax.random.key(self.config.seed)
        begun = drawing.begun(params[ROWS], books, self.vocabulary.text, self.loss.codes_start, key)
        return put(plan, trained, frozen, {ROWS: begun})

    def weights(self, step: jax.Array) -> dict[str, Any]:
        return super().weights(step) | {name: self.loss.weights[name] for name in self.beside}

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        batch = masks.opened(batch)
        found = super().normalisers(batch) | dict.fromkeys(self.beside, jnp.zeros(()))
        if "target" in batch:
            codes = drawing.code_positions(self.vocabulary, batch["labels"])
            found[drawing.LATENT] = jnp.sum(batch["weight"][:, None] * codes)
        return found | (masks.normalisers(batch, self.focus.mask_decoder.queries, self.loss) if asks(batch) else {})

    def numerators(
        self, params, batch: Batch, norm, rng: jax.Array, step: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        del norm
        return self._sums(params, batch, jax.random.fold_in(rng, step), step)

    def measures(self, params, batch: Batch) -> Metrics:
        return self._sums(params, batch, jax.random.key(0), None)[1]

    def drawn(
        self, params, batch: Batch, hidden: jax.Array, predictions: Predictions, queries: jax.Array, rng: jax.Array,
        step: Any,
    ) -> tuple[dict[str, jax.Array], Metrics]:  # fmt: skip
        """(terms of each row [B], figures) of what a later stage draws under the masks; hidden: states [B, T, D];
        queries: as of masks.terms."""
        return {}, {}

    def _sums(self, params, batch: Batch, rng: jax.Array, step: Any) -> tuple[dict[str, jax.Array], Metrics]:
        """Of every term the sum over the batch; figures. step: None where it is measured."""
        batch = self.filled(params, masks.opened(batch))
        if asks(batch):
            hidden, predictions = self.predict(params, batch)
            terms, figures, queries = self.mask_terms(predictions, batch, rng)
            more = self.drawn(params, batch, hidden, predictions, queries, rng, step)
            terms, figures = terms | more[0], figures | more[1]
        else:
            hidden, terms, figures = self.hidden(params, self.embeddings(params, batch), batch), {}, {}
        books = drawing.tables(self.tokenizer, params["tokenizer"], self.vocabulary) if "target" in batch else []
        at, labels, found = self.losses(params, hidden, batch, books)
        weigh = batch["weight"][:, None]
        sums = self._by_term(weigh * found.nll, labels) | dict.fromkeys(self.beside, jnp.zeros(()))
        sums |= {name: jnp.sum(batch["weight"] * x) for name, x in terms.items()}
        figures |= language.figures(batch, at, labels, found)
        if books:
            sums[drawing.LATENT] = jnp.sum(weigh * drawing.distances(found.expected, labels, books))
            figures |= drawing.figures(self.vocabulary, batch, labels, found.nll, found.correct)
        return sums, figures

    def filled(self, params: Mapping[str, Any], batch: Batch) -> Batch:
        """A batch whose ids and labels hold the codes of what is to be drawn (stages/drawing.py)."""
        return drawing.filled(self.tokenizer, params["tokenizer"], self.vocabulary, batch)

    def vectors(self, params: Mapping[str, Any], batch: Batch) -> Vectors:
        """As stage 2's; of rows with regions also mask tokens and these; params with aliases resolved."""
        return self._seen(params, batch)[0] if "regions" in batch else super().vectors(params, batch)

    def _seen(self, params: Mapping[str, Any], batch: Batch) -> tuple[Vectors, Mapping[str, jax.Array]]:
        seen = self.focus.look(params, to_float(batch["image"]), to_float(batch["high"]))
        grid = self.focus.tokenizer.grids(*batch["image"].shape[2:4])["semantic"]
        return self.focus.asked(params, seen, grid, batch["regions"] / 255.0), seen.maps

    def predict(self, params: Mapping[str, Any], batch: Batch) -> tuple[jax.Array, Predictions]:
        """(hidden states [B, T, D], predicted masks) of rows with one picture each, of clips opened (masks.opened); no
        labels are needed."""
        params = resolve(params, self.config.alias)
        vectors, maps = self._seen(params, batch)
        hidden = self.hidden(params, self._embedded(params, batch, vectors), batch)
        queries, conditions = masks.read(hidden, batch, self.focus.mask_decoder.queries)
        return hidden, self.focus.masks(params, maps, queries, conditions, batch["kind"])

    def mask_terms(
        self, predictions: Predictions, batch: Batch, rng: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics, jax.Array]:
        """stages.masks.terms."""
        side = self.focus.tokenizer.padded_side(*batch["high"].shape[2:4])
        return masks.terms(predictions, batch, rng, self.loss, side)


def asks(batch: Batch) -> bool:
    """Whether its rows are answered by masks."""
    return "targets" in batch
