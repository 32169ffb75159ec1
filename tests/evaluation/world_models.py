# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Three models without parameters that pin down what evaluators call and what figures mean: one that knows the world's
truth, one that sees and says nothing, one that guesses."""

import numpy as np

from data_pipelines.world import captions, clips, drawing, edits, scenes
from data_pipelines.world.examples import GROUND
from focus_jax.evaluation.editing import instructed
from focus_jax.evaluation.protocol import Edited, Segments
from focus_jax.evaluation.questions import asked
from focus_jax.evaluation.segmentation import marked, said

WORDS = ("red", "green", "blue", "circle", "square", "small", "large", "yes", "no", "0", "1", "2", "3", "left", "right")


def segments(mask, name="thing"):
    return Segments(mask.astype(np.int32), (name,), (1.0,))


class Oracle:
    """Knows the scene of a picture by its bytes and the scene of a caption by its text.

    config: the benchmark's, whose scenes it learns.
    """

    label = "oracle"

    def __init__(self, config):
        data, side = config.data, config.side
        self.config, self.side = config, side
        self.scenes = [scenes.scene(data.preset, data.split, data.first + i) for i in range(data.scenes)]
        self.by_bytes = {drawing.draw(s, side).picture.tobytes(): s for s in self.scenes}

    def scene(self, picture):
        return self.by_bytes[picture.tobytes()]

    def reconstruct(self, images):
        return images.copy()

    def chat(self, images, questions):
        return [
            next(q.answer for q in asked(self.scene(x), self.config.per_scene) if q.text == text)
            for x, text in zip(images, questions)
        ]

    def segment(self, images, prompts):
        return [self._segment(self.scene(x), prompt) for x, prompt in zip(images, prompts)]

    def _segment(self, scene, prompt):
        drawn = drawing.draw(scene, self.side)
        if isinstance(prompt, list):
            names = (*(thing.shape for thing in scene.things), GROUND)
            ids = np.where(drawn.ids > 0, drawn.ids, len(names)).astype(np.int32)
            return Segments(ids, names, (1.0,) * len(names))
        if isinstance(prompt, str):
            things = next(e.things for e in said(scene, self.config.referring, self.config.reasoning) if e.text == prompt)
        else:
            things = next(row.things for row in marked(0, scene, drawn) if np.array_equal(row.prompt, prompt))
        return segments(np.isin(drawn.ids, [k + 1 for k in things]))
