# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Noise of diffusion models: how much there is at which time (DDPM, arXiv 2006.11239), what a network is asked to
foretell of it, and schedulers that take it away.

A network sees x_t = a_t x_0 + s_t e, with a_t^2 + s_t^2 = 1, and foretells e (epsilon), v = a_t e - s_t x_0
(arXiv 2202.00512) or x_0 (sample). All schedulers are written as one step that is linear in what they keep,

  x_0 = p x + q out,    x' = cx x + c0 x_0 + c1 (x_0 of the step before) + cz z,

so that a scheduler is a table of such numbers, made once on the host in float64, and one program runs them all.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.errors import UserError

PREDICTIONS = ("epsilon", "v", "sample")
SPACINGS = ("leading", "trailing", "linspace")
SCHEDULERS = ("ddim", "ddpm", "euler", "euler_ancestral", "dpm_solver")
LOSS_SPACES = ("epsilon", "sample", "v")


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How noise grows over `steps` times; the defaults are SDXL's (arXiv 2307.01952).

    kind: scaled_linear (the square roots of beta rise linearly) or linear, from `start` to `end`. prediction: what the
    network foretells, of PREDICTIONS. zero_terminal: scaled so that nothing is left of x_0 at the last time (arXiv
    2305.08891), which epsilon cannot foretell. Raises: UserError.
    """

    steps: int = 1_000
    start: float = 0.00085
    end: float = 0.012
    kind: str = "scaled_linear"
    prediction: str = "epsilon"
    zero_terminal: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("scaled_linear", "linear"):
            raise UserError(f"schedule.kind: {self.kind!r}, expected scaled_linear or linear.")
        if self.prediction not in PREDICTIONS:
            raise UserError(f"schedule.prediction: {self.prediction!r}, expected one of {', '.join(PREDICTIONS)}.")
        if self.steps < 2 or not 0 < self.start <= self.end < 1:
            told = f"steps {self.steps}, start {self.start}, end {self.end}"
            raise UserError(f"schedule: {told}, expected at least 2 steps and 0 < start <= end < 1.")
        if self.zero_terminal and self.prediction == "epsilon":
            raise UserError("schedule.zero_terminal: the last time holds noise alone, of which epsilon tells nothing; "
                            "expected prediction v or sample.")  # fmt: skip

    @property
    def kept(self) -> np.ndarray:
        """a_t^2 of all times, float64 [steps]: the product of 1 - beta up to t."""
        power = 0.5 if self.kind == "scaled_linear" else 1.0
        betas = np.linspace(self.start**power, self.end**power, self.steps) ** (1 / power)
        kept = np.cumprod(1.0 - betas)
        if not self.zero_terminal:
            return kept
        root = np.sqrt(kept)
        return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


# ----------------------------------------------------------------------------------------------------------- training
@flax.struct.dataclass
class Levels:
    """a_t and s_t of all times, float32 [steps]."""

    signal: jax.Array
    noise: jax.Array


def levels(schedule: Schedule) -> Levels:
    """a_t and s_t as arrays."""
    kept = schedule.kept
    return Levels(jnp.asarray(np.sqrt(kept), jnp.float32), jnp.asarray(np.sqrt(1.0 - kept), jnp.float32))


def _at(values: jax.Array, t: jax.Array, like: jax.Array) -> jax.Array:
    return values[t].reshape(-1, *[1] * (like.ndim - 1))


def noised(at: Levels, x: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
    """x_t of x_0 = x [B, ...], noise of the same shape and t int [B]."""
    return _at(at.signal, t, x) * x + _at(at.noise, t, x) * noise


def target(at: Levels, prediction: str, x: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
    """What the network is to foretell of x_t."""
    if prediction == "epsilon":
        return noise
    if prediction == "sample":
        return x
    return _at(at.signal, t, x) * noise - _at(at.noise, t, x) * x


def loss_weights(
    at: Levels, prediction: str, t: jax.Array, *, space: str = "epsilon", min_snr: float = 0.0
) -> jax.Array:
    """[B] weights of the squared error of what is foretold.

    space: of LOSS_SPACES, whose error has the weight 1: that of epsilon, that of x_0, which is (1 - a^2) / a^2 times as
    large, or that of v, the sum of both. min_snr: gamma, 0 for none. The error of epsilon has then the weight
    min(SNR, gamma) / SNR (arXiv 2303.09556); that of x_0, in which early times would outweigh all others, counts
    (1 - a^2) / a^2 as gamma at most.
    """
    snr = (at.signal[t] / jnp.maximum(at.noise[t], 1e-20)) ** 2
    of_sample = {"sample": jnp.ones_like(snr), "epsilon": snr, "v": snr + 1.0}[space]  # weight of the error of x_0
    if min_snr:
        of_sample = jnp.minimum(of_sample, min_snr * snr if space == "sample" else min_snr)
    # The error of x_0 is 1 / SNR of that of epsilon and 1 / (SNR + 1) of that of v.
    return of_sample / {"sample": 1.0, "epsilon": jnp.maximum(snr, 1e-20), "v": snr + 1.0}[prediction]


def offset_noise(keys: jax.Array, noise: jax.Array, strength: float) -> jax.Array:
    """Noise [B, h, w, C] that is also shifted by picture, of which each has a key [B], and channel, so that dark and
    bright pictures are learnt."""
    shifts = jax.vmap(lambda key: jax.random.normal(key, (1, 1, noise.shape[-1]), noise.dtype))(keys)
    return noise + strength * shifts


# ----------------------------------------------------------------------------------------------------------- sampling
@flax.struct.dataclass
class Plan:
    """A scheduler's table. t: what the network is told of the time, float32 [n]; scale: of its input; p, q, cx, c0, c1,
    cz: see above, float32 [n]; begin: deviation of the first x. n may be more than `count`, the steps that there are;
    the rest is never run."""

    t: jax.Array
    scale: jax.Array
    p: jax.Array
    q: jax.Array
    cx: jax.Array
    c0: jax.Array
    c1: jax.Array
    cz: jax.Array
    begin: jax.Array
    count: jax.Array


def plan(
    schedule: Schedule,
    scheduler: str,
    count: int,
    *,
    spacing: str = "leading",
    offset: int = 1,
    eta: float = 0.0,
    room: int = 0,
) -> Plan:
    """The table of `count` steps.

    scheduler: of SCHEDULERS. spacing: of SPACINGS; offset: added to the times where they are leading. eta: of ddim, 0
    (arXiv 2010.02502) to 1, as noisy as ddpm. room: length of the arrays, 0 for count: plans with one room run in one
    program. Raises: UserError.
    """
    if scheduler not in SCHEDULERS:
        raise UserError(f"scheduler: {scheduler!r}, expected one of {', '.join(SCHEDULERS)}.")
    if spacing not in SPACINGS:
        raise UserError(f"spacing: {spacing!r}, expected one of {', '.join(SPACINGS)}.")
    if not 1 <= count <= schedule.steps or (room and count > room):
        raise UserError(f"steps: {count}, expected 1 to {min(schedule.steps, room or schedule.steps)}.")
    if not 0 <= eta <= 1 or (eta and scheduler != "ddim"):
        raise UserError(f"eta: {eta}, expected 0 to 1, and 0 for every scheduler but ddim.")
    if schedule.zero_terminal and scheduler not in ("ddim", "ddpm"):
        raise UserError(f"scheduler: {scheduler} divides by the signal, of which zero_terminal leaves none; use ddim.")
    sigmas = scheduler.startswith("euler")  # between whole times they are known too
    times = _times(schedule.steps, count, spacing, offset, whole=not sigmas, solver=scheduler == "dpm_solver")
    if times.min() < 0 or times.max() > schedule.steps - 1 or (np.diff(times) >= 0).any():
        told = f"{count} steps, spacing {spacing} and offset {offset}"
        raise UserError(f"steps: {told} give times from {times.max():g} to {times.min():g} of {schedule.steps}; "
                        "expected falling ones that there are, as fewer steps or another spacing give.")  # fmt: skip
    rows = {
        "ddim": lambda: _ddim(schedule, times, count, eta),
        "ddpm": lambda: _ddpm(schedule, times),
        "euler": lambda: _euler(schedule, times, False),
        "euler_ancestral": lambda: _euler(schedule, times, True),
        "dpm_solver": lambda: _dpm_solver(schedule, times),
    }[scheduler]()
    begin = 1.0
    if sigmas:
        most = float(_sigmas(schedule, times).max())
        begin = most if spacing in ("trailing", "linspace") else float(np.sqrt(most**2 + 1))
    padded = lambda x: jnp.asarray(np.pad(np.asarray(x, np.float64), (0, max(0, room - count))), jnp.float32)
    return Plan(padded(times), *(padded(x) for x in rows), begin=jnp.float32(begin), count=jnp.int32(count))


def _times(steps: int, count: int, spacing: str, offset: int, *, whole: bool, solver: bool) -> np.ndarray:
    """Times from the noisiest on, as diffusers has them; whole: of linspace rounded; solver: of DPM-Solver, which takes
    one more and leaves the last out."""
    if spacing == "trailing":
        return np.round(np.arange(steps, 0, -steps / count))[:count] - 1
    n = count + 1 if solver else count
    if spacing == "leading":
        times = (np.arange(n) * (steps // n))[::-1] + offset
    else:
        times = np.linspace(0, steps - 1, n)[::-1]
        times = np.round(times) if whole else times
    return np.asarray(times[:count], np.float64)


def _sigmas(schedule: Schedule, times: np.ndarray) -> np.ndarray:
    """s / a at the times, between whole ones linear."""
    kept = schedule.kept
    return np.interp(times, np.arange(schedule.steps), np.sqrt((1 - kept) / kept))


def _foretold(prediction: str, a: Any, s: Any) -> tuple[Any, Any]:
    """(p, q) of x_0 = p x + q out, for x = a x_0 + s e."""
    if prediction == "sample":
        return np.zeros_like(a), np.ones_like(a)
    if prediction == "epsilon":
        return 1 / a, -s / a
    size = np.hypot(a, s)  # 1 where x keeps its variance; the v of a larger x is that of x / size
    return a / size**2, -s / size


def _ddim(schedule: Schedule, times: np.ndarray, count: int, eta: float) -> tuple[np.ndarray, ...]:
    kept = schedule.kept
    t = times.astype(int)
    before = t - schedule.steps // count
    now, then = kept[t], np.where(before >= 0, kept[np.maximum(before, 0)], kept[0])
    z = eta * np.sqrt(np.maximum((1 - then) / (1 - now) * (1 - now / then), 0.0))
    cx = np.sqrt(np.maximum(1 - then - z**2, 0.0)) / np.sqrt(1 - now)
    c0 = np.sqrt(then) - cx * np.sqrt(now)
    p, q = _foretold(schedule.prediction, np.sqrt(now), np.sqrt(1 - now))
    return np.ones(count), p, q, cx, c0, np.zeros(count), z


def _ddpm(schedule: Schedule, times: np.ndarray) -> tuple[np.ndarray, ...]:
    kept = schedule.kept
    t = times.astype(int)
    before = np.append(t[1:], -1)
    now, then = kept[t], np.where(before >= 0, kept[np.maximum(before, 0)], 1.0)
    alpha = now / then
    variance = np.maximum((1 - then) / (1 - now) * (1 - alpha), 1e-20)
    cx = np.sqrt(alpha) * (1 - then) / (1 - now)
    c0 = np.sqrt(then) * (1 - alpha) / (1 - now)
    p, q = _foretold(schedule.prediction, np.sqrt(now), np.sqrt(1 - now))
    z = np.where(t > 0, np.sqrt(variance), 0.0)
    return np.ones_like(now), p, q, cx, c0, np.zeros_like(now), z


def _euler(schedule: Schedule, times: np.ndarray, ancestral: bool) -> tuple[np.ndarray, ...]:
    """On x / a, whose noise has the deviation sigma (arXiv 2206.00364)."""
    now = _sigmas(schedule, times)
    then = np.append(now[1:], 0.0)
    up = np.sqrt(then**2 * (now**2 - then**2) / now**2) if ancestral else np.zeros_like(now)
    down = np.sqrt(then**2 - up**2)
    # x' = x + (x - x_0) / sigma (down - sigma)
    cx = down / now
    p, q = _foretold(schedule.prediction, np.ones_like(now), now)
    return 1 / np.sqrt(now**2 + 1), p, q, cx, 1 - cx, np.zeros_like(now), up


def _dpm_solver(schedule: Schedule, times: np.ndarray) -> tuple[np.ndarray, ...]:
    """DPM-Solver++ 2M (arXiv 2211.01095), first order in the first and the last step."""
    sigma = np.append(_sigmas(schedule, times), 0.0)
    a = 1 / np.sqrt(sigma**2 + 1)
    s = sigma * a
    with np.errstate(divide="ignore"):
        lam = np.log(a) - np.log(s)  # infinite at the end
    n = len(times)
    h = np.diff(lam)
    grown = -np.expm1(-h)  # 1 - e^-h
    cx, c0, c1 = s[1:] / s[:-1], a[1:] * grown, np.zeros(n)
    for i in range(1, n - 1):
        half = 0.5 * a[i + 1] * grown[i] * h[i] / h[i - 1]
        c0[i] += half
        c1[i] = -half
    p, q = _foretold(schedule.prediction, a[:-1], s[:-1])
    return np.ones(n), p, q, cx, c0, c1, np.zeros(n)


@flax.struct.dataclass
class State:
    """Between two steps. x: [B, h, w, C]; before: x_0 as the step before foretold it."""

    x: jax.Array
    before: jax.Array


def begun(plan: Plan, noise: jax.Array) -> State:
    """The state before the first step, from noise of deviation 1."""
    return State(noise * plan.begin, jnp.zeros_like(noise))


def step(plan: Plan, i: jax.Array, state: State, out: jax.Array, z: jax.Array) -> State:
    """The state after step i. out: what the network foretold of plan.scale[i] * state.x; z: noise of deviation 1."""
    x0 = plan.p[i] * state.x + plan.q[i] * out
    x = plan.cx[i] * state.x + plan.c0[i] * x0 + plan.c1[i] * state.before + plan.cz[i] * z
    return State(x, x0)


def guided(plain: jax.Array, without: jax.Array, guidance: jax.Array, rescale: jax.Array) -> jax.Array:
    """Classifier-free guidance [B, h, w, C]: without + guidance (plain - without), its deviation brought back to that
    of `plain` by the share `rescale` (arXiv 2305.08891)."""
    out = without + guidance * (plain - without)
    deviation = lambda x: jnp.std(x, axis=(1, 2, 3), keepdims=True, ddof=1)
    back = out * deviation(plain) / jnp.maximum(deviation(out), 1e-20)
    return rescale * back + (1 - rescale) * out
