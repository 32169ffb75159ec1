# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Inception-v3 (arXiv 1512.00567) as the Frechet Inception Distance (arXiv 1706.08500) uses it, up to its features.

That network is the one of TensorFlow's 2015 graph: average pools do not count the padding, and the last block pools by
maximum. Blocks and layers are named as in torchvision. It measures only; it is not trained here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.models.parameters import CONV_AXES, named, scale_and_bias
from focus_jax.ops import resize

EPS = 1e-3  # of the batch norms


class Layer(NamedTuple):
    """A convolution without bias, batch norm and relu."""

    name: str
    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


# A branch is what its steps do one after another: a layer, a pool by its name, or several layers side by side.
Step = Layer | str | tuple[Layer, ...]
Branch = tuple[Step, ...]


def _down(name: str, features: int) -> Layer:
    return Layer(name, features, (3, 3), 2, "VALID")


def _a(pool: int) -> tuple[Branch, ...]:
    return (
        (Layer("branch1x1", 64),),
        (Layer("branch5x5_1", 48), Layer("branch5x5_2", 64, (5, 5))),
        (Layer("branch3x3dbl_1", 64), Layer("branch3x3dbl_2", 96, (3, 3)), Layer("branch3x3dbl_3", 96, (3, 3))),
        ("mean", Layer("branch_pool", pool)),
    )


B: tuple[Branch, ...] = (
    (_down("branch3x3", 384),),
    (Layer("branch3x3dbl_1", 64), Layer("branch3x3dbl_2", 96, (3, 3)), _down("branch3x3dbl_3", 96)),
    ("half",),
)


def _c(width: int) -> tuple[Branch, ...]:
    rows, columns = (1, 7), (7, 1)
    return (
        (Layer("branch1x1", 192),),
        (Layer("branch7x7_1", width), Layer("branch7x7_2", width, rows), Layer("branch7x7_3", 192, columns)),
        (
            Layer("branch7x7dbl_1", width),
            Layer("branch7x7dbl_2", width, columns),
            Layer("branch7x7dbl_3", width, rows),
            Layer("branch7x7dbl_4", width, columns),
            Layer("branch7x7dbl_5", 192, rows),
        ),
        ("mean", Layer("branch_pool", 192)),
    )


D: tuple[Branch, ...] = (
    (Layer("branch3x3_1", 192), _down("branch3x3_2", 320)),
    (
        Layer("branch7x7x3_1", 192),
        Layer("branch7x7x3_2", 192, (1, 7)),
        Layer("branch7x7x3_3", 192, (7, 1)),
        _down("branch7x7x3_4", 192),
    ),
    ("half",),
)


def _e(pool: str) -> tuple[Branch, ...]:
    fork = lambda name: (Layer(f"{name}a", 384, (1, 3)), Layer(f"{name}b", 384, (3, 1)))
    return (
        (Layer("branch1x1", 320),),
        (Layer("branch3x3_1", 384), fork("branch3x3_2")),
        (Layer("branch3x3dbl_1", 448), Layer("branch3x3dbl_2", 384, (3, 3)), fork("branch3x3dbl_3")),
        (pool, Layer("branch_pool", 192)),
    )


STEM: Branch = (
    _down("Conv2d_1a_3x3", 32),
    Layer("Conv2d_2a_3x3", 32, (3, 3), padding="VALID"),
    Layer("Conv2d_2b_3x3", 64, (3, 3)),
    "half",
    Layer("Conv2d_3b_1x1", 80),
    Layer("Conv2d_4a_3x3", 192, (3, 3), padding="VALID"),
    "half",
)
BLOCKS: dict[str, tuple[Branch, ...]] = {
    **{"Mixed_5b": _a(32), "Mixed_5c": _a(64), "Mixed_5d": _a(64), "Mixed_6a": B},
    **{"Mixed_6b": _c(128), "Mixed_6c": _c(160), "Mixed_6d": _c(160), "Mixed_6e": _c(192)},
    **{"Mixed_7a": D, "Mixed_7b": _e("mean"), "Mixed_7c": _e("max")},
}
POOLS = {
    "half": lambda x: nn.max_pool(x, (3, 3), (2, 2)),
    "max": lambda x: nn.max_pool(x, (3, 3), padding="SAME"),
    "mean": lambda x: nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False),
}


def layers() -> Iterator[str]:
    """Names of all layers, BLOCK/LAYER or LAYER of the stem."""
    for folder, branches in {"": (STEM,), **BLOCKS}.items():
        for step in (step for branch in branches for step in branch if not isinstance(step, str)):
            for layer in [step] if isinstance(step, Layer) else step:
                yield f"{folder}/{layer.name}".lstrip("/")


class ConvNorm(nn.Module):
    """What a Layer says, with the mean and variance that its batch norm came out of training with."""

    layer: Layer
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        _, features, kernel, stride, padding = self.layer
        init, shape = nn.initializers.he_normal(), (*kernel, x.shape[-1], features)
        weights = self.param("kernel", named(init, CONV_AXES), shape, self.param_dtype)
        scale, bias = scale_and_bias(self, features)
        mean = self.param("running_mean", named(nn.initializers.zeros, ("norm",)), (features,), self.param_dtype)
        var = self.param("running_var", named(nn.initializers.ones, ("norm",)), (features,), self.param_dtype)
        x = jax.lax.conv_general_dilated(
            x,
            weights.astype(jnp.float32),
            (stride, stride),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGHEST,  # distances of features are differences of nearly equal numbers
        )
        return nn.relu((x - mean) * (scale * jax.lax.rsqrt(var + EPS)) + bias)


class Block(nn.Module):
    """Branches [B, H, W, C] -> [B, H', W', sum of their widths]."""

    branches: tuple[Branch, ...]
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.concatenate([run(branch, x, self.param_dtype) for branch in self.branches], axis=-1)


def run(branch: Branch, x: jax.Array, param_dtype: Any) -> jax.Array:
    """What a branch makes of x, inside the compact method of a module."""
    layer = lambda one, x: ConvNorm(one, param_dtype, name=one.name)(x)
    for step in branch:
        if isinstance(step, str):
            x = POOLS[step](x)
        elif isinstance(step, Layer):
            x = layer(step, x)
        else:
            x = jnp.concatenate([layer(one, x) for one in step], axis=-1)
    return x


class Inception(nn.Module):
    """Images [B, H, W, 3] in [-1, 1] -> features [B, 2048] float32.

    Pictures are brought to side x side first, bilinearly between pixel centres and without a low-pass filter, as
    pytorch-fid does; TensorFlow's own resizing puts them half a pixel elsewhere and gives slightly other distances.
    """

    side: int = 299
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = run(STEM, resize.bilinear(images.astype(jnp.float32), (self.side, self.side)), self.param_dtype)
        for name, branches in BLOCKS.items():
            x = Block(branches, self.param_dtype, name=name)(x)
        return jnp.mean(x, axis=(1, 2))
