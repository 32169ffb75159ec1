# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""focus_jax.load on runs, steps and safetensors files; what the loaded object does."""

import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy

import focus_jax
from focus_jax import stages
from focus_jax.errors import UserError
from focus_jax.training import checkpoint, config, fingerprint, sharding, state, store
from tests.training.tiny_run import CHAIN, chain, new_run
from tests.training.tiny_stage import TinyStage

STRIDE = 8


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(workdir, config, raw parameters, averaged parameters) of a saved tokenizer."""
    workdir = tmp_path_factory.mktemp("tokenizer")
    small = ["--config.model.tokenizer.pixel.codes=32", "--config.model.tokenizer.pixel.code_block=32"]
    c = config.load("configs/stage1_tokenizer.py:tiny", small)
    c.model.tokenizer.pixel.update(encoder=dict(widths=(8, 16), blocks=1, attention_levels=(1,)))
    c.model.tokenizer.pixel.update(decoder=dict(widths=(8, 16), blocks=1, attention_levels=(1,)))
    stage = stages.create(c)
    plan = state.plan(c, stage.init, (), 10, sharding.make_mesh(c.mesh, jax.devices()[:1]))
    rng = np.random.default_rng(0)  # numpy's numbers: the stage's own init would be compiled for nothing
    params = {
        p: jax.device_put(0.1 * rng.normal(size=x.shape).astype(x.dtype), x.sharding) for p, x in plan.abstract.items()
    }
    trained, frozen = state.begin(plan, params)
    trained = trained.replace(ema={g: {p: x * 0.5 for p, x in leaves.items()} for g, leaves in trained.ema.items()})
    saver = checkpoint.Checkpoints(workdir, c, plan)
    saver.start(frozen, {})
    saver.save(0, trained, frozen, {}, {"psnr": 1.0}, force=True)
    saver.close()
    return (
        workdir,
        c,
        jax.device_get(state.all_params(trained, frozen)),
        jax.device_get(state.all_params(trained, frozen, True)),
    )


@pytest.fixture(scope="module")
def model(run):
    return focus_jax.load(run[0])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)


def test_importing_the_package_is_cheap():
    code = "import sys, focus_jax; sys.exit(any(m in sys.modules for m in ('jax', 'numpy', 'flax')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        focus_jax.lode  # noqa: B018


def test_run_step_and_file_give_the_same_model(run, model, tmp_path):
    workdir, c, raw, ema = run
    file = tmp_path / "tokenizer.safetensors"
    prints = store.save_safetensors(file, ema, c)
    expected = {"tokenizer/pixel": fingerprint.fingerprint(ema, "tokenizer/pixel/")}
    assert prints == model.fingerprints == expected
    for source in (workdir / "checkpoints" / "0", str(file)):
        assert focus_jax.load(source).fingerprints == expected
    raw_model = focus_jax.load(workdir, weights="raw")
    assert raw_model.fingerprints == {"tokenizer/pixel": fingerprint.fingerprint(raw, "tokenizer/pixel/")} != expected
    assert model.config.model.tokenizer.pixel.codes == 32


def test_reconstruct_is_decode_of_encode(model, images):
    codes = model.encode(images)
    assert codes.shape == (2, 16 // STRIDE, 24 // STRIDE) and codes.dtype == np.int32
    pictures = model.reconstruct(images)
    assert pictures.shape == images.shape and pictures.dtype == np.uint8
    np.testing.assert_array_equal(model.decode(codes), pictures)
    one = model.reconstruct(images[0])
    assert (
        one.shape == images[0].shape and np.abs(one.astype(int) - pictures[0]).max() <= 1
    )  # another batch size rounds anew
    np.testing.assert_array_equal(model.encode(images[0]), codes[0])
    assert model.decode(codes[0]).shape == images[0].shape


def test_on_a_mesh(run, model, images):
    mesh = sharding.make_mesh({"dcn_data": 1, "data": 1, "fsdp": 2, "tensor": 1}, jax.devices()[:2])
    spread = focus_jax.load(run[0], mesh=mesh)
    assert spread.fingerprints == model.fingerprints
    kernel = spread.params["tokenizer"]["pixel"]["encoder"]["conv_in"]["kernel"]
    assert not kernel.sharding.is_fully_replicated
    assert np.abs(spread.reconstruct(images).astype(int) - model.reconstruct(images)).max() <= 1


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda m: m.reconstruct(np.zeros((12, 16, 3), np.uint8)),
            "12 x 16 pixels, expected multiples of the tokenizer's stride 8",
        ),
        (lambda m: m.reconstruct(np.zeros((16, 16, 3), np.float32)), r"expected uint8 .* found float32\[16, 16, 3\]"),
        (lambda m: m.encode(np.zeros((16, 16), np.uint8)), r"found uint8\[16, 16\]"),
        (lambda m: m.decode(np.full((2, 2), 32)), "expected codes from 0 to 31, found 32 to 32"),
        (lambda m: m.decode(np.zeros((2, 2))), r"expected integers .* found float64\[2, 2\]"),
    ],
)
def test_bad_arrays(model, call, words):
    with pytest.raises(UserError, match=words):
        call(model)


def test_files_that_are_no_model(run, tmp_path):
    _, c, _, ema = run
    with pytest.raises(UserError, match="is not a run directory, an Orbax step directory or a .safetensors file"):
        focus_jax.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="weights='average', expected ema or raw"):
        focus_jax.load(run[0], weights="average")
    bare = tmp_path / "bare.safetensors"
    safetensors.numpy.save_file({"tokenizer/pixel/x": np.zeros(2, np.float32)}, bare)
    with pytest.raises(UserError, match="metadata have no field config"):
        focus_jax.load(bare)
    some = tmp_path / "some.safetensors"
    store.save_safetensors(some, dict(list(ema.items())[1:]), c)
    with pytest.raises(UserError, match="its config describes tokenizer/pixel/.*, which the checkpoint does not hold"):
        focus_jax.load(some)
    cut = tmp_path / "cut.safetensors"
    store.save_safetensors(cut, ema, c)
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="cut.safetensors: expected a whole safetensors file"):
        focus_jax.load(cut)
    cut.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match="differs from its recorded digest"):
        focus_jax.load(cut)
    store.save_safetensors(cut, ema, c)
    cut.write_bytes(cut.read_bytes().replace(b'"format":"1"', b'"format":"7"', 1))
    with pytest.raises(UserError, match="metadata field format is 7, this code reads 1"):
        focus_jax.load(cut)


def test_references_are_followed(tmp_path, monkeypatch):
    """A model whose tokenizer is frozen reads it from the run it came from, EMA included."""
    monkeypatch.setattr(stages, "create", lambda config: TinyStage())
    trained, frozen = new_run(tmp_path / "first", 2)
    averaged = state.all_params(trained, frozen, ema=True)
    second_trained, _ = chain(tmp_path / "first", tmp_path / "second")
    model = focus_jax.load(tmp_path / "second")
    kernel = model.params["tokenizer"]["pixel"]["dense"]["kernel"]
    assert kernel.dtype == np.float32  # as stored there; the run computed in bfloat16
    np.testing.assert_array_equal(kernel, averaged["tokenizer/pixel/dense/kernel"])
    np.testing.assert_array_equal(
        model.params["llm"]["dense"]["kernel"], second_trained.params["llm"]["llm/dense/kernel"]
    )
    assert model.fingerprints["tokenizer/pixel"] == focus_jax.load(tmp_path / "first").fingerprints["tokenizer/pixel"]
    with pytest.raises(UserError, match="this model has no tokenizer"):
        model.reconstruct(np.zeros((8, 8, 3), np.uint8))
    assert CHAIN["assign"] == tuple(map(tuple, model.config.assign))
