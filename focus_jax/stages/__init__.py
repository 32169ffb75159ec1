# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Training stages, one a file: which networks, which losses, what a batch holds (docs/architecture.md, contract 2)."""

import importlib
import importlib.util

from focus_jax.errors import UserError


def module(config):
    """The module that config.stage names. Raises: UserError for an unknown stage."""
    name = f"focus_jax.stages.{config.stage}"
    if not str(config.stage).isidentifier() or importlib.util.find_spec(name) is None:
        raise UserError(f"config.stage: {config.stage!r} is no module of focus_jax/stages.")
    return importlib.import_module(name)


def create(config):
    """The stage of a config: an object with the methods of training.step.Stage."""
    return module(config).Stage(config)
