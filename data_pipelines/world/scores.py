# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What pictures are worth, as the checker reads them: readback, generation, edits. Part of the protocol: nothing here
changes without VERSION.

Every score of one picture is a pair (right, asked). `totals` adds them over pictures: the figure is sum(right) /
sum(asked), its standard error that of a ratio of two sums over pictures, which are independent of each other while the
things in one are not. A score whose `asked` is 0 says nothing of its picture.

A thing in the scene counts where at least VISIBLE of its area shows; one that shows less is neither asked for nor held
against a reading that found it. Things read and things of the scene are matched by place alone: one to one, as many as
have centres within MATCH units of each other, and of those matchings the one with the least sum of distances.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from data_pipelines.errors import DataError
from data_pipelines.world import relations, scenes
from data_pipelines.world.checker import Reading, Seen
from data_pipelines.world.edits import Edit
from data_pipelines.world.scenes import Scene, Thing
from data_pipelines.world.vocabulary import CANVAS, preset

VISIBLE = 0.7  # share of a thing's area
MATCH = 6.0  # canvas units between the centres of a thing and of what is read as it
PLACE = 3.0  # within which its place is right
ASKED = 8.0  # within which a moved thing is where it was asked for
LEAK = 24  # RGB levels by which a pixel that an edit changed differs from the source

Score = tuple[float, float]  # right, asked
Figure = tuple[float, int, float]  # value, pictures it says something of, standard error


def totals(rows: Iterable[Mapping[str, Score]]) -> dict[str, Figure]:
    """The figures of many pictures from their scores. A name that no picture asked for is left out."""
    sums: dict[str, list[Score]] = {}
    for row in rows:
        for name, score in row.items():
            sums.setdefault(name, []).append(score)
    out = {}
    for name, scores in sums.items():
        right, asked = np.array([score for score in scores if score[1] > 0], np.float64).reshape(-1, 2).T
        if n := len(asked):
            value = right.sum() / asked.sum()
            spread = ((right - value * asked) ** 2).sum() * n / max(n - 1, 1)
            out[name] = float(value), n, float(np.sqrt(spread) / asked.sum())
    return out


def visible(scene: Scene) -> tuple[float, ...]:
    """Share of each thing's area that shows, of 0..1, measured at 128 pixels."""
    masks = [scenes.mask(thing, 128) for thing in scene.things]
    free, out = np.ones((128, 128), bool), []
    for mask in reversed(masks):
        out.append(float((mask & free).sum() / mask.sum()))
        free &= ~mask
    return tuple(reversed(out))


def matched(things: Sequence[Thing], seen: Sequence[Seen], within: Sequence[float] | float = MATCH) -> dict[int, int]:
    """Index of a thing -> index of what is read as it; within: units between their centres, for all or for each."""
    if not things or not seen:
        return {}
    apart = np.array([[math.hypot(t.x - s.x, t.y - s.y) for s in seen] for t in things])
    far = apart > np.broadcast_to(within, len(things))[:, None]
    pairs = zip(*linear_sum_assignment(np.where(far, 1e4, apart)), strict=True)
    return {int(i): int(j) for i, j in pairs if not far[i, j]}


def readback(scene: Scene, reading: Reading) -> dict[str, Score]:
    """How much of a scene is read off a picture of it.

    shape, colour, size, material, place: F1 over things, 2 TP / (2 TP + FP + FN). TP: matched pairs that agree in this
      one attribute (place: centres within PLACE). FN: the scene's other things; FP: the other things read. Material
      where the preset has several.
    object: the same with shape, colour, size and place all right.
    count: whether as many things are read as the scene has.
    ground: whether its colour is right.
    """
    pairs, share = matched(scene.things, reading.things), visible(scene)
    counts = [i for i, s in enumerate(share) if s >= VISIBLE]
    ignored = sum(i not in counts for i in pairs)
    read = len(reading.things) - ignored
    right: Counter[str] = Counter()
    for i in counts:
        if i in pairs:
            agree = _agree(scene.things[i], reading.things[pairs[i]])
            right.update(agree)
            right["object"] += agree >= {"shape", "colour", "size", "place"}
    names = ["shape", "colour", "size", "place", "object"]
    names += ["material"] * (len(preset(scene.preset).materials) > 1)
    out = {name: (2.0 * right[name], float(read + len(counts))) for name in names}  # 2 TP + FP + FN = read + asked
    return out | {
        "count": (float(read == len(counts)), 1.0),
        "ground": (float(reading.ground == scene.ground.colour), 1.0),
    }


def generation(
    scene: Scene, reading: Reading, relation: tuple[int, str, int] | None = None, halves: Sequence[str] = ()
) -> dict[str, Score]:
    """How much of what a scene's caption asks for is in a picture, wherever it is there.

    object, colour, attributes: share of the scene's things that are there by (shape, colour), by colour, and by shape,
      colour, size and, where the preset has several, material; one thing read stands for one thing asked for.
    count: whether as many things are read as asked for. ground: whether its colour is right.
    relation: (i, side, j) of the caption: whether of what is read as things[i] and things[j] the first lies on that
      side of the second by half of relations.MARGIN or more. Read as a thing is what has its colour; where another
      thing of the scene has that too, its colour and shape, then also size, then also material. Without a relation not
      asked.
    place: whether something that is read as the only thing lies in the halves of the picture that the caption names, by
      half of relations.HALF_MARGIN or more. Without halves not asked.
    scene: whether attributes, count, ground and, where asked, the relation and the place are all right.
    """
    things, seen = scene.things, reading.things
    full = ("shape", "colour", "size") + ("material",) * (len(preset(scene.preset).materials) > 1)
    out: dict[str, Score] = {}
    for name, fields in (("object", ("shape", "colour")), ("colour", ("colour",)), ("attributes", full)):
        there = Counter(_key(t, fields) for t in things) & Counter(_key(s, fields) for s in seen)
        out[name] = float(there.total()), float(len(things))
    out["count"] = float(len(things) == len(seen)), 1.0
    out["ground"] = float(reading.ground == scene.ground.colour), 1.0
    if relation is not None:
        i, side, j = relation
        out["relation"] = float(_stands(_read_as(scene, seen, i), side, _read_as(scene, seen, j))), 1.0
    if halves:
        out["place"] = float(any(_lies(one, halves) for one in _read_as(scene, seen, 0))), 1.0
    whole = ("attributes", "count", "ground", "relation", "place")
    out["scene"] = float(all(out[name][0] == out[name][1] for name in whole if name in out)), 1.0
    return out


def editing(edit: Edit, reading: Reading) -> dict[str, Score]:
    """What the reading of an edited picture says of the edit; `leakage` compares the pictures.

    changed: share of the things meant in which what was to change has: the colour (recolour), the material
      (rematerial), the shape (replace) of what is read at its place is the target's; something is read where it was to
      go, by ASKED and by half of the way (move); nothing is read at its place (remove). The ground's colour for a
      background.
    success: whether that holds of all things meant, and what is read is still the same thing: its shape and colour are
      the target's, and after a move nothing of its colour is left at its old place.
    kept: share of the other things that have their colour and place (within PLACE); kept_shape: and their shape.
    kept_ground: whether the ground has its colour, unless that was to change.
    count: whether as many things are read as the target has.
    Things count where VISIBLE of them shows in the target. Nothing is asked by changed and success of an edit whose
    words mean nothing in the picture.
    """
    target, seen = edit.target, reading.things
    before = dict(zip(edit.things, (edit.source.things[i] for i in edit.things), strict=True))
    meant = () if edit.kind == "remove" else edit.things
    within = [MATCH] * len(target.things)
    if edit.kind == "move":
        for i, old in before.items():
            within[i] = min(ASKED, 0.5 * math.hypot(target.things[i].x - old.x, target.things[i].y - old.y))
    pairs, share = matched(target.things, seen, within), visible(target)
    left = [s for j, s in enumerate(seen) if j not in pairs.values()]  # what the target has no thing for
    counts = [i for i, s in enumerate(share) if s >= VISIBLE]
    others = [i for i in counts if i not in meant]
    out: dict[str, Score] = {}
    if edit.kind == "background":
        right = float(reading.ground == target.ground.colour)
        out["changed"] = out["success"] = right, 1.0
    elif edit.kind == "remove" and before:
        gone = [not _at(thing, left) for thing in before.values()]
        out["changed"], out["success"] = (float(sum(gone)), float(len(gone))), (float(all(gone)), 1.0)
    elif any(i in counts for i in meant):
        new = {"recolour": "colour", "rematerial": "material", "replace": "shape", "move": None}[edit.kind]
        done, same = [], []
        for i in (i for i in meant if i in counts):
            thing = target.things[i]
            agree = _agree(thing, seen[pairs[i]]) if i in pairs else set()
            done.append(i in pairs and (new is None or new in agree))
            stale = edit.kind == "move" and any(s.colour == thing.colour for s in _at(before[i], left))
            same.append({"shape", "colour"} <= agree and not stale)
        out["changed"] = float(sum(done)), float(len(done))
        out["success"] = float(all(done) and all(same)), 1.0
    kept = [_agree(target.things[i], seen[pairs[i]]) if i in pairs else set() for i in others]
    out["kept"] = float(sum(agree >= {"colour", "place"} for agree in kept)), float(len(kept))
    out["kept_shape"] = float(sum(agree >= {"colour", "place", "shape"} for agree in kept)), float(len(kept))
    if edit.kind != "background":
        out["kept_ground"] = float(reading.ground == target.ground.colour), 1.0
    ignored = sum(i not in counts for i in pairs)
    out["count"] = float(len(seen) - ignored == len(counts)), 1.0
    return out


def leakage(source: np.ndarray, result: np.ndarray, region: np.ndarray) -> Score:
    """Pixels that an edit changed and should not have, and pixels that it should not.

    source: uint8 [H, W, 3], the unedited picture after the decoder that made the result, so that what the decoder
    cannot show does not count; result: uint8 [H, W, 3]; region: bool [H, W], what the edit may change (edits.region).
    All pixels farther than one pixel (of eight neighbours) from the region should stay; one has changed where its
    largest difference in a channel exceeds LEAK. Raises: DataError for pictures or a region that do not fit each other.
    """
    for name, picture in (("source", source), ("result", result)):
        if picture.dtype != np.uint8 or picture.shape != (*region.shape, 3) or region.dtype != bool:
            raise DataError(
                f"scores: {name} is {picture.dtype} {picture.shape} and region {region.dtype} {region.shape}, expected "
                "uint8 [H, W, 3] and bool [H, W]."
            )
    outside = ~ndimage.binary_dilation(region, np.ones((3, 3)))
    differs = np.abs(source.astype(np.int16) - result).max(-1) > LEAK
    return float((differs & outside).sum()), float(outside.sum())


# ---------------------------------------------------------------------------------------------------------- parts
def _key(thing: Thing | Seen, fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(getattr(thing, field) for field in fields)


def _agree(thing: Thing, seen: Seen) -> set[str]:
    """The attributes in which what is read agrees with the thing."""
    out = {f for f in ("shape", "colour", "size", "material") if getattr(thing, f) == getattr(seen, f)}
    return out | {"place"} if math.hypot(thing.x - seen.x, thing.y - seen.y) <= PLACE else out


def _at(thing: Thing, seen: Iterable[Seen]) -> list[Seen]:
    """What is read at a thing's place."""
    return [s for s in seen if math.hypot(thing.x - s.x, thing.y - s.y) <= MATCH]


def _read_as(scene: Scene, seen: Iterable[Seen], i: int) -> list[Seen]:
    """What is read as things[i], by as few attributes as tell it from the scene's other things."""
    fields = ("colour", "shape", "size", "material")
    for n in range(1, 5):
        key = _key(scene.things[i], fields[:n])
        if n == 4 or sum(_key(t, fields[:n]) == key for t in scene.things) == 1:
            break
    return [s for s in seen if _key(s, fields[:n]) == key]


def _stands(first: Sequence[Seen], side: str, second: Sequence[Seen]) -> bool:
    axis, sign = relations.SIDES[side]
    ahead = lambda a, b: sign * (a.x - b.x if axis == 0 else a.y - b.y)
    return any(a is not b and ahead(a, b) >= relations.MARGIN / 2 for a in first for b in second)


def _lies(seen: Seen, halves: Sequence[str]) -> bool:
    sides = [relations.SIDES[relations.HALVES[half]] for half in halves]
    return all(sign * ((seen.x, seen.y)[axis] - CANVAS / 2) >= relations.HALF_MARGIN / 2 for axis, sign in sides)
