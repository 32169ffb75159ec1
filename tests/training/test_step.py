# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Equivalences of one training step, on the real stage 1 with small numbers: every network, loss and group of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax import stages
from focus_jax.errors import UserError
from focus_jax.stages.tokenizer import pictures
from focus_jax.training import config as config_lib
from focus_jax.training import parts, sharding, state, step
from tests.training.small_tokenizer import HIGH, SIZE, shrink

BATCH = 16
DRAWN: dict = {}


def make_config(semantic=False, **overrides):
    """Stage 1 with its pixel branch and all that judges pictures or, with `semantic`, with both branches and codes
    alone; all networks at once take minutes to compile."""
    name = "stage1_tokenizer.py:tiny" if semantic else "ablations.py:no_semantic_branch_tiny"
    config = config_lib.load(f"configs/{name}", [f"--config.data.phases[0].streams[0].batch_size={BATCH}"])
    shrink(config)
    if not semantic:
        config.model.discriminator.width, config.model.discriminator.layers = 4, 1
        config.model.discriminator.norm = "none"
        config.model.perceptual = {"widths": (4, 4, 8), "depths": (1, 1, 1)}
        config.loss.weights.perceptual, config.loss.weights.adversarial = 0.5, 0.5
        config.assign = (*config.assign, ("discriminator/.*", "discriminator"), ("perceptual/.*", "frozen"))
    config.loss.adversarial_from, config.loss.codebook_start, config.loss.pixel_drop.rate = 0, 0, 0.0
    for group in ("pixel", "semantic", "discriminator"):
        config.groups[group].schedule, config.groups[group].warmup = "constant", 0
    with config.unlocked():
        for name, value in overrides.items():
            config.update_from_flattened_dict({name.replace("__", "."): value})
    return config


class Run:
    """A small run on some devices: its plan, state and compiled functions."""

    def __init__(self, config, devices=1, table="fsdp", mesh=None):
        config.sharding = table
        self.config = config
        self.mesh = sharding.make_mesh(
            mesh or {"dcn_data": 1, "data": 1, "fsdp": devices, "tensor": 1}, jax.devices()[:devices]
        )
        self.stage = stages.create(config)
        names = tuple(e.name for e in self.stage.events)
        self.plan = state.plan(config, self.stage.init, names, 100, self.mesh)
        self.compiled = step.Compiled(config, self.stage, self.plan)
        self.rows = sharding.batch_sharding(self.mesh, sharding.table(config))
        self.trained, self.frozen = state.begin(self.plan, self.initial())

    def initial(self):
        """The same parameters for every mesh, drawn once for all runs of one architecture."""
        key = tuple((p, x.shape) for p, x in self.plan.abstract.items())
        if key not in DRAWN:
            plan = self.plan
            if self.mesh.size > 1:
                one = sharding.make_mesh(dict.fromkeys(sharding.AXES, 1), jax.devices()[:1])
                plan = state.plan(self.config, self.stage.init, (), 100, one)
            DRAWN[key] = jax.device_get(state.init_params(plan, self.stage.init, 0))
            if (out := "tokenizer/fusion/out/kernel") in DRAWN[key]:  # zero at the start, it would hide all of fusion
                DRAWN[key][out] = np.random.default_rng(0).normal(0, 0.3, DRAWN[key][out].shape).astype(np.float32)
        # Buffers of their own: the state is donated, the drawn ones are kept.
        return {p: jax.device_put(x.copy(), self.plan.abstract[p].sharding) for p, x in DRAWN[key].items()}

    def step(self, batch):
        with self.compiled.scope():
            batch = sharding.to_global(batch, self.rows, len(batch["weight"]))
            self.trained, metrics = self.compiled.train(self.trained, self.frozen, batch)
        return jax.device_get(metrics)

    def event(self, name, batch):
        with self.compiled.scope():
            batch = sharding.to_global(batch, self.rows, len(batch["weight"]))
            self.trained, self.frozen = self.compiled.events[name](self.trained, self.frozen, batch)

    def gradients(self, batch):
        def run(trained, frozen, batch):
            rng = jax.random.key(0)
            return step.loss_and_gradients(
                self.stage, trained.params, frozen, batch, rng, trained.step, self.config.accumulate
            )

        with self.compiled.scope():
            batch = sharding.to_global(batch, self.rows, len(batch["weight"]))
            (loss, _, aux), grads = jax.jit(run)(self.trained, self.frozen, batch)
        return float(loss), jax.device_get(grads), jax.device_get(aux)


def make_batch(seed=0, rows=BATCH):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (rows, SIZE // 4, SIZE // 4, 3))
    large = lambda side: np.repeat(np.repeat(coarse, side * 4 // SIZE, 1), side * 4 // SIZE, 2).astype(np.uint8)
    return {
        "image": large(SIZE),
        "high": large(HIGH),
        "weight": np.ones(rows, np.float32),
        "element": np.arange(rows, dtype=np.uint32),
        "bad": np.zeros(rows, np.int32),
    }


def assert_groups_close(a, b, tolerance):
    """Leaves equal to `tolerance` of their group's norm."""
    for group in a:
        scale = np.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in a[group].values()))
        assert scale > 0, f"{group}: nothing to compare"
        for path in a[group]:
            np.testing.assert_allclose(b[group][path], a[group][path], rtol=0, atol=tolerance * scale, err_msg=path)


@pytest.fixture(scope="module")
def single():
    return Run(make_config())


@pytest.fixture(scope="module")
def both():
    """The stage with both branches: the run, a batch with a row that does not count, what `gradients` gives of it."""
    run, batch = Run(make_config(semantic=True)), make_batch()
    batch["weight"][3] = 0.0
    return run, batch, run.gradients(batch)


def test_accumulation_is_exact(single):
    """Micro-batches of every A-th row, each term over the whole batch's normaliser: the same gradients."""
    batch = make_batch()
    batch["weight"][3] = 0.0  # micro-batches with unlike counts
    loss, grads, aux = single.gradients(batch)
    loss4, grads4, aux4 = Run(make_config(accumulate=4)).gradients(batch)
    assert loss4 == pytest.approx(loss, rel=1e-6)
    assert_groups_close(grads, grads4, 1e-6)
    np.testing.assert_array_equal(aux["hist/pixel_codebook"], aux4["hist/pixel_codebook"])


@pytest.mark.parametrize("devices, accumulate", [pytest.param(1, 4, marks=pytest.mark.slow), (8, 1)])
def test_both_branches_are_exact(both, devices, accumulate):
    """The same in micro-batches, and over eight devices with rows and kernels sharing an axis."""
    _, batch, (loss, grads, aux) = both
    run = Run(
        make_config(semantic=True, accumulate=accumulate), devices, "fsdp_tensor", devices > 1 and TABLES["fsdp_tensor"]
    )
    loss2, grads2, aux2 = run.gradients(batch)
    assert loss2 == pytest.approx(loss, rel=1e-5)
    moved = {parts.part_of(p) for leaves in grads.values() for p, x in leaves.items() if np.any(x)}
    assert moved == {"tokenizer/pixel", "tokenizer/semantic", "tokenizer/fusion"}, "the encoders are frozen"
    assert all(np.any(x) for p, x in grads["semantic"].items() if p.startswith("tokenizer/fusion/place"))
    assert_groups_close(grads, grads2, 1e-5)
    assert {"hist/pixel_codebook", "hist/semantic_codebook", "semantic_cosine", "psnr"} <= set(aux)
    for name in ("hist/pixel_codebook", "hist/semantic_codebook"):
        np.testing.assert_array_equal(aux[name], aux2[name])


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_rows_of_weight_zero_change_nothing(norm):
    run = Run(make_config(model__discriminator__norm=norm))
    batch = make_batch(rows=8)
    filler = make_batch(seed=9, rows=8)
    padded = {k: np.concatenate([batch[k], filler[k]]) for k in batch}
    padded["weight"][8:] = 0.0
    loss, grads, aux = run.gradients(batch)
    loss2, grads2, aux2 = run.gradients(padded)
    assert loss2 == pytest.approx(loss, rel=1e-6)
    assert_groups_close(grads, grads2, 2e-6)
    np.testing.assert_array_equal(aux["hist/pixel_codebook"], aux2["hist/pixel_codebook"])


TABLES = {
    "data": {"dcn_data": 1, "data": 8, "fsdp": 1, "tensor": 1},
    "fsdp": {"dcn_data": 1, "data": 1, "fsdp": 8, "tensor": 1},
    "fsdp_tensor": {"dcn_data": 2, "data": 1, "fsdp": 2, "tensor": 2},  # rows and kernels share an axis: the hard case,
}


SGD = {"groups__pixel__optimizer": "sgd", "groups__discriminator__optimizer": "sgd"}
EXACT = {"groups__pixel__clip": 0.0, "groups__discriminator__clip": 0.0}  # so that the update is the gradient
RATES = {"groups__pixel__lr": 1.0, "groups__discriminator__lr": 1.0}


def sgd_step(devices, table, mesh, batch):
    """(gradients, parameters) of one SGD step at rate 1: what left the parameters is the gradient."""
    run = Run(make_config(**SGD, **EXACT, **RATES), devices, table, mesh)
    before = jax.device_get(run.trained.params)
    metrics = run.step(batch)
    after = jax.device_get(run.trained.params)
    return metrics, jax.tree.map(lambda a, b: a - b, before, after), after, run


@pytest.fixture(scope="module")
def reference():
    """One device: gradients, parameters after one SGD step, metrics of five AdamW steps."""
    batches = [make_batch(seed) for seed in range(5)]
    adam = Run(make_config())
    return batches, sgd_step(1, "fsdp", None, batches[0]), [adam.step(b) for b in batches]


@pytest.mark.parametrize("table", [t if t == "fsdp" else pytest.param(t, marks=pytest.mark.slow) for t in TABLES])
def test_eight_devices_are_one(table, reference):
    """fp32: gradients to 1e-5 of their group's norm, parameters after SGD to 1e-5, five AdamW losses to 1e-4."""
    batches, (first, grads, params, _), metrics = reference
    first8, grads8, params8, run = sgd_step(8, table, TABLES[table], batches[0])
    shards = [not x.sharding.is_fully_replicated for g in run.trained.params.values() for x in g.values()]
    assert any(shards) == (table != "data")
    assert first8["loss"] == pytest.approx(first["loss"], rel=1e-5)
    assert_groups_close(grads, grads8, 1e-5)
    assert_groups_close(params, params8, 1e-5)
    adam = Run(make_config(), 8, table, TABLES[table])
    for batch, one in zip(batches, metrics):
        eight = adam.step(batch)
        flips = np.abs(eight["hist/pixel_codebook"] - one["hist/pixel_codebook"]).sum() / 2
        assert eight["loss"] == pytest.approx(one["loss"], rel=1e-4), f"{flips} codes flipped"


@pytest.mark.slow
def test_batchnorm_is_whole_across_devices():
    """The discriminator's statistics come from the global batch, not from a device's rows."""
    batch = make_batch()
    one = Run(make_config(model__discriminator__norm="batch")).gradients(batch)
    eight = Run(make_config(model__discriminator__norm="batch"), 8).gradients(batch)
    assert eight[0] == pytest.approx(one[0], rel=1e-5)
    assert_groups_close(one[1], eight[1], 1e-5)


def test_discriminator_waits_for_its_step():
    run = Run(make_config(loss__adversarial_from=1))
    before = jax.device_get(run.trained.params["discriminator"])
    run.step(make_batch())
    for path, x in run.trained.params["discriminator"].items():
        np.testing.assert_array_equal(x, before[path])
    run.step(make_batch())
    assert any((np.asarray(x) != before[p]).any() for p, x in run.trained.params["discriminator"].items())


@pytest.mark.slow
def test_update_that_is_not_finite_is_skipped_and_counted():
    run = Run(
        make_config(
            loss__weights__perceptual=0.0, assign=(("tokenizer/.*", "pixel"), ("discriminator/.*", "discriminator"))
        )
    )
    batch = make_batch()
    run.step(batch)
    before, opt = jax.device_get(run.trained.params), jax.device_get(run.trained.opt)
    broken = batch | {"weight": np.full(BATCH, np.nan, np.float32)}
    metrics = run.step(broken)
    assert metrics["skipped/pixel"] == 1 and metrics["skipped_in_a_row/pixel"] == 1
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(run.trained.params))
    jax.tree.map(np.testing.assert_array_equal, opt, jax.device_get(run.trained.opt))
    assert run.step(batch)["skipped_in_a_row/pixel"] == 0


@pytest.mark.slow
def test_group_without_gradient_stays_where_it_is():
    """Momentum of Adam or Muon and weight decay do not move what a batch says nothing of; its schedule goes on."""
    run = Run(make_config(groups__pixel__weight_decay=0.1))
    run.step(make_batch())
    before, opt = jax.device_get((run.trained.params["pixel"], run.trained.opt["pixel"]))
    metrics = run.step(make_batch() | {"weight": np.zeros(BATCH, np.float32)})
    assert metrics["gradient_norm/pixel"] == 0 and metrics["skipped/pixel"] == 0
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(run.trained.params["pixel"]))
    counted = 0
    for old, new in zip(jax.tree.leaves(opt), jax.tree.leaves(jax.device_get(run.trained.opt["pixel"]))):
        moved = np.issubdtype(old.dtype, np.integer)
        counted += moved
        np.testing.assert_array_equal(new, old + moved)
    assert counted


@pytest.mark.slow
def test_spike_is_skipped():
    config = make_config(health__warmup=3, health__spike=3.0, groups__pixel__lr=0.0, groups__discriminator__lr=0.0)
    run = Run(config)
    batch = make_batch()
    for _ in range(4):
        assert run.step(batch)["skipped/pixel"] == 0
    health = run.trained.health["pixel"].replace(norm=run.trained.health["pixel"].norm / 100)
    run.trained = run.trained.replace(health=run.trained.health | {"pixel": health})
    metrics = run.step(batch)
    assert metrics["skipped/pixel"] == 1 and metrics["skipped/discriminator"] == 0, "each group has its own guard"


def test_ema_follows_the_parameters(single):
    run = Run(make_config(groups__pixel__ema=0.5))
    start = jax.device_get(run.trained.params["pixel"])
    run.step(make_batch())
    for path, now in jax.device_get(run.trained.params["pixel"]).items():
        decay = min(0.5, 1 / 10)
        np.testing.assert_allclose(
            run.trained.ema["pixel"][path], decay * start[path] + (1 - decay) * now, rtol=1e-5, atol=1e-7
        )


@pytest.mark.slow
def test_codebook_start_matches_the_encoders():
    """After the event each branch's codes have the mean and covariance of its z, and W's optimizer moments are zero."""
    many = dict(model__tokenizer__pixel__codes=4096, model__tokenizer__semantic__codes=4096)
    run = Run(make_config(semantic=True, loss__codebook_start=2, **many))
    moving = lambda x: x + 1 if jnp.issubdtype(x.dtype, jnp.floating) else x
    run.trained = run.trained.replace(opt=jax.tree.map(moving, run.trained.opt))
    batch = make_batch(7)
    batch["weight"][5], batch["image"][5], batch["high"][5] = 0.0, 255, 255  # a row that must not count
    run.event("codebook_start", batch)
    assert int(run.trained.events["codebook_start"]) == 0, "noted in the state"
    batch = {k: np.delete(x, 5, axis=0) for k, x in batch.items()}
    params = parts.unflatten(state.all_params(run.trained, run.frozen))["tokenizer"]
    found = jax.jit(lambda p, *x: run.stage.tokenizer.apply({"params": p}, *x, method="encode"))(
        params, *pictures({k: jnp.asarray(x) for k, x in batch.items()})
    )
    assert set(found) == {"semantic", "pixel"}
    for branch, z in found.items():
        z = np.asarray(z).reshape(-1, z.shape[-1])
        quantizer = params[branch]["quantizer"]
        codes = np.asarray(quantizer["frozen_codebook"]) @ np.asarray(quantizer["code_transform"]["kernel"])
        np.testing.assert_allclose(codes.mean(0), z.mean(0), atol=0.06 * z.std(), err_msg=branch)
        np.testing.assert_allclose(np.cov(codes.T), np.cov(z.T), atol=0.1 * np.cov(z.T).max(), err_msg=branch)
        kernel = f"tokenizer/{branch}/quantizer/code_transform/kernel"
        for moments in (run.trained.opt[branch][0].mu, run.trained.opt[branch][0].nu):
            assert not np.asarray(moments[kernel]).any()
        np.testing.assert_array_equal(run.trained.ema[branch][kernel], run.trained.params[branch][kernel])
    assert np.asarray(run.trained.opt["pixel"][0].mu["tokenizer/pixel/encoder/conv_in/kernel"]).any()


@pytest.mark.slow
def test_only_codebooks_that_were_drawn_are_started():
    """A tokenizer whose pixel branch is brought: its codes stay and count from the first step."""
    config = make_config(semantic=True, loss__codebook_start=2)
    with config.unlocked():
        config.init["tokenizer/pixel"] = "somewhere.safetensors"
    run, batch = Run(config), make_batch()
    before = jax.device_get(state.all_params(run.trained, run.frozen))
    run.event("codebook_start", batch)
    after = jax.device_get(state.all_params(run.trained, run.frozen))
    changed = {p for p in after if np.any(before[p] != after[p])}
    assert {parts.part_of(p) for p in changed} == {"tokenizer/semantic"} and len(changed) == 2
    sums = jax.jit(lambda p, b: run.stage.numerators(p, b, {}, jax.random.key(0), jnp.int32(0))[0])(
        parts.unflatten(after), {k: jnp.asarray(x) for k, x in batch.items()}
    )
    assert sums["pixel_quantiser"] > 0 and sums["semantic_quantiser"] == 0, "the other one still warms up"


def test_an_event_that_a_run_went_through_stays_where_it_was():
    events = (step.Event("codebook_start", 100, None),)
    for recorded, at in ((-1, 50), (-1, 100), (100, 101), (100, 4000)):
        step.check_events(events, {"codebook_start": np.int32(recorded)}, at)
    for recorded, at, said in ((-1, 101, "never happened"), (50, 60, "happened at step 50"), (50, 101, "step 50")):
        with pytest.raises(UserError, match=f"codebook_start is set to step 100, .* now at step {at}, it .*{said}"):
            step.check_events(events, {"codebook_start": np.int32(recorded)}, at)


def test_dropped_codes_depend_on_seed_and_element_alone():
    """The same elements lose the same codes wherever their rows stand; other elements lose others; later none do."""
    drop = {"rate": 0.5, "rows": 0.9, "phases": 1}
    config = make_config(semantic=True, **{f"loss__pixel_drop__{k}": v for k, v in drop.items()})
    config.data.phases = [config.data.phases[0] | {"steps": 5}, config.data.phases[0]]
    stage = stages.create(config)
    batch, rng = {k: jnp.asarray(x) for k, x in make_batch().items()}, jax.random.key(3)
    mask = stage._drop(batch, rng, jnp.int32(4))
    assert mask.shape == (BATCH, 4, 4) and 0.2 < float(mask.mean()) < 0.7
    turned = {k: x[::-1] for k, x in batch.items()}
    np.testing.assert_array_equal(stage._drop(turned, rng, jnp.int32(4)), mask[::-1])
    assert (stage._drop(batch | {"element": batch["element"] + 99}, rng, jnp.int32(4)) != mask).any()
    assert not stage._drop(batch, rng, jnp.int32(5)).any()
    assert stages.create(make_config(semantic=True))._drop(batch, rng, jnp.int32(0)) is None
    (note,) = stages.create(make_config(semantic=True, accumulate=2, loss__pixel_drop__rate=0.1)).notes()
    assert note.startswith("pixel drop, which borrows codes of another picture: of one micro-batch at a time")


def test_alarm_of_a_dying_codebook():
    stage = stages.create(make_config(semantic=True, loss__codebook_start=10))
    figures = {"pixel_codebook_usage": 0.049, "semantic_codebook_usage": 0.05, "loss": 1.0}
    (alarm,) = stage.alarms(11, figures)
    assert alarm.startswith("pixel_codebook_usage 0.049: less than 5% of the pixel codes are in use")
    assert not stage.alarms(10, figures), "before the start codes mean nothing"


def test_only_upper_layers_train():
    """layers_from masks gradient and update of a scanned stack, weight decay included."""
    from flax import linen as nn

    class Layers:
        events = ()

        def init(self, rng):
            box = lambda x, names: nn.LogicallyPartitioned(x, names)
            return {
                "llm": {
                    "layers": {"kernel": box(jnp.ones((4, 3)), ("layers", "norm"))},
                    "top": box(jnp.ones(3), ("norm",)),
                }
            }

        def weights(self, step):
            return {"sum": 1.0}

        def normalisers(self, batch):
            return {"sum": batch["weight"].sum()}

        def numerators(self, params, batch, norm, rng, step):
            return {
                "sum": batch["weight"].sum()
                * ((params["llm"]["layers"]["kernel"] ** 2).sum() + params["llm"]["top"].sum())
            }, {}

    config = make_config(assign=(("llm/.*", "pixel"),))
    config.groups.pixel.layers_from, config.groups.pixel.weight_decay = 2, 0.1
    config.sharding = "data"
    plan = state.plan(config, Layers().init, (), 10, sharding.make_mesh(config.mesh, jax.devices()[:1]))
    trained, frozen = state.begin(plan, state.init_params(plan, Layers().init, 0))
    trained, _ = step.train_step(config, Layers(), plan, trained, frozen, {"weight": jnp.ones(2)})
    kernel = np.asarray(trained.params["pixel"]["llm/layers/kernel"])
    assert (kernel[:2] == 1).all() and (kernel[2:] < 1).all()
