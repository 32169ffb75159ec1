# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks that only measure, with the weights that a user gives, and distances of pictures in their features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tokenizers
from etils import epath
from PIL import Image

from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import batches
from focus_jax.models.clip import PictureTower, TextTower, dino
from focus_jax.models.inception import Inception
from focus_jax.models.perceptual import LPIPS
from focus_jax.stages.tokenizer import to_float
from focus_jax.training import store
from focus_jax.training.parts import unflatten
from focus_jax.weights import clip, inception, vgg16

Network = Callable[[np.ndarray], np.ndarray]  # with its weights: pictures uint8 [N, H, W, 3] to features [N, D]


def imported(file: str, part: str, shapes: Mapping[str, tuple[int, ...]], field: str) -> dict[str, Any]:
    """Parameters of one part, float32, out of a file that `convert import` wrote; shapes: all that it must hold.

    Raises: UserError, naming the field, where the file is none of ours, holds another network or lacks something.
    """
    entries = store.catalogue(file, "raw", field).entries
    if missing := [path for path in shapes if path not in entries]:
        held = any(path.startswith(f"{part}/") for path in entries)
        raise UserError(f"{field}: {file} " + (f"lacks {missing[0]}." if held else f"holds no part {part}."))
    targets = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes.items()}
    return unflatten(store.read(entries, targets))[part]


def perceptual_distance(a: np.ndarray, b: np.ndarray, file: str, batch_size: int) -> np.ndarray:
    """LPIPS [N] of pictures uint8 [N, H, W, 3]; file: imported weights, "" = the fixed random network."""
    net, shape = LPIPS(), (1, *a.shape[1:])
    if file:
        params = imported(file, "perceptual", vgg16.lpips_shapes(), "config.perceptual")
    else:
        params = nn.unbox(jax.jit(net.init)(jax.random.key(0), jnp.zeros(shape), jnp.zeros(shape)))["params"]
    distance = jax.jit(lambda p, x, y: net.apply({"params": p}, to_float(x), to_float(y)))
    return _in_batches(functools.partial(distance, params), batch_size, a, b)


def inception_network(file: str, batch_size: int) -> Network:
    """Gives [N, 2048]; file: imported weights of FID's Inception-v3. Raises: UserError."""
    params = imported(file, inception.PART, inception.shapes(), "config.inception")
    features = jax.jit(lambda p, x: Inception().apply({"params": p}, to_float(x)))
    return functools.partial(_in_batches, functools.partial(features, params), batch_size)


def inception_features(images: np.ndarray, file: str, batch_size: int) -> np.ndarray:
    """What `inception_network` gives of pictures uint8 [N, H, W, 3]."""
    return inception_network(file, batch_size)(images)


# Side, mean and deviation of the pictures that CLIP and DINO read, and to how many pixels a side is brought first.
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), 224
_DINO = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 256


def clip_network(file: str, batch_size: int) -> Network:
    """Gives unit vectors [N, D]; file: imported weights of CLIP. Raises: UserError."""
    return _tower(PictureTower(), clip.PICTURES, clip.clip_shapes(), file, "config.clip", batch_size, *_CLIP)


def clip_features(images: np.ndarray, file: str, batch_size: int) -> np.ndarray:
    """What `clip_network` gives of pictures uint8 [N, H, W, 3]."""
    return clip_network(file, batch_size)(images)


def dino_features(images: np.ndarray, file: str, batch_size: int) -> np.ndarray:
    """The same of DINO ViT-S/16."""
    return _tower(dino(), clip.DINO, clip.dino_shapes(), file, "config.dino", batch_size, *_DINO)(images)


def clip_text_features(ids: np.ndarray, file: str, batch_size: int) -> np.ndarray:
    """Unit vectors [N, D] of texts, int32 [N, 77] of `clip_ids`."""
    params = imported(file, clip.TEXTS, _below(clip.clip_shapes(), clip.TEXTS), "config.clip")
    run = jax.jit(lambda p, x: TextTower().apply({"params": p}, x))
    return unit(_in_batches(functools.partial(run, params), batch_size, ids))


def clip_ids(texts: Sequence[str], folder: str) -> np.ndarray:
    """int32 [N, 77] of texts; folder: of CLIP's tokenizer.json, which the user has. Raises: UserError."""
    path = epath.Path(folder) / "tokenizer.json"
    try:
        tokenizer = tokenizers.Tokenizer.from_str(path.read_text())
    except Exception as error:  # tokenizers raises plain Exceptions
        raise UserError(f"config.clip_tokenizer: {path} cannot be read ({error}), expected CLIP's.") from error
    net = TextTower()
    tokenizer.enable_truncation(net.length)
    tokenizer.enable_padding(length=net.length, pad_id=net.end)
    return np.array([tokenizer.encode(text).ids for text in texts], np.int32)


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _below(shapes: Mapping[str, tuple[int, ...]], part: str) -> dict[str, tuple[int, ...]]:
    return {path: shape for path, shape in shapes.items() if path.startswith(f"{part}/")}


def _tower(
    net: PictureTower, part: str, shapes: Mapping[str, tuple[int, ...]], file: str, field: str,
    batch_size: int, mean: Sequence[float], deviation: Sequence[float], short: int,
) -> Network:  # fmt: skip
    """Pictures with a short side of `short` pixels, of which the middle is read."""
    params = imported(file, part, _below(shapes, part), field)
    run = jax.jit(lambda p, x: net.apply({"params": p}, (x / 255.0 - np.array(mean)) / np.array(deviation)))
    read = lambda images: np.stack([_middle(x, short, net.side) for x in images])
    return lambda images: unit(_in_batches(functools.partial(run, params), batch_size, read(images)))


def _middle(image: np.ndarray, short: int, side: int) -> np.ndarray:
    """uint8 [H, W, 3] -> [side, side, 3]: the short side brought to `short` pixels (bicubic), its middle."""
    height, width = image.shape[:2]
    scale = short / min(height, width)
    size = max(side, round(width * scale)), max(side, round(height * scale))
    resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return np.asarray(resized.crop((left, top, left + side, top + side)))


def kid(a: np.ndarray, b: np.ndarray, subsets: int = 100, size: int = 1_000) -> tuple[float, float]:
    """Squared maximum mean discrepancy of features [N, C] and [M, C] with the kernel (x y / C + 1)^3, unbiased (arXiv
    1801.01401): its mean over random subsets, of all where there are no more, and their standard error.

    Raises: ValueError for less than two rows.
    """
    size = min(size, len(a), len(b))
    if size < 2:
        raise ValueError("an unbiased estimate needs two rows")
    random, values = np.random.default_rng(0), []
    for _ in range(subsets if size < max(len(a), len(b)) else 1):
        x, y = (f[random.choice(len(f), size, replace=False)].astype(np.float64) for f in (a, b))
        kernel = lambda p, q: (p @ q.T / p.shape[1] + 1.0) ** 3
        within = [(k.sum() - np.trace(k)) / (size * (size - 1)) for k in (kernel(x, x), kernel(y, y))]
        values.append(sum(within) - 2.0 * kernel(x, y).mean())
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return float(np.mean(values)), error


def _in_batches(function: Callable[..., jax.Array], size: int, *arrays: np.ndarray) -> np.ndarray:
    """function of the rows of arrays [N, ...], `size` at a time -> what it gives for all of them [N, ...]."""
    each = batches(len(arrays[0]), size)
    return np.concatenate([np.asarray(function(*(x[rows] for x in arrays)))[:count] for rows, count in each])


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance of the Gaussians with the mean and covariance of features [N, C] and [M, C].

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), arXiv 1706.08500 Eq 6. The last trace is the sum of singular
    values of R_a R_b^T where R^T R is a covariance, which needs no root of a matrix that few pictures leave singular.
    Raises: ValueError for less than two rows.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError("a covariance needs two rows")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    means = a.mean(axis=0), b.mean(axis=0)
    roots = [np.linalg.qr(x - m, mode="r") / np.sqrt(len(x) - 1) for x, m in zip((a, b), means)]
    cross = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return float(((means[0] - means[1]) ** 2).sum() + sum((r**2).sum() for r in roots) - 2.0 * cross)
