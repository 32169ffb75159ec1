# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Cells of a page that a person can check by eye: what the Example of a task holds, drawn on and beside its picture.

Everything is taken from the Example, nothing from the Scene, so that the page shows what a stage would read.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from data_pipelines import transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Example, Instance
from data_pipelines.example import Image as Encoded
from data_pipelines.world.examples import GROUND, World

Colour = tuple[int, int, int]
Words = list[tuple[str, Colour]]  # a line of text, wrapped where it is too long

SCALE = 2  # pixels of the page a pixel of the picture; pictures alone are drawn as they are
MARGIN = 8
_FONT, _LINE = 13, 17
_GAP = 3  # between a picture and its text
_ROW = 4  # panels of a cell in a row
_MARK = "#"  # a word that is drawn as a square of its colour
_BLACK, _GREY, _BLUE, _WHITE = (0, 0, 0), (120, 120, 120), (20, 70, 200), (255, 255, 255)
_NUMBERED: tuple[Colour, ...] = (  # of things, by number
    (230, 25, 75), (0, 130, 200), (60, 180, 75), (245, 130, 48),
    (145, 30, 180), (0, 170, 170), (240, 50, 230), (128, 90, 20),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Panel:
    """pixels: uint8 [H, W, 3]; text: lines below them."""

    pixels: np.ndarray
    text: Sequence[Words] = ()


@dataclasses.dataclass(frozen=True)
class Page:
    """fields: tasks of the Example that it needs; columns: cells in a row; draw: an Example's title and panels."""

    fields: tuple[str, ...]
    columns: int
    draw: Callable[[Example], tuple[Words, list[Panel]]]


def examples(preset: str, split: str, task: str, count: int, start: int = 0) -> list[Example]:
    """Scenes `start` to `start + count` of a split with what the page of a task needs.

    Raises: DataError for an unknown preset, split or task, and for a count below 1 or a start below 0.
    """
    if task not in PAGES:
        raise DataError(f"world: there is no page of task {task!r}, expected one of {', '.join(PAGES)}.")
    if count < 1 or start < 0:
        raise DataError(f"world: a page of {count} scenes from {start} on, expected at least 1 from 0 or more on.")
    world = World("world", split, preset, PAGES[task].fields)
    return [world[i] for i in range(start, start + count)]


def cell(example: Example, task: str) -> Image.Image:
    """Title, panels in rows of at most four, the text of each below it, a thin frame around."""
    title, panels = PAGES[task].draw(example)
    blocks = [_block(panel) for panel in panels]
    rows = [blocks[i : i + _ROW] for i in range(0, len(blocks), _ROW)]
    width = max(sum(block.width + MARGIN for block in row) for row in rows) + MARGIN
    head = _text([title], width - 2 * MARGIN)
    image = Image.new(
        "RGB", (width, head.height + sum(MARGIN + max(b.height for b in row) for row in rows) + MARGIN), "white"
    )
    image.paste(head, (MARGIN, MARGIN // 2))
    top = head.height + MARGIN
    for row in rows:
        left = MARGIN
        for block in row:
            image.paste(block, (left, top))
            left += block.width + MARGIN
        top += max(block.height for block in row) + MARGIN
    ImageDraw.Draw(image).rectangle((0, 0, image.width - 1, image.height - 1), outline=(205, 205, 205))
    return image


def _block(panel: Panel) -> Image.Image:
    picture = Image.fromarray(panel.pixels)
    text = _text(panel.text, picture.width)
    image = Image.new("RGB", (picture.width, picture.height + _GAP + text.height), "white")
    image.paste(picture, (0, 0))
    image.paste(text, (0, picture.height + _GAP))
    return image


def _text(lines: Sequence[Words], width: int) -> Image.Image:
    """Lines of words that flow within `width`; what is continued is set in a little."""
    font, placed, y = ImageFont.load_default(_FONT), [], 0
    for line in lines:
        x = 0.0
        for word, colour in [(word, colour) for text, colour in line for word in text.split()]:
            if x and x + font.getlength(word) > width - 2:  # ink may pass the length by a pixel
                x, y = 10.0, y + _LINE
            placed.append((x, y, word, colour))
            x += font.getlength(word + " ")
        y += _LINE
    image = Image.new("RGB", (width, y), "white")
    draw = ImageDraw.Draw(image)
    for x, y, word, colour in placed:
        if word == _MARK:
            draw.rectangle((x, y + 4, x + 8, y + 12), fill=colour)
        else:
            draw.text((x, y), word, fill=colour, font=font)
    return image


# -------------------------------------------------------------------------------------------------- drawing on pictures
def enlarged(array: np.ndarray, scale: int = SCALE) -> np.ndarray:
    """[H, W, ...] -> [scale H, scale W, ...], every pixel a square."""
    return array.repeat(scale, 0).repeat(scale, 1)


def _pixels(image: Encoded, name: str) -> np.ndarray:
    """uint8 [H, W, 3], enlarged, to draw on."""
    return enlarged(np.asarray(transforms.decode(image.data, name)))


def _outline(pixels: np.ndarray, mask: np.ndarray, colour: Colour) -> None:
    """Two pixels of the colour and one of black around a mask [H, W] of the picture, which itself stays as it is."""
    large, square = enlarged(mask), np.ones((3, 3))
    near = ndimage.binary_dilation(large, square, 2)
    pixels[ndimage.binary_dilation(near, square) & ~near] = _BLACK
    pixels[near & ~large] = colour


def _hint(pixels: np.ndarray, mask: np.ndarray) -> None:
    """Blue over a mask [H, W], with a white rim."""
    large = enlarged(mask)
    pixels[large] = (0.4 * pixels[large] + 0.6 * np.array(_BLUE)).astype(np.uint8)
    pixels[ndimage.binary_dilation(large) & ~large] = _WHITE


def _number(pixels: np.ndarray, mask: np.ndarray, text: str) -> None:
    """Written where the mask [H, W] is thickest."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(np.argmax(depth), depth.shape)
    _write(pixels, ((column + 0.5) * SCALE, (row + 0.5) * SCALE), text, "mm")


def _write(pixels: np.ndarray, at: tuple[float, float], text: str, anchor: str) -> None:
    image, font = Image.fromarray(pixels), ImageFont.load_default(_FONT)
    ImageDraw.Draw(image).text(at, text, fill=_WHITE, stroke_width=2, stroke_fill=_BLACK, font=font, anchor=anchor)
    pixels[:] = np.asarray(image)


def _colour(number: int) -> Colour:
    return _NUMBERED[number % len(_NUMBERED)]


def _title(example: Example) -> Words:
    return [(example.id, _GREY)]


def _words(instance: Instance) -> str:
    """'red small plain circle': all that the Example says of it."""
    return " ".join([*instance.attributes, instance.category])


def _legend(number: int, instance: Instance) -> Words:
    return [(_MARK, _colour(number)), (f"{number} {_words(instance)}", _BLACK)]


# --------------------------------------------------------------------------------------------------------------- tasks
def _scene(example: Example) -> tuple[Words, list[Panel]]:
    return _title(example), [Panel(np.asarray(transforms.decode(example.images[0].data, example.id)))]


def _objects(example: Example) -> tuple[Words, list[Panel]]:
    pixels, legend = _pixels(example.images[0], example.id), []
    for i, instance in enumerate(example.instances):
        assert instance.box is not None
        x, y, w, h = map(int, instance.box)
        inside = np.zeros((example.images[0].height, example.images[0].width), bool)
        inside[y : y + h, x : x + w] = True
        _outline(pixels, inside, _colour(i))
        _write(pixels, (x * SCALE + 2, y * SCALE), str(i), "la")
        legend.append(_legend(i, instance))
    return _title(example), [Panel(pixels, legend)]


def _mask(instance: Instance) -> np.ndarray:
    assert instance.mask is not None
    return instance.mask.to_array()


def _panoptic(example: Example) -> tuple[Words, list[Panel]]:
    """The map is black where no mask or more than one lies, which is nowhere."""
    picture = _pixels(example.images[0], example.id)
    masks = [_mask(instance) for instance in example.instances]
    once, map_ = sum(mask.astype(int) for mask in masks) == 1, np.zeros_like(picture)
    colours = [_colour(i) if item.category != GROUND else (205, 205, 205) for i, item in enumerate(example.instances)]
    for mask, colour in zip(masks, colours):
        map_[enlarged(mask & once)] = colour
    for i, mask in enumerate(masks):
        _number(map_, mask, str(i))
    legend: list[Words] = [
        [(_MARK, colour), (f"{i} {instance.category}", _BLACK)]
        for i, (instance, colour) in enumerate(zip(example.instances, colours))
    ]
    return _title(example), [Panel(picture), Panel(map_, legend)]


def _geometry(example: Example) -> tuple[Words, list[Panel]]:
    depth, normals, edges = example.depth, example.normals, example.edges
    assert depth is not None and normals is not None and edges is not None
    near = (1.0 - depth) / (1.0 - depth.min())
    grey = lambda values: enlarged(np.repeat((255 * values).astype(np.uint8)[..., None], 3, axis=-1))
    say = lambda text: [[(text, _BLACK)]]
    return _title(example), [
        Panel(_pixels(example.images[0], example.id)),
        Panel(grey(near), say(f"depth: near is bright, {depth.min():.2f} to {depth.max():.2f}")),
        Panel(enlarged(((normals + 1) * 127.5).astype(np.uint8)), say("normals: x red, y green, z blue")),
        Panel(grey(edges), say("edges")),
    ]


def _caption(example: Example) -> tuple[Words, list[Panel]]:
    lines: list[Words] = [[(turn.text, _BLACK)] for turn in example.turns if turn.role == "caption"]
    return _title(example), [Panel(_pixels(example.images[0], example.id), lines)]


def _questions(example: Example) -> tuple[Words, list[Panel]]:
    users = [turn.text for turn in example.turns if turn.role == "user"]
    answers = [turn.text for turn in example.turns if turn.role == "assistant"]
    lines: list[Words] = [[(q, _BLACK), (a, _BLUE)] for q, a in zip(users, answers, strict=True)]
    return _title(example), [Panel(_pixels(example.images[0], example.id), lines)]


def _expressions(example: Example) -> tuple[Words, list[Panel]]:
    """A panel for each expression, with all that it means outlined."""
    panels = []
    for expression in example.expressions:
        pixels = _pixels(example.images[0], example.id)
        for i in expression.instances:
            _outline(pixels, _mask(example.instances[i]), _WHITE)
        nothing = [] if expression.instances else [("nothing", _BLUE)]
        panels.append(Panel(pixels, [[(f"{expression.kind}:", _GREY), (expression.text, _BLACK), *nothing]]))
    if not panels:
        panels.append(Panel(_pixels(example.images[0], example.id), [[("no expression", _GREY)]]))
    return _title(example), panels


def _regions(example: Example) -> tuple[Words, list[Panel]]:
    """A panel for each hint, in blue, with what it points at outlined."""
    panels = []
    for region in example.regions:
        assert region.instance is not None
        pixels, instance = _pixels(example.images[0], example.id), example.instances[region.instance]
        _outline(pixels, _mask(instance), _WHITE)
        _hint(pixels, region.mask.to_array())
        panels.append(Panel(pixels, [[(f"{region.kind}:", _GREY), (_words(instance), _BLACK)]]))
    return _title(example), panels


def _edit(example: Example) -> tuple[Words, list[Panel]]:
    """Source with the hints, target, and the target with the region outlined in which the two may differ."""
    assert example.target is not None and example.edit_region is not None
    source, target = _pixels(example.images[0], example.id), _pixels(example.target, example.id)
    for region in example.regions:
        _hint(source, region.mask.to_array())
    may = target.copy()
    _outline(may, example.edit_region.to_array(), _WHITE)
    hints = ", ".join(region.kind for region in example.regions)
    title = [*_title(example), (example.instruction, _BLACK)]
    say = lambda text: [[(text, _GREY)]]
    return title, [
        Panel(source, say(f"source, with the hint: {hints}" if hints else "source")),
        Panel(target, say("target")),
        Panel(may, say("target, with the region that may differ")),
    ]


def _clip(example: Example) -> tuple[Words, list[Panel]]:
    """Its frames, each thing with the number of its track."""
    title, known, panels = _title(example), set(), []
    for t, frame in enumerate(example.frames):
        pixels = _pixels(frame.image, example.id)
        here = [instance for instance in example.instances if instance.frame == t]
        tracks = [-1 if instance.track is None else instance.track for instance in here]
        for track, instance in zip(tracks, here):
            _outline(pixels, _mask(instance), _colour(track))
        for track, instance in zip(tracks, here):
            _number(pixels, _mask(instance), str(track))
            if track not in known:
                title += _legend(track, instance)
            known.add(track)
        panels.append(Panel(pixels, [[(f"{frame.time:.2f} s", _GREY)]]))
    return title, panels


PAGES: dict[str, Page] = {
    "scenes": Page((), 8, _scene),  # pictures alone
    "objects": Page(("objects",), 3, _objects),
    "panoptic": Page(("panoptic",), 2, _panoptic),
    "geometry": Page(("geometry",), 1, _geometry),
    "caption": Page(("caption",), 3, _caption),
    "questions": Page(("questions",), 3, _questions),
    "referring": Page(("panoptic", "referring"), 1, _expressions),
    "reasoning": Page(("panoptic", "reasoning"), 1, _expressions),
    "regions": Page(("panoptic", "regions"), 1, _regions),
    "edit": Page(("edit",), 1, _edit),
    "clip": Page(("clip",), 1, _clip),
}
