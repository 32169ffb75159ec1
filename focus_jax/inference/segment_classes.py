# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Masks of classes by stage 0's Mask2Former, which has no language model: what its stand-in is worth by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from data_pipelines import rows, segmentation
from data_pipelines.example import Example
from data_pipelines.world.examples import picture
from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import Prompt, Segments
from focus_jax.inference.queries import Rules, enlarged, listed, settled


class ClassSegmenter:
    """Segmentation by a model of stage 0 (stages/mask_former.py). Made by focus_jax.Model."""

    def __init__(self, model: Any):
        self.model = model
        self.stream = model.config.data.phases[-1]["streams"][0]
        last = lambda found: (found.masks[-1], found.scores[-1])
        self._run = jax.jit(lambda params, batch: last(model.stage.predict(params, batch)))

    def __call__(
        self, images: np.ndarray, prompts: Sequence[Prompt], *, names: bool = True, rules: Rules | None = None
    ) -> list[Segments]:
        """A list of classes a picture, uint8 [B, H, W, 3] -> Segments each. Raises: UserError for other prompts, lists
        that are too long or name a class twice, and pictures that are not of the bucket's shape."""
        del names  # it says none
        if any(isinstance(prompt, str | np.ndarray) for prompt in prompts):
            raise UserError(f"{self.model.label}: knows classes alone, expected lists of classes.")
        most = self.stream[segmentation.CLASS]["conditions"] - 1
        lists = [listed(prompt, most) for prompt in prompts]
        bucket = self.stream["height"], self.stream["width"]
        if images.shape[1] * bucket[1] != images.shape[2] * bucket[0]:
            height, width = images.shape[1:3]
            raise UserError(f"images: {height} x {width} pixels, expected the shape of {bucket[0]} x {bucket[1]}.")
        made = []
        for i, (image, classes) in enumerate(zip(images, lists, strict=True)):
            example = Example(id=str(i), source="given", images=[picture(image)], classes=classes)
            made.append(rows.row(example, self.stream))
        batch = {name: np.stack([row[name] for row in made]) for name in made[0]}
        with self.model.scope():
            masks, scores = (np.asarray(x) for x in self._run(self.model.params, batch))
        size, high = images.shape[1:3], batch["high"].shape[2:4]
        side = self.model.stage.side(batch)
        upright = lambda b: lambda kept: enlarged(masks[b][kept], side, high, size)
        rules = rules or Rules()
        return [settled(c, scores[b], upright(b), size, rules) for b, c in enumerate(prompts)]
