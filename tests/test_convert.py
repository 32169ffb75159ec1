# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`convert import` and `convert export` from file to file, and what they refuse."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import focus_jax
from focus_jax import convert
from focus_jax.training import config as config_lib
from focus_jax.training import store
from focus_jax.weights import files, formats

TINY = "configs/stage1_tokenizer.py:tiny"
BRANCHES = "--config.model.tokenizer.branches="
WHOLE, PIXEL = f"{BRANCHES}('semantic', 'pixel')", f"{BRANCHES}('pixel',)"


def released(name, *overrides):
    """{their key: random array} of a format in the tiny size."""
    table = formats.table(name)
    keys = table.keys(table.shapes(config_lib.load(TINY, overrides)))
    rng = np.random.default_rng(0)
    return {k: np.asarray(rng.standard_normal(shape), np.float32) for k, (*_, shape) in keys.items()}


@pytest.fixture(scope="module")
def theirs():
    return released("dualvitok", WHOLE)


@pytest.fixture
def source(tmp_path, theirs):
    save_file(theirs, str(tmp_path / "theirs.safetensors"))
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


def assert_same(path, want):
    again = load_file(str(path))
    assert set(again) == set(want) and all(np.array_equal(again[k], want[k]) for k in want)


def test_there_and_back(tmp_path, source, theirs, capsys):
    """The whole tokenizer of a config in the form focus: three parts of it are in the file, nothing is passed over."""
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.safetensors"
    run("import", "--format=dualvitok", f"--source={source}", f"--output={ours}", f"--config={TINY}", WHOLE)
    assert "passed over" not in capsys.readouterr().out
    found = store.catalogue(ours)  # readable by load and config.init, with digests and config
    assert all(e.digest for e in found.entries.values()) and found.config.name == "stage1_tokenizer:tiny"
    assert set(store.by_part({p: e.digest for p, e in found.entries.items()})) == {
        f"tokenizer/{part}" for part in ("vit", "semantic", "pixel")
    }
    run("export", "--format=dualvitok", f"--checkpoint={ours}", f"--output={back}")
    assert capsys.readouterr().out.count("\n") == 1
    assert_same(back, theirs)


def test_a_file_is_opened_and_a_network_traced_once(tmp_path, source, monkeypatch):
    """In either direction: a source may be gigabytes behind a slow mount, a trace at full size takes seconds."""
    read, table, calls = files.read_weights, formats.table("dualvitok"), []
    monkeypatch.setattr(files, "read_weights", lambda path: calls.append("read") or read(path))
    traced = dataclasses.replace(table, shapes=lambda config: calls.append("shapes") or table.shapes(config))
    monkeypatch.setitem(formats.TABLES, "dualvitok", traced)
    ours = tmp_path / "ours.safetensors"
    run("import", "--format=dualvitok", f"--source={source}", f"--output={ours}", f"--config={TINY}", WHOLE)
    assert sorted(calls) == ["read", "shapes"]
    run("export", "--format=dualvitok", f"--checkpoint={ours}", f"--output={tmp_path}/back.safetensors")
    assert sorted(calls) == ["read", "shapes", "shapes"]


def test_an_imported_tokenizer_as_it_is(tmp_path, source):
    """In the form illume the file is all that encoding and decoding need; its config trains with a GAN and LPIPS."""
    ours = tmp_path / "ours.safetensors"
    fields = ["--config.model.tokenizer.form=illume", "--config.loss.weights.perceptual=1.0"]
    fields += ["--config.loss.weights.adversarial=0.5"]
    run("import", "--format=dualvitok", f"--source={source}", f"--output={ours}", f"--config={TINY}", WHOLE, *fields)
    model = focus_jax.load(ours)
    assert set(model.fingerprints) == {"tokenizer/vit", "tokenizer/semantic", "tokenizer/pixel"} and not model.high
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    codes = model.encode(images)
    assert {branch: x.shape for branch, x in codes.items()} == {b: (2, *g) for b, g in model.grids(32, 32).items()}
    assert len(np.unique(codes["pixel"])) > 1 and len(np.unique(codes["semantic"])) > 1
    assert model.decode(codes).shape == images.shape
    assert len(model.codes_fingerprint) == 16


def test_the_other_branch_is_passed_over(tmp_path, source, theirs, capsys):
    """The pixel half alone, in and out; a file without a config is written as its parts tell."""
    ours, back, again = (tmp_path / f"{name}.safetensors" for name in ("ours", "back", "again"))
    run("import", "--format=dualvitok", f"--source={source}", f"--output={ours}", f"--config={TINY}", PIXEL)
    others = [k for k in theirs if not k.startswith("pixel_")]
    assert f"{len(others)} keys of other parts passed over (semantic_" in capsys.readouterr().out
    run("export", "--format=dualvitok", f"--checkpoint={ours}", f"--output={back}")
    assert capsys.readouterr().out.endswith(f"{back}: it holds the pixel half only\n")
    half = {k: x for k, x in theirs.items() if k.startswith("pixel_")}
    assert_same(back, half)
    store.save_safetensors(tmp_path / "bare.safetensors", load_file(str(ours)), None)
    run("export", "--format=dualvitok", f"--checkpoint={tmp_path}/bare.safetensors", f"--output={again}")
    assert capsys.readouterr().out.endswith(f"{again}: it holds the pixel half only\n")
    assert_same(again, half)


def test_fusion_and_convnext_are_not_written(tmp_path, theirs, capsys):
    config, table = config_lib.load(TINY, [WHOLE]), formats.table("dualvitok")
    flat = table.read(theirs, table.shapes(config), "theirs")
    flat |= {f"tokenizer/{part}/x/kernel": np.ones(2, np.float32) for part in ("fusion", "convnext")}
    for name, saved_with in (("with", config), ("without", None)):
        ours, back = tmp_path / f"{name}.safetensors", tmp_path / f"{name}_back.safetensors"
        store.save_safetensors(ours, flat, saved_with)
        run("export", "--format=dualvitok", f"--checkpoint={ours}", f"--output={back}")
        wrote, said = capsys.readouterr().out.strip().splitlines()
        assert said == (
            f"{back}: tokenizer/fusion and tokenizer/convnext have no key in this format; the exported tokenizer is "
            "exact only where fusion's output is zero"
        )
        assert_same(back, theirs)


@pytest.mark.parity
def test_torch_file_with_a_model_in_it(tmp_path, theirs):
    """pytorch_model.bin keeps the tensors under `model`, or at the top."""
    torch = pytest.importorskip("torch")
    tensors = {k: torch.from_numpy(x) for k, x in theirs.items()}
    for name, tree in (("bare", tensors), ("model", {"model": tensors, "epoch": 3})):
        torch.save(tree, tmp_path / f"{name}.bin")
        output = tmp_path / f"{name}.safetensors"
        run(
            "import",
            "--format=dualvitok",
            f"--source={tmp_path}/{name}.bin",
            f"--output={output}",
            f"--config={TINY}",
            WHOLE,
        )
        run("export", "--format=dualvitok", f"--checkpoint={output}", f"--output={tmp_path}/{name}_back.safetensors")
        assert_same(tmp_path / f"{name}_back.safetensors", theirs)


def test_one_key_wrong(tmp_path, theirs, capsys):
    """Missing, too many, of another width: one sentence each, in either branch, and no file."""
    name, new = "semantic_encoder.model.blocks.0.attn.proj.bias", tmp_path / "new.safetensors"
    for change, sentence in (
        ({name: None}, f"format dualvitok expects keys that are missing: {name}"),
        ({"semantic_encoder.cls": np.zeros(1, np.float32)}, "unknown keys for format dualvitok: semantic_encoder.cls"),
        ({name: np.zeros(7, np.float32)}, f"{name} has shape [7], expected [{len(theirs[name])}]"),
        ({"pixel_quant_conv.bias": None}, "format dualvitok expects keys that are missing: pixel_quant_conv.bias"),
    ):
        file = tmp_path / "wrong.safetensors"
        save_file({k: x for k, x in (theirs | change).items() if x is not None}, str(file))
        said = fails(
            capsys, "import", "--format=dualvitok", f"--source={file}", f"--output={new}", f"--config={TINY}", WHOLE
        )
        assert said == f"error: {file}: {sentence}"
    assert not new.exists()


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


def test_stacked_layout_exports_the_same(theirs):
    """Scanned stacks and single layers of ours are the same file of theirs."""
    table = formats.table("dualvitok")
    for scan in (False, True):
        scans = [f"--config.model.tokenizer.{name}.scan={scan}" for name in ("pixel", "semantic", "vit")]
        shapes = table.shapes(config_lib.load(TINY, [WHOLE, *scans]))
        flat = table.read(theirs, shapes, "theirs")
        assert any("/layers/" in path for path in flat) == scan
        back = table.write(flat, shapes)
        assert set(back) == set(theirs) and all(np.array_equal(back[k], theirs[k]) for k in theirs)


def test_refusals(tmp_path, source, capsys):
    new = f"--output={tmp_path}/new.safetensors"
    pair = ("--format=dualvitok", f"--source={source}")
    assert "expected one of dualvitok, patchgan" in fails(capsys, "import", "--format=vae", f"--source={source}", new)
    assert "unknown keys for format dualvitok: pixel_" in fails(capsys, "import", *pair, new)  # not the released sizes
    gone = f"{BRANCHES}('pixels',)"
    assert "tokenizer.branches: ('pixels',)" in fails(capsys, "import", *pair, new, f"--config={TINY}", gone)
    assert "ends in .safetensors" in fails(capsys, "import", *pair, f"--output={tmp_path}/new")
    assert "the file exists" in fails(capsys, "import", *pair, f"--output={source}")
    assert "2 --format and 1 --source" in fails(capsys, "import", *pair, "--format=vgg16", new)
    twice = fails(capsys, "import", *pair, *pair, new, f"--config={TINY}", WHOLE)
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

    no_section = ("--format=qwen2_vl_vision", f"--source={tmp_path}/theirs.safetensors")
    said = fails(
        capsys,
        "import",
        *no_section,
        f"--output={tmp_path}/new.safetensors",
        "--config=configs/stage0_standins.py:convnext",
    )
    assert "config.model.vit: the config has no such section" in said


def test_the_tower_out_of_a_tokenizer(tmp_path, source, theirs):
    """The tower's own format takes its sizes from the tokenizer of the config, in and out."""
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.safetensors"
    run("import", "--format=qwen2_vl_vision", f"--source={source}", f"--output={ours}", f"--config={TINY}", WHOLE)
    run("export", "--format=qwen2_vl_vision", f"--checkpoint={ours}", f"--output={back}")
    prefix = "semantic_encoder.model."
    assert_same(back, {k.removeprefix(prefix): x for k, x in theirs.items() if k.startswith(prefix)})
