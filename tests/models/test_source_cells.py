# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What stands beside the codes of an edit: each one's own cell of the source, where it is about to be said."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from focus_jax.models.focus import Focus
from focus_jax.sequence.layout import Role
from tests.stages.test_editing import config
from tests.stages.test_language import drawn

WIDTH, GRIDS = 8, {Role.SEMANTIC: 2, Role.PIXEL: 3}
RNG = np.random.default_rng(0)
T, P, S, X = Role.TEXT, Role.PIXEL, Role.SEMANTIC, Role.TARGET
# A source of two and three cells, words, and a target whose codes stand between the ends of their rows.
ROLES = np.array([[T, S, S, P, P, P, T, T, X, X, T, X, X, X, T, T]])
CODES = {8: 0, 9: 1, 11: 2, 12: 3, 13: 4}  # position: number


@pytest.fixture(scope="module")
def focus():
    model = config().model
    model.llm.width = WIDTH
    return Focus(model)


@pytest.fixture(scope="module")
def params(focus):
    shapes = jax.eval_shape(focus.source_cells.init, jax.random.key(0), *cells())["params"]
    llm = jax.eval_shape(focus.llm.init, jax.random.key(0), np.zeros((1, 2, WIDTH), np.float32))["params"]
    fill = lambda name, tree: jax.tree_util.tree_map_with_path(
        lambda path, x: drawn(f"{name}{jax.tree_util.keystr(path)}", x.shape), nn.unbox(tree)
    )
    return {"source_cells": fill("source_cells", shapes), "llm": fill("llm", llm)}


def cells():
    return [RNG.standard_normal((1, count, WIDTH)).astype(np.float32) for count in GRIDS.values()]


def test_a_code_is_said_beside_its_own_cell(focus, params):
    semantic, pixel = cells()
    vectors = {Role.SEMANTIC: semantic, Role.PIXEL: pixel}
    features = np.zeros_like(ROLES)
    features[0, 1:6] = [0, 1, 0, 1, 2]
    for position, number in CODES.items():
        features[0, position] = number
    ids = np.arange(ROLES.size)[None]
    plain = focus.embeddings(params, ids, ROLES, features, vectors)
    found = focus.embeddings(params, ids, ROLES, features, vectors, focus.beside_codes(params, vectors)) - plain
    own = params["source_cells"]
    expected = np.concatenate([semantic[0] @ own["semantic"]["kernel"], pixel[0] @ own["pixel"]["kernel"]])
    for position in range(ROLES.size):
        number = CODES.get(position + 1)
        wanted = np.zeros(WIDTH) if number is None else expected[number]
        np.testing.assert_allclose(found[0, position], wanted, atol=1e-5)


def test_nothing_changes_at_the_start(focus):
    begun = nn.unbox(focus.source_cells.init(jax.random.key(0), *cells()))["params"]
    assert not any(np.any(x) for x in jax.tree.leaves(begun))


def test_captions_have_no_source(focus, params):
    assert focus.beside_codes(params, {}) is None
    model = config("configs/ablations.py:no_source_cells_tiny").model
    assert Focus(model).source_cells is None
