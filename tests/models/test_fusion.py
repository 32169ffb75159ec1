# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fusion starts as nothing, sees where things are, and does not look at padding."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.errors import UserError
from focus_jax.models.fusion import Fusion, FusionMLP, centres, sine_positions

MODEL = Fusion(width=256, heads=4)
LOW = jax.random.normal(jax.random.key(0), (2, 4, 4, 24))
MAPS = {
    "res4": jax.random.normal(jax.random.key(1), (2, 8, 8, 12)),
    "res5": jax.random.normal(jax.random.key(2), (2, 4, 4, 16)),
}


run = jax.jit(lambda params, low, maps, extent: MODEL.apply({"params": params}, low, maps, extent))


def apply(params, low=LOW, maps=MAPS, extent=None):
    return run(params, low, maps, extent)


@pytest.fixture(scope="module")
def start():
    return nn.unbox(jax.jit(MODEL.init)(jax.random.key(3), LOW, MAPS))["params"]


@pytest.fixture(scope="module")
def awake(start):
    """The same with an output that is not zero."""
    kernel = jax.random.normal(jax.random.key(4), start["out"]["kernel"].shape)
    return start | {"out": start["out"] | {"kernel": kernel}}


def test_it_starts_as_nothing_and_wakes_in_two_steps(start):
    np.testing.assert_array_equal(apply(start), LOW)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(apply(p)))))
    step = lambda p, g: jax.tree.map(lambda x, d: x - 0.1 * d, p, g)
    moved = lambda g: {name for name, part in g.items() if any(bool(jnp.any(x)) for x in jax.tree.leaves(part))}
    first = gradient(start)
    assert moved(first) == {"out"}
    assert moved(gradient(step(start, first))) == set(start)


def test_a_patch_that_moves_moves_the_change(awake):
    """A distinctive cell of res4 changes the tokens that cover it most, wherever it is."""
    quiet = {level: jnp.zeros_like(x) for level, x in MAPS.items()}
    low = jnp.zeros_like(LOW)
    before = apply(awake, low, quiet)
    patch = jnp.asarray(np.random.default_rng(5).standard_normal(12), jnp.float32)
    seen = []
    for y, x in ((1, 1), (1, 6), (6, 1), (6, 6), (4, 3)):
        maps = quiet | {"res4": quiet["res4"].at[:, y, x].set(patch)}
        change = jnp.linalg.norm(apply(awake, low, maps) - before, axis=-1)[0]
        at = np.unravel_index(int(change.argmax()), change.shape)
        assert at == (y // 2, x // 2), (y, x)
        assert float(change.max()) > 3 * float(np.median(change))
        seen.append(at)
    assert len(set(seen)) == 5


def test_padding_is_not_looked_at_and_places_are_those_of_the_picture(awake):
    """A picture that fills the upper left of the high-resolution one gives what it gives alone."""
    padded = {
        level: jnp.full((2, 2 * x.shape[1], 2 * x.shape[2], x.shape[3]), 7.0).at[:, : x.shape[1], : x.shape[2]].set(x)
        for level, x in MAPS.items()
    }
    found = apply(awake, maps=padded, extent=jnp.full((2, 2), 0.5))
    np.testing.assert_allclose(found, apply(awake), atol=2e-5)
    assert float(jnp.abs(apply(awake, maps=padded) - apply(awake)).max()) > 0.1


def test_rows_do_not_meet(awake):
    alone = apply(awake, LOW[1:], {k: x[1:] for k, x in MAPS.items()})
    np.testing.assert_allclose(apply(awake)[1:], alone, atol=1e-5)


def test_positions_tell_places_apart():
    at = centres(16, 16)
    waves = sine_positions(at)
    near = np.asarray(waves @ waves.T)
    np.testing.assert_allclose(np.diag(near), near.max(), rtol=1e-5)
    assert (near - np.diag(np.full(256, np.inf))).max() < 0.95 * near.max()


@pytest.mark.slow
def test_dtype_follows_the_tokens(awake):
    model = Fusion(width=256, heads=4, dtype=jnp.bfloat16)
    found = model.apply({"params": awake}, LOW.astype(jnp.bfloat16), MAPS)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), apply(awake), atol=0.2)


def test_the_mlp_adds_to_its_input():
    model = FusionMLP(32)
    params = nn.unbox(model.init(jax.random.key(0), LOW))["params"]
    zero = params | {"fc2": jax.tree.map(jnp.zeros_like, params["fc2"])}
    np.testing.assert_array_equal(model.apply({"params": zero}, LOW), LOW)
    assert model.apply({"params": params}, LOW).shape == LOW.shape


@pytest.mark.slow
def test_the_mlp_can_tell_where_a_cell_lies():
    """At the start it does not, but what would tell it gets a gradient; then equal cells differ by row and column."""
    model, equal = FusionMLP(32), jnp.ones((1, 3, 4, 5))
    params = nn.unbox(model.init(jax.random.key(0), equal))["params"]
    found = model.apply({"params": params}, equal)
    np.testing.assert_array_equal(found, jnp.broadcast_to(found[:, :1, :1], found.shape))
    target = jax.random.normal(jax.random.key(1), equal.shape)
    grad = jax.grad(lambda p: (model.apply({"params": p}, equal) * target).sum())(params)
    assert np.abs(grad["place"]["kernel"]).max() > 0
    stepped = params | {"place": {"kernel": params["place"]["kernel"] - 0.1 * grad["place"]["kernel"]}}
    cells = np.asarray(model.apply({"params": stepped}, equal)).reshape(12, 5)
    apart = np.abs(cells[:, None] - cells[None]).max(-1) + np.eye(12)
    assert apart.min() > 1e-3


def test_bad_input():
    with pytest.raises(UserError, match="width 50, expected a multiple of its 16 heads"):
        Fusion(width=50)
    with pytest.raises(UserError, match=r"fusion.levels: res3 is none of the encoder's maps \(res4, res5\)"):
        Fusion(("res3",), 64, 4).init(jax.random.key(0), LOW, MAPS)
