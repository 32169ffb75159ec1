# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Trains the tiny stages in order and evaluates each into a report; started again it goes on where it stopped.

make ladder                               every stage, at most 15 minutes each on two cores
make ladder STAGES=stage1_tokenizer       one of them
make ladder BUDGET=long                   hours on two cores, or minutes on a GPU
make standins                             stage 0: what the others start from; its results are in assets/
"""

import argparse
import dataclasses
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


@dataclasses.dataclass(frozen=True)
class Stage:
    """configs: with their variants, by budget; benchmarks: names in configs/eval.py, with overrides; long: those of the
    budget long beside them; needs: what it starts from, without which it is left out; goes_on: variants that go on
    from the budget long's, one after the other, in NAME_VARIANT; the last one is measured in its place."""

    configs: dict[str, str]
    benchmarks: tuple[tuple[str, ...], ...]
    long: tuple[tuple[str, ...], ...] = ()
    needs: str = ""
    goes_on: tuple[str, ...] = ()


STANDINS = {
    name: Stage({"long": f"configs/stage0_standins.py:{name}"}, (("standins",),)) for name in ("vit", "convnext")
} | {
    "llm": Stage({"long": "configs/stage0_language.py"}, (("text_slots",),)),
    "masks": Stage({"long": "configs/stage0_masks.py"}, (("classes",),)),
    "vae": Stage({"long": "configs/stage0_decoder.py:vae"}, (("latents",),)),
    "unet": Stage({"long": "configs/stage0_decoder.py:unet"}, (("latents",),), needs="assets/vae.safetensors"),
}
STANDARD = ("world_reconstruction", "--config.data.preset=standard", "--config.label=standard")
STAGES = {
    "stage1_tokenizer": Stage(
        {"ladder": "configs/stage1_tokenizer.py:tiny", "long": "configs/stage1_tokenizer.py:long"},
        (("world_reconstruction",), ("reconstruction",)),
        (STANDARD,),
    ),
    "stage1_decoder": Stage(
        {"ladder": "configs/stage1_decoder.py:tiny", "long": "configs/stage1_decoder.py:long"},
        (
            ("diffusion", "--config.data.scenes=256"),
            ("reconstruction", "--config.decoder=diffusion", "--config.limit=128"),
        ),
        needs="assets/unet.safetensors",
    ),
    "stage2": Stage(
        {"ladder": "configs/stage2.py:tiny", "long": "configs/stage2.py:long"},
        (("text_slots",), ("questions",)),  # a goal of the second is a share of the first
        needs="assets/llm.safetensors",
    ),
    "stage3": Stage(
        {"ladder": "configs/stage3.py:tiny", "long": "configs/stage3.py:long"},
        (("text_slots",), ("questions",), ("segmentation",), ("video",), ("codes", "--config.data.scenes=200")),
        needs="assets/masks.safetensors",
        goes_on=("drawing", "editing"),
    ),
    "stage4": Stage(
        {"ladder": "configs/stage4.py:tiny", "long": "configs/stage4.py:long"},
        (
            *(("generation", "--config.data.scenes=300"), ("editing", "--config.data.scenes=400")),
            *(("video_edits",), ("localisation",)),
            *((name, "--config.label=after", "--config.data.scenes=200") for name in ("questions", "segmentation")),
            ("video", "--config.label=after", "--config.data.scenes=50"),
        ),
        needs="assets/stage3.safetensors",
    ),
}


def run(*command: str) -> None:
    """One module of this project as its own process; leaves with its exit code if it fails."""
    print("$ python -m " + " ".join(command), flush=True)
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.returncode)


def trained(
    config: str, workdir: str, benchmarks: tuple[tuple[str, ...], ...], report: str, budget: str, *overrides: str
) -> None:
    """A config trained, or trained on, and measured; benchmarks: as of Stage; overrides: of the config."""
    run("focus_jax.train", f"--config={config}", f"--workdir={workdir}", *overrides)
    for benchmark, *more in benchmarks:
        run(
            "focus_jax.evaluate", f"--config=configs/eval.py:{benchmark}", f"--checkpoint={workdir}",
            f"--report={report}", f"--budget={budget}", *more,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        "launch/ladder.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--standins", action="store_true", help="stage 0 instead of the ladder; its budget is long")
    parser.add_argument("--stages", default="", help="comma-separated; default all")
    parser.add_argument("--budget", choices=("ladder", "long"), default="ladder")
    parser.add_argument("--runs", default="runs", help="folder of the workdirs (default: runs)")
    parser.add_argument("--report", default="report", help="folder of metrics.json and index.html (default: report)")
    args = parser.parse_args()
    stages, budget = (STANDINS, "long") if args.standins else (STAGES, args.budget)
    for name in [s for s in args.stages.split(",") if s] or list(stages):
        if name not in stages:
            parser.error(f"--stages: {name} is none of {', '.join(stages)}")
        if stages[name].needs and not (ROOT / stages[name].needs).exists():
            print(f"{name}: left out, {stages[name].needs} is not there; make standins assets", flush=True)
            continue
        stage, workdir = stages[name], f"{args.runs}/{'standins' if args.standins else budget}/{name}"
        benchmarks, config = stage.benchmarks + (stage.long if budget == "long" else ()), stage.configs[budget]
        overrides: list[str] = []
        for variant in stage.goes_on if budget == "long" else ():
            from focus_jax.training import config as config_lib

            trained(config, workdir, (), args.report, budget, *overrides)
            config, before = f"{config.partition(':')[0]}:{variant}", pathlib.PurePath(workdir)
            workdir = f"{args.runs}/{budget}/{name}_{variant}"
            found = config_lib.load(str(ROOT / config)).init.items()
            overrides = [f"--config.init.{part}={before}" for part, of in found if of == f"runs/long/{before.name}"]
        trained(config, workdir, benchmarks, args.report, budget, *overrides)


if __name__ == "__main__":
    main()
