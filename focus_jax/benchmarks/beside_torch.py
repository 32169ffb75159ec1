# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Steps of two networks with the same weights, ours and torch's: how each is made, and how their times are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from focus_jax.errors import UserError

Step = Callable[[], float]  # forward and backward with all parameter gradients; returns the loss


def import_torch() -> Any:
    """The module torch, which only the extra `convert` installs. Raises: UserError where it is missing."""
    try:
        import torch
    except ImportError as e:
        raise UserError('benchmark: the peer needs torch; pip install "focus_jax[convert]".') from e
    return torch


def our_step(loss: Callable[..., jax.Array], params: Any, *inputs: Any) -> Step:
    """loss(params, *inputs) and its gradients with respect to params, compiled."""
    step = jax.jit(jax.value_and_grad(loss)).lower(params, *inputs).compile()
    inputs = jax.device_put(inputs)
    return lambda: float(jax.block_until_ready(step(params, *inputs))[0])


def torch_step(model: Any, weights: Mapping[str, np.ndarray], loss: Callable[[], Any]) -> Step:
    """loss() of a torch model that takes the weights {its key: array}, and the gradients of its parameters."""
    torch = import_torch()
    model.load_state_dict({key: torch.from_numpy(np.array(x)) for key, x in weights.items()})

    def step() -> float:
        model.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        return value.item()

    return step


def compare(part: str, sides: Mapping[str, Step], *, batch: int, steps: int, repeats: int) -> dict[str, Any]:
    """Times the steps "ours" and "torch" of `part` on `batch` pictures; `steps` in each of `repeats` rounds.

    Returns: examples_per_second, torch_examples_per_second, ratio (ours / torch; above 1 is faster), the two losses and
    the arguments.
    Raises: UserError where the two losses differ by more than 1e-4, for then the two steps are not the same work.
    """
    losses = {side: step() for side, step in sides.items()}
    # `not <=`: a loss that is no number is refused, too.
    if not abs(losses["ours"] - losses["torch"]) <= 1e-4 * abs(losses["torch"]):
        raise UserError(f"benchmark {part}: the losses differ, {losses['ours']} and torch's {losses['torch']}.")
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for repeat in range(repeats):
        for side in sorted(sides, reverse=repeat % 2 == 1):  # each goes first half of the time
            sides[side]()
            start = time.perf_counter()
            for _ in range(steps):
                sides[side]()
            seconds[side].append(time.perf_counter() - start)
    ours, theirs = (batch * steps / statistics.median(seconds[side]) for side in ("ours", "torch"))
    return {
        "examples_per_second": ours,
        "torch_examples_per_second": theirs,
        "ratio": ours / theirs,
        "loss": losses["ours"],
        "torch_loss": losses["torch"],
        "batch": batch,
        "steps": steps,
        "repeats": repeats,
    }
