# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`infer chat`."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from etils import epath

from data_pipelines.errors import DataError
from focus_jax.errors import UserError
from focus_jax.inference.commands import shared

HELP = "questions about pictures"
DESCRIPTION = """Questions about pictures.

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


def run(args: argparse.Namespace) -> None:
    """`infer chat`. Raises: UserError."""
    import focus_jax
    from focus_jax.inference import decode

    shared.at_least(args, limit=1, seed=0)
    filters = shared.settings(args, *shared.OF_SAMPLING, "penalty")
    pictures = [shared.opened(path) for path in args.image]
    model = focus_jax.load(args.checkpoint, weights=args.weights)
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
                pictures.append(shared.opened(line.removeprefix("/image").strip()))
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


def arguments(add: Callable[..., Any]) -> None:
    """Those of the command."""
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


def _line() -> str | None:
    """The user's next line, None at the end."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
