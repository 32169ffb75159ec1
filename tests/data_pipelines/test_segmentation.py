# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of segmentation: masks where the picture shows the things, conditions by number, and what is refused."""

import numpy as np
import pytest

from configs import models
from data_pipelines import rows, segmentation
from data_pipelines.errors import DataError
from data_pipelines.example import Expression, Mask
from data_pipelines.language import writing
from data_pipelines.schedule import Schedule
from data_pipelines.world.examples import World
from focus_jax.sequence.layout import Role

LIMITS = {"conditions": 6, "targets": 5, "regions": 3, "names": 1.0}


def stream(**limits):
    sequence = models.sequence("tiny", (64, 64), length=288, learnt=64, pack=1, images=1)
    base = dict(shape_class="segmentation", height=64, width=64, high=128, batch_size=4, share=1)
    return base | {"sequence": sequence, "segmentation": LIMITS | limits}


def said(row, given=None):
    """The learnt words of a row."""
    _, tokenizer = writing(stream()["sequence"])
    return tokenizer.decode([int(i) for i in row["labels"] if 0 <= i < 696])


def masks(row):
    return np.unpackbits(row["targets"], axis=-1).astype(bool)


@pytest.mark.parametrize("task", ["panoptic", "regions", "referring", "reasoning"])
def test_rows_have_their_fields(task):
    world = World(tasks=("masks", task), side=128)
    expected = rows.fields(stream())
    for i in range(8):
        row = rows.row(world[i], stream(), rng=np.random.default_rng(i))
        assert set(row) == set(expected)
        for name, (shape, dtype) in expected.items():
            assert row[name].shape == shape and row[name].dtype == dtype, name
        # As many conditions in the sequence as are said to be known, and mask tokens behind the answer.
        assert row["conditions"].max() == row["known"].sum() and row["known"][: row["known"].sum()].all()
        assert (row["roles"] == Role.MASK).sum() == 12
        assert np.all(row["of"][row["there"]] < row["known"].sum())


def test_classes_in_any_order_keep_their_masks():
    """Condition k of a target is its class's place in the list, and the background's no one's."""
    example = World(tasks=("panoptic",), side=128)[3]
    truth = {}
    for instance in example.instances:
        truth.setdefault(instance.category, []).append(instance.mask.to_array())
    orders = set()
    for seed in range(6):
        row = rows.row(example, stream(), rng=np.random.default_rng(seed))
        assert row["kind"] == segmentation.KINDS.index("classes") and row["known"].sum() == len(example.classes) + 1
        found = masks(row)
        order = []
        for t in np.flatnonzero(row["there"]):
            category = next(c for c, all_ in truth.items() if any(np.array_equal(found[t], m) for m in all_))
            order.append((category, int(row["of"][t])))
        assert len(order) == len(example.instances) and len(set(order)) == len({c for c, _ in order})
        orders.add(tuple(sorted(order)))
        names = [c for c in sorted(truth, key=lambda c: dict(order)[c])]
        assert said(row).startswith(f"{', '.join(names)}.")
    assert len(orders) > 1


def test_regions_lie_on_their_masks_and_keep_their_order():
    """A thing that is marked in several ways is asked for once."""
    example = World(tasks=("masks", "regions"), side=128)[1]
    kept = {region.instance: region for region in reversed(example.regions)}  # the first of each
    order = list(dict.fromkeys(region.instance for region in example.regions))[:3]
    assert len(kept) < len(example.regions)
    row = rows.row(example, stream())
    count = len(order)
    assert row["of"][row["there"]].tolist() == list(range(count)) and row["known"].sum() == count
    for thing, covered, mask in zip(order, row["regions"], masks(row)):
        np.testing.assert_array_equal(mask, example.instances[thing].mask.to_array())
        hint = segmentation.coverage(kept[thing].mask.to_array())
        np.testing.assert_array_equal(covered > 0, hint > 0)
        assert np.any((covered > 0) & (segmentation.coverage(mask) > 0))
    assert (row["roles"] == Role.REGION).sum() == count and not row["regions"][count:].any()


def test_one_region_or_several_are_asked_for():
    world = World(tasks=("masks", "regions"), side=128)
    counts = {int(rows.row(world[i], stream(), rng=np.random.default_rng(i))["known"].sum()) for i in range(20)}
    assert {1, 2} <= counts <= {1, 2, 3}


def test_words_without_a_target():
    example = World(tasks=("masks", "referring"), side=128)[0]
    example.expressions = [Expression(text="the small purple ring", instances=[])]
    row = rows.row(example, stream())
    assert not row["there"].any() and said(row).startswith("none.")
    example.expressions = [Expression(text="the things", instances=list(range(len(example.instances))))]
    row = rows.row(example, stream(targets=1))  # more than there is room for are one
    assert row["there"].tolist() == [True]
    whole = np.logical_or.reduce([i.mask.to_array() for i in example.instances])
    np.testing.assert_array_equal(masks(row)[0], whole)


def test_an_answer_that_explains_stands_before_the_masks():
    example = World(tasks=("masks", "reasoning"), side=128)[0]
    example.expressions = [Expression(text="what?", kind="reasoning", answer="it is round.", instances=[0])]
    assert said(rows.row(example, stream())).startswith("it is round.")
    assert "round" not in said(rows.row(example, stream(names=0.0), rng=np.random.default_rng(0)))


def test_names_may_be_left_out():
    example = World(tasks=("masks", "referring"), side=128)[0]
    told = rows.row(example, stream(), rng=np.random.default_rng(0))
    left = rows.row(example, stream(names=0.0), rng=np.random.default_rng(0))
    assert (told["labels"] >= 0).sum() > (left["labels"] >= 0).sum() > 0


def test_a_long_list_keeps_what_is_there():
    example = World(tasks=("panoptic",), side=128)[3]
    example.classes = [*example.classes, *(f"thing{i}" for i in range(20))]
    row = rows.row(example, stream(), rng=np.random.default_rng(0))
    assert row["known"].sum() == 6 and row["there"].sum() == len(example.instances)
    with pytest.raises(DataError, match="classes are in the picture, expected at most 1"):
        rows.row(example, stream(conditions=2, regions=1))


def broken(change):
    example = World(tasks=("masks", "referring"), side=128)[0]
    change(example)
    return example


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.expressions.clear(), "no expression, region or class list"),
        (lambda e: setattr(e.instances[0], "mask", None), "instance 0 has no mask"),
        (
            lambda e: setattr(e.instances[0], "mask", Mask.from_array(np.ones((64, 64), bool))),
            "is 64 x 64, expected the picture's 128 x 128",
        ),
        (lambda e: e.expressions[0].instances.__setitem__(0, 99), "names instance 99 of"),
        (lambda e: e.images.append(e.images[0]), "has 2 images, expected one"),
        (
            lambda e: setattr(e.instances[0], "mask", Mask.from_array(np.zeros((128, 128), bool))),
            "is lost to the crop",
        ),
    ],
)
def test_what_is_refused(change, said):
    example = broken(lambda e: (e.expressions.__setitem__(0, Expression(text="it", instances=[0])), change(e)))
    with pytest.raises(DataError, match=said):
        rows.row(example, stream())


def test_a_category_outside_the_list_is_refused():
    example = World(tasks=("panoptic",), side=128)[3]
    example.classes = ["ground"]
    with pytest.raises(DataError, match="is not in its list of classes"):
        rows.row(example, stream())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"segmentation": {"conditions": 4}}, "segmentation: names is missing"),
        ({"segmentation": LIMITS | {"names": 2.0}}, "names: is 2.0, expected a number in 0..1"),
        ({"segmentation": LIMITS | {"targets": 0}}, "targets: is 0, expected a positive int"),
        (
            {"segmentation": LIMITS | {"conditions": 2}},
            "conditions: is 2, expected at least 2 and the number of regions",
        ),
        ({"high": 0}, "high: is missing"),
        ({"shape_class": "language"}, "expected segmentation with the shape classes segmentation, clips, editing"),
    ],
)
def test_wrong_streams(change, said):
    with pytest.raises(DataError, match=said):
        Schedule([{"steps": 1, "streams": [stream() | change]}], 0)
