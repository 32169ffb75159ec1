# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures to an autoencoder's latents, as `prepare codes --latents` stores them, and back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.errors import UserError
from focus_jax.models.vae import VAE, vae
from focus_jax.stages.decoder import latents_fingerprint
from focus_jax.stages.tokenizer import to_float, to_uint8
from focus_jax.training import store
from focus_jax.training.parts import unflatten

PREFIX = "vae/"


class Latents:
    """The autoencoder of a checkpoint that has one, whatever else it has or lacks.

    fingerprint: 16 hex digits of all that latents depend on; label: where it was read from.
    """

    def __init__(self, net: VAE, params: Any, label: str):
        self.net, self.params, self.label = net, params, label
        self.fingerprint = latents_fingerprint(params)
        self._run, self._back = jax.jit(self._moments), jax.jit(self._given_back)

    @classmethod
    def load(cls, source: Any, weights: str = "ema") -> Latents:
        """Of a run directory, a step directory or a safetensors file; a file without config has SDXL's sizes.

        Raises: UserError.
        """
        found = store.catalogue(source, weights, "latents")
        held = {path: e for path, e in found.entries.items() if path.startswith(PREFIX)}
        if not held:
            raise UserError(f"{found.label}: holds no part vae, expected an autoencoder.")
        sizes = dict(scan=any("/layers/" in path for path in held))
        if found.config is not None and "vae" in found.config.model:
            sizes = found.config.model.vae.to_dict()
        targets = {path: jax.ShapeDtypeStruct(e.shape, jnp.float32) for path, e in held.items()}
        return cls(vae(**sizes), unflatten(store.read(held, targets))["vae"], found.label)

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Of the latents of a picture. Raises: UserError for sides that are not whole latents."""
        stride = self.net.stride
        if height % stride or width % stride:
            raise UserError(f"images: {height} x {width} pixels, expected multiples of the autoencoder's {stride}.")
        return height // stride, width // stride, 2 * self.net.channels

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Means and log-variances, not scaled, float16 [B, h, w, 2 C], of uint8 [B, H, W, 3]. Raises: UserError."""
        self.shape(*images.shape[1:3])
        return np.asarray(self._run(self.params, jnp.asarray(images)))

    def back(self, images: np.ndarray) -> np.ndarray:
        """Pictures uint8 [B, H, W, 3] through the means of their latents. Raises: UserError."""
        self.shape(*images.shape[1:3])
        return np.asarray(self._back(self.params, jnp.asarray(images)))

    def _given_back(self, params: Any, images: jax.Array) -> jax.Array:
        one = lambda image: self.net.apply({"params": params}, to_float(image)[None])[0][0]
        return to_uint8(jax.lax.map(one, images))

    def _moments(self, params: Any, images: jax.Array) -> jax.Array:
        def one(image: jax.Array) -> jax.Array:
            found = self.net.apply({"params": params}, to_float(image)[None], method="encode")
            return jnp.concatenate([found.mean, found.log_variance], axis=-1)[0].astype(jnp.float16)

        return jax.lax.map(one, images)  # one after the other: the attention of a large one takes a gigabyte
