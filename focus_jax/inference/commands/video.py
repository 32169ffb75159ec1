# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`infer video`."""

import argparse
import json
from collections.abc import Callable
from typing import Any

from focus_jax.errors import UserError
from focus_jax.inference.commands import shared

HELP = "things in a clip"
DESCRIPTION = """Things in a clip: a folder of frames, in the order of their names, or an animated picture. Writes

  OUTPUT/ids/FRAME.png   each pixel's thing, 0 = none, as a palette PNG: one number is one thing in all frames
  OUTPUT/overlay.gif     the frames with their things and a legend
  OUTPUT/video.json      what was asked, and of every frame its things: name, score, area, box and COCO's run lengths

and with --edit="make it blue", of a checkpoint of stage 4, what becomes of the clip where this is done to what was
found, frame by frame from one seed; other pixels stay as they are to the last bit (--no-composite: as they were drawn):

  OUTPUT/edited/FRAME.png, OUTPUT/edited.gif, and of what was drawn OUTPUT/edited/FRAME.codes.npz

One of these says what is asked:

  --words="the red mug"         what it means; --question: words to be thought about
  --classes="person,dog"        everything of these classes, joined over the frames
  --mask=FILE --frame=N         things marked in frame N (0, the first, by default) by a palette PNG's numbers, or one
                                that is white; they are sought before and behind it

  python -m focus_jax.infer video frames/ --checkpoint=runs/stage3 --mask=first.png --output=out
"""
OF_CLIPS = ("words", "question", "classes", "mask")


def run(args: argparse.Namespace) -> None:
    """`infer video`. Raises: UserError."""
    import numpy as np

    import focus_jax
    from focus_jax.inference import clip_files
    from focus_jax.inference.video_edit import done

    given = shared.one_of(args, OF_CLIPS)
    if args.frame and given != "mask":
        raise UserError(f"--frame={args.frame}: goes with --mask, which marks things in it.")
    how, options = shared.edit_options(args) if args.edit else ({}, {})
    frames, output = clip_files.read(args.input), shared.folder(args.output, clip_files.RECORD)
    pictures = np.stack(list(frames.values()))
    size = pictures.shape[1:3]
    asked = (args.frame, clip_files.marked(args.mask, size)) if given == "mask" else shared.prompt(args, given, size)
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    found = model.segment_video(pictures, asked)
    changed = None
    if args.edit:
        changed = done(model, pictures, found.ids > 0, args.edit, seed=args.seed, **(how | options))
    output.mkdir(parents=True, exist_ok=True)
    told = {"checkpoint": model.label, "asked": {given: getattr(args, given)}, "names": found.names}
    told |= {"scores": [round(x, 4) for x in found.scores], "frames": clip_files.write(output, frames, found)}
    if changed is not None:
        told |= {"edit": args.edit, "seed": args.seed, "composite": args.composite}
        clip_files.write_edited(output, frames, changed, model.codes_fingerprint)
    (output / clip_files.RECORD).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    where = [int((found.ids == k).any(axis=(1, 2)).sum()) for k in range(1, len(found.names) + 1)]
    for k, (name, count) in enumerate(zip(found.names, where), 1):
        print(f"{k} {name}: in {count} of {len(frames)} frames")
    if not found.names:
        print("nothing there")


def arguments(add: Callable[..., Any]) -> None:
    """Those of the command."""
    add("input", metavar="INPUT", help="a folder of frames, or an animated picture")
    add("--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add("--words", default="", metavar="TEXT", help="what it is called")
    add("--question", default="", metavar="TEXT", help="what has to be thought about")
    add("--classes", default="", metavar="A,B,...", help="names of classes")
    add("--mask", default="", metavar="FILE", help="numbers of things in one frame")
    add("--frame", type=int, default=0, metavar="N", help="the frame that --mask marks (default: 0)")
    add("--edit", default="", metavar="TEXT", help="what to do to what is found")
    shared.composite_arguments(add)
    shared.decoder_arguments(add, masks=True)
    shared.sampling_arguments(add)
    add("--seed", type=int, default=0, help="edit: of codes and noise, the same in every frame (default: 0)")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
