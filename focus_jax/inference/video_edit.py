# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""An instruction done to what is marked in the frames of a clip, from one seed, so that little flickers."""

from typing import Any

import numpy as np

from focus_jax.errors import UserError
from focus_jax.inference.video import CHUNK, chunks


def edited(
    model: Any, frames: np.ndarray, masks: np.ndarray, instruction: str, *, seed: int = 0, **options: Any
) -> np.ndarray:
    """uint8 [T, H, W, 3] of frames of this shape under masks bool [T, H, W]; a frame without a mask stays as it is.

    options: of inference.edit.Editor. Raises: UserError, also where no frame has a mask.
    """
    if masks.shape != frames.shape[:3] or masks.dtype != bool:
        raise UserError(f"masks: {masks.dtype}{list(masks.shape)}, expected bool{list(frames.shape[:3])}.")
    seen = np.flatnonzero(masks.any(axis=(1, 2)))
    if not len(seen):
        raise UserError(f"{instruction!r}: nothing is marked in any frame, so that there is nothing to edit.")
    out = frames.copy()
    for rows, count in chunks(seen, CHUNK):  # all clips run the same programs
        made = model.edits(
            frames[rows], [instruction] * len(rows), masks=list(masks[rows]), seeds=[seed] * len(rows), **options
        )
        for t, one in zip(rows[:count], made):
            out[t] = one.image
    return out
