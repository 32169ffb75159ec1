# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Meshes, tables, schedules and the feed."""

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from configs import sharding as tables
from focus_jax.errors import UserError
from focus_jax.training import config as config_lib
from focus_jax.training import feed, optimizer, sharding

SIZES = {"dcn_data": 1, "data": 1, "fsdp": 4, "tensor": 2}


def test_mesh_shape():
    assert sharding.mesh_shape({**SIZES, "fsdp": -1}, 8) == (1, 1, 4, 2)
    with pytest.raises(UserError, match="does not fit 6 devices"):
        sharding.mesh_shape({**SIZES, "fsdp": -1, "tensor": 4}, 6)


def test_current_mesh_and_table():
    """Both have to be there; axes that no table places are whole."""
    mesh, axes = sharding.make_mesh(SIZES), sharding.axis_table(tables.TABLES["fsdp_tensor"])
    found = []
    note = jax.jit(lambda x: found.append(sharding.current()) or x)
    note(0)
    with jax.set_mesh(mesh):
        note(0.0)
        with nn.logical_axis_rules(axes):
            note(np.int8(0))
    assert found[:2] == [None, None]
    assert found[2][0].shape == mesh.shape and found[2][1] == axes
    with jax.set_mesh(sharding.make_mesh(dict.fromkeys(SIZES, 1), jax.devices()[:1])), nn.logical_axis_rules(axes):
        assert sharding.current() is None


@pytest.mark.parametrize(
    ("table", "shape", "names", "spec"),
    [
        ("fsdp_tensor", (3, 3, 8, 16), (None, None, "conv_in", "conv_out"), P(None, None, "fsdp", "tensor")),
        (
            "fsdp_tensor",
            (3, 3, 6, 16),
            (None, None, "conv_in", "conv_out"),
            P(None, None, None, "tensor"),
        ),  # 6 is not 4 x n
        ("fsdp", (3, 3, 8, 16), (None, None, "conv_in", "conv_out"), P(None, None, None, "fsdp")),
        (
            "fsdp",
            (3, 3, 8, 3),
            (None, None, "conv_in", "conv_out"),
            P(None, None, "fsdp"),
        ),  # 3 colours: the input instead
        ("data", (3, 3, 8, 16), (None, None, "conv_in", "conv_out"), P()),
        ("fsdp", (5, 16), ("layers", "norm"), P()),
    ],
)
def test_partition_spec(table, shape, names, spec):
    mesh = sharding.make_mesh(SIZES)
    assert sharding.partition_spec(shape, names, tables.TABLES[table], mesh) == spec


def test_host_rows_are_the_devices_rows():
    mesh = sharding.make_mesh(SIZES)
    rows = sharding.batch_sharding(mesh, tables.TABLES["fsdp"])
    np.testing.assert_array_equal(sharding.host_rows(rows, 8), np.arange(8))
    batch = sharding.to_global({"weight": np.arange(8, dtype=np.float32)}, rows, 8)
    np.testing.assert_array_equal(batch["weight"], np.arange(8))
    assert batch["weight"].sharding == rows


def test_schedules():
    group = config_lib.load("configs/stage1_tokenizer.py:tiny").groups.pixel
    group.lr, group.warmup = 1.0, 4
    rates = [float(optimizer.schedule(group, 104)(k)) for k in (0, 1, 3, 4, 54, 104)]
    np.testing.assert_allclose(rates, [0.25, 0.5, 1.0, 1.0, 0.5, 0.0], atol=1e-6)
    group.unlock().begin = 100
    rates = [float(optimizer.schedule(group, 204)(k)) for k in (0, 99, 100, 101, 103, 154, 204)]
    np.testing.assert_allclose(rates, [0.0, 0.0, 0.25, 0.5, 1.0, 0.5, 0.0], atol=1e-6)
    group.begin = 0
    group.schedule, group.warmup = "constant", 0
    assert float(optimizer.schedule(group, 100)(7)) == 1.0


def test_feed_hands_over_batches_and_errors():
    rows = sharding.batch_sharding(sharding.make_mesh({**SIZES, "tensor": -1}), tables.TABLES["fsdp"])

    def batches():
        for k in range(3):
            yield k, {"batch_size": 8}, {"weight": np.full(8, k, np.float32)}
        raise ValueError("the disk fell out")

    source = feed.Feed(batches(), rows)
    assert [(k, float(batch["weight"][0])) for k, _, batch in (next(source) for _ in range(3))] == [
        (0, 0.0),
        (1, 1.0),
        (2, 2.0),
    ]
    with pytest.raises(ValueError, match="fell out"):
        next(source)
    source.close()
    endless = feed.Feed(((k, {"batch_size": 8}, {"weight": np.zeros(8, np.float32)}) for k in range(10**9)), rows)
    next(endless)
    endless.close()  # returns although the source never ends
    assert not endless._thread.is_alive()
