# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy over a large vocabulary, block by block, so that the [positions, ids] logits never stand in memory.

The same pass gives the expected row of a table, such as a codebook, under the softmax over the ids of one level.
tokamax has a kernel for the plain loss on TPUs, but it returns one sum and takes weights [D, V] alone: it knows neither
ignored labels, excluded ids nor losses by position, and elsewhere forms all logits. So it is no dependency.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from focus_jax.training import sharding

HEAD_AXES = ("vocab", "embed")  # logical names of a head [V, D]; with tied embeddings also those of the embedding
ENTRIES = 2**23  # logits of a block: 32 MiB in float32
LOWEST = float(np.finfo(np.float32).min)  # a maximum before the first logit; unlike -inf it can be subtracted


class CrossEntropy(NamedTuple):
    """By position: nll float32 [...]; correct bool [...], whether the label has the largest logit; expected."""

    nll: jax.Array
    correct: jax.Array
    expected: jax.Array | None  # [..., C] float32, or None without tables


def cross_entropy(
    hidden: jax.Array,
    head: jax.Array,
    labels: jax.Array,
    *,
    valid: int | None = None,
    excluded: Sequence[tuple[int, int]] = (),
    kinds: Sequence[tuple[int, int]] = (),
    tables: Sequence[tuple[int, jax.Array]] = (),
    block: int | None = None,
) -> CrossEntropy:
    """Negative log-likelihoods of labels under softmax(hidden @ head.T), and expected rows of tables.

    Logits and all sums are float32; the products have hidden's dtype, to which head is cast. Gradients flow to hidden
    and head, in the dtypes of these and summed in float32, and not to the tables. Under a mesh (see sharding.current)
    hidden lies as ("batch", ...) says and head as HEAD_AXES: a mesh axis that splits the ids alone moves three numbers
    a position forward and the gradient of hidden backward; one that also splits the rows of the batch, or the width of
    head, gathers head block by block and scatters its gradient so.

    Args:
      hidden: [..., D], the batch first. head: [V, D], any floating dtype.
      labels: int32 [...]; a negative one is ignored: its nll and gradients are 0.
      valid: only the first `valid` rows of head are ids, the rest is padding; None = V.
      excluded: ranges (start, stop) of ids that do not count. The nll of a label that does not count is infinite.
      kinds: disjoint ranges (start, stop) of ids with a softmax each, and one more for the ids in none: nll and correct
        are among the ids of the label's own kind.
      tables: (first id, rows [K, C]) of levels that do not overlap. A position whose label lies in a level gets the
        mean of its rows under the softmax over the level's ids alone; other positions get zeros.
      block: ids at a time; None = what keeps the logits of a block near 32 MiB.

    Raises: ValueError: levels overlap, leave the ids or differ in width.
    """
    plan = _Plan.of(hidden, head, valid, excluded, kinds, tables, block)
    return CrossEntropy(*_cross_entropy(plan, hidden, head, _rows_by_id(plan, head.shape[0], tables), labels))


def sums_by_term(values: jax.Array, labels: jax.Array, codes: Mapping[str, tuple[int, int]]) -> dict[str, jax.Array]:
    """Float32 sums of values [...] by term: a range (start, stop) of label ids each, and "text", the ids in none.

    Ignored labels count nowhere. Of nll times weight it gives the sums of the loss terms, of weight their normalisers.
    """
    kind = {name: (labels >= start) & (labels < stop) for name, (start, stop) in codes.items()}
    kind["text"] = (labels >= 0) & ~functools.reduce(jnp.logical_or, kind.values(), jnp.zeros(labels.shape, bool))
    return {name: jnp.sum(jnp.where(at, values, 0), dtype=jnp.float32) for name, at in kind.items()}


class _Plan(NamedTuple):
    """What is known when the function is traced. Axes are mesh axes."""

    valid: int
    excluded: tuple[tuple[int, int], ...]
    kinds: tuple[tuple[int, int], ...]
    levels: tuple[tuple[int, int], ...]
    block: int | None
    mesh: Any = None
    hidden: PartitionSpec = PartitionSpec()
    head: PartitionSpec = PartitionSpec()

    @classmethod
    def of(cls, hidden, head, valid, excluded, kinds, tables, block) -> _Plan:
        valid = head.shape[0] if valid is None else valid
        levels = tuple((start, start + table.shape[0]) for start, table in tables)
        ranges = lambda found: tuple((start, stop) for start, stop in found)
        plan = cls(valid, ranges(excluded), ranges(kinds), levels, block)
        if (current := sharding.current()) is None:
            return plan
        mesh, axes = current
        batch = ("batch", *[None] * (hidden.ndim - 1))
        return plan._replace(
            mesh=mesh,
            hidden=sharding.partition_spec(hidden.shape, batch, axes, mesh),
            head=sharding.partition_spec(head.shape, HEAD_AXES, axes, mesh),
        )

    def axes(self, spec: PartitionSpec, dimension: int) -> tuple[str, ...]:
        to = spec[dimension] if dimension < len(spec) else None
        return (to,) if isinstance(to, str) else to or ()

    def ways(self, axes: Sequence[str]) -> int:
        return math.prod(self.mesh.shape[a] for a in axes) if axes else 1

    @property
    def batch(self):
        return self.axes(self.hidden, 0)

    @property
    def ids(self):
        return self.axes(self.head, 0)

    @property
    def width(self):
        """Of head: gathered block by block."""
        return self.axes(self.head, 1)

    @property
    def together(self):
        """Devices with different ids and different positions: they gather the ids of a block."""
        return tuple(a for a in self.ids if a in self.batch)

    @property
    def apart(self):
        """Devices with different ids for the same positions: they exchange statistics."""
        return tuple(a for a in self.ids if a not in self.batch)

    @property
    def replicas(self):
        """Devices with the same part of head for different positions: they sum its gradient."""
        return tuple(a for a in self.batch if a not in self.ids + self.width)


def _rows_by_id(plan: _Plan, vocabulary: int, tables: Sequence[tuple[int, jax.Array]]) -> jax.Array | None:
    """The rows of all levels at their ids [V, C] float32, so that they are cut and sharded as head is."""
    if not tables:
        return None
    shapes = [table.shape for _, table in tables]
    edges = [0, *(edge for level in sorted(plan.levels) for edge in level), plan.valid]
    if edges != sorted(edges) or len({width for _, width in shapes}) > 1:
        raise ValueError(
            f"tables: levels {list(plan.levels)} of shapes {shapes} overlap, pass id {plan.valid} or differ in width."
        )
    rows = jnp.zeros((vocabulary, shapes[0][1]), jnp.float32)
    for start, table in tables:
        rows = jax.lax.dynamic_update_slice_in_dim(rows, jnp.asarray(table, jnp.float32), start, axis=0)
    return jax.lax.stop_gradient(rows)


def _sharded(plan: _Plan, local, takes: str, gives: str):
    """`local` on every device's own part; a letter an argument or result: x like hidden, p by position, h like head,
    r rows by id."""
    if plan.mesh is None:
        return local
    first = lambda spec: PartitionSpec(*spec[:1])
    specs = {"x": plan.hidden, "p": first(plan.hidden), "h": plan.head, "r": first(plan.head)}
    places = lambda letters: tuple(specs[letter] for letter in letters)
    return jax.shard_map(local, mesh=plan.mesh, in_specs=places(takes), out_specs=places(gives), check_vma=False)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _cross_entropy(plan, hidden, head, rows, labels):
    return _forward(plan, hidden, head, rows, labels)[0]


def _forward(plan, hidden, head, rows, labels):
    local = functools.partial(_local_forward, plan)
    nll, correct, expected, *normalisers = _sharded(plan, local, "xhrp", "ppppp")(hidden, head, rows, labels)
    return (nll, correct, expected), (hidden, head, rows, labels, expected, *normalisers)


def _backward(plan, saved, cotangents):
    dnll, _, dexpected = cotangents
    local = functools.partial(_local_backward, plan)
    dhidden, dhead = _sharded(plan, local, "xhrpppppp", "xh")(*saved, dnll, dexpected)
    return dhidden, dhead, None, None


_cross_entropy.defvjp(_forward, _backward)


def _blocks(plan: _Plan, head: jax.Array, rows: jax.Array | None, x: jax.Array):
    """Blocks of one device's head.

    Returns: first rows of the blocks that hold an id that counts, int32 [blocks]; the height of a block; a function
    from a first row to (where the block really starts, since the last one must not pass the end; weights [c, D] in x's
    dtype; ids [c]; whether they count here, bool [c]; rows of the tables [c, C] or None), gathered over plan.together.
    """
    height = head.shape[0]
    together, ways = plan.ways(plan.together), plan.ways(plan.ids)
    size = plan.block or min(4096, max(512, ENTRIES // x.shape[0] // 128 * 128))
    size = min(max(1, size // together), height)
    size = min(size, 128 * math.ceil(height / 128 / math.ceil(height / size)))  # blocks of about one height

    counts = np.arange(height * ways) < plan.valid
    for start, stop in plan.excluded:
        counts[start:stop] = False
    by_row = counts.reshape(ways, height).any(axis=0)
    firsts = [first for first in range(0, height, size) if by_row[first : first + size].any()]

    gather = lambda x, axes, dimension: jax.lax.all_gather(x, axes, axis=dimension, tiled=True) if axes else x
    mine = jax.lax.axis_index(plan.ids) if plan.ids else 0
    offsets = gather(jnp.full(1, mine * height, jnp.int32), plan.together, 0)

    def read(first):
        start = jnp.minimum(first, height - size)
        cut = lambda x: _opaque(jax.lax.dynamic_slice_in_dim(x, start, size))
        weights = gather(gather(cut(head).astype(x.dtype), plan.width, 1), plan.together, 0)
        row = start + jnp.arange(size, dtype=jnp.int32)
        ids = (offsets[:, None] + row).reshape(-1)
        count = (ids < plan.valid) & jnp.tile(row >= first, together)
        for a, z in plan.excluded:
            count &= (ids < a) | (ids >= z)
        return start, weights, ids, count, None if rows is None else gather(cut(rows), plan.together, 0)

    return jnp.asarray(firsts, jnp.int32), size, read


def _opaque(x):
    """x as bits and back: XLA would else round all of a float32 head to bfloat16 before the loop, 1 GiB of it."""
    bits = jax.lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}")
    return jax.lax.bitcast_convert_type(jax.lax.optimization_barrier(bits), x.dtype)


def _logits(x, weights, count):
    """[N, c] float32, -inf where an id does not count."""
    logits = jax.lax.dot_general(x, weights, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    return jnp.where(count, logits, -jnp.inf)


def _within(i, block):
    return (i >= block[0]) & (i < block[1])


def _level(plan, labels, ids):
    """Whether an id lies in the level of a position's label, bool [N, c]."""
    return functools.reduce(
        jnp.logical_or, [_within(labels, level)[:, None] & _within(ids, level)[None] for level in plan.levels]
    )


def _of_its_kind(plan, logits, labels, ids):
    """Logits [N, c], -inf where an id is of another kind than a position's label."""
    if not plan.kinds:
        return logits
    kind = lambda i: sum(n * _within(i, block) for n, block in enumerate(plan.kinds, 1))
    return jnp.where(kind(labels)[:, None] == kind(ids)[None], logits, -jnp.inf)


def _softmax_step(largest, total, logits):
    """Running maximum and sum of exponentials [N] with a further block; also the block's exponentials and the decay of
    what was summed before."""
    new = jnp.maximum(largest, jnp.max(logits, axis=-1))
    decay, exps = jnp.exp(largest - new), jnp.exp(logits - new[:, None])
    return new, total * decay + jnp.sum(exps, axis=-1), exps, decay


def _local_forward(plan, hidden, head, rows, labels):
    x, label = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1)
    firsts, _, read = _blocks(plan, head, rows, x)
    lowest, zeros = jnp.full(label.shape, LOWEST, jnp.float32), jnp.zeros(label.shape, jnp.float32)

    def step(carry, first):
        _, weights, ids, count, values = read(first)
        (largest, total, of_label), level = carry
        logits = _logits(x, weights, count)
        of_label = jnp.maximum(of_label, jnp.max(jnp.where(ids == label[:, None], logits, -jnp.inf), axis=-1))
        largest, total, _, _ = _softmax_step(largest, total, _of_its_kind(plan, logits, label, ids))
        if level is not None:
            within = jnp.where(_level(plan, label, ids), logits, -jnp.inf)
            level_largest, level_total, exps, decay = _softmax_step(*level[:2], within)
            level = level_largest, level_total, level[2] * decay[:, None] + exps @ values
        return ((largest, total, of_label), level), None

    level = None if rows is None else (lowest, zeros, jnp.zeros((*label.shape, rows.shape[1]), jnp.float32))
    carry = ((lowest, zeros, jnp.full(label.shape, -jnp.inf, jnp.float32)), level)
    ((largest, total, of_label), level), _ = jax.lax.scan(step, carry, firsts)

    def merged(largest, *sums):
        """The sums of all devices with the same positions, relative to their common maximum."""
        if not plan.apart:
            return largest, *sums
        new = jax.lax.pmax(largest, plan.apart)
        scale = jnp.exp(largest - new)
        return new, *(jax.lax.psum(s * scale.reshape(-1, *[1] * (s.ndim - 1)), plan.apart) for s in sums)

    if plan.apart:
        of_label = jax.lax.pmax(of_label, plan.apart)
    largest, total = merged(largest, total)
    normaliser = largest + jnp.log(total)
    nll = jnp.where(label >= 0, normaliser - of_label, 0.0)
    correct = of_label >= largest  # an ignored label has found no logit
    shaped = lambda y: y.reshape(*labels.shape, *y.shape[1:])
    if level is None:
        return *(shaped(y) for y in (nll, correct)), None, shaped(normaliser), None
    level_largest, level_total, means = merged(*level)
    level_total = jnp.where(level_total > 0, level_total, 1.0)  # a label in no level
    level_normaliser, expected = level_largest + jnp.log(level_total), means / level_total[:, None]
    return tuple(shaped(y) for y in (nll, correct, expected, normaliser, level_normaliser))


def _local_backward(plan, hidden, head, rows, labels, expected, normaliser, level_normaliser, dnll, dexpected):
    width = hidden.shape[-1]
    x, label = hidden.reshape(-1, width), labels.reshape(-1)
    column = lambda y: y.reshape(-1, 1)
    normaliser, dnll = column(normaliser), jnp.where(column(label) >= 0, column(dnll), 0.0)
    if rows is not None:
        level_normaliser, dexpected = column(level_normaliser), dexpected.reshape(-1, rows.shape[1])
        mean_slope = jnp.sum(dexpected * expected.reshape(dexpected.shape), axis=-1, keepdims=True)
    firsts, size, read = _blocks(plan, head, rows, x)

    def step(carry, first):
        dx, dhead = carry
        start, weights, ids, count, values = read(first)
        logits = _logits(x, weights, count)
        among = _of_its_kind(plan, logits, label, ids)
        dlogits = dnll * (jnp.exp(among - normaliser) - (ids == column(label)))
        if rows is not None:
            slope = dexpected @ values.T - mean_slope
            dlogits += jnp.where(_level(plan, label, ids), jnp.exp(logits - level_normaliser) * slope, 0.0)
        dlogits = jnp.where(count, dlogits, 0.0).astype(x.dtype)
        dx += jax.lax.dot_general(dlogits, weights, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)
        dweights = jax.lax.dot_general(dlogits, x, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
        dweights = _scattered(plan, dweights).astype(dhead.dtype)
        # The last block may share rows with the one before it, which has written them.
        new = (start + jnp.arange(size) >= first)[:, None]
        dweights = jnp.where(new, dweights, jax.lax.dynamic_slice_in_dim(dhead, start, size))
        return (dx, jax.lax.dynamic_update_slice_in_dim(dhead, dweights, start, axis=0)), None

    # Sums over devices come before the rounding to head's dtype.
    dhead = jnp.zeros(head.shape, jnp.float32 if plan.replicas else head.dtype)
    (dx, dhead), _ = jax.lax.scan(step, (jnp.zeros(x.shape, jnp.float32), dhead), firsts)
    if plan.replicas:
        dhead = jax.lax.psum(dhead, plan.replicas)
    if plan.apart:
        dx = jax.lax.psum(dx, plan.apart)
    return dx.reshape(hidden.shape).astype(hidden.dtype), dhead.astype(head.dtype)


def _scattered(plan, dweights):
    """A block's gradient, summed over the devices that gathered the block, each with its own part again."""
    for dimension, axes in ((0, plan.together), (1, plan.width)):
        if axes:
            dweights = jax.lax.psum_scatter(dweights, axes, scatter_dimension=dimension, tiled=True)
    same = plan.ways([a for a in plan.width if a not in plan.batch])  # devices with the same positions
    return dweights / same if same > 1 else dweights
