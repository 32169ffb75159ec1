# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run carries: trained parameters by group with optimizer, EMA and health; frozen parameters beside them.

Everything is laid out from shapes alone first (`plan`); arrays then come into being already sharded.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from focus_jax.training import optimizer, parts, sharding

Flat = dict[str, jax.Array]  # {path: leaf}


@flax.struct.dataclass
class Health:
    """Of one group. skipped, in_a_row, seen: int32 counts of updates; norm: float32 running mean of gradient norms."""

    skipped: jax.Array
    in_a_row: jax.Array
    seen: jax.Array
    norm: jax.Array

    @classmethod
    def start(cls) -> "Health":
        return cls(*(jnp.zeros((), jnp.int32) for _ in range(3)), jnp.zeros((), jnp.float32))


@flax.struct.dataclass
class Trained:
    """The donated half of the train state.

    step: int32, batches consumed. params, opt, ema, health: by group. events: {name: step it ran at, -1 before}.
    """

    step: jax.Array
    params: dict[str, Flat]
    opt: dict[str, Any]
    ema: dict[str, Flat]
    health: dict[str, Health]
    events: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The layout of a run's state, nothing allocated.

    abstract: {path: ShapeDtypeStruct with its sharding, in the dtype of its group}; names: {path: logical axis names};
    group_of: {path: group}; groups: {trained group: its config}; tx: {trained group: optax transformation};
    trained: abstract Trained, frozen: abstract {path: leaf}, both with shardings.
    """

    mesh: Mesh
    abstract: dict[str, jax.ShapeDtypeStruct]
    names: dict[str, tuple[str | None, ...]]
    group_of: dict[str, str]
    groups: dict[str, Any]
    tx: dict[str, optax.GradientTransformation]
    trained: Trained
    frozen: dict[str, jax.ShapeDtypeStruct]

    def is_trained(self, path: str) -> bool:
        return self.group_of[path] in self.groups

    def first_layer(self, path: str) -> int:
        """First layer of a scanned stack that trains; 0 for a leaf that is not of a stack."""
        stacked = self.names[path][:1] == ("layers",)
        return int(self.groups[self.group_of[path]].layers_from) if stacked else 0


def plan(
    config: Any, init: Callable[[jax.Array], Mapping[str, Any]], events: tuple[str, ...], steps: int, mesh: Mesh
) -> Plan:
    """Lays out the state from shapes alone.

    Args:
      config: the run's config (assign, groups, axes).
      init: stage's rng -> nested dict of (boxed) parameters.
      events: names of the stage's events.
      steps: length of the whole run, for the schedules.
      mesh: where it will live.
    """
    boxed = jax.eval_shape(init, jax.eval_shape(lambda: jax.random.key(0)))
    names = sharding.logical_names(boxed)
    shapes = sharding.unbox(boxed)
    group_of = parts.assign(shapes, config.assign, config.groups)
    groups = {
        g: config.groups[g] for g in dict.fromkeys(group_of.values()) if g != "buffer" and config.groups[g].trained
    }
    whole = NamedSharding(mesh, PartitionSpec())

    abstract = {}
    for path, x in shapes.items():
        group = group_of[path]
        dtype = jnp.dtype("float32" if group == "buffer" else config.groups[group].dtype)
        dtype = dtype if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype
        spec = sharding.partition_spec(x.shape, names[path], sharding.table(config), mesh)
        abstract[path] = jax.ShapeDtypeStruct(x.shape, dtype, sharding=NamedSharding(mesh, spec))

    params = {g: {p: x for p, x in abstract.items() if group_of[p] == g} for g in groups}
    tx = {g: optimizer.transformation(c, steps) for g, c in groups.items()}
    opt = {g: _optimizer_plan(tx[g], params[g], whole) for g in groups}
    scalar = lambda dtype: jax.ShapeDtypeStruct((), dtype, sharding=whole)
    trained = Trained(
        step=scalar(jnp.int32),
        params=params,
        opt=opt,
        ema={g: params[g] for g, c in groups.items() if c.ema},
        health={
            g: Health(scalar(jnp.int32), scalar(jnp.int32), scalar(jnp.int32), scalar(jnp.float32)) for g in groups
        },
        events={e: scalar(jnp.int32) for e in events},
    )
    frozen = {p: x for p, x in abstract.items() if group_of[p] not in groups}
    return Plan(mesh, abstract, names, group_of, groups, tx, trained, frozen)


def _optimizer_plan(tx: optax.GradientTransformation, params: Flat, whole: NamedSharding) -> Any:
    """Abstract optimizer state; a moment is sharded as its parameter, a count is whole."""
    state = jax.eval_shape(tx.init, params)
    place = lambda x, p: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=p.sharding)
    alone = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole)
    return optax.tree_map_params(tx, place, state, params, transform_non_params=alone)


def shardings(tree: Any) -> Any:
    """Shardings of a tree of ShapeDtypeStructs, for jit's in_shardings and out_shardings."""
    return jax.tree.map(lambda x: x.sharding, tree)


def init_params(
    plan: Plan, init: Callable[[jax.Array], Mapping[str, Any]], seed: int, only: set[str] | None = None
) -> Flat:
    """Draws parameters, each shard on its own device. `only`: paths to make (default all), the rest is not computed."""
    wanted = {p: x for p, x in plan.abstract.items() if only is None or p in only}

    def draw(rng):
        drawn = sharding.unbox(init(rng))
        return {p: drawn[p].astype(x.dtype) for p, x in wanted.items()}

    with jax.set_mesh(plan.mesh):
        return jax.jit(draw, out_shardings=shardings(wanted))(jax.random.key(seed))


def begin(plan: Plan, params: Flat) -> tuple[Trained, Flat]:
    """Parameters (all leaves, already placed) -> the state at step 0: fresh optimizer, EMA equal to the parameters."""

    def start(trained):
        opt = {g: plan.tx[g].init(trained[g]) for g in plan.groups}
        ema = {g: jax.tree.map(jnp.copy, trained[g]) for g in plan.trained.ema}
        health = {g: Health.start() for g in plan.groups}
        events = {e: jnp.full((), -1, jnp.int32) for e in plan.trained.events}
        return Trained(jnp.zeros((), jnp.int32), trained, opt, ema, health, events)

    trained = {g: {p: params[p] for p in plan.trained.params[g]} for g in plan.groups}
    with jax.set_mesh(plan.mesh):
        state = jax.jit(start, out_shardings=shardings(plan.trained), donate_argnums=0)(trained)
    return state, {p: params[p] for p in plan.frozen}


def all_params(trained: Trained, frozen: Flat, ema: bool = False) -> Flat:
    """{path: leaf} of every parameter; with `ema` the averaged leaf where a group keeps one."""
    out = dict(frozen)
    for group, leaves in trained.params.items():
        out |= trained.ema.get(group, leaves) if ema else leaves
    return out
