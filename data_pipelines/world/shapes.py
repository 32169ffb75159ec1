# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Signed distances of the shapes at nominal radius 1: negative inside, y down. Float64, so that pixels do not depend on
the order in which a processor adds."""

import functools
import math

import numpy as np

HOLE = 0.56  # inner radius of a ring
_HALF = 0.88  # half the side of a square
_ARM = 0.36  # half the width of a cross's arm
_INRADIUS = 0.575  # of the triangle; its circumradius is twice that
_TIP, _NOTCH = 1.12, 0.5  # outer and inner radius of a star


def _circle(x, y):
    return np.sqrt(x * x + y * y) - 1.0


def _ring(x, y):
    return np.abs(np.sqrt(x * x + y * y) - (1.0 + HOLE) / 2) - (1.0 - HOLE) / 2


def _square(x, y):
    return np.maximum(np.abs(x), np.abs(y)) - _HALF


def _triangle(x, y):
    slope = math.sqrt(0.75) * np.abs(x) - 0.5 * y  # the two upper sides
    return np.maximum(slope, y) - _INRADIUS


def _cross(x, y):
    x, y = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(x - 1.0, y - _ARM), np.maximum(x - _ARM, y - 1.0))


_TENTH = math.pi / 5
_EDGE = (_NOTCH * math.cos(_TENTH) - _TIP, _NOTCH * math.sin(_TENTH))  # from the tip to the notch
_EDGE_LENGTH = math.hypot(*_EDGE)


def _star(x, y):
    sector = 2 * _TENTH
    turn = np.abs(np.mod(np.arctan2(x, -y) + _TENTH, sector) - _TENTH)  # 0 at a tip, pi / 5 at a notch
    radius = np.sqrt(x * x + y * y)
    along, across = radius * np.cos(turn) - _TIP, radius * np.sin(turn)
    return (across * -_EDGE[0] + along * _EDGE[1]) / _EDGE_LENGTH


_DISTANCE = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
    "star": _star,
}


def distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the outline of an upright shape of nominal radius 1 at the origin; exact near the outline."""
    return _DISTANCE[shape](x, y)


@functools.cache
def outline(shape: str) -> np.ndarray:
    """float64 [points, 2]: corners and points between them on the outer outline."""
    turn = lambda radius, angle: (radius * math.sin(angle), -radius * math.cos(angle))
    circle = [turn(1.0, 2 * math.pi * i / 16) for i in range(16)]
    corners = {
        "circle": circle,
        "ring": circle,
        "square": [(-_HALF, -_HALF), (_HALF, -_HALF), (_HALF, _HALF), (-_HALF, _HALF)],
        "triangle": [turn(2 * _INRADIUS, 2 * math.pi * i / 3) for i in range(3)],
        "cross": [(-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM), (_ARM, 1), (-_ARM, 1),
                  (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)],
        "star": [turn((_TIP, _NOTCH)[i % 2], _TENTH * i) for i in range(10)],
    }[shape]  # fmt: skip
    points = np.array(corners, np.float64)
    return points if shape in ("circle", "ring") else np.concatenate([points, (points + np.roll(points, -1, 0)) / 2])


@functools.cache
def reach(shape: str) -> float:
    """Largest distance of an outline point from the centre at nominal radius 1."""
    return float(np.sqrt((outline(shape) ** 2).sum(1)).max())
