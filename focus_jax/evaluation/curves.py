# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Curves of a run: what metrics.jsonl holds, grouped into charts, as numbers that a page can draw.

Grouping asks for no list of figures, so a new stage needs no line here: `loss` and its terms, every other figure with
its `validation/` twin, figures A/x and A/y in one chart A, gradient norms last. Left out is what concerns speed and
bookkeeping (ASIDE, ASIDE_BELOW).
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 44, 352, 8, 178  # of the plotted area
POINTS = 200  # a series; more are means of neighbours
SERIES = 6  # figures a chart, each perhaps with its twin
HELD_OUT = "validation/"
ASIDE = (
    "step", "time", "steps_per_second", "examples_per_second", "data_wait", "eta_seconds", "device_hours",
    "tflops_per_device", "mfu", "bad_records",
)  # fmt: skip
ASIDE_BELOW = ("gradient_norm_of/", "parameter_norm_of/", "update_norm_of/", "skipped/", "skipped_in_a_row/")
SMALLEST = 1e-30  # value that a logarithmic axis takes
SPREAD = 100.0  # of highest to lowest value from which on losses and norms have a logarithmic axis


def charts(lines: Iterable[Mapping[str, Any]], units: Mapping[str, str]) -> list[dict[str, Any]]:
    """Charts of a run, without empty ones.

    Args:
      lines: of metrics.jsonl. units: {figure: unit} for titles.

    Returns: dicts of title, log, x_ticks and y_ticks [[position, label]], series [{label, held_out, colour, last, path,
      dots}] in a frame of WIDTH x HEIGHT; JSON can hold them.
    """
    series: dict[str, list[tuple[float, float]]] = {}
    for line in sorted(lines, key=lambda x: x["step"]):
        for name, value in line.items():
            base = _base(name)
            if base in ASIDE or base.startswith(ASIDE_BELOW):
                continue
            if isinstance(value, int | float) and math.isfinite(value):  # null: it was not finite
                series.setdefault(name, []).append((line["step"], value))
    groups: dict[str, list[str]] = {"loss": [], "loss terms": []}
    for name in series:
        bases = groups.setdefault(_group(_base(name)), [])
        if _base(name) not in bases:
            bases.append(_base(name))
    groups["gradient norm"] = groups.pop("gradient_norm", [])
    out = []
    for title, bases in groups.items():
        for i in range(0, len(bases), SERIES):
            part = bases[i : i + SERIES]
            label = title.replace("_", " ") + (f", {units[title]}" if units.get(title) else "")
            if len(bases) > SERIES:
                label += f" ({i // SERIES + 1} of {math.ceil(len(bases) / SERIES)})"
            logarithmic = title in ("loss", "loss terms", "gradient norm")
            out.append(_chart(label, part, series, logarithmic))
    return out


def _base(name: str) -> str:
    return name.removeprefix(HELD_OUT)


def _group(base: str) -> str:
    return "loss terms" if base.startswith("loss/") else base.partition("/")[0]


def _chart(title: str, bases: list[str], series: Mapping[str, Any], logarithmic: bool) -> dict[str, Any]:
    drawn = []
    for i, base in enumerate(bases):
        short = base.partition("/")[2].replace("_", " ") or ("all" if len(bases) > 1 else "")
        twins = [(base, short or "training"), (HELD_OUT + base, f"{short}, held out" if short else "held out")]
        for k, (name, label) in enumerate(twins):
            if name in series:
                drawn.append((label, bool(k), i if short else k, _thinned(series[name]), series[name][-1][1]))
    points = [p for x in drawn for p in x[3]]
    first, last = min(p[0] for p in points), max(p[0] for p in points)
    lowest, highest = min(p[1] for p in points), max(p[1] for p in points)
    log = logarithmic and lowest > SMALLEST and highest / lowest > SPREAD
    if log:
        low, high = math.log10(lowest), math.log10(highest)
    else:
        low, high = lowest, highest
    margin = 0.05 * (high - low) or abs(high) * 0.1 or 0.5  # a flat line lies in the middle
    low, high = low - margin, high + margin
    if first == last:
        first, last = first - 1, last + 1
    x_of = lambda x: round(LEFT + (RIGHT - LEFT) * (x - first) / (last - first), 1)
    y_of = lambda y: round(BOTTOM - (BOTTOM - TOP) * ((math.log10(y) if log else y) - low) / (high - low), 1)
    y_ticks = _log_ticks(low, high) if log else _ticks(low, high)
    return {
        "title": title,
        "log": log,
        "x_ticks": [[x_of(x), _label(x)] for x in _ticks(first, last) if x == round(x)],
        "y_ticks": [[y_of(y), _label(y)] for y in y_ticks],
        "series": [
            {
                "label": label,
                "held_out": held_out,
                "colour": colour,
                "last": f"{value:.3g}",
                "path": "M" + "L".join(f"{x_of(x)} {y_of(y)}" for x, y in p),
                "dots": [[x_of(x), y_of(y)] for x, y in p] if len(p) < 15 else [],
            }
            for label, held_out, colour, p, value in drawn
        ],
    }


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most POINTS points, each the mean of equally many neighbours (the last perhaps of fewer)."""
    size = math.ceil(len(points) / POINTS)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in p) / len(p), sum(y for _, y in p) / len(p)) for p in parts]


def _ticks(low: float, high: float) -> list[float]:
    """Three to six multiples of 1, 2 or 5 times a power of ten between low and high."""
    rough = (high - low) / 4
    exponent = math.floor(math.log10(rough))
    power = 10.0**exponent
    step = power * min((1, 2, 5, 10), key=lambda m: abs(m * power - rough))
    multiples = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [round(k * step, 2 - exponent) for k in multiples]  # 0.3, not 0.30000000000000004


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between 10**low and 10**high, at most about six."""
    powers = range(math.ceil(low), math.floor(high) + 1)
    return [10.0**k for k in powers if k % math.ceil(len(powers) / 6) == 0]


def _label(x: float) -> str:
    if abs(x) >= 1_000_000:
        return f"{x / 1_000_000:g}M"
    return f"{x / 1000:g}k" if abs(x) >= 1000 else f"{x:g}"
