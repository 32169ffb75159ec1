# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Sizes of the published model, and what a device holds of it, from shapes alone."""

import contextlib
import json

import jax
import pytest

from focus_jax import describe, stages
from focus_jax.errors import UserError
from focus_jax.training import checkpoint, sharding, state
from focus_jax.training import config as config_lib
from tests.golden import renew


@pytest.fixture(scope="module")
def full():
    return describe.describe(config_lib.load("configs/stage1_tokenizer.py"), 64)


def module(found, part, name=""):
    (row,) = [r for r in found["modules"] if (r["part"], r["module"]) == (part, name)]
    return row


def test_full_size_counts_to_the_digit(full):
    before = len(jax.live_arrays())
    assert module(full, "tokenizer/pixel", "encoder")["parameters"] == 27_159_264
    assert module(full, "tokenizer/pixel", "decoder")["parameters"] == 476_363_523
    assert module(full, "discriminator")["parameters"] == 2_765_633
    quantizer = module(full, "tokenizer/pixel", "quantizer")
    assert (quantizer["parameters"], quantizer["buffers"]) == (32 * 32, 98_304 * 32)
    assert len(jax.live_arrays()) == before  # nothing is allocated


def test_modules_add_up_to_parts_and_parts_to_the_total(full):
    parts = {r["part"] for r in full["modules"]}
    for key in ("parameters", "buffers", "bytes", "bytes_per_device"):
        for part in parts:
            inner = [r[key] for r in full["modules"] if r["part"] == part and r["module"]]
            assert sum(inner) == module(full, part)[key]
        assert sum(module(full, part)[key] for part in parts) == full["total"][key]
    assert sum(g["leaves"] for g in full["groups"].values()) == full["total"]["parameters"] + full["total"]["buffers"]


def test_groups_and_bytes(full):
    pixel = full["groups"]["pixel"]
    assert (pixel["trained"], pixel["lr"], pixel["dtype"]) == (True, 2e-4, "float32")
    assert full["groups"]["frozen"]["lr"] is None and full["groups"]["frozen"]["state_bytes_per_device"] == 0
    # AdamW holds two moments of each parameter; a fully sharded state is close to 1/64 of it.
    assert pixel["state_bytes_per_device"] == pytest.approx(2 * pixel["bytes_per_device"], rel=1e-4)
    assert pixel["bytes_per_device"] == pytest.approx(4 * pixel["leaves"] / 64, rel=0.1)


def test_one_device_holds_everything_once():
    found = describe.describe(config_lib.load("configs/stage1_tokenizer.py:tiny"), 1)
    assert found["total"]["bytes_per_device"] == found["total"]["bytes"]
    assert found["total"]["shardings"].keys() == {"whole"}
    pixel = found["groups"]["pixel"]
    assert pixel["state_bytes_per_device"] >= 3 * pixel["bytes_per_device"]  # two moments and EMA


@pytest.mark.slow
def test_checkpoint_describes_itself(tmp_path, capsys):
    config = config_lib.load("configs/stage1_tokenizer.py:tiny", ["--config.groups.pixel.lr=0.125"])
    stage = stages.create(config)
    plan = describe.plan_of(config, sharding.make_mesh(config.mesh, jax.devices()[:1]))
    params, origins = checkpoint.initial_params(config, plan, stage.init)
    trained, frozen = state.begin(plan, params)
    with contextlib.closing(checkpoint.Checkpoints(tmp_path, config, plan)) as saver:
        saver.start(frozen, origins)
        saver.save(3, trained, frozen, {"k": 3}, force=True)
    describe.main([f"--checkpoint={tmp_path}", "--devices=8", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["step"] == 3 and found["devices"] == 8 and found["groups"]["pixel"]["lr"] == 0.125
    assert "tokenizer/pixel" in found["fingerprints"]
    assert found["modules"] == describe.describe(config, 8)["modules"]


def test_command(capsys):
    describe.main(["--config=configs/stage1_tokenizer.py:tiny", "--devices=8", "--config.groups.pixel.lr=0.5"])
    text = capsys.readouterr().out
    assert "on 8 devices (fsdp 8, table fsdp)" in text and "0.5 cosine" in text and "frozen_codebook" not in text
    describe.main(["--config=configs/stage1_tokenizer.py:tiny", "--json"])
    assert json.loads(capsys.readouterr().out)["devices"] == 1


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["--config=configs/stage1_tokenizer.py", "--devices=0"], "--devices=0: expected at least 1"),
        (["--config=configs/stage1_tokenizer.py", "--devices=48"], "is not a multiple of 48"),
        (["--config=configs/nothing.py"], "no file configs/nothing.py"),
        (["--checkpoint=nowhere"], "--checkpoint: nowhere is not a run directory"),
        (["--checkpoint=x", "--config.seed=1"], "--config.seed=1: fields can be set with --config only"),
    ],
)
def test_mistakes_end_in_one_sentence(argv, expected, capsys):
    with pytest.raises(SystemExit) as e:
        describe.main(argv)
    said = capsys.readouterr().err.strip()
    assert e.value.code == 2 and expected in said and "\n" not in said


def test_mesh_that_does_not_fit():
    config = config_lib.load("configs/stage1_tokenizer.py:tiny", ["--config.mesh.tensor=3"])
    with pytest.raises(UserError, match="does not fit 8 devices"):
        describe.describe(config, 8)


def test_every_sharding_and_dtype_is_as_stored():
    """After a change that was meant to move them: `python -m tests.golden.renew shardings`."""
    found, stored = renew.shardings(), renew.stored("shardings")
    assert found.keys() == stored.keys()
    for table in stored:
        assert found[table] == stored[table]
