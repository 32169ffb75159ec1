# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Named parts: paths of parameters, the groups they train in, and aliases (contract 1 of docs/architecture.md).

Parameters are one nested dict of parts for the models and one flat {path: leaf} dict for everything that handles them
one by one: groups, checkpoints, shardings, tables.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from focus_jax.errors import UserError

# Leaves that belong to a network but never learn by gradient: saved and exported, never optimised.
BUFFERS = re.compile(r".*/(frozen_codebook|running_mean|running_var|num_batches_tracked)")

# Every part a checkpoint can hold; `tokenizer` is split so that its halves can come from different places.
PARTS = (
    *(f"tokenizer/{x}" for x in ("vit", "convnext", "fusion", "semantic", "pixel")),
    *("fusion_mlp", "projector", "adapter", "llm", "mask_tokens", "mask_pixel_decoder", "mask_decoder", "source_cells"),
    *("vit", "convnext", "pixel_encoder", "unet", "mask_guidance", "vae", "discriminator", "perceptual"),
    "heads",  # read-outs of stage 0, of no use afterwards
    *("inception", "clip_pictures", "clip_texts", "dino"),  # they measure only; in files of their own
)
# Parameters of which a network may have more along an axis than what it starts from, which then has so many: the rest
# begins at zero. Of the UNet's inputs the latents come first, the code map's channels behind them.
WIDER = {"unet/conv_in/kernel": (2, 4)}  # path: (axis, how many)
TRAINING_ONLY = ("discriminator", "perceptual", "heads")  # a model is whole without them


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dict of parts -> {"tokenizer/pixel/encoder/conv_in/kernel": leaf}."""
    flat: dict[str, Any] = {}
    for name, sub in tree.items():
        flat |= flatten(sub, f"{prefix}{name}/") if isinstance(sub, Mapping) else {prefix + name: sub}
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *folders, name = path.split("/")
        at = tree
        for folder in folders:
            at = at.setdefault(folder, {})
        at[name] = leaf
    return tree


def part_of(path: str) -> str:
    """The part a leaf belongs to; raises KeyError for a path outside every known part."""
    for part in PARTS:
        if path.startswith(part + "/"):
            return part
    raise KeyError(f"{path} belongs to none of the parts {', '.join(PARTS)}")


def is_prefix(name: str) -> bool:
    """Whether a key of config.init names a part, something inside one, or a folder of parts."""
    return any(f"{part}/".startswith(f"{name}/") or name.startswith(f"{part}/") for part in PARTS)


def source_of(path: str, init: Mapping[str, str]) -> str | None:
    """The key of config.init that says where a leaf comes from: the most specific of those it lies under, else None."""
    found = [prefix for prefix in init if path == prefix or path.startswith(prefix + "/")]
    return max(found, key=len, default=None)


def assign(paths: Iterable[str], table: Sequence[tuple[str, str]], groups: Iterable[str]) -> dict[str, str]:
    """Which group each leaf is in.

    Args:
      paths: paths of all leaves.
      table: (regular expression that must match a whole path, group name); the last match wins.
      groups: names of the groups that the config describes.

    Returns: {path: group}; buffers are in the built-in group "buffer" whatever the table says.
    Raises: UserError for a pattern that matches nothing, an unknown group, or a leaf in no group.
    """
    paths, groups = list(paths), set(groups)
    found: dict[str, str] = {}
    for i, (pattern, group) in enumerate(table):
        if group not in groups:
            raise UserError(
                f"config.assign[{i}]: group {group!r} is not described in config.groups ({sorted(groups)})."
            )
        try:
            matches = [p for p in paths if re.fullmatch(pattern, p)]
        except re.error as e:
            raise UserError(f"config.assign[{i}]: {pattern!r} is no regular expression ({e}).") from e
        if not matches:
            raise UserError(
                f"config.assign[{i}]: pattern {pattern!r} matches no parameter; "
                f"parts of this model: {', '.join(sorted({part_of(p) for p in paths}))}."
            )
        found |= dict.fromkeys(matches, group)
    found |= {p: "buffer" for p in paths if BUFFERS.fullmatch(p)}
    if lost := [p for p in paths if p not in found]:
        raise UserError(f"config.assign: {len(lost)} parameters are in no group, the first is {lost[0]}.")
    return {p: found[p] for p in paths}


def resolve(params: Mapping[str, Any], alias: Mapping[str, str]) -> dict[str, Any]:
    """The parts a network reads, aliases looked up: a name without leaves of its own stands for another part.

    Args:
      params: nested dict of parts.
      alias: {"vit": "tokenizer/vit"}; a name that has leaves (a stage trains it) is its own.

    Returns: params with the aliased names added (the same arrays, no copy).
    """
    out = dict(params)
    for name, target in alias.items():
        if name in out:
            continue
        at: Any = params
        for key in target.split("/"):
            if key not in at:
                raise UserError(f"config.alias.{name}: {target!r} is not a part of this model.")
            at = at[key]
        out[name] = at
    return out
