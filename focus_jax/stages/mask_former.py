# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0: a stand-in for Mask2Former's public weights (arXiv 2112.01527), trained on the world's classes.

Pixel decoder and decoder behind the frozen hierarchical encoder, without a language model: queries are vectors of
their own, as in Mask2Former, and a class is the mean of its words' vectors, which stand for its linear map to classes.
Both are read-outs of this stage alone. What masks cost is stage 3's (stages/masks.py).
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from data_pipelines import segmentation
from focus_jax.errors import UserError
from focus_jax.models.convnext import convnext, square_pixels, square_side
from focus_jax.models.mask_decoder import Predictions, mask_decoder
from focus_jax.models.mask_pixel_decoder import mask_pixel_decoder
from focus_jax.sequence.layout import Role
from focus_jax.sequence.vocabulary import Vocabulary
from focus_jax.stages import masks
from focus_jax.stages.tokenizer import to_float
from focus_jax.training.step import Batch, Metrics


def validate(config: Any) -> None:
    """Checks loss section and networks. Raises: UserError."""
    expected = {"weights", *masks.FIELDS}
    if set(config.loss) != expected or set(config.loss.weights) != set(masks.TERMS):
        raise UserError(
            f"config.loss: expected {', '.join(sorted(expected))}, and weights of {', '.join(masks.TERMS)}."
        )
    masks.validate(config)


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """Raises: UserError for rows of another shape class or other numbers than the mask decoder has."""
    if stream["shape_class"] != segmentation.CLASS:
        raise UserError(f"{where}.shape_class: {stream['shape_class']!r}, expected {segmentation.CLASS}.")
    segmentation.check(stream, where)
    masks.validate_stream(config, stream, where)


class Heads(nn.Module):
    """What stands for the language model: `queries` vectors of mask tokens and one of each of `rows` ids."""

    queries: int
    rows: int
    width: int

    @nn.compact
    def __call__(self, ids: jax.Array, roles: jax.Array, features: jax.Array) -> jax.Array:
        """ids, roles, features [B, T] as in sequence.layout.Laid -> [B, T, D]."""
        queries = self.param("queries", nn.initializers.normal(1.0), (self.queries, self.width))
        words = self.param("words", nn.initializers.normal(1.0), (self.rows, self.width))
        is_mask = (roles == Role.MASK)[..., None]
        return jnp.where(is_mask, queries[jnp.where(roles == Role.MASK, features, 0)], words[ids])


class Stage:
    """Networks and losses; see training.step.Stage for the protocol."""

    events = ()

    def __init__(self, config: Any):
        self.config, self.loss = config, config.loss
        dtype = jnp.dtype(config.compute_dtype)
        self.convnext = convnext(**config.model.convnext, dtype=dtype)
        self.mask_pixel_decoder = mask_pixel_decoder(**config.model.mask_pixel_decoder, dtype=dtype)
        self.mask_decoder = mask_decoder(**config.model.mask_decoder, dtype=dtype)
        rows = Vocabulary(**config.model.vocabulary).padded
        self.heads = Heads(self.mask_decoder.queries, rows, self.mask_decoder.width)

    def init(self, rng: jax.Array) -> dict[str, Any]:
        rngs = [jax.random.fold_in(rng, i) for i in range(4)]
        side = 2 * self.convnext.stride
        encoder = self.convnext.init(rngs[0], jnp.zeros((1, side, side, 3)))["params"]
        maps = self.convnext.apply({"params": nn.unbox(encoder)}, jnp.zeros((1, side, side, 3)))
        pixel = self.mask_pixel_decoder.init(rngs[1], maps)["params"]
        features, levels = self.mask_pixel_decoder.apply({"params": nn.unbox(pixel)}, maps)
        width = self.mask_decoder.width
        asked = jnp.zeros((1, self.mask_decoder.queries, width)), jnp.zeros((1, 1, width)), jnp.zeros(1, jnp.int32)
        return {
            "tokenizer": {"convnext": encoder},
            "mask_pixel_decoder": pixel,
            "mask_decoder": self.mask_decoder.init(rngs[2], *asked, features, levels)["params"],
            "heads": self.heads.init(rngs[3], *(jnp.zeros((1, 1), jnp.int32),) * 3)["params"],
        }

    def notes(self) -> list[str]:
        return []

    def alarms(self, step: int, figures: Mapping[str, float]) -> list[str]:
        return []

    def weights(self, step: jax.Array) -> dict[str, Any]:
        return dict(self.loss.weights)

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        return masks.normalisers(batch, self.mask_decoder.queries, self.loss)

    def numerators(
        self, params, batch: Batch, norm, rng: jax.Array, step: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        del norm
        found, iou = self._terms(params, batch, jax.random.fold_in(rng, step))
        return {name: jnp.sum(batch["weight"] * x) for name, x in found.items()}, iou

    def measures(self, params, batch: Batch) -> Metrics:
        return self._terms(params, batch, jax.random.key(0))[1]

    def _terms(self, params, batch: Batch, rng: jax.Array) -> tuple[dict[str, jax.Array], Metrics]:
        return masks.terms(self.predict(params, batch), batch, rng, self.loss, self.side(batch))[:2]

    def side(self, batch: Batch) -> int:
        """Of the padded square that masks are of, in pixels."""
        return square_side(*batch["high"].shape[2:4], self.convnext.stride)

    def predict(self, params: Mapping[str, Any], batch: Batch) -> Predictions:
        """Masks and scores of rows with one picture each."""
        pixels, _ = square_pixels(to_float(batch["high"][:, 0]), self.side(batch))
        maps = jax.lax.stop_gradient(self.convnext.apply({"params": params["tokenizer"]["convnext"]}, pixels))
        features, levels = self.mask_pixel_decoder.apply({"params": params["mask_pixel_decoder"]}, maps)
        vectors = self.heads.apply({"params": params["heads"]}, batch["ids"], batch["roles"], batch["features"])
        asked = masks.read(vectors, batch, self.mask_decoder.queries)
        own = {"params": params["mask_decoder"]}
        return self.mask_decoder.apply(own, *asked, batch["kind"], features, levels)
