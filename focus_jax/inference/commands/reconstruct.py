# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`infer reconstruct`."""

import argparse
import json
from collections.abc import Callable
from typing import Any

from focus_jax.errors import UserError
from focus_jax.inference.commands import shared

HELP = "pictures through the tokenizer and back"
DESCRIPTION = """Pictures through the tokenizer and back. Writes for every picture NAME

  OUTPUT/NAME.png          what came back, at the picture's own size
  OUTPUT/NAME.codes.npz    its codes: int32 grids `semantic` and `pixel`; the tokenizer's `fingerprint`; (height, width)
                           of the picture (`size`), of the `bucket` and of its part that is picture (`inside`)
  OUTPUT/NAME.map.png      original, reconstruction and the code grids side by side, alike codes in alike colours

and OUTPUT/reconstruct.json, what was done. A picture goes whole into the bucket of the nearest aspect ratio, padded
with the mean colour, and back; sides under 16 pixels and aspects beyond 4:1 are refused. A file of codes among the
inputs is decoded; codes of another tokenizer are refused.

--decoder=diffusion draws with the diffusion decoder of stage 1b instead, at the size of the codes or, with --twice, at
twice it (NAME.png has the picture's own size either way); the same seed gives the same picture. --preview=N also
writes OUTPUT/NAME.stepI.png, what there is after every N steps.

  python -m focus_jax.infer reconstruct photo.jpg holiday/ --checkpoint=runs/stage1_tokenizer --output=out
  python -m focus_jax.infer reconstruct out --checkpoint=runs/stage1_tokenizer --output=again    from the codes alone
  python -m focus_jax.infer reconstruct photo.jpg --checkpoint=runs/stage1_decoder --decoder=diffusion --output=out
"""


def run(args: argparse.Namespace) -> None:
    """`infer reconstruct`. Raises: UserError."""
    import numpy as np
    from PIL import Image

    import focus_jax
    from data_pipelines import buckets
    from data_pipelines.progress import progress
    from focus_jax.inference import reconstruct as lib

    if args.batch < 1:
        raise UserError(f"--batch={args.batch}: expected at least 1.")
    files, output = lib.listed(args.inputs), shared.folder(args.output, lib.RECORD)
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    draw = _diffusion(args, model, output) if args.decoder == "diffusion" else lib.by_tokenizer(model)
    among = buckets.parse(args.buckets) if args.buckets else _buckets(args, model)
    for height, width in among:
        try:
            model.grids(height, width)
        except UserError as error:
            raise UserError(f"--buckets={args.buckets}: {error}") from error
    colours, fingerprint = lib.colours_of(model.codebooks()), model.codes_fingerprint
    stored = {name: file for name, file in files.items() if file.name.endswith(lib.CODES)}
    pictures = {name: file for name, file in files.items() if name not in stored}
    refused: list[str] = []

    def each():
        size = lambda files: min(args.batch, len(files))  # few files are no reason to draw some of them again
        yield from lib.from_codes(model, stored, size(stored), refused, draw)
        yield from lib.reconstruct(model, lib.fitting(pictures, among, refused), size(pictures), draw)

    done: list[dict[str, Any]] = []
    for found in progress("reconstruct", each(), len(files), "files"):
        for name, kind in lib.outputs(found.name).items():
            path = output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "codes":
                lib.save_codes(path, found, fingerprint)
                continue
            with path.open("wb") as file:
                image = Image.fromarray(found.picture) if kind == "picture" else lib.sheet(found, colours)
                image.save(file, format="PNG")
        entry = {"name": found.name, "input": str(files[found.name])}
        entry |= {"size": found.fit.size, "bucket": found.fit.bucket, "inside": found.fit.inside}
        entry |= {f"{branch}_grid": grid.shape for branch, grid in found.codes.items()}
        done.append(entry | {"psnr": found.psnr})
    if done:
        told = {"checkpoint": model.label, "tokenizer": fingerprint, "pictures": done, "refused": refused}
        (output / lib.RECORD).write_text(json.dumps(told, indent=1) + "\n")
        psnrs = [entry["psnr"] for entry in done if entry["psnr"] is not None]
        mean = f", mean psnr {np.mean(psnrs):.2f} dB at the buckets' sizes" if psnrs else ""
        print(f"{len(done)} of {len(files)} written to {output}{mean}")
    shared.tell(refused)


def _buckets(args: argparse.Namespace, model: Any) -> Any:
    """Sizes that codes are made at: those of the run's last phase; for the diffusion decoder those that it draws."""
    from focus_jax.inference import reconstruct as lib

    if args.decoder != "diffusion":
        return lib.buckets_of(model.config)
    return model.drawn_sizes(2 if args.twice else 1)


def _diffusion(args: argparse.Namespace, model: Any, output: Any) -> Any:
    """Drawing by the diffusion decoder. Raises: UserError."""
    from PIL import Image

    from focus_jax.inference import reconstruct as lib

    def show(step: int, pictures: Any, names: Any) -> None:
        for name, picture in dict(zip(names, pictures)).items():
            path = output / f"{name}.step{step:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                Image.fromarray(picture).save(file, format="PNG")

    options = shared.diffusion_options(args) | {"preview": args.preview}
    return lib.by_diffusion(model, 2 if args.twice else 1, args.seed, show, **options)


def arguments(add: Callable[..., Any]) -> None:
    """Those of the command."""
    add("inputs", nargs="+", metavar="INPUT", help="pictures, folders of pictures, files of codes")
    add("--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add(
        "--buckets",
        metavar="256|512|HxW,...",
        help="sizes to encode at (default: those of the run's last phase; diffusion: all it draws)",
    )
    shared.decoder_arguments(add, "tokenizer")
    add("--seed", type=int, default=0, help="diffusion: of the noise (default: 0)")
    add("--preview", type=int, default=0, metavar="N", help="diffusion: write what there is every N steps")
    add("--batch", type=int, default=8, help="pictures of one bucket at a time (default: 8)")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
