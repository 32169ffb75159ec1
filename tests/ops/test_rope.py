# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rotary positions: the published frequencies, and that products depend on differences of positions only."""

import jax.numpy as jnp
import numpy as np

from focus_jax.ops.rope import rope_angles, rotate, turns


def test_frequencies():
    """Qwen2-VL's tower: heads of 80, 20 frequencies a side; a text model: one axis, 64 frequencies of base 1e6."""
    angles = rope_angles(np.array([[3, 5]]), 80)
    side = 10_000.0 ** (-np.arange(0, 40, 2) / 40)
    np.testing.assert_allclose(angles[0], np.concatenate([3 * side, 5 * side]), rtol=1e-5)
    text = rope_angles(np.array([[7]]), 128, theta=1e6)
    np.testing.assert_allclose(text[0], 7 * 1e6 ** (-np.arange(0, 128, 2) / 128), rtol=1e-5)


def test_products_depend_on_differences_only():
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.standard_normal((1, 6, 2, 16)), jnp.float32) for _ in range(2))
    at = rng.integers(0, 20, (1, 6, 2))

    def logits(shift):
        turned = turns(rope_angles(at + np.array(shift), 16))
        return np.einsum("bnhd,bmhd->bhnm", rotate(q, turned), rotate(k, turned))

    np.testing.assert_allclose(logits((11, -4)), logits((0, 0)), atol=1e-4)
    turned = turns(rope_angles(at[..., ::-1], 16))  # rows and columns are not the same axis
    assert np.max(np.abs(np.einsum("bnhd,bmhd->bhnm", rotate(q, turned), rotate(k, turned)) - logits((0, 0)))) > 0.1


def test_bfloat16_is_rotated_in_float32():
    x, turned = jnp.ones((1, 3, 1, 8), jnp.bfloat16), turns(rope_angles(np.full((1, 3, 2), 300), 8))
    got = rotate(x, turned)
    assert got.dtype == jnp.bfloat16 and turned.cos.dtype == jnp.float32
    np.testing.assert_array_equal(got, rotate(x.astype(jnp.float32), turned).astype(jnp.bfloat16))
