# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines import buckets
from data_pipelines.errors import DataError


def test_the_two_lists_have_the_same_ratios_on_multiples_of_16():
    assert len(set(buckets.ANCHORS_512)) == len(set(buckets.ANCHORS_256)) == 11
    for large, small in zip(buckets.ANCHORS_512, buckets.ANCHORS_256):
        assert Fraction(*large) == Fraction(*small)
        assert all(side % 16 == 0 for side in (*large, *small))
        assert buckets.serves(large, small) and not buckets.serves(small, large)


@pytest.mark.parametrize(
    ("size", "bucket"),
    [
        ((480, 640), (384, 512)),
        ((640, 480), (512, 384)),
        ((427, 640), (384, 576)),
        ((512, 512), (512, 512)),
        ((100, 395), (256, 1024)),
        ((1000, 1000), (512, 512)),
    ],
)
def test_nearest_ratio(size, bucket):
    assert buckets.nearest(*size, buckets.ANCHORS_512) == bucket


def test_ties_go_to_the_nearer_size():
    both = [(256, 256), (512, 512)]
    assert buckets.nearest(300, 300, both) == (256, 256)
    assert buckets.nearest(500, 500, both) == (512, 512)
    # width / height 1.5 lies between 1 and 2
    assert buckets.nearest(300, 450, [(256, 256), (256, 512)]) == (256, 512)


def test_crop_loss():
    assert buckets.crop_loss(480, 640, (384, 512)) == 0
    assert buckets.crop_loss(100, 200, (64, 64)) == 0.5
    assert buckets.crop_loss(200, 100, (64, 64)) == 0.5


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(buckets.ANCHORS_512))
def test_crop_loss_does_not_depend_on_scale(height, width, bucket):
    loss = buckets.crop_loss(height, width, bucket)
    assert 0 <= loss < 1
    assert loss == buckets.crop_loss(7 * height, 7 * width, bucket)


def test_parse():
    assert buckets.parse("256") == list(buckets.ANCHORS_256)
    assert buckets.parse("64x96") == [(64, 96)]
    for text in ("100", "64", "64x", "axb", "64x64x3", "0x4", ""):
        with pytest.raises(DataError, match="buckets: "):
            buckets.parse(text)


def test_picture_streams():
    assert len(buckets.picture_streams(512, 8)) == 11
    streams = buckets.picture_streams([(64, 64), (48, 64)], 8, {(48, 64): 2})
    assert streams == [{"shape_class": "picture", "height": 48, "width": 64, "batch_size": 8, "share": 2}]
    with pytest.raises(DataError, match="resolution: 300"):
        buckets.picture_streams(300, 8)
    with pytest.raises(DataError, match="shares: "):
        buckets.picture_streams(256, 8, {(64, 64): 1})
    with pytest.raises(DataError, match="buckets: the list is empty"):
        buckets.nearest(10, 10, [])
