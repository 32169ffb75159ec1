# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The semantic branch of the dual tokenizer (FOCUS section 3.3), layer by layer as the released DualViTok.

It turns the vision tower's merged tokens, fused or not, into codes, and codes back into what the frozen tower said. Its
blocks are the tower's own (models/qwen_vit.py); their rotary positions are those of the merged grid in raster order.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.layers import Dense, LayerNorm, at_token_boundary, normalised
from focus_jax.models.qwen_vit import Block, grid_positions
from focus_jax.models.simvq import SimVQ
from focus_jax.models.stack import run_stack
from focus_jax.ops.rope import rope_angles, turns


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Cosine of the angle between vectors [..., C] and [..., C]: [...] float32."""
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return jnp.sum(a * b, axis=-1) * jax.lax.rsqrt(jnp.sum(a * a, axis=-1) * jnp.sum(b * b, axis=-1))


class Blocks(nn.Module):
    """[B, h, w, C] -> [B, h, w, out]: linear to `width`, `depth` blocks over the whole map, linear to `out`.

    norm: whether an affine LayerNorm (eps 1e-5) follows, as in the release's decoder and not in its encoder.
    out_scale: of the last linear map's start values.
    """

    depth: int
    width: int
    heads: int
    out: int
    norm: bool
    mlp_ratio: int = 4
    out_scale: float = 1.0
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        init, last = (nn.initializers.variance_scaling(s**2, "fan_avg", "uniform") for s in (1.0, self.out_scale))
        b, h, w, c = x.shape
        x = Dense(self.width, kernel_init=init, **types, name="proj_in")(x.reshape(b, h * w, c))
        turned = turns(rope_angles(grid_positions(h, w, 1)[None], self.width // self.heads))
        make = functools.partial(Block, self.heads, self.mlp_ratio, **types)
        x = run_stack(make, at_token_boundary(x), turned, None, count=self.depth, scan=self.scan, remat=self.remat)
        x = Dense(self.out, kernel_init=last, **types, name="proj_out")(x)
        if self.norm:
            x = LayerNorm(eps=1e-5, **types, name="norm_out")(x)
        return x.reshape(b, h, w, self.out)


class SemanticBranch(nn.Module):
    """Encoder, SimVQ and decoder; sizes default to the released ones.

    features: width of the tower's merged tokens; depth, width, heads: of either stack of blocks. code_scale: of the
    start values of the map to z; z of a size far from the features' loss drowns it in the quantiser's.
    """

    features: int = 3584
    depth: int = 4
    width: int = 1280
    heads: int = 16
    mlp_ratio: int = 4
    codes: int = 32_768
    code_dim: int = 32
    code_block: int = 4096
    code_scale: float = 1.0
    beta: float = 0.25
    scan: bool = False
    remat: str = "none"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if self.width % (4 * self.heads):
            raise UserError(
                f"semantic branch: width {self.width} with {self.heads} heads, expected heads of a multiple of 4 "
                "channels"
            )
        super().__post_init__()

    def setup(self) -> None:
        common = dict(
            depth=self.depth, width=self.width, heads=self.heads, mlp_ratio=self.mlp_ratio, scan=self.scan,
            remat=self.remat, dtype=self.dtype, param_dtype=self.param_dtype,
        )  # fmt: skip
        self.encoder = Blocks(out=self.code_dim, norm=False, out_scale=self.code_scale, **common)
        self.quantizer = SimVQ(self.codes, self.code_dim, self.beta, self.code_block, self.param_dtype)
        self.decoder = Blocks(out=self.features, norm=True, **common)

    def encode(self, features: jax.Array) -> jax.Array:
        """Tokens [B, h, w, features] -> continuous z [B, h, w, code_dim] float32; they are `normalised` first."""
        return self.encoder(normalised(features)).astype(jnp.float32)

    def decode(self, codes: jax.Array) -> jax.Array:
        """Codes [B, h, w, code_dim] -> [B, h, w, features] float32, to be held against `normalised` tokens."""
        return self.decoder(codes).astype(jnp.float32)

    def __call__(
        self, features: jax.Array, *, quantise: bool | jax.Array = True
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """[B, h, w, features] -> (decoded [B, h, w, features] float32, out).

        out: z and quantised [B, h, w, code_dim] (straight-through), and what `SimVQ.__call__` gives.
        """
        z = self.encode(features)
        quantised, out = self.quantizer(z, quantise=quantise)
        return self.decode(quantised), {"z": z, "quantised": quantised, **out}
