# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0 of the language model: a tiny stand-in for Qwen2.5, trained on the world's questions and captions.

Where a picture would stand, the sequence holds what it shows in words (data_pipelines/slots.py). So the stand-in knows
what a released model knows, to answer about a scene that it is told of, and stage 2 has to translate, not to teach.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines.language import sizes
from focus_jax.errors import UserError
from focus_jax.models.focus import Vectors
from focus_jax.sequence.layout import Role
from focus_jax.stages import language
from focus_jax.training.step import Batch


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """Raises: UserError, as stage 2's, and for a model with a tokenizer."""
    if "tokenizer" in config.model:
        raise UserError("config.model.tokenizer: this stage trains the language model alone, expected none.")
    language.validate_stream(config, stream, where, "slots")


validate = language.validate


class Stage(language.Stage):
    """The language model alone; vectors of pictures are sums of its own embeddings."""

    def __init__(self, config: Any):
        super().__init__(config)
        self.sizes = sizes(config.data.phases[0]["streams"][0]["sequence"])  # one bucket has all streams

    def vectors(self, params: Mapping[str, Any], batch: Batch) -> Vectors:
        bags = batch["bags"]  # [B, n, BAG]
        words = self.focus.llm.apply({"params": params["llm"]}, jnp.maximum(bags, 0), method="embed")
        return self._by_role(jnp.sum(words * (bags >= 0)[..., None], axis=2))

    def _by_role(self, x: jax.Array) -> Vectors:
        """Vectors [B, n, D], one picture's after the other's, by role."""
        counts = {role: self.sizes.count(role) for role in (Role.SEMANTIC, Role.PIXEL, Role.QUERY)}
        pictures = x.reshape(len(x), -1, sum(counts.values()), x.shape[-1])
        out, start = {}, 0
        for role, count in counts.items():
            out[role] = pictures[:, :, start : start + count].reshape(len(x), -1, x.shape[-1])
            start += count
        return out
