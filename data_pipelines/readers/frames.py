# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What readers of video sets share: a video as clips of a few frames, each spread over all of it."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Expression, Frame, Image, Instance, Mask
from data_pipelines.readers import mask_formats, tried

FRAMES = 8  # of a clip at most: a record is decoded whole
RATE = 24.0  # frames a second where a set does not say

VOID = 255  # of DAVIS's palette: neither way


@dataclasses.dataclass(frozen=True)
class Seen:
    """A thing in a frame."""

    track: int
    mask: Mask
    category: str = ""
    crowd: bool = False


@dataclasses.dataclass(frozen=True)
class Said:
    """Words for some tracks; none: they mean nothing in this video."""

    text: str
    tracks: tuple[int, ...]
    kind: str = "referring"


def clips(
    video: str,
    names: Sequence[str],
    picture: Callable[[str], bytes],
    things: Callable[[int, tuple[int, int]], Sequence[Seen]],
    *,
    split: str,
    source: str,
    licence: str,
    most: int,
    step: int = 1,
    said: Sequence[Said] = (),
):
    """Yields (key, Example or DataError): frames 0, n, 2n, ... of a video, 1, n + 1, ..., so that each has at most
    `most` of them.

    names: of the frames; picture: their bytes by name; things: of frame number and (height, width); step: frames of the
    camera between two. A key is SPLIT/VIDEO/OFFSET.
    """
    every = -(-len(names) // most)
    for offset in range(every):
        key = f"{split}/{video}/{offset}"
        chosen = range(offset, len(names), every)
        facts = dict(split=split, source=source, licence=licence)
        yield key, tried(key, _clip, key, names, chosen, picture, things, step, said, facts)


def _clip(
    key: str, names: Sequence[str], chosen: range, picture: Any, things: Any, step: int, said: Any, facts: Any
) -> Example:
    out = Example(id=key, **facts)
    sizes = set()
    for t, number in enumerate(chosen):
        where = f"{key} frame {names[number]}"
        try:
            content = picture(names[number])
        except OSError as error:
            raise DataError(f"{where}: its picture is missing ({error.strerror or error}).") from error
        size = mask_formats.picture_size(content, where)
        sizes.add(size)
        out.frames.append(Frame(image=Image(data=content, width=0, height=0), time=number * step / RATE))
        for one in things(number, size):
            out.instances.append(
                Instance(category=one.category, mask=one.mask, track=one.track, crowd=one.crowd, frame=t)
            )
    if len(sizes) > 1:
        raise DataError(f"{key}: its frames have {len(sizes)} sizes, expected one.")
    by_track: dict[int, list[int]] = {}
    for i, instance in enumerate(out.instances):
        by_track.setdefault(instance.track if instance.track is not None else -1, []).append(i)
    for one in said:
        meant = [i for track in one.tracks for i in by_track.get(track, [])]
        if meant or not one.tracks:  # what is in none of these frames is not asked for here
            out.expressions.append(Expression(text=one.text, kind=one.kind, instances=meant))
    if not out.instances and not out.expressions:
        raise DataError(f"{key}: nothing is marked in any of its frames, expected some masks.")
    return out


def palette(path: epath.Path, size: tuple[int, int], key: str) -> list[Seen]:
    """The things of a palette PNG by their numbers; VOID is none. [] where there is no such file."""
    if not path.exists():
        return []
    ids = mask_formats.id_map(path.read_bytes(), size, f"{key} {path.name}")
    return [Seen(int(i), Mask.from_array(ids == i)) for i in np.unique(ids) if i not in (0, VOID)]


@functools.lru_cache(maxsize=2)
def meta_expressions(path: epath.Path) -> dict[str, dict]:
    """{video: its entry} of a file in Ref-YouTube-VOS's form. Raises: DataError."""
    try:
        videos = json.loads(path.read_text())["videos"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read as expressions of videos ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(videos, Mapping) or not all(isinstance(x, Mapping) for x in videos.values()):
        raise DataError(f"{path}: videos is a {type(videos).__name__}, expected a map of entries.")
    return dict(videos)


def expressions(video: str, entry: Mapping[str, Any]) -> list[Said]:
    """Of an entry of meta_expressions, each once. Raises: DataError for one without words or number."""
    out = []
    for number, one in (entry.get("expressions") or {}).items():
        text, meant = str(one.get("exp", "")).strip(), str(one.get("obj_id", ""))
        if not text or not meant.isdigit():
            raise DataError(f"{video}: expression {number} has the words {text!r} and obj_id {meant!r}, expected both.")
        out.append(Said(text, (int(meant),)))
    return list(dict.fromkeys(out))
