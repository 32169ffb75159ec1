# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Both forms of the depthwise convolution against each other and against autodiff, and how they are chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from focus_jax import hlo
from focus_jax.ops import depthwise as ops
from focus_jax.ops.depthwise import depthwise


def inputs(shape, k, dtype=jnp.float32):
    """x, kernel, bias and a cotangent."""
    rng = np.random.default_rng(0)
    shapes = (shape, (k, k, 1, shape[-1]), shape[-1:], shape)
    x, kernel, bias, dy = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
    return x.astype(dtype), kernel, bias, dy.astype(dtype)


def plain(x, kernel, bias):
    return ops._grouped(x, kernel.astype(x.dtype)) + bias.astype(x.dtype)


def value_and_gradients(f, x, kernel, bias, dy):
    y, vjp = jax.vjp(f, x, kernel, bias)
    return y, *vjp(dy)


def assert_close(ours, theirs, tolerance):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        assert a.shape == b.shape and np.max(np.abs(a - b)) <= tolerance * np.max(np.abs(b))


# Odd and even sides, a map smaller than the kernel, one pixel.
@pytest.mark.parametrize("shape, k", [((2, 9, 14, 5), 7), ((3, 4, 3, 8), 7), ((1, 1, 1, 3), 7), ((2, 6, 5, 4), 3)])
def test_forms_are_equal(shape, k):
    x, kernel, bias, dy = inputs(shape, k)
    with jax.default_matmul_precision("highest"):
        assert_close(ops._shifted(x, kernel), ops._grouped(x, kernel), 1e-6)
        assert_close(ops._shifted_kernel(x, dy, k), ops._grouped_kernel(x, dy, k), 1e-6)
        ours = jax.jit(lambda *a: value_and_gradients(depthwise, *a))(x, kernel, bias, dy)
        assert_close(ours, value_and_gradients(plain, x, kernel, bias, dy), 1e-6)


def test_bfloat16():
    """Within the rounding of one bfloat16 result of the float32 value; parameter gradients stay float32 sums."""
    x, kernel, bias, dy = inputs((2, 9, 14, 5), 7, jnp.bfloat16)
    y, dx, dkernel, dbias = jax.jit(lambda *a: value_and_gradients(depthwise, *a))(x, kernel, bias, dy)
    assert y.dtype == dx.dtype == jnp.bfloat16 and dkernel.dtype == dbias.dtype == jnp.float32
    rounded = kernel.astype(jnp.bfloat16).astype(jnp.float32)
    wide = (x.astype(jnp.float32), rounded, bias, dy.astype(jnp.float32))
    want = value_and_gradients(plain, *wide)
    assert_close((y, dx), want[:2], 2**-7)
    assert_close((dkernel, dbias), want[2:], 1e-6)
    assert_close(ops._grouped_kernel(x, dy, 7), want[2], 1e-6)
    assert_close(ops._grouped(x, kernel.astype(jnp.bfloat16)), ops._shifted(x, kernel.astype(jnp.bfloat16)), 2**-6)


def gradients(x, kernel, bias, dy):
    return value_and_gradients(depthwise, x, kernel, bias, dy)


def test_the_platform_compiled_for_decides():
    traced = jax.jit(gradients).trace(*inputs((2, 9, 14, 5), 7))
    count = lambda platform: traced.lower(lowering_platforms=(platform,)).as_text().count("stablehlo.convolution")
    assert {p: count(p) for p in ("cpu", "tpu", "cuda")} == {"cpu": 0, "tpu": 3, "cuda": 3}


def layers(kernels, bias, x):
    body = jax.checkpoint(lambda x, kernel: (jnp.tanh(depthwise(x, kernel, bias)), None), prevent_cse=False)
    return jax.lax.scan(body, x, kernels)[0]


def test_scan_and_remat():
    x, _, bias, dy = inputs((2, 9, 14, 4), 7)
    kernels = jnp.asarray(np.random.default_rng(1).normal(size=(3, 7, 7, 1, 4)), jnp.float32) / 7

    def plain_layers(kernels, bias, x):
        for kernel in kernels:
            x = jnp.tanh(plain(x, kernel, bias))
        return x

    loss = lambda f: jax.jit(jax.value_and_grad(lambda *a: jnp.sum(f(*a) * dy), argnums=(0, 1, 2)))
    with jax.default_matmul_precision("highest"):
        assert_close(loss(layers)(kernels, bias, x), loss(plain_layers)(kernels, bias, x), 1e-5)


@pytest.mark.parametrize("rows, channels", [("fsdp", None), (None, "fsdp"), ("fsdp", "tensor")])
def test_sharded(rows, channels):
    """Rows, channels or both on several devices: the same numbers, and the kernel's gradient is added up once."""
    sizes = {"fsdp": 8} if channels != "tensor" else {"fsdp": 4, "tensor": 2}
    mesh = jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))
    x, kernel, bias, dy = inputs((8, 9, 6, 16), 7)
    place = lambda a, *spec: jax.device_put(a, NamedSharding(mesh, PartitionSpec(*spec)))
    activation = (rows, None, None, channels)
    sharded = (
        place(x, *activation),
        place(kernel, None, None, None, channels),
        place(bias, channels),
        place(dy, *activation),
    )
    compiled = jax.jit(gradients).lower(*sharded).compile()
    assert_close(compiled(*sharded), jax.jit(gradients)(x, kernel, bias, dy), 1e-6)
    found = hlo.collectives(compiled.as_text())
    assert sum(kind["count"] for kind in found.values()) <= 4, found
