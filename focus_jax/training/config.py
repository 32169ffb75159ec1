# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Configs: Python files that return a ConfigDict, overrides on the command line, and checks before anything runs."""

import hashlib
import importlib.util
import math
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

from data_pipelines import settings
from focus_jax.errors import UserError
from focus_jax.training import optimizer, parts, sharding

# Fields every training config has, and their types. What a stage adds (model, loss) its own module checks.
SCHEMA: dict[str, type | tuple[type, ...]] = {
    "stage": str, "name": str, "seed": int, "compute_dtype": str, "model": ConfigDict, "loss": ConfigDict,
    "init": ConfigDict, "init_weights": str, "alias": ConfigDict, "assign": (tuple, list), "groups": ConfigDict,
    "mesh": ConfigDict, "sharding": str, "axes": ConfigDict, "accumulate": int,
    "validate_every": int, "validate_batches": int, "validate_weights": str,
    "checkpoint_every": int, "checkpoint_keep": int, "best": str, "log_every": int, "pictures_every": int,
    "health.spike": float, "health.warmup": int, "health.max_skipped": int, "health.watchdog": float,
    "profile_steps": (tuple, list), "hlo_dump": bool, "compile_cache": str, "data.sources": (tuple, list),
    "data.validation": (tuple, list), "data.phases": (tuple, list), "data.max_crop_loss": float,
    "data.flip": float, "data.random_crop": bool, "data.workers": int, "data.threads": int, "data.prefetch": int,
    "data.bad_record_budget": int,
    "data.verify": str,
}  # fmt: skip
GROUP: dict[str, type | tuple[type, ...]] = {
    "optimizer": str, "lr": float, "schedule": str, "warmup": int, "b1": float, "b2": float, "weight_decay": float,
    "clip": float, "ema": float, "layers_from": int,
}  # fmt: skip
POSITIVE = (
    "accumulate",
    "validate_every",
    "validate_batches",
    "checkpoint_every",
    "checkpoint_keep",
    "log_every",
    "pictures_every",
)


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Reads a config file.

    Args:
      spec: "configs/stage1_tokenizer.py" or, with an argument for its get_config, "configs/stage1_tokenizer.py:tiny".
      overrides: "--config.groups.pixel.lr=1e-4" and the like; lists as "--config.data.sources[0].path=...".

    Raises: UserError for a file that is not there, an unknown field or a value of another type.
    """
    file, _, arg = spec.partition(":")
    path = pathlib.Path(file)
    if not path.exists():
        raise UserError(
            f"--config={spec}: no file {file}; configs of this project are in configs/ (run from its root)."
        )
    root = str(path.resolve().parent.parent)  # configs import their neighbours as configs.NAME
    if root not in sys.path:
        sys.path.insert(0, root)
    found = importlib.util.spec_from_file_location(f"focus_jax_config_{path.stem}", path)
    if found is None or found.loader is None:
        raise UserError(f"--config={spec}: {file} is no Python file.")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    try:
        config = module.get_config(arg) if arg else module.get_config()
    except ValueError as e:
        raise UserError(str(e)) from e
    given = [o for o in overrides if o.startswith("--config.init.") and "=" in o]
    for override in given:  # names of parts hold slashes, which the flags do not know, and need no entry before
        name, _, source = override.removeprefix("--config.init.").partition("=")
        if "init" not in config:
            raise UserError(f"{override}: config has no field init; it has {', '.join(sorted(config))}.")
        if not parts.is_prefix(name):
            raise UserError(f"{override}: {name!r} is no part and in none; parts are {', '.join(parts.PARTS)}.")
        config.init[name] = source
    overrides = [o for o in overrides if o not in given]
    for override in overrides:
        _check_field(config, override)
    argv = ["focus_jax", *overrides]
    values = flags.FlagValues()
    try:
        holder = config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        values(argv)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, flags.Error) as e:
        said = " ".join(str(e.args[0] if e.args else e).split()).removeprefix("flag ")
        blame = _blame(overrides, said)
        raise UserError(f"{spec}: {'' if said.startswith(blame) else blame}{said.rstrip('.')}.") from e
    return holder.value


def _check_field(config: Any, override: str) -> None:
    """Raises: UserError for an override of a field that the config does not have."""
    name = override.partition("=")[0]
    at, path = config, "config"
    for part in re.findall(r"[^.\[\]]+|\[\d+\]", name.removeprefix("--config.")):
        if part.startswith("["):
            if not isinstance(at, (list, tuple)) or int(part[1:-1]) >= len(at):
                raise UserError(f"{override}: {path} has no item {part}.")
            at = at[int(part[1:-1])]
        elif isinstance(at, (dict, ConfigDict)):
            if part not in at:
                raise UserError(f"{override}: {path} has no field {part}; it has {', '.join(sorted(at)) or 'none'}.")
            at = at[part]
        else:
            raise UserError(f"{override}: {path} is {at!r} and has no fields.")
        path += part if part.startswith("[") else f".{part}"


def _blame(overrides: Sequence[str], said: str) -> str:
    """The override the message is about, when one can be told."""
    for override in overrides:
        name = override.removeprefix("--config.").partition("=")[0]
        if name.split(".")[-1].split("[")[0] in said:
            return f"{override}: "
    return f"{' '.join(overrides)}: " if len(overrides) == 1 else ""


def config_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into (--config.X=... overrides, everything else)."""
    mine = [a for a in argv if a.startswith("--config.")]
    return mine, [a for a in argv if not a.startswith("--config.")]


def digest(config: ConfigDict) -> str:
    """16 hex digits that change with any field."""
    return hashlib.sha256(config.to_json(sort_keys=True).encode()).hexdigest()[:16]


def total_steps(config: ConfigDict) -> int:
    """Steps of all phases."""
    return sum(int(p["steps"]) for p in config.data.phases)


def streams(config: ConfigDict) -> list[dict[str, Any]]:
    """Every sub-stream of every phase as plain dicts; `where` is its place in the config."""
    return [
        dict(s, where=f"data.phases[{i}].streams[{j}]")
        for i, p in enumerate(config.data.phases)
        for j, s in enumerate(p["streams"])
    ]


def _typed(config: Mapping[str, Any], field: str, types, where: str) -> None:
    at: Any = config
    for key in field.split("."):
        if not isinstance(at, (Mapping, ConfigDict)) or key not in at:
            raise UserError(f"{where}.{field}: this field is missing.")
        at = at[key]
    wanted = types if isinstance(types, tuple) else (types,)
    if isinstance(at, bool) and bool not in wanted or not isinstance(at, (*wanted, int) if float in wanted else wanted):
        raise UserError(f"{where}.{field}: expected {' or '.join(t.__name__ for t in wanted)}, found {at!r}.")


def validate(config: ConfigDict, devices: int) -> None:
    """Checks everything that can be known without a device: fields, types, mesh x batch x bucket x stride.

    Args:
      config: of any stage.
      devices: how many the run will have; `train`, `describe` and `compile` call this alike.

    Raises: UserError, one sentence with field and expectation.
    """
    from focus_jax import stages

    for field, types in SCHEMA.items():
        _typed(config, field, types, "config")
    for field in POSITIVE:
        if config[field] < 1:
            raise UserError(f"config.{field}: expected at least 1, found {config[field]}.")
    for name, group in config.groups.items():
        _typed(group, "trained", bool, f"config.groups.{name}")
        _typed(group, "dtype", str, f"config.groups.{name}")
        if group.trained:
            for field, types in GROUP.items():
                _typed(group, field, types, f"config.groups.{name}")
            if "begin" in group:  # the step from which it learns
                _typed(group, "begin", int, f"config.groups.{name}")
            optimizer.transformation(group, total_steps(config))  # names an unknown optimizer or schedule
            if not 0 <= group.ema < 1:
                raise UserError(f"config.groups.{name}.ema: expected a decay in [0, 1), found {group.ema}.")
        for field in ("dtype",):
            if group[field] not in ("float32", "bfloat16"):
                raise UserError(f"config.groups.{name}.{field}: expected float32 or bfloat16, found {group[field]!r}.")
    if config.compute_dtype not in ("float32", "bfloat16"):
        raise UserError(f"config.compute_dtype: expected float32 or bfloat16, found {config.compute_dtype!r}.")
    for field in ("init_weights", "validate_weights"):
        if config[field] not in ("ema", "raw"):
            raise UserError(f"config.{field}: expected ema or raw, found {config[field]!r}.")

    for prefix in config.init:
        if not parts.is_prefix(prefix):
            raise UserError(f"config.init.{prefix}: is no part and in none; parts are {', '.join(parts.PARTS)}.")

    sizes = dict(zip(sharding.AXES, sharding.mesh_shape(config.mesh, devices)))
    table, where = sharding.table(config), f"config.axes.{config.sharding}"
    for row in table:
        for axis in (row[1],) if isinstance(row[1], str) else row[1]:
            if axis not in sharding.AXES:
                raise UserError(
                    f"{where}: {row[0]!r} goes to {axis!r}, which is none of the mesh axes {sharding.AXES}."
                )
    if "batch" not in {row[0] for row in table}:
        raise UserError(f"{where}: no row for 'batch', so the rows of a batch have no place on the mesh.")
    ways = sharding.batch_ways(sizes, table)
    settings.check(config.data)
    stage = stages.module(config)
    for stream in streams(config):
        where, batch = f"config.{stream['where']}", int(stream["batch_size"])
        pieces = ways * config.accumulate
        if batch % pieces:
            raise UserError(
                f"{where}.batch_size: {batch} is not a multiple of {pieces} (mesh {sizes} puts rows on {ways} shards, "
                f"accumulate is {config.accumulate}); the next that fits is {math.ceil(batch / pieces) * pieces}."
            )
        stage.validate_stream(config, stream, where)
    stage.validate(config)
