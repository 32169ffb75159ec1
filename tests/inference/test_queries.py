# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Who has which pixel, on masks made by hand: panoptic with stuff, semantic, ranked instances."""

import numpy as np
import pytest

from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import Instances, Semantic
from focus_jax.inference.queries import Rules, enlarged, listed, settled, sigmoid

SIZE = (8, 12)
CLASSES = ["cat", "sky"]
SURE = 6.0


def box(top, left, bottom, right):
    out = np.full(SIZE, -SURE, np.float32)
    out[top:bottom, left:right] = SURE
    return out


def shares(*rows):
    """Logits whose softmax are these shares of (cat, sky, background)."""
    return np.log(np.maximum(np.array(rows, np.float32), 1e-9))


def answer(classes, scores, masks, **rules):
    masks = np.stack(masks)
    return settled(classes, scores, lambda kept: masks[kept], SIZE, Rules(**rules))


def test_stuff_is_one_segment():
    scores = shares((0.9, 0.05, 0.05), (0.0, 0.9, 0.1), (0.0, 0.8, 0.2), (0.8, 0.1, 0.1))
    masks = [box(0, 0, 4, 4), box(4, 0, 8, 6), box(4, 6, 8, 12), box(0, 8, 4, 12)]
    apart = answer(CLASSES, scores, masks)
    assert apart.names == ("cat", "sky", "sky", "cat")
    one = answer(CLASSES, scores, masks, stuff=("sky",))
    assert one.names == ("cat", "sky", "cat")
    np.testing.assert_array_equal(one.ids == 2, np.isin(apart.ids, (2, 3)))
    np.testing.assert_array_equal(one.mask, apart.mask)


def test_semantic_gives_every_pixel_a_class():
    """Two unsure queries of one class outweigh a surer one of another where they lie on each other."""
    scores = shares((0.6, 0.1, 0.3), (0.1, 0.4, 0.5), (0.1, 0.4, 0.5))
    masks = [box(0, 0, 8, 8), box(0, 4, 8, 12), box(0, 4, 8, 12)]
    one = answer(Semantic(CLASSES), scores, masks)
    assert one.names == ("cat", "sky") and one.ids.min() == 1
    np.testing.assert_array_equal(one.ids[0], [1] * 4 + [2] * 8)
    alone = answer(Semantic(CLASSES), scores, [box(0, 0, 8, 12)] * 3)
    assert alone.names == ("sky",) and (alone.ids == 1).all() and 0 < alone.scores[0] <= 1


def test_instances_are_ranked_and_may_overlap():
    scores = shares((0.5, 0.4, 0.1), (0.9, 0.05, 0.05), (0.0, 0.0, 1.0))
    masks = [box(0, 0, 4, 8), box(0, 4, 4, 12), box(0, 0, 8, 12)]
    one = answer(Instances(CLASSES), scores, masks)
    assert one.names[:3] == ("cat", "cat", "sky") and list(one.scores) == sorted(one.scores, reverse=True)
    assert one.scores[0] == pytest.approx(0.9 * sigmoid(np.float64(SURE)))
    np.testing.assert_array_equal(one.masks[0], masks[1] > 0)
    np.testing.assert_array_equal(one.masks[1], masks[0] > 0)  # whole, though the first is on top of it
    np.testing.assert_array_equal(one.ids == 1, masks[1] > 0)
    assert (one.ids == 2).sum() == 4 * 4 and not (one.ids == 3).any()
    assert len(answer(Instances(CLASSES), scores, masks, most=2).names) == 2
    assert answer(Instances(CLASSES), scores, masks, instances=0.45).names == ("cat", "cat")
    none = answer(Instances(CLASSES), scores, masks, instances=0.95)
    assert none.names == () and none.masks.shape == (0, *SIZE) and not none.mask.any()


def test_many_queries_go_in_pieces():
    """As many masks as are never enlarged at once; each class is found in its own place."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 3)).astype(np.float32)
    masks = rng.normal(size=(40, *SIZE)).astype(np.float32)
    share = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    want = np.einsum("qc,qhw->chw", share[:, :2], sigmoid(masks)).argmax(0)
    found = answer(Semantic(CLASSES), scores, masks)
    np.testing.assert_array_equal(np.array([CLASSES.index(n) for n in found.names])[found.ids - 1], want)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([], "a list of 0 classes, expected 1 to 3"),
        (list("abcd"), "a list of 4 classes, expected 1 to 3"),
        (["a", "b", "a"], "names 'a' twice"),
    ],
)
def test_lists_that_mean_nothing(classes, said):
    with pytest.raises(UserError, match=said):
        listed(classes, 3)


def test_enlarged_drops_the_padding():
    masks = np.zeros((1, 8, 8), np.float32)
    masks[:, :, 4:] = 1.0  # right of what is picture
    assert enlarged(masks, 32, (32, 14), (64, 28)).max() == 0.0
