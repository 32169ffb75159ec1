# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Codes stored by `prepare codes` and read back by the loader: the right ones, once, and of the right tokenizer."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines import buckets, codes, prepare, rows, shards, show
from data_pipelines.errors import DataError
from data_pipelines.example import SCHEMA_VERSION, Codes, Example, Image
from data_pipelines.example import encode as encode_example
from data_pipelines.loader import Loader
from data_pipelines.schedule import Schedule
from data_pipelines.shards import Shards
from tests.data_pipelines.fake_tokenizer import FakeTokenizer
from tests.data_pipelines.pictures import encoded, noise
from tests.data_pipelines.test_prepare import tree

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUCKETS = ((32, 32), (32, 40))
ASKED = {"batch": 4, "threads": 2}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Prepared: 7 square pictures and 4 wide ones for training, 1 and 3 held out, none of a bucket's size."""
    top = tmp_path_factory.mktemp("codes")
    for i in range(15):
        path = top / "pictures" / ("validation" if i % 4 == 3 or i == 4 else "train") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(noise(70, 71 + 16 * (i % 2), i)))
    prepare.prepare("folder", top / "pictures", top / "prepared", buckets=BUCKETS)
    return top / "prepared"


@pytest.fixture(scope="module")
def stored(source, tmp_path_factory):
    """The same with codes of the fake tokenizer that reads high-resolution pictures."""
    output = tmp_path_factory.mktemp("stored") / "codes"
    codes.prepare_codes(FakeTokenizer(high=96), source, output, **ASKED)
    return output


def picture(bucket, high=0):
    return {"shape_class": "picture", "height": bucket[0], "width": bucket[1], "high": high}


def expected(example, bucket, tokenizer):
    """Codes of one record by themselves, of the row that a stream of pictures has."""
    row = rows.row(example, picture(bucket, tokenizer.high))
    found = tokenizer.encode(row["image"][None], row["high"][None] if tokenizer.high else None)
    return Codes(fingerprint=tokenizer.codes_fingerprint, semantic=found["semantic"][0], pixel=found["pixel"][0])


@pytest.mark.parametrize("high", [0, 96])
def test_codes_are_those_of_the_pictures_that_training_sees(source, tmp_path, high):
    tokenizer, output = FakeTokenizer(high), tmp_path / "codes"
    manifest = codes.prepare_codes(tokenizer, source, output, **ASKED)
    had = shards.read_manifest(source)
    assert manifest["records"] == had["records"] and manifest["bad"] == 0
    assert manifest == shards.read_manifest(output)
    grids = {"32x32": {"semantic": [2, 2], "pixel": [4, 4]}, "32x40": {"semantic": [2, 2], "pixel": [4, 5]}}
    assert manifest["codes"] == {
        "fingerprint": tokenizer.codes_fingerprint, "label": "fake", "form": "focus", "compute_dtype": "float32",
        "high": high, "grids": grids,
    }  # fmt: skip
    assert {shape[0] for shape in tokenizer.shapes} == {4}  # one shape a bucket, the last batch filled up
    for split, found in had["splits"].items():
        for name in found:
            bucket = buckets.parse(name)[0]
            before, after = Shards(source, split, bucket), Shards(output, split, bucket)
            assert len(before) == len(after) > 0
            for i in range(len(before)):
                example = before[i]
                example.codes = expected(before[i], bucket, FakeTokenizer(high))
                assert after[i] == example  # picture, size, split and all


def test_a_larger_bucket_serves_and_splits_are_chosen(source, tmp_path):
    chosen = {"buckets": [(16, 16), (16, 48)], "splits": ["validation"]}
    manifest = codes.prepare_codes(FakeTokenizer(), source, tmp_path / "codes", **chosen, **ASKED)
    assert manifest["records"] == {
        "validation": {"16x16": shards.read_manifest(source)["records"]["validation"]["32x32"]}
    }
    example = Shards(tmp_path / "codes", "validation", (16, 16))[0]
    assert example.codes == expected(example, (16, 16), FakeTokenizer())


def test_what_the_source_let_pass_passes(tmp_path):
    """The source's own --max-crop-loss counts, also when codes are made of a directory that has codes."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "wide.png").write_bytes(encoded(noise(32, 56)))
    prepare.prepare("folder", tmp_path / "pictures", tmp_path / "a", buckets=((32, 32),), max_crop_loss=0.5)
    for source, output in ("a", "b"), ("b", "c"):
        made = codes.prepare_codes(FakeTokenizer(), tmp_path / source, tmp_path / output, **ASKED)
        assert made["records"] == {"train": {"32x32": 1}} and made["bad"] == 0


def test_a_finished_output_is_left_alone_and_another_job_refused(source, stored, tmp_path):
    before, idle = tree(stored), FakeTokenizer(high=96)
    assert codes.prepare_codes(idle, source, stored, **ASKED) == shards.read_manifest(stored)
    assert tree(stored) == before and not idle.shapes
    with pytest.raises(
        DataError, match=r"holds data of another source or other options \(tokenizer\), expected an empt"
    ):
        codes.prepare_codes(FakeTokenizer(high=96, fingerprint="f" * 16), source, stored, **ASKED)
    with pytest.raises(DataError, match=r"other options \(options\)"):
        codes.prepare_codes(FakeTokenizer(high=96), source, stored, batch=5)
    with pytest.raises(DataError, match=r"other options \(source\)"):
        codes.prepare_codes(FakeTokenizer(high=96), source, stored, splits=["train"], **ASKED)
    with pytest.raises(DataError, match="prepared: holds data of another source or other options"):
        codes.prepare_codes(FakeTokenizer(), source, source, **ASKED)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("")
    with pytest.raises(DataError, match="full: holds notes.txt, expected an empty or new directory"):
        codes.prepare_codes(FakeTokenizer(), source, tmp_path / "full", **ASKED)


@pytest.mark.parametrize("call, whole_shards, again", [(2, 0, 5), (3, 1, 3), (5, 3, 1)])
def test_killed_and_started_again(source, stored, tmp_path, call, whole_shards, again):
    """SIGKILL inside the first shard of two batches, and after one and three of the four: whole shards or none."""
    output = tmp_path / "codes"
    code = (
        "import sys; from data_pipelines import codes; from tests.data_pipelines.fake_tokenizer import FakeTokenizer;"
        f"codes.prepare_codes(FakeTokenizer(96, kill_at={call}), sys.argv[1], sys.argv[2], batch=4, threads=2)"
    )
    done = subprocess.run([sys.executable, "-c", code, source, output], cwd=ROOT)
    assert done.returncode == -9
    whole, left = tree(stored), tree(output)
    finished = [name for name in left if name.endswith(".arrayrecord") and "partial" not in name]
    assert "manifest.json" not in left and len(finished) == whole_shards
    assert all(left[name] == whole[name] for name in finished)
    with pytest.raises(DataError, match="holds an interrupted run of another source or other options .tokenizer."):
        codes.prepare_codes(FakeTokenizer(96, "f" * 16), source, output, **ASKED)
    second = FakeTokenizer(96)
    codes.prepare_codes(second, source, output, **ASKED)
    assert tree(output) == whole
    assert len(second.shapes) == again  # what was whole is not encoded again


def test_they_are_shown(stored, tmp_path):
    (example,) = show.load(stored, "train", 1)
    assert any(line.startswith("codes of 0123456789ab: semantic (2, 2)") for line in show._lines(example))
    assert show.main([str(stored), f"--output={tmp_path / 'sheet.png'}", "--count=2"]) == 0


# ------------------------------------------------------------------------------------------------------- bad input
def prepared_by_hand(folder, examples):
    """A prepared directory of one shard, whatever its records are."""
    writer = shards.Writer(folder / "train" / "32x32" / "00000.arrayrecord")
    for example in examples:
        writer.write(encode_example(example))
    entry = {"file": "train/32x32/00000.arrayrecord"} | writer.close()
    shards.write_json(
        folder / "manifest.json", {"schema_version": SCHEMA_VERSION, "splits": {"train": {"32x32": [entry]}}}
    )


def test_pictures_that_cannot_be_encoded(tmp_path):
    whole = encoded(noise(32, 32))
    data = {"a": whole, "cut": whole[:60], "b": whole, "long": encoded(noise(32, 90)), "c": whole}
    examples = [Example(id=key, images=[Image(data=d, width=32, height=32)]) for key, d in data.items()]
    prepared_by_hand(tmp_path / "source", examples)
    output = tmp_path / "codes"
    with pytest.raises(DataError, match="2 bad records, expected at most --bad-budget=1; the last one: long: 90 x 32"):
        codes.prepare_codes(FakeTokenizer(), tmp_path / "source", output, bad_budget=1)
    idle = FakeTokenizer()  # a higher budget on the run that failed: nothing is encoded again
    assert codes.prepare_codes(idle, tmp_path / "source", output, bad_budget=2)["bad"] == 2 and not idle.shapes
    found = Shards(output, "train", (32, 32))
    assert [found[i].id for i in range(len(found))] == ["a", "b", "c"]
    lines = [json.loads(line) for line in (output / "bad_records.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == ["cut", "long"] and "cannot be decoded" in lines[0]["reason"]
    prepared_by_hand(tmp_path / "none", examples[1:2])
    with pytest.raises(DataError, match="none: no record is left, expected some; the last bad one: cut: cannot"):
        codes.prepare_codes(FakeTokenizer(), tmp_path / "none", tmp_path / "no", bad_budget=1)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"splits": ["dev"]}, "prepared: has no split 'dev', expected some of train, validation"),
        ({"buckets": [(48, 16)]}, "prepared: no record serves buckets 48x16, expected some of its own: 32x32, 32x40"),
        ({"buckets": [(20, 20)]}, "20 x 20 pixels, expected multiples of the stride 8"),
        ({"batch": 0}, "codes: batch is 0, threads 4, bad budget 0, expected at least 1, 1 and 0"),
    ],
)
def test_bad_options(source, tmp_path, options, sentence):
    with pytest.raises(DataError, match=sentence):
        codes.prepare_codes(FakeTokenizer(), source, tmp_path / "codes", **options)
    assert not (tmp_path / "codes").exists()


# -------------------------------------------------------------------------------------------------------- the loader
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
    codes.prepare_codes(FakeTokenizer(fingerprint="e" * 16), source, tmp_path / "other", **ASKED)
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
        (STREAM, r"streams\[0\]: expected semantic_grid or pixel_grid with the shape class codes, and with no other"),
        (STREAM | GRIDS | {"shape_class": "picture"}, "with the shape class codes, and with no other"),
        (STREAM | {"pixel_grid": 4}, r"pixel_grid: is 4, expected two positive ints, \(h, w\)"),
        (STREAM | {"pixel_grid": (4, 0)}, r"pixel_grid: is \(4, 0\), expected two positive ints"),
        (STREAM | {"semantic_grid": (4, 4, 4)}, "semantic_grid: is .* expected two positive ints"),
    ],
)
def test_bad_grids(stream, sentence):
    with pytest.raises(DataError, match=sentence):
        Schedule([{"steps": 1, "streams": [stream]}], 0)


# ---------------------------------------------------------------------------------- runs, and a tokenizer of our own
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


@pytest.fixture(scope="module")
def tokenizer_run(tmp_path_factory):
    """A safetensors file of a small tokenizer of both branches in the form focus."""
    from focus_jax.models.dual_tokenizer import dual_tokenizer
    from focus_jax.training import config as config_lib
    from focus_jax.training import parts, store
    from tests.models.fill import random_parameters
    from tests.training.small_tokenizer import HIGH, SIZE, shrink

    c = config_lib.load("configs/stage1_tokenizer.py:tiny")
    shrink(c)
    images, high = (np.zeros((1, side, side, 3), np.float32) for side in (SIZE, HIGH))
    params = random_parameters(dual_tokenizer(**c.model.tokenizer), images, high)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.safetensors"
    store.save_safetensors(path, parts.flatten({"tokenizer": params}), c)
    return path


def test_the_command(tokenizer_run, source, tmp_path, capsys):
    output = tmp_path / "codes"
    command = ["codes", f"--tokenizer={tokenizer_run}", f"--source={source}", f"--output={output}"]
    command += ["--buckets=32x32", "--splits=train", "--batch=8"]
    assert prepare.main(command) == 0
    said = capsys.readouterr().out
    tokenizer = codes.Loaded(str(tokenizer_run), "ema")
    assert f"codes of {tokenizer.codes_fingerprint}; bad: 0; written to {output}" in said
    manifest = shards.read_manifest(output)["codes"]
    assert manifest["form"] == "focus" and manifest["high"] == 32 and manifest["branches"] == ["semantic", "pixel"]
    assert manifest["grids"] == {"32x32": {"semantic": [4, 4], "pixel": [8, 8]}}
    found = Shards(output, "train", (32, 32))
    made = [rows.row(found[i], picture((32, 32), 32)) for i in range(len(found))]
    made += made[-1:]  # 7, filled up to the batch
    direct = tokenizer.encode(np.stack([r["image"] for r in made]), np.stack([r["high"] for r in made]))
    assert len(np.unique(direct["pixel"])) > 1 and len(np.unique(direct["semantic"])) > 1
    for i in range(len(found)):
        for branch in direct:
            np.testing.assert_array_equal(getattr(found[i].codes, branch), direct[branch][i])
    before = tree(output)
    assert prepare.main(command) == 0 and tree(output) == before


def test_mistakes_on_the_command_line(tokenizer_run, source, tmp_path, capsys):
    def refusal(**changes):
        options = {"tokenizer": tokenizer_run, "source": source, "output": tmp_path / "no"} | changes
        assert prepare.main(["codes", *(f"--{name}={value}" for name, value in options.items())]) == 2
        error = capsys.readouterr().err
        assert error.startswith("prepare: ") and error.count("\n") == 1 and not (tmp_path / "no").exists()
        return error

    assert "nowhere is not a run directory, an Orbax step directory or a .safet" in refusal(tokenizer="nowhere")
    assert "this model has no tokenizer; its parts are" in refusal(tokenizer=ROOT / "assets" / "vit.safetensors")
    assert "manifest.json: is missing, expected a directory that `data_pipelines.prep" in refusal(source=tmp_path)
    assert "10 x 10 pixels, expected multiples of the stride" in refusal(buckets="10x10")
    assert "buckets: '64', expected 256, 512 or a list like" in refusal(buckets="64")


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        prepare.main(["codes", "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "python -m data_pipelines.prepare codes --tokenizer=" in text
    for option in ("--tokenizer", "--buckets", "--splits", "--batch", "--weights", "--bad-budget"):
        assert option in text
    with pytest.raises(SystemExit):
        prepare.main(["--help"])
    assert "python -m data_pipelines.prepare codes --tokenizer=RUN" in capsys.readouterr().out
