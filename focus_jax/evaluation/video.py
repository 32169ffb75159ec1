# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Objects followed through clips of the world, from their masks in the first frame and from words (contract 8)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipelines.world import clips, expressions, scenes
from data_pipelines.world.clips import Clip
from focus_jax.errors import UserError
from focus_jax.evaluation import held_out
from focus_jax.evaluation.figures import Figure, clustered
from focus_jax.evaluation.metrics_masks import BOUNDARY, j_and_f
from focus_jax.evaluation.protocol import Checked

SEED = 0  # of the numbers that objects are given
_EXPRESSIONS = 5  # drawn a clip, one of each kind where the scene allows it


def clips_of(config: Any) -> list[Clip]:
    """The clips of config.data, config.frames long. Raises: DataError for bad fields."""
    data = config.data
    return [clips.clip(data.preset, data.split, data.first + i, config.frames) for i in range(data.scenes)]


def named(clip: Clip) -> expressions.Expression | None:
    """One thing of the clip by its attributes, which tell it from the others in every frame; None where none do."""
    first = clip.frames[0]
    d = scenes.draws_of(first, scenes.REFERRING)
    found = expressions.referring(first, d, _EXPRESSIONS)
    return next((e for e in found if e.kind == "attributes"), None)


def numbered(clip: Clip, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures uint8 [T, side, side, 3], ids int32 [T, side, side] and the number of each thing in ids.

    The numbers are shuffled: a clip's things come from the farthest to the nearest, which is not to be told.
    """
    pictures, ids = clips.draw(clip, side)
    first = clip.frames[0]
    numbers = 1 + np.random.default_rng([SEED, first.index]).permutation(len(first.things)).astype(np.int32)
    return pictures, np.concatenate([np.zeros(1, np.int32), numbers])[ids], numbers


class Evaluator(held_out.Benchmark):
    """Figures, means over objects: video_j, video_f and video_jf of all objects of a clip given their masks in the
    first frame, which is not scored; video_words_j, _f and _jf of one object a clip given words, all frames scored."""

    name = "video"

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        frames = (
            "masks: all but the first, which is given; words: all; an object that is out of sight counts 1 if unmarked"
        )
        return held_out.protocol(self.config, scored_frames=frames, boundary_tolerance=BOUNDARY)

    def run(self, model: Any, data: Sequence[Clip] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: clips, default what the config names."""
        made = clips_of(self.config) if data is None else list(data)
        checked = Checked(model, self.name, self.config.batch_size)
        chosen = set(held_out.spread(len(made), self.config.shown))
        masks: dict[str, list[tuple[int, float, float]]] = {"": [], "first frame held still": [], "nothing": []}
        words: dict[str, list[tuple[int, float, float]]] = {"": [], "largest object": [], "nothing": []}
        by_masks, by_words = [], []
        for i, clip in enumerate(made):
            pictures, ids, numbers = numbered(clip, self.config.side)
            found = checked.segment_video(pictures.copy(), (0, ids[0].copy())).ids
            for number in np.unique(ids[0][ids[0] > 0]):
                truth = ids[1:] == number
                still = np.broadcast_to(ids[0] == number, truth.shape)
                masks[""].append((i, *j_and_f(found[1:] == number, truth)))
                masks["first frame held still"].append((i, *j_and_f(still, truth)))
                masks["nothing"].append((i, *j_and_f(np.zeros_like(truth), truth)))
            if i in chosen:
                by_masks.append((pictures, _strip(pictures, ids, True), _strip(pictures, found)))
            if (expression := named(clip)) is None:
                continue
            (k,) = expression.things
            mask, truth = checked.segment_video(pictures.copy(), expression.text).mask, ids == numbers[k]
            largest = np.stack(
                [(frame > 0) & (frame == np.bincount(frame[frame > 0], minlength=1).argmax()) for frame in ids]
            )
            words[""].append((i, *j_and_f(mask, truth)))
            words["largest object"].append((i, *j_and_f(largest, truth)))
            words["nothing"].append((i, *j_and_f(np.zeros_like(truth), truth)))
            if i in chosen:
                strips = held_out.overlay(pictures, truth, True), held_out.overlay(pictures, mask)
                by_words.append((expression.text, *strips))
        if not words[""]:
            raise UserError(
                "config.data.scenes: too few, no clip has a thing that its attributes tell from the others."
            )
        out = _figures("video", masks.pop("")) | _figures("video_words", words.pop(""))
        self.baselines = {}
        for prefix, guesses in (("video", masks), ("video_words", words)):
            for label, rows in guesses.items():
                for name, (value, _, _) in _figures(prefix, rows).items():
                    self.baselines.setdefault(name, {})[label] = value
        self.galleries = [
            held_out.gallery("Clips, objects marked in the first frame", ("clip", "truth", "found"), by_masks),
            held_out.gallery("Clips, by words", ("words", "truth", "found"), by_words),
        ]
        return out


def _figures(prefix: str, rows: Sequence[tuple[int, float, float]]) -> dict[str, Figure]:
    """rows: (clip, J, F) of each object. Errors by clip."""
    at, j, f = (np.array(x) for x in zip(*rows))
    parts = {"jf": (j + f) / 2, "j": j, "f": f}
    return {f"{prefix}_{name}": clustered(values, at) for name, values in parts.items()}


def _strip(pictures: np.ndarray, ids: np.ndarray, truth: bool = False) -> np.ndarray:
    """uint8 [T, H, W, 3]: every object tinted, lines where objects meet."""
    tinted = held_out.overlay(pictures, ids > 0, truth)
    meet = np.zeros(ids.shape, bool)
    meet[:, :, 1:] |= ids[:, :, 1:] != ids[:, :, :-1]
    meet[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    return np.where((meet & (ids > 0))[..., None], 255, tinted).astype(np.uint8)
