# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""launch/*.sh without --yes print one command that a shell reads back word by word, and run nothing."""

import pathlib
import shlex
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TRAIN = [
    "--config=configs/stage1_tokenizer.py",
    "--config.data.sources[0].path=/mnt/my data",
    "--workdir=gs://bucket/run",
]


def run(script, *argv, path="/usr/bin:/bin"):
    command = [ROOT / "launch" / script, *argv]
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True)


def printed(script, *argv):
    done = run(script, *argv)
    assert done.returncode == 0, done.stderr
    return shlex.split(done.stdout)


def option(words, name):
    (found,) = [w.removeprefix(name + "=") for w in words if w.startswith(name + "=")]
    return found


def test_tpu_vm_train_runs_the_same_command_on_all_workers():
    words = printed("tpu_vm.sh", "train", "--name=focus", "--zone=z", "--project=p", "--", *TRAIN)
    assert words[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "focus"]
    assert {"--zone=z", "--worker=all", "--project=p"} <= set(words)
    remote = shlex.split(option(words, "--command"))
    assert remote == ["cd", "focus_jax", "&&", ".venv/bin/python", "-m", "focus_jax.train", "--distributed", *TRAIN]


def test_tpu_vm_setup_installs_the_pinned_set_and_libtpu():
    words = printed("tpu_vm.sh", "setup", "--name=focus", "--zone=z", "--repository=https://host/r.git", "--commit=abc")
    remote = option(words, "--command")
    assert "git clone https://host/r.git focus_jax" in remote and "git checkout abc" in remote
    assert "--require-hashes -r requirements.txt" in remote and '".[tpu]"' in remote


def test_tpu_vm_stop_asks_with_sigterm():
    assert option(printed("tpu_vm.sh", "stop", "--name=focus", "--zone=z"), "--command").startswith("pkill -TERM")


def test_slurm_starts_one_process_a_gpu():
    words = printed("slurm.sh", "--nodes=2", "--gpus=8", "--", *TRAIN)
    assert words[0] == "sbatch"
    assert {"--nodes=2", "--gpus-per-node=8", "--ntasks-per-node=8", "--requeue", "--signal=TERM@120"} <= set(words)
    step = shlex.split(option(words, "--wrap"))
    assert step == ["srun", ".venv/bin/python", "-m", "focus_jax.train", "--distributed", *TRAIN]


@pytest.mark.parametrize(
    "script, program, argv",
    [
        ("tpu_vm.sh", "gcloud", ["train", "--name=focus", "--zone=z"]),
        ("slurm.sh", "sbatch", ["--nodes=2", "--gpus=8"]),
    ],
)
def test_yes_runs_what_was_printed(tmp_path, script, program, argv):
    fake = tmp_path / program
    fake.write_text('#!/usr/bin/env bash\nprintf "%q " "$@"\n')
    fake.chmod(0o755)
    done = run(script, *argv, "--yes", "--", *TRAIN, path=f"{tmp_path}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert [program, *shlex.split(done.stdout)] == printed(script, *argv, "--", *TRAIN)


@pytest.mark.parametrize(
    "script, argv, expected",
    [
        ("tpu_vm.sh", [], "expected setup, train or stop first"),
        ("tpu_vm.sh", ["train", "--zone=z"], "--name"),
        ("tpu_vm.sh", ["setup", "--name=n", "--zone=z"], "--repository"),
        ("tpu_vm.sh", ["train", "--name=n", "--zone=z"], "after --"),
        ("tpu_vm.sh", ["train", "--nane=n"], "--nane=n"),
        ("slurm.sh", ["--nodes=two", "--", "x"], "--nodes=two: expected a positive number"),
        ("slurm.sh", ["--nodes=2"], "after --"),
    ],
)
def test_a_mistake_is_one_sentence(script, argv, expected):
    done = run(script, *argv)
    assert done.returncode == 2 and done.stdout == ""
    assert expected in done.stderr and done.stderr.count("\n") == 1
