# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The wall time of a run adds up, over restarts too."""

import json

import pytest

from focus_jax.training import goodput


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_times_are_exclusive_and_complete(tmp_path):
    clock = Clock()
    log = goodput.Goodput(tmp_path / "goodput.jsonl", clock=clock)
    clock.sleep(5)
    log.training()
    with log.measure("compile"):
        clock.sleep(3)
    for _ in range(10):
        with log.measure("data"):
            clock.sleep(0.5)
        clock.sleep(1.5)
    with log.measure("validation"):
        clock.sleep(2)
        with log.measure("compile"):
            clock.sleep(1)
    log.flush(10)
    assert log.summary() == pytest.approx({"start": 5, "compile": 4, "data": 5, "step": 15, "validation": 2})
    assert log.sentence().startswith("goodput 48.4 % of 31 s in 1 run: step 48.4 %, ")


def test_restart_counts_repeated_steps_as_lost(tmp_path):
    clock, path = Clock(), tmp_path / "goodput.jsonl"
    first = goodput.Goodput(path, clock=clock)
    first.training()
    clock.sleep(100)
    first.flush(100)
    clock.sleep(50)
    first.flush(150)
    clock.sleep(7)  # killed here: these seconds are on no line
    clock.sleep(20)
    with path.open("a") as f:
        f.write('{"time": 12')
    second = goodput.Goodput(path, resumed=120, clock=clock)
    clock.sleep(10)
    second.training()
    clock.sleep(30)
    second.flush(150)
    third = goodput.Goodput(path, resumed=0, clock=clock)  # everything was lost
    third.flush(0)
    assert second.summary() == pytest.approx({"start": 10, "down": 27, "step": 150, "lost": 30})
    spent = third.summary()
    assert spent["lost"] == pytest.approx(180) and spent["step"] == pytest.approx(0)
    assert sum(spent.values()) == pytest.approx(clock.now - 1000)
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_other_hosts_write_nothing(tmp_path):
    log = goodput.Goodput(tmp_path / "goodput.jsonl", writes=False)
    with log.measure("compile"):
        pass
    log.flush(3)
    assert not (tmp_path / "goodput.jsonl").exists() and log.summary() == {}
