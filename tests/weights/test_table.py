# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Tables are strict in both directions, and stacks are taken apart and put together along the rule's axis."""

import ml_dtypes
import numpy as np
import pytest

from focus_jax.errors import UserError
from focus_jax.weights.table import CONV, COUNTER, DENSE, Piece, Rule, Table

RULES = [
    Rule("stem.weight", "p/stem/kernel", CONV),
    Rule("h.{i}.w", "p/body/layer_{i}/kernel", DENSE),
    Rule("h.{i}.b", "p/body/layer_{i}/bias", axis=1),
    Rule("steps", "p/steps", COUNTER),
]
SHAPES = {  # layer 0 stands alone, the stack holds 1 and 2; bias counts its layers along axis 1
    "p/stem/kernel": (3, 3, 2, 5),
    "p/body/layer_0/kernel": (4, 7),
    "p/body/layer_0/bias": (7,),
    "p/body/layers/kernel": (2, 7, 7),
    "p/body/layers/bias": (7, 2),
    "p/steps": (),
}
TABLE = Table("toy", ("p",), RULES, lambda config: SHAPES, others=(r"extra\..*",))


def source():
    draw = np.random.default_rng(0).standard_normal
    return {
        "stem.weight": draw((5, 2, 3, 3)),
        "h.0.w": draw((7, 4)),
        "h.1.w": draw((7, 7)),
        "h.2.w": draw((7, 7)),
        **{f"h.{i}.b": draw(7) for i in range(3)},
        "steps": np.array(12),
        "extra.thing": draw(3),
    }


def test_both_directions():
    theirs = source()
    ours = TABLE.read(theirs, SHAPES, "file")
    assert {path: x.shape for path, x in ours.items()} == SHAPES
    np.testing.assert_array_equal(ours["p/body/layers/kernel"][1], theirs["h.2.w"].T)
    np.testing.assert_array_equal(ours["p/body/layers/bias"][:, 0], theirs["h.1.b"])
    assert ours["p/steps"].dtype == np.float32
    back = TABLE.write({**ours, "q/other": np.zeros(1)}, SHAPES)
    assert set(back) == set(theirs) - {"extra.thing"}
    assert all(np.array_equal(back[key], theirs[key]) for key in back)
    assert back["steps"].dtype == np.int64


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"h.3.w": np.zeros((7, 7))}, "file: unknown keys for format toy: h.3.w"),
        ({"steps": None}, "file: format toy expects keys that are missing: steps"),
        ({"h.1.w": np.zeros((7, 8))}, r"file: h.1.w has shape \[7, 8\], expected \[7, 7\]"),
        ({f"z{i}": np.zeros(1) for i in range(5)}, "z0, z1, z2 and 2 more"),
    ],
)
def test_reading_is_strict(change, sentence):
    theirs = {key: value for key, value in (source() | change).items() if value is not None}
    with pytest.raises(UserError, match=sentence):
        TABLE.read(theirs, SHAPES, "file")


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"p/odd": np.zeros(1)}, "no key for our parameter p/odd"),
        ({"p/steps": None}, "lacks p/steps"),
        ({"p/body/layer_0/bias": None}, "lacks p/body/layer_0/bias"),
        ({"p/stem/kernel": np.zeros((3, 3, 2, 6))}, r"stem.weight shape \[6, 2, 3, 3\], expected \[5, 2, 3, 3\]"),
        ({"p/body/layers/kernel": np.zeros((3, 7, 7))}, "does not have: p/body/layers/kernel"),
    ],
)
def test_writing_is_strict(change, sentence):
    ours = TABLE.read(source(), SHAPES, "file") | change
    with pytest.raises(UserError, match=sentence):
        TABLE.write({path: x for path, x in ours.items() if x is not None}, SHAPES)


def test_writing_without_sizes_still_asks_for_the_fixed_keys():
    ours = TABLE.read(source(), SHAPES, "file")
    assert len(TABLE.write(ours)) == 8
    del ours["p/stem/kernel"]
    with pytest.raises(UserError, match="lacks p/stem/kernel"):
        TABLE.write(ours)
    with pytest.raises(UserError, match="holds no parameter of p"):
        TABLE.write({"q/other": np.zeros(1)})


def test_prefixes():
    """Keys may stand under any one of the prefixes, all under the same; writing takes the first."""
    table = Table("toy", ("p",), RULES, lambda config: SHAPES, others=(r"b\.extra",), prefixes=("a.", "b.", ""))
    plain = {key: x for key, x in source().items() if key != "extra.thing"}
    want = TABLE.read(plain, SHAPES, "file")
    for prefix in table.prefixes:
        theirs = {prefix + key: x for key, x in plain.items()} | {"b.extra": np.zeros(1)}
        got = table.read(theirs, SHAPES, "file")
        assert all(np.array_equal(got[path], want[path]) for path in want)
        assert set(table.write(got, SHAPES)) == {f"a.{key}" for key in plain}
        with pytest.raises(UserError, match="unknown keys for format toy: c.stem.weight"):
            table.read(theirs | {"c.stem.weight": np.zeros(1)}, SHAPES, "file")
    mixed = {("a." if i % 2 else "b.") + key: x for i, (key, x) in enumerate(plain.items())}
    with pytest.raises(UserError, match="unknown keys for format toy: b"):
        table.read(mixed, SHAPES, "file")


def test_layers_of_several_dtypes():
    """A stack takes the wider one; none is narrowed, and two that numpy cannot join become float32."""
    theirs = source() | {"h.1.w": np.full((7, 7), 1 / 3, ml_dtypes.bfloat16)}
    for last, joined in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        theirs["h.2.w"] = np.full((7, 7), 1 / 3, last)
        stack = TABLE.read(theirs, SHAPES, "file")["p/body/layers/kernel"]
        assert stack.dtype == joined
        assert np.all(stack[0] == theirs["h.1.w"].astype(joined)) and np.all(stack[1] == theirs["h.2.w"].T)
    theirs["h.2.w"] = theirs["h.1.w"]
    assert TABLE.read(theirs, SHAPES, "file")["p/body/layers/kernel"].dtype == ml_dtypes.bfloat16


def test_pieces():
    """A network may lack a piece; then a file's keys of it are passed over. What it has of a piece it has whole."""
    rules = [*RULES, Rule("tail.w", "q/tail/kernel"), Rule("tail.b", "q/tail/bias"), Rule("eye.w", "e/kernel")]
    pieces = (
        Piece(("p",), r"(stem|h|steps|eye)\b.*", "the tail only", beside=("e",)),
        Piece(("q/tail",), r"tail\..*", "the body only"),
    )
    beyond = (("far", "far has no key"),)
    table = Table("toy", ("p", "q", "e"), rules, lambda config: {}, pieces=pieces, beyond=beyond)
    body = SHAPES | {"e/kernel": (2,)}
    tail = {"q/tail/kernel": (3,), "q/tail/bias": (4,)}
    theirs = {key: x for key, x in source().items() if key != "extra.thing"} | {"eye.w": np.ones(2)}
    both = theirs | {"tail.w": np.zeros(3), "tail.b": np.zeros(4)}
    for shapes, keys, said in (
        (body | tail, set(both), []),
        (body, set(theirs), ["it holds the body only"]),
        (tail, {"tail.w", "tail.b"}, ["it holds the tail only"]),
    ):
        ours = table.read(both, shapes, "file")
        assert set(ours) == set(shapes) and set(table.left_out(both, ours)) == set(both) - keys
        assert table.remarks(ours, ours) == said
        assert table.remarks([*ours, "far/x"], ours) == [*said, "far has no key"]
        for network in (None, shapes):  # e is beside the tail for another end
            assert set(table.write(ours | {"e/kernel": np.ones(2), "far/x": np.ones(1)}, network)) == keys
    with pytest.raises(UserError, match="lacks q/tail/kernel"):
        table.write({"q/tail/bias": np.zeros(4)})
    with pytest.raises(UserError, match="lacks e/kernel"):
        table.write(TABLE.read(source(), SHAPES, "file"))
    with pytest.raises(UserError, match="holds no parameter of p, q/tail"):
        table.write({"e/kernel": np.ones(2)})


def test_constants():
    """Paths without a key: set when reading, at every depth of a stack, and demanded when writing."""
    shapes = SHAPES | {"p/body/layer_0/gain": (7,), "p/body/layers/gain": (2, 7)}
    table = Table("toy", ("p",), RULES, lambda config: shapes, TABLE.others, constants=((r"p/body/.*/gain", 2.0),))
    ours = table.read(source(), shapes, "file")
    assert {path: x.shape for path, x in ours.items()} == shapes
    assert table.set_to_constants(ours) == ["p/body/layer_0/gain", "p/body/layers/gain"]
    assert np.all(ours["p/body/layers/gain"] == 2)
    assert set(table.write(ours, shapes)) == set(source()) - {"extra.thing"}
    ours["p/body/layers/gain"][1, 3] = 1
    with pytest.raises(UserError, match="toy: the format has no key for p/body/layers/gain, which is not 2"):
        table.write(ours, shapes)
