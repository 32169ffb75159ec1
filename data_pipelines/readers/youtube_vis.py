# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Videos whose masks are run lengths in a JSON file: YouTube-VIS 2019 and ReVOS."""

import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.readers import frames, mask_formats
from data_pipelines.readers.coco import clean


def _json(path: epath.Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({type(error).__name__}: {error}).") from error


class YoutubeVis:
    """YouTube-VIS 2019: --source is train.json or train/instances.json, --pictures the folder JPEGImages (default: the
    one beside the file, or below a folder of the file's name). Categories are those that the file lists. valid and test
    have no annotations.

      prepare youtube_vis --source=YTVIS/train.json --output=data/youtube_vis_2019 --buckets=512
    """

    def __init__(self, source: str, *, pictures: str = "", frames: int = frames.FRAMES, licence: str = ""):
        self.source, self.pictures, self.frames, self.licence = epath.Path(source), pictures, frames, licence
        if not source or not self.source.exists():
            raise DataError(f"youtube_vis: --source={source!r} is no file, expected train.json.")
        beside = [self.source.parent / "JPEGImages", self.source.parent / self.source.stem / "JPEGImages"]
        found = [p for p in ([epath.Path(pictures)] if pictures else beside) if p.is_dir()]
        if not found:
            raise DataError(f"youtube_vis: no folder of pictures beside {self.source}, expected --pictures=JPEGImages.")
        self.folder = found[0]
        self._read: dict[str, Any] | None = None

    def __getstate__(self):
        return self.__dict__ | {"_read": None}  # other processes read the file themselves

    def options(self) -> dict:
        return {"pictures": self.pictures, "frames": self.frames, "licence": self.licence}

    def _data(self) -> dict[str, Any]:
        if self._read is None:
            data = _json(self.source)
            if not isinstance(data, Mapping) or not isinstance(data.get("videos"), list):
                raise DataError(f"{self.source}: has no list of videos, expected YouTube-VIS's form.")
            if not data.get("annotations"):
                raise DataError(f"{self.source}: has no annotations, expected the split train.")
            marked: dict[Any, list] = {}
            for one in data["annotations"]:
                marked.setdefault(one.get("video_id"), []).append(one)
            names = {one.get("id"): clean(str(one.get("name"))) for one in data.get("categories") or []}
            videos = {str(video.get("id")): video for video in data["videos"]}
            self._read = {"videos": videos, "marked": marked, "names": names}
        return self._read

    def partitions(self) -> list[str]:
        return list(self._data()["videos"])

    def read(self, partition: str):
        data = self._data()
        video, key = data["videos"][partition], f"train/{partition}"
        files, marked = [str(name) for name in video.get("file_names") or []], data["marked"].get(video.get("id"), [])
        if len(files) < 2:
            yield key, DataError(f"{key}: lists {len(files)} frames, expected at least 2.")
            return
        if wrong := [one for one in marked if one.get("category_id") not in data["names"]]:
            number = wrong[0].get("category_id")
            yield key, DataError(f"{key}: names the category {number}, which the file does not list.")
            return
        if short := [one for one in marked if len(one.get("segmentations") or ()) != len(files)]:
            count = len(short[0].get("segmentations") or ())
            yield (
                key,
                DataError(f"{key}: an annotation has {count} masks, expected one a frame, {len(files)}."),
            )
            return

        def things(number: int, size: tuple[int, int]) -> list[frames.Seen]:
            return [
                frames.Seen(
                    track,
                    mask_formats.coco_mask(one["segmentations"][number], *size, f"{key} frame {number}"),
                    data["names"][one["category_id"]],
                    bool(one.get("iscrowd")),
                )
                for track, one in enumerate(marked)
                if one["segmentations"][number]
            ]

        for name, example in frames.clips(
            partition,
            files,
            lambda name: (self.folder / name).read_bytes(),
            things,
            split="train",
            source="YouTube-VIS-2019",
            licence=self.licence,
            most=self.frames,
            step=5,
        ):
            if not isinstance(example, DataError):
                example.classes = list(dict.fromkeys(data["names"].values()))
            yield name, example


class Revos:
    """ReVOS's folder: meta_expressions_train_.json or meta_expressions_valid_.json (--split), mask_dict.json, pictures
    in JPEGImages/VIDEO or VIDEO. A question (type 1) is an expression of the kind reasoning; words for nothing (type 2)
    have no target. "(s)" is left out, as by its authors.

      prepare revos --source=ReVOS --output=data/revos --buckets=512
    """

    def __init__(self, source: str, *, split: str = "train", frames: int = frames.FRAMES, licence: str = ""):
        self.source, self.split, self.frames, self.licence = epath.Path(source), split, frames, licence
        self.listed = self.source / f"meta_expressions_{split}_.json"
        for path in (self.listed, self.source / "mask_dict.json"):
            if not source or not path.exists():
                raise DataError(f"revos: {path} is missing, expected ReVOS's folder as --source.")
        self._masks: dict[str, Any] | None = None

    def __getstate__(self):
        return self.__dict__ | {"_masks": None}

    def options(self) -> dict:
        return {"split": self.split, "frames": self.frames, "licence": self.licence}

    def partitions(self) -> list[str]:
        return sorted(frames.meta_expressions(self.listed))

    def read(self, partition: str):
        split = {"valid": "validation"}.get(self.split, self.split)
        key, entry = f"{split}/{partition}", frames.meta_expressions(self.listed)[partition]
        names = [str(name) for name in entry.get("frames") or []]
        if self._masks is None:
            self._masks = _json(self.source / "mask_dict.json")
        masks, said = self._masks, []
        folder = next(
            (p for p in (self.source / "JPEGImages" / partition, self.source / partition) if p.is_dir()), None
        )
        if folder is None or len(names) < 2:
            has = f"lists {len(names)} frames" if folder else "has no folder of pictures"
            yield key, DataError(f"{key}: {has}, expected at least 2 frames below JPEGImages or {self.source}.")
            return
        kinds = {0: "referring", 1: "reasoning", 2: "referring"}
        for number, one in (entry.get("expressions") or {}).items():
            text, meant = str(one.get("exp", "")).replace("(s)", "").strip(), one.get("anno_id") or []
            if missing := [i for i in meant if str(i) not in masks]:
                yield (
                    key,
                    DataError(f"{key}: expression {number} names the mask {missing[0]}, not in mask_dict."),
                )
                return
            if not text or one.get("type_id") not in kinds:
                yield key, DataError(f"{key}: expression {number} has the words {text!r}, type {one.get('type_id')!r}.")
                return
            said.append(frames.Said(text, tuple(int(i) for i in meant), kinds[one["type_id"]]))
        tracks = sorted({track for one in said for track in one.tracks})

        def things(number: int, size: tuple[int, int]) -> list[frames.Seen]:
            return [
                frames.Seen(track, mask_formats.coco_mask(masks[str(track)][number], *size, f"{key} mask {track}"))
                for track in tracks
                if masks[str(track)][number]
            ]

        yield from frames.clips(
            partition,
            names,
            lambda name: (folder / f"{name}.jpg").read_bytes(),
            things,
            split=split,
            source="ReVOS",
            licence=self.licence,
            most=self.frames,
            said=list(dict.fromkeys(said)),
        )
