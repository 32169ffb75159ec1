# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The kernels mean what XLA's form means, forward and backward; a TPU gets its kernel, in shards; a CPU does not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec

from configs.sharding import TABLES
from focus_jax.ops import attention, flash_attention
from focus_jax.training import sharding

B, T, HEADS, KV_HEADS, D = 2, 512, 4, 2, 24


@pytest.fixture(scope="module")
def inputs():
    draw = lambda i, heads: jax.random.normal(jax.random.key(i), (B, T, heads, D))
    segments = np.ones((B, T), np.int32)
    segments[0, 200:] = 2
    segments[0, 450:] = 0
    return draw(0, HEADS), draw(1, KV_HEADS), draw(2, KV_HEADS), jnp.asarray(segments)


@pytest.fixture(scope="module")
def expected(inputs):
    return both(attention._in_blocks, inputs)


def both(form, inputs):
    """Output, and gradients of a weighted sum of it."""
    weight = jax.random.normal(jax.random.key(3), (B, T, HEADS, D))

    @jax.jit
    def run(q, k, v, segments):
        out, back = jax.vjp(lambda *x: form(*x, segments), q, k, v)
        return out, *back(weight)

    return run(*inputs)


@pytest.mark.parametrize("form", [flash_attention.splash, flash_attention.triton])
def test_a_kernel_is_the_plain_form(form, inputs, expected):
    for found, plain in zip(both(functools.partial(form, interpret=True), inputs), expected, strict=True):
        np.testing.assert_allclose(found, plain, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("form", [flash_attention.splash, flash_attention.triton])
def test_a_kernel_may_see_all(form, inputs):
    q = inputs[0]
    k, v = (jax.random.normal(jax.random.key(i), q.shape) for i in (4, 5))
    ones = jnp.ones(q.shape[:2], jnp.int32)
    plain = both(lambda q, k, v, _: attention.attention(q, k, v), (q, k, v, ones))
    kernel = both(functools.partial(form, causal=False, interpret=True), (q, k, v, ones))
    for found, want in zip(kernel, plain, strict=True):
        np.testing.assert_allclose(found, want, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(attention.self_attention(q, k, v), plain[0], rtol=1e-5, atol=1e-5)


def test_blocks_of_queries_are_all_at_once(inputs, expected):
    q, k, v, segments = inputs
    whole = attention._causal(q, k, v, (segments, segments), None)
    np.testing.assert_allclose(expected[0], whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [96, 480, 1_000])
def test_short_and_odd_rows_take_xlas_form(length):
    assert not flash_attention.serves(length)


@pytest.mark.parametrize("table", ["fsdp", "fsdp_tensor"])
def test_a_tpu_gets_its_kernel_on_every_shard(table, inputs):
    """Compiled for four chips that are not there; splash is a custom call, and no row or head moves."""
    from jax.experimental import topologies

    devices = topologies.get_topology_desc("v5e:2x2", "tpu").devices
    mesh = jax.sharding.Mesh(
        np.array(devices).reshape(1, 1, 2, 2), sharding.AXES, axis_types=(jax.sharding.AxisType.Auto,) * 4
    )
    rows = NamedSharding(mesh, PartitionSpec("fsdp"))
    shaped = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows) for x in inputs]
    loss = lambda q, k, v, s: attention.causal_attention(q, k, v, s).sum()
    with jax.set_mesh(mesh), nn.logical_axis_rules(sharding.axis_table(TABLES[table])):
        text = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*shaped).compile().as_text()
    assert text.count("tpu_custom_call") >= 2 and "all-gather" not in text


def test_a_cpu_takes_no_kernel(inputs):
    assert "custom_call" not in jax.jit(attention.causal_attention).lower(*inputs).as_text().replace("Sharding", "")
