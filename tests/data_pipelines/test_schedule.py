# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import collections
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import seeds
from data_pipelines.errors import DataError
from data_pipelines.schedule import Schedule


def stream(share=1, side=16, batch_size=4):
    return {"shape_class": "picture", "height": side, "width": side, "batch_size": batch_size, "share": share}


PHASES = st.lists(
    st.builds(
        lambda steps, shares: {"steps": steps, "streams": [stream(s, 16 * (i + 1)) for i, s in enumerate(shares)]},
        st.integers(1, 40),
        st.lists(st.integers(1, 5), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=60)
@given(PHASES, st.integers(0, 2**31))
def test_shares_and_ordinals(phases, seed):
    schedule = Schedule(phases, seed)
    assert len(schedule) == sum(phase["steps"] for phase in phases)
    counts, k, first = collections.Counter(), 0, 0
    for p, phase in enumerate(phases):
        shares = {first + i: s["share"] for i, s in enumerate(phase["streams"])}
        block = []
        for position in range(phase["steps"]):
            stream_id, dealt, ordinal = schedule[k]
            assert dealt["phase"] == p and dealt["id"] == stream_id and stream_id in shares
            assert ordinal == counts[stream_id]  # 0, 1, 2, ... without gaps in order of k
            counts[stream_id] += 1
            block.append(stream_id)
            if (position + 1) % sum(shares.values()) == 0:
                assert collections.Counter(block) == shares
                block = []
            k += 1
        first += len(shares)


@settings(deadline=None, max_examples=20)
@given(PHASES, st.data())
def test_any_batch_can_be_asked_first(phases, data):
    whole = Schedule(phases, 7)
    k = data.draw(st.integers(0, len(whole) - 1))
    assert Schedule(phases, 7)[k] == [whole[i] for i in range(len(whole))][k]
    assert pickle.loads(pickle.dumps(whole))[k] == whole[k]


def test_the_order_changes_with_seed_and_block():
    phases = [{"steps": 400, "streams": [stream(5), stream(5, 32)]}]
    orders = {tuple(Schedule(phases, s)[k][0] for k in range(b, b + 10)) for s in range(4) for b in range(0, 40, 10)}
    assert len(orders) > 12


def test_a_prolonged_last_phase_keeps_what_was_dealt():
    phases = [{"steps": 13, "streams": [stream(2), stream(3, 32)]}]
    longer = [dict(phases[0], steps=29)]
    assert [Schedule(phases, 1)[k] for k in range(13)] == [Schedule(longer, 1)[k] for k in range(13)]


def test_outside_the_schedule():
    schedule = Schedule([{"steps": 3, "streams": [stream()]}], 0)
    for k in (-1, 3):
        with pytest.raises(IndexError):
            schedule[k]


@pytest.mark.parametrize(
    ("phases", "sentence"),
    [
        ([], "data.phases: is empty"),
        ([{"steps": 0, "streams": [stream()]}], r"data.phases\[0\].steps: is 0, expected a positive int"),
        ([{"steps": 3, "streams": []}], r"data.phases\[0\].streams: is empty"),
        ([{"steps": 3}], r"data.phases\[0\]: has the fields"),
        ([{"steps": 3, "streams": [stream() | {"size": 3}]}], r"data.phases\[0\].streams\[0\]: has"),
        ([{"steps": 3, "streams": [stream(share="2")]}], "share: is '2', expected a positive int"),
        ([{"steps": 3, "streams": [stream(batch_size=0)]}], "batch_size: is 0, expected a positive int"),
        ([{"steps": 3, "streams": [stream() | {"tokens": 2}]}], "tokens: is 2, expected a share of the sides"),
    ],
)
def test_bad_phases(phases, sentence):
    with pytest.raises(DataError, match=sentence):
        Schedule(phases, 0)


def test_randomness_is_pinned():
    """These draws decide the order of the data of runs under way: they may not change with a numpy release."""
    assert seeds.permutation(8, 1, 2, 3).tolist() == PINNED_PERMUTATION
    assert seeds.integer(1, 2, 3) == PINNED_INTEGER
    assert sorted(seeds.permutation(1000, 5).tolist()) == list(range(1000))
    assert not np.array_equal(seeds.permutation(8, 1, 2, 3), seeds.permutation(8, 1, 2, 4))


PINNED_PERMUTATION = [1, 3, 7, 5, 2, 0, 4, 6]
PINNED_INTEGER = 3822189696
