# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the layouts of benchmarks (layouts.py) are read with: one question as a row, files, fields, pictures."""

import ast
import dataclasses
import string
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example
from data_pipelines.readers import folder, records
from focus_jax.errors import UserError

LETTERS = string.ascii_uppercase
HIDDEN = "a split whose answers are hidden cannot be scored"


@dataclasses.dataclass(frozen=True)
class Row:
    """A question about a picture.

    name: where it stands, for messages. picture: encoded, or the file. answers: right ones, of a multiple choice the
    right option. options: of a multiple choice. group: what figures are given for, such as a split or category.
    """

    name: str
    picture: bytes | epath.Path
    question: str
    answers: tuple[str, ...]
    options: tuple[str, ...] = ()
    hint: str = ""
    group: str = ""

    @property
    def source(self) -> str | bytes:
        """The same for questions about one picture."""
        return self.picture if isinstance(self.picture, bytes) else str(self.picture)

    def encoded(self) -> bytes:
        if isinstance(self.picture, bytes):
            return self.picture
        try:
            return self.picture.read_bytes()
        except OSError as error:
            message = f"{self.name}: {self.picture} cannot be read ({error.strerror}), expected a picture."
            raise UserError(message) from error


def check(config: Any, benchmarks: Iterable[str], **least: int) -> None:
    """Raises: UserError for a benchmark that is none of these, and for a field of the config below its least value."""
    if config.benchmark not in (known := list(benchmarks)):
        raise UserError(f"config.benchmark: expected one of {', '.join(known)}, found {config.benchmark!r}.")
    for field, low in least.items():
        if config[field] < low:
            raise UserError(f"config.{field}: expected at least {low}, found {config[field]}.")


def examples(reader: Any, split: str = "") -> Iterator[Example]:
    """What a reader (data_pipelines/readers) reads, of all splits where none is named. Raises: DataError for a record
    that is bad."""
    for partition in reader.partitions():
        for _, one in reader.read(partition):
            if isinstance(one, DataError):
                raise one
            if split in ("", one.split):
                yield one


# --------------------------------------------------------------------------------------------------------------- files
def named(data: Any, name: str) -> epath.Path:
    """config.data.path, or the file `name` in it where it is a folder."""
    top = epath.Path(data.path)
    file = top / name if top.is_dir() else top
    if not file.exists() or file.is_dir():
        raise UserError(f"config.data.path: {file} is not there, expected {name}.")
    return file


def of_split(data: Any, field: str, *names: str) -> epath.Path:
    """The first of these files that lies in the folder config.data.path. field: the one that names the split."""
    top = epath.Path(data.path)
    if not top.is_dir():
        raise UserError(f"config.data.path: {top} is no directory, expected the one with {names[0]}.")
    file = next((top / name for name in names if (top / name).exists()), None)
    if file is None:
        beside = ", ".join(sorted(p.name for p in top.iterdir())[:8]) or "nothing"
        raise UserError(f"config.data.{field}: {top} has no {names[0]}, expected that file; it holds {beside}.")
    return file


def text(file: epath.Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8 (byte {error.start}), expected UTF-8 text.") from error


def within(file: epath.Path, field: str, *others: str) -> tuple[list[dict], dict]:
    """The list of objects in the field of a JSON object, and that object, which has the others, too."""
    content = records.parse(file.read_bytes(), str(file))
    columns(file, (field, *others), content)
    found = content[field]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise UserError(f"{file}: {field} is {type(found).__name__}, expected a list of objects.")
    return found, content


def listed(file: epath.Path, needed: Sequence[str] = (), more: Sequence[str] = ()) -> Iterator[tuple[str, dict]]:
    """(name, record) of a JSON list, JSON lines or parquet; needed, more: columns of parquet."""
    for partition in records.partitions(file, "config.data.path", needed):
        for name, row in records.rows(file, partition, (*needed, *more)):
            if isinstance(row, DataError):
                raise row
            yield str(file.parent / name), row


def parquet(data: Any, needed: Sequence[str], more: Sequence[str] = ()) -> Iterator[tuple[str, dict]]:
    """(name, row) of the files SPLIT-... below config.data.path, or of that file."""
    top = epath.Path(data.path)
    if not top.exists():
        raise UserError(f"config.data.path: {top} is not there, expected a parquet file or a folder of them.")
    files = [top]
    if top.is_dir():
        below = sorted(name for name, _ in folder.walk(top, (".parquet",)))
        files = [top / n for n in below if n.rpartition("/")[2].startswith(f"{data.split}-")]
        if not files:
            splits = ", ".join(sorted({n.rpartition("/")[2].partition("-")[0] for n in below})) or "none"
            raise UserError(f"config.data.split: {top} has no parquet file {data.split}-..., found those of {splits}.")
    for file in files:
        yield from listed(file, needed, more)


# -------------------------------------------------------------------------------------------------------------- fields
def columns(where: object, needed: Sequence[str], found: Iterable[str]) -> None:
    """Raises: UserError for one that is missing, with those that are there."""
    found = list(found)
    if missing := [name for name in needed if name not in found]:
        raise UserError(f"{where}: has no column {missing[0]}, expected it beside {', '.join(found) or 'none'}.")


def fields(row: dict, needed: Sequence[str], name: str) -> list[Any]:
    columns(name, needed, row)
    return [row[field] for field in needed]


def in_images(data: Any, image: Any, name: str) -> epath.Path:
    """The file of a picture below config.data.images."""
    top = epath.Path(data.images)
    if not data.images or not top.is_dir():
        raise UserError(f"config.data.images: {data.images!r} is no directory, expected the one with the pictures.")
    if not isinstance(image, str) or not (top / image).exists():
        raise UserError(f"{name}: its picture {top / str(image)} is missing, expected it below config.data.images.")
    return top / image


def cell(value: Any, name: str) -> bytes:
    """The picture of a parquet file of the Hub."""
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return value["bytes"]
    raise UserError(f"{name}: its image is {type(value).__name__}, expected {{bytes, path}} with bytes.")


def yes_or_no(label: Any, name: str) -> tuple[str]:
    found = str(label).strip().casefold()
    if found not in ("yes", "no"):
        raise UserError(f"{name}: answer {label!r}, expected yes or no.")
    return (found,)


def texts(value: Any, name: str) -> tuple[str, ...]:
    """Right answers, of a list or of one."""
    found = tuple(map(str, value)) if isinstance(value, list) else (str(value),)
    if not found or not all(answer.strip() for answer in found):
        raise UserError(f"{name}: has an empty answer, expected words: {HIDDEN}.")
    return found


def option(letter: Any, options: tuple[str, ...], name: str) -> tuple[str]:
    """The right option, of its letter."""
    number = LETTERS.find(letter) if isinstance(letter, str) and len(letter) == 1 else -1
    if not 0 <= number < len(options):
        raise UserError(f"{name}: answer {letter!r}, expected one of {LETTERS[: len(options)]}: {HIDDEN}.")
    return (options[number],)


def python_list(value: Any, name: str) -> tuple[str, ...]:
    """Options, written as a Python list or one."""
    try:
        found = ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise UserError(f"{name}: options are no list ({error}), expected ['...', '...'].") from error
    if not isinstance(found, list) or not found:
        raise UserError(f"{name}: options are {type(found).__name__}, expected a list with some.")
    return tuple(map(str, found))
