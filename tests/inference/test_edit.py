# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Edits on random weights: who is meant, what stays as it is, what is refused, clips, files."""

import json

import jax
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

import focus_jax
from data_pipelines.world import drawing, scenes
from focus_jax import infer
from focus_jax.errors import UserError
from focus_jax.inference import edit_files, video_edit
from focus_jax.inference.chat import padded
from focus_jax.inference.composite import composite
from focus_jax.inference.edit import Editor
from focus_jax.model import Model
from focus_jax.sequence import prompts
from focus_jax.sequence.layout import IGNORE, Writer
from focus_jax.stages import drawing as drawing_stage
from focus_jax.stages import editing
from focus_jax.training.parts import flatten, unflatten
from tests.stages.test_editing import config
from tests.stages.test_language import drawn

SIDE, COUNT = 32, 2
OPTIONS = dict(steps=2, guidance=1.0)
MARK = np.ones((48, 48), bool)
WORDS = ["remove the red circle", "make the background blue"]


@pytest.fixture(scope="module")
def model():
    made = config()
    stage = editing.Stage(made)
    shapes = flatten(nn.unbox(jax.eval_shape(stage.init, jax.random.key(0))))
    params = {path: drawn(path, x.shape) for path, x in shapes.items()}
    params["mask_guidance/gate"] = np.ones(1, np.float32)
    return Model(
        made, stage, unflatten(params), {part: "0" for part in ("tokenizer", "llm", "vae", "unet")}, "random", None
    )


@pytest.fixture(scope="module")
def pictures():
    return np.stack([drawing.draw(scenes.scene("easy", "test", i), 48).picture for i in range(COUNT)])


@pytest.fixture()
def says(monkeypatch):
    """Makes the model say something, and mark something or nothing."""

    def make(names, marks=True):
        monkeypatch.setattr(Editor, "_names", lambda self, instructions, *_: [names] * len(instructions))
        soft = lambda self, kind, masks, scores, fit, rules: np.full(fit.size, 0.0, np.float32) + half(fit.size) * marks
        monkeypatch.setattr("focus_jax.inference.segment.Segmenter.soft", soft)

    return make


def half(size):
    """float32 [H, W], the upper half."""
    out = np.zeros(size, np.float32)
    out[: size[0] // 2] = 0.9
    return out


def test_what_is_marked_is_drawn_and_the_rest_stays(model, pictures, says):
    says("red circle.")
    plain = model.edits(pictures, WORDS, seeds=[0, 1], **OPTIONS)
    for one in plain:
        assert one.names == ("red circle",) and not one.whole and not one.refused
        np.testing.assert_array_equal(one.mask, half((48, 48)))
        assert one.image.shape == (48, 48, 3) and one.fit.bucket == (SIDE, SIDE)
        assert {name: x.shape for name, x in one.codes.items()} == model.grids(SIDE, SIDE)
    kept = model.edits(pictures, WORDS, seeds=[0, 1], feather=2, **OPTIONS)
    for one, raw, source in zip(kept, plain, pictures):
        np.testing.assert_array_equal(one.image[24:], source[24:])
        np.testing.assert_array_equal(one.image[:22], raw.image[:22])
        assert (one.image[:22] != source[:22]).any()
    for option in (dict(seeds=[0, 7]), dict(seeds=[0, 1], masks=[None, np.ones((48, 48), bool)])):
        again = model.edits(pictures, WORDS, **option, **OPTIONS)
        np.testing.assert_array_equal(again[0].image, plain[0].image)
        assert (again[1].image != plain[1].image).any()


def test_edits_are_written_as_they_are_taught(model, pictures, says):
    """Every code that is written greedily, cached, has the largest logit of its level where the row is taught whole;
    what the source shows beside it counts."""
    says("red circle.")
    done = model.edits(pictures, WORDS, seeds=[0, 1], sampling=dict(temperature=0.0), **OPTIONS)
    chat, where = model.talk, (SIDE, SIDE)
    laid = [
        prompts.edit(
            Writer(chat.vocabulary, chat.tokenizer, chat.sizes(where)), words, where, "red circle.",
            (one.codes["semantic"], one.codes["pixel"]),
        ).done()
        for words, one in zip(WORDS, done)
    ]  # fmt: skip
    batch = padded(laid, tuple(laid[0].arrays))
    batch["labels"][batch["segments"] == 0] = IGNORE
    shown = chat.pictures([Image.fromarray(x) for x in pictures], where)
    batch |= {name: x[:, None] for name, x in shown.items()} | {"target": shown["image"]}
    batch["regions"] = np.stack([Editor(model).segmenter.covered([], one.fit) for one in done])

    def right(params):
        _, labels, found = model.stage.cross_entropy(params, batch)
        return np.asarray(found.correct)[np.asarray(drawing_stage.code_positions(model.stage.vocabulary, labels))]

    codes = sum(x.size for one in done for x in one.codes.values())
    assert right(model.params).shape == (codes,) and right(model.params).all()
    without = jax.tree.map(np.zeros_like, model.params["source_cells"])
    assert not right(model.params | {"source_cells": without}).all()


def test_nothing_meant_is_refused(model, pictures, says):
    says("none.", marks=False)
    told = model.edit(pictures, WORDS, seeds=[0, 1], **OPTIONS)
    assert told.refused.all() and not told.masks.any()
    np.testing.assert_array_equal(told.images, pictures)
    forced = model.edits(pictures, WORDS, seeds=[0, 1], force=True, **OPTIONS)
    assert not any(one.refused for one in forced) and (forced[0].image != pictures[0]).any()
    kept = model.edits(pictures, WORDS, seeds=[0, 1], force=True, feather=2, **OPTIONS)
    assert not kept[0].mask.any() and (kept[0].image == forced[0].image).all(), "no mask keeps the source's pixels"
    assert "without a mask" in edit_files.told(kept[0])


def test_the_whole_picture_has_a_mask_of_all_of_it(model, pictures, says):
    says(f"{prompts.WHOLE}.", marks=False)
    for one in model.edits(pictures, WORDS, seeds=[0, 1], feather=2, **OPTIONS):
        assert one.whole and not one.refused and not one.names and (one.mask == 1).all()
    region = np.zeros((48, 48), bool)
    region[20:30, 20:30] = True
    (one, _) = model.edits(pictures, ["remove this"] * 2, [region] * 2, seeds=[0, 1], **OPTIONS)
    assert not one.whole, "who points at something does not mean all of it"


def test_a_given_mask_is_taken_as_it_is(model, pictures, says):
    says("none.", marks=False)
    mask = np.zeros((48, 48), bool)
    mask[5:20, 8:30] = True
    found = model.edits(pictures, ["remove this"] * 2, masks=[mask, mask], seeds=[0, 1], feather=0, **OPTIONS)
    for one, source in zip(found, pictures):
        np.testing.assert_array_equal(one.marked, mask)
        np.testing.assert_array_equal(one.image[~mask], source[~mask])


def test_the_tokenizer_can_draw_too(model, pictures, says):
    says("red circle.")
    found = model.edits(pictures, WORDS, seeds=[0, 1], decoder="tokenizer")
    codes = {name: np.stack([one.codes[name] for one in found]) for name in found[0].codes}
    fit = found[0].fit
    np.testing.assert_array_equal(found[0].image, fit.back(model.decode(codes)[0]))


@pytest.mark.slow
def test_what_it_says_itself_can_be_read(model, pictures):
    """Random weights say something, by words and by regions, in any order of the rows."""
    region = np.zeros((48, 48), bool)
    region[10:20, 10:20] = True
    found = model.edits(pictures, WORDS, [None, region], seeds=[0, 1], **OPTIONS)
    turned = model.edits(pictures[::-1], WORDS[::-1], [region, None], seeds=[1, 0], **OPTIONS)
    for one, other in zip(found, turned[::-1]):
        assert one.names == other.names and one.refused == other.refused
        np.testing.assert_allclose(one.mask, other.mask, atol=1e-4)
        for name, x in one.codes.items():
            np.testing.assert_array_equal(x, other.codes[name])


def test_redraw_is_drawn_as_edits_are(model, pictures):
    masks = np.stack([half((48, 48)) > 0] * COUNT)
    found, plain = (model.redraw(pictures, m, seeds=[0, 1], **OPTIONS) for m in (masks, None))
    assert found.shape == pictures.shape and (found != plain).any()
    # With a guidance of its own the mask is a third pass: without it as if there were none, at 1 as it is.
    by = lambda x: model.redraw(pictures, masks, seeds=[0, 1], mask_guidance=x, **OPTIONS).astype(int)
    assert np.abs(by(0.0) - plain).max() <= 1 and np.abs(by(1.0) - found).max() <= 1
    assert np.abs(by(4.0) - found).max() > 1


def test_what_is_meant_is_told_before_anything_is_written(model, pictures, says, monkeypatch):
    says("red circle.")
    monkeypatch.setattr(Editor, "_written", lambda *_: pytest.fail("nothing was told"))

    class Told(Exception):
        pass

    def before(meant):
        raise Told(meant)

    with pytest.raises(Told) as found:
        model.edits(pictures, WORDS, seeds=[0, 1], before=before, **OPTIONS)
    for one, picture in zip(*found.value.args, pictures, strict=True):
        assert edit_files.told(one) == "red circle" and one.codes == {} and not one.refused
        np.testing.assert_array_equal(one.image, picture)
        np.testing.assert_array_equal(one.mask, half((48, 48)))


def test_redraw_refuses_masks_where_mask_tokens_guide(model, pictures, monkeypatch):
    assert model.redraws_under_masks
    monkeypatch.setattr(model._editor, "form", "queries")
    assert not model.redraws_under_masks
    with pytest.raises(UserError, match="masks: given, expected none: random has model.mask_guidance.form='queries'"):
        model.redraw(pictures, np.ones((COUNT, 48, 48), bool), seeds=[0, 1], **OPTIONS)


@pytest.mark.slow
def test_captions_are_drawn_by_diffusion_where_it_is_there(model):
    size = dict(height=SIDE, width=SIDE, seeds=[3])
    ours = model.generate(["a red circle."], **size, diffusion=OPTIONS)
    theirs = model.generate(["a red circle."], **size, decoder="tokenizer")
    assert ours.shape == theirs.shape and (ours != theirs).any()
    assert model.generate(["a red circle."], **size, diffusion=OPTIONS, scale=2).shape == ours.shape


def test_clips_are_edited_where_they_are_marked(model, pictures, says):
    says("red circle.")
    frames = np.stack([pictures[0]] * 3)
    masks = np.zeros(frames.shape[:3], bool)
    masks[[0, 2], 10:30, 10:30] = True
    done = video_edit.done(model, frames, masks, "make it blue", seed=5, feather=0, **OPTIONS)
    assert done[1] is None
    found = video_edit.edited(frames, done)
    np.testing.assert_array_equal(found[1], frames[1])
    np.testing.assert_array_equal(found[0], found[2])  # one seed
    assert (found[0] != frames[0])[masks[0]].any()
    np.testing.assert_array_equal(found[~masks], frames[~masks])
    with pytest.raises(UserError, match="nothing is marked in any frame"):
        video_edit.done(model, frames, np.zeros_like(masks), "make it blue")
    with pytest.raises(UserError, match=r"masks: bool\[3, 48, 47\], expected bool\[3, 48, 48\]"):
        video_edit.done(model, frames, masks[:, :, :-1], "make it blue")


def test_composite_keeps_the_source():
    rng = np.random.default_rng(0)
    source, new = (rng.integers(0, 256, (20, 20, 3)).astype(np.uint8) for _ in range(2))
    mask = np.zeros((20, 20), bool)
    mask[5:15, 0:10] = True
    for feather in (0, 3):
        found = composite(source, new, mask, feather)
        np.testing.assert_array_equal(found[~mask], source[~mask])
        np.testing.assert_array_equal(found[10, 0], new[10, 0])  # the picture's border is no outline
        assert (found[5, 5] == new[5, 5]).all() == (feather == 0)
    np.testing.assert_array_equal(composite(source, new, np.ones((20, 20), bool)), new)
    with pytest.raises(UserError, match="composite: .*expected two pictures and a bool mask of one size"):
        composite(source, new, mask[1:])
    with pytest.raises(UserError, match="feather: -1, expected 0 or more"):
        composite(source, new, mask, -1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(seeds=[0]), "seeds: 1 for 2 images, expected one each"),
        (dict(seeds=[0, 1], masks=[np.zeros((48, 48), bool)] * 2), "masks: nothing marked, expected bool"),
        (dict(seeds=[0, 1], masks=[np.ones((8, 8), bool)] * 2), r"masks: bool\[8, 8\], expected bool\[48, 48\]"),
        (dict(seeds=[0, 1], regions=[np.ones((48, 48))] * 2), r"regions: float64\[48, 48\], expected bool"),
        (dict(seeds=[0, 1], regions=[MARK] * 2, masks=[None, MARK]), "masks: picture 1 has a region, too"),
        (dict(seeds=[0, 1], decoder="paint"), "decoder: 'paint', expected diffusion or tokenizer"),
        (dict(seeds=[0, 1], scale=3), "scale: 3, expected 1, or 2"),
        (dict(seeds=[0, -1], **OPTIONS), "seeds: -1"),
        (dict(seeds=[0, 1], guidance=0.5), "guidance: 0.5, expected 1"),
        (dict(seeds=[0, 1], steps=1_000), "steps: 1000, expected 1 to 200"),  # config.model.decoder.steps
    ],
)
def test_mistakes(model, pictures, says, given, said):
    says("red circle.")
    with pytest.raises(UserError, match=said):
        model.edits(pictures, WORDS, **given)


def test_an_empty_instruction(model, pictures):
    with pytest.raises(UserError, match="instruction: empty"):
        model.edits(pictures, ["", " "], seeds=[0, 1])


@pytest.fixture()
def cli(model, says, tmp_path, monkeypatch):
    monkeypatch.setattr(focus_jax, "load", lambda *_, **__: model)
    says("red circle.")
    Image.fromarray(drawing.draw(scenes.scene("easy", "test", 0), 48).picture).save(tmp_path / "scene.png")
    common = ["--checkpoint=random", f"--output={tmp_path / 'out'}", "--steps=2"]
    return lambda *argv: infer.main(["edit", str(tmp_path / "scene.png"), *common, *argv])


@pytest.mark.slow
def test_files_out(cli, tmp_path, capsys):
    cli("--instruction=remove the red circle", "--instruction=make it blue", "--seed=3")
    out, source = tmp_path / "out", np.asarray(Image.open(tmp_path / "scene.png"))
    told = json.loads((out / "edit.json").read_text())
    (entry,) = told["pictures"]
    assert [one["instruction"] for one in entry["edits"]] == ["remove the red circle", "make it blue"]
    assert entry["edits"][0]["meant"] == ["red circle"] and entry["edits"][0]["area"] == 24 * 48
    result = np.asarray(Image.open(out / "scene.png"))
    np.testing.assert_array_equal(result, np.asarray(Image.open(out / "scene.edit2.png")))
    mask = np.asarray(Image.open(out / "scene.edit1.mask.png")) > 0
    np.testing.assert_array_equal(result[~mask], source[~mask])
    assert Image.open(out / "scene.sheet.png").size[0] > 3 * 256
    assert "remove the red circle': red circle" in capsys.readouterr().out
    infer.main(
        ["reconstruct", str(out / "scene.edit1.codes.npz"), "--checkpoint=random", f"--output={tmp_path / 'again'}"]
    )
    assert np.asarray(Image.open(tmp_path / "again" / "scene.edit1.png")).shape == source.shape


@pytest.mark.slow
def test_what_is_meant_is_shown(cli, tmp_path, capsys):
    """A mask is used as it is; a box and a click are regions, from which the mask is found. JPEG is not exact."""
    out, source = tmp_path / "out", np.asarray(Image.open(tmp_path / "scene.png"))
    mask = np.zeros(source.shape[:2], np.uint8)
    mask[4:20, 6:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    cli("--instruction=remove this", f"--mask={tmp_path / 'mask.png'}", "--format=jpg")
    assert "not exactly the source's, as JPEG has it" in capsys.readouterr().out
    np.testing.assert_array_equal(np.asarray(Image.open(out / "scene.edit1.mask.png")), mask)
    exact = np.asarray(Image.open(out / "scene.edit1.png"))
    np.testing.assert_array_equal(exact[mask == 0], source[mask == 0])
    assert (np.asarray(Image.open(out / "scene.jpg")) != exact).any()
    for shown in ("--box=6,4,24,16", "--point=10,10", f"--scribble={tmp_path / 'mask.png'}"):
        cli("--instruction=remove this", shown)
        found = np.asarray(Image.open(out / "scene.edit1.mask.png"))
        assert (found > 0).sum() == 24 * 48, "that of the model"


@pytest.mark.slow
def test_clips_out(model, says, cli, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(2):
        Image.open(tmp_path / "scene.png").save(frames / f"{i}.png")
    mask = np.zeros((48, 48), np.uint8)
    mask[10:30, 10:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "clip"
    argv = ["video", str(frames), "--checkpoint=random", f"--output={out}", f"--mask={tmp_path / 'mask.png'}"]
    infer.main([*argv, "--edit=make it blue", "--steps=2"])
    first = np.asarray(Image.open(out / "edited" / "0.png"))
    np.testing.assert_array_equal(first[mask == 0], np.asarray(Image.open(frames / "0.png"))[mask == 0])
    with np.load(out / "edited" / "0.codes.npz") as codes:
        assert set(model.grids(SIDE, SIDE)) <= set(codes.files)
    assert (out / "edited.gif").exists()
    told = json.loads((out / "video.json").read_text())
    assert (told["edit"], told["decoder"], told["scale"], told["feather"]) == ("make it blue", "diffusion", 1, 3)
    assert told["diffusion"]["steps"] == 2 and told["diffusion"]["guidance"] == 1.5
    assert told["sampling"]["temperature"] == 0 and (told["limit"], told["repair"]) == (0, False)
    edited = [one["frame"] for one in told["frames"] if one["segments"]]
    assert told["edited"] == edited and "0" in edited


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--instruction= "], "--instruction: is empty"),
        (["--instruction=remove this", "--point=1,1", "--box=1,1,2,2"], "--point, --box: expected one of"),
        (["--instruction=remove this", "--instruction=again", "--point=1,1"], "with one --instruction"),
        (["--instruction=remove this", "--point=90,1"], "90"),
        (["--instruction=remove this", "--mask=a.png", "--mask=b.png"], "--mask: given twice, expected one"),
        (["--instruction=remove this", "--feather=-1"], "feather: -1, expected 0 or more"),
        (["--instruction=remove this", "--seed=-1"], "--seed=-1: expected at least 0"),
        (["--instruction=remove this", "--mask_guidance=-1"], "mask_guidance: -1.0, expected 0 or more"),
        (["--instruction=remove this", "--top_p=0"], "--top_p=0.0: expected a share"),
    ],
)
def test_mistakes_on_the_command_line(cli, capsys, argv, said):
    with pytest.raises(SystemExit):
        cli(*argv)
    assert said in capsys.readouterr().err
