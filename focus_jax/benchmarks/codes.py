# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The blocked nearest-code search: compiled temporaries, agreement with the full search, and time.

python -m focus_jax.benchmark codes [--vectors=4096 --codes=98304 --width=32 --block=4096]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.ops.nearest_code import nearest_code

GOAL_MIB = 256


def full_search(z: jax.Array, codebook: jax.Array, rows: int = 256) -> np.ndarray:
    """argmin over the whole distance matrix [vectors, codes], `rows` vectors at a time so that it fits anywhere."""

    @jax.jit
    def search(z: jax.Array) -> jax.Array:
        dot = jnp.matmul(z, codebook.T, precision=jax.lax.Precision.HIGHEST)
        return jnp.argmin(jnp.sum(codebook**2, axis=-1) - 2.0 * dot, axis=-1)

    return np.concatenate([search(z[i : i + rows]) for i in range(0, len(z), rows)])


def run(*, vectors: int = 4096, codes: int = 98_304, width: int = 32, block: int = 4096, repeats: int = 3) -> dict:
    """Returns: temporaries_mib (memory_analysis), different (indices unlike the full search's), seconds, sizes."""
    z = jax.random.normal(jax.random.key(0), (vectors, width)) * width**-0.5
    codebook = jax.random.normal(jax.random.key(1), (codes, width)) * width**-0.5
    search = jax.jit(lambda z, c: nearest_code(z, c, block=block)).lower(z, codebook).compile()
    memory = search.memory_analysis()
    indices = np.asarray(search(z, codebook))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        search(z, codebook).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return {
        "temporaries_mib": memory.temp_size_in_bytes / 2**20,
        "different": int(np.sum(indices != full_search(z, codebook))),
        "seconds": statistics.median(seconds),
        "vectors": vectors,
        "codes": codes,
        "width": width,
        "block": block,
        "platform": jax.default_backend(),
    }


def main(argv: Sequence[str]) -> dict:
    """Prints the figures of `run` and returns them."""
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.benchmark codes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--vectors", type=int, default=4096)
    parser.add_argument("--codes", type=int, default=98_304)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--block", type=int, default=4096, help="codes searched at a time")
    figures = run(**vars(parser.parse_args(argv)))
    whole = figures["vectors"] * figures["codes"] * 4 / 2**20
    print(f"search       {figures['vectors']:,} vectors in {figures['codes']:,} codes of {figures['width']}")
    print(f"temporaries  {figures['temporaries_mib']:8.1f} MiB (goal under {GOAL_MIB}; whole matrix {whole:,.0f})")
    print(f"different    {figures['different']:8d} indices unlike the full search's (goal 0)")
    print(f"seconds      {figures['seconds']:8.3f} on {figures['platform']}")
    return figures
