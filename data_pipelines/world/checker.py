# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Reads a picture of the world back into objects."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from data_pipelines.errors import DataError
from data_pipelines.world import drawing, fitting
from data_pipelines.world.fitting import Fit, Patch
from data_pipelines.world.scenes import Thing
from data_pipelines.world.vocabulary import COLOURS, GROUNDS, Preset
from data_pipelines.world.vocabulary import preset as preset_named

SIDE = 64  # pictures are read at one pixel per canvas unit
_DIM, _BRIGHT = 0.5, 1.1  # brightness of a thing's surface with its gloss and shade, share of its colour's
_MOST = 24  # pieces looked at
_LIKENESS, _DEPTH = 0.32, 0.1  # least correlation with a pattern, and least share of its depth, that make a material
_GROUND = 36.0  # farthest that a pixel of the ground lies from its colour at any brightness, RGB levels
_MIXED = 32.0  # what a pixel half covered costs against one wholly covered: only outlines are mixed
_POOR, _FAIR, _GOOD = 0.5, 0.8, 0.93  # overlap of a fit with what it was fitted to
_NEAR = 3  # pixels between pieces that may touch
_CENTRES = np.arange(SIDE) + 0.5


@dataclasses.dataclass(frozen=True)
class Seen:
    """One thing read: x, y, radius in canvas units; confidence in [0, 1]."""

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
class _Layers:
    """A picture taken apart, every pixel as (1 - cover) * ground + light * colour.

    pixels: float32 [S, S, 3]; label: int [S, S], -1 unknown, 0 ground, k + 1 colour k of the preset; cover, light: [S, S, k],
    cover 0 where the colour does not explain the pixel; colours: [k, 3].
    """

    raw: np.ndarray
    pixels: np.ndarray
    ground: np.ndarray
    label: np.ndarray
    cover_of_label: np.ndarray
    cover: np.ndarray
    residual: np.ndarray
    colours: np.ndarray
    noise: float


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Connected pixels of one colour. colour: index; mask: bool [S, S]; box: top, bottom, left, right."""

    colour: int
    mask: np.ndarray
    box: tuple[int, int, int, int]


def read(picture: np.ndarray, preset_name: str) -> Reading:
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        raise DataError(f"checker: picture is {getattr(picture, 'dtype', type(picture).__name__)}, expected uint8.")
    if picture.ndim != 3 or picture.shape[0] != picture.shape[1] or picture.shape[2] != 3 or len(picture) not in (64, 128):
        raise DataError(f"checker: picture has shape {picture.shape}, expected [S, S, 3] with S 64 or 128.")
    preset = preset_named(preset_name)
    ratio = len(picture) // SIDE
    pixels = picture.astype(np.float32).reshape(SIDE, ratio, SIDE, ratio, 3).mean((1, 3))
    noise = _noise(pixels)
    smooth = ndimage.gaussian_filter(pixels, (s := min(1.0, 0.35 + noise / 30), s, 0)) if noise > 2.5 else pixels
    name, ground = _ground(smooth)
    layers = _layers(pixels, smooth, ground, preset, noise)
    pieces = _pieces(layers, preset)
    pieces, fits = _split(pieces, _fitted(pieces, range(len(pieces)), layers, preset), layers, preset)
    things = [_seen(f, piece, layers, preset) for piece, f in zip(pieces, fits, strict=True) if f[0].overlap > _POOR]
    return Reading(name, tuple(sorted(things, key=lambda seen: -seen.confidence)))


def _noise(pixels: np.ndarray) -> float:
    """Standard deviation of pixel noise (Immerkaer 1996), by the median, which outlines do not move."""
    rows = pixels[:-2] - 2 * pixels[1:-1] + pixels[2:]
    both = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return float(np.median(np.abs(both)) / (6 * 0.6745))


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[...] of [..., 3]; much faster than a sum over so short an axis."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _ground(pixels: np.ndarray) -> tuple[str | None, np.ndarray]:
    """Name of the ground and what it looks like without the things, [S, S, 3]."""
    colours = np.array(list(GROUNDS.values()), np.float32)
    square, along = _dot(colours, colours), pixels @ colours.T
    share = np.clip(along / square, 0.8, 1.2)
    off = _dot(pixels, pixels)[..., None] - 2 * share * along + share**2 * square  # [S, S, grounds], squared
    near = off < _GROUND**2
    count = np.bincount(off.argmin(-1)[near.any(-1)], minlength=len(colours))
    best = int(np.argmax(count))
    if count[best] < 0.05 * SIDE**2:
        return None, np.broadcast_to(np.median(pixels, (0, 1)), pixels.shape)
    mask = near[..., best]
    colour = np.median(pixels[mask], 0)
    mask = (ndimage.binary_erosion(mask) if count[best] > 0.3 * SIDE**2 else mask).astype(np.float32)
    light = mask * (pixels @ (colour / (colour @ colour)))
    light = (ndimage.gaussian_filter(light, 2.0) + 1e-3) / (ndimage.gaussian_filter(mask, 2.0) + 1e-3)
    return list(GROUNDS)[best], light[..., None] * colour


def _layers(raw: np.ndarray, pixels: np.ndarray, ground: np.ndarray, preset: Preset, noise: float) -> _Layers:
    colours = np.array([COLOURS[c] for c in preset.colours], np.float32)
    gg, cc, gc = _dot(ground, ground)[..., None] + 1.0, _dot(colours, colours), ground @ colours.T
    pp, pg, pc = _dot(pixels, pixels)[..., None], _dot(pixels, ground)[..., None], pixels @ colours.T
    det = np.maximum(gg * cc - gc**2, 1.0)
    u, v = (pg * cc - pc * gc) / det, np.maximum((pc * gg - pg * gc) / det, 0.0)
    cover = np.minimum(np.maximum(np.maximum(1.0 - u, v / _BRIGHT), 0.0), np.minimum(v / _DIM, 1.0))
    light, rest = np.minimum(np.maximum(v, _DIM * cover), _BRIGHT * cover), 1.0 - cover
    square = pp + rest * (rest * gg - 2 * pg) + light * (light * cc - 2 * pc + 2 * rest * gc)
    residual = np.sqrt(np.maximum(square, 0.0))
    best = (residual + _MIXED * cover * (1.0 - cover)).argmin(-1)[..., None]
    least = np.take_along_axis(residual, best, -1)
    label, most = best[..., 0] + 1, np.take_along_axis(cover, best, -1)[..., 0]
    label[least[..., 0] > 40 + 2 * noise] = -1
    cover = np.where(residual <= least + 10 + noise, cover, 0.0)
    return _Layers(raw, pixels, ground, label, most, cover, residual, colours, noise)


# ----------------------------------------------------------------------------------------------------------- pieces
def _pieces(layers: _Layers, preset: Preset) -> list[_Piece]:
    """What things may be made of, without specks and borders, largest first."""
    least = 0.25 * fitting.least_area(preset)
    strong = _parts(np.where(layers.cover_of_label > 0.5, layers.label, 0), least)
    strong = [piece for piece in strong if not _blend(piece, strong, layers)]
    taken = _grown(np.any([piece.mask for piece in strong], 0), 3) if strong else np.zeros((SIDE, SIDE), bool)
    # a thing that a blur has thinned out, as a small ring, covers no pixel by half
    weak = _parts(np.where((layers.cover_of_label > 0.25) & ~taken, layers.label, 0), least)
    return (strong + weak)[:_MOST]


def _parts(label: np.ndarray, least: float, colour: int | None = None) -> list[_Piece]:
    """Connected pixels of one label of at least this area, largest first."""
    out = []
    for k in np.unique(label[label > 0]):
        names, _ = ndimage.label(label == k, np.ones((3, 3)))
        areas = np.bincount(names.ravel())
        for i, (rows, columns) in enumerate(ndimage.find_objects(names), 1):
            if areas[i] >= least:
                out.append(_Piece(int(k) - 1 if colour is None else colour, names == i, (rows.start, rows.stop, columns.start, columns.stop)))
    return sorted(out, key=lambda piece: -np.count_nonzero(piece.mask))[:_MOST]


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    return ndimage.distance_transform_cdt(~mask, "chessboard") <= by


def _blend(piece: _Piece, pieces: list[_Piece], layers: _Layers) -> bool:
    """Whether a thin piece is the blurred border between two others, whose colours mix to a third's."""
    if ndimage.distance_transform_cdt(piece.mask, "chessboard").max() > 2:
        return False
    around = _grown(piece.mask, 2)
    near = [p for p in pieces if p is not piece and p.colour != piece.colour and (p.mask & around).any()]
    pixels = layers.pixels[piece.mask]
    for i, a in enumerate(near):
        for b in near[:i]:
            if a.colour == b.colour:
                continue
            mix = layers.colours[[a.colour, b.colour]]
            lights = np.clip(pixels @ np.linalg.pinv(mix), 0.0, _BRIGHT)
            rest = np.sqrt(((pixels - lights @ mix) ** 2).sum(1))
            if np.mean(rest < layers.residual[piece.mask, piece.colour] + 15 + layers.noise) > 0.6:
                return True
    return False


def _fitted(pieces: list[_Piece], which: range, layers: _Layers, preset: Preset) -> list[list[Fit]]:
    """For each of the pieces asked for the shapes of the preset, best first.

    A thing that others hide in part is fitted to what is left of it.
    """
    owner = np.zeros((SIDE, SIDE), np.int32)
    for i, piece in enumerate(pieces):
        owner[piece.mask] = i + 1
    near = {}
    for i in which:
        around = np.unique(owner[_grown(pieces[i].mask, _NEAR)]) - 1
        near[i] = [j for j in around if j >= 0 and pieces[j].colour != pieces[i].colour]
    patches = {i: _patch(i, near[i], pieces, owner, layers) for i in which}
    whole = {i: fitting.fits(patch, preset, [_middle(patch)]) for i, patch in patches.items()}
    out = dict(whole)
    for i in which:
        if whole[i][0].overlap > _GOOD:
            continue
        over = [j for j in near[i] if j in whole]
        for hiders in [[j] for j in over] + [over] * (len(over) > 1):
            fits = _hidden(patches[i], pieces[i], [whole[j][0] for j in hiders], preset)
            if fits[0].error < 0.9 * out[i][0].error - 2.0:
                out[i] = fits
    return [out[i] for i in which]


def _split(pieces: list[_Piece], fits: list[list[Fit]], layers: _Layers, preset: Preset):
    """Pieces and fits with those parted that are several things of one colour, which a blur has joined."""
    for piece, fit in list(zip(pieces, fits, strict=True)):
        if fit[0].overlap > _FAIR:
            continue
        for parts in _partings(piece, layers, preset):
            at = next(i for i, other in enumerate(pieces) if other is piece)
            rest = pieces[:at] + pieces[at + 1 :]
            tried = _fitted(rest + parts, range(len(rest), len(rest) + len(parts)), layers, preset)
            if sum(f[0].error for f in tried) < 0.6 * fit[0].error and all(f[0].overlap > _FAIR for f in tried):
                pieces, fits = rest + parts, fits[:at] + fits[at + 1 :] + tried
                break
    return pieces, fits


def _partings(piece: _Piece, layers: _Layers, preset: Preset) -> Iterator[list[_Piece]]:
    """Ways to part a piece in two or three: around where its cover is whole, or where it is thick."""
    cover = np.where(piece.mask, layers.cover[..., piece.colour], 0.0)
    depth, least, seen = ndimage.distance_transform_edt(piece.mask), 0.1 * fitting.least_area(preset), set[int]()
    for cores in [*(cover > level for level in (0.65, 0.8, 0.95)), *(depth > level for level in (1.0, 1.5, 2.3, 3.0, 4.0))]:
        names, _ = ndimage.label(cores)
        keep = np.flatnonzero(np.bincount(names.ravel())[1:] >= least) + 1
        if len(keep) in seen or not 2 <= len(keep) <= 3:
            continue
        seen.add(len(keep))
        names = np.where(np.isin(names, keep), names, 0)
        at = ndimage.distance_transform_edt(names == 0, return_distances=False, return_indices=True)
        yield _parts(np.where(piece.mask, names[tuple(at)], 0), 0.0, piece.colour)


def _middle(patch: Patch):
    weight = patch.cover / patch.cover.sum()
    return float(weight.sum(0) @ patch.x), float(weight.sum(1) @ patch.y), None


def _patch(i: int, near: list[int], pieces: list[_Piece], owner: np.ndarray, layers: _Layers) -> Patch:
    piece = pieces[i]
    pad = 10 if near else 4
    rows = slice(max(0, piece.box[0] - pad), min(SIDE, piece.box[1] + pad))
    columns = slice(max(0, piece.box[2] - pad), min(SIDE, piece.box[3] + pad))
    own, cover = owner[rows, columns], layers.cover[rows, columns, piece.colour].astype(np.float64)
    weight = np.where(layers.label[rows, columns] == -1, 0.3, 1.0)
    if (rivals := [j for j, p in enumerate(pieces) if j != i and p.colour == piece.colour]):
        ours = np.isin(own, [j + 1 for j in [i, *rivals]])
        at = ndimage.distance_transform_edt(~ours, return_distances=False, return_indices=True)
        cover = np.where(own[tuple(at)] == i + 1, cover, 0.0)
    cover = np.where((own > 0) & (own != i + 1), 0.0, cover)
    for j in near:
        # a pixel between the two: a mixture of both colours where that explains it better than either on the ground
        zone = _grown(own == j + 1, 3) & _grown(own == i + 1, 3)
        pixels = layers.pixels[rows, columns][zone]
        mix = layers.colours[[piece.colour, pieces[j].colour]]
        lights = np.clip(pixels @ np.linalg.pinv(mix), 0.0, _BRIGHT)
        rest = np.sqrt(((pixels - lights @ mix) ** 2).sum(1))
        rest = np.where(lights.sum(1) < _DIM, np.inf, rest)
        single = layers.residual[rows, columns][zone][:, [piece.colour, pieces[j].colour]].min(1)
        cover[zone] = np.where(rest < single, lights[:, 0] / np.maximum(lights.sum(1), 1e-3), cover[zone])
        weight[zone] = 1.0
    return Patch(_CENTRES[columns], _CENTRES[rows], cover, weight, np.ones_like(cover))


def _hidden(patch: Patch, piece: _Piece, hiders: list[Fit], preset: Preset) -> list[Fit]:
    """Fits of a thing that others hide in part."""
    clear = np.prod([1.0 - fitting.cover(fit, patch.x, patch.y) for fit in hiders], axis=0)
    x, y, _ = _middle(patch)
    top, bottom, left, right = piece.box
    half = max(bottom - top, right - left) / 2
    hx, hy = np.mean([[fit.x, fit.y] for fit in hiders], 0)
    away = math.hypot(hx - x, hy - y) + 1e-6
    starts = [((left + right) / 2, (top + bottom) / 2, half)]
    starts += [(x + (hx - x) / away * t * half, y + (hy - y) / away * t * half, half * g) for t in (0.0, 0.3, 0.6) for g in (1.0, 1.3)]
    return fitting.fits(dataclasses.replace(patch, clear=clear), preset, starts)


# ------------------------------------------------------------------------------------------------------- attributes
def _seen(fits: list[Fit], piece: _Piece, layers: _Layers, preset: Preset) -> Seen:
    best, second = fits[0], fits[1]
    size = min(preset.radius, key=lambda s: abs(best.radius - sum(preset.radius[s]) / 2))
    material = _material(best, piece, layers, preset)
    return Seen(best.shape, preset.colours[piece.colour], size, material, best.x, best.y, best.radius, best.overlap)


def _material(fit: Fit, piece: _Piece, layers: _Layers, preset: Preset) -> str:
    """The material whose pattern, laid where the fit says, follows the brightness inside; plain where neither does."""
    if len(preset.materials) == 1:
        return preset.materials[0]
    rows, columns = slice(*piece.box[:2]), slice(*piece.box[2:])
    cover = fitting.cover(fit, _CENTRES[columns], _CENTRES[rows])
    inside = piece.mask[rows, columns] & (cover > 0.6)
    if inside.sum() < 12:
        return "plain"
    y, x = (at[inside] + 0.5 for at in np.mgrid[rows, columns])
    cover = cover[inside]
    colour = layers.colours[piece.colour] / (layers.colours[piece.colour] ** 2).sum()
    light = (layers.raw[rows, columns][inside] - (1 - cover)[:, None] * layers.ground[rows, columns][inside]) @ colour / cover
    thing = Thing(fit.shape, preset.colours[piece.colour], "", "", fit.x, fit.y, fit.radius, fit.angle)
    smooth, _ = np.linalg.qr(np.stack([cover, cover * (x - fit.x), cover * (y - fit.y)], axis=1))  # gloss
    flat = lambda values: values - smooth @ (smooth.T @ values)
    light = flat(light * cover)
    best, likeness = "plain", _LIKENESS
    for material in preset.materials:
        if material == "plain":
            continue
        things = [dataclasses.replace(thing, material=material, angle=angle) for angle in _angles(fit, preset)]
        dark = flat(np.stack([1.0 - drawing._surface(t, x, y, 1.0) for t in things], axis=1) * cover[:, None])
        size = (dark**2).sum(0) + 1e-9
        along = -(light @ dark)
        alike = along / np.sqrt(size * (light @ light) + 1e-9)
        k = int(alike.argmax())
        if alike[k] > likeness and along[k] / size[k] > _DEPTH:
            best, likeness = material, alike[k]
    return best


def _angles(fit: Fit, preset: Preset) -> np.ndarray:
    """What the thing's angle can be: its outline tells it up to its symmetry."""
    if turn := fitting.TURN[fit.shape]:
        return np.array([fit.angle]) if preset.angle < turn / 2 else fit.angle + turn * np.arange(round(2 * math.pi / turn))
    most = min(preset.angle, math.pi / 2)
    return np.linspace(-most, most, 1 + math.ceil(2 * most / 0.1))
