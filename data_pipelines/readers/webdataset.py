# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""webdataset: tar files in which consecutive members of one base name form a record."""

import os
import tarfile

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Image, Turn
from data_pipelines.readers import records
from data_pipelines.readers.folder import SUFFIXES, utf8

_IMAGE = tuple(suffix[1:] for suffix in SUFFIXES)
_TEXT = ("txt", "caption")


class WebDataset:
    """The tars of a directory (or one tar), plain or compressed. A key is TAR/BASE NAME.

    Of each record the picture (jpg, png, webp, ...) and the caption (txt, caption, or else the text `caption` of json,
    as img2dataset writes it) are read, other members ignored. Nothing is ever extracted to disk. A member whose name
    climbs out of its folder and a link are bad records; so are a caption that is not UTF-8, a json that is none, and
    the rest of a tar that is cut short.
    """

    def __init__(self, source: str, *, licence: str = ""):
        self.source, self.licence = epath.Path(source), licence
        if not source or not self.source.exists():
            raise DataError(f"webdataset: --source={source!r} does not exist, expected a tar or a directory of tars.")

    def options(self) -> dict:
        return {"licence": self.licence}

    def partitions(self) -> list[str]:
        if not self.source.is_dir():
            return [self.source.name]
        tars = sorted(p.name for p in self.source.iterdir() if p.name.endswith((".tar", ".tar.gz", ".tgz")))
        if not tars:
            raise DataError(f"{self.source}: holds no tar, expected files ending in .tar, .tar.gz or .tgz.")
        return tars

    def read(self, partition: str):
        path = self.source / partition if self.source.is_dir() else self.source
        base = None
        members: dict[str, bytes] = {}
        try:
            with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
                for member in tar:
                    if member.isdir():
                        continue
                    if problem := _unsafe(member):
                        yield f"{partition}/{member.name}", DataError(f"{path}: member {member.name!r} {problem}.")
                        continue
                    folder, name = os.path.split(member.name)
                    stem, _, extension = name.partition(".")
                    key = os.path.join(folder, stem)
                    if key != base:
                        if base is not None:
                            yield self._record(partition, base, members)
                        base, members = key, {}
                    content = tar.extractfile(member)
                    members[extension.lower()] = content.read() if content else b""
        except (tarfile.TarError, EOFError, OSError) as error:
            yield f"{partition}/", DataError(f"{path}: cannot be read to its end ({error}), expected a whole tar.")
        if base is not None and members:
            yield self._record(partition, base, members)

    def _record(self, partition: str, base: str, members: dict[str, bytes]) -> tuple[str, Example | DataError]:
        key = f"{partition}/{base}"
        try:
            image = next((members[e] for e in _IMAGE if e in members), None)
            text = next((members[e] for e in _TEXT if e in members), None)
            if image is None:
                found = ", ".join(sorted(members))
                raise DataError(f"{key}: has the members {found}, expected a picture ({', '.join(_IMAGE)}).")
            caption = utf8(text, key) if text is not None else _caption(members.get("json"), key)
            turns = [] if caption is None else [Turn(role="caption", text=caption.strip(), images=[0])]
        except DataError as error:
            return key, error
        return key, Example(
            id=key,
            source=self.source.name,
            licence=self.licence,
            images=[Image(data=image, width=0, height=0)],  # prepare fills in the size
            turns=turns,
        )


def _caption(data: bytes | None, key: str) -> str | None:
    value = None if data is None else records.loads(data, f"{key}.json")
    caption = value.get("caption") if isinstance(value, dict) else None
    return caption if isinstance(caption, str) else None


def _unsafe(member: tarfile.TarInfo) -> str | None:
    parts = member.name.replace("\\", "/").split("/")
    if member.name.startswith("/") or ".." in parts:
        return "climbs out of its folder, expected a relative name without '..'"
    return None if member.isfile() else "is a link or a device, expected a plain file"
