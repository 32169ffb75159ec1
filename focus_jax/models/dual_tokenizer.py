# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The dual tokenizer (FOCUS section 3.3): two branches that turn a picture into code maps, and the pixel decoder that
reads both halves.

The semantic branch reads the frozen vision tower, in the form `focus` fused with the hierarchical encoder's maps (E' of
Eq. 2), in the form `illume` alone, as the released DualViTok. Where a branch is absent its half of the decoder's code
map is zero. Codes are dicts by branch: {"semantic": [B, h', w'], "pixel": [B, h, w]}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.models.convnext import ConvNeXt, square_pixels, square_side
from focus_jax.models.convnext import convnext as make_convnext
from focus_jax.models.fusion import Fusion
from focus_jax.models.layers import normalised
from focus_jax.models.pixel_branch import PixelBranch
from focus_jax.models.qwen_vit import QwenViT, qwen_vit, vit_pixels, vit_size
from focus_jax.models.semantic_branch import SemanticBranch
from focus_jax.ops.resize import bicubic

BRANCHES = (("semantic", "pixel"), ("pixel",), ("semantic",))
FORMS = ("focus", "illume")
PREPROCESSING = 1  # version of what happens to pictures on their way to codes; stored codes carry it
# Parameters that codes do not depend on, by path below `tokenizer`.
AFTER_CODES = ("semantic/decoder/", "pixel/post_quant_conv/", "pixel/decoder/")


def drop_mask(rngs: jax.Array, grid: tuple[int, int], rate: float, rows: float) -> jax.Array:
    """Which pixel codes to replace, bool [B, h, w]: a share `rate` of the positions in a share `rows` of the pictures.

    rngs: keys [B], one a picture. The release's regularisation (0.1 and 0.1 at 256 px): the decoder learns to lean on
    the semantic half too.
    """

    def draw(rng: jax.Array) -> jax.Array:
        one, two = jax.random.split(rng)
        return jax.random.bernoulli(one, rows) & jax.random.bernoulli(two, rate, grid)

    return jax.vmap(draw)(rngs)


class DualTokenizer(nn.Module):
    """Images [B, H, W, 3] float in [-1, 1] <-> codes. Build it with `dual_tokenizer`.

    Fields are named so that their parameters form the parts tokenizer/pixel, /semantic, /vit, /convnext and /fusion;
    semantic, vit, convnext and fusion are None where a form or choice of branches has no use for them.
    semantic_dim: channels of the semantic half, which stands first in the code map. pixel_codes: False for an ablation,
    in which pictures have semantic codes alone. high: pixels of the long edge of the hierarchical encoder's pictures;
    0 for an ablation, in which it sees the images themselves.
    """

    pixel: PixelBranch
    semantic: SemanticBranch | None = None
    vit: QwenViT | None = None
    convnext: ConvNeXt | None = None
    fusion: Fusion | None = None
    semantic_dim: int = 32
    pixel_codes: bool = True
    high: int = 768

    def __post_init__(self) -> None:
        if isinstance(self.pixel, PixelBranch) and self.pixel.code_channels != self.semantic_dim + self.pixel.code_dim:
            raise UserError(
                f"tokenizer: the decoder's code map has {self.pixel.code_channels} channels, expected "
                f"{self.semantic_dim} semantic + {self.pixel.code_dim} pixel"
            )
        super().__post_init__()

    @property
    def branches(self) -> dict[str, PixelBranch | SemanticBranch]:
        """The branches that give codes, by name, in the order of the code map."""
        found = {"semantic": self.semantic, "pixel": self.pixel if self.pixel_codes else None}
        return {name: branch for name, branch in found.items() if branch is not None}

    @property
    def stride(self) -> int:
        """Pixels a pixel code covers on each side; H and W of an image must be multiples of it."""
        return self.pixel.stride

    @property
    def reads_high(self) -> int:
        """`high` where the form reads such pictures, else 0."""
        return self.high if self.fusion is not None else 0

    def grids(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """(h, w) of each branch's codes for pictures of height x width pixels. Raises: UserError for a bad size."""
        if height % self.stride or width % self.stride or not height or not width:
            raise UserError(f"images: {height} x {width} pixels, expected multiples of the stride {self.stride}")
        found = {"pixel": (height // self.stride, width // self.stride)}
        if self.semantic is not None:
            found["semantic"] = tuple(side // self.vit.stride for side in self._vit_size(height, width))
        return {name: found[name] for name in self.branches}

    def _vit_size(self, height: int, width: int) -> tuple[int, int]:
        """Size at which the tower sees pictures of height x width pixels."""
        return vit_size(height, width, self.vit.patch, self.vit.merge)

    def tokens(self, images: jax.Array, high: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """(X'_L, E'), both [B, h, w, C]: the frozen tower's merged tokens, and what the semantic branch reads.

        images: [B, H, W, 3]; high: the same pictures with a long edge of `high` pixels [B, H', W', 3], where
        `reads_high` asks for them. In the form `illume` E' is X'_L. No gradient reaches an encoder.
        """
        low, fused, _, _ = self._read(images, high)
        return low, fused

    def understanding(
        self, images: jax.Array, high: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, dict[str, jax.Array] | None, jax.Array | None]:
        """What the language model is told of pictures as in `tokens`: E' [B, h, w, C]; X_T, the pixel encoder's
        features before quant_conv [B, h', w', code_dim]; the hierarchical encoder's maps {level: [B, H, W, C_level]}
        and their extent as in `Fusion`, None in the form `illume`. No gradient reaches an encoder."""
        _, fused, maps, extent = self._read(images, high)
        return fused, jax.lax.stop_gradient(self.pixel.features(images)), maps, extent

    def _read(
        self, images: jax.Array, high: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, dict[str, jax.Array] | None, jax.Array | None]:
        """(X'_L, E', maps, extent)."""
        pixels = vit_pixels(images, self._vit_size(*images.shape[1:3]))
        low = jax.lax.stop_gradient(self.vit(pixels)[0])
        if self.fusion is None:
            return low, low, None, None
        maps, extent = self._maps(high if self.high else images)
        return low, self.fusion(low, maps, extent), maps, extent

    def padded_side(self, height: int, width: int) -> int:
        """Side of the square that the hierarchical encoder sees of pictures of height x width pixels."""
        return square_side(height, width, self.convnext.stride)

    def _maps(self, high: jax.Array | None) -> tuple[dict[str, jax.Array], jax.Array]:
        """The hierarchical encoder's maps, and the share of their height and width that is no padding [B, 2]."""
        if high is None:
            raise UserError("tokenizer: the form focus needs the high-resolution pictures beside the images")
        height, width = high.shape[1:3]
        long = max(height, width)
        if long != (self.high or long):
            raise UserError(
                f"tokenizer: high-resolution pictures of {height} x {width} pixels, expected a long edge of {self.high}"
            )
        pixels, extent = square_pixels(high, self.padded_side(height, width))
        return jax.lax.stop_gradient(self.convnext(pixels)), extent

    def encode(self, images: jax.Array, high: jax.Array | None = None) -> dict[str, jax.Array]:
        """Images as in `tokens` -> continuous z of each branch, [B, h, w, its code_dim] float32."""
        self.grids(*images.shape[1:3])
        z = {}
        if self.semantic is not None:
            z["semantic"] = self.semantic.encode(self.tokens(images, high)[1])
        if self.pixel_codes:
            z["pixel"] = self.pixel.encode(images)
        return z

    def indices(self, images: jax.Array, high: jax.Array | None = None) -> dict[str, jax.Array]:
        """Images as in `tokens` -> code indices of each branch, int32 [B, h, w]."""
        z = self.encode(images, high)
        return {name: branch.quantizer(z[name])[1]["indices"] for name, branch in self.branches.items()}

    def codebooks(self) -> dict[str, jax.Array]:
        """The vectors of each branch's codes, [codes, code_dim]."""
        return {name: branch.quantizer.codebook() for name, branch in self.branches.items()}

    def semantic_features(self, images: jax.Array, high: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Images as in `tokens` -> (decoded from semantic codes, the frozen tower's normalised), both [B, h, w, C]."""
        low, fused = self.tokens(images, high)
        return self.semantic(fused)[0], normalised(low)

    def code_map(self, codes: Mapping[str, jax.Array], grid: tuple[int, int]) -> jax.Array:
        """Codes [B, h, w, C] by branch -> the decoder's [B, *grid, semantic_dim + code_dim].

        grid: (h, w) of the pixel codes, to which semantic ones are resized (bicubic, as the release). The half of a
        branch that is not in `codes` is zero.
        """
        halves = {name: bicubic(x.astype(jnp.float32), grid) if name == "semantic" else x for name, x in codes.items()}
        b = next(iter(halves.values())).shape[0]
        dims = {"semantic": self.semantic_dim, "pixel": self.pixel.code_dim}
        return jnp.concatenate([halves.get(name, jnp.zeros((b, *grid, dim))) for name, dim in dims.items()], axis=-1)

    def decode(self, code_map: jax.Array) -> jax.Array:
        """Code map [B, h, w, semantic_dim + code_dim] -> images [B, H, W, 3] float32, not clipped."""
        return self.pixel.decode(code_map)

    def indices_to_images(self, indices: Mapping[str, jax.Array], grid: tuple[int, int] | None = None) -> jax.Array:
        """Code indices int32 [B, h, w] by branch -> images [B, H, W, 3] float32, not clipped.

        grid: (h, w) of the decoder's code map; that of the pixel codes where there are such.
        Raises: UserError for branches that are missing or not this tokenizer's.
        """
        return self.decode(self.map_of(indices, grid))

    def map_of(self, indices: Mapping[str, jax.Array], grid: tuple[int, int] | None = None) -> jax.Array:
        """Code indices as in `indices_to_images` -> the code map [B, *grid, semantic_dim + code_dim]."""
        if set(indices) != set(self.branches):
            raise UserError(
                f"tokenizer: codes of the branches {', '.join(sorted(indices)) or 'none'}, expected "
                f"{', '.join(sorted(self.branches))}"
            )
        if grid is None and "pixel" not in indices:
            raise UserError("tokenizer: semantic codes alone do not tell the picture's size, expected a grid")
        codes = {name: branch.quantizer.indices_to_codes(indices[name]) for name, branch in self.branches.items()}
        return self.code_map(codes, grid or indices["pixel"].shape[1:])

    def __call__(
        self,
        images: jax.Array,
        high: jax.Array | None = None,
        *,
        quantise: bool | jax.Array | Mapping[str, bool | jax.Array] = True,
        drop: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, dict[str, jax.Array]]]:
        """[B, H, W, 3] -> (reconstruction [B, H, W, 3] float32, out).

        high: as in `tokens`. quantise: as in `SimVQ.__call__`, of all branches or by branch. drop: bool [B, h, w] as
        `drop_mask` gives it; there the decoder reads the pixel code of the batch's previous picture, with no gradient.
        out["pixel"]: z [B, h, w, code_dim], quantised (the decoder's half, straight-through), indices, codes,
        codebook_error, commitment_error and error [B, h, w] (`SimVQ.__call__`).
        out["semantic"], with that branch: the same on the tower's grid, decoded [B, h', w', C], and target, the frozen
        tower's normalised tokens, which `decoded` is held against by its cosine.
        """
        height, width = images.shape[1:3]
        self.grids(height, width)
        on = quantise if isinstance(quantise, Mapping) else dict.fromkeys(self.branches, quantise)
        out: dict[str, dict[str, jax.Array]] = {}
        if self.semantic is not None:
            low, fused = self.tokens(images, high)
            decoded, found = self.semantic(fused, quantise=on["semantic"])
            out["semantic"] = {**found, "decoded": decoded, "target": normalised(low)}
        if self.pixel_codes:
            z = self.pixel.encode(images)
            quantised, found = self.pixel.quantizer(z, quantise=on["pixel"])
            out["pixel"] = {"z": z, "quantised": quantised, **found}
        halves = {name: found["quantised"] for name, found in out.items()}
        if drop is not None and "pixel" in halves:
            previous = jax.lax.stop_gradient(jnp.roll(halves["pixel"], 1, axis=0))
            halves["pixel"] = jnp.where(drop[..., None], previous, halves["pixel"])
        return self.decode(self.code_map(halves, (height // self.stride, width // self.stride))), out


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
    high: int = 768,
    commitment: float = 0.25,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
) -> DualTokenizer:
    """The tokenizer of a size table (configs/models.py): dual_tokenizer(**config.model.tokenizer, dtype=...).

    branches: ("semantic", "pixel") or one of them; form: of the semantic branch. pixel: patch, groups, codes, code_dim,
    code_block, encoder and decoder (each widths, blocks, attention_levels), scan, remat. semantic, vit, convnext,
    fusion: sizes of those networks where branches and form have them; others are not looked at. high: long edge of
    the hierarchical encoder's pictures, a multiple of its stride, or 0 for the images themselves. commitment: SimVQ's
    beta.
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
    common = dict(semantic_dim=semantic_dim, pixel_codes="pixel" in branches, high=high)
    if "semantic" not in branches:
        return DualTokenizer(branch, **common)
    given = {"semantic": semantic, "vit": vit} | ({"convnext": convnext, "fusion": fusion} if form == "focus" else {})
    if missing := [name for name, sizes in given.items() if sizes is None]:
        raise UserError(
            f"tokenizer: branches {tuple(branches)!r} in the form {form} need sizes of {', '.join(missing)}"
        )
    tower = qwen_vit(**vit, **types)
    reader = SemanticBranch(**semantic, features=tower.out, code_dim=semantic_dim, beta=commitment, **types)
    fused: dict[str, Any] = {}
    if form == "focus":
        sizes = {key: tuple(value) if key == "levels" else value for key, value in fusion.items()}
        fused = dict(convnext=make_convnext(**convnext, **types), fusion=Fusion(**sizes, **types))
        if high < 0 or high % fused["convnext"].stride:
            raise UserError(
                f"tokenizer.high: {high}, expected a multiple of the hierarchical encoder's stride "
                f"{fused['convnext'].stride}, or 0"
            )
    return DualTokenizer(branch, reader, tower, **common, **fused)
