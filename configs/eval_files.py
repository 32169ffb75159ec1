# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks on files of their authors, which the user has fetched; configs/eval.py gives them by name.

What lies where is in focus_jax/evaluation/layouts.py. `path` and `images` are to be set:
--config.data.path=DIR --config.data.images=DIR
"""

from ml_collections import ConfigDict

# The response formatting prompts of LLaVA-1.5 (arXiv 2310.03744), with which most models are compared.
SHORT = "{question}\nAnswer the question using a single word or phrase."
LETTER = "{hint}{question}\n{options}\nAnswer with the option's letter from the given choices directly."


def _files(evaluator: str, benchmark: str, prompt: str, path: str, **data) -> ConfigDict:
    c = ConfigDict()
    c.evaluator = evaluator  # focus_jax/evaluation/NAME.py
    c.benchmark = benchmark  # layouts.py
    c.label = ""  # put before the benchmark's and every figure's name
    c.data = ConfigDict({"path": path, **data})
    c.prompt = prompt  # {question}, of multiple choice also {options} and {hint}
    c.height = c.width = 512  # of the canvas that whole pictures are fitted into
    c.batch_size = 32
    c.limit = 0  # questions at most, the first of the files; 0 = all
    c.shown = 16  # questions in the report
    return c


def pope() -> ConfigDict:
    splits = ("random", "popular", "adversarial")
    return _files("yes_no", "pope", SHORT, "data/pope/coco", images="data/coco/val2014", splits=splits)


def mme() -> ConfigDict:
    # The questions themselves end in "Please answer yes or no." (MME, arXiv 2306.13394).
    return _files("yes_no", "mme", "{question}", "data/MME_Benchmark")


def _choices(benchmark: str, path: str, prompt: str = LETTER, compared: str = "letters", **data) -> ConfigDict:
    c = _files("choices", benchmark, prompt, path, **data)
    c.compared = compared  # log-likelihoods of the options' letters, or of their texts
    c.circular = False  # also with the options in every rotation, as many times the work
    return c


def mmbench() -> ConfigDict:
    c = _choices("mmbench", "data/mmbench/mmbench_dev_en.tsv", split="")
    c.circular = True  # what its leaderboard shows
    return c


def seedbench() -> ConfigDict:
    # Texts of the options, not letters: the answer ranking of SEED-Bench (arXiv 2307.16125).
    path, images = "data/SEED-Bench/SEED-Bench.json", "data/SEED-Bench/SEED-Bench-image"
    return _choices("seedbench", path, "{question}", "texts", images=images)


def ai2d() -> ConfigDict:
    return _choices("ai2d", "data/ai2d", split="test")


def mmmu() -> ConfigDict:
    return _choices("mmmu", "data/MMMU", split="validation")


def textvqa() -> ConfigDict:
    return _files("short_answers", "textvqa", SHORT, "data/textvqa", images="data/textvqa/train_images", split="val")


def chartqa() -> ConfigDict:
    return _files("short_answers", "chartqa", SHORT, "data/ChartQA/test", images="data/ChartQA/test/png", split="test")


def docvqa() -> ConfigDict:
    return _files("short_answers", "docvqa", SHORT, "data/docvqa", images="data/docvqa", split="val")


def infovqa() -> ConfigDict:
    return _files("short_answers", "infovqa", SHORT, "data/infovqa", images="data/infovqa/images", split="val")


def ocrbench() -> ConfigDict:
    # OCRBench (arXiv 2305.07895) asks its questions as they are.
    path, images = "data/OCRBench/OCRBench.json", "data/OCRBench/OCRBench_Images"
    return _files("short_answers", "ocrbench", "{question}", path, images=images)


BENCHMARKS = {
    f.__name__: f for f in (pope, mme, mmbench, seedbench, ai2d, mmmu, textvqa, chartqa, docvqa, infovqa, ocrbench)
}
