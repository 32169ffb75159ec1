# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Answers on sets whose truth is with a server, in the files that it takes (`infer submit`).

Each answer is a file or folder of its own that appears when it is whole, so that a run goes on where another stopped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from PIL import Image

from data_pipelines import transforms
from data_pipelines.readers import MISSHAPEN
from data_pipelines.readers import frames as clips
from data_pipelines.readers.coco import clean
from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import Instances, Question
from focus_jax.inference import clip_files, masks

RESULTS, PARTS = "results.json", "parts"


@dataclasses.dataclass(frozen=True)
class Answer:
    """One to be given. done: what is there once it is; give: asks the model, writes what belongs beside `done`, and
    returns the content of `done`, which is written last."""

    key: str
    done: epath.Path
    give: Callable[[Any], bytes]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a set lies. source: its file or folder; pictures: their folder, empty for where the set has them;
    categories: of COCO a file that lists them; without: of words a list whose videos are left out."""

    source: epath.Path
    pictures: epath.Path
    categories: epath.Path
    output: epath.Path
    without: epath.Path | None = None


def youtube_vis(s: Source) -> list[Answer]:
    """YouTube-VIS's valid.json or test.json -> results.json: of each thing video_id, category_id, score, segmentations.

    Raises (all sets): UserError, DataError.
    """
    data = _json(s.source)
    numbers, names = _categories(data, s.source, "")
    if not isinstance(data.get("videos"), list):
        raise UserError(f"{s.source}: has no list of videos, expected YouTube-VIS's form.")
    for i, video in enumerate(data["videos"]):
        if not isinstance(video, Mapping) or "id" not in video or not video.get("file_names"):
            raise UserError(f"{s.source}: video {i} lacks its id or its file_names.")

    def give(video: Mapping[str, Any]) -> Callable[[Any], bytes]:
        def made(model: Any) -> bytes:
            shown = _frames(s.pictures, [str(name) for name in video["file_names"]])
            found = model.segment_video(shown, Instances(names))
            out = []
            for k, (name, score) in enumerate(zip(found.names, found.scores), 1):
                whole = found.ids == k if found.masks is None else found.masks[k - 1]
                each = [masks.run_lengths(mask) if mask.any() else None for mask in whole]
                entry = {"video_id": video["id"], "category_id": numbers[name], "score": float(score)}
                out.append(entry | {"segmentations": each})
            return json.dumps(out).encode()

        return made

    return [Answer(str(v["id"]), s.output / PARTS / f"{v['id']}.json", give(v)) for v in data["videos"]]


def coco_instances(s: Source) -> list[Answer]:
    """COCO's image_info_test-dev2017.json -> results.json: of each thing image_id, category_id, score, segmentation."""
    data = _json(s.source)
    numbers, names = _categories(_json(s.categories), s.categories, EXPECTED)

    def give(image: Mapping[str, Any]) -> Callable[[Any], bytes]:
        def made(model: Any) -> bytes:
            shown = _frames(s.pictures, [str(image["file_name"])])
            (found,) = model.segment(shown, [Instances(names)])
            out = [
                {"image_id": image["id"], "category_id": numbers[e["name"]], "score": float(score)}
                | {"segmentation": e["segmentation"]}
                for e, score in zip(masks.entries(found), found.scores)
            ]
            return json.dumps(out).encode()

        return made

    return [Answer(str(i["file_name"]), s.output / PARTS / f"{i['id']}.json", give(i)) for i in _images(data, s)]


def coco_panoptic(s: Source) -> list[Answer]:
    """The same -> results.json with annotations, and pictures/NAME.png whose colours are ids (R + 256 G + 65536 B)."""
    data, listed = _json(s.source), _json(s.categories)
    numbers, names = _categories(listed, s.categories, EXPECTED)
    stuff = {clean(str(c["name"])) for c in listed["categories"] if not c.get("isthing", 1)}

    def give(image: Mapping[str, Any]) -> Callable[[Any], bytes]:
        def made(model: Any) -> bytes:
            from focus_jax.inference.queries import Rules

            shown = _frames(s.pictures, [str(image["file_name"])])
            (found,) = model.segment(shown, [names], rules=Rules(stuff=tuple(stuff)))
            name = f"{str(image['file_name']).rpartition('.')[0]}.png"
            colours = np.stack([found.ids // 256**k % 256 for k in range(3)], axis=-1).astype(np.uint8)
            _picture(s.output / "pictures" / name, Image.fromarray(colours))
            there = [k for k in range(1, len(found.names) + 1) if (found.ids == k).any()]
            info = [{"id": k, "category_id": numbers[found.names[k - 1]]} for k in there]
            return json.dumps([{"image_id": image["id"], "file_name": name, "segments_info": info}]).encode()

        return made

    return [Answer(str(i["file_name"]), s.output / PARTS / f"{i['id']}.json", give(i)) for i in _images(data, s)]


def words_of_videos(s: Source) -> list[Answer]:
    """Ref-YouTube-VOS's meta_expressions.json (or MeViS's and ReVOS's) -> Annotations/VIDEO/EXPRESSION/FRAME.png, white
    where it is. s.pictures: JPEGImages."""
    videos = clips.meta_expressions(s.source)

    def give(video: str, names: Sequence[str], asked: str, number: str) -> Callable[[Any], bytes]:
        def made(model: Any) -> bytes:
            shown = _frames(s.pictures / video, [f"{name}.jpg" for name in names])
            found = model.segment_video(shown, asked)
            folder = s.output / "Annotations" / video / number
            for name, mask in zip(names, found.mask):
                _picture(folder / f"{name}.png", Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)))
            return json.dumps({"said": found.names, "scores": found.scores}).encode()

        return made

    out, left_out = [], set(clips.meta_expressions(s.without)) if s.without else set()
    for video, entry in videos.items():
        if video in left_out:
            continue
        names = [str(name) for name in entry.get("frames") or []]
        if not names:
            raise UserError(f"{s.source}: {video} lists no frame, expected some.")
        for number, one in (entry.get("expressions") or {}).items():
            text = str(one.get("exp", "")).replace("(s)", "").strip() if isinstance(one, Mapping) else ""
            if not text:
                raise UserError(f"{s.source}: {video}, expression {number} has no words.")
            asked = Question(text) if one.get("type_id") == 1 else text
            done = s.output / PARTS / video / f"{number}.json"
            out.append(Answer(f"{video}/{number}", done, give(video, names, asked, number)))
    return out


def davis(s: Source) -> list[Answer]:
    """DAVIS-2017's folder, ImageSets/2017/test-dev.txt with the first frames' things -> SEQUENCE/FRAME.png of ids."""
    listed = s.source / "ImageSets" / "2017" / "test-dev.txt"
    if not listed.exists():
        raise UserError(f"{listed}: is missing, expected DAVIS-2017's folder with test-dev as --source.")
    size = "480p"
    pictures, marks = s.source / "JPEGImages" / size, s.source / "Annotations" / size

    def give(video: str) -> Callable[[Any], bytes]:
        def made(model: Any) -> bytes:
            folder = pictures / video
            found_files = folder.iterdir() if folder.is_dir() else ()
            files = sorted(p.name for p in found_files if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
            if not files:
                raise UserError(f"{folder}: holds no picture, expected the sequence's frames.")
            shown, stem = _frames(folder, files), files[0].rpartition(".")[0]
            first = clip_files.marked(str(marks / video / f"{stem}.png"), shown.shape[1:3]).copy()
            first[first == clips.VOID] = 0
            found = model.segment_video(shown, (0, first))
            for name, ids in zip(files, found.ids):
                one = dataclasses.replace(found, ids=ids)
                _picture(s.output / video / f"{name.rpartition('.')[0]}.png", masks.id_picture(one))
            return json.dumps({"scores": found.scores}).encode()

        return made

    videos = [line.strip() for line in listed.read_text().splitlines() if line.strip()]
    return [Answer(video, s.output / PARTS / f"{video}.json", give(video)) for video in videos]


SETS = {f.__name__: f for f in (youtube_vis, coco_instances, coco_panoptic, words_of_videos, davis)}


def joined(name: str, answers: Sequence[Answer], output: epath.Path) -> None:
    """results.json out of all answers, of the sets that want one."""
    if name in ("words_of_videos", "davis"):
        return
    # Piece by piece: all of a set's run lengths together take gigabytes.
    beside = output / f"{RESULTS}.part"
    with beside.open("w") as to:
        to.write('{"annotations": [' if name == "coco_panoptic" else "[")
        first = True
        for answer in answers:
            if inner := answer.done.read_text().strip()[1:-1].strip():
                to.write(inner if first else f",\n{inner}")
                first = False
        to.write("]}" if name == "coco_panoptic" else "]")
    beside.rename(output / RESULTS)


# ------------------------------------------------------------------------------------------------------------- files
def _json(path: epath.Path) -> Any:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({type(error).__name__}: {error}).") from error
    if not isinstance(data, Mapping):
        raise UserError(f"{path}: is a JSON {type(data).__name__}, expected an object.")
    return data


EXPECTED = ", expected --categories with a file that does"


def _categories(data: Mapping[str, Any], path: epath.Path, expected: str) -> tuple[dict[str, int], list[str]]:
    """({name: number}, names). Raises: UserError, with what is expected of a file without."""
    listed = data.get("categories")
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{path}: lists no categories{expected}.")
    try:
        numbers = {clean(str(c["name"])): int(c["id"]) for c in listed}
    except MISSHAPEN as error:
        raise UserError(f"{path}: a category lacks its name or number ({error!r}).") from error
    if len(numbers) < len(listed):
        raise UserError(f"{path}: two of its categories have one name, expected different ones.")
    return numbers, list(numbers)


def _images(data: Mapping[str, Any], s: Source) -> list[Mapping[str, Any]]:
    if not isinstance(data.get("images"), list) or not data["images"]:
        raise UserError(f"{s.source}: lists no images, expected COCO's image_info file.")
    for i, image in enumerate(data["images"]):
        if not isinstance(image, Mapping) or "id" not in image or not image.get("file_name"):
            raise UserError(f"{s.source}: image {i} lacks its id or its file_name.")
    return data["images"]


def _frames(folder: epath.Path, names: Sequence[str]) -> np.ndarray:
    """uint8 [T, H, W, 3]. Raises: UserError for a picture that is missing or of another size."""
    out: list[np.ndarray] = []
    for name in names:
        try:
            out.append(np.asarray(transforms.decode((folder / name).read_bytes(), name)))
        except OSError as error:
            raise UserError(f"{folder / name}: cannot be read ({error.strerror or error}).") from error
        if out[-1].shape != out[0].shape:
            raise UserError(f"{folder / name}: is not of {names[0]}'s size, expected one size in a video.")
    return np.stack(out)


def _picture(path: epath.Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as to:
        image.save(to, format="PNG")
