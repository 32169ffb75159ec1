# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`benchmark language` on small sizes: the same work on both sides. No time is judged here."""

import json

import numpy as np
import pytest

from configs import models
from focus_jax import benchmark
from focus_jax.benchmarks import language
from focus_jax.benchmarks.beside_torch import compare
from focus_jax.errors import UserError

SMALL = dict(width=32, heads=4, kv_heads=2, head_dim=8, mlp=48)
FLAGS = ["--depth=2", "--rows=300", "--repeats=1", "--train-length=24", "--decode-length=12", "--decode-new=9"]
FLAGS += [f"--{name.replace('_', '-')}={size}" for name, size in SMALL.items()]


@pytest.mark.parity
def test_parts(tmp_path, capsys):
    pytest.importorskip("torch")
    file = tmp_path / "figures.json"
    benchmark.main(["language", *FLAGS, f"--json={file}"])
    found = json.loads(file.read_text())
    assert list(found) == ["train", "decode"]
    assert found["train"]["loss"] == pytest.approx(found["train"]["torch_loss"], rel=1e-5)
    assert found["decode"]["loss"] == found["decode"]["torch_loss"] == 1.0
    for part, figures in found.items():
        assert figures["ratio"] > 0 and figures["depth"] == 2 and figures["rows"] == 300
        assert figures["width"] == 32 and figures["length"] == {"train": 24, "decode": 12}[part]
    out = capsys.readouterr().out
    assert "layers 2 (24) of width 32, rows 300 (151,936)" in out and "step   train, batch 2, 24 ids a row" in out
    assert "step   decode, batch 4, 9 ids a row" in out and "(goal 1.5)" in out


def test_layers_are_those_of_the_release():
    released = models.llm("0.5b", language.ROWS)
    assert language.LAYERS == {name: released[name] for name in language.LAYERS}
    assert language.DEPTH == released.depth


@pytest.mark.parity
def test_another_weight_is_refused():
    """Losses and ids depend on the layers, so that equal ones speak for equal work."""
    pytest.importorskip("torch")
    model = language.both(rows=300, depth=2, **SMALL)
    key = "model.layers.1.mlp.down_proj.weight"
    other = model._replace(weights=model.weights | {key: 2 * np.asarray(model.weights[key])})
    with pytest.raises(UserError, match="benchmark train: the losses differ"):
        compare("train", language.train(other, batch=2, length=24), batch=2, steps=1, repeats=1)
    with pytest.raises(UserError, match="benchmark decode: the ids differ"):
        language.answers(other, batch=2, length=12, new=9)


def test_unknown_part(capsys):
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(["language", "--part=train,chat"])
    assert stopped.value.code == 2 and "no part 'chat', expected some of train,decode" in capsys.readouterr().err
