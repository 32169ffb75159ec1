# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The semantic branch against its composition from transformers' vision blocks and torch's own layers.

Parameters travel through the rules of the release in both directions, so the rules are under test as well.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen  # noqa: E402
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig  # noqa: E402

from focus_jax.benchmarks import torch_tokenizer as peer  # noqa: E402
from focus_jax.models.layers import normalised  # noqa: E402
from focus_jax.models.semantic_branch import SemanticBranch, cosine  # noqa: E402
from focus_jax.training.parts import flatten, unflatten  # noqa: E402
from focus_jax.weights import dualvitok  # noqa: E402
from focus_jax.weights.shapes import module_shapes  # noqa: E402
from focus_jax.weights.table import Table  # noqa: E402
from tests.parity.compare import NETWORK, assert_close, assert_gradients, gradients, randomise, state  # noqa: E402

pytestmark = pytest.mark.parity

SIZES = dict(features=48, depth=2, width=32, heads=2, mlp_ratio=4, codes=40, code_dim=8, code_block=16)


class Blocks(nn.Module):
    """Vision blocks over the raster of a map [B, C, h, w], every picture for itself."""

    def __init__(self, depth, width, heads, mlp_ratio):
        super().__init__()
        config = Qwen2VLVisionConfig(embed_dim=width, num_heads=heads, mlp_ratio=mlp_ratio, hidden_act="quick_gelu")
        config._attn_implementation = "eager"
        self.layers = nn.ModuleList(qwen.Qwen2VLVisionBlock(config) for _ in range(depth))
        self.dim = width // heads

    def forward(self, x, h, w):
        b, n, width = x.shape
        at = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"), -1).reshape(n, 2)
        inverse = 10_000.0 ** (-torch.arange(0, self.dim // 2, 2) / (self.dim // 2))
        angles = (at[..., None] * inverse).reshape(n, -1).repeat(b, 1)
        angles = torch.cat((angles, angles), -1)
        x = x.reshape(b * n, width)
        ends = torch.arange(0, b * n + 1, n, dtype=torch.int32)
        for layer in self.layers:
            x = layer(x, cu_seqlens=ends, position_embeddings=(angles.cos(), angles.sin()))
        return x.reshape(b, n, width)


class Encoder(nn.Module):
    def __init__(self, features, width, code_dim, **blocks):
        super().__init__()
        self.proj_in, self.proj_out = nn.Conv2d(features, width, 1), nn.Sequential(nn.Linear(width, code_dim))
        self.blocks = Blocks(width=width, **blocks)

    def forward(self, x):
        x = nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6).permute(0, 3, 1, 2)
        b, _, h, w = x.shape
        x = self.blocks(self.proj_in(x).flatten(2).transpose(1, 2), h, w)
        return self.proj_out(x).reshape(b, h, w, -1)


class Decoder(nn.Module):
    def __init__(self, features, width, code_dim, **blocks):
        super().__init__()
        self.proj_in = nn.Linear(code_dim, width)
        self.proj_out = nn.Sequential(nn.Linear(width, features), nn.LayerNorm(features, eps=1e-5))
        self.blocks = Blocks(width=width, **blocks)

    def forward(self, z):
        b, h, w, _ = z.shape
        x = self.blocks(self.proj_in(z.reshape(b, h * w, -1)), h, w)
        return self.proj_out(x).reshape(b, h, w, -1)


class Branch(nn.Module):
    def __init__(self, features, depth, width, heads, mlp_ratio, codes, code_dim, code_block):
        super().__init__()
        blocks = dict(depth=depth, heads=heads, mlp_ratio=mlp_ratio)
        self.semantic_encoder = Encoder(features, width, code_dim, **blocks)
        self.semantic_quantizer = peer.SimVQ(codes, code_dim)
        self.semantic_decoder = Decoder(features, width, code_dim, **blocks)


def released(arrays):
    return {key.replace(".blocks.layers.", ".blocks."): x for key, x in arrays.items()}


def table(shapes):
    return Table("dualvitok", (dualvitok.SEMANTIC,), dualvitok.SEMANTIC_RULES, lambda config: shapes)


@functools.cache
def whole(scan):
    """(ours, our parameters, theirs, shapes) with the same random weights."""
    torch.manual_seed(0)  # of the frozen codebook
    theirs = randomise(Branch(**SIZES))
    model = SemanticBranch(**SIZES, scan=scan, remat="full" if scan else "none")
    shapes = module_shapes(dualvitok.SEMANTIC, model, (1, 2, 3, SIZES["features"]))
    source = released(state(theirs))
    flat = table(shapes).read(source, shapes, "reference")
    back = table(shapes).write(flat, shapes)
    assert set(back) == set(source) and all(np.array_equal(back[k], source[k]) for k in source)
    return model, unflatten(flat)["tokenizer"]["semantic"], theirs, shapes


@pytest.mark.parametrize("scan", [False, True])
def test_branch(scan):
    """z, codes, decoded tokens, the cosine loss and all gradients on a grid that is not square."""
    model, params, theirs, shapes = whole(scan)
    x = np.random.default_rng(1).standard_normal((3, 3, 4, SIZES["features"])).astype(np.float32) * 3 + 1
    features = torch.from_numpy(x).requires_grad_()
    theirs.zero_grad()
    target = nn.functional.layer_norm(features.detach(), features.shape[-1:], eps=1e-6)
    z = theirs.semantic_encoder(features)
    codes, loss, indices = theirs.semantic_quantizer(z)
    decoded = theirs.semantic_decoder(codes)
    wanted = (1 - nn.functional.cosine_similarity(decoded, target, dim=-1)).mean()
    (wanted + loss).backward()

    def total(params, x):
        found, out = model.apply({"params": params}, x)
        away = 1 - cosine(found, jax.lax.stop_gradient(normalised(x)))
        return away.mean() + out["error"].mean(), (found, out, away.mean())

    (_, (found, out, away)), grads = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(params, x)
    np.testing.assert_array_equal(out["indices"], indices.numpy())
    assert len(np.unique(out["indices"])) > 3
    assert_close(out["z"], z.detach().numpy(), NETWORK, "z")
    assert_close(found, decoded.detach().numpy(), NETWORK, "decoded")
    assert_close(away, wanted.detach().numpy(), NETWORK, "cosine loss")
    assert_close(grads[1], features.grad.numpy(), NETWORK, "gradient of the features")
    flat = {f"{dualvitok.SEMANTIC}/{path}": np.asarray(g) for path, g in flatten(grads[0]).items()}
    assert_gradients(table(shapes).write(flat, shapes), released(gradients(theirs)))


def test_codes_come_back_by_their_indices():
    model, params, _, _ = whole(False)
    x = np.random.default_rng(2).standard_normal((1, 3, 2, SIZES["features"])).astype(np.float32)
    _, out = model.apply({"params": params}, x)
    codes = model.apply({"params": params}, out["indices"], method=lambda m, i: m.quantizer.indices_to_codes(i))
    np.testing.assert_allclose(codes, out["codes"], rtol=1e-6)
    passed, through = model.apply({"params": params}, x, quantise=jnp.array(False))
    np.testing.assert_array_equal(through["quantised"], through["z"])
    assert float(through["error"].max()) == 0.0 and passed.shape == x.shape
