# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Training steps of the tokenizer's networks beside the same networks in torch, all on CPU in float32.

  python -m focus_jax.benchmark tokenizer [--part=tokenizer,vit,convnext]

Parts:
  tokenizer  the pixel branch of --config; forward and backward of L1 reconstruction + quantiser loss
  vit        blocks of Qwen2-VL's vision tower with patch embedding and merger, beside transformers with sdpa
  convnext   a block a stage of ConvNeXt-L, beside transformers' backbone

A step gives all parameter gradients; the encoders' loss is the mean squared distance of their outputs from random
targets. Both sides have the same weights and inputs, and their losses are compared before any time is taken. Repeats
are interleaved and medians compared; compilation is not counted. Needs torch (pip install "focus_jax[convert]").
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from focus_jax.benchmarks import encoders
from focus_jax.benchmarks.beside_torch import Step, compare, import_torch, our_step, torch_step
from focus_jax.errors import UserError
from focus_jax.models.dual_tokenizer import DualTokenizer, dual_tokenizer
from focus_jax.training import config as config_lib
from focus_jax.training.parts import flatten
from focus_jax.weights import dualvitok

GOALS = {"tokenizer": 0.8, "vit": 1.0, "convnext": 0.8}  # ratio ours / torch of each part


def _ours(model: DualTokenizer, params: dict, images: np.ndarray) -> Step:
    """A step of our network."""

    def loss(params: dict, images: jax.Array) -> jax.Array:
        reconstruction, out = model.apply({"params": params}, images)
        return jnp.abs(reconstruction - images).mean() + out["pixel"]["error"].mean()

    return our_step(loss, params, images)


def _theirs(sizes: ConfigDict, params: dict, images: np.ndarray) -> Step:
    """A step of the torch network with the same weights."""
    torch = import_torch()
    from focus_jax.benchmarks.torch_tokenizer import PixelTokenizer

    model = PixelTokenizer(semantic_dim=sizes.semantic_dim, pixel=sizes.pixel)
    flat = {path: np.asarray(x) for path, x in flatten({"tokenizer": params}).items()}
    pictures = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    def loss():
        reconstruction, quantiser, _ = model(pictures)
        return (reconstruction - pictures).abs().mean() + quantiser

    return torch_step(model, dualvitok.TABLE.write(flat), loss)


def run(config: ConfigDict, *, pixels: int = 64, batch: int = 8, steps: int = 10, repeats: int = 5) -> dict:
    """Measures the part tokenizer: a tokenizer with the pixel branch alone.

    Args:
      config: its model.tokenizer gives the sizes of that branch.
      pixels: side of a picture; batch: pictures; steps: timed a repeat.

    Returns: the figures of `compare`, and pixels.
    Raises: UserError where the two losses differ.
    """
    images = np.random.default_rng(0).uniform(-1, 1, (batch, pixels, pixels, 3)).astype(np.float32)
    sizes = config.model.tokenizer
    model = dual_tokenizer(branches=("pixel",), semantic_dim=sizes.semantic_dim, pixel=sizes.pixel)
    stride = jnp.zeros((1, model.stride, model.stride, 3))
    params = jax.jit(lambda key: nn.unbox(model.init(key, stride)["params"]))(jax.random.key(0))
    sides = {"ours": _ours(model, params, images), "torch": _theirs(sizes, params, images)}
    return compare("tokenizer", sides, batch=batch, steps=steps, repeats=repeats) | {"pixels": pixels}


def _parts(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in GOALS]:
        raise UserError(f"--part={text}: no part {unknown[0]!r}, expected some of {','.join(GOALS)}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.benchmark tokenizer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--part", metavar="NAMES", default=",".join(GOALS), help="what is measured (default: %(default)s)")
    config = "configs/stage1_tokenizer.py:tiny"
    add("--config", metavar="FILE", default=config, help="its model.tokenizer is measured (default: %(default)s)")
    for name, default, what in (
        ("repeats", 5, "of each part"),
        ("pixels", 64, "tokenizer: side of a picture"),
        ("batch", 8, "tokenizer: pictures"),
        ("steps", 10, "tokenizer: timed a repeat"),
        ("encoder-steps", 2, "vit, convnext: timed a repeat"),
        ("vit-width", 1280, "of the tower"),
        ("vit-heads", 16, "its heads"),
        ("vit-depth", 2, "its blocks"),
        ("vit-pixels", 252, "side of its pictures, a multiple of 28"),
        ("vit-batch", 1, "its pictures"),
        ("convnext-pixels", 256, "side of its pictures, a multiple of 32"),
        ("convnext-batch", 1, "its pictures"),
    ):
        add(f"--{name}", metavar="N", type=int, default=default, help=f"{what} (default: %(default)s)")
    for name, default, what in (
        ("convnext-widths", "192,384,768,1536", "of its stages"),
        ("convnext-depths", "1,1,1,1", "blocks of its stages"),
    ):
        add(f"--{name}", metavar="N,N,N,N", type=_numbers, default=default, help=f"{what} (default: %(default)s)")
    return parser


def main(argv: Sequence[str]) -> dict:
    """Prints the figures of every part and returns them, {part: figures}."""
    overrides, rest = config_lib.config_overrides(argv)
    args = vars(_parser().parse_args(rest))
    found = {}
    for part in _parts(args["part"]):
        if part == "tokenizer":
            sizes = {key: args[key] for key in ("pixels", "batch", "steps", "repeats")}
            figures = run(config_lib.load(args["config"], overrides), **sizes)
        else:
            sizes = {key.removeprefix(f"{part}_"): x for key, x in args.items() if key.startswith(f"{part}_")}
            counts = dict(batch=sizes["batch"], steps=args["encoder_steps"], repeats=args["repeats"])
            figures = compare(part, getattr(encoders, part)(**sizes), **counts) | sizes
        found[part] = figures
        side = figures["pixels"]
        print(f"step   {part}, batch {figures['batch']}, {side} x {side} pixels, float32, CPU")
        print(f"ours   {figures['examples_per_second']:8.2f} examples per second")
        print(f"torch  {figures['torch_examples_per_second']:8.2f} examples per second")
        print(f"ratio  {figures['ratio']:8.3f} (goal {GOALS[part]})")
    return found
