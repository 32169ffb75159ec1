# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The part of a loaded model that draws pictures from codes by diffusion, and its autoencoder's latents."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines import transforms
from focus_jax.errors import UserError


class Diffusion:
    """Methods of focus_jax.Model, of which this is a base."""

    stage: Any
    params: dict[str, Any]
    label: str
    scope: Any
    encode: Any
    checked_codes: Any

    def diffuse(
        self,
        codes: Mapping[str, np.ndarray] | None,
        size: tuple[int, int],
        *,
        seeds: Sequence[int],
        masks: np.ndarray | None = None,
        show: Any = None,
        **options: Any,
    ) -> np.ndarray:
        """Pictures uint8 [B, H, W, 3] of size (H, W) out of codes [B, h, w] by branch, as `encode` gives them at this
        size or a part of it; None for a model that knows no codes. One seed a picture.

        masks: [B, y, x] from 0 to 1 of any size, on the pictures, of a model of stage 4: where they are to be other
        than the codes say; None for none. options: fields of inference.diffusion.Options. show: called with the steps
        done and pictures as far as they are. Raises: UserError, also for a model without a diffusion decoder.
        """
        from focus_jax.inference.diffusion import Options

        found = None if codes is None else self.checked_codes(codes, None)[0]
        return self._diffuser(found, tuple(size), seeds=seeds, masks=masks, options=Options(**options), show=show)

    def latents(self, images: np.ndarray) -> np.ndarray:
        """Means and log-variances of the autoencoder's latents, not scaled, float16 [B, h, w, 2 C], of uint8
        [B, H, W, 3]. Raises: UserError, also for a model without an autoencoder."""
        with self.scope():
            return self._latents.encode(pictures("images", images))

    @property
    def latents_fingerprint(self) -> str:
        """16 hex digits of all that latents depend on."""
        return self._latents.fingerprint

    @functools.cached_property
    def _latents(self) -> Any:
        from focus_jax.inference.latents import Latents

        stage = getattr(self.stage, "decoder", self.stage)
        if (found := getattr(stage, "vae", None)) is None:
            raise UserError(f"{self.label}: this model has no autoencoder; its parts are {', '.join(self.params)}.")
        return Latents(found, self.params["vae"], self.label)

    def drawn_sizes(self, scale: int = 1) -> list[tuple[int, int]]:
        """(height, width) of pictures whose codes the diffusion decoder can draw at `scale` times their size."""
        return self._diffuser.sizes(scale)

    def autoencode(self, images: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W, 3] through the autoencoder's means and back, the best that the diffusion decoder can draw.
        Raises: UserError, also for a model without an autoencoder."""
        with self.scope():
            return self._latents.back(pictures("images", images))

    def redraw(
        self,
        images: np.ndarray,
        masks: np.ndarray | None = None,
        *,
        seeds: Sequence[int],
        tokens: float = 1.0,
        **options: Any,
    ) -> np.ndarray:
        """Pictures uint8 [B, H, W, 3] (or one) through their codes and the diffusion decoder, same shape; a seed each.

        masks: bool or float [B, H, W], as of `diffuse`. tokens: share of their sides at which they are tokenized.
        options: as of `diffuse`. Raises: UserError.
        """
        given, images = images, pictures("images", images)
        size = images.shape[1], images.shape[2]
        low = images
        if tokens != 1:
            small = round(tokens * size[0]), round(tokens * size[1])
            low = np.stack([np.asarray(transforms.resized(Image.fromarray(x), small)) for x in images])
        found = self.diffuse(self.encode(low, images), size, seeds=seeds, masks=masks, **options)
        return found[0] if np.ndim(given) == 3 else found

    def diffusion_reconstruct(
        self, images: np.ndarray, *, scale: int = 1, seeds: int | Sequence[int] = 0, **options: Any
    ) -> np.ndarray:
        """Pictures uint8 [B, H, W, 3] (or one) of any size through their codes and the diffusion decoder, same shape:
        as `infer reconstruct`, in the bucket of the nearest aspect ratio, padded, and back at their own size.

        scale: times the codes' size at which it draws, 1 or 2; seeds: one for all or one each; options: fields of
        inference.diffusion.Options. Raises: UserError, DataError for pictures that are too small or too long.
        """
        from focus_jax.inference import reconstruct as lib
        from focus_jax.inference.draw import check

        check("diffusion", scale, options)
        given, images = images, pictures("images", images)
        if np.ndim(seeds) and np.size(seeds) != len(images):
            raise UserError(f"seeds: {np.size(seeds)} for {len(images)} images, expected one for all or one each.")
        fit = transforms.fit(images.shape[1], images.shape[2], self.drawn_sizes(scale), "images")
        rows = [(str(i), Image.fromarray(x), fit) for i, x in enumerate(images)]
        draw = lib.by_diffusion(self, scale, seeds, **options)
        found = np.stack([one.picture for one in lib.reconstruct(self, rows, len(rows), draw)])
        return found[0] if np.ndim(given) == 3 else found

    @functools.cached_property
    def _diffuser(self) -> Any:
        from focus_jax.inference.diffusion import Diffuser

        return Diffuser(self)


def pictures(name: str, images: np.ndarray) -> np.ndarray:
    """uint8 [B, H, W, 3] of those or of one. Raises: UserError."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[-1] != 3:
        raise UserError(f"{name}: expected uint8 [B, H, W, 3] or [H, W, 3], found {images.dtype}{list(images.shape)}.")
    return images[None] if images.ndim == 3 else images
