# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the recipes of all stages have in common, where they do not say otherwise."""

from ml_collections import ConfigDict


def reads_words(data: ConfigDict, tiny: bool) -> None:
    """How stages that read words about pictures read them."""
    data.allow_missing = ()  # names of sources that may be absent
    data.max_crop_loss = 0.2
    data.flip = 0.0  # words say what is on the left
    data.random_crop = False
    data.workers = data.threads = 1 if tiny else 16
    data.prefetch = 8
    data.verify = "auto"
    data.bad_record_budget = 0 if tiny else 100_000


def watched(c: ConfigDict, warmup: int = 100, watchdog: float = 10.0) -> ConfigDict:
    """The recipe, with how its run looks after itself."""
    c.health = ConfigDict()
    c.health.spike = 20.0  # an update whose gradient norm passes this times its running mean is skipped
    c.health.warmup = warmup  # updates before a spike can be told
    c.health.max_skipped = 10  # skipped in a row before the run stops
    c.health.watchdog = watchdog  # a step of so many medians dumps all stacks
    c.profile_steps = (0, 0)  # first and last step of a profiler trace; equal = off
    c.hlo_dump = False  # write the compiled step's HLO into the workdir
    c.compile_cache = "~/.cache/focus_jax/xla"  # "" = off
    return c
