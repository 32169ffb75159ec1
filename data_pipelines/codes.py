# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Writes a prepared directory again with every picture's codes, for stages that read codes instead of a tokenizer.

  python -m data_pipelines.prepare codes --tokenizer=runs/stage1_tokenizer --source=data/pictures --output=data/codes
  python -m data_pipelines.prepare codes --tokenizer=RUN --source=PREPARED --output=DIR --buckets=256 --batch=256
  python -m data_pipelines.prepare codes --tokenizer=RUN --latents=RUN --tokens=0.5 --source=PREPARED --output=DIR

A record of DIR is the source's, picture and all, with the codes of its first picture in its bucket: resized to cover
the bucket, centre crop, nothing flipped, as training sees it. Its other pictures, its frames and the target of an edit
get none. Codes serve exactly the bucket they were made for, so name every bucket that a stage will read (streams of
shape class `codes`, data_pipelines/rows.py). A bucket that the source does not have is made from records of a larger
one of the same aspect ratio; one that no record serves is left out.

For the diffusion decoder --tokens=0.5 makes the codes of pictures at half of the bucket's sides, and --latents stores
beside them what its autoencoder makes of the bucket's (mean and log-variance, drawn from in each step): streams of
shape class `latents`. A directory has one share of the sides; a stream reads the directories of its own.

DIR/manifest.json names the tokenizer's fingerprint, and so does each record; a run whose tokenizer has another refuses
the data. Pictures that cannot be encoded are listed in DIR/bad_records.jsonl; more of them than --bad-budget end the
command. Interrupted at any point, the same command goes on at the next shard and ends with the same bytes. All devices
of this process are used, each for its share of a batch, which must be a multiple of them.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from etils import epath

from data_pipelines import buckets as buckets_lib
from data_pipelines import jobs, rows, shards
from data_pipelines.errors import DataError
from data_pipelines.example import SCHEMA_VERSION, Codes, Example, Latents, encode
from data_pipelines.progress import progress

NAME = "codes"

Row = dict[str, np.ndarray]


class Tokenizer(Protocol):
    """What codes come from.

    high: long edge of the pictures that it reads beside the images; 0 for none. codes_fingerprint: 16 hex digits that
    change with the codes. label: where it was read from. about: what else the manifest tells of it.
    """

    high: int
    codes_fingerprint: str
    label: str
    about: dict[str, Any]

    def grids(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """(h, w) of the codes of each branch (semantic, pixel). Raises: DataError for a size it cannot read."""

    def encode(self, images: np.ndarray, high: np.ndarray | None) -> dict[str, np.ndarray]:
        """int32 [B, h, w] by branch, of uint8 [B, H, W, 3] and the same at the long edge `high`."""


class Autoencoder(Protocol):
    """What latents come from. fingerprint: 16 hex digits that change with them; label: where it was read from."""

    fingerprint: str
    label: str

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Of the latents of a picture. Raises: DataError for a size it cannot read."""

    def encode(self, images: np.ndarray) -> np.ndarray:
        """float16 [B, h, w, 2 C], means and log-variances, of uint8 [B, H, W, 3]."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A shard to write: the codes of the records of one shard of a source, the first of which is number `first`."""

    file: str
    source: shards.Shards
    first: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """The shards to write for a prepared directory, those of a split and bucket together; job: what made the source."""

    source: str
    tasks: list[Task]
    job: dict


def plan(source, buckets: Sequence[buckets_lib.Bucket] = (), splits: Sequence[str] = ()) -> Plan:
    """What `prepare_codes` is to write: a shard for each that is read.

    buckets, splits: default all of the source.
    Raises: DataError for no or damaged prepared data, an unknown split, buckets that no record serves.
    """
    manifest = shards.read_manifest(source)
    prepared = manifest["splits"]
    if unknown := set(splits) - set(prepared):
        raise DataError(f"{source}: has no split '{sorted(unknown)[0]}', expected some of {', '.join(prepared)}.")
    tasks = []
    for split in sorted(set(splits or prepared)):
        for bucket in sorted(set(buckets or _of_pictures(prepared[split]))):
            records = shards.Shards(source, split, bucket, manifest=manifest)
            first = 0
            for number in range(len(records.shards)):
                file = f"{split}/{buckets_lib.name(bucket)}/{number:05d}{shards.SUFFIX}"
                tasks.append(Task(file, records.part(number), first))
                first += len(tasks[-1].source)
    if not tasks:
        asked = ", ".join(map(buckets_lib.name, buckets))
        had = ", ".join(sorted({name for found in prepared.values() for name in found}))
        raise DataError(f"{source}: no record serves buckets {asked or 'none'}, expected some of its own: {had}.")
    return Plan(str(source), tasks, manifest.get("job", {}))


def _of_pictures(names) -> list[buckets_lib.Bucket]:
    """Records without a picture have no codes and stay behind."""
    return [bucket for bucket in map(buckets_lib.named, names) if bucket != buckets_lib.TEXT]


def prepare_codes(
    tokenizer: Tokenizer,
    planned: Plan,
    output,
    *,
    batch: int = 32,
    threads: int = 4,
    bad_budget: int = 0,
    tokens: float = 1.0,
    autoencoder: Autoencoder | None = None,
) -> dict:
    """Writes `output` and returns its manifest.

    Args:
      planned: what `plan` returned.
      output: a directory; it may be a finished or interrupted run of the same command.
      batch: pictures that are encoded together, of one split and bucket; the last ones are filled up to it.
      threads: that decode pictures, up to a batch ahead.
      bad_budget: how many records may be impossible to encode.
      tokens: share of the bucket's sides at which pictures are tokenized. autoencoder: of latents to store, None for
        none.

    Raises: DataError for an output that holds other data or cannot be written, too many bad records.
    """
    if min(batch, threads) < 1 or bad_budget < 0:
        raise DataError(
            f"codes: batch is {batch}, threads {threads}, bad budget {bad_budget}, expected at least 1, 1 and 0."
        )
    if not 0 < tokens <= 1:
        raise DataError(f"codes: tokens is {tokens}, expected a share of the sides, 0 to 1.")
    output, tasks = epath.Path(output), planned.tasks
    sides = {task.source.bucket for task in tasks}
    small = {bucket: (round(tokens * bucket[0]), round(tokens * bucket[1])) for bucket in sides}
    made = {buckets_lib.name(bucket): tokenizer.grids(*small[bucket]) for bucket in sides}
    grids = {bucket: {branch: list(grid) for branch, grid in found.items()} for bucket, found in made.items()}
    # The source's own bound: it has dropped what loses more.
    crop = {"max_crop_loss": planned.job.get("options", {}).get("max_crop_loss", buckets_lib.MAX_CROP_LOSS)}
    job: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "reader": NAME,
        "reader_options": {},
        # What read the pictures, also where the source stores codes itself.
        "of": planned.job.get("of", {name: planned.job.get(name) for name in ("reader", "reader_options")}),
        "options": {"batch": batch} | crop,
        "tokenizer": {"fingerprint": tokenizer.codes_fingerprint, "high": tokenizer.high} | tokenizer.about,
        "source": {_folder(task): task.source.fingerprint for task in tasks},
    }
    more: dict[str, Any] = {"tokens": tokens} if tokens != 1 else {}
    if autoencoder is not None:
        shapes = {buckets_lib.name(bucket): list(autoencoder.shape(*bucket)) for bucket in sides}
        more["latents"] = {"fingerprint": autoencoder.fingerprint, "shapes": shapes}
    job |= {"stored": more} if more else {}
    if (done := jobs.finished(output, job)) is not None:
        return done
    work = jobs.claim(output, job)

    markers = {task.file: work / f"codes-{number:05d}.json" for number, task in enumerate(tasks)}
    found = {file: json.loads(path.read_text()) for file, path in markers.items() if path.exists()}
    bad = [record for shard in found.values() for record in shard["bad"]]
    jobs.check_budget(bad, bad_budget, output)
    left = [task for task in tasks if task.file not in found]

    def each() -> Iterator[None]:
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            for _, together in itertools.groupby(left, _folder):
                for shard in _write(list(together), Makers(tokenizer, tokens, autoencoder), output, pool, batch, crop):
                    if shard is not None:
                        # Without its marker a shard beyond the budget is read again: what failed may have passed.
                        bad.extend(shard["bad"])
                        jobs.check_budget(bad, bad_budget, output)
                        found[shard["file"]] = shard
                        shards.write_json(markers[shard["file"]], shard)
                    yield

    total = sum(len(task.source) for task in left)
    collections.deque(progress("codes", each(), total, "records"), maxlen=0)
    jobs.write_bad_records(bad, output)
    written: jobs.Splits = {}
    for task in tasks:
        split, bucket, _ = task.file.split("/")
        if entry := found[task.file]["entry"]:
            written.setdefault(split, {}).setdefault(bucket, []).append(entry)
    if not written:
        raise DataError(f"{planned.source}: no record is left, expected some; the last bad one: {bad[-1]['reason']}")
    about = {"label": tokenizer.label, "grids": grids} | job["tokenizer"] | more
    return jobs.finish(output, job, written, codes=about, bad=len(bad))


def _folder(task: Task) -> str:
    """SPLIT/BUCKET."""
    return task.file.rpartition("/")[0]


@dataclasses.dataclass(frozen=True)
class Makers:
    """What makes codes and latents, and at which share of their sides pictures are tokenized."""

    tokenizer: Tokenizer
    tokens: float
    autoencoder: Autoencoder | None


# ------------------------------------------------------------------------------------------------------- some shards
def _write(
    tasks: list[Task], makers: Makers, output: epath.Path, pool, batch: int, crop: dict
) -> Iterator[dict | None]:
    """Writes shards of one split and bucket; what is encoded together goes on from one to the next.

    Yields after every record; after the last of a shard {file, entry, bad}, whose entry is None where all are bad.
    Record i of the split and bucket is always row i % batch, whatever stands in the other rows (bad records, records
    of shards that are whole and those behind the last one leave theirs to others). So its codes are the same bits
    wherever an earlier run was interrupted: rounding may depend on the row, and not on what the others hold.
    """
    bucket = tasks[0].source.bucket
    stream = {"shape_class": "picture", "height": bucket[0], "width": bucket[1], "high": makers.tokenizer.high}
    stream["tokens"] = makers.tokens
    make = lambda at: (*at, _row(at[0].source, at[1] - at[0].first, stream, crop))
    records = ((task, i) for task in tasks for i in range(task.first, task.first + len(task.source)))
    writer, bad = None, []
    try:
        for _, group in itertools.groupby(_ahead(pool, make, records, batch), lambda made: made[1] // batch):
            together = collections.deque(group)
            pictures = {i % batch: made[1] for _, i, made in together if isinstance(made, tuple)}
            codes, latents = _encode(makers.tokenizer, pictures, batch), _latents(makers.autoencoder, pictures, batch)
            del pictures
            while together:  # emptied, so that no picture stays in memory while the next ones are read
                task, i, made = together.popleft()
                writer = writer or shards.Writer(output / task.file)
                if isinstance(made, tuple):
                    made[0].codes, made[0].latents = codes[i % batch], latents.get(i % batch, made[0].latents)
                    writer.write(encode(made[0]))
                else:
                    bad.append(made)
                if i + 1 < task.first + len(task.source):
                    yield None
                    continue
                task.source.close()
                entry = {"file": task.file} | writer.close() if writer.records else None
                writer.abandon()  # nothing, once it is closed
                yield {"file": task.file, "entry": entry, "bad": bad}
                writer, bad = None, []
    finally:
        if writer is not None:
            writer.abandon()


def _encode(tokenizer: Tokenizer, rows: dict[int, Row], batch: int) -> dict[int, Codes]:
    """The codes of some rows of a batch, by number; the other rows are filled up."""
    if not rows:
        return {}
    filled = [rows.get(i, next(iter(rows.values()))) for i in range(batch)]
    high = np.stack([row["high"] for row in filled]) if tokenizer.high else None
    found = tokenizer.encode(np.stack([row.get("low", row["image"]) for row in filled]), high)
    of = lambda i: {branch: codes[i].astype(np.int32) for branch, codes in found.items()}
    return {i: Codes(fingerprint=tokenizer.codes_fingerprint, **of(i)) for i in rows}


def _latents(autoencoder: Autoencoder | None, rows: dict[int, Row], batch: int) -> dict[int, Latents]:
    """The latents of some rows of a batch, as _encode."""
    if autoencoder is None or not rows:
        return {}
    filled = [rows.get(i, next(iter(rows.values()))) for i in range(batch)]
    found = autoencoder.encode(np.stack([row["image"] for row in filled]))
    return {i: Latents(fingerprint=autoencoder.fingerprint, values=found[i]) for i in rows}


def _ahead(pool, make: Callable, items: Iterable, count: int) -> Iterator:
    """make(item) of each, in order, of which the pool makes up to `count` ahead."""
    made: collections.deque = collections.deque()
    for item in items:
        made.append(pool.submit(make, item))
        if len(made) > count:
            yield made.popleft().result()
    while made:
        yield made.popleft().result()


def _row(source: shards.Shards, index: int, stream: dict, crop: dict) -> tuple[Example, Row] | dict:
    """A record and what is encoded of it, or {key, reason} of a bad one."""
    key = "{}:{}".format(*source.where(index))
    try:
        example = source[index]
        key = example.id
        return example, rows.row(example, stream, **crop)
    except DataError as error:
        return {"key": key, "reason": str(error)}


# ----------------------------------------------------------------------------------------------------------- command
class Loaded:
    """The Tokenizer of a checkpoint, on all devices of this process."""

    def __init__(self, directory: str, weights: str, batch: int):
        """Raises: DataError for a directory that holds no tokenizer, a batch that the devices cannot share."""
        import focus_jax
        from focus_jax.errors import UserError
        from focus_jax.platforms import without_absent_tpu

        without_absent_tpu()
        import jax

        from focus_jax.training import sharding

        devices = jax.local_devices()
        if batch % len(devices):
            raise DataError(f"--batch={batch}: expected a multiple of the {len(devices)} devices.")
        sizes = {"dcn_data": 1, "data": -1, "fsdp": 1, "tensor": 1}
        try:
            model = focus_jax.load(directory, weights, sharding.make_mesh(sizes, devices) if len(devices) > 1 else None)
            self.high = model.high
        except UserError as error:
            raise DataError(f"--tokenizer: {str(error).removeprefix('load: ')}") from error
        self._grids, self._error = model.grids, UserError
        self.encode, self.label, self.codes_fingerprint = model.encode, model.label, model.codes_fingerprint
        self.about = {
            "form": model.config.model.tokenizer.form,
            "branches": list(model.stage.tokenizer.branches),
            "compute_dtype": model.config.compute_dtype,
        }

    def grids(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        try:
            return self._grids(height, width)
        except self._error as error:
            raise DataError(f"--buckets: {error}") from error


class LoadedAutoencoder:
    """The Autoencoder of a checkpoint or of an imported file, on one device."""

    def __init__(self, directory: str, weights: str):
        """Raises: DataError for a directory that holds none."""
        from focus_jax.errors import UserError
        from focus_jax.inference.latents import Latents as Encoder

        try:
            found = Encoder.load(directory, weights)
        except UserError as error:
            raise DataError(f"--latents: {str(error).removeprefix('latents: ')}") from error
        self.fingerprint, self.label, self.encode = found.fingerprint, found.label, found.encode
        self._shape, self._error = found.shape, UserError

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        try:
            return self._shape(height, width)
        except self._error as error:
            raise DataError(f"--latents: {error}") from error


def main(argv: list[str]) -> None:
    """`python -m data_pipelines.prepare codes ...`; argv holds the word codes. Raises: DataError."""
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("name", choices=[NAME], help="this command")
    add("--tokenizer", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--source", required=True, metavar="DIR", help="directory that data_pipelines.prepare finished")
    add("--output", required=True, metavar="DIR", help="directory of the shards")
    add("--buckets", default="", metavar="256|512|HxW,...", help="sizes to encode at (default: the source's)")
    add("--splits", default="", metavar="NAME,...", help="splits to encode (default: all)")
    add("--tokens", type=float, default=1.0, metavar="SHARE", help="of the sides, at which codes are made (default: 1)")
    add(
        "--latents", default="", metavar="DIR", help="checkpoint whose autoencoder's latents are stored (default: none)"
    )
    add("--batch", type=int, default=32, help="pictures encoded together, a multiple of the devices (default: 32)")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
    add("--threads", type=int, default=4, help="threads that decode pictures (default: 4)")
    add("--bad-budget", type=int, default=0, help="records that may be impossible to encode before giving up")
    args = parser.parse_args(argv)
    buckets = buckets_lib.parse(args.buckets) if args.buckets else ()
    splits = [split for split in args.splits.split(",") if split]
    planned = plan(args.source, buckets, splits)  # a mistake here is told before the tokenizer is read
    tokenizer = Loaded(args.tokenizer, args.weights, args.batch)
    autoencoder = LoadedAutoencoder(args.latents, args.weights) if args.latents else None
    manifest = prepare_codes(
        tokenizer, planned, args.output, batch=args.batch, threads=args.threads, bad_budget=args.bad_budget,
        tokens=args.tokens, autoencoder=autoencoder,
    )  # fmt: skip
    jobs.print_records(manifest)
    print(f"codes of {manifest['codes']['fingerprint']}; bad: {manifest['bad']}; written to {args.output}")
