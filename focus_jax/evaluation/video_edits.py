# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""One thing of a clip recoloured in all its frames, from its mask in one of them (contract 8)."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from data_pipelines.world import clips, drawing, scenes
from data_pipelines.world.clips import Clip
from data_pipelines.world.edits import Edit
from data_pipelines.world.vocabulary import OPEN_PAIRS, preset
from focus_jax.evaluation import held_out
from focus_jax.evaluation.editing import scored
from focus_jax.evaluation.figures import Figure, clustered, mean
from focus_jax.evaluation.protocol import Checked
from focus_jax.evaluation.video import clips_of


def recoloured(clip: Clip, side: int) -> tuple[list[Edit], int, np.ndarray]:
    """(each frame's edit, the frame that shows most of the thing meant, bool [side, side] where it is in it).

    The colour is one that nothing in the clip has: two things of one colour could meet.
    """
    first, used = clip.frames[0], {thing.colour for frame in clip.frames for thing in frame.things}
    d = scenes.draws_of(first, scenes.EDIT)
    k = d.integer(0, len(first.things) - 1)
    free = [x for x in preset(first.preset).colours if x not in used and x != first.ground.colour]
    among = [x for x in free if (first.split == "open") or (first.things[k].shape, x) not in OPEN_PAIRS]
    colour = d.choice(among)
    each = []
    for frame, track in zip(clip.frames, clip.tracks):
        new = tuple(dataclasses.replace(x, colour=colour) if i == k else x for i, x in zip(track, frame.things))
        meant = tuple(at for at, i in enumerate(track) if i == k)
        target = dataclasses.replace(frame, things=new)
        each.append(Edit("recolour", "region", f"make this {colour}", frame, target, meant))
    marked = clips.draw(clip, side)[1] == k + 1
    at = int(np.argmax(marked.sum(axis=(1, 2))))
    return each, at, marked[at]


class Evaluator(held_out.Benchmark):
    """Figures: video_edit_success, of the frames that show what was meant those where it has its new colour and every
    other thing its colour and place; video_edit_ceiling, the same of frames drawn from the target's codes under the
    true masks; flicker, 8-bit levels: how much the difference between the result and the source as this decoder
    draws it changes from frame to frame, outside the masks of both grown by one pixel. The last two are left out of a
    model that draws under no given mask."""

    name = "video_edits"

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        given = "the thing's mask in the frame that shows most of it; no composite"
        return held_out.protocol(self.config, seed=self.config.seed, given=given)

    def run(self, model: Any, data: Sequence[Clip] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: clips, default what the config names."""
        c = self.config
        made = clips_of(c) if data is None else list(data)
        checked, drawing_options = Checked(model, self.name, c.batch_size), c.drawing.to_dict()
        rows: dict[str, list[tuple[int, float]]] = {
            "": [],
            "ceiling": [],
            "unedited source": [],
            "the target itself": [],
        }
        flickers, cells = [], []
        given = checked.redraws_under_masks("video_edit_ceiling and flicker are")
        chosen = set(held_out.spread(len(made), c.shown))
        for i, clip in enumerate(made):
            each, at, marked = recoloured(clip, c.side)
            prompt = at, marked.astype(np.int32)
            source = held_out.pictures(clip.frames, c.side)
            target = held_out.pictures([x.target for x in each], c.side)
            truth = np.stack([drawing.draw(x.source, c.side).union(x.things) for x in each])
            (seed,) = held_out.seeds_of(c, [clip.frames[0]])
            found = checked.edit_video(source.copy(), prompt, each[0].instruction, seed=seed, **drawing_options)
            frames_by = {"": found.frames, "unedited source": source, "the target itself": target}
            if given:
                seeds = [seed] * len(source)
                frames_by["ceiling"] = checked.redraw(target, truth, seeds=seeds, **drawing_options)
                again = checked.redraw(source, found.masks, seeds=seeds, **drawing_options)
                flickers.append(_flicker(found.frames, again, found.masks))
            for label, frames in frames_by.items():
                asked = [row["success"] for row in scored(each, frames) if row.get("success", (0.0, 0.0))[1]]
                rows[label] += [(i, right) for right, _ in asked]
            if i in chosen:
                shown = held_out.overlay(source, found.masks)
                cells.append((each[0].instruction, source, shown, found.frames))
        figure = lambda label: clustered([x for _, x in rows[label]], [i for i, _ in rows[label]])
        out = {"video_edit_success": figure("")}
        if given:
            out |= {"video_edit_ceiling": figure("ceiling"), "flicker": mean(flickers)}
        beside = ("unedited source", "the target itself")
        self.baselines = {"video_edit_success": {label: figure(label)[0] for label in beside}}
        self.galleries = [held_out.gallery("Edits of clips", ("instruction", "clip", "mask", "result"), cells)]
        return out


def _flicker(result: np.ndarray, source: np.ndarray, masks: np.ndarray) -> float:
    """Mean over pairs of neighbouring frames."""
    difference = result.astype(np.float32) - source
    grown = np.stack([ndimage.binary_dilation(mask, np.ones((3, 3))) for mask in masks])
    outside = ~(grown[1:] | grown[:-1])
    return float(np.abs(difference[1:] - difference[:-1])[outside].mean()) if outside.any() else 0.0
