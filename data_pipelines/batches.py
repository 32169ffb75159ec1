# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Batch k by random access: the rows of this host, made from their records. What the loader's workers run."""

import json
from typing import Any

import numpy as np

from data_pipelines import rows as rows_lib
from data_pipelines import seeds
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
            pack = rows_lib.packed(stream)
            pieces, found = [], []
            for number in range(element * pack, (element + 1) * pack):
                piece, wrong = self._element(stream_id, stream, number)
                pieces.append(piece)
                found += wrong
            values = rows_lib.join(pieces, stream)
            for name, value in values.items():
                batch[name][row] = value
            batch["bad"][row] = len(found)
            problems += [problem | {"k": k} for problem in found]
        return batch | {"problems": json.dumps(problems)}

    def names(self, k: int) -> list[str]:
        stream_id, stream, ordinal = self.schedule[k]
        size, mixture = stream["batch_size"], self.mixtures[stream_id]
        out = []
        pack = rows_lib.packed(stream)
        rows = ordinal * size + seeds.permutation(size, self._seed, seeds.ROWS, k)
        for element in (rows[:, None] * pack + np.arange(pack)).ravel().tolist():
            number, record = mixture[element]
            source = mixture.sources[number]
            try:
                out.append(f"{source.name}:{source[record].id}")
            except DataError:  # a substitute stood in for it; where the record lies is all there is to say
                out.append(f"{source.name}:{source.where(record) if hasattr(source, 'where') else record}")
        return out

    def _element(self, stream_id: int, stream: dict, element: int) -> tuple[Any, list[dict]]:
        """The piece of an element and what was wrong with the records that it should have come from."""
        mixture = self.mixtures[stream_id]
        problems: list[dict] = []
        index = element
        for attempt in range(1, _ATTEMPTS + 1):
            number, record = mixture[index]
            source = mixture.sources[number]
            rng = seeds.generator(self._seed, seeds.AUGMENT, stream_id, element)
            piece, problem = _piece(source, record, stream, rng=rng, **self._options)
            if problem is None:
                return piece, problems
            problems.append(problem | {"element": element})
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
        full = [stream["batch_size"] * rows_lib.packed(stream) for stream, _ in found]
        batches = [-(-count // records) for count, records in zip(self._counts, full)]
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
            pack, pieces = rows_lib.packed(stream), []
            for number in range(element * pack, min((element + 1) * pack, self._counts[part])):
                record, source = number, sources[0]
                for source in sources:
                    if record < len(source):
                        break
                    record -= len(source)
                piece, problem = _piece(source, record, stream, max_crop_loss=self._max_crop_loss)
                if problem is None:
                    pieces.append(piece)
                else:
                    batch["bad"][row] += 1
                    problems.append(problem | {"k": k, "element": number})
            if pieces:
                batch["weight"][row] = 1
                for name, value in rows_lib.join(pieces, stream).items():
                    batch[name][row] = value
        return batch | {"problems": json.dumps(problems)}


def _empty(k: int, stream: dict, elements: np.ndarray) -> dict:
    fields = rows_lib.fields(stream) | rows_lib.COMMON
    batch: dict = {name: np.zeros((len(elements), *shape), dtype) for name, (shape, dtype) in fields.items()}
    batch["weight"][:] = 1
    batch["element"][:] = elements & 0xFFFFFFFF
    return batch | {"k": np.int64(k)}


def _piece(source, record: int, stream: dict, **options) -> tuple[Any, dict | None]:
    """The record's piece, and what is wrong with the record (None: nothing)."""
    key = None
    try:
        example = source[record]
        key = example.id
        return rows_lib.piece(example, stream, **options), None
    except DataError as error:
        shard, number = source.where(record) if hasattr(source, "where") else (None, record)
        return None, {"source": source.name, "shard": shard, "record": number, "key": key, "reason": str(error)}
