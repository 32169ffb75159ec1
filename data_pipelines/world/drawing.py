# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A scene as pixels at any size: picture, instance map, depth, normals, edges; each drawn from the geometry."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.world import shapes
from data_pipelines.world.scenes import Ground, Scene, Thing, cover, distance, mask, pixel_centres
from data_pipelines.world.vocabulary import CANVAS, COLOURS, GROUNDS, SHADE

_PERIOD, _DOT = 4.4, 1.3  # of stripes and dots, and radius of a dot, canvas units
_BEVEL = 0.5  # width of the rounded border of a thing, share of its radius


@dataclasses.dataclass(frozen=True)
class Drawing:
    """picture: uint8 [S, S, 3]; ids: uint8 [S, S], 0 on the ground, k + 1 on things[k]."""

    picture: np.ndarray
    ids: np.ndarray

    def mask(self, k: int) -> np.ndarray:
        """bool [S, S]: the visible part of things[k]."""
        return self.ids == k + 1

    def union(self, things: Sequence[int]) -> np.ndarray:
        """bool [S, S]: the visible parts of some things together."""
        return np.isin(self.ids, [k + 1 for k in things])


def draw(scene: Scene, side: int = 128) -> Drawing:
    """Draws the scene with antialiased outlines; a pixel belongs to the nearest thing whose outline its centre is in.

    side: pixels. Raises: DataError where it is no multiple of 16 from 16 to 1024.
    """
    if side % 16 or not 16 <= side <= 1024:
        raise DataError(f"world: a picture of {side} pixels, expected a multiple of 16 from 16 to 1024.")
    scale, centres = side / CANVAS, pixel_centres(side)
    canvas = np.multiply.outer(_brightness(scene.ground, centres), np.array(GROUNDS[scene.ground.colour], np.float64))
    ids = np.zeros((side, side), np.uint8)
    for k, thing in enumerate(scene.things):
        rows, columns = _window(thing, side)
        x, y = centres[None, columns], centres[rows, None]
        share = cover(thing, x, y, scale)
        colour = np.multiply.outer(surface(thing, x, y, scale), np.array(COLOURS[thing.colour]) + thing.tint)
        part = canvas[rows, columns]
        part += share[..., None] * (colour - part)
        ids[rows, columns][share > 0.5] = k + 1
    return Drawing(np.clip(np.rint(canvas), 0, 255).astype(np.uint8), ids)


def _window(thing: Thing, side: int) -> tuple[slice, slice]:
    """Rows and columns that can hold a pixel of the thing."""
    half, scale = thing.radius * shapes.reach(thing.shape) + max(1.0, CANVAS / side), side / CANVAS
    low = lambda centre: max(0, int((centre - half) * scale))
    high = lambda centre: max(0, min(side, int((centre + half) * scale) + 1))
    return slice(low(thing.y), high(thing.y)), slice(low(thing.x), high(thing.x))


def _brightness(ground: Ground, centres: np.ndarray) -> np.ndarray:
    """[S, S] around 1."""
    side = len(centres)
    if ground.texture == "flat":
        return np.ones((side, side))
    if ground.texture == "noise":  # bilinear in a 6 x 6 grid
        at = centres / CANVAS * 5
        weights = np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(6)))
        return 1.0 + ground.strength * (weights @ np.array(ground.grid) @ weights.T)
    cos, sin, phase = ground.wave
    if ground.texture == "gradient":
        across = (cos * (centres[None, :] - CANVAS / 2) + sin * (centres[:, None] - CANVAS / 2)) / np.hypot(cos, sin)
        return 1.0 + ground.strength * across / (CANVAS / 2)
    turns = cos * centres[None, :] + sin * centres[:, None] + phase
    return 1.0 + ground.strength * (np.abs(turns % 1.0 - 0.5) * 4.0 - 1.0)  # triangle waves


def surface(thing: Thing, x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    """Brightness of the thing at canvas points, share of its colour's: gloss times material, which turns with it.

    scale: pixels per canvas unit, over one of which the pattern is antialiased.
    """
    dx, dy = x - thing.x, y - thing.y
    light = 1.0 + (thing.gloss[0] * dx + thing.gloss[1] * dy) / thing.radius
    if thing.material == "plain":
        return light
    cos, sin = np.cos(thing.angle), np.sin(thing.angle)
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    if thing.material == "striped":
        inside = np.abs(((u + v) * np.sqrt(0.5) / _PERIOD) % 1.0 - 0.5) * _PERIOD - _PERIOD / 4  # > 0 in the dark half
    else:
        wrap = lambda z: (z + _PERIOD / 2) % _PERIOD - _PERIOD / 2
        inside = _DOT - np.sqrt(wrap(u) ** 2 + wrap(v) ** 2)
    dark = np.clip(0.5 + scale * inside, 0.0, 1.0)
    return light * (1.0 - (1.0 - SHADE) * dark)


# -------------------------------------------------------------------------------------------------------- geometry
def depth(scene: Scene, side: int = 128) -> np.ndarray:
    """float32 [S, S] in (0, 1]: 1 on the ground, things one layer above what they lie on, each domed to the viewer.

    A layer is 0.1 deep. Things that do not touch lie on the same layer, so that a picture tells its depth.
    """
    out = np.ones((side, side))
    layers: list[tuple[int, np.ndarray]] = []
    for thing in scene.things:
        rows, columns, d = _inside(thing, side)
        own = mask(thing, 128)  # layers are facts of the scene, whatever the size of the drawing
        layer = 1 + max((below for below, other in layers if (own & other).any()), default=0)
        layers.append((layer, own))
        out[rows, columns] = np.where(d < 0, 1.0 - 0.1 * layer - _height(thing, d) / CANVAS, out[rows, columns])
    return out.astype(np.float32)


def normals(scene: Scene, side: int = 128) -> np.ndarray:
    """float32 [S, S, 3], unit length: x right, y down, z towards the viewer; (0, 0, 1) on the ground."""
    out = np.zeros((side, side, 3))
    out[..., 2] = 1.0
    step, centres = 1e-4, pixel_centres(side)
    for thing in scene.things:
        rows, columns, d = _inside(thing, side)
        x, y = centres[None, columns], centres[rows, None]
        height = lambda dx, dy, x=x, y=y, t=thing: _height(t, distance(t, x + dx, y + dy))
        gx = (height(step, 0.0) - height(-step, 0.0)) / (2 * step)
        gy = (height(0.0, step) - height(0.0, -step)) / (2 * step)
        normal = np.stack(np.broadcast_arrays(-gx, -gy, 1.0), axis=-1)
        normal /= np.sqrt((normal**2).sum(-1, keepdims=True))
        out[rows, columns] = np.where((d < 0)[..., None], normal, out[rows, columns])
    return out.astype(np.float32)


def edges(ids: np.ndarray) -> np.ndarray:
    """uint8 [S, S], 1 where the pixel to the right or below belongs to another thing or the ground."""
    out = np.zeros(ids.shape, np.uint8)
    out[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    out[:-1] |= ids[:-1] != ids[1:]
    return out


def _inside(thing: Thing, side: int) -> tuple[slice, slice, np.ndarray]:
    rows, columns = _window(thing, side)
    centres = pixel_centres(side)
    return rows, columns, distance(thing, centres[None, columns], centres[rows, None])


def _height(thing: Thing, d: np.ndarray) -> np.ndarray:
    """Height over the thing's own plane, canvas units: a parabola that rises at 45 degrees from the outline."""
    width = _BEVEL * thing.radius
    rest = 1.0 - np.clip(-d / width, 0.0, 1.0)
    return width / 2 * (1.0 - rest * rest)
