# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""All of it, wired: what the language model is given. Pictures become vectors by role, sequences embeddings.

Parameters are the parts by name (contract 1); `vit`, `convnext` and `pixel_encoder` are the understanding path's own
or, by alias, the tokenizer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from focus_jax.errors import UserError
from focus_jax.models.adapter import Adapter, Projectors
from focus_jax.models.dual_tokenizer import dual_tokenizer
from focus_jax.models.fusion import FusionMLP
from focus_jax.models.mask_decoder import Predictions, mask_decoder
from focus_jax.models.mask_pixel_decoder import mask_pixel_decoder
from focus_jax.models.mask_tokens import MaskTokens
from focus_jax.models.qwen2 import qwen2
from focus_jax.models.source_cells import SourceCells
from focus_jax.sequence.layout import Role, Sizes

ENCODERS = {"vit": "vit", "convnext": "convnext", "pixel_encoder": "pixel"}  # name of the path's own: the tokenizer's
Vectors = Mapping[Role, jax.Array]  # [B, n, D] of the pictures of each row, one picture's after the other's


def following(x: jax.Array) -> jax.Array:
    """[B, T, ...]: of each position what stands at the next one, zero at the last."""
    return jnp.concatenate([x[:, 1:], jnp.zeros_like(x[:, :1])], axis=1)


class Seen(NamedTuple):
    """Pictures as the networks behind the encoders are given them: their vectors, and for masks the hierarchical
    encoder's maps {level: [B * I, H, W, C]} and the share of these that shows the picture, [B * I, 2]; None without."""

    vectors: Vectors
    maps: Mapping[str, jax.Array] | None
    extent: jax.Array | None


class Focus:
    """Networks of the understanding path; they hold no parameters.

    model: config.model with tokenizer, fusion_mlp, adapter, llm, to segment mask_pixel_decoder and mask_decoder, and
    source_cells, whether codes are written beside what the source shows; without tokenizer the language model alone. In
    the form `illume` there is neither fusion nor adapter.
    """

    def __init__(self, model: Any, dtype: Any = jnp.float32):
        self.llm = qwen2(**model.llm, dtype=dtype)
        self.tokenizer = None
        if "tokenizer" not in model:
            return
        self.tokenizer = dual_tokenizer(**model.tokenizer, dtype=dtype)
        out = self.llm.width
        self.fusion_mlp = FusionMLP(model.fusion_mlp.hidden, dtype=dtype)
        self.projector = Projectors(out, dtype=dtype)
        sizes = {k: tuple(v) if k == "levels" else v for k, v in model.adapter.items()}
        self.adapter = Adapter(**sizes, out=out, dtype=dtype) if self.tokenizer.fusion is not None else None
        self.source_cells = SourceCells(dtype=dtype) if model.get("source_cells", False) else None
        self.mask_decoder = None
        if "mask_decoder" in model:
            if self.tokenizer.fusion is None:
                raise UserError("config.model.mask_decoder: needs the hierarchical encoder's maps, form 'focus'.")
            self.mask_pixel_decoder = mask_pixel_decoder(**model.mask_pixel_decoder, dtype=dtype)
            self.mask_decoder = mask_decoder(**model.mask_decoder, dtype=dtype)
            self.mask_tokens = MaskTokens(self.mask_decoder.queries, out, dtype=dtype)

    def init(self, rng: jax.Array) -> dict[str, Any]:
        """Parameters of all parts, boxed with their logical axes."""
        rngs = [jax.random.fold_in(rng, i) for i in range(5)]
        out = {"llm": self.llm.init(rngs[0], jnp.zeros((1, 2, self.llm.width)))["params"]}
        if self.tokenizer is None:
            return out
        net, side = self.tokenizer, 4 * self.tokenizer.stride
        images, high = jnp.zeros((1, side, side, 3)), jnp.zeros((1, net.reads_high, net.reads_high, 3))
        out["tokenizer"] = net.init(rngs[1], images, high)["params"]
        tokenizer = {"params": nn.unbox(out["tokenizer"])}
        fused, pixel, maps, extent = net.apply(tokenizer, images, high, method="understanding")
        out["fusion_mlp"] = self.fusion_mlp.init(rngs[2], fused)["params"]
        out["projector"] = self.projector.init(rngs[3], fused, pixel)["params"]
        if self.adapter is not None:
            out["adapter"] = self.adapter.init(rngs[4], maps, extent)["params"]
        if self.source_cells is not None:
            vectors = jnp.zeros((1, 1, self.llm.width))
            out["source_cells"] = self.source_cells.init(jax.random.fold_in(rng, 8), vectors, vectors)["params"]
        if self.mask_decoder is not None:
            regions = jnp.zeros((1, 1, *maps["res3"].shape[1:3]))
            image, width = jnp.zeros((1, 1, 1, self.llm.width)), self.llm.width
            masks = [jax.random.fold_in(rng, 5 + i) for i in range(3)]
            out["mask_tokens"] = self.mask_tokens.init(masks[0], regions, image, maps["res3"])["params"]
            pixel = self.mask_pixel_decoder.init(masks[1], maps)["params"]
            features, levels = self.mask_pixel_decoder.apply({"params": nn.unbox(pixel)}, maps)
            asked = jnp.zeros((1, self.mask_decoder.queries, width)), jnp.zeros((1, 1, width)), jnp.zeros(1, jnp.int32)
            out["mask_pixel_decoder"] = pixel
            out["mask_decoder"] = self.mask_decoder.init(masks[2], *asked, features, levels)["params"]
        return out

    def vectors(self, params: Mapping[str, Any], images: jax.Array, high: jax.Array | None) -> Vectors:
        """`look`'s vectors alone."""
        return self.look(params, images, high).vectors

    def look(self, params: Mapping[str, Any], images: jax.Array, high: jax.Array | None) -> Seen:
        """Pictures [B, I, H, W, 3] in [-1, 1], high the same at the tokenizer's `high`, -> vectors of each row, maps.

        params: parts with aliases resolved (training.parts.resolve); encoders get no gradient.
        """
        b, count = images.shape[:2]
        flat = lambda x: None if x is None else x.reshape(b * count, *x.shape[2:])
        path = dict(params["tokenizer"])
        path |= {theirs: params[own] for own, theirs in ENCODERS.items() if own in params}
        fused, pixel, maps, extent = self.tokenizer.apply(
            {"params": path}, flat(images), flat(high), method="understanding"
        )
        fused = self.fusion_mlp.apply({"params": params["fusion_mlp"]}, fused)
        semantic, pixel = self.projector.apply({"params": params["projector"]}, fused, pixel)
        found = {Role.SEMANTIC: semantic, Role.PIXEL: pixel}
        if self.adapter is not None:
            found[Role.QUERY] = self.adapter.apply({"params": params["adapter"]}, maps, extent)
        vectors = {role: x.reshape(b, -1, self.llm.width) for role, x in found.items()}
        return Seen(vectors, maps, extent)

    def asked(self, params: Mapping[str, Any], seen: Seen, grid: tuple[int, int], regions: jax.Array) -> Vectors:
        """`seen` of one picture a row and what an answer with masks needs beside it: mask tokens, marked regions.

        grid: (h, w) of the picture's semantic features; regions: [G, R, h', w'] of 0..1, how much of each cell of
        the map res3, of its part that shows the picture, a region covers. The rows are G clips of B / G frames, one
        after the other, whose regions lie on the first frame; pictures are clips of one.
        """
        groups, _, *cells = regions.shape
        b = len(seen.vectors[Role.SEMANTIC])
        first = lambda x: x.reshape(groups, b // groups, *x.shape[1:])[:, 0]
        image = first(seen.vectors[Role.SEMANTIC]).reshape(groups, *grid, self.llm.width)
        fine = first(seen.maps["res3"])[:, : cells[0], : cells[1]]
        tokens, marked = self.mask_tokens.apply({"params": params["mask_tokens"]}, regions, image, fine)
        marked = jnp.repeat(marked, b // groups, axis=0)
        return {**seen.vectors, Role.MASK: jnp.broadcast_to(tokens, (b, *tokens.shape)), Role.REGION: marked}

    def masks(
        self, params: Mapping[str, Any], maps: Mapping[str, jax.Array], queries: jax.Array, conditions: jax.Array,
        kind: jax.Array,
    ) -> Predictions:  # fmt: skip
        """E_Q [B, N, D], E_P [B, K, D] and kind [B] as in MaskDecoder, maps of one picture a row."""
        features, levels = self.mask_pixel_decoder.apply({"params": params["mask_pixel_decoder"]}, maps)
        own = {"params": params["mask_decoder"]}
        return self.mask_decoder.apply(own, queries, conditions, kind, features, levels)

    def told(self, params: Mapping[str, Any], bags: jax.Array, sizes: Sizes) -> Vectors:
        """Words in place of pictures: ids int32 [B, n, words], -1 = none, n of data_pipelines/slots.py a picture, ->
        vectors of each row, the sums of their embeddings."""
        words = self.llm.apply({"params": params["llm"]}, jnp.maximum(bags, 0), method="embed")
        found = jnp.sum(words * (bags >= 0)[..., None], axis=2)
        counts = {role: sizes.count(role) for role in (Role.SEMANTIC, Role.PIXEL, Role.QUERY)}
        pictures = found.reshape(len(bags), -1, sum(counts.values()), found.shape[-1])
        out, start = {}, 0
        for role, count in counts.items():
            out[role] = pictures[:, :, start : start + count].reshape(len(bags), -1, found.shape[-1])
            start += count
        return out

    def beside_codes(self, params: Mapping[str, Any], vectors: Vectors) -> jax.Array | None:
        """What stands beside the codes of an edited picture, [B, codes, D], of `look`'s vectors of one source a row;
        None where there is none, and without source_cells."""
        if self.source_cells is None or Role.PIXEL not in vectors:
            return None
        own = {"params": params["source_cells"]}
        return self.source_cells.apply(own, vectors[Role.SEMANTIC], vectors[Role.PIXEL])

    def embeddings(
        self, params: Mapping[str, Any], ids: jax.Array, roles: jax.Array, features: jax.Array, vectors: Vectors,
        beside: jax.Array | None = None,
    ) -> jax.Array:  # fmt: skip
        """ids, roles, features [B, T] as in sequence.layout.Laid, and vectors by role -> [B, T, D].

        A position is a row of the embedding, or the vector of its role with its number; where a code is said next,
        that code's of `beside` is added.
        """
        out = self.llm.apply({"params": params["llm"]}, ids, method="embed")
        if beside is not None:
            codes = (following(roles) == Role.TARGET)[..., None]
            found = jnp.take_along_axis(beside, jnp.where(codes, following(features)[..., None], 0), axis=1)
            out += jnp.where(codes, found, 0).astype(out.dtype)
        if not vectors:
            return out
        starts, start = np.full(len(Role), -1, np.int32), 0  # of each role's vectors in `found`
        for role, x in vectors.items():
            starts[role], start = start, start + x.shape[1]
        found = jnp.concatenate([x.astype(out.dtype) for x in vectors.values()], axis=1)
        at = jnp.asarray(starts)[roles]
        chosen = jnp.take_along_axis(found, jnp.where(at < 0, 0, at + features)[..., None], axis=1)
        return jnp.where((at < 0)[..., None], out, chosen)
