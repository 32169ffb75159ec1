# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the image encoders know of the world: linear probes on their frozen features at the centres of objects."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import rows
from data_pipelines.world.examples import World
from data_pipelines.world.vocabulary import VERSION
from focus_jax.errors import UserError
from focus_jax.evaluation.figures import Figure, clustered
from focus_jax.evaluation.protocol import batches
from focus_jax.ops.sampling import bilinear
from focus_jax.stages.standins import NAMES, create_encoder, features
from focus_jax.stages.tokenizer import to_float

PROBE = {"C": 1.0, "max_iter": 300}  # of scikit-learn's LogisticRegression
PROTOCOL = {"regression": PROBE, "features": "standardised"}


def scenes(preset: str, split: str, count: int, side: int) -> dict[str, np.ndarray]:
    """image uint8 [N, side, side, 3], labels and boxes (rows.py) of the first `count` scenes. Raises: DataError."""
    world, stream = World(split=split, preset=preset, tasks=("objects",)), dict(height=side, width=side)
    made = [rows.row(world[i], stream | {"shape_class": "objects"}) for i in range(count)]
    return {name: np.stack([row[name] for row in made]) for name in made[0]}


class Evaluator:
    """Figures, for each encoder E the checkpoint holds and each attribute A of shape, colour, size and material:

    E_A: share of objects of both presets whose attribute a logistic regression names from the features of all maps of E
    at the object's centre (bilinear; the centre of the box of its visible part). E_A_PRESET: on one preset.
    E_MAP_A: from one map alone. A regression for each preset and set of maps learns on scenes of the train split.
    The baseline is the most frequent answer.
    """

    name = "standins"  # of the benchmark; `run` adds the encoder, since each is a run of its own

    def __init__(self, config: Any):
        for field in ("scenes", "probe_scenes", "batch_size"):
            if config[field] < 1:
                raise UserError(f"config.{field}: expected at least 1, found {config[field]}.")
        self.config = config
        self.baselines: dict[str, dict[str, float]] = {}

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        c = self.config
        world = {"version": VERSION, "presets": list(c.presets), "split": c.split, "indices": [0, c.scenes - 1]}
        probe = {"split": "train", "indices": [0, c.probe_scenes - 1], **PROTOCOL}
        return {"world": world, "probe": probe, "standard_errors": "by scene"}

    def run(self, model: Any, data: Any = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: {split: {preset: arrays as `scenes` gives}}, default what config names."""
        held = model.params.get("tokenizer", {})
        names = [n for n in ("vit", "convnext") if n in held and n in model.config.model]
        if not names:
            raise UserError(f"{model.label}: holds neither tokenizer/vit nor tokenizer/convnext, so nothing is probed.")
        self.name = "_".join(("standins", *names))
        out: dict[str, Figure] = {}
        for name in names:
            out |= self._encoder(model, name, held[name], data)
        return out

    def _encoder(self, model: Any, name: str, params: Any, data: Any) -> dict[str, Figure]:
        config, side = self.config, int(self.config.sides[name])
        encoder = create_encoder(model.config, name)
        at_centres = jax.jit(functools.partial(_at_centres, encoder))
        right: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        common: dict[str, list[np.ndarray]] = {}
        for k, preset in enumerate(config.presets):
            read = {}
            for split, count in (("train", config.probe_scenes), (config.split, config.scenes)):
                arrays = data[split][preset] if data else scenes(preset, split, count, side)
                read[split] = _objects(at_centres, params, arrays, config.batch_size)
            (x_train, y_train, _), (x, y, scene) = read["train"], read[config.split]
            for kind, keys in {"": tuple(x), **{f"{k}_": (k,) for k in x}}.items():
                join = lambda maps, keys=keys: np.concatenate([maps[k] for k in keys], axis=1)
                for column, attribute in enumerate(NAMES):
                    if len(np.unique(y_train[:, column])) < 2:
                        continue  # a preset with one material asks nothing
                    hits = probe(join(x_train), y_train[:, column], join(x)) == y[:, column]
                    scored = hits, scene * len(config.presets) + k
                    right.setdefault(f"{name}_{kind}{attribute}", []).append(scored)
                    if not kind:
                        right[f"{name}_{attribute}_{preset}"] = [scored]
                        most = np.bincount(y_train[:, column]).argmax() == y[:, column]
                        common.setdefault(f"{name}_{attribute}", []).append(most)
        self.baselines |= {k: {"most frequent": float(np.concatenate(v).mean())} for k, v in common.items()}
        return {k: clustered(*(np.concatenate(x) for x in zip(*v))) for k, v in right.items()}


def centres(boxes: Any) -> Any:
    """(x, y) of the middle of boxes (x, y, width, height), [..., 4] -> [..., 2]; numpy or jax."""
    return boxes[..., :2] + boxes[..., 2:] / 2


def _at_centres(encoder: Any, params: Any, images: jax.Array, boxes: jax.Array) -> dict[str, jax.Array]:
    """Maps at the boxes' centres: {map: [B, N, C]}."""
    maps = features(encoder, params, to_float(images))
    return {k: bilinear(x.astype(jnp.float32), centres(boxes)) for k, x in maps.items()}


def _objects(
    at_centres: Any, params: Any, arrays: Mapping[str, np.ndarray], size: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """({map: [objects, C]}, labels [objects, attributes], scene of each [objects]) in batches of one shape."""
    chunks: list[dict[str, np.ndarray]] = []
    for index, count in batches(len(arrays["image"]), size):
        maps = at_centres(params, arrays["image"][index], arrays["boxes"][index])
        chunks.append({k: np.asarray(x)[:count] for k, x in maps.items()})
    there = arrays["labels"][:, :, 0] >= 0
    maps = {k: np.concatenate([c[k] for c in chunks])[there] for k in chunks[0]}
    return maps, arrays["labels"][there], np.nonzero(there)[0]


def probe(x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """What a logistic regression on standardised x [N, C] and y [N] says of queries [M, C]."""
    from sklearn.linear_model import LogisticRegression

    mean, std = x.mean(0), x.std(0) + 1e-6
    fitted = LogisticRegression(**PROBE).fit((x - mean) / std, y)
    return fitted.predict((queries - mean) / std)
