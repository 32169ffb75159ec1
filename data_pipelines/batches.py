# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Batch k by random access: the rows of this host, made from their records. What the loader's workers run."""

import json

import numpy as np

from data_pipelines import seeds, transforms
from data_pipelines.errors import DataError
from data_pipelines.mixture import Mixture
from data_pipelines.schedule import Schedule

_ATTEMPTS = 20  # substitutes tried for one element before the data as a whole are called broken


class Batches:
    """Random access: batches[k] -> batch k of the schedule, the rows of this host."""

    def __init__(self, schedule: Schedule, mixtures: list[Mixture], rows: dict, seed: int, config: dict):
        self.schedule, self.mixtures, self._rows, self._seed = schedule, mixtures, rows, seed
        self._options = {name: config[name] for name in ("flip", "random_crop", "max_crop_loss")}

    def __len__(self) -> int:
        return len(self.schedule)

    def stream(self, k: int) -> dict:
        return self.schedule[k][1]

    def __getitem__(self, k: int) -> dict:
        stream_id, stream, ordinal = self.schedule[k]
        size, rows = stream["batch_size"], self._rows[stream["batch_size"]]
        order = seeds.permutation(size, self._seed, seeds.ROWS, k)
        elements = ordinal * size + order[rows]
        batch, problems = _empty(k, stream, elements), []
        for row, element in enumerate(elements.tolist()):
            batch["image"][row], found = self._element(stream_id, stream, element)
            batch["bad"][row] = len(found)
            problems += [problem | {"k": k} for problem in found]
        return batch | {"problems": json.dumps(problems)}

    def names(self, k: int) -> list[str]:
        stream_id, stream, ordinal = self.schedule[k]
        size, mixture = stream["batch_size"], self.mixtures[stream_id]
        out = []
        for element in (ordinal * size + seeds.permutation(size, self._seed, seeds.ROWS, k)).tolist():
            number, record = mixture[element]
            source = mixture.sources[number]
            try:
                out.append(f"{source.name}:{source[record].id}")
            except DataError:  # a substitute stood in for it; where the record lies is all there is to say
                out.append(f"{source.name}:{source.where(record) if hasattr(source, 'where') else record}")
        return out

    def _element(self, stream_id: int, stream: dict, element: int) -> tuple[np.ndarray, list[dict]]:
        """The picture of an element and what was wrong with the records that it should have come from."""
        mixture = self.mixtures[stream_id]
        problems: list[dict] = []
        index = element
        for attempt in range(1, _ATTEMPTS + 1):
            number, record = mixture[index]
            source = mixture.sources[number]
            rng = seeds.generator(self._seed, seeds.AUGMENT, stream_id, element)
            picture = _picture(source, record, stream, rng=rng, **self._options)
            if not isinstance(picture, dict):
                return picture, problems
            problems.append(picture | {"element": element})
            index = seeds.integer(self._seed, seeds.SUBSTITUTE, stream_id, element, attempt)
        raise DataError(
            f"{source.name}: {_ATTEMPTS} records tried in a row for element {element} are bad, the last one because of "
            f"'{problems[-1]['reason']}'; expected data that mostly read."
        )


class Pass:
    """Random access to the batches of one pass over `found` = [(stream, sources), ...]."""

    def __init__(self, found: list, rows: dict, config: dict):
        self._found, self._rows, self._max_crop_loss = found, rows, config["max_crop_loss"]
        self._counts = [sum(map(len, sources)) for _, sources in found]
        batches = [-(-count // stream["batch_size"]) for count, (stream, _) in zip(self._counts, found)]
        self._starts = np.cumsum([0, *batches])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _part(self, k: int) -> int:
        return int(np.searchsorted(self._starts, k, side="right")) - 1

    def stream(self, k: int) -> dict:
        return self._found[self._part(k)][0]

    def __getitem__(self, k: int) -> dict:
        part = self._part(k)
        stream, sources = self._found[part]
        size, ordinal = stream["batch_size"], k - int(self._starts[part])
        elements = ordinal * size + self._rows[size]
        batch, problems = _empty(k, stream, elements), []
        for row, element in enumerate(elements.tolist()):
            batch["weight"][row] = 0
            if element >= self._counts[part]:
                continue
            record, source = element, sources[0]
            for source in sources:
                if record < len(source):
                    break
                record -= len(source)
            picture = _picture(source, record, stream, max_crop_loss=self._max_crop_loss)
            if isinstance(picture, dict):
                batch["bad"][row] = 1
                problems.append(picture | {"k": k, "element": element})
            else:
                batch["image"][row], batch["weight"][row] = picture, 1
        return batch | {"problems": json.dumps(problems)}


def _empty(k: int, stream: dict, elements: np.ndarray) -> dict:
    rows = len(elements)
    return {
        "k": np.int64(k),
        "image": np.zeros((rows, stream["height"], stream["width"], 3), np.uint8),
        "weight": np.ones(rows, np.float32),
        "element": (elements & 0xFFFFFFFF).astype(np.uint32),
        "bad": np.zeros(rows, np.int32),
    }


def _picture(source, record: int, stream: dict, **options) -> np.ndarray | dict:
    """The picture, uint8 [H, W, 3], or what is wrong with the record."""
    key = None
    try:
        example = source[record]
        key = example.id
        if not example.images:
            raise DataError(f"{key}: has no image, expected one.")
        bucket = stream["height"], stream["width"]
        return transforms.picture(example.images[0].data, bucket, name=key, **options)
    except DataError as error:
        shard, number = source.where(record) if hasattr(source, "where") else (None, record)
        return {"source": source.name, "shard": shard, "record": number, "key": key, "reason": str(error)}
