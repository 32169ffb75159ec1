# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions with yes or no for an answer, from official files (contract 8): POPE and MME."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from focus_jax.errors import UserError
from focus_jax.evaluation import answering, held_out, scoring
from focus_jax.evaluation.figures import Figure, bootstrapped, clustered, mean, sums_by
from focus_jax.evaluation.files import Row
from focus_jax.evaluation.protocol import Checked

POPE = {f.__name__: f for f in (scoring.accuracy, scoring.precision, scoring.recall, scoring.f1, scoring.yes_ratio)}
PERCEPTION = "existence count position color posters celebrity scene landmark artwork OCR".split()
COGNITION = "commonsense_reasoning numerical_calculation text_translation code_reasoning".split()


def pope(rows: Sequence[Row], said: Sequence[str]) -> dict[str, Figure]:
    """pope_MEASURE, the mean over the splits that were asked, and pope_SPLIT_MEASURE; measures as in `POPE`.

    said: yes or no. Errors from resampling pictures, which the splits share.
    """
    splits = list(dict.fromkeys(row.group for row in rows))
    counts = np.zeros((len(rows), len(splits), 4))
    for i, (row, word) in enumerate(zip(rows, said)):
        kind = (0, 1) if word == "yes" else (3, 2)  # of scoring.accuracy: right, wrong
        counts[i, splits.index(row.group), kind[row.answers[0] != word]] = 1
    sums = sums_by(answering.by_picture(rows), counts)
    out = {f"pope_{n}": bootstrapped(sums, lambda x, f=f: f(x).mean(-1), len(rows)) for n, f in POPE.items()}
    for k, split in enumerate(splits) if len(splits) > 1 else ():
        asked = int(counts[:, k].sum())
        out |= {f"pope_{split}_{n}": bootstrapped(sums[:, k], f, asked) for n, f in POPE.items()}
    return out


def mme(rows: Sequence[Row], said: Sequence[str]) -> dict[str, Figure]:
    """mme_perception (2,000 at most) and mme_cognition (800), sums over categories of 100 * (accuracy + accuracy_plus);
    mme_CATEGORY_accuracy over questions and _accuracy_plus over pictures, right where both questions are.

    said: yes, no or other. Raises: UserError for a picture that has not two questions, and an unknown category.
    """
    pictures: dict[tuple[str, str | bytes], list[float]] = {}
    for row, word in zip(rows, said):
        pictures.setdefault((row.group, row.source), []).append(float(row.answers[0] == word))
    out, scores = {}, {}
    for category in dict.fromkeys(row.group for row in rows):
        if category not in (*PERCEPTION, *COGNITION):
            raise UserError(f"config.data.path: {category} is none of MME's {', '.join((*PERCEPTION, *COGNITION))}.")
        pairs = [found for (group, _), found in pictures.items() if group == category]
        if any(len(found) != 2 for found in pairs):
            raise UserError(f"{category}: a picture has not two questions, expected pairs; is config.limit odd?")
        each, name = np.array(pairs), answering.slug(category)
        out[f"mme_{name}_accuracy"] = clustered(each.reshape(-1), np.repeat(np.arange(len(each)), 2))
        out[f"mme_{name}_accuracy_plus"] = mean(each.prod(1))
        scores[category] = mean(100 * (each.mean(1) + each.prod(1)))
    sums = {}
    for total, categories in (("mme_perception", PERCEPTION), ("mme_cognition", COGNITION)):
        mine = [scores[c] for c in categories if c in scores]
        if mine:
            value, count = sum(v for v, _, _ in mine), 2 * sum(n for _, n, _ in mine)
            sums[total] = value, count, math.sqrt(sum(e * e for _, _, e in mine))
    return sums | out


# What an answer says, and the figures of what was said.
BENCHMARKS = {
    "pope": (lambda answer: "yes" if scoring.pope_says_yes(answer) else "no", pope),
    "mme": (scoring.mme_says, mme),
}


class Evaluator:
    """Figures as in `pope` and `mme`, beside those of always answering yes."""

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
        c, (says, score) = self.config, BENCHMARKS[self.name]
        asked = answering.rows_of(c, data)
        checked = Checked(model, self.name, c.batch_size)
        answers = [x for _, images, texts in answering.batches(asked.rows, c) for x in checked.chat(images, texts)]
        said = [says(answer) for answer in answers]
        out, constant = score(asked.rows, said), score(asked.rows, ["yes"] * len(said))
        self._asked = asked
        self.baselines = {name: {"always yes": constant[name][0]} for name in out}
        right = [float(row.answers[0] == word) for row, word in zip(asked.rows, said)]
        self.galleries = [answering.gallery(c, asked, answers, right)]
        return out
