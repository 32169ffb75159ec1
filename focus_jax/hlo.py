# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Reads a compiled program's text: which collectives it runs, how often and how large."""

import math
import re
from typing import Any

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "collective-permute", "all-to-all")
_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "c64": 8, "c128": 16}

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.*)$")
_OPCODE = re.compile(r"(?:^|[\s)}\]])([a-z][\w\-]*)\(")
_ARRAY = re.compile(r"\b(pred|[suf]\d+\w*|bf16|c64|c128)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONDITION = re.compile(r"\bcondition=%?([\w.\-]+)")
_BOUND = re.compile(r"^s32\[\]\S* constant\((\d+)\)")
_GROUPS = re.compile(r"replica_groups=(?:\[\d+,(\d+)\]<=|\{\{([\d,]*)\}|mesh\[([^\]]*)\] \{([^}]*)\})")


def collectives(text: str) -> dict[str, dict[str, int]]:
    """Collectives of a compiled program (`compiled.as_text()`).

    A start/done pair is one; collectives inside fusions count too (a custom fusion that scatters what it has reduced is
    a reduce-scatter), and those in a loop body as often as it turns where the program says so.

    Returns: {kind: {"ops": in the text, "count": runs in one execution, "bytes": of the whole arrays that the runs
    gather, reduce, scatter or send, on one device}}, all kinds of KINDS.
    """
    computations, entry = _computations(text)
    runs = {name: 0 for name in computations}

    def visit(name: str, times: int) -> None:
        runs[name] += times
        for line in computations[name]:
            for called in _called(line):
                if called in computations:
                    visit(called, times * _trips(line, computations))

    visit(entry, 1)
    out = {kind: {"ops": 0, "count": 0, "bytes": 0} for kind in KINDS}
    for name, lines in computations.items():
        for line in lines:
            found = _collective(line)
            if found is None or not runs[name]:
                continue
            kind, size = found
            if kind == "all-reduce" and "all-reduce-scatter" in name:
                kind = "reduce-scatter"
            out[kind]["ops"] += 1
            out[kind]["count"] += runs[name]
            out[kind]["bytes"] += runs[name] * size
    return out


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """({name: right-hand sides of its instructions}, name of the entry)."""
    found: dict[str, list[str]] = {}
    name, entry = "", ""
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            name = match.group(2)
            found[name] = []
            entry = name if match.group(1) else entry
        elif name and (match := _INSTRUCTION.match(line)):
            found[name].append(match.group(1))
    return found, entry


def _called(line: str) -> list[str]:
    branches = [b.strip().lstrip("%") for m in _BRANCHES.finditer(line) for b in m.group(1).split(",")]
    return [m.group(1) for m in _CALLED.finditer(line)] + branches


def _trips(line: str, computations: dict[str, list[str]]) -> int:
    """How often a loop turns: as the program says, else the one bound its condition compares with, else 1."""
    if match := _TRIPS.search(line):
        return int(match.group(1))
    condition = _CONDITION.search(line)
    lines = computations.get(condition.group(1), []) if condition else []
    bounds = [int(m.group(1)) for x in lines if (m := _BOUND.match(x))]
    return bounds[0] if len(bounds) == 1 else 1


def _collective(line: str) -> tuple[str, int] | None:
    """(kind, bytes) of an instruction's right-hand side `TYPE OPCODE(operands), attributes`, or None."""
    opcode = _OPCODE.search(line)
    if opcode is None:
        return None
    kind = opcode.group(1).removesuffix("-start")
    if kind not in KINDS:
        return None
    sizes = [_size(m) for m in _ARRAY.finditer(line[: opcode.start(1)])]
    if opcode.group(1) in ("all-gather-start", "collective-permute-start"):  # operands, results, flags
        sizes = [s for s in sizes if s > 4] or sizes
        sizes = sizes[len(sizes) // 2 :]
    size = sum(sizes)
    if kind == "reduce-scatter":  # the result is one shard of what was reduced
        size *= _group_size(line)
    return kind, int(size)


def _size(match: Any) -> float:
    kind = match.group(1)
    item = _BYTES.get(kind) or int(re.sub(r"[^\d].*", "", kind[1:])) / 8
    return item * math.prod(int(d) for d in match.group(2).split(",") if d)


def _group_size(line: str) -> int:
    match = _GROUPS.search(line)
    if match is None:
        return 1
    ways, listed, mesh, axes = match.groups()
    if mesh is None:
        return int(ways) if ways else listed.count(",") + 1
    sizes = dict(axis.split("=") for axis in mesh.replace("'", "").split(","))
    return math.prod(int(sizes[a.strip()]) for a in axes.replace("'", "").split(","))
