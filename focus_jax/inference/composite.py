# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The source's own pixels outside a mask, what was drawn inside it."""

import numpy as np
from scipy import ndimage

from focus_jax.errors import UserError

FEATHER = 3  # pixels


def composite(source: np.ndarray, drawn: np.ndarray, mask: np.ndarray, feather: int = FEATHER) -> np.ndarray:
    """uint8 [H, W, 3]: `source` outside the mask bool [H, W] to the last bit; inside it `drawn`, that comes in over so
    many pixels from the mask's outline, where that does not lie on the picture's border.

    Raises: UserError for arrays of different sizes or a feather below 0.
    """
    if source.shape != drawn.shape or mask.shape != source.shape[:2] or mask.dtype != bool:
        told = f"{list(source.shape)}, {list(drawn.shape)}, {mask.dtype}{list(mask.shape)}"
        raise UserError(f"composite: {told}, expected two pictures and a bool mask of one size.")
    if feather < 0:
        raise UserError(f"feather: {feather}, expected 0 or more pixels.")
    if mask.all():
        return drawn.copy()
    inside = np.minimum(ndimage.distance_transform_edt(mask) / (feather + 1), 1.0)[..., None]
    mixed = np.round(inside * drawn + (1 - inside) * source).astype(np.uint8)
    return np.where(mask[..., None], mixed, source)
