# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Compiles the full-size stages for TPU slices that are not there and renews docs/scale.md.

`make scale` does everything anew, hours on two cores; `.venv/bin/python launch/scale.py --only=stage2` the jobs whose
"CONFIG TOPOLOGY SHAPE" contains that, `--only=none` just writes the page. docs/scale.json keeps the reports, after each
job, and each says which commit it is of.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# (config, topology, shape): the costliest shape of the stage, and the square one most of its steps see.
JOBS = [
    ("stage1_tokenizer", "v5e:16x16", "0/256x256"),
    ("stage1_tokenizer", "v5e:16x16", "1/320x960"),
    ("stage1_tokenizer", "v5p:4x4x4", "0/256x256"),
    ("stage1_tokenizer", "v5p:4x4x4", "1/320x960"),
    ("stage1_tokenizer", "v6e:8x8", "0/256x256"),
    ("stage1_tokenizer", "v6e:8x8", "1/320x960"),
    ("stage2", "v5e:16x16", "0/256x256"),
    ("stage2", "v5p:4x4x4", "0/256x256"),
    ("stage2", "v6e:8x8", "0/256x256"),
    ("language", "v5e:8x8", "0/0x0"),
    ("language", "v5p:4x4x4", "0/0x0"),
    ("language", "v6e:8x8", "0/0x0"),
    ("stage1_decoder:stored", "v5e:8x8", "0/320x960/latents@1"),
    ("stage1_decoder:stored", "v5e:8x8", "1/640x1920/latents@0.5"),
    ("stage1_decoder:stored", "v5p:4x4x4", "0/320x960/latents@1"),
    ("stage1_decoder:stored", "v5p:4x4x4", "1/640x1920/latents@0.5"),
    ("stage1_decoder:stored", "v6e:8x8", "0/320x960/latents@1"),
    ("stage1_decoder:stored", "v6e:8x8", "1/640x1920/latents@0.5"),
    ("stage3", "v5e:8x8", "1/512x512/editing"),
    ("stage3", "v5p:4x4x4", "1/512x512/editing"),
    ("stage3", "v6e:8x8", "1/512x512/editing"),
    ("stage4", "v5e:16x16", "0/512x512/editing@2x"),
    ("stage4", "v5p:4x4x4", "0/512x512/editing@2x"),
    ("stage4", "v6e:8x8", "0/512x512/editing@2x"),
]
REPORTS = ROOT / "docs" / "scale.json"
HEAD = """# The full step on slices that are not there

Made by `make scale`: the real train step of each full-size stage, compiled ahead of time by libtpu on a machine without
TPU. Memory is XLA's `memory_analysis` of one device; in use at once is the most that any moment needs of it, arguments
included: the rest are gaps in what the compiler laid out. Collectives are how many run in a step and the bytes they
leave on a device; TFLOP are model FLOPs (docs/benchmarks.md says which); the step time is an estimate at the MFU above,
not a measurement: nothing has run on a TPU yet. Under the fsdp table no argument or output above 64 MiB may be whole on
every device; the line below the table counts those that are. Compile times are of two cores, mostly busy with other
work.

"""

RUN = """## A whole run

Steps of the recipe times the estimated step time above, every phase counted at its reported shape (of the second phase
the costliest): an estimate at the stated MFU.

"""
# What the papers say of their own runs.
PUBLISHED = {
    "stage1_tokenizer:full": "FOCUS trained its tokenizer for about three days on a cluster it does not describe",
    "stage1_decoder:stored": "It gives its diffusion decoder the same three days",
}


def chip_days(found: list[dict]) -> list[tuple[str, float, float]]:
    """(slice, chip-days, days) of a whole run at the assumed MFU, for the slices with a report of every phase.

    found: reports of one config. A phase is counted as if all its steps had its costliest reported shape.
    """
    from focus_jax import compile as ahead

    out = []
    for name in dict.fromkeys(map(ahead.slice_name, found)):
        mine = [r for r in found if ahead.slice_name(r) == name]
        each = [
            [r["step_seconds"] for r in mine if r["shape"].startswith(f"{p}/")] for p in range(len(mine[0]["steps"]))
        ]
        if all(each):
            days = sum(n * max(seconds) for n, seconds in zip(mine[0]["steps"], each)) / 86_400
            out.append((name, days * mine[0]["devices"], days))
    return out


def whole_run(found: list[dict]) -> str:
    """A table of `chip_days` for every recipe among the reports; configs/language.py is a piece of one."""
    found = [r for r in found if r["config"] != "language"]
    lines = ["| config | steps | slice | chip-days | days |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(r["config"] for r in found):
        mine = [r for r in found if r["config"] == name]
        for where, chips, days in chip_days(mine):
            lines.append(f"| {name} | {sum(mine[0]['steps']):,} | {where} | {chips:.0f} | {days:.2f} |")
    notes = [f"{PUBLISHED[name]}.\n" for name in dict.fromkeys(r["config"] for r in found) if name in PUBLISHED]
    return "\n".join(lines) + "\n\n" + "".join(notes)


def main() -> None:
    parser = argparse.ArgumentParser(
        "launch/scale.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="part of the jobs to compile, as in `stage2 v5p`; default: all")
    args = parser.parse_args()
    reports = json.loads(REPORTS.read_text()) if REPORTS.exists() else {}
    for job in map(" ".join, JOBS):
        if args.only not in job:
            continue
        config, topology, shape = job.split()
        file, _, variant = config.partition(":")
        named = f"configs/{file}.py:{variant}" if variant else f"configs/{file}.py"
        command = ["-m", "focus_jax.compile", f"--config={named}", f"--topology={topology}"]
        print("$ python", *command, f"--shape={shape}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder) / "report.json"
            subprocess.run([sys.executable, *command, f"--shape={shape}", f"--report={report}"], cwd=ROOT, check=True)
            (reports[job],) = json.loads(report.read_text())
        REPORTS.write_text(json.dumps(reports, indent=1) + "\n")
    found = [reports[job] for job in map(" ".join, JOBS) if job in reports]
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
