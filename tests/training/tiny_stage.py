# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A stage small enough to test everything around stages: two dense parts, one with a buffer, and a frozen part."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from configs import sharding as tables
from focus_jax.training import sharding, state

WIDTH = 16


def tiny_config(**changes) -> ConfigDict:
    """Config of the tiny stage; changes: fields to set, "a.b" as a__b."""
    group = dict(
        trained=True, dtype="float32", optimizer="adamw", lr=1e-2, schedule="constant", warmup=0, b1=0.9, b2=0.95,
        weight_decay=0.01, clip=1.0, ema=0.0, layers_from=0,
    )  # fmt: skip
    c = ConfigDict(
        dict(
            stage="tiny", name="tiny", seed=0, alias={}, init={"tokenizer": "random", "llm": "random", "vae": "random"},
            init_weights="ema", assign=(("tokenizer/pixel/.*", "pixel"), ("llm/.*", "llm"), ("vae/.*", "frozen")),
            groups=dict(pixel={**group, "ema": 0.9}, llm=group, frozen=dict(trained=False, dtype="bfloat16")),
            mesh=dict(dcn_data=1, data=1, fsdp=-1, tensor=1), sharding="fsdp", axes=dict(tables.TABLES), accumulate=1,
            health=dict(spike=20.0, warmup=100), checkpoint_every=2, checkpoint_keep=2, best="score",
        )
    )  # fmt: skip
    for field, value in changes.items():
        *folders, name = field.split("__")
        at = c
        for folder in folders:
            at = at[folder]
        at[name] = value
    return c


class TinyStage:
    """Regression of y = vae(x) by llm(pixel(x)); buffer: tokenizer/pixel/frozen_codebook."""

    events = ()

    def init(self, rng):
        keys = jax.random.split(rng, 4)
        boxed = nn.LogicallyPartitioned
        dense = lambda key: boxed(jax.random.normal(key, (WIDTH, WIDTH)) / 4, ("dense_in", "dense_out"))
        return {
            "tokenizer": {"pixel": {
                "dense": {"kernel": dense(keys[0]), "bias": boxed(jnp.zeros(WIDTH), ("norm",))},
                "frozen_codebook": boxed(jax.random.normal(keys[1], (WIDTH, 4)), ("codes", "code_dim")),
            }},
            "llm": {"dense": {"kernel": dense(keys[2])}},
            "vae": {"dense": {"kernel": dense(keys[3])}},
        }  # fmt: skip

    def weights(self, step):
        return {"error": 1.0}

    def normalisers(self, batch):
        return {"error": jnp.float32(batch["x"].shape[0])}

    def numerators(self, params, batch, norm, rng, step):
        pixel = params["tokenizer"]["pixel"]
        h = jnp.tanh(batch["x"] @ pixel["dense"]["kernel"] + pixel["dense"]["bias"]) + pixel["frozen_codebook"].sum()
        error = h @ params["llm"]["dense"]["kernel"] - batch["x"] @ params["vae"]["dense"]["kernel"].astype(jnp.float32)
        return {"error": jnp.sum(jnp.mean(error**2, axis=1))}, {}

    def measures(self, params, batch):
        return {}

    def figures(self, aux):
        return {}


def tiny_plan(config, devices: int = 8) -> state.Plan:
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:devices])
    return state.plan(config, TinyStage().init, (), 10, mesh)
