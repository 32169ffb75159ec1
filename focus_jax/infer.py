# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""One model, files to files.

    python -m focus_jax.infer reconstruct photo.jpg holiday/ --checkpoint=runs/stage1_tokenizer --output=out
    python -m focus_jax.infer chat --checkpoint=runs/stage2 --image=photo.jpg --ask="What colour is the mug?"
    python -m focus_jax.infer segment photo.jpg --checkpoint=runs/stage3 --words="the red mug" --output=out

reconstruct   pictures through the tokenizer and back; `infer reconstruct --help` says what it writes
chat          questions about pictures, one after the other or interactively
segment       masks by words, classes, a click, a scribble, a box or a mask
video         things in a clip, by words, classes, or their masks in one frame

The checkpoint is a run directory (its best step), one step of it, or a safetensors file.
"""

import argparse
import json
import sys
from typing import Any

from etils import epath

from data_pipelines.errors import DataError
from focus_jax.errors import UserError, one_sentence

RECONSTRUCT = """Pictures through the tokenizer and back. Writes for every picture NAME

  OUTPUT/NAME.png          what came back, at the picture's own size
  OUTPUT/NAME.codes.npz    its codes: int32 grids `semantic` and `pixel`; the tokenizer's `fingerprint`; (height, width)
                           of the picture (`size`), of the `bucket` and of its part that is picture (`inside`)
  OUTPUT/NAME.map.png      original, reconstruction and the code grids side by side, alike codes in alike colours

and OUTPUT/reconstruct.json, what was done. A picture goes whole into the bucket of the nearest aspect ratio, padded
with the mean colour, and back; sides under 16 pixels and aspects beyond 4:1 are refused. A file of codes among the
inputs is decoded; codes of another tokenizer are refused.

  python -m focus_jax.infer reconstruct photo.jpg holiday/ --checkpoint=runs/stage1_tokenizer --output=out
  python -m focus_jax.infer reconstruct out --checkpoint=runs/stage1_tokenizer --output=again    from the codes alone
"""


def reconstruct(args: argparse.Namespace) -> None:
    """`infer reconstruct`. Raises: UserError."""
    import numpy as np
    from PIL import Image

    import focus_jax
    from data_pipelines import buckets
    from data_pipelines.progress import progress
    from focus_jax.inference import reconstruct as lib

    if args.batch < 1:
        raise UserError(f"--batch={args.batch}: expected at least 1.")
    files, output = lib.listed(args.inputs), _folder(args.output, lib.RECORD)
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    among = buckets.parse(args.buckets) if args.buckets else lib.buckets_of(model.config)
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
        for name, file in stored.items():
            try:
                yield lib.from_codes(model, name, file)
            except UserError as error:
                refused.append(str(error))
        yield from lib.reconstruct(model, lib.fitting(pictures, among, refused), args.batch)

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
    _tell(refused)


def _folder(output: str, record: str) -> epath.Path:
    """The folder to write to. Raises: UserError for one that holds files and no record of this command."""
    path = epath.Path(output)
    if path.exists() and any(path.iterdir()) and not (path / record).exists():
        raise UserError(f"--output={output}: holds files of something else; name a new or empty folder.")
    return path


def _tell(refused: list[str]) -> None:
    """Why inputs were passed over. Raises: SystemExit, code 2, where some were."""
    for sentence in refused:
        print(f"error: {sentence}", file=sys.stderr)
    if refused:
        raise SystemExit(2)


CHAT = """Questions about pictures.

With --ask, once or several times, the turns of one conversation: the answers are printed, one a line, and written with
what was asked to --output where that is given. Without it the conversation is interactive: a line is a turn, the answer
comes word by word, and

  /image PATH   shows a picture with the next turn; several times for several pictures
  /new          begins another conversation
  /quit         ends, as does the end of the input

Pictures of --image are shown with the first turn. They go whole into the bucket of the nearest aspect ratio, padded
with the mean colour; further ones go into the bucket of the first. Without a temperature the answers are greedy.

  python -m focus_jax.infer chat --checkpoint=runs/stage2 --image=photo.jpg --ask="What is this?" --ask="What else?"
  python -m focus_jax.infer chat --checkpoint=runs/stage2 --temperature=0.7 --top_p=0.8
"""


def chat(args: argparse.Namespace) -> None:
    """`infer chat`. Raises: UserError."""
    import focus_jax
    from focus_jax.inference import decode

    for name, least in (("limit", 1), ("temperature", 0), ("top_k", 0), ("penalty", 1e-6), ("seed", 0)):
        if getattr(args, name) < least:
            raise UserError(f"--{name}={getattr(args, name)}: expected at least {least}.")
    if not 0 < args.top_p <= 1:
        raise UserError(f"--top_p={args.top_p}: expected a share above 0, at most 1.")
    pictures = [_opened(path) for path in args.image]
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    filters = dict(temperature=args.temperature, top_k=args.top_k, top_p=args.top_p, penalty=args.penalty)
    sampling = decode.sampling(1, **filters, seeds=args.seed)
    options = dict(limit=args.limit, sampling=sampling, stops=args.stop)
    make = lambda: model.session(**({"system": args.system} if args.system is not None else {}))
    session = make()
    if args.ask:
        turns = []
        for question in args.ask:
            for _ in session.stream(question, pictures, **options):
                pass
            turns.append({"question": question, "answer": session.answer, "images": args.image if not turns else []})
            pictures = []
            print(session.answer, flush=True)
        if args.output:
            path = epath.Path(args.output)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                json.dumps({"checkpoint": model.label, "turns": turns}, indent=1, ensure_ascii=False) + "\n"
            )
        return
    print("A line is a turn; /image PATH shows a picture with the next one, /new begins anew, /quit ends.", flush=True)
    while (line := _line()) is not None and line != "/quit":
        if line == "/new":
            session, pictures = make(), []
        elif line.startswith("/image"):
            try:
                pictures.append(_opened(line.removeprefix("/image").strip()))
            except (UserError, DataError) as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
        elif line:
            try:
                for piece in session.stream(line, pictures, **options):
                    print(piece, end="", flush=True)
                print(flush=True)
                pictures = []
            except (UserError, DataError) as error:
                print(f"error: {error}", file=sys.stderr, flush=True)


SEGMENT = """Masks of what is asked for. Writes for every picture NAME

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


def segment(args: argparse.Namespace) -> None:
    """`infer segment`. Raises: UserError."""
    import numpy as np

    import focus_jax
    from data_pipelines.progress import progress
    from focus_jax.inference import masks
    from focus_jax.inference.reconstruct import listed

    given = _one_of(args, ASKED)
    files, output = listed(args.inputs), _folder(args.output, masks.RECORD)
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    done, refused = [], []
    for name, file in progress("segment", files.items(), len(files), "pictures"):
        try:
            picture = np.asarray(_opened(str(file)))
            (found,) = model.segment(picture[None], [_prompt(args, given, picture.shape[:2])])
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
    _tell(refused)


def _prompt(args: argparse.Namespace, kind: str, size: tuple[int, int]) -> Any:
    """What is asked of a picture of this (height, width). Raises: UserError, DataError."""
    import numpy as np

    from data_pipelines import regions
    from focus_jax.evaluation.protocol import Question

    value = getattr(args, kind)
    if kind == "classes":
        return [name.strip() for name in value.split(",") if name.strip()]
    if kind in ("words", "question"):
        return Question(value) if kind == "question" else value
    if kind in ("point", "box"):
        try:
            numbers = [float(x) for x in value.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != (2 if kind == "point" else 4):
            raise UserError(f"--{kind}={value}: expected {'X,Y' if kind == 'point' else 'X,Y,W,H'} in pixels.")
        return (regions.point if kind == "point" else regions.box)(*numbers, *size)
    marked = np.asarray(_opened(value)).max(axis=-1) > 0
    if marked.shape != size:
        height, width = marked.shape
        raise UserError(f"--{kind}={value}: is {width} x {height}, expected the picture's {size[1]} x {size[0]}.")
    return marked


VIDEO = """Things in a clip: a folder of frames, in the order of their names, or an animated GIF, WebP or PNG. Writes

  OUTPUT/ids/FRAME.png   each pixel's thing, 0 = none, as a palette PNG: one number is one thing in all frames
  OUTPUT/overlay.gif     the frames with their things and a legend
  OUTPUT/video.json      what was asked, and of every frame its things: name, score, area, box and COCO's run lengths

One of these says what is asked:

  --words="the red mug"         what it means; --question: words to be thought about
  --classes="person,dog"        everything of these classes, joined over the frames
  --mask=FILE --frame=N         things marked in frame N (0, the first, by default) by a palette PNG's numbers, or one
                                that is white; they are sought before and behind it

  python -m focus_jax.infer video frames/ --checkpoint=runs/stage3 --mask=first.png --output=out
"""
OF_CLIPS = ("words", "question", "classes", "mask")


def video(args: argparse.Namespace) -> None:
    """`infer video`. Raises: UserError."""
    import numpy as np

    import focus_jax
    from focus_jax.inference import clip_files

    given = _one_of(args, OF_CLIPS)
    if args.frame and given != "mask":
        raise UserError(f"--frame={args.frame}: goes with --mask, which marks things in it.")
    frames, output = clip_files.read(args.input), _folder(args.output, clip_files.RECORD)
    pictures = np.stack(list(frames.values()))
    size = pictures.shape[1:3]
    asked = (args.frame, clip_files.marked(args.mask, size)) if given == "mask" else _prompt(args, given, size)
    model = focus_jax.load(args.checkpoint, weights=args.weights)
    found = model.segment_video(pictures, asked)
    output.mkdir(parents=True, exist_ok=True)
    told = {"checkpoint": model.label, "asked": {given: getattr(args, given)}, "names": found.names}
    told |= {"scores": [round(x, 4) for x in found.scores], "frames": clip_files.write(output, frames, found)}
    (output / clip_files.RECORD).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    where = [int((found.ids == k).any(axis=(1, 2)).sum()) for k in range(1, len(found.names) + 1)]
    for k, (name, count) in enumerate(zip(found.names, where), 1):
        print(f"{k} {name}: in {count} of {len(frames)} frames")
    if not found.names:
        print("nothing there")


def _one_of(args: argparse.Namespace, names: tuple[str, ...]) -> str:
    """The one option that says what is asked. Raises: UserError for none or several."""
    given = [name for name in names if getattr(args, name)]
    if len(given) != 1:
        told = ", ".join(f"--{name}" for name in given) or "nothing"
        raise UserError(f"{told}: expected one of {', '.join(f'--{name}' for name in names)}.")
    return given[0]


def _line() -> str | None:
    """The user's next line, None at the end."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None


def _opened(path: str) -> Any:
    """An RGB picture. Raises: UserError."""
    from data_pipelines import transforms

    try:
        return transforms.decode(epath.Path(path).read_bytes(), path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error


TASKS = {"reconstruct": reconstruct, "chat": chat, "segment": segment, "video": video}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m focus_jax.infer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = parser.add_subparsers(dest="task", required=True)
    add = tasks.add_parser(
        "reconstruct",
        help="pictures through the tokenizer and back",
        description=RECONSTRUCT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_argument
    add("inputs", nargs="+", metavar="INPUT", help="pictures, folders of pictures, files of codes")
    add("--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add("--buckets", metavar="256|512|HxW,...", help="sizes to encode at (default: those of the run's last phase)")
    add("--batch", type=int, default=8, help="pictures of one bucket at a time (default: 8)")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
    add = tasks.add_parser(
        "chat", help="questions about pictures", description=CHAT, formatter_class=argparse.RawDescriptionHelpFormatter
    ).add_argument
    add("--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--image", action="append", default=[], metavar="FILE", help="a picture of the first turn; may be repeated")
    add("--ask", action="append", default=[], metavar="TEXT", help="a turn; may be repeated. None: interactive")
    add("--output", default="", metavar="FILE", help="JSON of questions and answers, with --ask")
    add("--system", metavar="TEXT", help="what the system's turn says (default: Qwen2.5's)")
    add("--limit", type=int, default=256, help="tokens of an answer at most (default: 256)")
    add("--stop", action="append", default=[], metavar="TEXT", help="ends an answer and is cut off; may be repeated")
    add("--temperature", type=float, default=0.0, help="0 (default): the likeliest token")
    add("--top_k", type=int, default=0, help="so many of the likeliest tokens may come; 0 (default): all")
    add("--top_p", type=float, default=1.0, help="tokens up to this share of the probability may come (default: 1)")
    add("--penalty", type=float, default=1.0, help="over 1: lowers words that were there before (default: 1)")
    add("--seed", type=int, default=0, help="of the draws (default: 0)")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
    add = tasks.add_parser(
        "segment", help="masks", description=SEGMENT, formatter_class=argparse.RawDescriptionHelpFormatter
    ).add_argument
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
    add = tasks.add_parser(
        "video", help="things in a clip", description=VIDEO, formatter_class=argparse.RawDescriptionHelpFormatter
    ).add_argument
    add("input", metavar="INPUT", help="a folder of frames, or an animated picture")
    add("--checkpoint", required=True, metavar="DIR", help="run directory, step directory or safetensors file")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add("--words", default="", metavar="TEXT", help="what it is called")
    add("--question", default="", metavar="TEXT", help="what has to be thought about")
    add("--classes", default="", metavar="A,B,...", help="names of classes")
    add("--mask", default="", metavar="FILE", help="numbers of things in one frame")
    add("--frame", type=int, default=0, metavar="N", help="the frame that --mask marks (default: 0)")
    add("--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are some, or raw")
    args = parser.parse_args(argv)
    with one_sentence():
        from focus_jax.platforms import without_absent_tpu

        without_absent_tpu()
        TASKS[args.task](args)


if __name__ == "__main__":
    main()
