# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The loader beside a torch DataLoader: examples per second and core from JPEG pictures to uint8 batches.

  python -m focus_jax.benchmark data [--workers=0 --batches=20 --repeats=5]

Both sides see the same JPEG bytes (576 x 512 pixels, quality 90, cut from the wheels' photographs) and call the same
`data_pipelines.transforms.picture` (decode, LANCZOS to cover, random crop to 256 x 256, flip). Ours reads ArrayRecord
shards through data_pipelines.loader, torch one file a picture through a Dataset that is as short as can be. Repeats are
interleaved and the medians compared; starting workers and filling their buffers is not counted.
"""

import argparse
import collections
import functools
import json
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from data_pipelines import buckets, photographs, transforms
from data_pipelines.loader import Loader
from data_pipelines.prepare import prepare

BUCKET = (256, 256)
_HEIGHT, _WIDTH = 512, 576


def write_jpegs(folder: pathlib.Path, count: int) -> None:
    """`count` different pictures of realistic size: windows of the photographs, resized, as JPEG."""
    rng = np.random.default_rng(0)
    names = sorted(photographs.PHOTOGRAPHS)
    originals = [photographs.load(name) for name in names]
    for i in range(count):
        image = originals[i % len(originals)]
        width = int(min(image.width, image.height * _WIDTH / _HEIGHT) * rng.uniform(0.6, 1))
        height = width * _HEIGHT // _WIDTH
        left, top = rng.integers(0, [image.width - width + 1, image.height - height + 1])
        box = (int(left), int(top), int(left) + width, int(top) + height)
        window = image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS, box=box)
        window.save(folder / f"{i:05d}.jpg", "JPEG", quality=90)


class Files:
    """The torch side's Dataset (a map-style one needs only these two methods)."""

    def __init__(self, folder: pathlib.Path):
        self._paths = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int):
        import torch

        data = self._paths[index].read_bytes()
        rng = np.random.default_rng(index)
        picture = transforms.picture(data, BUCKET, rng=rng, flip=0.5, random_crop=True)
        return torch.from_numpy(np.array(picture))


def _torch_batches(folder: pathlib.Path, batch_size: int, workers: int) -> Iterator:
    import torch

    options = {"multiprocessing_context": "spawn", "prefetch_factor": 2, "persistent_workers": True} if workers else {}
    loader = torch.utils.data.DataLoader(
        Files(folder), batch_size=batch_size, shuffle=True, drop_last=True, num_workers=workers, **options
    )
    while True:
        yield from loader


def _our_batches(loader: Loader) -> Iterator:
    with loader.iter_from(0) as batches:
        yield from batches


def _seconds(batches: Iterator, count: int, warm_up: int) -> float:
    """Seconds for `count` batches once the buffers are in their steady state."""
    for _ in range(warm_up):
        next(batches)
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    return time.perf_counter() - start


def _parts(folder: pathlib.Path, examples: int) -> dict[str, float]:
    """Seconds an example takes to decode, and to decode and transform, in one thread with the bytes in memory."""
    data = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    data = [data[i % len(data)] for i in range(examples)]
    start = time.perf_counter()
    for item in data:
        transforms.decode(item)
    middle = time.perf_counter()
    for i, item in enumerate(data):
        rng = np.random.default_rng(i)
        transforms.picture(item, BUCKET, rng=rng, flip=0.5, random_crop=True)
    end = time.perf_counter()
    return {"decode": (middle - start) / examples, "picture": (end - middle) / examples}


def run(
    *, count: int = 1024, batch_size: int = 32, workers: int = 0, batches: int = 20, repeats: int = 5
) -> dict[str, float]:
    """Measures both sides.

    Args:
      count: pictures; batch_size: rows of a batch.
      workers: processes of either side; 0 compares one core with one core, everything in the calling thread.
      batches: timed a repeat.

    Returns:
      examples_per_second_and_core and the torch_ one, ratio (ours / torch; above 1 is faster), decode_share and
      transform_share (of the loader's time an example; measured alone, in one thread), overhead_share (the rest:
      reading, shuffling, mixing, batching, passing between processes), and the sizes of the measurement.
    """
    cores = min(workers, os.cpu_count() or 1) or 1
    with tempfile.TemporaryDirectory() as scratch:
        folder, shards = pathlib.Path(scratch) / "pictures", pathlib.Path(scratch) / "shards"
        folder.mkdir()
        write_jpegs(folder, count)
        prepare("folder", folder, shards, buckets=(BUCKET,), near=-1)
        steps = (batches + 4 + 4 * workers) * (repeats + 1)
        config = {
            "sources": [{"name": "jpeg", "path": str(shards), "weight": 1.0}],
            "phases": [{"steps": steps, "streams": buckets.picture_streams([BUCKET], batch_size)}],
            "random_crop": True,
            "workers": workers,
            "threads": 1 if workers else 0,
            "prefetch": 2,
        }
        seconds = collections.defaultdict(list)
        with Loader(config, 0) as loader:
            sides = {
                "ours": functools.partial(_our_batches, loader),
                "torch": functools.partial(_torch_batches, folder, batch_size, workers),
            }
            for repeat in range(repeats):
                for side in sorted(sides, reverse=repeat % 2 == 1):  # each goes first half of the time
                    iterator = sides[side]()
                    seconds[side].append(_seconds(iterator, batches, 1 + 4 * workers))
                    iterator.close()
                for name, value in _parts(folder, batches * batch_size // 4).items():
                    seconds[name].append(value)
    ours, theirs = (batches * batch_size / statistics.median(seconds[side]) / cores for side in ("ours", "torch"))
    decode, picture = statistics.median(seconds["decode"]), statistics.median(seconds["picture"])
    return {
        "examples_per_second_and_core": ours,
        "torch_examples_per_second_and_core": theirs,
        "ratio": ours / theirs,
        "decode_share": decode * ours,
        "transform_share": (picture - decode) * ours,
        "overhead_share": 1 - picture * ours,
        "count": count,
        "batch_size": batch_size,
        "workers": workers,
        "batches": batches,
        "repeats": repeats,
    }


def main(argv: list[str]) -> dict[str, float]:
    """Prints the figures of `run` and returns them."""
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.benchmark data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=1024, help="pictures")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0, help="processes of either side; 0: one core each")
    parser.add_argument("--batches", type=int, default=20, help="timed a repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = vars(parser.parse_args(argv))
    as_json = args.pop("json")
    figures = run(**args)
    if as_json:
        print(json.dumps(figures, indent=1))
        return figures
    print(f"from shards {figures['examples_per_second_and_core']:8.1f} examples per second and core")
    print(f"torch       {figures['torch_examples_per_second_and_core']:8.1f} examples per second and core")
    print(f"ratio       {figures['ratio']:8.3f} (goal 1.0)")
    shares = [f"{part} {figures[part + '_share']:.1%}" for part in ("decode", "transform", "overhead")]
    print("time        " + ", ".join(shares))
    return figures
