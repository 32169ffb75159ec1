# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""FOCUS Eq. 6: the predicted mask as what the diffusion decoder's idle cross-attention reads.

As printed, every cell of the mask is a key and a value through one linear map. Attention does not see the order of its
keys, so that form can tell how much is masked and not where. Here fixed sine positions, in coordinates of the picture,
stand beside the mask's cells and are added to what asks, so that a place of the picture can find its own cell. A gate
that begins at zero leaves the decoder as it was: a context of zeros makes attention blind to what is asked. Attention
of its own (models/unet.py, separate) begins silent and needs no gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.fusion import centres, sine_positions
from focus_jax.models.parameters import DENSE_AXES, named, torch_uniform
from focus_jax.ops.dense import dense
from focus_jax.ops.resize import area

QUERIES = "queries"
FORMS = ("places", "keys", "literal", QUERIES)
GRIDS = ("level", "latent", "coarsest")
Context = Callable[[int, int, int], tuple[jax.Array, jax.Array | None]]


class MaskGuidance(nn.Module):
    """What a mask, or what stands for it, is to the UNet.

    width: of the context. form: places, positions beside the mask's cells and on what asks; keys, beside the cells
    alone; literal, none at all (Eq. 6 as printed); queries, the mask tokens' states E_Q instead of a mask, which the
    paper tried. grid: the cells are those of each level of the UNet that asks, of the latents (as printed), or of the
    coarsest level everywhere. finest: of the positions, how many times the shortest wave goes into twice the picture.
    gated: whether there is a gate. states: width of E_Q; where it is that of the context, they are read as they are,
    else through a linear map.
    """

    width: int = 2048
    form: str = "places"
    grid: str = "level"
    finest: float = 64.0
    gated: bool = True
    states: int = 2048
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        for name, value, known in (("form", self.form, FORMS), ("grid", self.grid, GRIDS)):
            if value not in known:
                raise UserError(f"mask_guidance.{name}: {value!r}, expected {', '.join(known)}.")
        if self.width % 4 or self.width < 8 or self.finest < 1:
            told = f"width {self.width}, finest {self.finest}"
            raise UserError(f"mask_guidance: {told}, expected a width in fours from 8 on, finest from 1.")
        super().__post_init__()

    @nn.compact
    def __call__(self, given: jax.Array, there: jax.Array, latents: tuple[int, int], coarsest: int) -> Context:
        """The UNet's `context`.

        Args:
          given: [B, H, W], 0 to 1, the mask on the picture that is drawn; of the form queries [B, N, states]. there:
            [B], 1 where it counts, 0 for rows without a mask. latents: (h, w) of what is drawn; coarsest: how much
            coarser than them the last level is.
        """
        opened = there[:, None, None].astype(jnp.float32)
        if self.gated:
            gate = self.param("gate", named(nn.initializers.zeros, ("norm",)), (1,), self.param_dtype)
            opened *= jnp.tanh(gate.astype(jnp.float32))
        tokens = self.form == QUERIES
        if not tokens or self.states != self.width:
            inner = self.states if tokens else 1
            shape, init = (inner, self.width), torch_uniform(inner)
            kernel = self.param("kernel", named(init, DENSE_AXES), shape, self.param_dtype)
            bias = self.param("bias", named(init, ("norm",)), (self.width,), self.param_dtype)
        if tokens:
            seen = given.astype(jnp.float32)
            if self.states != self.width:
                seen = dense(seen, kernel.astype(jnp.float32), bias.astype(jnp.float32))
            found = (opened * seen).astype(self.dtype)
            return lambda h, w, width: (found, None)

        def context(h: int, w: int, width: int) -> tuple[jax.Array, jax.Array | None]:
            fixed = {"latent": latents, "coarsest": tuple(side // coarsest for side in latents)}
            cells = fixed.get(self.grid, (h, w))
            mask = area(given.astype(jnp.float32)[..., None], cells)
            seen = dense(mask.reshape(len(mask), -1, 1), kernel.astype(jnp.float32), bias.astype(jnp.float32))
            if self.form != "literal":
                seen = seen + sine_positions(centres(*cells), self.width, self.finest)
            places = sine_positions(centres(h, w), width, self.finest) if self.form == "places" else None
            return (opened * seen).astype(self.dtype), places

        return context


def mask_guidance(**config: Any) -> MaskGuidance:
    """The network of a size table (configs/models.py)."""
    return MaskGuidance(**config)
