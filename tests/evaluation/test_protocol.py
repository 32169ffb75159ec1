# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Answers of a model object are checked: what is wrong with them is one sentence, not a broken figure."""

import numpy as np
import pytest

from focus_jax.errors import UserError
from focus_jax.evaluation import held_out
from focus_jax.evaluation.protocol import Checked, Edited, Segments
from focus_jax.model import Model
from focus_jax.training import config as config_lib
from tests.evaluation.world_models import Blank, Oracle, Random

IMAGES = np.zeros((3, 16, 16, 3), np.uint8)
MARKED = (0, np.pad(np.full((4, 4), 2, np.int32), 6))


class Says(Blank):
    """Answers every call with the same thing."""

    label = "says"

    def __init__(self, answer):
        self.answer = answer

    def _answer(self, *_, **__):
        return self.answer

    reconstruct = chat = choose = segment = segment_video = generate = edit = redraw = _answer


def call(model, method):
    """The method with arguments that fit."""
    checked = Checked(model, "bench", 3)
    return {
        "reconstruct": lambda: checked.reconstruct(IMAGES),
        "chat": lambda: checked.chat(IMAGES, ["a", "b", "c"]),
        "choose": lambda: checked.choose(IMAGES, ["a", "b", "c"], [["x"], ["x", "y"], ["x", "y"]]),
        "segment": lambda: checked.segment(IMAGES, [["circle", "ground"], "the circle", IMAGES[0, :, :, 0] > 0]),
        "segment_video": lambda: checked.segment_video(IMAGES, MARKED),
        "code_costs": lambda: checked.code_costs(IMAGES, ["a", "b", "c"]),
        "write_codes": lambda: checked.write_codes(["a", "b", "c"], height=16, width=16, seeds=[0, 1, 2]),
        "generate": lambda: checked.generate(["a", "b", "c"], height=16, width=16, seeds=[0, 1, 2]),
        "edit": lambda: checked.edit(IMAGES, ["a", "b", "c"], [None] * 3, seeds=[0, 1, 2]),
        "redraw": lambda: checked.redraw(IMAGES, IMAGES[..., 0] > 0, seeds=[0, 1, 2]),
    }[method]()


def segments(shape=(16, 16), dtype=np.int32, names=("circle",), scores=(1.0,), highest=1, masks=None):
    ids = np.zeros(shape, dtype)
    ids.flat[0] = highest
    return Segments(ids, names, scores, masks)


def edited(images=IMAGES, masks=np.zeros((3, 16, 16), bool), refused=np.zeros(3, bool)):
    return Edited(images, masks, refused)


@pytest.mark.parametrize("method, answer, sentence", [
    ("reconstruct", IMAGES[:2], r"returned images uint8\[2, 16, 16, 3\], expected uint8\[3, 16, 16, 3\]"),
    ("reconstruct", IMAGES / 255, r"returned images float64\[3, 16, 16, 3\], expected uint8"),
    ("chat", ["a", "b"], "returned 2 answers, expected 3, one for each row"),
    ("chat", "abc", "returned a str, expected a list of 3 answers"),
    ("chat", ["a", "b", 3], "returned a list of int and str, expected a list of 3 answers"),
    ("choose", [0, 1], "returned 2 numbers, expected 3, one for each row"),
    ("choose", ["x", "y", "x"], "returned a list of str, expected a list of 3 numbers"),
    ("choose", [1, 0, 0], "returned 1 of 1 options, expected the number of one, from 0"),
    ("choose", [0, 0, -1], "returned -1 of 2 options, expected the number of one, from 0"),
    ("segment", [segments()], "returned 1 Segments, expected 3"),
    ("segment", [segments().ids] * 3, "returned a list of ndarray, expected a list of 3 Segments"),
    ("segment", [segments(shape=(8, 8))] * 3, r"returned ids int32\[8, 8\], expected int32\[16, 16\]"),
    ("segment", [segments(dtype=np.uint8)] * 3, r"returned ids uint8\[16, 16\], expected int32"),
    ("segment", [segments(highest=2)] * 3, "returned ids from 0 to 2, expected 0 to 1, the number of its names"),
    ("segment", [segments(highest=-1)] * 3, "returned ids from -1 to 0, expected 0 to 1"),
    ("segment", [segments(scores=())] * 3, "returned 1 names and 0 scores, expected one score for each name"),
    ("segment", [segments(scores=(float("nan"),))] * 3, "expected names as words and scores as finite numbers"),
    ("segment", [segments(names=("star",))] * 3, "returned the class 'star', expected one of circle, ground"),
    ("segment", [segments(masks=np.zeros((2, 16, 16), bool))] * 3, r"masks bool\[2, 16, 16\], expected bool\[1, 16"),
    ("segment_video", [segments()], "returned list, expected Segments"),
    ("segment_video", segments(), r"returned ids int32\[16, 16\], expected int32\[3, 16, 16\]"),
    ("segment_video", segments(shape=(3, 16, 16)), "returned 1 names, expected 2, one for each marked object"),
    ("generate", IMAGES[:, :8], r"returned images uint8\[3, 8, 16, 3\], expected uint8\[3, 16, 16, 3\]"),
    ("generate", None, r"returned images NoneType, expected uint8"),
    ("edit", IMAGES, "returned ndarray, expected Edited"),
    ("edit", edited(images=IMAGES[:1]), r"returned images uint8\[1, 16, 16, 3\], expected uint8\[3"),
    ("edit", edited(masks=np.zeros((3, 16, 16))), r"returned masks float64\[3, 16, 16\], expected bool\[3"),
    ("edit", edited(refused=[False] * 3), r"returned refused list, expected bool\[3\]"),
    ("edit", edited(images=IMAGES + 1, refused=np.ones(3, bool)), "returned another picture where it refused"),
    ("redraw", IMAGES / 255, r"returned images float64\[3, 16, 16, 3\], expected uint8"),
])  # fmt: skip
def test_wrong_answers(method, answer, sentence):
    with pytest.raises(UserError, match=rf"^bench: the model's {method} .*{sentence}"):
        call(Says(answer), method)


@pytest.mark.parametrize(
    "method", ["reconstruct", "chat", "choose", "segment", "segment_video", "generate", "edit", "redraw"]
)
def test_right_answers_pass_and_missing_methods_are_told(method):
    call(Blank(), method)
    call(Random(), method)

    class Mute:
        label = "runs/x"

        def chat(self, images, questions):
            return ["?"] * len(questions)

    if method != "chat":
        sentence = f"^runs/x: this checkpoint cannot {method}, which the benchmark bench needs; it can chat.$"
        with pytest.raises(UserError, match=sentence):
            call(Mute(), method)
    with pytest.raises(UserError, match="it can do nothing that is measured"):
        call(object(), method)


def test_signatures_are_those_of_the_protocol():
    """The three models of the tests and what focus_jax.load returns take the arguments that Model names."""
    import inspect

    from focus_jax.evaluation import protocol

    for method in protocol.METHODS:
        every = inspect.signature(getattr(protocol.Model, method)).parameters.items()
        wanted = [(k, p) for k, p in every if p.kind is not inspect.Parameter.VAR_KEYWORD]
        for model in (Oracle, Blank, Random, Model):
            if not hasattr(model, method):
                beside = ("encode", "decode", "semantic_features", "code_costs", "write_codes", "autoencode", "diffuse")
                beside += ("likelihoods",)
                assert model is Model or method in beside, (model, method)
                continue
            found = list(inspect.signature(getattr(model, method)).parameters.items())
            same = [(k, p.kind, p.default) for k, p in found[: len(wanted)]]
            assert [(k, p.kind, p.default) for k, p in wanted] == same, model
            more = [p for _, p in found[len(wanted) :] if p.kind is not inspect.Parameter.VAR_KEYWORD]
            assert all(p.default is not inspect.Parameter.empty for p in more), model
    assert hasattr(Model, "reconstruct")


def test_batches_have_one_size_and_filling_changes_nothing():
    seen = []

    class Counts(Blank):
        def chat(self, images, questions):
            seen.append((images.shape, len(questions)))
            return [f"{q}{x.max()}" for q, x in zip(questions, images)]

    images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    questions = [f"q{k}:" for k in range(7)]
    answers = Checked(Counts(), "bench", 3).chat(images, questions)
    assert answers == [f"q{k}:{k}" for k in range(7)]
    assert seen == [((3, 8, 8, 3), 3)] * 3
    with pytest.raises(UserError, match="config.batch_size: expected at least 1, found 0"):
        Checked(Counts(), "bench", 0)


def test_rows_of_drawn_pictures_do_not_depend_on_their_batch():
    """Every row has a seed of its own, from the config's and the scene's index."""

    class Draws(Blank):
        def generate(self, captions, *, height, width, seeds):
            return np.stack([np.random.default_rng(s).integers(0, 256, (height, width, 3), np.uint8) for s in seeds])

    config = config_lib.load("configs/eval.py:generation", ["--config.data.scenes=7"])
    found = held_out.scenes_of(config)
    seeds = held_out.seeds_of(config, found)
    assert len(set(seeds)) == 7 and max(seeds) < 2**31 and seeds[2:] == held_out.seeds_of(config, found[2:])
    small, large = (
        Checked(Draws(), "bench", size).generate([""] * 7, height=4, width=4, seeds=seeds) for size in (2, 32)
    )
    np.testing.assert_array_equal(small, large)
    config.seed = 1
    assert not set(seeds) & set(held_out.seeds_of(config, found))
