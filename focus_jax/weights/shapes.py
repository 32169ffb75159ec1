# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Parameter shapes of a module without allocating anything."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.errors import UserError
from focus_jax.training.parts import flatten
from focus_jax.weights.table import Shape


def module_shapes(part: str, module: nn.Module, *inputs: Any) -> dict[str, Shape]:
    """{part/path: shape} of module.init on float32 inputs of these shapes; an input may be a dict or list of shapes."""
    shape = lambda x: isinstance(x, tuple)
    arrays = [jax.tree.map(lambda s: jax.ShapeDtypeStruct(s, jnp.float32), x, is_leaf=shape) for x in inputs]
    key = jax.eval_shape(lambda: jax.random.key(0))
    params: Any = nn.unbox(jax.eval_shape(module.init, key, *arrays))["params"]
    return {path: tuple(leaf.shape) for path, leaf in flatten(params, f"{part}/").items()}


def sizes(config: Any, name: str) -> Any:
    """config.model.NAME, the sizes of a network, else config.model.tokenizer.NAME. Raises: UserError for neither."""
    found = config.model.get(name, config.model.get("tokenizer", {}).get(name))
    if found is None:
        raise UserError(f"config.model.{name}: the config has no such section, expected the network's sizes.")
    return found
