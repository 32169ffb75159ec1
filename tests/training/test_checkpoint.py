# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: round trips over meshes, where parameters come from, references, and everything that can be broken."""

import contextlib
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import models
from focus_jax.errors import UserError
from focus_jax.sequence import identity
from focus_jax.training import checkpoint, fingerprint, state, store
from tests.training.tiny_run import CHAIN, chain, new_run, resume, train
from tests.training.tiny_stage import TinyStage, tiny_config, tiny_plan

init = TinyStage().init


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(workdir, trained, frozen) of a run of three steps; do not change it, `copy` it."""
    workdir = tmp_path_factory.mktemp("runs") / "first"
    return workdir, *new_run(workdir, 3)


@pytest.fixture
def copy(run, tmp_path):
    return pathlib.Path(shutil.copytree(run[0], tmp_path / "copy"))


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_restored_on_any_number_of_devices(run, devices):
    workdir, trained, frozen = run
    config = tiny_config()
    plan = tiny_plan(config, devices)
    got, got_frozen, data = checkpoint.Checkpoints(workdir, config, plan).restore(3, plan)
    same((got, got_frozen), (trained, frozen))
    assert data == {"k": 3, "seed": 0}
    assert jax.tree.map(lambda x: (x.sharding, x.dtype), (got, got_frozen)) == jax.tree.map(
        lambda x: (x.sharding, x.dtype), (plan.trained, plan.frozen)
    )
    assert got_frozen["vae/dense/kernel"].dtype == jnp.bfloat16


def test_what_lies_where(run):
    workdir = run[0]
    items = {p.name for p in (workdir / "checkpoints" / "3").iterdir() if p.is_dir()}
    assert items == {"tokenizer.pixel", "llm", "opt.pixel", "opt.llm", "ema.pixel", "health", "data", "meta", "metrics"}
    assert {p.name for p in (workdir / "frozen").iterdir() if p.is_dir()} == {"vae", "meta"}
    meta = store.read_meta(workdir / "checkpoints" / "3")
    assert set(meta["items"]["tokenizer.pixel"]) == {"dense/kernel", "dense/bias", "frozen_codebook"}  # the buffer too
    assert meta["frozen"]["vae"]["relative"] == "../../frozen"
    assert meta["code"] and meta["config"]["name"] == "tiny" and meta["origins"]["llm"] == "random"
    trained, frozen = run[1:]
    for kind, ema in (("raw", False), ("ema", True)):
        flat = state.all_params(trained, frozen, ema)
        for part, prints in meta["fingerprints"].items():
            assert prints[kind] == fingerprint.fingerprint(flat, part + "/")
    assert meta["fingerprints"]["tokenizer/pixel"]["raw"] != meta["fingerprints"]["tokenizer/pixel"]["ema"]


def test_donation_right_after_an_asynchronous_save(tmp_path):
    seen = {}
    for step, (trained, frozen, saver) in enumerate(train(tmp_path, checkpoint_every=1, checkpoint_keep=10)):
        seen[step] = jax.tree.map(lambda x: np.array(x, copy=True), jax.device_get((trained, frozen)))
        saver.save(step, trained, frozen, {})
        if step == 5:
            break
    saver.close()
    for step, state_then in seen.items():
        same(saver.restore(step, saver.plan)[:2], state_then)


def test_interval_last_and_best(tmp_path):
    scores = {2: 1.0, 4: 5.0, 6: 2.0, 8: float("nan"), 10: 4.0}
    saved = []
    for step, (trained, frozen, saver) in enumerate(train(tmp_path)):
        if saver.save(step, trained, frozen, {}, {"score": scores[step]} if step in scores else None):
            saved.append(step)
        if step == 10:
            break
    assert not saver.save(10, trained, frozen, {}, force=True)  # it is there
    saver.close()
    assert saved == [0, 2, 4, 6, 8, 10]
    assert store.steps(tmp_path) == [4, 8, 10]
    assert (saver.latest(), saver.best()) == (10, 4)
    assert store.locate(tmp_path, "x").name == "4"
    again = checkpoint.Checkpoints(tmp_path, saver.config, saver.plan)  # what is best survives a restart
    trained, frozen, _ = again.restore(10, saver.plan)
    again.save(12, trained, frozen, {}, {"score": 3.0})
    again.close()
    assert (store.steps(tmp_path), again.best()) == ([4, 10, 12], 4)
    assert not again.reached_preemption(12)


# ---- where parameters come from


def test_most_specific_prefix_wins_and_ema_is_taken(run, tmp_path):
    workdir, trained, frozen = run
    raw, ema = state.all_params(trained, frozen), state.all_params(trained, frozen, ema=True)
    file = tmp_path / "llm.safetensors"
    store.save_safetensors(file, {p: x for p, x in raw.items() if p.startswith("llm/")}, tiny_config())
    for weights, expected in (("ema", ema), ("raw", raw)):
        config = tiny_config(
            init={"tokenizer": "random", "tokenizer/pixel": str(workdir), "llm": str(file), "vae": "random"},
            init_weights=weights,
        )
        plan = tiny_plan(config, 4)
        params, origins = checkpoint.initial_params(config, plan, init)
        same({p: x for p, x in params.items() if "vae" not in p}, {p: x for p, x in expected.items() if "vae" not in p})
        assert jax.tree.map(lambda x: x.sharding, params) == jax.tree.map(lambda x: x.sharding, plan.abstract)
        assert origins["vae"]["text"] == "random" and origins["llm"]["text"].startswith(str(file))
        assert origins["tokenizer/pixel"]["text"].startswith(str(workdir / "checkpoints" / "3"))
        recorded = fingerprint.fingerprint(expected, "tokenizer/pixel/")
        assert origins["tokenizer/pixel"]["text"].endswith(f"fingerprint {recorded}")
    config = tiny_config(
        init={"tokenizer": str(workdir), "tokenizer/pixel/dense": "random", "llm": "random", "vae": "random"}
    )
    params, _ = checkpoint.initial_params(config, plan, init)
    drawn = state.init_params(plan, init, 0)
    same(params["tokenizer/pixel/frozen_codebook"], raw["tokenizer/pixel/frozen_codebook"])
    same(params["tokenizer/pixel/dense/kernel"], drawn["tokenizer/pixel/dense/kernel"])


def test_random_parameters_do_not_depend_on_what_is_loaded(run):
    config = tiny_config(init={"tokenizer": str(run[0]), "llm": "random", "vae": "random"})
    plan = tiny_plan(config)
    params, _ = checkpoint.initial_params(config, plan, init)
    same(params["llm/dense/kernel"], state.init_params(plan, init, 0)["llm/dense/kernel"])


@pytest.mark.parametrize(
    "entries, words",
    [
        ({"tokenizer": "random", "llm": "random"}, "nothing says where vae/dense/kernel comes from"),
        (
            {"tokenizer": "random", "llm": "random", "vae": "random", "unet": "RUN"},
            "config.init.unet: matches no parameter",
        ),
        (
            {"tokenizer": "random", "llm": "random", "vae": "random", "tokeniser": "random"},
            "config.init.tokeniser: matches no",
        ),
        (
            {"tokenizer": "nowhere", "llm": "random", "vae": "random"},
            "config.init.tokenizer: nowhere is not a run directory",
        ),
        ({"tokenizer": "random", "llm": "random", "vae": "FILE"}, "has no vae/dense/kernel; it holds llm"),
        ({"tokenizer": "random", "llm": "EMPTY", "vae": "random"}, "without a whole checkpoint"),
    ],
)
def test_init_that_cannot_be(run, tmp_path, entries, words):
    store.save_safetensors(
        tmp_path / "llm.safetensors", {"llm/dense/kernel": np.zeros((2, 2), np.float32)}, tiny_config()
    )
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    known = {"RUN": str(run[0]), "FILE": str(tmp_path / "llm.safetensors"), "EMPTY": str(tmp_path / "empty")}
    config = tiny_config(init={k: known.get(v, v) for k, v in entries.items()})
    with pytest.raises(UserError, match=words):
        checkpoint.initial_params(config, tiny_plan(config), init)


def test_random_for_a_part_this_config_does_not_build():
    config = tiny_config(init={"tokenizer": "random", "llm": "random", "vae": "random", "discriminator": "random"})
    params, _ = checkpoint.initial_params(config, tiny_plan(config), init)
    assert not any(p.startswith("discriminator") for p in params)


def test_init_of_another_shape(run, tmp_path):
    file = tmp_path / "llm.safetensors"
    store.save_safetensors(file, {"llm/dense/kernel": np.zeros((2, 2), np.float32)}, tiny_config())
    config = tiny_config(init={"tokenizer": "random", "llm": str(file), "vae": "random"})
    with pytest.raises(
        UserError, match=r"llm.safetensors: llm/dense/kernel has shape \(2, 2\), this config expects \(16, 16\)"
    ):
        checkpoint.initial_params(config, tiny_plan(config), init)


def test_a_language_model_of_other_ids(run, tmp_path):
    """A file that says its ids is refused by a model of others; one that says nothing is taken as it is."""
    vocabulary, spoken = models.vocabulary("tiny"), models.text_tokenizer("tiny")
    model = ConfigDict({"model": {"vocabulary": vocabulary, "text_tokenizer": spoken}})
    about = identity.identity(model)
    flat = {p: x for p, x in state.all_params(*run[1:]).items() if p.startswith("llm/")}
    file, more = tmp_path / "llm.safetensors", vocabulary.to_dict() | {"spare": 9}
    config = tiny_config(init={"tokenizer": "random", "llm": str(file), "vae": "random"})
    plan = tiny_plan(config)
    for said, own, refused in (
        (about, vocabulary, ""),
        ({}, more, ""),
        (
            about,
            more,
            f"llm.safetensors: .* of the vocabulary {about['llm']['vocabulary']}, config.model.vocabulary is",
        ),
        ({"llm": about["llm"] | {"text_tokenizer": "f" * 16}}, vocabulary, "of the text_tokenizer ffffffffffffffff"),
        ({"llm": {"vocabulary": about["llm"]["vocabulary"], "text_tokenizer": ""}}, vocabulary, ""),
    ):
        store.save_safetensors(file, flat, None, about=said)
        config.model = ConfigDict({"vocabulary": own, "text_tokenizer": spoken})
        with pytest.raises(UserError, match=refused) if refused else contextlib.nullcontext():
            checkpoint.initial_params(config, plan, init)


def test_an_autoencoder_of_another_scale(run, tmp_path):
    """Refused where both draw by diffusion; the autoencoder's own training has no scale yet."""
    flat = {p: x for p, x in state.all_params(*run[1:]).items() if p.startswith("vae/")}
    file = tmp_path / "vae.safetensors"
    drawing = lambda **vae: tiny_config(model=ConfigDict({"unet": {}, "vae": vae}))
    own = drawing(scale=1.24)
    own.init.vae = str(file)
    words = "config.init.vae: .*vae.safetensors: its model.vae.scale is {}, config.model.vae.scale is 1.24; .*scale={} "
    for given, refused in (
        (drawing(scale=1.24), ""),
        (drawing(scale=0.5), words.format(0.5, 0.5)),
        (drawing(), words.format(0.13025, 0.13025)),
        (tiny_config(model=ConfigDict({"vae": {"scale": 1.0}})), ""),
        (tiny_config(), ""),
        (None, ""),
    ):
        store.save_safetensors(file, flat, given)
        with pytest.raises(UserError, match=refused) if refused else contextlib.nullcontext():
            checkpoint.initial_params(own, tiny_plan(own), init)


def test_a_step_says_its_ids(tmp_path):
    model = {"vocabulary": models.vocabulary("tiny"), "text_tokenizer": models.text_tokenizer("tiny")}
    config = tiny_config(model=ConfigDict(model))
    checkpoints = checkpoint.Checkpoints(tmp_path, config, tiny_plan(config))
    assert checkpoints._meta(0, {}, {}, {})["about"] == identity.identity(config)
    checkpoints.close()


def test_a_trained_copy_of_an_aliased_part(tmp_path):
    """A source where `vit` only stands for tokenizer/pixel: init copies those leaves."""
    file = tmp_path / "source.safetensors"
    held = {f"tokenizer/vit/{k}": np.full((2, 2), i, np.float32) for i, k in enumerate("ab")}
    store.save_safetensors(file, held, tiny_config(alias={"vit": "tokenizer/vit"}))
    found = store.catalogue(file)
    entries = {f"vit/{k}": checkpoint._entry(found, f"vit/{k}", "config.init.vit") for k in "ab"}
    read = store.read(entries, {p: jax.ShapeDtypeStruct((2, 2), jnp.float32) for p in entries})
    same(read, {f"vit/{k}": held[f"tokenizer/vit/{k}"] for k in "ab"})
    assert store.reference(entries, "vit", tmp_path) is None  # under this name it has no home: it is written to frozen/


# ---- references to frozen parts


def test_references_are_followed_and_nothing_is_duplicated(copy):
    second = copy.parent / "second"
    trained, frozen = chain(copy, second)
    items = {p.name for p in (second / "checkpoints" / "1").iterdir() if p.is_dir()}
    assert items == {"llm", "opt.llm", "health", "data", "meta", "metrics"}
    assert not (second / "frozen").exists()
    meta = store.read_meta(second / "checkpoints" / "1")
    assert meta["frozen"]["tokenizer/pixel"]["relative"] == "../../../copy/checkpoints/3"
    assert (
        meta["frozen"]["vae"]["relative"] == "../../../copy/frozen"
    )  # the home itself, not the run that pointed to it
    same(resume(second, **CHAIN)[:2], (trained, frozen))
    source = store.catalogue(copy).entries["tokenizer/pixel/dense/kernel"]
    assert source.dtype == "float32" and frozen["tokenizer/pixel/dense/kernel"].dtype == jnp.bfloat16  # cast at load

    moved = copy.parent / "elsewhere"  # both runs together to another place
    moved.mkdir()
    copy.rename(moved / "copy")
    second.rename(moved / "second")
    same(resume(moved / "second", **CHAIN)[:2], (trained, frozen))
    third = moved / "third"  # a reference to a reference points to the home
    new_run(third, 0, init={p: str(moved / "second") for p in ("tokenizer", "llm", "vae")}, **CHAIN)
    assert store.read_meta(third / "checkpoints" / "0")["frozen"]["vae"]["relative"] == "../../../copy/frozen"


def test_a_source_given_relative_to_the_working_directory(copy, monkeypatch):
    monkeypatch.chdir(copy.parent)
    trained, frozen = chain("copy", "second")
    monkeypatch.chdir("/")
    ref = store.read_meta(copy.parent / "second" / "checkpoints" / "1")["frozen"]["vae"]
    assert (ref["relative"], ref["absolute"]) == ("../../../copy/frozen", str(copy / "frozen"))
    same(resume(copy.parent / "second", **CHAIN)[:2], (trained, frozen))


def test_a_start_that_was_cut_short_is_begun_again(tmp_path):
    (tmp_path / "frozen.orbax-checkpoint-tmp" / "vae").mkdir(parents=True)
    (tmp_path / "frozen.orbax-checkpoint-tmp" / "vae" / "junk").write_text("")
    trained, frozen = new_run(tmp_path, 0)
    new_run(tmp_path / "again", 0)
    same(resume(tmp_path)[:2], (trained, frozen))
    assert {p.name for p in tmp_path.iterdir()} == {"frozen", "checkpoints", "again"}


def test_a_reference_that_is_gone_or_changed(copy):
    second = copy.parent / "second"
    chain(copy, second)
    step = copy / "checkpoints" / "3"
    meta = json.loads((step / "meta" / "metadata").read_text())
    meta["items"]["ema.pixel"]["tokenizer/pixel/dense/kernel"][2] = "0" * 32
    (step / "meta" / "metadata").write_text(json.dumps(meta))
    with pytest.raises(UserError, match="frozen.tokenizer/pixel refers to .*copy/checkpoints/3 with fingerprint"):
        resume(second, **CHAIN)
    shutil.rmtree(copy)
    with pytest.raises(UserError, match="no longer there; put that checkpoint back at"):
        resume(second, **CHAIN)


# ---- what can be broken


def damage(workdir, kind):
    step = workdir / "checkpoints" / "3"
    if kind == "item deleted":
        shutil.rmtree(step / "opt.llm")
    elif kind == "meta deleted":
        shutil.rmtree(step / "meta")
    elif kind == "meta cut":
        (step / "meta" / "metadata").write_text((step / "meta" / "metadata").read_text()[:100])
    elif kind == "data cut":
        (step / "data" / "metadata").write_text("{")
    elif kind == "leaf file deleted":
        for file in sorted((step / "tokenizer.pixel").glob("**/d/*")):
            file.unlink()
    elif kind == "leaf file cut":
        for file in sorted((step / "tokenizer.pixel").glob("**/d/*")):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif kind == "other format":
        meta = json.loads((step / "meta" / "metadata").read_text())
        (step / "meta" / "metadata").write_text(json.dumps(meta | {"format": 99}))
    elif kind == "other values":  # a whole item, but of another run
        shutil.rmtree(step / "tokenizer.pixel")
        new_run(workdir.parent / "other", 1)
        shutil.copytree(workdir.parent / "other" / "checkpoints" / "1" / "tokenizer.pixel", step / "tokenizer.pixel")


@pytest.mark.parametrize(
    "kind, words",
    [
        ("item deleted", "checkpoints/3: item opt.llm is missing"),
        ("meta deleted", "checkpoints/3/meta: expected the json description"),
        ("meta cut", "checkpoints/3/meta: expected the json description"),
        ("data cut", "checkpoints/3/data: expected json"),
        ("leaf file deleted", "checkpoints/3: items .* cannot be read"),
        ("leaf file cut", "checkpoints/3: items .* cannot be read"),
        ("other format", "checkpoints/3/meta: field format is 99, this code reads 1"),
        ("other values", "checkpoints/3/tokenizer.pixel: .* differs from its recorded digest"),
    ],
)
def test_damage_is_one_sentence(copy, kind, words):
    damage(copy, kind)
    with pytest.raises(UserError, match=words) as e:
        resume(copy)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(groups__pixel__ema=0.0), "ema.pixel is in the checkpoint but not in this config"),
        (dict(groups__llm__optimizer="sgd"), "opt.llm: 0/count is in the checkpoint but not in this config"),
        (dict(groups__llm__dtype="bfloat16"), r"llm: dense/kernel is float32\[16, 16\], this config expects bfloat16"),
        (CHAIN, "ema.pixel is in the checkpoint but not in this config"),
        (
            dict(assign=(("tokenizer/pixel/.*", "pixel"), ("llm/.*", "llm"), ("vae/.*", "llm"))),
            "reference vae is in the checkpoint",
        ),
    ],
)
def test_another_config_is_refused(run, changes, words):
    with pytest.raises(UserError, match=words):
        resume(run[0], **changes)


def test_a_learning_rate_may_change(run):
    same(resume(run[0], groups__llm__lr=1e-5)[0], run[1])


def test_a_step_that_is_not_there(run):
    config = tiny_config()
    plan = tiny_plan(config)
    with pytest.raises(UserError, match=r"no whole checkpoint of step 7; steps here: \[3\]"):
        checkpoint.Checkpoints(run[0], config, plan).restore(7, plan)


def test_no_write_permission(tmp_path):
    config = tiny_config()
    with pytest.raises(UserError, match="/sys/focus_jax/checkpoints: no checkpoint could be written"):
        checkpoint.Checkpoints("/sys/focus_jax", config, tiny_plan(config))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file stands where the folder should be"):
        checkpoint.Checkpoints(tmp_path / "file", config, tiny_plan(config))
