# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The questions of questions.py, asked of the language model alone: the scene is given in words, where a picture would
stand (data_pipelines/slots.py). What it answers so is the most that a stage with a frozen one can reach."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipelines import language, slots
from data_pipelines.example import Turn
from data_pipelines.world.examples import example
from data_pipelines.world.scenes import Scene
from focus_jax.evaluation import questions
from focus_jax.evaluation.figures import Figure
from focus_jax.evaluation.protocol import batches

NAME = "text_slot_accuracy"
LIMIT = 8  # ids of an answer, which is one word


class Evaluator(questions.Asked):
    """Figures: text_slot_accuracy, text_slot_accuracy_TYPE; the queries behind the slots say nothing."""

    name = "text_slots"

    def run(self, model: Any, data: Sequence[Scene] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load, of stage 0; data: scenes, default what the config names. Raises: UserError."""
        c = self.config
        found = self.scenes(data)
        chat = model.talk
        stream = chat.streams[0]
        where, sizes = (stream["height"], stream["width"]), language.sizes(stream["sequence"])
        bags = [slots.bags(example(s, ("panoptic",), where[0]), 0, sizes, chat.tokenizer, None) for s in found]
        rows = [(i, q) for i, scene in enumerate(found) for q in questions.asked(scene, c.per_scene)]
        answers: list[str] = []
        for chosen, count in batches(len(rows), c.batch_size):
            laid = [chat.ask(where, [Turn(role="user", text=rows[k][1].text, images=[0])]) for k in chosen]
            said = chat.say(laid, {"bags": np.stack([bags[rows[k][0]] for k in chosen])}, limit=LIMIT)
            answers += [one.text for one in said[:count]]
        out, guesses = questions.accuracies(rows, answers, NAME), questions.guessed(c, rows, NAME)
        self.baselines = {name: {label: g[name][0] for label, g in guesses.items()} for name in out}
        return out
