# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Prepared data on disk: ArrayRecord shards by split and bucket beside manifest.json, which is written last.

  DIR/manifest.json
  DIR/train/384x512/00012.arrayrecord      one record a chunk, not compressed again (pictures already are)

When checksums are read: the size of every shard is checked at each open. The sha256 of the shards that are opened is
checked at the first open of a process where they hold at most AUTO_VERIFY_BYTES together, or always, or never, as
`verify` says; hashing terabytes on every host at every start would cost more than it finds, because ArrayRecord keeps
a hash of each record of its own, so damage inside a shard surfaces at the latest as a bad record when it is read.
"""

import bisect
import contextlib
import copy
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from data_pipelines import buckets as buckets_lib
from data_pipelines.errors import DataError
from data_pipelines.example import SCHEMA_VERSION, Example, decode

MANIFEST = "manifest.json"
SUFFIX = ".arrayrecord"
AUTO_VERIFY_BYTES = 256 * 2**20
VERIFY = ("auto", "always", "never")
_WRITER_OPTIONS = "group_size:1,uncompressed"  # group size 1: random access reads one record, not a group

_verified: set[tuple[str, str]] = set()


def read_manifest(directory) -> dict:
    """The manifest of a prepared directory, its version checked."""
    path = epath.Path(directory) / MANIFEST
    if not path.exists():
        raise DataError(f"{path}: is missing, expected a directory that `data_pipelines.prepare` finished.")
    try:
        manifest = json.loads(path.read_text())
        version = manifest["schema_version"]
        _ = manifest["splits"], manifest.get("codes") and (manifest["codes"]["fingerprint"], manifest["codes"]["grids"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is not a manifest ({error!r}), expected JSON with schema_version, splits.") from error
    if version != SCHEMA_VERSION:
        raise DataError(f"{path}: schema_version is {version}, expected {SCHEMA_VERSION}; prepare the data again.")
    return manifest


def checksum(path) -> str:
    digest = hashlib.sha256()
    with epath.Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def local(path) -> str:
    """The path as ArrayRecord opens it: files of this machine or of a mounted bucket."""
    text = os.fspath(epath.Path(path))
    if "://" in text:
        raise DataError(f"{text}: ArrayRecord reads and writes local files, expected a mounted bucket (gcsfuse).")
    return text


@contextlib.contextmanager
def writing(path):
    """Turns what a failed write raises (no space, no permission, no folder) into one sentence."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # ArrayRecord raises RuntimeError
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise DataError(f"{path}: cannot be written ({reason}), expected free space and write permission.") from error


def write_json(path, content) -> None:
    """A JSON file, whole or absent."""
    path = epath.Path(path)
    partial = path.parent / f".{path.name}.partial"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        sync(partial)
        partial.replace(path)


def sync(path) -> None:
    """Flushes a local file to disk, so that a rename cannot overtake its content."""
    if "://" not in os.fspath(path):
        with open(path, "rb") as file:
            os.fsync(file.fileno())


class Writer:
    """One shard, whole or absent: written under a temporary name, flushed to disk, then renamed."""

    def __init__(self, path):
        self.path = epath.Path(path)
        self.partial = self.path.parent / f".{self.path.name}.partial"
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.partial.unlink(missing_ok=True)
            self._writer = ArrayRecordWriter(local(self.partial), _WRITER_OPTIONS)
        self.records = 0

    def write(self, data: bytes) -> None:
        with writing(self.path):
            self._writer.write(data)
        self.records += 1

    def close(self) -> dict:
        """Finishes the shard and returns its manifest entry without the file name."""
        with writing(self.path):
            self._writer.close()
            entry = {"records": self.records, "bytes": self.partial.stat().length, "sha256": checksum(self.partial)}
            sync(self.partial)
            self.partial.replace(self.path)  # an interrupted run may have left it, without its marker
        return entry

    def abandon(self) -> None:
        if self._writer.is_open():
            try:
                self._writer.close()
            except RuntimeError:
                pass  # the error that made us give up is the one to report
        self.partial.unlink(missing_ok=True)


class _Instruction(NamedTuple):
    """What ArrayRecordDataSource needs to skip opening every file only to count its records."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


class Shards:
    """The records of one split and bucket, random access: source[i] -> Example.

    Records prepared for the bucket itself are used, or else those of the prepared buckets of the same aspect ratio that
    are at least as large. `len` is 0 where there are none.

    manifest: of the directory, for a caller that has read it already.
    grids: {branch: (h, w)} of the codes that will be read; where there are records, these must be there, and for the
    bucket itself. Then `codes_fingerprint` is that of the tokenizer which made them, and else "". latents: (h, w, C) of
    the latents that will be read beside them, () for none; `latents_fingerprint` is of the autoencoder.
    """

    def __init__(
        self,
        directory,
        split: str,
        bucket: buckets_lib.Bucket,
        *,
        name: str = "",
        verify: str = "auto",
        manifest: dict | None = None,
        grids: Mapping[str, tuple[int, int]] | None = None,
        latents: Sequence[int] = (),
    ):
        if verify not in VERIFY:
            raise DataError(f"data.verify: is {verify!r}, expected one of {', '.join(VERIFY)}.")
        self.directory, self.split = epath.Path(directory), split
        self.bucket = bucket[0], bucket[1]
        self.name = name or self.directory.name
        manifest = manifest or read_manifest(directory)
        prepared = manifest["splits"].get(split, {})
        usable = {b: e for b, e in prepared.items() if buckets_lib.serves(buckets_lib.named(b), self.bucket)}
        exact = buckets_lib.name(self.bucket)
        self.codes_fingerprint = self.latents_fingerprint = ""
        if grids and usable:
            _check_codes(directory, manifest.get("codes"), exact, sorted(usable), grids)
            self.codes_fingerprint = manifest["codes"]["fingerprint"]
        if latents and usable:
            stored = manifest["codes"].get("latents")
            found = () if stored is None else tuple(stored["shapes"][exact])
            if found != tuple(latents):
                told = " x ".join(map(str, found)) or "none"
                raise DataError(
                    f"{directory}: latents at {exact} are {told}, expected {' x '.join(map(str, latents))} as the "
                    "stream says; python -m data_pipelines.prepare codes --latents=CHECKPOINT stores them."
                )
            self.latents_fingerprint = stored["fingerprint"]
        chosen = [exact] if exact in usable else sorted(usable)
        self.shards = [shard for b in chosen for shard in prepared[b]]
        self._ends = [0]
        for shard in self.shards:
            self._ends.append(self._ends[-1] + shard["records"])
        self.fingerprint = hashlib.sha256(
            json.dumps([[s["file"], s["sha256"]] for s in self.shards]).encode()
        ).hexdigest()
        self._check(verify)
        self._reader: Any = None

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Example:
        if self._reader is None:
            from grain.sources import ArrayRecordDataSource  # slow to import, and prepare does not need it

            self._reader = ArrayRecordDataSource(
                [_Instruction(local(self.directory / s["file"]), 0, s["records"], s["records"]) for s in self.shards]
            )
        try:
            data = self._reader[index]
        except (RuntimeError, IndexError, OSError) as error:  # what ArrayRecord raises on a damaged shard
            shard, number = self.where(index)
            raise DataError(f"{self.directory / shard}: record {number} cannot be read ({error}).") from error
        example = decode(data)
        codes, expected = example.codes, self.codes_fingerprint
        if expected and codes is not None and codes.fingerprint != expected:
            raise DataError(
                f"{example.id}: its codes are of the tokenizer {codes.fingerprint}, expected {expected} as in "
                f"{self.directory / MANIFEST}."
            )
        latents, expected = example.latents, self.latents_fingerprint
        if expected and latents is not None and latents.fingerprint != expected:
            raise DataError(
                f"{example.id}: its latents are of the autoencoder {latents.fingerprint}, expected {expected} as in "
                f"{self.directory / MANIFEST}."
            )
        return example

    def part(self, number: int) -> "Shards":
        """The records of one of its shards by themselves. All else, the fingerprint too, stays that of the whole."""
        part = copy.copy(self)
        part.shards, part._reader = [self.shards[number]], None
        part._ends = [0, part.shards[0]["records"]]
        return part

    def close(self) -> None:
        """Closes the files that were opened to read records; no other thread may be reading."""
        if self._reader is not None:
            self._reader.__exit__(None, None, None)
            self._reader = None

    def where(self, index: int) -> tuple[str, int]:
        """(shard file, number of the record in it)."""
        shard = bisect.bisect_right(self._ends, index) - 1
        return self.shards[shard]["file"], index - self._ends[shard]

    def _check(self, verify: str) -> None:
        for shard in self.shards:
            path = self.directory / shard["file"]
            length = path.stat().length if path.exists() else None
            if length != shard["bytes"]:
                found = "is missing" if length is None else f"has {length} bytes"
                raise DataError(f"{path}: {found}, expected {shard['bytes']} bytes as in {MANIFEST}; prepare it again.")
        small = sum(shard["bytes"] for shard in self.shards) <= AUTO_VERIFY_BYTES
        if verify == "always" or (verify == "auto" and small):
            for shard in self.shards:
                self._verify(shard)

    def _verify(self, shard: dict) -> None:
        path = self.directory / shard["file"]
        if (os.fspath(path), shard["sha256"]) in _verified:
            return
        if checksum(path) != shard["sha256"]:
            expected = shard["sha256"]
            raise DataError(f"{path}: the checksum differs from {MANIFEST}, expected {expected}; prepare it again.")
        _verified.add((os.fspath(path), shard["sha256"]))

    def __getstate__(self):
        return self.__dict__ | {"_reader": None}


def _check_codes(
    directory, codes: dict | None, bucket: str, usable: list[str], grids: Mapping[str, tuple[int, int]]
) -> None:
    """codes: what the manifest tells of them."""
    if not codes:
        raise DataError(
            f"{directory}: stores no codes, expected some for streams of shape class codes; "
            f"python -m data_pipelines.prepare codes --source={directory} writes a directory that does."
        )
    stored = codes["grids"]
    if bucket not in usable:
        raise DataError(
            f"{directory}: stores codes of pictures of {', '.join(usable)}, expected {bucket}: codes serve no other "
            f"size; prepare them with --buckets={bucket}."
        )
    for branch, grid in grids.items():
        if tuple(stored[bucket].get(branch, ())) != grid:
            found = "none" if branch not in stored[bucket] else "{} x {}".format(*stored[bucket][branch])
            raise DataError(
                f"{directory}: the grid of {branch} codes at {bucket} is {found}, expected {grid[0]} x {grid[1]} as "
                f"the stream's {branch}_grid says."
            )
