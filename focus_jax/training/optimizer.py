# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""One optax transformation a group: AdamW, Muon for matrices (or SGD, for tests of exactness) with its own schedule.

Clipping and guards are in step.py.
"""

from typing import Any

import jax.numpy as jnp
import optax
from optax import contrib

from focus_jax.errors import UserError


def schedule(group: Any, steps: int) -> optax.Schedule:
    """Learning rate of a group at a step.

    Args:
      group: config.groups.NAME; `schedule` is "constant", "linear" or "cosine" (both to zero), after `warmup` steps
        up from 0. Before step `begin` (absent: 0) it is 0, and the rest of the run is all there is.
      steps: length of the whole run.
    """
    lr, warmup, begin = float(group.lr), int(group.warmup), int(group.get("begin", 0))
    rest = max(steps - begin - warmup, 1)
    forms = {
        "constant": lambda: optax.constant_schedule(lr),
        "linear": lambda: optax.linear_schedule(lr, 0.0, rest),
        "cosine": lambda: optax.cosine_decay_schedule(lr, rest),
    }
    if group.schedule not in forms:
        raise UserError(f"config.groups: schedule {group.schedule!r} is none of {', '.join(forms)}.")
    after = forms[group.schedule]()
    if warmup:
        after = optax.join_schedules([optax.linear_schedule(lr / warmup, lr, warmup - 1 or 1), after], [warmup])
    return optax.join_schedules([optax.constant_schedule(0.0), after], [begin]) if begin else after


def transformation(group: Any, steps: int) -> optax.GradientTransformation:
    """Gradients -> updates of one group (to be added to the parameters).

    The state counts its own steps, so a skipped update does not move the schedule; weight decay spares vectors.
    """
    rate = schedule(group, steps)
    if group.optimizer == "sgd":
        return optax.sgd(rate)
    if group.optimizer == "muon":
        return optax.chain(
            contrib.scale_by_muon(beta=group.b1, weight_dimension_numbers=_matrices),
            optax.add_decayed_weights(group.weight_decay),
            optax.scale_by_learning_rate(rate),
        )
    if group.optimizer != "adamw":
        raise UserError(f"config.groups: optimizer {group.optimizer!r} is none of adamw, muon, sgd.")
    decay = lambda params: {p: jnp.ndim(x) > 1 for p, x in params.items()}
    return optax.adamw(rate, b1=group.b1, b2=group.b2, weight_decay=group.weight_decay, mask=decay)


def _matrices(params: dict[str, Any]) -> dict[str, contrib.MuonDimensionNumbers]:
    """The last two dimensions of each leaf, as Muon wants to know them; those before count the layers of a stack."""
    if vectors := [p for p, x in params.items() if jnp.ndim(x) < 2]:
        raise UserError(f"config.groups: {vectors[0]} is no matrix, so its group's optimizer cannot be muon.")
    return dict.fromkeys(params, contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1))
