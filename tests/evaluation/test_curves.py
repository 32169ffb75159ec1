# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Curves: how figures are grouped, and that whatever a run logged is drawn inside the frame."""

import itertools
import math
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from focus_jax.evaluation import curves


def test_groups():
    lines = [
        {
            "step": k, "time": 1.0 * k, "gradient_norm/llm": 5.0, "accuracy/colour": 0.5, "psnr": 20.0 + k,
            "loss": 1.0 / k, "loss/text": 0.5 / k, "loss/mask": 0.1, "accuracy/shape": 0.4, "eta_seconds": 3.0,
            "gradient_norm_of/llm": 1.0, "skipped/llm": 0, "bad_records": 0, "steps_right": 0.5, "gone": None,
            **({"validation/psnr": 19.0, "validation/accuracy/shape": 0.3, "validation/only": 2.0} if k == 4 else {}),
        }
        for k in (1, 2, 3, 4)
    ]  # fmt: skip
    found = {c["title"]: [s["label"] for s in c["series"]] for c in curves.charts(lines, {"psnr": "dB"})}
    assert list(found.items()) == [
        ("loss", ["training"]),
        ("loss terms", ["text", "mask"]),
        ("accuracy", ["colour", "shape", "shape, held out"]),
        ("psnr, dB", ["training", "held out"]),
        ("steps right", ["training"]),
        ("only", ["held out"]),
        ("gradient norm", ["llm"]),
    ]
    assert curves.charts([], {}) == [] == curves.charts([{"step": 1, "time": 2.0, "loss": None}], {})


def test_many_terms_stand_in_several_charts():
    lines = [{"step": 1, **{f"loss/{k}": float(k) for k in range(8)}}]
    charts = curves.charts(lines, {})
    assert [(c["title"], len(c["series"])) for c in charts] == [("loss terms (1 of 2)", 6), ("loss terms (2 of 2)", 2)]
    assert all(s["dots"] for c in charts for s in c["series"])  # a single point is seen


def test_long_runs_are_thinned_to_means():
    lines = [{"step": k, "psnr": float(k % 2)} for k in range(1, 4001)]
    (chart,) = curves.charts(lines, {})
    points = re.findall(r"([\d.]+) ([\d.]+)", chart["series"][0]["path"])
    assert len(points) == curves.POINTS
    assert {y for _, y in points} == {str(round((curves.TOP + curves.BOTTOM) / 2, 1))}  # every mean of 20 is 0.5
    assert chart["series"][0]["last"] == "0"  # the last value as it was logged


def test_wide_losses_have_a_logarithmic_axis():
    charts = curves.charts([{"step": k, "loss": 10.0 ** (2 - k), "psnr": 10.0 ** (2 - k)} for k in range(5)], {})
    assert [c["log"] for c in charts] == [True, False]
    assert [label for _, label in charts[0]["y_ticks"]] == ["0.01", "0.1", "1", "10", "100"]


@settings(max_examples=150, deadline=None)
@example([2.5e23, 5e-324], list(range(1, 9)))
@given(
    st.lists(st.floats(-1e30, 1e30) | st.floats(0, 1) | st.none(), min_size=1, max_size=8),
    st.lists(st.integers(1, 10**7), min_size=8, max_size=8, unique=True),
)
def test_everything_lies_in_the_frame(values, steps):
    charts = curves.charts([{"step": s, "loss": v, "psnr": v} for s, v in zip(steps, values)], {})
    assert len(charts) == (0 if all(v is None for v in values) else 2)
    for chart in charts:
        assert chart["x_ticks"] and chart["y_ticks"]
        ticks = [x for x, _ in chart["x_ticks"]], [y for y, _ in chart["y_ticks"]]
        drawn = [s["dots"] for s in chart["series"]]
        for x, y in itertools.chain(*drawn, zip(ticks[0], itertools.repeat(100)), zip(itertools.repeat(100), ticks[1])):
            assert curves.LEFT - 1 <= x <= curves.RIGHT + 1 and curves.TOP - 1 <= y <= curves.BOTTOM + 1
            assert math.isfinite(x + y)
