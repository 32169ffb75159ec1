# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The whole loop on a prepared data set: killed = uninterrupted, resumed elsewhere = the same, two processes = one."""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from data_pipelines import prepare
from focus_jax.training import store
from tests.conftest import xla_flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 12


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A prepared data set of small photographs."""
    path = tmp_path_factory.mktemp("data") / "photographs"
    prepare.prepare("photographs", "", str(path), reader_options={"window": 192, "stride": 192})
    return path


def command(workdir, pictures, steps=STEPS, *extra):
    pixel = "--config.model.tokenizer.pixel"
    return [
        sys.executable, "-m", "focus_jax.train", "--config=configs/ablations.py:no_semantic_branch_tiny",
        f"--workdir={workdir}",
        f"--config.data.sources[0].path={pictures}", f"--config.data.validation[0].path={pictures}",
        f"--config.data.phases[0].steps={steps}", "--config.data.phases[0].streams[0].height=32",
        "--config.data.phases[0].streams[0].width=32", f"{pixel}.encoder.widths=(8,8)",
        f"{pixel}.decoder.widths=(8,16)", f"{pixel}.codes=32", f"{pixel}.code_block=32",
        "--config.loss.codebook_start=5", "--config.log_every=2", "--config.checkpoint_every=2",
        "--config.validate_every=6", "--config.validate_batches=1", "--config.pictures_every=6", *extra,
    ]  # fmt: skip


def environment(devices=1, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("XLA_FLAGS")}
    return env | {"XLA_FLAGS": xla_flags(devices), **more}


def run(args, devices=1, **kwargs):
    done = subprocess.run(
        args, cwd=ROOT, env=environment(devices), capture_output=True, text=True, timeout=300, **kwargs
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def final_state(workdir, step=STEPS):
    """Fingerprints of every item of a step: parameters, optimizer, EMA, counters."""
    meta = store.read_meta(workdir / "checkpoints" / str(step))
    return {item: {k: row[2] for k, row in leaves.items()} for item, leaves in meta["items"].items()}


def figures(workdir):
    """{step: loss} of metrics.jsonl; a step that stands there twice is an error."""
    lines = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert len({x["step"] for x in lines}) == len(lines), "a step stands twice in metrics.jsonl"
    return {x["step"]: x["loss"] for x in lines if "loss" in x}


@pytest.fixture(scope="module")
def uninterrupted(pictures, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    out = run(command(workdir, pictures))
    return workdir, out


def test_workdir_holds_what_the_docs_promise(uninterrupted):
    workdir, out = uninterrupted
    for name in ("config.json", "parameters.txt", "metrics.jsonl", "goodput.jsonl", "tensorboard"):
        assert (workdir / name).exists(), name
    assert list((workdir / "pictures").glob("*.png"))
    line = next(x for x in out.splitlines() if x.startswith(f"step {STEPS}/{STEPS}"))
    for word in ("loss", "steps/s", "examples/s", "TFLOP/s/device", "MFU", "data wait", "ETA"):
        assert word in line
    assert "event codebook_start" in out and "goodput" in out
    assert all(np.isfinite(x) for x in figures(workdir).values())


def kill_and_restart(workdir, pictures, kills, rng, spread, steps=STEPS, *more):
    """Starts the run and kills it with SIGKILL, `kills` times, then lets it finish.

    Each kill comes up to `spread` seconds after the run has put another whole step on disk, so that every start goes on
    from somewhere new and most kills hit a step or a background save.

    Returns: the last whole step on disk after each kill.
    """
    reached = []
    for _ in range(kills):
        before = max(store.steps(workdir), default=0)
        process = subprocess.Popen(
            command(workdir, pictures, steps, *more),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and max(store.steps(workdir), default=0) <= before:
            time.sleep(0.01)
        time.sleep(rng.random() * spread)
        process.send_signal(signal.SIGKILL)
        process.wait()
        reached.append(max(store.steps(workdir), default=0))
    run(command(workdir, pictures, steps, *more))
    return reached


@pytest.mark.slow
def test_killed_three_times_is_uninterrupted(uninterrupted, pictures, tmp_path):
    """Bit for bit: parameters, buffers (the codebook start moves one), optimizer, EMA, health, every logged loss."""
    reached = kill_and_restart(tmp_path / "run", pictures, 3, random.Random(0), 0.3)
    assert 0 < reached[0] < STEPS, f"killed after {reached}: no kill fell inside the run"
    assert final_state(tmp_path / "run") == final_state(uninterrupted[0])
    assert figures(tmp_path / "run") == figures(uninterrupted[0])


@pytest.mark.slow
def test_sigterm_saves_and_leaves(uninterrupted, pictures, tmp_path):
    process = subprocess.Popen(
        command(tmp_path, pictures, STEPS, "--config.checkpoint_every=1000"), cwd=ROOT, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    out = ""
    for line in process.stdout:
        out += line
        if line.startswith("step 2/"):
            process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0 and "asked to stop: saved" in out
    run(command(tmp_path, pictures))
    assert final_state(tmp_path) == final_state(uninterrupted[0])


@pytest.mark.slow
def test_other_devices_go_on_alike(uninterrupted, pictures, tmp_path):
    """Half a run on one device, the rest on 2, 4, 8: same batches, losses to 1e-4."""
    import shutil

    run(
        command(
            tmp_path / "start",
            pictures,
            STEPS,
            "--config.data.phases[0].streams[0].batch_size=8",
            "--config.checkpoint_keep=20",
        )
    )
    whole = figures(tmp_path / "start")
    for devices in (2, 8):
        part = tmp_path / f"on{devices}"
        shutil.copytree(tmp_path / "start", part)
        for step in (part / "checkpoints").iterdir():
            if int(step.name) > 6:
                shutil.rmtree(step)
        run(command(part, pictures), devices)
        for step, loss in figures(part).items():
            assert loss == pytest.approx(whole[step], rel=1e-4), f"{devices} devices, step {step}"


@pytest.mark.slow
def test_two_processes_are_one(uninterrupted, pictures, tmp_path):
    """Two real processes of two devices each, one of them alone with the coordinator: the losses of one process."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    processes = [
        subprocess.Popen(
            command(tmp_path, pictures, STEPS, f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process_id={i}"),
            cwd=ROOT, env=environment(2), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    outs = [p.communicate(timeout=300)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], outs[0][-3000:] + outs[1][-3000:]
    one = figures(uninterrupted[0])
    for step, loss in figures(tmp_path).items():
        assert loss == pytest.approx(one[step], rel=1e-4)


@pytest.mark.slow
def test_bad_records_stop_the_run_beyond_the_budget(pictures, tmp_path):
    """Damaged records are replaced, counted and listed; more than the budget ends the run in one sentence."""
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(pictures, damaged)
    for shard in (damaged / "train").rglob("*.arrayrecord"):
        data = bytearray(shard.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 64] = bytes(64)
        shard.write_bytes(data)
    never = "--config.data.verify=never", "--config.checkpoint_every=1000", "--config.validate_every=1000"
    start = lambda *args: subprocess.run(
        command(*args), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300
    )
    refused = start(tmp_path / "a", damaged)
    assert refused.returncode == 2 and "checksum" in refused.stderr, refused.stderr[-2000:]
    over = start(tmp_path / "b", damaged, 40, *never)
    assert over.returncode == 2 and "config.data.bad_record_budget" in over.stderr, over.stderr[-2000:]
    run(command(tmp_path / "c", damaged, 40, *never, "--config.data.bad_record_budget=100000"))
    listed = [json.loads(x) for x in (tmp_path / "c" / "bad_records.0.jsonl").read_text().splitlines()]
    last = json.loads((tmp_path / "c" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"source", "shard", "reason"} <= set(listed[0])
    met = {(x["k"], x["element"]) for x in listed}
    # A record met twice on the way to one row is counted twice and listed once.
    assert len(met) <= len(listed) <= last["bad_records"] < 2 * len(listed)


def test_bad_commands_end_in_one_sentence(pictures, tmp_path):
    base = command(tmp_path / "w", pictures)
    cases = {
        "--config.sed=1": "sed",
        "--config.seed=x": "config.seed",
        "--config.mesh.data=3": "config.mesh",
        "--config.data.phases[0].streams[0].height=30": "stride",
        "--config.data.phases[0].streams[0].width=48": "no train records for bucket 32x48",
    }
    processes = {
        a: subprocess.Popen(
            [*base, a], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for a in cases
    }
    for argument, process in processes.items():
        _, err = process.communicate(timeout=120)
        said = [x for x in err.splitlines() if x.startswith("error: ")]
        assert process.returncode == 2 and len(said) == 1 and cases[argument] in said[0], (argument, err[-2000:])
        assert "Traceback" not in err
