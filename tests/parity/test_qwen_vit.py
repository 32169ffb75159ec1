# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The vision tower against transformers' Qwen2VisionTransformerPretrainedModel and its image processor.

Parameters travel through the table in both directions, so the table is under test as well.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

torch = pytest.importorskip("torch")

from transformers.models.qwen2_vl import modeling_qwen2_vl as theirs_module  # noqa: E402
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig  # noqa: E402
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil  # noqa: E402

from focus_jax.models import qwen_vit as ours  # noqa: E402
from focus_jax.ops.rope import rope_angles, turns  # noqa: E402
from focus_jax.training.parts import flatten, unflatten  # noqa: E402
from focus_jax.weights import qwen2_vl  # noqa: E402
from tests.parity.compare import (  # noqa: E402
    BLOCK,
    NETWORK,
    assert_close,
    assert_gradients,
    gradients,
    randomise,
    state,
)

pytestmark = pytest.mark.parity

SIZES = dict(depth=3, width=32, heads=2, mlp_ratio=4, patch=14, merge=2, temporal=2, out=48)
GRIDS = [(6, 4), (4, 8), (2, 2), (4, 4)]  # in patches


def their_config(**change):
    c = SIZES | change
    config = Qwen2VLVisionConfig(
        depth=c["depth"],
        embed_dim=c["width"],
        num_heads=c["heads"],
        mlp_ratio=c["mlp_ratio"],
        patch_size=c["patch"],
        spatial_merge_size=c["merge"],
        temporal_patch_size=c["temporal"],
        hidden_size=c["out"],
        hidden_act="quick_gelu",
    )
    config._attn_implementation = "eager"
    return config


@functools.cache
def whole(scan):
    """(our tower, our parameters, theirs, shapes) with the same random weights."""
    theirs = randomise(theirs_module.Qwen2VisionTransformerPretrainedModel(their_config()))
    vit = SIZES | dict(scan=scan, remat="full" if scan else "none")
    config = ConfigDict({"model": {"vit": vit}})
    shapes, source = qwen2_vl.shapes(config), state(theirs)
    flat = qwen2_vl.VISION.read(source, shapes, "reference")
    back = qwen2_vl.VISION.write(flat, shapes)
    assert set(back) == set(source) and all(np.array_equal(back[k], source[k]) for k in source)
    return ours.qwen_vit(**vit), unflatten(flat)["tokenizer"]["vit"], theirs, shapes


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def their_run(theirs, rows, grids, cotangents):
    """(merged, tokens, gradient of the rows) of a packed forward; parameter gradients stay in theirs."""
    theirs.zero_grad()
    out = theirs(rows, grid_thw=torch.tensor([(1, *grid) for grid in grids]))
    loss = sum((a * torch.from_numpy(c)).sum() for a, c in zip((out.pooler_output, out.last_hidden_state), cotangents))
    loss.backward()
    return out.pooler_output.detach().numpy(), out.last_hidden_state.detach().numpy()


def assert_same_gradients(grads, theirs, shapes):
    flat = {f"{qwen2_vl.VIT}/{path}": np.asarray(g) for path, g in flatten(grads).items()}
    wanted = gradients(theirs)
    assert set(wanted) == set(state(theirs))
    assert_gradients(qwen2_vl.VISION.write(flat, shapes), wanted)


@pytest.mark.parametrize("scan", [False, True])
def test_packed_pictures_of_several_grids(scan):
    model, params, theirs, shapes = whole(scan)
    counts = [h * w for h, w in GRIDS]
    rows, cotangents = normal(0, sum(counts), 1176), (normal(1, sum(counts) // 4, 48), normal(2, sum(counts), 32))
    tensor = torch.from_numpy(rows).requires_grad_()
    want_merged, want_tokens = their_run(theirs, tensor, GRIDS, cotangents)

    positions = np.concatenate([ours.grid_positions(h, w, 2) for h, w in GRIDS])[None]
    segments = np.repeat(np.arange(len(GRIDS)), counts)[None]

    def loss(params, rows):
        merged, tokens = model.apply({"params": params}, rows[None], positions, segments, method="packed")
        return jnp.sum(merged * cotangents[0]) + jnp.sum(tokens * cotangents[1]), (merged, tokens)

    with jax.default_matmul_precision("highest"):
        (_, (merged, tokens)), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, rows)
    assert_close(merged[0], want_merged, NETWORK, "merged")
    assert_close(tokens[0], want_tokens, NETWORK, "tokens")
    assert_close(grads[1], tensor.grad.numpy(), NETWORK, "gradient of the rows")
    assert_same_gradients(grads[0], theirs, shapes)


def their_rows(pixels, patch, merge, temporal):
    """Pixels [B, C, H, W] -> rows as transformers' image processor makes them, differentiable."""
    b, c, height, width = pixels.shape
    x = pixels.unsqueeze(1).repeat(1, temporal, 1, 1, 1)  # [B, T, C, H, W]
    h, w = height // patch, width // patch
    x = x.reshape(b, temporal, c, h // merge, merge, patch, w // merge, merge, patch)
    return x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(b * h * w, -1)


@pytest.mark.parametrize("grid", [(4, 4), (2, 6), (6, 4)])
def test_batch_of_pictures(grid):
    model, params, theirs, shapes = whole(True)
    h, w = grid
    pixels = normal(3, 2, 14 * h, 14 * w, 3)
    cotangents = normal(4, 2, h // 2, w // 2, 48), normal(5, 2, h, w, 32)
    # Their tokens stand block by block: the same reordering for the cotangent as for the pixels.
    by_block = lambda x: x.reshape(2, h // 2, 2, w // 2, 2, 32).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 32)
    tensor = torch.from_numpy(pixels).requires_grad_()
    rows = their_rows(tensor.permute(0, 3, 1, 2), 14, 2, 2)
    flat_cotangents = cotangents[0].reshape(-1, 48), np.ascontiguousarray(by_block(cotangents[1]))
    want_merged, want_tokens = their_run(theirs, rows, [grid] * 2, flat_cotangents)

    def loss(params, pixels):
        merged, out = model.apply({"params": params}, pixels)
        return jnp.sum(merged * cotangents[0]) + jnp.sum(out["patches"] * cotangents[1]), (merged, out)

    with jax.default_matmul_precision("highest"):
        (_, (merged, out)), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, pixels)
    assert_close(merged.reshape(-1, 48), want_merged, NETWORK, "merged")
    assert_close(by_block(np.asarray(out["patches"])), want_tokens, NETWORK, "patches")
    assert_close(grads[1], tensor.grad.numpy(), NETWORK, "gradient of the pixels")
    assert_same_gradients(grads[0], theirs, shapes)


def test_block():
    """One block; its input and output and the gradients of everything."""
    theirs = randomise(theirs_module.Qwen2VLVisionBlock(their_config()))
    rules = {rule.theirs: rule for rule in qwen2_vl.block_rules("m", "p")}
    source = {f"m.{key}": value for key, value in state(theirs).items()}
    assert set(source) == set(rules)
    params = unflatten({rules[k].ours: rules[k].transform.to_ours(x) for k, x in source.items()})["p"]
    x, cotangent = normal(6, 1, 24, 32), normal(7, 1, 24, 32)
    positions = ours.grid_positions(4, 6, 2)

    embedding = theirs_module.Qwen2VLVisionRotaryEmbedding(their_config())
    tensor = torch.from_numpy(x[0]).requires_grad_()
    want = theirs(
        tensor,
        cu_seqlens=torch.tensor([0, 24]),
        position_embeddings=embedding(tensor, torch.from_numpy(positions)),
    )
    (want * torch.from_numpy(cotangent[0])).sum().backward()

    turned = turns(rope_angles(positions[None], 16))
    with jax.default_matmul_precision("highest"):
        got, vjp = jax.vjp(jax.jit(lambda p, x: ours.Block(2).apply({"params": p}, x, turned, None)), params, x)
        grads, dx = vjp(jnp.asarray(cotangent))
    assert_close(got[0], want.detach().numpy(), BLOCK, "output")
    assert_close(dx[0], tensor.grad.numpy(), NETWORK, "gradient of the input")
    flat = flatten({"p": grads})
    assert_gradients(
        {k: rules[k].transform.to_theirs(np.asarray(flat[rules[k].ours])) for k in rules},
        {f"m.{key}": g for key, g in gradients(theirs).items()},
    )


def test_patch_embed_and_merger():
    _, params, theirs, _ = whole(False)
    rows, tokens = normal(8, 1, 8, 1176), normal(9, 1, 8, 32)
    with jax.default_matmul_precision("highest"):
        embedded = ours.PatchEmbed(32, 14, 2).apply({"params": params["patch_embed"]}, rows)
        merged = ours.Merger(2, 48).apply({"params": params["merger"]}, tokens)
    assert_close(embedded[0], theirs.patch_embed(torch.from_numpy(rows[0])).detach().numpy(), BLOCK, "patch embedding")
    assert_close(merged[0], theirs.merger(torch.from_numpy(tokens[0])).detach().numpy(), BLOCK, "merger")


def test_rotation_far_from_the_origin():
    """Large positions: what a wrong frequency or a rounded angle would show."""
    positions = np.stack([np.arange(0, 260, 10), np.arange(500, 240, -10)], axis=-1)
    q = normal(10, 1, 26, 2, 16)
    cos, sin = theirs_module.Qwen2VLVisionRotaryEmbedding(their_config())(torch.zeros(1), torch.from_numpy(positions))
    want, _ = theirs_module.apply_rotary_pos_emb_vision(torch.from_numpy(q[0]), torch.from_numpy(q[0]), cos, sin)
    got = ours.rotate(jnp.asarray(q), turns(rope_angles(positions[None], 16)))
    assert_close(got[0], want.numpy(), BLOCK, "rotated queries")


@pytest.mark.parametrize(
    "patch, merge, temporal, size", [(14, 2, 2, (56, 84)), (8, 2, 2, (32, 16)), (4, 3, 1, (24, 12))]
)
def test_rows_are_the_image_processor_s(patch, merge, temporal, size):
    """Normalisation and order of the rows, and the grids that transformers' processor reports."""
    processor = Qwen2VLImageProcessorPil(
        patch_size=patch, merge_size=merge, temporal_patch_size=temporal, do_resize=False
    )
    pictures = np.random.default_rng(11).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    want = processor(list(pictures), return_tensors="np")
    pixels = ours.vit_pixels(jnp.asarray(pictures) / 127.5 - 1, size)
    rows = ours.patchify(pixels, patch, merge, temporal)
    assert_close(rows.reshape(-1, rows.shape[-1]), want["pixel_values"], BLOCK, "rows")
    assert want["image_grid_thw"].tolist() == [[1, size[0] // patch, size[1] // patch]] * 2


@pytest.mark.parametrize("size", [(256, 256), (512, 384), (320, 960)])
def test_pixels(size):
    """[-1, 1] -> the tower's input, end to end as the released tokenizer does it."""
    images = np.random.default_rng(12).uniform(-1, 1, (1, *size, 3)).astype(np.float32)
    x = (torch.from_numpy(images).permute(0, 3, 1, 2) + 1) / 2
    target = ours.vit_size(*size)
    x = torch.nn.functional.interpolate(x, target, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
    mean, std = torch.tensor(ours.MEAN).view(3, 1, 1), torch.tensor(ours.STD).view(3, 1, 1)
    got = jax.jit(ours.vit_pixels, static_argnums=1)(images, target)
    assert got.shape == (1, *target, 3) and target != size
    # Both sides place a tap in float32, which shows in long pictures: 3e-5 at 960 pixels, below 1e-5 up to 512.
    assert_close(got, ((x - mean) / std).permute(0, 2, 3, 1).numpy(), NETWORK, "pixels")


def test_keys_and_shapes_of_the_full_tower():
    with torch.device("meta"):
        config = Qwen2VLVisionConfig(hidden_size=3584)
        theirs = theirs_module.Qwen2VisionTransformerPretrainedModel(config)
    want = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    keys = qwen2_vl.VISION.keys(qwen2_vl.shapes())
    assert {key: shape for key, (*_, shape) in keys.items()} == want
