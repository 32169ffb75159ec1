# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`convert import` and `convert export` from file to file, and what they refuse."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from focus_jax import convert
from focus_jax.training import config as config_lib
from focus_jax.training import store
from focus_jax.weights import formats

TINY = "configs/stage1_tokenizer.py:tiny"


def released(name, seed=0):
    """{their key: random array} of a format in the tiny size."""
    table = formats.table(name)
    keys = table.keys(table.shapes(config_lib.load(TINY)))
    rng = np.random.default_rng(seed)
    return {k: np.asarray(rng.standard_normal(shape), np.float32) for k, (*_, shape) in keys.items()}


@pytest.fixture
def source(tmp_path):
    arrays = released("dualvitok") | {"semantic_decoder.proj_in.bias": np.zeros(3, np.float32)}
    save_file(arrays, str(tmp_path / "theirs.safetensors"))
    return tmp_path / "theirs.safetensors"


def run(*argv):
    convert.main([str(a) for a in argv])


def fails(capsys, *argv):
    """The one sentence a command ends in."""
    with pytest.raises(SystemExit) as stopped:
        run(*argv)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_there_and_back(tmp_path, source, capsys):
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.safetensors"
    run("import", "--format=dualvitok", f"--source={source}", f"--output={ours}", f"--config={TINY}")
    assert "1 keys of other parts passed over (semantic_decoder.proj_in.bias" in capsys.readouterr().out
    found = store.catalogue(ours)  # readable by load and config.init, with digests and config
    assert all(e.digest for e in found.entries.values()) and found.config.name == "stage1_tokenizer:tiny"
    run("export", "--format=dualvitok", f"--checkpoint={ours}", f"--output={back}")
    theirs, again = load_file(str(source)), load_file(str(back))
    assert set(again) == {k for k in theirs if k.startswith("pixel_")}
    assert all(np.array_equal(again[k], theirs[k]) for k in again)


def test_two_sources_make_one_part(tmp_path):
    whole = released("lpips")
    vgg = {f"features.{k.split('.', 2)[2]}": v for k, v in whole.items() if k.startswith("net.")}
    save_file(vgg, str(tmp_path / "vgg.safetensors"))
    save_file({k: v for k, v in whole.items() if k.startswith("lin")}, str(tmp_path / "lin.safetensors"))
    pairs = ["--format=vgg16", f"--source={tmp_path}/vgg.safetensors"]
    pairs += ["--format=lpips_lin", f"--source={tmp_path}/lin.safetensors"]
    run("import", *pairs, f"--output={tmp_path}/perceptual.safetensors", f"--config={TINY}")
    run(
        "export",
        "--format=lpips",
        f"--checkpoint={tmp_path}/perceptual.safetensors",
        f"--output={tmp_path}/b.safetensors",
    )
    again = load_file(str(tmp_path / "b.safetensors"))
    assert set(again) == set(whole) and all(np.array_equal(again[k], whole[k]) for k in whole)


def test_stacked_layout_exports_the_same(tmp_path):
    """Scanned stacks and single layers of ours are the same file of theirs."""
    theirs = released("dualvitok")
    exported = []
    for scan in (False, True):
        config = config_lib.load(
            TINY, [f"--config.model.tokenizer.pixel.scan={scan}", "--config.model.tokenizer.pixel.decoder.blocks=1"]
        )
        save_file(theirs, str(tmp_path / "x.safetensors"))
        flat = convert.import_weights("dualvitok", tmp_path / "x.safetensors", config)
        exported.append(convert.export_weights("dualvitok", flat, config))
    assert all(np.array_equal(exported[0][k], theirs[k]) and np.array_equal(exported[1][k], theirs[k]) for k in theirs)


def test_refusals(tmp_path, source, capsys):
    new = f"--output={tmp_path}/new.safetensors"
    pair = ("--format=dualvitok", f"--source={source}")
    assert "expected one of dualvitok, patchgan" in fails(capsys, "import", "--format=vae", f"--source={source}", new)
    assert "unknown keys for format dualvitok: pixel_" in fails(capsys, "import", *pair, new)  # not the released sizes
    assert "ends in .safetensors" in fails(capsys, "import", *pair, f"--output={tmp_path}/new")
    assert "the file exists" in fails(capsys, "import", *pair, f"--output={source}")
    assert "2 --format and 1 --source" in fails(capsys, "import", *pair, "--format=vgg16", new)
    twice = fails(capsys, "import", *pair, *pair, new, f"--config={TINY}")
    assert "already given by an earlier --source" in twice
    assert "no such file" in fails(capsys, "import", "--format=vgg16", "--source=absent.pth", new)
    (tmp_path / "ours.safetensors").write_bytes(b"")
    assert "whole safetensors" in fails(
        capsys, "export", "--format=dualvitok", f"--checkpoint={tmp_path}/ours.safetensors", new
    )
    assert not (tmp_path / "new.safetensors").exists()


def test_encoders_there_and_back(tmp_path, capsys):
    """An encoder out of a file with other parts beside it; what the file does not hold is said."""
    config = config_lib.load("configs/stage0_standins.py:convnext")
    table = formats.table("convnext_classifier")
    rng = np.random.default_rng(0)
    keys = table.keys(table.shapes(config))
    theirs = {f"convnext.{k}": np.asarray(rng.standard_normal(shape), np.float32) for k, (*_, shape) in keys.items()}
    save_file(theirs | {"classifier.bias": np.zeros(3, np.float32)}, str(tmp_path / "theirs.safetensors"))
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.safetensors"
    pair = ("--format=convnext_classifier", f"--source={tmp_path}/theirs.safetensors", f"--output={ours}")
    run("import", *pair, "--config=configs/stage0_standins.py:convnext")
    said = capsys.readouterr().out
    assert "8 of them not in the file but constants (tokenizer/convnext/norm_" in said
    assert "1 keys of other parts passed over (classifier.bias" in said
    run("export", "--format=convnext_classifier", f"--checkpoint={ours}", f"--output={back}")
    again = load_file(str(back))
    assert set(again) == set(theirs) and all(np.array_equal(again[k], theirs[k]) for k in theirs)

    no_section = ("--format=qwen2_vl_vision", f"--source={tmp_path}/theirs.safetensors", f"--config={TINY}")
    said = fails(capsys, "import", *no_section, f"--output={tmp_path}/new.safetensors")
    assert "config.model.vit: the config has no such section" in said
