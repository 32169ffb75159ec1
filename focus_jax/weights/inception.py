# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The Inception-v3 of the Frechet Inception Distance, as pytorch-fid and torch-fidelity distribute it.

torchvision's own weights of the network are of another training, and distances in their features are no FID; files of
them hold an auxiliary classifier (AuxLogits), by which they are refused.
"""

from __future__ import annotations

from typing import Any

from focus_jax.models.inception import Inception, layers
from focus_jax.weights.shapes import module_shapes
from focus_jax.weights.table import CONV, Rule, Shape, Table, norm

PART = "inception"


def _rules(name: str) -> list[Rule]:
    theirs, ours = name.replace("/", "."), f"{PART}/{name}"
    return [
        Rule(f"{theirs}.conv.weight", f"{ours}/kernel", CONV),
        *norm(f"{theirs}.bn", ours),
        *(Rule(f"{theirs}.bn.{name}", f"{ours}/{name}") for name in ("running_mean", "running_var")),
    ]


def shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape}; the network has one size."""
    del config
    return module_shapes(PART, Inception(), (1, 299, 299, 3))


# The classifier is not used; torch counts batches in newer files.
TABLE = Table(
    PART,
    (PART,),
    [rule for name in layers() for rule in _rules(name)],
    shapes,
    others=(r"fc\.(weight|bias)", r".*\.bn\.num_batches_tracked"),
)
