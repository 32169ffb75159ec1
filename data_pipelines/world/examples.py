# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The world as a source of Examples by random access: nothing on disk, as many as wanted."""

import functools
import hashlib
import io
import json
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image as PilImage

from data_pipelines import regions
from data_pipelines.errors import DataError
from data_pipelines.example import EDIT, Example, Expression, Frame, Image, Instance, Mask, Region, Turn
from data_pipelines.world import captions, clips, drawing, edits, expressions, lessons, questions, scenes
from data_pipelines.world.asking import Asked
from data_pipelines.world.drawing import Drawing
from data_pipelines.world.draws import Draws
from data_pipelines.world.phrases import Phrases, phrase
from data_pipelines.world.scenes import Scene, Thing
from data_pipelines.world.vocabulary import SPLITS, VERSION, preset

GROUND = "ground"  # the one class that is stuff
COUNTS = {"train": 2**30, "validation": 1_000, "test": 10_000, "open": 10_000}  # records an epoch has by default


class World:
    """Records of one preset and split for `data.sources`: {"name": ..., "reader": "world", "options": {...}}.

    Args:
      name: of the source; split: train, validation, test or open.
      preset: easy, standard or hard.
      tasks: which fields an Example gets beside its picture; names of TASKS or LESSONS, "removal" and "absent_edit",
        which are edits, or "masks" beside them.
      side: pixels of the picture; a bucket of another size is resized from it like any picture.
      count: records an epoch has, None for COUNTS.

    Raises: DataError for an unknown preset, split, task or option out of range.
    """

    def __init__(
        self,
        name: str = "world",
        split: str = "train",
        preset: str = "easy",
        tasks: Sequence[str] = (),
        side: int = 128,
        count: int | None = None,
    ):
        if unknown := [t for t in tasks if t not in _MADE]:
            raise DataError(f"world: task {unknown[0]!r} is unknown, expected some of {', '.join(TASKS)}.")
        if "clip" in tasks and len(tasks) > 1:
            raise DataError(f"world: tasks are {list(tasks)}, expected clip alone: its Example has frames, no picture.")
        if split not in SPLITS:
            raise DataError(f"world: split is {split!r}, expected one of {', '.join(SPLITS)}.")
        self.name, self.split, self.preset, self.tasks, self.side = name, split, preset, tuple(tasks), side
        self._count = COUNTS[split] if count is None else count
        if self._count < 1:
            raise DataError(f"world: count is {count}, expected at least 1.")
        content = [VERSION, preset, split, list(tasks), side, self._count]
        self.fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        self[0]  # bad options are told here, not by a worker

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        return example(scenes.scene(self.preset, self.split, index), self.tasks, self.side)


def example(scene: Scene, tasks: Sequence[str] = (), side: int = 128) -> Example:
    """The picture of a scene and the fields of `tasks`."""
    drawn = drawing.draw(scene, side)
    out = Example(
        id=f"{scene.preset}/{scene.split}/{scene.index}",
        source="world",
        split=scene.split if scene.split != "open" else "test",
        licence="Apache-2.0",
        images=[picture(drawn.picture)],
    )
    for task in tasks:
        _MADE[task](out, scene, drawn)
    return out


def picture(pixels: np.ndarray) -> Image:
    """uint8 [H, W, 3] -> PNG, fast rather than small."""
    buffer = io.BytesIO()
    PilImage.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return Image(data=buffer.getvalue(), width=pixels.shape[1], height=pixels.shape[0])


def words(thing: Thing) -> list[str]:
    """Its attributes beside its shape; the material only where the preset has more than one."""
    return [thing.colour, thing.size, thing.material]


def box(mask: np.ndarray) -> list[float]:
    """(x, y, width, height) in pixels of the mask's bounding box."""
    top, left, bottom, right = regions.bounding_box(mask)
    return [float(left), float(top), float(right - left), float(bottom - top)]


def class_names(preset_name: str) -> list[str]:
    """The classes of panoptic maps: the preset's shapes, and last the ground."""
    return [*preset(preset_name).shapes, GROUND]


def _objects(out: Example, scene: Scene, drawn: Drawing) -> None:
    """Instance k is things[k]: category, attributes and the box of its visible part."""
    if out.instances:
        return
    for k, thing in enumerate(scene.things):
        out.instances.append(Instance(category=thing.shape, attributes=words(thing), box=box(drawn.mask(k)), track=k))


def _masks(out: Example, scene: Scene, drawn: Drawing) -> None:
    """Masks of all things, for tasks that point at some of them."""
    _objects(out, scene, drawn)
    for k, instance in enumerate(out.instances):
        instance.mask = Mask.from_array(drawn.mask(k))


def _panoptic(out: Example, scene: Scene, drawn: Drawing) -> None:
    """Masks of all things and, last, of the ground with its colour; every pixel belongs to one of them."""
    _masks(out, scene, drawn)
    ground = drawn.ids == 0
    colour = [scene.ground.colour]
    out.instances.append(Instance(category=GROUND, attributes=colour, mask=Mask.from_array(ground), box=box(ground)))
    out.classes = class_names(scene.preset)


def _geometry(out: Example, scene: Scene, drawn: Drawing) -> None:
    side = len(drawn.ids)
    out.depth, out.normals = drawing.depth(scene, side), drawing.normals(scene, side)
    out.edges = drawing.edges(drawn.ids)


def _caption(out: Example, scene: Scene, drawn: Drawing) -> None:
    """Read the other way round it is text to image."""
    text = captions.caption(scene, scenes.draws_of(scene, scenes.CAPTION)).text
    out.turns.append(Turn(role="caption", text=text, images=[0]))


def _questions(out: Example, scene: Scene, drawn: Drawing, types: Sequence[str] | None = None) -> None:
    for q in questions.questions(scene, scenes.draws_of(scene, scenes.QUESTIONS), QUESTIONS, types):
        _turns(out, q.text, q.answer)


def _lesson(out: Example, scene: Scene, drawn: Drawing, lesson: Callable[[Phrases, Draws], list[Asked]]) -> None:
    for _, text, answer in lesson(Phrases(scene), scenes.draws_of(scene, scenes.QUESTIONS))[:QUESTIONS]:
        _turns(out, text, answer)


def _turns(out: Example, question: str, answer: str) -> None:
    first = not any(turn.role == "user" for turn in out.turns)
    out.turns.append(Turn(role="user", text=question, images=[0] if first else []))
    out.turns.append(Turn(role="assistant", text=answer))


def _referring(out: Example, scene: Scene, drawn: Drawing) -> None:
    _express(out, scene, drawn, expressions.referring(scene, scenes.draws_of(scene, scenes.REFERRING), EXPRESSIONS))


def _reasoning(out: Example, scene: Scene, drawn: Drawing) -> None:
    _express(out, scene, drawn, expressions.reasoning(scene, scenes.draws_of(scene, scenes.REASONING), EXPRESSIONS))


def _express(out: Example, scene: Scene, drawn: Drawing, found: Sequence[expressions.Expression]) -> None:
    _objects(out, scene, drawn)
    out.expressions += [_expression(scene, e.text, e.kind, e.things) for e in found]


def _expression(scene: Scene, text: str, kind: str, things: Sequence[int]) -> Expression:
    """An answer calls a thing by all that can be said of it: who has found 'the circle left of the square' and says
    'small red circle' has only what is small, red and a circle left to mark."""
    phrases = Phrases(scene)
    called = dict.fromkeys(phrase(phrases.whole(i)) for i in things)
    answer = f"{', '.join(called)}." if called else ""
    return Expression(text=text, answer=answer, kind=kind, instances=list(things))


def _regions(out: Example, scene: Scene, drawn: Drawing) -> None:
    """A hint of each kind, each at a thing that is drawn anew."""
    _objects(out, scene, drawn)
    d = scenes.draws_of(scene, scenes.REGIONS)
    for kind in regions.KINDS:
        k = d.integer(0, len(scene.things) - 1)
        mask = Mask.from_array(regions.region(kind, drawn.mask(k), d))
        out.regions.append(Region(kind=kind, mask=mask, instance=k))


def _edit(out: Example, scene: Scene, drawn: Drawing, absent: bool = False, kind: str | None = None) -> None:
    """The picture is the source. Its expression is the instruction, of what it means; by region, a hint of a kind that
    is drawn says which things are meant. The region of a new background is the whole picture.

    absent: whether the instruction means nothing in the picture. kind: of edits.KINDS, where there are several things,
    of which one can be taken away.
    """
    d, side = scenes.draws_of(scene, scenes.EDIT), len(drawn.ids)
    made = edits.edit(scene, d, kind if len(scene.things) > 1 else None, absent=absent)
    out.instruction, out.target = made.instruction, picture(drawing.draw(made.target, side).picture)
    if made.kind == "background":
        out.edit_region = Mask.from_array(np.ones((side, side), bool))
        return
    out.edit_region = Mask.from_array(edits.region(made, side))
    _masks(out, scene, drawn)
    out.expressions.append(_expression(scene, made.instruction, EDIT, made.things))
    if made.by == "region":
        kind = d.choice(regions.KINDS)
        out.regions += [
            Region(kind=kind, mask=Mask.from_array(regions.region(kind, drawn.mask(k), d)), instance=k)
            for k in made.things
        ]


def _clip(out: Example, scene: Scene, drawn: Drawing) -> None:
    """Frames instead of a picture; instances of all of them, `track` being the thing's number in the first."""
    made = clips.clip(scene.preset, scene.split, scene.index)
    pictures, ids = clips.draw(made, len(drawn.ids))
    out.images = []
    out.frames = [Frame(image=picture(p), time=time) for p, time in zip(pictures, made.times)]
    for t, (frame, tracks) in enumerate(zip(made.frames, made.tracks)):
        for thing, track in zip(frame.things, tracks):
            mask = ids[t] == track + 1
            out.instances.append(
                Instance(
                    category=thing.shape,
                    attributes=words(thing),
                    mask=Mask.from_array(mask),
                    box=box(mask),
                    track=track,
                    frame=t,
                )
            )


QUESTIONS, EXPRESSIONS = 6, 3  # of one Example
Task = Callable[[Example, Scene, Drawing], None]
TASKS: dict[str, Task] = {
    "objects": _objects,
    "panoptic": _panoptic,
    "geometry": _geometry,
    "caption": _caption,
    "questions": _questions,
    "referring": _referring,
    "reasoning": _reasoning,
    "regions": _regions,
    "edit": _edit,
    "clip": _clip,
}
# Of stage 0 alone: what a language model learns first to answer questions.
LESSONS: dict[str, Task] = {
    "places": functools.partial(_lesson, lesson=lessons.places),
    "distances": functools.partial(_lesson, lesson=lessons.distances),
    "pairs": functools.partial(_lesson, lesson=lessons.pairs),
    "descriptions": functools.partial(_lesson, lesson=lessons.descriptions),
    **{f"questions_{kind}": functools.partial(_questions, types=(kind,)) for kind in questions.TYPES},
}
_EDITS = {"absent_edit": functools.partial(_edit, absent=True), "removal": functools.partial(_edit, kind="remove")}
_MADE = TASKS | LESSONS | {"masks": _masks} | _EDITS
