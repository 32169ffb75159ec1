# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks by name: `python -m focus_jax.evaluate --config=configs/eval.py:NAME --checkpoint=DIR`.

reconstruction    the tokenizer on held-out pictures: PSNR, SSIM, perceptual distance, codebook usage
"""

from ml_collections import ConfigDict


def get_config(name: str = "reconstruction") -> ConfigDict:
    if name != "reconstruction":
        raise ValueError(f"configs/eval.py:{name}: expected :reconstruction")
    c = ConfigDict()
    c.evaluator = "reconstruction"  # focus_jax/evaluation/reconstruction.py
    c.data = ConfigDict()
    c.data.name = "photographs"
    c.data.path = "data/photographs"  # made by data_pipelines.prepare; photographs make themselves
    c.data.reader = "photographs"
    c.data.split = "test"
    c.height = c.width = 64  # bucket
    c.batch_size = 32
    c.limit = 1_000  # pictures at most, the first of the split
    # Safetensors file with our paths perceptual/*, made by `convert import` from torchvision's VGG16 and LPIPS weights.
    # "" = random features of fixed seed; the figure is then called perceptual_random.
    c.perceptual = ""
    c.shown = 16  # pictures in the report
    return c
