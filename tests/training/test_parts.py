# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Paths, groups and aliases of named parts."""

import pytest

from focus_jax.errors import UserError
from focus_jax.training import parts

PATHS = ["tokenizer/pixel/encoder/kernel", "tokenizer/pixel/quantizer/frozen_codebook", "llm/layers/kernel", "llm/norm"]


def test_flatten_round_trip():
    flat = {p: i for i, p in enumerate(PATHS)}
    assert parts.flatten(parts.unflatten(flat)) == flat
    assert parts.part_of(PATHS[0]) == "tokenizer/pixel" and parts.part_of("llm/norm") == "llm"
    with pytest.raises(KeyError, match="none of the parts"):
        parts.part_of("elsewhere/kernel")


def test_last_match_wins_and_buffers_are_their_own_group():
    table = [(".*", "frozen"), ("llm/.*", "llm"), ("llm/norm", "frozen")]
    found = parts.assign(PATHS, table, ["frozen", "llm"])
    assert found == {PATHS[0]: "frozen", PATHS[1]: "buffer", PATHS[2]: "llm", PATHS[3]: "frozen"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([(".*", "a"), ("unet/.*", "a")], r"config.assign\[1\]: pattern 'unet/\.\*' matches no parameter"),
        ([("llm/.*", "a")], "3|2 parameters are in no group|1 parameters are in no group"),
        ([(".*", "b")], r"group 'b' is not described"),
        ([("(", "a")], "no regular expression"),
    ],
)
def test_bad_tables(table, said):
    with pytest.raises(UserError, match=said):
        parts.assign(PATHS, table, ["a"])


def test_alias_stands_for_another_part_until_it_has_leaves():
    params = {"tokenizer": {"vit": {"kernel": 1}}, "llm": {"kernel": 2}}
    assert parts.resolve(params, {"vit": "tokenizer/vit"})["vit"] is params["tokenizer"]["vit"]
    own = {**params, "vit": {"kernel": 3}}
    assert parts.resolve(own, {"vit": "tokenizer/vit"})["vit"] == {"kernel": 3}
    with pytest.raises(UserError, match="config.alias.vit"):
        parts.resolve(params, {"vit": "tokenizer/convnext"})
    with pytest.raises(
        UserError, match="matches no parameter"
    ):  # an alias that is not materialised cannot be in a group
        parts.assign(parts.flatten(params), [(".*", "a"), ("vit/.*", "a")], ["a"])
