# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which code made a file."""

import functools
import importlib.metadata
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


@functools.cache
def code_version() -> str:
    """The git commit ("+dirty" where files differ from it) in a checkout, else the version of the installed package."""
    if (ROOT / ".git").exists():  # not the repository of someone who merely installed this package inside it
        try:
            commit = _git("rev-parse", "--verify", "HEAD")
            return commit + ("+dirty" if _git("status", "--porcelain") else "")
        except (OSError, subprocess.CalledProcessError):
            pass  # no git program, or no commit yet: the package's version is what is left to say
    try:
        return importlib.metadata.version("focus_jax")
    except importlib.metadata.PackageNotFoundError:
        return "uncommitted"


def _git(*args: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *args], check=True, capture_output=True, text=True).stdout.strip()
