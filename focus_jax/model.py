# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A trained model to call from Python: arrays in, arrays out. Made by `focus_jax.load`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from focus_jax import stages
from focus_jax.errors import UserError
from focus_jax.training import parts, sharding, store


def load(source: Any, weights: str = "ema", mesh: Mesh | None = None) -> "Model":
    """Loads a model, frozen parts from where the checkpoint says they are.

    Args:
      source: a run directory (its best step, else its last), an Orbax step directory, or a safetensors file written by
        `focus_jax.training.store.save_safetensors`.
      weights: "ema" takes the averaged parameters where the run kept some, "raw" never.
      mesh: where the parameters live, in shards by the table in the config; None is the default device.

    Raises: UserError for a source that is none of these, damaged, of another format version, or without its config.
    """
    found = store.catalogue(source, weights, "load")
    if found.config is None:
        raise UserError(
            f"{found.label}: the file's metadata have no field config, so it names no model; use it in config.init."
        )
    stage = stages.create(found.config)
    boxed = jax.eval_shape(stage.init, jax.eval_shape(lambda: jax.random.key(0)))
    names = sharding.logical_names(boxed)
    targets = {}
    for path, x in sharding.unbox(boxed).items():
        if path not in found.entries:
            raise UserError(f"{found.label}: its config describes {path}, which the checkpoint does not hold.")
        place = None
        if mesh is not None:
            place = NamedSharding(
                mesh, sharding.partition_spec(x.shape, names[path], sharding.table(found.config), mesh)
            )
        targets[path] = jax.ShapeDtypeStruct(x.shape, jnp.dtype(found.entries[path].dtype), sharding=place)
    params = store.read(found.entries, targets)
    return Model(found.config, stage, parts.unflatten(params), found.fingerprints(params), found.label, mesh)


class Model:
    """Networks with their parameters.

    config: of the run that trained them; params: nested dict of parts; fingerprints: {part: 16 hex digits} of the
    parameters in use; label: where they were read from.
    """

    def __init__(
        self,
        config: ConfigDict,
        stage: Any,
        params: dict[str, Any],
        fingerprints: dict[str, str],
        label: str,
        mesh: Mesh | None,
    ):
        self.config, self.stage, self.params = config, stage, params
        self.fingerprints, self.label, self.mesh = fingerprints, label, mesh

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """Encodes, quantises and decodes uint8 [B, H, W, 3] (or one [H, W, 3]); returns the same shape and dtype.

        H and W must be multiples of the tokenizer's stride. Raises: UserError.
        """
        batch = self._check(images)
        return self._like(images, self._run("reconstruct", batch))

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W, 3] (or one [H, W, 3]) -> pixel code indices int32 [B, H/stride, W/stride] (or [h, w])."""
        batch = self._check(images)
        return self._like(images, self._run("encode", batch))

    def decode(self, indices: np.ndarray) -> np.ndarray:
        """Pixel code indices [B, h, w] (or [h, w]) -> uint8 [B, h * stride, w * stride, 3] (or [H, W, 3])."""
        indices = np.asarray(indices)
        codes = int(self.config.model.tokenizer.pixel.codes) if self._tokenizer else 0
        if indices.ndim not in (2, 3) or not np.issubdtype(indices.dtype, np.integer):
            raise UserError(
                f"indices: expected integers [B, h, w] or [h, w], found {indices.dtype}{list(indices.shape)}."
            )
        if indices.size and not (0 <= indices.min() and indices.max() < codes):
            raise UserError(f"indices: expected codes from 0 to {codes - 1}, found {indices.min()} to {indices.max()}.")
        batch = indices[None] if indices.ndim == 2 else indices
        pictures = self._run("decode", batch.astype(np.int32))
        return pictures[0] if indices.ndim == 2 else pictures

    @functools.cached_property
    def _tokenizer(self) -> Any:
        tokenizer = getattr(self.stage, "tokenizer", None)
        if tokenizer is None:
            raise UserError(f"{self.label}: this model has no tokenizer; its parts are {', '.join(self.fingerprints)}.")
        return tokenizer

    @functools.cached_property
    def _functions(self) -> dict[str, Any]:
        """Jitted functions of (parameters of the tokenizer, batch)."""
        from focus_jax.stages.tokenizer import to_float, to_uint8

        net = self._tokenizer
        encode = lambda p, x: net.apply(p, net.apply(p, to_float(x), method="encode"), method="quantise")[1]["indices"]
        decode = lambda p, x: to_uint8(net.apply(p, x, method="indices_to_images"))
        return {
            "encode": jax.jit(encode),
            "decode": jax.jit(decode),
            "reconstruct": jax.jit(lambda p, x: decode(p, encode(p, x))),
        }

    def _run(self, name: str, batch: np.ndarray) -> np.ndarray:
        function = self._functions[name]
        if self.mesh is None:
            return np.asarray(function({"params": self.params["tokenizer"]}, jnp.asarray(batch)))
        rows = sharding.batch_sharding(self.mesh, sharding.table(self.config))
        whole = NamedSharding(self.mesh, PartitionSpec())
        fits = len(batch) % sharding.batch_ways(self.mesh.shape, sharding.table(self.config)) == 0
        with jax.set_mesh(self.mesh):
            out = function({"params": self.params["tokenizer"]}, jax.device_put(batch, rows if fits else whole))
            return np.asarray(jax.device_put(out, whole))

    def _check(self, images: np.ndarray) -> np.ndarray:
        stride, images = self._tokenizer.stride, np.asarray(images)
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[-1] != 3:
            raise UserError(
                f"images: expected uint8 [B, H, W, 3] or [H, W, 3], found {images.dtype}{list(images.shape)}."
            )
        height, width = images.shape[-3:-1]
        if height % stride or width % stride or not height or not width:
            raise UserError(
                f"images: {height} x {width} pixels, expected multiples of the tokenizer's stride {stride}."
            )
        return images[None] if images.ndim == 3 else images

    @staticmethod
    def _like(images: np.ndarray, batch: np.ndarray) -> np.ndarray:
        return batch[0] if np.ndim(images) == 3 else batch
