# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Clips: a scene whose things move, hide each other, leave the picture and return, and stay the same things."""

import dataclasses
import functools
import math

import numpy as np
from scipy import ndimage

from data_pipelines.errors import DataError
from data_pipelines.world import drawing, scenes, shapes
from data_pipelines.world.draws import Draws
from data_pipelines.world.scenes import CLIP, Scene, Thing
from data_pipelines.world.vocabulary import CANVAS, Preset, preset

FRAMES = (4, 8)  # fewest and most
RATE = 6.0  # frames a second
PRESENT = 0.1  # least share of a thing's area that has to be on the canvas for the thing to be in a frame
SEEN = 0.15  # least share of what a thing has on the canvas that no nearer thing may hide
STORIES = {"hide": 0.6, "leave": 0.28, "calm": 0.12}  # shares of what happens where things can hide each other
_ALONE = {"leave": 0.5, "calm": 0.5}  # and where they cannot
_TRIES = 40  # of a story, with movements that become smaller
_STEP, _TURN, _BOW = 5.0, 0.12, 6.0  # most units and radians a frame, and how far a path bends from a straight line
_EXIT = 5.0  # units a frame of the clip: who leaves is not farther from where it is gone, unless all are
_HIDDEN = (0.25, 0.75)  # share of a thing that is hidden when another passes before it
_PATHS = 12  # tries of one path or place in a try of a story


@dataclasses.dataclass(frozen=True)
class Clip:
    """frames: 4 to 8 scenes that differ in places and angles only, and in who is there; the first is the scene itself.

    tracks[t][k]: identity of frames[t].things[k], its index in frames[0].things. Nearer things stay nearer, so a track
    rises. A thing is in a frame where PRESENT of its area lies on the canvas. times: seconds of the frames.
    """

    frames: tuple[Scene, ...]
    tracks: tuple[tuple[int, ...], ...]
    times: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class _Path:
    """Places (x, y) = start + speed t + bend t^2 and angle = turn[0] + turn[1] t of frame t."""

    start: tuple[float, float]
    speed: tuple[float, float]
    bend: tuple[float, float]
    turn: tuple[float, float]

    def at(self, thing: Thing, t: int) -> Thing:
        place = lambda i: round(self.start[i] + self.speed[i] * t + self.bend[i] * t * t, 3)
        return dataclasses.replace(thing, x=place(0), y=place(1), angle=round(self.turn[0] + self.turn[1] * t, 4))


def clip(preset_name: str, split: str, index: int, frames: int | None = None) -> Clip:
    """The clip that begins with scene (preset_name, split, index).

    In one of STORIES a thing passes before another, in one a thing leaves the canvas and returns; a story that finds no
    room gives way to the next. Whatever happens: things of one colour stay scenes.GAP apart, what a frame holds can be
    seen (SEEN) and is in one piece unless the border cuts it, and nobody but who leaves crosses the border.

    Args:
      frames: 4 to 8, None draws it.

    Raises: DataError for another number of frames, an unknown preset or split.
    """
    if frames is not None and not FRAMES[0] <= frames <= FRAMES[1]:
        raise DataError(f"world: a clip of {frames} frames, expected {FRAMES[0]} to {FRAMES[1]}.")
    first, d, p = (
        scenes.scene(preset_name, split, index),
        scenes.draws(preset_name, split, index, CLIP),
        preset(preset_name),
    )
    drawn = d.integer(*FRAMES)
    count = drawn if frames is None else frames
    for story in _stories(d, first):
        for attempt in range(_TRIES):
            paths = _MAKERS[story](d, p, first, count, 1.0 - attempt / (_TRIES - 1))
            if paths is not None and (made := _follow(first, paths, count)) is not None and _TOLD[story](*made):
                return Clip(*made, times=tuple(t / RATE for t in range(count)))
    raise AssertionError("a clip in which nothing moves always exists")


def draw(made: Clip, side: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [T, S, S, 3] and identities uint8 [T, S, S]: 0 on the ground, identity + 1 on a thing."""
    pictures, ids = [], []
    for frame, track in zip(made.frames, made.tracks):
        drawn = drawing.draw(frame, side)
        pictures.append(drawn.picture)
        ids.append(np.array([0, *(identity + 1 for identity in track)], np.uint8)[drawn.ids])
    return np.stack(pictures), np.stack(ids)


# ------------------------------------------------------------------------------------------------------- what is seen
def on_canvas(thing: Thing) -> float:
    """Share of the thing's area that lies on the canvas."""
    if scenes.inside(thing, 0.0):
        return 1.0
    # the same thing moved by whole pixels to the middle of the picture, where all of it is drawn
    middle = dataclasses.replace(
        thing, x=thing.x - round(thing.x - CANVAS / 2), y=thing.y - round(thing.y - CANVAS / 2)
    )
    return float(scenes.mask(thing).sum() / scenes.mask(middle).sum())


def visible(things: tuple[Thing, ...], k: int) -> float:
    """Share of what things[k] has on the canvas that no nearer thing hides; 0 where that is in pieces."""
    thing, share = things[k], 1.0
    nearer = [t for t in things[k + 1 :] if not scenes.apart(thing, t, 0.0)]
    for side in (64, 128) if nearer else ():
        centres = scenes.pixel_centres(side)
        x, y = (centres[np.abs(centres - at) < thing.radius * shapes.reach(thing.shape)] for at in (thing.x, thing.y))
        whole = scenes.distance(thing, x[None, :], y[:, None]) < 0
        left = whole & ~np.logical_or.reduce([scenes.distance(t, x[None, :], y[:, None]) < 0 for t in nearer])
        if scenes.inside(thing, 0.0) and ndimage.label(left, np.ones((3, 3)))[1] != 1:
            return 0.0
        share = float(left.sum() / max(1, whole.sum()))
    return share


Made = tuple[tuple[Scene, ...], tuple[tuple[int, ...], ...]]


def _follow(first: Scene, paths: list[_Path], count: int) -> Made | None:
    """Frames and tracks of things that follow their paths; None where one would break a rule of `clip`."""
    frames, tracks = [first], [tuple(range(len(first.things)))]
    for t in range(1, count):
        there = [(k, path.at(thing, t)) for k, (thing, path) in enumerate(zip(first.things, paths))]
        there = [(k, thing) for k, thing in there if on_canvas(thing) >= PRESENT]
        things = tuple(thing for _, thing in there)
        for i, a in enumerate(things):
            if any(a.colour == b.colour and not scenes.apart(a, b) for b in things[:i]):
                return None
        if any(visible(things, k) < SEEN for k in range(len(things))):
            return None
        frames.append(dataclasses.replace(first, things=things))
        tracks.append(tuple(k for k, _ in there))
    return tuple(frames), tuple(tracks)


def hides(frames: tuple[Scene, ...], tracks: tuple[tuple[int, ...], ...]) -> bool:
    """Whether a thing of which at most a tenth was hidden in a frame is hidden by a fifth and more in a later one."""
    clear: set[int] = set()
    for frame, track in zip(frames, tracks):
        shares = {identity: visible(frame.things, k) for k, identity in enumerate(track)}
        if any(shares[identity] <= 0.8 for identity in clear & set(track)):
            return True
        clear |= {identity for identity, share in shares.items() if share >= 0.9}
    return False


def returns(frames: tuple[Scene, ...], tracks: tuple[tuple[int, ...], ...]) -> bool:
    """Whether a thing is missing from a frame and at least half of it is back on the canvas in a later one."""
    for identity in tracks[0]:
        gone = [t for t, track in enumerate(tracks) if identity not in track]
        if gone and any(
            on_canvas(frames[t].things[tracks[t].index(identity)]) >= 0.5
            for t in range(gone[0], len(tracks))
            if identity in tracks[t]
        ):
            return True
    return False


# ------------------------------------------------------------------------------------------------------------ stories
def _stories(d: Draws, first: Scene) -> list[str]:
    """The story and what it gives way to, ending with one that always succeeds."""
    weights = STORIES if _pairs(first.things) else _ALONE
    at, story = d.random(), "calm"
    for name, share in weights.items():
        if at < share:
            story = name
            break
        at -= share
    rest = [name for name in weights if name not in (story, "calm")]
    return [story, *rest, "calm"] if story != "calm" else ["calm"]


@functools.lru_cache(maxsize=1)  # asked again in every try of a clip
def _pairs(things: tuple[Thing, ...]) -> list[tuple[int, int]]:
    """(farther, nearer) of two colours, the farther hidden by nothing yet."""
    clear = [visible(things, k) >= 0.9 for k in range(len(things))]
    colours = [thing.colour for thing in things]
    return [(i, j) for j in range(len(things)) for i in range(j) if clear[i] and colours[i] != colours[j]]


def _calm(d: Draws, p: Preset, first: Scene, count: int, vigour: float) -> list[_Path] | None:
    return _others(d, p, first, count, vigour, {})


def _hide(d: Draws, p: Preset, first: Scene, count: int, vigour: float) -> list[_Path] | None:
    """The nearer of two things passes before the farther in a frame after the first."""
    far, near = d.choice(_pairs(first.things))
    far_path = _stroll(d, p, first.things[far], count, vigour)
    if far_path is None:
        return None
    thing, meet = first.things[near], d.integer(1 if count == FRAMES[0] else 2, count - 1)
    goal = far_path.at(first.things[far], meet)
    for _ in range(_PATHS):
        angle, away = d.uniform(0, 2 * math.pi), d.uniform(0.3, 1.0) * (thing.radius + goal.radius)
        spot = dataclasses.replace(thing, x=goal.x + away * math.cos(angle), y=goal.y + away * math.sin(angle))
        if scenes.inside(spot, 0.0) and _HIDDEN[0] <= 1.0 - visible((goal, spot), 0) <= _HIDDEN[1]:
            break
    else:
        return None
    turn = _turn(d, p, thing, count, vigour)
    if meet == count - 1:
        middle = ((thing.x + spot.x) / 2, (thing.y + spot.y) / 2)
        path = _quadratic(thing, meet / 2, middle, meet, (spot.x, spot.y), turn)
    else:
        end = _within(d, spot, (spot.x, spot.y), 0.7 * _STEP * (count - 1 - meet))
        path = _quadratic(thing, meet, (spot.x, spot.y), count - 1, end, turn)
    if not _stays(thing, path, count):
        return None
    return _others(d, p, first, count, vigour, {far: far_path, near: path})


def _leave(d: Draws, p: Preset, first: Scene, count: int, vigour: float) -> list[_Path] | None:
    """A thing crosses a border, is away in the middle of the clip and falls back like a ball thrown up."""
    exits = []
    for k, thing in enumerate(first.things):
        out = thing.radius * 1.2  # behind the border, where nothing is seen of it
        for axis, at in enumerate((thing.x, thing.y)):
            exits += [(at + out, k, axis, -1), (CANVAS - at + out, k, axis, 1)]
    near = max(min(exits)[0], _EXIT * count)
    way, k, axis, sign = d.choice([e for e in exits if e[0] <= near])
    thing, peak = first.things[k], d.uniform(0.45, 0.58) * (count - 1)
    height, drift = sign * way * d.uniform(1.12, 1.35), d.uniform(-2.0, 2.0)
    along = lambda a, b: (a, b) if axis == 0 else (b, a)
    speed, bend = along(2 * height / peak, drift), along(-height / peak**2, 0.0)
    path = _Path((thing.x, thing.y), speed, bend, _turn(d, p, thing, count, vigour))
    return _others(d, p, first, count, vigour, {k: path})


_MAKERS = {"calm": _calm, "hide": _hide, "leave": _leave}
_TOLD = {"calm": lambda frames, tracks: True, "hide": hides, "leave": returns}


# -------------------------------------------------------------------------------------------------------------- paths
def _others(
    d: Draws, p: Preset, first: Scene, count: int, vigour: float, paths: dict[int, _Path]
) -> list[_Path] | None:
    """The paths given and one for each other thing, no two of them in each other's way; None where one found none."""
    for k, thing in enumerate(first.things):
        for attempt in range(_PATHS if k not in paths else 0):
            path = _stroll(d, p, thing, count, vigour * (1.0 - attempt / _PATHS))
            if path is not None and all(_together(first.things, {**paths, k: path}, j, k, count) for j in paths):
                paths = {**paths, k: path}
                break
        if k not in paths:
            return None
    return [paths[k] for k in range(len(first.things))]


def _together(things: tuple[Thing, ...], paths: dict[int, _Path], i: int, j: int, count: int) -> bool:
    far, near = min(i, j), max(i, j)
    for t in range(1, count):
        a, b = paths[far].at(things[far], t), paths[near].at(things[near], t)
        if not scenes.apart(a, b) if a.colour == b.colour else visible((a, b), 0) < SEEN:
            return False
    return True


def _stroll(d: Draws, p: Preset, thing: Thing, count: int, vigour: float) -> _Path | None:
    """A gently bent path that stays on the canvas; none at all at vigour 0."""
    end = _within(d, thing, (thing.x, thing.y), vigour * _STEP * (count - 1))
    across, bow = (thing.y - end[1], end[0] - thing.x), d.uniform(-_BOW, _BOW)
    bow /= max(_BOW, 4 * math.hypot(*across))  # of the path's length, so that a long one bends by _BOW at most
    half = lambda i: ((thing.x, thing.y)[i] + end[i]) / 2 + bow * across[i]
    path = _quadratic(thing, (count - 1) / 2, (half(0), half(1)), count - 1, end, _turn(d, p, thing, count, vigour))
    return path if _stays(thing, path, count) else None


def _within(d: Draws, thing: Thing, at: tuple[float, float], far: float) -> tuple[float, float]:
    """A place at most `far` from `at` along each axis where the whole thing is on the canvas."""
    outline = scenes.points(thing) - (thing.x, thing.y)
    low = np.minimum(at, np.maximum(scenes.MARGIN - outline.min(0), np.subtract(at, far))).tolist()
    high = np.maximum(at, np.minimum(CANVAS - scenes.MARGIN - outline.max(0), np.add(at, far))).tolist()
    return d.uniform(low[0], high[0]), d.uniform(low[1], high[1])


def _turn(d: Draws, p: Preset, thing: Thing, count: int, vigour: float) -> tuple[float, float]:
    """Angle now and a frame's turn, within the angles of the preset."""
    most = vigour * _TURN * (count - 1)
    end = d.uniform(max(-p.angle, thing.angle - most), min(p.angle, thing.angle + most))
    return thing.angle, (end - thing.angle) / (count - 1)


def _stays(thing: Thing, path: _Path, count: int) -> bool:
    return all(scenes.inside(path.at(thing, t), 0.0) for t in range(1, count))


def _quadratic(thing: Thing, t1: float, a, t2: float, b, turn: tuple[float, float]) -> _Path:
    """From where the thing is through a at t1 and b at t2."""
    bend, speed = [], []
    for start, u, v in zip((thing.x, thing.y), a, b):
        bend.append(((v - start) / t2 - (u - start) / t1) / (t2 - t1))
        speed.append((u - start) / t1 - bend[-1] * t1)
    return _Path((thing.x, thing.y), (speed[0], speed[1]), (bend[0], bend[1]), turn)
