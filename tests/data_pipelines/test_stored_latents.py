# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Codes at a share of the sides and an autoencoder's latents: written beside each other, read back, refused."""

import numpy as np
import pytest

from configs import models
from data_pipelines import codes, loader, prepare, rows, shards
from data_pipelines.errors import DataError
from data_pipelines.shards import Shards
from tests.data_pipelines.fake_tokenizer import FakeTokenizer
from tests.data_pipelines.pictures import encoded, noise

SHAPE = (8, 8, 4)


class FakeAutoencoder:
    """Blocks of 4 x 4 pixels: their sums in the first channels, row and column in the others."""

    label = "fake"

    def __init__(self, fingerprint="fedcba9876543210"):
        self.fingerprint = fingerprint

    def shape(self, height, width):
        if height % 4 or width % 4:
            raise DataError(f"--latents: images: {height} x {width} pixels.")
        return height // 4, width // 4, 4

    def encode(self, images):
        b, h, w, _ = images.shape
        blocks = images.reshape(b, h // 4, 4, w // 4, 4, 3).mean((2, 4))
        return np.concatenate([blocks, blocks[..., :1] * 0 + 1], -1).astype(np.float16) / 256


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    (folder / "pictures").mkdir()
    for i in range(6):
        (folder / "pictures" / f"{i}.png").write_bytes(encoded(noise(32, 32, i)))
    prepare.prepare("folder", folder / "pictures", folder / "prepared", buckets=((32, 32),), validation=0.34)
    return folder / "prepared"


def written(source, output, tokens=0.5, autoencoder=None, fingerprint="0123456789abcdef"):
    planned = codes.plan(source)
    made = FakeTokenizer(fingerprint=fingerprint)
    return codes.prepare_codes(
        made, planned, output, batch=4, threads=2, tokens=tokens, autoencoder=autoencoder or FakeAutoencoder()
    )


@pytest.fixture(scope="module")
def stored(source):
    output = source.parent / "stored"
    written(source, output)
    return output


def stream(**change):
    base = {"shape_class": "latents", "height": 32, "width": 32, "batch_size": 2, "share": 1, "tokens": 0.5}
    return base | {"semantic_grid": (2, 2), "pixel_grid": (2, 2), "latents": SHAPE} | change


def config(*paths, streams=None, **change):
    sources = [{"name": f"s{i}", "path": str(path), "weight": 1.0} for i, path in enumerate(paths)]
    base = {"sources": sources, "validation": sources, "phases": [{"steps": 2, "streams": streams or [stream()]}]}
    return base | {"flip": 0.0, "random_crop": False, "workers": 0, "threads": 1} | change


def test_codes_of_the_small_picture_and_latents_of_the_whole(stored):
    found = Shards(stored, "train", (32, 32), grids={"pixel": (2, 2)}, latents=SHAPE)
    example = found[0]
    assert example.codes.pixel.shape == (2, 2) and example.latents.values.shape == SHAPE
    row = rows.row(example, stream())
    assert set(row) == {"semantic_codes", "pixel_codes", "latents"} == set(rows.fields(stream()))
    assert row["latents"].dtype == np.float16 and found.latents_fingerprint == "fedcba9876543210"
    picture = rows.row(example, {"shape_class": "picture", "height": 32, "width": 32, "tokens": 0.5})
    np.testing.assert_array_equal(FakeTokenizer().encode(picture["low"][None])["pixel"][0], example.codes.pixel)
    np.testing.assert_array_equal(FakeAutoencoder().encode(picture["image"][None])[0], example.latents.values)


def test_streams_read_the_directories_of_their_share(source, stored, tmp_path):
    whole = tmp_path / "whole"
    written(source, whole, tokens=1.0)
    both = [stream(), stream(tokens=1.0, pixel_grid=(4, 4))]
    with loader.Loader(config(stored, whole, streams=both), 0) as data:
        data.check_codes("0123456789abcdef", "fedcba9876543210")
        with pytest.raises(DataError, match="stores latents of the autoencoder fedcba9876543210, expected those of x"):
            data.check_codes("0123456789abcdef", "x")
    with pytest.raises(
        DataError, match=r"has no train records .*, with codes at 1 of the sides \(prepare codes --tokens=1\)"
    ):
        loader.Loader(config(stored, streams=[stream(tokens=1.0, pixel_grid=(4, 4))]), 0)


def test_another_job_is_refused(source, stored, tmp_path):
    assert written(source, stored) == shards.read_manifest(stored)  # finished: left alone
    with pytest.raises(DataError, match="other options"):
        written(source, stored, tokens=1.0)
    with pytest.raises(DataError, match="other options"):
        written(source, stored, autoencoder=FakeAutoencoder("f" * 16))
    with pytest.raises(DataError, match="tokens is 0, expected a share"):
        written(source, tmp_path / "other", tokens=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(latents=(8, 8, 6)), "latents at 32x32 are 8 x 8 x 4, expected 8 x 8 x 6"),
        (dict(pixel_grid=(4, 4)), "the grid of pixel codes at 32x32 is 2 x 2, expected 4 x 4"),
        (dict(latents=(8, 8)), "latents: is .*, expected three positive ints"),
        (dict(shape_class="codes"), "expected latents with the shape class latents"),
    ],
)
def test_streams_that_do_not_fit(stored, change, said):
    with pytest.raises(DataError, match=said):
        loader.Loader(config(stored, streams=[stream(**change)]), 0)


def test_damaged_latents(stored):
    found = Shards(stored, "train", (32, 32), grids={"pixel": (2, 2)}, latents=SHAPE)
    example = found[0]
    example.latents.values = example.latents.values[:4]
    with pytest.raises(DataError, match=r"latents are float16\[4, 8, 4\], expected float16\[8, 8, 4\]"):
        rows.row(example, stream())
    example.latents = None
    with pytest.raises(DataError, match="has no latents"):
        rows.row(example, stream())


def test_streams_of_size_tables():
    c = models.latents_stream(models.tokenizer("full"), models.vae("full"), (640, 1920), 128, 1, 0.5)
    assert (c["pixel_grid"], c["semantic_grid"], c["latents"]) == ((20, 60), (11, 33), (80, 240, 8))
