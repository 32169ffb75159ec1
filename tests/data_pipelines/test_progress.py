# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The line of a long command ends, however the command does."""

import io
import itertools
import sys
import time

import pytest

from data_pipelines.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def said(monkeypatch, results, total, terminal=True):
    out, seconds = Terminal() if terminal else io.StringIO(), itertools.count()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds) * (1 if terminal else 60))
    try:
        assert list(progress("scan", results, total, "files")) == ["x", "x"]
    except RuntimeError:
        pass
    return out.getvalue()


def broken():
    yield "x"
    raise RuntimeError


@pytest.mark.parametrize("results, total, last", [("xx", 2, "2/2"), ("xx", 3, "2/3"), (broken(), 3, "1/3")])
def test_the_last_line_ends(monkeypatch, results, total, last):
    """As many results as announced, fewer, an error on the way."""
    text = said(monkeypatch, results, total)
    assert text.endswith("\n") and text.count("\n") == 1
    assert f"scan {last} files" in text.split("\r")[-1]


def test_lines_where_there_is_no_terminal(monkeypatch):
    text = said(monkeypatch, "xx", 3, terminal=False)
    assert [line.split(",")[0] for line in text.splitlines()] == ["scan 1/3 files", "scan 2/3 files"]


def test_nothing_is_said_of_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", out := Terminal())
    assert list(progress("scan", [], 0, "files")) == [] and not out.getvalue()
