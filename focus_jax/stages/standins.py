# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0: tiny stand-ins for public weights. Here the two image encoders, trained on the world's exact truth.

A full-size run starts from released encoders; a tiny one cannot, so its encoders learn here what released ones know:
what stands where (shape, colour, size and material at an object's centre, how many there are, where the centres and
boxes lie) and how things look (the cells' colours; in a share of the pictures from masked cells). Linear heads on the
feature maps carry the losses. They belong to this stage alone.

Terms are sums over objects, pictures or cells, divided by the number of maps they are read from.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from data_pipelines.rows import LABELS, MAX_OBJECTS
from focus_jax.errors import UserError
from focus_jax.models.convnext import convnext, convnext_pixels
from focus_jax.models.layers import Dense
from focus_jax.models.qwen_vit import qwen_vit, vit_pixels
from focus_jax.ops.sampling import bilinear
from focus_jax.stages.tokenizer import to_float
from focus_jax.training.step import Batch, Metrics

ENCODERS = ("vit", "convnext")
NAMES = ("shape", "colour", "size", "material")  # of the columns of LABELS
SUBCELLS = 4  # a cell's look is the mean colour of 4 x 4 parts of it
MASK_GRID = 8  # cells a side of the grid that masking hides cells of


def validate_stream(config: Any, stream: Mapping[str, Any], where: str) -> None:
    """Sides must be whole cells of every map and of the mask's grid. Raises: UserError."""
    if stream["shape_class"] != "objects":
        raise UserError(f"{where}.shape_class: expected objects, found {stream['shape_class']!r}.")
    stride = create_encoder(config, config.encoder).stride * SUBCELLS // 2
    unit = max(stride, MASK_GRID)
    for side in ("height", "width"):
        if stream[side] % unit or stream[side] < MASK_GRID:
            raise UserError(f"{where}.{side}: {stream[side]} is not a multiple of {unit}.")


def validate(config: Any) -> None:
    """Checks the encoder's name and the loss section. Raises: UserError."""
    if config.encoder not in ENCODERS:
        raise UserError(f"config.encoder: expected {' or '.join(ENCODERS)}, found {config.encoder!r}.")
    if not 0 <= config.loss.masked_share < 1:
        raise UserError(f"config.loss.masked_share: expected a share below 1, found {config.loss.masked_share!r}.")


def create_encoder(config: Any, name: str) -> Any:
    """The network called vit or convnext in the sizes of config.model."""
    make = {"vit": qwen_vit, "convnext": convnext}[name]
    return make(**config.model[name], dtype=jnp.dtype(config.compute_dtype))


def features(encoder: Any, params: Any, images: jax.Array) -> dict[str, jax.Array]:
    """Images [B, H, W, 3] float in [-1, 1] -> the encoder's maps [B, h, w, C] by name, fine to coarse.

    ViT: patches (the last block's output) and merged (what the language model and the tokenizer read); ConvNeXt: res2
    to res5.
    """
    if hasattr(encoder, "merge"):
        merged, out = encoder.apply({"params": params}, vit_pixels(images, images.shape[1:3]))
        return {"patches": out["patches"], "merged": merged}
    return encoder.apply({"params": params}, convnext_pixels(images))


class Heads(nn.Module):
    """Linear read-outs of one map [B, h, w, C]: look [B, h, w, 48], cell [B, h, w, 5] and labels [B, N, sum of LABELS]
    at points [B, N, 2]; without points the look alone."""

    @nn.compact
    def __call__(self, x: jax.Array, points: jax.Array | None) -> dict[str, jax.Array]:
        x = x.astype(jnp.float32)
        out = {"look": Dense(3 * SUBCELLS**2, name="look")(x)}
        if points is not None:
            out["cell"] = Dense(5, name="cell")(x)  # logit of a centre; its place in the cell, width, height
            out["labels"] = Dense(sum(map(len, LABELS)), name="labels")(bilinear(x, points))
            out["count"] = Dense(MAX_OBJECTS + 1, name="count")(x.mean(axis=(1, 2)))
        return out


class AllHeads(nn.Module):
    """Heads of every map; `objects` names the maps that tell what stands where."""

    objects: tuple[str, ...]

    @nn.compact
    def __call__(self, maps: Mapping[str, jax.Array], points: jax.Array) -> dict[str, dict[str, jax.Array]]:
        return {n: Heads(name=n)(x, points if n in self.objects else None) for n, x in maps.items()}


def look(images: jax.Array, height: int, width: int) -> jax.Array:
    """Mean colours of the 4 x 4 parts of each cell: images [B, H, W, 3] -> [B, h, w, 48]."""
    b, h, w, c = images.shape
    parts = images.reshape(b, height * SUBCELLS, h // (height * SUBCELLS), width * SUBCELLS, -1, c).mean(axis=(2, 4))
    cells = parts.reshape(b, height, SUBCELLS, width, SUBCELLS, c).transpose(0, 1, 3, 2, 4, 5)
    return cells.reshape(b, height, width, -1)


class Stage:
    """Encoder, heads and losses; see training.step.Stage for the protocol."""

    events = ()

    def __init__(self, config: Any):
        self.config, self.loss = config, config.loss
        self.encoder = create_encoder(config, config.encoder)
        self.heads = AllHeads(tuple(config.loss.object_maps))

    def init(self, rng: jax.Array) -> dict[str, Any]:
        side = self.config.data.phases[0]["streams"][0]["height"]
        images = jnp.zeros((1, side, side, 3))
        first, second = (jax.random.fold_in(rng, i) for i in range(2))
        pixels = vit_pixels(images, (side, side)) if self.config.encoder == "vit" else convnext_pixels(images)
        params = self.encoder.init(first, pixels)["params"]
        unboxed = nn.unbox(params)
        maps = features(self.encoder, unboxed, images)
        heads = self.heads.init(second, maps, jnp.zeros((1, MAX_OBJECTS, 2)))["params"]
        return {"tokenizer": {self.config.encoder: params}, "heads": heads}

    def notes(self) -> list[str]:
        return []

    def alarms(self, step: int, figures: Mapping[str, float]) -> list[str]:
        return []

    def weights(self, step: jax.Array) -> dict[str, Any]:
        return dict(self.loss.weights)

    def _masked(self, batch: Batch) -> jax.Array:
        """Which rows are seen in part only: bool [B], drawn from (seed, element)."""
        key = jax.random.key(self.config.seed)
        draw = jax.vmap(lambda e: jax.random.uniform(jax.random.fold_in(key, e)))
        return draw(batch["element"]) < self.loss.masked_share

    def normalisers(self, batch: Batch) -> dict[str, jax.Array]:
        w, masked = batch["weight"].astype(jnp.float32), self._masked(batch)
        whole = w * ~masked
        objects = jnp.sum(whole[:, None] * (batch["labels"][:, :, 0] >= 0))
        pictures = whole.sum()
        return {
            **{name: jnp.sum(whole[:, None] * (batch["labels"][:, :, i] >= 0)) for i, name in enumerate(NAMES)},
            "box": objects,
            "centre": pictures,
            "count": pictures,
            "look": pictures,
            "masked": (w * masked).sum(),
        }

    def numerators(
        self, params, batch: Batch, norm, rng: jax.Array, step: jax.Array
    ) -> tuple[dict[str, jax.Array], Metrics]:
        del norm, rng, step  # the masks are drawn by element
        masked, images = self._masked(batch), to_float(batch["image"])
        key = jax.random.key(self.config.seed + 1)
        cells = jax.vmap(lambda e: jax.random.uniform(jax.random.fold_in(key, e), (MASK_GRID, MASK_GRID)))
        hidden = (cells(batch["element"]) < self.loss.masked_cells) & masked[:, None, None]  # [B, 8, 8]
        seen = jnp.where(_enlarge(hidden, images.shape[1:3])[..., None], 0.0, images)
        sums, aux = self._terms(params, batch, seen, images, hidden, masked)
        return sums, aux

    def measures(self, params, batch: Batch) -> Metrics:
        images = to_float(batch["image"])
        nothing = jnp.zeros((len(images), MASK_GRID, MASK_GRID), bool)
        return self._terms(params, batch, images, images, nothing, nothing[:, 0, 0])[1]

    def _terms(self, params, batch, seen, images, hidden, masked) -> tuple[dict[str, jax.Array], Metrics]:
        """Loss sums and figures. seen: what the encoder is given; hidden [B, 8, 8]: cells it is not; masked [B]."""
        w = batch["weight"].astype(jnp.float32)
        whole, labels, boxes = w * ~masked, batch["labels"], batch["boxes"]
        exists = (labels[:, :, 0] >= 0) * whole[:, None]  # [B, N]
        points = boxes[:, :, :2] + boxes[:, :, 2:] / 2
        maps = features(self.encoder, params["tokenizer"][self.config.encoder], seen)
        out = self.heads.apply({"params": params["heads"]}, maps, points)

        sums: dict[str, jax.Array] = dict.fromkeys(self.loss.weights, jnp.zeros(()))
        aux: Metrics = {}
        for name, read in out.items():
            h, w_ = read["look"].shape[1:3]
            error = jnp.mean(jnp.abs(read["look"] - look(images, h, w_)), axis=-1)  # [B, h, w]
            sums["look"] += jnp.sum(whole * error.mean(axis=(1, 2))) / len(out)
            gone = _enlarge(hidden, (h, w_)) if h >= MASK_GRID else _shrink(hidden, (h, w_))
            share = jnp.sum(gone * error, axis=(1, 2)) / jnp.maximum(gone.sum(axis=(1, 2)), 1e-6)
            sums["masked"] += jnp.sum(w * masked * share) / len(out)
            if name not in self.heads.objects:
                continue
            n = len(self.heads.objects)
            start = 0
            for i, words in enumerate(LABELS):
                logits, target = read["labels"][..., start : start + len(words)], labels[:, :, i]
                start += len(words)
                counts = (target >= 0) * whole[:, None]
                chosen = jnp.take_along_axis(nn.log_softmax(logits), jnp.maximum(target, 0)[..., None], axis=-1)[..., 0]
                sums[NAMES[i]] += -jnp.sum(counts * chosen) / n
                right = jnp.sum(counts * (jnp.argmax(logits, axis=-1) == target))
                aux[f"{name}_{NAMES[i]}"] = (right, counts.sum())
            centre, box = _cells(read["cell"], points, boxes, exists)
            sums["centre"] += jnp.sum(whole * centre) / n
            sums["box"] += jnp.sum(box) / n
            number = (labels[:, :, 0] >= 0).sum(axis=1)
            log_count = nn.log_softmax(read["count"])
            sums["count"] += -jnp.sum(whole * jnp.take_along_axis(log_count, number[:, None], axis=1)[:, 0]) / n
            aux[f"{name}_count"] = (jnp.sum(whole * (jnp.argmax(log_count, axis=-1) == number)), whole.sum())
        names = [n for n in aux if n.endswith("_shape")]
        aux["shape"] = tuple(sum(aux[n][i] for n in names) for i in (0, 1))
        return sums, aux


def _enlarge(cells: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B, 8, 8] -> [B, *size] by repetition."""
    return jnp.repeat(jnp.repeat(cells, size[0] // MASK_GRID, axis=1), size[1] // MASK_GRID, axis=2)


def _shrink(cells: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B, 8, 8] -> shares [B, *size]."""
    b = len(cells)
    return cells.reshape(b, size[0], MASK_GRID // size[0], size[1], MASK_GRID // size[1]).mean(axis=(2, 4))


def _cells(cell: jax.Array, points: jax.Array, boxes: jax.Array, exists: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Losses of the cell head: whether a centre lies in each cell [B], and the box of each object [B, N].

    cell: [B, h, w, 5]; points, boxes: in shares of the sides; exists: [B, N], 0 for rows without an object.
    """
    b, h, w = cell.shape[:3]
    scaled = points * jnp.array([w, h], jnp.float32)
    column, row = (jnp.clip(scaled[..., i].astype(jnp.int32), 0, (w, h)[i] - 1) for i in (0, 1))
    picture = jnp.arange(b)[:, None]
    target = jnp.zeros((b, h, w)).at[picture, row, column].max(exists)
    logit = cell[..., 0]
    centre = jnp.sum(nn.softplus(logit) - logit * target, axis=(1, 2)) / (h * w)  # binary cross-entropy
    found = cell[picture, row, column, 1:]  # [B, N, 4]
    place = jnp.concatenate([scaled - jnp.stack([column, row], -1), boxes[..., 2:] * jnp.array([w, h])], axis=-1)
    return centre * SUBCELLS, exists * jnp.mean(jnp.abs(found - place), axis=-1)
