# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A line on standard error that says how far a long command is and how long it will take."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(what: str, results: Iterable[T], total: int, unit: str) -> Iterator[T]:
    """Passes results through; `what` is being done to `total` of `unit` (plural), a result each."""
    start = last = time.monotonic()
    live = sys.stderr.isatty()
    shown = False
    try:
        for done, result in enumerate(results, 1):
            yield result
            now = time.monotonic()
            if now - last > (0.5 if live else 30) or (live and done == total):
                last, left, shown = now, (now - start) / done * (total - done), True
                line = f"{what} {done}/{total} {unit}, {now - start:.0f} s, ETA {left:.0f} s"
                print(f"\r{line:<70}" if live else line, end="" if live else "\n", file=sys.stderr)
    finally:  # also where there were fewer results, or an error
        if live and shown:
            print(file=sys.stderr)
