# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`infer reconstruct --decoder=diffusion` on random weights: whole pictures, twice the size, codes from files."""

import json

import numpy as np
import pytest
from PIL import Image

import focus_jax
from focus_jax import infer
from focus_jax.errors import UserError
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
def test_whole_pictures_and_files_of_codes(run, model, tmp_path, capsys):
    picture = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    once, again, twice, stored = (tmp_path / name for name in ("once", "again", "twice", "stored"))
    run(tmp_path / "a.png", f"--output={once}", "--preview=1", "--seed=3")
    run(tmp_path / "a.png", f"--output={again}", "--seed=3")
    read = lambda path: np.asarray(Image.open(path))
    assert read(once / "a.png").shape == picture.shape
    np.testing.assert_array_equal(read(once / "a.png"), read(again / "a.png"))
    assert (once / "a.step001.png").exists() and not (once / "a.step002.png").exists()
    again = model.reconstruct(picture, decoder="diffusion", seeds=3, steps=2)
    np.testing.assert_array_equal(read(once / "a.png"), again)
    run(once, f"--output={stored}", "--seed=3")  # from the codes alone
    np.testing.assert_array_equal(read(once / "a.png"), read(stored / "a.png"))
    run(tmp_path / "a.png", f"--output={twice}", "--twice", f"--buckets={SIDE}x{SIDE}")
    assert read(twice / "a.png").shape == picture.shape
    (entry,) = json.loads((twice / "reconstruct.json").read_text())["pictures"]
    assert entry["psnr"] is None and entry["bucket"] == [SIDE, SIDE]  # nothing to compare it with


def test_pictures_of_any_size_from_python(model, monkeypatch):
    """Padded, drawn, cut and resized; a seed each or one for all."""
    asked = []

    def diffuse(codes, size, *, seeds, show, **options):
        asked.append((size, list(seeds), options))
        grey = np.repeat(np.repeat(codes["grey"], size[0] // 4, 1), size[1] // 4, 2)
        return np.stack([grey] * 3, axis=-1)

    def encode(images, high):
        assert len(images) == len(high) and images.shape[1:3] in model.drawn_sizes(2)
        small = lambda x: Image.fromarray(x).convert("L").resize((4, 4), Image.Resampling.BOX)
        return {"grey": np.stack([np.asarray(small(x)) for x in images])}

    monkeypatch.setattr(model, "encode", encode)
    monkeypatch.setattr(model, "diffuse", diffuse)
    pictures = np.stack([np.full((50, 60, 3), x, np.uint8) for x in (40, 200)])
    draw = lambda x, **options: model.reconstruct(x, decoder="diffusion", **options)
    for scale in (1, 2):
        found = draw(pictures, scale=scale, seeds=[3, 4], steps=2)
        assert found.shape == pictures.shape and (found[:, :30, :30] == pictures[:, :30, :30]).all()
        assert draw(pictures[1]).shape == pictures.shape[1:]
        (size, seeds, options), (_, default, _) = asked[-2:]
        assert size[0] % (scale * 8) == 0 and seeds == [3, 4] and options == {"steps": 2} and default == [0]
    assert draw(pictures, seeds=5) is not None and asked[-1][1] == [5, 5]
    for given, said in (
        (dict(scale=3), "scale: 3, expected 1, or 2"),
        (dict(seeds=[1]), "seeds: 1 for 2 images, expected one for all or one each"),
        (dict(guidance=0.0), "guidance: 0.0, expected 1"),
        (dict(high=pictures), "high: given, expected none"),
        (dict(decoder="tokenizer", scale=2), "scale: decoder: 'tokenizer', expected 'tokenizer', without options"),
        (dict(decoder="paint"), "decoder: 'paint', expected 'tokenizer'"),
    ):
        with pytest.raises(UserError, match=said):
            model.reconstruct(pictures, **({"decoder": "diffusion"} | given))


def test_mistakes(run, tmp_path, capsys):
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / "a.png")
    for argv, said in ((("--guidance=0.2",), "guidance: 0.2"), (("--scheduler=heun",), "scheduler: 'heun'")):
        with pytest.raises(SystemExit):
            run(tmp_path / "a.png", f"--output={tmp_path / 'out'}", *argv)
        assert said in capsys.readouterr().err
