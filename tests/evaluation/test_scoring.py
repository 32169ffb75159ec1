# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Scores of the official benchmarks on cases worked by hand; the working stands beside them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from focus_jax.evaluation import scoring


@pytest.mark.parametrize(("answer", "yes"), [
    ("Yes", True), ("No", False), ("no.", False), ("No, there is no dog.", False), ("There is not.", False),
    ("Yes. There is no cat.", True),  # the first sentence decides
    ("I know one", True),  # know is not no
    ("NOT at all", False), ("", True),
])  # fmt: skip
def test_pope_says(answer, yes):
    assert scoring.pope_says_yes(answer) is yes


def test_counts_by_hand():
    """3 right yes, 1 wrong yes, 2 wrong no, 4 right no: accuracy 7/10, precision 3/4, recall 3/5,
    F1 = 2 * 3/4 * 3/5 / (3/4 + 3/5) = 0.9 / 1.35 = 2/3, yes 4/10."""
    counts = np.array([3.0, 1, 2, 4])
    found = [f(counts) for f in (scoring.accuracy, scoring.precision, scoring.recall, scoring.f1, scoring.yes_ratio)]
    np.testing.assert_allclose(found, [0.7, 0.75, 0.6, 2 / 3, 0.4])
    stacked = np.stack([counts, [0, 0, 5, 5]])  # never yes: precision and F1 are 0 by convention
    np.testing.assert_allclose(scoring.precision(stacked), [0.75, 0])
    np.testing.assert_allclose(scoring.f1(stacked), [2 / 3, 0])
    np.testing.assert_allclose(scoring.accuracy(stacked), [0.7, 0.5])


def test_counts_as_scikit_learn():
    rng = np.random.default_rng(0)
    names = ("accuracy", "precision", "recall", "f1")
    for _ in range(20):
        truth, said = rng.integers(0, 2, (2, rng.integers(1, 6)))
        counts = np.array([np.sum((truth == p) & (said == q)) for p, q in ((1, 1), (0, 1), (1, 0), (0, 0))], float)
        found = [getattr(scoring, name)(counts) for name in names]
        more = [{}, *[{"zero_division": 0.0}] * 3]
        expected = [getattr(metrics, f"{name}_score")(truth, said, **m) for name, m in zip(names, more)]
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(("answer", "said"), [
    ("Yes", "yes"), (" no. ", "no"), ("Y", "yes"), ("n", "no"), ("Yes, it is", "yes"), ("No it is not", "no"),
    ("I do not know", "other"),  # "i do" has neither
    ("Not", "no"),  # "not" begins with no
    ("", "other"), ("x", "other"),
])  # fmt: skip
def test_mme_says(answer, said):
    assert scoring.mme_says(answer) == said


@pytest.mark.parametrize(("text", "words"), [
    ("The  Cat!", "cat"),  # "!" stands between a letter and the end, so it becomes a blank; the article goes
    ("Two dogs.", "2 dogs"),
    ("1,000", "1000"),
    ("3.5", "3.5"),  # a digit follows the full stop
    ("3. 5", "3 5"),
    ("red-blue", "red blue"),  # no blank beside the dash: a blank takes its place
    ("red - blue", "red blue"),  # a blank beside it: it goes
    ("dont", "don't"), ("couldnt've", "couldn't've"), ("somebody'd", "somebodyd"),
    ("Joe's", "joe 's"),
    ("what?\nnow\t", "what now"),
    ("none", "0"), ("A", ""), ("", ""),
])  # fmt: skip
def test_vqa_words(text, words):
    assert scoring.vqa_words(text) == words


@pytest.mark.parametrize(("answer", "right", "accuracy"), [
    ("cup", 10, 1.0),
    ("cup", 4, 1.0),  # leaving out a match leaves 3 of 9, 3/3; leaving out another 4, min(1, 4/3)
    ("cup", 3, 0.9),  # 3 times min(1, 2/3) and 7 times 1: (2 + 7) / 10
    ("cup", 2, 0.6),  # 2 times 1/3 and 8 times 2/3: (2/3 + 16/3) / 10
    ("cup", 1, 0.3),  # 1 time 0 and 9 times 1/3
    ("cup", 0, 0.0),
    ("The CUP.", 3, 0.9),
])  # fmt: skip
def test_vqa_accuracy(answer, right, accuracy):
    answers = ["a cup"] * right + [f"other {i}" for i in range(10 - right)]
    assert scoring.vqa_accuracy(answer, answers) == pytest.approx(accuracy)


@pytest.mark.parametrize(("answer", "target", "right"), [
    ("105", "100", 1), ("95", "100", 1), ("105.1", "100", 0), ("94.9", "100", 0),
    ("5%", "0.05", 1),  # a percentage is a share
    ("5%", "5", 0), ("5", "5%", 0), ("51%", "50%", 1),
    ("Yes", "yes", 1), (" Yes\n", "yes", 1), ("yes it is", "yes", 0),
    ("0", "0", 1), ("0.0", "0", 0),  # a target of 0 has no 5 %: it is compared as text
    ("-105", "-100", 1), ("105", "-100", 0),
    ("nan", "nan", 1), ("inf", "100", 0), ("2010", "2011", 1),  # years are numbers, too
    ("", "3", 0), ("%", "3", 0),
])  # fmt: skip
def test_relaxed_accuracy(answer, target, right):
    assert scoring.relaxed_accuracy(answer, target) == right


@pytest.mark.parametrize(("a", "b", "distance"), [
    ("kitten", "sitting", 3), ("", "abc", 3), ("abc", "abc", 0), ("ab", "ba", 2), ("flaw", "lawn", 2),
])  # fmt: skip
def test_levenshtein(a, b, distance):
    assert scoring.levenshtein(a, b) == scoring.levenshtein(b, a) == distance


@given(st.text(max_size=6), st.text(max_size=6), st.text(max_size=6))
def test_levenshtein_is_a_distance(a, b, c):
    d = scoring.levenshtein
    assert d(a, c) <= d(a, b) + d(b, c) and (d(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= d(a, b) <= max(len(a), len(b))


@pytest.mark.parametrize(("answer", "answers", "score"), [
    ("Paris", ["paris"], 1.0),
    ("pari", ["paris"], 0.8),  # 1 edit of 5
    ("par", ["paris", "par is"], 0.6),  # 2 of 5; 3 of 6 is worse
    ("pa", ["paris"], 0.0),  # 3 of 5: 0.4 lies below the threshold
    ("ab", ["abcd"], 0.5),  # 2 of 4: at the threshold
    ("new   york ", ["New York"], 1.0),
    ("", ["paris"], 0.0), ("", [""], 1.0),
])  # fmt: skip
def test_anls(answer, answers, score):
    assert scoring.anls(answer, answers) == pytest.approx(score)


@pytest.mark.parametrize(("answer", "answers", "dataset", "right"), [
    ("It says STOP here", ["stop"], "IIIT5K", 1), ("st op", ["stop"], "IIIT5K", 0),
    ("a\nb", ["A B"], "IIIT5K", 1),
    ("x", ["stop", "x"], "IIIT5K", 1),
    (r"\frac { 1 } { 2 }", [r"\frac{1}{2}"], "HME100k", 1),  # blanks do not count in formulas
    ("X + y", ["x+y"], "HME100k", 0),  # case does
])  # fmt: skip
def test_ocrbench(answer, answers, dataset, right):
    assert scoring.ocrbench(answer, answers, dataset) == right
