# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fits shapes to a map of how much of each pixel a thing covers: place, radius, angle and blur."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from data_pipelines.world import shapes
from data_pipelines.world.vocabulary import Preset

TURN = {  # angle after which a shape looks the same; 0: it always does
    "circle": 0.0,
    "ring": 0.0,
    "square": math.pi / 2,
    "cross": math.pi / 2,
    "triangle": 2 * math.pi / 3,
    "star": 2 * math.pi / 5,
}
_FIRST, _LAST, _KEPT = 3, 5, 2  # steps of every shape, of those near the best; starts kept
_BLUR = (0.3, 1.2, 3.0)  # standard deviation of a blur, pixels: least, to begin with, most
_STILL = 0.01  # a step this small ends the fit, canvas units or radians
_OFFSETS = np.abs(np.arange(64)[:, None] - np.arange(64))

Start = tuple[float, float, float | None]  # x, y, radius; a radius of None follows from the area covered


@dataclasses.dataclass(frozen=True)
class Patch:
    """Part of a picture of one pixel per canvas unit.

    x: float64 [w], y: float64 [h] pixel centres; all else float64 [h, w]. cover: observed share of a pixel that the
    thing covers; weight: how far to trust it; clear: 0 where other things hide this one, 1 elsewhere.
    """

    x: np.ndarray
    y: np.ndarray
    cover: np.ndarray
    weight: np.ndarray
    clear: np.ndarray


@dataclasses.dataclass(frozen=True)
class Fit:
    """error: weighted squared difference of the covers, summed; overlap: intersection over union of the two."""

    shape: str
    x: float
    y: float
    radius: float
    angle: float
    blur: float
    error: float
    overlap: float


@functools.cache
def unit_area(shape: str) -> float:
    """Area at radius 1."""
    at = (np.arange(400) + 0.5) / 400 * 2.4 - 1.2
    return float((shapes.distance(shape, at[None, :], at[:, None]) < 0).mean() * 2.4**2)


def least_area(preset: Preset) -> float:
    """Area of the smallest thing, canvas units squared."""
    return min(unit_area(shape) for shape in preset.shapes) * min(low for low, _ in preset.radius.values()) ** 2


def fits(patch: Patch, preset: Preset, starts: Sequence[Start]) -> list[Fit]:
    """Every shape of the preset fitted to the patch, best first; those far from the best are not fitted to the end.

    starts: where to begin; the likeliest are followed.
    """
    bounds = _bounds(preset)
    tries: list[tuple[float, str, np.ndarray]] = []
    for shape in preset.shapes:
        theta = np.clip(_starts(shape, patch, preset, starts), *bounds)
        if len(theta) > _KEPT:
            order = np.argsort(_errors(_covers(shape, theta, patch), patch), kind="stable")
            theta = theta[order[:_KEPT]]
        theta, errors = _refined(shape, theta, patch, bounds, _FIRST)
        best = int(np.argmin(errors))
        tries.append((float(errors[best]), shape, theta[best : best + 1]))
    least = min(error for error, _, _ in tries)
    out = []
    for error, shape, theta in tries:
        if error < 3.0 * least + 4.0:
            theta, errors = _refined(shape, theta, patch, bounds, _LAST)
            error = float(errors[0])
        x, y, radius, angle, blur = theta[0].tolist()
        overlap = _overlap(_covers(shape, theta, patch)[0], patch)
        out.append(Fit(shape, x, y, radius, angle, blur, error, overlap))
    return sorted(out, key=lambda fit: fit.error)


def _starts(shape: str, patch: Patch, preset: Preset, starts: Sequence[Start]) -> np.ndarray:
    from_area = math.sqrt(float(patch.cover.sum()) / unit_area(shape))
    if not (turn := TURN[shape]) or preset.angle < 0.3:
        angles = [0.0]
    else:
        n = math.ceil(turn / 0.3)
        angles = [turn * (i / n - 0.5) for i in range(n)]
    return np.array([(x, y, from_area if r is None else r, angle, _BLUR[1]) for x, y, r in starts for angle in angles])


def _bounds(preset: Preset) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest x, y, radius, angle, blur."""
    radii = [r for pair in preset.radius.values() for r in pair]
    angle = preset.angle + 0.05
    return (
        np.array([0.0, 0.0, 0.85 * min(radii), -angle, _BLUR[0]]),
        np.array([64.0, 64.0, 1.15 * max(radii), angle, _BLUR[2]]),
    )


def _distances(shape: str, theta: np.ndarray, patch: Patch) -> np.ndarray:
    """[K, h, w] signed distance of the pixels to the outlines of the hypotheses."""
    x, y, radius, angle = (theta[:, i, None, None] for i in range(4))
    cos, sin = np.cos(angle) / radius, np.sin(angle) / radius
    dx, dy = patch.x - x, patch.y[:, None] - y
    return radius * shapes.distance(shape, cos * dx + sin * dy, cos * dy - sin * dx)


def _smear(blur: np.ndarray, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """[K, h, h] and [K, w, w]: matrices that blur columns and rows."""
    h, w = patch.cover.shape
    line = np.exp(-0.5 * (_OFFSETS[0, : max(h, w)] / blur[:, None]) ** 2)
    line /= 2 * line.sum(1, keepdims=True) - 1.0
    return line[:, _OFFSETS[:h, :h]], line[:, _OFFSETS[:w, :w]]


def _covers(shape: str, theta: np.ndarray, patch: Patch) -> np.ndarray:
    """[K, h, w] of hypotheses theta [K, 5] = x, y, radius, angle, blur."""
    by, bx = _smear(theta[:, 4], patch)
    return by @ (patch.clear * np.clip(0.5 - _distances(shape, theta, patch), 0.0, 1.0)) @ bx


def cover(fit: Fit, x: np.ndarray, y: np.ndarray, *, blurred: bool = False) -> np.ndarray:
    """[h, w] share of each pixel that the fitted thing covers, with or without its blur. x: [w], y: [h] centres."""
    theta = np.array([[fit.x, fit.y, fit.radius, fit.angle, fit.blur]])
    nothing = np.ones((len(y), len(x)))
    patch = Patch(x, y, nothing, nothing, nothing)
    if blurred:
        return _covers(fit.shape, theta, patch)[0]
    return np.clip(0.5 - _distances(fit.shape, theta, patch)[0], 0.0, 1.0)


def _errors(covers: np.ndarray, patch: Patch) -> np.ndarray:
    return ((covers - patch.cover).reshape(len(covers), -1) ** 2) @ patch.weight.ravel()


def _overlap(cover: np.ndarray, patch: Patch) -> float:
    inter, union = np.minimum(cover, patch.cover), np.maximum(cover, patch.cover)
    return float((inter * patch.weight).sum() / max(1e-9, (union * patch.weight).sum()))


def _refined(
    shape: str, theta: np.ndarray, patch: Patch, bounds: tuple[np.ndarray, np.ndarray], steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Damped Gauss-Newton steps of all hypotheses at once; the best point of each path and its error."""
    best, least = theta.copy(), np.full(len(theta), np.inf)
    limit = np.array([2.0, 2.0, 1.5, 0.2, 0.5])
    k, weight = len(theta), patch.weight.ravel()
    for step in range(steps + 1):
        distance = _distances(shape, theta, patch)
        by, bx = _smear(theta[:, 4], patch)
        sharp = patch.clear * np.clip(0.5 - distance, 0.0, 1.0)
        cover = by @ sharp @ bx
        error = _errors(cover, patch)
        better = error < least
        best[better], least[better] = theta[better], error[better]
        if step == steps:
            break
        band = (np.abs(distance) < 0.5) * patch.clear  # where cover follows the outline
        gx, gy = np.zeros_like(distance), np.zeros_like(distance)
        gx[..., 1:-1] = (distance[..., 2:] - distance[..., :-2]) * band[..., 1:-1] / 2
        gy[:, 1:-1] = (distance[:, 2:] - distance[:, :-2]) * band[:, 1:-1] / 2
        dx, dy = patch.x - theta[:, 0, None, None], patch.y[:, None] - theta[:, 1, None, None]
        jacobian = np.empty((k, 5, *patch.cover.shape))
        jacobian[:, 0], jacobian[:, 1] = gx, gy
        jacobian[:, 2] = (dx * gx + dy * gy - distance * band) / theta[:, 2, None, None]
        jacobian[:, 3] = dx * gy - dy * gx
        jacobian[:, :4] = by[:, None] @ jacobian[:, :4] @ bx[:, None]
        jacobian[:, 4] = -4.0 * cover  # the heat equation: d cover / d blur = blur * Laplacian
        jacobian[:, 4, 1:] += cover[:, :-1]
        jacobian[:, 4, :-1] += cover[:, 1:]
        jacobian[:, 4, :, 1:] += cover[..., :-1]
        jacobian[:, 4, :, :-1] += cover[..., 1:]
        jacobian[:, 4] *= theta[:, 4, None, None]
        jacobian = jacobian.reshape(k, 5, -1)
        weighted = jacobian * weight
        normal = weighted @ jacobian.transpose(0, 2, 1)
        gradient = weighted @ (patch.cover - cover).reshape(k, -1, 1)
        diagonal = np.einsum("kii->ki", normal)  # a view
        diagonal += 0.02 * diagonal + 1e-3 * diagonal.max(1, keepdims=True) + 1e-9
        move = np.clip(np.linalg.solve(normal, gradient)[..., 0], -limit, limit)
        if np.abs(move).max() < _STILL:
            break
        theta = np.clip(theta + move, *bounds)
    return best, least
