# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""PixMo, whose parquet files name pictures by address; the pictures lie in a folder of the user's."""

import hashlib

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import PLACEHOLDER, Example, Image, Turn
from data_pipelines.readers import records
from data_pipelines.readers.conversations import turns
from data_pipelines.readers.folder import SUFFIXES

# Columns that must be there, and those that may be.
SUBSETS = {
    "cap": (("image_url", "caption"), ("transcripts",)),
    "ask-model-anything": (("image_url", "question", "answer"), ("image_sha256",)),
    "cap-qa": (("image_url", "question", "answer"), ()),
}


class Pixmo:
    """A parquet file or a folder of them, of one subset. A key is FILE/NUMBER.

    subset: cap (caption, then each of the transcripts as a caption of the same picture), ask-model-anything or cap-qa
    (question, answer). images: the folder of pictures; a picture is the file whose name, with or without an ending, is
    the SHA-256 of its address as 64 hex digits, which is how Molmo's own script stores it, or that of its bytes as the
    column image_sha256 has it. Where there is that column, bytes with another hash are a bad record: the web changed
    the picture since it was annotated. A picture that is missing is a bad record, too, and with links that die they
    are many: give --bad-budget.

    Columns are those that Molmo's published loading code reads; the files themselves could not be seen.
    """

    def __init__(self, source: str, *, images: str = "", subset: str = "", licence: str = ""):
        self.source, self.images, self.subset, self.licence = epath.Path(source), images, subset, licence
        if not source:
            raise DataError("pixmo: --source is missing, expected a parquet file or a directory of them.")
        if subset not in SUBSETS:
            raise DataError(f"pixmo: --subset={subset!r}, expected one of {', '.join(SUBSETS)}.")
        if not images or not epath.Path(images).is_dir():
            raise DataError(f"pixmo: --images={images!r} is not a directory, expected the one with the pictures.")
        self._folder = epath.Path(images)

    def options(self) -> dict:
        return {"images": self.images, "subset": self.subset, "licence": self.licence}

    def partitions(self) -> list[str]:
        return records.partitions(self.source, "pixmo", SUBSETS[self.subset][0])

    def read(self, partition: str):
        required, optional = SUBSETS[self.subset]
        for key, row in records.rows(self.source, partition, (*required, *optional)):
            try:
                yield key, row if isinstance(row, DataError) else self._example(key, row)
            except DataError as error:
                yield key, error

    def _example(self, key: str, row: dict) -> Example:
        if self.subset == "cap":
            texts = [records.column(row, "caption", key), *(row.get("transcripts") or [])]
            if not all(isinstance(text, str) and text.strip() for text in texts):
                raise DataError(f"{key}: an empty caption or transcript, expected words.")
            said = [Turn(role="caption", text=text.strip(), images=[0]) for text in texts]
        else:
            question, answer = (records.column(row, name, key) for name in ("question", "answer"))
            said = turns([("user", f"{PLACEHOLDER}\n{question}"), ("assistant", answer)], 1, key)
        data = self._picture(key, records.column(row, "image_url", key), row.get("image_sha256") or "")
        image = Image(data=data, width=0, height=0)
        return Example(id=key, source=self.source.name, licence=self.licence, images=[image], turns=said)

    def _picture(self, key: str, url: str, sha256: str) -> bytes:
        address = hashlib.sha256(url.encode(errors="replace")).hexdigest()
        names = [f"{stem}{ending}" for stem in (address, sha256) if stem for ending in ("", *SUFFIXES)]
        name = next((name for name in names if (self._folder / name).exists()), None)
        if name is None:
            raise DataError(f"{key}: its picture is missing, expected {self._folder / address}, maybe with an ending.")
        data = records.picture(name, self._folder, key)
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise DataError(
                f"{self._folder / name}: is another picture than {key} is about, expected SHA-256 {sha256}."
            )
        return data
