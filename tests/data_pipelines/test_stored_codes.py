# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Codes stored by `prepare codes` and read back by the loader: of the right records and of the right tokenizer."""

import json
import shutil

import numpy as np
import pytest

from data_pipelines import codes, prepare, rows, shards
from data_pipelines import loader as loader_lib
from data_pipelines.errors import DataError
from data_pipelines.example import Codes, Example, Image
from data_pipelines.loader import Loader
from data_pipelines.schedule import Schedule
from data_pipelines.shards import Shards
from tests.data_pipelines.fake_tokenizer import FakeTokenizer, run
from tests.data_pipelines.pictures import encoded, noise

STREAM = {"shape_class": "codes", "height": 32, "width": 40, "batch_size": 4, "share": 1}
GRIDS = {"semantic_grid": [2, 2], "pixel_grid": (4, 5)}


def config(path, stream=None, **changes):
    given = [{"name": "codes", "path": str(path)}]
    phases = [{"steps": 3, "streams": [STREAM | GRIDS if stream is None else stream]}]
    return {"sources": given, "validation": given, "phases": phases, "flip": 0.0, "threads": 0, "prefetch": 0} | changes


def test_rows_hold_the_codes_of_their_picture(stored):
    with Loader(config(stored), 0) as loader:
        assert loader.stores_codes
        loader.check_codes("0123456789abcdef")
        for batches in (loader.iter_from(0), loader.once()):
            _, _, batch = next(iter(batches))
            assert batch["pixel_codes"].shape == (4, 4, 5) and batch["semantic_codes"].shape == (4, 2, 2)
            assert batch["pixel_codes"].dtype == np.int32 and "high" not in batch
            direct = FakeTokenizer().encode(batch["image"])["pixel"]
            counts = batch["weight"] == 1
            assert counts.any() and (direct[counts] == batch["pixel_codes"][counts]).all()
    high = STREAM | {"high": 96, "pixel_grid": [4, 5]}  # what the tokenizer read, and one branch alone
    with Loader(config(stored, high), 0) as loader:
        _, _, batch = next(iter(loader.iter_from(0)))
    found = FakeTokenizer(96).encode(batch["image"], batch["high"])
    np.testing.assert_array_equal(found["pixel"], batch["pixel_codes"])
    assert "semantic_codes" not in batch


def test_a_source_without_records_of_a_bucket_takes_no_part(source, tmp_path):
    """Pictures of one size without codes beside codes of another: each stream reads the sources it has."""
    run(FakeTokenizer(), source, tmp_path / "codes", [(32, 40)])
    prepare.prepare("folder", source.parent / "pictures", tmp_path / "pictures", buckets=((32, 32),), max_crop_loss=0.1)
    both = [{"name": name, "path": str(tmp_path / name)} for name in ("pictures", "codes")]
    streams = [STREAM | GRIDS, STREAM | {"shape_class": "picture", "width": 32}]
    phases = [{"steps": 4, "streams": streams}]
    with Loader(config("", sources=both, validation=both, phases=phases), 0) as loader:
        loader.check_codes("0123456789abcdef")
        said = loader.summary()
        assert "codes 32x40" in said[0] and said[0].endswith(": codes 4 records")
        assert "picture 32x32" in said[1] and said[1].endswith(": pictures 7 records")
        assert {batch["image"].shape[2] for _, _, batch in loader.once()} == {32, 40}


class Object:
    """A source in memory: a prepared directory's, with a fingerprint of its codes or without."""

    def __init__(self, records, **fields):
        self.name, self.fingerprint, self._records = "object", "0", records
        vars(self).update(fields)

    def __len__(self):
        return len(self._records)

    def __getitem__(self, index):
        return self._records[index]


def test_sources_in_memory_say_whose_codes_they_hold(stored):
    def opened(**fields):
        given = config("", sources=[{"name": "object"}], validation=[])
        make = lambda split, stream: Object(Shards(stored, split, (32, 40)), **fields)
        return Loader(given, 0, objects={"object": make})

    with pytest.raises(DataError, match="data.sources: 'object' has no codes_fingerprint, expected one for streams"):
        opened()
    with pytest.raises(DataError, match="^object: stores codes of the tokenizer e{16}, expected those of f{16}"):
        opened(codes_fingerprint="e" * 16).check_codes("f" * 16)
    with opened(codes_fingerprint="f" * 16) as loader:
        loader.check_codes("f" * 16)
        assert next(iter(loader.iter_from(0)))[2]["pixel_codes"].any()


def test_pictures_are_read_from_it_as_from_any_other(source, stored):
    stream = {**STREAM, "shape_class": "picture", "width": 32, "height": 32}
    loaders = [Loader(config(path, stream, flip=0.5), 0) for path in (source, stored)]
    assert not loaders[1].stores_codes
    batches = [next(iter(loader.iter_from(0)))[2] for loader in loaders]
    np.testing.assert_array_equal(batches[0]["image"], batches[1]["image"])


def test_codes_of_another_tokenizer_are_refused(source, stored, tmp_path):
    with pytest.raises(DataError) as refused:
        Loader(config(stored), 0).check_codes("f" * 16)
    for words in (str(stored), "0123456789abcdef", "f" * 16, "prepare the codes again"):
        assert words in str(refused.value)
    run(FakeTokenizer(fingerprint="e" * 16), source, tmp_path / "other")
    held_out = [{"name": "held out", "path": str(tmp_path / "other")}]
    loader = Loader(config(stored, validation=held_out), 0)
    with pytest.raises(
        DataError, match="other: stores codes of the tokenizer e{16}, expected those of 0123456789abcdef"
    ):
        loader.check_codes("0123456789abcdef")
    loader = Loader(config(stored, validation=[{"name": "held out", "path": str(source)}]), 0)
    with pytest.raises(DataError, match="prepared: stores no codes"):
        loader.check_codes("0123456789abcdef")


def test_codes_that_are_not_there(source, stored, tmp_path):
    with pytest.raises(
        DataError, match="prepared: stores no codes, expected some for streams of shape class codes; pyth"
    ):
        Loader(config(source), 0)
    assert len(Shards(source, "train", (64, 48), grids={"pixel": (8, 6)})) == 0  # no records, no codes
    drawn = [{"name": "world", "path": "", "reader": "world", "options": {"preset": "easy"}}]
    with pytest.raises(DataError, match="data.sources: 'world' has no path, expected a prepared directory"):
        Loader(config(stored, sources=drawn), 0)
    smaller = STREAM | {"height": 16, "width": 20, "pixel_grid": (2, 2)}
    with pytest.raises(
        DataError, match="codes of pictures of 32x40, expected 16x20: codes serve no other size; .* --buckets=16x20"
    ):
        Loader(config(stored, smaller), 0)
    with pytest.raises(DataError, match="has no train records for bucket 64x48"):
        Loader(config(stored, STREAM | {"height": 64, "width": 48, "pixel_grid": (8, 6)}), 0)
    with pytest.raises(
        DataError, match="grid of pixel codes at 32x40 is 4 x 5, expected 5 x 4 as the stream's pixel_grid"
    ):
        Loader(config(stored, STREAM | {"pixel_grid": (5, 4)}), 0)
    for change, said in (
        ({"flip": 0.5}, "flip: is 0.5, expected 0.0"),
        ({"random_crop": True}, "crop: is True, expected F"),
    ):
        with pytest.raises(DataError, match=f"{said}.* with streams of shape class codes"):
            Loader(config(stored, **change), 0)
    shutil.copytree(stored, tmp_path / "cut")
    manifest = json.loads((tmp_path / "cut" / "manifest.json").read_text())
    del manifest["codes"]["grids"]
    (tmp_path / "cut" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="is not a manifest .*'grids'"):
        Loader(config(tmp_path / "cut"), 0)


def test_a_record_of_another_tokenizer_is_bad(stored, tmp_path):
    shutil.copytree(stored, tmp_path / "mixed")
    manifest = json.loads((tmp_path / "mixed" / "manifest.json").read_text())
    manifest["codes"]["fingerprint"] = "e" * 16
    (tmp_path / "mixed" / "manifest.json").write_text(json.dumps(manifest))
    found = Shards(tmp_path / "mixed", "train", (32, 40), grids={"pixel": (4, 5)})
    said = r"\.png: its codes are of the tokenizer 0123456789abcdef, expected e{16} as in .*mixed/manifest.json\.$"
    with pytest.raises(DataError, match=said):
        found[0]
    assert Shards(tmp_path / "mixed", "train", (32, 40))[0].codes is not None  # read for its picture


def test_a_manifest_is_read_once(stored, tmp_path, monkeypatch):
    read, opened = shards.read_manifest, []

    def count(directory):
        opened.append(str(directory))
        return read(directory)

    for module in (shards, loader_lib):
        monkeypatch.setattr(module, "read_manifest", count)
    streams = [STREAM | GRIDS, STREAM | {"shape_class": "picture", "width": 32}]
    loader = Loader(config(stored, phases=[{"steps": 4, "streams": streams}]), 0)
    loader.check_codes("0123456789abcdef")
    loader.once().close()
    assert opened == [str(stored)]
    assert len(codes.plan(stored).tasks) == 4 and len(opened) == 2


@pytest.mark.parametrize(
    "found, sentence",
    [
        (None, "one: has no pixel codes, expected those of `data_pipelines.prepare codes`"),
        (Codes(fingerprint="f", semantic=np.zeros((2, 2), np.int32)), "one: has no pixel codes"),
        (Codes(fingerprint="f", pixel=np.zeros((4, 4), np.int32)), r"codes are int32\[4, 4\], expected int32\[4, 5\]"),
        (Codes(fingerprint="f", pixel=np.zeros((4, 5), np.int64)), r"codes are int64\[4, 5\], expected int32\[4, 5\]"),
    ],
)
def test_records_without_these_codes(found, sentence):
    example = Example(id="one", images=[Image(data=encoded(noise(32, 40)), width=40, height=32)], codes=found)
    with pytest.raises(DataError, match=sentence):
        rows.row(example, STREAM | {"pixel_grid": [4, 5]})


@pytest.mark.parametrize(
    "stream, sentence",
    [
        (STREAM, r"streams\[0\]: expected semantic_grid or pixel_grid with the shape classes codes and latents, and"),
        (STREAM | GRIDS | {"shape_class": "picture"}, "with the shape classes codes and latents, and with no other"),
        (STREAM | {"pixel_grid": 4}, r"pixel_grid: is 4, expected two positive ints, \(h, w\)"),
        (STREAM | {"pixel_grid": (4, 0)}, r"pixel_grid: is \(4, 0\), expected two positive ints"),
        (STREAM | {"semantic_grid": (4, 4, 4)}, "semantic_grid: is .* expected two positive ints"),
    ],
)
def test_bad_grids(stream, sentence):
    with pytest.raises(DataError, match=sentence):
        Schedule([{"steps": 1, "streams": [stream]}], 0)


def test_a_run_asks_its_stage_for_the_tokenizer(stored, tmp_path, monkeypatch):
    from focus_jax import stages
    from focus_jax.training import config as config_lib
    from focus_jax.training import loop
    from tests.training.tiny_stage import TinyStage, tiny_config

    class Reached(Exception):
        """The run has got past the check."""

    class Stage(TinyStage):
        fingerprint = ""

        def codes_fingerprint(self, params):
            assert params["tokenizer"]["pixel"]["dense"]["kernel"].shape == (16, 16)
            return self.fingerprint

        def notes(self):
            raise Reached

    c = config_lib.load("configs/ablations.py:no_semantic_branch_tiny")
    small = tiny_config()
    with c.unlocked():
        for field in ("assign", "groups", "init"):
            del c[field]
            c[field] = small[field]
    c.compile_cache, c.data = "", config(stored, STREAM | GRIDS | {"batch_size": 8})
    monkeypatch.setattr(config_lib, "validate", lambda *_: None)  # no stage trains on codes yet, so it would refuse
    monkeypatch.setattr(stages, "create", lambda _: Stage())
    Stage.fingerprint = "f" * 16
    with pytest.raises(DataError, match="stores codes of the tokenizer 0123456789abcdef, expected those of f{16}"):
        loop.train(c, tmp_path / "run")
    Stage.fingerprint = "0123456789abcdef"
    with pytest.raises(Reached):
        loop.train(c, tmp_path / "run")
