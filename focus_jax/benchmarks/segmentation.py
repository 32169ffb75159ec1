# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Mask2Former's decoders at 768 px beside transformers' with the same weights, on CPU in float32; matching; memory.

  python -m focus_jax.benchmark segmentation [--part=pixel,decoder,matching,memory]

Parts:
  pixel     the pixel decoder with --depth deformable layers, forward and backward, of maps of a picture of --pixels
  decoder   --layers of the transformer decoder with 100 queries and the masks behind each, forward and backward
  matching  80 rows of 100 queries and 20 targets in one jitted call
  memory    what the compiled gradient of the whole pixel decoder (6 layers) takes beside arguments and outputs

A step gives all parameter gradients of the mean square of the outputs. Both sides' losses are compared before any time
is taken; repeats are interleaved and medians compared; compilation is not counted. Needs torch (pip install
"focus_jax[convert]") for the first two.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from focus_jax.benchmarks.beside_torch import Step, compare, import_torch, our_step, torch_step
from focus_jax.errors import UserError
from focus_jax.models.mask_decoder import Decoder
from focus_jax.models.mask_pixel_decoder import mask_pixel_decoder
from focus_jax.ops.matching import match
from focus_jax.training.parts import flatten
from focus_jax.weights import mask2former

GOALS = {"pixel": 1.0, "decoder": 1.0}  # ratio ours / torch
MATCHING, MEMORY = 15.0, 1.5  # goals: milliseconds at most, GiB at most
PARTS = (*GOALS, "matching", "memory")
WIDTHS = (192, 384, 768, 1536)  # of ConvNeXt-L's maps
OFFICIAL = {"width": 256, "heads": 8, "points": 4, "mlp": 1024, "groups": 32}
QUERIES = 100


def maps_of(pixels: int, batch: int) -> dict[str, np.ndarray]:
    """Random maps of square pictures, float32 [B, h, w, C] by level. Raises: UserError."""
    if pixels % 32:
        raise UserError(f"--pixels={pixels}: expected a multiple of 32, the coarsest map's stride.")
    rng = np.random.default_rng(0)
    sides = [pixels // (4 << i) for i in range(4)]
    return {
        f"res{i + 2}": rng.standard_normal((batch, side, side, width)).astype(np.float32)
        for i, (side, width) in enumerate(zip(sides, WIDTHS))
    }


def _reference(depth: int, layers: int) -> Any:
    """transformers' configuration of these sizes."""
    from transformers import Mask2FormerConfig, SwinConfig

    backbone = SwinConfig(embed_dim=WIDTHS[0], out_features=[f"stage{i}" for i in range(1, 5)])
    return Mask2FormerConfig(
        backbone_config=backbone, feature_size=256, mask_feature_size=256, hidden_dim=256, num_attention_heads=8,
        num_queries=QUERIES, encoder_layers=depth, encoder_feedforward_dim=1024, decoder_layers=layers + 1,
        dim_feedforward=2048, dropout=0.0,
    )  # fmt: skip


def _weights(part: str, params: Mapping[str, Any], depth: int, layers: int, prefix: str) -> dict[str, np.ndarray]:
    """Our parameters of a part in the names of transformers' module, zeros for the other part's left out."""
    sizes = {
        "mask_pixel_decoder": OFFICIAL | {"depth": depth},
        "mask_decoder": dict(queries=QUERIES, width=256, heads=8, mlp=2048, depth=layers),
        "convnext": dict(widths=WIDTHS),
    }
    shapes = mask2former.TRANSFORMERS.shapes(ConfigDict({"model": sizes}))
    own = {f"{part}/{path}": np.asarray(x) for path, x in flatten(params).items()}
    flat = {path: own.get(path, np.zeros(shape, np.float32)) for path, shape in shapes.items()}
    keys = mask2former.TRANSFORMERS.write(flat, shapes)
    return {key.removeprefix(prefix): x for key, x in keys.items() if key.startswith(prefix)}


def pixel(pixels: int, batch: int, depth: int) -> dict[str, Step]:
    """Steps of the pixel decoder."""
    torch = import_torch()
    from transformers.models.mask2former import modeling_mask2former as theirs

    maps = maps_of(pixels, batch)
    net = mask_pixel_decoder(**OFFICIAL, depth=depth)
    params = jax.jit(lambda key: nn.unbox(net.init(key, maps)["params"]))(jax.random.key(0))

    def loss(params: Any, maps: Any) -> jax.Array:
        features, levels = net.apply({"params": params}, maps)
        return sum(jnp.mean(jnp.square(x)) for x in (features, *levels))

    peer = theirs.Mask2FormerPixelDecoder(_reference(depth, 1), feature_channels=list(WIDTHS))
    tensors = [torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))) for x in maps.values()]

    def their_loss() -> Any:
        out = peer(tensors)
        return sum(x.square().mean() for x in (out.mask_features, *out.multi_scale_features))

    weights = _weights("mask_pixel_decoder", params, depth, 1, "model.pixel_level_module.decoder.")
    return {"ours": our_step(loss, params, maps), "torch": torch_step(peer, weights, their_loss)}


def decoder(pixels: int, batch: int, layers: int) -> dict[str, Step]:
    """Steps of the transformer decoder, on random mask features and maps."""
    torch = import_torch()
    from transformers.models.mask2former import modeling_mask2former as theirs

    rng = np.random.default_rng(1)
    normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    features = normal(batch, pixels // 4, pixels // 4, 256)
    levels = [normal(batch, pixels // s, pixels // s, 256) for s in (32, 16, 8)]
    net = Decoder(QUERIES, 256, 8, 2048, layers)
    contents = normal(batch, QUERIES, 256)
    contents[1:] = contents[0]  # theirs has one set
    init = jax.jit(lambda key: nn.unbox(net.init(key, contents, features, levels)["params"]))
    params = init(jax.random.key(0))

    def loss(params: Any, contents: Any, features: Any, levels: Any) -> jax.Array:
        return jnp.mean(jnp.square(net.apply({"params": params}, contents, features, levels)[0]))

    peer = theirs.Mask2FormerTransformerModule(in_features=256, config=_reference(1, layers))
    first = lambda x: torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    fine, coarse = first(features), [first(x) for x in levels]

    def their_loss() -> Any:
        masks = peer(coarse, fine, output_hidden_states=True).masks_queries_logits
        return torch.stack(list(masks)).square().mean()

    weights = _weights("mask_decoder", {"decoder": params}, 1, layers, "model.transformer_module.")
    weights["queries_features.weight"] = contents[0]
    return {"ours": our_step(loss, params, contents, features, levels), "torch": torch_step(peer, weights, their_loss)}


def matching(rows: int = 80, queries: int = QUERIES, targets: int = 20, repeats: int = 10) -> float:
    """Milliseconds of one call, the median."""
    costs = jnp.asarray(np.random.default_rng(0).random((rows, queries, targets)), jnp.float32)
    there = jnp.ones((rows, targets), bool)
    run = jax.jit(match)
    jax.block_until_ready(run(costs, there))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run(costs, there))
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def memory(pixels: int) -> float:
    """GiB of temporaries of the gradient of the full pixel decoder's loss, one picture."""
    maps = jax.eval_shape(lambda: maps_of(pixels, 1))
    net = mask_pixel_decoder(**OFFICIAL, depth=6, scan=True, remat="full")
    params = nn.unbox(jax.eval_shape(net.init, jax.random.key(0), maps)["params"])

    def loss(params: Any, maps: Any) -> jax.Array:
        features, levels = net.apply({"params": params}, maps)
        return sum(jnp.mean(jnp.square(x)) for x in (features, *levels))

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(params, maps).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**30


def main(argv: Sequence[str]) -> dict:
    """Prints the figures of every part and returns them, {part: figures}."""
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.benchmark segmentation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--part", metavar="NAMES", default=",".join(PARTS), help="what is measured (default: %(default)s)")
    for name, default, what in (
        ("pixels", 768, "side of a picture, a multiple of 32"),
        ("batch", 1, "pictures"),
        ("depth", 1, "deformable layers of the part pixel"),
        ("layers", 3, "of the part decoder, a round of the three maps"),
        ("steps", 2, "timed a repeat"),
        ("repeats", 3, "of each part"),
    ):
        add(f"--{name}", metavar="N", type=int, default=default, help=f"{what} (default: %(default)s)")
    args = parser.parse_args(argv)
    parts = args.part.split(",")
    if unknown := [name for name in parts if name not in PARTS]:
        raise UserError(f"--part={args.part}: no part {unknown[0]!r}, expected some of {','.join(PARTS)}")
    found: dict[str, Any] = {}
    for part in parts:
        if part == "matching":
            found[part] = {"milliseconds": matching()}
            print(f"matching 80 x {QUERIES} x 20: {found[part]['milliseconds']:.2f} ms (goal below {MATCHING:g})")
            continue
        if part == "memory":
            found[part] = {"gib": memory(args.pixels), "pixels": args.pixels}
            print(f"memory   pixel decoder, {args.pixels} px: {found[part]['gib']:.2f} GiB (goal below {MEMORY:g})")
            continue
        make, size = (pixel, args.depth) if part == "pixel" else (decoder, args.layers)
        sides = make(args.pixels, args.batch, size)
        counts = dict(batch=args.batch, steps=args.steps, repeats=args.repeats)
        found[part] = compare(part, sides, **counts) | {"pixels": args.pixels, "layers": size}
        print(f"step   {part}, {size} layers, batch {args.batch}, {args.pixels} px, float32, CPU")
        print(f"ours   {found[part]['examples_per_second']:8.3f} pictures per second")
        print(f"torch  {found[part]['torch_examples_per_second']:8.3f} pictures per second")
        print(f"ratio  {found[part]['ratio']:8.3f} (goal {GOALS[part]})", flush=True)
    return found
