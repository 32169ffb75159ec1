# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""How well the checker reads pictures whose content is known, as a Markdown table.

  python -m data_pipelines.world.accuracy [--preset=easy --scenes=300]

A row is a preset and what was done to its pictures: nothing, noise of 8 or 16 levels of 255, a Gaussian blur, or JPEG.
Columns: `things` that show at least 70 % of their area; `right`, share of them read with shape, colour, size and place
(within 3 of the picture's 64 units) all right; then F1 of each attribute, share of pictures with the right number of
things and with the right ground (scores.readback). Below it: what is read of pictures of noise alone.
"""

import argparse
import functools
import io
import sys
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image
from scipy import ndimage

from data_pipelines.errors import DataError
from data_pipelines.world import checker, drawing, scenes, scores
from data_pipelines.world.vocabulary import PRESETS


def noisy(levels: float, picture: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, levels, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def blurred(sigma: float, picture: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.rint(ndimage.gaussian_filter(picture.astype(np.float64), (sigma, sigma, 0))).astype(np.uint8)


def jpeg(quality: int, picture: np.ndarray, seed: int = 0) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


Damage = Callable[[np.ndarray, int], np.ndarray]  # picture and seed to picture, uint8 [S, S, 3]
DAMAGES: dict[str, tuple[int, Damage]] = {"none, 64 px": (64, lambda p, _: p), "none, 128 px": (128, lambda p, _: p)}
DAMAGES |= {f"noise {levels}/255, 64 px": (64, functools.partial(noisy, levels)) for levels in (8, 16)}
DAMAGES |= {f"blur {sigma} px, 64 px": (64, functools.partial(blurred, sigma)) for sigma in (0.7, 1.2, 2.0)}
DAMAGES |= {"JPEG quality 60, 64 px": (64, functools.partial(jpeg, 60))}
FIGURES = ("shape", "colour", "size", "place", "material", "count", "ground")


def measured(some: Iterable[scenes.Scene], damage: str) -> tuple[int, float, dict[str, float]]:
    """Things asked for, share of them with shape, colour, size and place right, figures of scores.readback."""
    rows, asked, right, (side, change) = [], 0, 0.0, DAMAGES[damage]
    for scene in some:
        reading = checker.read(change(drawing.draw(scene, side).picture, scene.index), scene.preset)
        rows.append(scores.readback(scene, reading))
        asked += sum(share >= scores.VISIBLE for share in scores.visible(scene))
        right += rows[-1]["object"][0] / 2  # 2 TP
    return asked, right / max(asked, 1), {name: value for name, (value, _, _) in scores.totals(rows).items()}


def main(argv: list[str] | None = None) -> int:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m data_pipelines.world.accuracy", None, __doc__, formatter_class=style)
    parser.add_argument("--preset", help=f"only this one of {', '.join(PRESETS)}")
    parser.add_argument("--scenes", type=int, default=100, help="of the split test by preset, 100: a few minutes")
    args = parser.parse_args(argv)
    presets = [args.preset] if args.preset else list(PRESETS)
    try:
        if args.scenes < 1:
            raise DataError(f"--scenes is {args.scenes}, expected 1 or more.")
        drawn = {name: [scenes.scene(name, "test", i) for i in range(args.scenes)] for name in presets}
    except DataError as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return 2
    print(f"| preset | picture | things | right | {' | '.join(FIGURES)} |\n{'| --- ' * (4 + len(FIGURES))}|")
    for preset, damage in ((preset, damage) for preset in presets for damage in DAMAGES):
        things, right, figures = measured(drawn[preset], damage)
        cells = [f"{right:.4f}", *(f"{figures[f]:.4f}" if f in figures else "" for f in FIGURES)]
        print(f"| {preset} | {damage} | {things} | {' | '.join(cells)} |", flush=True)
    for preset in presets:
        noise = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8) for i in range(args.scenes)]
        sure = [seen.confidence > 0.5 for picture in noise for seen in checker.read(picture, preset).things]
        print(f"\n{preset}: {len(noise)} pictures of noise, {len(sure)} things read, {sum(sure)} of confidence > 0.5.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
