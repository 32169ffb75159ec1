# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Reads a picture of the world back into objects, also one that is noisy or blurred (docs/world.md: how well).

Pixels are unmixed into ground and colours (layers.py); connected pixels of one colour are a thing; every shape of the
preset is fitted to it with place, radius, angle and blur, where others hide part of it to what is left (fitting.py).
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from data_pipelines.errors import DataError
from data_pipelines.world import drawing, fitting
from data_pipelines.world.fitting import Fit, Patch
from data_pipelines.world.layers import Layers, layers, mixture
from data_pipelines.world.scenes import Thing
from data_pipelines.world.vocabulary import Preset
from data_pipelines.world.vocabulary import preset as preset_named

SIDES = (64, 128)  # pictures that can be read; they are read at SIDES[0], one pixel per canvas unit
_SIDE = SIDES[0]
_CENTRES = np.arange(_SIDE) + 0.5
_MOST = 24  # pieces looked at
_NEAR = 3  # pixels between pieces that may touch
_HIDERS = 3  # neighbours looked at that may hide a piece
_POOR, _FAIR, _GOOD = 0.5, 0.8, 0.93  # overlap of a fit with what it was fitted to; nothing below poor is a thing
_LIKENESS, _DEPTH = 0.32, 0.1  # least correlation with a pattern, and least share of its depth, that make a material
# Confidence: logistic regression on overlap, log margin over the runner-up and share of the picture that is stray, over
# what is read of scenes, clean, noisy (up to 48/255) and blurred (up to 2.8 px), and of noise alone.
_SURE = (-2.4, 8.4, 1.27, -74.0)


@dataclasses.dataclass(frozen=True)
class Seen:
    """One thing read: names of the vocabulary; x, y, radius in canvas units.

    confidence: about how often shape, colour, size and place are right among reads alike, in [0, 1].
    """

    shape: str
    colour: str
    size: str
    material: str
    x: float
    y: float
    radius: float
    confidence: float


@dataclasses.dataclass(frozen=True)
class Reading:
    """ground: a name of GROUNDS, None where nothing looks like a ground; things: the surest first."""

    ground: str | None
    things: tuple[Seen, ...]


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Connected pixels of one colour. colour: index; mask: bool [S, S]; box: its rows and columns."""

    colour: int
    mask: np.ndarray
    box: tuple[slice, slice]


def read(picture: np.ndarray, preset_name: str) -> Reading:
    """What the picture shows, of what the preset draws.

    picture: uint8 [S, S, 3], S 64 or 128 (which is averaged to 64). A picture that shows nothing of the world gives no
    things, or things of low confidence. Raises: DataError for another dtype or shape, or an unknown preset.
    """
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        raise DataError(f"checker: picture is {getattr(picture, 'dtype', type(picture).__name__)}, expected uint8.")
    if picture.shape not in [(side, side, 3) for side in SIDES]:
        raise DataError(
            f"checker: picture has shape {picture.shape}, expected [S, S, 3] with S {SIDES[0]} or {SIDES[1]}."
        )
    preset, ratio = preset_named(preset_name), len(picture) // _SIDE
    apart = layers(picture.astype(np.float32).reshape(_SIDE, ratio, _SIDE, ratio, 3).mean((1, 3)), preset)
    pieces = _pieces(apart, preset)
    stray = _stray(pieces, apart)
    fits = _fitted(pieces, range(len(pieces)), apart, preset)
    pieces, fits = _parted(pieces, fits, apart, preset)
    found = [(piece, f) for piece, f in zip(pieces, fits, strict=True) if f[0].overlap > _POOR]
    things = [_seen(f, piece, apart, preset, stray) for piece, f in found]
    return Reading(apart.name, tuple(sorted(things, key=lambda seen: -seen.confidence)))


# ----------------------------------------------------------------------------------------------------------- pieces
def _pieces(apart: Layers, preset: Preset) -> list[_Piece]:
    """What things may be made of, without specks and borders, largest first."""
    least = 0.25 * fitting.least_area(preset)
    strong = _connected(np.where(apart.covered > 0.5, apart.label, 0), least)
    strong = [piece for piece in strong if not _is_border(piece, strong, apart)]
    taken = np.zeros((_SIDE, _SIDE), bool)
    for piece in strong:
        taken |= piece.mask
    # a thing that a blur has thinned out, such as a small ring, covers no pixel by half
    faint = (apart.covered > 0.25) & ~(_grown(taken, 3) if strong else taken)
    return (strong + _connected(np.where(faint, apart.label, 0), least))[:_MOST]


def _connected(label: np.ndarray, least: float, colour: int | None = None) -> list[_Piece]:
    """Connected pixels of a label of at least this area, largest first; label k + 1 is colour k, or all one colour."""
    out = []
    for k in np.unique(label[label > 0]):
        names, _ = ndimage.label(label == k, np.ones((3, 3)))
        areas = np.bincount(names.ravel())
        for i, box in enumerate(ndimage.find_objects(names), 1):
            if areas[i] >= least:
                out.append((areas[i], _Piece(int(k) - 1 if colour is None else colour, names == i, box)))
    return [piece for _, piece in sorted(out, key=lambda item: -item[0])[:_MOST]]


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    return ndimage.distance_transform_cdt(~mask, "chessboard") <= by


def _is_border(piece: _Piece, pieces: Sequence[_Piece], apart: Layers) -> bool:
    """Whether a thin piece is the blurred border of two others, whose colours mix to a third."""
    if ndimage.distance_transform_cdt(piece.mask, "chessboard").max() > 2:
        return False
    around = _grown(piece.mask, 2)
    near = sorted({p.colour for p in pieces if p.colour != piece.colour and (p.mask & around).any()})
    pixels, residual = apart.pixels[piece.mask], apart.residual[piece.mask, piece.colour]
    return any(
        np.mean(mixture(pixels, apart.colours[a], apart.colours[b])[1] < residual + 15 + apart.noise) > 0.6
        for i, a in enumerate(near)
        for b in near[:i]
    )


def _stray(pieces: Sequence[_Piece], apart: Layers) -> float:
    """Share of the picture that is no ground and lies in no piece nor beside one: little in scenes, much in noise."""
    free = np.ones((_SIDE, _SIDE), bool)
    for piece in pieces:
        free &= ~piece.mask
    if pieces:
        free &= ~_grown(~free, 2)
    return float((((apart.covered > 0.5) | (apart.label == -1)) & free).mean())


def _parted(
    pieces: list[_Piece], fits: list[list[Fit]], apart: Layers, preset: Preset
) -> tuple[list[_Piece], list[list[Fit]]]:
    """Pieces and fits with those parted that are several things of one colour, which a blur has joined."""
    for piece, (fit, *_) in list(zip(pieces, fits, strict=True)):
        if fit.overlap > _FAIR:
            continue
        for parts in _partings(piece, apart, preset):
            at = next(i for i, other in enumerate(pieces) if other is piece)
            rest = pieces[:at] + pieces[at + 1 :]
            tried = _fitted(rest + parts, range(len(rest), len(rest) + len(parts)), apart, preset)
            if sum(f[0].error for f in tried) < 0.6 * fit.error and min(f[0].overlap for f in tried) > _FAIR:
                pieces, fits = rest + parts, fits[:at] + fits[at + 1 :] + tried
                break
    return pieces, fits


def _partings(piece: _Piece, apart: Layers, preset: Preset) -> Iterator[list[_Piece]]:
    """Ways to part a piece in two or three: around where its cover is whole, or where it is thick."""
    cover, thick = apart.cover[..., piece.colour] * piece.mask, ndimage.distance_transform_edt(piece.mask)
    seen: set[int] = set()
    for cores in [*(cover > t for t in (0.65, 0.8, 0.95)), *(thick > t for t in (1.0, 1.5, 2.3, 3.0, 4.0))]:
        names, _ = ndimage.label(cores)
        keep = np.flatnonzero(np.bincount(names.ravel())[1:] >= 0.1 * fitting.least_area(preset)) + 1
        if 2 <= len(keep) <= 3 and len(keep) not in seen:
            seen.add(len(keep))
            names = np.where(np.isin(names, keep), names, 0)
            nearest = ndimage.distance_transform_edt(names == 0, return_distances=False, return_indices=True)
            yield _connected(np.where(piece.mask, names[tuple(nearest)], 0), 0.0, piece.colour)


# ------------------------------------------------------------------------------------------------------------- fits
def _fitted(pieces: Sequence[_Piece], which: Sequence[int], apart: Layers, preset: Preset) -> list[list[Fit]]:
    """For each of the pieces asked for, the shapes of the preset, best first."""
    owner = np.zeros((_SIDE, _SIDE), np.int32)
    for i, piece in enumerate(pieces):
        owner[piece.mask] = i + 1
    near, patches, whole = {}, {}, {}
    for i in which:
        contact = np.bincount(owner[_grown(pieces[i].mask, _NEAR)], minlength=len(pieces) + 1)[1:]
        near[i] = [
            int(j) for j in np.argsort(-contact, kind="stable") if contact[j] and pieces[j].colour != pieces[i].colour
        ]
        patches[i] = _patch(i, near[i], pieces, owner, apart)
        whole[i] = fitting.fits(patches[i], preset, [_middle(patches[i])])
    out = dict(whole)
    for i in which:
        if whole[i][0].overlap > _GOOD:
            continue
        over = [whole[j][0] for j in near[i] if j in whole][:_HIDERS]  # perhaps hidden by one of them, perhaps by all
        for hiders in [[fit] for fit in over] + [over] * (len(over) > 1):
            fits = _hidden(patches[i], pieces[i], hiders, preset)
            if fits[0].error < 0.9 * out[i][0].error - 2.0:
                out[i] = fits
    return [out[i] for i in which]


def _patch(i: int, near: Sequence[int], pieces: Sequence[_Piece], owner: np.ndarray, apart: Layers) -> Patch:
    """What pieces[i] covers of the pixels around it; near: pieces of other colours beside it."""
    piece, pad = pieces[i], 10 if near else 4
    box = tuple(slice(max(0, s.start - pad), min(_SIDE, s.stop + pad)) for s in piece.box)
    own, cover = owner[box], apart.cover[box][..., piece.colour].astype(np.float64)
    weight = np.where(apart.label[box] == -1, 0.3, 1.0)
    if rivals := [j for j, other in enumerate(pieces) if j != i and other.colour == piece.colour]:
        taken = np.isin(own, [j + 1 for j in (i, *rivals)])  # what is not, belongs to the nearest of them
        nearest = ndimage.distance_transform_edt(~taken, return_distances=False, return_indices=True)
        cover[own[tuple(nearest)] != i + 1] = 0.0
    cover[(own > 0) & (own != i + 1)] = 0.0
    for j in near:  # between the two: a mixture of their colours, where that explains a pixel better than the ground
        zone = _grown(own == j + 1, 3) & _grown(own == i + 1, 3)
        share, residual = mixture(apart.pixels[box][zone], apart.colours[piece.colour], apart.colours[pieces[j].colour])
        single = apart.residual[box][zone][:, [piece.colour, pieces[j].colour]].min(1)
        cover[zone] = np.where(residual < single, share, cover[zone])
        weight[zone] = 1.0
    return Patch(_CENTRES[box[1]], _CENTRES[box[0]], cover, weight, np.ones_like(cover))


def _middle(patch: Patch) -> fitting.Start:
    weight = patch.cover / patch.cover.sum()
    return float(weight.sum(0) @ patch.x), float(weight.sum(1) @ patch.y), None


def _hidden(patch: Patch, piece: _Piece, hiders: Sequence[Fit], preset: Preset) -> list[Fit]:
    """Fits of a thing that these hide in part: it goes on below them."""
    clear = np.prod([1.0 - fitting.cover(fit, patch.x, patch.y) for fit in hiders], axis=0)
    x, y, _ = _middle(patch)
    rows, columns = piece.box
    half = max(rows.stop - rows.start, columns.stop - columns.start) / 2
    dx, dy = np.mean([fit.x for fit in hiders]) - x, np.mean([fit.y for fit in hiders]) - y
    step = half / (math.hypot(dx, dy) + 1e-6)
    starts: list[fitting.Start] = [((columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2, half)]
    starts += [(x + t * step * dx, y + t * step * dy, half * grow) for t in (0.0, 0.3, 0.6) for grow in (1.0, 1.3)]
    return fitting.fits(dataclasses.replace(patch, clear=clear), preset, starts)


# ------------------------------------------------------------------------------------------------------- attributes
def _seen(fits: Sequence[Fit], piece: _Piece, apart: Layers, preset: Preset, stray: float) -> Seen:
    best, second = fits[0], fits[1]
    size = min(preset.sizes, key=lambda s: max(preset.radius[s][0] - best.radius, best.radius - preset.radius[s][1]))
    margin = (second.error - best.error) / (best.error + 0.02 * best.radius**2)
    sure = _SURE[0] + _SURE[1] * best.overlap + _SURE[2] * math.log(margin + 0.02) + _SURE[3] * stray
    return Seen(
        shape=best.shape,
        colour=preset.colours[piece.colour],
        size=size,
        material=_material(best, piece, apart, preset),
        x=best.x,
        y=best.y,
        radius=best.radius,
        confidence=1.0 / (1.0 + math.exp(-sure)),
    )


def _material(fit: Fit, piece: _Piece, apart: Layers, preset: Preset) -> str:
    """The material whose pattern, laid where the fit says, follows the brightness inside; plain where neither does."""
    plain, *patterns = preset.materials
    cover = fitting.cover(fit, _CENTRES[piece.box[1]], _CENTRES[piece.box[0]], blurred=True)
    inside = piece.mask[piece.box] & (cover > 0.6)
    if not patterns or inside.sum() < 12:
        return plain
    y, x = (at[inside] + 0.5 for at in np.mgrid[piece.box])
    cover, colour = cover[inside], apart.colours[piece.colour]
    light = (apart.raw[piece.box][inside] - (1 - cover)[:, None] * apart.ground[piece.box][inside]) @ colour
    gloss, _ = np.linalg.qr(np.stack([cover, cover * (x - fit.x), cover * (y - fit.y)], axis=1))
    flat = lambda values: values - gloss @ (gloss.T @ values)
    light = flat(light / (colour @ colour))
    best, likeness = plain, _LIKENESS
    for material in patterns:
        things = [Thing(fit.shape, "", "", material, fit.x, fit.y, fit.radius, angle) for angle in _angles(fit, preset)]
        dark = flat(np.stack([1.0 - drawing.surface(t, x, y, 1.0) for t in things], axis=1) * cover[:, None])
        size, along = (dark**2).sum(0) + 1e-9, -(light @ dark)
        alike = along / np.sqrt(size * (light @ light) + 1e-9)
        k = int(alike.argmax())
        if alike[k] > likeness and along[k] / size[k] > _DEPTH:
            best, likeness = material, float(alike[k])
    return best


def _angles(fit: Fit, preset: Preset) -> list[float]:
    """What the thing's angle can be: its outline tells it up to its symmetry."""
    if turn := fitting.TURN[fit.shape]:
        return [fit.angle + i * turn for i in range(round(2 * math.pi / turn) if preset.angle > turn / 2 else 1)]
    most = min(preset.angle, math.pi / 2)  # patterns look the same after half a turn
    return np.linspace(-most, most, 1 + math.ceil(2 * most / 0.1)).tolist()
