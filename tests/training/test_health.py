# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The guards around the loop."""

import time

import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.errors import UserError
from focus_jax.training import health


def hang(seconds):
    time.sleep(seconds)


def test_watchdog_dumps_stacks_of_a_hanging_step_once(tmp_path):
    said = []
    with health.Watchdog(tmp_path, factor=10.0, needs=5, at_least=0.2, say=said.append) as dog:
        for step in range(3):
            dog.beat(step)
        hang(0.4)  # too few steps to know what is usual
        for step in range(3, 10):
            dog.beat(step)
            time.sleep(0.01)
        with dog.pause():
            hang(0.5)
        dog.beat(10)
        assert dog.dumps == 0
        hang(0.8)
    assert dog.dumps == 1 and len(said) == 1
    assert "step 11 has taken" in said[0] and "stacks_0.txt" in said[0]
    assert "in hang" in (tmp_path / "stacks_0.txt").read_text()


def test_watchdog_can_be_off(tmp_path):
    with health.Watchdog(tmp_path, factor=0.0, needs=1, at_least=0.05) as dog:
        for step in range(3):
            dog.beat(step)
        hang(0.3)
    assert dog.dumps == 0 and not list(tmp_path.iterdir())


def test_skipped_updates_stop_the_run_and_name_examples(tmp_path):
    guard = health.SkipGuard(3, lambda step: [f"picture-{step}-{row}" for row in range(4)], tmp_path)
    counts = lambda pixel: {"skipped_in_a_row/pixel": jnp.int32(pixel), "skipped_in_a_row/other": jnp.int32(0)}
    for step, n in enumerate((0, 1, 2, 0, 1, 2, 3), 1):
        guard.check(step, counts(n))
    with pytest.raises(health.TrainingStopped) as e:
        guard.check(8, counts(4))
    text = str(e.value)
    assert text.startswith("step 7: the update of group 'pixel' was skipped 3 times in a row")
    assert "picture-6-0" in text and "picture-5-3" in text and "and 4 more" in text and "picture-3" not in text
    written = (tmp_path / "skipped_examples.txt").read_text()
    assert written.count("\n") == 12 and "step 4: picture-4-0" in written


def test_last_step_counts_too():
    guard = health.SkipGuard(1, lambda step: ["a.jpg"])
    guard.check(1, {"skipped_in_a_row/pixel": jnp.int32(1)})
    with pytest.raises(health.TrainingStopped, match=r"step 1: .*a\.jpg"):
        guard.finish()


def test_equal_hosts_pass():
    health.compare_hosts(config={"a": 1}, code="1.2", data=["x"])


def test_a_host_that_differs_is_named():
    def row(config, code, host):
        return np.frombuffer(config * 32 + code * 32 + host.encode().ljust(64, b"\0"), np.uint8)

    rows = np.stack([row(b"a", b"1", "pod-0"), row(b"b", b"1", "pod-1"), row(b"a", b"1", "pod-2")])
    assert health._disagreements(["config", "code"], rows) == ["host 1 (pod-1) has another config than the rest"]
    rows = np.stack([row(b"a", b"1", "pod-0"), row(b"a", b"2", "pod-1")])
    assert health._disagreements(["config", "code"], rows) == ["host 1 (pod-1) has another code than the rest"]


def test_difference_is_one_sentence(monkeypatch):
    def gather(mine):
        other = mine.copy()
        other[:32] ^= 1
        return np.stack([mine, other])

    monkeypatch.setattr(health.multihost_utils, "process_allgather", gather)
    with pytest.raises(UserError, match=r"hosts: host 1 \(.+\) has another code than the rest; start"):
        health.compare_hosts(data=1, code="x")
