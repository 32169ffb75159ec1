# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Conversations about pictures in LLaVA's layout, which most instruction data of vision-language models come in."""

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Image
from data_pipelines.readers import records
from data_pipelines.readers.conversations import messages, turns

_COLUMNS = ("image", "images", "conversations")


class Llava:
    """A file or folder of JSON lists, JSON lines or parquet with {id, image, conversations}. A key is FILE/NUMBER.

    conversations: [{from: human or gpt, value: text}, ...]; `<image>` in a human's text stands for a picture, and there
    must be as many of them as pictures. image: a path below `images` (default: the folder of the source), the Hub's
    {bytes, path}, a list of either, or nothing for text alone; a column `images` counts as well. The same layout is

      LLaVA-Instruct, LLaVA-Pretrain      JSON; image is a path
      M4-Instruct, LLaVA-NeXT-Interleave  JSON; image is a list of paths
      LLaVA-OneVision                     parquet of the Hub: id, image {bytes, path}, conversations, data_source
      EMOVA-Alignment, EMOVA-SFT          parquet of the Hub: image {bytes, path}, conversations; or the JSON that
                                          EMOVA's own script makes of it (annotations/NAME.json beside NAME/0.png),
                                          with --images at the folder above annotations

    A record whose picture is missing, whose placeholders do not fit or whose turns do not alternate is bad, the others
    are not. The columns of EMOVA are those its script and its users read; its files themselves could not be seen, and
    the speech subsets, whose texts hold speech units, are for the user to leave out.
    """

    def __init__(self, source: str, *, images: str = "", licence: str = ""):
        self.source, self.images, self.licence = epath.Path(source), images, licence
        if not source:
            raise DataError("llava: --source is missing, expected a file or directory of JSON, JSON lines or parquet.")
        self._folder = epath.Path(images) if images else self.source if self.source.is_dir() else self.source.parent
        if not self._folder.is_dir():
            raise DataError(f"llava: --images={images!r} is not a directory, expected the one that paths start from.")

    def options(self) -> dict:
        return {"images": self.images, "licence": self.licence}

    def partitions(self) -> list[str]:
        return records.partitions(self.source, "llava", ("conversations",))

    def read(self, partition: str):
        for key, row in records.rows(self.source, partition, _COLUMNS):
            try:
                yield key, row if isinstance(row, DataError) else self._example(key, row)
            except DataError as error:
                yield key, error

    def _example(self, key: str, row: dict) -> Example:
        shown = row.get("image") or row.get("images") or []
        shown = shown if isinstance(shown, list) else [shown]
        said = turns(messages(row.get("conversations"), key), len(shown), key)  # before pictures are read
        return Example(
            id=key,
            source=self.source.name,
            licence=self.licence,
            images=[Image(data=records.picture(x, self._folder, key), width=0, height=0) for x in shown],
            turns=said,
        )
