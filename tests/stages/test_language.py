# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 2 and stage 0 of the language model: the loss is the plain one, packing and accumulation change nothing, the
gates open, pictures go where the sequence shows them, configs that do not belong together are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from configs import mixtures, models
from data_pipelines import language, rows, slots
from data_pipelines.world.examples import World
from focus_jax import stages
from focus_jax.errors import UserError
from focus_jax.sequence.layout import Role
from focus_jax.training import config as config_lib
from focus_jax.training.parts import flatten, resolve, unflatten
from focus_jax.training.step import loss_and_gradients

SIDE = 32


def small(spec, **sequence):
    """The shipped config with few layers and pictures of 32 px."""
    config = config_lib.load(spec)
    config.model.llm.update({"depth": 2, "width": 32, "head_dim": 8, "mlp": 48, "scan": True})
    if "tokenizer" in config.model:
        net = config.model.tokenizer
        net.vit.update({"depth": 1, "width": 16, "heads": 2, "out": 24})
        net.semantic.update({"depth": 1, "width": 16, "heads": 2, "codes": 2_048})
        net.convnext.update({"widths": (4, 8, 8, 12), "depths": (1, 1, 1, 1)})
        net.fusion.update({"width": 16, "heads": 2})
        net.pixel.encoder = net.pixel.decoder = {"widths": (8, 16), "blocks": 1, "attention_levels": (1,)}
        config.model.adapter.update({"width": 16, "heads": 2})
    stream = config.data.phases[0]["streams"][0]
    stream |= {"height": SIDE, "width": SIDE, "batch_size": 4}
    given = dict(length=220, learnt=64, pack=1, images=1) | sequence
    stream["sequence"] = models.sequence("tiny", (SIDE, SIDE), **given)
    config.data.workers = 0
    return config


def batch_of(config, examples):
    """Rows of `pack` examples each."""
    stream = config.data.phases[0]["streams"][0]
    pack = stream["sequence"]["pack"]
    pieces = [rows.piece(example, stream) for example in examples]
    made = [rows.join(pieces[i : i + pack], stream) for i in range(0, len(pieces), pack)]
    out = {name: np.stack([row[name] for row in made]) for name in made[0]}
    count = len(made)
    return out | {"weight": np.ones(count, np.float32), "element": np.arange(count, dtype=np.uint32)}


def drawn(path, shape):
    """Random parameters without compiling an initialisation; the adapter's gates are closed, as at step 0."""
    if path.endswith(("gamma", "beta")):
        return jnp.zeros(shape)
    values = np.random.default_rng(len(path)).normal(size=shape) * (0.3 if len(shape) < 2 else shape[-2] ** -0.5)
    return jnp.float32(values + (path.endswith("scale")))


class Run:
    """A stage with random parameters and its loss and gradients as a jitted function of (trained, frozen, batch)."""

    def __init__(self, spec, **sequence):
        self.config = small(spec, **sequence)
        config_lib.validate(self.config, 1)
        self.stage = stages.create(self.config)
        shapes = nn.unbox(jax.eval_shape(self.stage.init, jax.random.key(0)))
        self.params = unflatten({path: drawn(path, x.shape) for path, x in flatten(shapes).items()})
        flat = flatten(self.params)
        learns = ("fusion_mlp", "projector", "adapter") if "tokenizer" in self.params else ("llm",)
        self.trained = {p: x for p, x in flat.items() if p.startswith(learns)}
        self.frozen = {p: x for p, x in flat.items() if p not in self.trained}
        step = lambda accumulate: jax.jit(
            lambda t, f, b: loss_and_gradients(
                self.stage, {"all": t}, f, b, jax.random.key(0), jnp.zeros((), jnp.int32), accumulate
            )
        )
        self.once, self.twice = step(1), step(2)

    def __call__(self, batch, trained=None):
        (loss, terms, aux), grads = self.once(trained or self.trained, self.frozen, batch)
        return loss, terms, aux, grads["all"]


@pytest.fixture(scope="module")
def examples():
    world = World(tasks=("questions",))
    return [world[i] for i in range(4)]


@pytest.fixture(scope="module")
def run():
    return Run("configs/stage2.py:tiny")


@pytest.fixture(scope="module")
def batch(run, examples):
    return batch_of(run.config, examples)


def test_loss_is_the_plain_cross_entropy_over_words(run, batch):
    loss, terms, aux, _ = run(batch)
    params, vocabulary = run.params, run.stage.vocabulary
    x = jax.jit(run.stage.embeddings)(params, batch)
    llm = run.stage.focus.llm
    own = {"params": params["llm"]}

    @jax.jit
    def plain(x, positions, segments):
        return llm.apply(own, llm.apply(own, x, positions, segments), method="logits")

    logits = plain(x, batch["positions"], batch["segments"])
    logits = jnp.where(vocabulary.mask(*vocabulary.text_mode), logits, -jnp.inf)
    labels = batch["labels"]
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    learnt = labels >= 0
    np.testing.assert_allclose(loss, nll[learnt].mean(), rtol=1e-5)
    assert terms["text"][1] == learnt.sum() and set(terms) == {"text"}
    right = (logits.argmax(-1) == labels)[learnt].mean()
    np.testing.assert_allclose(aux["accuracy"][0] / aux["accuracy"][1], right, rtol=1e-5)
    answers = learnt & ~np.pad(learnt[:, :-1], ((0, 0), (1, 0)))
    assert aux["answer_accuracy"][1] == answers.sum() == 4 * 6


def test_packed_is_unpacked(run, examples, batch):
    packed = Run("configs/stage2.py:tiny", length=440, learnt=128, pack=2, images=2)
    loss, terms, _, grads = run(batch)
    other = batch_of(packed.config, examples)
    (loss2, terms2, _), grads2 = packed.once(run.trained, run.frozen, other)
    assert terms["text"][1] == terms2["text"][1] and other["left_out"].sum() == 0
    np.testing.assert_allclose(loss, loss2, rtol=1e-5)
    for path, x in grads.items():
        np.testing.assert_allclose(x, grads2["all"][path], rtol=2e-3, atol=1e-6, err_msg=path)


@pytest.mark.slow
def test_accumulation_changes_nothing(run, batch):
    loss, _, _, grads = run(batch)
    (loss2, _, _), grads2 = run.twice(run.trained, run.frozen, batch)
    np.testing.assert_allclose(loss, loss2, rtol=1e-5)
    for path, x in grads.items():
        np.testing.assert_allclose(x, grads2["all"][path], rtol=2e-3, atol=1e-6, err_msg=path)


def test_gates_open_first_and_the_rest_of_the_adapter_follows(run, batch):
    """Zero gates: at step 0 the adapter is its queries; gates get gradients, what stands behind them from step 1."""
    gates = [p for p in run.trained if p.endswith(("gamma", "beta"))]
    behind = [p for p in run.trained if p.startswith("adapter/layer_") and p.endswith(("value/kernel", "fc1/kernel"))]
    assert len(gates) == 6 and len(behind) == 6
    _, _, _, grads = run(batch)
    assert all(np.abs(grads[p]).max() > 0 for p in gates) and all(np.abs(grads[p]).max() == 0 for p in behind)
    assert all(np.abs(grads[p]).max() > 0 for p in run.trained if p.startswith(("projector", "fusion_mlp/fc2")))
    stepped = {p: x - 0.1 * grads[p] for p, x in run.trained.items()}
    _, _, _, grads = run(batch, stepped)
    assert all(np.abs(grads[p]).max() > 0 for p in behind)


def test_at_step_zero_the_adapter_is_the_identity(run, batch):
    other = batch | {"high": 255 - batch["high"]}
    params = resolve(run.params, run.config.alias)
    vectors = jax.jit(run.stage.vectors)
    one, two = vectors(params, batch), vectors(params, other)
    np.testing.assert_array_equal(one[Role.QUERY], two[Role.QUERY])


@pytest.mark.slow
def test_a_picture_is_seen_only_by_what_follows_it(examples):
    """Two examples in a row: the second's picture moves no state of the first, and moves its own."""
    packed = Run("configs/stage2.py:tiny", length=440, learnt=128, pack=2, images=2)
    batch = batch_of(packed.config, examples[:2])
    image = batch["image"].copy()
    image[:, 1] = 255 - image[:, 1]
    hidden = jax.jit(
        lambda b: packed.stage.focus.llm.apply(
            {"params": packed.params["llm"]}, packed.stage.embeddings(packed.params, b), b["positions"], b["segments"]
        )
    )
    moved = np.abs(hidden(batch) - hidden(batch | {"image": image})).max(axis=-1)[0]
    first, second = (batch["segments"][0] == k for k in (1, 2))
    assert moved[first].max() == 0 and moved[second].max() > 1e-3


def test_rows_of_weight_zero_count_for_nothing(run, batch):
    silent = batch | {"weight": np.array([1, 1, 0, 0], np.float32)}
    other = silent | {"labels": np.where(silent["weight"][:, None] > 0, silent["labels"], 5)}
    one, two = run(silent), run(other)
    assert one[1]["text"][1] == (batch["labels"][:2] >= 0).sum() == two[1]["text"][1]
    np.testing.assert_allclose(one[0], two[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("semantic_grid", [3, 3], "sequence.semantic_grid: \\(3, 3\\), expected \\(2, 2\\)"),
        ("queries", 4, "sequence.queries: 4, expected 8"),
        ("text_tokenizer", "qwen", "sequence.text_tokenizer: qwen, expected the model's, world"),
        ("vocabulary", {"words": 5}, "sequence.vocabulary"),
    ],
)
def test_a_sequence_of_another_model_is_refused(field, value, said):
    config = small("configs/stage2.py:tiny")
    config.data.phases[0]["streams"][0]["sequence"][field] = value
    with pytest.raises(UserError, match=said):
        config_lib.validate(config, 1)


def test_a_vocabulary_that_is_not_the_model_s_is_refused():
    config = small("configs/stage2.py:tiny")
    config.model.llm.rows = 4_096
    with pytest.raises(UserError, match="llm.rows: 4096, expected 3328"):
        config_lib.validate(config, 1)


@pytest.mark.parametrize(
    ("config", "devices"),
    [("configs/stage2.py", 256), ("configs/stage3.py", 64), ("configs/language.py", 64), ("configs/stage4.py", 256)],
)
def test_full_size_configs_are_valid_on_a_slice(config, devices):
    """Also: every set has a stream that reads it, and every stream a set; dialogues have no pictures, all else has."""
    loaded = config_lib.load(config)
    config_lib.validate(loaded, devices)
    for phase in loaded.data.phases:
        reads = lambda stream, source: (
            source.get("shape_class", stream["shape_class"]) == stream["shape_class"]
            and (source["name"] in mixtures.STAGE3_WORDS) == (stream["height"] == 0)
        )
        pairs = [(x["shape_class"], s["name"]) for x in phase["streams"] for s in loaded.data.sources if reads(x, s)]
        assert {name for _, name in pairs} == {s["name"] for s in loaded.data.sources}
        assert {shape_class for shape_class, _ in pairs} == {x["shape_class"] for x in phase["streams"]}


def test_a_mixture_keeps_a_share_of_another():
    found = mixtures.blended({"new": 3.0, "both": 1.0}, {"both": 1.0, "old": 3.0}, share=0.2)
    assert found == pytest.approx({"new": 3.0, "both": 1.25, "old": 0.75}) and sum(found.values()) == pytest.approx(5)
    assert mixtures.KEPT == 0.2


# ------------------------------------------------------------------------------------------------------ text slots
@pytest.fixture(scope="module")
def told():
    return Run("configs/stage0_language.py")


def test_slots_are_sums_of_embeddings(told):
    world = World(tasks=("panoptic", "questions"), side=64)
    batch = batch_of(told.config, [world[0], world[1]])
    vectors = told.stage.vectors(told.params, batch)
    embedding = np.asarray(told.params["llm"]["embedding"]["rows"])
    sizes = language.sizes(told.config.data.phases[0]["streams"][0]["sequence"])
    expected = np.stack([[embedding[bag[bag >= 0]].sum(axis=0) for bag in row] for row in batch["bags"]])
    assert expected.shape[1] == slots.vectors(sizes) == 4 + 16 + 8
    found = np.concatenate([vectors[role] for role in (Role.SEMANTIC, Role.PIXEL, Role.QUERY)], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_phase_may_give_pictures_fewer_vectors(told):
    """All of the shipped config's but the last have one pixel cell."""
    sequences = [phase["streams"][0]["sequence"] for phase in told.config.data.phases]
    assert len(told.stage.told) > 1
    for sequence in sequences:
        sizes, (height, width) = language.sizes(sequence), sequence["pixel_grid"]
        count = sequence["images"] * slots.vectors(sizes)
        found = told.stage.vectors(told.params, {"bags": np.zeros((1, count, slots.BAG), np.int32)})
        assert found[Role.PIXEL].shape[1] == sequence["images"] * height * width
        assert sum(x.shape[1] for x in found.values()) == count


def test_the_stand_in_learns_and_reads_its_slots(told):
    """A few steps of plain gradient descent lower the loss; other slots, another loss."""
    world = World(tasks=("panoptic", "questions"), side=64)
    batch = batch_of(told.config, [world[i] for i in range(4)])
    loss, _, _, grads = told(batch)
    lower = told(batch, {p: x - 0.3 * grads[p] for p, x in told.trained.items()})[0]
    other = told(batch | {"bags": batch["bags"][::-1].copy()})[0]
    assert lower < loss and abs(other - loss) > 1e-6


def test_stage_0_takes_no_tokenizer():
    config = small("configs/stage0_language.py")
    with config.unlocked():
        config.model.tokenizer = config_lib.load("configs/stage2.py:tiny").model.tokenizer
    with pytest.raises(UserError, match="config.model.tokenizer"):
        config_lib.validate(config, 1)
