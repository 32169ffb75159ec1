# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions with a few words for an answer, from official files (contract 8): TextVQA, ChartQA, DocVQA, InfographicVQA,
OCRBench."""

from collections.abc import Callable, Sequence
from typing import Any

from focus_jax.evaluation import answering, held_out, scoring
from focus_jax.evaluation.figures import Figure, most_frequent
from focus_jax.evaluation.files import Row
from focus_jax.evaluation.protocol import Checked

Score = Callable[[str, Row], float]

# The figure, how an answer is scored, and the groups that have figures of their own.
BENCHMARKS: dict[str, tuple[str, Score, Callable[[Row], str]]] = {
    "textvqa": ("textvqa_accuracy", lambda said, row: scoring.vqa_accuracy(said, row.answers), lambda row: ""),
    "chartqa": (
        "chartqa_accuracy",
        lambda said, row: scoring.relaxed_accuracy(said, row.answers[0]),
        lambda row: row.group,
    ),
    "docvqa": ("docvqa_anls", lambda said, row: scoring.anls(said, row.answers), lambda row: ""),
    "infovqa": ("infovqa_anls", lambda said, row: scoring.anls(said, row.answers), lambda row: ""),
    "ocrbench": (
        "ocrbench_accuracy",
        lambda said, row: scoring.ocrbench(said, row.answers, row.group.rpartition("/")[2]),
        lambda row: row.group.rpartition("/")[0],
    ),
}


class Evaluator:
    """Figures: the mean score over questions, by group too (ChartQA: human and augmented; OCRBench: type of question),
    beside that of always giving the answer that is right most often.

    textvqa_accuracy, chartqa_accuracy (relaxed; over both parts, which are of one size in the official test split),
    docvqa_anls, infovqa_anls, ocrbench_accuracy (its authors print the number of right ones, of 1,000)."""

    def __init__(self, config: Any):
        answering.check(config, list(BENCHMARKS))
        self.config, self.name = config, config.benchmark
        self.baselines: dict[str, dict[str, float]] = {}
        self.galleries: list[held_out.Gallery] = []
        self._asked: answering.Asked | None = None

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        return answering.protocol(self.config, self._asked)

    def run(self, model: Any, data: Sequence[Row] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: rows, default those of the files that the config names."""
        c, (figure, score, group) = self.config, BENCHMARKS[self.name]
        asked = answering.rows_of(c, data)
        rows, checked = asked.rows, Checked(model, self.name, c.batch_size)
        answers = [x for _, images, texts in answering.batches(rows, c) for x in checked.chat(images, texts)]
        constant = most_frequent([answer for row in rows for answer in row.answers])
        values, guessed = ([score(x, row) for x, row in zip(said, rows)] for said in (answers, [constant] * len(rows)))
        out, beside = (answering.means(figure, rows, found, group) for found in (values, guessed))
        self._asked = asked
        self.baselines = {name: {"most frequent answer": beside[name][0]} for name in out}
        self.galleries = [answering.gallery(c, asked, answers, values)]
        return out
