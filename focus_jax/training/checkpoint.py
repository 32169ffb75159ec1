# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run, and where its first parameters come from (contract 6 of docs/architecture.md).

A step holds what changes: parts with trained leaves (their buffers too), optimizer, EMA, health, data state. A wholly
frozen part is named by reference to the checkpoint it came from; one without such a home is written once, to frozen/.
"""

import errno
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from focus_jax.errors import UserError
from focus_jax.sequence import identity
from focus_jax.training import config as configs
from focus_jax.training import parts, state, store
from focus_jax.training.provenance import code_version
from focus_jax.training.state import Flat, Plan, Trained
from focus_jax.weights import sdxl

# {part: {"text": where from and with which fingerprint, for people; "entries": {path: store.Entry}}}; a part that is
# drawn, wholly or in part, has no entries.
Origins = dict[str, dict[str, Any]]


def initial_params(config: Any, plan: Plan, stage_init: Callable) -> tuple[Flat, Origins]:
    """Parameters at step 0, as `config.init` says, each straight into its sharding and the dtype of its group.

    `config.init` maps prefixes of paths ("tokenizer", "tokenizer/pixel") to a run directory, an Orbax step directory, a
    safetensors file or "random"; the most specific prefix wins. `config.init_weights` chooses EMA or raw.

    Returns: ({path: leaf}, origins for `Checkpoints.start`).
    Raises: UserError for a leaf that no prefix covers, a prefix that matches nothing, or a source without the leaf.
    """
    prefixes = sorted(config.init, key=len)
    chosen = {p: parts.source_of(p, config.init) for p in plan.abstract}
    for path, prefix in chosen.items():
        if prefix is None:
            raise UserError(
                f"config.init: nothing says where {path} comes from; add {parts.part_of(path)!r} with a source or "
                "'random'."
            )
    for prefix in prefixes:
        if prefix not in chosen.values() and not (config.init[prefix] == "random" and parts.is_prefix(prefix)):
            raise UserError(
                f"config.init.{prefix}: matches no parameter of this model that a more specific entry does not cover; "
                f"its parts are {', '.join(sorted({parts.part_of(p) for p in plan.abstract}))}."
            )
    entries: dict[str, store.Entry] = {}
    text: dict[str, set[str]] = {}
    for prefix in prefixes:
        mine = [p for p, x in chosen.items() if x == prefix]
        source, field = config.init[prefix], f"config.init.{prefix}"
        label = "random"
        if mine and source != "random":
            found = store.catalogue(source, config.init_weights, field)
            brought, where = {parts.part_of(p) for p in mine}, f"{field}: {found.label}"
            if identity.PART in brought:
                identity.check(found.about, config, where)
            if sdxl.VAE_PART in brought:
                sdxl.check_scale(found.config, config, where)
            entries |= {p: _entry(found, p, field) for p in mine}
            label = (
                found.label if all(e.weights == "raw" for e in (entries[p] for p in mine)) else f"{found.label} (ema)"
            )
        for p in mine:
            text.setdefault(parts.part_of(p), set()).add(label)
    params = _read(entries, plan)
    drawn = {p for p, x in chosen.items() if config.init[x] == "random"}
    if drawn:
        params |= state.init_params(plan, stage_init, config.seed, drawn)
    origins = {}
    for part, labels in text.items():
        held = {p: e for p, e in entries.items() if parts.part_of(p) == part}
        if any(parts.part_of(p) == part for p in drawn):
            held = {}
        recorded = store.by_part({p: e.digest for p, e in held.items()}).get(part, "")
        text_of = ", ".join(sorted(labels)) + (f", fingerprint {recorded}" if recorded else "")
        origins[part] = {"text": text_of, "entries": held}
    return {p: params[p] for p in plan.abstract}, origins


def _read(entries: Mapping[str, store.Entry], plan: Plan) -> Flat:
    """Leaves in their shardings; of parts.WIDER narrower ones filled up with zeros."""
    targets = {p: plan.abstract[p] for p in entries}
    narrow = {p: e for p, e in entries.items() if _narrower(p, e.shape, targets[p].shape)}
    params = store.read(entries, {p: target for p, target in targets.items() if p not in narrow})
    own = {p: jax.ShapeDtypeStruct(e.shape, targets[p].dtype) for p, e in narrow.items()}
    for path, leaf in store.read(narrow, own).items():
        lacking = [(0, n - m) for n, m in zip(targets[path].shape, leaf.shape)]
        params[path] = jax.device_put(jnp.pad(leaf, lacking), targets[path].sharding)
    return params


def _narrower(path: str, given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    if path not in parts.WIDER or len(given) != len(wanted):
        return False
    axis, count = parts.WIDER[path]
    return (
        given[axis] == count < wanted[axis] and given[:axis] + given[axis + 1 :] == wanted[:axis] + wanted[axis + 1 :]
    )


def _entry(found: store.Catalogue, path: str, field: str) -> store.Entry:
    """The source's leaf; a part that is only an alias there is copied from what it stands for."""
    if path in found.entries:
        return found.entries[path]
    for name, target in (found.config.get("alias") or {}).items() if found.config else ():
        if path.startswith(name + "/") and (other := target + path[len(name) :]) in found.entries:
            return found.entries[other]
    raise UserError(
        f"{field}: {found.label} has no {path}; it holds "
        f"{', '.join(sorted({parts.part_of(p) for p in found.entries})) or 'nothing'}."
    )


class Checkpoints:
    """Saves and restores the state of one run.

    Args:
      workdir: of the run; local or gs://, shared by all processes. Steps are in WORKDIR/checkpoints/STEP.
      config, plan: of the run.

    A new run calls `start` once; a resumed one `restore`. All processes make the same calls.
    """

    def __init__(self, workdir: Any, config: Any, plan: Plan):
        self.workdir, self.config, self.plan = epath.Path(workdir), config, plan
        self.folder = self.workdir / store.CHECKPOINTS
        self.references: dict[str, dict[str, str]] | None = None  # of frozen parts; None before start or restore
        self.origins: dict[str, str] = {}  # {part: where it came from at step 0}
        trained = {parts.part_of(p) for p in plan.abstract if plan.is_trained(p)}
        self.trained_parts = [p for p in dict.fromkeys(map(parts.part_of, plan.abstract)) if p in trained]
        self.frozen_parts = [p for p in dict.fromkeys(map(parts.part_of, plan.abstract)) if p not in trained]
        best = lambda metrics: metrics.get(config.best, -np.inf)
        keep = [
            policies.LatestN(config.checkpoint_keep),
            policies.BestN(get_metric_fn=best, n=1, keep_checkpoints_without_metrics=False),
        ]
        when = [policies.FixedIntervalPolicy(config.checkpoint_every), policies.PreemptionCheckpointingPolicy()]
        options = ocp.CheckpointManagerOptions(
            best_fn=best,
            preservation_policy=policies.AnyPreservationPolicy(keep),
            save_decision_policy=policies.AnySavePolicy(when),
            cleanup_tmp_directories=True,
            enable_should_save_is_saving_in_progress_check=False,  # a barrier at every step
        )
        with _sentences(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.manager = ocp.CheckpointManager(store.absolute(self.folder), options=options)

    def latest(self) -> int | None:
        """The last whole step on disk; None for a new run."""
        found = store.steps(self.workdir)
        return found[-1] if found else None

    def best(self) -> int | None:
        """The whole step with the highest figure `config.best`; None where no step has it."""
        return store.best_step(self.workdir, self.config.best)

    def start(self, frozen: Flat, origins: Origins) -> None:
        """Begins a new run: notes where parts came from and writes frozen parts that have no home elsewhere.

        Args:
          frozen: {path: leaf} of the run.
          origins: from `initial_params`.
        """
        self.origins = {part: o["text"] for part, o in origins.items()}
        refs = {part: store.reference(origins[part]["entries"], part, self._step_dir(0)) for part in self.frozen_parts}
        homeless = [part for part, ref in refs.items() if ref is None]
        if homeless:
            leaves = {part: {p: x for p, x in frozen.items() if parts.part_of(p) == part} for part in homeless}
            items = {
                store.item_of(part): {p.removeprefix(part + "/"): x for p, x in leaves[part].items()}
                for part in homeless
            }
            meta = self._meta(0, {part: store.item_of(part) for part in homeless}, store.describe(items), {})
            place = store.absolute(self.workdir / store.FROZEN)
            with _sentences(place), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as writer:
                writer.save(place, args=ocp.args.Composite(**store.write_args(items | {"meta": meta})), force=True)
            held = store.catalogue(place, "raw").entries
            for part in homeless:
                refs[part] = store.reference({p: held[p] for p in leaves[part]}, part, self._step_dir(0))
        self.references = refs

    def save(
        self, step: int, trained: Trained, frozen: Flat, data_state: Mapping[str, Any],
        figures: Mapping[str, float] | None = None, force: bool = False,
    ) -> bool:  # fmt: skip
        """Saves in the background if a save is due at this step (interval, preemption or `force`); call it every step.

        Args:
          step: batches consumed.
          trained, frozen: the state; it may be donated as soon as this returns.
          data_state: json.
          figures: validation figures at this step; the one named by `config.best` decides which step is kept as best.

        Returns: whether a save began. Raises: UserError for an earlier background save that failed.
        """
        if self.references is None:
            raise RuntimeError("Checkpoints.save before start or restore")
        with _sentences(self.folder):
            self._check()
            if step in self.manager.all_steps() or not (force or self.manager.should_save(step)):
                return False
            arrays = self._items(trained, frozen)
            table = store.describe(arrays)
            held = {part: store.item_of(part) for part in self.trained_parts}
            meta = self._meta(step, held, table, self.references)
            items = store.write_args(arrays | {"data": dict(data_state), "meta": meta})
            finite = {k: float(v) for k, v in (figures or {}).items() if np.isfinite(v)}
            return self.manager.save(step, args=ocp.args.Composite(**items), metrics=finite, force=True)

    def restore(self, step: int, plan: Plan) -> tuple[Trained, Flat, dict[str, Any]]:
        """Reads a step into the shardings of `plan` (any mesh), every digest checked.

        Returns: (trained, frozen, data_state).
        Raises: UserError for a step that is missing, damaged, of another format version or of another config.
        """
        folder = self._step_dir(step)
        if step not in store.steps(self.workdir):
            raise UserError(
                f"{folder}: there is no whole checkpoint of step {step}; steps here: {store.steps(self.workdir)}."
            )
        meta = store.read_meta(folder)
        abstract = self._items(plan.trained, plan.frozen)
        self._compare(folder, meta, abstract)
        entries, targets = {}, {}
        for item, leaves in abstract.items():
            for key, x in leaves.items():
                entries[f"{item}:{key}"] = store.Entry(
                    str(folder), item, key, *_triple(meta["items"][item][key]), "raw"
                )
                targets[f"{item}:{key}"] = x
        homes = {part: store.follow(ref, part, folder) for part, ref in meta["frozen"].items()}
        elsewhere = {p: e for found in homes.values() for p, e in found.items()}
        flat = store.read(entries | elsewhere, targets | {p: plan.frozen[p] for p in elsewhere})
        data_state = _read_json(folder / "data")
        self.references = {part: store.reference(found, part, folder) for part, found in homes.items()}
        self.origins = dict(meta["origins"])
        got = {item: {k: flat[f"{item}:{k}"] for k in leaves} for item, leaves in abstract.items()}
        trained, frozen = self._state(plan, got)
        return trained, {p: frozen[p] if p in frozen else flat[p] for p in plan.frozen}, data_state

    def reached_preemption(self, step: int) -> bool:
        """Whether all processes agreed to stop at this step, then `wait` and leave. False without jax.distributed."""
        return self.manager.reached_preemption(step)

    def wait(self) -> None:
        """Blocks until the background save is whole on disk. Raises: UserError if it failed."""
        with _sentences(self.folder):
            self._check()
            self.manager.wait_until_finished()

    def close(self) -> None:
        """`wait`, and end the background threads."""
        with _sentences(self.folder):
            self.manager.close()

    def check(self) -> None:
        """Tells of a background save that failed; cheap enough for every step. Raises: UserError."""
        with _sentences(self.folder):
            self._check()

    def _check(self) -> None:
        if not self.manager.is_saving_in_progress():
            self.manager.wait_until_finished()

    def _step_dir(self, step: int) -> epath.Path:
        return store.absolute(self.folder / str(step))

    def _meta(
        self, step: int, held: dict[str, str], table: Mapping[str, Any], frozen: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            "format": store.FORMAT, "step": step, "code": code_version(), "config": json.loads(self.config.to_json()),
            "config_hash": configs.digest(self.config), "parts": held, "items": table, "frozen": frozen,
            "origins": self.origins, "fingerprints": store.fingerprints(held, table, frozen),
            "about": self._about,
        }  # fmt: skip

    @functools.cached_property
    def _about(self) -> dict[str, Any]:
        return identity.identity(self.config)

    def _items(self, trained: Trained, frozen: Flat) -> dict[str, Flat]:
        """{item: {path inside it: leaf}}; works on arrays and on shapes alike."""
        leaves = state.all_params(trained, frozen)
        items = {
            store.item_of(part): {p.removeprefix(part + "/"): x for p, x in leaves.items() if parts.part_of(p) == part}
            for part in self.trained_parts
        }
        items |= {f"opt.{g}": _by_path(x) for g, x in trained.opt.items()}
        items |= {f"ema.{g}": dict(x) for g, x in trained.ema.items()}
        items["health"] = _by_path({"step": trained.step, "health": trained.health, "events": trained.events})
        return {item: flat for item, flat in items.items() if flat}

    def _state(self, plan: Plan, items: Mapping[str, Flat]) -> tuple[Trained, Flat]:
        """Inverse of `_items`; the frozen leaves are those (buffers) that lie in trained parts."""
        leaves = {f"{part}/{k}": x for part in self.trained_parts for k, x in items[store.item_of(part)].items()}
        t = plan.trained
        rest = _from_paths({"step": t.step, "health": t.health, "events": t.events}, items["health"])
        trained = Trained(
            step=rest["step"],
            params={g: {p: leaves[p] for p in x} for g, x in t.params.items()},
            opt={g: _from_paths(x, items.get(f"opt.{g}", {})) for g, x in t.opt.items()},
            ema={g: dict(items[f"ema.{g}"]) for g in t.ema},
            health=rest["health"],
            events=rest["events"],
        )
        return trained, {p: x for p, x in leaves.items() if p in plan.frozen}

    def _compare(self, folder: epath.Path, meta: Mapping[str, Any], abstract: Mapping[str, Flat]) -> None:
        """Refuses a checkpoint of another config with the first difference."""
        way_out = "use the config it was saved with, or a new workdir with config.init"
        refuse = lambda what: UserError(f"{folder}/meta: {what}; {way_out}.")
        only_here, only_there = "this config but not in the checkpoint", "the checkpoint but not in this config"
        stored = set(meta["items"]) | {f"reference {part}" for part in meta["frozen"]}
        wanted = set(abstract) | {f"reference {part}" for part in self.frozen_parts}
        for item in sorted(stored ^ wanted):
            raise refuse(f"{item} is in {only_there if item in stored else only_here}")
        for item, leaves in abstract.items():
            found = meta["items"][item]
            for key in sorted(set(leaves) ^ set(found)):
                raise refuse(f"{item}: {key} is in {only_here if key in leaves else only_there}")
            for key, x in leaves.items():
                shape, dtype, _ = _triple(found[key])
                if (shape, dtype) != (tuple(x.shape), str(x.dtype)):
                    raise refuse(f"{item}: {key} is {dtype}{list(shape)}, this config expects {x.dtype}{list(x.shape)}")


class _sentences:
    """Turns a failed write into one sentence; anything else passes."""

    def __init__(self, path: Any):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        seen = error
        while seen is not None:
            text, number = str(seen), getattr(seen, "errno", None)
            for code, phrase, reason in _WRITE_ERRORS:
                if isinstance(error, UserError):
                    return False
                if number == code or phrase in text:
                    raise UserError(f"{self.path}: no checkpoint could be written, {reason}.") from error
            seen = seen.__cause__ or seen.__context__
        return False


_AGAIN = "free some room and start the same command again, it resumes from the last whole step"
_WRITE_ERRORS = (  # TensorStore reports the system's words without its number
    (errno.ENOSPC, "No space left on device", f"the disk is full; {_AGAIN}"),
    (errno.EDQUOT, "Disk quota exceeded", f"the disk quota is used up; {_AGAIN}"),
    (errno.EFBIG, "File too large", f"a file would pass the size limit; {_AGAIN}"),
    (
        errno.EACCES,
        "Permission denied",
        "there is no write permission; choose another workdir or change its permissions",
    ),
    (
        errno.EPERM,
        "Operation not permitted",
        "there is no write permission; choose another workdir or change its permissions",
    ),
    (errno.EROFS, "Read-only file system", "the file system is read-only; choose another workdir"),
    (errno.ENOTDIR, "Not a directory", "a file stands where the folder should be; choose another workdir"),
    (errno.EEXIST, "File exists", "a file stands where the folder should be; choose another workdir"),
)


def _triple(row: list) -> tuple[tuple[int, ...], str, str]:
    return tuple(row[0]), row[1], row[2]


def _read_json(path: epath.Path) -> Any:
    try:
        return ocp.JsonCheckpointHandler().restore(path)
    except (OSError, ValueError) as e:
        raise UserError(
            f"{path}: expected json, found it missing or cut short; delete the step's folder to go on from an "
            "earlier one."
        ) from e


def _by_path(tree: Any) -> Flat:
    """Any pytree -> {"0/mu/tokenizer/pixel/kernel": leaf}."""
    return {
        jax.tree_util.keystr(k, simple=True, separator="/"): x for k, x in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _from_paths(like: Any, flat: Mapping[str, Any]) -> Any:
    """Inverse of `_by_path` for a tree of the same structure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    return structure.unflatten([flat[jax.tree_util.keystr(k, simple=True, separator="/")] for k, _ in leaves])
