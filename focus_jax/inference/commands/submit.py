# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`infer submit`."""

import argparse
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from focus_jax.errors import UserError
from focus_jax.inference.commands import shared

HELP = "answers on sets whose truth is with a server"
NAMES = ("youtube_vis", "coco_instances", "coco_panoptic", "words_of_videos", "davis")
RECORD = "submission.json"
DESCRIPTION = """Answers on sets whose truth is with a server, in the files that it takes. A run that was stopped goes
on where it was when the same command is given again. SET is one of

  youtube_vis      --source=valid.json --pictures=JPEGImages: OUTPUT/results.json
  coco_instances   --source=image_info_test-dev2017.json --pictures=test2017: OUTPUT/results.json
  coco_panoptic    the same with --categories=panoptic_val2017.json: OUTPUT/results.json and OUTPUT/pictures
  words_of_videos  --source=meta_expressions.json --pictures=JPEGImages: OUTPUT/Annotations/VIDEO/EXPRESSION/FRAME.png,
                   of Ref-YouTube-VOS, MeViS and ReVOS; Ref-YouTube-VOS's list `valid` holds the videos of `test` too,
                   which --without=meta_expressions/test/meta_expressions.json leaves out
  davis            --source=DAVIS: OUTPUT/SEQUENCE/FRAME.png of test-dev

OUTPUT/parts is what a stopped run goes on from; the rest is to be zipped, under the names that the server asks for.

  python -m focus_jax.infer submit youtube_vis --source=YTVIS/valid.json --pictures=YTVIS/valid/JPEGImages \\
      --checkpoint=runs/stage3 --output=submission
"""


def run(args: argparse.Namespace) -> None:
    """`infer submit`. Raises: UserError, DataError."""
    from etils import epath

    import focus_jax
    from data_pipelines.progress import progress
    from focus_jax.inference import submission

    output, source = shared.folder(args.output, RECORD), epath.Path(args.source)
    if args.set != "davis" and not args.pictures:
        raise UserError(f"--pictures: {args.set} needs the folder of its pictures.")
    where = submission.Source(source, epath.Path(args.pictures), epath.Path(args.categories or args.source), output)
    where = dataclasses.replace(where, without=epath.Path(args.without) if args.without else None)
    answers = submission.SETS[args.set](where)
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    record = {"set": args.set, "source": args.source, "pictures": args.pictures, "categories": args.categories}
    record |= {"without": args.without, "fingerprint": model.fingerprints, "weights": args.weights}
    if (output / RECORD).exists() and (known := _known(output / RECORD)) != record:
        other = next(name for name in record if known.get(name) != record[name])
        raise UserError(f"--output={args.output}: holds answers of another {other}; name a new or empty folder.")
    output.mkdir(parents=True, exist_ok=True)
    (output / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    left = [answer for answer in answers if not answer.done.exists()]
    if len(left) < len(answers):
        print(f"{len(answers) - len(left)} of {len(answers)} answers are there already")
    for answer in progress("submit", left, len(left), "answers"):
        content = answer.give(model)
        answer.done.parent.mkdir(parents=True, exist_ok=True)
        beside = answer.done.with_name(f"{answer.done.name}.part")
        beside.write_bytes(content)
        beside.rename(answer.done)
    submission.joined(args.set, answers, output)
    print(f"{output}: {len(answers)} answers")


def _known(path: Any) -> dict[str, Any]:
    """The record of an earlier run; one cut short belongs to nothing."""
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def arguments(add: Callable[..., Any]) -> None:
    """Those of the command."""
    add("set", choices=NAMES, metavar="SET", help=", ".join(NAMES))
    add("--source", required=True, metavar="PATH", help="the set's file or folder")
    add("--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add("--pictures", default="", metavar="DIR", help="folder of the pictures or of the videos' folders")
    add("--categories", default="", metavar="FILE", help="a file that lists COCO's categories, where --source does not")
    add("--without", default="", metavar="FILE", help="words_of_videos: a list whose videos are left out")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
