# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of JSON lists, JSON lines and parquet files in pieces of their own, and the pictures that they name.

A damaged record is one bad record: JSON is cut into its records by bytes before any of it is parsed, so that neither
bytes that are not UTF-8 nor absurd nesting spoil what stands beside them.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.readers.folder import walk

ENDINGS = (".json", ".jsonl", ".parquet")
_PER_PARTITION = 1024  # records of JSON
_BATCH = 64  # rows of parquet held at once
# All up to and with the next bracket that stands in no string.
_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+[\[\]{}]', re.DOTALL)
_BOM = b"\xef\xbb\xbf"

Columns = Sequence[str | tuple[str, ...]]  # a tuple: one of them


def files(source: epath.Path, reader: str) -> list[str]:
    """The data files of a source, itself or what lies below it, in order. Raises: DataError for none."""
    if not source.is_dir():
        if not source.exists() or not source.name.endswith(ENDINGS):
            raise DataError(f"{reader}: --source={str(source)!r} is no file or directory of {', '.join(ENDINGS)}.")
        return [source.name]
    found = sorted(name for name, _ in walk(source, ENDINGS))
    if not found:
        raise DataError(f"{source}: holds no data file, expected some ending in {', '.join(ENDINGS)}.")
    return found


def partitions(source: epath.Path, reader: str, required: Columns) -> list[str]:
    """JSON lists [file, number of the first record, where it stands]: what `rows` takes.

    Raises: DataError for a file that cannot be read as a whole, and for a parquet file without a required column.
    """
    out = []
    for file in files(source, reader):
        path = source / file if source.is_dir() else source
        first = 0
        for count, *where in _row_groups(path, required) if file.endswith(".parquet") else _pieces(path):
            out.append(json.dumps([file, first, *where]))
            first += count
        if not first:
            raise DataError(f"{path}: holds no record, expected some.")
    return out


def rows(source: epath.Path, partition: str, columns: Sequence[str]) -> Iterator[tuple[str, dict | DataError]]:
    """(FILE/NUMBER, record) in order; a record that cannot be read is its DataError.

    columns: of parquet, those that are wanted where they are there; JSON records come whole.
    """
    file, first, *where = json.loads(partition)
    path = source / file if source.is_dir() else source
    found = _parquet(path, where[0], columns) if file.endswith(".parquet") else _json(path, *where)
    for number, row in enumerate(found, first):
        yield f"{file}/{number:08d}", row


def column(row: dict, name: str | tuple[str, ...], key: str) -> str:
    """The text of a column, or of the first of several that the row has. Raises: DataError for none or another type."""
    names = (name,) if isinstance(name, str) else name
    value = next((row[n] for n in names if n in row), None)
    if not isinstance(value, str):
        raise DataError(f"{key}: {' or '.join(names)} is {type(value).__name__}, expected text.")
    return value


def picture(value: object, folder: epath.Path, key: str) -> bytes:
    """The encoded picture of a cell: bytes, the Hub's {bytes, path}, or a path below `folder`. Raises: DataError."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value:
        raise DataError(f"{key}: image is {type(value).__name__}, expected a path, bytes or {{bytes, path}}.")
    if value.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", value):
        raise DataError(f"{key}: image {value!r} leaves its folder, expected a path below {folder}.")
    try:
        return (folder / value).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{key}: image {folder / value} cannot be read ({reason}), expected a file.") from error


# ---------------------------------------------------------------------------------------------------------------- JSON
def loads(data: bytes, name: str) -> Any:
    """The JSON value in `data`. Raises: DataError."""
    try:
        return json.loads(data.decode())
    except RecursionError as error:
        raise DataError(f"{name}: is nested too deep, expected plain JSON.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: is not UTF-8 (byte {error.start} of the record), expected UTF-8 text.") from error
    except ValueError as error:
        raise DataError(f"{name}: is not JSON ({error}), expected JSON.") from error


def parse(data: bytes, name: str) -> dict:
    """The JSON object in `data`. Raises: DataError."""
    row = loads(data, name)
    if not isinstance(row, dict):
        raise DataError(f"{name}: is a JSON {type(row).__name__}, expected an object.")
    return row


def _pieces(path: epath.Path) -> Iterator[tuple[int, str, int, int]]:
    """(records, form, first byte, byte behind the last) of the pieces of a file: a list of objects, or one a line."""
    data = path.read_bytes()
    listed = not path.name.endswith(".jsonl") and data[:1024].removeprefix(_BOM).lstrip().startswith(b"[")
    cut = list(_objects(data, path) if listed else _lines(data))
    for i in range(0, len(cut), _PER_PARTITION):
        piece = cut[i : i + _PER_PARTITION]
        yield len(piece), "list" if listed else "lines", piece[0][0], piece[-1][1]


def _json(path: epath.Path, form: str, start: int, stop: int) -> Iterator[dict | DataError]:
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(stop - start)
    for a, b in _objects(data, path, inside=True) if form == "list" else _lines(data):
        try:
            yield parse(data[a:b], f"{path}: the record at byte {start + a}")
        except DataError as error:
            yield error


def _lines(data: bytes) -> Iterator[tuple[int, int]]:
    """(first byte, byte behind the last) of each line that is not blank."""
    start = len(_BOM) if data.startswith(_BOM) else 0
    for line in data[start:].split(b"\n"):
        if line.strip():
            yield start, start + len(line)
        start += len(line) + 1


def _objects(data: bytes, path: epath.Path, inside: bool = False) -> Iterator[tuple[int, int]]:
    """(first byte, byte behind the last) of each object of a list; inside: the list's own brackets are not there."""

    def expect(between: bytes, stop: int) -> None:
        if data[end:stop].strip() != between:
            raise DataError(f"{path}: the list has something else than an object at byte {end}, expected objects only.")

    depth, start, end, at, comma = (0 if inside else -1), 0, 0, 0, b""
    while found := _BRACKET.match(data, at):
        at = found.end()
        if data[at - 1] in b"[{":
            depth += 1
            if depth == 0:
                end = at
            elif depth == 1:
                start = at - 1
                expect(comma, start)
        else:
            depth -= 1
            if depth == 0:
                end, comma = at, b","
                yield start, end
            elif depth < 0:
                expect(b"", at - 1)
                end = at
                expect(b"", len(data))
                return
    if not inside:
        raise DataError(f"{path}: the list does not end, expected a whole JSON file.")


# ------------------------------------------------------------------------------------------------------------- parquet
def _row_groups(path: epath.Path, required: Columns) -> Iterator[tuple[int, int, int]]:
    """(rows, number, bytes) of each row group; the bytes are for the manifest alone."""
    with _opened(path) as file:
        found = file.schema_arrow.names
        for name in required:
            if not set((name,) if isinstance(name, str) else name) & set(found):
                wanted = name if isinstance(name, str) else " or ".join(name)
                raise DataError(f"{path}: has no column {wanted}, expected it beside {', '.join(found)}.")
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            if group.num_rows:
                yield group.num_rows, number, group.total_byte_size


def _parquet(path: epath.Path, group: int, columns: Sequence[str]) -> Iterator[dict | DataError]:
    """Once a page cannot be read, the rest of the group is one bad record."""
    import pyarrow

    with _opened(path) as file:
        wanted = [name for name in columns if name in file.schema_arrow.names]
        try:
            for batch in file.iter_batches(_BATCH, [group], wanted, use_threads=False):
                for i in range(batch.num_rows):
                    yield _row(batch, i, path)
        except (pyarrow.ArrowException, OSError) as error:
            yield DataError(f"{path}: row group {group} cannot be read to its end ({error}), expected a whole file.")


def _row(batch, i: int, path: epath.Path) -> dict | DataError:
    try:
        return {name: values[i].as_py() for name, values in zip(batch.schema.names, batch.columns)}
    except UnicodeDecodeError as error:
        return DataError(f"{path}: a text of a row is not UTF-8 (byte {error.start}), expected UTF-8 text.")


@contextlib.contextmanager
def _opened(path: epath.Path):
    import pyarrow.parquet  # slow to import, and most readers do not need it

    with path.open("rb") as handle:
        try:
            file = pyarrow.parquet.ParquetFile(handle)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: is not a parquet file ({error}), expected a whole one.") from error
        with file:
            yield file
