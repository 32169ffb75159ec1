# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The diffusion decoder beside diffusers with the same weights, on CPU in float32.

  python -m focus_jax.benchmark diffusion [--part=blocks640,blocks1280,res320,res640,sampling]

Parts, forward and backward with all parameter gradients of the mean square of the output, batch 2:
  blocks640, blocks1280  transformer blocks on 32 x 32 x 640 and on 16 x 16 x 1280
  res320, res640         residual blocks on 64 x 64 x 320 and on 32 x 32 x 640
  sampling               a loop of 30 DDIM steps of a tiny UNet, forward alone

Both sides' results are compared before any time is taken; repeats are interleaved and medians compared; compilation is
not counted. Needs diffusers and torch (pip install diffusers torch).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.benchmarks.beside_torch import Step, compare, import_torch, our_step, torch_step
from focus_jax.errors import UserError
from focus_jax.models.unet import Block, ResBlock, unet
from focus_jax.ops import noise_schedule
from focus_jax.training.parts import flatten
from focus_jax.weights import sdxl

# Part: (height and width, channels, heads), and the goal of the ratio ours / torch.
BLOCKS = {"blocks640": (32, 640, 10), "blocks1280": (16, 1280, 20)}
RES = {"res320": (64, 320), "res640": (32, 640)}
GOALS = {"blocks640": 1.0, "blocks1280": 1.0, "res320": 0.7, "res640": 0.7, "sampling": 1.0}
CONTEXT, POOLED, TIME = 2048, 1280, 1280
TINY = dict(widths=(64, 96), depths=(0, 1), heads=(2, 4), blocks=1, inputs=20, context=32, pooled=16, ids=16, groups=8)
STEPS = 30


def _import_diffusers() -> Any:
    try:
        import diffusers
    except ImportError as e:
        raise UserError("benchmark: the peer needs diffusers and torch; pip install diffusers torch.") from e
    return diffusers


def _weights(params: Any, ours: str, prefix: str) -> dict[str, np.ndarray]:
    """Our parameters of a block, as those of the UNet's path `ours`, in diffusers' names without their prefix."""
    flat = {f"{ours}/{path}": np.asarray(x) for path, x in flatten(params).items()}
    keys = sdxl.UNET.keys({path: x.shape for path, x in flat.items()})
    return {key.removeprefix(prefix): rule.transform.to_theirs(flat[path]) for key, (path, _, rule, _) in keys.items()}


def blocks(part: str, batch: int) -> dict[str, Step]:
    """Steps of a transformer block, its cross-attention with a context of 77 random vectors."""
    torch = import_torch()
    _import_diffusers()
    from diffusers.models.attention import BasicTransformerBlock

    side, width, heads = BLOCKS[part]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, side * side, width)).astype(np.float32)
    context = rng.standard_normal((batch, 77, CONTEXT)).astype(np.float32)
    net = Block(heads, CONTEXT)
    params = jax.jit(lambda key: nn.unbox(net.init(key, x, context)["params"]))(jax.random.key(0))
    loss = lambda params, x, context: jnp.mean(jnp.square(net.apply({"params": params}, x, context)))
    peer = BasicTransformerBlock(width, heads, width // heads, cross_attention_dim=CONTEXT, activation_fn="geglu")
    given = torch.from_numpy(x), torch.from_numpy(context)
    their_loss = lambda: peer(given[0], encoder_hidden_states=given[1]).square().mean()
    place = "down_blocks.1.attentions.0.transformer_blocks.0."
    weights = _weights(params, "unet/down_1_attn_0/layer_0", place)
    return {"ours": our_step(loss, params, x, context), "torch": torch_step(peer, weights, their_loss)}


def res(part: str, batch: int) -> dict[str, Step]:
    """Steps of a residual block of one width."""
    torch = import_torch()
    _import_diffusers()
    from diffusers.models.resnet import ResnetBlock2D

    side, width = RES[part]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, side, side, width)).astype(np.float32)
    time = rng.standard_normal((batch, TIME)).astype(np.float32)
    net = ResBlock(width, 32)
    params = jax.jit(lambda key: nn.unbox(net.init(key, x, nn.silu(time))["params"]))(jax.random.key(0))
    loss = lambda params, x, time: jnp.mean(jnp.square(net.apply({"params": params}, x, nn.silu(time))))
    peer = ResnetBlock2D(in_channels=width, temb_channels=TIME, groups=32, eps=1e-5)
    given = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))), torch.from_numpy(time)
    their_loss = lambda: peer(*given).square().mean()
    weights = _weights(params, "unet/down_0_res_0", "down_blocks.0.resnets.0.")
    return {"ours": our_step(loss, params, x, time), "torch": torch_step(peer, weights, their_loss)}


def sampling(part: str, batch: int) -> dict[str, Step]:
    """30 DDIM steps of the tiny UNet from one noise, beside diffusers' loop; the result is the latents' mean square."""
    torch, diffusers = import_torch(), _import_diffusers()
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((batch, 16, 16, 4)).astype(np.float32)
    codes = rng.standard_normal((batch, 16, 16, 16)).astype(np.float32)
    ids = np.tile(np.array([0, 0, 0, 0, 0, 11], np.float32), (batch, 1))
    net = unet(**TINY)
    init = jax.jit(lambda key: nn.unbox(net.init(key, jnp.zeros((1, 16, 16, 20)), jnp.zeros(1), ids[:1])["params"]))
    params = init(jax.random.key(0))
    plan = noise_schedule.plan(noise_schedule.Schedule(), "ddim", STEPS)

    @jax.jit
    def run(params: Any, noise: Any) -> jax.Array:
        def body(i: jax.Array, state: Any) -> Any:
            x = jnp.concatenate([state.x, codes], axis=-1)
            out = net.apply({"params": params}, x, jnp.full(batch, plan.t[i]), ids)
            return noise_schedule.step(plan, i, state, out, jnp.zeros_like(noise))

        return jnp.mean(jax.lax.fori_loop(0, STEPS, body, noise_schedule.begun(plan, noise)).x ** 2)

    peer = diffusers.UNet2DConditionModel(
        in_channels=20, out_channels=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), block_out_channels=TINY["widths"], layers_per_block=1,
        cross_attention_dim=32, transformer_layers_per_block=(1, 1), attention_head_dim=(2, 4),
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=6 * 16 + 16, norm_num_groups=8,
    ).eval()  # fmt: skip
    keys = sdxl.UNET.write({f"unet/{path}": np.asarray(x) for path, x in flatten(params).items()})
    peer.load_state_dict({key: torch.from_numpy(np.array(x)) for key, x in keys.items()})
    first = lambda x: torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    seen, begun, given = first(codes), first(noise), dict(text_embeds=torch.zeros(batch, 16))
    given["time_ids"] = torch.from_numpy(ids)

    def theirs() -> float:
        scheduler = diffusers.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
            set_alpha_to_one=False, steps_offset=1,
        )  # fmt: skip
        scheduler.set_timesteps(STEPS)
        x = begun
        with torch.no_grad():
            for t in scheduler.timesteps:
                context = torch.zeros(batch, 1, 32)
                out = peer(torch.cat([x, seen], 1), t, context, added_cond_kwargs=given).sample
                x = scheduler.step(out, t, x).prev_sample
        return float(x.square().mean())

    jax.block_until_ready(run(params, noise))
    return {"ours": lambda: float(run(params, noise)), "torch": theirs}


PARTS: dict[str, Callable[[str, int], dict[str, Step]]] = {
    **dict.fromkeys(BLOCKS, blocks),
    **dict.fromkeys(RES, res),
    "sampling": sampling,
}


def main(argv: Sequence[str]) -> dict:
    """Prints the figures of every part and returns them, {part: figures}."""
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.benchmark diffusion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--part", metavar="NAMES", default=",".join(PARTS), help="what is measured (default: %(default)s)")
    for name, default, what in (
        ("batch", 2, "pictures"),
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
        sides = PARTS[part](part, args.batch)
        found[part] = compare(part, sides, batch=args.batch, steps=args.steps, repeats=args.repeats)
        print(f"{part}: ours {found[part]['examples_per_second']:.3f}, diffusers "
              f"{found[part]['torch_examples_per_second']:.3f} pictures per second, ratio {found[part]['ratio']:.2f} "
              f"(goal {GOALS[part]})", flush=True)  # fmt: skip
    return found
