# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""PatchGAN with pix2pix's module numbers: convolution i is main.{3 i - 1}, its BatchNorm main.{3 i}."""

from __future__ import annotations

from typing import Any

from focus_jax.models.discriminator import PatchGAN
from focus_jax.weights.shapes import module_shapes
from focus_jax.weights.table import COUNTER, Rule, Shape, Table, conv, norm

PART = "discriminator"


def _middle(i: int) -> list[Rule]:
    bn, ours = f"main.{3 * i}", f"{PART}/norm_{i}"
    statistics = [Rule(f"{bn}.{name}", f"{ours}/{name}") for name in ("running_mean", "running_var")]
    counter = Rule(f"{bn}.num_batches_tracked", f"{ours}/num_batches_tracked", COUNTER)
    return [
        *conv(f"main.{3 * i - 1}", f"{PART}/conv_{i}", bias=False),
        *norm(bn, ours),
        *statistics,
        counter,
    ]


RULES = [
    *conv("main.0", f"{PART}/conv_0"),
    *(rule for i in (1, 2, 3) for rule in _middle(i)),
    *conv("main.11", f"{PART}/conv_4"),
]


def shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape}; config.model.discriminator holds the sizes, None means the released ones."""
    model = PatchGAN() if config is None else PatchGAN(**config.model.discriminator)
    return module_shapes(PART, model, (1, 64, 64, 3), (1,))


TABLE = Table("patchgan", (PART,), RULES, shapes)
