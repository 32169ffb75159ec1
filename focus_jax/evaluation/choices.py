# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Multiple choice from official files (contract 8): MMBench, SEED-Bench, AI2D, MMMU."""

import dataclasses
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

    config.circular: BENCHMARK_circular_accuracy as well, MMBench's CircularEval (arXiv 2307.06281): a question is asked
    once for each of its options, which move up by one place each time, and counts if every answer is right.
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
        chosen = self._chosen(checked, rows)
        right = [float(row.options[k] == row.answers[0]) for row, k in zip(rows, chosen)]
        frequent = most_frequent([LETTERS[row.options.index(row.answers[0])] for row in rows])
        out: dict[str, Figure] = {}
        beside: dict[str, dict[str, float]] = {}

        def add(name: str, values: list[float], guesses: dict[str, list[float]]) -> None:
            figures = lambda values: answering.means(name, rows, values, lambda row: row.group)
            out.update(figures(values))
            for label, found in guesses.items():
                for figure, (value, *_) in figures(found).items():
                    beside.setdefault(figure, {})[label] = value

        always = [float(row.options.index(row.answers[0]) == LETTERS.index(frequent)) for row in rows]
        guesses = {f"always {frequent}": always, "chance": [1 / len(row.options) for row in rows]}
        add(f"{self.name}_accuracy", right, guesses)
        if c.circular:
            every = list(right)
            for turn in range(1, max(len(row.options) for row in rows)):
                left = [i for i, row in enumerate(rows) if turn < len(row.options)]
                turned = [dataclasses.replace(rows[i], options=_turned(rows[i].options, turn)) for i in left]
                for i, row, k in zip(left, turned, self._chosen(checked, turned)):
                    every[i] *= row.options[k] == row.answers[0]
            # One letter is right in one turn alone.
            always = [float(len(row.options) == 1) for row in rows]
            chance = [len(row.options) ** -float(len(row.options)) for row in rows]
            add(f"{self.name}_circular_accuracy", every, {f"always {frequent}": always, "chance": chance})
        self._asked, self.baselines = asked, beside
        said = [f"{LETTERS[k]}. {row.options[k]}" for row, k in zip(rows, chosen)]
        self.galleries = [answering.gallery(c, asked, said, right)]
        return out

    def _chosen(self, checked: Checked, rows: Sequence[Row]) -> list[int]:
        """Which option of each row is the likeliest."""
        chosen: list[int] = []
        for chunk, images, texts in answering.batches(rows, self.config):
            letters = self.config.compared == "letters"
            given = [list(LETTERS[: len(r.options)]) if letters else list(r.options) for r in chunk]
            chosen += checked.choose(images, texts, given)
        return chosen


def _turned(options: tuple[str, ...], places: int) -> tuple[str, ...]:
    return options[places:] + options[:places]
