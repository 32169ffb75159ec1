# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Goals: direction, budgets, goals that refer to another figure, goals that nothing answers."""

import fnmatch

import pytest

from focus_jax.evaluation import goals


@pytest.mark.parametrize(
    "stage, name, budget, figures, goal, mark",
    [
        ("stage1_tokenizer", "psnr", "ladder", {"psnr": 26.0}, "≥ 26 dB", goals.MET),
        ("stage1_tokenizer", "psnr", "long", {"psnr": 27.9}, "≥ 28 dB", goals.MISSED),
        ("stage1_decoder", "psnr_gap", "long", {"psnr_gap": 3.1}, "≤ 3 dB", goals.MISSED),
        ("stage1_decoder", "psnr_gap", "ladder", {"psnr_gap": -0.5}, "≤ 4 dB", goals.MET),
        ("stage4", "composite_leakage", "long", {"composite_leakage": 0.0}, "≤ 0", goals.MET),
        ("standins", "text_slot_accuracy_count", "ladder", {"text_slot_accuracy_count": 0.94}, "≥ 0.95", goals.MISSED),
        ("stage2", "question_accuracy", "long", {"question_accuracy": 0.9}, "≥ 0.9", goals.MET),
    ],
)
def test_marks(stage, name, budget, figures, goal, mark):
    assert goals.judge(stage, name, budget, figures) == goals.Verdict(goal, mark)


def test_goals_that_refer_to_another_figure():
    share = goals.judge("stage2", "question_accuracy", "ladder", {"question_accuracy": 0.82, "text_slot_accuracy": 0.9})
    assert share == goals.Verdict("≥ 0.81", goals.MET, "0.9 × text_slot_accuracy")
    above = {"semantic_cosine": 0.93, "mean_feature_cosine": 0.75}
    verdict = goals.judge("stage1_tokenizer", "semantic_cosine", "ladder", above)
    assert verdict == goals.Verdict("≥ 0.95", goals.MISSED, "mean_feature_cosine + 0.2")
    alone = goals.judge("stage2", "question_accuracy", "ladder", {"question_accuracy": 0.99})
    assert alone == goals.Verdict("≥ 0.9 × text_slot_accuracy", goals.OPEN)


def test_goals_of_what_is_kept():
    """0.02 below the earlier stage's figure and two standard errors of the change, and no more."""
    name, before = "after_things_pq", {("stage3", "after_things_pq"): (0.5, 0.01)}
    judged = lambda value, of=before: goals.judge("stage4", name, "ladder", {name: value}, of)
    rule = "stage3's -0.02, less two standard errors"
    assert judged(0.461) == goals.Verdict("≥ 0.46", goals.MET, rule, "stage3")
    assert judged(0.459) == goals.Verdict("≥ 0.46", goals.MISSED, rule, "stage3")
    for of in (None, {("stage2", name): (0.5, 0.01)}):  # that stage was not measured
        assert judged(0.461, of) == goals.Verdict(f"≥ {rule}", goals.OPEN)
    assert goals.judge("stage4", "after_blind_accuracy", "ladder", {"after_blind_accuracy": 0.1}, {}) is None


def test_no_goal():
    assert goals.judge("stage1_tokenizer", "ssim", "ladder", {"ssim": 0.8}) is None  # known, without a goal
    assert goals.judge("stage1_tokenizer", "words", "ladder", {"words": 1.0}) is None
    assert goals.judge("some_stage", "psnr", "ladder", {"psnr": 1.0}) is None
    assert goals.judge("stage1_tokenizer", "psnr", "another budget", {"psnr": 1.0}) is None
    assert goals.figure("some_stage", "psnr") is None and goals.unmeasured("some_stage", "ladder", {}) == []


def test_goals_that_nothing_answers():
    missing = goals.unmeasured("standins", "long", {"vit_shape": 1.0, "text_slot_accuracy_count": 1.0, "vae_psnr": 1.0})
    assert [(f.name, goal) for f, goal in missing] == [
        ("vit_colour", "≥ 0.97"), ("convnext_shape", "≥ 0.95"), ("convnext_colour", "≥ 0.98"),
        ("things_pq", "≥ 0.6"),
    ]  # fmt: skip


def test_the_table_is_consistent():
    for name, stage in goals.STAGES.items():
        names = [f.name for f in stage.figures]
        assert len(names) == len(set(names)), name
        for f in stage.figures:
            assert f.better in (goals.HIGHER, goals.LOWER) and f.meaning, f.name
            assert goals.figure(name, f.name) is f, "an earlier pattern hides it"
            for goal in (f.ladder, f.long):
                if isinstance(goal, goals.Goal) and goal.kept_of:  # refers to an earlier stage
                    assert list(goals.STAGES).index(goal.kept_of) < list(goals.STAGES).index(name), f.name
                elif isinstance(goal, goals.Goal):  # refers to one other figure of the stage
                    assert [n for n in names if fnmatch.fnmatchcase(goal.share_of + goal.above, n)], f.name
            if isinstance(f.ladder, float) and isinstance(f.long, float):  # the longer budget asks for no less
                assert f.long >= f.ladder if f.better == goals.HIGHER else f.long <= f.ladder, f.name
        assert all(p.table.startswith("Table ") for p in stage.published)
