# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`infer segment`."""

import argparse
import dataclasses
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
  --classes="person,dog,sky"    panoptic: every pixel to one thing or kind of stuff, or to none; --stuff="sky" names
                                what is one segment however often it is there. --task=semantic: every pixel to one of
                                the classes; --task=instance: each thing for itself, the surest first, also where masks
                                overlap (in segment.json whole; in the pictures the surer one is on top)
  --point=X,Y  --box=X,Y,W,H    in pixels of the picture, x to the right, y down
  --scribble=FILE --mask=FILE   a picture of the same size: what is not black is marked

  python -m focus_jax.infer segment photo.jpg --checkpoint=runs/stage3 --words="the red mug" --output=out
"""
SHOWN = 0.5  # least score of an instance that people want to see
ASKED = ("words", "question", "classes", "point", "box", "scribble", "mask")


def run(args: argparse.Namespace) -> None:
    """`infer segment`. Raises: UserError."""
    import numpy as np

    import focus_jax
    from data_pipelines.progress import progress
    from focus_jax.inference import masks
    from focus_jax.inference.reconstruct import listed

    given, rules = shared.one_of(args, ASKED), _rules(args)
    files, output = listed(args.inputs), shared.folder(args.output, masks.RECORD)
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    done, refused = [], []
    for name, file in progress("segment", files.items(), len(files), "pictures"):
        try:
            picture = np.asarray(shared.opened(str(file)))
            (found,) = model.segment(picture[None], [_prompt(args, given, picture.shape[:2])], rules=rules)
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


def _rules(args: argparse.Namespace) -> Any:
    """The rules that the options change. Raises: UserError."""
    from focus_jax.inference.queries import Rules

    of_classes = [f"--{name}" for name in ("task", "stuff") if getattr(args, name)]
    if of_classes and not args.classes:
        raise UserError(f"{of_classes[0]}: goes with --classes.")
    if args.stuff and args.task:
        raise UserError(f"--stuff={args.stuff}: is of panoptic answers, not of --task={args.task}.")
    stuff = tuple(shared.names(args.stuff))
    if other := [name for name in stuff if name not in shared.names(args.classes)]:
        raise UserError(f"--stuff: {other[0]} is not among --classes.")
    if args.threshold is None:
        return dataclasses.replace(Rules(), stuff=stuff, instances=SHOWN)
    if not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold={args.threshold}: expected 0 to 1.")
    least = {name: args.threshold for name in ("words", "classes", "instances")}
    return dataclasses.replace(Rules(), stuff=stuff, **least)


def _prompt(args: argparse.Namespace, given: str, size: tuple[int, int]) -> Any:
    """What is asked of one picture. Raises: UserError, DataError."""
    from focus_jax.evaluation.protocol import Instances, Semantic

    asked = shared.prompt(args, given, size)
    return {"semantic": Semantic, "instance": Instances}[args.task](asked) if args.task else asked


def arguments(add: Callable[..., Any]) -> None:
    """Those of the command."""
    add("inputs", nargs="+", metavar="INPUT", help="pictures, folders of pictures")
    add("--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add("--words", default="", metavar="TEXT", help="what it is called")
    add("--question", default="", metavar="TEXT", help="what has to be thought about")
    add("--classes", default="", metavar="A,B,...", help="names of classes")
    add("--task", choices=("semantic", "instance"), default="", help="of classes; default: panoptic")
    add("--stuff", default="", metavar="A,B,...", help="classes that are one segment (panoptic)")
    add(
        "--threshold",
        type=float,
        default=None,
        metavar="0..1",
        help="least confidence of what is found (default: 0.8 of words, 0.5 of classes and instances); the surest "
        "thing of a click, box, scribble or mask is always found, semantic answers have none",
    )
    add("--point", default="", metavar="X,Y", help="a click")
    add("--box", default="", metavar="X,Y,W,H", help="a box")
    add("--scribble", default="", metavar="FILE", help="a stroke, not black")
    add("--mask", default="", metavar="FILE", help="a rough mask, not black")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
