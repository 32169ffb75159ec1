# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`prepare codes` stores the right codes, once, and says what it cannot do. Read back: test_stored_codes.py."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines import buckets, codes, prepare, rows, shards, show
from data_pipelines.errors import DataError
from data_pipelines.example import Codes
from data_pipelines.shards import Shards
from tests.data_pipelines.fake_tokenizer import FakeTokenizer, run
from tests.data_pipelines.pictures import encoded, noise
from tests.data_pipelines.test_prepare import tree

ROOT = pathlib.Path(__file__).resolve().parents[2]


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
    manifest = run(tokenizer, source, output)
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
    manifest = run(FakeTokenizer(), source, tmp_path / "codes", **chosen)
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
        made = run(FakeTokenizer(), tmp_path / source, tmp_path / output)
        assert made["records"] == {"train": {"32x32": 1}} and made["bad"] == 0


def test_a_finished_output_is_left_alone_and_another_job_refused(source, stored, tmp_path):
    before, idle = tree(stored), FakeTokenizer(high=96)
    assert run(idle, source, stored) == shards.read_manifest(stored)
    assert tree(stored) == before and not idle.shapes
    with pytest.raises(
        DataError, match=r"holds data of another source or other options \(tokenizer\), expected an empt"
    ):
        run(FakeTokenizer(high=96, fingerprint="f" * 16), source, stored)
    with pytest.raises(DataError, match=r"other options \(options\)"):
        run(FakeTokenizer(high=96), source, stored, batch=5)
    with pytest.raises(DataError, match=r"other options \(source\)"):
        run(FakeTokenizer(high=96), source, stored, splits=["train"])
    with pytest.raises(DataError, match="prepared: holds data of another source or other options"):
        run(FakeTokenizer(), source, source)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("")
    with pytest.raises(DataError, match="full: holds notes.txt, expected an empty or new directory"):
        run(FakeTokenizer(), source, tmp_path / "full")


@pytest.mark.parametrize("call, whole_shards, again", [(2, 0, 5), (3, 1, 3), (5, 3, 1)])
def test_killed_and_started_again(source, stored, tmp_path, call, whole_shards, again):
    """SIGKILL inside the first shard of two batches, and after one and three of the four: whole shards or none."""
    output = tmp_path / "codes"
    code = (
        "import sys; from data_pipelines import codes; from tests.data_pipelines.fake_tokenizer import FakeTokenizer;"
        f"codes.prepare_codes(FakeTokenizer(96, kill_at={call}), codes.plan(sys.argv[1]), sys.argv[2], batch=4)"
    )
    done = subprocess.run([sys.executable, "-c", code, source, output], cwd=ROOT)
    assert done.returncode == -9
    whole, left = tree(stored), tree(output)
    finished = [name for name in left if name.endswith(".arrayrecord") and "partial" not in name]
    assert "manifest.json" not in left and len(finished) == whole_shards
    assert all(left[name] == whole[name] for name in finished)
    with pytest.raises(DataError, match="holds an interrupted run of another source or other options .tokenizer."):
        run(FakeTokenizer(96, "f" * 16), source, output)
    second = FakeTokenizer(96)
    run(second, source, output)
    assert tree(output) == whole
    assert len(second.shapes) == again  # what was whole is not encoded again


def test_they_are_shown(stored, tmp_path):
    (example,) = show.load(stored, "train", 1)
    assert any(line.startswith("codes of 0123456789ab: semantic (2, 2)") for line in show._lines(example))
    assert show.main([str(stored), f"--output={tmp_path / 'sheet.png'}", "--count=2"]) == 0


# ------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"splits": ["dev"]}, "prepared: has no split 'dev', expected some of train, validation"),
        ({"buckets": [(48, 16)]}, "prepared: no record serves buckets 48x16, expected some of its own: 32x32, 32x40"),
        ({"buckets": [(20, 20)]}, "20 x 20 pixels, expected multiples of the stride 8"),
        ({"batch": 0}, "codes: batch is 0, threads 2, bad budget 0, expected at least 1, 1 and 0"),
    ],
)
def test_bad_options(source, tmp_path, options, sentence):
    with pytest.raises(DataError, match=sentence):
        run(FakeTokenizer(), source, tmp_path / "codes", **options)
    assert not (tmp_path / "codes").exists()


# ---------------------------------------------------------------------------------------------------------- the command
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
    tokenizer = codes.Loaded(str(tokenizer_run), "ema", 8)
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
    assert "buckets: '64', expected 256, 512, 1024 or a list like" in refusal(buckets="64")
    assert "--batch=12: expected a multiple of the 8 devices" in refusal(batch=12)


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        prepare.main(["codes", "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "python -m data_pipelines.prepare codes --tokenizer=" in text
    for option in ("--tokenizer", "--buckets", "--splits", "--batch", "--weights", "--bad-budget"):
        assert option in text
    assert "the target of an edit\nget none" in text and "a multiple of the devices" in text
    with pytest.raises(SystemExit):
        prepare.main(["--help"])
    assert "python -m data_pipelines.prepare codes --tokenizer=RUN" in capsys.readouterr().out
