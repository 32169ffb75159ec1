# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks on official files: a model that sees is right everywhere, one that does not reaches the baselines, and
damaged files are one sentence."""

import dataclasses
import importlib
import json

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.transforms import MEAN_COLOUR
from focus_jax.errors import UserError
from focus_jax.evaluation import answering, layouts, report, yes_no
from focus_jax.evaluation.files import Row
from tests.data_pipelines.pictures import encoded
from tests.evaluation import official_files
from tests.evaluation.official_files import MAKE, SIDE, Sees, config_of, number_of, plain
from tests.evaluation.world_models import Blank

MAIN = {
    "pope": "pope_accuracy", "mme": "mme_perception", "mmbench": "mmbench_accuracy", "seedbench": "seedbench_accuracy",
    "ai2d": "ai2d_accuracy", "mmmu": "mmmu_accuracy", "textvqa": "textvqa_accuracy", "chartqa": "chartqa_accuracy",
    "docvqa": "docvqa_anls", "infovqa": "infovqa_anls", "ocrbench": "ocrbench_accuracy",
}  # fmt: skip
# Questions, figures beside the main one, what was left out.
EXPECTED = {
    "pope": (
        18,
        {"pope_f1", "pope_yes_ratio", "pope_random_accuracy", "pope_adversarial_f1", "pope_popular_recall"},
        {},
    ),
    "mme": (6, {"mme_cognition", "mme_ocr_accuracy", "mme_color_accuracy_plus", "mme_code_reasoning_accuracy"}, {}),
    "mmbench": (3, {"mmbench_accuracy_count", "mmbench_accuracy_other"}, {"rotated": 1}),
    "seedbench": (3, {"seedbench_accuracy_scene_understanding", "seedbench_accuracy_instance_identity"}, {"videos": 1}),
    "ai2d": (3, set(), {}),
    "mmmu": (3, {"mmmu_accuracy_art", "mmmu_accuracy_art_theory"}, {"open": 1, "with several pictures": 1}),
    "textvqa": (3, set(), {}),
    "chartqa": (3, {"chartqa_accuracy_human", "chartqa_accuracy_augmented"}, {}),
    "docvqa": (3, set(), {}),
    "infovqa": (2, set(), {}),
    "ocrbench": (3, {"ocrbench_accuracy_regular_text_recognition"}, {}),
}


def evaluator_of(config):
    return importlib.import_module(f"focus_jax.evaluation.{config.evaluator}").Evaluator(config)


@pytest.mark.parametrize("name", MAKE)
def test_a_model_that_sees_is_right(name, tmp_path):
    evaluator = evaluator_of(config_of(name, tmp_path))
    found = evaluator.run(Sees())
    n, figures, left_out = EXPECTED[name]
    assert evaluator.name == name and figures <= set(found)
    value, count, error = found[MAIN[name]]
    # MME: 200 for each category, two of which are of perception.
    assert (value, count, error) == ({"mme": 400.0}.get(name, 1.0), n, 0.0)
    assert all(x == 1 for k, (x, _, _) in found.items() if not k.endswith(("yes_ratio", "perception", "cognition")))
    protocol = evaluator.protocol["questions"]
    assert protocol["left_out"] == left_out and len(protocol["sha256"]) == 64
    assert set(evaluator.baselines) == set(found)
    json.dumps(evaluator.protocol)
    # Any batch size gives the same, and what the report asks of galleries and figures holds.
    again = evaluator_of(config_of(name, tmp_path, "--config.batch_size=1"))
    assert again.run(Sees()) == found and again.protocol == evaluator.protocol
    entry = {k: v for k, (v, _, _) in found.items()} | {
        "n": {k: n for k, (_, n, _) in found.items()}, "standard_error": {}, "baselines": evaluator.baselines,
        "seconds": 0.0, "eval_seconds": 0.0, "steps": 0, "seed": 0, "commit": "", "fingerprint": {"llm": "0"},
        "checkpoint": "x", "budget": "ladder", "device": "",
    }  # fmt: skip
    added = report.add(tmp_path / "report", "stage2", entry, {"benchmark": name}, galleries=evaluator.galleries)
    assert added[MAIN[name]] == value


@pytest.mark.parametrize("name", MAKE)
def test_a_model_that_does_not_look_is_measured_as_what_it_is(name, tmp_path):
    """Blank answers "" and takes the first option: POPE's rule reads that as yes, MME's as neither."""
    evaluator = evaluator_of(config_of(name, tmp_path))
    found = evaluator.run(Blank())
    value, beside = found[MAIN[name]][0], evaluator.baselines[MAIN[name]]
    expected = {"pope": 0.5, "mmbench": 1 / 3, "seedbench": 1 / 3, "ai2d": 1 / 3, "mmmu": 1 / 3}.get(name, 0.0)
    assert value == pytest.approx(expected)
    if name == "pope":
        assert beside == {"always yes": 0.5} and found["pope_f1"][0] == pytest.approx(2 / 3)  # P 1/2, R 1
        assert found["pope_yes_ratio"][0] == 1 and found["pope_recall"][0] == 1
        assert found["pope_random_accuracy"] == (0.5, 6, 0.0)  # every picture has one of each
    elif name == "mme":
        assert beside == {"always yes": 100.0}  # of each category 50, and no picture has both right
        assert evaluator.baselines["mme_ocr_accuracy_plus"] == {"always yes": 0.0}
    elif name == "mmbench":  # right are A, B, B of 2, 4 and 3 options
        assert beside == {"always B": pytest.approx(2 / 3), "chance": pytest.approx((1 / 2 + 1 / 4 + 1 / 3) / 3)}
    elif "accuracy" in MAIN[name] and name in ("seedbench", "ai2d", "mmmu"):
        assert beside["chance"] == pytest.approx(1 / 4 if name == "seedbench" else 1 / 3)
    elif name == "textvqa":  # "x" is 9 of 30 answers, "The 0." 7; 3 of 10 say x: (3 * 2/3 + 7) / 10
        assert beside == {"most frequent answer": pytest.approx(0.9)}


def test_pope_by_hand():
    """Two pictures with three questions each, answers worked by hand, errors by picture."""
    rows = [Row("r", plain(i // 3), f"{i}", (label,), group="random") for i, label in enumerate(
        ["yes", "yes", "no", "yes", "no", "no"]
    )]  # fmt: skip
    found = yes_no.pope(rows, ["yes", "no", "yes", "yes", "no", "no"])
    # right yes 2, wrong yes 1, wrong no 1, right no 2
    assert {k: v[0] for k, v in found.items()} == pytest.approx({
        "pope_accuracy": 4 / 6, "pope_precision": 2 / 3, "pope_recall": 2 / 3, "pope_f1": 2 / 3,
        "pope_yes_ratio": 3 / 6,
    })  # fmt: skip
    # The pictures have 1 and 3 right of 3: a mean of two, resampled, varies by 1/3 * sqrt(1/2).
    assert found["pope_accuracy"][2] == pytest.approx(1 / 3 / np.sqrt(2), rel=0.1)


def test_pope_means_over_splits():
    """F1 2/3 of one split and 0 of the other make 1/3, where all questions together would make 1/2."""
    rows = [Row("r", plain(i), f"{i}", ("yes",), group=g) for i, g in enumerate("aaaabb")]
    found = yes_no.pope(rows, ["yes", "yes", "no", "no", "no", "no"])
    assert (found["pope_a_f1"][0], found["pope_b_f1"][0]) == (pytest.approx(2 / 3), 0.0)
    assert found["pope_f1"][0] == pytest.approx(1 / 3)
    assert (found["pope_a_f1"][1], found["pope_f1"][1]) == (4, 6)


def test_mme_by_hand():
    """Of three pictures one has both right, one one, one none: accuracy 3/6, plus 1/3, the score 50 + 33.3."""
    rows = [Row("r", plain(i // 2), f"{i}", (("yes", "no")[i % 2],), group="OCR") for i in range(6)]
    found = yes_no.mme(rows, ["yes", "no", "yes", "yes", "no", "other"])
    assert found["mme_ocr_accuracy"][:2] == (0.5, 6)
    assert found["mme_ocr_accuracy_plus"][:2] == (pytest.approx(1 / 3), 3)
    assert found["mme_perception"][:2] == (pytest.approx(250 / 3), 6) and "mme_cognition" not in found
    # Scores 200, 50 and 0: their standard deviation over sqrt(3).
    assert found["mme_perception"][2] == pytest.approx(np.std([200, 50, 0], ddof=1) / np.sqrt(3))
    with pytest.raises(UserError, match="OCR: a picture has not two questions, expected pairs; is config.limit odd"):
        yes_no.mme(rows[:5], ["yes"] * 5)
    with pytest.raises(UserError, match="config.data.path: dogs is none of MME's existence, count"):
        yes_no.mme([dataclasses.replace(rows[0], group="dogs")], ["yes"])


def test_pictures_are_whole_and_of_any_size(tmp_path):
    config = config_of("ai2d", tmp_path)
    rows = [Row("r", plain(7, *size), "", ("x",)) for size in ((20, 30), (8, 400), (1, 1), (300, 4))]
    images = answering.canvases(rows, config)
    assert images.shape == (4, SIDE, SIDE, 3) and images.dtype == np.uint8
    assert [number_of(image) for image in images] == [7] * 4
    inside = [(image != np.array(MEAN_COLOUR)).any(-1).sum() for image in images]
    assert inside == [21 * 32, 32, 32 * 32, 32]  # 20 x 30 at scale 32 / 30; a line of one pixel; all; a line
    with pytest.raises(DataError, match="row 3: cannot be decoded"):
        answering.canvases([Row("row 3", b"no picture", "", ("x",))], config)


def test_prompts(tmp_path):
    row = Row("r", plain(0), "Which {kind}?", ("one",), ("zero", "one"), hint="It is {small}.")
    config = config_of("mmbench", tmp_path)
    assert answering.prompt(config, row) == (
        "It is {small}.\nWhich {kind}?\nA. zero\nB. one\n"
        "Answer with the option's letter from the given choices directly."
    )  # fmt: skip
    assert answering.prompt(config_of("seedbench", tmp_path), row) == "Which {kind}?"
    assert answering.prompt(config_of("pope", tmp_path), row).endswith("a single word or phrase.")


def test_what_the_model_is_given(tmp_path):
    """Letters where letters are compared, texts where texts are."""
    seen = []

    class Spy(Sees):
        def choose(self, images, questions, options):
            seen.extend(zip(questions, options))
            return super().choose(images, questions, options)

    evaluator_of(config_of("seedbench", tmp_path)).run(Spy())
    assert seen[0] == ("Which 0?", ["zero", "one", "two", "three"])
    seen.clear()
    evaluator_of(config_of("mmbench", tmp_path)).run(Spy())
    assert [options for _, options in seen[:3]] == [["A", "B"], ["A", "B", "C", "D"], ["A", "B", "C"]]
    assert "Which\nnumber?\nA. zero\nB. one\n" in seen[0][0] and seen[1][0].startswith("A hint.\n")


def test_circular_by_hand(tmp_path):
    """Of rows with 2, 4 and 3 options the second is answered wrongly in its third turn alone."""
    seen = []

    class Slips(Sees):
        def choose(self, images, questions, options):
            seen.append(questions)
            right = super().choose(images, questions, options)
            return [(k + 1) % len(o) if "A. two\nB. three" in q else k for k, q, o in zip(right, questions, options)]

    evaluator = evaluator_of(config_of("mmbench", tmp_path))
    found = evaluator.run(Slips())
    assert found["mmbench_accuracy"][:2] == (1.0, 3)
    assert found["mmbench_circular_accuracy"][:2] == (pytest.approx(2 / 3), 3)
    assert [found[f"mmbench_circular_accuracy_{group}"][0] for group in ("count", "other")] == [0.5, 1.0]
    assert len(seen) == 4  # turns, of one batch each
    assert ["A. one\nB. two\nC. three\nD. zero" in q for q in seen[1][:3]] == [False, True, False]
    beside = evaluator.baselines["mmbench_circular_accuracy"]
    assert beside == {"always B": 0.0, "chance": pytest.approx((1 / 4 + 1 / 256 + 1 / 27) / 3)}
    once = evaluator_of(config_of("mmbench", tmp_path, "--config.circular=False")).run(Slips())
    assert once == {k: v for k, v in found.items() if "circular" not in k}


def test_limit(tmp_path):
    found = evaluator_of(config_of("textvqa", tmp_path, "--config.limit=2")).run(Sees())
    assert found["textvqa_accuracy"][1] == 2


# ------------------------------------------------------------------------------------------------------- what is wrong
@pytest.mark.parametrize(("name", "override", "sentence"), [
    ("pope", "benchmark=vqa", "config.benchmark: expected one of pope, mme, found 'vqa'"),
    ("pope", "prompt=hello", "config.prompt: 'hello' has no {question}, expected one"),
    ("pope", "prompt={question} {kind}", "config.prompt: 'kind' stands in braces, expected question, options or hint"),
    ("pope", "limit=-1", "config.limit: expected at least 0, found -1"),
    ("docvqa", "height=0", "config.height: expected at least 1, found 0"),
    ("ai2d", "compared=words", "config.compared: expected one of letters, texts, found 'words'"),
    ("ai2d", "prompt={question}", "has no {options}, expected them where letters are compared"),
])  # fmt: skip
def test_bad_configs_are_refused_before_anything_is_read(name, override, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        evaluator_of(config_of(name, tmp_path, f"--config.{override}"))


@pytest.mark.parametrize("name", MAKE)
def test_files_that_are_not_there(name, tmp_path):
    config = config_of(name, tmp_path, f"--config.data.path={tmp_path}/gone")
    with pytest.raises(UserError, match=r"config.data.path: .*gone is (not there|no directory)"):
        evaluator_of(config).run(Sees())


@pytest.mark.parametrize(("name", "split", "sentence"), [
    ("pope", "splits=('random','hard')", "config.data.splits: hard is unknown, expected some of random, popular"),
    ("mmbench", "split=train", "config.data.split: train is not in .*mmbench.tsv, expected dev, test"),
    ("ai2d", "split=train", "has no parquet file train-..., found those of test"),
    ("mmmu", "split=test", "has no parquet file test-..., found those of dev, validation"),
    ("textvqa", "split=test", "has no TextVQA_0.5.1_test.json, expected that file; it holds TextVQA"),
    ("chartqa", "split=val", "has no val_human.json, expected that file; it holds png, test_augmented.json"),
    ("docvqa", "split=test", "has no test_v1.0_withQT.json, expected that file"),
    ("infovqa", "split=test", "has no infographicsVQA_test_v1.0_withQT.json"),
])  # fmt: skip
def test_unknown_splits(name, split, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        evaluator_of(config_of(name, tmp_path, f"--config.data.{split}")).run(Sees())


@pytest.mark.parametrize(("name", "file", "content", "sentence"), [
    ("pope", "coco_pope_random.json", b"", "coco_pope_random.json: holds no record"),
    ("pope", "coco_pope_random.json", b'{"image": "0.jpg"}', "has no column text, expected it beside image"),
    ("pope", "coco_pope_random.json", b'{"text": "?", "image": "0.jpg", "label": ""}', "answer '', expected yes or no"),
    ("pope", "coco_pope_random.json", b'{"text": "?", "image": "9.jpg", "label": "no"}', "9.jpg is missing, expected"),
    ("pope", "coco_pope_random.json", b"[" * 100_000, "the list does not end"),
    ("pope", "coco_pope_random.json", b'{"a": ' + b"[" * 100_000, "is nested too deep"),
    ("mme", "color/0.txt", b"Is it?\tYes\n", "0.txt: has 1 questions, expected two"),
    ("mme", "color/0.txt", b"Is it?\tYes\nIs it?\tMaybe\n", "answer 'Maybe', expected yes or no"),
    ("mme", "color/9.txt", b"Is it?\tYes\nIs it?\tNo\n", "9.txt: the picture .*9 is missing"),
    ("mme", "color/0.txt", b"caf\xe9", "is not UTF-8 .byte 3."),
    ("mmbench", "mmbench.tsv", b"", "has no column index, expected it beside none"),
    ("mmbench", "mmbench.tsv", b"index\tquestion\tA\tB\timage\n", "no column answer, expected it beside index, qu"),
    ("mmbench", "mmbench.tsv", b"index\tquestion\tA\tB\tanswer\timage\tsplit\n1\t?\ta\tb\t\tAAAA\tdev\n",
     "index 1: answer '', expected one of AB: a split whose answers are hidden cannot be scored"),
    ("mmbench", "mmbench.tsv", b"index\tquestion\tA\tB\tanswer\timage\tsplit\n1\t?\ta\tb\tC\tAAAA\tdev\n",
     "answer 'C', expected one of AB"),
    ("mmbench", "mmbench.tsv", b"index\tquestion\tA\tB\tanswer\timage\tsplit\n1\t?\ta\tb\tA\t!\tdev\n",
     "index 1: its image is not base64"),
    ("seedbench", "SEED-Bench.json", b"{}", "has no column questions, expected it beside none"),
    ("seedbench", "SEED-Bench.json", b'{"questions": [], "question_type": {}}', "has no question for seedbench"),
    ("seedbench", "SEED-Bench.json", b'{"questions": [], "question_type": []}', "question_type is no object"),
    ("seedbench", "SEED-Bench.json", b'{"questions": [{"data_type": "video"}], "question_type": {}}', "1 videos.,"),
    ("seedbench", "SEED-Bench.json", b'{"questions": [1], "question_type": {}}', "questions is list, expected a list"),
    ("textvqa", "TextVQA_0.5.1_val.json", b'{"data": [{"question": "?"}]}', "has no column image_id, expected"),
    ("textvqa", "TextVQA_0.5.1_val.json", b'{"data": [{"question": "?", "image_id": "0", "answers": []}]}', "an empty"),
    ("textvqa", "TextVQA_0.5.1_val.json", b'{"data": []}', "has no question for textvqa .its files are empty."),
    ("textvqa", "TextVQA_0.5.1_val.json", b"nonsense", "TextVQA_0.5.1_val.json: is not JSON"),
    ("chartqa", "test_human.json", b'[{"imgname": "0.png", "query": "?", "label": ""}]', "has an empty answer"),
    ("docvqa", "val_v1.0_withQT.json", b'{"data": [{"question": "?", "image": "documents/0.png"}]}', "column answers"),
    ("ocrbench", "OCRBench.json", b"[]", "holds no record"),
])  # fmt: skip
def test_damaged_files(name, file, content, sentence, tmp_path):
    config = config_of(name, tmp_path)
    official_files.write(tmp_path / name / file, content)
    with pytest.raises((UserError, DataError), match=sentence) as error:
        evaluator_of(config).run(Sees())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "change", "sentence"), [
    ("ai2d", {"answer": "7"}, "answer 'H', expected one of ABC"),
    ("ai2d", {"answer": "none"}, "answer 'none', expected one of ABC"),
    ("ai2d", {"image": None}, "its image is NoneType, expected {bytes, path} with bytes"),
    ("mmmu", {"answer": "?"}, r"answer '\?', expected one of ABC: a split whose answers are hidden"),
    ("mmmu", {"options": "['a', "}, "options are no list"),
    ("mmmu", {"options": "7"}, "options are int, expected a list"),
])  # fmt: skip
def test_damaged_rows_of_parquet(name, change, sentence, tmp_path):
    config = config_of(name, tmp_path)
    file = next((tmp_path / name).rglob("test-00000*" if name == "ai2d" else "Art/validation-*"))
    rows = official_files.pyarrow.parquet.read_table(file).to_pylist()
    official_files.parquet(file, [rows[0], rows[1] | change])
    with pytest.raises(UserError, match=f"00000001: .*{sentence}"):
        evaluator_of(config).run(Sees())
    official_files.parquet(file, [{k: v for k, v in row.items() if k != "question"} for row in rows])
    with pytest.raises(DataError, match="has no column question, expected it beside"):
        evaluator_of(config).run(Sees())


def test_a_picture_that_is_broken(tmp_path):
    config = config_of("textvqa", tmp_path)
    (tmp_path / "textvqa" / "train_images" / "1.jpg").write_bytes(encoded(np.zeros((9, 9, 3), np.uint8))[:40])
    with pytest.raises(DataError, match=r"data\[1\]: cannot be decoded"):
        evaluator_of(config).run(Sees())
    config.data.images = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match="config.data.images: '.*nowhere' is no directory"):
        evaluator_of(config).run(Sees())


def test_layouts_and_configs_name_each_other():
    from configs import eval_files

    assert set(layouts.LAYOUTS) == set(eval_files.ANSWERS) == set(MAKE)
    for name, make in eval_files.BENCHMARKS.items():
        assert make().benchmark == name and evaluator_of(make()).name == name
        assert name in (*eval_files.MASKS, *eval_files.DRAWN) or f"  {name} " in layouts.__doc__
