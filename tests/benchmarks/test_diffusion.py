# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`benchmark diffusion` on small sizes: the same work on both sides. No time is judged here."""

import json

import numpy as np
import pytest

from focus_jax import benchmark
from focus_jax.benchmarks import diffusion
from focus_jax.errors import UserError


@pytest.mark.slow
@pytest.mark.parity
def test_parts(tmp_path, monkeypatch, capsys):
    pytest.importorskip("diffusers")
    monkeypatch.setitem(diffusion.BLOCKS, "blocks640", (4, 64, 2))
    monkeypatch.setitem(diffusion.RES, "res320", (8, 64))
    monkeypatch.setattr(diffusion, "STEPS", 3)
    file = tmp_path / "figures.json"
    argv = ["--part=blocks640,res320,sampling", "--batch=1", "--steps=1", "--repeats=1", f"--json={file}"]
    benchmark.main(["diffusion", *argv])
    found, told = json.loads(file.read_text()), capsys.readouterr().out
    assert list(found) == ["blocks640", "res320", "sampling"]
    for part, figures in found.items():  # `compare` holds the two sides against each other
        assert figures["ratio"] > 0 and np.isfinite(figures["loss"]) and figures["batch"] == 1
        assert f"{part}: ours " in told and f"(goal {diffusion.GOALS[part]})" in told


def test_a_part_that_is_none_is_refused():
    with pytest.raises(UserError, match="--part=vit: no part 'vit', expected some of blocks640"):
        diffusion.main(["--part=vit"])
