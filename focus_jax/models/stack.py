# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stacks of equal layers: a Python loop or nn.scan, rematerialised by the name of a policy; both layouts convert.

Loop layout:    {"layer_0": {...}, "layer_1": {...}, "layer_2": {...}}
Scanned layout: {"layers": {...}} with a leading axis of 3, or, where layer 0 has other shapes, {"layer_0", "layers"}.
The scanned layout holds the longest run of equal layers at the end, so that the tree alone says which layer is which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.errors import UserError

LAYER, LAYERS = "layer_", "layers"


def remat_policy(name: str) -> Callable[..., Any] | None:
    """The policy called `name`: "full" saves nothing (None), else an attribute of jax.checkpoint_policies."""
    if name == "full":
        return None
    policy = getattr(jax.checkpoint_policies, name, None)
    if policy is None:
        names = ", ".join(n for n in dir(jax.checkpoint_policies) if not n.startswith("_"))
        raise UserError(f"remat: '{name}' is not 'none', 'full' or one of jax.checkpoint_policies ({names})")
    return policy


def call_layer(layer: nn.Module, x: Any, *shared: Any, remat: str = "none", scan: bool = False) -> Any:
    """layer(x, *shared), rematerialised in the backward pass as `remat` says."""
    if remat == "none":
        return layer(x, *shared)
    # Inside nn.scan the loop itself keeps XLA from undoing the recomputation, so no barrier is needed.
    call = nn.remat(lambda m, *args: m(*args), policy=remat_policy(remat), prevent_cse=not scan)
    return call(layer, x, *shared)


def run_stack(
    make: Callable[..., nn.Module],
    x: Any,
    *shared: Any,
    count: int,
    first: int = 0,
    scan: bool = False,
    remat: str = "none",
) -> Any:
    """x through `count` equal layers make(name=...)(x, *shared) -> x; call it inside an @nn.compact method.

    first: number of the first layer (1 when the caller has run a differing layer_0 itself).
    scan: nn.scan over stacked parameters (leading logical axis "layers") where count >= 2, else a loop.
    """
    if not scan or count < 2:
        for i in range(first, first + count):
            x = call_layer(make(name=f"{LAYER}{i}"), x, *shared, remat=remat)
        return x

    def body(layer: nn.Module, carry: Any, *args: Any) -> tuple[Any, None]:
        return call_layer(layer, carry, *args, remat=remat, scan=True), None

    scanned = nn.scan(
        body,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast,) * len(shared),
        length=count,
        metadata_params={nn.PARTITION_NAME: LAYERS},
    )
    return scanned(make(name=LAYERS), x, *shared)[0]


def _signature(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(tuple(leaf.shape), leaf.dtype) for leaf in leaves]


def _count(tree: dict[str, Any]) -> int:
    """How many children layer_0, layer_1, ... stand in this dict without a gap."""
    n = 0
    while f"{LAYER}{n}" in tree:
        n += 1
    return n


def _numpy_or_jax(x: Any) -> Any:
    return np if isinstance(x, np.ndarray) else jnp


def stack_layers(tree: Any) -> Any:
    """Loop layout -> scanned layout of a nested dict of arrays, at every depth (runs of at least two equal layers)."""
    if not isinstance(tree, dict):
        return tree
    tree = {key: stack_layers(value) for key, value in tree.items()}
    n = _count(tree)
    start = n
    while start > 0 and _signature(tree[f"{LAYER}{start - 1}"]) == _signature(tree[f"{LAYER}{n - 1}"]):
        start -= 1
    if n - start < 2:
        return tree
    run = [tree.pop(f"{LAYER}{i}") for i in range(start, n)]
    tree[LAYERS] = jax.tree.map(lambda *leaves: _numpy_or_jax(leaves[0]).stack(leaves), *run)
    return tree


def unstack_layers(tree: Any) -> Any:
    """Scanned layout -> loop layout, the inverse of `stack_layers`."""
    if not isinstance(tree, dict):
        return tree
    tree = dict(tree)
    if LAYERS in tree:
        start, stacked = _count(tree), tree.pop(LAYERS)
        for i in range(jax.tree.leaves(stacked)[0].shape[0]):
            tree[f"{LAYER}{start + i}"] = jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
    return {key: unstack_layers(value) for key, value in tree.items()}
