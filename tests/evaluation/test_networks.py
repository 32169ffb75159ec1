# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Distances in features of networks that measure: KID by hand, what CLIP and DINO read, texts to ids."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from focus_jax.errors import UserError
from focus_jax.evaluation import networks
from focus_jax.models.clip import PictureTower
from focus_jax.training import store
from focus_jax.weights import clip


def test_kid_by_hand():
    a, b = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0], [2.0, 0.0]])
    # k(x, y) = (x y / 2 + 1)^3: within a 1, within b 27, across (2 * 8 + 2 * 1) / 4.
    value, error = networks.kid(a, b)
    assert value == pytest.approx(1 + 27 - 2 * 4.5) and error == 0.0
    with pytest.raises(ValueError, match="two rows"):
        networks.kid(a[:1], b)


def test_kid_of_one_distribution_is_nothing():
    rng = np.random.default_rng(0)
    x, y, z = rng.normal(size=(400, 8)), rng.normal(size=(300, 8)), rng.normal(1.0, 1.0, size=(400, 8))
    value, error = networks.kid(x, y, subsets=40, size=150)
    assert abs(value) < 4 * error and error > 0
    assert networks.kid(x, z, subsets=40, size=150)[0] > 10 * abs(value)


def test_the_middle_of_a_picture_is_read():
    image = np.zeros((60, 120, 3), np.uint8)
    image[:, 30:90] = 200  # the middle square
    assert (networks._middle(image, 30, 30) > 190).mean() > 0.9
    assert networks._middle(image, 40, 30).shape == (30, 30, 3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    sizes = dict(side=28, patch=14, width=16, depth=1, heads=2, mlp=32, out=8)
    config = ConfigDict(
        {"model": {"clip_pictures": sizes, "clip_texts": dict(rows=9, width=8, depth=1, heads=2, mlp=8)}}
    )
    shapes = clip.clip_shapes(config)
    rng = np.random.default_rng(0)
    flat = {path: np.float32(rng.normal(size=shape)) for path, shape in shapes.items()}
    file = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    store.save_safetensors(file, flat, None, "test")
    return str(file), PictureTower(**sizes), shapes


def test_features_are_unit_vectors_of_each_picture(weights):
    file, net, shapes = weights
    images = np.random.default_rng(1).integers(0, 256, (3, 40, 50, 3), np.uint8)
    read = networks._tower(net, clip.PICTURES, shapes, file, "config.clip", 2, *networks._CLIP[:2], 32)
    found = read(images)
    assert found.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(found[2:], read(images[2:]), atol=1e-5)
    with pytest.raises(UserError, match="config.clip: .* holds no part dino"):
        networks.imported(file, "dino", {"dino/first": (1,)}, "config.clip")


def test_texts_become_ids(tmp_path):
    words = {"[s]": 0, "a": 1, "mug": 2, "[e]": 49_407, "[u]": 3}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[u]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ids = networks.clip_ids(["a mug", "a " * 200], str(tmp_path))
    assert ids.shape == (2, 77) and ids.dtype == np.int32
    assert ids[0].tolist() == [1, 2, *[49_407] * 75] and (ids[1] == 1).all()
    with pytest.raises(UserError, match="config.clip_tokenizer: .* cannot be read"):
        networks.clip_ids(["a"], str(tmp_path / "nowhere"))
