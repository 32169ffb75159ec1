# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A long command that writes a prepared directory: the output is one job's, its bad records are listed and budgeted.

Until the manifest is written, DIR/.prepare holds job.json, what decides the result, and markers of what is done. So
the same command goes on where it was interrupted, and another one is refused.
"""

import json

from etils import epath

from data_pipelines import shards
from data_pipelines.errors import DataError
from data_pipelines.example import SCHEMA_VERSION

BAD_RECORDS = "bad_records.jsonl"
WORK = ".prepare"

Splits = dict[str, dict[str, list[dict]]]  # {split: {bucket: [manifest entry of a shard, ...]}}


def finished(output: epath.Path, job: dict) -> dict | None:
    """The manifest of an output that this job finished, or None. Raises: DataError for one of another job.

    Work that is left, of a command killed at its very end, is cleared away.
    """
    if not (output / shards.MANIFEST).exists():
        return None
    manifest = shards.read_manifest(output)
    if manifest.get("job") != job:
        raise DataError(
            f"{output}: holds data of another source or other options ({_differing(manifest.get('job'), job)}), "
            "expected an empty --output."
        )
    _clear(output)
    return manifest


def claim(output: epath.Path, job: dict) -> epath.Path:
    """The work directory of this job, made or found again. Raises: DataError for an output with anything else in it."""
    work = output / WORK
    path = work / "job.json"
    with shards.writing(output):
        claimed = json.loads(path.read_text()) if path.exists() else None
    if claimed is None:
        with shards.writing(output):
            others = [p.name for p in output.iterdir() if p.name != WORK] if output.exists() else []
        if others:
            raise DataError(f"{output}: holds {sorted(others)[0]}, expected an empty or new directory for --output.")
        shards.write_json(path, job)
    elif claimed != job:
        raise DataError(
            f"{output}: holds an interrupted run of another source or other options ({_differing(claimed, job)}), "
            "expected the same; remove it."
        )
    return work


def _differing(had: object, job: dict) -> str:
    had = had if isinstance(had, dict) else {}
    return ", ".join(sorted(k for k in had.keys() | job.keys() if had.get(k) != job.get(k)))


def finish(output: epath.Path, job: dict, splits: Splits, **told) -> dict:
    """Writes the manifest, which makes the output whole, clears the work away and returns the manifest.

    told: what else the manifest holds.
    """
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "job": job,
        "records": {s: {b: sum(e["records"] for e in es) for b, es in bs.items()} for s, bs in splits.items()},
        "splits": splits,
    } | told
    shards.write_json(output / shards.MANIFEST, manifest)
    _clear(output)
    return manifest


def _clear(output: epath.Path) -> None:
    with shards.writing(output):
        (output / WORK).rmtree(missing_ok=True)


def check_budget(bad: list[dict], budget: int, output: epath.Path) -> None:
    """bad: as in `write_bad_records`. Raises: DataError, with the list written, where there are more than `budget`."""
    if len(bad) > budget:
        write_bad_records(bad, output)
        raise DataError(
            f"{output / BAD_RECORDS}: {len(bad)} bad records, expected at most --bad-budget={budget}; "
            f"the last one: {bad[-1]['reason']}"
        )


def write_bad_records(bad: list[dict], output: epath.Path) -> None:
    """bad: [{key, reason}, ...]."""
    with shards.writing(output / BAD_RECORDS):
        (output / BAD_RECORDS).write_text("".join(json.dumps(record) + "\n" for record in bad))


def print_records(manifest: dict) -> None:
    """One line a split: how many records each bucket has."""
    for split, counts in manifest["records"].items():
        print(f"{split}: " + ", ".join(f"{count} at {bucket}" for bucket, count in counts.items()))
