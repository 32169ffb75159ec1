# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The whole tokenizer in the form of the release: both branches, from pixels to losses, against one of torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen  # noqa: E402

from focus_jax.benchmarks import torch_tokenizer as peer  # noqa: E402
from focus_jax.models import qwen_vit  # noqa: E402
from focus_jax.models.dual_tokenizer import dual_tokenizer  # noqa: E402
from focus_jax.models.semantic_branch import cosine  # noqa: E402
from focus_jax.training.parts import flatten, unflatten  # noqa: E402
from focus_jax.weights import dualvitok  # noqa: E402
from focus_jax.weights.shapes import module_shapes  # noqa: E402
from focus_jax.weights.table import Table  # noqa: E402
from tests.parity import reference_tokenizer as reference  # noqa: E402
from tests.parity import test_pixel_branch as pixel_half  # noqa: E402
from tests.parity import test_semantic_branch as semantic_half  # noqa: E402
from tests.parity.compare import NETWORK, assert_close, assert_gradients, gradients, nchw, nhwc, randomise, state  # noqa: E402
from tests.parity.test_qwen_vit import SIZES as VIT  # noqa: E402
from tests.parity.test_qwen_vit import their_config  # noqa: E402

pytestmark = pytest.mark.parity

SEMANTIC = {k: v for k, v in semantic_half.SIZES.items() if k not in ("features", "code_dim")}
SIZE, SHOWN = (64, 96), (56, 84)  # of the pictures, and as the tower sees them: 2 x 3 tokens beside 4 x 6 pixel codes


class Tokenizer(nn.Module):
    """The release's order of operations; images [B, 3, H, W]."""

    def __init__(self, semantic_dim, pixel):
        super().__init__()
        half = semantic_half.Branch(**semantic_half.SIZES)
        self.semantic_encoder, self.semantic_quantizer = half.semantic_encoder, half.semantic_quantizer
        self.semantic_decoder = half.semantic_decoder
        self.semantic_encoder.model = qwen.Qwen2VisionTransformerPretrainedModel(their_config())
        whole = peer.PixelTokenizer(semantic_dim=semantic_dim, pixel=pixel, kinds=reference.DiffusersBlocks)
        for name, child in whole.named_children():
            setattr(self, name, child)
        self.decode = whole.decode

    def tokens(self, images):
        shown = F.interpolate((images + 1) / 2, SHOWN, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        mean, std = (torch.tensor(x)[:, None, None] for x in (qwen_vit.MEAN, qwen_vit.STD))
        pixels = ((shown - mean) / std).detach().permute(0, 2, 3, 1).numpy()
        rows = np.asarray(qwen_vit.patchify(jnp.asarray(pixels), 14, 2, 2))  # checked in test_qwen_vit
        grid = torch.tensor([(1, SHOWN[0] // 14, SHOWN[1] // 14)] * len(images))
        with torch.no_grad():
            out = self.semantic_encoder.model(torch.from_numpy(rows.reshape(-1, rows.shape[-1]).copy()), grid_thw=grid)
        return out.pooler_output.reshape(len(images), SHOWN[0] // 28, SHOWN[1] // 28, -1)

    def forward(self, images):
        low = self.tokens(images)
        target = F.layer_norm(low, low.shape[-1:], eps=1e-6)
        semantic, semantic_loss, semantic_indices = self.semantic_quantizer(self.semantic_encoder(low))
        decoded = self.semantic_decoder(semantic)
        z = self.pixel_quant_conv(self.pixel_encoder(images)).permute(0, 2, 3, 1)
        codes, pixel_loss, indices = self.pixel_quantizer(z)
        codes = codes.permute(0, 3, 1, 2)
        half = F.interpolate(semantic.permute(0, 3, 1, 2), codes.shape[2:], mode="bicubic", align_corners=False)
        away = (1 - F.cosine_similarity(decoded, target, dim=-1)).mean()
        found = {"z": z, "indices": indices, "semantic_indices": semantic_indices, "decoded": decoded, "target": target}
        return self.decode(torch.cat([half, codes], dim=1)), away + semantic_loss + pixel_loss, found


@pytest.mark.slow
def test_the_whole_tokenizer_of_the_release():
    sizes = pixel_half.sizes(False, patch=4)
    torch.manual_seed(1)  # of the frozen codebooks
    theirs = randomise(Tokenizer(sizes.semantic_dim, sizes.pixel))
    model = dual_tokenizer(
        branches=("semantic", "pixel"), form="illume", semantic_dim=sizes.semantic_dim, pixel=sizes.pixel,
        semantic=SEMANTIC, vit=VIT,
    )  # fmt: skip
    shapes = module_shapes("tokenizer", model, (1, *SIZE, 3))
    table = Table("dualvitok", ("tokenizer",), dualvitok.WHOLE_RULES, lambda config: shapes)
    name = lambda arrays: semantic_half.released(reference.released(arrays))
    source = name(state(theirs))
    params = unflatten(table.read(source, shapes, "reference"))["tokenizer"]
    back = table.write(flatten({"tokenizer": params}), shapes)
    assert set(back) == set(source) and all(np.array_equal(back[k], source[k]) for k in source)
    assert set(params) == {"vit", "semantic", "pixel"}

    x = np.random.default_rng(2).uniform(-1, 1, (2, *SIZE, 3)).astype(np.float32)
    images = nchw(x).requires_grad_()
    reconstruction, losses, wanted = theirs(images)
    ((reconstruction - images).abs().mean() + losses).backward()

    def loss(params, images):
        y, out = model.apply({"params": params}, images)
        away = 1 - cosine(out["semantic"]["decoded"], out["semantic"]["target"])
        quantiser = out["semantic"]["error"].mean() + out["pixel"]["error"].mean()
        return jnp.abs(y - images).mean() + away.mean() + quantiser, (y, out, away.mean() + quantiser)

    with jax.default_matmul_precision("highest"):
        (_, (y, out, total)), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, x)
    np.testing.assert_array_equal(out["pixel"]["indices"], wanted["indices"].numpy())
    np.testing.assert_array_equal(out["semantic"]["indices"], wanted["semantic_indices"].numpy())
    assert len(np.unique(out["semantic"]["indices"])) > 1 and len(np.unique(out["pixel"]["indices"])) > 5
    assert_close(out["semantic"]["target"], wanted["target"].numpy(), NETWORK, "the tower's tokens")
    assert_close(out["semantic"]["decoded"], wanted["decoded"].detach().numpy(), NETWORK, "decoded semantics")
    assert_close(out["pixel"]["z"], wanted["z"].detach().numpy(), NETWORK, "z")
    assert_close(y, nhwc(reconstruction), NETWORK, "reconstruction")
    assert_close(total, losses.detach().numpy(), NETWORK, "losses")
    assert_close(grads[1], nhwc(images.grad), NETWORK, "gradient of the images")
    flat = {path: np.asarray(g) for path, g in flatten({"tokenizer": grads[0]}).items()}
    frozen = [k for k in flat if k.startswith("tokenizer/vit/")]
    assert frozen and not any(np.any(flat[k]) for k in frozen)
    assert_gradients(table.write(flat, shapes), name(gradients(theirs)))

    decode = lambda p, i, s: model.apply({"params": p}, {"pixel": i, "semantic": s}, method="indices_to_images")
    again = jax.jit(decode)(params, out["pixel"]["indices"], out["semantic"]["indices"])
    np.testing.assert_allclose(again, y, atol=1e-4)
