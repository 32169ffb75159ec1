# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 1b and its stand-ins: what is read and dropped, losses that fall, drawing by two programs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from configs import models
from data_pipelines import rows
from data_pipelines.world.examples import World
from focus_jax.errors import UserError
from focus_jax.inference.diffusion import Diffuser, Options
from focus_jax.model import Model
from focus_jax.ops import noise_schedule
from focus_jax.stages import autoencoder, decoder
from focus_jax.training import config as config_lib
from focus_jax.training.parts import flatten, unflatten
from focus_jax.training.step import loss_and_gradients

SIDE, HIGH = 32, 64


def small(c):
    """Networks of a few channels; a unit of SIDE pixels."""
    c.model.vae.update(dict(widths=(8, 8), groups=4))
    if "unet" in c.model:
        c.model.unet.update(dict(widths=(16, 16), heads=(2, 2), groups=4, context=4, pooled=3, ids=4))
        c.model.decoder.unit = SIDE
    if "tokenizer" in c.model:
        t = c.model.tokenizer
        t.high = HIGH
        t.vit.update(dict(depth=1, width=16, heads=2, out=16))
        t.convnext.update(dict(widths=(4, 4, 8, 8), depths=(1, 1, 1, 1)))
        t.fusion.update(dict(width=16, heads=2))
        t.semantic.update(dict(depth=1, width=16, heads=2, codes=64, code_block=64))
        t.pixel.update(
            dict(codes=64, code_block=64, groups=4, encoder=dict(widths=(8, 8), blocks=1, attention_levels=()))
        )
        t.pixel.decoder.update(dict(widths=(16, 16), attention_levels=()))
    for stream in c.data.phases[0]["streams"]:
        stream |= {"height": stream["height"] // 2, "width": stream["width"] // 2}
        stream |= {"high": HIGH} if "high" in stream else {}
    return c


def batch_of(stream, count=4):
    made = [rows.row(World(tasks=("objects",), side=HIGH)[i], stream) for i in range(count)]
    batch = {name: np.stack([row[name] for row in made]) for name in made[0]}
    return batch | {"weight": np.ones(count, np.float32), "element": np.arange(count, dtype=np.uint32)}


def filled(stage):
    """Parameters of the stage's shapes; to compile a real init takes minutes."""
    rng = np.random.default_rng(0)
    shapes = flatten(nn.unbox(jax.eval_shape(stage.init, jax.random.key(0))))

    def fill(path, leaf):
        if len(leaf.shape) > 1:
            return np.float32(rng.standard_normal(leaf.shape) * np.prod(leaf.shape[:-1]) ** -0.5)
        return np.float32(0.1 * rng.standard_normal(leaf.shape) + path.endswith("scale"))

    return {path: fill(path, leaf) for path, leaf in shapes.items()}


class Run:
    def __init__(self, name):
        self.config = small(config_lib.load(name))
        config_lib.validate(self.config, 1)
        self.stage = (autoencoder if self.config.stage == "autoencoder" else decoder).Stage(self.config)
        self.params = filled(self.stage)
        self.streams = self.config.data.phases[0]["streams"]

    def model(self):
        return Model(self.config, self.stage, unflatten(self.params), {"unet": "0"}, "random", None)


@pytest.fixture(scope="module")
def run():
    return Run("configs/stage1_decoder.py:tiny")


@pytest.fixture(scope="module")
def model(run):
    return run.model()


def loss(run, params, batch, rng=0):
    if not hasattr(run, "numerators"):
        run.numerators = jax.jit(lambda *args: run.stage.numerators(*args, jnp.int32(0))[0]["diffusion"])
    return run.numerators(unflatten(params), batch, None, jax.random.key(rng))


def test_sizes_are_numbered_as_released():
    """0 is 1024^2 and 11 is 512^2; 1 is 768 wide and 1024 high, by the inference's reading."""
    assert decoder.resolution_index(1024, 1024, 512) == 0 and decoder.resolution_index(512, 512, 512) == 11
    assert decoder.resolution_index(1024, 768, 512) == 1 and decoder.resolution_index(768, 1024, 512) == 2
    assert decoder.resolution_index(1024, 768, 512, decoder.ORDERS[1]) == 2
    assert decoder.resolution_index(2048, 512, 512) == 3 and decoder.resolution_index(384, 768, 512) == 12 + 7
    assert len(set(decoder.sizes(512))) == 22 and {
        decoder.resolution_index(*s, 512) for s in decoder.sizes(512)
    } == set(range(22))
    with pytest.raises(UserError, match="size: 384 x 768 pixels, expected one of 1024x1024, 1024x768"):
        decoder.resolution_index(384, 768, 512, known=decoder.RELEASED)


def test_full_streams_fit(run):
    c = config_lib.load("configs/stage1_decoder.py")
    found = list(config_lib.streams(c))
    assert len(found) == 2 * 11 + 11
    for stream in found:
        decoder.validate_stream(c, stream, stream["where"])
    decoder.validate(c)


def test_only_the_low_picture_shrinks(run):
    whole, twice = run.streams
    row = batch_of(twice)
    assert row["image"].shape[1:3] == (64, 64) and row["low"].shape[1:3] == (SIDE, SIDE)
    assert row["high"].shape[1:3] == (HIGH, HIGH) and "low" not in batch_of(whole)


def test_stored_streams_fit():
    c = config_lib.load("configs/stage1_decoder.py:stored")
    found = list(config_lib.streams(c))
    assert len(found) == 3 * 11 and {s["shape_class"] for s in found} == {"latents"}
    for stream in found:
        decoder.validate_stream(c, stream, stream["where"])
    found[0]["pixel_grid"] = (1, 1)
    with pytest.raises(UserError, match=r"pixel_grid: \(1, 1\), expected 32 x 32"):
        decoder.validate_stream(c, found[0], "here")


def test_stored_codes_and_latents_are_those_of_the_pictures(run, model):
    """The loss of a row is the same but for half precision."""
    batch = batch_of(run.streams[1])
    codes = model.encode(batch["low"], batch["high"])
    common = {name: batch[name] for name in ("weight", "element")}
    stored = common | {f"{name}_codes": x for name, x in codes.items()} | {"latents": model.latents(batch["image"])}
    assert stored["latents"].dtype == np.float16 and stored["latents"].shape == (4, 16, 16, 8)
    np.testing.assert_allclose(loss(run, run.params, stored), loss(run, run.params, batch), rtol=2e-2)
    assert run.stage.latents_fingerprint(unflatten(run.params)) == model.latents_fingerprint
    with pytest.raises(UserError, match="images: 30 x 32 pixels, expected multiples of the autoencoder's 4"):
        model.latents(np.zeros((1, 30, 32, 3), np.uint8))


@pytest.mark.slow
def test_the_unet_alone_learns(run):
    """Some steps on four pictures, at both sizes, and the error falls; nothing else has a gradient."""
    trained = {p: x for p, x in run.params.items() if p.startswith("unet/")}
    frozen = {p: x for p, x in run.params.items() if p not in trained}
    adam = optax.adam(3e-3)
    batches = [batch_of(stream) for stream in run.streams]

    @jax.jit
    def step(trained, moments, batch, k):
        (value, *_), grads = loss_and_gradients(
            run.stage, {"all": trained}, frozen, batch, jax.random.key(k), jnp.int32(0), 1
        )
        updates, moments = adam.update(grads["all"], moments)
        return optax.apply_updates(trained, updates), moments, value

    moments, values = adam.init(trained), []
    for k in range(60):
        trained, moments, value = step(trained, moments, batches[k % 2], k % 4)
        values.append(float(value))
    assert np.mean(values[-4:]) < 0.7 * np.mean(values[:4])
    grads = jax.grad(lambda p: loss(run, p, batches[0]))(run.params)
    moved = {path.split("/")[0] for path, g in grads.items() if np.abs(g).max() > 0}
    assert moved == {"unet"}


def test_draws_belong_to_the_element(run):
    """A row's noise, time and dropout do not depend on its place in the batch."""
    batch = batch_of(run.streams[0])
    only = lambda row, batch: loss(run, run.params, batch | {"weight": np.float32(np.arange(4) == row)})
    moved = {name: x[np.array([2, 0, 3, 1])] for name, x in batch.items()}
    np.testing.assert_allclose(only(0, batch), only(1, moved), rtol=1e-4)
    assert abs(only(0, batch) - only(2, batch)) > 1e-6
    assert abs(loss(run, run.params, batch) - loss(run, run.params, batch, rng=1)) > 1e-6


def test_whole_maps_and_halves_are_dropped(run):
    codes, keys = jnp.ones((512, 2, 2, 16)), jax.random.split(jax.random.key(0), 512)
    drop = run.config.loss.drop
    kept = (drop["all"], drop.semantic, drop.pixel)
    try:
        drop.update({"all": 0.25, "semantic": 0.5, "pixel": 0.0})
        found = np.asarray(run.stage.dropped(codes, keys)[0])
    finally:
        drop.update(dict(zip(("all", "semantic", "pixel"), kept)))
    semantic, pixel = found[..., :8].mean((1, 2, 3)), found[..., 8:].mean((1, 2, 3))
    assert set(semantic) == set(pixel) == {0.0, 1.0}  # a row's codes are there or not
    assert abs((pixel == 0).mean() - 0.25) < 0.06 and abs((semantic == 0).mean() - 0.625) < 0.06


@pytest.mark.slow
def test_dropout_of_all_is_the_unconditional_model(run):
    batch, other = batch_of(run.streams[0]), Run("configs/stage1_decoder.py:tiny")
    other.config.loss.drop["all"] = 1.0
    dropped = loss(other, run.params, batch)
    assert abs(dropped - loss(run, run.params, batch)) > 1e-4
    nothing = Run("configs/stage1_decoder.py:tiny")
    nothing.stage.code_map = lambda params, indices, size: jnp.zeros((4, *size, 16))
    np.testing.assert_allclose(dropped, loss(nothing, run.params, batch), rtol=1e-5)


def test_measures_are_the_same_every_time(run):
    batch = batch_of(run.streams[0])
    measures = jax.jit(run.stage.measures)
    first, again = (measures(unflatten(run.params), batch) for _ in range(2))
    assert float(first["error"][0]) == float(again["error"][0]) and first["error"][1] == 4
    assert first["show/denoised"].shape == (4, SIDE, 3 * SIDE, 3) and first["show/denoised"].dtype == jnp.uint8


# ------------------------------------------------------------------------------------------------------------- drawing
@pytest.fixture(scope="module")
def codes(model, run):
    batch = batch_of(run.streams[0], 2)
    return model.encode(batch["image"], batch["high"])


def draw(model, codes, size=(SIDE, SIDE), seeds=(1, 2), show=None, **options):
    return model.diffuse(codes, size, seeds=seeds, show=show, **({"steps": 4} | options))


def test_pictures_follow_seed_and_codes(model, codes):
    one = draw(model, codes)
    assert one.shape == (2, SIDE, SIDE, 3) and one.dtype == np.uint8
    np.testing.assert_array_equal(one, draw(model, codes))
    assert (one != draw(model, codes, seeds=(3, 4))).any()
    alone = {name: x[1:] for name, x in codes.items()}
    other = draw(model, alone, seeds=(2,))[0].astype(int)
    assert np.abs(other - one[1]).max() <= 1  # a row does not see the others
    shuffled = {name: x[::-1].copy() for name, x in codes.items()}
    assert (draw(model, shuffled) != one).any()
    assert draw(model, codes, size=(2 * SIDE, 2 * SIDE)).shape == (2, 64, 64, 3)


def test_guided_at_one_is_plain_and_nothing_is_compiled_twice(run, model, codes):
    diffuser = Diffuser(model)
    traced = []
    kept = run.stage.foretold
    run.stage.foretold = lambda *args: traced.append(1) or kept(*args)
    try:
        states = {}

        def keep(name):
            def steps(*args, **more):
                states[name] = kept_steps(*args, **more)
                return states[name]

            return steps

        kept_steps = diffuser._steps
        call = lambda **o: diffuser(codes, (SIDE, SIDE), seeds=o.pop("seeds", (1, 2)), options=Options(**o))
        diffuser._steps = keep("plain")
        call(steps=4, guidance=1.0)
        diffuser._steps = keep("guided")
        call(steps=4, guidance=1.0 + 1e-7)
        np.testing.assert_allclose(states["guided"].x, states["plain"].x, atol=1e-5)
        count = len(traced)
        for change in (
            dict(seeds=(5, 6)),
            dict(guidance=3.0),
            dict(steps=9),
            dict(scheduler="euler"),
            dict(rescale=0.5),
        ):
            call(**({"steps": 4, "guidance": 2.0} | change))
            call(**({"steps": 4} | change | {"guidance": 1.0}))
        assert len(traced) == count
    finally:
        run.stage.foretold = kept


def test_previews_do_not_change_what_is_drawn(model, codes):
    seen = []
    shown = draw(model, codes, steps=5, preview=2, show=lambda i, x: seen.append((i, x.shape)))
    assert seen == [(2, (2, SIDE, SIDE, 3)), (4, (2, SIDE, SIDE, 3))]
    np.testing.assert_array_equal(shown, draw(model, codes, steps=5))


def test_tiles(model, monkeypatch):
    """A tile that cannot be is told before anything is drawn; one that is larger than a side is cut to it."""
    diffuser, shapes = Diffuser(model), []
    monkeypatch.setattr(diffuser, "_steps", None)
    for tile in (10, 12, -16):
        with pytest.raises(UserError, match=f"tile: {tile} pixels, expected 0 or a multiple of 4 from 16 on"):
            diffuser(None, (SIDE, SIDE), seeds=[0], options=Options(tile=tile))

    def local(params, x):
        shapes.append(x.shape[1:3])
        return np.repeat(np.repeat(np.asarray(x)[..., :3], 4, 1), 4, 2)

    monkeypatch.setattr(diffuser, "_picture", local)
    latents = np.arange(6 * 16 * 4).reshape(1, 6, 16, 4) % 251
    np.testing.assert_array_equal(diffuser._pictured(latents, 32), diffuser._pictured(latents, 0))
    assert shapes == [(6, 8)] * 3 + [(6, 16)]


def test_arrays_that_a_file_gave_compile_no_second_program(model, codes):
    held = jax.device_put(model.params, jax.devices()[0])  # committed, as restored ones are
    diffuser = Diffuser(Model(model.config, model.stage, held, {"unet": "0"}, "file", None))
    for preview in (0, 2):
        diffuser(codes, (SIDE, SIDE), seeds=(1, 2), options=Options(steps=4, preview=preview), show=lambda *_: None)
    assert diffuser._steps._cache_size() == 1


def test_pictures_through_their_codes(model, run):
    batch = batch_of(run.streams[0], 2)
    assert model.redraw(batch["image"], seeds=[0, 1], steps=2).shape == batch["image"].shape
    large = batch_of(run.streams[1], 2)["image"]
    assert model.redraw(large, seeds=[0, 1], steps=2, tokens=0.5).shape == large.shape
    assert model.autoencode(large).shape == large.shape


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(size=(40, 40)), "size: 40 x 40 pixels, expected one of 64x64"),
        (dict(seeds=(1,)), r"codes: \[2, .*, expected \[1, h, w\], a row for each seed"),
        (dict(codes=None), "codes: none, expected what random reads"),
        (dict(size=(64, 48)), "codes: pixel grid 4 x 4 does not tile latents of 16 x 12"),
        (dict(guidance=0.5), "guidance: 0.5, expected 1"),
        (dict(guidance=float("nan")), "guidance: nan, expected 1"),
        (dict(mask_guidance=float("inf")), "mask_guidance: inf, expected 0 or more"),
        (dict(steps=0), "steps: 0, expected 1 to 200"),
        (dict(steps=201), "steps: 201, expected 1 to 200"),
        (dict(rescale=2.0), "rescale: 2.0, expected 0 to 1"),
        (dict(scheduler="heun"), "scheduler: 'heun'"),
    ],
)
def test_what_cannot_be_drawn(model, codes, change, said):
    with pytest.raises(UserError, match=said):
        draw(model, **({"codes": codes} | change))


def test_wrong_codes_are_refused(model, codes):
    with pytest.raises(UserError, match="expected pixel codes from 0 to 63, found"):
        draw(model, codes | {"pixel": codes["pixel"] + 64})
    with pytest.raises(UserError, match="codes: pixel, expected those of semantic, pixel"):
        draw(model, {"pixel": codes["pixel"]})
    with pytest.raises(UserError, match="draws under no mask"):
        model.redraw(np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 32, 32), bool), seeds=[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.loss.drop.update(semantic=2.0), "config.loss.drop.semantic: 2.0, expected a share"),
        (lambda c: c.loss.update(space="x0"), "config.loss.space: 'x0', expected epsilon or sample or v"),
        (lambda c: c.loss.update(min_snr=-1.0), "config.loss.min_snr: -1.0, expected 0 or more"),
        (lambda c: c.model.unet.update(inputs=21), "config.model.unet.inputs: 21, expected 4 of the latents and 16"),
        (lambda c: c.model.decoder.update(order="w,h"), "config.model.decoder.order: 'w,h', expected width,height or"),
        (lambda c: c.model.decoder.update(known=3), r"config.model.decoder.known: 3, expected 12 \(ILLUME\+\) or 22"),
        (lambda c: c.model.schedule.update(steps=1), "schedule: steps 1"),
        (lambda c: c.model.vae.update(scale=0.0), "vae.scale: 0.0, expected more than 0"),
        (lambda c: c.data.phases[0]["streams"][0].update(high=96), r"streams\[0\].high: 96, expected 64"),
        (lambda c: c.data.phases[0]["streams"][0].update(tokens=0.3), r"streams\[0\].tokens: 0.3, tokens of"),
        (lambda c: c.data.phases[0]["streams"][0].update(height=48), "size: 48 x 32 pixels, expected one of"),
    ],
)
def test_wrong_configs(change, said):
    c = small(config_lib.load("configs/stage1_decoder.py:tiny"))
    change(c)
    with pytest.raises(UserError, match=said):
        decoder.validate(c)
        for stream in config_lib.streams(c):
            decoder.validate_stream(c, stream, stream["where"])


# ------------------------------------------------------------------------------------------------------------ stage 0
def test_the_stand_in_knows_no_codes():
    run = Run("configs/stage0_decoder.py:unet")
    assert not any(path.startswith("tokenizer") for path in run.params)
    model = run.model()
    assert model.diffuse(None, (SIDE, SIDE), seeds=[0], steps=2).shape == (1, SIDE, SIDE, 3)
    assert np.isfinite(loss(run, run.params, batch_of(run.streams[0])))
    with pytest.raises(UserError, match="this model has no tokenizer"):
        model.diffuse({"pixel": np.zeros((1, 4, 4), np.int32)}, (SIDE, SIDE), seeds=[0])


def test_offset_noise_shifts_rows_and_channels():
    """By a constant each, in what is read and in what is to be foretold; every other draw stays."""
    c = small(config_lib.load("configs/stage0_decoder.py:unet"))
    batch = {"latents": np.zeros((3, 8, 8, 8), np.float32), "element": np.arange(3, dtype=np.uint32)}

    def noised(strength):
        c.loss.offset_noise = strength
        x, _, t, _, target, _ = decoder.Stage(c).noised({}, batch, jax.random.key(0))
        return x, t, target

    (x, t, target), (shifted, same, other) = noised(0.0), noised(0.05)
    np.testing.assert_array_equal(t, same)
    levels = decoder.Stage(c).levels
    assert c.model.schedule.prediction == "v"
    for found, times in ((shifted - x, levels.noise[t]), (other - target, levels.signal[t])):
        shift = np.asarray(found / times[:, None, None, None])
        np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1, :1], shift.shape), atol=1e-4)
        assert len(np.unique(shift[:, 0, 0].round(4))) == 12 and 0.01 < np.abs(shift).mean() < 0.1


@pytest.mark.parametrize("space", ["epsilon", "sample", "v"])
def test_errors_are_weighed_by_their_times(space):
    """As config.loss says; gamma bounds what times with little noise count."""
    c = small(config_lib.load("configs/stage0_decoder.py:unet"))
    t, error, found = jnp.array([0, 300, 700, 999]), jnp.array([1.0, 2.0, 3.0, 4.0]), []
    for gamma in (0.0, 5.0):
        c.loss.space, c.loss.min_snr = space, gamma
        stage = decoder.Stage(c)
        weights = noise_schedule.loss_weights(stage.levels, c.model.schedule.prediction, t, space=space, min_snr=gamma)
        found.append(stage.weighed(error, t))
        np.testing.assert_allclose(found[-1], weights * error, rtol=1e-6)
    assert (found[1] <= found[0]).all() and (found[1] < found[0]).any()


@pytest.mark.slow
def test_the_autoencoder_learns():
    run = Run("configs/stage0_decoder.py:vae")
    batch, adam = batch_of(run.streams[0]), optax.adam(3e-3)

    @jax.jit
    def step(params, moments, k):
        (value, *_), grads = loss_and_gradients(
            run.stage, {"all": params}, {}, batch, jax.random.key(0), jnp.int32(k), 1
        )
        updates, moments = adam.update(grads["all"], moments)
        return optax.apply_updates(params, updates), moments, value

    measures = jax.jit(run.stage.measures)
    before = measures(unflatten(run.params), batch)
    params, moments = run.params, adam.init(run.params)
    for k in range(60):
        params, moments, _ = step(params, moments, k)
    after = measures(unflatten(params), batch)
    assert after["psnr"][0] > before["psnr"][0] + 4 * 4  # 4 dB of each of four rows


def test_models_of_size_tables():
    assert models.unet("full", 64).inputs == 68 and models.vae("full").scale == 0.13025
