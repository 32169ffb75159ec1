# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of processes that are killed, that run out of disk, and that are two."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from focus_jax.training import checkpoint, fingerprint, state, store
from tests.conftest import xla_flags
from tests.training.tiny_run import at_step, new_run, resume
from tests.training.tiny_stage import tiny_config, tiny_plan

ROOT = pathlib.Path(__file__).resolve().parents[2]


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def start(action, workdir, *rest, devices=8):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.tiny_run", action, str(workdir), *map(str, rest)],
        cwd=ROOT, env=os.environ | {"XLA_FLAGS": xla_flags(devices)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_full_disk_is_told_at_the_next_call(tmp_path):
    child = start("full", tmp_path)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 2, err[-2000:]
    said = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "checkpoints: no checkpoint could be written, a file would pass the size limit" in said[0]
    assert store.steps(tmp_path) == [0]


@pytest.mark.slow
def test_sigkill_during_an_asynchronous_save(tmp_path):
    child = start("forever", tmp_path)
    folder, deadline = tmp_path / "checkpoints", time.time() + 120
    unfinished = lambda: [p for p in folder.glob("*") if "tmp" in p.name]
    while time.time() < deadline and child.poll() is None:
        if len(store.steps(tmp_path)) >= 2 and unfinished():
            child.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    config = tiny_config(checkpoint_every=1)
    plan = tiny_plan(config)
    saver = checkpoint.Checkpoints(tmp_path, config, plan)
    latest = saver.latest()
    trained, frozen, data = saver.restore(latest, plan)
    assert data == {"k": latest} and int(trained.step) == latest
    same((trained, frozen), at_step(None, latest)[:2])
    saver.save(latest + 1, trained, frozen, {})
    saver.close()
    assert not unfinished() and saver.latest() == latest + 1


def two_processes(action, workdir):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    children = [start(action, workdir, process, port, devices=4) for process in (0, 1)]
    outputs = [c.communicate(timeout=240) for c in children]
    for child, (_, err) in zip(children, outputs):
        assert child.returncode == 0, err[-3000:]
    return [out.strip().splitlines()[-1] for out, _ in outputs]


@pytest.mark.slow
def test_saved_by_two_processes_restored_by_one_and_back(tmp_path):
    first, second = two_processes("save", tmp_path)
    assert first == second and first.endswith("saved True")
    step = int(first.split()[2])
    assert store.steps(tmp_path) == [0, step]
    trained, frozen, data = resume(tmp_path)
    assert data == {"k": step} and int(trained.step) == step
    config = tiny_config()
    plan = tiny_plan(config)
    at_start, frozen_at_start, _ = checkpoint.Checkpoints(tmp_path, config, plan).restore(0, plan)
    same((at_start, frozen_at_start), at_step(None, 0)[:2])

    expected = fingerprint.fingerprint(state.all_params(*new_run(tmp_path / "one", 3)))
    assert two_processes("restore", tmp_path / "one") == [f"fingerprint {expected} {{'k': 3, 'seed': 0}}"] * 2
