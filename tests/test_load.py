# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""focus_jax.load on runs, steps and safetensors files; what the loaded object does."""

import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import focus_jax
from focus_jax import stages
from focus_jax.errors import UserError
from focus_jax.stages.tokenizer import codes_fingerprint
from focus_jax.training import checkpoint, config, fingerprint, sharding, state, store
from tests.training.small_tokenizer import HIGH, shrink
from tests.training.tiny_run import CHAIN, chain, new_run
from tests.training.tiny_stage import TinyStage

PARTS = [f"tokenizer/{name}" for name in ("pixel", "semantic", "vit", "convnext", "fusion")]
LANCZOS = Image.Resampling.LANCZOS


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(workdir, config, raw parameters, averaged parameters) of a saved tokenizer."""
    workdir = tmp_path_factory.mktemp("tokenizer")
    c = config.load("configs/stage1_tokenizer.py:tiny")
    shrink(c)
    stage = stages.create(c)
    plan = state.plan(c, stage.init, (), 10, sharding.make_mesh(c.mesh, jax.devices()[:1]))
    rng = np.random.default_rng(0)  # numpy's numbers: the stage's own init would be compiled for nothing
    params = {
        p: jax.device_put(0.1 * rng.normal(size=x.shape).astype(x.dtype), x.sharding) for p, x in plan.abstract.items()
    }
    trained, frozen = state.begin(plan, params)
    trained = trained.replace(ema={g: {p: x * 0.5 for p, x in leaves.items()} for g, leaves in trained.ema.items()})
    saver = checkpoint.Checkpoints(workdir, c, plan)
    saver.start(frozen, {part: {"text": "random", "entries": {}} for part in PARTS})
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
    expected = {part: fingerprint.fingerprint(ema, f"{part}/") for part in PARTS}
    assert prints == model.fingerprints == expected
    for source in (workdir / "checkpoints" / "0", str(file)):
        assert focus_jax.load(source).fingerprints == expected
    raw_model = focus_jax.load(workdir, weights="raw")
    assert raw_model.fingerprints == {part: fingerprint.fingerprint(raw, f"{part}/") for part in PARTS} != expected
    assert model.config.model.tokenizer.pixel.codes == 64 and model.high == HIGH


def test_reconstruct_is_decode_of_encode(model, images):
    codes = model.encode(images)
    assert {k: x.shape for k, x in codes.items()} == {"semantic": (2, 2, 3), "pixel": (2, 4, 6)}
    assert all(x.dtype == np.int32 for x in codes.values())
    pictures = model.reconstruct(images)
    assert pictures.shape == images.shape and pictures.dtype == np.uint8
    np.testing.assert_array_equal(model.decode(codes), pictures)
    one = model.reconstruct(images[0])
    assert (
        one.shape == images[0].shape and np.abs(one.astype(int) - pictures[0]).max() <= 1
    )  # another batch size rounds anew
    single = {name: x[0] for name, x in codes.items()}
    jax.tree.map(np.testing.assert_array_equal, model.encode(images[0]), single)
    assert model.decode(single).shape == images[0].shape
    assert {k: x.shape for k, x in model.codebooks().items()} == {"semantic": (32, 4), "pixel": (64, 4)}


def test_high_pictures(model, images):
    """Without them the images are enlarged; those of any size are brought to the long edge that the tokenizer reads."""
    high = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    enlarge = lambda x, size: np.stack([np.asarray(Image.fromarray(one).resize(size, LANCZOS)) for one in x])
    plain, given = model.semantic_features(images), model.semantic_features(images, enlarge(images, (32, 21)))
    np.testing.assert_allclose(plain[0], given[0], atol=1e-5)
    other = model.semantic_features(images, high)
    np.testing.assert_allclose(other[0], model.semantic_features(images, enlarge(high, (32, 21)))[0], atol=1e-5)
    np.testing.assert_allclose(other[1], plain[1], atol=1e-5)  # the tower sees the images alone
    assert plain[0].shape == (2, 2, 3, 8)
    with pytest.raises(UserError, match="high: .2, 32, 32, 3., expected the 2 images at another size of the same"):
        model.encode(images, high[:, :32, :32])


def test_fingerprint_of_codes_is_of_what_they_depend_on(model):
    own = model.codes_fingerprint
    changed = lambda *path: codes_fingerprint(model.config.model.tokenizer, scaled(model.params["tokenizer"], path))
    assert (
        changed("pixel", "decoder", "conv_in", "kernel") == changed("semantic", "decoder", "proj_in", "kernel") == own
    )
    for path in (
        ("pixel", "quantizer", "frozen_codebook"),
        ("semantic", "encoder", "proj_in", "kernel"),
        ("fusion", "out", "kernel"),
        ("vit", "merger", "fc1", "kernel"),
        ("convnext", "stem", "kernel"),
    ):
        assert changed(*path) != own, path
    other = model.config.model.tokenizer.copy_and_resolve_references()
    other.high = 64
    assert codes_fingerprint(other, model.params["tokenizer"]) != own


def scaled(tree, path):
    """The tree with one leaf doubled."""
    if not path:
        return tree * 2
    return {**tree, path[0]: scaled(tree[path[0]], path[1:])}


def test_on_a_mesh(run, model, images):
    mesh = sharding.make_mesh({"dcn_data": 1, "data": 1, "fsdp": 2, "tensor": 1}, jax.devices()[:2])
    spread = focus_jax.load(run[0], mesh=mesh)
    assert spread.fingerprints == model.fingerprints
    kernel = spread.params["tokenizer"]["pixel"]["encoder"]["conv_in"]["kernel"]
    assert not kernel.sharding.is_fully_replicated
    assert np.abs(spread.reconstruct(images).astype(int) - model.reconstruct(images)).max() <= 1


def codes(semantic=0, pixel=0):
    return {"semantic": np.full((2, 2), semantic), "pixel": np.full((4, 4), pixel)}


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda m: m.reconstruct(np.zeros((10, 16, 3), np.uint8)),
            "10 x 16 pixels, expected multiples of the stride 4",
        ),
        (lambda m: m.reconstruct(np.zeros((16, 16, 3), np.float32)), r"expected uint8 .* found float32\[16, 16, 3\]"),
        (lambda m: m.encode(np.zeros((16, 16), np.uint8)), r"found uint8\[16, 16\]"),
        (lambda m: m.decode(codes(pixel=64)), "expected pixel codes from 0 to 63, found 64 to 64"),
        (lambda m: m.decode(codes(semantic=-1)), "expected semantic codes from 0 to 31, found -1 to -1"),
        (lambda m: m.decode(codes(pixel=0.5)), r"expected integers .* found pixel float64\[4, 4\]"),
        (lambda m: m.decode({"pixel": codes()["pixel"]}), "codes: pixel, expected those of semantic, pixel"),
        (lambda m: m.decode(codes(), (32, 32)), r"\[2, 2\], expected \[4, 4\] for a picture of 32 x 32 pixels"),
        (
            lambda m: m.decode(codes() | {"semantic": np.zeros((2, 3), int)}),
            r"codes: semantic \[2, 3\], expected \[2, 2\] for a picture of 16 x 16 pixels",
        ),
        (
            lambda m: m.decode(codes() | {"semantic": codes()["semantic"][None]}),
            r"codes: pixel \[4, 4\], expected \[1, 4, 4\]",
        ),
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
    with pytest.raises(
        UserError, match="its config describes tokenizer/convnext/.*, which the checkpoint does not hold"
    ):
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
