# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks on files of their authors, which the user has fetched; configs/eval.py gives them by name.

What lies where is in focus_jax/evaluation/layouts.py, of sets with masks in data_pipelines/readers. `path` and `images`
are to be set:
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


def _masks(benchmark: str, reader: str, path: str, asked: tuple[str, ...], split: str = "", **options) -> ConfigDict:
    """Sets with masks, read as `prepare READER` reads them; options: of the reader (--config.data.options.NAME=...)."""
    c = ConfigDict()
    c.evaluator = "mask_files"
    c.benchmark = benchmark
    c.label = ""  # put before the benchmark's and every figure's name
    c.data = ConfigDict({"reader": reader, "path": path, "split": split, "options": ConfigDict(options)})
    c.asked = asked  # of words, classes (panoptic), semantic, instances, regions
    c.sentences = "each"  # or "first", or "joined": one sample for all that is said of a thing, which is easier
    c.stuff = ()  # classes whose segments in one picture are one, beside those that the files say are such
    c.batch_size = 8
    c.limit = 0  # records at most, the first of the files; 0 = all
    c.shown = 16  # answers in the report
    return c


def _refer(benchmark: str, name: str, by: str, subset: str = "val") -> ConfigDict:
    options = dict(images="data/coco/train2014", by=by, subset=subset)
    return _masks(benchmark, "refer", f"data/refer_seg/{name}", ("words",), **options)


def refcoco() -> ConfigDict:
    return _refer("refcoco", "refcoco", "unc")


def refcoco_plus() -> ConfigDict:
    return _refer("refcoco_plus", "refcoco+", "unc")


def refcocog() -> ConfigDict:
    return _refer("refcocog", "refcocog", "umd")


def grefcoco() -> ConfigDict:
    return _refer("grefcoco", "grefcoco", "unc")


def reason_seg() -> ConfigDict:
    return _masks("reason_seg", "reason_seg", "data/ReasonSeg", ("words",), split="validation")


def coco_panoptic() -> ConfigDict:
    path = "data/coco/annotations/panoptic_val2017.json"
    return _masks("coco_panoptic", "coco", path, ("classes", "semantic"), images="data/coco/val2017")


def coco_instances() -> ConfigDict:
    path = "data/coco/annotations/instances_val2017.json"
    return _masks("coco_instances", "coco", path, ("instances",), images="data/coco/val2017")


def youtube_vis() -> ConfigDict:
    # valid's annotations are with its server (`infer submit`): a file of videos held out of train.
    return _masks("youtube_vis", "youtube_vis", "data/YTVIS/held_out.json", ("instances",), frames=1_000)


def coco_interactive() -> ConfigDict:
    # Its hints drawn anew from COCO by the same recipe.
    path, options = "data/coco/annotations/instances_val2017.json", dict(images="data/coco/val2017", ask="regions")
    return _masks("coco_interactive", "coco", path, ("regions",), **options)


def davis() -> ConfigDict:
    # Whole videos: so many frames that each is one clip.
    return _masks("davis", "davis", "data/DAVIS", ("regions",), split="validation", frames=1_000)


def ref_davis() -> ConfigDict:
    words = "data/DAVIS/meta_expressions/valid/meta_expressions.json"
    return _masks("ref_davis", "davis", "data/DAVIS", ("words",), split="validation", frames=1_000, expressions=words)


def revos() -> ConfigDict:
    c = _masks("revos", "revos", "data/ReVOS", ("words",), "validation", frames=1_000)
    c.data.options.split = "valid"  # of the file's name
    return c


def _measured(evaluator: str, benchmark: str, path: str, **data) -> ConfigDict:
    """What is drawn, measured by networks whose weights the user imports (`convert import`)."""
    c = ConfigDict()
    c.evaluator, c.benchmark = evaluator, benchmark
    c.label = ""  # put before the benchmark's and every figure's name
    c.data = ConfigDict({"path": path, **data})
    c.clip = c.dino = ""  # paths clip_pictures/* and clip_texts/*, dino/*
    c.clip_tokenizer = ""  # folder with CLIP's tokenizer.json, without which texts are not read
    c.batch_size = 32
    c.limit = 0  # rows at most, the first of the files; 0 = all
    c.seed, c.sampling, c.drawing = 0, ConfigDict(), ConfigDict()  # as in configs/eval.py
    c.shown = 16  # pictures in the report
    return c


def emu_edit() -> ConfigDict:
    return _measured("edit_files", "emu_edit", "data/emu_edit_test_set/data", split="test")


def instruct_pix2pix() -> ConfigDict:
    return _measured("edit_files", "instruct_pix2pix", "data/clip-filtered-dataset")


def magicbrush() -> ConfigDict:
    return _measured("edit_files", "magicbrush", "data/MagicBrush/dev", images="")


def _prompts(benchmark: str, path: str, samples: int = 1, **data) -> ConfigDict:
    c = _measured("prompt_files", benchmark, path, **data)
    c.height = c.width = 512  # of what is drawn
    c.samples = samples  # pictures of each prompt
    c.inception = ""  # paths inception/*
    c.detector = c.scorer = ""  # package.module:function that makes one (evaluation/geneval.py, prompt_files.py)
    return c


def mjhq() -> ConfigDict:
    return _prompts("mjhq", "data/MJHQ-30K", images="data/MJHQ-30K/mjhq30k_imgs")


def geneval() -> ConfigDict:
    return _prompts("geneval", "data/geneval/prompts", samples=4)


def genai_bench() -> ConfigDict:
    return _prompts("genai_bench", "data/GenAI-Bench-1600")


_DRAWN = (emu_edit, instruct_pix2pix, magicbrush, mjhq, geneval, genai_bench)
_ANSWERS = (pope, mme, mmbench, seedbench, ai2d, mmmu, textvqa, chartqa, docvqa, infovqa, ocrbench)
_WORDS = (refcoco, refcoco_plus, refcocog, grefcoco, reason_seg, ref_davis, revos)
ANSWERS = {f.__name__: f for f in _ANSWERS}
MASKS = {f.__name__: f for f in (*_WORDS, coco_panoptic, coco_instances, coco_interactive, davis, youtube_vis)}
DRAWN = {f.__name__: f for f in _DRAWN}
BENCHMARKS = ANSWERS | MASKS | DRAWN
