# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""One model, files to files.

    python -m focus_jax.infer reconstruct photo.jpg holiday/ --checkpoint=runs/stage1_tokenizer --output=out
    python -m focus_jax.infer chat --checkpoint=runs/stage2 --image=photo.jpg --ask="What colour is the mug?"
    python -m focus_jax.infer segment photo.jpg --checkpoint=runs/stage3 --words="the red mug" --output=out
    python -m focus_jax.infer video frames/ --checkpoint=runs/stage3 --mask=first.png --output=out
    python -m focus_jax.infer generate --checkpoint=runs/stage4 --text="A red mug." --output=out
    python -m focus_jax.infer edit photo.jpg --checkpoint=runs/stage4 --instruction="Remove the mug." --output=out

reconstruct   pictures through the tokenizer and back; `infer reconstruct --help` says what it writes
chat          questions about pictures, one after the other or interactively
segment       masks by words, classes, a click, a scribble, a box or a mask
video         things in a clip, by words, classes, or their masks in one frame
generate      pictures out of captions
edit          pictures changed by instructions
submit        answers on sets whose truth is with a server

The checkpoint is a run directory (its best step), one step of it, or a safetensors file.
"""

import argparse

from focus_jax.errors import one_sentence
from focus_jax.inference.commands import chat, edit, generate, reconstruct, segment, submit, video

TASKS = {
    "reconstruct": reconstruct,
    "chat": chat,
    "segment": segment,
    "video": video,
    "generate": generate,
    "edit": edit,
    "submit": submit,
}


def main(argv: list[str] | None = None) -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m focus_jax.infer", description=__doc__, formatter_class=plain)
    tasks = parser.add_subparsers(dest="command", required=True)
    for name, task in TASKS.items():
        command = tasks.add_parser(name, help=task.HELP, description=task.DESCRIPTION, formatter_class=plain)
        task.arguments(command.add_argument)
    args = parser.parse_args(argv)
    with one_sentence():
        from focus_jax.platforms import without_absent_tpu

        without_absent_tpu()
        TASKS[args.command].run(args)


if __name__ == "__main__":
    main()
