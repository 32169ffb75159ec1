# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""One optax transformation a group: AdamW (or SGD, for tests of exactness) with its own schedule.

Clipping and guards are in step.py.
"""

from typing import Any

import jax.numpy as jnp
import optax

from focus_jax.errors import UserError


def schedule(group: Any, steps: int) -> optax.Schedule:
    """Learning rate of a group at a step.

    Args:
      group: config.groups.NAME; `schedule` is "constant", "linear" or "cosine" (both to zero), after `warmup` steps
        up from 0.
      steps: length of the whole run.
    """
    lr, warmup = float(group.lr), int(group.warmup)
    rest = max(steps - warmup, 1)
    forms = {
        "constant": lambda: optax.constant_schedule(lr),
        "linear": lambda: optax.linear_schedule(lr, 0.0, rest),
        "cosine": lambda: optax.cosine_decay_schedule(lr, rest),
    }
    if group.schedule not in forms:
        raise UserError(f"config.groups: schedule {group.schedule!r} is none of {', '.join(forms)}.")
    after = forms[group.schedule]()
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(lr / warmup, lr, warmup - 1 or 1), after], [warmup])


def transformation(group: Any, steps: int) -> optax.GradientTransformation:
    """Gradients -> updates of one group (to be added to the parameters).

    The state counts its own steps, so a skipped update does not move the schedule; weight decay spares vectors.
    """
    rate = schedule(group, steps)
    if group.optimizer == "sgd":
        return optax.sgd(rate)
    if group.optimizer != "adamw":
        raise UserError(f"config.groups: optimizer {group.optimizer!r} is neither adamw nor sgd.")
    decay = lambda params: {p: jnp.ndim(x) > 1 for p, x in params.items()}
    return optax.adamw(rate, b1=group.b1, b2=group.b2, weight_decay=group.weight_decay, mask=decay)
