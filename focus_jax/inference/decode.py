# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading embeddings into a cache, saying ids out of it, scoring options on it: the programs on the device.

All state is one tree with a row for each conversation. What a row says depends on its own prompt, settings and seed
alone: not on the rows beside it, nor on how many ids one call says. Settings are arrays, so that a program is compiled
for shapes only; conversation.py rounds these up. Under a mesh, call with `jax.set_mesh` and flax's axis rules in force;
the batch axes of the mesh then divide the rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from focus_jax.errors import UserError
from focus_jax.inference.structure import BEGIN, KINDS, Structure
from focus_jax.models.qwen2 import Cache, Qwen2
from focus_jax.ops import token_sampling
from focus_jax.ops.cross_entropy import cross_entropy


@flax.struct.dataclass
class State:
    """B conversations. With guidance (R = 2 B) rows 2 b and 2 b + 1 of the cache are the conditional and the
    unconditional prompt of row b; else R = B.

    cache: of R rows. hidden: [R, D], of the last position that was read or said. seen: bool [B, V], what the repetition
    penalty lowers. at: int32 [B], where a row stands (structure.py). done: bool [B], says nothing before it has read.
    """

    cache: Cache
    hidden: jax.Array
    seen: jax.Array
    at: jax.Array
    done: jax.Array


@flax.struct.dataclass
class Sampling:
    """temperature, top_k, top_p (ops/token_sampling.py), guidance: [B, kinds], columns words, semantic codes, pixel
    codes. penalty: [B], of repeated words, 1 = none; codes may repeat. seeds: uint32 [B]."""

    temperature: np.ndarray
    top_k: np.ndarray
    top_p: np.ndarray
    guidance: np.ndarray
    penalty: np.ndarray
    seeds: np.ndarray


# What a setting may be, and how to say it; all are finite numbers.
_SETTINGS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "temperature": (lambda x: x >= 0, "at least 0"),
    "top_k": (lambda x: (x >= 0) & (x % 1 == 0), "a whole number, at least 0"),
    "top_p": (lambda x: (x > 0) & (x <= 1), "a share above 0, at most 1"),
    "guidance": (lambda x: x >= 1, "1 for none, or more"),
    "penalty": (lambda x: x > 0, "more than 0, 1 for none"),
}


def check_setting(name: str, values: ArrayLike, option: str = "") -> None:
    """name: of `sampling`; option: what set it on a command line. Raises: UserError for what it may not be."""
    allowed, expected = _SETTINGS[name]
    found = np.ravel(np.asarray(values, np.float64))
    wrong = found[~(np.isfinite(found) & allowed(found))]
    if wrong.size:
        raise UserError(f"{f'{option}:' if option else f'{name}: {wrong[0]:g},'} expected {expected}.")


def check_seeds(seeds: ArrayLike) -> None:
    """Raises: UserError for numbers that are no seeds."""
    if wrong := [int(seed) for seed in np.ravel(np.asarray(seeds)) if not 0 <= seed < 2**32]:
        raise UserError(f"seeds: {wrong[0]}, expected 0 to {2**32 - 1}.")


def sampling(
    rows: int,
    *,
    temperature: ArrayLike = 0.0,
    top_k: ArrayLike = 0,
    top_p: ArrayLike = 1.0,
    guidance: ArrayLike = 1.0,
    penalty: ArrayLike = 1.0,
    seeds: ArrayLike = 0,
) -> Sampling:
    """Settings of `rows` rows, by default greedy ones.

    Each is a number or has an entry a row; the first four may also be [rows or 1, kinds]. guidance: 1 = the conditional
    prompt alone. Raises: UserError for seeds that are none and settings that may not be.
    """
    check_seeds(seeds)
    given = dict(temperature=temperature, top_k=top_k, top_p=top_p, guidance=guidance, penalty=penalty)
    for name, values in given.items():
        check_setting(name, values)
    by_row = lambda x, dtype: np.broadcast_to(np.asarray(x, dtype), rows)

    def by_kind(x: ArrayLike, dtype: Any) -> np.ndarray:
        x = np.asarray(x, dtype)
        return np.broadcast_to(x[:, None] if x.ndim == 1 else x, (rows, KINDS))

    return Sampling(
        temperature=by_kind(temperature, np.float32),
        top_k=by_kind(top_k, np.int32),
        top_p=by_kind(top_p, np.float32),
        guidance=by_kind(guidance, np.float32),
        penalty=by_row(penalty, np.float32),
        seeds=by_row(seeds, np.uint32),
    )


class Said(NamedTuple):
    """ids: int32 [B, steps], the first counts of which were said; log_p: float32 [B, steps], of what guidance, penalty
    and structure leave, before temperature and filters; counts: int32 [B]."""

    ids: jax.Array
    log_p: jax.Array
    counts: jax.Array


def _apply(model: Qwen2, params: Any, method: Any, *args: Any) -> Any:
    return model.apply({"params": params}, *args, method=method)


@functools.partial(jax.jit, static_argnames=("model", "rows", "slots", "guided"))
def begin(model: Qwen2, *, rows: int, slots: int, guided: bool = False) -> State:
    """Conversations in which nothing was said yet."""
    both = rows * (1 + guided)
    return State(
        model.empty_cache(both, slots),
        jnp.zeros((both, model.width), model.dtype),
        jnp.zeros((rows, model.rows), bool),
        jnp.zeros(rows, jnp.int32),
        jnp.ones(rows, bool),
    )


@functools.partial(jax.jit, static_argnames="slots")
def grown(state: State, *, slots: int) -> State:
    """The same with more slots a row."""
    wider = lambda x: jnp.pad(x, [(0, slots - x.shape[2] if axis == 2 else 0) for axis in range(x.ndim)])
    return state.replace(cache=state.cache.replace(k=wider(state.cache.k), v=wider(state.cache.v)))


@functools.partial(jax.jit, static_argnames="model", donate_argnames="state")
def read(model: Qwen2, params: Any, state: State, x: jax.Array, counts: jax.Array) -> tuple[State, jax.Array]:
    """Reads x [R, T, D], of each row the first counts [R].

    Returns: the state, in which rows that read something may speak, among words; and hidden states [R, T, D].
    """
    hidden, cache = _apply(model, params, "extend", x, state.cache, counts)
    last = jnp.take_along_axis(hidden, jnp.maximum(counts - 1, 0)[:, None, None], axis=1)[:, 0]
    some = counts > 0
    speaks = some[:: len(some) // len(state.at)]
    state = state.replace(
        cache=cache,
        hidden=jnp.where(some[:, None], last, state.hidden),
        at=jnp.where(speaks, 0, state.at),
        done=state.done & ~speaks,
    )
    return state, hidden


@functools.partial(jax.jit, donate_argnames="state")
def prepared(state: State, ids: jax.Array, draw: jax.Array) -> State:
    """Before an answer: only ids int32 [B, N] count as seen, those beyond the vocabulary being padding; rows
    of draw, bool [B], begin with an image."""
    seen = jnp.zeros_like(state.seen).at[jnp.arange(len(ids))[:, None], ids].set(True, mode="drop")
    return state.replace(seen=seen, at=jnp.where(draw, BEGIN, state.at))


@functools.partial(jax.jit, donate_argnames="state")
def cut_back(state: State, lengths: jax.Array, cut: jax.Array) -> State:
    """Rows of cut, bool [B], forget what stands behind lengths, int32 [R], and say nothing before they have read."""
    return state.replace(cache=state.cache.replace(length=lengths), done=state.done | cut)


@functools.partial(jax.jit, static_argnames=("model", "steps"), donate_argnames="state")
def say(
    model: Qwen2,
    params: Any,
    structure: Structure,
    settings: Sampling,
    state: State,
    limits: jax.Array,
    beside: jax.Array | None = None,
    *,
    steps: int,
) -> tuple[State, Said]:
    """Each row says ids until it ends, at most limits [B] and at most `steps`; all that is said is also read.

    beside: [B, codes, D], what is read with the id before each code (models/source_cells.py). The caller sees to it
    that the cache has room for them.
    """
    rows = len(state.at)
    copies = len(state.hidden) // rows
    structure = jax.tree.map(jnp.asarray, structure)
    every = jnp.arange(model.rows)

    def talking(state: State, step: jax.Array) -> jax.Array:
        return ~state.done & (step < limits)

    def choose(state: State) -> tuple[jax.Array, jax.Array]:
        """The next id of each row and its log-probability, [B] each."""
        kind = structure.kind[state.at]
        among_words = state.at == 0
        of_kind = lambda x: jnp.take_along_axis(x, kind[:, None], axis=1)[:, 0]
        logits = _apply(model, params, "logits", state.hidden)
        if copies == 2:
            conditional, unconditional = logits[::2], logits[1::2]
            scale = of_kind(settings.guidance)
            both = token_sampling.guided(conditional, unconditional, scale)
            logits = jnp.where(scale[:, None] == 1.0, conditional, both)
        logits = token_sampling.penalised(logits, state.seen, jnp.where(among_words, settings.penalty, 1.0))
        low, high = (x[state.at][:, None] for x in (structure.low, structure.high))
        may = jnp.where(among_words[:, None], structure.words, (every >= low) & (every < high))
        # A draw is numbered by its place in the conversation, which other rows and the size of a chunk do not change.
        number = state.cache.length[::copies]
        keys = jax.vmap(lambda seed, n: jax.random.fold_in(jax.random.key(seed), n))(settings.seeds, number)
        filters = (of_kind(x) for x in (settings.temperature, settings.top_k, settings.top_p))
        return token_sampling.sample(keys, jnp.where(may, logits, -jnp.inf), *filters)

    def step(carry: tuple[jax.Array, State, Said]) -> tuple[jax.Array, State, Said]:
        i, state, said = carry
        active = talking(state, i)
        ids, log_p = choose(state)
        among_words, twice = state.at == 0, lambda x: jnp.repeat(x, copies, axis=0)
        into = jnp.where(ids == structure.image, BEGIN + 1, 0)
        onward = jnp.where(state.at < structure.last, state.at + 1, 0)
        next_at = jnp.where(among_words, into, onward)
        x = _apply(model, params, "embed", ids[:, None])
        if beside is not None:
            code = structure.code[next_at][:, None, None]
            x += jnp.where(code < 0, 0, jnp.take_along_axis(beside, jnp.maximum(code, 0), axis=1)).astype(x.dtype)
        hidden, cache = _apply(model, params, "extend", twice(x), state.cache, twice(active).astype(jnp.int32))
        after = State(
            cache=cache,
            hidden=jnp.where(twice(active)[:, None], hidden[:, 0], state.hidden),
            seen=state.seen.at[jnp.arange(rows), jnp.where(active, ids, model.rows)].set(True, mode="drop"),
            at=jnp.where(active, next_at, state.at),
            done=state.done | (active & among_words & structure.ends[ids]),
        )
        said = Said(said.ids.at[:, i].set(ids), said.log_p.at[:, i].set(log_p), said.counts + active)
        return i + 1, after, said

    nothing = Said(
        jnp.zeros((rows, steps), jnp.int32), jnp.zeros((rows, steps), jnp.float32), jnp.zeros(rows, jnp.int32)
    )
    more = lambda carry: (carry[0] < steps) & jnp.any(talking(carry[1], carry[0]))
    _, state, said = jax.lax.while_loop(more, step, (jnp.zeros((), jnp.int32), state, nothing))
    return state, said


@functools.partial(jax.jit, static_argnames=("model", "valid", "excluded"), donate_argnames="state")
def score(
    model: Qwen2,
    params: Any,
    state: State,
    options: jax.Array,
    count: jax.Array,
    *,
    valid: int,
    excluded: tuple[tuple[int, int], ...] = (),
) -> tuple[State, jax.Array]:
    """Log-likelihoods of options as continuations; the prompt's cache is shared, each option overwrites the one before.

    Args:
      state: without guidance; it comes back as it was.
      options: int32 [K, B, L], ids padded with -1. count: int32 [], only the first options are read.
      valid, excluded: which ids share the probability, as in `cross_entropy`.

    Returns: the state, and float32 [K, B], the sum over the ids of an option, 0 of an empty one.
    """
    start = state.cache.length
    head = _apply(model, params, "head")

    def one(i: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]) -> Any:
        k, v, sums = carry
        ids = options[i]
        hidden = state.hidden[:, None]
        if ids.shape[1] > 1:  # the last id is judged and not read
            x = _apply(model, params, "embed", jnp.maximum(ids[:, :-1], 0))
            later, cache = _apply(model, params, "extend", x, Cache(k, v, start))
            hidden, k, v = jnp.concatenate([hidden, later], axis=1), cache.k, cache.v
        nll = cross_entropy(hidden, head, ids, valid=valid, excluded=excluded).nll
        return k, v, sums.at[i].set(-jnp.sum(nll, axis=1))

    first = state.cache.k, state.cache.v, jnp.zeros(options.shape[:2], jnp.float32)
    k, v, sums = jax.lax.fori_loop(0, count, one, first)
    return state.replace(cache=Cache(k, v, start)), sums
