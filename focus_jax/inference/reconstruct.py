# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures of any size to codes and back through the tokenizer's buckets, and codes read from files."""

import dataclasses
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from PIL import Image, ImageDraw

from data_pipelines import buckets, transforms
from data_pipelines.errors import DataError
from data_pipelines.readers import folder
from data_pipelines.transforms import Fit
from focus_jax.errors import UserError
from focus_jax.evaluation import figures

CODES = ".codes.npz"  # ending of files of codes
RECORD = "reconstruct.json"  # what was done, in the output folder
PANEL = 256  # pixels of the longer side of a panel of `sheet`
FIELDS = ("fingerprint", "size", "bucket", "inside")  # of a file of codes, beside the branches' grids


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """name: of the picture; codes: int32 [h, w] by branch; picture: uint8 [H, W, 3] at its own size; original: the
    bucket's canvas that was encoded, canvas: what came back, of that size or a multiple; original is None where codes
    were read from a file."""

    name: str
    fit: Fit
    codes: dict[str, np.ndarray]
    picture: np.ndarray
    canvas: np.ndarray
    original: np.ndarray | None

    @property
    def psnr(self) -> float | None:
        """dB over the picture's part of the canvas, values read as [0, 1]; None where the two are not of one size."""
        if self.original is None or self.canvas.shape != self.original.shape:
            return None
        height, width = self.fit.inside
        pair = (x[None, :height, :width] for x in (self.original, self.canvas))
        return float(figures.psnr(*pair)[0])


# Draws canvases uint8 [B, H, W, 3] out of codes int32 [B, h, w] by branch, of pictures of a bucket, named each.
Draw = Callable[[dict[str, np.ndarray], buckets.Bucket, Sequence[str]], np.ndarray]


def by_tokenizer(model: Any) -> Draw:
    """Drawing by the tokenizer's own decoder."""
    return lambda codes, bucket, names: model.decode(codes, bucket)


def by_diffusion(
    model: Any, scale: int, seeds: int | Sequence[int], show: Callable[..., None] | None = None, **options: Any
) -> Draw:
    """Drawing by the diffusion decoder at `scale` times the size of the codes. seeds: one for every picture, so that
    none depends on what it is drawn with, or one each; show: called with steps, pictures and names; options: of
    inference.diffusion.Options."""

    def draw(codes: dict[str, np.ndarray], bucket: buckets.Bucket, names: Sequence[str]) -> np.ndarray:
        size, each = (scale * bucket[0], scale * bucket[1]), np.broadcast_to(seeds, len(names))
        told = None if show is None else lambda step, pictures: show(step, pictures, names)
        return model.diffuse(codes, size, seeds=each, show=told, **options)

    return draw


def buckets_of(config: Any) -> list[buckets.Bucket]:
    """The picture sizes of a run's last phase."""
    return list(dict.fromkeys((s["height"], s["width"]) for s in config.data.phases[-1]["streams"]))


def reconstruct(
    model: Any, pictures: Iterable[tuple[str, Image.Image, Fit]], batch_size: int, draw: Draw | None = None
) -> Iterator[Reconstruction]:
    """Whole pictures: resized to fit their bucket, padded with the mean colour, back to their own sizes.

    Args:
      model: from focus_jax.load. pictures: (name, RGB picture, where it goes). batch_size: of one bucket. draw: default
        by_tokenizer.

    Yields: a Reconstruction each, in the order in which buckets fill up.
    """
    draw = draw or by_tokenizer(model)
    high = lambda image, fit: fit.canvas(image, model.high) if model.high else None
    given = ((name, fit, fit.canvas(image), high(image, fit)) for name, image, fit in pictures)
    for rows, filled in _batches(given, batch_size):
        images = np.stack([row[2] for row in filled])
        codes = model.encode(images, np.stack([row[3] for row in filled]) if model.high else None)
        back = draw(codes, rows[0][1].bucket, [row[0] for row in filled])
        for i, (name, fit, canvas, _) in enumerate(rows):
            yield Reconstruction(name, fit, {k: x[i] for k, x in codes.items()}, fit.back(back[i]), back[i], canvas)


def _batches(given: Iterable[tuple], batch_size: int) -> Iterator[tuple[list[tuple], list[tuple]]]:
    """Rows (name, Fit, ...) of one bucket, and the same filled up with the last one, so that batches have one shape."""
    waiting: dict[buckets.Bucket, list[tuple]] = {}
    for row in given:
        rows = waiting.setdefault(row[1].bucket, [])
        rows.append(row)
        if len(rows) == batch_size:
            del waiting[row[1].bucket]
            yield rows, rows
    for rows in waiting.values():
        yield rows, rows + rows[-1:] * (batch_size - len(rows))


# ------------------------------------------------------------------------------------------------------ files of codes
def save_codes(path: epath.PathLike, found: Reconstruction, fingerprint: str) -> None:
    """Writes an npz of code grids with the tokenizer's fingerprint and what the picture's own size needs."""
    fields = {name: np.array(getattr(found.fit, name), np.int32) for name in FIELDS[1:]}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, fingerprint=np.array(fingerprint), **fields, **found.codes)
    epath.Path(path).write_bytes(buffer.getvalue())


def from_codes(
    model: Any, files: Mapping[str, epath.PathLike], batch_size: int, refused: list[str], draw: Draw | None = None
) -> Iterator[Reconstruction]:
    """The pictures of files by `save_codes`; batch_size, draw: as of `reconstruct`. A sentence on each that cannot be
    read or drawn is added to `refused`."""
    draw = draw or by_tokenizer(model)

    def read() -> Iterator[tuple]:
        for name, path in files.items():
            try:
                yield name, *read_codes(model, path)
            except UserError as error:
                refused.append(str(error))

    for rows, filled in _batches(read(), batch_size):
        codes = {branch: np.stack([row[2][branch] for row in filled]) for branch in rows[0][2]}
        try:
            back = draw(codes, rows[0][1].bucket, [row[0] for row in filled])
        except UserError as error:
            refused += [f"{files[row[0]]}: {error}" for row in rows]
            continue
        for (name, fit, own), canvas in zip(rows, back):
            yield Reconstruction(name, fit, own, fit.back(canvas), canvas, None)


def read_codes(model: Any, path: epath.PathLike) -> tuple[Fit, dict[str, np.ndarray]]:
    """(where its picture goes, codes int32 [h, w] by branch) of a file by `save_codes`. Raises: UserError for another
    file, another tokenizer's codes or such as are not of its bucket."""
    try:
        with np.load(io.BytesIO(epath.Path(path).read_bytes()), allow_pickle=False) as file:
            held = {key: file[key] for key in file.files}
        size, bucket, inside = (tuple(int(i) for i in held.pop(key)) for key in FIELDS[1:])
        fingerprint = str(held.pop("fingerprint"))
        fit = transforms.fit(*size, [bucket], str(path))
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: is no file of codes ({error}), expected what `infer reconstruct` writes.") from error
    if fingerprint != model.codes_fingerprint:
        raise UserError(
            f"{path}: codes of the tokenizer {fingerprint}, expected those of {model.codes_fingerprint}, which "
            f"{model.label} holds."
        )
    if fit.inside != inside:
        raise UserError(f"{path}: size {size}, bucket {bucket} and inside {inside} do not belong together.")
    try:
        model.checked_codes(held, bucket)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return fit, held


# ------------------------------------------------------------------------------------------------------------- pictures
def colours_of(codebooks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A colour for each code, uint8 [codes, 3] by branch: alike codes look alike.

    Red, green and blue are the codebook's first three principal components, from their 2nd to their 98th percentile.
    """
    found = {}
    for name, codes in codebooks.items():
        centred = codes - codes.mean(axis=0)
        axes = np.linalg.svd(centred, full_matrices=False)[2][:3]
        along = centred @ axes.T
        low, top = np.percentile(along, (2, 98), axis=0)
        share = np.clip((along - low) / np.maximum(top - low, 1e-9), 0, 1)
        rgb = np.zeros((len(codes), 3), np.uint8)
        rgb[:, : share.shape[1]] = np.round(255 * share)
        found[name] = rgb
    return found


def sheet(found: Reconstruction, colours: Mapping[str, np.ndarray]) -> Image.Image:
    """Side by side on the bucket's canvas: original, reconstruction, and each branch's codes in their colours."""
    panels = [("original", found.original), ("reconstruction", found.canvas)]
    panels += [(f"{name} codes {x.shape[0]} x {x.shape[1]}", colours[name][x]) for name, x in found.codes.items()]
    panels = [(title, x) for title, x in panels if x is not None]
    height, width = found.fit.bucket
    scale = PANEL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    step, band = max(size[0], 8 * max(len(title) for title, _ in panels)) + 8, 20
    out = Image.new("RGB", (step * len(panels) - 8, size[1] + band), "white")
    draw = ImageDraw.Draw(out)
    for i, (title, x) in enumerate(panels):
        out.paste(Image.fromarray(x).resize(size, Image.Resampling.NEAREST), (i * step, band))
        draw.text((i * step, 4), title, fill="black")
    return out


# --------------------------------------------------------------------------------------------------------------- inputs
def listed(inputs: Sequence[str]) -> dict[str, epath.Path]:
    """{name: file} of files, and of all pictures and files of codes below folders; the name is the path without ending.
    Of a folder that `infer reconstruct` wrote only the files of codes.

    Raises: UserError for an input that is not there, a folder without such files, and two files with one output.
    """
    found: dict[str, epath.Path] = {}
    taken: dict[str, epath.Path] = {}

    def add(name: str, file: epath.Path) -> None:
        for output in outputs(name):
            if output in taken:
                raise UserError(f"{file}: would be written to the same place as {taken[output]}; rename one of them.")
            taken[output] = file
        found[name] = file

    for given in inputs:
        path = epath.Path(given)
        if path.is_dir():
            wanted = (CODES,) if (path / RECORD).exists() else (*folder.SUFFIXES, CODES)
            below = sorted(name for name, _ in folder.walk(path, wanted))
            if not below:
                raise UserError(f"{path}: holds no picture and no file of codes ({CODES}).")
            for name in below:
                add(_name(name), path / name)
        elif path.exists():
            add(_name(path.name), path)
        else:
            raise UserError(f"{path}: there is no such file or folder.")
    return found


def outputs(name: str) -> dict[str, str]:
    """{file relative to the output folder: kind} of a picture: picture, sheet, codes."""
    return {f"{name}.png": "picture", f"{name}.map.png": "sheet", f"{name}{CODES}": "codes"}


def _name(file: str) -> str:
    if file.endswith(CODES):
        return file.removesuffix(CODES)
    name, _, ending = file.rpartition(".")
    return name if name and "/" not in ending else file


def fitting(
    files: Mapping[str, epath.Path], among: Sequence[buckets.Bucket], refused: list[str]
) -> Iterator[tuple[str, Image.Image, Fit]]:
    """Each picture and where it goes; a sentence on each that cannot be read or fitted is added to `refused`."""
    for name, file in files.items():
        try:
            image = transforms.decode(file.read_bytes(), str(file))
            yield name, image, transforms.fit(image.height, image.width, among, str(file))
        except DataError as error:
            refused.append(str(error))
        except OSError as error:
            refused.append(f"{file}: cannot be read ({error.strerror or error}).")
