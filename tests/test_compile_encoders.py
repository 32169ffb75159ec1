# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Forward and backward of the full-size encoders compiled for a TPU slice that is not there."""

import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from configs import models
from configs import sharding as tables
from focus_jax import compile as ahead
from focus_jax import hlo
from focus_jax.models.convnext import convnext
from focus_jax.models.qwen_vit import qwen_vit
from focus_jax.training import parts, sharding

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tpu_compile,
    pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache"),  # no TPU to read it back
]
ENCODERS = {
    "vit": (qwen_vit(**models.vit("full"), dtype=jnp.bfloat16), (8, 252, 252, 3)),
    "convnext": (convnext(**models.convnext("full"), dtype=jnp.bfloat16), (4, 768, 768, 3)),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_full_encoder_compiles_for_a_tpu_slice(name):
    """Parameters in shards under the fsdp table, rows over four chips: gradients of everything fit 16 GiB a chip."""
    model, shape = ENCODERS[name]
    mesh = sharding.make_mesh({"dcn_data": 1, "data": 1, "fsdp": -1, "tensor": 1}, ahead.topology_devices("v5e:2x2"))
    axes = sharding.axis_table(tables.TABLES["fsdp"])
    boxed = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)), jnp.zeros((1, *shape[1:])))["params"]
    names = sharding.logical_names(boxed)
    params = {
        path: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=NamedSharding(mesh, sharding.partition_spec(x.shape, names[path], axes, mesh))
        )
        for path, x in sharding.unbox(boxed).items()
    }
    pixels = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding.batch_sharding(mesh, axes))

    def loss(params, pixels):
        out = model.apply({"params": parts.unflatten(params)}, pixels)
        return sum(jnp.mean(jnp.square(x.astype(jnp.float32))) for x in jax.tree.leaves(out))

    placed = jax.tree.map(lambda x: x.sharding, params)
    step = jax.jit(jax.value_and_grad(loss), out_shardings=(None, placed))
    with jax.set_mesh(mesh), nn.logical_axis_rules(axes):
        lowered = step.lower(params, pixels)
    start = time.perf_counter()
    compiled = lowered.compile({"exec_time_optimization_effort": -1.0})  # as `compile` does when asked to be quick
    memory = compiled.memory_analysis()
    gib = {k: getattr(memory, f"{k}_size_in_bytes") / 2**30 for k in ("argument", "output", "temp", "generated_code")}
    found = {kind: x["count"] for kind, x in hlo.collectives(compiled.as_text()).items() if x["ops"]}
    print(f"{name}: {time.perf_counter() - start:.0f} s, GiB {gib}, {found}")

    whole = sum(int(np.prod(x.shape)) * 4 for x in params.values()) / 2**30
    assert gib["argument"] < whole / 4 + 0.05  # parameters lie in four shards, but for the small ones
    assert sum(gib.values()) < 16
    assert found["all-gather"] > 0 and found.get("reduce-scatter", 0) + found.get("all-reduce", 0) > 0
    if name == "convnext":  # the accelerators' form of the depthwise convolution, though a CPU compiles it
        assert "feature_group_count" in compiled.as_text() or "batch_group_count" in compiled.as_text()
