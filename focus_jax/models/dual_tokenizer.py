# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The dual tokenizer: branches that turn a picture into code maps, and the pixel decoder that reads both halves.

Of the two branches of FOCUS section 3.3 the pixel branch is here; where the semantic branch is absent its half of the
decoder's code map is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.pixel_branch import PixelBranch

BRANCHES = ("pixel",)


class DualTokenizer(nn.Module):
    """Images [B, H, W, 3] float in [-1, 1] <-> codes. Build it with `dual_tokenizer`.

    pixel: the pixel branch; as a field of this name its parameters form the part tokenizer/pixel.
    semantic_dim: channels of the semantic half, which stands first in the code map.
    """

    pixel: PixelBranch
    branches: tuple[str, ...] = ("pixel",)
    semantic_dim: int = 32

    def __post_init__(self) -> None:
        unknown = sorted(set(self.branches) - set(BRANCHES))
        if unknown or not self.branches:
            raise UserError(f"tokenizer.branches: {tuple(self.branches)!r} is not a choice of {', '.join(BRANCHES)}")
        if isinstance(self.pixel, PixelBranch) and self.pixel.code_channels != self.semantic_dim + self.pixel.code_dim:
            raise UserError(
                f"tokenizer: the decoder's code map has {self.pixel.code_channels} channels, expected "
                f"{self.semantic_dim} semantic + {self.pixel.code_dim} pixel"
            )
        super().__post_init__()

    @property
    def stride(self) -> int:
        """Pixels a pixel code covers on each side; H and W of an image must be multiples of it."""
        return self.pixel.stride

    def encode(self, images: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> continuous z [B, H/stride, W/stride, code_dim] float32."""
        height, width = images.shape[1:3]
        if height % self.stride or width % self.stride:
            raise UserError(f"images: {height} x {width} pixels, expected multiples of the stride {self.stride}")
        return self.pixel.encode(images)

    def quantise(self, z: jax.Array, *, quantise: bool | jax.Array = True) -> tuple[jax.Array, dict[str, jax.Array]]:
        """z [B, h, w, code_dim] -> (straight-through codes, out) as in `SimVQ.__call__`."""
        return self.pixel.quantise(z, quantise=quantise)

    def code_map(self, codes: jax.Array) -> jax.Array:
        """Pixel codes [B, h, w, code_dim] -> the decoder's [B, h, w, semantic_dim + code_dim], semantic half zero."""
        return jnp.concatenate([jnp.zeros((*codes.shape[:3], self.semantic_dim), codes.dtype), codes], axis=-1)

    def decode(self, code_map: jax.Array) -> jax.Array:
        """Code map [B, h, w, semantic_dim + code_dim] -> images [B, H, W, 3] float32, not clipped."""
        return self.pixel.decode(code_map)

    def indices_to_images(self, indices: jax.Array) -> jax.Array:
        """Pixel code indices int32 [B, h, w] -> images [B, H, W, 3] float32, not clipped."""
        return self.decode(self.code_map(self.pixel.indices_to_codes(indices)))

    def __call__(
        self, images: jax.Array, *, quantise: bool | jax.Array = True
    ) -> tuple[jax.Array, dict[str, dict[str, jax.Array]]]:
        """[B, H, W, 3] -> (reconstruction [B, H, W, 3] float32, out).

        out["pixel"]: z [B, h, w, code_dim], quantised (the decoder's half, straight-through), indices, codes,
        codebook_error, commitment_error and error [B, h, w] (`SimVQ.__call__`).
        """
        z = self.encode(images)
        quantised, out = self.quantise(z, quantise=quantise)
        return self.decode(self.code_map(quantised)), {"pixel": {"z": z, "quantised": quantised, **out}}


def dual_tokenizer(
    *,
    branches: Sequence[str],
    semantic_dim: int,
    pixel: Mapping[str, Any],
    commitment: float = 0.25,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
) -> DualTokenizer:
    """The tokenizer of a size table (configs/models.py): dual_tokenizer(**config.model.tokenizer, dtype=...).

    pixel: patch, groups, codes, code_dim, code_block, encoder and decoder (each widths, blocks, attention_levels),
    scan, remat. commitment: SimVQ's beta.
    """
    sides: dict[str, Any] = {
        f"{side}_{key}": tuple(value) if isinstance(value, list | tuple) else value
        for side in ("encoder", "decoder")
        for key, value in pixel[side].items()
    }
    rest = {key: value for key, value in pixel.items() if key not in ("encoder", "decoder")}
    branch = PixelBranch(
        **sides,
        **rest,
        code_channels=semantic_dim + pixel["code_dim"],
        beta=commitment,
        dtype=dtype,
        param_dtype=param_dtype,
    )
    return DualTokenizer(pixel=branch, branches=tuple(branches), semantic_dim=semantic_dim)
