# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the world of this version is, as one hash for each of its parts.

    python -m data_pipelines.world.checksum > tests/golden/world.json

A change of any of them needs another vocabulary.VERSION, because figures on two worlds do not compare.
"""

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable

import numpy as np

from data_pipelines import regions
from data_pipelines.world import captions, clips, drawing, edits, expressions, questions, scenes
from data_pipelines.world.scenes import CAPTION, EDIT, QUESTIONS, REASONING, REFERRING, REGIONS, Scene
from data_pipelines.world.vocabulary import PRESETS, VERSION

SCENES, CLIPS = 100, 10  # of the split `test` that the hashes cover
_DIGITS = 6  # floats are rounded, so that the last bit of a sine on another machine is no other world


def checksums(preset: str) -> dict[str, str]:
    """{part: sha256} of scenes, pictures, geometry, each kind of text, regions, edits and clips."""
    first = [scenes.scene(preset, "test", i) for i in range(SCENES)]
    return {
        part: _hash(make(scene) for scene in (first if part != "clips" else first[:CLIPS])) for part, make in _PARTS
    }


def _hash(values: Iterable) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(repr(_plain(value)).encode())
    return digest.hexdigest()


def _plain(value):
    """Lists, texts, whole numbers and rounded floats."""
    if dataclasses.is_dataclass(value):
        return [type(value).__name__, *(_plain(getattr(value, f.name)) for f in dataclasses.fields(value))]
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        whole = value if value.dtype.kind in "bui" else np.round(value.astype(np.float64), 3) + 0.0  # no -0
        return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(whole).tobytes()).hexdigest()]
    return round(float(value), _DIGITS) + 0.0 if isinstance(value, float) else value


def _pictures(scene: Scene):
    return [drawing.draw(scene, side) for side in (64, 128)]


def _geometry(scene: Scene):
    ids = drawing.draw(scene, 64).ids
    return [drawing.depth(scene, 64), drawing.normals(scene, 64), drawing.edges(ids)]


def _questions(scene: Scene):
    return questions.questions(scene, scenes.draws_of(scene, QUESTIONS), 8)


def _referring(scene: Scene):
    return expressions.referring(scene, scenes.draws_of(scene, REFERRING), 5)


def _reasoning(scene: Scene):
    return expressions.reasoning(scene, scenes.draws_of(scene, REASONING), 3)


def _regions(scene: Scene):
    d, mask = scenes.draws_of(scene, REGIONS), drawing.draw(scene, 128).mask(0)
    return [regions.region(kind, mask, d) for kind in regions.KINDS]


def _edits(scene: Scene):
    d = scenes.draws_of(scene, EDIT)
    made = [edits.edit(scene, d), edits.edit(scene, d, absent=True)]
    return [made, edits.region(made[0], 64)]


def _clips(scene: Scene):
    made = clips.clip(scene.preset, scene.split, scene.index)
    return [made, *clips.draw(made, 64)]


_PARTS: tuple[tuple[str, Callable], ...] = (
    ("scenes", lambda scene: scene),
    ("pictures", _pictures),
    ("geometry", _geometry),
    ("captions", lambda scene: captions.caption(scene, scenes.draws_of(scene, CAPTION))),
    ("questions", _questions),
    ("referring", _referring),
    ("reasoning", _reasoning),
    ("regions", _regions),
    ("edits", _edits),
    ("clips", _clips),
)


def main(argv: list[str] | None = None) -> int:
    """Prints the content of tests/golden/world.json."""
    argparse.ArgumentParser(
        "python -m data_pipelines.world.checksum",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(argv)
    print(json.dumps({"version": VERSION} | {name: checksums(name) for name in PRESETS}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
