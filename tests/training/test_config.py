# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A bad config fails in one sentence that names the field, before any device works."""

import pytest

from focus_jax.errors import UserError
from focus_jax.training import config as config_lib

TINY = "configs/stage1_tokenizer.py:tiny"


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_shipped_configs_are_valid(size):
    config = config_lib.load(f"configs/stage1_tokenizer.py:{size}")
    config_lib.validate(config, 64 if size == "full" else 1)
    assert config_lib.digest(config) == config_lib.digest(config_lib.load(f"configs/stage1_tokenizer.py:{size}"))


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
        (["--config.loss.weights.quantiser=-1.0"], "config.loss.weights.quantiser"),
        (["--config.stage=tokeniser"], "config.stage: 'tokeniser'"),
        (["--config.validate_weights=mean"], "config.validate_weights"),
        (["--config.model.tokenizer.pixel.encoder.widths=(48,64,64)"], "stride|widths|levels"),
    ],
)
def test_bad_values(overrides, said):
    with pytest.raises(UserError, match=said):
        config_lib.validate(config_lib.load(TINY, overrides), 1)


def test_missing_field_and_file():
    config = config_lib.load(TINY)
    with config.unlocked():
        del config.health.spike
    with pytest.raises(UserError, match="config.health.spike: this field is missing"):
        config_lib.validate(config, 1)
    with pytest.raises(UserError, match="no file configs/nowhere.py"):
        config_lib.load("configs/nowhere.py")
    with pytest.raises(UserError, match="stage1_tokenizer.py:huge: expected :full or :tiny"):
        config_lib.load("configs/stage1_tokenizer.py:huge")


def test_a_batch_the_mesh_does_not_divide():
    with pytest.raises(UserError, match="batch_size: 8 is not a multiple of 16"):
        config_lib.validate(config_lib.load(TINY), 16)
