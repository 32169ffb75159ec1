# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the world is made of: shapes, colours, sizes, materials, grounds, presets. VERSION covers all of it.

Lengths are canvas units: the side of every picture is 64 units, whatever its pixels.
"""

import dataclasses

from data_pipelines.errors import DataError

VERSION = 1  # changes with anything that changes a scene, a picture or a text; figures of two versions do not compare
CANVAS = 64.0

SHAPES = ("circle", "square", "triangle", "cross", "ring", "star")
CORNERS = {"circle": 0, "square": 4, "triangle": 3, "cross": 12, "ring": 0, "star": 10}

COLOURS = {  # RGB; every thing is saturated and no ground is, so that the two cannot be confused
    "red": (214, 39, 40),
    "green": (44, 160, 60),
    "blue": (45, 85, 215),
    "yellow": (238, 208, 38),
    "purple": (150, 60, 185),
    "cyan": (50, 195, 208),
    "orange": (243, 130, 25),
    "pink": (246, 140, 190),
}
GROUNDS = {"white": (236, 236, 232), "gray": (150, 150, 154), "black": (38, 38, 42), "beige": (208, 190, 158)}
SIZES = ("small", "medium", "large")
MATERIALS = ("plain", "striped", "dotted")
SHADE = 0.58  # brightness of the dark half of a striped or dotted thing
TEXTURES = ("flat", "gradient", "noise", "waves")

# Shape and colour pairs that no scene outside the split `open` holds, nor any edit of one.
OPEN_PAIRS = (("cross", "blue"), ("circle", "yellow"))
SPLITS = ("train", "validation", "test", "open")


@dataclasses.dataclass(frozen=True)
class Preset:
    """How scenes are drawn.

    things: fewest and most of them. radius: nominal radius by size, canvas units. angle: largest rotation, radians.
    distractor: share of scenes of two and more things in which one is made to differ from another in one attribute.
    occlusion: share of those scenes in which one thing is laid over another; hidden: share of the area it may hide.
    ground, gloss: strength of the textures of ground and things, share of full brightness; flat: share of flat ones.
    """

    things: tuple[int, int]
    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    materials: tuple[str, ...]
    radius: dict[str, tuple[float, float]]
    angle: float
    distractor: float
    occlusion: float
    hidden: tuple[float, float]
    ground: float
    gloss: float
    flat: float

    @property
    def sizes(self) -> tuple[str, ...]:
        return tuple(self.radius)


PRESETS = {
    "easy": Preset(
        things=(1, 3),
        shapes=SHAPES[:4],
        colours=tuple(COLOURS)[:6],
        materials=MATERIALS[:1],
        radius={"small": (9.0, 10.0), "large": (12.5, 14.0)},
        angle=0.15,
        distractor=0.3,
        occlusion=0.0,
        hidden=(0.0, 0.0),
        ground=0.025,
        gloss=0.025,
        flat=0.5,
    ),
    "standard": Preset(
        things=(1, 5),
        shapes=SHAPES,
        colours=tuple(COLOURS),
        materials=MATERIALS,
        radius={"small": (6.0, 6.8), "medium": (8.6, 9.6), "large": (12.0, 13.4)},
        angle=0.25,
        distractor=0.45,
        occlusion=0.5,
        hidden=(0.08, 0.35),
        ground=0.07,
        gloss=0.04,
        flat=0.2,
    ),
    "hard": Preset(
        things=(3, 8),
        shapes=SHAPES,
        colours=tuple(COLOURS),
        materials=MATERIALS,
        radius={"small": (5.0, 5.7), "medium": (7.2, 8.2), "large": (10.5, 11.8)},
        angle=3.14159,
        distractor=0.6,
        occlusion=0.8,
        hidden=(0.1, 0.55),
        ground=0.12,
        gloss=0.06,
        flat=0.0,
    ),
}


def preset(name: str) -> Preset:
    """Raises: DataError for an unknown name."""
    if name not in PRESETS:
        raise DataError(f"world: preset is {name!r}, expected one of {', '.join(PRESETS)}.")
    return PRESETS[name]
