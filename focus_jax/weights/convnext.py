# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""ConvNeXt (arXiv 2201.03545) in the names of transformers, as backbone and as classifier, and in those of timm.

Only the backbone has a norm for each map it gives; a network trained to classify gives its maps without one.
"""

from __future__ import annotations

from typing import Any

from focus_jax.models.convnext import ConvNeXt, convnext
from focus_jax.weights.shapes import module_shapes, sizes
from focus_jax.weights.table import Rule, Shape, Table, conv, linear, norm

PART = "tokenizer/convnext"


def _trunk(
    stem: str, stem_norm: str, stage: str, down: str, block: str, names: tuple[str, str, str, str, str]
) -> list[Rule]:
    """Rules of everything but the output norms; names: depthwise, norm, first and second linear layer, layer scale."""
    depthwise, block_norm, fc1, fc2, layer_scale = names
    layer, ours = f"{stage}.{block}.{{i}}", f"{PART}/stage_{{s}}/layer_{{i}}"
    return [
        *conv(stem, f"{PART}/stem"),
        *norm(stem_norm, f"{PART}/stem_norm"),
        *norm(f"{stage}.{down}.0", f"{PART}/stage_{{s}}/downsample_norm"),
        *conv(f"{stage}.{down}.1", f"{PART}/stage_{{s}}/downsample"),
        *conv(f"{layer}.{depthwise}", f"{ours}/depthwise"),
        *norm(f"{layer}.{block_norm}", f"{ours}/norm"),
        *linear(f"{layer}.{fc1}", f"{ours}/fc1"),
        *linear(f"{layer}.{fc2}", f"{ours}/fc2"),
        Rule(f"{layer}.{layer_scale}", f"{ours}/layer_scale"),
    ]


TRANSFORMERS = _trunk(
    "embeddings.patch_embeddings",
    "embeddings.layernorm",
    "encoder.stages.{s}",
    "downsampling_layer",
    "layers",
    ("dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter"),
)
OUTPUT_NORMS = [rule for i in range(4) for rule in norm(f"hidden_states_norms.stage{i + 1}", f"{PART}/norm_{i}")]
NO_OUTPUT_NORMS = ((rf"{PART}/norm_\d/scale", 1.0), (rf"{PART}/norm_\d/bias", 0.0))


def shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape}; config.model.convnext holds the sizes, None means ConvNeXt-L."""
    model = ConvNeXt(scan=True) if config is None else convnext(**sizes(config, "convnext"))
    return module_shapes(PART, model, (1, model.stride, model.stride, 3))


BACKBONE = Table("convnext", (PART,), TRANSFORMERS + OUTPUT_NORMS, shapes)
CLASSIFIER = Table(
    "convnext_classifier",
    (PART,),
    TRANSFORMERS,
    shapes,
    others=(r"(convnext\.)?layernorm\..*", r"classifier\..*"),  # norm of the pooled features, and the classes
    prefixes=("convnext.", ""),
    constants=NO_OUTPUT_NORMS,
)
TIMM = Table(
    "convnext_timm",
    (PART,),
    _trunk(
        "stem.0", "stem.1", "stages.{s}", "downsample", "blocks", ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma")
    ),
    shapes,
    others=(
        r"(visual\.(trunk\.)?)?head\..*",
        r"(transformer|token_embedding|ln_final|text)\..*",  # open_clip's text tower
        r"positional_embedding|text_projection|logit_scale|attn_mask",
    ),
    prefixes=("", "visual.trunk."),
    constants=NO_OUTPUT_NORMS,
)
