# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fingerprints depend on paths, shapes and fp32 values, and on nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from focus_jax.training import fingerprint


@pytest.fixture(scope="module")
def leaves():
    rng = np.random.default_rng(0)
    return {
        "llm/kernel": rng.normal(size=(8, 6, 4)).astype(np.float32),
        "llm/bias": rng.normal(size=(16,)).astype(np.float32),
        "llm/scale": np.float32(rng.normal()).reshape(()),
        "llm/count": np.arange(4, dtype=np.int32),
    }


@pytest.mark.parametrize("spec", [P(), P("a"), P(None, "b"), P("a", "b"), P(("a", "b")), P("b", None, "a")])
def test_sharding_does_not_matter(leaves, spec):
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    place = lambda x: NamedSharding(mesh, spec if x.ndim == 3 else P("a") if x.shape == (16,) else P())
    sharded = {p: jax.device_put(x, place(x)) for p, x in leaves.items()}
    assert fingerprint.digests(sharded) == fingerprint.digests(leaves)


def test_block_size_does_not_matter(leaves, monkeypatch):
    whole = fingerprint.digests(leaves)
    monkeypatch.setattr(fingerprint, "_BLOCK", 7)
    assert fingerprint.digests(leaves) == whole


def test_bfloat16_counts_as_its_float32_value(leaves):
    low = {p: jnp.asarray(x, jnp.bfloat16) if x.dtype == np.float32 else x for p, x in leaves.items()}
    widened = {p: np.asarray(x, np.float32) if x.dtype == jnp.bfloat16 else x for p, x in low.items()}
    assert fingerprint.fingerprint(low) == fingerprint.fingerprint(widened)
    assert fingerprint.fingerprint(low) != fingerprint.fingerprint(leaves)


def test_every_change_shows(leaves):
    """One bit anywhere, two values swapped, another shape, kind or path: all differ."""
    seen = {fingerprint.fingerprint(leaves)}
    for path, x in leaves.items():
        for i in range(x.size):
            bits = x.view(np.uint32).copy() if x.ndim else x.reshape(1).view(np.uint32).copy()
            bits.reshape(-1)[i] ^= 1
            seen.add(fingerprint.fingerprint(leaves | {path: bits.view(x.dtype).reshape(x.shape)}))
    swapped = leaves["llm/bias"].copy()
    swapped[[3, 9]] = swapped[[9, 3]]
    seen.add(fingerprint.fingerprint(leaves | {"llm/bias": swapped}))
    seen.add(fingerprint.fingerprint(leaves | {"llm/bias": leaves["llm/bias"].reshape(4, 4)}))
    seen.add(fingerprint.fingerprint(leaves | {"llm/count": leaves["llm/count"].view(np.float32)}))
    seen.add(fingerprint.fingerprint({p + "_": x for p, x in leaves.items()}))
    seen.add(fingerprint.fingerprint({p: x for p, x in leaves.items() if p != "llm/count"}))
    assert len(seen) == 6 + sum(x.size for x in leaves.values())


def test_a_part_keeps_its_fingerprint_under_another_name(leaves):
    copy = {p.replace("llm/", "tokenizer/vit/"): x for p, x in leaves.items()}
    assert fingerprint.fingerprint(leaves, "llm/") == fingerprint.fingerprint(copy, "tokenizer/vit/")
    with pytest.raises(ValueError, match="no leaf"):
        fingerprint.fingerprint(leaves, "vae/")
