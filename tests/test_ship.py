# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""launch/assets.py ships what was measured and is not worse than what is there; launch/ladder.py resumes by itself."""

import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from flax import linen as nn

import focus_jax
from focus_jax import stages
from focus_jax.errors import UserError
from focus_jax.evaluation import goals
from focus_jax.training import config as config_lib
from focus_jax.training import store
from focus_jax.training.parts import flatten

ROOT = pathlib.Path(__file__).resolve().parents[1]


def launch(name):
    spec = importlib.util.spec_from_file_location(f"launch_{name}", ROOT / "launch" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A safetensors file of a stand-in with random parameters."""
    config = config_lib.load("configs/stage0_standins.py:vit")
    config.model.vit.update({"depth": 1, "width": 16, "heads": 2, "out": 24})
    params = flatten(nn.unbox(jax.jit(stages.create(config).init)(jax.random.key(0))))
    file = tmp_path_factory.mktemp("run") / "vit.safetensors"
    store.save_safetensors(file, params, config, "test")
    return file, params


def measured(folder, shape, error=0.01, benchmark="standins_vit", budget="long"):
    facts = {
        "seconds": 60.0,
        "steps": 10,
        "seed": 0,
        "commit": "c",
        "device": "cpu",
        "checkpoint": "x",
        "budget": budget,
    }
    figures = {"vit_shape": shape, "vit_note": 0.5}
    entry = figures | {"n": dict.fromkeys(figures, 100), "standard_error": {"vit_shape": error}, **facts}
    entry["benchmarks"] = {benchmark: {"figures": list(figures), **facts}}
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps({"standins": entry}))
    return folder


def test_what_is_measured_is_shipped_and_loads(trained, tmp_path):
    assets = launch("assets")
    file, params = trained
    told = assets.ship("vit", "standins", "standins_vit", str(file), measured(tmp_path / "report", 0.95), tmp_path)
    assert told.startswith("vit: shipped, 0.")
    model = focus_jax.load(tmp_path / "vit.safetensors")
    back = flatten(model.params)
    assert back.keys() == params.keys()
    for path, x in back.items():
        assert x.dtype == "bfloat16"
        np.testing.assert_array_equal(x, np.asarray(params[path]).astype(x.dtype), err_msg=path)
    record = json.loads((tmp_path / "vit.json").read_text())
    assert record["figures"] == {"vit_shape": 0.95, "vit_note": 0.5} and record["device"] == "cpu"
    assert record["fingerprints"]["tokenizer/vit"] == model.fingerprints["tokenizer/vit"]


def test_a_part_that_another_file_holds_is_named_not_copied(trained, tmp_path):
    """A checkpoint of ViT and more beside the shipped ViT: one copy, loads whole, refused once that file is gone."""
    assets, (_, params) = launch("assets"), trained
    report = measured(tmp_path / "report", 0.95)
    rounded = {p: np.asarray(x).astype(jnp.bfloat16).astype(np.float32) for p, x in params.items()}
    config = config_lib.load("configs/stage0_standins.py:vit")
    config.model.vit.update({"depth": 1, "width": 16, "heads": 2, "out": 24})
    store.save_safetensors(tmp_path / "run" / "both.safetensors", rounded, config)
    encoder = {p: x for p, x in rounded.items() if p.startswith("tokenizer/vit/")}
    store.save_safetensors(tmp_path / "encoder.safetensors", encoder, None)
    told = assets.ship("whole", "standins", "standins_vit", str(tmp_path / "run/both.safetensors"), report, tmp_path)
    assert "shipped" in told
    with safetensors.safe_open(tmp_path / "whole.safetensors", "numpy") as file:
        assert file.keys() and not any(key.startswith("tokenizer/vit/") for key in file.keys())
    model = focus_jax.load(tmp_path / "whole.safetensors")
    assert flatten(model.params).keys() == params.keys()
    record = json.loads((tmp_path / "whole.json").read_text())
    assert record["fingerprints"] == model.fingerprints and len(model.fingerprints) == 2
    (tmp_path / "encoder.safetensors").unlink()
    with pytest.raises(UserError, match="field frozen.tokenizer/vit refers to .*encoder.safetensors with fingerprint"):
        focus_jax.load(tmp_path / "whole.safetensors")


def test_what_is_worse_or_unmeasured_is_left_alone(trained, tmp_path):
    assets = launch("assets")
    ship = lambda shape, **more: assets.ship(
        "vit", "standins", "standins_vit", str(trained[0]), measured(tmp_path / "report", shape, **more), tmp_path
    )
    assert "shipped" in ship(0.95)
    before = (tmp_path / "vit.json").read_text()
    assert ship(0.90) == "vit: left alone, its figures fell: vit_shape 0.9 after 0.95"
    assert "has no figures of it" in ship(0.99, benchmark="standins_convnext")
    assert "are not of the budget long" in ship(0.99, budget="ladder")
    assert (tmp_path / "vit.json").read_text() == before
    assert "shipped" in ship(0.93), "within two standard errors"
    missing = assets.ship("vit", "standins", "standins_vit", "/nowhere", tmp_path / "report", tmp_path)
    assert missing.startswith("vit: left alone, /nowhere is not there")


def test_the_ladder_names_configs_benchmarks_and_goals_that_exist():
    ladder = launch("ladder")
    for name, stage in (ladder.STAGES | ladder.STANDINS).items():
        assert stage.configs, name
        goes_on = [f"{stage.configs['long'].partition(':')[0]}:{variant}" for variant in stage.goes_on]
        for config in map(config_lib.load, [*stage.configs.values(), *goes_on]):
            assert config.name.partition(":")[0] in goals.STAGES, name
        for benchmark, *overrides in stage.benchmarks + stage.long:
            assert config_lib.load(f"configs/eval.py:{benchmark}", overrides).evaluator
    assert set(ladder.STAGES["stage1_tokenizer"].configs) == {"ladder", "long"}


def test_a_stage_that_does_not_exist_is_said_and_a_failure_stops_the_ladder(monkeypatch, capsys):
    ladder, ran = launch("ladder"), []
    monkeypatch.setattr(ladder, "run", lambda *command: ran.append(command))
    monkeypatch.setattr("sys.argv", ["ladder.py", "--stages=stage9"])
    with pytest.raises(SystemExit):
        ladder.main()
    assert "--stages: stage9 is none of stage1_tokenizer" in capsys.readouterr().err and not ran
    monkeypatch.setattr("sys.argv", ["ladder.py", "--stages=stage1_tokenizer", "--runs=r", "--report=p"])
    ladder.main()
    assert [c[0] for c in ran] == ["focus_jax.train", *["focus_jax.evaluate"] * 2]
    assert "--workdir=r/ladder/stage1_tokenizer" in ran[0] and "--checkpoint=r/ladder/stage1_tokenizer" in ran[1]
    assert "--config=configs/stage1_tokenizer.py:tiny" in ran[0]
    monkeypatch.setattr("sys.argv", ["ladder.py", "--stages=stage1_tokenizer", "--budget=long"])
    ladder.main()
    assert "--config=configs/stage1_tokenizer.py:long" in ran[3] and "--config.label=standard" in ran[6]
    del ran[:]
    monkeypatch.setattr("sys.argv", ["ladder.py", "--stages=stage3", "--budget=long", "--runs=r"])
    ladder.main()
    assert "--config=configs/stage3.py:long" in ran[0] and "--workdir=r/long/stage3" in ran[0]
    assert {"--workdir=r/long/stage3_drawing", "--config.init.llm=r/long/stage3"} < set(ran[1])
    assert ran[1][1].endswith("configs/stage3.py:drawing") and not any(c.startswith("--config.init.t") for c in ran[1])
    assert ran[2][1].endswith("configs/stage3.py:editing")
    assert {"--workdir=r/long/stage3_editing", "--config.init.llm=r/long/stage3_drawing"} < set(ran[2])
    assert all("--checkpoint=r/long/stage3_editing" in command for command in ran[3:]) and len(ran) > 5

    monkeypatch.undo()
    with pytest.raises(SystemExit) as left:
        launch("ladder").run("focus_jax.train", "--config=configs/no_such.py")
    assert left.value.code not in (0, None)


def test_chip_days_of_a_whole_run():
    """Only a slice with a report of every phase is counted: steps x seconds x chips."""
    scale = launch("scale")
    row = dict(config="stage1_tokenizer:full", slices=1, steps=[136_000, 28_000])
    big = row | dict(topology="v5e:16x16", devices=256)
    found = [
        big | dict(shape="0/256x256", step_seconds=0.1),
        big | dict(shape="1/320x960", step_seconds=0.5),
        big | dict(shape="1/512x512", step_seconds=0.4),
        row | dict(topology="v5p:4x4x4", devices=64, shape="1/320x960", step_seconds=0.5),
    ]
    days = (136_000 * 0.1 + 28_000 * 0.5) / 86_400
    assert scale.chip_days(found) == [("v5e:16x16", pytest.approx(256 * days), pytest.approx(days))]
    text = scale.whole_run(found)
    assert "| stage1_tokenizer:full | 164,000 | v5e:16x16 | 82 | 0.32 |" in text and "about three days" in text
