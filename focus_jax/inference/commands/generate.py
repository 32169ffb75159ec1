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
DESCRIPTION = """Pictures out of captions: the language model writes their codes; the diffusion decoder draws them, or
with --decoder=tokenizer the tokenizer's own. Writes

  OUTPUT/00000.png, ...         a picture for each caption and number, in their order
  OUTPUT/00000.codes.npz, ...   its codes, which `infer reconstruct` draws again
  OUTPUT/generate.json          caption, seed and size of each, and the settings

The picture is made in the bucket nearest to --size and resized to it. Without a temperature the codes are the likeliest
ones; --token_guidance above 1 holds a caption against none, --guidance the codes against none. --preview=N also writes
OUTPUT/00000.stepI.png, what there is after every N steps of the diffusion.

  python -m focus_jax.infer generate --checkpoint=runs/stage4 --text="a red circle." --size=64x64 --output=out
"""


def run(args: argparse.Namespace) -> None:
    """`infer generate`. Raises: UserError."""
    from PIL import Image

    import focus_jax
    from focus_jax.evaluation.protocol import batches
    from focus_jax.inference import reconstruct

    if not (size := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", args.size)):
        raise UserError(f"--size={args.size}: expected HxW in pixels, such as 512x512.")
    if args.count < 1:
        raise UserError(f"--count={args.count}: expected at least 1.")
    if args.batch < 1:
        raise UserError(f"--batch={args.batch}: expected at least 1.")
    if any(not text.strip() for text in args.text):
        raise UserError("--text: is empty, expected words.")
    sampling = shared.sampling_options(args)
    output, (height, width) = shared.folder(args.output, RECORD), (int(n) for n in size.groups())
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    sampling = model.drawer.own("generation") | sampling
    captions = [text for text in args.text for _ in range(args.count)]
    seeds = [args.seed + i for i in range(len(captions))]
    decoder = args.decoder or model.drawer.decoder
    options = shared.diffusion_options(args) if decoder == "diffusion" else {}
    codes = {"scale": 2 if args.twice else 1, "limit": args.limit, "repair": args.repair}
    names = [f"{i:05d}" for i in range(len(captions))]
    output.mkdir(parents=True, exist_ok=True)

    def save(name: str, picture: Any) -> None:
        with (output / f"{name}.png").open("wb") as to:
            Image.fromarray(picture).save(to, format="PNG")

    done: list[dict[str, Any]] = []
    for rows, count in batches(len(captions), min(args.batch, len(captions))):  # all of one size: one program

        def show(step: int, pictures: Any, rows: list[int] = rows[:count]) -> None:
            for i, picture in zip(rows, pictures):
                save(f"{names[i]}.step{step:03d}", picture)

        more = options | ({"show": show, "preview": args.preview} if options else {})
        drawn = model.drawer.made(
            [captions[i] for i in rows], height=height, width=width, seeds=[seeds[i] for i in rows], decoder=decoder,
            diffusion=more, numbers=rows, **codes, **sampling,
        )  # fmt: skip
        for i, one in zip(rows[:count], drawn):
            save(names[i], one.picture)
            reconstruct.save_codes(output / f"{names[i]}{reconstruct.CODES}", one, model.codes_fingerprint)
            done.append({"name": names[i], "text": captions[i], "seed": seeds[i], "size": [height, width]})
    told = {"checkpoint": model.label, "decoder": decoder, "sampling": sampling, "diffusion": options, **codes}
    told["pictures"] = done
    (output / RECORD).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(done)} written to {output}")


def arguments(add: Callable[..., Any]) -> None:
    """Those of the command."""
    add("--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add("--text", action="append", required=True, metavar="TEXT", help="a caption; may be repeated")
    add("--size", default="512x512", metavar="HxW", help="of the pictures, in pixels (default: 512x512)")
    add("--count", type=int, default=1, help="pictures of each caption (default: 1)")
    add("--batch", type=int, default=8, help="pictures at a time (default: 8)")
    shared.decoder_arguments(add, "")
    shared.sampling_arguments(add)
    add("--seed", type=int, default=0, help="of the first picture; the others follow (default: 0)")
    add("--preview", type=int, default=0, metavar="N", help="diffusion: write what there is every N steps")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
