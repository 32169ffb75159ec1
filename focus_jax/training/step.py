# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""One optimizer step as a pure function: loss over the whole accumulated batch, guarded updates (contract 2)."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec

from focus_jax.errors import UserError
from focus_jax.training import parts, sharding
from focus_jax.training.state import Flat, Health, Plan, Trained, shardings

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]


class Stage(Protocol):
    """What a stage gives the trainer. It knows its networks and losses; it knows no mesh, file or optimizer."""

    events: tuple["Event", ...]

    def init(self, rng: jax.Array) -> Mapping[str, Any]:
        """Nested dict of parts with (boxed) parameters."""

    def weights(self, step: jax.Array) -> dict[str, jax.Array | float]:
        """Weight of every loss term at a step; its keys are the terms."""

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        """What each term's sum is divided by; from the batch alone, so that it can cover all micro-batches."""

    def numerators(
        self, params, batch: Batch, norm, rng: jax.Array, step: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        """Each term's sum over the rows, and aux: {name: (sum, count)}, `hist/` arrays that add, `show/` arrays."""

    def measures(self, params, batch: Batch) -> Metrics:
        """Validation: aux of one batch, as above."""

    def notes(self) -> list[str]:
        """What a user should know of this combination of settings, a line each."""

    def alarms(self, step: int, figures: Mapping[str, float]) -> list[str]:
        """What a user must know of the figures at a log step, a line each."""

    def codes_fingerprint(self, params) -> str:
        """Of the tokenizer in `params` (nested dict of parts); only stages with streams of stored codes have it, and
        with streams of stored latents latents_fingerprint, of the autoencoder."""


class Event:
    """What happens once, when the run reaches `step`: run(trained, frozen, batch) -> (trained, frozen), pure."""

    def __init__(self, name: str, step: int, run: Callable[[Plan, Trained, Flat, Batch], tuple[Trained, Flat]]):
        self.name, self.step, self.run = name, step, run


def add_aux(a: Metrics, b: Metrics) -> Metrics:
    """Sums two aux dicts; `show/` keeps the later."""
    return {k: b[k] if k.startswith("show/") else jax.tree.map(jnp.add, a[k], b[k]) for k in b}


def loss_and_gradients(stage: Stage, trained: dict[str, Flat], frozen: Flat, batch: Batch, rng, step, accumulate: int):
    """Sum of weight * numerator / normaliser over the whole batch, its gradients and aux.

    Args:
      trained: parameters by group; frozen: {path: leaf}; batch: arrays [B, ...].
      accumulate: A micro-batches; micro-batch a takes every A-th row, so rows stay on their devices.

    Returns: (loss float32, {term: (sum, normaliser)}, aux), gradients like `trained` in float32.
    """
    norm = stage.normalisers(batch)
    weights = stage.weights(step)
    scale = {t: jnp.where(norm[t] > 0, w / jnp.maximum(norm[t], 1e-20), 0.0) for t, w in weights.items()}

    def loss_fn(trained, rows):
        params = parts.unflatten(frozen | {p: x for g in trained.values() for p, x in g.items()})
        sums, aux = stage.numerators(params, rows, norm, rng, step)
        loss = sum(scale[t] * sums[t].astype(jnp.float32) for t in weights)
        return loss, (sums, aux)

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    if accumulate == 1:
        (loss, (sums, aux)), grads = grad_fn(trained, batch)
        return (loss, {t: (sums[t], norm[t]) for t in weights}, aux), grads

    micro = jax.tree.map(
        lambda x: x.reshape(x.shape[0] // accumulate, accumulate, *x.shape[1:]).swapaxes(0, 1), dict(batch)
    )

    def body(carry, rows):
        (loss, (sums, aux)), grads = grad_fn(trained, rows)
        return jax.tree.map(jnp.add, carry, (loss, sums, grads)), aux

    shapes = jax.eval_shape(grad_fn, trained, jax.tree.map(lambda x: x[0], micro))
    (loss0, (sums0, _)), grads0 = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), shapes)
    (loss, sums, grads), stacked = jax.lax.scan(body, (loss0, sums0, grads0), micro)
    aux = {
        k: jax.tree.map(lambda x: x[-1], v) if k.startswith("show/") else jax.tree.map(lambda x: x.sum(0), v)
        for k, v in stacked.items()
    }
    return (loss, {t: (sums[t], norm[t]) for t in weights}, aux), grads


def guarded_update(plan: Plan, group: str, params: Flat, grads: Flat, opt, ema: Flat | None, health: Health, guard):
    """Clips, updates and averages one group; an update that is not finite or spikes is skipped and counted.

    A gradient of nothing but zeros (masks, in a batch of words alone) leaves the group as it is, momentum too; its
    schedule goes on.

    Returns: (params, opt, ema or None, health, updates as applied, gradient norm before clipping).
    """
    config = plan.groups[group]
    for path in grads:
        if first := plan.first_layer(path):
            keep = (jnp.arange(grads[path].shape[0]) >= first).reshape(-1, *([1] * (grads[path].ndim - 1)))
            grads = grads | {path: grads[path] * keep}
    norm = optax.global_norm(grads)
    warm = health.seen >= guard.warmup
    ok = jnp.isfinite(norm) & ~(warm & (norm > guard.spike * health.norm))

    clipped = (
        jax.tree.map(lambda g: g * jnp.minimum(1.0, config.clip / jnp.maximum(norm, 1e-12)), grads)
        if config.clip
        else grads
    )
    updates, new_opt = plan.tx[group].update(clipped, opt, params)
    for path in updates:
        if first := plan.first_layer(path):  # decay and momentum must not move what does not train
            keep = (jnp.arange(updates[path].shape[0]) >= first).reshape(-1, *([1] * (updates[path].ndim - 1)))
            updates = updates | {path: updates[path] * keep}
    moves = ok & (norm > 0)
    choose = lambda new, old: jax.tree.map(lambda n, o: jnp.where(moves, n, o), new, old)
    updates = choose(updates, jax.tree.map(jnp.zeros_like, updates))
    params = optax.apply_updates(params, updates)
    if ema is not None:
        # A short ramp, so that the average forgets the initial parameters before its full horizon has passed.
        seen = health.seen.astype(jnp.float32)
        decay = jnp.minimum(config.ema, (1.0 + seen) / (10.0 + seen))
        ema = choose(jax.tree.map(lambda e, p: e + (1.0 - decay) * (p.astype(e.dtype) - e), ema, params), ema)

    # Zero norms (a discriminator before its first step) say nothing of what is usual; a spike moves the mean only to
    # its bound.
    counts = jnp.isfinite(norm) & (norm > 0)
    bounded = jnp.where(warm, jnp.minimum(norm, guard.spike * health.norm), norm)
    mean = jnp.where(health.seen == 0, bounded, health.norm + 0.02 * (bounded - health.norm))
    health = Health(
        skipped=health.skipped + ~ok,
        in_a_row=jnp.where(ok, 0, health.in_a_row + 1),
        seen=health.seen + counts,
        norm=jnp.where(counts, mean, health.norm),
    )
    counts_on = lambda n, o: jnp.where(ok if jnp.issubdtype(o.dtype, jnp.integer) else moves, n, o)
    return params, jax.tree.map(counts_on, new_opt, opt), ema, health, updates, norm


def train_step(
    config, stage: Stage, plan: Plan, trained: Trained, frozen: Flat, batch: Batch
) -> tuple[Trained, Metrics]:
    """One step. Metrics: `loss`, `loss/TERM` as (sum, normaliser), norms by part, counts by group, aux of the stage."""
    rng = jax.random.fold_in(jax.random.key(config.seed), 1)
    (loss, terms, aux), grads = loss_and_gradients(
        stage, trained.params, frozen, batch, rng, trained.step, config.accumulate
    )
    metrics: Metrics = {"loss": loss, **{f"loss/{t}": x for t, x in terms.items()}, **aux}
    if "bad" in batch:
        metrics["bad_records"] = batch["bad"].sum()

    params, opt, ema, health = {}, {}, {}, {}
    squares: dict[str, Any] = {}
    for g in plan.groups:
        params[g], opt[g], new_ema, health[g], updates, norm = guarded_update(
            plan, g, trained.params[g], grads[g], trained.opt[g], trained.ema.get(g), trained.health[g], config.health
        )
        if new_ema is not None:
            ema[g] = new_ema
        metrics[f"gradient_norm/{g}"] = norm
        metrics[f"skipped/{g}"], metrics[f"skipped_in_a_row/{g}"] = health[g].skipped, health[g].in_a_row
        for kind, leaves in (("gradient", grads[g]), ("parameter", params[g]), ("update", updates)):
            for path, x in leaves.items():
                key = f"{kind}_norm_of/{parts.part_of(path)}"
                squares[key] = squares.get(key, 0.0) + jnp.sum(jnp.square(x.astype(jnp.float32)))
    metrics |= {k: jnp.sqrt(v) for k, v in squares.items()}
    return Trained(trained.step + 1, params, opt, ema, health, trained.events), metrics


class Compiled:
    """The step, events and validation of a run as jitted functions over one mesh; everything stays sharded."""

    def __init__(self, config, stage: Stage, plan: Plan):
        self.config, self.stage, self.plan = config, stage, plan
        rows = sharding.batch_sharding(plan.mesh, sharding.table(config))
        trained, frozen = shardings(plan.trained), shardings(plan.frozen)
        whole = NamedSharding(plan.mesh, PartitionSpec())  # every process reads metrics from its own devices
        self.train = jax.jit(
            lambda t, f, b: train_step(config, stage, plan, t, f, b),
            in_shardings=(trained, frozen, rows),
            out_shardings=(trained, whole),
            donate_argnums=0,
        )
        self.measure = jax.jit(
            lambda p, b: stage.measures(parts.unflatten(p), b),
            in_shardings=(shardings(plan.abstract), rows),
            out_shardings=whole,
        )
        self.events = {
            e.name: jax.jit(
                lambda t, f, b, e=e: happened(e, plan, t, f, b),
                in_shardings=(trained, frozen, rows),
                out_shardings=(trained, frozen),
            )
            for e in stage.events
        }

    def scope(self):
        """Mesh and axis table for tracing; use as `with compiled.scope():` around every call."""
        stack = contextlib.ExitStack()
        stack.enter_context(jax.set_mesh(self.plan.mesh))
        stack.enter_context(nn.logical_axis_rules(sharding.axis_table(sharding.table(self.config))))
        return stack


def happened(event: Event, plan: Plan, trained: Trained, frozen: Flat, batch: Batch) -> tuple[Trained, Flat]:
    """Runs an event and notes the step in the state."""
    trained, frozen = event.run(plan, trained, frozen, batch)
    return trained.replace(events=trained.events | {event.name: trained.step}), frozen


def check_events(events: tuple[Event, ...], recorded: Mapping[str, Any], step: int) -> None:
    """Whether the events of a config fit what a state at `step` went through. Raises: UserError naming the event."""
    for event in events:
        at = int(recorded[event.name])
        if at != (event.step if event.step < step else -1):
            said = f"happened at step {at}" if at >= 0 else "never happened"
            raise UserError(
                f"config: the event {event.name} is set to step {event.step}, but in this run, now at step {step}, it "
                f"{said}; take back that change or use another workdir."
            )


def put(plan: Plan, trained: Trained, frozen: Flat, leaves: Flat) -> tuple[Trained, Flat]:
    """Replaces leaves: in parameters and EMA, with optimizer moments back at zero; for events."""
    params, ema, opt = dict(trained.params), dict(trained.ema), dict(trained.opt)
    for g in plan.groups:
        mine = {p: x for p, x in leaves.items() if p in params[g]}
        if not mine:
            continue
        params[g] = params[g] | mine
        if g in ema:
            ema[g] = ema[g] | mine
        fresh = lambda moment, path, mine=mine: jnp.zeros_like(moment) if path in mine else moment
        opt[g] = optax.tree_map_params(plan.tx[g], fresh, opt[g], {p: p for p in params[g]})
    frozen = frozen | {p: x for p, x in leaves.items() if p in frozen}
    return trained.replace(params=params, ema=ema, opt=opt), frozen
