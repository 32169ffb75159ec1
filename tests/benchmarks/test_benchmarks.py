# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run on small sizes and tell the truth about agreement; no timing is judged here."""

import json

import pytest

from focus_jax import benchmark
from focus_jax.benchmarks import codes, tokenizer
from focus_jax.training import config as config_lib


def test_codes(tmp_path, capsys):
    file = tmp_path / "codes.json"
    benchmark.main(["codes", "--vectors=300", "--codes=700", "--width=8", "--block=128", f"--json={file}"])
    figures = json.loads(file.read_text())
    assert figures["different"] == 0 and 0 < figures["temporaries_mib"] < 2
    assert "whole matrix 1" in capsys.readouterr().out


def test_codes_counts_differences(monkeypatch):
    monkeypatch.setattr(codes, "nearest_code", lambda z, c, *, block: 0 * z[:, 0].astype(int))
    assert codes.run(vectors=50, codes=60, width=4, repeats=1)["different"] > 40


def test_world(capsys):
    benchmark.main(["world", "--presets=easy", "--scenes=3"])
    assert "easy      64 px with masks" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parity
def test_tokenizer(capsys):
    pytest.importorskip("torch")
    config = config_lib.load("configs/stage1_tokenizer.py:tiny")
    figures = tokenizer.run(config, pixels=16, batch=2, steps=1, repeats=1)
    assert figures["ratio"] > 0 and figures["loss"] == pytest.approx(figures["torch_loss"], rel=1e-4)


def test_unknown_name(capsys):
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(["everything"])
    assert stopped.value.code == 2 and "invalid choice" in capsys.readouterr().err
