# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Mask2Former (arXiv 2112.01527) in the names of transformers and of detectron2: pixel decoder and transformer decoder.

Backbone, classes and the queries' first contents are left out: here other networks give these. The maps that a Swin-L
gives have ConvNeXt-L's widths, so that its decoders fit as they are.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from focus_jax.models.convnext import ConvNeXt
from focus_jax.models.mask_decoder import Decoder, MaskDecoder, mask_decoder
from focus_jax.models.mask_pixel_decoder import LEVELS, MaskPixelDecoder, mask_pixel_decoder
from focus_jax.weights.shapes import module_shapes, sizes
from focus_jax.weights.table import Rule, Shape, Table, conv, linear, norm

PIXEL, DECODER = "mask_pixel_decoder", "mask_decoder/decoder"
LEAVES = ("weight", "bias")
POSITIONS = ("queries_embedder.weight", "predictor.query_embed.weight")
THIRDS = ("q_proj", "k_proj", "v_proj")


@dataclasses.dataclass(frozen=True)
class FusedTable(Table):
    """A table whose files hold query, key and value maps of some attentions as one, torch's in_proj; its rules know
    three. fused: pattern of these attentions' names."""

    fused: str = ""

    def _cut(self, key: str) -> list[str]:
        """A key of a file -> the keys of the rules."""
        base, _, leaf = key.rpartition(".in_proj_")
        return [f"{base}.{name}.{leaf}" for name in THIRDS] if base and re.fullmatch(self.fused, base) else [key]

    def read(self, source: Mapping[str, np.ndarray], shapes: Mapping[str, Shape], where: str) -> dict[str, np.ndarray]:
        return super().read(_Cut(source, self._cut, shapes), shapes, where)

    def write(self, flat: Mapping[str, np.ndarray], shapes: Mapping[str, Shape] | None = None) -> dict[str, np.ndarray]:
        found = super().write(flat, shapes)
        out = {}
        for key, array in found.items():
            base, name, leaf = (key.rsplit(".", 2) + ["", ""])[:3]
            if name not in THIRDS or not re.fullmatch(self.fused, base):
                out[key] = array
            elif name == THIRDS[0]:
                out[f"{base}.in_proj_{leaf}"] = np.concatenate([found[f"{base}.{third}.{leaf}"] for third in THIRDS])
        return out

    def left_out(self, keys: Iterable[str], paths: Iterable[str] = ()) -> list[str]:
        return super().left_out([part for key in keys for part in self._cut(key)], paths)


class _Cut(Mapping[str, np.ndarray]):
    """A file whose fused maps are three, read key by key. Of more positions of queries than the network has the first
    are taken, as HyperSeg does with those of COCO's panoptic Swin-L, which has 200."""

    def __init__(self, source: Mapping[str, np.ndarray], cut: Callable[[str], list[str]], shapes: Mapping[str, Shape]):
        self._source, self._queries = source, shapes.get(f"{DECODER}/query_positions", (0,))[0]
        self._keys = {part: (key, i) for key in source for i, part in enumerate(cut(key))}

    def __getitem__(self, part: str) -> np.ndarray:
        key, i = self._keys[part]
        array = self._source[key]
        if part != key:
            third = len(array) // 3
            return array[i * third : (i + 1) * third]
        if key.endswith(POSITIONS) and array.ndim == 2 and len(array) > self._queries > 0:
            return array[: self._queries]
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _pixel(base: str, layer: str, names: Mapping[str, str]) -> list[Rule]:
    """Rules of the deformable layers; names: ours -> theirs."""
    ours, attention = f"{PIXEL}/layer_{{i}}", f"{layer}.self_attn"
    return [
        linear(f"{attention}.sampling_offsets", f"{ours}/offsets")[0],
        Rule(f"{attention}.sampling_offsets.bias", f"{ours}/offsets_bias"),
        *linear(f"{attention}.attention_weights", f"{ours}/weights"),
        *linear(f"{attention}.value_proj", f"{ours}/value"),
        *linear(f"{attention}.output_proj", f"{ours}/out"),
        *norm(f"{layer}.{names['norm1']}", f"{ours}/norm1"),
        *linear(f"{layer}.{names['fc1']}", f"{ours}/fc1"),
        *linear(f"{layer}.{names['fc2']}", f"{ours}/fc2"),
        *norm(f"{layer}.{names['norm2']}", f"{ours}/norm2"),
        *conv(f"{base}.{names['input']}.{{j}}.0", f"{PIXEL}/input_{{j}}"),
        *norm(f"{base}.{names['input']}.{{j}}.1", f"{PIXEL}/input_norm_{{j}}"),
    ]


def _attention(theirs: str, ours: str) -> list[Rule]:
    names = dict(zip(("q", "k", "v", "out"), (*THIRDS, "out_proj")))
    return [rule for own, name in names.items() for rule in linear(f"{theirs}.{name}", f"{ours}/{own}")]


_P, _D = "model.pixel_level_module.decoder", "model.transformer_module"
_LAYER, _OURS = f"{_D}.decoder.layers.{{i}}", f"{DECODER}/layer_{{i}}"
TRANSFORMERS_RULES = [
    Rule(f"{_P}.level_embed", f"{PIXEL}/levels"),
    *_pixel(
        _P,
        f"{_P}.encoder.layers.{{i}}",
        dict(norm1="self_attn_layer_norm", fc1="fc1", fc2="fc2", norm2="final_layer_norm", input="input_projections"),
    ),
    *conv(f"{_P}.adapter_1.0", f"{PIXEL}/lateral", bias=False),
    *norm(f"{_P}.adapter_1.1", f"{PIXEL}/lateral_norm"),
    *conv(f"{_P}.layer_1.0", f"{PIXEL}/output", bias=False),
    *norm(f"{_P}.layer_1.1", f"{PIXEL}/output_norm"),
    *conv(f"{_P}.mask_projection", f"{PIXEL}/mask_features"),
    Rule(f"{_D}.queries_embedder.weight", f"{DECODER}/query_positions"),
    Rule(f"{_D}.level_embed.weight", f"{DECODER}/levels"),
    *_attention(f"{_LAYER}.cross_attn", f"{_OURS}/cross"),
    *norm(f"{_LAYER}.cross_attn_layer_norm", f"{_OURS}/cross_norm"),
    *_attention(f"{_LAYER}.self_attn", f"{_OURS}/self"),
    *norm(f"{_LAYER}.self_attn_layer_norm", f"{_OURS}/self_norm"),
    *linear(f"{_LAYER}.fc1", f"{_OURS}/fc1"),
    *linear(f"{_LAYER}.fc2", f"{_OURS}/fc2"),
    *norm(f"{_LAYER}.final_layer_norm", f"{_OURS}/mlp_norm"),
    *norm(f"{_D}.decoder.layernorm", f"{DECODER}/norm"),
    *linear(f"{_D}.decoder.mask_predictor.mask_embedder.{{j}}.0", f"{DECODER}/mask_embedding/fc{{j}}"),
]

_P, _D = "sem_seg_head.pixel_decoder", "sem_seg_head.predictor"
_CROSS, _SELF, _FFN = (f"{_D}.transformer_{name}_layers.{{i}}" for name in ("cross_attention", "self_attention", "ffn"))
DETECTRON_RULES = [
    Rule(f"{_P}.transformer.level_embed", f"{PIXEL}/levels"),
    *_pixel(
        _P,
        f"{_P}.transformer.encoder.layers.{{i}}",
        dict(norm1="norm1", fc1="linear1", fc2="linear2", norm2="norm2", input="input_proj"),
    ),
    *conv(f"{_P}.adapter_1", f"{PIXEL}/lateral", bias=False),
    *norm(f"{_P}.adapter_1.norm", f"{PIXEL}/lateral_norm"),
    *conv(f"{_P}.layer_1", f"{PIXEL}/output", bias=False),
    *norm(f"{_P}.layer_1.norm", f"{PIXEL}/output_norm"),
    *conv(f"{_P}.mask_features", f"{PIXEL}/mask_features"),
    Rule(f"{_D}.query_embed.weight", f"{DECODER}/query_positions"),
    Rule(f"{_D}.level_embed.weight", f"{DECODER}/levels"),
    *_attention(f"{_CROSS}.multihead_attn", f"{_OURS}/cross"),
    *norm(f"{_CROSS}.norm", f"{_OURS}/cross_norm"),
    *_attention(f"{_SELF}.self_attn", f"{_OURS}/self"),
    *norm(f"{_SELF}.norm", f"{_OURS}/self_norm"),
    *linear(f"{_FFN}.linear1", f"{_OURS}/fc1"),
    *linear(f"{_FFN}.linear2", f"{_OURS}/fc2"),
    *norm(f"{_FFN}.norm", f"{_OURS}/mlp_norm"),
    *norm(f"{_D}.decoder_norm", f"{DECODER}/norm"),
    *linear(f"{_D}.mask_embed.layers.{{j}}", f"{DECODER}/mask_embedding/fc{{j}}"),
]


def shapes(config: Any = None) -> dict[str, Shape]:
    """{our path: shape}; config.model holds the sizes, None means the official ones on the maps of ConvNeXt-L."""
    given = config is not None
    pixel = mask_pixel_decoder(**sizes(config, PIXEL)) if given else MaskPixelDecoder(scan=True)
    whole = mask_decoder(**sizes(config, "mask_decoder")) if given else MaskDecoder()
    widths = sizes(config, "convnext").widths if given else ConvNeXt().widths
    side, width = 8, pixel.width
    maps = {f"res{i + 2}": (1, side * 8 >> i, side * 8 >> i, c) for i, c in enumerate(widths)}
    decoder = Decoder(whole.queries, whole.width, whole.heads, whole.mlp, whole.depth)
    levels = [(1, side << i, side << i, width) for i in range(len(LEVELS))]
    return module_shapes(PIXEL, pixel, maps) | module_shapes(
        DECODER, decoder, (1, whole.queries, whole.width), (1, side * 8, side * 8, width), levels
    )


TRANSFORMERS = FusedTable(
    "mask2former",
    (PIXEL, DECODER),
    TRANSFORMERS_RULES,
    shapes,
    others=(
        r"model\.pixel_level_module\.encoder\..*",
        r"model\.transformer_module\.queries_features\.weight",
        r"class_predictor\..*",
        r"criterion\.empty_weight",
    ),
    fused=r".*\.cross_attn",
)
DETECTRON = FusedTable(
    "mask2former_detectron2",
    (PIXEL, DECODER),
    DETECTRON_RULES,
    shapes,
    others=(
        r"backbone\..*",
        r"sem_seg_head\.predictor\.(query_feat|static_query)\.weight",
        r"sem_seg_head\.predictor\.class_embed\..*",
        r"criterion\.empty_weight",
    ),
    fused=r".*\.(multihead_attn|self_attn)",
)
