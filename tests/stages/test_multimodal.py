# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 3's losses: accumulated = whole, rows of other kinds add nothing to a kind's term, masks that fit cost little,
padding is padding, everything that should learn gets a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import models
from data_pipelines import rows
from data_pipelines.world.examples import World
from focus_jax.errors import UserError
from focus_jax.sequence.layout import Role
from focus_jax.stages import drawing, masks, multimodal
from focus_jax.training import config as config_lib
from focus_jax.training.parts import flatten, unflatten
from focus_jax.training.step import loss_and_gradients
from tests.stages.test_language import drawn, small

SIDE, HIGH = 32, 64


def few(c):
    """The same mask decoders with few layers."""
    c.model.mask_pixel_decoder.update(width=16, heads=2, mlp=24, depth=1, groups=4)
    c.model.mask_decoder.update(width=16, heads=2, mlp=24, depth=2)
    c.loss.points = 64
    return c


def config(spec="configs/stage3.py:tiny"):
    c = few(small(spec))
    c.sampling = {}  # greedy
    c.model.tokenizer.high = HIGH
    for stream in c.data.phases[0]["streams"]:
        stream |= {"height": SIDE, "width": SIDE, "high": HIGH}
    stream = c.data.phases[0]["streams"][1]
    stream["sequence"] = models.sequence("tiny", (SIDE, SIDE), length=220, learnt=64, pack=1, images=1)
    stream["segmentation"] = {"conditions": 6, "targets": 5, "regions": 3, "names": 1.0}
    clip = c.data.phases[0]["streams"][2]
    clip |= {"sequence": stream["sequence"], "segmentation": stream["segmentation"]}
    words, edit = c.data.phases[0]["streams"][3:]
    sizes = dict(learnt=64, pack=1)
    words["sequence"] = models.sequence("tiny", (SIDE, SIDE), length=120, images=0, **sizes)
    edit |= {"segmentation": stream["segmentation"]}
    edit["sequence"] = models.sequence("tiny", (SIDE, SIDE), length=240, images=1, **sizes)
    return c


class Run:
    def __init__(self, found=None, made=multimodal.Stage):
        self.config = config() if found is None else found
        config_lib.validate(self.config, 1)
        self.stream = self.config.data.phases[0]["streams"][1]
        self.stage = made(self.config)
        shapes = nn.unbox(jax.eval_shape(self.stage.init, jax.random.key(0)))
        flat = {path: drawn(path, x.shape) for path, x in flatten(shapes).items()}
        learns = ("fusion_mlp", "projector", "adapter", "llm", "mask", "unet")
        self.trained = {p: x for p, x in flat.items() if p.startswith(learns)}
        self.frozen = {p: x for p, x in flat.items() if p not in self.trained}
        step = lambda accumulate: jax.jit(
            lambda t, b: loss_and_gradients(
                self.stage, {"all": t}, self.frozen, b, jax.random.key(0), jnp.zeros((), jnp.int32), accumulate
            )
        )
        self.once, self.twice = step(1), step(2)

    def batch(self, *tasks):
        """A row of each task, of its own scene."""
        examples = [World(tasks=("masks", task), side=HIGH)[i] for i, task in enumerate(tasks)]
        for example in examples:
            example.expressions = [e for e in example.expressions if e.instances]
        made = [rows.row(example, self.stream) for example in examples]
        out = {name: np.stack([row[name] for row in made]) for name in made[0]}
        assert out["there"].any(axis=1).all()
        count = len(made)
        return out | {"weight": np.ones(count, np.float32), "element": np.arange(count, dtype=np.uint32)}

    def drawn(self, shape_class, task, count=2):
        """Rows that end in a picture."""
        (stream,) = (s for s in self.config.data.phases[0]["streams"] if s["shape_class"] == shape_class)
        made = [rows.row(World(tasks=(task,), side=HIGH)[i], stream) for i in range(count)]
        out = {name: np.stack([row[name] for row in made]) for name in made[0]}
        assert not out["left_out"].any()
        return out | {"weight": np.ones(count, np.float32), "element": np.arange(count, dtype=np.uint32)}

    def clips(self, seeds):
        """A row of each clip."""
        (stream,) = (s for s in self.config.data.phases[0]["streams"] if s["shape_class"] == "clips")
        world = World(tasks=("clip",), side=HIGH)
        made = [rows.row(world[i], stream, rng=np.random.default_rng(seed)) for i, seed in enumerate(seeds)]
        out = {name: np.stack([row[name] for row in made]) for name in made[0]}
        count = len(made)
        return out | {"weight": np.ones(count, np.float32), "element": np.arange(count, dtype=np.uint32)}


@pytest.fixture(scope="module")
def run():
    return Run()


@pytest.fixture(scope="module")
def batch(run):
    return run.batch("panoptic", "regions", "referring", "panoptic")


def test_every_term_and_every_part(run, batch):
    (loss, terms, aux), grads = run.once(run.trained, batch)
    assert np.isfinite(loss)
    for name in ("text", *masks.TERMS):
        total, count = terms[name]
        assert total > 0 and count > 0, name
    assert float(terms["mask"][1]) == batch["there"].sum()
    assert 0 < float(aux["mask_iou"][0]) < float(aux["mask_iou"][1]) == batch["there"].sum()
    assert float(aux["answer_accuracy"][1]) == len(batch["weight"])  # one answer a row, masks or not
    # Behind closed gates, or no query; for clips alone.
    still = ("adapter/layer", "adapter/queries", "adapter/norm", "adapter/out", "mask_decoder/follow")
    for path, grad in grads["all"].items():
        if not path.startswith(still) and "k/bias" not in path:
            assert np.abs(grad).max() > 0, path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segmentation", "clips", "editing"])
def test_accumulated_is_whole(run, kind):
    batch = run.batch("panoptic", "regions", "referring", "panoptic") if kind == "segmentation" else None
    batch = run.clips([0, 1, 2, 3]) if kind == "clips" else run.drawn(kind, "edit") if batch is None else batch
    whole, halves = run.once(run.trained, batch), run.twice(run.trained, batch)
    np.testing.assert_allclose(whole[0][0], halves[0][0], rtol=1e-5)
    grads = whole[1]["all"]
    scale = max(float(np.abs(grad).max()) for grad in grads.values())
    for path, grad in grads.items():  # where the true gradient is nothing, as of a key's bias, there is noise
        bound = 1e-3 * np.abs(grad).max() + 1e-6 * scale
        assert np.abs(halves[1]["all"][path] - grad).max() <= bound, path


def test_a_row_of_weight_zero_changes_nothing(run, batch):
    other = {name: np.concatenate([x[:3], x[:1]]) for name, x in batch.items()}
    weights = np.array([1, 1, 1, 0], np.float32)
    a, b = (run.once(run.trained, x | {"weight": weights})[0] for x in (batch, other))
    for name in ("text", *masks.TERMS):
        np.testing.assert_allclose(a[1][name][0], b[1][name][0], rtol=1e-5)
        np.testing.assert_array_equal(a[1][name][1], b[1][name][1])


@pytest.mark.slow
def test_masks_that_fit_cost_less(run, batch):
    predictions = run.stage.predict(unflatten(run.trained | run.frozen), batch)[1]
    rng = jax.random.key(0)
    targets = np.unpackbits(batch["targets"], axis=-1)
    size = predictions.masks.shape[-2:]
    small = targets.reshape(*targets.shape[:2], size[0], HIGH // size[0], size[1], HIGH // size[1]).mean(axis=(3, 5))
    outlines = np.full(predictions.masks.shape, -8.0, np.float32)
    outlines[:, :, 2 : 2 + small.shape[1]] = 16 * (small - 0.49)  # half a cell counts
    fitting = predictions.replace(masks=jnp.asarray(outlines))
    terms, iou, _ = run.stage.mask_terms(predictions, batch, rng)
    better, full, _ = run.stage.mask_terms(fitting, batch, rng)
    assert np.all(better["mask"] < 0.5 * terms["mask"]) and np.all(better["dice"] < 0.5 * terms["dice"])
    assert float(full["mask_iou"][0] / full["mask_iou"][1]) == 1.0


@pytest.mark.slow
def test_clips_are_their_frames_and_what_joins_them(run):
    """Every term; e_j's head learns; marked things are looked at in the first frame alone."""
    batch = run.clips([0, 1, 2, 3])
    kinds = batch["kind"][:, 0]
    assert len(set(kinds)) == 2 and (kinds == batch["kind"][:, 1]).all(), "marked things and lists of classes"
    (loss, terms, aux), grads = run.once(run.trained, batch)
    assert np.isfinite(loss)
    for name in ("text", "mask", "dice", "regions", "classes", "follow"):
        assert terms[name][0] > 0 and terms[name][1] > 0, name
    track = batch["track"]
    assert terms["follow"][1] == sum(((a >= 0) & np.isin(a, b)).sum() for a, b in track)
    assert 0 <= aux["follow_accuracy"][0] <= aux["follow_accuracy"][1] == terms["follow"][1]
    for path, grad in grads["all"].items():
        if path.startswith("mask_decoder/follow"):
            assert np.abs(grad).max() > 0, path

    params = unflatten(run.trained | run.frozen)
    predict = jax.jit(lambda b: run.stage.predict(params, masks.opened(b))[1].scores[-1])
    (row,) = [int(b) for b in np.flatnonzero(kinds == 2)[:1]]
    clip = {name: x[row : row + 1] for name, x in batch.items()}
    base = predict(clip)
    changed = {name: x.copy() for name, x in clip.items()}
    changed["image"][:, 1] = 255 - changed["image"][:, 1]
    assert np.abs(predict(changed) - base)[1].max() > 1e-4
    np.testing.assert_allclose(predict(changed)[0], base[0], rtol=1e-4, atol=1e-5)
    marked = {name: x.copy() for name, x in clip.items()}
    marked["regions"] = np.roll(marked["regions"], 3, axis=-1)
    assert (np.abs(predict(marked) - base).max(axis=(1, 2)) > 1e-5).all(), "both frames are told what is marked"
    single = {name: x[:, 0] for name, x in clip.items() if name not in ("track", "weight", "element")}
    alone = jax.jit(lambda b: run.stage.predict(params, b)[1].scores[-1])(single)
    np.testing.assert_allclose(alone[0], base[0], rtol=1e-4, atol=1e-5, err_msg="the first frame is a picture")


@pytest.mark.slow
@pytest.mark.parametrize(("shape_class", "task"), [("generation", "caption"), ("editing", "edit")])
def test_pictures_are_words(run, shape_class, task):
    """The codes that are learnt are the frozen tokenizer's, both levels cost, and so does the expected code vector."""
    batch = run.drawn(shape_class, task)
    filled = run.stage.filled(unflatten(run.trained | run.frozen), batch)
    tokenizer, params = run.stage.tokenizer, {"params": unflatten(run.frozen)["tokenizer"]}
    float_ = lambda x: x.astype(np.float32) / 127.5 - 1
    codes = tokenizer.apply(params, float_(batch["target"]), float_(batch["target_high"]), method="indices")
    vocabulary = run.stage.vocabulary
    for b in range(len(batch["ids"])):
        at = np.flatnonzero(batch["roles"][b] == Role.TARGET)
        semantic, pixel = (np.asarray(codes[name][b]).ravel() for name in ("semantic", "pixel"))
        expected = [*(semantic + vocabulary.semantic.start), *(pixel + vocabulary.pixel.start)]
        np.testing.assert_array_equal(filled["ids"][b, at], expected)
        np.testing.assert_array_equal(filled["labels"][b, at - 1], expected)
        others = np.setdiff1d(np.arange(len(batch["ids"][b])), at)
        np.testing.assert_array_equal(filled["ids"][b, others], batch["ids"][b, others])
        np.testing.assert_array_equal(filled["labels"][b, others - 1], batch["labels"][b, others - 1])

    (loss, terms, aux), grads = run.once(run.trained, batch)
    count = (batch["roles"] == Role.TARGET).sum()
    semantic, pixel = (int(terms[name][1]) for name in ("semantic", "pixel"))
    assert semantic + pixel == count == terms["latent"][1] == aux["image_nll"][1]
    assert all(terms[name][0] > 0 for name in ("text", "semantic", "pixel", "latent"))
    assert (terms["words"][1] > 0) == (shape_class == "editing")
    np.testing.assert_allclose(aux["image_nll"][0], terms["semantic"][0] + terms["pixel"][0], rtol=1e-5)
    assert np.abs(grads["all"]["llm/embedding/rows"][vocabulary.pixel.start : vocabulary.pixel.stop]).max() > 0


def test_rows_of_codes_begin_as_their_vectors(run):
    """Alike where the codes are, half as long as rows of text where that is asked; other rows stay."""
    vocabulary, rng = run.stage.vocabulary, np.random.default_rng(0)
    rows = jnp.asarray(rng.normal(0.0, 0.4, (vocabulary.padded, run.stage.focus.llm.width)), jnp.float32)
    part = {p.removeprefix("tokenizer/"): x for p, x in run.frozen.items() if p.startswith("tokenizer/")}
    books = drawing.tables(run.stage.tokenizer, unflatten(part), vocabulary)
    found = np.asarray(drawing.begun(rows, books, vocabulary.text, 0.5, jax.random.key(0)))
    codes = np.zeros(len(rows), bool)
    for start, book in books:
        mine = found[start : start + len(book)]
        codes[start : start + len(book)] = True
        about = mine - mine.mean(axis=0)
        length = np.linalg.norm(rows[vocabulary.text.start : vocabulary.text.stop], axis=1).mean()
        assert np.linalg.norm(about, axis=1).mean() == pytest.approx(0.5 * length, rel=0.02)
        rank = np.linalg.matrix_rank(about, tol=1e-3 * np.abs(about).max())
        assert rank == book.shape[1]
        twin = book.at[1].set(book[0])  # two codes of one vector have one row
        again = np.asarray(drawing.begun(rows, [(start, twin)], vocabulary.text, 0.5, jax.random.key(0)))
        np.testing.assert_allclose(again[start], again[start + 1], atol=1e-5)
    np.testing.assert_array_equal(found[~codes], np.asarray(rows)[~codes])
    c = config()
    c.loss.codes_start = 0.3
    assert [event.name for event in multimodal.Stage(c).events] == ["codes_start"] and not run.stage.events
    c.loss.codes_start = 2.0
    with pytest.raises(UserError, match=r"config.loss.codes_start: 2.0, expected a length"):
        multimodal.validate(c)


def test_words_cost_the_same_whatever_rows_codes_have(run):
    """With a softmax for each level; with one over all they do not."""
    c = config()
    c.loss.levels_apart = True
    batch = run.stage.filled(unflatten(run.frozen), run.drawn("editing", "edit"))
    hidden = jax.random.normal(jax.random.key(1), (*batch["ids"].shape, run.stage.focus.llm.width))
    codes = run.stage.vocabulary.semantic
    llm = {path: x for path, x in run.trained.items() if path.startswith("llm/")}
    longer = llm | {multimodal.ROWS: llm[multimodal.ROWS].at[codes.start : codes.stop].multiply(3.0)}
    costs = lambda stage, llm: stage.losses(unflatten(llm), hidden, batch)
    for stage, same in ((multimodal.Stage(c), True), (run.stage, False)):
        (_, labels, before), (_, _, after) = costs(stage, llm), costs(stage, longer)
        semantic = (labels >= codes.start) & (labels < codes.stop)
        assert np.any(semantic) and np.any((labels >= 0) & ~semantic)
        assert np.array_equal(before.nll[~semantic], after.nll[~semantic]) == same
        assert not np.any(np.isclose(before.nll[semantic], after.nll[semantic], rtol=1e-4))
