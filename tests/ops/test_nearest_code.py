# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The blocked search equals the full one, within its memory, with z sharded over a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from focus_jax.ops.nearest_code import nearest_code


def full_search(z, codebook):
    """argmin of the whole float64 distance matrix."""
    z, codebook = np.asarray(z, np.float64), np.asarray(codebook, np.float64)
    return np.argmin(np.sum((z[..., None, :] - codebook) ** 2, axis=-1), axis=-1)


@pytest.mark.parametrize("block", [1, 64, 100, 300, 4096])  # 300 codes: blocks that divide, do not, are one
def test_equals_full_search(block):
    z = jax.random.normal(jax.random.key(0), (2, 5, 7, 8))
    codebook = jax.random.normal(jax.random.key(1), (300, 8))
    indices = nearest_code(z, codebook, block=block)
    assert indices.dtype == jnp.int32
    np.testing.assert_array_equal(indices, full_search(z, codebook))


def test_ties_go_to_the_lower_index():
    codebook = jnp.tile(jnp.array([[2.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), (4, 1))
    for block in (1, 2, 3, 5, 12):
        assert int(nearest_code(jnp.array([1.0, 0.1]), codebook, block=block)) == 1


def test_no_gradient_flows():
    z, codebook = jnp.ones((3, 4)), jnp.eye(4)
    jacobian = jax.grad(lambda z, c: nearest_code(z, c, block=2).astype(jnp.float32).sum(), argnums=(0, 1))
    assert all(not np.any(g) for g in jacobian(z, codebook))


def test_memory_of_the_released_codebook():
    z, codebook = jax.ShapeDtypeStruct((4096, 32), jnp.float32), jax.ShapeDtypeStruct((98_304, 32), jnp.float32)
    compiled = jax.jit(nearest_code).lower(z, codebook).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 256 * 2**20  # the whole matrix: 1.5 GiB


@pytest.mark.parametrize("codes", [P(), P("fsdp")])
def test_batch_stays_sharded(codes):
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(AxisType.Auto,))
    z = jax.random.normal(jax.random.key(0), (16, 8, 8, 8))
    codebook = jax.random.normal(jax.random.key(1), (512, 8))
    want = nearest_code(z, codebook, block=128)
    shardings = NamedSharding(mesh, P("fsdp")), NamedSharding(mesh, codes)
    search = jax.jit(lambda z, c: nearest_code(z, c, block=128), in_shardings=shardings)
    compiled = search.lower(z, codebook).compile()
    got = compiled(*jax.device_put((z, codebook), shardings))
    np.testing.assert_array_equal(got, want)
    assert got.sharding.is_equivalent_to(shardings[0], 3)
    # Distances of a device's own 128 vectors to a block: 64 KiB; of all vectors they would be 512 KiB.
    assert compiled.memory_analysis().temp_size_in_bytes < 256 * 2**10
