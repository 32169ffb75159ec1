# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""CLIP's towers and DINO's ViT against transformers, parameters travelling through the tables both ways."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

torch = pytest.importorskip("torch")

from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTModel  # noqa: E402

from focus_jax.errors import UserError  # noqa: E402
from focus_jax.models.clip import PictureTower, TextTower, dino  # noqa: E402
from focus_jax.training.parts import unflatten  # noqa: E402
from focus_jax.weights import clip as tables  # noqa: E402
from tests.parity.compare import NETWORK, assert_close, nchw, randomise, state  # noqa: E402

pytestmark = pytest.mark.parity

WIDE = dict(width=32, depth=2, heads=4, mlp=64)
PICTURE, TEXT = WIDE | dict(side=28, patch=14, out=16), WIDE | dict(rows=99, length=24, out=16, end=98)
OF_DINO = WIDE | dict(side=32, patch=16)
CONFIG = ConfigDict({"model": {"clip_pictures": PICTURE, "clip_texts": TEXT, "dino": OF_DINO}})
RNG = np.random.default_rng(0)


def load(table, source):
    shapes = table.shapes(CONFIG)
    flat = table.read(source, shapes, "reference")
    back = table.write(flat, shapes)
    assert set(back) == set(source) - set(table.left_out(source, shapes))
    assert all(np.array_equal(back[k], source[k]) for k in back)
    return unflatten(flat)


def test_clip():
    common = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    text = common | dict(vocab_size=99, max_position_embeddings=24, bos_token_id=0, eos_token_id=98, pad_token_id=98)
    vision = common | dict(image_size=28, patch_size=14)
    model = randomise(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval())
    params = load(tables.CLIP, state(model))
    pictures = RNG.standard_normal((2, 28, 28, 3)).astype(np.float32)
    ids = np.array([[0, 5, 7, 98, 98, 98], [0, 1, 2, 3, 4, 98]])
    with torch.no_grad():
        of_pictures = model.get_image_features(pixel_values=nchw(pictures))
        of_texts = model.get_text_features(input_ids=torch.from_numpy(ids))
    plain = lambda x: (x if isinstance(x, torch.Tensor) else x.pooler_output).numpy()
    tower, texts = PictureTower(**PICTURE), TextTower(**TEXT)
    assert_close(jax.jit(tower.apply)({"params": params["clip_pictures"]}, pictures), plain(of_pictures), NETWORK)
    assert_close(jax.jit(texts.apply)({"params": params["clip_texts"]}, ids), plain(of_texts), NETWORK)
    with pytest.raises(UserError, match="pictures of 28 x 14 pixels, expected 28 x 28"):
        tower.apply({"params": params["clip_pictures"]}, pictures[:, :, :14])
    with pytest.raises(UserError, match="texts of 25 ids, expected at most 24"):
        texts.apply({"params": params["clip_texts"]}, np.zeros((1, 25), np.int32))


def in_hub_names(key):
    """transformers 5 has other names in memory than the checkpoints have."""
    for new, old in (
        ("attention.q_proj", "attention.attention.query"),
        ("attention.k_proj", "attention.attention.key"),
        ("attention.v_proj", "attention.attention.value"),
        ("attention.o_proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    ):
        key = key.replace(new, old)
    return f"encoder.layer.{key.removeprefix('layers.')}" if key.startswith("layers.") else key


def test_dino():
    config = ViTConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=32)
    model = randomise(ViTModel(config, add_pooling_layer=False).eval())
    params = load(tables.DINO_VIT, {in_hub_names(k): x for k, x in state(model).items()})
    pictures = RNG.standard_normal((2, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        want = model(nchw(pictures)).last_hidden_state[:, 0].numpy()
    assert_close(jax.jit(dino(**OF_DINO).apply)({"params": params["dino"]}, pictures), want, NETWORK)


def test_counts_at_full_size():
    count = lambda shapes: sum(int(np.prod(shape)) for shape in shapes.values())
    shapes = tables.clip_shapes()
    assert count({p: s for p, s in shapes.items() if p.startswith("clip_texts/")}) == 123_060_480 + 768 * 768
    assert count(tables.dino_shapes()) == 21_665_664
