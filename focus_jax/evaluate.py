# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Measures one checkpoint on one benchmark and adds the result to a report.

    python -m focus_jax.evaluate --config=configs/eval.py:reconstruction --checkpoint=runs/stage1_tokenizer

Prints a table; writes REPORT/metrics.json (stage -> figures as plain numbers, beside n, standard_error, baselines,
seconds, steps, seed, commit, fingerprint, budget), REPORT/STAGE.BENCHMARK.protocol.json (what they depend on) and
REPORT/index.html. Other benchmarks of the same checkpoint add to the stage's figures. The checkpoint is a run directory
(its best step), one step of it, or a safetensors file. Any field of the config can be set:
--config.data.path=data/mine --config.data.split=validation --config.height=256
"""

import argparse
import importlib
import importlib.util
import json
import sys
import time
from typing import Any

from etils import epath

from focus_jax.errors import UserError, one_sentence

BUDGETS = ("ladder", "long")


def evaluate(config: Any, checkpoint: str, report: str, budget: str = "ladder", weights: str = "ema") -> dict[str, Any]:
    """Runs config.evaluator on a checkpoint.

    Args:
      config: from configs/eval.py. checkpoint: what focus_jax.load reads. report: folder to add the figures to.
      budget: which budget the run was given, "ladder" (15 minutes on two cores) or "long".
      weights: "ema" or "raw".

    Returns: the stage's entry of REPORT/metrics.json, figures of its other benchmarks included.
    """
    import focus_jax
    from focus_jax.evaluation import kept
    from focus_jax.evaluation import report as reports
    from focus_jax.training import config as config_lib
    from focus_jax.training.provenance import code_version

    name = f"focus_jax.evaluation.{config.evaluator}"
    if not str(config.evaluator).isidentifier() or importlib.util.find_spec(name) is None:
        raise UserError(f"config.evaluator: {config.evaluator!r} is no module of focus_jax/evaluation.")
    reports.read(report)  # a folder that cannot be added to is better known now than after measuring
    evaluator = importlib.import_module(name).Evaluator(config)  # refuses a bad config before anything is read
    began = time.time()
    model = focus_jax.load(checkpoint, weights=weights)
    prefix = f"{config.label}_" if config.get("label") else ""  # another data set of the same benchmark beside it
    figures = {prefix + k: figure for k, figure in evaluator.run(model).items()}
    benchmark = prefix + evaluator.name  # after the run, which may have made it more precise
    baselines = {prefix + k: numbers for k, numbers in getattr(evaluator, "baselines", {}).items()}
    eval_seconds = time.time() - began

    reserved = sorted(figures.keys() & set(reports.RESERVED))
    if reserved:
        raise UserError(f"config.evaluator: {config.evaluator} names a figure {reserved[0]}; choose another name.")
    run = reports.run_facts(checkpoint)
    entry = {
        **{k: float(value) for k, (value, _, _) in figures.items()},
        "n": {k: int(n) for k, (_, n, _) in figures.items()},
        "standard_error": {k: float(error) for k, (_, _, error) in figures.items() if error},
        "baselines": baselines,
        "seconds": run.seconds,
        "eval_seconds": eval_seconds,
        "steps": run.steps,
        "seed": int(model.config.seed),
        "commit": code_version(),
        "fingerprint": model.fingerprints,
        "checkpoint": model.label,
        "budget": budget,
        "device": run.device,
    }
    protocol = {
        **getattr(evaluator, "protocol", {}),
        "benchmark": benchmark,
        "config": json.loads(config.to_json()),
        "config_hash": config_lib.digest(config),
        "checkpoint_fingerprints": model.fingerprints,
        "weights": weights,
        "commit": code_version(),
    }
    stage = model.config.name.partition(":")[0]
    earlier = kept.before(kept.kept(stage, reports.read(report) | {stage: entry}))
    _print(stage, benchmark, figures, entry, earlier)
    galleries = [
        g | {"title": f"{config.label}: {g['title']}" if prefix else g["title"]}
        for g in getattr(evaluator, "galleries", ())
    ]
    return reports.add(epath.Path(report), stage, entry, protocol, run, galleries)


def _print(stage: str, benchmark: str, figures: Any, entry: Any, earlier: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from focus_jax.evaluation import goals

    values = {name: value for name, (value, _, _) in figures.items()}
    table = Table(title=f"{stage}: {benchmark}", title_justify="left")
    for column in ("figure", "value", "standard error", "n", f"goal ({entry['budget']})"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for name, (value, n, error) in figures.items():
        verdict = goals.judge(stage, name, entry["budget"], values, earlier)
        goal = f"{verdict.goal}: {verdict.mark}" if verdict else "-"
        table.add_row(name, f"{value:.4g}", f"{error:.2g}" if error else "-", str(n), goal)
    Console(width=100).print(table)
    # Of a run directory it is the best step, which may be an early one of those that were trained.
    trained = f"; its run has trained {entry['steps']} steps in {entry['seconds']:.0f} s" if entry["steps"] else ""
    print(f"measured {entry['checkpoint']} in {entry['eval_seconds']:.0f} s{trained}")


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        "python -m focus_jax.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="configs/eval.py:NAME")
    parser.add_argument(
        "--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file"
    )
    parser.add_argument(
        "--report", default="report", metavar="DIR", help="folder to add the figures to (default: report)"
    )
    parser.add_argument("--budget", choices=BUDGETS, default="ladder", help="which budget the run had")
    parser.add_argument(
        "--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw"
    )
    from focus_jax.platforms import without_absent_tpu
    from focus_jax.training import config as config_lib

    overrides, rest = config_lib.config_overrides(argv)
    args = parser.parse_args(rest)
    with one_sentence():
        without_absent_tpu()
        evaluate(config_lib.load(args.config, overrides), args.checkpoint, args.report, args.budget, args.weights)


if __name__ == "__main__":
    main()
