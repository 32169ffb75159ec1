# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The embedding in shards, compiled for a slice: no device ever holds all of the table, or of its gradient.

That is why the table fsdp of configs/sharding.py names "embed" before "vocab": of columns XLA looks up what a device
has and exchanges vectors; of rows it would bring the whole table, and its whole gradient, to every device.
"""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding

from configs.sharding import TABLES
from focus_jax import compile as ahead
from focus_jax.models.qwen2 import Qwen2
from focus_jax.ops.cross_entropy import HEAD_AXES
from focus_jax.training import sharding

V, D, B, T = 131_072, 512, 64, 2_048


@pytest.mark.slow
@pytest.mark.tpu_compile
@pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache")  # no TPU to read it back
def test_no_device_holds_the_table():
    model, axes = Qwen2(rows=V, depth=1, width=D, heads=4, kv_heads=1, head_dim=128, mlp=512), TABLES["fsdp"]
    mesh = sharding.make_mesh({"dcn_data": 1, "data": 1, "fsdp": 4, "tensor": 1}, ahead.topology_devices("v5e:2x2"))

    def loss(table, ids, slope):
        return jnp.sum(model.apply({"params": {"embedding": {"rows": table}}}, ids, method="embed") * slope)

    def placed(shape, dtype, names):
        place = NamedSharding(mesh, sharding.partition_spec(shape, names, axes, mesh))
        return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

    table = placed((V, D), jnp.float32, HEAD_AXES)
    rows = placed((B, T), jnp.int32, ("batch", None)), placed((B, T, D), jnp.float32, ("batch", None, None))
    with jax.set_mesh(mesh), nn.logical_axis_rules(axes):
        compiled = jax.jit(jax.grad(loss), out_shardings=table.sharding).lower(table, *rows).compile()
    whole = 4 * V * D
    assert compiled.memory_analysis().temp_size_in_bytes < whole / 2
