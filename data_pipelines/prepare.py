# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Turns a raw data set into validated ArrayRecord shards by split and bucket.

  python -m data_pipelines.prepare folder --source=PICTURES --output=DIR --buckets=256 --validation=0.05
  python -m data_pipelines.prepare webdataset --source=TARS --output=DIR --min-side=256 --workers=16
  python -m data_pipelines.prepare img2dataset --source=PARQUET --output=DIR
  python -m data_pipelines.prepare llava --source=llava_v1_5_mix665k.json --images=PICTURES --output=DIR
  python -m data_pipelines.prepare pixmo --source=pixmo-cap --images=PICTURES --subset=cap --output=DIR
  python -m data_pipelines.prepare text --source=OpenHermes-2.5 --layout=openhermes --output=DIR
  python -m data_pipelines.prepare davis --source=DAVIS --output=DIR --buckets=512
  python -m data_pipelines.prepare instruct_pix2pix --source=FOLDER --output=DIR --buckets=512
  python -m data_pipelines.prepare tfds --source=DATA_SET_DIR --output=DIR
  python -m data_pipelines.prepare photographs --output=DIR
  python -m data_pipelines.prepare world --output=DIR --preset=standard --tasks=panoptic,referring --train=20000
  python -m data_pipelines.prepare codes --tokenizer=RUN --source=PREPARED --output=DIR

Every picture is decoded once to see that it is whole; then records that the filters or the de-duplication refuse are
dropped and counted by reason in DIR/manifest.json, and the rest are stored as they came (never re-encoded). A record
that cannot be read is listed in DIR/bad_records.jsonl; more of them than --bad-budget end the run. A record with many
pictures or frames goes to the bucket of its first, at which the filters look; a conversation without any to the bucket
`text`. Of clips and of edits only exact duplicates are dropped.

Interrupted at any point, DIR holds no manifest and no half-written shard under a shard's name; the same command goes on
where it stopped and ends with the same bytes as an uninterrupted run.

`codes` is no reader: it writes a prepared directory again, with each picture's codes (`codes --help`).
"""

import argparse
import collections
import dataclasses
import functools
import hashlib
import inspect
import json
import sys

from etils import epath

from data_pipelines import buckets as buckets_lib
from data_pipelines import codes, dedup, jobs, readers, shards, transforms
from data_pipelines.engine import Local
from data_pipelines.errors import DataError
from data_pipelines.example import SCHEMA_VERSION, Example, Frame, Image, Turn, encode
from data_pipelines.progress import progress

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What decides the result. Bounds of None are off."""

    buckets: tuple[buckets_lib.Bucket, ...] = buckets_lib.ANCHORS_256
    max_crop_loss: float = buckets_lib.MAX_CROP_LOSS
    min_side: int | None = None  # pixels of the shorter side
    max_aspect: float | None = None  # longer side / shorter side
    min_pixels: int | None = None
    max_pixels: int | None = None
    near: int = 3  # bits of the perceptual hash; -1: exact duplicates only
    validation: float = 0.0  # share of the records without a split, by hash of their key
    test: float = 0.0

    def __post_init__(self):
        if not (0 <= self.validation and 0 <= self.test and self.validation + self.test < 1):
            raise DataError(f"prepare: validation {self.validation} and test {self.test}, expected shares below 1.")
        if not -1 <= self.near < 64:
            raise DataError(f"prepare: near is {self.near}, expected -1 (off) to 63 bits.")


def prepare(
    name: str,
    source="",
    output="",
    *,
    workers: int = 0,
    bad_budget: int = 0,
    engine=None,
    reader_options: dict | None = None,
    **fields,
) -> dict:
    """Prepares a data set and returns its manifest.

    Args:
      name: of the reader (readers.READERS).
      source, output: directories; the output may be a finished or interrupted run of the same command.
      workers: processes; 0 runs in this one.
      bad_budget: how many records may be unreadable.
      engine: what maps the work (engine.py), by default Local(workers).
      reader_options: keyword arguments of the reader.
      fields: of Options; the reader's own defaults come before those of Options.

    Raises:
      DataError: no such reader or source, an output that holds other data or cannot be written, too many bad records.
    """
    cls = readers.get(name)
    reader = cls(source, **(reader_options or {}))
    options = Options(**(getattr(cls, "defaults", {}) | fields))
    output, engine = epath.Path(output), engine or Local(workers)
    partitions = reader.partitions()
    job = {
        "schema_version": SCHEMA_VERSION,
        "reader": name,
        "reader_options": reader.options(),
        "options": json.loads(json.dumps(dataclasses.asdict(options))),
        "partitions": len(partitions),
        "source_listing": hashlib.sha256(json.dumps(partitions).encode()).hexdigest(),
    }
    if (done := jobs.finished(output, job)) is not None:
        return done
    work = jobs.claim(output, job)

    scan = functools.partial(_scan, reader, options, work)
    scans = []
    for found in progress("scan", engine.map(scan, list(enumerate(partitions))), len(partitions), "partitions"):
        scans.append(found)
        jobs.check_budget(_bad(scans), bad_budget, output)
    bad = _bad(scans)
    jobs.write_bad_records(bad, output)
    decisions, dropped = _decide(scans, options)
    write = functools.partial(_write, reader, output)
    items = [(number, partition, keep) for (number, partition), keep in zip(enumerate(partitions), decisions)]
    splits: jobs.Splits = {}
    for entries in progress("write", engine.map(write, items), len(partitions), "partitions"):
        for split, bucket, entry in entries:
            splits.setdefault(split, {}).setdefault(bucket, []).append(entry)
    if not splits:
        raise DataError(f"{source or name}: no record is left, expected some; dropped: {dict(dropped) or 'none'}.")
    return jobs.finish(output, job, splits, dropped=dict(dropped), bad=len(bad))


def ensure_prepared(source) -> None:
    """Prepares a config source {path, reader, options} whose path holds no manifest yet, if that needs no download.

    Call it in one process of a run, before the others open the source. A source of the world without a path is drawn as
    it is read. Raises: DataError for a path that this reader prepared with other options than the source's, be it with
    codes added since.
    """
    if source.get("reader") == "world" and not source.get("path"):
        return
    reader, options = source.get("reader"), dict(source.get("options") or {})
    if (epath.Path(source["path"]) / shards.MANIFEST).exists():
        job = shards.read_manifest(source["path"]).get("job", {})
        made = job.get("of", job)
        had = made["reader_options"] if reader and made.get("reader") == reader else {}
        if other := sorted(k for k in had.keys() & options.keys() if had[k] != options[k]):
            raise DataError(
                f"{source['path']}: was prepared with {other[0]} {had[other[0]]!r}, the config's source asks for "
                f"{options[other[0]]!r}; name another path or delete that folder."
            )
        return
    if reader not in readers.NEEDS_NO_SOURCE:
        raise DataError(
            f"{source['path']}: holds no prepared data; run python -m data_pipelines.prepare "
            f"{reader or 'READER'} --source=DIR --output={source['path']} first."
        )
    prepare(reader, "", source["path"], reader_options=options)


# ------------------------------------------------------------------------------------------ first pass, in parallel
def _scan(reader, options: Options, work: epath.Path, item: tuple[int, str]) -> list[dict]:
    """What is in a partition: for each record {key, bad}, {key, drop} or {key, split, bucket, sizes, exact, near}."""
    number, partition = item
    marker = work / f"scan-{number:05d}.json"
    if marker.exists():
        return json.loads(marker.read_text())
    found = [_examine(key, example, options) for key, example in reader.read(partition)]
    shards.write_json(marker, found)
    return found


def _examine(key: str, example: Example | DataError, options: Options) -> dict:
    if isinstance(example, DataError):
        return {"key": key, "bad": str(example)}
    talk, edit = any(turn.role != "caption" for turn in example.turns), example.target is not None
    if not example.images and not example.frames and not talk:
        return {"key": key, "drop": "no image"}
    try:
        encode(example)
        images = [transforms.decode(image.data, key) for image in _pictures(example)]
    except DataError as error:
        return {"key": key, "bad": str(error)}
    bucket = buckets_lib.TEXT
    if images:
        height, width = images[0].height, images[0].width
        bucket = buckets_lib.nearest(height, width, options.buckets)
        if reason := _refused(height, width, bucket, options):
            return {"key": key, "drop": reason}
    exact, near = dedup.hashes(images, options.near)
    # Conversations about one picture are of one split, so that a held-out picture stays held out.
    split = example.split or _deal_split(exact if talk and images else key, options)
    if split not in SPLITS:
        return {"key": key, "bad": f"{key}: split is '{split}', expected one of {', '.join(SPLITS)}."}
    if talk or edit:  # many are about one picture
        said = example.turns if talk else [Turn(role="user", text=example.instruction)]
        exact, near = dedup.with_words(exact, said), None
    elif example.frames:  # clips of one video begin alike
        near = None
    sizes = [list(image.size) for image in images]
    found = {"key": key, "split": split, "bucket": buckets_lib.name(bucket), "sizes": sizes}
    return found | {"exact": exact, "near": near}


def _pictures(example: Example) -> list[Image]:
    """All that a record holds, in the order in which sizes are noted: images, frames, the target."""
    target = [] if example.target is None else [example.target]
    return [*example.images, *(frame.image for frame in example.frames), *target]


def _sized(example: Example, sizes: list) -> None:
    """Writes down the sizes of its pictures."""
    found = iter([Image(data=i.data, width=w, height=h) for i, (w, h) in zip(_pictures(example), sizes)])
    example.images = [next(found) for _ in example.images]
    example.frames = [Frame(image=next(found), time=frame.time) for frame in example.frames]
    example.target = None if example.target is None else next(found)


def _refused(height: int, width: int, bucket: buckets_lib.Bucket, options: Options) -> str | None:
    """Why the filters drop a picture of this size, or None."""
    if options.min_side is not None and min(height, width) < options.min_side:
        return "smallest side"
    if options.max_aspect is not None and max(height, width) > options.max_aspect * min(height, width):
        return "aspect"
    if options.min_pixels is not None and height * width < options.min_pixels:
        return "too few pixels"
    if options.max_pixels is not None and height * width > options.max_pixels:
        return "too many pixels"
    return "crop loss" if buckets_lib.crop_loss(height, width, bucket) > options.max_crop_loss else None


def _deal_split(key: str, options: Options) -> str:
    """By hash of the key, so that adding pictures moves none from one split to another."""
    u = int.from_bytes(hashlib.sha256(key.encode(errors="surrogateescape")).digest()[:8]) / 2**64
    return "validation" if u < options.validation else "test" if u < options.validation + options.test else "train"


# --------------------------------------------------------------------------------------------- between the passes
def _decide(scans: list[list[dict]], options: Options) -> tuple[list[list], collections.Counter]:
    """For each partition [[index, key, split, bucket, sizes], ...] to keep, and the dropped counted by reason."""
    dropped = collections.Counter(record["drop"] for found in scans for record in found if "drop" in record)
    good = [(p, i, record) for p, found in enumerate(scans) for i, record in enumerate(found) if "split" in record]
    _check_keys(good)
    twins = dedup.duplicates(((r["split"], r["exact"], r["near"]) for _, _, r in good), options.near)
    dropped.update(twins.values())
    keep: list[list] = [[] for _ in scans]
    for n, (p, i, record) in enumerate(good):
        if n not in twins:
            keep[p].append([i, record["key"], record["split"], record["bucket"], record["sizes"]])
    return keep, dropped


def _check_keys(good: list) -> None:
    seen = set()
    for _, _, record in good:
        if record["key"] in seen:
            raise DataError(f"{record['key']}: this key stands twice in the source, expected unique keys.")
        seen.add(record["key"])


def _bad(scans: list[list[dict]]) -> list[dict]:
    return [{"key": r["key"], "reason": r["bad"]} for found in scans for r in found if "bad" in r]


# ----------------------------------------------------------------------------------------- second pass, in parallel
def _write(reader, output: epath.Path, item: tuple[int, str, list]) -> list[list]:
    """Writes the records to keep of a partition and returns [[split, bucket, manifest entry of the shard], ...]."""
    number, partition, keep = item
    marker = output / jobs.WORK / f"write-{number:05d}.json"
    decision = hashlib.sha256(json.dumps(keep).encode()).hexdigest()
    if marker.exists():
        done = json.loads(marker.read_text())
        if done["decision"] == decision:
            return done["entries"]
    writers, wanted = {}, {index: rest for index, *rest in keep}
    try:
        for index, (key, example) in enumerate(reader.read(partition) if keep else ()):
            if index not in wanted:
                continue
            wanted_key, split, bucket, sizes = wanted.pop(index)
            if key != wanted_key or isinstance(example, DataError) or len(_pictures(example)) != len(sizes):
                raise DataError(f"{key}: changed while it was being prepared, expected a source at rest.")
            example.split = split
            _sized(example, sizes)
            if (split, bucket) not in writers:
                path = output / split / bucket / f"{number:05d}{shards.SUFFIX}"
                writers[split, bucket] = shards.Writer(path)
            writers[split, bucket].write(encode(example))
        if wanted:
            raise DataError(f"{partition}: records are missing that were there before, expected a source at rest.")
        entries = []
        for (split, bucket), writer in sorted(writers.items()):
            file = f"{split}/{bucket}/{writer.path.name}"
            entries.append([split, bucket, {"file": file} | writer.close()])
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise
    shards.write_json(marker, {"decision": decision, "entries": entries})
    return entries


# ----------------------------------------------------------------------------------------------------------- command
def _parser(cls=None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.prepare",
        description=f"{__doc__}\n\nReader:\n  {inspect.getdoc(cls)}".replace("\n", "\n  ") if cls else __doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Options(**getattr(cls, "defaults", {}))
    add = parser.add_argument
    names = sorted([*readers.READERS, codes.NAME])
    add("name", choices=names, help="reader, or codes; `NAME --help` adds its own options")
    add("--source", default="", help="directory of the raw data")
    add("--output", required=True, help="directory of the shards")
    add("--buckets", type=buckets_lib.parse, default=list(default.buckets), metavar="256|512|HxW,...")
    add("--max-crop-loss", type=float, default=default.max_crop_loss, help="largest share lost to the bucket's crop")
    add("--min-side", type=int, help="smallest allowed side in pixels")
    add("--max-aspect", type=float, help="largest allowed longer side / shorter side")
    add("--min-pixels", type=int, help="smallest allowed width x height")
    add("--max-pixels", type=int, help="largest allowed width x height")
    add("--near", type=int, default=default.near, help="bits by which near-duplicates may differ; -1: keep them")
    add("--validation", type=float, default=0.0, help="share of records without a split to hold out")
    add("--test", type=float, default=0.0, help="share of records without a split to hold out for test")
    add("--workers", type=int, default=0, help="processes; 0: this one")
    add("--bad-budget", type=int, default=0, help="unreadable records that are skipped and listed before giving up")
    for option in _reader_options(cls):
        kind = str if option.default is None else type(option.default)
        flag = f"--{option.name.replace('_', '-')}"
        add(flag, type=kind, default=option.default, help=f"of the reader (default {option.default!r})")
    return parser


def _reader_options(cls) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(cls).parameters.values() if p.kind == p.KEYWORD_ONLY] if cls else []


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv[:1] == [codes.NAME]:
            codes.main(argv)
            return 0
        named = next((argument for argument in argv if argument in readers.READERS), None)
        cls = readers.get(named) if named else None
        parser = _parser(cls)
        if parser.parse_known_args(argv)[0].name == codes.NAME:  # the options behind it are unknown to this parser
            raise DataError("codes: stands behind other options, expected it first: `prepare codes --tokenizer=...`.")
        args = vars(parser.parse_args(argv))
        name, source, output = args.pop("name"), args.pop("source"), args.pop("output")
        reader_options = {option.name: args.pop(option.name) for option in _reader_options(cls)}
        args["buckets"] = tuple(args["buckets"])
        manifest = prepare(name, source, output, reader_options=reader_options, **args)
    except DataError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 2
    jobs.print_records(manifest)
    print(f"dropped: {manifest['dropped'] or 'none'}; bad: {manifest['bad']}; written to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
