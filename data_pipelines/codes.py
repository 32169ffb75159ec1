# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Writes a prepared directory again with every picture's codes, for stages that read codes instead of a tokenizer.

  python -m data_pipelines.prepare codes --tokenizer=runs/stage1_tokenizer --source=data/pictures --output=data/codes
  python -m data_pipelines.prepare codes --tokenizer=RUN --source=PREPARED --output=DIR --buckets=256 --batch=256

A record of DIR is the source's, picture and all, with the codes of its first picture in its bucket: resized to cover
the bucket, centre crop, nothing flipped, as training sees it. Codes serve exactly the bucket they were made for, so
name every bucket that a stage will read (streams of shape class `codes`, data_pipelines/rows.py). A bucket that the
source does not have is made from records of a larger one of the same aspect ratio; one that no record serves is left
out.

DIR/manifest.json names the tokenizer's fingerprint, and so does each record; a run whose tokenizer has another refuses
the data. Pictures that cannot be encoded are listed in DIR/bad_records.jsonl; more of them than --bad-budget end the
command. Interrupted at any point, the same command goes on at the next shard and ends with the same bytes. All devices
of this process are used, each for its share of a batch.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from etils import epath

from data_pipelines import buckets as buckets_lib
from data_pipelines import jobs, rows, shards
from data_pipelines.errors import DataError
from data_pipelines.example import SCHEMA_VERSION, Codes, Example, encode
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


@dataclasses.dataclass(frozen=True)
class Task:
    """A shard to write: the codes of records first to first + count of a source."""

    file: str
    source: shards.Shards
    first: int
    count: int


def plan(source, buckets: Sequence[buckets_lib.Bucket] = (), splits: Sequence[str] = ()) -> list[Task]:
    """The shards to write for a prepared directory, one for each that is read.

    buckets, splits: default all of the source.
    Raises: DataError for no or damaged prepared data, an unknown split, buckets that no record serves.
    """
    prepared = shards.read_manifest(source)["splits"]
    if unknown := set(splits) - set(prepared):
        raise DataError(f"{source}: has no split '{sorted(unknown)[0]}', expected some of {', '.join(prepared)}.")
    tasks = []
    for split in sorted(set(splits or prepared)):
        for bucket in sorted(set(buckets or [buckets_lib.parse(name)[0] for name in prepared[split]])):
            records = shards.Shards(source, split, bucket)
            first = 0
            for number, shard in enumerate(records.shards):
                file = f"{split}/{buckets_lib.name(bucket)}/{number:05d}{shards.SUFFIX}"
                tasks.append(Task(file, records, first, shard["records"]))
                first += shard["records"]
    if not tasks:
        asked = ", ".join(map(buckets_lib.name, buckets))
        had = ", ".join(sorted({name for found in prepared.values() for name in found}))
        raise DataError(f"{source}: no record serves buckets {asked or 'none'}, expected some of its own: {had}.")
    return tasks


def prepare_codes(
    tokenizer: Tokenizer,
    source,
    output,
    *,
    buckets: Sequence[buckets_lib.Bucket] = (),
    splits: Sequence[str] = (),
    batch: int = 32,
    threads: int = 4,
    bad_budget: int = 0,
) -> dict:
    """Writes `output` and returns its manifest.

    Args:
      source, output: directories; the output may be a finished or interrupted run of the same command.
      buckets, splits: as in `plan`.
      batch: pictures that are encoded together; the last ones of a shard are filled up to it.
      threads: that decode pictures, up to a batch ahead.
      bad_budget: how many records may be impossible to encode.

    Raises: DataError, also of `plan`, for an output that holds other data or cannot be written, too many bad records.
    """
    if min(batch, threads) < 1 or bad_budget < 0:
        raise DataError(
            f"codes: batch is {batch}, threads {threads}, bad budget {bad_budget}, expected at least 1, 1 and 0."
        )
    output, tasks = epath.Path(output), plan(source, buckets, splits)
    grids = {buckets_lib.name(bucket): tokenizer.grids(*bucket) for bucket in {task.source.bucket for task in tasks}}
    # The source's own bound: it has dropped what loses more.
    options = shards.read_manifest(source).get("job", {}).get("options", {})
    crop = {"max_crop_loss": options.get("max_crop_loss", buckets_lib.MAX_CROP_LOSS)}
    job: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "reader": NAME,
        "reader_options": {},
        "options": {"batch": batch} | crop,
        "tokenizer": {"fingerprint": tokenizer.codes_fingerprint, "high": tokenizer.high} | tokenizer.about,
        "source": {epath.Path(task.file).parent.as_posix(): task.source.fingerprint for task in tasks},
    }
    if (done := jobs.finished(output, job)) is not None:
        return done
    work = jobs.claim(output, job)

    markers = [work / f"codes-{number:05d}.json" for number in range(len(tasks))]
    found = {path: json.loads(path.read_text()) for path in markers if path.exists()}
    bad = lambda: [record for path in markers for record in found.get(path, {}).get("bad", ())]
    jobs.check_budget(bad(), bad_budget, output)

    def each() -> Iterator[None]:
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            for task, marker in zip(tasks, markers):
                if marker not in found:
                    found[marker] = yield from _write(task, tokenizer, output, pool, batch, crop)
                    shards.write_json(marker, found[marker])
                    jobs.check_budget(bad(), bad_budget, output)

    left = sum(task.count for task, marker in zip(tasks, markers) if marker not in found)
    collections.deque(progress("codes", each(), left, "records"), maxlen=0)
    jobs.write_bad_records(bad(), output)
    written: dict[str, dict[str, list]] = {}
    for task, marker in zip(tasks, markers):
        split, bucket, _ = task.file.split("/")
        if entry := found[marker]["entry"]:
            written.setdefault(split, {}).setdefault(bucket, []).append(entry)
    if not written:
        raise DataError(f"{source}: no record is left, expected some; the last bad one: {bad()[-1]['reason']}")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "job": job,
        "codes": {"label": tokenizer.label, "grids": grids} | job["tokenizer"],
        "records": {s: {b: sum(e["records"] for e in es) for b, es in bs.items()} for s, bs in written.items()},
        "bad": len(bad()),
        "splits": written,
    }
    jobs.finish(output, manifest)
    return shards.read_manifest(output)


# --------------------------------------------------------------------------------------------------------- one shard
def _write(task: Task, tokenizer: Tokenizer, output: epath.Path, pool, batch: int, crop: dict):
    """Writes a shard, yielding after every record. Returns {entry, bad}; the entry is None where all are bad."""
    bucket = task.source.bucket
    stream = {"shape_class": "picture", "height": bucket[0], "width": bucket[1], "high": tokenizer.high}
    make = lambda index: _row(task.source, index, stream, crop)
    writer = shards.Writer(output / task.file)
    bad: list[dict] = []
    waiting: list[tuple[Example, Row]] = []

    def encode_waiting():
        made = [row for _, row in waiting] + [waiting[-1][1]] * (batch - len(waiting))
        high = np.stack([row["high"] for row in made]) if tokenizer.high else None
        codes = tokenizer.encode(np.stack([row["image"] for row in made]), high)
        for i, (example, _) in enumerate(waiting):
            found = {branch: x[i].astype(np.int32) for branch, x in codes.items()}
            example.codes = Codes(
                fingerprint=tokenizer.codes_fingerprint, semantic=found.get("semantic"), pixel=found.get("pixel")
            )
            writer.write(encode(example))
        waiting.clear()

    try:
        for made in _ahead(pool, make, range(task.first, task.first + task.count), batch):
            if isinstance(made, dict):
                bad.append(made)
            else:
                waiting.append(made)
            if len(waiting) == batch:
                encode_waiting()
            yield
        if waiting:
            encode_waiting()
        entry = {"file": task.file} | writer.close() if writer.records else None
    finally:
        writer.abandon()  # nothing, once it is closed
    return {"entry": entry, "bad": bad}


def _ahead(pool, make: Callable, items: Sequence, count: int) -> Iterator:
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

    def __init__(self, directory: str, weights: str):
        """Raises: DataError for a directory that holds no tokenizer."""
        import focus_jax
        from focus_jax.errors import UserError
        from focus_jax.platforms import without_absent_tpu

        without_absent_tpu()
        import jax

        from focus_jax.training import sharding

        devices = jax.local_devices()
        sizes = {"dcn_data": 1, "data": -1, "fsdp": 1, "tensor": 1}
        try:
            model = focus_jax.load(directory, weights, sharding.make_mesh(sizes, devices) if len(devices) > 1 else None)
            self.high = model.high
        except UserError as error:
            raise DataError(f"--tokenizer: {str(error).removeprefix('load: ')}") from error
        self._grids, self._error = model.stage.tokenizer.grids, UserError
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


def main(argv: list[str]) -> int:
    """`python -m data_pipelines.prepare codes ...`; argv holds the word codes."""
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
    add("--batch", type=int, default=32, help="pictures encoded together (default: 32)")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
    add("--threads", type=int, default=4, help="threads that decode pictures (default: 4)")
    add("--bad-budget", type=int, default=0, help="records that may be impossible to encode before giving up")
    args = parser.parse_args(argv)
    try:
        buckets = buckets_lib.parse(args.buckets) if args.buckets else ()
        splits = [split for split in args.splits.split(",") if split]
        plan(args.source, buckets, splits)  # a mistake here is told before the tokenizer is read
        tokenizer = Loaded(args.tokenizer, args.weights)
        manifest = prepare_codes(
            tokenizer,
            args.source,
            args.output,
            buckets=buckets,
            splits=splits,
            batch=args.batch,
            threads=args.threads,
            bad_budget=args.bad_budget,
        )
    except DataError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 2
    jobs.print_records(manifest)
    print(f"codes of {manifest['codes']['fingerprint']}; bad: {manifest['bad']}; written to {args.output}")
    return 0
