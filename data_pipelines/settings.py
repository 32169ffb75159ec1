# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The data part of a config: its fields, their defaults, and the check that no field is unknown or of a wrong type."""

from collections.abc import Mapping
from typing import Any

from etils import epath

from data_pipelines.errors import DataError

# The fields of config.data; None marks those without a default.
FIELDS: dict[str, Any] = {
    # [{name, path, weight, reader, split, options, phases, shape_class}, ...]: all but name and path optional; phases:
    # numbers of those in which the source is read, shape_class: of the streams that read it; default all
    "sources": None,
    "validation": (),  # the same without weight and phases, read in full by `once`
    "allow_missing": (),  # names of sources whose directory need not be there
    # [{steps, streams: [{shape_class, height, width, batch_size, share, and of some classes more}, ...]}, ...]
    "phases": None,
    "max_crop_loss": 0.2,  # a picture that loses more of its area to the crop is a bad record
    "flip": 0.5,  # probability of a horizontal flip
    "random_crop": False,  # anywhere instead of the centre
    "workers": 0,  # processes
    "threads": 2,  # in each process
    "prefetch": 2,  # batches kept ready by each process
    "bad_record_budget": 100,  # the trainer stops all hosts when their sum passes it
    "verify": "auto",  # checksums of shards: auto, always, never (shards.py)
}
SOURCE_FIELDS = ("name", "path", "weight", "reader", "split", "options", "phases", "shape_class")


def plain(config: Any) -> Any:
    """The config as dicts and lists (a ConfigDict has no equality with them)."""
    if hasattr(config, "items"):
        return {key: plain(value) for key, value in config.items()}
    return [plain(value) for value in config] if isinstance(config, list | tuple) else config


def check(config: Any) -> dict:
    """config.data as plain dicts with defaults filled in. DataError names the field that is unknown or wrong."""
    given = plain(config)
    if unknown := set(given) - set(FIELDS):
        raise DataError(f"data: unknown field '{sorted(unknown)[0]}', expected {', '.join(FIELDS)}.")
    if missing := [name for name, default in FIELDS.items() if default is None and not given.get(name)]:
        raise DataError(f"data.{missing[0]}: is missing or empty, expected a list.")
    data = FIELDS | given
    for name, default in FIELDS.items():
        kind: Any = list if default in (None, ()) else type(default)
        value = data[name] = list(data[name]) if isinstance(data[name], tuple) else data[name]
        value = data[name] = float(value) if kind is float and type(value) is int else value
        if type(value) is not kind or (isinstance(value, int | float) and value < 0):
            bound = " >= 0" if kind in (int, float) else ""
            raise DataError(f"data.{name}: is {value!r}, expected {kind.__name__}{bound}.")
    classes = {s.get("shape_class") for phase in data["phases"] for s in phase.get("streams", [])}
    for group in ("sources", "validation"):
        for i, source in enumerate(data[group]):
            if not isinstance(source, dict) or not source.get("name") or set(source) - set(SOURCE_FIELDS):
                raise DataError(f"data.{group}[{i}]: is {source!r}, expected a dict of {', '.join(SOURCE_FIELDS)}.")
            weight = source.get("weight", 1.0)
            if type(weight) not in (int, float) or not weight > 0:
                raise DataError(f"data.{group}[{i}].weight: is {weight!r}, expected a number above 0.")
            phases = source.get("phases", [0])
            if not isinstance(phases, list) or not phases or any(n not in range(len(data["phases"])) for n in phases):
                last = len(data["phases"]) - 1
                raise DataError(f"data.{group}[{i}].phases: is {phases!r}, expected a list of numbers in 0..{last}.")
            if (shape_class := source.get("shape_class")) is not None and shape_class not in classes:
                expected = ", ".join(sorted(map(str, classes)))
                raise DataError(
                    f"data.{group}[{i}].shape_class: is {shape_class!r}, expected that of a stream: {expected}."
                )
    names = [source["name"] for group in ("sources", "validation") for source in data[group]]
    if absent := [name for name in data["allow_missing"] if name not in names]:
        raise DataError(f"data.allow_missing: {absent[0]} is none of its sources, {', '.join(names)}.")
    return data


def left_out(source: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Whether a source of checked `data` may be missing and is."""
    return source["name"] in data["allow_missing"] and not epath.Path(source["path"]).is_dir()
