# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The loader: a global stream of batches, of which each host makes the rows its devices address (contract 3).

Everything about batch k follows from (config, seed, k): which sub-stream s and ordinal n (schedule.py), which elements
(n * B + r, rows permuted by (seed, k)), which record each element is (mixture.py), how it is cropped and flipped (seed,
stream, element), and what replaces it where it is broken. No iterator state is saved, nothing is sharded before the
global index is fixed, and worker count and host count cannot change a pixel.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping

import grain
import numpy as np
from absl import flags
from etils import epath

from data_pipelines import rows as rows_lib
from data_pipelines import seeds, settings
from data_pipelines.batches import Batches, Pass
from data_pipelines.errors import DataError
from data_pipelines.mixture import Mixture
from data_pipelines.schedule import Schedule
from data_pipelines.shards import Shards, read_manifest
from data_pipelines.world.examples import World


class Loader:
    """Batches of a data config.

    A batch is a dict of numpy arrays for the rows of this host, in the order `rows` gives:
      image    uint8 [rows, H, W, 3], and what else the stream's shape class has (rows.py)
      weight   float32 [rows], 0 where the row does not count (padding in `once`)
      element  uint32 [rows], the global element index (modulo 2^32)
      bad      int32 [rows], how many records were replaced on the way to this row
    Bad records are listed in WORKDIR/bad_records.HOST.jsonl when their batch is taken.

    `stores_codes`: whether batches hold codes stored with the data; then call `check_codes` before training on them.

    Args:
      config: config.data, a ConfigDict or dict with settings.FIELDS.
      seed: of schedule, order and augmentation.
      rows: batch_size -> int array, the rows of a global batch that this host makes; default all.
      workdir, host: where bad records are listed; without a workdir they are only counted.
      objects: {source name: function (split, stream) -> source} for sources that are not directories. A source has
        `name`, `fingerprint` (str), len() and source[i] -> Example, and pickles; for streams of shape class codes also
        `codes_fingerprint`, of the tokenizer that its codes are of.
    """

    def __init__(
        self,
        config: Mapping,
        seed: int,
        *,
        rows: Callable[[int], np.ndarray] = np.arange,
        workdir=None,
        host: int = 0,
        objects: Mapping[str, Callable] | None = None,
    ):
        self.config = settings.check(config)
        self.seed, self.budget, self._objects = int(seed), self.config["bad_record_budget"], dict(objects or {})
        self.schedule = Schedule(self.config["phases"], seed)
        self._rows = {s["batch_size"]: _check_rows(rows(s["batch_size"]), s) for s in self.schedule.streams}
        self.problems = _ProblemList(workdir, host)
        self._open: list[BatchIterator] = []
        self._manifests: dict[str, dict] = {}  # by path; each is read once
        mixtures = []
        read: list[dict] = []
        self.stores_codes = any(rows_lib.grids(stream) for stream in self.schedule.streams)
        if moved := [name for name in ("flip", "random_crop") if self.stores_codes and self.config[name]]:
            value = self.config[moved[0]]
            raise DataError(
                f"data.{moved[0]}: is {value}, expected {type(value)()} with streams of shape class codes, which were "
                "stored for the centre crop, not flipped."
            )
        if self.config["flip"] and any("sequence" in stream for stream in self.schedule.streams):
            raise DataError(
                f"data.flip: is {self.config['flip']}, expected 0.0 with streams of sequences, whose words say what is "
                "on the left."
            )
        for stream in self.schedule.streams:
            if stream["shape_class"] not in rows_lib.FIELDS:
                expected = ", ".join(rows_lib.FIELDS)
                raise DataError(f"data.phases: shape_class is '{stream['shape_class']}', expected one of {expected}.")
            sources = self._sources("sources", "train", stream)
            if not sources:
                raise self._no_records("sources", "train", stream)
            read += [source for source, _ in sources]
            weights = [source.get("weight", 1.0) for source, _ in sources]
            mixtures.append(Mixture([data for _, data in sources], weights, self.seed, seeds.MIX, stream["id"]))
        for source in self.config["sources"]:
            if source not in read and not settings.left_out(source, self.config):
                raise self._unread(source)
        self._batches = Batches(self.schedule, mixtures, self._rows, self.seed, self.config)
        self.fingerprint = self._fingerprint(mixtures)

    def _sources(self, group: str, split: str, stream: dict) -> list[tuple[dict, object]]:
        """The config's sources that have records for the stream, each with its data.

        A source without records of a bucket takes no part in that bucket's streams, nor one of other phases or of
        another shape class, nor one whose stored codes are of pictures at another share of their sides.
        """
        grids = rows_lib.grids(stream)
        found = []
        for source in self.config[group]:
            if stream["phase"] not in source.get("phases", [stream["phase"]]):
                continue
            if source.get("shape_class", stream["shape_class"]) != stream["shape_class"]:
                continue
            if source["name"] in self._objects:
                data = self._objects[source["name"]](source.get("split", split), stream)
            elif source.get("reader") == "world" and not source.get("path") and not grids:
                options = source.get("options") or {}
                data = World(name=source["name"], split=source.get("split", split), **options)
            else:
                path = _path(group, source)
                if settings.left_out(source, self.config):
                    continue
                if path not in self._manifests:
                    self._manifests[path] = read_manifest(path)
                stored = self._manifests[path].get("codes")
                if grids and stored and stored.get("tokens", 1.0) != stream.get("tokens", 1.0):
                    continue
                data = Shards(
                    path,
                    source.get("split", split),
                    (stream["height"], stream["width"]),
                    name=source["name"],
                    verify=self.config["verify"],
                    manifest=self._manifests[path],
                    grids=grids,
                    latents=rows_lib.latents_shape(stream),
                )
            if grids and len(data) and not getattr(data, "codes_fingerprint", ""):
                raise DataError(
                    f"data.{group}: '{source['name']}' has no codes_fingerprint, expected one for streams of shape "
                    "class codes."
                )
            if len(data):
                found.append((source, data))
        return found

    def _unread(self, source: dict) -> DataError:
        """On a source that takes part in no stream at all."""
        sizes = dict.fromkeys(f"{s['shape_class']} {s['height']}x{s['width']}" for s in self.schedule.streams)
        of = source.get("shape_class", "")
        return DataError(
            f"data.sources: no stream reads '{source['name']}'{f' of shape class {of}' if of else ''}, expected train "
            f"records for one of {', '.join(sizes)} (0x0: without pictures)."
        )

    def _no_records(self, group: str, split: str, stream: dict) -> DataError:
        names = ", ".join(source["name"] for source in self.config[group]) or "no source"
        share = stream.get("tokens", 1.0)
        codes = f", with codes at {share:g} of the sides (prepare codes --tokens={share:g})"
        return DataError(
            f"data.{group}: {names} has no {split} records for bucket {stream['height']}x{stream['width']}, "
            "expected records prepared for it or for a larger bucket of the same aspect ratio (prepare --buckets)"
            f"{codes if rows_lib.grids(stream) else ''}."
        )

    def summary(self) -> list[str]:
        """One line a stream: its batches and the records each source has for it."""
        lines, at = [], lambda stream: f" tokens {stream['tokens']:g}" if "tokens" in stream else ""
        for stream, mixture in zip(self.schedule.streams, self._batches.mixtures):
            records = ", ".join(f"{source.name} {len(source)}" for source in mixture.sources)
            lines.append(
                f"phase {stream['phase']} {stream['shape_class']} {stream['height']}x{stream['width']}{at(stream)} "
                f"batch {stream['batch_size']} share {stream['share']}: {records} records"
            )
        return lines

    def names(self, k: int) -> list[str]:
        """SOURCE:ID of the examples that the rows of batch k stand for, all hosts' rows, in row order."""
        return self._batches.names(k)

    # ------------------------------------------------------------------------------------------------- iteration
    def iter_from(self, k: int) -> "BatchIterator":
        """Yields (k, stream dict, batch) from batch k on to the end of the schedule. Close it in `finally`."""
        return self._iterate(self._batches, k)

    def once(self, split: str = "validation", phase: int = -1) -> "BatchIterator":
        """One pass over the records of a split of `data.validation`, in order, centre crops, nothing flipped.

        For each distinct (shape class, H, W, tokens, batch size) of the phase: all records of all sources, the last
        batch filled up with rows of weight 0, so shapes are those of training. A bad record keeps its row, with weight
        0 and bad 1. Sizes without records are left out. Raises: DataError where no size has any, or for data that
        cannot be opened.
        """
        phases = [stream["phase"] for stream in self.schedule.streams]
        phase = sorted(set(phases))[phase]
        streams: dict[tuple, dict] = {}
        for stream in self.schedule.streams:
            if stream["phase"] == phase:
                fields = ("shape_class", "height", "width", "tokens", "scale", "batch_size")
                shape = tuple(stream.get(field) for field in fields)
                streams.setdefault(shape, stream)
        opened = [(stream, self._sources("validation", split, stream)) for stream in streams.values()]
        found = [(stream, [data for _, data in sources]) for stream, sources in opened if sources]
        if not found:
            raise self._no_records("validation", split, opened[0][0])
        return self._iterate(Pass(found, self._rows, self.config), 0)

    def _iterate(self, batches, k: int) -> "BatchIterator":
        iterator = BatchIterator(batches, k, self.config, self.problems)
        self._open = [other for other in self._open if not other.closed] + [iterator]
        return iterator

    def check_codes(self, fingerprint: str, latents: str = "") -> None:
        """Refuses sources whose stored codes are of another tokenizer than the one with this fingerprint, and whose
        stored latents are of another autoencoder than the one with the fingerprint `latents`.

        These are the sources of the streams that hold codes, and those that `once` will read for them.
        """
        for stream in filter(rows_lib.grids, self.schedule.streams):
            held_out = [data for _, data in self._sources("validation", "validation", stream)]
            for data in (*self._batches.mixtures[stream["id"]].sources, *held_out):
                if data.codes_fingerprint != fingerprint:
                    raise DataError(
                        f"{getattr(data, 'directory', data.name)}: stores codes of the tokenizer "
                        f"{data.codes_fingerprint}, expected those of {fingerprint}, which this run uses; prepare the "
                        "codes again (python -m data_pipelines.prepare codes)."
                    )
                if rows_lib.latents_shape(stream) and data.latents_fingerprint != latents:
                    raise DataError(
                        f"{getattr(data, 'directory', data.name)}: stores latents of the autoencoder "
                        f"{data.latents_fingerprint}, expected those of {latents}, which this run uses; prepare them "
                        "again (python -m data_pipelines.prepare codes --latents)."
                    )

    def close(self) -> None:
        """Ends every iterator that is still open, and its worker processes."""
        for iterator in self._open:
            iterator.close()
        self._open = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---------------------------------------------------------------------------------------------------- resume
    def _fingerprint(self, mixtures) -> str:
        """Hash of what decides the batches. The last phase's length is left out, so that a run can be prolonged."""
        phases = [dict(phase) for phase in self.config["phases"]]
        del phases[-1]["steps"]
        content = {
            "phases": phases,
            "mixture": [[s.get("name"), s.get("weight", 1.0)] for s in self.config["sources"]],
            "sources": [[source.fingerprint for source in mixture.sources] for mixture in mixtures],
            "transforms": [self.config[name] for name in ("max_crop_loss", "flip", "random_crop")],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def state(self, k: int) -> dict:
        """The data state to save when batch k is the next one."""
        return {"k": int(k), "seed": self.seed, "fingerprint": self.fingerprint}

    def check(self, state: Mapping, restart: bool = False) -> None:
        """Refuses a data state that other data made, unless `restart` says that other data are meant."""
        for field in ("seed", "fingerprint"):
            if state.get(field) != getattr(self, field) and not restart:
                what = "another seed" if field == "seed" else "other sources, batch sizes or transforms"
                raise DataError(
                    f"data state: {field} is {state.get(field)}, expected {getattr(self, field)}: the run was trained "
                    f"with {what}; restore the data config, or set data_restart to go on with these data."
                )


class BatchIterator:
    """Iterator of (k, stream dict, batch) with `close`; may be advanced by one thread and closed by another."""

    def __init__(self, batches, k: int, config: dict, problems):
        self._batches, self._problems, self.closed = batches, problems, False
        if not flags.FLAGS.is_parsed():  # array_record and grain's workers read absl flags; defaults outside app.run
            flags.FLAGS.mark_as_parsed()
        options = grain.ReadOptions(
            num_threads=config["threads"], prefetch_buffer_size=max(config["prefetch"], config["threads"])
        )
        dataset = grain.MapDataset.source(batches)[k:].to_iter_dataset(options)
        self._copy = config["workers"] > 0
        if config["workers"]:
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=config["workers"], per_worker_buffer_size=max(config["prefetch"], 1)
                )
            )
        self._iterator = iter(dataset)

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> tuple[int, dict, dict]:
        if self.closed:
            raise StopIteration
        item = next(self._iterator)
        k = int(item.pop("k"))
        self._problems.add(json.loads(item.pop("problems")))
        if self._copy:  # arrays of worker processes live in shared memory, which must not outlive the iterator
            item = {name: np.array(value) for name, value in item.items()}
        return k, self._batches.stream(k), item

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._iterator.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _path(group: str, source: Mapping) -> str:
    if not source.get("path"):
        raise DataError(f"data.{group}: '{source['name']}' has no path, expected a prepared directory.")
    return source["path"]


def _check_rows(rows, stream: dict) -> np.ndarray:
    rows = np.asarray(rows, np.int64)
    size = stream["batch_size"]
    if rows.ndim != 1 or (rows.size and not (0 <= rows.min() and rows.max() < size)):
        raise DataError(f"rows: {rows.tolist()} for batch_size {size}, expected row numbers below it.")
    return rows


class _ProblemList:
    """The bad records of the batches taken so far, on disk as they come.

    The file is rewritten whole: object stores cannot append, and the budget keeps it short. A record met again, after a
    resume or in another epoch at the same batch, is listed once.
    """

    def __init__(self, workdir, host: int):
        self.path = epath.Path(workdir) / f"bad_records.{host}.jsonl" if workdir is not None else None
        lines = self.path.read_text().splitlines() if self.path is not None and self.path.exists() else []
        self._lines = dict.fromkeys(lines)

    def add(self, problems: list[dict]) -> None:
        new = [line for line in map(json.dumps, problems) if line not in self._lines]
        if new and self.path is not None:
            self._lines |= dict.fromkeys(new)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("".join(line + "\n" for line in self._lines))
