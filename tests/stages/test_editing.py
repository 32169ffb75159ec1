# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 4's losses: under which mask each row is drawn, from whose codes, and what learns from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from data_pipelines import rows, targets
from data_pipelines.world.examples import World
from focus_jax.errors import UserError
from focus_jax.ops.resize import area
from focus_jax.stages import editing, multimodal
from focus_jax.training import config as config_lib
from focus_jax.training.parts import assign, flatten, unflatten
from tests.stages import test_multimodal
from tests.stages.test_multimodal import HIGH, SIDE

LATENTS = (8, 8)
NONE, MASKS, WHOLE, OWN = range(len(targets.GUIDES))


def config(spec="configs/stage4.py:tiny"):
    c = test_multimodal.config(spec)
    c.model.vae.update(dict(widths=(8, 8), groups=4))
    c.model.unet.update(dict(widths=(16, 16), heads=(2, 2), groups=4, context=8, pooled=3, ids=4))
    if guide := c.model.mask_guidance:
        guide.width = 8
        if "states" in guide:
            guide.states = c.model.llm.width
    c.model.decoder.unit = SIDE
    c.loss.drawing.drop["all"] = 0.0
    return c


@pytest.fixture(scope="module")
def run():
    return test_multimodal.Run(config(), editing.Stage)


def gated(run, value):
    """Trained parameters with the gate of the masks at a value."""
    return run.trained | {"mask_guidance/gate": np.full(1, value, np.float32)}


@pytest.fixture(scope="module")
def batch(run):
    """Rows of a removal and of an edit of one thing, of a background, and of one that means nothing."""
    (stream,) = (s for s in run.config.data.phases[0]["streams"] if s["shape_class"] == "editing")
    made = []
    for task, guide, removes in (
        ("removal", MASKS, 1),
        ("edit", MASKS, 0),
        ("edit", WHOLE, 0),
        ("absent_edit", NONE, 0),
    ):
        row = next(
            row for i in range(60)
            if (row := rows.row(World(tasks=(task,), side=HIGH)[i], stream))["guide"] == guide
            and row["removes"] == removes and not row["left_out"]
        )  # fmt: skip
        made.append(row)
    out = {name: np.stack([row[name] for row in made]) for name in made[0]}
    return out | {"weight": np.ones(4, np.float32), "element": np.arange(4, dtype=np.uint32)}


def diffusion(run, trained, batch, step=0):
    if not hasattr(run, "diffusion"):
        run.diffusion = jax.jit(
            lambda t, b, step: run.stage.numerators(
                unflatten(t | run.frozen), b, None, jax.random.key(0), step
            )[0]["diffusion"]
        )  # fmt: skip
    return float(run.diffusion(trained, batch, jnp.int32(step)))


def test_true_masks_give_way_to_the_models_own(run):
    steps = run.stage.steps
    shares = [float(run.stage._truth(s)) for s in (0, steps // 4, steps // 2, steps)]
    np.testing.assert_allclose(shares, [1.0, 0.6, 0.2, 0.2], atol=1e-6)
    assert float(run.stage._truth(None)) == pytest.approx(0.2)


@pytest.fixture(scope="module")
def predict(run):
    """Of a batch (predictions, queries)."""
    params = unflatten(run.trained | run.frozen)

    @jax.jit
    def found(b):
        predictions = run.stage.predict(params, run.stage.filled(params, b))[1]
        return predictions, run.stage.mask_terms(predictions, b, jax.random.key(0))[2]

    return found


@pytest.fixture(scope="module")
def predicted(predict, batch):
    return predict(batch)


def guides(run, batch, predicted, chance, truth):
    return run.stage.guides(batch, *predicted, jnp.full(4, chance), jnp.float32(truth), LATENTS)


def test_whose_mask_a_row_is_drawn_under(run, batch, predicted):
    true, there = guides(run, batch, predicted, 0.5, 0.6)
    own, also = guides(run, batch, predicted, 0.5, 0.4)
    np.testing.assert_array_equal(there, [1, 1, 1, 0])
    np.testing.assert_array_equal(also, there)
    bits = np.unpackbits(batch["targets"], axis=-1).max(axis=1)
    expected = bits.reshape(4, 8, HIGH // 8, 8, HIGH // 8).mean(axis=(2, 4))
    np.testing.assert_allclose(true[:2], expected[:2], atol=1e-6)
    assert expected[:2].any(axis=(1, 2)).all()
    for found in (true, own):
        np.testing.assert_array_equal(found[2], np.ones(LATENTS))
        np.testing.assert_array_equal(found[3], np.zeros(LATENTS))
    predictions, queries = predicted
    soft = jax.nn.sigmoid(predictions.masks[-1])
    for b in range(2):
        union = max(
            (soft[b, queries[b, k]] for k in np.flatnonzero(batch["there"][b])), key=lambda x: float(x.sum())
        ) if batch["there"][b].sum() == 1 else jnp.max(soft[b][queries[b][batch["there"][b] > 0]], axis=0)  # fmt: skip
        cells = soft.shape[-1] * HIGH // run.stage.focus.tokenizer.padded_side(HIGH, HIGH)
        np.testing.assert_allclose(own[b], area(union[None, :cells, :cells, None], LATENTS)[0, ..., 0], atol=1e-5)
    assert np.abs(np.asarray(own[:2] - true[:2])).max() > 0.1


def test_a_pair_without_a_region_is_drawn_under_what_the_model_marks(run, batch, predict):
    """Nothing is matched there, and what the instruction means to the model counts."""
    (stream,) = (s for s in run.config.data.phases[0]["streams"] if s["shape_class"] == "editing")
    made = []
    for example in (World(tasks=("edit",), side=HIGH)[i] for i in range(4)):
        example.edit_region, example.expressions, example.regions = None, [], []
        made.append(rows.row(example, stream))
    alone = {name: np.stack([row[name] for row in made]) for name in made[0]}
    assert (alone["guide"] == OWN).all() and not alone["known"].any() and not alone["there"].any()
    alone |= {name: batch[name] for name in ("weight", "element")}
    predictions, queries = predict(alone)
    found, there = guides(run, alone, (predictions, queries), 0.0, 1.0)
    assert there.all()
    scores = jax.nn.sigmoid(predictions.scores[-1][..., 0])
    marked = jnp.max(jax.nn.sigmoid(predictions.masks[-1]) * scores[:, :, None, None], axis=1)
    cells = marked.shape[-1] * HIGH // run.stage.focus.tokenizer.padded_side(HIGH, HIGH)
    np.testing.assert_allclose(found, area(marked[:, :cells, :cells, None], LATENTS)[..., 0], atol=1e-5)
    assert np.asarray(found).max() > 0.01


@pytest.mark.slow
def test_a_closed_gate_is_blind_to_masks(run, batch):
    other = batch | {"guide": np.array([NONE, NONE, NONE, WHOLE], np.int32)}
    assert diffusion(run, gated(run, 0.0), batch) == diffusion(run, gated(run, 0.0), other)
    assert diffusion(run, gated(run, 1.0), batch) != diffusion(run, gated(run, 1.0), other)


def test_with_a_closed_gate_it_is_stage_1b(run, batch):
    """The same loss as the decoder's own stage has of the targets, where no codes are the source's."""
    kept = batch | {"removes": np.zeros(4, np.int32)}
    pictures = {"image": batch["target"], "high": batch["target_high"]}
    pictures |= {name: batch[name] for name in ("weight", "element")}
    params = unflatten(gated(run, 0.0) | run.frozen)
    # The step's key is folded in by the stage around it.
    rng = jax.random.fold_in(jax.random.key(0), 0)
    alone = jax.jit(lambda p, b: run.stage.decoder.numerators(p, b, None, rng, jnp.int32(0))[0]["diffusion"])
    np.testing.assert_allclose(diffusion(run, gated(run, 0.0), kept), jnp.sum(alone(params, pictures)), rtol=1e-5)


def test_removals_are_drawn_from_the_sources_codes(run, batch):
    """The target's pixels in the codes' places make no difference then; of other rows they do."""
    params = unflatten(run.trained | run.frozen)
    indices = jax.jit(lambda b: run.stage._indices(params, b, b["removes"] > 0))
    found, other = indices(batch), indices(batch | {"target": 255 - batch["target"]})
    source = indices(batch | {"removes": np.ones(4, np.int32)})
    for name, x in found.items():
        np.testing.assert_array_equal(x[0], other[name][0])
        np.testing.assert_array_equal(x[0], source[name][0])
        assert (np.asarray(x[1:]) != np.asarray(other[name][1:])).any()


@pytest.mark.slow
def test_what_is_drawn_teaches_the_mask_decoder(run, batch):
    """Through the model's own masks and an open gate alone."""
    late = run.stage.steps

    def loss(trained, step):
        params = unflatten(trained | run.frozen)
        return run.stage.numerators(params, batch, None, jax.random.key(0), step)[0]["diffusion"]

    gradient = jax.jit(jax.grad(loss))
    run.config.loss.truth = (1.0, 0.0)
    size = lambda grads, part: max(float(np.abs(x).max()) for p, x in grads.items() if p.startswith(part))
    masks, nothing = gradient(gated(run, 1.0), jnp.int32(late)), gradient(gated(run, 1.0), jnp.int32(0))
    assert size(masks, "mask_decoder/") > 0 and size(masks, "llm/") > 0
    assert size(nothing, "mask_decoder/") == 0
    closed = gradient(gated(run, 0.0), jnp.int32(late))
    assert size(closed, "mask_decoder/") == 0 and size(closed, "mask_guidance/gate") > 0
    assert size(closed, "mask_guidance/kernel") == 0
    run.config.loss.truth = (1.0, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no_mask_guidance", "mask_tokens", "mask_attention"])
def test_ablations_are_drawn_by_what_they_say(name, batch):
    """Without guidance no mask counts; mask tokens count where there are some; attention of its own counts at once."""
    other = test_multimodal.Run(config(f"configs/ablations.py:{name}_tiny"), editing.Stage)
    trained = gated(other, 1.0) if name == "mask_tokens" else other.trained
    found = diffusion(other, trained, batch)
    whole = batch | {"guide": np.full(4, WHOLE, np.int32)}  # marks nothing
    none = batch | {"guide": np.full(4, NONE, np.int32)}
    same = {"no_mask_guidance": (whole, none), "mask_tokens": (whole, none), "mask_attention": ()}[name]
    assert len({diffusion(other, trained, b) for b in same}) <= 1
    assert (found == diffusion(other, trained, none)) == (name == "no_mask_guidance")
    assert ("mask_guidance" in other.stage.init(jax.random.key(0))) == (name != "no_mask_guidance")


@pytest.mark.slow
def test_accumulated_is_whole(run, batch):
    whole, halves = run.once(gated(run, 0.5), batch), run.twice(gated(run, 0.5), batch)
    np.testing.assert_allclose(whole[0][0], halves[0][0], rtol=1e-5)
    total, count = whole[0][1]["diffusion"]
    assert total > 0 and count == 4
    grads = whole[1]["all"]
    scale = max(float(np.abs(grad).max()) for grad in grads.values())
    for path, grad in grads.items():
        bound = 1e-3 * np.abs(grad).max() + 1e-6 * scale
        assert np.abs(halves[1]["all"][path] - grad).max() <= bound, path


def test_rows_of_stage_3_have_no_term(run):
    found = run.stage.normalisers(run.batch("referring", "panoptic"))
    assert float(found["diffusion"]) == 0 and set(found) == set(run.stage.weights(0))


@pytest.mark.parametrize("size", ["full", "tiny"])
def test_of_the_unet_only_what_reads_the_mask_is_trained(size):
    """attn2 of its transformer blocks and the norm before it (norm2 is also the name of one in residual blocks)."""
    c = config_lib.load(f"configs/stage4.py:{size}")
    shapes = flatten(nn.unbox(jax.eval_shape(editing.Stage(c).init, jax.random.key(0))))
    groups = {p: group for p, group in assign(shapes, c.assign, c.groups).items() if p.startswith("unet/")}
    trained = {path for path, group in groups.items() if c.groups[group].trained}
    assert trained == {p for p in groups if "/attn2/" in p or ("/norm2/" in p and "_attn_" in p)} and trained
    assert any("_res_" in path and "/norm2/" in path for path in set(groups) - trained)


def test_full_streams_fit():
    c = config_lib.load("configs/stage4.py")
    edits = [s for s in config_lib.streams(c) if s["shape_class"] == "editing"]
    assert sorted({s.get("scale", 1) for s in edits}) == [1, 2] and len(edits) == 2 * 11
    for stream in config_lib.streams(c):
        editing.validate_stream(c, stream, stream["where"])
    editing.validate(c)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: setattr(c.loss, "truth", (1.0, 2.0)), r"config.loss.truth: \(1.0, 2.0\), expected shares"),
        (lambda c: setattr(c.loss, "source_codes", -1.0), "config.loss.source_codes: -1.0, expected a share"),
        (lambda c: c.model.__delattr__("mask_guidance"), "config.model.mask_guidance: is missing"),
        (lambda c: c.loss.__delattr__("drawing"), "config.loss: expected"),
        (lambda c: c.loss.drawing.update(space="pixels"), "space"),
    ],
)
def test_wrong_configs(change, said):
    c = config()
    with c.unlocked():
        change(c)
    with pytest.raises(UserError, match=said):
        editing.validate(c)
    assert multimodal.TERMS == editing.TERMS[:-1]
