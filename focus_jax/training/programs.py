# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The compiled programs of a run: for every shape of batch of a phase its step, and its validation where there is some.

All of a phase are compiled at once, on several threads, when its first batch comes: XLA compiles one program on little
more than one core, and there are five of them in a tiny run and dozens in a full one.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from data_pipelines import rows as batch_rows
from focus_jax.training import sharding, state
from focus_jax.training.flops import train_flops
from focus_jax.training.state import Plan
from focus_jax.training.step import Compiled, Stage

THREADS = 4  # at most: a program of the full size may take ten gigabytes of the host while it is compiled


def abstract_batch(config: Any, stream: Mapping[str, Any], mesh: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """The global batch of a sub-stream, rows sharded."""
    rows, n = sharding.batch_sharding(mesh, sharding.table(config)), stream["batch_size"]
    fields = batch_rows.fields(stream) | batch_rows.COMMON
    return {k: jax.ShapeDtypeStruct((n, *shape), dtype, sharding=rows) for k, (shape, dtype) in fields.items()}


class Programs:
    """phase: whose programs these are, -1 before the first; flops: of the step of a shape (training/flops.py)."""

    def __init__(self, config: Any, stage: Stage, plan: Plan, threads: int = THREADS):
        self.config, self.stage, self.plan = config, stage, plan
        self.compiled, self.threads, self.phase = Compiled(config, stage, plan), threads, -1
        self._steps: dict[Any, Any] = {}
        self._measures: dict[Any, Any] = {}
        self._flops: dict[Any, int] = {}
        self._names: dict[Any, str] = {}

    def enter(self, phase: int, streams: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]]) -> None:
        """Compiles the programs of a phase and lets go of those of the phase before, which take room on the device.

        streams: those of its training; held_out: those that its validation reads.
        """
        self._steps, self._measures, self._flops = {}, {}, {}  # before others are built
        plan, config = self.plan, self.config
        by_shape = lambda of: {_shape(b): b for b in (abstract_batch(config, stream, plan.mesh) for stream in of)}
        training, validation = by_shape(streams), by_shape(held_out)
        self._names = {
            k: f"{i}_{stream['height']}x{stream['width']}_{stream['batch_size']}"
            for i, (k, stream) in enumerate((_shape(abstract_batch(config, s, plan.mesh)), s) for s in streams)
        }
        measured = state.all_params(plan.trained, plan.frozen, ema=config.validate_weights == "ema")

        def built(function: Any, *args: Any) -> Any:
            with self.compiled.scope():
                return function.lower(*args).compile()

        with ThreadPoolExecutor(min(self.threads, os.cpu_count() or 1), thread_name_prefix="compile") as pool:
            step, measure = self.compiled.train, self.compiled.measure
            steps = {k: pool.submit(built, step, plan.trained, plan.frozen, b) for k, b in training.items()}
            measures = {k: pool.submit(built, measure, measured, b) for k, b in validation.items()}
            for k, batch in training.items():  # meanwhile
                with self.compiled.scope():
                    self._flops[k] = train_flops(self.stage, plan.trained.params, plan.frozen, batch, config.accumulate)
            self._steps = {k: future.result() for k, future in steps.items()}
            self._measures = {k: future.result() for k, future in measures.items()}
        self.phase = phase

    def step(self, batch: Mapping[str, Any]) -> tuple[Any, int]:
        """(step of batches of this shape, its model FLOPs)."""
        return self._steps[_shape(batch)], self._flops[_shape(batch)]

    def measure(self, batch: Mapping[str, Any]) -> Any:
        """Validation of batches of this shape."""
        return self._measures[_shape(batch)]

    def texts(self) -> dict[str, str]:
        """HLO of the steps by number, height, width and rows of their stream."""
        return {self._names[k]: x.as_text() for k, x in self._steps.items()}


def _shape(batch: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted((name, tuple(x.shape)) for name, x in batch.items()))
