# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the tasks share: where they write, what they tell, what they read."""

import argparse
import sys
from typing import Any

from etils import epath

from focus_jax.errors import UserError


def folder(output: str, record: str) -> epath.Path:
    """The folder to write to. Raises: UserError for one that holds files and no record of this command."""
    path = epath.Path(output)
    if path.exists() and any(path.iterdir()) and not (path / record).exists():
        raise UserError(f"--output={output}: holds files of something else; name a new or empty folder.")
    return path


def tell(refused: list[str]) -> None:
    """Why inputs were passed over. Raises: SystemExit, code 2, where some were."""
    for sentence in refused:
        print(f"error: {sentence}", file=sys.stderr)
    if refused:
        raise SystemExit(2)


def one_of(args: argparse.Namespace, names: tuple[str, ...]) -> str:
    """The one option that says what is asked. Raises: UserError for none or several."""
    given = [name for name in names if getattr(args, name)]
    if len(given) != 1:
        told = ", ".join(f"--{name}" for name in given) or "nothing"
        raise UserError(f"{told}: expected one of {', '.join(f'--{name}' for name in names)}.")
    return given[0]


def names(listed: str) -> list[str]:
    """Those of a list A,B,..."""
    return [name.strip() for name in listed.split(",") if name.strip()]


def opened(path: str) -> Any:
    """An RGB picture. Raises: UserError."""
    from data_pipelines import transforms

    try:
        return transforms.decode(epath.Path(path).read_bytes(), path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error


def prompt(args: argparse.Namespace, kind: str, size: tuple[int, int]) -> Any:
    """What is asked of a picture of this (height, width). Raises: UserError, DataError."""
    import numpy as np

    from data_pipelines import regions
    from focus_jax.evaluation.protocol import Question

    value = getattr(args, kind)
    if kind == "classes":
        return names(value)
    if kind in ("words", "question"):
        return Question(value) if kind == "question" else value
    if kind in ("point", "box"):
        try:
            numbers = [float(x) for x in value.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != (2 if kind == "point" else 4):
            raise UserError(f"--{kind}={value}: expected {'X,Y' if kind == 'point' else 'X,Y,W,H'} in pixels.")
        return (regions.point if kind == "point" else regions.box)(*numbers, *size)
    marked = np.asarray(opened(value)).max(axis=-1) > 0
    if marked.shape != size:
        height, width = marked.shape
        raise UserError(f"--{kind}={value}: is {width} x {height}, expected the picture's {size[1]} x {size[0]}.")
    return marked
