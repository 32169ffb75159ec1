# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`infer segment`."""

import argparse
import json
from collections.abc import Callable
from typing import Any

from data_pipelines.errors import DataError
from focus_jax.errors import UserError
from focus_jax.inference.commands import shared

HELP = "masks"
DESCRIPTION = """Masks of what is asked for. Writes for every picture NAME

  OUTPUT/NAME.ids.png       each pixel's segment, 0 = none, as a palette PNG (16 bits beyond 255 segments)
  OUTPUT/NAME.overlay.png   the picture with its segments and a legend

and OUTPUT/segment.json: of every picture what was asked, and of every segment id, name, score, area, box and COCO's run
lengths. Nothing there is an answer: no segment, and an overlay that says so. One of these says what is asked:

  --words="the red mug"         what it means, possibly several things or none; --question: words to be thought about
  --classes="person,dog,sky"    every pixel to a class or none
  --point=X,Y  --box=X,Y,W,H    in pixels of the picture, x to the right, y down
  --scribble=FILE --mask=FILE   a picture of the same size: what is not black is marked

  python -m focus_jax.infer segment photo.jpg --checkpoint=runs/stage3 --words="the red mug" --output=out
"""
ASKED = ("words", "question", "classes", "point", "box", "scribble", "mask")


def run(args: argparse.Namespace) -> None:
    """`infer segment`. Raises: UserError."""
    import numpy as np

    import focus_jax
    from data_pipelines.progress import progress
    from focus_jax.inference import masks
    from focus_jax.inference.reconstruct import listed

    given = shared.one_of(args, ASKED)
    files, output = listed(args.inputs), shared.folder(args.output, masks.RECORD)
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    done, refused = [], []
    for name, file in progress("segment", files.items(), len(files), "pictures"):
        try:
            picture = np.asarray(shared.opened(str(file)))
            (found,) = model.segment(picture[None], [shared.prompt(args, given, picture.shape[:2])])
        except (UserError, DataError) as error:
            refused.append(str(error))
            continue
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for kind, image in (("ids", masks.id_picture(found)), ("overlay", masks.overlay(picture, found))):
            with (output / f"{name}.{kind}.png").open("wb") as to:
                image.save(to, format="PNG")
        entry = {"name": name, "input": str(file), "size": list(picture.shape[:2])}
        done.append(entry | {"asked": {given: getattr(args, given)}, "segments": masks.entries(found)})
        print(f"{name}: {', '.join(found.names) or masks.NOTHING}", flush=True)
    if done:
        told = {"checkpoint": model.label, "pictures": done, "refused": refused}
        (output / masks.RECORD).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    shared.tell(refused)


def arguments(add: Callable[..., Any]) -> None:
    """Those of the command."""
    add("inputs", nargs="+", metavar="INPUT", help="pictures, folders of pictures")
    add("--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add("--words", default="", metavar="TEXT", help="what it is called")
    add("--question", default="", metavar="TEXT", help="what has to be thought about")
    add("--classes", default="", metavar="A,B,...", help="names of classes")
    add("--point", default="", metavar="X,Y", help="a click")
    add("--box", default="", metavar="X,Y,W,H", help="a box")
    add("--scribble", default="", metavar="FILE", help="a stroke, not black")
    add("--mask", default="", metavar="FILE", help="a rough mask, not black")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
