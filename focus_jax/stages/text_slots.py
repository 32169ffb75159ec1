# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0 of the language model: a tiny stand-in for Qwen2.5, trained on the world's questions and captions.

Where a picture would stand, the sequence holds what it shows in words (data_pipelines/slots.py). So the stand-in knows
what a released model knows, to answer about a scene that it is told of, and stage 2 has to translate, not to teach.
"""

from collections.abc import Mapping
from typing import Any

from focus_jax.errors import UserError
from focus_jax.stages import language

Stage = language.Stage
validate = language.validate


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """Raises: UserError, as stage 2's, and for a model with a tokenizer."""
    if "tokenizer" in config.model:
        raise UserError("config.model.tokenizer: this stage trains the language model alone, expected none.")
    language.validate_stream(config, stream, where, "slots")
