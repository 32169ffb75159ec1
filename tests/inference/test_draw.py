# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures written as codes, on random weights: whole, each by its own caption and seed; what codes cost."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

import focus_jax
from configs import eval as eval_config
from data_pipelines import rows, transforms
from data_pipelines.world.examples import World
from focus_jax import infer
from focus_jax.errors import UserError
from focus_jax.evaluation import held_out
from focus_jax.evaluation.codes import Evaluator
from focus_jax.evaluation.generation import described
from focus_jax.evaluation.protocol import Checked
from focus_jax.inference.draw import Drawer
from focus_jax.sequence.parse import Answer
from tests.inference.test_segment import model  # noqa: F401, a fixture

SIDE = 32
CAPTIONS = ["a red circle.", "two large blue squares.", "a cross."]
SIZE = dict(height=SIDE, width=SIDE)


@pytest.fixture(scope="module")
def written(model):  # noqa: F811
    return model.write_codes(CAPTIONS, **SIZE, seeds=[0, 1, 2], temperature=1.0)


def test_every_caption_gets_a_whole_picture(model, written):  # noqa: F811
    grids = model.grids(SIDE, SIDE)
    for one in written:
        semantic, pixel = one.codes
        assert (semantic.shape, pixel.shape) == (grids["semantic"], grids["pixel"])
        assert not [problem for problem in one.problems if "codes" in problem]
    drawn = model.generate(CAPTIONS, **SIZE, seeds=[0, 1, 2], temperature=1.0)
    codes = {name: np.stack([one.codes[i] for one in written]) for i, name in enumerate(("semantic", "pixel"))}
    np.testing.assert_array_equal(drawn, model.decode(codes))
    assert len({x.tobytes() for x in drawn}) == 3
    wide = model.generate(CAPTIONS[:1], height=40, width=44, seeds=[0])
    assert wide.shape == (1, 40, 44, 3) and wide.dtype == np.uint8


def test_a_picture_is_its_caption_s_and_its_seed_s(model, written):  # noqa: F811
    order = [2, 0, 1]
    again = model.write_codes([CAPTIONS[i] for i in order], **SIZE, seeds=order, temperature=1.0)
    for i, one in zip(order, again):
        for a, b in zip(one.codes, written[i].codes):
            np.testing.assert_array_equal(a, b)
    other = model.write_codes(CAPTIONS, **SIZE, seeds=[3, 4, 5], temperature=1.0)
    assert any((a.codes[1] != b.codes[1]).any() for a, b in zip(other, written))


def test_a_model_writes_as_its_config_says(model, written, monkeypatch):  # noqa: F811
    monkeypatch.setitem(model.config, "sampling", ConfigDict({"generation": {"temperature": 1.0}}))
    for own, one in zip(model.write_codes(CAPTIONS, **SIZE, seeds=[0, 1, 2]), written):
        np.testing.assert_array_equal(own.codes[1], one.codes[1])
    greedy = model.write_codes(CAPTIONS, **SIZE, seeds=[0, 1, 2], temperature=0.0)
    assert any((a.codes[1] != b.codes[1]).any() for a, b in zip(greedy, written))


def test_a_picture_cut_short_is_refused_or_repaired(model, written):  # noqa: F811
    """Never silently; what came before the limit stays."""
    grids = model.grids(SIDE, SIDE)
    frame = 5 + grids["semantic"][0] + np.prod(grids["semantic"])  # up to the first pixel code
    how = dict(**SIZE, seeds=[0, 1, 2], temperature=1.0, limit=int(frame + 3))
    with pytest.raises(UserError, match=r"captions\[0\]: its picture was cut short \(level 1 has \d+ codes"):
        model.generate(CAPTIONS, **how)
    with pytest.warns(UserWarning, match="what lacks is the last code again"):
        drawn = model.generate(CAPTIONS, **how, repair=True)
    assert drawn.shape == (3, SIDE, SIDE, 3)
    short = model.write_codes(CAPTIONS, **how)
    for one, whole in zip(short, written):
        np.testing.assert_array_equal(one.codes[0], whole.codes[0])
        pixel = one.codes[1].reshape(-1)
        assert pixel[0] == whole.codes[1].reshape(-1)[0] and len(set(pixel[3:].tolist())) == 1
    with pytest.raises(UserError, match=r"captions\[7\]: no picture was written \(it does not end"):
        model.drawer.made(CAPTIONS, **how | {"limit": 4}, numbers=[7, 8, 9])
    with pytest.raises(UserError, match=r"captions\[0\]: no picture was written \(it does not end"):
        model.generate(CAPTIONS, **how | {"limit": 4})
    with pytest.raises(UserError, match="limit: -1, expected 0 or a number"):
        model.generate(CAPTIONS, **how | {"limit": -1})


@pytest.mark.slow
def test_guidance_holds_a_caption_against_none(model):  # noqa: F811
    plain = model.write_codes(CAPTIONS, **SIZE, seeds=[0, 1, 2])
    guided = model.write_codes(CAPTIONS, **SIZE, seeds=[0, 1, 2], guidance=4.0)
    assert all(one.codes is not None for one in guided)
    assert any((a.codes[1] != b.codes[1]).any() or (a.codes[0] != b.codes[0]).any() for a, b in zip(plain, guided))


@pytest.mark.slow
def test_costs_are_those_of_training(model):  # noqa: F811
    """The mean over a batch is what the stage measures; a caption counts."""
    world = World(tasks=("caption",), side=SIDE)
    examples = [world[i] for i in range(3)]
    images = np.stack([np.asarray(transforms.decode(e.images[0].data)) for e in examples])
    captions = [e.turns[0].text for e in examples]
    found = Checked(model, "test", 3).code_costs(images, captions)
    (stream,) = Drawer(model).streams
    made = [rows.row(e, stream) for e in examples]
    batch = {name: np.stack([row[name] for row in made]) for name in made[0]}
    batch |= {"weight": np.ones(3, np.float32), "element": np.arange(3, dtype=np.uint32)}
    total, count = model.stage.measures(model.params, batch)["image_nll"]
    np.testing.assert_allclose(found["all"].mean(), total / count, rtol=1e-4)
    other = model.code_costs(images, captions[1:] + captions[:1])
    assert np.abs(other["all"] - found["all"]).max() > 1e-6


@pytest.mark.parametrize(
    ("captions", "seeds", "said"),
    [
        (["a"], [0, 1], "seeds: 2 for 1 captions, expected one each"),
        ([" "], [0], "description: empty"),
    ],
)
def test_captions_that_mean_nothing(model, captions, seeds, said):  # noqa: F811
    with pytest.raises(UserError, match=said):
        model.generate(captions, **SIZE, seeds=seeds)


def test_a_model_that_was_taught_no_pictures(model, monkeypatch):  # noqa: F811
    monkeypatch.setattr(model.talk, "streams", model.talk.streams[:2])
    with pytest.raises(UserError, match="random: its last phase has no stream of generation or editing"):
        Drawer(model)
    with pytest.raises(UserError, match="captions: 1 for 2 images"):
        model.code_costs(np.zeros((2, SIDE, SIDE, 3), np.uint8), ["a"])


def test_the_benchmark_counts_what_is_whole():
    config = eval_config.get_config("codes")
    config.data.scenes, config.shown, config.side = 4, 1, SIDE
    whole = Answer("", (), False, (SIDE, SIDE), (np.zeros((2, 2)), np.zeros((4, 4))), ())

    class Fake:
        def code_costs(self, images, captions):
            cost = np.array([len(text) for text in captions], np.float32)
            return {"semantic": cost, "pixel": 2 * cost, "all": 1.5 * cost}

        def write_codes(self, captions, *, height, width, seeds, temperature, guidance):
            assert temperature == 0 and guidance == 1
            torn = Answer("", (), False, None, None, ("it does not end",))
            return [whole if seed % 2 else torn for seed in seeds]

        def generate(self, captions, *, height, width, seeds):
            return np.zeros((len(captions), height, width, 3), np.uint8)

    scenes = held_out.scenes_of(config)
    lengths, seeds = [len(described(s).text) for s in scenes], held_out.seeds_of(config, scenes)
    evaluator = Evaluator(config)
    found = evaluator.run(Fake())
    assert found["image_token_ce"][0] == pytest.approx(1.5 * np.mean(lengths))
    assert found["image_token_ce_pixel"][0] == pytest.approx(2 * np.mean(lengths))
    assert found["wellformed_images"][0] == np.mean([seed % 2 for seed in seeds])
    assert evaluator.baselines["image_token_ce_semantic"]["caption of another scene"] == pytest.approx(np.mean(lengths))


def test_files_out(model, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(focus_jax, "load", lambda *_, **__: model)
    out = tmp_path / "out"
    argv = ["generate", "--checkpoint=random", f"--output={out}", "--text=a red circle.", "--count=3", "--size=32x32"]
    infer.main([*argv, "--batch=2", "--temperature=1", "--seed=4"])  # the second batch is filled up
    told = json.loads((out / "generate.json").read_text())
    assert (told["scale"], told["limit"], told["repair"]) == (1, 0, False) and told["sampling"]["temperature"] == 1
    told = told["pictures"]
    assert [(one["text"], one["seed"]) for one in told] == [("a red circle.", 4 + i) for i in range(3)]
    drawn = model.generate(["a red circle."] * 3, **SIZE, seeds=[4, 5, 6], temperature=1.0)
    for one, picture in zip(told, drawn):
        np.testing.assert_array_equal(np.asarray(Image.open(out / f"{one['name']}.png")), picture)
    assert "3 written to" in capsys.readouterr().out
    again = tmp_path / "again"
    infer.main(["reconstruct", *map(str, sorted(out.glob("*.codes.npz"))), "--checkpoint=random", f"--output={again}"])
    for one, picture in zip(told, drawn):
        np.testing.assert_array_equal(np.asarray(Image.open(again / f"{one['name']}.png")), picture)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--size=32", "--size=32: expected HxW in pixels"),
        ("--count=0", "--count=0: expected at least 1"),
        ("--batch=0", "--batch=0: expected at least 1"),
        ("--top_p=2", "--top_p=2.0: expected a share above 0, at most 1"),
        ("--token_guidance=0.5", "--token_guidance=0.5: expected 1 for none, or more"),
        ("--token_guidance=nan", "--token_guidance=nan: expected 1 for none, or more"),
        ("--temperature=inf", "--temperature=inf: expected at least 0"),
        ("--text= ", "--text: is empty, expected words"),
    ],
)
def test_mistakes_on_the_command_line(model, tmp_path, monkeypatch, capsys, argv, said):  # noqa: F811
    monkeypatch.setattr(focus_jax, "load", lambda *_, **__: model)
    with pytest.raises(SystemExit):
        infer.main(["generate", "--checkpoint=random", f"--output={tmp_path}", "--text=a", "--size=32x32", argv])
    assert said in capsys.readouterr().err
