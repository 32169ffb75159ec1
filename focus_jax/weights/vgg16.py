# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""torchvision's VGG16: its convolutions are the features of LPIPS; its classifier is not used."""

from __future__ import annotations

from typing import Any

from focus_jax.models.perceptual import LPIPS
from focus_jax.weights.shapes import module_shapes
from focus_jax.weights.table import Rule, Shape, Table, conv

PART = "perceptual/vgg"
# Index in torchvision's `features` of each stage's convolutions (between them stand ReLU and max-pool).
FEATURES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


def rules(their_prefix: str) -> list[Rule]:
    """Rules of all convolutions; `{stage}` in the prefix becomes the stage's number, from 1."""
    return [
        rule
        for stage, indices in enumerate(FEATURES, 1)
        for j, index in enumerate(indices, 1)
        for rule in conv(f"{their_prefix.format(stage=stage)}.{index}", f"{PART}/conv{stage}_{j}")
    ]


def lpips_shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape} of the whole part `perceptual`; config.model.perceptual holds the sizes."""
    model = LPIPS() if config is None else LPIPS(**config.model.perceptual)
    return module_shapes("perceptual", model, (1, 32, 32, 3), (1, 32, 32, 3))


def shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape} of the features."""
    return {path: shape for path, shape in lpips_shapes(config).items() if path.startswith(f"{PART}/")}


TABLE = Table("vgg16", (PART,), rules("features"), shapes, others=(r"classifier\..*",))
