# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Chat: rows do not see each other, a session is one long sequence, options are weighed, what cannot be is refused."""

import io
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import focus_jax
from data_pipelines.errors import DataError
from data_pipelines.world.examples import World
from focus_jax import infer
from focus_jax.errors import UserError
from focus_jax.model import Model
from tests.stages.test_language import Run


@pytest.fixture(scope="module")
def model():
    run = Run("configs/stage2.py:tiny")
    return Model(run.config, run.stage, run.params, {"llm": ""}, "random", None)


@pytest.fixture(scope="module")
def images():
    world = World()
    return np.stack([np.asarray(Image.open(io.BytesIO(world[i].images[0].data))) for i in range(3)])


ASKED = ["What colour is the circle?", "How many things are there?", "Is there a square?"]


def test_a_row_does_not_depend_on_the_rows_beside_it(model, images):
    together = model.chat(images, ASKED, limit=8)
    alone = [model.chat(images[i : i + 1], ASKED[i : i + 1], limit=8)[0] for i in range(3)]
    assert len(together) == 3 and together == alone


def test_a_picture_is_looked_at(model, images):
    """And the question read."""
    weighed = lambda x, asked: model.talk.choose(x, [asked], [["red", "blue", "yes", "no"]])[0]
    first = weighed(images[:1], ASKED[0])
    for other in (weighed(255 - images[:1], ASKED[0]), weighed(images[:1], ASKED[1])):
        assert np.abs(first - other).max() > 1e-4


def test_pictures_of_any_size_go_whole_into_the_bucket(model, images):
    small = np.asarray(Image.fromarray(images[0]).resize((90, 60)))
    assert model.chat(small[None], ASKED[:1], limit=4)
    with pytest.raises(DataError, match="expected sides of at least 16 pixels"):
        model.chat(small[None, :8], ASKED[:1])


@pytest.mark.slow
def test_a_session_is_one_long_sequence(model, images):
    """After two turns with a picture each, the state is that of a plain pass over all embeddings."""
    session, talk, llm = model.session(), model.talk, model.stage.focus.llm
    read = []
    original = talk.read

    def noted(conversation, laid, arrays):
        batch = {
            name: np.stack([one.arrays[name] for one in laid]).astype(np.int32) for name in ("ids", "roles", "features")
        }
        read.append(talk.stage.embeddings(model.params, jax.tree.map(jnp.asarray, batch | dict(arrays)))[0])
        original(conversation, laid, arrays)

    talk.read = noted
    try:
        for question, image in zip(ASKED, images[:2]):
            pieces = list(session.stream(question, [Image.fromarray(image)], limit=5))
            said = session.conversation.said[0]
            assert "".join(pieces).strip() == session.answer == said.text.strip() and len(said.ids) <= 5
            read.append(
                model.stage.focus.llm.apply({"params": model.params["llm"]}, np.array(said.ids), method="embed")
            )
    finally:
        del talk.read
    x = jnp.concatenate(read)[None]
    plain = llm.apply({"params": model.params["llm"]}, x)[0, -1]
    np.testing.assert_allclose(session.conversation.hidden[0], plain, rtol=2e-3, atol=2e-4)
    assert session.conversation.lengths[0] == x.shape[1]


def test_the_likeliest_option_is_chosen(model, images):
    options = [["red", "dark blue"], ["1", "2", "3"], ["yes", "no"]]
    weighed = model.talk.choose(images, ASKED, options)
    assert [len(x) for x in weighed] == [2, 3, 2] and all((x < 0).all() for x in weighed)
    assert model.choose(images, ASKED, options) == [int(np.argmax(x)) for x in weighed]
    alone = model.talk.choose(images[1:2], ASKED[1:2], options[1:2])[0]
    np.testing.assert_allclose(weighed[1], alone, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, x: m.chat(x, ASKED[:2]), "questions: 2 for 3 images"),
        (lambda m, x: m.chat(x.astype(np.float32), ASKED), "expected uint8"),
        (lambda m, x: m.choose(x[:1], ASKED[:1], [[]]), "options\\[0\\]: empty"),
        (lambda m, x: m.choose(x[:1], ASKED[:1], [["red", ""]]), "options\\[0\\]: empty"),
        (
            lambda m, x: list(m.session().stream("<image> <image> which?", [Image.fromarray(x[0])])),
            "has 2 times <image>",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(model, images, call, said):
    with pytest.raises(UserError, match=said):
        call(model, images)


# ------------------------------------------------------------------------------------------------------- the command
@pytest.fixture
def command(model, images, tmp_path, monkeypatch):
    """Runs `infer chat` on the random model, with a picture at tmp_path/0.png."""
    monkeypatch.setattr(focus_jax, "load", lambda *_, **__: model)
    Image.fromarray(images[0]).save(tmp_path / "0.png")

    def run(*arguments, typed=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        infer.main(["chat", "--checkpoint=random", "--limit=4", *arguments])

    return run


def test_asked_turns_are_printed_and_written(command, tmp_path, capsys):
    command(f"--image={tmp_path}/0.png", "--ask=What is this?", "--ask=What else?", f"--output={tmp_path}/out/a.json")
    assert (tmp_path / "out" / "a.json").read_text().count('"question"') == 2
    capsys.readouterr()


def test_interactive_turns(command, tmp_path, capsys):
    command(typed=f"/image {tmp_path}/absent.png\n/image {tmp_path}/0.png\nWhat is this?\n/new\nHello\n/quit\nnever\n")
    found = capsys.readouterr()
    assert "absent.png: cannot be read" in found.err and found.out.count("\n") >= 3


@pytest.mark.parametrize("argument", ["--limit=0", "--temperature=-1", "--top_p=0", "--image=absent.png"])
def test_bad_arguments_end_in_one_sentence(command, argument, capsys):
    with pytest.raises(SystemExit) as left:
        command(argument, "--ask=What?")
    assert left.value.code == 2 and capsys.readouterr().err.count("\n") == 1
