# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures and captions that img2dataset fetched into parquet files, such as COYO's and LAION's."""

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Image, Turn
from data_pipelines.readers import records

_PICTURE = ("jpg", "png", "webp")  # the column is named after --encode_format
_CAPTION = ("txt", "caption")


class Img2Dataset:
    """A parquet file or a folder of them, written by img2dataset --output_format=parquet. A key is FILE/NUMBER.

    Columns: jpg (png, webp), the encoded picture, and txt or caption. A row without a picture is a download that
    failed: it is dropped as `no image`. The other outputs of img2dataset have readers already: webdataset (tars) and
    folder (files: NAME.jpg beside NAME.txt); the parquet files beside those two hold no pictures. COYO calls its
    captions text and LAION TEXT, so that img2dataset must be told --caption_col; then all three outputs have them.
    """

    def __init__(self, source: str, *, licence: str = ""):
        self.source, self.licence = epath.Path(source), licence
        if not source:
            raise DataError("img2dataset: --source is missing, expected a parquet file or a directory of them.")

    def options(self) -> dict:
        return {"licence": self.licence}

    def partitions(self) -> list[str]:
        for file in records.files(self.source, "img2dataset"):
            if not file.endswith(".parquet"):
                raise DataError(
                    f"{self.source}: holds {file}, expected parquet files only; tars are for the reader webdataset, "
                    "pictures beside texts for folder."
                )
        return records.partitions(self.source, "img2dataset", (_PICTURE, _CAPTION))

    def read(self, partition: str):
        for key, row in records.rows(self.source, partition, (*_PICTURE, *_CAPTION)):
            try:
                yield key, row if isinstance(row, DataError) else self._example(key, row)
            except DataError as error:
                yield key, error

    def _example(self, key: str, row: dict) -> Example:
        out = Example(id=key, source=self.source.name, licence=self.licence)
        data = next((row[name] for name in _PICTURE if row.get(name) is not None), None)
        if data is None:
            return out
        out.images = [Image(data=records.picture(data, self.source, key), width=0, height=0)]
        if any(row.get(name) is not None for name in _CAPTION):
            text = records.column({k: v for k, v in row.items() if v is not None}, _CAPTION, key)
            out.turns = [Turn(role="caption", text=text.strip(), images=[0])]
        return out
