# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The cheapest one-to-one assignment of targets to queries (Hungarian), inside jit and on each device by itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

from focus_jax.training import sharding

WORST = 1e6  # of a cost that is no number or beyond
ABSENT = 1e4  # of every query for a target that is not there: one constant, so that the others' optimum stays


def match(costs: jax.Array, there: jax.Array) -> jax.Array:
    """The query of each target, for the least sum of costs over the targets that are there.

    Args:
      costs: [B, N, T], of query n for target t, T <= N; no gradient flows. there: bool [B, T].

    Returns: int32 [B, T]; the query of a target that is not there is one that no other has.
    Under a mesh each device loops over its own rows: one loop for all would ask the others after every turn.
    """
    b, n, t = costs.shape
    if t > n:
        raise ValueError(f"match: {t} targets for {n} queries, expected at most as many")
    costs = jnp.nan_to_num(jax.lax.stop_gradient(costs).astype(jnp.float32), nan=WORST, posinf=WORST, neginf=-WORST)
    costs = jnp.where(there[:, None], jnp.clip(costs, -WORST, WORST), ABSENT)
    if t == 1:
        return jnp.argmin(costs, axis=1).astype(jnp.int32)
    if (current := sharding.current()) is None:
        return _match(costs)
    mesh, table = current
    rows = sharding.partition_spec(costs.shape, ("batch", None, None), table, mesh)
    rows = PartitionSpec(*rows[:1])
    return jax.shard_map(_match, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False)(costs)


def _match(costs: jax.Array) -> jax.Array:
    def one(cost: jax.Array) -> jax.Array:
        queries, targets = optax.assignment.hungarian_algorithm(cost)
        return jnp.zeros(cost.shape[1], jnp.int32).at[targets].set(queries.astype(jnp.int32))

    return jax.vmap(one)(costs)
