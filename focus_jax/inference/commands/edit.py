# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`infer edit`."""

import argparse
import json
from collections.abc import Callable
from typing import Any

from focus_jax.errors import UserError
from focus_jax.inference.commands import shared

HELP = "pictures changed by instructions"
RECORD = "edit.json"
DESCRIPTION = """Instructions done to pictures: what is meant is named, marked and told, then drawn. Writes for every
NAME

  OUTPUT/NAME.png             the result, at the picture's own size
  OUTPUT/NAME.sheet.png       source, mask and result of every instruction, one below the other
  OUTPUT/NAME.editK.png       what instruction K made, .editK.mask.png the mask that it used, .editK.codes.npz the codes

and OUTPUT/edit.json: of every instruction what was meant, its mask's area, what was refused, seed and settings. Several
instructions are done one after the other. An instruction that means nothing in the picture is refused and changes
nothing; --force does it all the same. An edit of the whole picture has a mask of all of it.

Outside the mask the result has the picture's own pixels, to the last bit; --no-composite gives what was drawn, which is
right for what moves: the mask marks what is meant, not where it goes. With --format=jpg nothing is exact.

What is meant can also be shown, for a single instruction such as "remove this":

  --point=X,Y  --box=X,Y,W,H    in pixels of the picture, x to the right, y down; the mask is found from it
  --scribble=FILE               a picture of the same size: what is not black is marked; the mask is found from it
  --mask=FILE                   the same, taken as the mask

  python -m focus_jax.infer edit scene.png --checkpoint=runs/stage4 --instruction="remove the red circle" --output=out
"""
SHOWN = ("point", "box", "scribble", "mask")


class Once(argparse.Action):
    """An argument of which a second one is refused: what is meant is one thing."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if getattr(namespace, self.dest):
            parser.error(f"{option_string}: given twice, expected one; a mask may mark several things.")
        setattr(namespace, self.dest, values)


def run(args: argparse.Namespace) -> None:
    """`infer edit`. Raises: UserError."""
    import numpy as np
    from PIL import Image

    import focus_jax
    from data_pipelines.errors import DataError
    from data_pipelines.progress import progress
    from focus_jax.inference import edit_files, reconstruct

    if any(not text.strip() for text in args.instruction):
        raise UserError("--instruction: is empty, expected words.")
    given = [name for name in SHOWN if getattr(args, name)]
    if len(given) > 1 or (given and len(args.instruction) > 1):
        told = ", ".join(f"--{name}" for name in given)
        raise UserError(f"{told}: expected one of {', '.join(f'--{name}' for name in SHOWN)}, with one --instruction.")
    how, options = shared.edit_options(args)
    how["force"] = args.force
    files, output = reconstruct.listed(args.inputs), shared.folder(args.output, RECORD)
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    how["sampling"] = model.drawer.own("editing") | how["sampling"]
    done: list[dict[str, Any]] = []
    refused: list[str] = []
    for name, file in progress("edit", files.items(), len(files), "pictures"):
        turns: list[Any] = []
        try:
            picture = source = np.asarray(shared.opened(str(file)))
            marked = shared.prompt(args, given[0], source.shape[:2]) if given else None
            for text in args.instruction:
                hint = {"masks" if given == ["mask"] else "regions": [marked]} if given else {}
                tell = lambda meant, said=f"{name}: {text!r}": print(f"{said}: {edit_files.told(meant[0])}", flush=True)
                (one,) = model.edits(picture[None], [text], seeds=[args.seed], before=tell, **hint, **how, **options)
                turns.append((text, picture, one))
                picture = one.image
        except (UserError, DataError) as error:
            refused.append(str(error))
            continue
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = edit_files.write(output, name, turns, model.codes_fingerprint)
        with (output / f"{name}.{args.format}").open("wb") as to:
            exact = {"format": "JPEG", "quality": 95} if args.format == "jpg" else {"format": "PNG"}
            Image.fromarray(picture).save(to, **exact)
        done.append({"name": name, "input": str(file), "size": list(source.shape[:2]), "edits": entries})
    if done:
        settings = {"seed": args.seed, "diffusion": options, **how}
        told = {"checkpoint": model.label, "settings": settings, "pictures": done, "refused": refused}
        (output / RECORD).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        exact = ", whose pixels outside the mask are not exactly the source's, as JPEG has it" * (args.format == "jpg")
        print(f"{len(done)} of {len(files)} written to {output}{exact}")
    shared.tell(refused)


def arguments(add: Callable[..., Any]) -> None:
    """Those of the command."""
    add("inputs", nargs="+", metavar="INPUT", help="pictures, folders of pictures")
    add("--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add("--instruction", action="append", required=True, metavar="TEXT", help="what to do; may be repeated")
    add("--point", action=Once, default="", metavar="X,Y", help="a click on what is meant")
    add("--box", action=Once, default="", metavar="X,Y,W,H", help="a box around what is meant")
    add("--scribble", action=Once, default="", metavar="FILE", help="a stroke on what is meant, not black")
    add("--mask", action=Once, default="", metavar="FILE", help="the mask, not black")
    add("--force", action="store_true", help="do also what means nothing in the picture")
    shared.composite_arguments(add)
    add("--format", choices=("png", "jpg"), default="png", help="of the result (default: png)")
    shared.decoder_arguments(add, masks=True)
    shared.sampling_arguments(add)
    add("--seed", type=int, default=0, help="of codes and noise (default: 0)")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
