# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 2: the frozen language model is shown pictures (FOCUS 3.5, Table 6). Projectors, fusion_mlp and adapter learn
from the words of its answers.

The loss is the cross-entropy of the learnt positions, over words alone (`text_mode`) or all ids; its terms are those of
text, semantic and pixel ids, each a mean over its positions in the whole batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines import slots
from data_pipelines.language import sizes
from focus_jax.errors import UserError
from focus_jax.models.focus import Focus, Vectors
from focus_jax.ops.cross_entropy import CrossEntropy, cross_entropy, sums_by_term
from focus_jax.sequence.layout import Role
from focus_jax.sequence.vocabulary import Vocabulary
from focus_jax.stages.tokenizer import codes_fingerprint, to_float
from focus_jax.training.parts import resolve
from focus_jax.training.step import Batch, Metrics

TERMS = ("text", "semantic", "pixel")
SHAPE_CLASS = "language"


def validate_stream(config: Any, stream: Mapping[str, Any], where: str, shape_class: str = SHAPE_CLASS) -> None:
    """A stream must be laid out for this model: its ids, grids, queries and pictures. Raises: UserError."""
    if stream["shape_class"] != shape_class:
        raise UserError(f"{where}.shape_class: expected {shape_class}, found {stream['shape_class']!r}.")
    sequence = dict(stream["sequence"])
    for field in ("vocabulary", "text_tokenizer"):
        given, own = sequence[field], config.model[field]
        own = own.to_dict() if hasattr(own, "to_dict") else own
        if (given.to_dict() if hasattr(given, "to_dict") else given) != own:
            raise UserError(f"{where}.sequence.{field}: {given}, expected the model's, {own} (config.model.{field}).")
    if "tokenizer" not in config.model or not sequence["images"]:
        return
    focus = Focus(config.model)
    net = focus.tokenizer
    if stream.get("high", 0) != net.reads_high:
        raise UserError(
            f"{where}.high: {stream.get('high', 0)}, expected {net.reads_high}, the long edge of the pictures that the "
            "hierarchical encoder reads (config.model.tokenizer.high; 0 for none)."
        )
    found = {f"{level}_grid": grid for level, grid in net.grids(stream["height"], stream["width"]).items()}
    found["queries"] = focus.adapter.queries if focus.adapter is not None else 0
    for field, expected in found.items():
        given = tuple(sequence[field]) if field.endswith("grid") else sequence[field]
        if given != expected:
            raise UserError(f"{where}.sequence.{field}: {given}, expected {expected}, the model's.")


def validate_vocabulary(config: Any) -> None:
    """Raises: UserError for a language model of another number of rows than the vocabulary's."""
    vocabulary = Vocabulary(**config.model.vocabulary)
    if config.model.llm.rows != vocabulary.padded:
        raise UserError(
            f"config.model.llm.rows: {config.model.llm.rows}, expected {vocabulary.padded}, the vocabulary's on device."
        )


def validate(config: Any) -> None:
    """Checks vocabulary and loss section. Raises: UserError."""
    validate_vocabulary(config)
    if set(config.loss) != {"text_mode", "weights"} or set(config.loss.weights) != set(TERMS):
        raise UserError(f"config.loss: expected text_mode and weights with {', '.join(TERMS)}.")


class Stage:
    """Networks and loss of stage 2; see training.step.Stage for the protocol."""

    events = ()

    def __init__(self, config: Any):
        self.config, self.loss = config, config.loss
        self.vocabulary = Vocabulary(**config.model.vocabulary)
        self.focus = Focus(config.model, jnp.dtype(config.compute_dtype))
        self.tokenizer = self.focus.tokenizer
        streams = [stream["sequence"] for phase in config.data.phases for stream in phase["streams"]]
        # Learnt positions of a row at most, by its length: rows of words say little beside those of pictures.
        self.learnt: dict[int, int] = {}
        for sequence in streams:
            self.learnt[sequence["length"]] = max(sequence["learnt"], self.learnt.get(sequence["length"], 0))
        # Text slots have one bucket, but a phase may give a picture fewer vectors than the next one.
        self.told = {sequence["images"] * slots.vectors(sizes(sequence)): sizes(sequence) for sequence in streams}
        self.terms = TERMS[:1] if self.loss.text_mode else TERMS
        self.excluded = self.vocabulary.outside(self.vocabulary.text_mode) if self.loss.text_mode else ()
        codes = [self.vocabulary.codes(level) for level in range(len(TERMS) - 1)]
        self.kinds = [(ids.start, ids.stop) for ids in codes] if self.loss.get("levels_apart", False) else ()

    def init(self, rng: jax.Array) -> dict[str, Any]:
        return self.focus.init(rng)

    def notes(self) -> list[str]:
        return []

    def alarms(self, step: int, figures: Mapping[str, float]) -> list[str]:
        """Examples that never fit their row."""
        share = figures.get("left_out", 0.0)
        if share < 0.1:
            return []
        return [f"left_out {share:.2f}: so many of the examples are longer than their row (sequence.length, pack)"]

    def codes_fingerprint(self, params: Mapping[str, Any]) -> str:
        return codes_fingerprint(self.config.model.tokenizer, params["tokenizer"])

    def weights(self, step: jax.Array) -> dict[str, Any]:
        return {name: self.loss.weights[name] for name in self.terms}

    def _by_term(self, values: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
        codes = {name: self.vocabulary.codes(level) for level, name in enumerate(TERMS[1:])}
        sums = sums_by_term(values, labels, {name: (ids.start, ids.stop) for name, ids in codes.items()})
        return {name: sums[name] for name in self.terms}

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        labels = batch["labels"]
        return self._by_term(jnp.broadcast_to(batch["weight"][:, None], labels.shape), labels)

    def numerators(
        self, params, batch: Batch, norm, rng: jax.Array, step: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        del norm, rng, step
        at, labels, found = self.cross_entropy(params, batch)
        return self._by_term(batch["weight"][:, None] * found.nll, labels), figures(batch, at, labels, found)

    def measures(self, params, batch: Batch) -> Metrics:
        return figures(batch, *self.cross_entropy(params, batch))

    def vectors(self, params: Mapping[str, Any], batch: Batch) -> Vectors:
        """What the pictures of a batch bring to its rows, or words in their place; params with aliases resolved."""
        if "bags" in batch:
            return self.focus.told(params, batch["bags"], self.told[batch["bags"].shape[1]])
        if "image" not in batch:
            return {}
        high = to_float(batch["high"]) if "high" in batch else None
        return self.focus.vectors(params, to_float(batch["image"]), high)

    def embeddings(self, params: Mapping[str, Any], batch: Batch) -> jax.Array:
        """The rows of a batch as the language model reads them, [B, T, D]."""
        params = resolve(params, self.config.alias)
        return self._embedded(params, batch, self.vectors(params, batch))

    def _embedded(self, params: Mapping[str, Any], batch: Batch, vectors: Vectors) -> jax.Array:
        beside = self.focus.beside_codes(params, vectors) if "target" in batch else None
        return self.focus.embeddings(params, batch["ids"], batch["roles"], batch["features"], vectors, beside)

    def beside_codes(self, params: Mapping[str, Any], batch: Batch) -> jax.Array | None:
        """What stands beside the codes that are written about the pictures of a batch, [B, codes, D] (models/focus.py);
        None: nothing."""
        params = resolve(params, self.config.alias)
        return self.focus.beside_codes(params, self.vectors(params, batch))

    def cross_entropy(self, params: Mapping[str, Any], batch: Batch) -> tuple[jax.Array, jax.Array, CrossEntropy]:
        """The positions that may be learnt [B, K], in their order, their labels [B, K], and what is said there."""
        return self.losses(params, self.hidden(params, self.embeddings(params, batch), batch), batch)

    def hidden(self, params: Mapping[str, Any], x: jax.Array, batch: Batch) -> jax.Array:
        """Embeddings of a batch's rows -> the language model's hidden states, both [B, T, D]."""
        return self.focus.llm.apply({"params": params["llm"]}, x, batch["positions"], batch["segments"])

    def losses(
        self, params: Mapping[str, Any], hidden: jax.Array, batch: Batch, tables: Sequence[Any] = ()
    ) -> tuple[jax.Array, jax.Array, CrossEntropy]:
        """As `cross_entropy`, of hidden states. tables: as of ops.cross_entropy."""
        head = self.focus.llm.apply({"params": params["llm"]}, method="head")
        # Most positions are pictures and questions, which need no logits.
        most = self.learnt.get(batch["labels"].shape[1], max(self.learnt.values()))
        at = jnp.argsort(batch["labels"] < 0, axis=1, stable=True)[:, :most]
        labels = jnp.take_along_axis(batch["labels"], at, axis=1)
        hidden = jnp.take_along_axis(hidden, at[..., None], axis=1)
        counts = dict(valid=self.vocabulary.rows, excluded=self.excluded, kinds=self.kinds)
        found = cross_entropy(hidden, head, labels, tables=tables, **counts)
        return at, labels, found


def figures(batch: Batch, at: jax.Array, labels: jax.Array, found: CrossEntropy) -> Metrics:
    """nll and accuracy by learnt position; answer_accuracy: of the first position of each answer; left_out: share of
    the examples that did not fit."""
    w = batch["weight"].astype(jnp.float32)
    total = lambda x: jnp.sum(x, dtype=jnp.float32)
    learnt = (labels >= 0) * w[:, None]
    # What follows mask tokens goes on with the answer before them.
    goes_on = jnp.take_along_axis(batch["roles"], at, axis=1) == Role.MASK
    first = learnt * ((jnp.diff(at, axis=1, prepend=-2) > 1) & ~goes_on)
    there, left = jnp.max(batch["segments"], axis=1), batch["left_out"]  # examples of a row, and of those left out
    return {
        "nll": (total(learnt * jnp.where(labels >= 0, found.nll, 0.0)), learnt.sum()),
        "accuracy": (total(learnt * found.correct), learnt.sum()),
        "answer_accuracy": (total(first * found.correct), first.sum()),
        "left_out": (total(w * left), total(w * (left + there))),
    }
