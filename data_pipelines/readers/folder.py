# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A folder of pictures, with or without captions: bring your own in one command."""

import json
import os

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Image, Turn

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
CAPTIONS = "captions.jsonl"
_SPLITS = ("train", "validation", "test")
_PER_PARTITION = 256


class Folder:
    """All pictures below the source, in order of their paths. A key is the path relative to the source.

    A caption is the text of NAME.txt beside NAME.jpg, or stands in captions.jsonl at the top of the source, one JSON
    object {"file": path, "caption": text} a line; both must be UTF-8. Pictures below a folder train, validation or test
    at the top belong to that split; without such folders `prepare --validation=SHARE` deals them.
    """

    def __init__(self, source: str, *, licence: str = ""):
        self.source, self.licence = epath.Path(source), licence
        if not source or not self.source.is_dir():
            raise DataError(f"folder: --source={source!r} is not a directory, expected one with pictures.")

    def options(self) -> dict:
        return {"licence": self.licence}

    def partitions(self) -> list[str]:
        """JSON lists of [path, caption or null, bytes]: all that `read` needs, so that the folder is listed once."""
        files = sorted(walk(self.source))
        if not files:
            raise DataError(f"{self.source}: holds no picture, expected files ending in {', '.join(SUFFIXES)}.")
        captions = self._captions(dict(files))
        items = [[file, captions.get(file), length] for file, length in files]
        return [json.dumps(items[i : i + _PER_PARTITION]) for i in range(0, len(items), _PER_PARTITION)]

    def _captions(self, files: dict) -> dict[str, str]:
        path = self.source / CAPTIONS
        if not path.exists():
            return {}
        captions = {}
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                entry = json.loads(line.decode())
                file, caption = entry["file"], entry["caption"]
                valid = isinstance(file, str) and isinstance(caption, str) and len(entry) == 2
            except (ValueError, KeyError, TypeError):
                valid = False
            if not valid:
                expected = '{"file": text, "caption": text}'
                raise DataError(f"{path}: line {number} is not UTF-8 JSON, expected {expected}.")
            if file not in files or file in captions:
                what = "stands twice" if file in captions else "does not exist"
                raise DataError(f"{path}: line {number} names {file!r}, which {what}, expected one line for a picture.")
            captions[file] = caption
        return captions

    def read(self, partition: str):
        for file, caption, _ in json.loads(partition):
            try:
                yield file, self._example(file, caption)
            except DataError as error:
                yield file, error

    def _example(self, file: str, caption: str | None) -> Example:
        path = self.source / file
        try:
            data = path.read_bytes()
            beside = path.with_suffix(".txt")
            text = beside.read_bytes() if caption is None and beside.exists() else None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}), expected read permission.") from error
        if text is not None:
            caption = utf8(text, os.fspath(beside))
        top = file.split("/", 1)[0]
        return Example(
            id=file,
            source=self.source.name,
            split=top if "/" in file and top in _SPLITS else "",
            licence=self.licence,
            images=[Image(data=data, width=0, height=0)],  # prepare fills in the size
            turns=[Turn(role="caption", text=caption.strip(), images=[0])] if caption is not None else [],
        )


def utf8(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: the caption is not UTF-8 (byte {error.start}), expected UTF-8 text.") from error


def walk(folder: epath.Path, suffixes: tuple[str, ...] = SUFFIXES, prefix: str = ""):
    """(path relative to the top with '/', bytes) of every file with one of the endings; hidden files are left out."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from walk(path, suffixes, f"{prefix}{path.name}/")
        elif path.name.lower().endswith(suffixes):
            yield f"{prefix}{path.name}", path.stat().length
