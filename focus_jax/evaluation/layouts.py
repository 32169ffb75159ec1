# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks as their authors publish them, from files to rows.

  pope        coco_pope_SPLIT.json (JSON lines): question_id, image, text, label; pictures COCO val2014
  mme         CATEGORY/NAME.txt beside NAME.jpg, or questions_answers_YN/NAME.txt and images/NAME.jpg; two lines each,
              QUESTION<TAB>Yes or No
  mmbench     TSV: index, hint, question, A to D, answer, category, split, image (base64, or the index of another row)
  seedbench   SEED-Bench.json: question, choice_a to choice_d, answer, data_id, data_type, question_type_id
  ai2d        parquet of the Hub: question, options, answer (number of the option), image {bytes, path}
  mmmu        parquet of the Hub, a folder a subject: id, question, options (a Python list as text), answer, image_1, ..
  textvqa     TextVQA_0.5.1_SPLIT.json: question, image_id, answers (ten)
  chartqa     SPLIT_human.json, SPLIT_augmented.json: imgname, query, label
  docvqa      SPLIT_v1.0_withQT.json or SPLIT_v1.0.json: question, image, answers
  infovqa     infographicsVQA_SPLIT_v1.0_withQT.json: question, image_local_name, answers
  ocrbench    OCRBench.json: dataset_name, type, question, answers, image_path

Each function takes config.data: path, of the file or of the folder it lies in; images, the folder that pictures are
named from; split. It returns the rows, and by reason how many questions the benchmark leaves out.
Raises (all): UserError or DataError, one sentence, for a file, column, split, picture or answer that is not there.
"""

import base64
import collections
import csv
import io
import sys
from collections.abc import Callable
from typing import Any

from etils import epath

from data_pipelines.readers import folder
from focus_jax.errors import UserError
from focus_jax.evaluation import files
from focus_jax.evaluation.files import LETTERS, Row

Found = tuple[list[Row], dict[str, int]]

POPE_SPLITS = ("random", "popular", "adversarial")


def read(benchmark: str, data: Any) -> Found:
    """The rows of a benchmark, at least one."""
    rows, left_out = LAYOUTS[benchmark](data)
    if not rows:
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "its files are empty"
        raise UserError(f"config.data.path: {data.path} has no question for {benchmark} ({why}), expected some.")
    return rows, left_out


# ------------------------------------------------------------------------------------------------------------ yes or no
def pope(data: Any) -> Found:
    """data: path, images, splits. The group is the split."""
    rows = []
    for split in data.splits:
        if split not in POPE_SPLITS:
            raise UserError(f"config.data.splits: {split} is unknown, expected some of {', '.join(POPE_SPLITS)}.")
        for name, row in files.listed(files.of_split(data, "splits", f"coco_pope_{split}.json")):
            text, image, label = files.fields(row, ("text", "image", "label"), name)
            picture = files.in_images(data, image, name)
            rows.append(Row(name, picture, str(text), files.yes_or_no(label, name), group=split))
    return rows, {}


def mme(data: Any) -> Found:
    """data: path. The group is the category."""
    top, rows = epath.Path(data.path), []
    if not top.is_dir():
        raise UserError(f"config.data.path: {top} is no directory, expected MME's with a folder for each category.")
    for category in sorted(p for p in top.iterdir() if p.is_dir()):
        apart = (category / "questions_answers_YN").is_dir()
        texts, pictures = (category / n if apart else category for n in ("questions_answers_YN", "images"))
        for file in sorted(p for p in texts.iterdir() if p.name.endswith(".txt")):
            stem = file.name.removesuffix(".txt")
            found = [p for ending in folder.SUFFIXES if (p := pictures / f"{stem}{ending}").exists()]
            if not found:
                raise UserError(f"{file}: the picture {pictures / stem} is missing, expected one for every text.")
            lines = [line for line in files.text(file).splitlines() if line.strip()]
            if len(lines) != 2:
                raise UserError(f"{file}: has {len(lines)} questions, expected two about its picture.")
            for line in lines:
                question, _, answer = line.rpartition("\t")
                label = files.yes_or_no(answer, str(file))
                rows.append(Row(str(file), found[0], question.strip(), label, group=category.name))
    return rows, {}


# ------------------------------------------------------------------------------------------------------ multiple choice
def mmbench(data: Any) -> Found:
    """data: path (the file), split ("" = all). The group is the category.

    Rows of CircularEval, the same questions with their options rotated (index from 10^6 on), are left out.
    """
    file = files.named(data, "mmbench_dev_en.tsv")
    lines, head = _table(file)
    files.columns(file, ("index", "question", "A", "B", "answer", "image"), head)
    if data.split and data.split not in (splits := {line.get("split") or "" for line in lines}):
        expected = ", ".join(sorted(splits - {""})) or "'', it has none"
        raise UserError(f"config.data.split: {data.split} is not in {file}, expected {expected}.")
    images = {line["index"]: line["image"] for line in lines}
    rows, rotated = [], 0
    for line in lines:
        name = f"{file}: index {line['index']}"
        if data.split and line.get("split") != data.split:
            continue
        if line["index"].isdecimal() and int(line["index"]) >= 10**6:
            rotated += 1
            continue
        try:
            picture = base64.b64decode(images.get(line["image"], line["image"]), validate=True)
        except ValueError as error:
            raise UserError(f"{name}: its image is not base64 ({error}), expected a picture.") from error
        options = tuple(line[x] for x in LETTERS[:4] if line.get(x))
        right = files.option(line["answer"], options, name)
        rows.append(
            Row(name, picture, line["question"], right, options, line.get("hint", ""), line.get("category", ""))
        )
    return rows, {"rotated": rotated} if rotated else {}


def _table(file: epath.Path) -> tuple[list[dict[str, str]], list[str]]:
    """The lines of a TSV and its columns; an empty cell, and pandas' nan, is ""."""
    limit = csv.field_size_limit(sys.maxsize)  # a cell holds a picture
    try:
        reader = csv.DictReader(io.StringIO(files.text(file), newline=""), delimiter="\t")
        lines = [{k: "" if v in (None, "nan") else v for k, v in line.items() if k} for line in reader]
    except csv.Error as error:
        raise UserError(f"{file}: is no table with tabs ({error}), expected a TSV.") from error
    finally:
        csv.field_size_limit(limit)
    return lines, list(reader.fieldnames or ())


def seedbench(data: Any) -> Found:
    """data: path, images. Questions about videos are left out; the group is the type of question."""
    file = files.named(data, "SEED-Bench.json")
    questions, content = files.within(file, "questions", "question_type")
    if not isinstance(content["question_type"], dict):
        raise UserError(f"{file}: question_type is no object, expected numbers by name.")
    kinds = {number: name for name, number in content["question_type"].items()}
    rows, videos = [], 0
    for i, row in enumerate(questions):
        name = f"{file}: questions[{i}]"
        if row.get("data_type") == "video":
            videos += 1
            continue
        question, answer, image, kind = files.fields(row, ("question", "answer", "data_id", "question_type_id"), name)
        options = tuple(map(str, files.fields(row, [f"choice_{x}" for x in "abcd"], name)))
        right, picture = files.option(answer, options, name), files.in_images(data, image, name)
        rows.append(Row(name, picture, str(question), right, options, group=str(kinds.get(kind, ""))))
    return rows, {"videos": videos} if videos else {}


def ai2d(data: Any) -> Found:
    """data: path, split (files are called SPLIT-...)."""
    rows = []
    for name, row in files.parquet(data, ("question", "options", "answer", "image")):
        options = files.python_list(row["options"], name)
        number = str(row["answer"])
        letter = LETTERS[int(number)] if number.isdecimal() and int(number) < len(LETTERS) else number
        right = files.option(letter, options, name)
        rows.append(Row(name, files.cell(row["image"], name), str(row["question"]), right, options))
    return rows, {}


def mmmu(data: Any) -> Found:
    """data: path, split (files are called SPLIT-...). The group is the subject.

    Open questions are left out, and so are those with several pictures: a model object reads one a question.
    """
    rows, left_out = [], collections.Counter()
    needed, others = (
        ("id", "question", "options", "answer", "question_type", "image_1"),
        [f"image_{i}" for i in range(2, 8)],
    )
    for name, row in files.parquet(data, needed, others):
        if row["question_type"] != "multiple-choice":
            left_out["open"] += 1
            continue
        options = files.python_list(row["options"], name)
        if any(row.get(other) for other in others) or any("<image " in o for o in options):
            left_out["with several pictures"] += 1
            continue
        question = str(row["question"]).replace("<image 1>", "").strip()
        subject = str(row["id"]).removeprefix(f"{data.split}_").rpartition("_")[0]
        right = files.option(row["answer"], options, name)
        rows.append(Row(name, files.cell(row["image_1"], name), question, right, options, group=subject))
    return rows, dict(left_out)


# -------------------------------------------------------------------------------------------------------- short answers
def textvqa(data: Any) -> Found:
    """data: path, images (train_images), split (train or val)."""
    file, rows = files.of_split(data, "split", f"TextVQA_0.5.1_{data.split}.json"), []
    for i, row in enumerate(files.within(file, "data")[0]):
        name = f"{file}: data[{i}]"
        question, image, answers = files.fields(row, ("question", "image_id", "answers"), name)
        picture = files.in_images(data, f"{image}.jpg", name)
        rows.append(Row(name, picture, str(question), files.texts(answers, name)))
    return rows, {}


def chartqa(data: Any) -> Found:
    """data: path, images, split (train, val or test). The group is human or augmented."""
    rows = []
    for group in ("human", "augmented"):
        for name, row in files.listed(files.of_split(data, "split", f"{data.split}_{group}.json")):
            question, image, answer = files.fields(row, ("query", "imgname", "label"), name)
            picture = files.in_images(data, image, name)
            rows.append(Row(name, picture, str(question), files.texts(answer, name), group=group))
    return rows, {}


def docvqa(data: Any) -> Found:
    """data: path, images (the folder that documents/ lies in), split (train or val)."""
    return _documents(data, f"{data.split}_v1.0", "image")


def infovqa(data: Any) -> Found:
    """data: path, images, split (train or val)."""
    return _documents(data, f"infographicsVQA_{data.split}_v1.0", "image_local_name")


def _documents(data: Any, stem: str, image: str) -> Found:
    file, rows = files.of_split(data, "split", f"{stem}_withQT.json", f"{stem}.json"), []
    for i, row in enumerate(files.within(file, "data")[0]):
        name = f"{file}: data[{i}]"
        question, picture, answers = files.fields(row, ("question", image, "answers"), name)
        rows.append(Row(name, files.in_images(data, picture, name), str(question), files.texts(answers, name)))
    return rows, {}


def ocrbench(data: Any) -> Found:
    """data: path, images. The group is TYPE/DATASET; the scorer asks for the data set."""
    rows = []
    for name, row in files.listed(files.named(data, "OCRBench.json")):
        question, answers, image = files.fields(row, ("question", "answers", "image_path"), name)
        kind, dataset = files.fields(row, ("type", "dataset_name"), name)
        picture = files.in_images(data, image, name)
        rows.append(Row(name, picture, str(question), files.texts(answers, name), group=f"{kind}/{dataset}"))
    return rows, {}


LAYOUTS: dict[str, Callable[[Any], Found]] = {
    f.__name__: f for f in (pope, mme, mmbench, seedbench, ai2d, mmmu, textvqa, chartqa, docvqa, infovqa, ocrbench)
}
