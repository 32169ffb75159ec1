# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Model FLOPs against XLA's own count of unrolled networks, and against counts by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from focus_jax.errors import UserError
from focus_jax.ops import attention
from focus_jax.training import flops

S = jax.ShapeDtypeStruct
IMAGE = S((4, 16, 20, 8), jnp.float32)


def xla(fn, *args):
    return jax.jit(fn).lower(*args).compile().cost_analysis()["flops"]


def network(p, x):
    conv = functools.partial(jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    x = jnp.tanh(conv(x, p["a"], (1, 1), ((1, 1), (1, 1))))
    x = jnp.tanh(conv(x, p["b"], (2, 2), ((1, 1), (1, 1))))
    q = x.reshape(x.shape[0], -1, x.shape[-1])  # [B, T, C]
    x = jax.nn.softmax(q @ q.swapaxes(1, 2)) @ q
    return jnp.mean(jnp.tanh(x @ p["c"]) ** 2)


PARAMS = {"a": S((3, 3, 8, 64), jnp.float32), "b": S((4, 4, 64, 96), jnp.float32), "c": S((96, 256), jnp.float32)}


@pytest.mark.parametrize("fn", [network, jax.grad(network)], ids=["forward", "gradient"])
def test_equals_xla_on_an_unrolled_network(fn):
    # XLA also counts what is done element by element, here under 1 %.
    mine, theirs = flops.count_flops(fn, PARAMS, IMAGE), xla(fn, PARAMS, IMAGE)
    assert 0 <= theirs - mine < 0.01 * theirs


CONVOLUTIONS = {
    "same": dict(window_strides=(1, 1), padding=((1, 1), (1, 1))),
    "strided": dict(window_strides=(2, 3), padding=((1, 0), (2, 1))),
    "dilated": dict(window_strides=(1, 1), padding=((2, 2), (2, 2)), rhs_dilation=(2, 2)),
    "transposed": dict(window_strides=(1, 1), padding=((2, 2), (2, 2)), lhs_dilation=(2, 2)),
    "grouped": dict(window_strides=(2, 2), padding=((1, 1), (1, 1)), feature_group_count=4),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_and_its_gradients_count_useful_multiply_accumulates(name):
    options = CONVOLUTIONS[name]
    kernel = S((3, 3, 8 // options.get("feature_group_count", 1), 16), jnp.float32)
    conv = lambda x, k: jax.lax.conv_general_dilated(x, k, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)
    forward = flops.count_flops(conv, IMAGE, kernel)
    out = jax.eval_shape(conv, IMAGE, kernel)
    for argument in (0, 1):
        gradient = lambda x, k, g: jax.vjp(conv, x, k)[1](g)[argument]  # noqa: B023
        assert flops.count_flops(gradient, IMAGE, kernel, out) == forward
    # Ones everywhere: each output value is the number of products that made it.
    macs = int(np.sum(np.asarray(conv(jnp.ones(IMAGE.shape), jnp.ones(kernel.shape)), np.float64)))
    assert forward == 2 * macs
    if name != "grouped":  # XLA:CPU turns grouped convolutions into others first
        assert forward == xla(conv, IMAGE, kernel)


def test_scan_counts_every_turn_and_remat_nothing():
    w, x = S((6, 32, 32), jnp.float32), S((5, 32), jnp.float32)
    layer = lambda x, w: (jnp.tanh(x @ w), None)
    plain = lambda w, x: jnp.sum(jax.lax.scan(layer, x, w)[0] ** 2)
    remat = lambda w, x: jnp.sum(jax.lax.scan(jax.checkpoint(layer, prevent_cse=False), x, w)[0] ** 2)
    loop = lambda w, x: jnp.sum(functools.reduce(lambda x, i: layer(x, w[i])[0], range(6), x) ** 2)
    forward = 2 * 5 * 32 * 32 * 6
    assert flops.count_flops(plain, w, x) == flops.count_flops(loop, w, x) == forward
    expected = flops.count_flops(jax.grad(loop), w, x)
    assert expected == 3 * forward - 2 * 5 * 32 * 32  # no gradient of the input
    scanned = flops.count_flops(jax.grad(plain), w, x)
    assert scanned == 3 * forward  # a loop body cannot leave the input's out
    assert flops.count_flops(jax.grad(remat), w, x) == 4 * forward
    assert flops.count_flops(jax.grad(flops.without_remat(remat)), w, x) == scanned


def test_without_remat_changes_no_value():
    fn = lambda p, x: jnp.sum(jax.checkpoint(lambda p, x: {"y": jnp.tanh(x @ p["w"])})(p, x)["y"] ** 2)
    p, x = {"w": jnp.eye(4) * 0.3}, jnp.arange(8.0).reshape(2, 4)
    got = jax.grad(flops.without_remat(fn))(p, x)["w"]
    np.testing.assert_array_equal(got, jax.grad(fn)(p, x)["w"])


def test_branches_loops_and_dead_code():
    x = S((8, 8), jnp.float32)
    one = 2 * 8**3
    assert flops.count_flops(lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x), x) == 2 * one
    assert flops.count_flops(lambda x: (x @ x, x + 1)[1], x) == 0
    assert flops.count_flops(lambda x: jax.lax.fori_loop(0, 5, lambda i, x: x @ x, x), x) == 5 * one
    with pytest.raises(UserError, match="while loop without a fixed number of turns"):
        flops.count_flops(lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ x, x), x)
    assert flops.count_flops(lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x + 1, x), x) == 0


def test_a_form_with_a_kernel_counts_as_the_form_without():
    q, k = S((1, 512, 4, 64), jnp.bfloat16), S((1, 512, 2, 64), jnp.bfloat16)
    plain = lambda q, k, v: attention._in_blocks(q, k, v, jnp.ones(q.shape[:2], jnp.int32)).sum()
    chosen = lambda q, k, v: attention.causal_attention(q, k, v).sum()
    for change in (lambda fn: fn, lambda fn: jax.value_and_grad(fn, (0, 1, 2))):
        assert flops.count_flops(change(chosen), q, k, k) == flops.count_flops(change(plain), q, k, k) > 0


def test_functions_with_their_own_gradient():
    @jax.custom_vjp
    def square(x):
        return x @ x

    square.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x.T + x.T @ g,))
    x = S((8, 8), jnp.float32)
    assert flops.count_flops(square, x) == 2 * 8**3
    assert flops.count_flops(jax.grad(lambda x: jnp.sum(square(x))), x) == 2 * 2 * 8**3  # the forward is dead here
    assert flops.count_flops(jax.value_and_grad(lambda x: jnp.sum(square(x))), x) == 3 * 2 * 8**3
    assert flops.count_flops(jax.jit(jax.nn.relu), x) == 0


def test_shard_map_counts_all_devices():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    rows = PartitionSpec("data")
    fn = jax.shard_map(lambda x, w: x @ w, mesh=mesh, in_specs=(rows, PartitionSpec()), out_specs=rows)
    assert flops.count_flops(fn, S((16, 8), jnp.float32), S((8, 8), jnp.float32)) == 2 * 16 * 8 * 8


def test_peak():
    assert flops.peak_flops("TPU v5", jnp.bfloat16) == 459e12
    assert flops.peak_flops("NVIDIA H200", "float32") == 494.5e12
    assert flops.peak_flops(jax.devices()[0].device_kind, "float32") is None
