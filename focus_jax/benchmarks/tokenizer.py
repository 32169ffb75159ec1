# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A tokenizer training step beside the same network in torch, both on CPU in float32.

  python -m focus_jax.benchmark tokenizer [--config=configs/stage1_tokenizer.py:tiny --pixels=64 --batch=8]

A step is forward and backward of L1 reconstruction + quantiser loss, with all parameter gradients. Both sides have the
same weights and pictures, and the losses of the two are compared before any time is taken. Repeats are interleaved and
medians compared; compilation is not counted. Needs torch (pip install "focus_jax[convert]").
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from focus_jax.errors import UserError
from focus_jax.models.dual_tokenizer import dual_tokenizer
from focus_jax.training import config as config_lib
from focus_jax.training.parts import flatten
from focus_jax.weights import dualvitok


def _ours(config: ConfigDict, params: dict, images: np.ndarray) -> Callable[[], float]:
    """A step of our network; returns the loss."""
    model = dual_tokenizer(**config.model.tokenizer)

    def loss(params: dict, images: jax.Array) -> jax.Array:
        reconstruction, out = model.apply({"params": params}, images)
        return jnp.abs(reconstruction - images).mean() + out["pixel"]["error"].mean()

    step = jax.jit(jax.value_and_grad(loss)).lower(params, images).compile()
    images = jnp.asarray(images)
    return lambda: float(jax.block_until_ready(step(params, images))[0])


def _theirs(config: ConfigDict, params: dict, images: np.ndarray) -> Callable[[], float]:
    """A step of the torch network with the same weights; returns the loss."""
    try:
        import torch
    except ImportError as e:
        raise UserError('benchmark tokenizer: the peer needs torch; pip install "focus_jax[convert]".') from e
    from focus_jax.benchmarks.torch_tokenizer import PixelTokenizer

    sizes = config.model.tokenizer
    model = PixelTokenizer(semantic_dim=sizes.semantic_dim, pixel=sizes.pixel)
    flat = {path: np.asarray(x) for path, x in flatten({"tokenizer": params}).items()}
    model.load_state_dict({k: torch.from_numpy(x.copy()) for k, x in dualvitok.TABLE.write(flat).items()})
    pictures = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    def step() -> float:
        model.zero_grad(set_to_none=True)
        reconstruction, quantiser, _ = model(pictures)
        loss = (reconstruction - pictures).abs().mean() + quantiser
        loss.backward()
        return loss.item()

    return step


def run(config: ConfigDict, *, pixels: int = 64, batch: int = 8, steps: int = 10, repeats: int = 5) -> dict:
    """Measures both sides.

    Args:
      config: its model.tokenizer gives the sizes.
      pixels: side of a picture; batch: pictures; steps: timed a repeat.

    Returns: examples_per_second, torch_examples_per_second, ratio (ours / torch; above 1 is faster), losses, sizes.
    Raises: UserError where the two losses differ by more than 1e-4, for then the two steps are not the same work.
    """
    images = np.random.default_rng(0).uniform(-1, 1, (batch, pixels, pixels, 3)).astype(np.float32)
    model = dual_tokenizer(**config.model.tokenizer)
    stride = jnp.zeros((1, model.stride, model.stride, 3))
    params = jax.jit(lambda key: nn.unbox(model.init(key, stride)["params"]))(jax.random.key(0))
    sides = {"ours": _ours(config, params, images), "torch": _theirs(config, params, images)}
    losses = {side: step() for side, step in sides.items()}
    if abs(losses["ours"] - losses["torch"]) > 1e-4 * abs(losses["torch"]):
        raise UserError(f"benchmark tokenizer: the losses differ, {losses['ours']} and torch's {losses['torch']}.")
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for repeat in range(repeats):
        for side in sorted(sides, reverse=repeat % 2 == 1):  # each goes first half of the time
            sides[side]()
            start = time.perf_counter()
            for _ in range(steps):
                sides[side]()
            seconds[side].append(time.perf_counter() - start)
    ours, theirs = (batch * steps / statistics.median(seconds[side]) for side in ("ours", "torch"))
    return {
        "examples_per_second": ours,
        "torch_examples_per_second": theirs,
        "ratio": ours / theirs,
        "loss": losses["ours"],
        "torch_loss": losses["torch"],
        "pixels": pixels,
        "batch": batch,
        "steps": steps,
        "repeats": repeats,
    }


def main(argv: Sequence[str]) -> dict:
    """Prints the figures of `run` and returns them."""
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.benchmark tokenizer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", default="configs/stage1_tokenizer.py:tiny", help="its model.tokenizer is measured")
    parser.add_argument("--pixels", type=int, default=64, help="side of a picture")
    parser.add_argument("--batch", type=int, default=8, help="pictures")
    parser.add_argument("--steps", type=int, default=10, help="timed a repeat")
    parser.add_argument("--repeats", type=int, default=5)
    overrides, rest = config_lib.config_overrides(argv)
    args = vars(parser.parse_args(rest))
    figures = run(config_lib.load(args.pop("config"), overrides), **args)
    print(f"step   {figures['batch']} pictures of {figures['pixels']} x {figures['pixels']}, float32, CPU")
    print(f"ours   {figures['examples_per_second']:8.1f} examples per second")
    print(f"torch  {figures['torch_examples_per_second']:8.1f} examples per second")
    print(f"ratio  {figures['ratio']:8.3f} (goal 0.8)")
    return figures
