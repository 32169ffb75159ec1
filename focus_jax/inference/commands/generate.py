# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`infer generate`."""

import argparse
import json
import re
from collections.abc import Callable
from typing import Any

from focus_jax.errors import UserError
from focus_jax.inference.commands import shared

HELP = "pictures out of captions"
RECORD = "generate.json"
DESCRIPTION = """Pictures out of captions: the language model writes their codes, the tokenizer draws them. Writes

  OUTPUT/00000.png, ...   a picture for each caption and number, in their order
  OUTPUT/generate.json    caption, seed and size of each

The picture is made in the bucket nearest to --size and resized to it. Without a temperature the codes are the likeliest
ones; --guidance above 1 holds a caption against none.

  python -m focus_jax.infer generate --checkpoint=runs/stage3 --text="a red circle." --size=64x64 --output=out
"""


def run(args: argparse.Namespace) -> None:
    """`infer generate`. Raises: UserError."""
    from PIL import Image

    import focus_jax

    if not (size := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", args.size)):
        raise UserError(f"--size={args.size}: expected HxW in pixels, such as 512x512.")
    for name, least in (("count", 1), ("temperature", 0), ("top_k", 0), ("guidance", 0), ("seed", 0)):
        if getattr(args, name) < least:
            raise UserError(f"--{name}={getattr(args, name)}: expected at least {least}.")
    if not 0 < args.top_p <= 1:
        raise UserError(f"--top_p={args.top_p}: expected a share above 0, at most 1.")
    output, (height, width) = shared.folder(args.output, RECORD), (int(n) for n in size.groups())
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    captions = [text for text in args.text for _ in range(args.count)]
    seeds = [args.seed + i for i in range(len(captions))]
    options = {name: getattr(args, name) for name in ("temperature", "top_k", "top_p", "guidance")}
    drawn = model.generate(captions, height=height, width=width, seeds=seeds, **options)
    output.mkdir(parents=True, exist_ok=True)
    done = []
    for i, (caption, seed, picture) in enumerate(zip(captions, seeds, drawn)):
        with (output / f"{i:05d}.png").open("wb") as to:
            Image.fromarray(picture).save(to, format="PNG")
        done.append({"name": f"{i:05d}", "text": caption, "seed": seed, "size": [height, width]})
    told = {"checkpoint": model.label, "sampling": options, "pictures": done}
    (output / RECORD).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(done)} written to {output}")


def arguments(add: Callable[..., Any]) -> None:
    """Those of the command."""
    add("--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add("--text", action="append", required=True, metavar="TEXT", help="a caption; may be repeated")
    add("--size", default="512x512", metavar="HxW", help="of the pictures, in pixels (default: 512x512)")
    add("--count", type=int, default=1, help="pictures of each caption (default: 1)")
    add("--temperature", type=float, default=0.0, help="0 (default): the likeliest codes")
    add("--top_k", type=int, default=0, help="so many of the likeliest codes may come; 0 (default): all")
    add("--top_p", type=float, default=1.0, help="codes up to this share of the probability may come (default: 1)")
    add("--guidance", type=float, default=1.0, help="over 1: away from what no caption would give (default: 1)")
    add("--seed", type=int, default=0, help="of the first picture; the others follow (default: 0)")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
