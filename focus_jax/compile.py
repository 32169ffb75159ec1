# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The real train step, compiled ahead of time for a TPU slice nobody has to own.

    python -m focus_jax.compile --config=configs/stage1_tokenizer.py --topology=v5p:4x4x4
    python -m focus_jax.compile --config=configs/stage1_tokenizer.py --topology=v5e:16x16 --shape=1/512x512
    python -m focus_jax.compile --config=configs/stage1_tokenizer.py --topology=v5e:16x16 --plan

Needs libtpu (`pip install focus_jax[tpu]`) and no TPU. `--topology=cpu:8` takes eight fake CPU devices instead.
`--plan` compiles nothing: state and batch are exact, activations are an estimate.
"""

import argparse
import collections
import json
import math
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import topologies

from data_pipelines import rows as batch_rows
from data_pipelines import segmentation
from focus_jax import hlo, stages
from focus_jax.describe import size
from focus_jax.errors import UserError, one_sentence
from focus_jax.training import config as config_lib
from focus_jax.training import flops, parts, sharding, state, step
from focus_jax.training.provenance import code_version

REPLICATED_LIMIT = 64 * 2**20  # no larger argument or output may stand whole on every device under the fsdp table
# GiB of one jax device: cloud.google.com/tpu/docs pages of v4, v5e, v5p, v6e and tpu7x (half a chip is a device there).
HBM = {"TPU v4": 32, "TPU v5 lite": 16, "TPU v5": 95, "TPU v6 lite": 32, "TPU7x": 96}
WORKING = 6.5  # fitted to two compiles of the full stage 1 step for v5p:4x4x4: 256x256 (8.1 GiB) and 320x960 (34.1 GiB)
MFU = 0.4  # for the estimate of the step time


def topology_devices(topology: str, slices: int = 1) -> list[Any]:
    """Devices of "v5p:4x4x4" and the like (libtpu knows the names), or of "cpu:8". Raises: UserError."""
    kind, _, shape = topology.partition(":")
    if kind == "cpu":
        have = jax.devices("cpu")
        if not shape.isdigit() or not 0 < int(shape) <= len(have) or slices != 1:
            raise UserError(f"--topology={topology}: expected cpu:N, N from 1 to {len(have)} fake devices, one slice.")
        return have[: int(shape)]
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology, num_slices=slices).devices)
    except Exception as e:  # libtpu says in many ways that it is missing or does not know a name
        said = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise UserError(
            f"--topology={topology}: libtpu does not give it ({said}); expected a name like v5e:8x8, v5p:4x4x4 or "
            "v6e:4x4, and libtpu installed."
        ) from e


def costliest(config: Any) -> dict[str, Any]:
    """The sub-stream with the most pixels in a batch; of equals the one with the longest rows, then with masks."""

    def work(s: Mapping[str, Any]) -> tuple[int, ...]:
        length = s["sequence"]["length"] if "sequence" in s else 0
        return s["batch_size"] * s["height"] * s["width"], length, segmentation.CLASS in s

    return max(all_streams(config), key=work)


def all_streams(config: Any) -> list[dict[str, Any]]:
    """Sub-streams of all phases with their phase, without `where`."""
    return [dict(s, phase=i) for i, p in enumerate(config.data.phases) for s in p["streams"]]


def stream_named(config: Any, name: str) -> dict[str, Any]:
    """The sub-stream "PHASE/HxW", where several have that shape "PHASE/HxW/CLASS", and where several of a class have
    it "PHASE/HxW/CLASS@TOKENS", of edits "PHASE/HxW/CLASS@SCALEx". Raises: UserError."""
    streams = all_streams(config)
    found = [s for s in streams if name in _names(s)]
    if len(found) == 1:
        return found[0]
    given = collections.Counter(n for s in streams for n in _names(s))
    names = ", ".join(next((n for n in _names(s) if given[n] == 1), _names(s)[-1]) for s in streams)
    said = f"{len(found)} streams have this shape" if found else "the config has no such shape"
    raise UserError(f"--shape={name}: {said}, expected one of {names}.")


def _names(stream: Mapping[str, Any]) -> list[str]:
    """What a sub-stream may be called, the shortest first."""
    of_class = f"{shape_name(stream)}/{stream['shape_class']}"
    sizes = f"@{stream['scale']}x" if "scale" in stream else f"@{stream.get('tokens', 1.0):g}"
    return [shape_name(stream), of_class, of_class + sizes]


def shape_name(stream: Mapping[str, Any]) -> str:
    """Of a sub-stream of `all_streams`; streams of other shape classes may share it."""
    return f"{stream['phase']}/{stream['height']}x{stream['width']}"


def abstract_batch(config: Any, stream: Mapping[str, Any], mesh: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """The global batch of a sub-stream, rows sharded."""
    rows, n = sharding.batch_sharding(mesh, sharding.table(config)), stream["batch_size"]
    fields = batch_rows.fields(stream) | batch_rows.COMMON
    return {k: jax.ShapeDtypeStruct((n, *shape), dtype, sharding=rows) for k, (shape, dtype) in fields.items()}


def report(
    config: Any,
    topology: str,
    slices: int = 1,
    stream: Mapping[str, Any] | None = None,
    plan_only: bool = False,
    quick: bool = False,
) -> dict[str, Any]:
    """Compiles (or, with plan_only, estimates) one sub-stream's train step, default the costliest.

    quick: the compiler tries less hard; about a third less time, a little more memory than the program of a run.

    Returns: a JSON-able dict: what was asked; flops_per_device, step_seconds and the MFU assumed for them; memory:
    bytes on one device by kind, of which `total` decides; peak: the most of them that is in use at once, arguments
    included; fits; replicated: arguments and outputs above 64 MiB that are whole on every device; collectives (see
    hlo.collectives); compile_seconds. Memory that does not fit is a finding, no error.
    """
    devices = topology_devices(topology, slices)
    config_lib.validate(config, len(devices))
    stream = costliest(config) if stream is None else stream
    mesh = sharding.make_mesh(config.mesh, devices)
    stage = stages.create(config)
    plan = state.plan(config, stage.init, tuple(e.name for e in stage.events), config_lib.total_steps(config), mesh)
    batch = abstract_batch(config, stream, mesh)
    kind = devices[0].device_kind
    work = flops.train_flops(stage, plan.trained.params, plan.frozen, batch, config.accumulate) / mesh.size
    peak = flops.peak_flops(kind, config.compute_dtype)
    hbm = HBM[kind] * 2**30 if kind in HBM else None
    found = {
        "config": config.name,
        "commit": code_version(),
        "topology": topology,
        "slices": slices,
        "device_kind": kind,
        "devices": mesh.size,
        "mesh": dict(mesh.shape),
        "sharding": config.sharding,
        "accumulate": config.accumulate,
        "shape": shape_name(stream),
        "shape_class": stream["shape_class"],
        "steps": [int(p["steps"]) for p in config.data.phases],
        "batch_size": stream["batch_size"],
        "flops_per_device": work,
        "step_seconds": work / (MFU * peak) if peak else None,
        "assumed_mfu": MFU,
        "hbm": hbm,
    }
    if plan_only:
        found["memory"] = estimate(config, stage, plan, batch)
        found["replicated"] = large_and_whole(plan, {"trained": plan.trained, "frozen": plan.frozen})
    else:
        found |= _compiled(config, stage, plan, batch, quick)
    found["fits"] = None if hbm is None else found["memory"] is not None and found["memory"]["total"] <= hbm
    return found


def _compiled(config: Any, stage: step.Stage, plan: state.Plan, batch: Any, quick: bool) -> dict[str, Any]:
    functions = step.Compiled(config, stage, plan)
    start = time.perf_counter()
    with functions.scope():
        lowered = functions.train.lower(plan.trained, plan.frozen, batch)
    lowering = time.perf_counter() - start
    start = time.perf_counter()
    try:
        compiled = lowered.compile({"exec_time_optimization_effort": -1.0} if quick else None)
    except jax.errors.JaxRuntimeError as e:
        used = re.search(r"[Uu]sed ([\d.]+[KMGT]) of ([\d.]+[KMGT]) hbm", str(e))
        if "RESOURCE_EXHAUSTED" not in str(e) or used is None:
            raise
        text = f"the compiler ran out of HBM: it wants {used.group(1)} and has {used.group(2)}"
        return {"memory": None, "out_of_memory": text, "compile_seconds": time.perf_counter() - start}
    seconds = time.perf_counter() - start
    m = compiled.memory_analysis()
    memory = {
        "arguments": m.argument_size_in_bytes,
        "outputs": m.output_size_in_bytes - m.alias_size_in_bytes,  # the rest takes the room of donated arguments
        "temporaries": m.temp_size_in_bytes,
        "code": m.generated_code_size_in_bytes,
    }
    return {
        "memory": memory | {"total": sum(memory.values())},
        "peak": m.peak_memory_in_bytes,
        "replicated": replicated(plan, compiled, lowered),
        "collectives": hlo.collectives(compiled.as_text()),
        "lower_seconds": lowering,
        "compile_seconds": seconds,
    }


def replicated(plan: state.Plan, compiled: Any, lowered: Any) -> list[dict[str, Any]]:
    """Arguments and outputs of a compiled step above 64 MiB that are whole on every device."""
    placed = lambda leaves, places: jax.tree.map(
        # None: an argument that nothing reads
        lambda place, x: place and jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        places,
        leaves,
        is_leaf=lambda x: x is None,
    )
    arguments = placed(lowered.args_info[0], compiled.input_shardings[0])
    outputs = placed(lowered.out_info, compiled.output_shardings)
    return large_and_whole(plan, arguments) + large_and_whole(plan, outputs, "output")


def large_and_whole(plan: state.Plan, tree: Any, what: str = "argument") -> list[dict[str, Any]]:
    """The leaves (ShapeDtypeStructs with shardings) above 64 MiB that are whole on every device of several."""
    found = []
    for path, x in jax.tree.leaves_with_path(tree):
        n = math.prod(x.shape) * np.dtype(x.dtype).itemsize
        if n > REPLICATED_LIMIT and x.sharding.is_fully_replicated and plan.mesh.size > 1:
            found.append({"what": what, "name": jax.tree_util.keystr(path), "shape": list(x.shape), "bytes": n})
    return found


def estimate(config: Any, stage: step.Stage, plan: state.Plan, batch: Mapping[str, Any]) -> dict[str, int]:
    """Bytes on one device without compiling: arguments exact, the rest rough.

    residuals: what the forward pass keeps for the backward (a real trace of jax.vjp, remat included) for one device's
    rows; gradients: float32, sharded as parameters; gathered: all parameters whole in the compute dtype (XLA gathers
    the stacks of scanned layers before their loop); working: the largest block that is recomputed in the backward, with
    its gradients, as WORKING times the outputs of its matmuls and convolutions.
    """
    bytes_of = lambda tree: sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree)
    )
    plain = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
    ways = sharding.batch_ways(plan.mesh.shape, sharding.table(config)) * config.accumulate
    rows = {k: jax.ShapeDtypeStruct((x.shape[0] // ways, *x.shape[1:]), x.dtype) for k, x in batch.items()}

    def forward(trained, frozen, rows, at):
        params = parts.unflatten(frozen | {p: x for g in trained.values() for p, x in g.items()})
        sums, _ = stage.numerators(params, rows, stage.normalisers(rows), jax.random.key(0), at)
        return sum(sums.values())

    args = (plain(plan.trained.params), plain(plan.frozen), rows, jax.ShapeDtypeStruct((), np.int32))
    kept = jax.eval_shape(lambda t, f, r, s: jax.vjp(lambda t: forward(t, f, r, s), t)[1], *args)
    known = {x.shape for x in plan.abstract.values()}  # parameters and their casts are counted elsewhere
    residuals = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(kept) if x.shape not in known)
    copies = [math.prod(x.shape) for x in plan.abstract.values() if not x.sharding.is_fully_replicated]
    gathered = sum(copies) * np.dtype(config.compute_dtype).itemsize
    working = int(WORKING * flops.largest_remat(forward, *args))
    arguments = bytes_of(plan.trained) + bytes_of(plan.frozen) + bytes_of(batch)
    gradients = sum(bytes_of(x) // x.dtype.itemsize * 4 for x in jax.tree.leaves(plan.trained.params))
    found = {"arguments": arguments, "gradients": gradients, "gathered": gathered, "residuals": residuals}
    found["working"] = working
    return found | {"total": sum(found.values())}


def slice_name(found: Mapping[str, Any]) -> str:
    return found["topology"] + (f" x {found['slices']}" if found["slices"] > 1 else "")


def text(found: Mapping[str, Any]) -> str:
    """A report as a terminal shows it."""
    mesh = " x ".join(f"{a} {n}" for a, n in found["mesh"].items() if n > 1) or "one device"
    lines = [
        f"{found['config']}  {slice_name(found)}: "
        f"{found['devices']} x {found['device_kind']}, {mesh}, table {found['sharding']}",
        f"shape {found['shape']}, batch {found['batch_size']}, accumulate {found['accumulate']}",
        f"model FLOPs {found['flops_per_device'] / 1e12:.4g} T a device and step",
    ]
    if found["step_seconds"]:
        lines[-1] += f"; {found['step_seconds']:.3g} s a step at {found['assumed_mfu']:.0%} MFU"
    if found["memory"] is None:
        return "\n".join([*lines, f"does not fit: {found['out_of_memory']}"])
    memory = ", ".join(f"{kind} {size(n)}" for kind, n in found["memory"].items())
    room = f" of {size(found['hbm'])}: {'fits' if found['fits'] else 'DOES NOT FIT'}" if found["hbm"] else ""
    lines.append(f"memory a device: {memory}{room}")
    for kind, x in found.get("collectives", {}).items():
        lines.append(f"  {kind}: {x['count']} ({x['ops']} in the program), {size(x['bytes'])}")
    for x in found["replicated"]:
        lines.append(f"  whole on every device: {x['what']} {x['name']} {x['shape']}, {size(x['bytes'])}")
    if not found["replicated"]:
        lines.append("  no argument or output above 64 MiB is whole on every device")
    if "compile_seconds" in found:
        return "\n".join([*lines, f"compiled in {found['compile_seconds']:.0f} s"])
    return "\n".join([*lines, "not compiled: arguments and gradients are exact, the rest is rough"])


def scale_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """Reports as the rows of docs/scale.md."""
    header = (
        *("config", "slice", "shape", "batch", "accumulate", "TFLOP a device", f"step at {100 * MFU:.0f} % MFU"),
        *("arguments", "temporaries", "memory in all", "in use at once", "fits", "collectives", "compile", "commit"),
    )
    rows = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for r in reports:
        m = r["memory"] or {}
        show = lambda key, m=m: size(m[key]) if key in m else "-"
        runs = sum(x["count"] for x in r.get("collectives", {}).values())
        moved = sum(x["bytes"] for x in r.get("collectives", {}).values())
        cells = [
            r["config"], slice_name(r), r["shape"], r["batch_size"], r["accumulate"],
            f"{r['flops_per_device'] / 1e12:.1f}", f"{r['step_seconds']:.2f} s" if r["step_seconds"] else "-",
            show("arguments"), show("temporaries"), show("total"), size(r["peak"]) if "peak" in r else "-",
            {True: "yes", False: "no", None: "-"}[r["fits"]],
            f"{runs}, {size(moved)}" if runs else "-",
            f"{r['compile_seconds']:.0f} s" if "compile_seconds" in r else "-", r["commit"].replace("+dirty", "")[:7],
        ]  # fmt: skip
        rows.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(rows)


def environment(topology: str) -> None:
    """What a compile for absent devices needs, set before jax starts its backends: CPU alone, no search for a TPU."""
    kind, _, n = topology.partition(":")
    if kind == "cpu" and n.isdigit() and "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={n}"
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # nothing runs, so several processes may compile at once
    os.environ["JAX_PLATFORMS"] = "cpu"
    jax.config.update("jax_platforms", "cpu")


def main(argv: Sequence[str] | None = None) -> None:
    overrides, rest = config_lib.config_overrides(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.compile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="FILE or FILE:ARGUMENT; set fields with --config.FIELD=VALUE")
    parser.add_argument("--topology", required=True, help="v5p:4x4x4, v5e:8x8, v6e:4x4, ..., or cpu:N")
    parser.add_argument("--slices", type=int, default=1, help="so many of them; config.mesh.dcn_data spans them")
    parser.add_argument("--shape", help="PHASE/HxW, or PHASE/HxW/CLASS, instead of the costliest")
    parser.add_argument("--all", action="store_true", help="every shape of every phase")
    parser.add_argument("--quick", action="store_true", help="compile with less effort: faster, a little more memory")
    parser.add_argument("--plan", action="store_true", help="estimate memory in seconds, compile nothing")
    parser.add_argument("--report", help="write the figures to this JSON file")
    parser.add_argument("--markdown", action="store_true", help="print rows of docs/scale.md")
    args = parser.parse_args(rest)
    environment(args.topology)
    with one_sentence():
        config = config_lib.load(args.config, overrides)
        chosen = [stream_named(config, args.shape) if args.shape else costliest(config)]
        chosen = all_streams(config) if args.all else chosen
        reports = []
        for stream in chosen:
            reports.append(report(config, args.topology, args.slices, stream, args.plan, args.quick))
            if not args.markdown:
                print(text(reports[-1]), flush=True)
            if args.report:
                epath.Path(args.report).write_text(json.dumps(reports, indent=1) + "\n")
        if args.markdown:
            print(scale_table(reports))


if __name__ == "__main__":
    main()
