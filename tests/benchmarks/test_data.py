# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import json
import math

import numpy as np
import pytest
from PIL import Image

from data_pipelines import transforms
from focus_jax.benchmarks import data


def test_both_sides_run_and_the_shares_add_up(capsys):
    figures = data.main(["--count=12", "--batch-size=4", "--batches=2", "--repeats=1", "--json"])
    assert json.loads(capsys.readouterr().out) == figures
    assert all(math.isfinite(value) for value in figures.values())
    ours, theirs = figures["examples_per_second_and_core"], figures["torch_examples_per_second_and_core"]
    assert min(ours, theirs) > 1 and figures["ratio"] == ours / theirs
    assert sum(figures[f"{part}_share"] for part in ("decode", "transform", "overhead")) == pytest.approx(1)


def test_both_sides_read_the_same_pictures(tmp_path):
    data.write_jpegs(tmp_path, 3)
    files = data.Files(tmp_path)
    assert len(files) == 3
    for i, path in enumerate(sorted(tmp_path.iterdir())):
        with Image.open(path) as image:
            assert image.size == (576, 512)
        rng = np.random.default_rng(i)
        expected = transforms.picture(path.read_bytes(), data.BUCKET, rng=rng, flip=0.5, random_crop=True)
        np.testing.assert_array_equal(files[i].numpy(), expected)
