# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures of a run: reduction over a window, files that survive a restart, rates."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from focus_jax.errors import UserError
from focus_jax.training import metrics


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def board(folder):
    """(step, tag) of every TensorBoard scalar or picture in a folder, and the steps that purge."""
    found, purged = [], []
    for path in sorted(folder.glob("events*")):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            found += [(event.step, v.tag) for v in event.summary.value]
            if event.HasField("session_log"):
                purged.append(event.step)
    return found, purged


def test_window_divides_sums_and_leaves_absent_terms_out():
    window = metrics.Window()
    for total, count, norm in ((2.0, 1.0, 1.0), (4.0, 3.0, 3.0)):
        window.add(
            {
                "loss": jnp.float32(norm),
                "loss/l1": (jnp.float32(total), jnp.float32(count)),
                "loss/clip": (jnp.float32(0), jnp.float32(0)),
                "skipped/pixel": jnp.int32(total),
                "hist/codes": jnp.array([1, 0, 1, 0]) if norm == 1 else jnp.array([1, 0, 0, 1]),
                "show/picture": jnp.full((2, 2, 3), norm),
            }
        )
    figures, show = window.reduce()
    assert figures["loss"] == 2.0 and figures["loss/l1"] == 1.5 and figures["skipped/pixel"] == 4
    assert "loss/clip" not in figures
    assert figures["codes_usage"] == 0.75
    assert figures["codes_perplexity"] == pytest.approx(np.exp(-(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))))
    assert show["picture"][0, 0, 0] == 3.0
    assert window.reduce() == ({}, {})  # a new window


def test_window_joins_steps_with_different_terms():
    window = metrics.Window()
    window.add({"loss": jnp.float32(1), "loss/a": (jnp.float32(1), jnp.float32(2))})
    window.add({"loss": jnp.float32(3), "loss/b": (jnp.float32(5), jnp.float32(1))})
    assert window.reduce()[0] == {"loss": 2.0, "loss/a": 0.5, "loss/b": 5.0}


def test_files_survive_a_restart_and_show_no_step_twice(tmp_path):
    first = metrics.Metrics(tmp_path, steps=100)
    for step in (10, 20, 30):
        first.write(step, {"loss": 1.0 / step})
    first.write(30, {"validation/psnr": 20.0})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as f:
        f.write('{"step": 40, "lo')  # killed while writing
    second = metrics.Metrics(tmp_path, steps=100, resumed=20)
    second.write(30, {"loss": float("nan")})
    second.close()
    rows = read(tmp_path / "metrics.jsonl")
    assert [r["step"] for r in rows] == [10, 20, 30]
    assert rows[0]["loss"] == 0.1 and rows[2]["loss"] is None and "validation/psnr" not in rows[2]
    found, purged = board(tmp_path / "tensorboard")
    assert (30, "loss") in found and purged == [21]


def test_two_writes_of_a_step_are_one_line(tmp_path):
    m = metrics.Metrics(tmp_path, steps=10)
    m.write(5, {"loss": 1.0})
    m.write(5, {"validation/psnr": np.float32(20.5)})
    m.close()
    (row,) = read(tmp_path / "metrics.jsonl")
    assert row["loss"] == 1.0 and row["validation/psnr"] == 20.5 and row["time"] > 1e9


def test_a_line_that_is_no_json_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nhello\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 is no JSON"):
        metrics.Metrics(tmp_path, steps=10)


def test_pictures(tmp_path):
    m = metrics.Metrics(tmp_path, steps=10)
    m.pictures(7, {"show": np.stack([np.full((4, 6, 3), v, np.float32) for v in (-1.0, 0.0, 1.0)])})
    m.close()
    picture = np.asarray(Image.open(tmp_path / "pictures" / "show_7.png"))
    assert picture.shape == (8, 12, 3)
    assert [picture[0, 0, 0], picture[0, 6, 0], picture[4, 0, 0], picture[4, 6, 0]] == [0, 128, 255, 0]
    assert (7, "show") in board(tmp_path / "tensorboard")[0]


def test_speed_leaves_out_warm_up_and_pauses():
    clock = Clock()
    speed = metrics.Speed(steps=104, peak=1e12, devices=2, clock=clock)
    clock.sleep(60)  # compiling
    speed.tick(8, 4e12)
    for _ in range(4):
        with speed.waiting():
            clock.sleep(0.5)
        clock.sleep(1.5)
        speed.tick(8, 4e12)
    with speed.pause():
        clock.sleep(100)
        with speed.waiting():
            clock.sleep(1)
        with speed.pause():
            clock.sleep(1)
    f = speed.figures(step=4)
    assert f["steps_per_second"] == pytest.approx(0.5) and f["examples_per_second"] == pytest.approx(4)
    assert f["data_wait"] == pytest.approx(0.25)
    assert f["tflops_per_device"] == pytest.approx(1.0) and f["mfu"] == pytest.approx(1.0)
    assert f["eta_seconds"] == pytest.approx(100 * 8 / 4)  # shapes are compiled once
    assert speed.figures(step=4) == {}
    clock.sleep(8)
    for _ in range(4):
        speed.tick(8)
    with speed.pause():
        clock.sleep(100)
    assert speed.figures(step=8)["eta_seconds"] == pytest.approx(96 * (0.7 * 8 / 4 + 0.3 * 108 / 4))  # validated again

    again = metrics.Speed(steps=104, devices=2, clock=clock)
    again.restore(json.loads(json.dumps(speed.state())))
    again.tick(8)
    clock.sleep(4)
    again.tick(8)
    f = again.figures(step=5)
    assert f["steps_per_second"] == pytest.approx(0.25) and "mfu" not in f
    assert f["device_hours"] == pytest.approx((8 + 8 + 4) * 2 / 3600)


def test_terminal_line():
    text = metrics.line(50, 3000, {"loss": 0.5, "steps_per_second": 2.0, "data_wait": 0.031, "eta_seconds": 3725})
    assert text == (
        "step 50/3,000  loss 0.5000  2 steps/s  - examples/s  - TFLOP/s/device  MFU -  data wait 3.1 %  ETA 1 h 02 min"
    )


def test_overview_names_every_parameter(tmp_path):
    m = metrics.Metrics(tmp_path, steps=1)
    m.overview({"discriminator/conv/kernel": np.zeros((3, 4), np.float32)})
    m.close()
    text = (tmp_path / "parameters.txt").read_text()
    assert "discriminator/conv/kernel" in text and "Total: 12" in text
