# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Copies the tiny checkpoints into assets/ in bfloat16, with their figures, where the figures are not worse.

make assets                                        what `make standins ladder BUDGET=long` has trained and evaluated
make assets REPORT=report                          with the figures of another report

A figure that has a goal is worse when it lies more than two standard errors on the wrong side of the one that was
shipped. A stage without an evaluation of its long run is left alone. A part that another file here already holds is
named by its fingerprint instead of copied.
"""

import argparse
import json
import math
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

LIMIT = 24 * 2**20  # bytes of all files together
FACTS = ("seconds", "steps", "seed", "commit", "device", "budget")  # of the run


def worse(stage: str, new: dict, old: dict) -> list[str]:
    """Names of the gated figures that fell below what is shipped."""
    from focus_jax.evaluation import goals

    found = []
    for name, before in old["figures"].items():
        goal = goals.figure(stage, name)
        if goal is None or name not in new:
            continue
        error = math.hypot(new["standard_error"].get(name, 0.0), old["standard_error"].get(name, 0.0))
        fell = before - new[name] if goal.better == goals.HIGHER else new[name] - before
        if fell > 2 * error:
            found.append(f"{name} {new[name]:.4g} after {before:.4g}")
    return found


def held_elsewhere(found, assets: pathlib.Path, own: pathlib.Path) -> dict[str, dict[str, str]]:
    """{part: reference} of the parts of a catalogue that another file in `assets` holds with the same fingerprint."""
    from focus_jax.training import store

    mine, out = found.fingerprints(found.entries), {}
    for file in sorted(assets.glob("*.safetensors")):
        if file == own:
            continue
        there = store.catalogue(file)
        held = {p for p, e in there.entries.items() if e.file == str(file.resolve())}
        for part, print_ in there.fingerprints(held).items():
            if mine.get(part) == print_:
                out[part] = {"relative": file.name, "absolute": "", "weights": "raw", "fingerprint": print_}
    return out


def ship(name: str, stage: str, benchmark: str, run: str, report: pathlib.Path, assets: pathlib.Path) -> str:
    """Writes assets/NAME.safetensors and NAME.json, or says in one sentence why not."""
    import jax
    import jax.numpy as jnp

    from data_pipelines.world.vocabulary import VERSION
    from focus_jax.training import store
    from focus_jax.training.parts import part_of

    file = report / "metrics.json"
    entry = json.loads(file.read_text()).get(stage) if file.exists() else None
    measured = (entry or {}).get("benchmarks", {}).get(benchmark, {}).get("figures", [])
    if not (ROOT / run).exists() or not measured:
        return f"{name}: left alone, {run} is not there or {file} has no figures of it"
    if entry["benchmarks"][benchmark]["budget"] != "long":
        return f"{name}: left alone, the figures in {file} are not of the budget long"
    record = assets / f"{name}.json"
    if record.exists() and (fell := worse(stage, entry, json.loads(record.read_text()))):
        return f"{name}: left alone, its figures fell: {', '.join(fell)}"
    found = store.catalogue(ROOT / run, "ema", "assets")
    shipped = assets / f"{name}.safetensors"
    frozen = held_elsewhere(found, assets, shipped)
    mine = {p: e for p, e in found.entries.items() if part_of(p) not in frozen}
    leaves = store.read(mine, {p: jax.ShapeDtypeStruct(e.shape, jnp.bfloat16) for p, e in mine.items()})
    prints = store.save_safetensors(shipped, leaves, found.config, f"{stage}: {run}", frozen, found.about)
    told = entry["benchmarks"][benchmark]
    record.write_text(
        json.dumps(
            {
                "figures": {k: entry[k] for k in measured},
                "n": {k: entry["n"][k] for k in measured},
                "standard_error": {k: v for k, v in entry["standard_error"].items() if k in measured},
                **{k: told[k] for k in FACTS if k in told},
                "step": found.step,
                "world": VERSION,
                "fingerprints": prints | {part: ref["fingerprint"] for part, ref in frozen.items()},
            },
            indent=2,
        )
        + "\n"
    )
    return f"{name}: shipped, {shipped.stat().st_size / 2**20:.2f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(
        "launch/assets.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--report", type=pathlib.Path, default=ROOT / "report")
    parser.add_argument("--assets", type=pathlib.Path, default=ROOT / "assets")
    args = parser.parse_args()
    from focus_jax.platforms import without_absent_tpu

    without_absent_tpu()
    for name in ("vit", "convnext"):
        print(ship(name, "standins", f"standins_{name}", f"runs/standins/{name}", args.report, args.assets))
    of_its_own = {"llm": "text_slots", "masks": "classes", "vae": "latents", "unet": "latents_unet"}
    for name, benchmark in of_its_own.items():
        print(ship(name, "standins", benchmark, f"runs/standins/{name}", args.report, args.assets))
    for name, stage, benchmark, run in (
        ("tokenizer", "stage1_tokenizer", "world_reconstruction", "stage1_tokenizer"),
        ("decoder", "stage1_decoder", "diffusion", "stage1_decoder"),
        ("stage2", "stage2", "questions", "stage2"),
        ("stage3", "stage3", "segmentation", "stage3_editing"),
        ("stage4", "stage4", "editing", "stage4"),
    ):
        print(ship(name, stage, benchmark, f"runs/long/{run}", args.report, args.assets))
    total = sum(f.stat().st_size for f in args.assets.glob("*.safetensors"))
    if total > LIMIT:
        raise SystemExit(f"{args.assets}: {total / 2**20:.1f} MiB, expected at most {LIMIT / 2**20:.0f} MiB.")


if __name__ == "__main__":
    main()
