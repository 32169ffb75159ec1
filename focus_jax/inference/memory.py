# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What inference takes of one chip's memory, task by task: its programs compiled for a chip that need not be there.

Parameters are in bfloat16, the autoencoder's in float32, in which it draws. A task's peak is what stays on the device
beside the program that takes the most: all parts, or only those of its half, where the parts that understand and those
that draw are moved to the host in turn. One picture, of the recipe's square bucket, drawn at twice its size.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from data_pipelines import language, rows, targets
from focus_jax import compile as ahead
from focus_jax import stages
from focus_jax.errors import UserError
from focus_jax.inference import decode, segment
from focus_jax.inference.conversation import CHUNK
from focus_jax.inference.diffusion import Diffuser
from focus_jax.inference.structure import answers, bucket
from focus_jax.ops import noise_schedule
from focus_jax.sequence import vocabulary as vocab
from focus_jax.training import config as config_lib
from focus_jax.training import parts, sharding

CHIPS = {"v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}  # the smallest topologies that libtpu knows
ESTIMATED = {"H100": 80}  # GiB
SCALE = 2  # times the codes' picture that is drawn
# Programs of a task, those that understand before those that draw.
LOOK, READ, SAY, MARK, WRITE = "look", "read", "say", "mark", "write"
CODES, STEPS, PICTURE = "codes", "steps", "picture"
DRAWING = (CODES, STEPS, PICTURE)
TASKS = {
    "chat": (LOOK, READ, SAY),
    "segment": (LOOK, READ, SAY, MARK),
    "generate": (LOOK, READ, WRITE, *DRAWING),
    "edit": (LOOK, READ, SAY, MARK, WRITE, *DRAWING),
}


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program. used: paths of the parameters that it reads; beside: bytes of all else that it takes."""

    used: frozenset[str]
    beside: int


def report(config: Any, chips: Sequence[str] = tuple(CHIPS), say: Callable[[str], None] = print) -> dict[str, Any]:
    """What tasks take of each chip, and of those in ESTIMATED by an estimate: the parameters' bytes, and beside them
    the most that the same program takes on any chip that was compiled for. say: is told what is compiled.

    Returns: {"name", "rows": [{"chip", "task", "peak", "moved", "hbm", "estimate"}]}, bytes; moved: the peak where
    parts that understand and parts that draw take turns on the device. Raises: UserError.
    """
    if unknown := [chip for chip in chips if chip not in CHIPS]:
        raise UserError(f"--chips: {unknown[0]!r}, expected some of {', '.join(CHIPS)}.")
    if config.stage != "editing":
        raise UserError(f"{config.name}: does not do all tasks, expected a config of stage 4.")
    config_lib.validate(config, 1)
    lowered = Lowered(config)
    found, weights = [], {path: _bytes(x) for path, x in lowered.flat.items()}
    compiled: dict[str, dict[str, Program]] = {}
    for chip in chips:
        device = ahead.topology_devices(CHIPS[chip])[0]
        compiled[chip] = {}
        for name in lowered.programs:
            say(f"{chip}: compiling {name}")
            compiled[chip][name] = lowered.compiled(name, device)
        hbm = ahead.HBM[device.device_kind] * 2**30
        found += _rows(chip, compiled[chip], weights, hbm, estimate=False)
    for chip, size in ESTIMATED.items():
        most = {
            name: max((of[name] for of in compiled.values()), key=lambda program: program.beside)
            for name in lowered.programs
        }
        found += _rows(chip, most, weights, size * 2**30, estimate=True)
    return {"name": config.name, "rows": found}


def _rows(
    chip: str, programs: Mapping[str, Program], weights: Mapping[str, int], hbm: int, estimate: bool
) -> list[dict[str, Any]]:
    def peak(names: Sequence[str], kept: frozenset[str]) -> int:
        return sum(weights[path] for path in kept) + max(programs[name].beside for name in names)

    out = []
    for task, names in TASKS.items():
        halves = [[n for n in names if (n in DRAWING) == draws] for draws in (False, True)]
        used = lambda of: frozenset().union(*(programs[n].used for n in of))
        out.append({
            "chip": chip,
            "task": task,
            "peak": peak(names, frozenset(weights)),
            "moved": max(peak(half, used(half)) for half in halves if half),
            "hbm": hbm,
            "estimate": estimate,
        })  # fmt: skip
    return out


def _bytes(x: Any) -> int:
    return math.prod(x.shape) * np.dtype(x.dtype).itemsize


class Lowered:
    """The programs of inference of a config of stage 4, by name with the arguments' shapes."""

    def __init__(self, config: Any):
        self.stage = stage = stages.create(config)
        square = [s for s in config_lib.streams(config) if s["height"] == s["width"]]
        edits = [s for s in square if s["shape_class"] == targets.EDITING]
        if not edits:
            raise UserError(f"{config.name}: has no square stream of editing, expected one.")
        stream = {**edits[0], "scale": 1}
        side = stream["height"]
        boxed = jax.eval_shape(stage.init, jax.eval_shape(lambda: jax.random.key(0)))
        kept = lambda path: "float32" if path.startswith("vae/") else config.compute_dtype
        self.flat = {
            path: jax.ShapeDtypeStruct(x.shape, kept(path) if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype)
            for path, x in sharding.unbox(boxed).items()
        }
        fields = rows.fields(stream)
        batch = {name: jax.ShapeDtypeStruct((1, *shape), dtype) for name, (shape, dtype) in fields.items()}
        asked = {name: batch[name] for name in ("ids", "roles", "features", "image", "high", "regions")}
        marked = asked | {n: batch[n] for n in ("conditions", "segments", "positions", "known", "kind")}
        vocabulary, _ = language.writing(stream["sequence"])
        structure = answers(vocabulary, language.sizes(stream["sequence"]), stops=(vocab.SEG,))
        llm, length = stage.focus.llm, stream["sequence"]["length"]
        slots = bucket(length + int(structure.last))

        def state(guided: bool) -> Any:
            return jax.eval_shape(lambda: decode.begin(llm, rows=1, slots=slots, guided=guided))

        params = parts.unflatten(self.flat)

        def said(guided: bool) -> tuple[Any, ...]:
            of = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), structure)
            settings = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), decode.sampling(1))
            beside = jax.eval_shape(stage.beside_codes, params, asked) if guided else None
            return of, settings, state(guided), jax.ShapeDtypeStruct((1,), jnp.int32), beside

        embedded = jax.ShapeDtypeStruct((2, length, llm.width), llm.dtype)
        counts = jax.ShapeDtypeStruct((2,), jnp.int32)
        speak = lambda p, *x: decode.say.__wrapped__(llm, p["llm"], *x, steps=CHUNK)
        draws = Diffuser(SimpleNamespace(stage=stage, label=config.name, params={}, mesh=None))
        size = draws.latents((SCALE * side, SCALE * side))
        decoder = stage.decoder
        noise = jax.ShapeDtypeStruct((1, *size, decoder.vae.channels), jnp.float32)
        plan = noise_schedule.plan(decoder.schedule, "ddim", 30, room=draws.room)
        plan = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.asarray(x).dtype), plan)
        indices = {
            name: jax.ShapeDtypeStruct((1, *grid), jnp.int32)
            for name, grid in stage.focus.tokenizer.grids(side, side).items()
        }
        code_map = lambda p, x: decoder.code_map(p, x, size)
        seen = jax.eval_shape(code_map, params, indices)
        mask = (
            jax.ShapeDtypeStruct((1, *size), jnp.float32),
            jax.ShapeDtypeStruct((1,), jnp.float32),
        )
        keys = jax.eval_shape(lambda: jax.vmap(jax.random.key)(jnp.zeros(1, jnp.uint32)))
        number = jax.ShapeDtypeStruct((), jnp.int32)
        begun = jax.eval_shape(noise_schedule.begun, plan, noise)
        steps = (plan, begun, seen, mask, jax.ShapeDtypeStruct((1, 6), jnp.float32), keys)
        steps += (jax.ShapeDtypeStruct((3,), jnp.float32), number, number)
        self.programs: dict[str, tuple[Callable[..., Any], tuple[Any, ...], tuple[int, ...]]] = {
            LOOK: (lambda p, b: (stage.embeddings(p, b), stage.beside_codes(p, b)), (asked,), ()),
            READ: (
                lambda p, *x: decode.read.__wrapped__(llm, p["llm"], *x), (state(True), embedded, counts), (1,)
            ),
            SAY: (speak, said(False), (3,)),
            MARK: (lambda p, x: segment.last(stage, p, x), (marked,), ()),
            WRITE: (speak, said(True), (3,)),
            CODES: (code_map, (indices,), ()),
            STEPS: (lambda p, *x: draws._run(p, *x, ways=2), steps, ()),
            PICTURE: (draws._decoded, (noise,), ()),
        }  # fmt: skip

    def compiled(self, name: str, device: Any) -> Program:
        """A program on a device; the state of a conversation is given away, as it is where it runs."""
        function, args, donated = self.programs[name]
        here = SingleDeviceSharding(device)
        placed = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), tree)
        made = (
            jax.jit(function, donate_argnums=donated).lower(placed(parts.unflatten(self.flat)), *placed(args)).compile()
        )
        memory, read = made.memory_analysis(), parts.flatten(made.input_shardings[0][0])
        used = [path for path, place in read.items() if place is not None]
        total = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
        total += memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
        return Program(frozenset(used), total - sum(_bytes(self.flat[path]) for path in used))


def text(found: Mapping[str, Any]) -> str:
    """The table that a terminal shows."""
    gib = lambda n: f"{n / 2**30:.1f} GiB"
    fits = lambda n, hbm: "fits" if n <= hbm else "does NOT fit"
    lines = [f"{found['name']}: peak of one chip, one picture, parameters in bfloat16", ""]
    header = ("chip", "task", "all parts on it", "", "in turn", "")
    body = [
        (
            f"{r['chip']}, {gib(r['hbm'])}" + (" (estimate)" if r["estimate"] else ""), r["task"],
            gib(r["peak"]), fits(r["peak"], r["hbm"]), gib(r["moved"]), fits(r["moved"], r["hbm"]),
        )
        for r in found["rows"]
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in (header, *body)) for i in range(len(header))]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (header, *body)]
    lines += ["", "in turn: parts that understand and parts that draw are moved to the host while the others work"]
    return "\n".join([*lines, "estimate: parameters, and beside them the most that any compiled chip takes"])
