# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""dense against autodiff of the plain product, and its float32 sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from focus_jax.ops import dense as ops
from focus_jax.ops.dense import dense


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("leading", [(5,), (2, 3, 4)])
def test_gradients_are_those_of_autodiff(leading, with_bias):
    rng = np.random.default_rng(0)
    x, kernel = jnp.asarray(rng.normal(size=(*leading, 6))), jnp.asarray(rng.normal(size=(6, 7)))
    bias = jnp.asarray(rng.normal(size=7)) if with_bias else None
    weight = rng.normal(size=(*leading, 7))
    plain = lambda x, kernel, bias: x @ kernel if bias is None else x @ kernel + bias
    loss = lambda f: jax.value_and_grad(lambda *a: (f(*a) * weight).sum(), (0, 1, 2))
    with jax.default_matmul_precision("highest"):
        ours, theirs = loss(dense)(x, kernel, bias), loss(plain)(x, kernel, bias)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, theirs)


def test_bfloat16_sums_in_float32():
    """Many small equal contributions: a bfloat16 sum would stop growing at 256."""
    x, kernel, bias = jnp.ones((4096, 1), jnp.bfloat16), jnp.zeros((1, 1)), jnp.zeros(1)
    loss = lambda kernel, bias: dense(x, kernel, bias).astype(jnp.float32).sum()
    assert dense(x, kernel, bias).dtype == jnp.bfloat16
    dkernel, dbias = jax.grad(loss, (0, 1))(kernel, bias)
    assert dkernel.dtype == dbias.dtype == jnp.float32
    assert float(dkernel[0, 0]) == float(dbias[0]) == 4096


def test_across_devices_the_reduction_is_float32():
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(AxisType.Auto,))
    rows, whole = NamedSharding(mesh, PartitionSpec("fsdp")), NamedSharding(mesh, PartitionSpec())
    loss = lambda kernel, x: dense(x, kernel, None).astype(jnp.float32).sum()
    shapes = jax.ShapeDtypeStruct((4, 4), jnp.float32), jax.ShapeDtypeStruct((64, 4), jnp.bfloat16)
    text = jax.jit(jax.grad(loss), in_shardings=(whole, rows), out_shardings=whole).lower(*shapes).compile().as_text()
    reduced = [line for line in text.splitlines() if " all-reduce(" in line]
    assert reduced and all("f32[" in line and "bf16[" not in line for line in reduced), reduced


def test_the_platform_compiled_for_decides():
    """CPUs alone flatten the rows for the kernel's gradient, and both forms are the same sum."""
    rng = np.random.default_rng(0)
    x, kernel, dy = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 3, 6), (6, 7), (2, 3, 7)))
    traced = jax.jit(lambda x, kernel, dy: jax.vjp(dense, x, kernel, None)[1](dy)[1]).trace(x, kernel, dy)
    over_both = {
        platform: "contracting_dims = [0, 1] x [0, 1]" in traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "tpu", "cuda")
    }
    assert over_both == {"cpu": False, "tpu": True, "cuda": True}
    with jax.default_matmul_precision("highest"):
        np.testing.assert_allclose(ops._flat_kernel(x, dy), ops._kernel(x, dy), rtol=1e-6)
