# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every resize mode against torch, up and down, on pictures that are not square."""

import jax
import numpy as np
import pytest

from focus_jax.ops import resize

X = np.random.default_rng(0).standard_normal((2, 9, 13, 3)).astype(np.float32)
SIZES = [(16, 20), (32, 26), (18, 26), (5, 7), (9, 13)]


def torch_resize(x, size, mode, **options):
    torch = pytest.importorskip("torch")
    y = torch.nn.functional.interpolate(torch.from_numpy(x).permute(0, 3, 1, 2), size=size, mode=mode, **options)
    return y.permute(0, 2, 3, 1).numpy()


@pytest.mark.parity
@pytest.mark.parametrize("size", SIZES)
def test_torch_numerics(size):
    aligned = dict(align_corners=False)
    cases = [
        (resize.bicubic, 1e-6, dict(mode="bicubic", antialias=False, **aligned)),
        (resize.bicubic_antialias, 5e-6, dict(mode="bicubic", antialias=True, **aligned)),
        (resize.bilinear, 1e-6, dict(mode="bilinear", antialias=False, **aligned)),
        (resize.nearest, 0.0, dict(mode="nearest")),
    ]
    for ours, tolerance, options in cases:
        want = torch_resize(X, size, **options)
        assert np.max(np.abs(ours(X, size) - want)) <= tolerance * np.max(np.abs(want)), ours.__name__


@pytest.mark.parity
def test_pixel_shuffle():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 12)).astype(np.float32)
    nchw = torch.from_numpy(x).permute(0, 3, 1, 2)
    want = torch.nn.functional.pixel_shuffle(nchw, 2).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(resize.pixel_shuffle(x, 2), want)
    np.testing.assert_array_equal(resize.pixel_unshuffle(want, 2), x)
    want = torch.nn.functional.pixel_unshuffle(nchw, 2).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(resize.pixel_unshuffle(x, 2), want)


def test_bicubic_differs_from_jax():
    """The reason for having our own matrices: jax's cubic is another kernel."""
    other = jax.image.resize(X, (2, 16, 20, 3), "cubic", antialias=False)
    assert np.max(np.abs(resize.bicubic(X, (16, 20)) - other)) > 0.05


def test_dtype_is_kept():
    assert resize.bicubic(X.astype("bfloat16"), (4, 4)).dtype == "bfloat16"
