# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Readers: one data-set family a file. `READERS` maps the name that `prepare` takes to (module, class).

A reader has
  options() -> dict            what it was asked for, for the manifest (JSON values)
  partitions() -> [str, ...]   units of parallel work, in a fixed order, the same on every call
  read(partition)              yields (key, Example or DataError) in a fixed order; keys are unique in the data set
                               and a record that cannot be read is yielded as its DataError, never raised
and pickles, since other processes call `read`. A data set that cannot be read at all raises DataError.
"""

import importlib
from collections.abc import Callable
from typing import Any

from data_pipelines.errors import DataError
from data_pipelines.example import Example

# What a record of another shape than a reader expects may raise inside it: the reader yields a DataError instead.
MISSHAPEN = (TypeError, ValueError, KeyError, AttributeError, IndexError, RecursionError)

READERS = {
    "coco": ("data_pipelines.readers.coco", "Coco"),
    "davis": ("data_pipelines.readers.davis", "Davis"),
    "edits": ("data_pipelines.readers.edits", "Edits"),
    "folder": ("data_pipelines.readers.folder", "Folder"),
    "webdataset": ("data_pipelines.readers.webdataset", "WebDataset"),
    "img2dataset": ("data_pipelines.readers.img2dataset", "Img2Dataset"),
    "index_masks": ("data_pipelines.readers.index_masks", "IndexMasks"),
    "instruct_pix2pix": ("data_pipelines.readers.instruct_pix2pix", "InstructPix2Pix"),
    "lisa_plus": ("data_pipelines.readers.lisa_plus", "LisaPlus"),
    "llava": ("data_pipelines.readers.llava", "Llava"),
    "pascal_part": ("data_pipelines.readers.pascal_part", "PascalPart"),
    "pixmo": ("data_pipelines.readers.pixmo", "Pixmo"),
    "reason_seg": ("data_pipelines.readers.reason_seg", "ReasonSeg"),
    "ref_youtube_vos": ("data_pipelines.readers.davis", "RefYoutubeVos"),
    "refer": ("data_pipelines.readers.refer", "Refer"),
    "revos": ("data_pipelines.readers.youtube_vis", "Revos"),
    "text": ("data_pipelines.readers.text", "Text"),
    "tfds": ("data_pipelines.readers.tfds", "Tfds"),
    "photographs": ("data_pipelines.photographs", "Photographs"),
    "world": ("data_pipelines.readers.world", "WorldScenes"),
    "youtube_vis": ("data_pipelines.readers.youtube_vis", "YoutubeVis"),
}
NEEDS_NO_SOURCE = ("photographs", "world")


def tried(key: str, make: Callable[..., Example], *args: Any) -> Example | DataError:
    """make(*args), or why it cannot be made: also of a record that is not what its format says."""
    try:
        return make(*args)
    except DataError as error:
        return error
    except MISSHAPEN as error:
        return DataError(f"{key}: is not as its format says ({type(error).__name__}: {error}).")


def get(name: str):
    """The reader class called `name`."""
    if name not in READERS:
        raise DataError(f"reader: '{name}' is unknown, expected one of {', '.join(READERS)}.")
    module, attribute = READERS[name]
    return getattr(importlib.import_module(module), attribute)
