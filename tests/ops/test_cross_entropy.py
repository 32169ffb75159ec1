# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The blocked cross-entropy equals the plain one, forward and backward, within its memory, on one device or many."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from configs import sharding as tables_config
from focus_jax import compile as compile_lib
from focus_jax import hlo
from focus_jax.ops.cross_entropy import HEAD_AXES, cross_entropy, sums_by_term
from focus_jax.training import flops, sharding

V, VALID, D, C = 104, 93, 16, 5
EXCLUDED = ((20, 31), (85, 88))
LEVELS = ((40, 60), (60, 85))
# Edges of ids, of blocks of 8 and 64, of excluded ranges and levels; ignored ones.
LABELS = (0, 7, 8, -100, 19, 31, 63, 64, 39, 40, 59, 60, 84, 88, 92, -1)
SIZES = {"dcn_data": 1, "data": 2, "fsdp": 2, "tensor": 2}


KINDS = ((35, 60), (60, 80))  # one of them begins before its level, one ends within


def plain(hidden, head, labels, tables=(), kinds=()):
    """(nll, correct, expected) from the whole matrix of logits."""
    logits, ids = hidden @ head.T, jnp.arange(head.shape[0])
    counts = ids < VALID
    for start, stop in EXCLUDED:
        counts &= (ids < start) | (ids >= stop)
    logits = every = jnp.where(counts, logits, -jnp.inf)
    for start, stop in kinds:  # an id is left to labels on its own side of every range
        within = lambda i, start=start, stop=stop: (i >= start) & (i < stop)
        logits = jnp.where(within(labels)[..., None] == within(ids), logits, -jnp.inf)
    nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    expected = jnp.zeros((*labels.shape, C))
    for (start, stop), table in zip(LEVELS, tables):
        inside = (labels >= start) & (labels < stop)
        expected += inside[..., None] * (jax.nn.softmax(every[..., start:stop]) @ table)
    return jnp.where(labels < 0, 0.0, nll), (jnp.argmax(logits, -1) == labels), expected


def blocked(block, kinds=()):
    """The op in the form of `plain`."""

    def form(hidden, head, labels, tables=()):
        levels = [(start, table) for (start, _), table in zip(LEVELS, tables)]
        counts = dict(valid=VALID, excluded=EXCLUDED, kinds=kinds)
        return cross_entropy(hidden, head, labels, tables=levels, block=block, **counts)

    return form


def loss(form):
    """Gradients to hidden and head of a weighted sum of nll and expected, with nll, correct and expected."""

    def weighted(hidden, head, labels, cotangents, tables):
        nll, correct, expected = form(hidden, head, labels, tables)
        total = jnp.sum(nll * cotangents[0]) + (jnp.sum(expected * cotangents[1]) if tables else 0.0)
        return total, (nll, correct, expected)

    return jax.value_and_grad(weighted, (0, 1), has_aux=True)


STEP, REFERENCE = jax.jit(loss(blocked(8))), jax.jit(loss(plain))


def reference(*inputs, form=None):
    """The plain form in float64; form: another one."""
    with jax.enable_x64(True):
        double = lambda x: jnp.asarray(x, x.dtype if x.dtype == np.int32 else jnp.float64)
        return jax.tree.map(np.asarray, (jax.jit(loss(form)) if form else REFERENCE)(*jax.tree.map(double, inputs)))


def arrays(seed=0, scale=1.0, labels=LABELS):
    """hidden, head, labels, cotangents of nll and expected, tables."""
    rng = np.random.default_rng(seed)
    normal = lambda *s: rng.standard_normal(s).astype(np.float32)
    labels = np.asarray(labels, np.int32).reshape(4, 4)
    hidden, head = np.float32(scale) * normal(4, 4, D), normal(V, D)
    return hidden, head, labels, [normal(4, 4), normal(4, 4, C)], [normal(z - a, C) for a, z in LEVELS]


def assert_close(found, want, tolerance=2e-6):
    """Everything that loss() gives, relative to the largest entry of each array."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        assert np.shape(a) == np.shape(b)
        assert np.max(np.abs(np.asarray(a, np.float64) - b)) <= tolerance * np.max(np.abs(b))


@pytest.fixture(scope="module")
def example():
    inputs = arrays()
    return *inputs, reference(*inputs)


@pytest.mark.parametrize("block", [8, 64, 100, None])  # blocks that divide 104, do not, are one
def test_equals_the_plain_form(example, block):
    *inputs, want = example
    found = (STEP if block == 8 else jax.jit(loss(blocked(block))))(*inputs)
    assert_close(found, want)
    labels, ((_, (nll, correct, expected)), (dhidden, dhead)) = inputs[2], found
    assert nll.dtype == expected.dtype == jnp.float32 and correct.dtype == bool
    assert not np.any(nll[labels < 0]) and not np.any(dhidden[labels < 0])
    assert not np.any(dhead[VALID:]) and not np.any(dhead[20:31])
    in_a_level = (labels >= 40) & (labels < 85)
    np.testing.assert_array_equal(np.any(expected, axis=-1), in_a_level)


@pytest.mark.parametrize("block", [8, None])
def test_kinds_have_a_softmax_each(block):
    hidden, head, labels, *more = arrays()
    hidden += 0.25 * head[np.maximum(labels, 0)]  # so that some labels are among the largest
    inputs = hidden, head, labels, *more
    found = jax.jit(loss(blocked(block, KINDS)))(*inputs)
    assert_close(found, reference(*inputs, form=functools.partial(plain, kinds=KINDS)))
    (_, (nll, correct, _)), (_, (of_one, first_of_all, _)) = found[0], STEP(*inputs)[0]
    assert np.all(nll <= of_one + 1e-5) and np.mean(nll < of_one - 1e-3) > 0.3  # fewer ids beside each
    assert np.all(correct >= first_of_all) and np.any(correct > first_of_all)  # of its kind, if not of all


ALLOWED = [i for i in range(VALID) if not any(a <= i < z for a, z in EXCLUDED)]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 10.0]),
    labels=st.lists(st.sampled_from([-100, -1, *ALLOWED]), min_size=16, max_size=16),
)
def test_any_labels(seed, scale, labels):
    inputs = arrays(seed, scale, labels)
    found, want = STEP(*inputs), reference(*inputs)
    if scale == 0.0:  # every logit is the largest
        np.testing.assert_array_equal(found[0][1][1], inputs[2] >= 0)
    else:
        np.testing.assert_array_equal(found[0][1][1], want[0][1][1])
    for a, b in zip(jax.tree.leaves((found[0][1][::2], found[1])), jax.tree.leaves((want[0][1][::2], want[1]))):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_extreme_logits():
    """Logits of +-1e4 and beyond: the exponentials overflow unless the maximum is taken out first."""
    inputs = arrays(scale=3e3)
    assert np.abs(inputs[0] @ inputs[1].T).max() > 2e4
    assert_close(STEP(*inputs), reference(*inputs), 1e-3)  # a float32 logit of 1e4 is good to 1e-3


def test_all_positions_ignored():
    assert all(not np.any(x) for x in jax.tree.leaves(STEP(*arrays(labels=[-100] * 16))))


def test_an_excluded_label_is_infinitely_unlikely():
    assert np.all(np.isposinf(STEP(*arrays(labels=[25] * 16))[0][1][0]))


@pytest.mark.parametrize("head_dtype", [jnp.bfloat16, jnp.float32])
def test_bfloat16(head_dtype):
    """Values of the rounded inputs in float32; gradients in the dtypes of the inputs."""
    hidden, head, *rest = arrays()
    hidden, head = np.asarray(hidden, jnp.bfloat16), np.asarray(head, jnp.bfloat16)
    (_, (nll, correct, expected)), (dhidden, dhead) = STEP(hidden, head.astype(head_dtype), *rest)
    (_, (want_nll, want_correct, want_expected)), want = reference(hidden, head, *rest)
    assert_close((nll, correct, expected), (want_nll, want_correct, want_expected), 1e-5)
    assert dhidden.dtype == jnp.bfloat16 and dhead.dtype == head_dtype
    assert_close((dhidden, dhead), want, 1e-2)


def test_bfloat16_gradients_are_summed_in_float32():
    """4,098 contributions of a half: a bfloat16 sum would stop growing at 128, and 2,049 is no bfloat16."""
    hidden, head, labels = jnp.ones((4098, 1), jnp.bfloat16), jnp.zeros((2, 1)), jnp.zeros(4098, jnp.int32)
    gradients = jax.grad(lambda hidden, head: cross_entropy(hidden, head, labels).nll.sum(), (0, 1))
    products = str(jax.make_jaxpr(gradients)(hidden, head)).split("dot_general[")[1:]
    assert len(products) == 4 and all("preferred_element_type=float32" in p.split("]\n")[0] for p in products)
    _, dhead = jax.jit(gradients)(hidden, head)
    np.testing.assert_array_equal(dhead, [[-2049.0], [2049.0]])


def test_tables_that_overlap_are_refused():
    hidden, head, labels, *_ = arrays()
    for tables in ([(3, np.ones((4, 2))), (6, np.ones((4, 2)))], [(90, np.ones((4, 2)))]):
        with pytest.raises(ValueError, match="overlap, pass id 93"):
            cross_entropy(hidden, head, labels, valid=VALID, tables=tables)


def full_size(tables, place=None):
    """Bytes beside arguments and outputs of loss and both gradients at 4,096 x 283,136 x 2,048 in float32."""

    def total(hidden, head, labels, tables):
        out = cross_entropy(hidden, head, labels, valid=283_047, tables=list(zip((151_704, 184_472), tables)))
        return out.nll.sum() + (jnp.sum(out.expected**2) if tables else 0.0)

    shape = lambda *s, dtype=jnp.float32: jax.ShapeDtypeStruct(s, dtype, sharding=place)
    inputs = shape(4096, 2048), shape(283_136, 2048), shape(4096, dtype=jnp.int32)
    tables = [shape(32_768, 32), shape(98_304, 32)] if tables else []
    compiled = jax.jit(jax.value_and_grad(total, (0, 1))).lower(*inputs, tables).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("tables", [False, True])
def test_memory_of_the_released_vocabulary(tables):
    assert full_size(tables) < 2**28  # the logits alone: 4.3 GiB


@pytest.mark.slow
@pytest.mark.tpu_compile
@pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache")  # no TPU to read it back
def test_memory_on_a_tpu():
    """There XLA rounds float32 operands to bfloat16 and must not do so with the whole head at once, 1.1 GiB."""
    assert full_size(False, SingleDeviceSharding(compile_lib.topology_devices("v5p:2x2x1")[0])) < 2**28


def on_mesh(axes, inputs):
    """(what the sharded program gives, the program)."""
    mesh = sharding.make_mesh(SIZES)
    spec = lambda x, names: NamedSharding(mesh, sharding.partition_spec(x.shape, names, axes, mesh))
    batch = lambda x: spec(x, ("batch", *[None] * (x.ndim - 1)))
    hidden, head, labels, cotangents, tables = inputs
    places = batch(hidden), spec(head, HEAD_AXES), batch(labels), [batch(c) for c in cotangents]
    places = *places, [NamedSharding(mesh, P()) for _ in tables]
    step = jax.jit(loss(blocked(8)), in_shardings=places, out_shardings=((None, None), places[:2]))
    with jax.set_mesh(mesh), nn.logical_axis_rules(axes):
        compiled = step.lower(*inputs).compile()
        return compiled(*jax.device_put(tuple(inputs), places)), compiled


LAYOUTS = {  # how head lies, (ids, width)
    "data": (tables_config.TABLES["data"], P()),
    "fsdp": (tables_config.TABLES["fsdp"], P(None, "fsdp")),
    "fsdp_tensor": (tables_config.TABLES["fsdp_tensor"], P("tensor", "fsdp")),
    "ids": ((("batch", ("data", "fsdp")), ("vocab", "fsdp")), P("fsdp")),
    "ids on two axes": ((("batch", ("data", "fsdp")), ("vocab", ("tensor", "fsdp"))), P(("tensor", "fsdp"))),
    "width alone": ((("batch", "data"), ("vocab", "fsdp"), ("embed", "tensor")), P("fsdp", "tensor")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_as_on_one_device(example, layout):
    axes, spec = LAYOUTS[layout]
    *inputs, want = example
    found, compiled = on_mesh(axes, inputs)
    assert compiled.input_shardings[0][1].spec == spec
    assert_close(found, want)


@pytest.mark.parametrize("layout", ["fsdp", "fsdp_tensor"])
def test_what_does_not_divide_stays_whole(layout):
    """An odd vocabulary, and a batch of 3 rows on every device: nothing is summed twice."""
    hidden, head, labels, cotangents, tables = arrays()
    inputs = hidden[:3], head[:103], labels[:3], [c[:3] for c in cotangents], tables
    assert_close(on_mesh(LAYOUTS[layout][0], inputs)[0], reference(*inputs))


def test_ids_on_their_own_axis_gather_nothing():
    axes = (("batch", ("data", "fsdp")), ("vocab", "tensor"))
    _, compiled = on_mesh(axes, (*arrays()[:4], []))
    found = {kind: x["bytes"] for kind, x in hlo.collectives(compiled.as_text()).items() if x["count"]}
    positions, head = 4 * 4 // 4, V // 2 * D  # of one device
    # Three statistics and the gradient of hidden over the ids, the gradient of head over the rows, the loss.
    assert found == {"all-reduce": 4 * (3 * positions + positions * D + head) + 4}


def test_columns_are_gathered_block_by_block():
    _, compiled = on_mesh(LAYOUTS["fsdp"][0], (*arrays()[:4], []))
    found = hlo.collectives(compiled.as_text())
    blocks, block = 12, 8 * D * 4  # 96 of 104 ids, of which 93 are real; forward and backward gather
    assert found["all-gather"] == {"ops": 2, "count": 2 * blocks, "bytes": 2 * blocks * block}
    assert found["reduce-scatter"] == {"ops": 1, "count": blocks, "bytes": blocks * block}
    assert found["all-reduce"]["bytes"] == V // 2 * D * 4 + 4  # a shard's gradient over "data", the loss


def test_ids_are_gathered_block_by_block():
    _, compiled = on_mesh(LAYOUTS["ids"][0], (*arrays()[:4], []))
    found = hlo.collectives(compiled.as_text())
    blocks, block = 13, 8 * D * 4  # 8 ids are 4 of the 52 rows of each shard; forward and backward gather
    offsets = found["all-gather"]["count"] - 2 * blocks
    assert offsets in (1, 2) and found["all-gather"]["bytes"] == 2 * blocks * block + offsets * 2 * 4
    assert found["reduce-scatter"] == {"ops": 1, "count": blocks, "bytes": blocks * block}
    assert found["all-reduce"]["bytes"] == V // 2 * D * 4 + 4  # a shard's gradient over "data", the loss


def test_excluded_ids_cost_nothing():
    """Blocks in which no id counts are left out: text alone is a little more than half of the released vocabulary."""
    inputs = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((512, 64), (283_136, 64))]
    inputs.append(jax.ShapeDtypeStruct((512,), jnp.int32))
    work = lambda **options: flops.count_flops(lambda *a: cross_entropy(*a, **options).nll, *inputs)
    share = work(valid=283_047, excluded=((151_704, 282_776),)) / (2 * 512 * 64 * 283_136)
    assert 152_064 / 283_136 < share < 160_000 / 283_136


def test_sums_by_term():
    rng = np.random.default_rng(0)
    values, labels = rng.standard_normal((5, 40)).astype(np.float32), rng.integers(-3, 30, (5, 40))
    found = sums_by_term(values, labels, {"semantic": (10, 15), "pixel": (15, 26)})
    inside = {"semantic": (labels >= 10) & (labels < 15), "pixel": (labels >= 15) & (labels < 26)}
    inside["text"] = (labels >= 0) & ~inside["semantic"] & ~inside["pixel"]
    assert set(found) == set(inside)
    for name, at in inside.items():
        np.testing.assert_allclose(found[name], values[at].sum(dtype=np.float64), rtol=1e-5)
    only_text = sums_by_term(values.astype(jnp.bfloat16), labels, {})
    assert only_text["text"].dtype == jnp.float32
