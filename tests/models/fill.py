# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Parameters for tests that do not ask for the initial values; compiling a real init takes seconds."""

import flax.linen as nn
import jax
import numpy as np


def random_parameters(model, *inputs, seed=0):
    """The module's parameters: matrices N(0, 1/fan_in), norm scales near 1, everything else near 0."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        if len(leaf.shape) > 1:
            return np.float32(rng.standard_normal(leaf.shape) * np.prod(leaf.shape[:-1]) ** -0.5)
        return np.float32(0.1 * rng.standard_normal(leaf.shape) + (path[-1].key == "scale"))

    shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), *inputs))["params"]
    return jax.tree_util.tree_map_with_path(fill, shapes)
