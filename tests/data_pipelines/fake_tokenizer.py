# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A tokenizer without a network, for processes of their own too: codes are sums of blocks of pixels."""

import os
import signal

import numpy as np

from data_pipelines import codes
from data_pipelines.errors import DataError


class FakeTokenizer:
    """pixel: sums of 8 x 8 pixels; semantic: of each quarter of the high-resolution picture or, without, of the image.

    kill_at: the call of `encode` in which the process dies.
    """

    label, about = "fake", {"form": "focus", "compute_dtype": "float32"}

    def __init__(self, high: int = 0, fingerprint: str = "0123456789abcdef", kill_at: int = 0):
        self.high, self.codes_fingerprint, self.kill_at, self.shapes = high, fingerprint, kill_at, []

    def grids(self, height, width):
        if height % 8 or width % 8:
            raise DataError(f"images: {height} x {width} pixels, expected multiples of the stride 8.")
        return {"semantic": (2, 2), "pixel": (height // 8, width // 8)}

    def encode(self, images, high=None):
        self.shapes.append(images.shape)
        if len(self.shapes) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        assert images.dtype == np.uint8 and (high is not None) == bool(self.high)
        finest = images if high is None else high
        semantic = _sums(finest, finest.shape[1] // 2, finest.shape[2] // 2)
        return {"semantic": semantic, "pixel": _sums(images, 8, 8)}


def _sums(images, height, width):
    """int32 [B, H // height, W // width]: sums of the whole blocks."""
    b, rows, columns = len(images), images.shape[1] // height, images.shape[2] // width
    whole = images[:, : rows * height, : columns * width].astype(np.int32).sum(-1)
    return whole.reshape(b, rows, height, columns, width).sum((2, 4), dtype=np.int32)


def run(tokenizer, source, output, buckets=(), splits=(), batch=4, bad_budget=0):
    """`prepare codes`, in batches of 4."""
    planned = codes.plan(source, buckets, splits)
    return codes.prepare_codes(tokenizer, planned, output, batch=batch, threads=2, bad_budget=bad_budget)
