# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Mesh, and logical axis names to mesh axes (contract 7): models name axes, one table in the config places them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from focus_jax.errors import UserError
from focus_jax.training import parts

AXES = ("dcn_data", "data", "fsdp", "tensor")  # slowest network first


def mesh_shape(sizes: Mapping[str, int], devices: int) -> tuple[int, ...]:
    """Sizes of AXES for a number of devices; one size may be -1 (all that are left). Raises: UserError."""
    shape = [int(sizes[a]) for a in AXES]
    if shape.count(-1) > 1:
        raise UserError(f"config.mesh: only one axis may be -1, found {dict(zip(AXES, shape))}.")
    known = math.prod(s for s in shape if s != -1)
    if known < 1 or devices % known or (-1 not in shape and known != devices):
        raise UserError(f"config.mesh: {dict(zip(AXES, shape))} does not fit {devices} devices.")
    return tuple(devices // known if s == -1 else s for s in shape)


def make_mesh(sizes: Mapping[str, int], devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of all devices over AXES; `dcn_data` > 1 spans slices, the rest stays inside one."""
    devices = list(jax.devices() if devices is None else devices)
    shape = mesh_shape(sizes, len(devices))
    slices = len({getattr(d, "slice_index", 0) for d in devices})
    if slices > 1:
        if shape[0] % slices:
            raise UserError(f"config.mesh.dcn_data: {shape[0]} is not a multiple of the {slices} slices.")
        dcn = (slices, 1, 1, 1)
        grid = mesh_utils.create_hybrid_device_mesh((shape[0] // slices, *shape[1:]), dcn, devices)
    elif devices[0].platform == "cpu":  # fake devices have no topology to optimise for; keep their order
        grid = np.asarray(devices).reshape(shape)
    else:
        grid = mesh_utils.create_device_mesh(shape, devices)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def table(config: Any) -> tuple[tuple[str, Any], ...]:
    """The rows of config.axes that config.sharding names. Raises: UserError for an unknown name."""
    if config.sharding not in config.axes:
        raise UserError(
            f"config.sharding: {config.sharding!r} is none of the tables in config.axes ({', '.join(config.axes)})."
        )
    return axis_table(config.axes[config.sharding])


def axis_table(axes: Sequence[Sequence[Any]]) -> tuple[tuple[str, Any], ...]:
    """A table as flax wants it: ((logical name, mesh axis or tuple of mesh axes), ...)."""
    return tuple((name, tuple(to) if isinstance(to, (tuple, list)) else to) for name, to in axes)


def partition_spec(shape: Sequence[int], names: Sequence[str | None], axes, mesh: Mesh) -> PartitionSpec:
    """Mesh axes of one array. Each mesh axis is used once; one that does not divide its dimension is left out.

    Args:
      shape: of the array.
      names: a logical name (or None) for each dimension; () means all None.
      axes: the table; rows count in their order.
    """
    spec: list[Any] = [None] * len(shape)
    used: set[str] = set()
    for row, to in axis_table(axes):
        to_axes = (to,) if isinstance(to, str) else to
        ways = math.prod(mesh.shape[a] for a in to_axes)
        for i, name in enumerate(names):
            if name == row and spec[i] is None and not used & set(to_axes) and ways > 1 and shape[i] % ways == 0:
                spec[i] = to
                used |= set(to_axes)
    while spec and spec[-1] is None:
        spec.pop()
    return PartitionSpec(*spec)


def current() -> tuple[Any, tuple[tuple[str, Any], ...]] | None:
    """Mesh and table in force while a function is traced, for ops that place their own work; None where one is missing.

    They are those of `jax.set_mesh` and flax's `logical_axis_rules` (step.Compiled.scope).
    """
    mesh, axes = jax.sharding.get_abstract_mesh(), nn.get_logical_axis_rules()
    return (mesh, axis_table(axes)) if mesh.size > 1 and axes else None


def logical_names(boxed: Mapping[str, Any]) -> dict[str, tuple[str | None, ...]]:
    """{path: logical axis names} of a nested dict of parts whose leaves may be flax LogicallyPartitioned boxes."""
    out = {}
    for path, leaf in parts.flatten(boxed).items():
        out[path] = tuple(leaf.names) if isinstance(leaf, nn.Partitioned) else ()
    return out


def unbox(boxed: Mapping[str, Any]) -> dict[str, Any]:
    """{path: array} without the boxes (flax's own unbox would constrain shardings on the way)."""
    return {p: x.value if isinstance(x, nn.Partitioned) else x for p, x in parts.flatten(boxed).items()}


def batch_sharding(mesh: Mesh, axes) -> NamedSharding:
    """Rows over the mesh axes of the logical name "batch", everything else whole."""
    to = dict(reversed(axis_table(axes)))["batch"]
    return NamedSharding(mesh, PartitionSpec(to))


def batch_ways(mesh_sizes: Mapping[str, int], axes) -> int:
    """Into how many shards the rows of a batch fall."""
    to = dict(reversed(axis_table(axes)))["batch"]
    return math.prod(mesh_sizes[a] for a in ((to,) if isinstance(to, str) else to))


def host_rows(sharding: NamedSharding, batch_size: int) -> np.ndarray:
    """Rows of a global batch that the devices of this process address, ascending."""
    index = sharding.addressable_devices_indices_map((batch_size,))
    return np.unique(np.concatenate([np.arange(batch_size)[i] for i in index.values()]))


def to_global(batch: Mapping[str, np.ndarray], sharding: NamedSharding, batch_size: int) -> dict[str, jax.Array]:
    """Rows of this process (in the order of `host_rows`) -> global arrays [batch_size, ...]."""
    return {
        name: jax.make_array_from_process_local_data(sharding, x, (batch_size, *x.shape[1:]))
        for name, x in batch.items()
    }
