# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The report: metrics.json for programs, index.html for people, with curves and originals beside reconstructions."""

import base64
import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np
from etils import epath
from PIL import Image

from focus_jax.training.goodput import summarise

CURVES = (  # title, [(figure in metrics.jsonl, label)], lowest and highest value shown (None: from the data)
    ("Loss", [("loss", "loss"), ("loss/reconstruction", "reconstruction")]),
    ("PSNR, dB", [("psnr", "training"), ("validation/psnr", "held out")]),
    ("Codebook usage", [("pixel_codebook_usage", "training"), ("validation/pixel_codebook_usage", "held out")]),
    ("Gradient norm", [("gradient_norm/pixel", "pixel"), ("gradient_norm/discriminator", "discriminator")]),
)
BESIDE = (
    "n",
    "standard_error",
    "fingerprint",
    "commit",
    "checkpoint",
    "budget",
    "seed",
    "steps",
    "seconds",
    "eval_seconds",
)


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """Of a run directory: wall seconds of all its starts, steps done, lines of metrics.jsonl, seconds by activity."""

    seconds: float
    steps: int
    lines: list[dict[str, Any]]
    spent: dict[str, float]


def _records(file: epath.Path) -> list[dict[str, Any]]:
    return [json.loads(x) for x in file.read_text().splitlines() if x.strip()]


def run_facts(checkpoint: epath.PathLike) -> RunFacts:
    """What the logs beside a checkpoint say: a run directory, or a step directory inside one; else nothing (zeros)."""
    path = epath.Path(checkpoint)
    for folder in (path, path.parent.parent):
        if (folder / "metrics.jsonl").exists() and (folder / "goodput.jsonl").exists():
            lines, spent = _records(folder / "metrics.jsonl"), summarise(_records(folder / "goodput.jsonl"))
            seconds = sum(s for name, s in spent.items() if name != "down")
            return RunFacts(seconds, lines[-1]["step"] if lines else 0, lines, spent)
    return RunFacts(0.0, 0, [], {})


def add(
    folder: epath.Path,
    stage: str,
    entry: Mapping[str, Any],
    protocol: Mapping[str, Any],
    shown: Mapping[str, np.ndarray],
    run: RunFacts,
) -> None:
    """Adds a stage's figures to FOLDER and renews index.html.

    shown: {caption: uint8 [N, H, W, 3]}, laid out as columns side by side.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "metrics.json"
    metrics = json.loads(file.read_text()) if file.exists() else {}
    metrics[stage] = dict(entry)
    file.write_text(json.dumps(metrics, indent=2) + "\n")
    (folder / f"{protocol['benchmark']}.protocol.json").write_text(json.dumps(protocol, indent=2) + "\n")
    parts = {
        "curves": [x for x in (_curve(title, rows, run.lines) for title, rows in CURVES) if x],
        "pictures": _pairs(shown),
        "spent": {
            k: 100 * s / max(sum(run.spent.values()), 1e-9) for k, s in sorted(run.spent.items(), key=lambda x: -x[1])
        },
    }
    (folder / f"{stage}.part.json").write_text(json.dumps(parts))
    pages = {
        s: json.loads((folder / f"{s}.part.json").read_text()) for s in metrics if (folder / f"{s}.part.json").exists()
    }
    (folder / "index.html").write_text(_PAGE.render(metrics=metrics, pages=pages, beside=BESIDE))


def _curve(title: str, rows: list[tuple[str, str]], lines: list[dict[str, Any]]) -> dict[str, str] | None:
    """One chart as inline SVG; None where the run logged none of its figures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    series = [(label, [(x["step"], x[name]) for x in lines if x.get(name) is not None]) for name, label in rows]
    series = [(label, points) for label, points in series if points]
    if not series:
        return None
    figure, axes = plt.subplots(figsize=(4.6, 2.7), layout="constrained")
    for (label, points), colour, style in zip(series, ("#3b6ea5", "#c8553d"), ("-", "--")):
        axes.plot(
            *zip(*points),
            style,
            color=colour,
            label=label,
            linewidth=1.6,
            marker="o" if len(points) < 15 else None,
            markersize=3,
        )
    axes.set(title=title, xlabel="step")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    return {"title": title, "svg": buffer.getvalue()[buffer.getvalue().index("<svg") :]}


def _pairs(shown: Mapping[str, np.ndarray]) -> list[dict[str, str]]:
    """[{caption: PNG data URL}, ...], one dict a picture."""
    return [
        {caption: _url(x[i]) for caption, x in shown.items()}
        for i in range(min((len(x) for x in shown.values()), default=0))
    ]


def _url(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


_PAGE = jinja2.Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>focus_jax report</title>
<style>
 body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
 h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-top: 1px solid #ddd; padding-top: 1rem }
 h3 { font-size: 1rem; margin-bottom: .4rem }
 table { border-collapse: collapse }
 td, th { padding: .2rem 1rem .2rem 0; text-align: left; border-bottom: 1px solid #eee }
 td.v { text-align: right; font-variant-numeric: tabular-nums }
 .row { display: flex; flex-wrap: wrap; gap: 1rem } .pair { display: flex; gap: 2px }
 .pair img { width: 104px; height: auto; image-rendering: auto; display: block }
 figcaption, .small { color: #666; font-size: .85rem } figure { margin: 0 }
</style></head><body>
<h1>focus_jax report</h1>
<p class="small">Every figure is of held-out data. Where one falls short of a goal, docs/benchmarks.md says why.</p>
{% for stage, figures in metrics.items() %}
<h2>{{ stage }}</h2>
<p>{{ figures.steps }} steps in {{ "%.0f"|format(figures.seconds) }} s (budget {{ figures.budget }}), evaluated in
{{ "%.0f"|format(figures.eval_seconds) }} s; seed {{ figures.seed }}, commit {{ figures.commit[:12] }}.</p>
<table><tr><th>figure</th><th>value</th><th>standard error</th><th>n</th></tr>
{% for name, value in figures.items() if name not in beside %}
<tr><td>{{ name }}</td><td class="v">{{ "%.4g"|format(value) }}</td>
<td class="v">{{ "%.2g"|format(figures.standard_error[name]) if name in figures.standard_error else "-" }}</td>
<td class="v">{{ figures.n[name] }}</td></tr>
{% endfor %}</table>
{% if stage in pages %}
{% if pages[stage].pictures %}
<h3>Original and {{ (pages[stage].pictures[0].keys() | list)[1:] | join(", ") }}, held-out pictures</h3>
<div class="row">{% for pair in pages[stage].pictures %}<div class="pair">
{% for caption, url in pair.items() %}<img src="{{ url }}" alt="{{ caption }}" title="{{ caption }}">{% endfor
%}</div>{% endfor %}</div>
{% endif %}
<h3>Curves</h3><div class="row">{% for c in pages[stage].curves %}<figure>{{ c.svg | safe }}</figure>{% endfor %}</div>
{% if pages[stage].spent %}<h3>Where the time went</h3>
<p>{% for name, share in pages[stage].spent.items() %}
{{- name }} {{ "%.0f"|format(share) }} %{{ ", " if not loop.last }}{% endfor %}</p>
{% endif %}{% endif %}{% endfor %}
</body></html>
""")
