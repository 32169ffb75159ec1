# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 0: its losses see what they should and nothing else, accumulation changes nothing, it learns, it is probed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import eval as eval_config
from data_pipelines import rows
from data_pipelines.world.examples import World
from focus_jax import stages
from focus_jax.errors import UserError
from focus_jax.evaluation import standins as probe
from focus_jax.stages import standins
from focus_jax.training import config as config_lib
from focus_jax.training.parts import flatten
from focus_jax.training.step import loss_and_gradients

ROWS = 8


def small(encoder):
    """The shipped config with a network of a few channels."""
    config = config_lib.load(f"configs/stage0_standins.py:{encoder}")
    if encoder == "vit":
        config.model.vit.update({"depth": 1, "width": 16, "heads": 2, "out": 24})
    else:
        config.model.convnext.update({"widths": (4, 8, 8, 12), "depths": (1, 1, 1, 1)})
    return config


@pytest.fixture(scope="module")
def batch():
    world, stream = World(preset="standard", tasks=("objects",)), {"height": 64, "width": 64, "shape_class": "objects"}
    made = [rows.row(world[i], stream) for i in range(ROWS)]
    out = {name: np.stack([row[name] for row in made]) for name in made[0]}
    return out | {"weight": np.ones(ROWS, np.float32), "element": np.arange(ROWS, dtype=np.uint32)}


class Run:
    """One encoder's stage with parameters and its loss as a jitted function."""

    def __init__(self, encoder):
        self.config = small(encoder)
        self.stage = stages.create(self.config)
        self.params = nn.unbox(jax.jit(self.stage.init)(jax.random.key(0)))
        flat = {"encoder": flatten(self.params)}
        both = lambda accumulate: jax.jit(
            lambda p, b: loss_and_gradients(
                self.stage, p, {}, b, jax.random.key(0), jnp.zeros((), jnp.int32), accumulate
            )
        )
        self.flat, self.once, self.twice = flat, both(1), both(2)


@pytest.fixture(scope="module", params=standins.ENCODERS)
def run(request):
    return Run(request.param)


def test_every_term_has_a_loss_and_every_parameter_a_gradient(run, batch):
    (loss, terms, aux), gradients = run.once(run.flat, batch)
    assert set(terms) == set(run.config.loss.weights)
    assert all(float(total) > 0 and float(count) > 0 for total, count in terms.values())
    assert np.isfinite(float(loss)) and "shape" in aux
    dead = [p for p, g in gradients["encoder"].items() if not np.any(np.asarray(g))]
    assert not dead


@pytest.mark.slow
def test_accumulation_equals_none(run, batch):
    (loss, _, _), gradients = run.once(run.flat, batch)
    (again, _, _), accumulated = run.twice(run.flat, batch)
    np.testing.assert_allclose(loss, again, rtol=1e-5)
    scale = max(float(jnp.abs(g).max()) for g in gradients["encoder"].values())
    for path, g in gradients["encoder"].items():
        np.testing.assert_allclose(g, accumulated["encoder"][path], atol=1e-5 * scale, err_msg=path)


def test_masked_rows_tell_nothing_of_their_objects_and_others_nothing_of_masks(run, batch):
    masked = np.asarray(run.stage._masked(batch))
    assert masked.any() and not masked.all()
    other = batch | {"labels": np.where(masked[:, None, None], -1, batch["labels"])}
    (_, terms, _), _ = run.once(run.flat, batch)
    (_, changed, _), _ = run.once(run.flat, other)
    for name in (*standins.NAMES, "box", "centre", "count"):
        np.testing.assert_allclose(terms[name][0], changed[name][0], rtol=1e-6)
    hidden = batch | {"weight": (~masked).astype(np.float32)}
    (_, without, _), _ = run.once(run.flat, hidden)
    assert float(without["masked"][1]) == 0 and float(without["masked"][0]) == 0


def test_a_row_of_weight_zero_changes_nothing(run, batch):
    light = batch | {"weight": np.array([0, *[1] * (ROWS - 1)], np.float32)}
    garbage = light | {"image": np.concatenate([255 - batch["image"][:1], batch["image"][1:]])}
    (a, _, _), _ = run.once(run.flat, light)
    (b, _, _), _ = run.once(run.flat, garbage)
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_look_is_the_mean_colour_of_the_parts_of_a_cell():
    images = np.random.default_rng(0).random((2, 16, 16, 3)).astype(np.float32)
    found = standins.look(jnp.asarray(images), 2, 2).reshape(2, 2, 2, 4, 4, 3)
    np.testing.assert_allclose(found[1, 0, 1, 2, 3], images[1, 4:6, 14:16].mean((0, 1)), rtol=1e-6)


def test_cells_find_the_centre_and_box_that_were_put_there():
    points, boxes = jnp.array([[[0.3, 0.8]]]), jnp.array([[[0.2, 0.7, 0.2, 0.2]]])
    right = jnp.full((1, 4, 4, 5), -20.0).at[0, 3, 1].set(jnp.array([20.0, 0.2, 0.2, 0.8, 0.8]))
    centre, box = standins._cells(right, points, boxes, jnp.ones((1, 1)))
    assert float(centre[0]) < 1e-6 and float(box[0, 0]) < 1e-6
    centre, box = standins._cells(-right, points, boxes, jnp.ones((1, 1)))
    assert float(centre[0]) > 1 and float(box[0, 0]) > 0.5


def test_bad_configs_are_refused():
    config = small("vit")
    config.encoder = "resnet"
    with pytest.raises(UserError, match="config.encoder: expected vit or convnext"):
        standins.validate(config)
    stream = {"shape_class": "picture", "height": 64, "width": 64}
    with pytest.raises(UserError, match="shape_class: expected objects"):
        standins.validate_stream(small("vit"), stream, "data")
    with pytest.raises(UserError, match="height: 60 is not a multiple"):
        standins.validate_stream(small("vit"), stream | {"shape_class": "objects", "height": 60}, "data")


class Known:
    """A checkpoint whose encoder is replaced: features are the labels themselves, or noise."""

    label = "known"

    def __init__(self, config, params):
        self.config, self.params = config, params


@pytest.mark.parametrize("told", [True, False])
def test_probe_reads_what_features_hold_and_no_more(monkeypatch, told):
    """Features that hold an object's labels are read perfectly, features of noise no better than the baseline."""
    rng = np.random.default_rng(0)

    def arrays(n):
        labels = np.full((n, rows.MAX_OBJECTS, 4), -1, np.int32)
        labels[:, 0] = rng.integers(0, 3, (n, 4))
        return {"image": np.zeros((n, 16, 16, 3), np.uint8), "labels": labels, "boxes": np.zeros((n, 8, 4), np.float32)}

    data = {split: {"easy": arrays(n)} for split, n in (("train", 300), ("test", 200))}

    def objects(at_centres, params, given, size):
        labels = given["labels"][:, 0]
        x = np.eye(3)[labels].reshape(len(labels), -1) if told else rng.standard_normal((len(labels), 6))
        return {"map": x}, labels, np.arange(len(labels))

    monkeypatch.setattr(probe, "_objects", objects)
    config = eval_config.get_config("standins")
    config.presets = ("easy",)
    evaluator = probe.Evaluator(config)
    figures = evaluator.run(Known(small("vit"), {"tokenizer": {"vit": {}}}), data)
    value, n, error = figures["vit_shape"]
    assert n == 200 and (value == 1.0 if told else abs(value - 1 / 3) < 4 * error)
    assert evaluator.baselines["vit_shape"]["most frequent"] < 0.5


def test_probe_refuses_a_checkpoint_without_encoders():
    with pytest.raises(UserError, match="holds neither tokenizer/vit nor tokenizer/convnext"):
        probe.Evaluator(eval_config.get_config("standins")).run(Known(small("vit"), {"tokenizer": {"pixel": {}}}))


def test_probe_runs_on_the_real_network(run):
    config = eval_config.get_config("standins")
    config.presets, config.scenes, config.probe_scenes, config.batch_size = ("easy",), 12, 12, 8
    config.sides = {"vit": 64, "convnext": 64}
    figures = probe.Evaluator(config).run(Known(run.config, run.params))
    assert 0 <= figures[f"{run.config.encoder}_colour_easy"][0] <= 1
