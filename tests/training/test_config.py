# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A bad config fails in one sentence that names the field, before any device works."""

import functools

import flax.linen as nn
import jax
import pytest

from configs import ablations
from data_pipelines import language
from data_pipelines.schedule import Schedule
from focus_jax import stages
from focus_jax.errors import UserError
from focus_jax.training import config as config_lib
from focus_jax.training import parts

TINY = "configs/stage1_tokenizer.py:tiny"


OF_TOKENIZER = [f"ablations.py:{name}{size}" for name in ablations.TOKENIZER for size in ("", "_tiny")]
LATER = [
    f"ablations.py:{n}{size}" for n in ablations.ABLATIONS if n not in ablations.TOKENIZER for size in ("", "_tiny")
]
SHIPPED = [f"stage1_tokenizer.py:{size}" for size in ("tiny", "long", "full")] + OF_TOKENIZER
SHIPPED += [f"stage0_decoder.py:{network}" for network in ("vae", "unet")]
SHIPPED += [f"stage1_decoder.py:{size}" for size in ("tiny", "long", "full", "stored")]
SHIPPED += ["stage3.py:drawing", "stage3.py:editing", "stage4.py:long"]
SHIPPED += [pytest.param(name, marks=pytest.mark.slow) for name in LATER]


@functools.cache
def groups_of(name):
    """{path: group} of all parameters of a shipped config."""
    config = config_lib.load(f"configs/{name}")
    shapes = parts.flatten(jax.eval_shape(lambda: nn.unbox(stages.create(config).init(jax.random.key(0)))))
    return parts.assign(shapes, config.assign, config.groups)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_are_valid(name):
    """Fields, buckets, and every parameter in one group and under one source of config.init."""
    config = config_lib.load(f"configs/{name}")
    config_lib.validate(config, 64 if name.endswith(("full", *ablations.ABLATIONS)) else 1)
    assert config_lib.digest(config) == config_lib.digest(config_lib.load(f"configs/{name}"))
    groups = groups_of(name)
    frozen = {p for p, group in groups.items() if group == "frozen"}
    assert {parts.part_of(p) for p in frozen} >= {p for p in config.init if p.startswith("tokenizer/")}
    assert all(any(p.startswith(prefix) for prefix in config.init) for p in groups)


def test_ablations_leave_out_what_they_say():
    full = config_lib.load("configs/stage1_tokenizer.py")
    found = {name: config_lib.load(f"configs/ablations.py:{name}") for name in ablations.ABLATIONS}
    assert found["no_hierarchical_encoder"].model.tokenizer.form == "illume"
    assert found["no_pixel_branch"].model.tokenizer.branches == ("semantic",)
    assert found["no_semantic_branch"].model.tokenizer.branches == ("pixel",)
    assert found["single_resolution"].model.tokenizer.high == 0
    for name in ablations.TOKENIZER:
        config = found[name]
        high = config.data.phases[0]["streams"][0].get("high", 0)
        assert high == (768 if name == "no_pixel_branch" else 0), name
        assert config.loss == full.loss and config.groups == full.groups and config.data.keys() == full.data.keys()
    first = found["pixel_first"].data.phases[0]["streams"][0]
    assert language.sizes(first["sequence"]).pixel_first
    named = {s["segmentation"]["names"] for s in config_lib.streams(found["no_names"]) if "segmentation" in s}
    assert named == {0.0, 0.9}  # edits say what they edit
    assert found["no_mask_guidance"].model.mask_guidance is None
    assert found["separate_masks"].loss.truth == (1.0, 1.0) and not found["no_source_cells"].model.source_cells
    literal, apart = found["literal_mask_guidance"].model.mask_guidance, found["mask_attention"].model
    assert (literal.form, literal.grid) == ("literal", "latent")
    assert apart.unet.separate and not apart.mask_guidance.gated
    assert found["mask_tokens"].model.mask_guidance.states == found["mask_tokens"].model.llm.width == 2048
    with pytest.raises(UserError, match="ablations.py:no_encoder: expected :no_hierarchical_encoder, :no_pixel"):
        config_lib.load("configs/ablations.py:no_encoder")


def test_full_recipe_is_the_papers():
    """FOCUS Table 6 and section 3.5: 136k steps at 256 and 28k at 512, batch 256, 2e-4 for the pixel branch, L1."""
    config = config_lib.load("configs/stage1_tokenizer.py")
    assert [p["steps"] for p in config.data.phases] == [136_000, 28_000]
    assert {s["batch_size"] for s in config_lib.streams(config)} == {256}
    assert len(config.data.phases[0]["streams"]) == len(config.data.phases[1]["streams"]) == 11
    assert (config.groups.pixel.lr, config.groups.pixel.schedule, config.loss.reconstruction) == (
        2e-4,
        "constant",
        "l1",
    )
    assert config.loss.adversarial_from == 20_000 and config.groups.discriminator.lr == 1e-4
    assert config.groups.semantic.lr == 1e-4 and set(config.loss.weights.values()) == {1.0, 0.5}
    assert {s["high"] for s in config_lib.streams(config)} == {768}


def test_full_decoder_recipe_is_the_papers():
    """FOCUS Table 6 and section 3.5: 150k steps at 512 and 70k at 1024, batch 128, 2e-5 for the UNet alone, whole maps
    of codes dropped."""
    config, groups = config_lib.load("configs/stage1_decoder.py"), groups_of("stage1_decoder.py:full")
    assert [p["steps"] for p in config.data.phases] == [150_000, 70_000]
    assert {s["batch_size"] for s in config_lib.streams(config)} == {128}
    assert config.loss.drop.to_dict() == {"all": 0.1, "semantic": 0.0, "pixel": 0.0}
    assert {name: g.lr for name, g in config.groups.items() if g.trained} == {"unet": 2e-5}
    assert config.groups.unet.schedule == "constant"
    assert {p for p, group in groups.items() if group == "unet"} == {p for p in groups if p.startswith("unet/")}


@pytest.mark.slow
def test_full_editing_recipe_is_the_papers():
    """FOCUS Tables 5 and 6: one epoch of 9.5M examples, 256 rows a step; of the UNet only where it reads the mask
    learns."""
    config, groups = config_lib.load("configs/stage4.py"), groups_of("stage4.py:full")
    assert [p["steps"] for p in config.data.phases] == [37_000]
    assert {s["batch_size"] for s in config_lib.streams(config)} == {256}
    rates = {name: g.lr for name, g in config.groups.items() if g.trained}
    found = {}
    for path, group in groups.items():
        part = parts.part_of(path)
        if part == "unet":
            part += "/masks" if "_attn_" in path and ("/attn2/" in path or "/norm2/" in path) else "/rest"
        found.setdefault(part, set()).add(rates.get(group))
    said = dict.fromkeys(("llm", "fusion_mlp", "projector", "adapter", "mask_tokens"), 2e-5)
    said |= dict.fromkeys(("mask_decoder", "mask_pixel_decoder", "unet/masks"), 2e-6)
    said |= {"mask_guidance": 1e-3, "source_cells": 1e-3}
    assert found == {part: {said.get(part)} for part in found} and said.keys() < found.keys()


def test_overrides_reach_every_depth():
    config = config_lib.load(
        TINY,
        [
            "--config.groups.pixel.lr=1e-4",
            "--config.data.sources[0].path=x",
            "--config.model.tokenizer.pixel.encoder.widths=(8, 8)",
        ],
    )
    assert config.groups.pixel.lr == 1e-4 and config.data.sources[0]["path"] == "x"
    assert config.model.tokenizer.pixel.encoder.widths == (8, 8)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["--config.sed=3"], "sed.*seed"),
        (["--config.seed=abc"], "config.seed=abc"),
        (["--config.groups.pixel.lr=fast"], "config.groups.pixel.lr"),
        (["--config.data.sources[3].path=x"], r"sources\[3\]"),
        (["--config.groups.pixel.schedule=wave"], "schedule 'wave'"),
        (["--config.groups.pixel.ema=1.5"], "config.groups.pixel.ema"),
        (["--config.compute_dtype=int8"], "config.compute_dtype: expected float32 or bfloat16"),
        (["--config.mesh.data=3"], "config.mesh: .* does not fit 1 devices"),
        (["--config.sharding=fspd"], "config.sharding: 'fspd' is none of the tables"),
        (["--config.data.flip=often"], "config.data.flip"),
        (["--config.mesh.data=-1"], "only one axis may be -1"),
        (["--config.accumulate=3"], "batch_size: 8 is not a multiple of 3.*next that fits is 9"),
        (["--config.accumulate=0"], "config.accumulate: expected at least 1"),
        (["--config.data.phases[0].streams[0].height=60"], "height: 60 is not a multiple of the tokenizer's stride 8"),
        (["--config.loss.reconstruction=l3"], "config.loss.reconstruction"),
        (["--config.loss.weights.pixel_quantiser=-1.0"], "config.loss.weights.pixel_quantiser"),
        (["--config.loss.pixel_drop.rate=1.0"], "config.loss.pixel_drop.rate: expected a share below 1, found 1.0"),
        (["--config.loss.codebook_start=-1"], "config.loss.codebook_start: expected 0 or more"),
        (["--config.model.tokenizer.semantic.heads=5"], "semantic branch: width 96 with 5 heads"),
        (["--config.init.perceptal=x"], "config.init.perceptal=x: 'perceptal' is no part and in none"),
        (["--config.init.tokenizer.vit=x"], "config.init.tokenizer.vit=x: 'tokenizer.vit' is no part and in none"),
        (["--config.data.phases[0].streams[0].high=64"], "high: 64, expected 128, the long edge of the pictures"),
        (["--config.model.tokenizer.form=illume"], "high: 128, expected 0, the long edge of the pictures"),
        (["--config.data.phases[0].streams[0].shape_class=objects"], "shape_class: expected picture, found 'objects'"),
        (["--config.stage=tokeniser"], "config.stage: 'tokeniser'"),
        (["--config.validate_weights=mean"], "config.validate_weights"),
        (["--config.model.tokenizer.pixel.encoder.widths=(48,64,64)"], "stride|widths|levels"),
    ],
)
def test_bad_values(overrides, said):
    with pytest.raises(UserError, match=said):
        config_lib.validate(config_lib.load(TINY, overrides), 1)


def test_sources_of_parts_from_the_command_line():
    """Names with slashes, parts that the config does not list, the most specific one wins; one codebook may start."""
    given = ["--config.init.tokenizer=x", "--config.init.tokenizer/fusion=random", "--config.init.tokenizer/vit=y"]
    config = config_lib.load(TINY, [*given, "--config.loss.codebook_start=0"])
    config_lib.validate(config, 1)
    source = lambda path: config.init[parts.source_of(path, config.init)]
    assert source("tokenizer/pixel/decoder/conv_in/kernel") == "x" and source("tokenizer/vit/merger/fc1/kernel") == "y"
    assert source("tokenizer/fusion/out/kernel") == "random" and parts.source_of("vae/x", config.init) is None
    with pytest.raises(UserError, match="codebook_start: 100, but config.init brings every codebook"):
        config_lib.validate(config_lib.load(TINY, given), 1)
    config_lib.validate(config_lib.load(TINY, [*given, "--config.init.tokenizer/semantic=random"]), 1)
    inside = [*given, "--config.init.tokenizer/semantic=random", "--config.init.tokenizer/semantic/quantizer=z"]
    with pytest.raises(UserError, match="codebook_start: 100, but config.init brings every codebook"):
        config_lib.validate(config_lib.load(TINY, inside), 1)
    with pytest.raises(UserError, match="config has no field init"):
        config_lib.load("configs/eval.py:reconstruction", ["--config.init.tokenizer=x"])


def test_loss_has_the_fields_that_are_known():
    for spoil, words in (
        (lambda c: c.loss.weights.update({"quantiser": 1.0}), "config.loss.weights.quantiser: is unknown"),
        (lambda c: c.loss.__delitem__("pixel_drop"), "config.loss.pixel_drop: is missing"),
        (lambda c: c.loss.weights.__delitem__("semantic"), "config.loss.weights.semantic: is missing"),
    ):
        config = config_lib.load(TINY)
        with config.unlocked():
            spoil(config)
        with pytest.raises(UserError, match=words):
            config_lib.validate(config, 1)


def test_a_stream_without_high_says_so():
    """0 is none, to the data and to the stage alike."""
    config = config_lib.load(TINY, ["--config.data.phases[0].streams[0].high=0"])
    Schedule(config.data.phases, 0)
    with pytest.raises(UserError, match="high: 0, expected 128"):
        config_lib.validate(config, 1)
    config.model.tokenizer.form = "illume"
    config_lib.validate(config, 1)


def test_missing_field_and_file():
    config = config_lib.load(TINY)
    with config.unlocked():
        del config.health.spike
    with pytest.raises(UserError, match="config.health.spike: this field is missing"):
        config_lib.validate(config, 1)
    with pytest.raises(UserError, match="no file configs/nowhere.py"):
        config_lib.load("configs/nowhere.py")
    with pytest.raises(UserError, match="stage1_tokenizer.py:huge: expected :full, :tiny or :long"):
        config_lib.load("configs/stage1_tokenizer.py:huge")


def test_a_batch_the_mesh_does_not_divide():
    with pytest.raises(UserError, match="batch_size: 8 is not a multiple of 16"):
        config_lib.validate(config_lib.load(TINY), 16)
