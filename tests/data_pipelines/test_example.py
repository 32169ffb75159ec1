# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from data_pipelines import example as ex
from data_pipelines.errors import DataError

TEXT = st.text(max_size=8)
INT = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(allow_nan=False)
BYTES = st.binary(max_size=8)


def arrays(*dtypes):
    shapes = nps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    return st.sampled_from(dtypes).flatmap(lambda dtype: nps.arrays(dtype, shapes))


ARRAY = arrays(np.bool_, np.uint8, np.int32, np.uint32, np.float16, np.float32)
MASK = st.builds(ex.Mask, height=INT, width=INT, counts=ARRAY)
IMAGE = st.builds(ex.Image, data=BYTES, width=INT, height=INT)


def some(strategy):
    return st.lists(strategy, max_size=2)


def maybe(strategy):
    return st.none() | strategy


EXAMPLE = st.builds(
    ex.Example,
    id=TEXT,
    source=TEXT,
    split=TEXT,
    licence=TEXT,
    images=some(IMAGE),
    frames=some(st.builds(ex.Frame, image=IMAGE, time=FLOAT)),
    turns=some(st.builds(ex.Turn, role=TEXT, text=TEXT, images=some(INT))),
    instances=some(
        st.builds(
            ex.Instance,
            category=TEXT,
            mask=maybe(MASK),
            box=maybe(some(FLOAT)),
            track=maybe(INT),
            crowd=st.booleans(),
            part_of=maybe(INT),
            frame=INT,
        )
    ),
    regions=some(st.builds(ex.Region, kind=TEXT, mask=MASK, frame=INT, instance=maybe(INT))),
    expressions=some(st.builds(ex.Expression, text=TEXT, answer=TEXT, kind=TEXT, instances=some(INT))),
    classes=some(TEXT),
    stuff=some(TEXT),
    target=maybe(IMAGE),
    instruction=TEXT,
    edit_region=maybe(MASK),
    codes=maybe(st.builds(ex.Codes, fingerprint=TEXT, semantic=maybe(ARRAY), pixel=maybe(ARRAY))),
    latents=maybe(st.builds(ex.Latents, fingerprint=TEXT, values=ARRAY)),
    depth=maybe(ARRAY),
    edges=maybe(ARRAY),
    normals=maybe(ARRAY),
)


@settings(max_examples=150, deadline=None)
@given(EXAMPLE)
def test_round_trip(example):
    assert ex.decode(ex.encode(example)) == example


def test_every_field_of_the_schema_is_in_the_round_trip():
    drawn = set(EXAMPLE.wrapped_strategy.kwargs) if hasattr(EXAMPLE, "wrapped_strategy") else set(EXAMPLE.kwargs)
    assert drawn == {field.name for field in dataclasses.fields(ex.Example)}


def test_equality_sees_arrays():
    a = ex.Example(id="a", depth=np.zeros((2, 2), np.float32))
    assert a != ex.Example(id="a", depth=np.zeros((2, 2), np.float64))
    assert a != ex.Example(id="a", depth=np.ones((2, 2), np.float32))
    assert a != ex.Example(id="a", depth=np.zeros((4,), np.float32))
    assert a == ex.Example(id="a", depth=np.zeros((2, 2), np.float32))


@given(nps.arrays(np.bool_, nps.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7)))
@settings(deadline=None)
def test_mask_round_trip(mask):
    rle = ex.Mask.from_array(mask)
    np.testing.assert_array_equal(rle.to_array(), mask)
    assert rle.counts.sum() == mask.size and (rle.counts[1:] > 0).all()


def test_mask_is_column_major():
    rle = ex.Mask.from_array(np.array([[0, 1], [1, 1]], bool))
    assert rle.counts.tolist() == [1, 3]  # down the first column, then the second


def test_mask_that_does_not_cover_the_picture():
    with pytest.raises(DataError, match="counts sum to 3, expected 2 \\* 2"):
        ex.Mask(height=2, width=2, counts=np.array([1, 2], np.uint32)).to_array()


@pytest.mark.parametrize(
    ("example", "sentence"),
    [
        (ex.Example(id=3), "example.id: is int, expected str"),
        (ex.Example(id="a", turns=[ex.Turn(role="user", text=b"x")]), r"turns\[0\].text: is bytes, expected str"),
        (ex.Example(id="a", classes=("x",)), "example.classes: is tuple, expected list"),
        (ex.Example(id="a", instances=[ex.Instance(track=np.int64(3))]), "track: is int64, expected int"),
        (ex.Example(id="a", instances=[ex.Instance(track=2**63)]), "does not fit 64 bits"),
        (ex.Example(id="a", instances=[ex.Instance(crowd=1)]), "crowd: is int, expected bool"),
        (ex.Example(id="a\udc80"), "example.id: the text cannot be written as UTF-8"),
        (ex.Example(id="a", depth=np.array(["x"])), "example.depth: dtype <U1, expected"),
        ({"id": "a"}, "example: is dict, expected Example"),
    ],
)
def test_encode_refuses(example, sentence):
    with pytest.raises(DataError, match=sentence):
        ex.encode(example)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ([2, {"id": "a"}], "schema version 2, expected 1"),
        ([1, {"id": "a", "colour": 3}], "unknown field 'colour', expected one of id, source"),
        ([1, {"id": "a", "target": {"data": b"", "width": 1, "height": 1, "depth": 8}}], "target: unknown field"),
        ([1, {"source": "a"}], "the field 'id' is missing"),
        ([1, {"id": b"a"}], "example.id: is bytes, expected str"),
        ([1, {"id": None}], "example.id: is NoneType, expected str"),
        ([1, {"id": "a", "images": {}}], "example.images: is dict, expected list"),
        ([1, {"id": "a", "images": ["x"]}], r"example.images\[0\]: is str, expected a map of fields"),
        ([1, {"id": "a", "depth": [1.0]}], "example.depth: is list, expected ndarray"),
        ([1, "a"], "example: is str, expected a map of fields"),
        ({"id": "a"}, "not \\[schema version, fields\\]"),
        ([1, {"id": "a", "depth": msgpack.ExtType(2, b"")}], "extension type 2"),
        ([1, {"id": "a", "depth": msgpack.ExtType(1, b"")}], "an array does not hold its dtype and shape"),
        (
            [1, {"id": "a", "depth": msgpack.ExtType(1, msgpack.packb(["<f4", [3]]) + b"1234")}],
            "an array does not hold its dtype and shape",
        ),
        (
            [1, {"id": "a", "depth": msgpack.ExtType(1, msgpack.packb(["|O", [1]]) + b"12345678")}],
            "an array does not hold its dtype and shape",
        ),
    ],
)
def test_decode_refuses(record, sentence):
    with pytest.raises(DataError, match=sentence) as error:
        ex.decode(msgpack.packb(record))
    assert "\n" not in str(error.value)


@given(st.binary(max_size=64))
@settings(deadline=None)
def test_decode_of_garbage_is_a_data_error(data):
    with pytest.raises(DataError):
        ex.decode(data)


def test_decode_of_a_cut_record_is_a_data_error():
    data = ex.encode(ex.Example(id="abc", images=[ex.Image(data=b"12345", width=1, height=1)]))
    for length in range(len(data)):
        with pytest.raises(DataError):
            ex.decode(data[:length])
