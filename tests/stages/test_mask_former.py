# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0's Mask2Former: queries and classes are its own, it learns to find, and stage 3 takes its decoders."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from configs import eval as eval_config
from configs import models
from data_pipelines import rows
from data_pipelines.world import drawing, scenes
from data_pipelines.world.examples import World, class_names
from focus_jax.errors import UserError
from focus_jax.evaluation.segmentation import Evaluator
from focus_jax.inference.queries import Rules
from focus_jax.model import Model
from focus_jax.stages import mask_former, masks, multimodal
from focus_jax.training import config as config_lib
from focus_jax.training.parts import flatten, source_of, unflatten
from focus_jax.training.step import loss_and_gradients
from tests.stages.test_multimodal import HIGH, SIDE, few


def config():
    c = few(config_lib.load("configs/stage0_masks.py"))
    c.model.convnext.update({"widths": (4, 8, 8, 12), "depths": (1, 1, 1, 1)})
    stream = c.data.phases[0]["streams"][0]
    stream |= {"height": SIDE, "width": SIDE, "high": HIGH}
    stream["sequence"] = models.sequence("tiny", (SIDE, SIDE), length=220, learnt=64, pack=1, images=1)
    return c


@pytest.fixture(scope="module")
def run():
    c = config()
    config_lib.validate(c, 1)
    stage, stream = mask_former.Stage(c), c.data.phases[0]["streams"][0]
    params = flatten(nn.unbox(stage.init(jax.random.key(0))))
    made = [rows.row(World(tasks=("panoptic",), side=HIGH)[i], stream) for i in range(4)]
    batch = {name: np.stack([row[name] for row in made]) for name in made[0]}
    batch |= {"weight": np.ones(4, np.float32), "element": np.arange(4, dtype=np.uint32)}
    return stage, params, batch


@pytest.mark.slow
def test_it_learns_to_find(run):
    """Some steps on four pictures and masks and classes cost less."""
    stage, params, batch = run
    trained = {p: x for p, x in params.items() if not p.startswith("tokenizer")}
    frozen = {p: x for p, x in params.items() if p not in trained}

    adam = optax.adam(0.01)

    @jax.jit
    def step(trained, moments, k):
        (_, terms, _), grads = loss_and_gradients(stage, {"all": trained}, frozen, batch, jax.random.key(0), k, 1)
        updates, moments = adam.update(grads["all"], moments)
        return optax.apply_updates(trained, updates), moments, terms

    moments, seen = adam.init(trained), []
    for k in range(40):
        trained, moments, terms = step(trained, moments, jnp.asarray(k))
        seen.append({name: float(terms[name][0] / terms[name][1]) for name in ("mask", "dice", "classes")})
    for name, first in seen[0].items():
        assert seen[-1][name] < 0.75 * first, (name, first, seen[-1][name])


@pytest.mark.slow
def test_queries_and_classes_are_its_own(run):
    stage, params, batch = run
    tree = unflatten(params)
    base = stage.predict(tree, batch)
    other = stage.predict(unflatten(params | {"heads/queries": params["heads/queries"][::-1]}), batch)
    assert not np.allclose(base.masks[0], other.masks[0])
    # A class is its words, wherever it stands in the list.
    ids, marks = batch["ids"].copy(), batch["conditions"].copy()
    marks[marks == 1], marks[batch["conditions"] == 2] = 2, 1
    swapped = stage.predict(tree, batch | {"ids": ids, "conditions": marks})
    np.testing.assert_allclose(base.scores[..., [1, 0]], swapped.scores[..., :2], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_stage_3_takes_its_decoders():
    """All that configs/stage3.py:tiny says it takes is there, in the same shapes, at the shipped sizes."""
    theirs, own = config_lib.load("configs/stage3.py:tiny"), config_lib.load("configs/stage0_masks.py")
    shapes = lambda c, stage: {
        path: x.shape for path, x in flatten(nn.unbox(jax.eval_shape(stage.Stage(c).init, jax.random.key(0)))).items()
    }
    wanted, given = shapes(theirs, multimodal), shapes(own, mask_former)
    taken = [p for p in wanted if theirs.init[source_of(p, theirs.init)] == "assets/masks.safetensors"]
    assert {path.split("/")[0] for path in taken} == {"mask_pixel_decoder", "mask_decoder"}
    assert {path: wanted[path] for path in taken} == {path: given.get(path) for path in taken}


def test_it_segments_class_lists_alone(run):
    stage, params, _ = run
    c = stage.config
    model = Model(c, stage, unflatten(params), {}, "stand-in", None)
    images = np.stack([drawing.draw(scenes.scene("easy", "test", i), HIGH).picture for i in range(2)])
    classes = class_names("easy")
    everything = Rules(classes=0.0, overlap=0.0)
    for one in model.segment(images, [classes, classes[::-1]], rules=everything):
        assert one.ids.shape == (HIGH, HIGH) and one.ids.max() == len(one.names) > 0
        assert set(one.names) <= set(classes)
    with pytest.raises(UserError, match="twice, expected each once"):
        model.segment(images, [classes, [*classes, classes[0]]])
    with pytest.raises(UserError, match="images: 64 x 56 pixels, expected the shape of 32 x 32"):
        model.segment(images[:, :, :56], [classes, classes])
    with pytest.raises(UserError, match="stand-in: knows classes alone, expected lists of classes"):
        model.segment(images, ["the circle", classes])
    measured = eval_config.get_config("classes")
    measured.data.scenes, measured.shown, measured.side = 4, 2, HIGH
    evaluator = Evaluator(measured)
    found = evaluator.run(model)
    assert evaluator.name == "classes" and 0 <= found["things_pq"][0] <= 1 and "box_iou" not in found
    measured.asked = ("clicks",)
    with pytest.raises(UserError, match=r"config.asked: \['clicks'\], expected some of classes, words, regions"):
        Evaluator(measured)


def test_what_is_wrong_is_named():
    c = config()
    c.data.phases[0]["streams"][0]["shape_class"] = "language"
    with pytest.raises(UserError, match=r"shape_class: 'language', expected segmentation"):
        mask_former.validate_stream(c, c.data.phases[0]["streams"][0], "s")
    c = config()
    with c.unlocked():
        del c.loss.weights["dice"]
    with pytest.raises(UserError, match="weights of mask, dice, classes, words, regions"):
        mask_former.validate(c)
    assert masks.TERMS == ("mask", "dice", "classes", "words", "regions")
