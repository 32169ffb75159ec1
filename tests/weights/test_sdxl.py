# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""SDXL's networks at full size without arrays: counts to the digit, every key of both namings; the single file's names
as diffusers reads them."""

import math

import numpy as np
import pytest
from ml_collections import ConfigDict

from focus_jax.errors import UserError
from focus_jax.weights import sdxl

TINY_UNET = dict(
    widths=(8, 16, 16), depths=(0, 1, 2), heads=(2, 4, 4), blocks=2, inputs=10, context=6, pooled=5, ids=4, groups=4
)
TINY_VAE = dict(widths=(8, 8, 16, 16), blocks=2, channels=4, groups=4)
TINY = ConfigDict({"model": {"unet": TINY_UNET | dict(scan=True), "vae": TINY_VAE | dict(scan=True)}})
TABLES = [sdxl.UNET, sdxl.UNET_ORIGINAL, sdxl.VAE_DIFFUSERS, sdxl.VAE_ORIGINAL]
EACH = pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)


def source(table, seed=0, config=TINY):
    rng = np.random.default_rng(seed)
    keys = table.keys(table.shapes(config))
    return {table.prefixes[0] + k: rng.standard_normal(shape).astype(np.float32) for k, (*_, shape) in keys.items()}


def diffusers_config(name):
    if name == "vae":
        blocks = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
        return blocks | dict(block_out_channels=[128, 256, 512, 512], layers_per_block=2, latent_channels=4)
    return dict(
        in_channels=68,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        block_out_channels=[320, 640, 1280],
        cross_attention_dim=2048,
        transformer_layers_per_block=[1, 2, 10],
        attention_head_dim=[5, 10, 20],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def test_counts_to_the_digit():
    assert sum(math.prod(shape) for shape in sdxl.unet_shapes().values()) == 2_567_648_004
    assert sum(math.prod(shape) for shape in sdxl.vae_shapes().values()) == 83_653_863


@pytest.mark.parity
@pytest.mark.parametrize("table", [sdxl.UNET, sdxl.VAE_DIFFUSERS], ids=lambda t: t.name)
def test_every_key_of_diffusers(table):
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    made, name = (diffusers.AutoencoderKL, "vae") if "vae" in table.name else (diffusers.UNet2DConditionModel, "unet")
    with torch.device("meta"):
        released = made(**diffusers_config(name)).state_dict()
    want = {key: tuple(x.shape) for key, x in released.items()}
    assert {key: shape for key, (*_, shape) in table.keys(table.shapes()).items()} == want


@EACH
def test_there_and_back(table):
    theirs, shapes = source(table), table.shapes(TINY)
    flat = table.read(theirs, shapes, "file")
    assert {path: x.shape for path, x in flat.items()} == shapes
    back = table.write(flat, shapes)
    assert set(back) == set(theirs) and all(np.array_equal(back[k], theirs[k]) for k in back)


@pytest.mark.slow
@pytest.mark.parity
def test_diffusers_reads_the_single_file_alike():
    """Our original names through diffusers' own conversion are our diffusers names."""
    pytest.importorskip("torch")
    from diffusers.loaders import single_file_utils as theirs

    shapes = sdxl.unet_shapes(TINY)
    flat = sdxl.UNET_ORIGINAL.read(source(sdxl.UNET_ORIGINAL), shapes, "file")
    config = dict(layers_per_block=2, addition_embed_type="text_time", class_embed_type=None, num_class_embeds=None)
    found = theirs.convert_ldm_unet_checkpoint(sdxl.UNET_ORIGINAL.write(flat, shapes), config)
    want = sdxl.UNET.write(flat, shapes)
    assert set(found) == set(want) and all(np.array_equal(found[k], want[k]) for k in want)

    import torch

    shapes = sdxl.vae_shapes(TINY)
    flat = sdxl.VAE_ORIGINAL.read(source(sdxl.VAE_ORIGINAL), shapes, "file")
    given = {k: torch.from_numpy(v) for k, v in sdxl.VAE_ORIGINAL.write(flat, shapes).items()}
    config = dict(down_block_types=[""] * 4, up_block_types=[""] * 4)
    found, want = theirs.convert_ldm_vae_checkpoint(given, config), sdxl.VAE_DIFFUSERS.write(flat, shapes)
    assert set(found) == set(want)
    for key, x in want.items():
        np.testing.assert_array_equal(found[key].numpy().reshape(x.shape), x, err_msg=key)


def test_what_else_a_single_file_holds_is_passed_over():
    unet, vae = source(sdxl.UNET_ORIGINAL), source(sdxl.VAE_ORIGINAL)
    whole = unet | vae | {"conditioner.embedders.0.transformer.x": np.zeros(1), "denoiser.sigmas": np.zeros(1)}
    for table in (sdxl.UNET_ORIGINAL, sdxl.VAE_ORIGINAL):
        shapes = table.shapes(TINY)
        assert set(table.read(whole, shapes, "file")) == set(shapes)


@pytest.mark.slow
def test_a_network_without_codes_is_filled_up_with_zeros():
    narrow = ConfigDict({"model": {"unet": TINY_UNET | dict(inputs=4)}})
    for table in (sdxl.UNET, sdxl.UNET_ORIGINAL):
        theirs, shapes = source(table, config=narrow), table.shapes(TINY)
        assert table.widened(theirs, shapes) == ["unet/conv_in/kernel"]
        kernel = table.read(theirs, shapes, "file")["unet/conv_in/kernel"]
        assert kernel.shape == (3, 3, 10, 8) and not kernel[:, :, 4:].any() and kernel[:, :, :4].all()
        assert table.widened(source(table), shapes) == []
        with pytest.raises(UserError, match="has shape .*, expected"):  # a wider file is no narrower network
            table.read(source(table), table.shapes(narrow), "file")


@pytest.mark.parametrize(("inputs", "said"), [(20, True), (4, False)])
def test_an_import_tells_of_sizes_that_illume_does_not_know(inputs, said, tmp_path, capsys):
    from focus_jax import convert
    from focus_jax.training import config as config_lib
    from focus_jax.weights import files

    config = config_lib.load("configs/stage1_decoder.py:tiny")
    assert config.model.unet.inputs == 20
    config.model.unet.inputs = inputs
    files.write_weights(tmp_path / "theirs.safetensors", source(sdxl.UNET, config=config), {"format": "pt"})
    argv = ["import", "--format=sdxl_unet", f"--source={tmp_path / 'theirs.safetensors'}"]
    convert.main([*argv, f"--output={tmp_path / 'ours.safetensors'}", "--config=configs/stage1_decoder.py:tiny"])
    assert ("config.model.decoder.known=12" in capsys.readouterr().out) == said


def test_imports_fit_the_full_recipe():
    """An import without a config has the very leaves that configs/stage1_decoder.py asks for."""
    import flax.linen as nn
    import jax

    from focus_jax import stages
    from focus_jax.training import config as config_lib
    from focus_jax.training.parts import flatten

    config = config_lib.load("configs/stage1_decoder.py")
    asked = flatten(nn.unbox(jax.eval_shape(stages.create(config).init, jax.random.key(0))))
    given = sdxl.unet_shapes() | sdxl.vae_shapes()
    wanted = {path: tuple(x.shape) for path, x in asked.items() if path.startswith(("unet/", "vae/"))}
    assert wanted == given


def test_a_narrow_network_starts_a_wide_one(tmp_path):
    """config.init takes a UNet without codes: the first channels are its own, the rest zero; no other width is."""
    import types

    import jax

    from focus_jax.training import checkpoint, store

    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 4, 8)).astype(np.float32)
    file = tmp_path / "unet.safetensors"
    store.save_safetensors(file, {"unet/conv_in/kernel": kernel, "unet/conv_in/bias": kernel[0, 0, 0]}, None, "test")
    entries = store.catalogue(file, "raw", "test").entries
    wide = lambda n: {
        "unet/conv_in/kernel": jax.ShapeDtypeStruct((3, 3, n, 8), np.float32),
        "unet/conv_in/bias": jax.ShapeDtypeStruct((8,), np.float32),
    }
    read = lambda n: checkpoint._read(entries, types.SimpleNamespace(abstract=wide(n)))
    found = read(20)
    np.testing.assert_array_equal(found["unet/conv_in/kernel"][:, :, :4], kernel)
    assert not np.any(found["unet/conv_in/kernel"][:, :, 4:])
    np.testing.assert_array_equal(read(4)["unet/conv_in/kernel"], kernel)
    with pytest.raises(UserError, match="unet/conv_in/kernel has shape"):
        read(3)


@EACH
def test_refusals(table):
    shapes = table.shapes(TINY)
    theirs = source(table)
    key = next(k for k in theirs if k.endswith("conv_out.bias") or k.endswith("out.2.bias"))
    with pytest.raises(UserError, match="expects keys that are missing"):
        table.read({k: x for k, x in theirs.items() if k != key}, shapes, "file")
    with pytest.raises(UserError, match="unknown keys for format"):
        table.read(theirs | {f"{table.prefixes[0]}mid_block.other.weight": np.zeros(1)}, shapes, "file")
    with pytest.raises(UserError, match="has shape"):
        table.read(theirs | {key: np.zeros(99)}, shapes, "file")


def test_an_autoencoder_of_another_scale_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"scaling_factor": 0.18215}')
    source = str(tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError, match="scaling_factor 0.18215, expected 0.13025"):
        sdxl.check_beside("sdxl_vae", source, None)
    other = ConfigDict({"model": {"vae": TINY_VAE | dict(scale=0.18215)}})
    sdxl.check_beside("sdxl_vae", source, other)
    sdxl.check_beside("sdxl_unet", source, None)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="is no JSON of an autoencoder"):
        sdxl.check_beside("sdxl_vae", source, None)


@pytest.mark.slow
@pytest.mark.parity
def test_an_export_loads_in_diffusers(tmp_path, capsys):
    """A checkpoint of stage 1b as folders that diffusers reads, with the same output."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    import jax

    from focus_jax import convert
    from focus_jax.models.unet import unet
    from focus_jax.training import store
    from focus_jax.training.parts import unflatten
    from tests.parity.compare import assert_close, nchw, nhwc

    rng = np.random.default_rng(0)
    shapes = sdxl.unet_shapes(TINY) | sdxl.vae_shapes(TINY)
    flat = {path: np.float32(rng.standard_normal(shape) * 0.2) for path, shape in shapes.items()}
    store.save_safetensors(tmp_path / "model.safetensors", flat, TINY, "test")
    for name in ("sdxl_unet", "sdxl_vae"):
        convert.main(
            [
                "export",
                f"--format={name}",
                f"--checkpoint={tmp_path / 'model.safetensors'}",
                f"--output={tmp_path / name}",
            ]
        )
    peer = diffusers.UNet2DConditionModel.from_pretrained(str(tmp_path / "sdxl_unet"))
    assert diffusers.AutoencoderKL.from_pretrained(str(tmp_path / "sdxl_vae")).config.scaling_factor == 0.13025
    x = rng.standard_normal((1, 8, 8, 10)).astype(np.float32)
    ids = np.array([[0, 0, 0, 0, 0, 4]], np.float32)
    given = dict(text_embeds=torch.zeros(1, 5), time_ids=torch.from_numpy(ids))
    with torch.no_grad():
        want = peer(nchw(x), torch.tensor([7]), torch.zeros(1, 1, 6), added_cond_kwargs=given).sample
    params = unflatten({k: v for k, v in flat.items() if k.startswith("unet/")})["unet"]
    net = unet(**TINY.model.unet)
    assert_close(jax.jit(net.apply)({"params": params}, x, np.array([7]), ids), nhwc(want), 1e-4)
