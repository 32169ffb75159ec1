# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The dual tokenizer (FOCUS section 3.3): two branches that turn a picture into code maps, and the pixel decoder that
reads both halves.

The semantic branch reads the frozen vision tower, in the form `focus` fused with the hierarchical encoder's maps (E' of
Eq. 2), in the form `illume` alone, as the released DualViTok. Where the branch is absent its half of the decoder's code
map is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.convnext import ConvNeXt, convnext_pixels
from focus_jax.models.convnext import convnext as make_convnext
from focus_jax.models.fusion import Fusion
from focus_jax.models.layers import normalised
from focus_jax.models.pixel_branch import PixelBranch
from focus_jax.models.qwen_vit import QwenViT, qwen_vit, vit_pixels, vit_size
from focus_jax.models.semantic_branch import SemanticBranch
from focus_jax.ops.resize import bicubic

BRANCHES = (("pixel",), ("semantic", "pixel"))
FORMS = ("focus", "illume")


def drop_mask(rng: jax.Array, shape: tuple[int, int, int], rate: float, rows: float) -> jax.Array:
    """Which pixel codes to replace, bool [B, h, w]: a share `rate` of the positions in a share `rows` of the pictures.

    The release's regularisation (0.1 and 0.1 at 256 px): the decoder learns to lean on the semantic half too.
    """
    one, two = jax.random.split(rng)
    chosen = jax.random.bernoulli(one, rows, (shape[0], 1, 1))
    return chosen & jax.random.bernoulli(two, rate, shape)


class DualTokenizer(nn.Module):
    """Images [B, H, W, 3] float in [-1, 1] <-> codes. Build it with `dual_tokenizer`.

    Fields are named so that their parameters form the parts tokenizer/pixel, /semantic, /vit, /convnext and /fusion;
    semantic, vit, convnext and fusion are None where a form or choice of branches has no use for them.
    semantic_dim: channels of the semantic half, which stands first in the code map.
    """

    pixel: PixelBranch
    semantic: SemanticBranch | None = None
    vit: QwenViT | None = None
    convnext: ConvNeXt | None = None
    fusion: Fusion | None = None
    semantic_dim: int = 32

    def __post_init__(self) -> None:
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

    def tokens(
        self, images: jax.Array, high: jax.Array | None = None, extent: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """(X'_L, E'), both [B, h, w, C]: the frozen tower's merged tokens, and what the semantic branch reads.

        images: [B, H, W, 3]; high: the same pictures at the hierarchical encoder's size [B, H', W', 3], and extent
        [B, 2] as in `Fusion`; the form `illume` needs neither and its E' is X'_L. No gradient reaches an encoder.
        """
        size = vit_size(*images.shape[1:3], self.vit.patch, self.vit.merge)
        low = jax.lax.stop_gradient(self.vit(vit_pixels(images, size))[0])
        if self.fusion is None:
            return low, low
        if high is None:
            raise UserError("tokenizer: the form focus needs the high-resolution pictures beside the images")
        maps = jax.lax.stop_gradient(self.convnext(convnext_pixels(high)))
        return low, self.fusion(low, maps, extent)

    def code_map(self, codes: jax.Array, semantic: jax.Array | None = None) -> jax.Array:
        """Pixel codes [B, h, w, code_dim] and semantic codes [B, h', w', semantic_dim], which are resized to h x w
        (bicubic, as the release), -> the decoder's [B, h, w, semantic_dim + code_dim]; None: that half is zero."""
        if semantic is None:
            half = jnp.zeros((*codes.shape[:3], self.semantic_dim), codes.dtype)
        else:
            half = bicubic(semantic.astype(codes.dtype), codes.shape[1:3])
        return jnp.concatenate([half, codes], axis=-1)

    def decode(self, code_map: jax.Array) -> jax.Array:
        """Code map [B, h, w, semantic_dim + code_dim] -> images [B, H, W, 3] float32, not clipped."""
        return self.pixel.decode(code_map)

    def indices_to_images(self, indices: jax.Array, semantic: jax.Array | None = None) -> jax.Array:
        """Pixel code indices int32 [B, h, w], and semantic ones [B, h', w'] of a tokenizer with that branch -> images
        [B, H, W, 3] float32, not clipped."""
        if (semantic is None) != (self.semantic is None):
            what = "are missing" if semantic is None else "belong to a tokenizer with that branch"
            raise UserError(f"tokenizer: semantic indices {what}")
        codes = None if semantic is None else self.semantic.indices_to_codes(semantic)
        return self.decode(self.code_map(self.pixel.indices_to_codes(indices), codes))

    def __call__(
        self,
        images: jax.Array,
        high: jax.Array | None = None,
        extent: jax.Array | None = None,
        *,
        quantise: bool | jax.Array = True,
        drop: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, dict[str, jax.Array]]]:
        """[B, H, W, 3] -> (reconstruction [B, H, W, 3] float32, out).

        high, extent: as in `tokens`. drop: bool [B, h, w] as `drop_mask` gives it; there the decoder reads the pixel
        code of the batch's previous picture, without a gradient.
        out["pixel"]: z [B, h, w, code_dim], quantised (the decoder's half, straight-through), indices, codes,
        codebook_error, commitment_error and error [B, h, w] (`SimVQ.__call__`).
        out["semantic"], with that branch: the same on the tower's grid, decoded [B, h', w', C], and target, the frozen
        tower's normalised tokens, which `decoded` is held against by its cosine.
        """
        out, half = {}, None
        if self.semantic is not None:
            low, fused = self.tokens(images, high, extent)
            decoded, found = self.semantic(fused, quantise=quantise)
            out["semantic"] = {**found, "decoded": decoded, "target": normalised(low)}
            half = found["quantised"]
        z = self.encode(images)
        quantised, found = self.quantise(z, quantise=quantise)
        out["pixel"] = {"z": z, "quantised": quantised, **found}
        if drop is not None:
            previous = jax.lax.stop_gradient(jnp.roll(quantised, 1, axis=0))
            quantised = jnp.where(drop[..., None], previous, quantised)
        return self.decode(self.code_map(quantised, half)), out


def dual_tokenizer(
    *,
    branches: Sequence[str],
    semantic_dim: int,
    pixel: Mapping[str, Any],
    semantic: Mapping[str, Any] | None = None,
    form: str = "focus",
    vit: Mapping[str, Any] | None = None,
    convnext: Mapping[str, Any] | None = None,
    fusion: Mapping[str, Any] | None = None,
    commitment: float = 0.25,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
) -> DualTokenizer:
    """The tokenizer of a size table (configs/models.py): dual_tokenizer(**config.model.tokenizer, dtype=...).

    branches: ("pixel",) or ("semantic", "pixel"); form: of the semantic branch. pixel: patch, groups, codes, code_dim,
    code_block, encoder and decoder (each widths, blocks, attention_levels), scan, remat. semantic, vit, convnext,
    fusion: sizes of those networks where branches and form have them. commitment: SimVQ's beta.
    Raises: UserError for a choice that does not exist or lacks its sizes.
    """
    if tuple(branches) not in BRANCHES:
        raise UserError(
            f"tokenizer.branches: {tuple(branches)!r}, expected {' or '.join(repr(choice) for choice in BRANCHES)}"
        )
    if form not in FORMS:
        raise UserError(f"tokenizer.form: {form!r}, expected one of {', '.join(FORMS)}")
    types = dict(dtype=dtype, param_dtype=param_dtype)
    sides: dict[str, Any] = {
        f"{side}_{key}": tuple(value) if isinstance(value, list | tuple) else value
        for side in ("encoder", "decoder")
        for key, value in pixel[side].items()
    }
    rest = {key: value for key, value in pixel.items() if key not in ("encoder", "decoder")}
    code_channels = semantic_dim + pixel["code_dim"]
    branch = PixelBranch(**sides, **rest, code_channels=code_channels, beta=commitment, **types)
    if "semantic" not in branches:
        return DualTokenizer(branch, semantic_dim=semantic_dim)
    given = {"semantic": semantic, "vit": vit} | ({"convnext": convnext, "fusion": fusion} if form == "focus" else {})
    if missing := [name for name, sizes in given.items() if sizes is None]:
        raise UserError(
            f"tokenizer: branches {tuple(branches)!r} in the form {form} need sizes of {', '.join(missing)}"
        )
    tower = qwen_vit(**vit, **types)
    reader = SemanticBranch(**semantic, features=tower.out, code_dim=semantic_dim, beta=commitment, **types)
    fused: dict[str, Any] = {}
    if form == "focus":
        levels = {"levels": tuple(fusion["levels"])} if "levels" in fusion else {}
        sizes = {key: value for key, value in fusion.items() if key != "levels"}
        fused = dict(convnext=make_convnext(**convnext, **types), fusion=Fusion(**sizes, **levels, **types))
    return DualTokenizer(branch, reader, tower, semantic_dim=semantic_dim, **fused)
