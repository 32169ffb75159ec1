# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Clips as files: frames from a folder or an animated picture, marked things from a palette PNG, and what was found in
DAVIS's layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from PIL import Image, ImageSequence, UnidentifiedImageError

from data_pipelines import transforms
from data_pipelines.readers import folder
from focus_jax.errors import UserError
from focus_jax.evaluation.protocol import Segments
from focus_jax.inference import masks, reconstruct
from focus_jax.inference.edit import Done

RECORD = "video.json"
MILLISECONDS = 160  # of a frame of the overlay


def read(path: str) -> dict[str, np.ndarray]:
    """{name: uint8 [H, W, 3]} of a folder's pictures by name, or of an animated GIF, WebP or PNG by number.

    Raises: UserError for a path without frames, a file that cannot be read, and frames of several sizes.
    """
    given = epath.Path(path)
    if not given.exists():
        raise UserError(f"{path}: there is no such file or folder.")
    if given.is_dir():
        files = sorted(name for name, _ in folder.walk(given, folder.SUFFIXES))
        found = {name.rpartition(".")[0]: _decoded(given / name) for name in files}
    else:
        try:
            with given.open("rb") as file, Image.open(file) as image:
                shown = ImageSequence.Iterator(image)
                found = {f"{i:05d}": np.asarray(frame.convert("RGB")) for i, frame in enumerate(shown)}
        except UnidentifiedImageError as error:
            raise UserError(
                f"{path}: is no picture; of a video write the frames to a folder first, ffmpeg -i {path} "
                "FOLDER/%05d.png."
            ) from error
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error}).") from error
    if not found:
        raise UserError(f"{path}: holds no picture, expected a clip's frames.")
    sizes = {frame.shape[:2]: name for name, frame in found.items()}
    if len(sizes) > 1:
        (a, b), (c, d) = list(sizes.items())[:2]
        raise UserError(f"{path}: frame {b} is {a[1]} x {a[0]} and {d} is {c[1]} x {c[0]}, expected one size.")
    return found


def _decoded(path: epath.Path) -> np.ndarray:
    try:
        return np.asarray(transforms.decode(path.read_bytes(), str(path)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error


def marked(path: str, size: tuple[int, int]) -> np.ndarray:
    """The numbers of a palette or grey PNG, int32 [H, W]; of another picture 1 where it is not black.

    Raises: UserError for one of another size than the frames or that marks nothing.
    """
    try:
        with epath.Path(path).open("rb") as file, Image.open(file) as image:
            if image.mode in ("P", "L", "I;16", "I", "1"):
                found = np.asarray(image).astype(np.int32)
                # A mask as programs draw it is white, not the thing of number 255.
                found = (found > 0).astype(np.int32) if set(np.unique(found)) <= {0, 255} else found
            else:
                found = (np.asarray(image.convert("RGB")).max(axis=-1) > 0).astype(np.int32)
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{path}: cannot be read as a picture of numbers ({error}).") from error
    if found.shape != size:
        height, width = found.shape
        raise UserError(f"{path}: is {width} x {height}, expected the frames' {size[1]} x {size[0]}.")
    if not found.any():
        raise UserError(f"{path}: marks nothing, expected numbers from 1 where something is, else 0.")
    return found


def write_edited(
    output: epath.Path, frames: dict[str, np.ndarray], changed: Sequence[Done | None], fingerprint: str
) -> None:
    """edited/NAME.png of every frame and edited.gif, and edited/NAME.codes.npz of frames to which something was done;
    fingerprint: of the tokenizer."""
    shown = [Image.fromarray(frame if one is None else one.image) for frame, one in zip(frames.values(), changed)]
    for name, image, one in zip(frames, shown, changed):
        path = output / "edited" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as to:
            image.save(to, format="PNG")
        if one is not None:
            reconstruct.save_codes(output / "edited" / f"{name}{reconstruct.CODES}", one, fingerprint)
    with (output / "edited.gif").open("wb") as to:
        shown[0].save(to, format="GIF", save_all=True, append_images=shown[1:], duration=MILLISECONDS, loop=0)


def write(output: epath.Path, frames: dict[str, np.ndarray], found: Segments) -> list[dict[str, Any]]:
    """ids/NAME.png of every frame and overlay.gif. Returns: of every frame its name and masks.entries."""
    shown, told = [], []
    for name, frame, ids in zip(frames, frames.values(), found.ids):
        one = Segments(ids, found.names, found.scores)
        path = output / "ids" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as to:
            masks.id_picture(one).save(to, format="PNG")
        shown.append(masks.overlay(frame, one))
        told.append({"frame": name, "segments": [entry for entry in masks.entries(one) if entry["area"]]})
    with (output / "overlay.gif").open("wb") as to:
        shown[0].save(to, format="GIF", save_all=True, append_images=shown[1:], duration=MILLISECONDS, loop=0)
    return told
