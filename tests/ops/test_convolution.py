# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""conv2d against autodiff of the plain convolution, and its float32 sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.ops.convolution import conv2d


def plain(x, kernel, bias, stride, pad):
    y = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((pad, pad),) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )
    return y if bias is None else y + bias


# 1x1; "same" 3x3; PatchGAN's 4x4 with stride 2, even and with a pixel left unread; and stride 1 with padding 1
@pytest.mark.parametrize(
    ("k", "stride", "pad", "height", "width"), [(1, 1, 0, 5, 7), (3, 1, 1, 5, 7), (4, 2, 1, 8, 11), (4, 1, 1, 6, 9)]
)
@pytest.mark.parametrize("with_bias", [True, False])
def test_gradients_are_those_of_autodiff(k, stride, pad, height, width, with_bias):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, height, width, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(k, k, 3, 4)), jnp.float32)
    bias = jnp.asarray(rng.normal(size=4), jnp.float32) if with_bias else None
    weight = rng.normal(size=plain(x, kernel, bias, stride, pad).shape)
    loss = lambda f: lambda x, kernel, bias: (f(x, kernel, bias, stride, pad) * weight).sum()
    with jax.default_matmul_precision("highest"):
        ours = jax.value_and_grad(loss(conv2d), (0, 1, 2))(x, kernel, bias)
        theirs = jax.value_and_grad(loss(plain), (0, 1, 2))(x, kernel, bias)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), ours, theirs)


def test_bfloat16_sums_in_float32():
    """Many small equal contributions: a bfloat16 sum would stop growing, and rounding would show."""
    x, kernel = jnp.full((64, 16, 16, 1), 1.0, jnp.bfloat16), jnp.zeros((1, 1, 1, 1), jnp.float32)
    loss = lambda kernel, bias: conv2d(x, kernel, bias, 1, 0).astype(jnp.float32).sum()
    dkernel, dbias = jax.grad(loss, (0, 1))(kernel, jnp.zeros(1, jnp.float32))
    assert dkernel.dtype == dbias.dtype == jnp.float32
    assert float(dkernel[0, 0, 0, 0]) == float(dbias[0]) == 64 * 16 * 16


def test_across_devices_the_reduction_is_float32():
    from jax.sharding import NamedSharding, PartitionSpec

    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, whole = NamedSharding(mesh, PartitionSpec("fsdp")), NamedSharding(mesh, PartitionSpec())
    loss = lambda kernel, x: conv2d(x, kernel, None, 1, 1).astype(jnp.float32).sum()
    shapes = jax.ShapeDtypeStruct((3, 3, 4, 4), jnp.float32), jax.ShapeDtypeStruct((8, 8, 8, 4), jnp.bfloat16)
    text = jax.jit(jax.grad(loss), in_shardings=(whole, rows), out_shardings=whole).lower(*shapes).compile().as_text()
    reduced = [line for line in text.splitlines() if " all-reduce(" in line]
    assert reduced and all("f32[" in line and "bf16[" not in line for line in reduced), reduced
