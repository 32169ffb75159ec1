# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 4: instruction tuning for editing (FOCUS 3.4 and 3.5). Stage 3 goes on, and of rows of `editing` the diffusion
decoder learns to draw the target under the mask of what changes (Eq. 6, models/mask_guidance.py).

The mask is the true one or the model's own, the union of its matched queries, through which the diffusion loss reaches
the mask decoder; own masks come in as the true ones' share falls. Of rows that take something away the codes may be
those of the source instead of the target's, so that the mask has to carry what the codes do not.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from data_pipelines.targets import GUIDES
from focus_jax.errors import UserError
from focus_jax.models.mask_decoder import Predictions
from focus_jax.models.mask_guidance import QUERIES
from focus_jax.ops.resize import area
from focus_jax.stages import decoder, masks, multimodal
from focus_jax.stages.tokenizer import to_float
from focus_jax.training.step import Batch, Metrics

DIFFUSION = "diffusion"  # the term of what is drawn
TERMS = (*multimodal.TERMS, DIFFUSION)
FIELDS = ("drawing", "truth", "source_codes")  # of config.loss beside those of stage 3


def validate(config: Any) -> None:
    """Checks loss section and networks. Raises: UserError."""
    multimodal.validate(config, FIELDS, TERMS)
    loss = config.loss
    if len(loss.truth) != 2 or not all(0 <= share <= 1 for share in loss.truth):
        raise UserError(
            f"config.loss.truth: {loss.truth}, expected shares of true masks, at the start and from half on."
        )
    if not 0 <= loss.source_codes <= 1:
        raise UserError(f"config.loss.source_codes: {loss.source_codes!r}, expected a share of the removals.")
    if "mask_guidance" not in config.model:
        raise UserError("config.model.mask_guidance: is missing, expected its sizes, or None to draw under no mask.")
    guide, width = config.model.mask_guidance, config.model.llm.width
    if guide and guide.form == QUERIES and guide.get("states") != width:
        raise UserError(f"config.model.mask_guidance.states: {guide.get('states')}, expected {width}, of the llm.")
    decoder.validate(drawing(config))


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """Raises: UserError, as stage 3's and, of edits, as the diffusion decoder's."""
    multimodal.validate_stream(config, stream, where)
    if stream["shape_class"] == "editing":
        scale = stream.get("scale", 1)
        size = {side: scale * stream[side] for side in ("height", "width")}
        seen = {"shape_class": "picture", "tokens": 1.0 / scale, "high": stream.get("high", 0)}
        decoder.validate_stream(drawing(config), seen | size, where)


def drawing(config: Any) -> ConfigDict:
    """The part of a config of this stage that the diffusion decoder's own stage reads."""
    loss = dict(config.loss.drawing.to_dict(), weights={DIFFUSION: 1.0})
    return ConfigDict(dict(model=config.model, loss=loss, compute_dtype=config.compute_dtype, seed=config.seed))


class Stage(multimodal.Stage):
    """Networks and losses of stage 4; see training.step.Stage for the protocol."""

    beside = TERMS

    def __init__(self, config: Any):
        super().__init__(config)
        self.decoder = decoder.Stage(drawing(config))
        self.steps = sum(phase["steps"] for phase in config.data.phases)

    def init(self, rng: jax.Array) -> dict[str, Any]:
        return self.decoder.init(jax.random.fold_in(rng, 4)) | super().init(rng)

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        found = super().normalisers(batch)
        return found | ({DIFFUSION: batch["weight"].astype(jnp.float32).sum()} if "guide" in batch else {})

    def drawn(
        self, params, batch: Batch, hidden: jax.Array, predictions: Predictions, queries: jax.Array, rng: jax.Array,
        step: Any,
    ) -> tuple[dict[str, jax.Array], Metrics]:  # fmt: skip
        if "guide" not in batch:
            return {}, {}
        picture = batch.get("drawn", batch["target"])
        rows = {"image": picture, "element": batch["element"]}
        keys = jax.vmap(lambda e: jax.random.split(jax.random.fold_in(jax.random.fold_in(rng, 4), e), 2))(
            batch["element"]
        )
        chance = lambda k: jax.vmap(jax.random.uniform)(keys[:, k])
        takes = (batch["removes"] > 0) & (chance(0) < self.loss.source_codes)
        x, codes, t, ids, target, own = self.decoder.noised(
            params, rows, rng, indices=self._indices(params, batch, takes)
        )
        codes, kept = self.decoder.dropped(codes, own)
        context = None
        if self.decoder.guidance is not None:
            given, there = self.guides(batch, predictions, queries, chance(1), self._truth(step), x.shape[1:3])
            if self.decoder.guidance.form == QUERIES:  # an answer that marks nothing has no mask tokens
                given = masks.read(hidden, batch, self.focus.mask_decoder.queries)[0]
                there = there * (batch["guide"] != GUIDES.index("whole"))
            context = self.decoder.context(params, given, there * kept, x.shape[1:3])
        error = self.decoder.error(params, target, x, codes, t, ids, context)
        w = batch["weight"].astype(jnp.float32)
        figures = {"diffusion_error": error, "source_codes": takes}  # the second: the share drawn from those
        return {DIFFUSION: self.decoder.weighed(error, t)}, {k: (jnp.sum(w * x), w.sum()) for k, x in figures.items()}

    def _truth(self, step: Any) -> jax.Array:
        """The share of true masks: falls until half of the run. None: of a run that is over."""
        start, end = self.loss.truth
        done = 1.0 if step is None else jnp.minimum(2.0 * step / self.steps, 1.0)
        return start + (end - start) * jnp.asarray(done, jnp.float32)

    def _indices(self, params: Mapping[str, Any], batch: Batch, takes: jax.Array) -> dict[str, jax.Array]:
        """Codes by branch of what is drawn, or in the rows that take them of the source: [B, h, w]."""

        def of(image: jax.Array, high: jax.Array | None) -> dict[str, jax.Array]:
            high = None if high is None else to_float(high)
            return self.tokenizer.apply({"params": params["tokenizer"]}, to_float(image), high, method="indices")

        found = of(batch["target"], batch.get("target_high"))
        if self.loss.source_codes:
            source = of(batch["image"][:, 0], batch["high"][:, 0] if "high" in batch else None)
            found = {name: jnp.where(takes[:, None, None], source[name], x) for name, x in found.items()}
        return {name: jax.lax.stop_gradient(x) for name, x in found.items()}

    def guides(
        self,
        batch: Batch,
        predictions: Predictions,
        queries: jax.Array,
        chance: jax.Array,
        truth: jax.Array,
        size: tuple[int, int],
    ) -> tuple[jax.Array, jax.Array]:
        """(masks [B, *size] on the picture, 0 to 1; whether they count, float32 [B]).

        chance: [B], in 0 to 1; below `truth` a row sees the true mask, else its own.
        """
        height, width = batch["high"].shape[2:4]
        side = self.focus.tokenizer.padded_side(height, width)
        bits = jnp.unpackbits(batch["targets"], axis=-1)[..., :width] * batch["there"][:, :, None, None]
        true = area(jnp.max(bits, axis=1).astype(jnp.float32)[..., None], size)[..., 0]
        soft = jax.nn.sigmoid(predictions.masks[-1].astype(jnp.float32))  # [B, N, h, w] on the padded square
        picked = jnp.take_along_axis(soft, queries[:, :, None, None], axis=1) * batch["there"][:, :, None, None]
        # Nothing is said there of what is right, so no condition is known; the first one is the instruction.
        scores = jax.nn.sigmoid(predictions.scores[-1][..., 0].astype(jnp.float32))
        unmatched = jnp.max(soft * scores[:, :, None, None], axis=1)
        guide = {name: (batch["guide"] == i)[:, None, None] for i, name in enumerate(GUIDES)}
        own = jnp.where(guide["own"], unmatched, jnp.max(picked, axis=1))
        own = area(own[..., None], size, (height / side, width / side))[..., 0]
        if min(self.loss.truth) == 1:  # masks and drawing are taught apart
            own = jax.lax.stop_gradient(own)
        sees_truth = guide["masks"] & (chance < truth)[:, None, None]
        found = jnp.where(guide["whole"], 1.0, jnp.where(sees_truth, true, own))
        return jnp.where(guide["none"], 0.0, found), (batch["guide"] > 0).astype(jnp.float32)
