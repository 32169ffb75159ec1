# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The page of ablations: every row stands there, what was not run says so."""

import json

from configs import ablations
from launch import ablations as page


def entry(**figures):
    return figures | {"standard_error": {"psnr": 0.012}, "seconds": 540.0, "steps": 900}


def test_rows_not_run_say_so():
    figures = {"stage1_tokenizer": entry(psnr=28.0), "no_pixel_branch": entry(psnr=17.2, readback_shape=0.25)}
    text = page.page(figures)
    assert text.count("not run") == sum(
        len(page.MEASURED[stage][1]) + 1
        for stage in page.MEASURED
        for row in (stage, *(r for r in ablations.ABLATIONS if page.stage_of(r) == stage))
        if row not in figures
    )
    assert "| whole recipe | 28.000 ± 0.012 | - |" in text and "| no_pixel_branch | 17.200 ± 0.012 | 0.250 |" in text
    for row in ablations.ABLATIONS:
        assert f"| {row} |" in text
    assert {page.stage_of(row) for row in ablations.ABLATIONS} == set(page.MEASURED)


def test_what_a_row_s_report_holds_is_not_measured_again(tmp_path):
    benchmarks, _ = page.MEASURED["stage4"]
    assert page.unmeasured(tmp_path, benchmarks) == benchmarks and page.measured(tmp_path) is None
    entry = {"benchmarks": {"editing": {}}}
    (tmp_path / "metrics.json").write_text(json.dumps({"mask_tokens": entry}))
    assert page.unmeasured(tmp_path, benchmarks) == (("localisation",),) and page.measured(tmp_path) == entry
    (tmp_path / "metrics.json").write_text(
        json.dumps({"mask_tokens": {"benchmarks": {"editing": {}, "localisation": {}}}})
    )
    assert page.unmeasured(tmp_path, benchmarks) == ()
