# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The image encoders under every sharding table give the values and gradients of one device."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from configs import sharding as tables
from focus_jax.models.convnext import convnext
from focus_jax.models.qwen_vit import qwen_vit
from focus_jax.training import parts, sharding
from tests.models.fill import random_parameters

ENCODERS = {
    "vit": qwen_vit(depth=2, width=16, heads=2, patch=4, merge=2, out=24, scan=True, remat="full"),
    "convnext": convnext(widths=(8, 16), depths=(1, 2), patch=2, scan=True, remat="full"),
}
MESHES = {
    "data": dict(dcn_data=1, data=8, fsdp=1, tensor=1),
    "fsdp": dict(dcn_data=1, data=2, fsdp=4, tensor=1),
    "fsdp_tensor": dict(dcn_data=1, data=2, fsdp=2, tensor=2),
}
X = np.random.default_rng(0).standard_normal((8, 16, 24, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request):
    """(loss with gradients, parameters by path, their logical names, the same on one device)."""
    model = ENCODERS[request.param]
    params = parts.flatten(random_parameters(model, X))
    names = sharding.logical_names(jax.eval_shape(model.init, jax.random.key(0), X)["params"])

    def loss(params, x):
        out = model.apply({"params": parts.unflatten(params)}, x)
        return sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(out))

    step = jax.value_and_grad(loss, argnums=(0, 1))
    return step, params, names, jax.jit(step)(params, X)


@pytest.mark.slow
@pytest.mark.parametrize("table", tables.TABLES)
def test_as_on_one_device(encoder, table):
    step, params, names, want = encoder
    mesh, axes = sharding.make_mesh(MESHES[table]), sharding.axis_table(tables.TABLES[table])
    places = {p: NamedSharding(mesh, sharding.partition_spec(x.shape, names[p], axes, mesh)) for p, x in params.items()}
    rows = sharding.batch_sharding(mesh, axes)
    if table != "data":
        assert sum(not place.is_fully_replicated for place in places.values()) >= len(places) // 4
    with jax.set_mesh(mesh), nn.logical_axis_rules(axes):
        sharded = jax.jit(step, in_shardings=(places, rows), out_shardings=(None, (places, rows)))
        found = sharded(jax.device_put(params, places), jax.device_put(X, rows))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        assert np.max(np.abs(np.asarray(a) - b)) <= 2e-5 * np.max(np.abs(b))
