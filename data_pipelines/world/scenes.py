# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Scenes by (preset, split, index): what stands where. Drawing them is drawing.py."""

import dataclasses
import functools
import math

import numpy as np
from scipy import ndimage

from data_pipelines.errors import DataError
from data_pipelines.world import shapes
from data_pipelines.world.draws import Draws
from data_pipelines.world.vocabulary import (
    CANVAS,
    GROUNDS,
    OPEN_PAIRS,
    PRESETS,
    SPLITS,
    TEXTURES,
    VERSION,
    Preset,
    preset,
)

# Purposes of draws: one number each, so that a task added later changes no scene and no other task.
SCENE, CAPTION, QUESTIONS, REFERRING, REASONING, REGIONS, CLIP, EDIT = range(8)
GAP = 2.0  # free canvas units between things that do not overlap, so that they are two things to every eye
MARGIN = 1.0  # between a thing and the border
_POSITIONS, _LAYOUTS, _CASTS = 25, 40, 60  # tries: of one thing, of all with one cast, of casts


@dataclasses.dataclass(frozen=True)
class Thing:
    """x, y, radius in canvas units, y down; angle in radians, clockwise; tint, gloss: how its own colour differs."""

    shape: str
    colour: str
    size: str
    material: str
    x: float
    y: float
    radius: float
    angle: float
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)  # what its own colour differs from the name's by, RGB levels
    gloss: tuple[float, float] = (0.0, 0.0)  # brightness added at its right and lower edge

    @property
    def pair(self) -> tuple[str, str]:
        return self.shape, self.colour


@dataclasses.dataclass(frozen=True)
class Ground:
    """colour: name; texture: of TEXTURES; strength: share of full brightness; grid, wave: what it is made of."""

    colour: str
    texture: str
    strength: float
    grid: tuple[tuple[float, ...], ...]  # 6 x 6 in [-1, 1] for noise
    wave: tuple[float, float, float]  # direction (cos, sin) over wave length, phase


@dataclasses.dataclass(frozen=True)
class Scene:
    """things: from the farthest to the nearest; a later one hides an earlier one.

    (preset, split, index) name the draws it came from; a scene that an edit or a clip changed keeps them.
    """

    preset: str
    split: str
    index: int
    ground: Ground
    things: tuple[Thing, ...]


def draws(preset_name: str, split: str, index: int, purpose: int) -> Draws:
    """The stream of random numbers of one purpose of one scene. Raises: DataError for an unknown preset or split."""
    preset(preset_name)
    if split not in SPLITS:
        raise DataError(f"world: split is {split!r}, expected one of {', '.join(SPLITS)}.")
    if not 0 <= index < 2**63:
        raise DataError(f"world: index is {index}, expected 0 to 2**63 - 1.")
    return Draws(VERSION, list(PRESETS).index(preset_name), SPLITS.index(split), index, purpose)


def draws_of(scene: Scene, purpose: int) -> Draws:
    """The stream of one purpose of the scene's name."""
    return draws(scene.preset, scene.split, scene.index, purpose)


def scene(preset_name: str, split: str, index: int, *, things: int | None = None) -> Scene:
    """The scene of this name.

    Args:
      preset_name: of PRESETS; split: train, validation, test or open (every scene holds one of OPEN_PAIRS there and no
        scene does elsewhere); index: 0 or more, without end.
      things: how many; None draws it, each number alike.

    Raises: DataError for an unknown preset or split, or more things than find room.
    """
    d, p = draws(preset_name, split, index, SCENE), preset(preset_name)
    count = d.integer(*p.things)
    if things is not None:
        if things < 1:
            raise DataError(f"world: {things} things, expected at least 1.")
        count = things
        if count * math.pi * (0.5 * min(p.radius[p.sizes[0]])) ** 2 > CANVAS**2:
            raise DataError(_no_room(count, preset_name))
    ground = _ground(d, p)
    for _ in range(_CASTS):
        cast, over = _cast(d, p, count, split == "open")
        for _ in range(_LAYOUTS):
            if (placed := _layout(d, p, cast, over)) is not None:
                return Scene(preset_name, split, index, ground, tuple(placed))
    raise DataError(_no_room(count, preset_name))


def _no_room(count: int, name: str) -> str:
    most = PRESETS[name].things[1]
    return f"world: {count} things of preset {name} find no room on the canvas; the preset draws up to {most}."


def _ground(d: Draws, p: Preset) -> Ground:
    texture = "flat" if d.chance(p.flat) else d.choice(TEXTURES[1:])
    angle, length = d.uniform(0, math.pi), d.uniform(7.0, 16.0)
    return Ground(
        colour=d.choice(tuple(GROUNDS)),
        texture=texture,
        strength=p.ground * d.uniform(0.5, 1.0),
        grid=tuple(map(tuple, (2 * d.array(6, 6) - 1).tolist())),
        wave=(math.cos(angle) / length, math.sin(angle) / length, d.random()),
    )


def appearance(d: Draws, p: Preset) -> dict:
    """Tint and gloss of one thing."""
    tint = tuple(round(d.uniform(-7, 7), 3) for _ in range(3))
    return {"tint": tint, "gloss": tuple(round(p.gloss * d.uniform(-1, 1), 5) for _ in range(2))}


def _cast(d: Draws, p: Preset, count: int, is_open: bool) -> tuple[list[Thing], tuple[int, int] | None]:
    """Things without a place, and which of them (nearer, farther) is laid over which."""
    cast = []
    for i in range(count):
        while (pair := (d.choice(p.shapes), d.choice(p.colours))) in OPEN_PAIRS:
            pass
        if is_open and i == 0:
            pair = d.choice(OPEN_PAIRS)
        cast.append(_thing(d, p, *pair, d.choice(p.sizes), d.choice(p.materials)))
    if count > 1 and d.chance(p.distractor):
        cast[1] = _distractor(d, p, cast[0])
    cast = d.shuffled(cast)
    pairs = [(i, j) for i in range(count) for j in range(i) if cast[i].colour != cast[j].colour]
    over = d.choice(pairs) if pairs and d.chance(p.occlusion) else None
    return cast, over


def _thing(d: Draws, p: Preset, shape: str, colour: str, size: str, material: str) -> Thing:
    radius, angle = round(d.uniform(*p.radius[size]), 3), round(d.uniform(-p.angle, p.angle), 4)
    return Thing(shape, colour, size, material, 0.0, 0.0, radius, angle, **appearance(d, p))


def _distractor(d: Draws, p: Preset, thing: Thing) -> Thing:
    """A thing that differs in one attribute, never one of OPEN_PAIRS."""
    options = [
        (field, value)
        for field, values in (("shape", p.shapes), ("colour", p.colours), ("size", p.sizes), ("material", p.materials))
        for value in values
        if value != getattr(thing, field)
    ]
    fields = [f for f in ("shape", "colour", "size", "material") if any(f == o for o, _ in options)]
    while True:
        field = d.choice(fields)
        value = d.choice([v for f, v in options if f == field])
        words = {f: getattr(thing, f) for f in ("shape", "colour", "size", "material")} | {field: value}
        if (words["shape"], words["colour"]) not in OPEN_PAIRS:
            return _thing(d, p, **words)


# ----------------------------------------------------------------------------------------------------------- places
def points(thing: Thing) -> np.ndarray:
    """float64 [points, 2], its outer outline on the canvas."""
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    outline = shapes.outline(thing.shape) * thing.radius
    return outline @ np.array([[cos, sin], [-sin, cos]]) + (thing.x, thing.y)


def distance(thing: Thing, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance of canvas points to the thing's outline, canvas units, negative inside."""
    cos, sin = math.cos(thing.angle) / thing.radius, math.sin(thing.angle) / thing.radius
    dx, dy = x - thing.x, y - thing.y
    return thing.radius * shapes.distance(thing.shape, cos * dx + sin * dy, cos * dy - sin * dx)


@functools.cache
def pixel_centres(side: int) -> np.ndarray:
    """float64 [side], canvas units."""
    return (np.arange(side) + 0.5) * (CANVAS / side)


def cover(thing: Thing, x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    """Share of the pixels around canvas points that the thing covers, in [0, 1]; scale: pixels per canvas unit."""
    return np.clip(0.5 - scale * distance(thing, x, y), 0.0, 1.0)


def mask(thing: Thing, side: int = 64) -> np.ndarray:
    """bool [side, side]: pixels whose centre lies inside, whatever hides it."""
    centres = pixel_centres(side)
    return distance(thing, centres[None, :], centres[:, None]) < 0


def apart(a: Thing, b: Thing, gap: float = GAP) -> bool:
    """Whether about `gap` free units lie between two things, told at outline points.

    A thing in a ring's hole counts as inside the ring.
    """
    if math.hypot(a.x - b.x, a.y - b.y) >= a.radius * shapes.reach(a.shape) + b.radius * shapes.reach(b.shape) + gap:
        return True
    solid = lambda t: dataclasses.replace(t, shape="circle") if t.shape == "ring" else t
    pa, pb = points(a), points(b)
    return bool(
        distance(solid(b), pa[:, 0], pa[:, 1]).min() >= gap and distance(solid(a), pb[:, 0], pb[:, 1]).min() >= gap
    )


def inside(thing: Thing, margin: float = MARGIN) -> bool:
    """Whether the whole thing lies on the canvas."""
    p = points(thing)
    return bool(p.min() >= margin and p.max() <= CANVAS - margin)


def hidden_share(farther: Thing, nearer: Thing) -> float:
    """Share of the farther thing's area under the nearer; 1 where what is left falls apart, so that it reads as two."""
    for side in (64, 128):
        far = mask(farther, side)
        left = far & ~mask(nearer, side)
        if ndimage.label(left, np.ones((3, 3)))[1] != 1:
            return 1.0
    return 1.0 - left.sum() / far.sum()


def _layout(d: Draws, p: Preset, cast: list[Thing], over: tuple[int, int] | None) -> list[Thing] | None:
    """The cast with places, None where a thing found none."""
    placed: list[Thing] = []
    for i, thing in enumerate(cast):
        under = over[1] if over and over[0] == i else None
        outline = points(thing)
        low, high = (MARGIN - outline.min(0)).tolist(), (CANVAS - MARGIN - outline.max(0)).tolist()
        for _ in range(_POSITIONS):
            if under is None:
                x, y = d.uniform(low[0], high[0]), d.uniform(low[1], high[1])
            else:
                x, y = _beside(d, thing, placed[under])
                if not (low[0] <= x <= high[0] and low[1] <= y <= high[1]):
                    continue
            others = [other for j, other in enumerate(placed) if j != under]
            if any(math.hypot(x - o.x, y - o.y) < _least(thing, o) for o in others):
                continue
            spot = dataclasses.replace(thing, x=round(x, 3), y=round(y, 3))
            if not all(apart(spot, other) for other in others):
                continue
            if under is None or p.hidden[0] <= hidden_share(placed[under], spot) <= p.hidden[1]:
                placed.append(spot)
                break
        else:
            return None
    return placed


def _least(a: Thing, b: Thing) -> float:
    """Distance of centres below which two things are surely not apart."""
    return 0.5 * (a.radius + b.radius) + GAP


def _beside(d: Draws, thing: Thing, under: Thing) -> tuple[float, float]:
    """A place that may cover part of `under`."""
    angle, away = d.uniform(0, 2 * math.pi), d.uniform(0.55, 1.0) * (thing.radius + under.radius)
    return under.x + away * math.cos(angle), under.y + away * math.sin(angle)
