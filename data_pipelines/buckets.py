# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Buckets: the picture sizes that batches come in. A bucket is (height, width) in pixels; a list of them is data.

ANCHORS_512 are the 11 anchors of about 512^2 pixels of the ILLUME+ release. Each of their sides is a multiple of 32, so
halving both sides keeps each aspect ratio exactly and stays on the multiples of 16 that the tokenizer needs:
ANCHORS_256. A record prepared for an anchor therefore serves both resolutions; so do doubled sides, ANCHORS_1024.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from data_pipelines.errors import DataError

Bucket = tuple[int, int]

ANCHORS_512: tuple[Bucket, ...] = (
    (512, 512), (384, 512), (512, 384), (384, 768), (768, 384), (384, 576),
    (576, 384), (320, 960), (960, 320), (256, 1024), (1024, 256),
)  # fmt: skip
ANCHORS_256: tuple[Bucket, ...] = tuple((height // 2, width // 2) for height, width in ANCHORS_512)
ANCHORS_1024: tuple[Bucket, ...] = tuple((2 * height, 2 * width) for height, width in ANCHORS_512)
TEXT: Bucket = (0, 0)  # of records without a picture: no pixels
ANCHORS = {256: ANCHORS_256, 512: ANCHORS_512, 1024: ANCHORS_1024}
MAX_CROP_LOSS = 0.2  # of the ILLUME+ release


def nearest(height: int, width: int, buckets: Sequence[Bucket]) -> Bucket:
    """The bucket with the nearest width / height; ties: the smaller squared distance of sizes, then the first."""
    if not buckets:
        raise DataError("buckets: the list is empty, expected at least one (height, width).")
    ratio = Fraction(width, height)

    def distance(bucket):
        return abs(ratio - Fraction(bucket[1], bucket[0])), (height - bucket[0]) ** 2 + (width - bucket[1]) ** 2

    return min(buckets, key=distance)


def crop_loss(height: int, width: int, bucket: Bucket) -> float:
    """1 - target area / cover area: what a crop to the bucket loses of the picture that just covers it."""
    scale = max(Fraction(bucket[0], height), Fraction(bucket[1], width))
    return float(1 - Fraction(bucket[0] * bucket[1]) / (height * width * scale * scale))


def serves(prepared: Bucket, bucket: Bucket) -> bool:
    """Whether records prepared for one bucket can be read at another: same aspect ratio and at least as large."""
    if TEXT in (prepared, bucket):
        return prepared == bucket
    return prepared[0] * bucket[1] == prepared[1] * bucket[0] and prepared[0] >= bucket[0]


def high_size(bucket: Bucket, high: int) -> Bucket:
    """(height, width) of a bucket's picture at a long edge of `high` pixels: what the hierarchical encoder reads."""
    height, width = (max(1, round(side * high / max(bucket))) for side in bucket)
    return height, width


def parse(text: str) -> list[Bucket]:
    """'512' or '256' for the anchors of that resolution, else 'HxW,HxW,...'."""
    if text.isdigit() and int(text) in ANCHORS:
        return list(ANCHORS[int(text)])
    buckets = []
    for item in text.split(","):
        height, _, width = item.partition("x")
        if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
            raise DataError(f"buckets: '{text}', expected 256, 512, 1024 or a list like 64x64,48x64 (height x width).")
        buckets.append((int(height), int(width)))
    return buckets


def name(bucket: Bucket) -> str:
    return "text" if tuple(bucket) == TEXT else f"{bucket[0]}x{bucket[1]}"


def named(text: str) -> Bucket:
    """The bucket that `name` calls so."""
    return TEXT if text == "text" else parse(text)[0]


def picture_streams(
    resolution: int | Iterable[Bucket], batch_size: int, shares: dict[Bucket, int] | int = 1, high: int = 0
) -> list[dict]:
    """Config streams of the shape class 'picture', one a bucket.

    Args:
      resolution: 256, 512 or 1024 for the 11 anchors, or the (height, width) buckets themselves.
      batch_size: global rows of a batch, the same for every bucket.
      shares: how many batches of a block come from each bucket; a dict leaves out the buckets that it does not name.
      high: long edge of the pictures' high-resolution copies; 0 for none.
    """
    if isinstance(resolution, int):
        if resolution not in ANCHORS:
            raise DataError(f"resolution: {resolution}, expected one of {sorted(ANCHORS)} or a list of buckets.")
        resolution = ANCHORS[resolution]
    chosen = [(height, width) for height, width in resolution]
    if isinstance(shares, int):
        shares = dict.fromkeys(chosen, shares)
    if unknown := set(shares) - set(chosen):
        raise DataError(f"shares: {sorted(unknown)} are not among the buckets {chosen}.")
    return [
        {"shape_class": "picture", "height": h, "width": w, "batch_size": batch_size, "share": shares[h, w]}
        | ({"high": high} if high else {})
        for h, w in chosen
        if (h, w) in shares
    ]
