# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the language model is given to segment: learned mask tokens, whose hidden states become E_Q, and a vector for
each region that a user marked, whose hidden state becomes E_P.

The paper pools a region from E_img alone (section 3.2). On its few tokens neighbours share a cell, so the vector is
also
told what a finer map shows there and where that is; both maps begin small beside the pooled features (our addition).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.models.fusion import PLACES, centres, sine_positions
from focus_jax.models.layers import Dense, LayerNorm
from focus_jax.models.parameters import named


def pooled(features: jax.Array, coverage: jax.Array) -> jax.Array:
    """Means of features [B, h, w, C] over regions, coverage [B, R, h, w] >= 0 -> [B, R, C] float32; a region that
    covers nothing gives zeros."""
    coverage = coverage.astype(jnp.float32)
    total = coverage.sum(axis=(2, 3))[..., None]
    found = jnp.einsum("brhw,bhwc->brc", coverage, features.astype(jnp.float32))
    return found / jnp.maximum(total, 1e-6)


class MaskTokens(nn.Module):
    """count: mask tokens of an answer; out: the language model's width."""

    count: int
    out: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, regions: jax.Array, image: jax.Array, fine: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(mask tokens [count, out], regions' vectors [B, R, out]).

        regions: [B, R, h', w'] of 0..1, how much of each cell of the picture's fine grid a region covers; image: the
        picture's vectors, projected E_img [B, h, w, out]; fine: the hierarchical encoder's map of that grid
        [B, h', w', C].
        """
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        init = named(nn.initializers.normal(0.02), (None, "norm"))
        tokens = self.param("tokens", init, (self.count, self.out), self.param_dtype).astype(self.dtype)
        b, r, *grid = regions.shape
        coarse = jax.image.resize(regions.astype(jnp.float32), (b, r, *image.shape[1:3]), "linear")
        place = sine_positions(centres(*grid)).reshape(1, *grid, PLACES)
        found = pooled(image, coarse).astype(self.dtype)
        small = nn.initializers.variance_scaling(0.1, "fan_in", "normal")
        detail = LayerNorm(**types, name="fine_norm")(pooled(fine, regions))
        found = found + Dense(self.out, kernel_init=small, **types, name="fine")(detail)
        where = pooled(jnp.broadcast_to(place, (b, *place.shape[1:])), regions)
        return tokens, found + Dense(self.out, use_bias=False, kernel_init=small, **types, name="place")(where)
