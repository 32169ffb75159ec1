# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every part of a model and every module directly under it: sizes, groups, learning rates, sharding, bytes a device.

    python -m focus_jax.describe --config=configs/stage1_tokenizer.py --devices=64
    python -m focus_jax.describe --checkpoint=runs/stage1_tokenizer --json
    python -m focus_jax.describe --config=configs/stage4.py --inference

Nothing is allocated and no device has to be there; only shapes are traced. With --inference, what every task takes of
one chip's memory instead, from programs compiled for it (minutes; needs libtpu and no TPU).
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType
from ml_collections import ConfigDict

from focus_jax import stages
from focus_jax.errors import UserError, one_sentence
from focus_jax.platforms import without_absent_tpu
from focus_jax.training import config as config_lib
from focus_jax.training import parts, sharding, state, store


def abstract_mesh(sizes: Any, devices: int) -> AbstractMesh:
    """The config's mesh over devices that need not exist."""
    shape = sharding.mesh_shape(sizes, devices)
    return AbstractMesh(shape, sharding.AXES, axis_types=(AxisType.Auto,) * len(sharding.AXES))


def plan_of(config: Any, mesh: Any) -> state.Plan:
    """The layout of a config's train state on a mesh (real, of a topology, or abstract)."""
    stage = stages.create(config)
    return state.plan(config, stage.init, tuple(e.name for e in stage.events), config_lib.total_steps(config), mesh)


def describe(config: Any, devices: int) -> dict[str, Any]:
    """What `--json` prints.

    Returns: name, devices, mesh {axis: size}; modules: for every part and every module directly under it
      {"part", "module" ("" = the whole part), "parameters", "buffers", "groups": {group: {"parameters", "trained",
      "dtype", "lr", "schedule"}}, "shardings": {mesh axes or "whole": bytes}, "bytes", "bytes_per_device"} (bytes of
      parameters and buffers); groups: sums by group with "state_bytes_per_device" (optimizer and EMA); total.
    """
    config_lib.validate(config, devices)
    mesh = abstract_mesh(config.mesh, devices)
    plan = plan_of(config, mesh)
    modules: dict[tuple[str, str], list[str]] = {}
    for path in plan.abstract:
        part = parts.part_of(path)
        modules.setdefault((part, ""), []).append(path)
        rest = path.removeprefix(part + "/").split("/")
        modules.setdefault((part, rest[0]), []).append(path)
    rows = [{"part": part, "module": module, **_row(config, plan, paths)} for (part, module), paths in modules.items()]
    groups = {}
    for group in dict.fromkeys(plan.group_of.values()):
        paths = [p for p, g in plan.group_of.items() if g == group]
        kept = (plan.trained.opt[group], plan.trained.ema.get(group)) if group in plan.groups else ()
        groups[group] = {
            **_settings(config, group),
            "leaves": sum(math.prod(plan.abstract[p].shape) for p in paths),
            "bytes_per_device": _per_device(plan.abstract[p] for p in paths),
            "state_bytes_per_device": _per_device(jax.tree.leaves(kept)),
        }
    return {
        "name": config.name,
        "devices": devices,
        "mesh": dict(mesh.shape),
        "sharding": config.sharding,
        "modules": rows,
        "groups": groups,
        "total": {
            **_row(config, plan, list(plan.abstract)),
            "state_bytes_per_device": sum(g["state_bytes_per_device"] for g in groups.values()),
        },
    }


def _settings(config: Any, group: str) -> dict[str, Any]:
    if group == "buffer":
        return {"trained": False, "dtype": "float32", "lr": None, "schedule": None}
    c = config.groups[group]
    rate = {"lr": c.lr, "schedule": c.schedule} if c.trained else {"lr": None, "schedule": None}
    return {"trained": c.trained, "dtype": c.dtype, **rate}


def _per_device(leaves: Iterable[jax.ShapeDtypeStruct]) -> int:
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves)


def _row(config: Any, plan: state.Plan, paths: Sequence[str]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    kinds: dict[str, int] = {}
    for path in paths:
        x = plan.abstract[path]
        counts[plan.group_of[path]] = counts.get(plan.group_of[path], 0) + math.prod(x.shape)
        kind = spec_text(x.sharding.spec)
        kinds[kind] = kinds.get(kind, 0) + math.prod(x.shape) * x.dtype.itemsize
    return {
        "parameters": sum(n for g, n in counts.items() if g != "buffer"),
        "buffers": counts.get("buffer", 0),
        "groups": {g: {"parameters": n, **_settings(config, g)} for g, n in counts.items() if g != "buffer"},
        "shardings": dict(sorted(kinds.items(), key=lambda x: -x[1])),
        "bytes": sum(kinds.values()),
        "bytes_per_device": _per_device(plan.abstract[p] for p in paths),
    }


def spec_text(spec: Any) -> str:
    """The mesh axes that split an array, wherever: "fsdp", "fsdp x tensor"; "whole" for none."""
    axes = [a for to in spec if to is not None for a in ((to,) if isinstance(to, str) else to)]
    return " x ".join(sorted(axes, key=sharding.AXES.index)) or "whole"


def size(n: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    raise AssertionError("unreachable")


def text(found: dict[str, Any]) -> str:
    """The table that a terminal shows."""
    header = ("part, module", "parameters", "buffers", "group", "dtype", "lr", "sharding", "a device")
    body: list[tuple[str, ...]] = []
    for r in [*found["modules"], {"part": "total", "module": "", **found["total"]}]:
        name = f"  {r['module']}" if r["module"] else r["part"]
        groups = r["groups"]
        names = ", ".join(f"{g} ({'trained' if x['trained'] else 'frozen'})" for g, x in groups.items()) or "buffer"
        rates = ", ".join(f"{x['lr']:g} {x['schedule']}" for x in groups.values() if x["trained"]) or "-"
        kinds = ", ".join(k if i == 0 else f"{size(b)} {k}" for i, (k, b) in enumerate(r["shardings"].items()))
        dtypes = ", ".join(dict.fromkeys(x["dtype"] for x in groups.values())) or "float32"
        buffers = f"{r['buffers']:,}" if r["buffers"] else ""
        if r["part"] == "total":
            names = rates = ""
        count = f"{r['parameters']:,}"
        body.append((name, count, buffers, names, dtypes, rates, kinds, size(r["bytes_per_device"])))
    widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
    right = {1, 2, 7}
    lines = [
        "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip()
        for row in [header, *body]
    ]
    mesh = " x ".join(f"{a} {n}" for a, n in found["mesh"].items() if n > 1) or "one device"
    total = found["total"]
    title = f"{found['name']} on {found['devices']} devices ({mesh}, table {found['sharding']})"
    end = (
        f"a device holds {size(total['bytes_per_device'])} of parameters and buffers and "
        f"{size(total['state_bytes_per_device'])} of optimizer state and EMA"
    )
    return "\n".join([title, "", lines[0], "-" * sum([*widths, 2 * len(widths) - 2]), *lines[1:], "", end])


def from_checkpoint(directory: str) -> tuple[Any, dict[str, Any]]:
    """(config, facts) of a run directory or step directory."""
    meta = store.read_meta(store.locate(directory, "--checkpoint"))
    facts = {"step": meta["step"], "code": meta["code"], "fingerprints": meta["fingerprints"], "frozen": meta["frozen"]}
    return ConfigDict(meta["config"]), facts


def main(argv: Sequence[str] | None = None) -> None:
    overrides, rest = config_lib.config_overrides(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.describe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", help="FILE or FILE:ARGUMENT; set fields with --config.FIELD=VALUE")
    source.add_argument("--checkpoint", help="a run directory or one of its steps")
    parser.add_argument("--devices", type=int, default=1, help="as if there were so many (default 1)")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.add_argument("--inference", action="store_true", help="memory of every task on one chip, of stage 4")
    parser.add_argument("--chips", default="v5e,v5p,v6e", help="of --inference (default v5e,v5p,v6e)")
    args = parser.parse_args(rest)
    with one_sentence():
        if args.inference:
            if not args.config:
                raise UserError("--inference: expected --config, the sizes alone count.")
            from focus_jax import compile as ahead
            from focus_jax.inference import memory

            ahead.environment("v5e:2x2")
            say = lambda line: print(line, file=sys.stderr, flush=True)
            report = memory.report(config_lib.load(args.config, overrides), args.chips.split(","), say)
            print(json.dumps(report, indent=1) if args.json else memory.text(report))
            return
        without_absent_tpu()
        if args.devices < 1:
            raise UserError(f"--devices={args.devices}: expected at least 1.")
        facts: dict[str, Any] = {}
        if args.checkpoint and overrides:
            raise UserError(f"{overrides[0]}: fields can be set with --config only, a checkpoint brings its own.")
        if args.checkpoint:
            config, facts = from_checkpoint(args.checkpoint)
        else:
            config = config_lib.load(args.config, overrides)
        found = describe(config, args.devices) | facts
        print(json.dumps(found, indent=1) if args.json else text(found))


if __name__ == "__main__":
    main()
