# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`infer reconstruct --decoder=diffusion` on random weights: whole pictures, twice the size, codes from files."""

import json

import numpy as np
import pytest
from PIL import Image

import focus_jax
from focus_jax import infer
from tests.stages.test_decoder import SIDE, Run


@pytest.fixture(scope="module")
def model():
    return Run("configs/stage1_decoder.py:tiny").model()


@pytest.fixture
def run(model, monkeypatch):
    monkeypatch.setattr(focus_jax, "load", lambda *_, **__: model)

    def call(*argv):
        infer.main(["reconstruct", "--checkpoint=random", "--decoder=diffusion", "--steps=2", *map(str, argv)])

    return call


def test_the_sizes_of_codes(model):
    assert (SIDE, SIDE) in model.drawn_sizes() and (SIDE, SIDE) in model.drawn_sizes(2)
    assert all(side % 8 == 0 for size in model.drawn_sizes() for side in size)


@pytest.mark.slow
def test_whole_pictures_and_files_of_codes(run, tmp_path, capsys):
    picture = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    once, again, twice, stored = (tmp_path / name for name in ("once", "again", "twice", "stored"))
    run(tmp_path / "a.png", f"--output={once}", "--preview=1", "--seed=3")
    run(tmp_path / "a.png", f"--output={again}", "--seed=3")
    read = lambda path: np.asarray(Image.open(path))
    assert read(once / "a.png").shape == picture.shape
    np.testing.assert_array_equal(read(once / "a.png"), read(again / "a.png"))
    assert (once / "a.step001.png").exists() and not (once / "a.step002.png").exists()
    run(once, f"--output={stored}", "--seed=3")  # from the codes alone
    np.testing.assert_array_equal(read(once / "a.png"), read(stored / "a.png"))
    run(tmp_path / "a.png", f"--output={twice}", "--twice", f"--buckets={SIDE}x{SIDE}")
    assert read(twice / "a.png").shape == picture.shape
    (entry,) = json.loads((twice / "reconstruct.json").read_text())["pictures"]
    assert entry["psnr"] is None and entry["bucket"] == [SIDE, SIDE]  # nothing to compare it with


def test_mistakes(run, tmp_path, capsys):
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / "a.png")
    for argv, said in ((("--guidance=0.2",), "guidance: 0.2"), (("--scheduler=heun",), "scheduler: 'heun'")):
        with pytest.raises(SystemExit):
            run(tmp_path / "a.png", f"--output={tmp_path / 'out'}", *argv)
        assert said in capsys.readouterr().err
