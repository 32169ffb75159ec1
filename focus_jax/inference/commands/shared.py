# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the tasks share: where they write, what they tell, what they read."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from etils import epath

from focus_jax.errors import UserError


def folder(output: str, record: str) -> epath.Path:
    """The folder to write to. Raises: UserError for one that holds files and no record of this command."""
    path = epath.Path(output)
    if path.exists() and any(path.iterdir()) and not (path / record).exists():
        raise UserError(f"--output={output}: holds files of something else; name a new or empty folder.")
    return path


def tell(refused: list[str]) -> None:
    """Why inputs were passed over. Raises: SystemExit, code 2, where some were."""
    for sentence in refused:
        print(f"error: {sentence}", file=sys.stderr)
    if refused:
        raise SystemExit(2)


def one_of(args: argparse.Namespace, names: tuple[str, ...]) -> str:
    """The one option that says what is asked. Raises: UserError for none or several."""
    given = [name for name in names if getattr(args, name)]
    if len(given) != 1:
        told = ", ".join(f"--{name}" for name in given) or "nothing"
        raise UserError(f"{told}: expected one of {', '.join(f'--{name}' for name in names)}.")
    return given[0]


def names(listed: str) -> list[str]:
    """Those of a list A,B,..."""
    return [name.strip() for name in listed.split(",") if name.strip()]


def opened(path: str) -> Any:
    """An RGB picture. Raises: UserError."""
    from data_pipelines import transforms

    try:
        return transforms.decode(epath.Path(path).read_bytes(), path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error


OF_DIFFUSION = ("steps", "guidance", "mask_guidance", "scheduler", "spacing", "rescale", "eta", "tile")
OF_SAMPLING = ("temperature", "top_k", "top_p")


def decoder_arguments(add: Callable[..., Any], default: str = "diffusion", masks: bool = False) -> None:
    """What draws codes, and how; masks: whether under masks."""
    told = default or "diffusion where the checkpoint has it"
    add("--decoder", choices=("tokenizer", "diffusion"), default=default, help=f"what draws (default: {told})")
    add("--twice", action="store_true", help="diffusion: at twice the size of the codes")
    add("--steps", type=int, default=30, help="diffusion: of the scheduler (default: 30)")
    add("--guidance", type=float, default=1.5, help="diffusion: 1 for none (default: 1.5)")
    if masks:
        told = "diffusion: how much the mask counts: 0 not at all, 1 as it was taught; it costs a third pass a step"
        add("--mask_guidance", type=float, metavar="X", help=f"{told} (default: as much as the codes, by --guidance)")
    add("--scheduler", default="ddim", help="diffusion: ddim, ddpm, euler, euler_ancestral, dpm_solver (default: ddim)")
    add("--spacing", default="leading", help="diffusion: leading, trailing, linspace (default: leading)")
    add("--rescale", type=float, default=0.0, help="diffusion: share of guided deviations brought back (default: 0)")
    add("--eta", type=float, default=0.0, help="diffusion: noise of ddim (default: 0)")
    add("--tile", type=int, default=0, metavar="PIXELS", help="diffusion: draw in squares, where memory is short")


def composite_arguments(add: Callable[..., Any]) -> None:
    """What of an edit is the picture's own."""
    yes = argparse.BooleanOptionalAction
    add("--composite", action=yes, default=True, help="the picture's own pixels outside the mask (default: yes)")
    add("--feather", type=int, default=3, metavar="PIXELS", help="inside the mask, over which both mix (default: 3)")


def diffusion_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those of inference.diffusion.Options that the command has."""
    return {name: getattr(args, name) for name in OF_DIFFUSION if hasattr(args, name)}


def sampling_arguments(add: Callable[..., Any]) -> None:
    """How codes are written; what is not given is as the model does it by itself."""
    own = "(default: the model's own, or"
    add("--temperature", type=float, help=f"codes: 0 for the likeliest {own} 0)")
    add(
        "--top_k",
        type=_numbers,
        metavar="K[,K]",
        help=f"codes: so many may come, or semantic,pixel; 0 for all {own} 0)",
    )
    add("--top_p", type=float, help=f"codes: those up to this share of the probability {own} 1)")
    add("--token_guidance", type=float, help=f"codes: over 1, away from what no words give {own} 1)")
    add("--limit", type=int, default=0, help="codes: ids of a picture at most (default: 0, what it takes)")
    add("--repair", action="store_true", help="codes: a picture that --limit cut short repeats its last code")


def _numbers(listed: str) -> Any:
    """A number, or of A,B settings of semantic and of pixel codes: [1, kinds]."""
    try:
        values = [int(x) for x in listed.split(",")]
    except ValueError:
        values = []
    if not 1 <= len(values) <= 2:
        raise argparse.ArgumentTypeError(f"{listed}: expected K, or K,K of semantic and of pixel codes.")
    return values[0] if len(values) == 1 else ((0, *values),)


def sampling_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those of inference.decode.sampling. Raises: UserError."""
    at_least(args, seed=0, limit=0)
    return settings(args, *OF_SAMPLING, guidance="token_guidance")


def at_least(args: argparse.Namespace, **least: int) -> None:
    """Raises: UserError for an option that is less."""
    for name, value in least.items():
        if getattr(args, name) < value:
            raise UserError(f"--{name}={getattr(args, name)}: expected at least {value}.")


def settings(args: argparse.Namespace, *names: str, **renamed: str) -> dict[str, Any]:
    """{setting of inference.decode.sampling: value} of what is given; names: of settings, as of the options that set
    them; renamed: the option of a setting that is called otherwise. Raises: UserError."""
    from focus_jax.inference import decode

    options = dict(zip(names, names)) | renamed
    given = {name: value for name, option in options.items() if (value := getattr(args, option)) is not None}
    for name, value in given.items():
        decode.check_setting(name, value, f"--{options[name]}={value}")
    return given


def edit_options(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a user sets of inference.edit.Editor: its own, and how the diffusion decoder draws. Raises: UserError."""
    own = {"decoder": args.decoder, "scale": 2 if args.twice else 1, "sampling": sampling_options(args)}
    own |= {"feather": args.feather if args.composite else None, "limit": args.limit, "repair": args.repair}
    return own, diffusion_options(args) if args.decoder == "diffusion" else {}


def prompt(args: argparse.Namespace, kind: str, size: tuple[int, int]) -> Any:
    """What is asked of a picture of this (height, width). Raises: UserError, DataError."""
    import numpy as np

    from data_pipelines import regions
    from focus_jax.evaluation.protocol import Question

    value = getattr(args, kind)
    if kind == "classes":
        return names(value)
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
    marked = np.asarray(opened(value)).max(axis=-1) > 0
    if marked.shape != size:
        height, width = marked.shape
        raise UserError(f"--{kind}={value}: is {width} x {height}, expected the picture's {size[1]} x {size[0]}.")
    return marked
