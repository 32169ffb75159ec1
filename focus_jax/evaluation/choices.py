# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Multiple choice from official files (contract 8): MMBench, SEED-Bench, AI2D, MMMU."""

from collections.abc import Sequence
from typing import Any

from focus_jax.errors import UserError
from focus_jax.evaluation import answering, held_out
from focus_jax.evaluation.figures import Figure, most_frequent
from focus_jax.evaluation.files import LETTERS, Row
from focus_jax.evaluation.protocol import Checked

BENCHMARKS = ("mmbench", "seedbench", "ai2d", "mmmu")
COMPARED = ("letters", "texts")  # whose log-likelihoods: of the options' letters, or of their texts


class Evaluator:
    """Figures: BENCHMARK_accuracy, and BENCHMARK_accuracy_GROUP where the files name categories or subjects; the
    likeliest of the options is the answer. Beside them what the most frequent letter gives, and chance.

    MMBench's is the accuracy of one pass; its authors also ask with rotated options (CircularEval), which is lower.
    """

    def __init__(self, config: Any):
        answering.check(config, BENCHMARKS)
        if config.compared not in COMPARED:
            raise UserError(f"config.compared: expected one of {', '.join(COMPARED)}, found {config.compared!r}.")
        if config.compared == "letters" and "{options}" not in config.prompt:
            raise UserError(
                f"config.prompt: {config.prompt!r} has no {{options}}, expected them where letters are compared."
            )
        self.config, self.name = config, config.benchmark
        self.baselines: dict[str, dict[str, float]] = {}
        self.galleries: list[held_out.Gallery] = []
        self._asked: answering.Asked | None = None

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        return answering.protocol(self.config, self._asked, choice=f"likeliest of the options' {self.config.compared}")

    def run(self, model: Any, data: Sequence[Row] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: rows, default those of the files that the config names."""
        c, asked = self.config, answering.rows_of(self.config, data)
        rows, checked = asked.rows, Checked(model, self.name, c.batch_size)
        chosen: list[int] = []
        for chunk, images, texts in answering.batches(rows, c):
            given = [list(LETTERS[: len(r.options)]) if c.compared == "letters" else list(r.options) for r in chunk]
            chosen += checked.choose(images, texts, given)
        right = [float(row.options[k] == row.answers[0]) for row, k in zip(rows, chosen)]
        frequent = most_frequent([LETTERS[row.options.index(row.answers[0])] for row in rows])
        guesses = {
            f"always {frequent}": [float(row.options.index(row.answers[0]) == LETTERS.index(frequent)) for row in rows],
            "chance": [1 / len(row.options) for row in rows],
        }
        figures = lambda values: answering.means(f"{self.name}_accuracy", rows, values, lambda row: row.group)
        out, beside = figures(right), {label: figures(values) for label, values in guesses.items()}
        self._asked = asked
        self.baselines = {name: {label: b[name][0] for label, b in beside.items()} for name in out}
        said = [f"{LETTERS[k]}. {row.options[k]}" for row, k in zip(rows, chosen)]
        self.galleries = [answering.gallery(c, asked, said, right)]
        return out
