# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of parameters: the same for the same paths, shapes and fp32 values, however they are sharded or stored.

Every element is mixed with its position in the whole array into four 32-bit words, and the words are summed modulo
2^32. Integer sums do not depend on their order, so each process sums the shards it holds (one copy of each), on the
host, and 16 bytes a leaf are added up over processes: nothing is gathered or replicated, no device program is compiled.
SHA-256 then binds the sums to kind, shape and path. This tells damage and mix-ups apart; it is no defence against
forgery.
"""

import concurrent.futures
import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

LANES = 4  # 32-bit words of a digest
LENGTH = 16  # hex digits of a fingerprint
_SEED = 0x9E3779B9
_BLOCK = 1 << 18  # elements hashed at a time, so that temporaries stay in cache


def digests(flat: Mapping[str, Any]) -> dict[str, str]:
    """Digest of each leaf, 32 hex digits, over its kind (float or integer), shape and values.

    Args:
      flat: {path: jax.Array or numpy array}. Floats count as their float32 value (so a bfloat16 leaf equals its float32
        copy), integers and booleans as int32. A jax.Array may span processes; then all of them call this together.
    """
    paths = sorted(flat)  # one order on every process
    for path in paths:
        for shard in _own_shards(flat[path]):
            shard.data.copy_to_host_async()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy lets the other threads run meanwhile
        work = {p: [pool.submit(_sums, block, start) for block, start in _blocks(flat[p])] for p in paths}
        table = np.zeros((len(paths), LANES), np.uint32)
        for row, path in zip(table, paths):
            for job in work[path]:
                row += job.result()  # uint32: modulo 2^32
    spread = [i for i, p in enumerate(paths) if isinstance(flat[p], jax.Array) and not flat[p].is_fully_addressable]
    if spread:
        table[spread] = multihost_utils.process_allgather(table[spread]).astype(np.uint32).sum(0, dtype=np.uint32)
    return {p: _digest(flat[p].dtype, np.shape(flat[p]), row) for p, row in zip(paths, table)}


def combine(leaf_digests: Mapping[str, str], prefix: str = "") -> str:
    """Fingerprint (16 hex digits) of the leaves whose path starts with `prefix`, which is left out of the hash.

    So a part keeps its fingerprint when it is copied to another name. An empty selection raises ValueError.
    """
    lines = sorted(
        f"{path[len(prefix) :]} {digest}\n" for path, digest in leaf_digests.items() if path.startswith(prefix)
    )
    if not lines:
        raise ValueError(f"no leaf under {prefix!r} to take a fingerprint of")
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:LENGTH]


def fingerprint(flat: Mapping[str, Any], prefix: str = "") -> str:
    """`combine` of the `digests` of {path: array}; 16 hex digits."""
    return combine(digests({p: x for p, x in flat.items() if p.startswith(prefix)}), prefix)


def _digest(dtype: Any, shape: tuple[int, ...], sums: np.ndarray) -> str:
    kind = "float" if jnp.issubdtype(dtype, jnp.floating) else "integer"  # numpy's own test misses bfloat16
    words = " ".join(str(int(s)) for s in sums)
    return hashlib.sha256(f"{kind} {tuple(int(n) for n in shape)} {words}".encode()).hexdigest()[:32]


def _own_shards(x: Any) -> list[Any]:
    """Shards of a jax.Array that this process answers for: of several copies the first."""
    if not isinstance(x, jax.Array):
        return []
    if x.is_fully_addressable:  # also an array that every process has for itself
        return list({tuple(map(str, s.index)): s for s in x.addressable_shards}.values())
    return [s for s in x.addressable_shards if s.replica_id == 0]


def _blocks(x: Any) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Pieces of at most about _BLOCK elements of what this process answers for, and where each starts."""
    shards = [(s.data, s.index) for s in _own_shards(x)] if isinstance(x, jax.Array) else [(x, ())]
    for data, index in shards:
        data = np.asarray(data)
        start = [i.start or 0 for i in index] or [0] * data.ndim
        if not data.ndim:
            yield data, start
            continue
        rows = max(1, _BLOCK // max(1, math.prod(data.shape[1:])))
        for first in range(0, data.shape[0], rows):
            yield data[first : first + rows], [start[0] + first, *start[1:]]


def _mix(h: np.ndarray) -> np.ndarray:
    """Bijection on uint32 whose output bits all depend on all input bits (the finaliser of MurmurHash3)."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def _sums(block: np.ndarray, start: list[int]) -> np.ndarray:
    """Words [LANES] of a piece of an array whose first element stands at `start`."""
    kind = np.float32 if jnp.issubdtype(block.dtype, jnp.floating) else np.int32
    h = np.asarray(block, kind).view(np.uint32)
    place = np.full((1,) * h.ndim, _SEED, np.uint32)
    out = np.zeros(LANES, np.uint32)
    with np.errstate(over="ignore"):  # all arithmetic is modulo 2^32
        for axis, (first, size) in enumerate(zip(start, h.shape)):
            along = np.arange(first, first + size, dtype=np.uint32)
            place = _mix(place + along.reshape([-1 if a == axis else 1 for a in range(h.ndim)]))
        for lane in range(LANES):
            h = _mix(h ^ (place + np.uint32(lane)))
            out[lane] = np.sum(h, dtype=np.uint32)
    return out
