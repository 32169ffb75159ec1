# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""All programs of a phase at once do what each does by itself, and those of another phase are let go of."""

import jax
import numpy as np
import pytest

from focus_jax.training import sharding
from focus_jax.training.flops import train_flops
from focus_jax.training.programs import Programs, abstract_batch
from tests.training.test_step import Run, make_batch, make_config

pytestmark = pytest.mark.slow  # four programs of stage 1 to compile


@pytest.fixture(scope="module")
def found():
    """A run, its programs, and streams of 8 and 4 rows, of which the first is validated."""
    run = Run(make_config())
    stream = dict(run.config.data.phases[0]["streams"][0], phase=0)
    streams = [stream | {"batch_size": rows} for rows in (8, 4)]
    programs = Programs(run.config, run.stage, run.plan)
    programs.enter(0, streams, streams[:1])
    return run, programs, streams


def given(run, rows):
    return sharding.to_global(make_batch(rows=rows), run.rows, rows)


def test_a_step_is_the_step_that_is_compiled_when_it_is_called(found):
    run, programs, _ = found
    step, _ = programs.step(given(run, 8))
    own = jax.tree.map(lambda x: x.copy(), run.trained)  # donated
    after, metrics = step(own, run.frozen, given(run, 8))
    assert metrics["loss"] == run.step(make_batch(rows=8))["loss"]
    for ours, theirs in zip(jax.tree.leaves(after.params), jax.tree.leaves(run.trained.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_flops_are_those_of_the_shape(found):
    run, programs, streams = found
    for stream, rows in zip(streams, (8, 4)):
        batch = abstract_batch(run.config, stream, run.mesh)
        assert programs.step(given(run, rows))[1] == train_flops(run.stage, run.trained.params, run.frozen, batch)


def test_validation_is_compiled_for_what_is_validated(found):
    run, programs, _ = found
    assert programs.measure(given(run, 8)) is not None
    with pytest.raises(KeyError):
        programs.measure(given(run, 4))


def test_programs_of_another_phase_are_let_go_of(found):
    run, programs, streams = found
    programs.enter(1, streams[1:], [])
    assert programs.phase == 1 and programs.step(given(run, 4))
    with pytest.raises(KeyError):
        programs.step(given(run, 8))
