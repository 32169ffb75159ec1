# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""LPIPS (VGG variant) as the whole released module, and its five `lin` layers alone as in the file vgg.pth."""

from __future__ import annotations

from typing import Any

from focus_jax.weights import vgg16
from focus_jax.weights.table import CONV, Rule, Shape, Table

LIN_RULES = [Rule(f"lin{i}.model.1.weight", f"perceptual/lin_{i}/kernel", CONV) for i in range(5)]


def lin_shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape} of the lin layers."""
    return {path: shape for path, shape in vgg16.lpips_shapes(config).items() if path.startswith("perceptual/lin_")}


# scaling_layer holds constants that are in our code; newer versions list the lin layers a second time under lins.
TABLE = Table(
    "lpips",
    ("perceptual",),
    vgg16.rules("net.slice{stage}") + LIN_RULES,
    vgg16.lpips_shapes,
    others=(r"scaling_layer\.(shift|scale)", r"lins\.\d\.model\.1\.weight"),
)
LIN = Table("lpips_lin", tuple(f"perceptual/lin_{i}" for i in range(5)), LIN_RULES, lin_shapes)
