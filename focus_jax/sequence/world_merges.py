# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Trains the tiny model's text tokenizer on what the world and the prompts say; prints world_merges.txt.

    python -m focus_jax.sequence.world_merges > focus_jax/sequence/world_merges.txt

Other merges are other ids: tiny checkpoints of a language model that exist are then refused. So do this only when the
world's VERSION was raised.

MERGES was measured on scenes of the split validation (200 easy, 60 standard). Tokens a word, a punctuation mark being
one:

    merges           244   384   440   484
    easy            1.25  1.08  1.03  1.01
    standard        1.24  1.09  1.05  1.02

From 440 on every answer is one token; a question then has 8.8 (easy) and 9.6 (standard), a caption 18.8 and 34.0, and
the template around a first turn 12.
"""

import argparse
import json
from collections.abc import Iterator

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from data_pipelines.world import captions, edits, expressions, questions, scenes
from focus_jax.sequence.text import cut

MERGES = 440
SCENES = {"easy": 150, "standard": 100}  # of the split train; `hard` has no words of its own
TEXTS = 4  # times the texts that an Example has
ANSWERS = 4  # times that an answer counts, for one word that the model writes is best one token
PROMPT, TURN = 40, 400  # times that a task's sentence counts, and what stands in every sequence or is written

# The chat template, answers that no question has, and the tasks' sentences of FOCUS Table 10 and ILLUME+.
TURNS = ("system\n", "You are a helpful assistant.", "user\n", "assistant\n", "none.", "ground", "background")
PROMPTS = (
    "Please segment all the positive objects by the following candidate categories.",
    "Please segment the target referred to by the language description.",
    "Please segment the target referred to by the reasoning-based description.",
    "Please segment according to the given visual reference regions.",
    "Please generate an image according to the following description.",
    "Please edit the image according to the following instruction.",
    "Generate an image of , the content of the image is ",
    "Generate a random image of \n",
    "Please edit the image according to the instruction: ",
    "Reconstruct the image according to the given image\n",
    "the target",
)


def texts() -> Iterator[str]:
    """Captions, questions, answers, expressions and instructions of scenes, with the shares of an Example; prompts."""
    for preset, count in SCENES.items():
        for index in range(count):
            scene = scenes.scene(preset, "train", index)
            d = [scenes.draws_of(scene, p) for p in (scenes.CAPTION, scenes.EDIT)]
            for _ in range(TEXTS):
                yield captions.caption(scene, d[0]).text
                yield edits.edit(scene, d[1]).instruction
            for q in questions.questions(scene, scenes.draws_of(scene, scenes.QUESTIONS), 6 * TEXTS):
                yield from [q.text, *[q.answer] * ANSWERS]
            for e in expressions.referring(scene, scenes.draws_of(scene, scenes.REFERRING), 3 * TEXTS):
                yield e.text
            for e in expressions.reasoning(scene, scenes.draws_of(scene, scenes.REASONING), 3 * TEXTS):
                yield e.text
    yield from TURNS * TURN + PROMPTS * PROMPT


def train() -> str:
    """The content of world_merges.txt: a merge a line, the earliest first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = cut()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    size = len(alphabet) + MERGES
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    pairs = json.loads(tokenizer.to_str())["model"]["merges"]
    return "".join(f"{a} {b}\n" for a, b in pairs)


def main(argv: list[str] | None = None) -> int:
    """Prints the content of world_merges.txt."""
    argparse.ArgumentParser(
        "python -m focus_jax.sequence.world_merges",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(argv)
    print(train(), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
