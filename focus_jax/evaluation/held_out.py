# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of the world have in common: which scenes, what the protocol says of them, pictures to show."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from data_pipelines.world import drawing, scenes
from data_pipelines.world.scenes import Scene
from data_pipelines.world.vocabulary import VERSION
from focus_jax.errors import UserError
from focus_jax.evaluation import figures

T = TypeVar("T")
Gallery = dict[str, Any]

_FOUND, _TRUE = np.array((255, 64, 0)), np.array((0, 128, 255))  # colours of overlays, none of the world's


def scenes_of(config: Any) -> list[Scene]:
    """The scenes of config.data: preset, split, first, scenes. Raises: DataError for bad fields."""
    data = config.data
    return [scenes.scene(data.preset, data.split, i) for i in range(data.first, data.first + data.scenes)]


def check(config: Any) -> None:
    """What no benchmark of the world can do without. Raises: UserError naming the field."""
    data = config.data
    if data.get("reader") != "world":
        raise UserError(f"config.data.reader: expected world, found {data.get('reader')!r}.")
    for field, value, low in (
        ("data.scenes", data.scenes, 2),
        ("data.first", data.first, 0),
        ("batch_size", config.batch_size, 1),
        ("shown", config.shown, 0),
        ("seed", config.get("seed", 0), 0),
    ):
        if value < low:
            raise UserError(f"config.{field}: expected at least {low}, found {value}.")
    if (data.split == "open") != config.label.startswith("open"):
        raise UserError(
            f"config.label: {config.label!r} with split {data.split}; of the split open it begins with open."
        )


def edit_options(config: Any) -> dict[str, Any]:
    """How edits are made (inference.edit.Editor), of config.drawing and .sampling; the model's own where empty."""
    sampling = config.sampling.to_dict()
    return config.drawing.to_dict() | ({"sampling": sampling} if sampling else {})


def generation_options(config: Any) -> dict[str, Any]:
    """The same of pictures of captions (inference.draw.Drawer)."""
    diffusion = config.drawing.to_dict()
    return config.sampling.to_dict() | ({"diffusion": diffusion} if diffusion else {})


class Benchmark:
    """What an evaluator of the world begins with. baselines: {figure: {what: its value}}; galleries: see `gallery`;
    both are there after `run`."""

    def __init__(self, config: Any):
        check(config)
        self.config = config
        self.baselines: dict[str, dict[str, float]] = {}
        self.galleries: list[Gallery] = []

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        return protocol(self.config, seed=self.config.seed)

    def scenes(self, data: Sequence[Scene] | None) -> list[Scene]:
        """data, by default what the config names."""
        return scenes_of(self.config) if data is None else list(data)


def seeds_of(config: Any, scenes_: Iterable[Scene]) -> list[int]:
    """`seeds` of scenes by their index."""
    return seeds(config.seed, (s.index for s in scenes_))


def seeds(seed: int, indices: Iterable[int]) -> list[int]:
    """A seed below 2**31 for each index, so that no row depends on its batch."""
    return [int(np.random.SeedSequence([seed, i]).generate_state(1)[0] >> 1) for i in indices]


def protocol(config: Any, **more: Any) -> dict[str, Any]:
    """What the figures depend on beside config and checkpoint."""
    data = config.data
    return {
        "world": {
            "version": VERSION,
            "preset": data.preset,
            "split": data.split,
            "indices": [data.first, data.first + data.scenes - 1],
        },
        "standard_errors": f"by scene; ratios of sums from {figures.RESAMPLES} bootstraps, seed {figures.SEED}",
        **more,
    }


def pictures(of: Iterable[Scene], side: int) -> np.ndarray:
    """uint8 [N, side, side, 3]."""
    return np.stack([drawing.draw(s, side).picture for s in of])


def chunks(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Rows in order, `size` at a time, so that no more than that is held as pictures."""
    for i in range(0, len(rows), size):
        yield rows[i : i + size]


# ------------------------------------------------------------------------------------------------------------ galleries
def spread(total: int, shown: int) -> list[int]:
    """At most `shown` indices below `total`, evenly apart."""
    return sorted(set(np.linspace(0, total - 1, min(shown, total)).astype(int).tolist())) if total else []


def gallery(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], note: str = "") -> Gallery:
    """As report.add takes it: cells are text, pictures, masks, strips of frames or None."""
    return {"title": title, "note": note, "columns": list(columns), "rows": [list(row) for row in rows]}


def overlay(picture: np.ndarray, mask: np.ndarray, truth: bool = False) -> np.ndarray:
    """uint8 [..., 3]: the mask tinted over a picture or clip; the truth's tint is another."""
    tinted = 0.35 * picture + 0.65 * (_TRUE if truth else _FOUND)
    return np.where(mask[..., None], tinted, picture).astype(np.uint8)


def missed(scored: Mapping[str, tuple[float, float]]) -> str:
    """Names of a picture's scores (right, asked) that are not full, with their numbers; 'nothing' where none is."""
    return ", ".join(f"{k} {a:g}/{b:g}" for k, (a, b) in scored.items() if a < b) or "nothing"
