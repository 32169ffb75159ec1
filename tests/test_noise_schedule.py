# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Schedules and schedulers beside diffusers: times, the whole trajectory given the same noise; weights by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.errors import UserError
from focus_jax.ops import noise_schedule as ns

BETAS = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
PREDICTION = {"epsilon": "epsilon", "v": "v_prediction", "sample": "sample"}
SHAPE = (2, 6, 5, 4)


def theirs(scheduler, prediction, spacing, offset, **more):
    import diffusers

    common = BETAS | dict(prediction_type=PREDICTION[prediction], timestep_spacing=spacing, steps_offset=offset) | more
    if scheduler == "ddim":
        return diffusers.DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=False)
    if scheduler == "ddpm":
        return diffusers.DDPMScheduler(**common, clip_sample=False)
    if scheduler == "euler":
        return diffusers.EulerDiscreteScheduler(**common)
    if scheduler == "euler_ancestral":
        return diffusers.EulerAncestralDiscreteScheduler(**common)
    return diffusers.DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++", solver_order=2)


def network(x, t):
    """Something that depends on its input and on the time."""
    return np.tanh(0.7 * x + 0.1) * (0.5 + float(t) / 2000)


class Given:
    """Noise from a list in the place of torch's generator."""

    def __init__(self, monkeypatch, noise):
        import torch

        self.noise, self.at = [torch.from_numpy(z.transpose(0, 3, 1, 2).copy()) for z in noise], 0
        for module in ("ddpm", "ddim", "euler_discrete", "euler_ancestral_discrete", "dpmsolver_multistep"):
            name = f"diffusers.schedulers.scheduling_{module}.randn_tensor"
            monkeypatch.setattr(name, lambda *_, **__: self.noise[self.at])


@pytest.mark.parity
@pytest.mark.parametrize("spacing", ns.SPACINGS)
@pytest.mark.parametrize(
    ("scheduler", "prediction"),
    # diffusers' ancestral scheduler knows no network that foretells x_0.
    [pair for pair in itertools.product(ns.SCHEDULERS, ns.PREDICTIONS) if pair != ("euler_ancestral", "sample")],
)
def test_trajectories(scheduler, prediction, spacing, monkeypatch):
    import torch

    for count in (7, 20):
        rng = np.random.default_rng(0)
        noise = rng.normal(size=(count + 1, *SHAPE)).astype(np.float32)
        given = Given(monkeypatch, noise)
        reference = theirs(scheduler, prediction, spacing, 1)
        reference.set_timesteps(count)
        plan = ns.plan(ns.Schedule(prediction=prediction), scheduler, count, spacing=spacing, room=32)
        np.testing.assert_allclose(plan.t[:count], reference.timesteps.numpy(), rtol=1e-6)
        np.testing.assert_allclose(plan.begin, float(reference.init_noise_sigma), rtol=1e-6)
        state = ns.begun(plan, jnp.asarray(noise[-1]))
        x = torch.from_numpy(noise[-1].transpose(0, 3, 1, 2)) * reference.init_noise_sigma
        size = 1.0
        for i, t in enumerate(reference.timesteps):
            given.at = i
            scaled = reference.scale_model_input(x, t)
            out = torch.from_numpy(network(scaled.numpy(), t).astype(np.float32))
            x = reference.step(out, t, x).prev_sample
            ours = network(np.asarray(plan.scale[i] * state.x), plan.t[i])
            state = ns.step(plan, jnp.int32(i), state, jnp.asarray(ours, jnp.float32), jnp.asarray(noise[i]))
            want = x.numpy().transpose(0, 2, 3, 1)
            size = max(size, np.abs(want).max())
            np.testing.assert_allclose(state.x, want, atol=2e-5 * size, err_msg=f"step {i}")


@pytest.mark.parity
def test_ddim_with_noise(monkeypatch):
    import torch

    rng = np.random.default_rng(1)
    noise = rng.normal(size=(11, *SHAPE)).astype(np.float32)
    given = Given(monkeypatch, noise)
    reference = theirs("ddim", "epsilon", "leading", 1)
    reference.set_timesteps(10)
    plan = ns.plan(ns.Schedule(), "ddim", 10, eta=0.6)
    state, x = ns.begun(plan, jnp.asarray(noise[-1])), torch.from_numpy(noise[-1].transpose(0, 3, 1, 2))
    for i, t in enumerate(reference.timesteps):
        given.at = i
        x = reference.step(torch.from_numpy(network(x.numpy(), t).astype(np.float32)), t, x, eta=0.6).prev_sample
        out = jnp.asarray(network(np.asarray(state.x), t), jnp.float32)
        state = ns.step(plan, jnp.int32(i), state, out, jnp.asarray(noise[i]))
    np.testing.assert_allclose(state.x, x.numpy().transpose(0, 2, 3, 1), atol=2e-5)


@pytest.mark.parity
def test_noise_and_targets():
    import torch

    rng = np.random.default_rng(2)
    x, noise = (rng.normal(size=SHAPE).astype(np.float32) for _ in range(2))
    t = np.array([3, 977])
    for more, schedule in (({}, ns.Schedule()), ({"rescale_betas_zero_snr": True}, None)):
        schedule = schedule or ns.Schedule(prediction="v", zero_terminal=True)
        reference, at = theirs("ddim", schedule.prediction, "trailing", 1, **more), ns.levels(schedule)
        args = (torch.from_numpy(x), torch.from_numpy(noise), torch.from_numpy(t))
        np.testing.assert_allclose(ns.noised(at, x, noise, t), reference.add_noise(*args).numpy(), atol=1e-6)
        want = reference.get_velocity(*args).numpy()
        np.testing.assert_allclose(ns.target(at, "v", x, noise, t), want, atol=1e-6)
    assert ns.levels(ns.Schedule(prediction="v", zero_terminal=True)).signal[-1] == 0.0


@pytest.mark.parametrize("prediction", ns.PREDICTIONS)
def test_weights_mean_one_error_whatever_is_foretold(prediction):
    """A network that is wrong by d in x_0 has the same weighted error in every prediction."""
    at, t = ns.levels(ns.Schedule()), jnp.array([1, 300, 700, 999])
    a, s = at.signal[t], at.noise[t]
    d = 0.3
    error = {"sample": d, "epsilon": a / s * d, "v": d / s}[prediction]
    for gamma in (0.0, 5.0):
        of = lambda space, gamma=gamma: ns.loss_weights(at, prediction, t, space=space, min_snr=gamma) * error**2
        snr = (a / s) ** 2
        want = jnp.minimum(snr, gamma or jnp.inf) * d**2
        np.testing.assert_allclose(of("epsilon"), want, rtol=1e-4)
        want = d**2 * (jnp.minimum(1 / snr, gamma) * snr if gamma else 1.0)
        np.testing.assert_allclose(of("sample"), want * jnp.ones(4), rtol=1e-4)
        want = jnp.minimum(snr + 1, gamma or jnp.inf) * d**2
        np.testing.assert_allclose(of("v"), want, rtol=1e-4)


def test_a_perfect_network_leads_to_the_picture():
    """Every scheduler, from pure noise, with a network that knows x_0."""
    x0 = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
    noise = np.random.default_rng(4).normal(size=SHAPE).astype(np.float32)
    schedule = ns.Schedule(prediction="sample")
    for scheduler in ns.SCHEDULERS:
        plan = ns.plan(schedule, scheduler, 10, spacing="trailing")
        state = ns.begun(plan, jnp.asarray(noise))
        for i in range(10):
            state = ns.step(plan, jnp.int32(i), state, jnp.asarray(x0), jnp.zeros(SHAPE))
        assert np.abs(state.x - x0).max() < 0.1, scheduler  # ddim and ddpm end at the first time, not at none


def test_one_program_for_every_plan():
    traced = []

    @jax.jit
    def run(plan, noise):
        traced.append(1)
        body = lambda i, state: ns.step(plan, i, state, jnp.tanh(plan.scale[i] * state.x), jnp.zeros_like(noise))
        return jax.lax.fori_loop(0, plan.count, body, ns.begun(plan, noise)).x

    noise = jax.random.normal(jax.random.key(0), SHAPE)
    for scheduler in ns.SCHEDULERS:
        for count in (5, 30):
            assert jnp.isfinite(run(ns.plan(ns.Schedule(), scheduler, count, room=50), noise)).all()
    assert len(traced) == 1


@pytest.mark.parity
def test_guidance():
    import torch
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import rescale_noise_cfg

    rng = np.random.default_rng(5)
    plain, without = (rng.normal(size=SHAPE).astype(np.float32) for _ in range(2))
    chw = lambda x: torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    want = rescale_noise_cfg(chw(without) + 3 * (chw(plain) - chw(without)), chw(plain), 0.7).numpy()
    np.testing.assert_allclose(ns.guided(plain, without, 3.0, 0.7), want.transpose(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(ns.guided(plain, without, 1.0, 0.0), plain, atol=1e-6)


def test_offset_noise_shifts_a_picture_as_a_whole():
    noise = jnp.zeros((3, 4, 5, 2))
    keys = jax.random.split(jax.random.key(0), 3)
    shifted = ns.offset_noise(keys, noise, 0.05)
    assert jnp.ptp(shifted, axis=(1, 2)).max() == 0.0 and len(jnp.unique(shifted)) == 6
    np.testing.assert_array_equal(ns.offset_noise(keys[1:], noise[1:], 0.05), shifted[1:])  # each by its own key


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: ns.Schedule(kind="cosine"), "schedule.kind: 'cosine', expected scaled_linear or linear"),
        (lambda: ns.Schedule(prediction="eps"), "schedule.prediction: 'eps', expected one of"),
        (lambda: ns.Schedule(start=0.5, end=0.1), "expected at least 2 steps and 0 < start <= end < 1"),
        (lambda: ns.Schedule(zero_terminal=True), "schedule.zero_terminal: the last time holds noise alone"),
        (lambda: ns.plan(ns.Schedule(), "heun", 5), "scheduler: 'heun', expected one of ddim"),
        (lambda: ns.plan(ns.Schedule(), "ddim", 0), "steps: 0, expected 1 to 1000"),
        (lambda: ns.plan(ns.Schedule(), "ddim", 60, room=50), "steps: 60, expected 1 to 50"),
        (lambda: ns.plan(ns.Schedule(), "ddim", 1000), "1000 steps, spacing leading and offset 1 give times from 1000"),
        (lambda: ns.plan(ns.Schedule(), "dpm_solver", 1000), "expected falling ones that there are"),
        (lambda: ns.plan(ns.Schedule(), "ddim", 5, offset=-3), "offset -3 give times from 797 to -3 of 1000"),
        (lambda: ns.plan(ns.Schedule(), "ddim", 5, spacing="even"), "spacing: 'even', expected one of"),
        (lambda: ns.plan(ns.Schedule(), "euler", 5, eta=1.0), "eta: 1.0, expected 0 to 1, and 0 for every"),
        (
            lambda: ns.plan(ns.Schedule(prediction="v", zero_terminal=True), "euler", 5),
            "scheduler: euler divides by the signal",
        ),
    ],
)
def test_what_is_refused(made, said):
    with pytest.raises(UserError, match=said):
        made()
