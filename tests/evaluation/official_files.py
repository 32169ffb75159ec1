# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Small benchmarks in the layouts of their authors: pictures of one colour and of any size, told apart by it."""

import base64
import json
import pathlib

import numpy as np
import pyarrow
import pyarrow.parquet

from focus_jax.training import config as config_lib
from tests.data_pipelines.pictures import encoded

SIDE = 32  # of the canvas


def plain(number: int, height: int = 20, width: int = 30) -> bytes:
    """A picture of the colour (number, 0, 255)."""
    return encoded(np.broadcast_to(np.array([number, 0, 255], np.uint8), (height, width, 3)))


def number_of(image: np.ndarray) -> int:
    """What `plain` was given, of a canvas."""
    return int(image[0, 0, 0])


def write(path: pathlib.Path, content) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def lines(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def pictures(folder: pathlib.Path, *names: str) -> str:
    """Picture i is `plain(i)`; some are long, some small."""
    for i, name in enumerate(names):
        write(folder / name, plain(i, *((20, 30), (8, 400), (60, 10))[i % 3]))
    return str(folder)


def parquet(path: pathlib.Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def pope(top: pathlib.Path) -> dict:
    for split in ("random", "popular", "adversarial"):
        rows = [
            {"question_id": i, "image": f"{i // 2}.jpg", "text": f"Is there a {split} {i}?", "label": label}
            for i, label in enumerate(("yes", "no") * 3)
        ]
        write(top / f"coco_pope_{split}.json", lines(rows))
    return {"path": str(top), "images": pictures(top / "images", "0.jpg", "1.jpg", "2.jpg")}


def mme(top: pathlib.Path) -> dict:
    for i, (text, picture) in enumerate([
        ("color/0.txt", "color/0.png"), ("color/1.txt", "color/1.jpg"),
        ("OCR/questions_answers_YN/2.txt", "OCR/images/2.jpg"), ("code_reasoning/3.txt", "code_reasoning/3.png"),
    ]):  # fmt: skip
        write(top / text, f"Is it {i}?\tYes\nIs it {i + 1}?\tNo\n".encode())
        write(top / picture, plain(i))
    return {"path": str(top)}


def mmbench(top: pathlib.Path) -> dict:
    head = "index question hint A B C D answer category image split l2-category".split()
    image = [base64.b64encode(plain(i)).decode() for i in range(2)]
    rows = [
        ["0", "Which\nnumber?", "nan", "zero", "one", "", "", "A", "count", image[0], "dev", "x"],
        ["1", "Which number?", "A hint.", "zero", "one", "two", "three", "B", "count", image[1], "dev", "x"],
        ["2", "Which again?", "", "one", 'the "zero"', "two", "", "B", "other", "0", "dev", "x"],  # of row 0
        ["3", "Hidden?", "", "a", "b", "", "", "A", "other", image[1], "test", "x"],
        ["1000000", "Which\nnumber?", "", "one", "zero", "", "", "B", "count", image[0], "dev", "x"],  # options rotated
    ]  # fmt: skip
    quoted = lambda x: '"' + x.replace('"', '""') + '"' if any(c in x for c in '"\n') else x
    table = "\n".join("\t".join(map(quoted, row)) for row in [head, *rows])
    return {"path": str(write(top / "mmbench.tsv", table.encode())), "split": "dev"}


def seedbench(top: pathlib.Path) -> dict:
    row = lambda i, **more: {
        "question_id": str(i), "question": f"Which {i}?", "choice_a": "zero", "choice_b": "one", "choice_c": "two",
        "choice_d": "three", "answer": "ABCD"[i], "data_id": f"{i}", "data_type": "image",
        "question_type_id": 1 + i // 2,
    } | more  # fmt: skip
    questions = [row(0), row(1), row(2), row(3, data_type="video")]
    content = {"questions": questions, "question_type": {"Scene Understanding": 1, "Instance Identity": 2}}
    write(top / "SEED-Bench.json", content)
    return {"path": str(top), "images": pictures(top / "images", "0", "1", "2")}


def ai2d(top: pathlib.Path) -> dict:
    row = lambda i: {
        "question": f"Which {i}?", "options": ["zero", "one", "two"], "answer": str(i),
        "image": {"bytes": plain(i), "path": f"{i}.png"},
    }  # fmt: skip
    parquet(top / "data" / "test-00000-of-00002.parquet", [row(0), row(1)])
    parquet(top / "data" / "test-00001-of-00002.parquet", [row(2)])
    return {"path": str(top), "split": "test"}


def mmmu(top: pathlib.Path) -> dict:
    def row(subject, i, **more):
        images = {f"image_{k}": None for k in range(2, 8)}
        return {
            "id": f"validation_{subject}_{i}", "question": f"<image 1> Which {i}?", "answer": "ABC"[i],
            "options": "['zero', \"one\", 'two']", "question_type": "multiple-choice",
            "image_1": {"bytes": plain(i), "path": "x"}, **images,
        } | more  # fmt: skip

    second = {"image_2": {"bytes": plain(9), "path": "y"}}
    open_ = {"question_type": "open", "options": "[]", "answer": "7"}
    parquet(top / "Art" / "validation-00000-of-00001.parquet", [row("Art", 0), row("Art", 1), row("Art", 2, **second)])
    rows = [row("Art_Theory", 2, **second) | {"image_2": None}, row("Art_Theory", 1, **second) | open_]
    parquet(top / "Art_Theory" / "validation-00000-of-00001.parquet", rows)
    parquet(top / "Art" / "dev-00000-of-00001.parquet", [row("Art", 0)])
    return {"path": str(top), "split": "validation"}


def textvqa(top: pathlib.Path) -> dict:
    rows = [
        {"question": f"Which {i}?", "image_id": f"{i}", "question_id": i, "answers": [f"The {i}."] * 7 + ["x"] * 3}
        for i in range(3)
    ]
    write(top / "TextVQA_0.5.1_val.json", {"data": rows})
    return {"path": str(top), "images": pictures(top / "train_images", "0.jpg", "1.jpg", "2.jpg")}


def chartqa(top: pathlib.Path) -> dict:
    write(top / "test_human.json", [{"imgname": f"{i}.png", "query": f"Which {i}?", "label": f"{i}"} for i in (0, 1)])
    write(top / "test_augmented.json", [{"imgname": "2.png", "query": "Which 2?", "label": "2"}])
    return {"path": str(top), "images": pictures(top / "png", "0.png", "1.png", "2.png")}


def docvqa(top: pathlib.Path) -> dict:
    row = lambda i: {
        "questionId": i,
        "question": f"Which {i}?",
        "image": f"documents/{i}.png",
        "answers": [f"{i}", "x"],
    }
    write(top / "val_v1.0_withQT.json", {"dataset_name": "docvqa", "data": [row(0), row(1), row(2)]})
    pictures(top / "documents", "0.png", "1.png", "2.png")
    return {"path": str(top), "images": str(top)}


def infovqa(top: pathlib.Path) -> dict:
    row = lambda i: {"questionId": i, "question": f"Which {i}?", "image_local_name": f"{i}.jpeg", "answers": [f"{i}"]}
    write(top / "infographicsVQA_val_v1.0.json", {"data": [row(0), row(1)]})
    return {"path": str(top), "images": pictures(top / "images", "0.jpeg", "1.jpeg")}


def ocrbench(top: pathlib.Path) -> dict:
    row = lambda i, kind, dataset: {
        "dataset_name": dataset, "type": kind, "question": f"Which {i}?", "image_path": f"{i}.jpg",
        "answers": [f"{i}", "x"] if i else f"{i}",
    }  # fmt: skip
    rows = [row(0, "Regular Text Recognition", "IIIT5K"), row(1, "Regular Text Recognition", "IIIT5K"),
            row(2, "Handwritten Mathematical Expression Recognition", "HME100k")]  # fmt: skip
    write(top / "OCRBench.json", rows)
    return {"path": str(top), "images": pictures(top / "images", "0.jpg", "1.jpg", "2.jpg")}


MAKE = {f.__name__: f for f in (pope, mme, mmbench, seedbench, ai2d, mmmu, textvqa, chartqa, docvqa, infovqa, ocrbench)}


def config_of(name: str, top: pathlib.Path, *overrides: str):
    """The benchmark's config on files made below `top`."""
    data = [f"--config.data.{field}={value}" for field, value in MAKE[name](top / name).items()]
    sizes = [f"--config.{field}={value}" for field, value in dict(height=SIDE, width=SIDE, batch_size=4).items()]
    return config_lib.load(f"configs/eval.py:{name}", [*data, *sizes, "--config.shown=2", *overrides])


class Sees:
    """Reads the number off a picture: answers with it, says yes where the question has it, picks its word."""

    label = "sees"
    words = ("zero", "one", "two", "three")

    def chat(self, images, questions):
        numbers = [number_of(image) for image in images]
        asked = [q.partition("\n")[0].rstrip("?").split() for q in questions]
        return [self._chat(number, words) for number, words in zip(numbers, asked)]

    def _chat(self, number, words):
        if words[0] != "Is":
            return f"{number}"
        if words[1] == "it":  # mme
            return "Yes" if words[2] == str(number) else "No"
        return "yes" if int(words[-1]) % 2 == 0 else "No, there is not."  # pope

    def choose(self, images, questions, options):
        return [self._choose(number_of(image), q, o) for image, q, o in zip(images, questions, options)]

    def _choose(self, number, question, options):
        if options[0] == "A":  # letters: the options stand in the question
            shown = [line[3:] for line in question.split("\n") if line[1:3] == ". "]
            assert len(shown) == len(options)
            options = shown
        return next(i for i, option in enumerate(options) if self.words[number] in option)
