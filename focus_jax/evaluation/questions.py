# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions about pictures of the world, beside what answers that never look reach (contract 8)."""

import collections
from collections.abc import Sequence
from typing import Any

from data_pipelines.world import questions, scenes
from data_pipelines.world.questions import Question
from data_pipelines.world.scenes import Scene
from focus_jax.errors import UserError
from focus_jax.evaluation import held_out
from focus_jax.evaluation.figures import Figure, clustered, most_frequent
from focus_jax.evaluation.protocol import Checked

NAME = "question_accuracy"


def asked(scene: Scene, count: int) -> list[Question]:
    """The questions about one scene."""
    return questions.questions(scene, scenes.draws_of(scene, scenes.QUESTIONS), count)


def same(answer: str, truth: str) -> bool:
    """Whether two answers are the same words; case, outer blanks and a final full stop do not count."""
    plain = lambda text: text.strip().removesuffix(".").rstrip().casefold()
    return plain(answer) == plain(truth)


class Blind:
    """Answers without a picture: the most frequent answer to a text, or to its template where the text is new, among
    questions about scenes of the split train."""

    def __init__(self, preset: str, first: int, count: int, per_scene: int):
        by_text: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self._all: collections.Counter[str] = collections.Counter()
        by_template: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for i in range(first, first + count):
            for q in asked(scenes.scene(preset, "train", i), per_scene):
                for counter in (by_text[q.text], by_template[q.template], self._all):
                    counter[q.answer] += 1
        self._by_text = {text: most_frequent(c) for text, c in by_text.items()}
        self._by_template = {template: most_frequent(c) for template, c in by_template.items()}

    def majority(self, q: Question) -> str:
        """The most frequent answer to the question's template."""
        return self._by_template.get(q.template) or self._all.most_common(1)[0][0]

    def answer(self, q: Question) -> str:
        return self._by_text.get(q.text) or self.majority(q)


class Asked(held_out.Benchmark):
    """What benchmarks that ask the world's questions begin with."""

    def __init__(self, config: Any):
        super().__init__(config)
        if config.per_scene < 1 or config.blind_scenes < 1:
            raise UserError("config.per_scene and config.blind_scenes: expected at least 1 each.")

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        c, matching = self.config, "exact; case, outer blanks and a final full stop do not count"
        blind = {"split": "train", "scenes": c.blind_scenes, "per_scene": c.per_scene}
        return held_out.protocol(c, matching=matching, blind=blind)


class Evaluator(Asked):
    """Figures: question_accuracy, question_accuracy_TYPE, and what the same questions give without looking:
    majority_accuracy (most frequent answer per template) and blind_accuracy (per full text), from the split train."""

    name = "questions"

    def run(self, model: Any, data: Sequence[Scene] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: scenes, default what the config names."""
        c = self.config
        found = self.scenes(data)
        checked = Checked(model, self.name, c.batch_size)
        rows = [(i, q) for i, scene in enumerate(found) for q in asked(scene, c.per_scene)]
        answers: list[str] = []
        for chunk in held_out.chunks(rows, c.batch_size):
            images = held_out.pictures((found[i] for i, _ in chunk), c.side)
            answers += checked.chat(images, [q.text for _, q in chunk])
        out = accuracies(rows, answers, NAME)
        guesses = guessed(c, rows, NAME)
        self.baselines = {name: {label: g[name][0] for label, g in guesses.items()} for name in out}
        self.galleries = [self._gallery(found, rows, answers)]
        return out | {f"{label}_accuracy": g[NAME] for label, g in guesses.items()}

    def _gallery(self, found, rows, answers) -> held_out.Gallery:
        chosen = held_out.spread(len(rows), self.config.shown)
        cells = [
            (
                held_out.pictures([found[rows[k][0]]], self.config.side)[0],
                rows[k][1].text,
                f"{answers[k]} ({'right' if same(answers[k], rows[k][1].answer) else f'expected {rows[k][1].answer}'})",
            )
            for k in chosen
        ]
        return held_out.gallery("Questions", ("picture", "question", "answer"), cells)


def accuracies(rows: Sequence[tuple[int, Question]], answers: Sequence[str], name: str) -> dict[str, Figure]:
    """rows: (scene, question). Accuracy over all, `name`, and by type, `name`_TYPE; errors by scene."""
    right = [(i, q.type, same(a, q.answer)) for (i, q), a in zip(rows, answers)]
    out = {name: clustered([x for _, _, x in right], [i for i, _, _ in right])}
    for kind in sorted({kind for _, kind, _ in right}, key=questions.TYPES.index):
        mine = [(i, x) for i, k, x in right if k == kind]
        out[f"{name}_{kind}"] = clustered([x for _, x in mine], [i for i, _ in mine])
    return out


def guessed(config: Any, rows: Sequence[tuple[int, Question]], name: str) -> dict[str, dict[str, Figure]]:
    """`accuracies` of answers that never look, by kind: "majority" and "blind"."""
    blind = Blind(config.data.preset, 0, config.blind_scenes, config.per_scene)
    answers = {"majority": [blind.majority(q) for _, q in rows], "blind": [blind.answer(q) for _, q in rows]}
    return {kind: accuracies(rows, said, name) for kind, said in answers.items()}
