# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Parameters on disk: what a step directory, a run directory or a safetensors file holds; reading it into shardings.

A step directory is one Orbax checkpoint with an item for each part (`tokenizer.pixel`), for the optimizer and EMA of
each group (`opt.GROUP`, `ema.GROUP`), and json items. Its item `meta` describes the rest:

    format, step, code, config, config_hash
    parts   {part: item}                            parts whose leaves are here
    items   {item: {path: [shape, dtype, digest]}}  what is in each item, and a digest of every leaf
    frozen  {part: reference}                       parts that are elsewhere; see `reference`
    origins {part: text}                            where each part came from at step 0
    fingerprints {part: {"raw": .., "ema": ..}}     of this step
    about   {part: {name: value}}                   ids that the language model was made for (sequence/identity.py)
"""

import dataclasses
import functools
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors
import safetensors.numpy
from etils import epath
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from focus_jax.errors import UserError
from focus_jax.training import fingerprint, parts
from focus_jax.training.provenance import code_version
from focus_jax.weights.files import write_weights

FORMAT = 1  # of step directories and of the metadata of safetensors files
CHECKPOINTS = "checkpoints"  # folder of a run directory with its steps
FROZEN = "frozen"  # step directory of a run with frozen parts that have no other home
JSON_ITEMS = ("meta", "data")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One leaf on disk. file: step directory or safetensors file; item, key: where in it; weights: how it was read."""

    file: str
    item: str
    key: str
    shape: tuple[int, ...]
    dtype: str
    digest: str
    weights: str


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """What a source offers. label: what to call it; entries: {path: Entry}; config: None where the file has none.

    about: {part: {name: value}}, what is to be known of a part beside its leaves; of llm see sequence/identity.py.
    """

    label: str
    entries: dict[str, Entry]
    config: ConfigDict | None
    step: int | None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def fingerprints(self, paths: Iterable[str]) -> dict[str, str]:
        """{part: fingerprint} of some leaves, by their recorded digests; a part with an unrecorded leaf is left out."""
        return by_part({p: self.entries[p].digest for p in paths})


def by_part(digests: Mapping[str, str]) -> dict[str, str]:
    """{path: digest} -> {part: fingerprint}; a part with an empty digest is left out."""
    groups: dict[str, dict[str, str]] = {}
    for path, digest in digests.items():
        groups.setdefault(parts.part_of(path), {})[path] = digest
    return {n: fingerprint.combine(g, n + "/") for n, g in groups.items() if all(g.values())}


def item_of(part: str) -> str:
    """Name of a part's item; Orbax saves a name with a slash but cannot restore it."""
    return part.replace("/", ".")


def write_args(items: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Orbax arguments that save {item: {path: array}, json item: json}."""
    return {
        n: ocp.args.JsonSave(x) if n in JSON_ITEMS else ocp.args.PyTreeSave(parts.unflatten(x))
        for n, x in items.items()
    }


def describe(items: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list]]:
    """`meta["items"]` of {item: {path: array}}; every process must call it."""
    table = {}
    for item, flat in items.items():
        digests = fingerprint.digests(flat)
        table[item] = {p: [list(x.shape), str(x.dtype), digests[p]] for p, x in flat.items()}
    return table


def fingerprints(
    held: Mapping[str, str], items: Mapping[str, Any], frozen: Mapping[str, Any]
) -> dict[str, dict[str, str]]:
    """`meta["fingerprints"]`: of each part as trained ("raw") and as `weights="ema"` reads it ("ema")."""
    raw = {f"{part}/{k}": row[2] for part, item in held.items() for k, row in items[item].items()}
    ema = raw | {p: row[2] for item, rows in items.items() if item.startswith("ema.") for p, row in rows.items()}
    averaged = by_part(ema)
    out = {part: {"raw": print_, "ema": averaged[part]} for part, print_ in by_part(raw).items()}
    return out | {part: {"raw": ref["fingerprint"], "ema": ref["fingerprint"]} for part, ref in frozen.items()}


def steps(run: Any) -> list[int]:
    """Whole steps of a run directory, ascending; one that is still being written (or was cut short) does not count."""
    return sorted(ocp.utils.checkpoint_steps(epath.Path(run) / CHECKPOINTS))


def figures(step_dir: Any) -> dict[str, float]:
    """Validation figures saved with a step; empty where there were none."""
    path = epath.Path(step_dir) / "metrics"
    return dict(ocp.JsonCheckpointHandler("metrics").restore(path)) if path.exists() else {}


def best_step(run: Any, figure: str) -> int | None:
    """The step whose figure is highest (the latest of equals), or None where no step has it."""
    folder = epath.Path(run) / CHECKPOINTS
    scored = [(found[figure], s) for s in steps(run) if figure in (found := figures(folder / str(s)))]
    return max(scored)[1] if scored else None


def read_meta(step_dir: Any) -> dict[str, Any]:
    """`meta` of a step directory. Raises: UserError where it is missing, cut short or of another format version."""
    step_dir = epath.Path(step_dir)
    try:
        meta = ocp.JsonCheckpointHandler().restore(step_dir / "meta")
        version = meta["format"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise UserError(
            f"{step_dir}/meta: expected the json description of a checkpoint, found it missing or cut short; "
            "delete this folder to go on from an earlier step."
        ) from e
    if version != FORMAT:
        raise UserError(
            f"{step_dir}/meta: field format is {version}, this code reads {FORMAT}; "
            f"use the code version that wrote it ({meta.get('code', 'unknown')})."
        )
    return meta


def locate(source: Any, field: str) -> epath.Path:
    """A run directory (best step, else last), a step directory or a safetensors file -> step directory or file.

    field: what to call the setting that named it. Raises: UserError.
    """
    path = epath.Path(os.path.expanduser(str(source)))
    if (path / CHECKPOINTS).exists():
        found = steps(path)
        if not found:
            raise UserError(
                f"{field}: {source} is a run directory without a whole checkpoint; let that run save one first."
            )
        last = path / CHECKPOINTS / str(found[-1])
        best = best_step(path, read_meta(last)["config"].get("best", ""))
        return last if best is None else path / CHECKPOINTS / str(best)
    if (path / "meta").exists() or (path.is_file() and path.suffix == ".safetensors"):
        return path
    raise UserError(f"{field}: {source} is not a run directory, an Orbax step directory or a .safetensors file.")


def catalogue(source: Any, weights: str = "ema", field: str = "checkpoint") -> Catalogue:
    """What a source holds, references to frozen parts followed; nothing but descriptions is read.

    Args:
      source: as in `locate`.
      weights: "ema" (averaged leaves where there are such) or "raw".
      field: the setting that named the source, for messages.
    """
    if weights not in ("ema", "raw"):
        raise UserError(f"{field}: weights={weights!r}, expected ema or raw.")
    path = absolute(locate(source, field))
    return _file_catalogue(path) if path.is_file() else _step_catalogue(path, weights)


def _step_catalogue(path: epath.Path, weights: str) -> Catalogue:
    meta = read_meta(path)
    entries: dict[str, Entry] = {}
    add = lambda item, prefix: entries.update(
        {prefix + k: Entry(str(path), item, k, tuple(s), d, x, weights) for k, (s, d, x) in meta["items"][item].items()}
    )
    for part, item in meta["parts"].items():
        add(item, part + "/")
    if weights == "ema":
        for item in meta["items"]:
            if item.startswith("ema."):
                add(item, "")
    for part, ref in meta["frozen"].items():
        entries |= follow(ref, part, path)
    return Catalogue(str(path), entries, ConfigDict(meta["config"]), meta["step"], meta.get("about", {}))


def _file_catalogue(path: epath.Path) -> Catalogue:
    try:
        if _is_local(path):
            with safetensors.safe_open(os.fspath(path), "numpy") as f:
                metadata, keys = f.metadata() or {}, list(f.keys())
                header = {k: (tuple(f.get_slice(k).get_shape()), f.get_slice(k).get_dtype()) for k in keys}
        else:
            raw = path.read_bytes()
            length = int.from_bytes(raw[:8], "little")
            table = json.loads(raw[8 : 8 + length])
            metadata = table.pop("__metadata__", {})
            header = {k: (tuple(x["shape"]), x["dtype"]) for k, x in table.items()}
    except (OSError, ValueError, safetensors.SafetensorError) as e:
        raise UserError(f"{path}: expected a whole safetensors file ({_first_line(e)}).") from e
    if metadata.get("format", str(FORMAT)) not in (str(FORMAT), "np", "pt", "flax"):
        raise UserError(f"{path}: metadata field format is {metadata['format']}, this code reads {FORMAT}.")
    digests = json.loads(metadata.get("digests", "{}"))
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}
    entries = {
        k: Entry(str(path), "", k, shape, names.get(dtype, dtype.lower()), digests.get(k, ""), "raw")
        for k, (shape, dtype) in header.items()
    }
    for part, ref in json.loads(metadata.get("frozen", "{}")).items():
        entries |= follow(ref, part, path.parent)
    config = ConfigDict(json.loads(metadata["config"])) if "config" in metadata else None
    return Catalogue(str(path), entries, config, None, json.loads(metadata.get("about", "{}")))


def reference(entries: Mapping[str, Entry], part: str, step_dir: epath.Path) -> dict[str, str] | None:
    """How a step names a part that it does not hold, or None if the entries are no whole part in one place.

    Paths: relative to the step directory where both are local, and absolute.
    """
    homes = {(e.file, e.weights) for e in entries.values()}
    if len(homes) != 1 or not all(e.digest for e in entries.values()):
        return None
    ((file, weights),) = homes
    held = catalogue(file, weights).entries
    if {p for p in held if p.startswith(part + "/")} != set(entries):
        return None  # other leaves, or leaves under another name
    recorded = fingerprint.combine({p: e.digest for p, e in entries.items()}, part + "/")
    relative = os.path.relpath(file, step_dir) if "://" not in file + str(step_dir) else ""
    return {"relative": relative, "absolute": file, "weights": weights, "fingerprint": recorded}


def follow(ref: Mapping[str, str], part: str, step_dir: epath.Path) -> dict[str, Entry]:
    """Entries of a referenced part. step_dir: what a relative path starts from, for a file its folder.

    Raises: UserError if no place of it still holds the part with its fingerprint.
    """
    places = [epath.Path(os.path.normpath(step_dir / ref["relative"]))] if ref["relative"] else []
    places += [epath.Path(ref["absolute"])] if ref["absolute"] else []
    for place in places:
        if not place.exists():
            continue
        found = {p: e for p, e in catalogue(place, ref["weights"]).entries.items() if p.startswith(part + "/")}
        if found and fingerprint.combine({p: e.digest for p, e in found.items()}, part + "/") == ref["fingerprint"]:
            return found
    raise UserError(
        f"{step_dir}: field frozen.{part} refers to {places[-1]} with fingerprint {ref['fingerprint']}, which is no "
        f"longer there; put that checkpoint back at {places[0]}."
    )


def read(entries: Mapping[str, Entry], targets: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """Reads leaves straight into shardings, in the dtype stored, checks their digests, then casts.

    Args:
      entries: {path: Entry} with an entry for every target.
      targets: {path: shape, dtype and sharding} to deliver; without a sharding the leaf goes to the default device.

    Raises: UserError for another shape, or for a file that is cut short, damaged or gone.
    """
    for path, target in targets.items():
        if tuple(target.shape) != entries[path].shape:
            e = entries[path]
            raise UserError(f"{e.file}: {path} has shape {e.shape}, this config expects {tuple(target.shape)}.")
    out: dict[str, jax.Array] = {}
    for file in dict.fromkeys(entries[p].file for p in targets):
        mine = {p: (entries[p], targets[p].sharding or _default()) for p in targets if entries[p].file == file}
        out |= (_read_step if next(iter(mine.values()))[0].item else _read_file)(file, mine)
    found = fingerprint.digests(out)
    for path, x in out.items():
        e = entries[path]
        if e.digest and found[path] != e.digest:
            raise UserError(
                f"{e.file}/{e.item}: {path} differs from its recorded digest, it is damaged; use another checkpoint."
            )
        out[path] = x if x.dtype == targets[path].dtype else x.astype(targets[path].dtype)
    return {p: out[p] for p in targets}


def _default() -> SingleDeviceSharding:
    return SingleDeviceSharding(jax.local_devices()[0])


def _read_step(step_dir: str, wanted: Mapping[str, tuple[Entry, Any]]) -> dict[str, jax.Array]:
    """One restore of all wanted items; partial, so that an item may hold more leaves than are wanted."""
    items: dict[str, dict[str, str]] = {}
    for path, (e, _) in wanted.items():
        items.setdefault(e.item, {})[e.key] = path
    args = {}
    for item, keys in items.items():
        if not (epath.Path(step_dir) / item).exists():
            raise UserError(f"{step_dir}: item {item} is missing; delete this folder to go on from an earlier step.")
        abstract = {k: jax.ShapeDtypeStruct(wanted[p][0].shape, jnp.dtype(wanted[p][0].dtype)) for k, p in keys.items()}
        restore = {
            k: ocp.ArrayRestoreArgs(sharding=wanted[p][1], global_shape=wanted[p][0].shape, dtype=wanted[p][0].dtype)
            for k, p in keys.items()
        }
        args[item] = ocp.args.PyTreeRestore(
            parts.unflatten(abstract), restore_args=parts.unflatten(restore), partial_restore=True
        )
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
            restored = reader.restore(step_dir, args=ocp.args.Composite(**args))
    except (ValueError, OSError, KeyError, TypeError) as e:  # what Orbax and TensorStore say of a cut or damaged file
        raise UserError(
            f"{step_dir}: items {', '.join(items)} cannot be read, the checkpoint is cut short or damaged "
            f"({_first_line(e)}); delete this folder to go on from an earlier step."
        ) from e
    return {p: x for item, keys in items.items() for k, x in parts.flatten(restored[item]).items() for p in [keys[k]]}


def _read_file(file: str, wanted: Mapping[str, tuple[Entry, Any]]) -> dict[str, jax.Array]:
    """Each device's slice of a safetensors file."""
    path = epath.Path(file)
    try:
        if not _is_local(path):
            whole = safetensors.numpy.load(path.read_bytes())
            return {
                p: jax.make_array_from_callback(e.shape, s, whole[e.key].__getitem__) for p, (e, s) in wanted.items()
            }
        with safetensors.safe_open(file, "numpy") as f:
            piece = lambda key, i: np.asarray(f.get_slice(key)[i] if i else f.get_tensor(key))
            return {
                p: jax.make_array_from_callback(e.shape, s, functools.partial(piece, e.key))
                for p, (e, s) in wanted.items()
            }
    except (OSError, safetensors.SafetensorError) as e:
        raise UserError(f"{file}: expected a whole safetensors file ({_first_line(e)}).") from e


def save_safetensors(
    path: Any,
    flat: Mapping[str, Any],
    config: ConfigDict | None,
    note: str = "",
    frozen: Mapping[str, Mapping[str, str]] | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Writes parameters {path: array} into one file that `focus_jax.load` and `config.init` read.

    Only for models that fit into one host's memory. The metadata carry config (if any), digests, fingerprints and code
    version. frozen: {part: reference as `follow` reads it} of parts that other files hold. about: as in `Catalogue`.
    Returns: {part: fingerprint} of the parts in the file.
    """
    host = {p: np.ascontiguousarray(jax.device_get(x)) for p, x in sorted(flat.items())}
    host = {p: x.reshape(np.shape(flat[p])) for p, x in host.items()}  # ascontiguousarray makes a scalar 1-d
    digests = fingerprint.digests(host)
    prints = by_part(digests)
    metadata = {
        "format": str(FORMAT), **({"config": config.to_json()} if config else {}), "digests": json.dumps(digests),
        "fingerprints": json.dumps(prints), "code": code_version(), "note": note,
        **({"frozen": json.dumps(frozen)} if frozen else {}), **({"about": json.dumps(about)} if about else {}),
    }  # fmt: skip
    write_weights(path, host, metadata)
    return prints


def absolute(path: epath.Path) -> epath.Path:
    """Orbax takes no relative paths, and references must not depend on the working directory."""
    return path.absolute() if _is_local(path) else path


def _is_local(path: epath.Path) -> bool:
    return "://" not in str(path)


def _first_line(e: BaseException) -> str:
    lines = str(e).strip().splitlines()
    return (lines[0] if lines else type(e).__name__)[:160].rstrip(".")
