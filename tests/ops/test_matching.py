# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Assignments beside scipy's, targets that are not there, costs that are no numbers, and shards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.optimize import linear_sum_assignment

from configs import sharding as tables
from focus_jax.hlo import collectives
from focus_jax.ops.matching import match
from focus_jax.training import sharding

RNG = np.random.default_rng(0)
COSTS = RNG.standard_normal((8, 12, 5)).astype(np.float32)
THERE = np.arange(5)[None] < np.array([5, 4, 3, 2, 1, 0, 5, 3])[:, None]


def check(found, costs, there):
    for b in range(len(costs)):
        count = int(there[b].sum())
        queries, targets = linear_sum_assignment(costs[b][:, :count])
        assert dict(zip(targets.tolist(), queries.tolist())) == {t: int(found[b, t]) for t in range(count)}
        assert len(set(found[b].tolist())) == found.shape[1]


def test_as_scipy_whatever_is_missing():
    check(np.asarray(jax.jit(match)(COSTS, THERE)), COSTS, THERE)


def test_one_target_is_the_cheapest_query():
    found = match(COSTS[:, :, :1], np.ones((8, 1), bool))
    np.testing.assert_array_equal(found[:, 0], COSTS[:, :, 0].argmin(axis=1))


def test_costs_that_are_no_numbers_come_last():
    costs = COSTS.copy()
    costs[:, :6] = np.nan
    costs[:, 6] = np.inf
    assert np.asarray(match(costs, np.ones((8, 5), bool))).min() >= 7


def test_more_targets_than_queries_are_refused():
    with pytest.raises(ValueError, match="5 targets for 3 queries"):
        match(jnp.zeros((1, 3, 5)), jnp.ones((1, 5), bool))


def test_shards_match_by_themselves():
    mesh = sharding.make_mesh({"dcn_data": 1, "data": 1, "fsdp": -1, "tensor": 1})
    rows = sharding.batch_sharding(mesh, tables.TABLES["fsdp"])
    with jax.set_mesh(mesh), nn.logical_axis_rules(sharding.axis_table(tables.TABLES["fsdp"])):
        run = jax.jit(match, in_shardings=(rows, rows), out_shardings=rows).lower(COSTS, THERE).compile()
        found = np.asarray(run(jax.device_put(COSTS, rows), jax.device_put(THERE, rows)))
    check(found, COSTS, THERE)
    assert not any(kind["ops"] for kind in collectives(run.as_text()).values())
