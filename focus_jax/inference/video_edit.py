# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""An instruction done to what is marked in the frames of a clip, from one seed, so that little flickers."""

from typing import Any

import numpy as np

from focus_jax.errors import UserError
from focus_jax.inference.edit import Done
from focus_jax.inference.video import CHUNK, chunks


def done(
    model: Any, frames: np.ndarray, masks: np.ndarray, instruction: str, *, seed: int = 0, **options: Any
) -> list[Done | None]:
    """What was done to each of frames uint8 [T, H, W, 3] under masks bool [T, H, W]; None to one without a mask.

    options: of inference.edit.Editor. Raises: UserError, also where no frame has a mask.
    """
    if masks.shape != frames.shape[:3] or masks.dtype != bool:
        raise UserError(f"masks: {masks.dtype}{list(masks.shape)}, expected bool{list(frames.shape[:3])}.")
    seen = np.flatnonzero(masks.any(axis=(1, 2)))
    if not len(seen):
        raise UserError(f"{instruction!r}: nothing is marked in any frame, so that there is nothing to edit.")
    out: list[Done | None] = [None] * len(frames)
    for rows, count in chunks(seen, CHUNK):  # all clips run the same programs
        made = model.edits(
            frames[rows], [instruction] * len(rows), masks=list(masks[rows]), seeds=[seed] * len(rows), **options
        )
        for t, one in zip(rows[:count], made):
            out[t] = one
    return out


def edited(frames: np.ndarray, found: list[Done | None]) -> np.ndarray:
    """The clip, uint8 [T, H, W, 3], with what was done to its frames."""
    return np.stack([frame if one is None else one.image for frame, one in zip(frames, found)])
