# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pixel decoder, transformer decoder, matching and losses against transformers' Mask2Former, on random weights that
travel through the table in both directions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

torch = pytest.importorskip("torch")

from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig  # noqa: E402
from transformers.models.mask2former import modeling_mask2former as theirs_lib  # noqa: E402

from focus_jax.models.mask_decoder import mask_decoder  # noqa: E402
from focus_jax.models.mask_pixel_decoder import mask_pixel_decoder  # noqa: E402
from focus_jax.ops import mask_losses, sampling  # noqa: E402
from focus_jax.training.parts import flatten, unflatten  # noqa: E402
from focus_jax.weights import mask2former as tables  # noqa: E402
from tests.parity.compare import (  # noqa: E402
    GRADIENT,
    NETWORK,
    assert_close,
    assert_gradients,
    gradients,
    nchw,
    nhwc,
    randomise,
    state,
)

pytestmark = pytest.mark.parity

WIDTHS, WIDTH, QUERIES, LAYERS = (8, 16, 32, 64), 64, 7, 9
SIZES = {
    "mask_pixel_decoder": dict(width=WIDTH, heads=4, points=4, mlp=48, depth=2, groups=32),
    "mask_decoder": dict(queries=QUERIES, width=WIDTH, heads=4, mlp=40, depth=LAYERS),
    "convnext": dict(widths=WIDTHS),
}
RNG = np.random.default_rng(0)
MAPS = {f"res{i + 2}": RNG.standard_normal((2, 24 >> i, 16 >> i, c)).astype(np.float32) for i, c in enumerate(WIDTHS)}


def normal(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@functools.cache
def reference():
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(
            embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=4, image_size=64,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=WIDTH, mask_feature_size=WIDTH, hidden_dim=WIDTH, num_attention_heads=4, num_queries=QUERIES,
        encoder_layers=2, encoder_feedforward_dim=48, decoder_layers=LAYERS + 1, dim_feedforward=40, num_labels=5,
    )  # fmt: skip
    return randomise(Mask2FormerForUniversalSegmentation(config)).eval()


def our_config(scan=False):
    sizes = ConfigDict(SIZES)
    sizes.mask_pixel_decoder.update(scan=scan, remat="full" if scan else "none")
    return ConfigDict({"model": sizes})


def load(table, source, config):
    """Our parameters by part, and their shapes."""
    shapes = table.shapes(config)
    flat = table.read(source, shapes, "reference")
    assert {path: x.shape for path, x in flat.items()} == shapes
    back = table.write(flat, shapes)
    assert set(back) == {key for key in source if key not in table.left_out(source)}
    assert all(np.array_equal(back[k], source[k]) for k in back)
    return unflatten(flat), shapes


def run_theirs(module, maps):
    """(mask features, three maps) of their pixel decoder."""
    out = module(maps)
    return out.mask_features, out.multi_scale_features


def gradients_of(module, prefix, table, shapes):
    """Their gradients, cut as the rules know them, by key."""
    found = {f"{prefix}{key}": g for key, g in gradients(module).items()}
    return {k: g for k, g in found.items() if k not in table.left_out(found)}


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_pixel_decoder(scan):
    their = reference().model.pixel_level_module.decoder
    config = our_config(scan)
    params, shapes = load(tables.TRANSFORMERS, state(reference()), config)
    net = mask_pixel_decoder(**config.model.mask_pixel_decoder)
    reference().zero_grad()
    tensors = [nchw(x).requires_grad_() for x in MAPS.values()]
    features, levels = run_theirs(their, tensors)
    outs = [features, *levels]
    cotangents = [normal(o.shape, i) for i, o in enumerate(outs)]
    sum((o * torch.from_numpy(c)).sum() for o, c in zip(outs, cotangents)).backward()

    def loss(params, maps):
        features, levels = net.apply({"params": params}, maps)
        found = [features, *levels]
        return sum(jnp.sum(x * np.moveaxis(c, 1, -1)) for x, c in zip(found, cotangents)), found

    own = params["mask_pixel_decoder"]
    with jax.default_matmul_precision("highest"):
        (_, found), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(own, MAPS)
    for i, (got, want) in enumerate(zip(found, outs)):
        assert_close(got, nhwc(want), NETWORK, f"output {i}")
    for tensor, (name, got) in zip(tensors, grads[1].items()):
        assert_close(got, nhwc(tensor.grad), GRADIENT, f"gradient of {name}")
    flat = {f"mask_pixel_decoder/{p}": np.asarray(g) for p, g in flatten(grads[0]).items()}
    got = {k: v for k, v in _write(flat, shapes, "mask_pixel_decoder").items()}
    assert_gradients(got, gradients_of(their, "model.pixel_level_module.decoder.", tables.TRANSFORMERS, shapes))


def _write(flat, shapes, part):
    """Gradients of one part in their keys; zeros stand for the other part."""
    whole = {path: flat.get(path, np.zeros(shape, np.float32)) for path, shape in shapes.items()}
    keys = tables.TRANSFORMERS.write(whole, shapes)
    own = "pixel_level_module" if part == "mask_pixel_decoder" else "transformer_module"
    return {k: v for k, v in keys.items() if own in k}


def test_decoder():
    """All ten outputs; the contents of their queries come in through our projection of E_Q, set to the identity."""
    their = reference().model.transformer_module
    config = our_config()
    params, shapes = load(tables.TRANSFORMERS, state(reference()), config)
    net = mask_decoder(**config.model.mask_decoder)
    features = normal((2, 24, 16, WIDTH), 3)
    levels = [normal((2, 3 << i, 2 << i, WIDTH), 4 + i) for i in range(3)]
    reference().zero_grad()
    tensors = [nchw(x).requires_grad_() for x in (features, *levels)]
    out = their(tensors[1:], tensors[0], output_hidden_states=True)
    wanted = list(out.masks_queries_logits)
    assert len(wanted) == LAYERS + 1
    cotangents = [normal(w.shape, 10 + i) for i, w in enumerate(wanted)]
    sum((w * torch.from_numpy(c)).sum() for w, c in zip(wanted, cotangents)).backward()

    contents = their.queries_features.weight.detach().numpy()
    conditions, kind = normal((2, 4, WIDTH), 20), np.array([0, 2])
    shape = jax.eval_shape(net.init, jax.random.key(0), np.stack([contents] * 2), conditions, kind, features, levels)
    own = jax.tree.map(lambda x: 0.1 * normal(x.shape, len(x.shape)), nn.unbox(shape)["params"])
    own["query"] = {"kernel": np.eye(WIDTH, dtype=np.float32), "bias": np.zeros(WIDTH, np.float32)}
    own["decoder"] = params["mask_decoder"]["decoder"]

    def loss(params, features, levels):
        found = net.apply({"params": params}, jnp.stack([contents] * 2), conditions, kind, features, levels)
        return jnp.sum(found.masks * np.stack(cotangents)), found

    with jax.default_matmul_precision("highest"):
        (_, found), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(own, features, levels)
    for i, want in enumerate(wanted):
        assert_close(found.masks[i], want.detach().numpy(), NETWORK, f"masks {i}")
    for tensor, got in zip(tensors, (grads[1], *grads[2])):
        assert_close(got, nhwc(tensor.grad), GRADIENT, "gradient of an input")
    assert found.scores.shape == (LAYERS + 1, 2, QUERIES, 4) and found.embeddings is None
    flat = {f"mask_decoder/decoder/{p}": np.asarray(g) for p, g in flatten(grads[0]["decoder"]).items()}
    want = gradients_of(their, "model.transformer_module.", tables.TRANSFORMERS, shapes)
    got = _write(flat, shapes, "mask_decoder")
    for key in [k for k in want if "in_proj_bias" in k or k.endswith("k_proj.bias")]:  # a key's bias has none
        del want[key]
    assert_gradients(got, want)


def test_every_key_of_the_release_in_both_namings():
    shapes = tables.shapes()
    assert sum(np.prod(s, dtype=int) for s in shapes.values()) == 20_223_168
    for table, fused in ((tables.TRANSFORMERS, 9), (tables.DETECTRON, 18)):
        flat = {path: np.zeros((), np.float32) for path in shapes}
        keys = table.keys(shapes)
        assert len(keys) == 361
        small = {p: np.broadcast_to(x, shapes[p]) for p, x in flat.items()}
        written = table.write(small, shapes)
        assert len(written) == 361 - 4 * fused  # of six arrays two remain
        back = table.read(written, shapes, "file")
        assert {p: x.shape for p, x in back.items()} == shapes


def test_a_release_of_more_queries_gives_its_first():
    """COCO's panoptic Swin-L has 200."""
    source = state(reference())
    key = "model.transformer_module.queries_embedder.weight"
    longer = source | {key: np.concatenate([source[key], normal((3, WIDTH))])}
    params, _ = load(tables.TRANSFORMERS, source, our_config())
    shapes = tables.shapes(our_config())
    more = tables.TRANSFORMERS.read(longer, shapes, "reference")
    np.testing.assert_array_equal(
        more["mask_decoder/decoder/query_positions"], params["mask_decoder"]["decoder"]["query_positions"]
    )


# ------------------------------------------------------------------------------------------ matching and losses
def targets(count, seed):
    masks = np.random.default_rng(seed).random((count, 48, 32)) < 0.3
    return masks.astype(np.float32)


def test_costs_and_losses():
    masks = 3 * normal((2, QUERIES, 24, 16), 30)
    wanted = targets(4, 31)
    points = np.random.default_rng(32).random((1, 200, 2)).astype(np.float32)
    tensor = torch.from_numpy
    at = theirs_lib.sample_point(tensor(masks[0])[:, None], tensor(points).repeat(QUERIES, 1, 1), align_corners=False)
    to = theirs_lib.sample_point(tensor(wanted)[:, None], tensor(points).repeat(4, 1, 1), align_corners=False)
    ours_at, ours_to = sampling.at_points(masks[0], points[0]), sampling.at_points(wanted, points[0])
    assert_close(ours_at, at[:, 0].numpy(), 1e-5, "points of the masks")
    assert_close(ours_to, to[:, 0].numpy(), 1e-5, "points of the targets")
    cross, dice = mask_losses.pair_costs(ours_at, ours_to)
    assert_close(cross, theirs_lib.pair_wise_sigmoid_cross_entropy_loss(at[:, 0], to[:, 0]).numpy(), 1e-5)
    assert_close(dice, theirs_lib.pair_wise_dice_loss(at[:, 0], to[:, 0]).numpy(), 1e-5)
    cross, dice = mask_losses.pair_terms(ours_at[:4], ours_to)
    assert_close(cross.sum(), theirs_lib.sigmoid_cross_entropy_loss(at[:4, 0], to[:, 0], 1).numpy(), 1e-5)
    assert_close(dice.sum(), theirs_lib.dice_loss(at[:4, 0], to[:, 0], 1).numpy(), 1e-5)


def test_class_term():
    scores = normal((2, QUERIES, 6), 40)
    labels, count = np.array([[3, 0, 4], [1, 0, 0]]), [3, 1]
    there = np.arange(3)[None] < np.array(count)[:, None]
    query = np.array([[5, 2, 6], [0, 3, 4]])
    indices = [(torch.tensor(q[:n]), torch.arange(n)) for q, n in zip(query, count)]
    known = np.ones((2, 6), bool)
    their = theirs_lib.Mask2FormerLoss(reference().config, {})
    want = their.loss_labels(torch.from_numpy(scores), [torch.tensor(x[:n]) for x, n in zip(labels, count)], indices)
    got = mask_losses.class_term(scores, known, np.array([5, 5]), labels, there, query)
    weight = mask_losses.class_weight(QUERIES, there)
    assert_close(got.sum() / weight.sum(), want["loss_cross_entropy"].numpy(), 1e-5)


@pytest.mark.slow
def test_matching():
    """At so many points that the draw does not matter, both find the same pairs."""
    masks, wanted = 0.5 * normal((2, QUERIES, 24, 16), 50), np.stack([targets(4, 51), targets(4, 52)])
    # A clear winner for each target: its own shape at one query.
    for b in range(2):
        for t in range(4):
            masks[b, (2 * t + b) % QUERIES] += 12 * (wanted[b, t, ::2, ::2] - 0.5)
    scores, labels = normal((2, QUERIES, 6), 53), np.array([[0, 1, 2, 3]] * 2)
    there = np.array([[True] * 4, [True, True, False, False]])
    matcher = theirs_lib.Mask2FormerHungarianMatcher(2.0, 5.0, 5.0, num_points=20_000)
    torch.manual_seed(0)
    count = [4, 2]
    found = matcher(
        torch.from_numpy(masks), torch.from_numpy(scores), [torch.from_numpy(w[:n]) for w, n in zip(wanted, count)],
        [torch.from_numpy(x[:n]) for x, n in zip(labels, count)],
    )  # fmt: skip
    costs = mask_losses.class_costs(scores, np.ones((2, 6), bool), labels)
    keys = jax.random.split(jax.random.key(1), 2)
    got = np.asarray(mask_losses.matched(keys, masks, costs, wanted, there, points=20_000))
    for b, (queries, order) in enumerate(found):
        assert dict(zip(order.tolist(), queries.tolist())) == {t: int(got[b, t]) for t in range(count[b])}
