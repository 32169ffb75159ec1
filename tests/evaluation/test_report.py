# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The report: files, benchmarks side by side, and the page as a browser shows it."""

import json
import math
import types

import numpy as np
import pytest

from focus_jax import evaluate
from focus_jax.errors import UserError
from focus_jax.evaluation import goals, reconstruction, report, report_page
from focus_jax.evaluation.kept import kept
from focus_jax.training import config as config_lib
from tests.evaluation import browser

HOSTILE = "</title><script>document.title = 1</script><img src=x onerror=alert(1)> & \"quoted\" 'text'"


def run(steps=400, **terms):
    lines = [
        {"step": k, "loss": 3 * math.exp(-k / 90), **{n: f(k) for n, f in terms.items()}} for k in range(10, steps, 10)
    ]
    lines[-1] |= {"validation/loss": 0.4}
    return report.RunFacts(61.5, steps, lines, {"step": 50.0, "compile": 11.5}, "2 x cpu")


def entry(figures, fingerprint, facts=report.NOTHING, checkpoint="runs/a", budget="ladder", **more):
    return {
        **figures, "n": dict.fromkeys(figures, 128), "standard_error": {list(figures)[0]: 0.0123},
        "seconds": facts.seconds, "eval_seconds": 2.0, "steps": facts.steps, "seed": 0, "commit": "0123456789abcdef",
        "fingerprint": fingerprint, "checkpoint": checkpoint, "budget": budget, "device": facts.device, **more,
    }  # fmt: skip


def pictures(n, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8)


def written(folder):
    return json.loads((folder / "metrics.json").read_text())


def gallery(title, columns, rows, note=""):
    return {"title": title, "note": note, "columns": columns, "rows": rows}


TWO = [gallery("t", ["a"], [[x] for x in pictures(2, 8)])]


def fill(folder):
    """Three stages as they come: two benchmarks of one, every kind of cell, texts that want to be HTML."""
    facts = run(psnr=lambda k: 20 + k / 100, **{"loss/a": lambda k: 1e3 / k**2, "loss/b": lambda k: 0.1})
    parts = {"tokenizer/pixel": "1"}
    report.add(
        folder,
        "stage1_tokenizer",
        entry({"psnr": 26.5, "ssim": 0.8}, parts, facts, baselines={"psnr": {"mean": 15.0}}),
        {"benchmark": "reconstruction", "config": {"path": HOSTILE}},
        facts,
        [gallery("Reconstructions", ["original", "back"], list(zip(pictures(5, 64), pictures(5, 64, 1))))],
    )
    report.add(
        folder,
        "stage1_tokenizer",
        entry({"readback_shape": 0.55}, parts, facts),
        {"benchmark": "readback"},
        run=facts,
        galleries=[gallery(HOSTILE, [HOSTILE, HOSTILE], [[pictures(1, 128)[0], HOSTILE]] * 4, note=HOSTILE)],
    )
    scenes, words = pictures(3, 128), "make the small red circle in the lower left corner blue"
    edits = [[x, words, x[..., 0] > 128, x, x[..., 0], "x" * 200] for x in scenes]
    report.add(
        folder,
        "stage3",
        entry({"referring_ciou": 0.6, "a_figure_with_a_name_that_is_longer_than_most_others": 12345.6}, {"llm": "1"}),
        {"benchmark": "segmentation"},
        galleries=[
            gallery("Edits", ["source", "words", "mask", "result", "overlay", "verdict"], edits),
            gallery("Clips", ["frames", "object"], [[pictures(6, 64), "ring"], [pictures(6, 64, 2), None]]),
            gallery("Large", ["a", "b"], [[pictures(1, 500)[0], pictures(1, 130)[0]]]),
            gallery("Nothing yet", ["a"], []),
        ],
    )
    report.add(folder, "a stage & its name", entry({"words": 3.0}, {"x": "1"}), {"benchmark": "of_words"})
    return (folder / "index.html").read_text()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, fill(folder)


def test_benchmarks_of_a_stage_add_up(filled):
    metrics = written(filled[0])
    assert list(metrics) == ["stage1_tokenizer", "stage3", "a stage & its name"]
    stage = metrics["stage1_tokenizer"]
    assert [stage[k] for k in ("psnr", "ssim", "readback_shape")] == [26.5, 0.8, 0.55]
    assert stage["n"] == {"psnr": 128, "ssim": 128, "readback_shape": 128}
    assert stage["standard_error"] == {"psnr": 0.0123, "readback_shape": 0.0123}
    assert stage["baselines"] == {"psnr": {"mean": 15.0}}
    assert stage["seconds"] == 61.5 and stage["eval_seconds"] == 4.0 and stage["device"] == "2 x cpu"
    assert {k: b["figures"] for k, b in stage["benchmarks"].items()} == {
        "reconstruction": ["psnr", "ssim"], "readback": ["readback_shape"],
    }  # fmt: skip
    assert json.loads((filled[0] / "stage1_tokenizer.reconstruction.protocol.json").read_text())["config"] == {
        "path": HOSTILE
    }
    assert stage["benchmarks"]["reconstruction"]["protocol"]["config"] == {"path": HOSTILE}


def test_a_benchmark_replaces_its_own_figures(tmp_path):
    for figures in ({"psnr": 20.0, "ssim": 0.5}, {"psnr": 21.0}):
        report.add(tmp_path, "s", entry(figures, {"p": "1"}), {"benchmark": "b"}, galleries=TWO)
    assert written(tmp_path)["s"]["psnr"] == 21.0 and "ssim" not in written(tmp_path)["s"]
    assert written(tmp_path)["s"]["n"] == {"psnr": 128} and written(tmp_path)["s"]["eval_seconds"] == 2.0
    assert (tmp_path / "index.html").read_text().count("<img") == 2


def test_figures_of_another_checkpoint_are_dropped(tmp_path, capsys):
    report.add(tmp_path, "s", entry({"old": 1.0}, {"pixel": "1"}), {"benchmark": "a"}, galleries=TWO)
    new = entry({"new": 2.0}, {"pixel": "2", "semantic": "1"}, checkpoint="runs/b")
    report.add(tmp_path, "s", new, {"benchmark": "b"})
    stage = written(tmp_path)["s"]
    assert "old" not in stage and stage["new"] == 2.0 and list(stage["benchmarks"]) == ["b"]
    assert "<img" not in (tmp_path / "index.html").read_text()
    assert capsys.readouterr().out == "report: s loses the figures of a, measured on another pixel\n"


def test_networks_of_one_stage_stand_side_by_side(tmp_path):
    for net in ("vit", "convnext"):
        one = entry({f"{net}_shape": 0.96}, {f"tokenizer/{net}": "1", "heads": net}, run(), checkpoint=f"runs/{net}")
        report.add(tmp_path, "standins", one, {"benchmark": f"probe_{net}"}, run=run())
    page = (tmp_path / "index.html").read_text()
    assert {"vit_shape", "convnext_shape"} <= written(tmp_path)["standins"].keys()
    for net in ("vit", "convnext"):
        assert f"<code>probe_{net}</code>: Trained 400 steps in 1 min 02 s on 2 x cpu; budget ladder" in page
    assert page.count('class="chart"') == 2


def test_what_is_refused(tmp_path):
    add = lambda figures, name="b", **more: report.add(
        tmp_path, "s", entry(figures, {"p": "1"}, baselines=more.pop("baselines", {})), {"benchmark": name}, **more
    )
    with pytest.raises(UserError, match=r"s, benchmark b: figure psnr is nan; expected a finite number"):
        add({"psnr": math.nan})
    with pytest.raises(ValueError, match=r"baselines of \['ssim'\]"):
        add({"psnr": 1.0}, baselines={"ssim": {"chance": 0.5}})
    with pytest.raises(ValueError, match="gallery 't': expected 2 cells in every row"):
        add({"psnr": 1.0}, galleries=[gallery("t", ["a", "b"], [["x"]])])
    with pytest.raises(ValueError, match=r"found float64\[4, 4, 3\]"):
        add({"psnr": 1.0}, galleries=[gallery("t", ["a"], [[np.zeros((4, 4, 3))]])])
    with pytest.raises(ValueError, match=r"found \['columns', 'rows'\]"):
        add({"psnr": 1.0}, galleries=[{"columns": [], "rows": []}])
    assert not list(tmp_path.iterdir()), "a refusal writes nothing"
    add({"psnr": 1.0})
    with pytest.raises(UserError, match="benchmarks b and c both have a figure psnr"):
        add({"psnr": 2.0}, name="c")
    assert written(tmp_path)["s"]["psnr"] == 1.0
    (tmp_path / "metrics.json").write_text('{"s": {"psnr": 1.0}}')
    with pytest.raises(UserError, match="stage s has no field benchmarks, so another version wrote it; delete"):
        add({"psnr": 1.0})


def test_the_same_report_gives_the_same_bytes(filled, tmp_path):
    fill(tmp_path)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == sorted(p.name for p in filled[0].iterdir()) and len(names) == 9
    for name in names:
        assert (tmp_path / name).read_bytes() == (filled[0] / name).read_bytes(), name


def test_the_page_says_what_was_not_run(filled):
    (sentence,) = [x for x in filled[1].splitlines() if "Not run here" in x]
    absent = [s.title for name, s in goals.STAGES.items() if name not in ("stage1_tokenizer", "stage3")]
    assert len(absent) == 4 and all(x in sentence for x in absent)
    for name, title in (("stage1_tokenizer", "tokenizer"), ("stage3", "language model")):
        assert filled[1].index(f'data-stage="{name}"') > filled[1].index(title), "a table of contents stands above"
    assert "Training logs do not lie beside this checkpoint" in filled[1]


def test_what_is_kept_of_the_stages_before(tmp_path):
    """Measured again, of parts that are the same, and of parts that are not."""
    report.add(tmp_path, "stage1_tokenizer", entry({"psnr": 26.5}, {"tokenizer/pixel": "1"}), {"benchmark": "world"})
    report.add(tmp_path, "stage2", entry({"question_accuracy": 0.9}, {"llm": "2"}), {"benchmark": "questions"})
    report.add(tmp_path, "stage2", entry({"text_slot_accuracy": 0.97}, {"llm": "2"}), {"benchmark": "slots"})
    parts = {"llm": "3", "tokenizer/pixel": "1"}
    report.add(tmp_path, "stage3", entry({"question_accuracy": 0.88}, parts), {"benchmark": "questions"})
    rows = {row["name"]: row for row in kept("stage3", written(tmp_path))}
    assert list(rows) == ["psnr", "question_accuracy", "text_slot_accuracy"]
    assert rows["question_accuracy"]["change"] == pytest.approx(-0.02)
    assert rows["question_accuracy"]["error"] == pytest.approx(0.0123 * 2**0.5)
    assert [rows[n]["why"] for n in rows] == ["its parts are the same", "", "not measured again"]
    assert kept("stage1_tokenizer", written(tmp_path)) == []
    page = (tmp_path / "index.html").read_text()
    assert page.count("data-kept=") == 1 + 3 and "-0.020 ± 0.017" in page


def test_what_is_measured_again_under_a_label(tmp_path):
    """Stage 4 calls stage 3's figures after_NAME, and its goal is of that stage's, not of the stages before that."""
    for stage, value in (("stage2", 0.7), ("stage3", 0.9)):
        report.add(tmp_path, stage, entry({"question_accuracy": value}, {"llm": stage}), {"benchmark": "questions"})
    report.add(tmp_path, "stage3", entry({"things_pq": 0.6}, {"llm": "stage3"}), {"benchmark": "segmentation"})
    after = entry({"after_question_accuracy": 0.84, "after_things_pq": 0.59}, {"llm": "stage4"})
    report.add(tmp_path, "stage4", after, {"benchmark": "after"})
    rows = {(row["stage"], row["name"]): row for row in kept("stage4", written(tmp_path))}
    assert rows["stage2", "question_accuracy"]["change"] == pytest.approx(0.14)
    row = rows["stage3", "question_accuracy"]
    assert row["change"] == pytest.approx(-0.06) and row["error"] == pytest.approx(0.0123 * 2**0.5) and not row["why"]
    page = (tmp_path / "index.html").read_text()
    marks = {
        name: page.split(f'data-kept="{name}"')[-1].split("</tr>")[0] for name in ("question_accuracy", "things_pq")
    }
    assert "✗ missed" in marks["question_accuracy"] and "✓ met" in marks["things_pq"]
    section = page.split('data-stage="stage4"')[1]
    assert section.count("✗ missed") == 2 and "≥ 0.8452" in section, "in the figures and in what is kept"


@pytest.mark.parametrize(
    "value, error, text",
    [
        (23.2568, 0.2310, "23.26 ± 0.23"), (0.9662, 0.0006, "0.96620 ± 0.00060"), (12345.678, 210.0, "12,346 ± 210"),
        (0.37, 0.0, "0.37"), (163.965, 0.0, "164"), (0.060596, 0.0, "0.0606"), (4000.0, 0.0, "4,000"),
        (15700.5, 0.0, "15,700"), (0.0, 0.0, "0"), (1.0, 1e-9, "1.000000 ± 0.000000"),
    ],
)  # fmt: skip
def test_numbers(value, error, text):
    assert report_page.number(value, error) == text


def test_every_text_is_escaped(filled):
    assert browser.foreign(filled[1]) == []
    assert """content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">""" in filled[1]
    assert filled[1].count("&lt;script&gt;") == 2 + 4 * 4 + 1 and "onerror=alert(1)&gt;" in filled[1]


def test_run_facts(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "loss": 1.0}\n{"step": 20, "loss": 0.5}\n')
    events = [
        {"time": 0.0, "event": "run", "resumed": 0, "device": "1 x TPU v5e"},
        {"time": 9.0, "event": "step", "seconds": 8.0, "from": 0, "to": 20},
        {"time": 9.0, "event": "start", "seconds": 1.0, "from": 0, "to": 20},
    ]
    (tmp_path / "goodput.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    facts = report.run_facts(tmp_path / "checkpoints" / "20")
    assert (facts.seconds, facts.steps, facts.device) == (9.0, 20, "1 x TPU v5e") and len(facts.lines) == 2
    assert report.run_facts(tmp_path / "elsewhere") == report.NOTHING


def test_evaluate_writes_a_report(tmp_path, monkeypatch, capsys):
    class Model:
        config = config_lib.load("configs/stage1_tokenizer.py:tiny", [])
        fingerprints, label = {"tokenizer/pixel": "1"}, "a"

        high = 0

        def encode(self, images, high):
            return {"pixel": np.zeros((len(images), 2, 2), np.int32)}

        def decode(self, codes, size):
            return np.full((len(codes["pixel"]), *size, 3), 128, np.uint8)

    monkeypatch.setattr("focus_jax.load", lambda checkpoint, weights: Model())
    monkeypatch.setattr(reconstruction, "pictures", lambda config, high: {"image": pictures(4, 16)})
    monkeypatch.setattr(reconstruction.Evaluator, "protocol", {"benchmark": "?", "rule": 7}, raising=False)
    config = config_lib.load("configs/eval.py:reconstruction", ["--config.batch_size=4", "--config.label="])
    out = evaluate.evaluate(config, str(tmp_path / "no_run"), str(tmp_path / "report"))
    assert out == written(tmp_path / "report")["stage1_tokenizer"] and out["psnr"] < 26
    assert out["baselines"] == {"psnr": {"mean picture": out["psnr_of_mean_picture"]}}
    said = json.loads((tmp_path / "report" / "stage1_tokenizer.reconstruction.protocol.json").read_text())
    assert said["rule"] == 7 and said["benchmark"] == "reconstruction" and said["weights"] == "ema"
    assert "≥ 26 dB: missed" in capsys.readouterr().out
    assert browser.foreign((tmp_path / "report" / "index.html").read_text()) == []
    config.label = "mine"
    out = evaluate.evaluate(config, str(tmp_path / "no_run"), str(tmp_path / "report"))
    assert out["mine_psnr"] == out["psnr"] and out["baselines"]["mine_psnr"] == out["baselines"]["psnr"]
    assert list(out["benchmarks"]) == ["reconstruction", "mine_reconstruction"]

    config.label = ""
    monkeypatch.setattr(reconstruction, "Evaluator", lambda config: types.SimpleNamespace(
        name="other", run=lambda model: {"steps": (1.0, 1, 0.0)}
    ))  # fmt: skip
    with pytest.raises(UserError, match="names a figure steps; choose another name"):
        evaluate.evaluate(config, str(tmp_path / "no_run"), str(tmp_path / "report"))


@pytest.fixture(scope="module")
def chromium():
    if not browser.find():
        pytest.skip(f"none of {', '.join(browser.NAMES)} is in PATH: the page cannot be opened")


@pytest.mark.browser
@pytest.mark.parametrize("width, dark", [(390, False), (390, True), (1280, False)])
def test_nothing_is_broken_in_a_browser(chromium, filled, width, dark):
    folder, page = filled
    found = browser.look(page, width, dark)
    assert browser.faults(page, found, width, list(written(folder)), dark) == []
    assert found["pictures"] == 5 * 2 + 4 + 3 * 4 + 6 * 2 + 2 and found["charts"] == 3
    for text in ("✓ met", "✗ missed", "? not measured", "no goal", "Published, full size, other data", HOSTILE):
        assert text in found["text"]


@pytest.mark.browser
def test_a_broken_page_is_noticed(chromium, filled):
    page = filled[1]
    start = page.index("data:image/png;base64,")
    page = page[:start] + "data:image/png;base64,AAAA" + page[page.index('"', start) :]
    start = page.rindex('<path class="line h0" d="M')
    page = page[:start] + '<path class="line h0" d="' + page[page.index('"/>', start) :]
    page = page.replace("</section>", '<div style="width: 900px">nan</div><link href="https://a.b/c.css"></section>', 1)
    for good, bad in (
        ("<p>ring</p>", "<p>ring</p><b>wide</b>"),
        (".scroll img {", ".scroll b { display: block; margin-right: -40px } .scroll img {"),
        ("? not measured", ""),
        ('data-stage="stage3"', 'data-stage="stage2"'),
        ("background: var(--page)", "background: #000"),
    ):
        assert good in page
        page = page.replace(good, bad, 1)
    assert browser.faults(page, browser.look(page, 390), 390, ["stage1_tokenizer", "stage3"]) == [
        "asks for link href=https://a.b/c.css", "asks for link", "the page overflows: 925 px in 390",
        "broken picture original", "empty chart psnr, dB", "beyond its cell: <b>wide</b>", "text 'nan'",
        "no section of stage3", "a mark without words", "background rgb(0, 0, 0) in light mode",
    ]  # fmt: skip
