# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The world as shards: scenes drawn once and read many times, where drawing them anew would keep a step waiting."""

from typing import Any

from data_pipelines.errors import DataError
from data_pipelines.world.examples import World

_PARTITION = 500  # scenes


class WorldScenes:
    """Reader. Scenes 0 to `train` of the train split and 0 to `held_out` of validation and test.

    preset: easy, standard or hard; tasks: comma-separated names of fields (data_pipelines/world/examples.py).
    """

    defaults = {"buckets": ((128, 128),), "near": -1}  # two scenes may look alike

    def __init__(
        self,
        source: str = "",
        *,
        preset: str = "easy",
        tasks: str = "objects",
        side: int = 128,
        train: int = 20_000,
        held_out: int = 1_000,
    ):
        if source:
            raise DataError(f"world: takes no source (got {source!r}), expected none: scenes are drawn.")
        if min(train, held_out) < 1:
            raise DataError(f"world: train is {train} and held_out {held_out}, expected at least 1 each.")
        if "clip" in tasks.split(","):
            raise DataError(
                "world: tasks has clip, expected tasks of one picture: a shard's record is placed by its picture."
            )
        self._options: dict[str, Any] = dict(preset=preset, tasks=tasks, side=side, train=train, held_out=held_out)
        self._world("train")  # bad options are told here

    def options(self) -> dict:
        return {**self._options, "fingerprint": self._world("train").fingerprint}

    def partitions(self) -> list[str]:
        counts = {s: self._options["held_out"] for s in ("validation", "test")} | {"train": self._options["train"]}
        return [f"{s}/{start}" for s, n in counts.items() for start in range(0, n, _PARTITION)]

    def read(self, partition: str):
        split, start = partition.split("/")
        count = self._options["train" if split == "train" else "held_out"]
        world = self._world(split)
        for index in range(int(start), min(int(start) + _PARTITION, count)):
            example = world[index]
            yield example.id, example

    def _world(self, split: str) -> World:
        o = self._options
        tasks = [task for task in o["tasks"].split(",") if task]
        return World("world", split, o["preset"], tasks, o["side"])
