# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The adapter starts as the identity on its queries, its gates wake the rest, it sees where things are, not padding."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.errors import UserError
from focus_jax.models.adapter import Adapter, Projectors

MODEL = Adapter(queries=12, width=64, heads=4, levels=("res4", "res5"), out=20)
MAPS = {
    "res4": jax.random.normal(jax.random.key(1), (2, 8, 8, 12)),
    "res5": jax.random.normal(jax.random.key(2), (2, 4, 4, 16)),
}
run = jax.jit(lambda params, maps, extent=None: MODEL.apply({"params": params}, maps, extent))


@pytest.fixture(scope="module")
def start():
    return nn.unbox(jax.jit(MODEL.init)(jax.random.key(3), MAPS))["params"]


@pytest.fixture(scope="module")
def awake(start):
    return jax.tree_util.tree_map_with_path(lambda path, x: x + 1.0 if path[-1].key in ("gamma", "beta") else x, start)


def test_at_step_0_it_is_the_identity(start):
    """Whatever the maps, only norm and output map of the queries come out; the gates alone get gradient of a layer."""
    found = run(start, MAPS)
    np.testing.assert_array_equal(found, run(start, jax.tree.map(lambda x: 3 * x + 1, MAPS)))
    np.testing.assert_array_equal(found[0], found[1])
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(run(p, MAPS)))))
    first = gradient(start)
    gates = {"gamma", "beta"}

    def moved(g):
        flat = jax.tree_util.tree_leaves_with_path(g["layer_0"])
        return {path[0].key for path, x in flat if bool(jnp.any(x))}

    assert moved(first) == gates
    after = jax.tree.map(lambda x, d: x - 0.1 * d, start, first)
    assert moved(gradient(after)) == set(start["layer_0"])


def test_it_is_not_blind_to_place(awake):
    """The same cells in another order say something else; and one cell says something else elsewhere."""
    rolled = jax.tree.map(lambda x: jnp.roll(x, 1, axis=1), MAPS)
    assert float(jnp.abs(run(awake, rolled) - run(awake, MAPS)).max()) > 1e-2
    quiet = jax.tree.map(jnp.zeros_like, MAPS)
    patch = jnp.asarray(np.random.default_rng(5).standard_normal(12), jnp.float32)
    change = [
        run(awake, quiet | {"res4": quiet["res4"].at[:, y, x].set(patch)}) - run(awake, quiet)
        for y, x in ((1, 1), (1, 6), (6, 1), (6, 6))
    ]
    for i in range(4):
        for j in range(i):
            # Which queries notice depends on where it is.
            a, b = (np.linalg.norm(change[k][0], axis=-1) for k in (i, j))
            assert np.corrcoef(a, b)[0, 1] < 0.9


def test_padding_is_not_looked_at(awake):
    padded = {
        level: jnp.full((2, 2 * x.shape[1], 2 * x.shape[2], x.shape[3]), 7.0).at[:, : x.shape[1], : x.shape[2]].set(x)
        for level, x in MAPS.items()
    }
    np.testing.assert_allclose(run(awake, padded, jnp.full((2, 2), 0.5)), run(awake, MAPS), atol=2e-5)
    assert float(jnp.abs(run(awake, padded) - run(awake, MAPS)).max()) > 0.1


def test_mistakes():
    with pytest.raises(UserError, match="adapter: width 30, expected a multiple of its 4 heads"):
        Adapter(width=30, heads=4)
    with pytest.raises(UserError, match=r"adapter.levels: res3 is none of the encoder's maps \(res4, res5\)"):
        jax.eval_shape(Adapter(width=32, heads=4).init, jax.random.key(0), MAPS)


def test_projectors_are_those_of_the_release():
    """projector_1: 3584 -> 2048 -> 2048, projector_2: 32 -> 2048 -> 2048, all with biases."""
    shapes = jax.eval_shape(Projectors().init, jax.random.key(0), jnp.zeros((1, 2, 2, 3584)), jnp.zeros((1, 4, 4, 32)))
    sizes = jax.tree.map(lambda x: x.shape, nn.unbox(shapes)["params"])
    layer = lambda a, b: {"kernel": (a, b), "bias": (b,)}
    assert sizes == {
        "semantic": {"fc1": layer(3584, 2048), "fc2": layer(2048, 2048)},
        "pixel": {"fc1": layer(32, 2048), "fc2": layer(2048, 2048)},
    }
