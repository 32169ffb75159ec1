# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Trains and measures the tiny recipes of configs/ablations.py beside the whole ones and writes docs/ablations.md.

`.venv/bin/python launch/ablations.py` does every row, a quarter of an hour and its evaluation each on two cores;
`--rows=mask_tokens,no_names` some of them, with the whole recipe of their stage; `--rows=none` just writes the page.
Started again it goes on where it stopped, and what a row's report holds is not measured again; to do so, delete the
row's folder of --report. Every row starts from what assets/ ships of the stages before its own.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from configs import ablations  # noqa: E402
from launch.ladder import trained  # noqa: E402

WHOLE = {"stage1_tokenizer": "stage 1", "stage3": "stage 3", "stage4": "stage 4"}
# By stage what is measured, with overrides, and of that what the page shows: a figure and what it is called there.
MEASURED = {
    "stage1_tokenizer": (
        (("world_reconstruction",),),
        {
            "psnr": "PSNR, dB",
            "readback_shape": "shapes read back",
            "readback_colour": "colours read back",
            "semantic_cosine": "cosine of semantic features",
            "probe_kept": "probe's accuracy kept",
        },
    ),
    "stage3": (
        (("segmentation",), ("codes", "--config.data.scenes=200")),
        {
            "referring_ciou": "words, cIoU",
            "referring_ciou_attributes": "attributes, cIoU",
            "no_target_accuracy": "no target",
            "things_pq": "things, PQ",
            "image_token_ce": "codes of a picture, nats",
        },
    ),
    "stage4": (
        (("editing", "--config.data.scenes=400"), ("localisation",)),
        {
            "edit_success": "edits done, all else kept",
            "edit_change": "edits done",
            "leakage": "leakage",
            "mask_iou_of_edits": "IoU of the mask",
            "guidance_localisation": "what a mask changes lies under it",
        },
    ),
}
HEAD = """# What each part is worth

Made by launch/ablations.py: tiny recipes of configs/ablations.py on the world, beside the whole recipe of the stage,
all at the budget `ladder` and from one seed; behind a figure stands its standard error over held-out scenes, which does
not know how runs of other seeds differ. A row is trained and measured at the stage whose recipe it changes, from what
assets/ ships of the stages before; later stages are not trained again on it. So a row of stage 1 says what becomes of
pictures and features, and nothing of answers, masks or edits. `-`: the benchmark has no such figure of that model. At
this size a row tells whether the parts work as they should, and little of how they would fare at full size.
"""


def stage_of(row: str) -> str:
    """The stage whose recipe a row changes."""
    if row in ablations.TOKENIZER:
        return "stage1_tokenizer"
    return ablations.CHANGES[row][0].__name__.rpartition(".")[2]


def unmeasured(report: pathlib.Path, benchmarks: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """Of benchmarks (as of MEASURED) those whose figures a row's report folder does not hold."""
    entry = measured(report)
    done = entry["benchmarks"] if entry else ()
    return tuple(one for one in benchmarks if one[0] not in done)


def measured(report: pathlib.Path) -> dict[str, Any] | None:
    """A row's entry of the metrics.json of its report folder; None where there is none."""
    file = report / "metrics.json"
    if not file.exists():
        return None
    (entry,) = json.loads(file.read_text()).values()
    return entry


def page(figures: dict[str, dict]) -> str:
    """docs/ablations.md. figures: by row, or by stage for a whole recipe, its entry of metrics.json."""
    out = [HEAD]
    for stage, title in WHOLE.items():
        _, shown = MEASURED[stage]
        out.append(f"\n## {title[0].upper()}{title[1:]}\n")
        out += [f"| | {' | '.join(shown.values())} | training | steps |", "|---" * (len(shown) + 3) + "|"]
        for row in (stage, *(row for row in ablations.ABLATIONS if stage_of(row) == stage)):
            name, found = "whole recipe" if row == stage else row, figures.get(row)
            if found is None:
                out.append(f"| {name} | {'not run | ' * len(shown)}not run | |")
                continue
            cells = [_cell(found, figure) for figure in shown]
            out.append(f"| {name} | {' | '.join(cells)} | {found['seconds'] / 60:.0f} min | {found['steps']:,} |")
    return "\n".join(out) + "\n"


def _cell(found: dict, figure: str) -> str:
    if figure not in found:
        return "-"
    error = found["standard_error"].get(figure)
    return f"{found[figure]:.3f}" + (f" ± {error:.3f}" if error else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        "launch/ablations.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="", help="comma-separated, `none` for none; default all")
    parser.add_argument("--runs", default="runs/ablations", help="folder of the workdirs (default: runs/ablations)")
    parser.add_argument("--report", default="report_ablations", help="folder of a report for each row")
    args = parser.parse_args()
    rows = [row for row in args.rows.split(",") if row and row != "none"]
    rows = rows if args.rows else list(ablations.ABLATIONS)
    if unknown := [row for row in rows if row not in ablations.ABLATIONS]:
        parser.error(f"--rows: {unknown[0]} is none of {', '.join(ablations.ABLATIONS)}")
    wholes = list(dict.fromkeys(stage_of(row) for row in rows))
    jobs = {stage: f"configs/{stage}.py:tiny" for stage in wholes}
    jobs |= {row: f"configs/ablations.py:{row}_tiny" for row in rows}
    for row, config in jobs.items():
        workdir, report = f"{args.runs}/{row}", f"{args.report}/{row}"
        benchmarks, _ = MEASURED[row if row in WHOLE else stage_of(row)]
        if left := unmeasured(ROOT / report, benchmarks):
            trained(config, workdir, left, report, "ladder")
        else:
            print(f"{row}: its figures are in {report}", flush=True)
    found = {row: measured(ROOT / args.report / row) for row in (*WHOLE, *ablations.ABLATIONS)}
    figures = {row: entry for row, entry in found.items() if entry is not None}
    (ROOT / "docs" / "ablations.md").write_text(page(figures))


if __name__ == "__main__":
    main()
