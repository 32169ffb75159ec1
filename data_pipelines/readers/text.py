# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Conversations without pictures."""

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example
from data_pipelines.readers import records
from data_pipelines.readers.conversations import messages, turns

# Columns of each data set by the role that they speak; a tuple: the first that is there; turns: ShareGPT's list.
LAYOUTS: dict[str, dict[str, str | tuple[str, ...]]] = {
    "magpie": {"turns": "conversations"},
    "openorca": {"system": "system_prompt", "user": "question", "assistant": "response"},
    "openhermes": {"turns": "conversations"},
    "scp116k": {"user": "problem", "assistant": ("extract_solution", "matched_solution")},
    "opc-sft": {"user": "instruction", "assistant": "output"},
}


class Text:
    """A file or folder of JSON lists, JSON lines or parquet in the layout of one data set. A key is FILE/NUMBER.

    layout: magpie (Magpie's SFT sets, single and multi turn: conversations), openorca (system_prompt, question,
    response), openhermes (OpenHermes-2.5: conversations, maybe with a system's turn first), scp116k (problem, and
    extract_solution or, in its first version, matched_solution), opc-sft (OpenCoder's stages 1 and 2: instruction,
    output). Other columns are passed over. Of Magpie's columns only documents could be seen, of SCP-116K's two versions
    the older one's card; OpenOrca's are from memory.

    An empty system's text is left out; an empty question or answer, and a text that spells `<image>`, are bad records.
    """

    def __init__(self, source: str, *, layout: str = "", licence: str = ""):
        self.source, self.layout, self.licence = epath.Path(source), layout, licence
        if layout not in LAYOUTS:
            raise DataError(f"text: --layout={layout!r}, expected one of {', '.join(LAYOUTS)}.")
        if not source:
            raise DataError("text: --source is missing, expected a file or directory of JSON, JSON lines or parquet.")
        self._columns = LAYOUTS[layout]

    def options(self) -> dict:
        return {"layout": self.layout, "licence": self.licence}

    def partitions(self) -> list[str]:
        return records.partitions(self.source, "text", tuple(self._columns.values()))

    def read(self, partition: str):
        wanted = [n for name in self._columns.values() for n in ((name,) if isinstance(name, str) else name)]
        for key, row in records.rows(self.source, partition, wanted):
            try:
                yield key, row if isinstance(row, DataError) else self._example(key, row)
            except DataError as error:
                yield key, error

    def _example(self, key: str, row: dict) -> Example:
        if "turns" in self._columns:
            said = messages(row.get(self._columns["turns"]), key)
        else:
            said = [(role, records.column(row, name, key)) for role, name in self._columns.items()]
        return Example(id=key, source=self.source.name, licence=self.licence, turns=turns(said, 0, key))
