# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The report: metrics.json for programs, index.html for people.

Files of a report folder:

    metrics.json               {stage: {figure: number, ..., n, standard_error, baselines, eval_seconds, facts of the
                               run (OF_A_RUN), benchmarks: {NAME: {figures, eval_seconds, protocol, facts of its run}}}}
    STAGE.BENCHMARK.protocol.json   everything the benchmark's figures depend on; the same as `protocol` above
    STAGE.part.json            what else the page shows of a stage: curves, pictures
    index.html                 the page, made anew from the files above (report_page.py); goals are in goals.py

A stage may be measured by several benchmarks; their figures stand together, so their names must differ. A benchmark
that runs again replaces its own figures. Figures of other parameters are dropped, so that a stage's figures are of one
model; networks of a stage that are trained in runs of their own (the stand-ins: each has a part that the other lacks)
stay side by side.

An Evaluator (the class of that name in focus_jax/evaluation/NAME.py, made from a config of configs/eval.py) has

    name         str, of the benchmark
    run(model)   -> {figure: (value, n, standard error)}; finite; n counts what was measured; error 0.0: not a mean
    protocol     optional: JSON of what the figures depend on beside config and checkpoint
    baselines    after run, optional: {figure: {label: number}}, what the figure is to be read against
    galleries    after run, optional: [{"title": str, "note": str, "columns": [caption, ...],
                 "rows": [[cell of each column, ...], ...]}, ...]

and a cell of a gallery is a text, a picture (uint8 [H, W, 3] or [H, W], a mask bool [H, W]), a strip of frames (uint8
[T, H, W, 3]) or None. Rows of at most two pictures, with texts below, stand beside one another as cards (questions and
answers, originals and reconstructions); others make a table (edits: source, words, mask, result, verdict).
"""

import base64
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from etils import epath
from PIL import Image

from focus_jax.errors import UserError
from focus_jax.evaluation import curves, goals, report_page
from focus_jax.training.goodput import summarise
from focus_jax.training.parts import TRAINING_ONLY

OF_A_RUN = ("seconds", "steps", "seed", "commit", "fingerprint", "checkpoint", "budget", "device")
BY_FIGURE = ("n", "standard_error", "baselines")
RESERVED = (*BY_FIGURE, *OF_A_RUN, "eval_seconds", "benchmarks")  # no figure may be called so


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """Of a run directory: wall seconds of all its starts, steps done, lines of metrics.jsonl, seconds by activity.

    device: what it ran on, "" where the log does not say.
    """

    seconds: float
    steps: int
    lines: list[dict[str, Any]]
    spent: dict[str, float]
    device: str = ""


NOTHING = RunFacts(0.0, 0, [], {})


def _records(file: epath.Path) -> list[dict[str, Any]]:
    return [json.loads(x) for x in file.read_text().splitlines() if x.strip()]


def run_facts(checkpoint: epath.PathLike) -> RunFacts:
    """What the logs beside a checkpoint say: a run directory, or a step directory inside one; else nothing (zeros)."""
    path = epath.Path(checkpoint)
    for folder in (path, path.parent.parent):
        if (folder / "metrics.jsonl").exists() and (folder / "goodput.jsonl").exists():
            lines, events = _records(folder / "metrics.jsonl"), _records(folder / "goodput.jsonl")
            spent = summarise(events)
            seconds = sum(s for name, s in spent.items() if name != "down")
            devices = [r["device"] for r in events if "device" in r]
            return RunFacts(
                seconds, lines[-1]["step"] if lines else 0, lines, spent, devices[-1] if devices else ""
            )  # fmt: skip
    return NOTHING


def read(folder: epath.PathLike) -> dict[str, Any]:
    """metrics.json of a report folder; {} where there is none. Raises: UserError for a file of another version."""
    file = epath.Path(folder) / "metrics.json"
    metrics = json.loads(file.read_text()) if file.exists() else {}
    old = [stage for stage, entry in metrics.items() if "benchmarks" not in entry]
    if old:
        raise UserError(
            f"{file}: stage {old[0]} has no field benchmarks, so another version wrote it; delete {folder} or name "
            "another folder with --report."
        )
    return metrics


def add(
    folder: epath.PathLike,
    stage: str,
    entry: Mapping[str, Any],
    protocol: Mapping[str, Any],
    run: RunFacts = NOTHING,
    galleries: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Adds what a benchmark measured of a stage to FOLDER and renews index.html.

    Args:
      entry: figures as plain numbers; n and standard_error by figure, optionally baselines {figure: {label: number}};
        eval_seconds and the facts of the run (OF_A_RUN; device may be left out).
      protocol: JSON of what the figures depend on, with the benchmark's name in `benchmark`.
      galleries: pictures as an Evaluator gives them (see above).

    Returns: the stage's entry of metrics.json. Raises: UserError for a figure that is not finite or that another
    benchmark of the stage has too, ValueError for a gallery or baseline that does not fit.
    """
    folder, name = epath.Path(folder), protocol["benchmark"]
    metrics = read(folder)
    new = _merged(stage, metrics.get(stage), entry, protocol)
    file = folder / f"{stage}.part.json"
    part = json.loads(file.read_text()) if stage in metrics else {"runs": {}, "galleries": {}}
    units = {f.name: f.unit for f in goals.STAGES[stage].figures} if stage in goals.STAGES else {}
    total = max(sum(run.spent.values()), 1e-9)
    part["runs"][entry["checkpoint"]] = {
        "curves": curves.charts(run.lines, units),
        "spent": {k: 100 * s / total for k, s in sorted(run.spent.items(), key=lambda x: -x[1])},
    }
    part["galleries"][name] = [_encoded(g) for g in galleries]
    part["runs"] = {b["checkpoint"]: part["runs"][b["checkpoint"]] for b in new["benchmarks"].values()}
    part["galleries"] = {b: part["galleries"][b] for b in new["benchmarks"]}
    metrics[stage] = new

    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(part))
    (folder / f"{stage}.{name}.protocol.json").write_text(json.dumps(protocol, indent=2) + "\n")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    parts = {s: json.loads((folder / f"{s}.part.json").read_text()) for s in metrics}
    (folder / "index.html").write_text(report_page.render(metrics, parts))
    return new


def _merged(
    stage: str, old: Mapping[str, Any] | None, entry: Mapping[str, Any], protocol: Mapping[str, Any]
) -> dict[str, Any]:
    """The stage's entry with this benchmark's figures beside those of the others that measured the same parameters."""
    name = protocol["benchmark"]
    facts = {k: entry.get(k, "") if k == "device" else entry[k] for k in OF_A_RUN}
    figures = {k: v for k, v in entry.items() if k not in RESERVED}
    for figure, value in figures.items():
        if not math.isfinite(value):
            raise UserError(f"{stage}, benchmark {name}: figure {figure} is {value}; expected a finite number.")
    unknown = entry.get("baselines", {}).keys() - figures.keys()
    if unknown:
        raise ValueError(f"benchmark {name}: baselines of {sorted(unknown)}, which are none of its figures")

    benchmarks = {}
    for other, b in (old or {"benchmarks": {}})["benchmarks"].items():
        ours, theirs = facts["fingerprint"], b["fingerprint"]
        one_network = ours.keys() <= theirs.keys() or theirs.keys() <= ours.keys()
        # Read-outs of a training have one name in every run of stage 0 and say nothing of what was measured.
        changed = sorted(p for p in ours.keys() & theirs.keys() - set(TRAINING_ONLY) if ours[p] != theirs[p])
        if other == name or not (one_network and changed):
            benchmarks[other] = b
        else:
            print(f"report: {stage} loses the figures of {other}, measured on another {', '.join(changed)}")
    for other, b in benchmarks.items():
        both = sorted(figures.keys() & set(b["figures"]))
        if other != name and both:
            raise UserError(
                f"{stage}: benchmarks {other} and {name} both have a figure {both[0]}; a stage's figures stand in one "
                "table, so one of them needs another name."
            )
    benchmarks[name] = {
        "figures": list(figures), "eval_seconds": entry["eval_seconds"], **facts, "protocol": dict(protocol)
    }  # fmt: skip

    out: dict[str, Any] = {}
    beside: dict[str, dict[str, Any]] = {k: {} for k in BY_FIGURE}
    for other, b in benchmarks.items():
        source: Mapping[str, Any] = entry if other == name else old or {}
        for figure in b["figures"]:
            out[figure] = source[figure]
            for k in BY_FIGURE:
                if figure in source.get(k, {}):
                    beside[k][figure] = source[k][figure]
    seconds = sum(b["eval_seconds"] for b in benchmarks.values())
    return {**out, **beside, **facts, "eval_seconds": seconds, "benchmarks": benchmarks}


def _encoded(gallery: Mapping[str, Any]) -> dict[str, Any]:
    """The gallery as JSON holds it: a cell is {"text"}, or {"pictures": [{url, width, height}]}."""
    if set(gallery) != {"title", "note", "columns", "rows"}:
        raise ValueError(f"gallery: expected title, note, columns and rows, found {sorted(gallery)}")
    columns, rows = list(gallery["columns"]), [[_cell(cell) for cell in row] for row in gallery["rows"]]
    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"gallery {gallery['title']!r}: expected {len(columns)} cells in every row, one a column")
    return {"title": gallery["title"], "note": gallery["note"], "columns": columns, "rows": rows}


def _cell(cell: Any) -> dict[str, Any]:
    if cell is None or isinstance(cell, str):
        return {"text": cell or ""}
    x = np.asarray(cell)
    if x.dtype == bool and x.ndim == 2:
        x = x.astype(np.uint8) * 255
    if x.dtype != np.uint8 or x.ndim not in (2, 3, 4) or (x.ndim > 2 and x.shape[-1] != 3) or not x.size:
        raise ValueError(
            f"gallery: a cell is text, None, uint8 [H, W, 3], [H, W] or [T, H, W, 3], or bool [H, W]; found {x.dtype}"
            f"{list(x.shape)}"
        )
    return {"pictures": [_picture(frame) for frame in (x if x.ndim == 4 else [x])]}


def _picture(x: np.ndarray) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(x).save(buffer, format="PNG", optimize=True)
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"url": url, "width": x.shape[1], "height": x.shape[0]}
