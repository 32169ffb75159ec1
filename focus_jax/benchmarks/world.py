# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Scenes of the world a second on one core: at 64 pixels with masks, and with the 128-pixel picture beside them.

python -m focus_jax.benchmark world [--presets=easy,standard,hard --scenes=400]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

from data_pipelines import rows
from data_pipelines.world import drawing, scenes
from data_pipelines.world.examples import World

GOALS = {"64 px with masks": 500, "and 128 px": 150}  # scenes of preset easy a second on one core


def rates(preset: str, count: int, repeats: int = 3) -> dict[str, float]:
    """{what: median scenes a second}, single-threaded; the last one is a whole loader row of 64 pixels."""
    world = World(preset=preset, tasks=("objects",))
    stream = {"shape_class": "objects", "height": 64, "width": 64}

    def native(sides: Sequence[int]) -> Callable[[int], None]:
        def one(index: int) -> None:
            scene = scenes.scene(preset, "train", index)
            for side in sides:
                drawn = drawing.draw(scene, side)
                for k in range(len(scene.things)):
                    drawn.mask(k)

        return one

    work = {
        "64 px with masks": native((64,)),
        "and 128 px": native((64, 128)),
        "row of a batch": lambda index: rows.row(world[index], stream),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(repeats):
        for name, one in work.items():
            start = time.perf_counter()
            for index in range(repeat * count, (repeat + 1) * count):
                one(index)
            seconds[name].append(time.perf_counter() - start)
    return {name: count / statistics.median(s) for name, s in seconds.items()}


def main(argv: Sequence[str]) -> dict:
    """Prints the rates and returns them: {preset: {what: scenes a second}}."""
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.benchmark world",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--presets", default="easy,standard,hard")
    parser.add_argument("--scenes", type=int, default=400, help="of each repetition")
    args = parser.parse_args(argv)
    figures = {preset: rates(preset, args.scenes) for preset in args.presets.split(",")}
    for preset, found in figures.items():
        for name, rate in found.items():
            goal = f" (goal {GOALS[name]})" if preset == "easy" and name in GOALS else ""
            print(f"{preset:9} {name:17} {rate:7,.0f} scenes/s{goal}")
    return figures
