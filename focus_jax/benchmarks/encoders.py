# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The two image encoders beside transformers' networks with the same weights: parts of `benchmark tokenizer`.

A step is forward and backward of the mean squared distance of the encoder's output from fixed random targets, with all
parameter gradients. Both sides read the same input; float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.benchmarks.beside_torch import Step, import_torch, our_step, torch_step
from focus_jax.errors import UserError
from focus_jax.models import convnext as convnext_lib
from focus_jax.models import qwen_vit as vit_lib
from focus_jax.training.parts import flatten
from focus_jax.weights import convnext as convnext_tables
from focus_jax.weights import qwen2_vl


def _normal(seed: int, shape: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _flat(part: str, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Parameters of a network -> {path with the part before it: array}."""
    return {f"{part}/{path}": np.asarray(x) for path, x in flatten(params).items()}


def vit(*, width: int, heads: int, depth: int, pixels: int, batch: int) -> dict[str, Step]:
    """Steps of the vision tower, patch embedding and merger with it, the rest of its sizes as released.

    depth: blocks; pixels: side of a picture, a multiple of 28. The peer is transformers' tower with torch's
    scaled_dot_product_attention.
    """
    torch = import_torch()
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

    model = vit_lib.qwen_vit(width=width, heads=heads, depth=depth)
    if pixels % model.stride:
        raise UserError(f"benchmark vit: pictures of {pixels} pixels, expected a multiple of {model.stride}")
    side = pixels // model.patch
    rows = _normal(0, (batch, side**2, 3 * model.temporal * model.patch**2))
    target = _normal(1, (batch, (side // model.merge) ** 2, model.out))
    positions = vit_lib.grid_positions(side, side, model.merge)[None]

    def forward(params: dict, rows: jax.Array) -> jax.Array:
        return model.apply({"params": params}, rows, positions, method="packed")[0]

    init = jax.jit(lambda key: nn.unbox(model.init(key, rows[:1], positions, method="packed")["params"]))
    params = init(jax.random.key(0))
    config = Qwen2VLVisionConfig(
        depth=depth,
        embed_dim=width,
        num_heads=heads,
        mlp_ratio=model.mlp_ratio,
        patch_size=model.patch,
        spatial_merge_size=model.merge,
        temporal_patch_size=model.temporal,
        hidden_size=model.out,
        hidden_act="quick_gelu",
    )
    config._attn_implementation = "sdpa"
    theirs = Qwen2VisionTransformerPretrainedModel(config)
    inputs = torch.from_numpy(rows.reshape(-1, rows.shape[-1])), torch.tensor([(1, side, side)] * batch)
    wanted = torch.from_numpy(target.reshape(-1, model.out))
    return {
        "ours": our_step(lambda p, x, y: jnp.mean(jnp.square(forward(p, x) - y)), params, rows, target),
        "torch": torch_step(
            theirs,
            qwen2_vl.VISION.write(_flat(qwen2_vl.VIT, params)),
            lambda: (theirs(inputs[0], grid_thw=inputs[1]).pooler_output - wanted).square().mean(),
        ),
    }


def convnext(*, widths: Sequence[int], depths: Sequence[int], pixels: int, batch: int) -> dict[str, Step]:
    """Steps of ConvNeXt with the norms of its four maps; depths: blocks of the stages; pixels: side of a picture.

    The loss is the sum over the maps. Layer scale is 1, for at its usual start of 1e-6 no block would move the loss,
    and equal losses would say nothing of the blocks.
    """
    torch = import_torch()
    from transformers import ConvNextBackbone, ConvNextConfig

    model = convnext_lib.convnext(widths=widths, depths=depths, layer_scale=1.0)
    if pixels % model.stride:
        raise UserError(f"benchmark convnext: pictures of {pixels} pixels, expected a multiple of {model.stride}")
    pictures = _normal(0, (batch, pixels, pixels, 3))
    sides = [pixels // model.patch >> i for i in range(len(widths))]
    targets = [_normal(1 + i, (batch, s, s, w)) for i, (s, w) in enumerate(zip(sides, widths, strict=True))]
    params = jax.jit(lambda key: nn.unbox(model.init(key, pictures[:1])["params"]))(jax.random.key(0))

    def loss(params: dict, pictures: jax.Array, targets: list[jax.Array]) -> jax.Array:
        maps = model.apply({"params": params}, pictures)
        return sum(jnp.mean(jnp.square(maps[f"res{i + 2}"] - target)) for i, target in enumerate(targets))

    names = [f"stage{i + 1}" for i in range(len(widths))]
    theirs = ConvNextBackbone(ConvNextConfig(hidden_sizes=list(widths), depths=list(depths), out_features=names))
    images, *wanted = (torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))) for x in (pictures, *targets))
    return {
        "ours": our_step(loss, params, pictures, targets),
        "torch": torch_step(
            theirs,
            convnext_tables.BACKBONE.write(_flat(convnext_tables.PART, params)),
            lambda: sum(
                (m - target).square().mean() for m, target in zip(theirs(images).feature_maps, wanted, strict=True)
            ),
        ),
    }
