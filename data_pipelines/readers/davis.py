# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Videos with a palette PNG a frame: DAVIS-2017 and Ref-YouTube-VOS, with or without words for their things."""

import functools
import re

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.readers import frames

_SPLITS = {"train": "train", "val": "validation", "valid": "validation", "test-dev": "test", "test": "test"}
_SUFFIXES = (".jpg", ".jpeg", ".png")
_LINE = re.compile(r'(\S+)\s+(\d+)\s+"?(.*?\S)"?')


class Davis:
    """DAVIS-2017's folder: JPEGImages/480p/SEQUENCE/00000.jpg, Annotations/480p/SEQUENCE/00000.png (palette ids, 255
    void), ImageSets/2017/{train,val,test-dev}.txt.

    Words come from --expressions: a file in Ref-YouTube-VOS's form (meta_expressions.json), whose obj_id are the
    palette's, or Ref-DAVIS17's own, lines of SEQUENCE NUMBER "WORDS" (Davis17_annot1.txt; several with commas between).
    A frame without a PNG marks nothing. A record is a clip of at most --frames frames spread over its video.

      prepare davis --source=DAVIS --output=data/davis_2017 --buckets=512
    """

    def __init__(
        self,
        source: str,
        *,
        resolution: str = "480p",
        expressions: str = "",
        frames: int = frames.FRAMES,
        licence: str = "",
    ):
        self.source, self.licence = epath.Path(source), licence
        self.resolution, self.expressions, self.frames = resolution, expressions, frames
        self.pictures = self.source / "JPEGImages" / resolution
        if not source or not self.pictures.is_dir():
            raise DataError(f"davis: --source={source!r} has no JPEGImages/{resolution}, expected DAVIS-2017's folder.")
        if frames < 2:
            raise DataError(f"davis: --frames={frames}, expected at least 2.")

    def options(self) -> dict:
        names = ("resolution", "expressions", "frames", "licence")
        return {name: getattr(self, name) for name in names}

    def partitions(self) -> list[str]:
        out = []
        for name, split in _SPLITS.items():
            listed = self.source / "ImageSets" / "2017" / f"{name}.txt"
            if listed.exists():
                out += [f"{split}/{video.strip()}" for video in listed.read_text().splitlines() if video.strip()]
        if not out:
            raise DataError(f"{self.source}: ImageSets/2017 lists no sequence, expected train.txt, val.txt or others.")
        return list(dict.fromkeys(out))

    def read(self, partition: str):
        split, _, video = partition.partition("/")
        folder = self.pictures / video
        files = {}
        if folder.is_dir():
            files = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in _SUFFIXES}
        if not files:
            yield partition, DataError(f"{partition}: {folder} holds no picture, expected the sequence's frames.")
            return
        marks = self.source / "Annotations" / self.resolution / video
        names = list(files)
        try:
            said = self._said(video)
        except DataError as error:
            yield partition, error
            return
        yield from frames.clips(
            video,
            names,
            lambda name: files[name].read_bytes(),
            lambda number, size: frames.palette(marks / f"{names[number]}.png", size, f"{split}/{video}"),
            split=split,
            source="DAVIS-2017",
            licence=self.licence,
            most=self.frames,
            said=said,
        )

    def _said(self, video: str) -> list[frames.Said]:
        if not self.expressions:
            return []
        if self.expressions.endswith(".txt"):
            return [one for file in self.expressions.split(",") for one in lines(file.strip()).get(video, [])]
        entry = frames.meta_expressions(epath.Path(self.expressions)).get(video)
        return frames.expressions(video, entry) if entry else []


@functools.lru_cache(maxsize=8)
def lines(file: str) -> dict[str, list[frames.Said]]:
    """Ref-DAVIS17's words by sequence. Raises: DataError for a file that is missing or a line of another form."""
    try:
        raw = epath.Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error}).") from error
    try:
        text = raw.decode()
    except UnicodeDecodeError:  # the second annotator's are
        text = raw.decode("latin-1")
    out: dict[str, list[frames.Said]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise DataError(f'{file}, line {number}: {line.strip()!r}, expected SEQUENCE NUMBER "WORDS".')
        out.setdefault(found[1], []).append(frames.Said(found[3].strip(), (int(found[2]),)))
    return out


class RefYoutubeVos:
    """Ref-YouTube-VOS's folder: SPLIT/JPEGImages/VIDEO/FRAME.jpg, SPLIT/Annotations/VIDEO/FRAME.png (palette ids) and
    meta_expressions/SPLIT/meta_expressions.json. The split train alone has masks; videos of others are passed over.

      prepare ref_youtube_vos --source=Ref-Youtube-VOS --output=data/ref_youtube_vos --buckets=512
    """

    def __init__(self, source: str, *, frames: int = frames.FRAMES, licence: str = ""):
        self.source, self.frames, self.licence = epath.Path(source), frames, licence
        self.listed = self.source / "meta_expressions" / "train" / "meta_expressions.json"
        if not source or not self.listed.exists():
            raise DataError(f"ref_youtube_vos: {self.listed} is missing, expected the set's folder as --source.")

    def options(self) -> dict:
        return {"frames": self.frames, "licence": self.licence}

    def partitions(self) -> list[str]:
        return sorted(frames.meta_expressions(self.listed))

    def read(self, partition: str):
        entry, root = frames.meta_expressions(self.listed)[partition], self.source / "train"
        key = f"train/{partition}"
        names = [str(name) for name in entry.get("frames") or []]
        try:
            said = frames.expressions(key, entry)
        except (DataError, AttributeError) as error:
            yield key, DataError(f"{key}: its expressions are not as its format says ({error}).")
            return
        if len(names) < 2:
            yield key, DataError(f"{key}: lists {len(names)} frames, expected at least 2.")
            return
        marks = root / "Annotations" / partition
        yield from frames.clips(
            partition,
            names,
            lambda name: (root / "JPEGImages" / partition / f"{name}.jpg").read_bytes(),
            lambda number, size: frames.palette(marks / f"{names[number]}.png", size, key),
            split="train",
            source="Ref-YouTube-VOS",
            licence=self.licence,
            most=self.frames,
            step=5,
            said=said,
        )
