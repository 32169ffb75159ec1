# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory beside a peer in the same run.

    python -m focus_jax.benchmark tokenizer     steps of tokenizer and image encoders beside torch, on CPU
    python -m focus_jax.benchmark language      train step and decoding of Qwen2.5 beside transformers, on CPU
    python -m focus_jax.benchmark segmentation  Mask2Former's decoders beside transformers, on CPU
    python -m focus_jax.benchmark diffusion     the UNet's blocks and a sampling loop beside diffusers, on CPU
    python -m focus_jax.benchmark codes         memory of the nearest-code search, and whether it is exact
    python -m focus_jax.benchmark data          the loader beside a torch DataLoader
    python -m focus_jax.benchmark world         scenes of the world a second

Each takes --help, and --json=FILE, which writes its figures.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence

from etils import epath

from focus_jax.errors import one_sentence

NAMES = (
    "tokenizer",
    "language",
    "segmentation",
    "diffusion",
    "codes",
    "data",
    "world",
)  # modules of focus_jax.benchmarks with main(argv) -> figures
THREADS = 2  # of either side, where the system lets a process choose its cores
CPU_ONLY = ("tokenizer", "language", "segmentation", "diffusion")  # peers that are measured on CPU


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=NAMES)
    argv = list(sys.argv[1:] if argv is None else argv)
    name = parser.parse_args(argv[:1]).name
    files = [a.removeprefix("--json=") for a in argv[1:] if a.startswith("--json=")]
    rest = [a for a in argv[1:] if not a.startswith("--json=")]
    if name in CPU_ONLY:
        os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported
        if hasattr(os, "sched_setaffinity"):  # both sides take as many threads as they see cores
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    with one_sentence():
        figures = importlib.import_module(f"focus_jax.benchmarks.{name}").main(rest)
        for file in files:
            epath.Path(file).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
