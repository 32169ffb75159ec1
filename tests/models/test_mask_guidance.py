# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The mask in the diffusion decoder: nothing at the start, then place, which Eq. 6 as printed cannot tell."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.errors import UserError
from focus_jax.models.mask_guidance import mask_guidance
from focus_jax.models.unet import unet
from focus_jax.ops.resize import area
from focus_jax.training.parts import flatten, unflatten

SIZES = dict(widths=(16, 16), depths=(0, 1), heads=(2, 2), blocks=1, inputs=8, context=16, pooled=4, ids=4, groups=4)
LATENTS, COARSEST = (16, 16), 2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, *LATENTS, 8)).astype(np.float32)
T, IDS = np.array([10.0, 500.0], np.float32), np.zeros((2, 6), np.float32)


def corner(row, column):
    mask = np.zeros((2, 64, 64), np.float32)
    mask[:, row : row + 24, column : column + 24] = 1.0
    return mask


def filled(shapes):
    rng = np.random.default_rng(1)
    draw = lambda x: np.float32(rng.standard_normal(x.shape) * (np.prod(x.shape[:-1]) or 1) ** -0.5)
    return unflatten({path: draw(x) for path, x in flatten(shapes).items()})


class Guided:
    """A random UNet with a mask; `gate` replaces that of the parameters."""

    def __init__(self, separate=False, **options):
        self.net = unet(**SIZES, separate=separate)
        self.guide = mask_guidance(**dict(width=16, finest=8.0, states=16) | options)
        shapes = lambda init, *args: nn.unbox(jax.eval_shape(init, jax.random.key(0), *args)["params"])
        own = lambda key, given: {"params": self.guide.init(key, given, jnp.ones(2), LATENTS, COARSEST)["params"]}
        self.params = {
            "unet": filled(shapes(self.net.init, X, T, IDS)),
            "mask_guidance": filled(shapes(own, self.given(corner(0, 0)))),
        }
        self._run = jax.jit(self.drawn)

    def given(self, mask):
        return jnp.asarray(mask if self.guide.form != "queries" else mask[:, :3, : self.guide.states])

    def drawn(self, params, given, there):
        context = self.guide.apply({"params": params["mask_guidance"]}, given, there, LATENTS, COARSEST)
        return self.net.apply({"params": params["unet"]}, X, T, IDS, context)

    def __call__(self, mask, there=1.0, gate=None):
        params = self.params
        if gate is not None:
            params = params | {"mask_guidance": params["mask_guidance"] | {"gate": jnp.full(1, gate)}}
        return np.asarray(self._run(params, self.given(mask), jnp.full(2, there)))


@pytest.fixture(scope="module")
def placed():
    return Guided()


def test_a_closed_gate_changes_nothing(placed):
    plain = np.asarray(jax.jit(lambda p: placed.net.apply({"params": p}, X, T, IDS))(placed.params["unet"]))
    closed = placed(corner(0, 0), gate=0.0)
    np.testing.assert_array_equal(closed, placed(corner(0, 0), there=0.0, gate=0.0))  # bit for bit in one program
    np.testing.assert_array_equal(closed, placed(corner(40, 40), there=0.0, gate=0.7))
    np.testing.assert_allclose(closed, plain, atol=1e-6 * np.abs(plain).max())


def test_a_closed_gate_learns(placed):
    def loss(params):
        return jnp.mean(jnp.square(placed.drawn(params, corner(0, 0), jnp.ones(2)) - 1.0))

    closed = placed.params | {"mask_guidance": placed.params["mask_guidance"] | {"gate": jnp.zeros(1)}}
    found = jax.jit(jax.grad(loss))(closed)["mask_guidance"]
    assert abs(float(found["gate"][0])) > 1e-6
    assert not np.any(found["kernel"])  # its other weights from the second step on


@pytest.mark.parametrize("grid", ["level", "latent", "coarsest"])
def test_only_with_places_a_mask_has_a_place(grid):
    moved = {}
    for form in ("places", "keys", "literal"):
        guided = Guided(form=form, grid=grid)
        here, there, none = (guided(mask, gate=2.0) for mask in (corner(0, 0), corner(40, 40), 0 * corner(0, 0)))
        assert np.abs(here - none).max() > 1e-3, "a mask is seen"
        moved[form] = np.abs(here - there).max() / np.abs(here - none).max()
    assert moved["literal"] < 1e-4  # two corners are one to Eq. 6 as printed
    assert moved["places"] > 0.1


def test_mask_tokens_as_context():
    guided = Guided(form="queries")
    assert set(guided.params["mask_guidance"]) == {"gate"}
    assert np.abs(guided(corner(0, 0), gate=1.0) - guided(corner(0, 0), there=0.0, gate=1.0)).max() > 1e-4
    narrow = Guided(form="queries", states=12)  # of another width than what attn2 reads
    assert set(narrow.params["mask_guidance"]) == {"gate", "kernel", "bias"}
    assert np.abs(narrow(corner(0, 0), gate=1.0) - narrow(corner(0, 0), there=0.0, gate=1.0)).max() > 1e-4


@pytest.mark.slow
def test_attention_of_its_own_begins_silent(placed):
    """Without a gate: the network is the one without it, and it learns from the first step on."""
    guided = Guided(separate=True, gated=False)
    assert set(guided.params["mask_guidance"]) == {"kernel", "bias"}
    shared = {path for path in flatten(guided.params["unet"]) if "_mask/" not in path}
    assert shared == set(flatten(placed.params["unet"]))
    own = guided.net.init(jax.random.key(0), X, T, IDS)["params"]
    own = {path: x for path, x in flatten(nn.unbox(own)).items() if "attn_mask/" in path}
    assert own and all(bool(np.any(x)) != path.endswith(("out", "bias")) for path, x in own.items())
    begun = unflatten({**flatten(guided.params["unet"]), **flatten(placed.params["unet"]), **own})
    plain = np.asarray(jax.jit(lambda p: placed.net.apply({"params": p}, X, T, IDS))(placed.params["unet"]))
    params = guided.params | {"unet": begun}
    drawn = np.asarray(guided._run(params, guided.given(corner(0, 0)), jnp.ones(2)))
    np.testing.assert_allclose(drawn, plain, atol=1e-6 * np.abs(plain).max())
    loss = lambda p: jnp.mean(jnp.square(guided.drawn(p, corner(0, 0), jnp.ones(2)) - 1.0))
    found = flatten(jax.jit(jax.grad(loss))(params)["unet"])
    assert all(np.any(x) for path, x in found.items() if path.endswith("attn_mask/out"))
    here, there = guided(corner(0, 0)), guided(corner(40, 40))  # random weights, no longer silent
    assert np.abs(here - there).max() > 1e-3


def test_means_of_areas():
    x = RNG.random((1, 6, 10, 2)).astype(np.float32)
    np.testing.assert_allclose(area(x, (3, 5)), x.reshape(1, 3, 2, 5, 2, 2).mean((2, 4)), atol=1e-6)
    odd = np.asarray(area(x, (4, 7)))
    np.testing.assert_allclose(odd.mean((1, 2)), x.mean((1, 2)), atol=1e-6)  # nothing is lost
    corner = np.average(x[0, :2, :2, 0], weights=[[1, 3 / 7], [0.5, 1.5 / 7]])
    np.testing.assert_allclose(odd[0, 0, 0, 0], corner, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(form="masks"), "mask_guidance.form: 'masks', expected places, keys, literal, queries"),
        (dict(grid="fine"), "mask_guidance.grid: 'fine', expected level, latent, coarsest"),
        (dict(width=18), "mask_guidance: width 18, finest 64.0, expected a width in fours"),
    ],
)
def test_mistakes(change, said):
    with pytest.raises(UserError, match=said):
        mask_guidance(**change)
