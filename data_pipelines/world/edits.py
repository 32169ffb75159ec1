# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Edits of scenes: what is to be done, in words, and the scene in which it is done and nothing else has changed."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.world import relations, scenes
from data_pipelines.world.draws import Draws
from data_pipelines.world.phrases import COLOUR, MATERIAL, NOUNS, SHAPE, Key, Phrases, a, only, phrase
from data_pipelines.world.scenes import Scene, Thing
from data_pipelines.world.vocabulary import CANVAS, GROUNDS, OPEN_PAIRS, Preset, preset

KINDS = ("recolour", "rematerial", "remove", "replace", "move", "background")
BY = ("words", "region")
SEVERAL = ("recolour", "rematerial", "remove", "replace")  # kinds that may mean several things
BORDER = 2.0  # canvas units between the picture's border and what was moved to it
BESIDE = 4.0  # between a landmark and what was moved beside it, along the axis of the move
_BESIDE = 0.75  # share of moves that try landmarks first; many find no room beside any
_SEVERAL = 0.4  # share of edits of several things where both are possible
_TEXTS = {
    "recolour": ("make {x} {value}", "paint {x} {value}", "change the colour of {x} to {value}"),
    "rematerial": ("make {x} {value}", "give {x} a {value} surface"),
    "remove": ("remove {x}", "delete {x}", "take {x} away"),
    "replace": ("replace {x} with {value}", "turn {x} into {value}"),
    "move": ("move {x} {value}", "shift {x} {value}", "put {x} {value}"),
    "move to a side": ("move {x} {value}", "shift {x} {value}"),  # nothing is 'put to the top'
    "background": ("make the background {value}", "paint the background {value}", "change the background to {value}"),
}
_TO_SIDE = {
    "left of": "to the left side",
    "right of": "to the right side",
    "above": "to the top",
    "below": "to the bottom",
}
_TO_THING = {"left of": "to the left of", "right of": "to the right of", "above": "above", "below": "below"}


@dataclasses.dataclass(frozen=True)
class Edit:
    """What the instruction does not speak of is the same in both scenes, to the pixel.

    kind: of KINDS; by: of BY. By words the instruction says which things are meant and is not ambiguous; by region it
    says 'this' or 'these' and the region tells. things: indices into source.things of those meant, rising; () for the
    background, and () with target == source where the words mean nothing in the picture. The target keeps the source's
    (preset, split, index), which name where it comes from.
    """

    kind: str
    by: str
    instruction: str
    source: Scene
    target: Scene
    things: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Meant:
    """things: those an edit is about; words: 'the red circle', 'all circles', 'this', 'these'."""

    things: tuple[int, ...]
    words: str
    many: bool


Change = tuple[str, tuple[Thing, ...]]  # value, as the instruction says it, and the things of the target


def edit(scene: Scene, d: Draws, kind: str | None = None, by: str | None = None, *, absent: bool = False) -> Edit:
    """An edit of the scene.

    Args:
      kind: of KINDS; None draws one of those that the scene allows, each alike.
      by: words or region; None draws it; the background is always meant by words.
      absent: whether the words shall mean nothing in the picture, so that nothing is to be done.

    Raises: DataError for an unknown kind or way, a background or absent things by region, absent things of the
      background, and a kind that the scene does not allow.
    """
    if kind is not None and kind not in KINDS:
        raise DataError(f"world: kind of edit is {kind!r}, expected one of {', '.join(KINDS)}.")
    if by is not None and by not in BY:
        raise DataError(f"world: an edit by {by!r}, expected one of {', '.join(BY)}.")
    if by == "region" and (absent or kind == "background"):
        what = "of nothing" if absent else "of the background"
        raise DataError(f"world: an edit {what} by region, expected by words.")
    if absent and kind == "background":
        raise DataError(
            f"world: an edit of kind background with absent things, expected one of {', '.join(KINDS[:-1])}."
        )
    phrases = Phrases(scene)
    for k in d.shuffled(KINDS) if kind is None else (kind,):
        if k == "background" and (by == "region" or absent):
            continue
        for way in d.shuffled(BY) if by is None and k != "background" and not absent else (by or "words",):
            if (made := _absent(phrases, d, k) if absent else _edit(phrases, d, k, way)) is not None:
                return made
    name = f"{scene.preset}/{scene.split}/{scene.index}"
    ways = by or ("words" if absent or kind == "background" else "words or region")
    raise DataError(f"world: scene {name} allows no edit of kind {kind or 'any'} by {ways}.")


def region(edit: Edit, side: int) -> np.ndarray:
    """bool [side, side]: every pixel in which the pictures of source and target may differ.

    It is what shows, before or after, of the things meant, or of the ground for a background, with the pixels on
    outlines that show it in part; empty where nothing is meant.
    """
    if edit.kind == "background":
        return _shows(edit.source, (), side, ground=True)
    after = edit.things if edit.kind != "remove" else ()
    return _shows(edit.source, edit.things, side) | _shows(edit.target, after, side)


def _shows(scene: Scene, which: Sequence[int], side: int, ground: bool = False) -> np.ndarray:
    """bool [side, side]: pixels that the things with these indices, or the ground, have a part in."""
    centres = scenes.pixel_centres(side)
    out, free = np.zeros((side, side), bool), np.ones((side, side))  # share of a pixel that nearer things leave
    for k, thing in reversed(list(enumerate(scene.things))):
        cover = scenes.cover(thing, centres[None, :], centres[:, None], side / CANVAS)
        if k in which:
            out |= (cover > 0) & (free > 0)
        free *= 1.0 - cover
    return out | (free > 0) if ground else out


def _edit(phrases: Phrases, d: Draws, kind: str, by: str) -> Edit | None:
    source = phrases.scene
    if kind == "background":
        colour = d.choice([c for c in GROUNDS if c != source.ground.colour])
        target = dataclasses.replace(source, ground=dataclasses.replace(source.ground, colour=colour))
        return Edit(kind, "words", _text(d, kind, "", colour), source, target, ())
    for meant in _meant(phrases, d, kind, by):
        for value, things in _CHANGES[kind](phrases, d, meant):
            if _allowed(source, things, meant.things if kind != "remove" else ()):
                text = _text(d, kind, meant.words, value)
                return Edit(kind, by, text, source, dataclasses.replace(source, things=things), meant.things)
    return None


def _text(d: Draws, kind: str, words: str, value: str) -> str:
    return d.choice(_TEXTS["move to a side" if value in _TO_SIDE.values() else kind]).format(x=words, value=value)


# ------------------------------------------------------------------------------------------------------------ who
def _meant(phrases: Phrases, d: Draws, kind: str, by: str) -> Iterator[_Meant]:
    """Everything that an edit can be about: single things and several, in an order drawn at random."""
    count = len(phrases.things)
    groups: list[tuple[tuple[int, ...], Key | None]] = []
    singles = list(range(count)) if by == "region" else phrases.named()
    if kind in SEVERAL and by == "region":
        groups = [((i, j), None) for j in range(count) for i in range(j)]
    elif kind in SEVERAL:
        groups = [(tuple(group), key) for key, group in phrases.groups.items() if len(group) > 1]
    first = "groups" if groups and d.chance(_SEVERAL) else "singles"
    for which in ("groups", "singles") if first == "groups" else ("singles", "groups"):
        if which == "groups":
            for things, key in d.shuffled(groups):
                words = "these" if key is None else f"all {phrase(key, d.choice(NOUNS), many=True)}"
                yield _Meant(things, words, True)
            continue
        for i in d.shuffled(singles):
            yield _Meant((i,), "this" if by == "region" else f"the {phrases.called(d, i)}", False)


def _absent(phrases: Phrases, d: Draws, kind: str) -> Edit | None:
    """An edit whose words mean nothing in the picture and name none of OPEN_PAIRS outside the split `open`."""
    many = kind in SEVERAL and d.chance(_SEVERAL)
    for i in d.shuffled(range(len(phrases.things))):
        key = phrases.some(d, i, (1, 2)) if many else phrases.name(d, i)
        absent = phrases.absent(d, key) if key and any(key) else None  # 'the thing' is never absent
        if absent is None:  # nor is a small one where there are things of all sizes; but one of all its words may be
            absent = phrases.absent(d, phrases.some(d, i, (len(phrases.fields),)))
        if absent is None:
            continue
        words = f"{'all' if many else 'the'} {phrase(absent, d.choice(NOUNS), many=many)}"
        value = _idle(phrases, d, kind, absent, many)
        if value is not None:
            text = _text(d, kind, words, value)
            return Edit(kind, "words", text, phrases.scene, phrases.scene, ())
    return None


def _idle(phrases: Phrases, d: Draws, kind: str, key: Key, many: bool) -> str | None:
    """What could be asked of a thing that is not there."""
    p, is_open = preset(phrases.scene.preset), phrases.scene.split == "open"
    free = lambda shape, colour: is_open or (shape, colour) not in OPEN_PAIRS
    if kind == "remove":
        return ""
    if kind == "recolour":
        return d.choice([c for c in p.colours if c != key[COLOUR] and free(key[SHAPE], c)])
    if kind == "rematerial":
        others = [m for m in p.materials if m != key[MATERIAL]]
        return d.choice(others) if len(p.materials) > 1 else None
    if kind == "replace":
        return _shape_words(d.choice([s for s in p.shapes if s != key[SHAPE] and free(s, key[COLOUR])]), many)
    landmarks = phrases.named()
    if landmarks and d.chance(0.5):
        return f"{_TO_THING[d.choice(tuple(relations.SIDES))]} the {phrases.called(d, d.choice(landmarks))}"
    return d.choice(tuple(_TO_SIDE.values()))


# ----------------------------------------------------------------------------------------------------------- what
def _with(things: Sequence[Thing], which: Sequence[int], **changes) -> tuple[Thing, ...]:
    return tuple(dataclasses.replace(t, **changes) if i in which else t for i, t in enumerate(things))


def _values(field: str) -> Callable[[Phrases, Draws, _Meant], Iterator[Change]]:
    """Another value of a field for all that is meant; none of it has that value yet."""

    def changes(phrases: Phrases, d: Draws, meant: _Meant) -> Iterator[Change]:
        p = preset(phrases.scene.preset)
        options = {"colour": p.colours, "material": p.materials, "shape": p.shapes}[field]
        taken = {getattr(phrases.things[i], field) for i in meant.things}
        for value in d.shuffled([v for v in options if v not in taken]):
            words = _shape_words(value, meant.many) if field == "shape" else value
            yield words, _with(phrases.things, meant.things, **{field: value})

    return changes


def _shape_words(shape: str, many: bool) -> str:
    return phrase(only(SHAPE, shape), many=True) if many else a(shape)


def _removed(phrases: Phrases, d: Draws, meant: _Meant) -> Iterator[Change]:
    left = tuple(thing for i, thing in enumerate(phrases.things) if i not in meant.things)
    if left:  # a picture always shows something
        yield "", left


def _moved(phrases: Phrases, d: Draws, meant: _Meant) -> Iterator[Change]:
    """To a side of the picture or beside a landmark, as chance has it where there is room for both."""
    (i,) = meant.things
    borders: list[tuple[str, int | None]] = [(side, None) for side in relations.SIDES]
    landmarks = [j for j in phrases.named() if j != i]
    beside: list[tuple[str, int | None]] = [(side, j) for side in relations.SIDES for j in landmarks]
    first, second = (beside, borders) if d.chance(_BESIDE) else (borders, beside)
    for side, j in [*d.shuffled(first), *d.shuffled(second)]:
        if (place := destination(phrases.things, i, side, j)) is not None:
            value = _TO_SIDE[side] if j is None else f"{_TO_THING[side]} the {phrases.called(d, j)}"
            yield value, _with(phrases.things, (i,), x=place[0], y=place[1])


def destination(things: Sequence[Thing], i: int, side: str, landmark: int | None) -> tuple[float, float] | None:
    """Where things[i] goes when it is moved to that side (of relations.SIDES) of the picture or of things[landmark].

    To the picture's side: BORDER from its border, the other coordinate kept. Beside a landmark: BESIDE from it, and
    centres more than relations.MARGIN apart on that axis, level with it. Where things are in the way it slides along
    the other axis to the nearest free place, beside a landmark by no more than three quarters of the distance to it.
    None where there is none, where the thing is there already, and where its centre would move by less than
    relations.MARGIN along the side's axis (to a side of the picture) or at all (to a landmark).
    """
    thing, (axis, sign) = things[i], relations.SIDES[side]
    at, outline = np.array([thing.x, thing.y]), scenes.points(thing) - (thing.x, thing.y)
    low, high = scenes.MARGIN - outline.min(0), CANVAS - scenes.MARGIN - outline.max(0)
    if landmark is None:
        extra = BORDER - scenes.MARGIN
        along = float(high[axis] - extra if sign > 0 else low[axis] + extra)
        if sign * (along - at[axis]) < relations.MARGIN:
            return None
        level, slide = float(at[1 - axis]), CANVAS
    else:
        other = things[landmark]
        if relations.holds(thing, side, other):
            return None
        centre, edge = np.array([other.x, other.y]), scenes.points(other)[:, axis]
        along = (
            edge.max() + BESIDE - outline[:, axis].min() if sign > 0 else edge.min() - BESIDE - outline[:, axis].max()
        )
        along = sign * max(sign * along, sign * centre[axis] + relations.MARGIN + 1.0)
        level, slide = float(centre[1 - axis]), 0.75 * abs(along - centre[axis])
    if not low[axis] <= along <= high[axis]:
        return None
    for step in sorted(range(-int(slide), int(slide) + 1), key=lambda s: (abs(s), s)):
        across = level + step
        x, y = (along, across) if axis == 0 else (across, along)
        spot = dataclasses.replace(thing, x=round(float(x), 3), y=round(float(y), 3))
        if low[1 - axis] <= across <= high[1 - axis] and np.hypot(spot.x - at[0], spot.y - at[1]) >= relations.MARGIN:
            if all(scenes.apart(spot, other) for j, other in enumerate(things) if j != i):
                return spot.x, spot.y
    return None


_CHANGES: dict[str, Callable[[Phrases, Draws, _Meant], Iterator[Change]]] = {
    "recolour": _values("colour"),
    "rematerial": _values("material"),
    "replace": _values("shape"),
    "remove": _removed,
    "move": _moved,
}


# ---------------------------------------------------------------------------------------------------------- rules
def _allowed(source: Scene, things: tuple[Thing, ...], changed: Sequence[int]) -> bool:
    """Whether the changed things obey the rules of scenes beside all others, and no two overlap that did not before."""
    p: Preset = preset(source.preset)
    for i in changed:
        if source.split != "open" and things[i].pair in OPEN_PAIRS or not scenes.inside(things[i]):
            return False
        for j in range(len(things)):
            far, near = sorted((i, j))
            if i == j or scenes.apart(things[far], things[near]):
                continue
            if things[i].colour == things[j].colour or scenes.apart(source.things[far], source.things[near]):
                return False
            if not p.hidden[0] <= scenes.hidden_share(things[far], things[near]) <= p.hidden[1]:
                return False
    return True
