# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""SDXL's UNet and autoencoder in the names of diffusers and in those of the original single file.

A UNet for text alone has 4 input channels: read into one with a code map, the channels of codes begin at zero, so that
it draws as SDXL does whatever the codes are (FOCUS section 3.5 starts there).
"""

from __future__ import annotations

import json
from typing import Any

from etils import epath

from focus_jax.errors import UserError
from focus_jax.models.unet import UNet, unet
from focus_jax.models.vae import VAE, vae
from focus_jax.training.parts import WIDER
from focus_jax.weights.shapes import module_shapes, sizes
from focus_jax.weights.table import DENSE, Rule, Shape, Table, Transform, conv, linear, norm

UNET_PART, VAE_PART = "unet", "vae"
LEVELS, BLOCKS = 3, 2  # of SDXL's UNet, on whose numbers the single file's names rest
VAE_LEVELS = 4

# A linear layer of theirs that is a 1x1 convolution of ours: [out, in] -> [1, 1, in, out].
POINTWISE = Transform(lambda x: x.T[None, None], lambda x: x[0, 0].T, lambda shape: (shape[3], shape[2]))


# -------------------------------------------------------------------------------------------------------------- UNet
def _transformer(theirs: str, ours: str) -> list[Rule]:
    block, layer = f"{theirs}.transformer_blocks.{{k}}", f"{ours}/layer_{{k}}"
    rules = [*norm(f"{theirs}.norm", f"{ours}/norm")]
    rules += linear(f"{theirs}.proj_in", f"{ours}/proj_in") + linear(f"{theirs}.proj_out", f"{ours}/proj_out")
    for i in (1, 2, 3):
        rules += norm(f"{block}.norm{i}", f"{layer}/norm{i}")
    for name in ("q", "k", "v"):
        rules.append(Rule(f"{block}.attn1.to_{name}.weight", f"{layer}/attn1/{name}/kernel", DENSE))
        rules.append(Rule(f"{block}.attn2.to_{name}.weight", f"{layer}/attn2/{name}", DENSE))
    rules += linear(f"{block}.attn1.to_out.0", f"{layer}/attn1/out")
    rules.append(Rule(f"{block}.attn2.to_out.0.weight", f"{layer}/attn2/out", DENSE))
    rules.append(Rule(f"{block}.attn2.to_out.0.bias", f"{layer}/attn2/bias"))
    return rules + linear(f"{block}.ff.net.0.proj", f"{layer}/ff_in") + linear(f"{block}.ff.net.2", f"{layer}/ff_out")


def _res(theirs: str, ours: str, names: tuple[str, str, str, str, str, str]) -> list[Rule]:
    """names: first norm and convolution, time, second norm and convolution, shortcut."""
    norm1, conv1, time, norm2, conv2, shortcut = names
    return [
        *norm(f"{theirs}.{norm1}", f"{ours}/norm1"),
        *conv(f"{theirs}.{conv1}", f"{ours}/conv1"),
        *linear(f"{theirs}.{time}", f"{ours}/time"),
        *norm(f"{theirs}.{norm2}", f"{ours}/norm2"),
        *conv(f"{theirs}.{conv2}", f"{ours}/conv2"),
        *conv(f"{theirs}.{shortcut}", f"{ours}/shortcut"),
    ]


def _diffusers_unet() -> list[Rule]:
    u = UNET_PART
    names = ("norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut")
    rules = conv("conv_in", f"{u}/conv_in") + conv("conv_out", f"{u}/conv_out") + norm("conv_norm_out", f"{u}/norm_out")
    for theirs, ours in (("time_embedding", "time"), ("add_embedding", "added")):
        for i in (1, 2):
            rules += linear(f"{theirs}.linear_{i}", f"{u}/{ours}/fc{i}")
    for theirs, ours in (("down_blocks.{i}", "down_{i}"), ("up_blocks.{i}", "up_{i}"), ("mid_block", "mid")):
        rules += _res(f"{theirs}.resnets.{{j}}", f"{u}/{ours}_res_{{j}}", names)
        rules += _transformer(f"{theirs}.attentions.{{j}}", f"{u}/{ours}_attn_{{j}}")
    rules += conv("down_blocks.{i}.downsamplers.0.conv", f"{u}/down_{{i}}_downsample/conv")
    return rules + conv("up_blocks.{i}.upsamplers.0.conv", f"{u}/up_{{i}}_upsample/conv")


def _original_unet() -> list[Rule]:
    """Blocks are counted through: input_blocks 0 is the first convolution, behind each level stands a downsampling."""
    u = UNET_PART
    names = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection")
    rules = conv("input_blocks.0.0", f"{u}/conv_in") + norm("out.0", f"{u}/norm_out") + conv("out.2", f"{u}/conv_out")
    for i, n in ((1, 0), (2, 2)):
        rules += linear(f"time_embed.{n}", f"{u}/time/fc{i}") + linear(f"label_emb.0.{n}", f"{u}/added/fc{i}")
    for i in range(LEVELS):
        for j in range(BLOCKS):
            at = 1 + i * (BLOCKS + 1) + j
            rules += _res(f"input_blocks.{at}.0", f"{u}/down_{i}_res_{j}", names)
            rules += _transformer(f"input_blocks.{at}.1", f"{u}/down_{i}_attn_{j}")
        rules += conv(f"input_blocks.{(i + 1) * (BLOCKS + 1)}.0.op", f"{u}/down_{i}_downsample/conv")
        for j in range(BLOCKS + 1):
            at = i * (BLOCKS + 1) + j
            rules += _res(f"output_blocks.{at}.0", f"{u}/up_{i}_res_{j}", names)
            rules += _transformer(f"output_blocks.{at}.1", f"{u}/up_{i}_attn_{j}")
        rules += conv(f"output_blocks.{i * (BLOCKS + 1) + BLOCKS}.2.conv", f"{u}/up_{i}_upsample/conv")
    rules += _res("middle_block.0", f"{u}/mid_res_0", names) + _res("middle_block.2", f"{u}/mid_res_1", names)
    return rules + _transformer("middle_block.1", f"{u}/mid_attn_0")


def unet_shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape}; config.model.unet holds the sizes, None means SDXL's with 64 channels of codes."""
    model = UNet(scan=True) if config is None else unet(**sizes(config, "unet"))
    side = model.stride
    return module_shapes(UNET_PART, model, (1, side, side, model.inputs), (1,), (1, 6))


# --------------------------------------------------------------------------------------------------------------- VAE
def _vae_block(theirs: str, ours: str, shortcut: str) -> list[Rule]:
    rules = conv(f"{theirs}.{shortcut}", f"{ours}/nin_shortcut")
    for i in (1, 2):
        rules += norm(f"{theirs}.norm{i}", f"{ours}/norm{i}") + conv(f"{theirs}.conv{i}", f"{ours}/conv{i}")
    return rules


def _ends(half: str, norm_out: str) -> list[Rule]:
    ours = f"{VAE_PART}/{half}"
    rules = conv(f"{half}.conv_in", f"{ours}/conv_in") + conv(f"{half}.conv_out", f"{ours}/conv_out")
    return rules + norm(f"{half}.{norm_out}", f"{ours}/norm_out")


def _diffusers_vae() -> list[Rule]:
    v, rules = VAE_PART, conv("quant_conv", f"{VAE_PART}/quant_conv")
    rules += conv("post_quant_conv", f"{v}/post_quant_conv")
    for half, way, size in (("encoder", "down", "downsampl"), ("decoder", "up", "upsampl")):
        level, ours = f"{half}.{way}_blocks.{{i}}", f"{v}/{half}/{way}_{{i}}"
        rules += _ends(half, "conv_norm_out")
        rules += _vae_block(f"{level}.resnets.{{j}}", f"{ours}/layer_{{j}}/block", "conv_shortcut")
        rules += conv(f"{level}.{size}ers.0.conv", f"{ours}/{size}e/conv")
        mid, ours = f"{half}.mid_block", f"{v}/{half}/mid"
        for n in (0, 1):
            rules += _vae_block(f"{mid}.resnets.{n}", f"{ours}/block_{n + 1}", "conv_shortcut")
        attn = f"{mid}.attentions.0"
        rules += norm(f"{attn}.group_norm", f"{ours}/attn_1/norm")
        for theirs, name in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
            rules.append(Rule(f"{attn}.{theirs}.weight", f"{ours}/attn_1/{name}/kernel", POINTWISE))
            rules.append(Rule(f"{attn}.{theirs}.bias", f"{ours}/attn_1/{name}/bias"))
    return rules


def _original_vae() -> list[Rule]:
    """The levels of the decoder are counted from the finest one."""
    v, rules = VAE_PART, conv("quant_conv", f"{VAE_PART}/quant_conv")
    rules += conv("post_quant_conv", f"{v}/post_quant_conv")
    for half, way in (("encoder", "down"), ("decoder", "up")):
        rules += _ends(half, "norm_out")
        for i in range(VAE_LEVELS):
            level = f"{half}.{way}.{i if way == 'down' else VAE_LEVELS - 1 - i}"
            ours = f"{v}/{half}/{way}_{i}"
            rules += _vae_block(f"{level}.block.{{j}}", f"{ours}/layer_{{j}}/block", "nin_shortcut")
            rules += conv(f"{level}.{way}sample.conv", f"{ours}/{way}sample/conv")
        mid, ours = f"{half}.mid", f"{v}/{half}/mid"
        for n in (1, 2):
            rules += _vae_block(f"{mid}.block_{n}", f"{ours}/block_{n}", "nin_shortcut")
        rules += norm(f"{mid}.attn_1.norm", f"{ours}/attn_1/norm")
        for name in ("q", "k", "v", "proj_out"):
            rules += conv(f"{mid}.attn_1.{name}", f"{ours}/attn_1/{name}")
    return rules


def vae_shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape}; config.model.vae holds the sizes, None means SDXL's."""
    model = VAE(scan=True) if config is None else vae(**sizes(config, "vae"))
    return module_shapes(VAE_PART, model, (1, model.stride, model.stride, 3))


# What an import says of a UNet with codes: of which sizes it was taught, its file does not tell.
KNOWN = "knows codes; ILLUME+'s draws 12 of our 22 sizes, to refuse the others takes config.model.decoder.known=12"
_CODES = tuple((path, *more) for path, more in WIDER.items())
UNET = Table("sdxl_unet", (UNET_PART,), _diffusers_unet(), unet_shapes, wider=_CODES)
UNET_ORIGINAL = Table(
    "sdxl_unet_original",
    (UNET_PART,),
    _original_unet(),
    unet_shapes,
    others=(r"(first_stage_model|conditioner|denoiser|model_ema)\..*",),
    prefixes=("model.diffusion_model.", ""),
    wider=_CODES,
)
VAE_DIFFUSERS = Table("sdxl_vae", (VAE_PART,), _diffusers_vae(), vae_shapes)
VAE_ORIGINAL = Table(
    "sdxl_vae_original",
    (VAE_PART,),
    _original_vae(),
    vae_shapes,
    others=(r"(model|conditioner|denoiser|model_ema)\..*", r"loss\..*"),
    prefixes=("first_stage_model.", ""),
)


# ------------------------------------------------------------------------------------------------- folders of diffusers
def unet_json(config: Any) -> dict[str, Any]:
    """config.json of a UNet2DConditionModel. config: of the checkpoint, with model.unet."""
    c = sizes(config, "unet")
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in c.depths]
    up = ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(c.depths)]
    return {
        "_class_name": "UNet2DConditionModel",
        "in_channels": c.inputs,
        "out_channels": c.get("outputs", 4),
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": list(c.widths),
        "layers_per_block": c.blocks,
        "cross_attention_dim": c.context,
        "transformer_layers_per_block": [max(1, depth) for depth in c.depths],
        "attention_head_dim": list(c.heads),  # the number of heads: so that field is called there
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": c.ids,
        "projection_class_embeddings_input_dim": 6 * c.ids + c.pooled,
        "norm_num_groups": c.groups,
    }


def vae_json(config: Any) -> dict[str, Any]:
    """config.json of an AutoencoderKL. Raises: UserError for a network that diffusers does not have."""
    c = sizes(config, "vae")
    if c.get("patch", 1) != 1:
        raise UserError(f"config.model.vae.patch: {c.patch}, but diffusers' autoencoder has no such step, expected 1.")
    levels = len(c.widths)
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": list(c.widths),
        "layers_per_block": c.blocks,
        "latent_channels": c.channels,
        "norm_num_groups": c.groups,
        "scaling_factor": c.get("scale", 0.13025),
        "force_upcast": True,
    }


def check_beside(name: str, source: str, config: Any) -> None:
    """Compares what an autoencoder's config.json, where it lies beside the file, says of its latents' scale with
    config.model.vae.scale (None: SDXL's). Raises: UserError."""
    path = epath.Path(source).parent / "config.json"
    if name != VAE_DIFFUSERS.name or not path.exists():
        return
    try:
        given = json.loads(path.read_text()).get("scaling_factor")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path}: is no JSON of an autoencoder ({error}).") from error
    expected = VAE().scale if config is None else sizes(config, "vae").get("scale", VAE().scale)
    if given is not None and abs(float(given) - expected) > 1e-6:
        raise UserError(
            f"{path}: scaling_factor {given}, expected {expected}; a diffusion model would see latents of another "
            f"size. --config with --config.model.vae.scale={given} takes it."
        )


def check_scale(given: Any, config: Any, where: str) -> None:
    """Refuses an autoencoder `where` that was used at another scale of its latents than config.model.vae.scale.

    given: the config beside it, None for none. Only configs with a UNet are compared: an autoencoder's own training
    uses no scale, which is measured afterwards. Raises: UserError.
    """
    if given is None or not all({"vae", "unet"} <= set(c.get("model", {})) for c in (given, config)):
        return
    said, own = (c.model.vae.get("scale", VAE().scale) for c in (given, config))
    if abs(said - own) > 1e-6:
        raise UserError(
            f"{where}: its model.vae.scale is {said}, config.model.vae.scale is {own}; the diffusion model would see "
            f"latents of another size. --config.model.vae.scale={said} takes it."
        )


FOLDERS = {UNET.name: unet_json, VAE_DIFFUSERS.name: vae_json}
FILE = "diffusion_pytorch_model.safetensors"  # of the weights in such a folder
