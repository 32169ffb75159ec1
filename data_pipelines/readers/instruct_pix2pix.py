# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Edits as InstructPix2Pix stores them (arXiv 2211.09800): a picture, an instruction, what it makes of the picture."""

import json

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example
from data_pipelines.readers import edits, mask_formats, tried

_PER_PARTITION = 256


class InstructPix2Pix:
    """A folder with seeds.json, [[FOLDER, [SEED, ...]], ...], and below each FOLDER prompt.json (edit) and of each seed
    SEED_0.jpg and SEED_1.jpg, before and after; SEED_mask.png, where there is one, marks what changes (not black). A
    target of another size is refused: it would not lie on its picture. A key is FOLDER/SEED. regions: diff derives what
    changes where there is no mask (readers/edits.py).

      prepare instruct_pix2pix --source=clip-filtered-dataset --output=data/instruct_pix2pix --buckets=512
    """

    def __init__(self, source: str, *, regions: str = "", licence: str = ""):
        self.source, self.regions, self.licence = epath.Path(source), regions, licence
        edits.check_regions(regions)
        self.listed = self.source / "seeds.json"
        if not source or not self.listed.exists():
            raise DataError(f"instruct_pix2pix: {self.listed} is missing, expected its folder as --source.")

    def options(self) -> dict:
        return {"regions": self.regions, "licence": self.licence}

    def _pairs(self) -> list[tuple[str, str]]:
        try:
            listed = json.loads(self.listed.read_text())
            return [(str(folder), str(seed)) for folder, seeds in listed for seed in seeds]
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(
                f"{self.listed}: cannot be read ({error}), expected [[folder, [seed, ...]], ...]."
            ) from error

    def partitions(self) -> list[str]:
        count = len(self._pairs())
        if not count:
            raise DataError(f"{self.listed}: lists no pair, expected some.")
        return [str(start) for start in range(0, count, _PER_PARTITION)]

    def read(self, partition: str):
        start = int(partition)
        for folder, seed in self._pairs()[start : start + _PER_PARTITION]:
            key = f"{folder}/{seed}"
            yield key, tried(key, self._example, key, self.source / folder, seed)

    def _example(self, key: str, folder: epath.Path, seed: str) -> Example:
        try:
            edit = json.loads((folder / "prompt.json").read_text())["edit"]
            before, after = ((folder / f"{seed}_{i}.jpg").read_bytes() for i in (0, 1))
        except OSError as error:
            raise DataError(f"{key}: a file is missing ({error}).") from error
        if not isinstance(edit, str):
            raise DataError(f"{key}: its instruction is {edit!r}, expected words.")
        marks = folder / f"{seed}_mask.png"
        told = f"{key} {marks.name}"
        marked = (lambda size: mask_formats.id_map(marks.read_bytes(), size, told) > 0) if marks.exists() else None
        return edits.pair(
            key, before, after, edit, marked, name="InstructPix2Pix", regions=self.regions, licence=self.licence
        )
