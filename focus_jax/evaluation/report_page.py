# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The page of a report: one HTML file that asks the network for nothing and runs no script.

Everything stands in it (pictures as data: URLs, curves as SVG, one style sheet), a Content-Security-Policy forbids the
rest, and every text goes through autoescape. The same report gives the same bytes.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import jinja2

from focus_jax.evaluation import curves, goals
from focus_jax.evaluation.kept import before, kept
from focus_jax.training.metrics import duration

MARKS = {goals.MET: "✓ met", goals.MISSED: "✗ missed", goals.OPEN: "? not judged", "": "no goal"}
WIDEST = 384  # px that a picture takes on the page at most
CARD_PICTURES = 2  # rows of so many pictures stand side by side; more make a table
DOUBLED = 128  # px up to which pictures of cards are shown at twice their size; half of it in tables
CHARTS = 6  # shown at once; the others unfold

Judge = Callable[[str, str], goals.Verdict | None]  # of a stage's figure at a budget


def render(metrics: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """metrics: as in metrics.json; parts: {stage: as in STAGE.part.json}. Returns HTML."""
    order = [*goals.STAGES, *(s for s in metrics if s not in goals.STAGES)]
    cards = [_card(stage, metrics, parts[stage]) for stage in order if stage in metrics]
    absent = [known.title for stage, known in goals.STAGES.items() if stage not in metrics]
    return _PAGE.render(cards=cards, absent=absent, marks=MARKS, frame=curves)


def number(value: float, error: float = 0.0) -> str:
    """As many digits as the standard error has a say in (two of its own); without one, four in all."""
    if error > 0:
        digits = min(6, max(0, 1 - math.floor(math.log10(error))))
        return f"{value:,.{digits}f} ± {error:,.{digits}f}"
    if value == round(value) or abs(value) >= 1e4:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _card(stage: str, metrics: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    known, entry = goals.STAGES.get(stage), metrics[stage]
    benchmarks = entry["benchmarks"]
    values = {name: entry[name] for b in benchmarks.values() for name in b["figures"]}
    earlier = kept(stage, metrics)
    references = before(earlier)
    judge = lambda name, budget: goals.judge(stage, name, budget, values, references)
    tables = [
        {"benchmark": name, "budget": b["budget"], "rows": _rows(stage, entry, b, judge)}
        for name, b in benchmarks.items()
    ]
    missing = goals.unmeasured(stage, entry["budget"], values)
    seconds = {b["checkpoint"]: b["seconds"] for b in benchmarks.values()}
    judged = [row["mark"] for t in tables for row in t["rows"] if row["mark"]] + [goals.OPEN] * len(missing)
    return {
        "stage": stage,
        "title": known.title if known else stage,
        "runs": [_run(checkpoint, benchmarks, part["runs"]) for checkpoint in part["runs"]],
        "measured": f"Measured in {duration(entry['eval_seconds'])}.",
        "budget": entry["budget"],
        "seconds": duration(sum(seconds.values())) if any(seconds.values()) else "-",
        "tables": tables,
        "kept": [_kept(row, judge(row["again"], entry["budget"])) for row in earlier],
        "missing": [{"name": f.name, "meaning": f.meaning, "goal": goal} for f, goal in missing],
        "met": f"{judged.count(goals.MET)} of {len(judged)}" if judged else "-",
        "galleries": [_gallery(g) for name in benchmarks for g in part["galleries"].get(name, [])],
        "published": known.published if known else (),
        "remark": known.remark if known else "",
        "in_paper": known is not None,
        "protocols": {name: json.dumps(b["protocol"], indent=2) for name, b in benchmarks.items()},
    }


def _rows(stage: str, entry: Mapping[str, Any], benchmark: Mapping[str, Any], judge: Judge) -> list[dict[str, Any]]:
    rows = []
    for name in benchmark["figures"]:
        known = goals.figure(stage, name)
        verdict = judge(name, benchmark["budget"])
        rows.append(
            {
                "name": name,
                "meaning": known.meaning if known else "",
                "unit": known.unit if known else "",
                "value": number(entry[name], entry["standard_error"].get(name, 0.0)),
                "n": f"{entry['n'][name]:,}" if name in entry["n"] else "",
                "baselines": {label: number(x) for label, x in entry["baselines"].get(name, {}).items()},
                "goal": verdict.goal if verdict else "",
                "rule": verdict.rule if verdict else "",
                "mark": verdict.mark if verdict else "",
            }
        )
    return rows


def _kept(row: Mapping[str, Any], verdict: goals.Verdict | None) -> dict[str, str]:
    """A row of the table of earlier stages' figures, in words; its mark where the goal is of this very stage's."""
    out = {"stage": row["stage"], "name": row["name"], "before": number(row["before"]), "why": row["why"]}
    if row["after"] is None:
        return out | {"after": "", "change": "", "mark": ""}
    sign = "+" if row["change"] > 0 else ""
    mark = verdict.mark if verdict and verdict.kept_of == row["stage"] else ""
    return out | {"after": number(row["after"]), "change": sign + number(row["change"], row["error"]), "mark": mark}


def _run(checkpoint: str, benchmarks: Mapping[str, Any], runs: Mapping[str, Any]) -> dict[str, Any]:
    """What was trained, in a sentence, and how that went."""
    own = {name: b for name, b in benchmarks.items() if b["checkpoint"] == checkpoint}
    b = list(own.values())[-1]
    if b["steps"]:
        where = f" on {b['device']}" if b["device"] else ""
        trained = f"Trained {b['steps']:,} steps in {duration(b['seconds'])}{where}"
    else:
        trained = "Training logs do not lie beside this checkpoint, so its steps and time are unknown"
    charts = runs[checkpoint]["curves"]
    return {
        "of": ", ".join(own) if len(runs) > 1 else "",
        "sentence": f"{trained}; budget {b['budget']}, seed {b['seed']}, commit {b['commit'][:12]}.",
        "charts": charts[:CHARTS],
        "more": charts[CHARTS:],
        "spent": ", ".join(f"{name} {share:.0f} %" for name, share in runs[checkpoint]["spent"].items()),
    }


def _gallery(gallery: Mapping[str, Any]) -> dict[str, Any]:
    """Adds how to lay it out: cards (with a legend where they hold two pictures) or a table."""
    pictures = max((sum(len(c.get("pictures", ())) for c in row) for row in gallery["rows"]), default=0)
    cards = pictures <= CARD_PICTURES
    doubled = DOUBLED if cards else DOUBLED // 2
    rows = [[_cell(*x, doubled) for x in zip(row, gallery["columns"], strict=True)] for row in gallery["rows"]]
    widest = max((p["width"] for row in rows for c in row for p in c["pictures"]), default=0)
    captions = [c for i, c in enumerate(gallery["columns"]) if any(row[i]["pictures"] for row in rows)]
    tall = widest > 160
    legend = f"{'Top to bottom' if tall else 'Left to right'}: {', '.join(captions)}" if pictures > 1 else ""
    return {**gallery, "rows": rows, "cards": cards, "tall": tall, "legend": legend if cards else ""}


def _cell(cell: Mapping[str, Any], caption: str, doubled: int) -> dict[str, Any]:
    """Pictures up to `doubled` px are shown at twice their size."""
    shown = []
    for p in cell.get("pictures", ()):
        scale = min(2.0 if max(p["width"], p["height"]) <= doubled else 1.0, WIDEST / p["width"])
        size = {"width": round(p["width"] * scale), "height": round(p["height"] * scale)}
        shown.append({"url": p["url"], "pixelated": scale == 2.0, **size})
    return {"caption": caption, "text": cell.get("text", ""), "pictures": shown}


_ENVIRONMENT = jinja2.Environment(
    autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
)
_PAGE = _ENVIRONMENT.from_string("""\
{% macro chart(c) %}
<figure class="chart">
<figcaption><strong>{{ c.title }}</strong>{{ ", logarithmic" if c.log }}
<span class="legend">
{% for s in c.series %}
<span><svg width="18" height="8" aria-hidden="true"><path class="line h{{ s.colour }}{{ " held" if s.held_out }}"
 d="M1 4L17 4"/></svg>{{ s.label }} <b>{{ s.last }}</b></span>
{% endfor %}
</span></figcaption>
<svg viewBox="0 0 {{ frame.WIDTH }} {{ frame.HEIGHT }}" role="img" aria-label="{{ c.title }} by step">
{% for y, label in c.y_ticks %}
<path class="grid" d="M{{ frame.LEFT }} {{ y }}L{{ frame.RIGHT }} {{ y }}"/>
<text class="y" x="{{ frame.LEFT - 6 }}" y="{{ y + 3.5 }}">{{ label }}</text>
{% endfor %}
{% for x, label in c.x_ticks %}
<text class="x" x="{{ x }}" y="{{ frame.BOTTOM + 16 }}">{{ label }}</text>
{% endfor %}
{% for s in c.series %}
<path class="line h{{ s.colour }}{{ " held" if s.held_out }}" d="{{ s.path }}"/>
{% for x, y in s.dots %}<circle class="h{{ s.colour }}" cx="{{ x }}" cy="{{ y }}" r="2.5"/>{% endfor %}
{% endfor %}
</svg></figure>
{% endmacro %}
{% macro pictures(cell) %}
{% for p in cell.pictures %}
<img class="{{ "pixelated" if p.pixelated }}" width="{{ p.width }}" height="{{ p.height }}" alt="{{ cell.caption }}"
 title="{{ cell.caption }}" src="{{ p.url }}">
{% endfor %}
{% endmacro %}
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark"><title>focus_jax report</title>
<style>
:root { --page: #f7f7f4; --card: #fff; --text: #1f2428; --muted: #5b646b; --line: #e3e3dd; --link: #2a5f8f;
 --met: #1e6b3f; --met-back: #e3f1e7; --missed: #9c3412; --missed-back: #fbe9e0; --open-back: #eeeeea;
 --h0: #2f6f9f; --h1: #c2562d; --h2: #3a8758; --h3: #8758a6; --h4: #a8821a; --h5: #5b646b }
@media (prefers-color-scheme: dark) { :root { --page: #121517; --card: #1a1e21; --text: #e4e7e9; --muted: #9aa5ad;
 --line: #2d3338; --link: #85bce6; --met: #8fd3aa; --met-back: #1b3526; --missed: #f0a486; --missed-back: #40231a;
 --open-back: #272c30; --h0: #6cb0e0; --h1: #e98e68; --h2: #6dc08f; --h3: #c097d9; --h4: #d8b650; --h5: #9aa5ad } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, -apple-system, "Segoe UI",
 Roboto, "Liberation Sans", sans-serif; -webkit-text-size-adjust: 100% }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1rem 4rem }
h1 { font-size: 1.6rem; font-weight: 650; letter-spacing: -.01em; margin: 0 0 .3rem }
h2 { font-size: 1.25rem; font-weight: 650; letter-spacing: -.005em; margin: 0 0 .4rem }
h3 { font-size: .95rem; font-weight: 650; margin: 2rem 0 .5rem } h3 .muted { font-weight: 400; margin-left: .4rem }
p { margin: 0 0 .5rem; max-width: 46rem } a { color: var(--link) }
.muted, figcaption, th, .n { color: var(--muted); font-size: .85rem }
code, .name { font-family: ui-monospace, SFMono-Regular, Menlo, "Liberation Mono", monospace; font-size: .86em;
 overflow-wrap: anywhere }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.4rem 1.5rem;
 margin: 1.5rem 0 }
table { border-collapse: collapse; width: 100% }
th { text-align: left; font-weight: 500 } td, th { padding: .45rem .9rem .45rem 0; vertical-align: top;
 border-bottom: 1px solid var(--line) } tr:last-child > td { border-bottom: 0 } td:last-child, th:last-child {
 padding-right: 0 }
td.g .meaning { overflow-wrap: anywhere }
.figures td.v, .figures th.v { padding-right: 1.6rem } td.w { white-space: nowrap }
td.v, th.v { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td.v .n { display: block; white-space: normal } td.g { width: 14rem } td.g span { display: inline-block }
td.g .goal { margin-right: .5rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
.meaning { display: block; color: var(--muted); font-size: .85rem; line-height: 1.35 }
.mark { font-size: .8rem; line-height: 1.2; padding: .2rem .5rem; border-radius: 99px; white-space: nowrap }
.mark.met { color: var(--met); background: var(--met-back) }
.mark.missed { color: var(--missed); background: var(--missed-back) }
.mark.open { color: var(--muted); background: var(--open-back) }
.narrow { width: auto } .narrow td, .narrow th { font-size: .85rem; padding-top: .25rem; padding-bottom: .25rem }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 1.2rem 1.5rem }
figure { margin: 0 } .chart > svg { display: block; width: 100%; height: auto; margin-top: .2rem }
.chart strong { color: var(--text); font-weight: 600 }
.legend { display: flex; flex-wrap: wrap; gap: 0 .9rem; font-size: .8rem } .legend span { white-space: nowrap }
.legend svg { vertical-align: .1em; margin-right: .3rem } .legend b { color: var(--text); font-weight: 500;
 font-variant-numeric: tabular-nums }
.chart text { fill: var(--muted); font: 10.5px system-ui, "Liberation Sans", sans-serif } text.y { text-anchor: end }
text.x { text-anchor: middle } .grid { stroke: var(--line); fill: none } .line { fill: none; stroke-width: 1.6;
 stroke-linejoin: round } .held { stroke-dasharray: 4 3 }
{% for i in range(frame.SERIES) %}
path.h{{ i }} { stroke: var(--h{{ i }}) } circle.h{{ i }} { fill: var(--h{{ i }}) }
{% endfor %}
img { display: block; background: var(--open-back); border-radius: 3px; outline: 1px solid var(--line) }
.pixelated { image-rendering: pixelated }
.cards { display: flex; flex-wrap: wrap; gap: 1rem .9rem } .card { flex: none; display: grid; gap: 3px;
 grid-template-columns: auto auto; align-content: start; justify-content: start }
.card.tall { grid-template-columns: auto }
.card p { grid-column: 1 / -1; width: 0; min-width: max(100%, 8.5rem); margin: .1rem 0 0; font-size: .85rem;
 line-height: 1.35; overflow-wrap: anywhere }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch } .scroll table { width: auto }
.scroll td, .scroll th { padding: .35rem .7rem .35rem 0; border: 0; font-size: .85rem }
.scroll td > div { display: flex; gap: 3px } .scroll img { flex: none } .scroll td p { width: max-content;
 max-width: 11rem; margin: 0; overflow-wrap: anywhere }
nav { margin: 1rem 0 } .spent { margin-top: .8rem } details { margin: .8rem 0 } details .charts { margin-top: .8rem }
summary { cursor: pointer; color: var(--link); font-size: .9rem }
pre { overflow-x: auto; font-size: .78rem; line-height: 1.4; background: var(--page); padding: .8rem;
 border-radius: 6px }
@media (max-width: 640px) { main { padding: 1.2rem .6rem 3rem } section { padding: 1rem .9rem; border-radius: 8px }
 .cards { flex-wrap: nowrap; overflow-x: auto; padding-bottom: .4rem } td, th { padding-right: .6rem }
 .narrow { width: 100% } .narrow td.v { white-space: normal }
 .figures, .figures tbody { display: block } .figures tr { display: grid; padding: .5rem 0;
 grid-template-columns: 1fr auto; gap: .15rem .8rem; border-bottom: 1px solid var(--line) }
 .figures tr:first-child { display: none } .figures tr:last-child { border-bottom: 0 }
 .figures td, .figures td.v { padding: 0; border: 0 } .figures td:first-child { grid-column: 1 / -1 }
 td.g, td.v { width: auto } .figures td.v { text-align: left } .figures td.g { text-align: right }
 td.g .goal { margin-right: .4rem } }
</style></head><body><main>
<h1>focus_jax report</h1>
<p class="muted">Figures are of held-out data, ± one standard error. Goals are those of the tiny model at the budget the
run had; where a figure misses its goal, docs/benchmarks.md says why.</p>
{% if cards | length > 1 %}
<nav aria-label="Stages"><table class="narrow">
<tr><th>stage</th><th>budget</th><th class="v">training</th><th class="v">goals met</th></tr>
{% for card in cards %}
<tr><td><a href="#stage-{{ loop.index }}">{{ card.title }}</a></td><td>{{ card.budget }}</td>
<td class="v">{{ card.seconds }}</td><td class="v">{{ card.met }}</td></tr>
{% endfor %}
</table></nav>
{% endif %}
{% if absent %}
<p class="muted">Not run here: {{ absent | join("; ") }}.</p>
{% endif %}
{% for card in cards %}
<section id="stage-{{ loop.index }}" data-stage="{{ card.stage }}">
<h2>{{ card.title }}</h2>
{% for run in card.runs %}
<p>{% if run.of %}<code>{{ run.of }}</code>: {% endif %}{{ run.sentence }}
{%- if loop.last %} {{ card.measured }}{% endif %}</p>
{% endfor %}
{% for table in card.tables %}
<h3>Figures: {{ table.benchmark }} <span class="muted">budget {{ table.budget }}</span></h3>
<table class="figures"><tr><th>figure</th><th class="v">value</th><th>goal</th></tr>
{% for row in table.rows %}
<tr data-figure="{{ row.name }}"><td><span class="name">{{ row.name }}</span>
{%- if row.meaning %}<span class="meaning">{{ row.meaning }}</span>{% endif %}</td>
<td class="v">{{ row.value }}{{ " " ~ row.unit if row.unit }}
{%- if row.n %}<span class="n">n = {{ row.n }}</span>{% endif %}
{% for label, value in row.baselines.items() %}<span class="n">{{ label }} {{ value }}</span>{% endfor %}</td>
<td class="g">{% if row.goal %}<span class="goal">{{ row.goal }}</span>{% endif %}
<span class="mark {{ row.mark if row.mark in ("met", "missed") else "open" }}">{{ marks[row.mark] }}</span>
{%- if row.rule %}<span class="meaning">{{ row.rule }}</span>{% endif %}</td></tr>
{% endfor %}
</table>
{% endfor %}
{% if card.missing %}
<h3>Goals without a figure <span class="muted">budget {{ card.budget }}</span></h3>
<table class="figures"><tr><th>figure</th><th></th><th>goal</th></tr>
{% for row in card.missing %}
<tr><td><span class="name">{{ row.name }}</span><span class="meaning">{{ row.meaning }}</span></td>
<td class="v"></td><td class="g"><span class="goal">{{ row.goal }}</span>
<span class="mark open">? not measured</span></td></tr>
{% endfor %}
</table>
{% endif %}
{% if card.kept %}
<details{{ " open" if card.kept | length <= 24 }}>
<summary>Kept of the stages before: {{ card.kept | length }} figures</summary>
<table class="narrow"><tr><th>figure</th><th>of</th><th class="v">before</th><th class="v">after</th>
<th class="v">change</th><th>kept</th></tr>
{% for row in card.kept %}
<tr data-kept="{{ row.name }}"><td class="name">{{ row.name }}</td><td>{{ row.stage }}</td>
<td class="v">{{ row.before }}</td><td class="v">{{ row.after or "-" }}</td>
<td class="v">{{ row.change or row.why }}</td>
<td>{% if row.mark %}<span class="mark {{ row.mark }}">{{ marks[row.mark] }}</span>{% endif %}</td></tr>
{% endfor %}
</table></details>
{% endif %}
{% for gallery in card.galleries if gallery.rows %}
<h3>{{ gallery.title }}</h3>
{% if gallery.note or gallery.legend %}
<p class="muted">{{ gallery.note }}{{ " " if gallery.note and gallery.legend }}{{ gallery.legend }}</p>
{% endif %}
{% if gallery.cards %}
<div class="cards" tabindex="0">
{% for row in gallery.rows %}
<div class="card{{ " tall" if gallery.tall }}">
{% for cell in row %}{{ pictures(cell) }}{% endfor %}
{% for cell in row if cell.text %}
<p><span class="muted">{{ cell.caption }}</span> {{ cell.text }}</p>
{% endfor %}
</div>
{% endfor %}
</div>
{% else %}
<div class="scroll" tabindex="0"><table>
<tr>{% for caption in gallery.columns %}<th>{{ caption }}</th>{% endfor %}</tr>
{% for row in gallery.rows %}
<tr>{% for cell in row %}
<td>{% if cell.pictures %}<div>{{ pictures(cell) }}</div>{% else %}<p>{{ cell.text }}</p>{% endif %}</td>
{% endfor %}</tr>
{% endfor %}
</table></div>
{% endif %}
{% endfor %}
{% for run in card.runs if run.charts %}
<h3>Curves{% if run.of %}: {{ run.of }}{% endif %}</h3>
<div class="charts">
{% for c in run.charts %}{{ chart(c) }}{% endfor %}
</div>
{% if run.more %}
<details><summary>{{ run.more | length }} more</summary>
<div class="charts">
{% for c in run.more %}{{ chart(c) }}{% endfor %}
</div></details>
{% endif %}
{% if run.spent %}<p class="muted spent">Where the time went: {{ run.spent }}.</p>{% endif %}
{% endfor %}
{% if card.published %}
<h3>Published, full size, other data</h3>
<p class="muted">FOCUS as printed in arXiv 2506.16806; nothing on this page can be compared with it
directly.{{ " " ~ card.remark if card.remark }}</p>
<table class="narrow"><tr><th>benchmark</th><th class="v">FOCUS</th><th>where</th></tr>
{% for p in card.published %}
<tr><td>{{ p.figure }}{% if p.remark %}<span class="meaning">{{ p.remark }}</span>{% endif %}</td>
<td class="v">{{ p.value }}</td><td class="w">{{ p.table }}</td></tr>
{% endfor %}
</table>
{% elif card.in_paper %}
<p class="muted">The paper publishes no figure of this stage.</p>
{% endif %}
{% for name, text in card.protocols.items() %}
<details><summary>Protocol: {{ name }}</summary><pre>{{ text }}</pre></details>
{% endfor %}
</section>
{% endfor %}
</main></body></html>
""")
