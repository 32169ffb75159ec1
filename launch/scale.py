# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Compiles the full-size stages for TPU slices that are not there and renews docs/scale.md.

`make scale` does everything anew, hours on two cores; `.venv/bin/python launch/scale.py --reports=runs/scale` only what
has no report in that folder yet.
"""

import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
# (config, topology, shape): the costliest shape of the stage, and the square one most of its steps see.
JOBS = [
    ("stage1_tokenizer", "v5e:16x16", "0/256x256"),
    ("stage1_tokenizer", "v5e:16x16", "1/320x960"),
    ("stage1_tokenizer", "v5p:4x4x4", "0/256x256"),
    ("stage1_tokenizer", "v5p:4x4x4", "1/320x960"),
]
HEAD = """# The full step on slices that are not there

Made by `make scale`: the real train step of each full-size stage, compiled ahead of time by libtpu on a machine without
TPU. Memory is XLA's `memory_analysis` of one device; collectives are how many run in a step and the bytes they leave on
a device; TFLOP are model FLOPs (docs/benchmarks.md says which); the step time is an estimate at the stated MFU, not a
measurement: nothing has run on a TPU yet. Under the fsdp table no argument or output above 64 MiB may be whole on every
device; the line below the table counts those that are.

"""


RUN = """## A whole run

Steps of the recipe times the estimated step time above, every phase counted at its reported shape (of the second phase
the costliest): an estimate at the stated MFU.

"""
# What the papers say of their own runs.
PUBLISHED = {
    "stage1_tokenizer:full": "FOCUS trained its tokenizer for about three days on a cluster it does not describe"
}


def chip_days(found: list[dict], steps: list[int]) -> list[tuple[str, float, float]]:
    """(slice, chip-days, days) of a whole run at the assumed MFU, for the slices with a report of every phase.

    found: reports of one config; steps: of each phase. A phase is counted as if all its steps had the reported shape.
    """
    from focus_jax import compile as ahead

    seconds: dict[str, dict[int, float]] = {}
    chips: dict[str, int] = {}
    for r in found:
        phase = int(r["shape"].partition("/")[0])
        name = ahead.slice_name(r)
        seconds.setdefault(name, {})[phase] = r["step_seconds"]
        chips[name] = r["devices"]
    out = []
    for name, each in seconds.items():
        if set(each) == set(range(len(steps))):
            days = sum(n * each[p] for p, n in enumerate(steps)) / 86_400
            out.append((name, days * chips[name], days))
    return out


def whole_run(found: list[dict]) -> str:
    """A table of `chip_days` for every config among the reports."""
    from focus_jax.training import config as config_lib

    lines = ["| config | steps | slice | chip-days | days |", "|---|---|---|---|---|"]
    notes = []
    for name in dict.fromkeys(r["config"] for r in found):
        config = config_lib.load(f"configs/{name.partition(':')[0]}.py")
        steps = [int(phase["steps"]) for phase in config.data.phases]
        for where, chip, days in chip_days([r for r in found if r["config"] == name], steps):
            lines.append(f"| {name} | {sum(steps):,} | {where} | {chip:.0f} | {days:.2f} |")
        notes.append(PUBLISHED.get(name, ""))
    return "\n".join(lines) + "\n\n" + "".join(f"{note}.\n" for note in notes if note)


def main() -> None:
    parser = argparse.ArgumentParser(
        "launch/scale.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", default="", help="folder with reports to keep; default: all are made anew")
    args = parser.parse_args()
    folder = ROOT / (args.reports or "runs/scale")
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for config, topology, shape in JOBS:
        report = folder / f"{config}_{topology}_{shape}.json".replace(":", "_").replace("/", "_")
        if not (args.reports and report.exists()):
            command = ["-m", "focus_jax.compile", f"--config=configs/{config}.py", f"--topology={topology}"]
            print("$ python", *command, f"--shape={shape}", flush=True)
            subprocess.run([sys.executable, *command, f"--shape={shape}", f"--report={report}"], cwd=ROOT, check=True)
        found += json.loads(report.read_text())
    from focus_jax import compile as ahead

    whole = [f"{ahead.slice_name(r)} {r['shape']}: {len(r['replicated'])}" for r in found]
    text = (
        HEAD
        + ahead.scale_table(found)
        + "\n\nWhole above 64 MiB: "
        + ", ".join(whole)
        + ".\n\n"
        + RUN
        + whole_run(found)
    )
    (ROOT / "docs" / "scale.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
