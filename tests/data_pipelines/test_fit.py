# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A whole picture on a bucket's canvas, at two sizes, and back."""

import numpy as np
import pytest
from PIL import Image

from data_pipelines import buckets, transforms
from data_pipelines.errors import DataError


def ramps(height, width):
    """Red grows to the right, green downwards: every place has a colour of its own."""
    y, x = np.mgrid[:height, :width]
    return np.stack([230 * (x + 0.5) / width, 230 * (y + 0.5) / height, 0 * x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size", [(512, 512), (100, 57), (57, 100), (300, 1150), (1000, 251), (31, 33)])
def test_there_and_back(size):
    image = Image.fromarray(ramps(*size))
    fit = transforms.fit(*size, buckets.ANCHORS_256)
    canvas, high = fit.canvas(image), fit.canvas(image, 768)
    assert canvas.shape == (*fit.bucket, 3) and max(high.shape[:2]) == 768
    assert fit.inside[0] == fit.bucket[0] or fit.inside[1] == fit.bucket[1], "as large as fits"
    back = fit.back(canvas)
    assert back.shape == (*size, 3) and np.abs(back.astype(int) - ramps(*size))[1:-1, 1:-1].max() <= 12
    height, width = fit.inside
    for padding in (canvas[height:], canvas[:, width:]):
        assert np.all(padding == transforms.MEAN_COLOUR)
    # The high-resolution canvas is the same picture at the same place.
    small = np.asarray(Image.fromarray(high).resize(fit.bucket[::-1], Image.Resampling.BOX)).astype(int)
    assert np.abs(small - canvas)[: height - 2, : width - 2].max() <= 8


def test_a_picture_of_the_buckets_size_is_itself():
    image = ramps(256, 256)
    fit = transforms.fit(256, 256, buckets.ANCHORS_256)
    np.testing.assert_array_equal(fit.canvas(Image.fromarray(image)), image)
    np.testing.assert_array_equal(fit.back(image), image)


@pytest.mark.parametrize("size", [(1, 1), (15, 40), (40, 15), (100, 401), (401, 100)])
def test_what_no_bucket_is_like(size):
    with pytest.raises(DataError, match=f"NAME: {size[1]} x {size[0]} pixels, expected sides of at least 16 pixels"):
        transforms.fit(*size, buckets.ANCHORS_256, "NAME")
    assert transforms.fit(16, 64, buckets.ANCHORS_256).bucket == (128, 512)
