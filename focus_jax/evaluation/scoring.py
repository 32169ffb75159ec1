# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""How the official benchmarks score an answer: pure functions of texts and numbers."""

import math
import re
from collections.abc import Sequence

import numpy as np

# -------------------------------------------------------------------------------------------------------- yes and no


def pope_says_yes(answer: str) -> bool:
    """POPE's rule (its evaluate.py; Li et al. 2023): no where the first sentence has the word no or not, else yes.

    Case does not count, which there only holds for the initial of No.
    """
    words = answer.split(".")[0].replace(",", "").casefold().split()
    return not {"no", "not"} & set(words)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Of [..., 4]: right yes, wrong yes, wrong no, right no (tp, fp, fn, tn)."""
    return _ratio(counts[..., 0] + counts[..., 3], counts.sum(-1))


def precision(counts: np.ndarray) -> np.ndarray:
    """Counts as in `accuracy`; 0 where nothing was called yes."""
    return _ratio(counts[..., 0], counts[..., 0] + counts[..., 1])


def recall(counts: np.ndarray) -> np.ndarray:
    return _ratio(counts[..., 0], counts[..., 0] + counts[..., 2])


def f1(counts: np.ndarray) -> np.ndarray:
    return _ratio(2 * counts[..., 0], 2 * counts[..., 0] + counts[..., 1] + counts[..., 2])


def yes_ratio(counts: np.ndarray) -> np.ndarray:
    """Share of questions that were answered with yes."""
    return _ratio(counts[..., 0] + counts[..., 1], counts.sum(-1))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


def mme_says(answer: str) -> str:
    """yes, no or other by MME's rule (Fu et al. 2023, calculation.py): the whole answer, or one of them among the first
    four characters of it."""
    text = answer.casefold().strip().replace(".", "")
    if text in ("y", "n"):
        return {"y": "yes", "n": "no"}[text]
    return next((word for word in ("yes", "no") if word in text[:4]), "other")


# ----------------------------------------------------------------------------------------------------- TextVQA, VQAv2
_DIGITS = {word: str(i) for i, word in enumerate("zero one two three four five six seven eight nine ten".split())}
_DIGITS |= {"none": "0"}
_ARTICLES = ("a", "an", "the")
_PUNCTUATION = ';/[]"{}()=+\\_-><@`!'  # commas and question marks have gone before
_ENDINGS = {  # of contractions, and the words that the VQA evaluation knows with them
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "'ve": "could might must not should they we what where who would you",
    "'d": "he how it someone something there they where who you",
    "'ll": "how it somebody someone something they what who why you",
    "'s": "he how somebody someone that there what when where who why",
    "'re": "there they what why you",
}
_DOUBLE = {  # of these either apostrophe may be missing
    ("n't", "'ve"): "could had might should would",
    ("'d", "'ve"): "he it she somebody someone something there they we who you y'all",
}
_CONTRACTIONS = {
    "maam": "ma'am", "oclock": "o'clock", "twas": "'twas", "yall": "y'all", "yall'll": "y'all'll",
    "y'allll": "y'all'll", "yall'd've": "y'all'd've", "somebody'd": "somebodyd",  # the last as it has it
}  # fmt: skip
for _ending, _words in _ENDINGS.items():
    _CONTRACTIONS |= {w + _ending.replace("'", ""): w + _ending for w in _words.split()}
for (_first, _second), _words in _DOUBLE.items():
    for _w in _words.split():
        for _one, _two in ((_first.replace("'", ""), _second), (_first, _second.replace("'", ""))):
            _CONTRACTIONS[_w + _one + _two] = _w + _first + _second


def vqa_words(text: str) -> str:
    """An answer as the VQA evaluation compares it: lower case, digits for numbers to ten, no articles, little
    punctuation, apostrophes of contractions restored."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    text = " ".join(text.split())
    out = text
    for mark in _PUNCTUATION:
        beside_blank = f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if beside_blank else " ")
    out = re.sub(r"\.(?!\d)", "", out)
    words = [_DIGITS.get(word, word) for word in out.split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, answers: Sequence[str]) -> float:
    """VQA accuracy (Antol et al. 2015; TextVQA's EvalAI form): the mean, over leaving out each of the people's answers,
    of min(1, matching ones among the others / 3), after `vqa_words` of all."""
    found, given = vqa_words(answer), [vqa_words(a) for a in answers]
    same = sum(a == found for a in given)
    return sum(min(1.0, (same - (a == found)) / 3) for a in given) / len(given)


# ---------------------------------------------------------------------------------------------------------- the others
def relaxed_accuracy(answer: str, target: str) -> float:
    """ChartQA's relaxed accuracy (Masry et al. 2022, sec. 5.1): numbers within 5 % of the target, percentages read as
    shares, other answers the same but for case. A target of 0 is compared as text, as in the published scorer."""
    found, wanted = _number(answer.strip()), _number(target.strip())
    if found is not None and wanted:
        return float(abs(found - wanted) / abs(wanted) <= 0.05)
    return float(answer.strip().lower() == target.strip().lower())


def _number(text: str) -> float | None:
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def anls(answer: str, answers: Sequence[str], threshold: float = 0.5) -> float:
    """Average normalised Levenshtein similarity of one answer (Biten et al. 2019), to the nearest of the right ones; 0
    where it is below the threshold, as the script of DocVQA and InfographicVQA has it (at it, the paper says 0 too).
    Case and blanks beside and between words do not count."""
    found = " ".join(answer.lower().split())
    best = 0.0
    for wanted in (" ".join(a.lower().split()) for a in answers):
        length = max(len(found), len(wanted))
        best = max(best, 1 - levenshtein(found, wanted) / length if length else 1.0)
    return best if best >= threshold else 0.0


def levenshtein(a: str, b: str) -> int:
    """Insertions, deletions and replacements of characters that make one of the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def ocrbench(answer: str, answers: Sequence[str], dataset: str) -> float:
    """OCRBench (Liu et al. 2023): 1 where the answer contains one of the right ones. Case does not count, line breaks
    are blanks; of HME100k's formulas case counts and blanks do not."""
    plain = _formula if dataset == "HME100k" else _line
    return float(any(plain(a) in plain(answer) for a in answers))


def _formula(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")


def _line(text: str) -> str:
    return text.lower().strip().replace("\n", " ")
