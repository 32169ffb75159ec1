# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of prepared data with every field drawn, or a page of the world.

  python -m data_pipelines.show DIR --output=sheet.png [--split=validation --count=24 --columns=4]
  python -m data_pipelines.show --world=standard --output=page.png [--task=edit --split=test --start=0 --count=24]
  python -m data_pipelines.show --world=easy --output=scene.png --picture=128 [--split=test --start=1]

Of prepared data every record is a cell: its pictures (images, frames, target, depth, edges, normals) with boxes, masks
and regions on them, and below them its texts, sizes, split, source and licence. `--verify` also reads every shard's
checksum. Of the world every scene from `--start` on is a cell, with what the task gives it (docs/world.md); with
`--picture` the one scene is drawn as it is, and what it shows is said.
"""

import argparse
import sys
import textwrap

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from data_pipelines import buckets, shards, transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Example, Mask
from data_pipelines.shards import Shards, read_manifest
from data_pipelines.world import captions, drawing, pages, scenes
from data_pipelines.world.vocabulary import PRESETS, SPLITS

_COLOURS = ((230, 60, 60), (60, 130, 230), (50, 170, 80), (230, 160, 30), (150, 80, 200), (30, 180, 180))
_SIDE = 192  # pixels of a picture's longer side on the sheet
_MARGIN = 8
_LINE = 13
_WIDTH = 44  # characters of a text line


def grid(cells: list[Image.Image], columns: int) -> Image.Image:
    """Cells row by row, columns as wide and rows as high as their largest cell."""
    if not cells:
        raise DataError("no record to draw, expected at least one.")
    if columns < 1:
        raise DataError(f"a sheet of {columns} columns, expected at least 1.")
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    widths = [max(row[c].width for row in rows if c < len(row)) for c in range(min(columns, len(cells)))]
    heights = [max(image.height for image in row) for row in rows]
    sheet = Image.new("RGB", (sum(widths), sum(heights)), "white")
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            sheet.paste(image, (sum(widths[:c]), sum(heights[:r])))
    return sheet


def cell(example: Example) -> Image.Image:
    """An example as a picture: panels in a row, text below."""
    panels, lines = _panels(example), _lines(example)
    width = max(_MARGIN + sum(p.width + _MARGIN for p in panels), 6 * _WIDTH + 2 * _MARGIN)
    top = _MARGIN + max((p.height + _MARGIN for p in panels), default=0)
    image = Image.new("RGB", (width, top + _LINE * len(lines) + _MARGIN), "white")
    left = _MARGIN
    for panel in panels:
        image.paste(panel, (left, _MARGIN))
        left += panel.width + _MARGIN
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(10)
    for number, line in enumerate(lines):
        draw.text((_MARGIN, top + _LINE * number), line, fill="black", font=font)
    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=(200, 200, 200))
    return image


def _panels(example: Example) -> list[Image.Image]:
    panels = []
    for number, image in enumerate(example.images):
        shown = -1 if example.frames else number  # instances of a clip lie on its frames
        panels.append(_annotated(example, transforms.decode(image.data, example.id), shown))
    for number, frame in enumerate(example.frames):
        panel = _annotated(example, transforms.decode(frame.image.data, example.id), number)
        ImageDraw.Draw(panel).text((2, 2), f"{frame.time:g} s", fill="white", stroke_width=1, stroke_fill="black")
        panels.append(panel)
    if example.target is not None:
        target = transforms.decode(example.target.data, example.id)
        if example.edit_region is not None:
            target = _tint(target, example.edit_region, _COLOURS[0])
        panels.append(_thumbnail(target))
    elif example.edit_region is not None and panels:
        panels.append(_thumbnail(_tint(transforms.decode(example.images[0].data), example.edit_region, _COLOURS[0])))
    for array in (example.depth, example.edges, example.normals):
        if array is not None:
            low, high = float(array.min()), float(array.max())
            scaled = (array - low) / (high - low or 1.0) * 255
            panels.append(_thumbnail(Image.fromarray(scaled.astype(np.uint8)).convert("RGB")))
    return panels


def _annotated(example: Example, image: Image.Image, number: int) -> Image.Image:
    """The picture with the instances and regions of frame `number`."""
    instances = [(i, item) for i, item in enumerate(example.instances) if item.frame == number]
    regions = [(i, item) for i, item in enumerate(example.regions) if item.frame == number]
    for i, item in instances:
        if item.mask is not None:
            image = _tint(image, item.mask, _COLOURS[i % len(_COLOURS)])
    for i, region in regions:
        image = _tint(image, region.mask, _COLOURS[i % len(_COLOURS)], 0.8)
    scale = _SIDE / max(image.size)
    panel = _thumbnail(image)
    draw = ImageDraw.Draw(panel)
    for i, item in instances:
        colour = _COLOURS[i % len(_COLOURS)]
        if item.box is not None:
            x, y, width, height = (value * scale for value in item.box)
            draw.rectangle((x, y, x + width, y + height), outline=colour, width=2)
        label = " ".join([str(i), item.category] + ["crowd"] * item.crowd)
        label += "" if item.track is None else f" track {item.track}"
        label += "" if item.part_of is None else f" part of {item.part_of}"
        place = _place(item.box, item.mask, scale)
        draw.text(place, label, fill="white", stroke_width=1, stroke_fill=colour)
    for _, region in regions:
        target = "" if region.instance is None else f" -> {region.instance}"
        place = _place(None, region.mask, scale)
        draw.text(place, f"{region.kind}{target}", fill="white", stroke_width=1, stroke_fill="black")
    return panel


def _place(box, mask: Mask | None, scale: float) -> tuple[float, float]:
    if box is not None:
        return box[0] * scale + 2, box[1] * scale + 1
    if mask is not None and (inside := mask.to_array()).any():
        rows, columns = np.nonzero(inside)
        return columns.min() * scale + 2, rows.min() * scale + 1
    return 2, 2


def _tint(image: Image.Image, mask: Mask, colour, alpha: float = 0.45) -> Image.Image:
    inside = mask.to_array()
    if inside.shape != (image.height, image.width):
        size = image.height, image.width
        raise DataError(f"show: a mask of {inside.shape} lies on a picture of {size}, expected one size.")
    array = np.asarray(image).astype(np.float32)
    array[inside] = array[inside] * (1 - alpha) + np.asarray(colour) * alpha
    return Image.fromarray(array.astype(np.uint8))


def _thumbnail(image: Image.Image) -> Image.Image:
    scale = _SIDE / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _lines(example: Example) -> list[str]:
    """The fields that are text or numbers, wrapped."""
    sizes = ", ".join(f"{i.width}x{i.height}" for i in [*example.images, *(f.image for f in example.frames)])
    lines = [example.id, f"{example.source} | {example.split} | {example.licence} | {sizes}"]
    lines += [f"{t.role}{t.images or ''}: {t.text}" for t in example.turns]
    for e in example.expressions:
        lines.append(f"{e.kind} {e.instances or 'no target'}: {e.text}" + (f" -> {e.answer}" if e.answer else ""))
    if example.classes:
        lines.append("classes: " + ", ".join(example.classes))
    if example.stuff:
        lines.append("stuff: " + ", ".join(example.stuff))
    if example.instruction:
        lines.append(f"instruction: {example.instruction}")
    if example.codes is not None:
        shapes = [None if a is None else a.shape for a in (example.codes.semantic, example.codes.pixel)]
        lines.append(f"codes of {example.codes.fingerprint[:12]}: semantic {shapes[0]}, pixel {shapes[1]}")
    if example.latents is not None:
        lines.append(f"latents of {example.latents.fingerprint[:12]}: {example.latents.values.shape}")
    return [part for line in lines for part in textwrap.wrap(line, _WIDTH)[:6]]


def load(directory, split: str = "", count: int = 24, verify: str = "auto") -> list[Example]:
    """`count` examples of a prepared directory, spread evenly over the splits' buckets and records."""
    manifest = read_manifest(directory)
    if split and split not in manifest["splits"]:
        raise DataError(f"{directory}: has no split '{split}', expected one of {', '.join(manifest['splits'])}.")
    sources = [
        Shards(directory, name, buckets.named(bucket), verify=verify)
        for name, found in manifest["splits"].items()
        for bucket in found
        if split in ("", name)
    ]
    total = sum(map(len, sources))
    examples = []
    for wanted in np.linspace(0, total, min(count, total), endpoint=False).astype(int):
        for source in sources:
            if wanted < len(source):
                examples.append(source[int(wanted)])
                break
            wanted -= len(source)
    return examples


def _cells(args: argparse.Namespace) -> tuple[list[Image.Image], int]:
    """What the command line asks for, and in how many columns."""
    if bool(args.directory) == bool(args.world):
        raise DataError("expected a directory or --world, and not both.")
    if not args.world:
        if args.task is not None or args.start is not None:
            raise DataError("--task and --start are of the world, expected them with --world only.")
        examples = load(args.directory, args.split, args.count, "always" if args.verify else "auto")
        return [cell(example) for example in examples], 4 if args.columns is None else args.columns
    if args.verify:
        raise DataError("--verify reads checksums of shards, expected it with a directory only.")
    task = args.task or "scenes"
    found = pages.examples(args.world, args.split or "test", task, args.count, args.start or 0)
    columns = pages.PAGES[task].columns if args.columns is None else args.columns
    return [pages.cell(example, task) for example in found], columns


def _picture(args: argparse.Namespace) -> str:
    """Writes one scene; what it shows, in words."""
    split, start = args.split or "test", args.start or 0
    if args.world not in PRESETS or split not in SPLITS or args.task or args.columns or args.directory:
        raise DataError("--picture: expected --world=PRESET, and of the rest --split and --start alone.")
    if not 16 <= args.picture <= 4096 or start < 0:
        raise DataError(f"--picture={args.picture}: expected 16 to 4096 pixels, and a scene from 0 on.")
    scene = scenes.scene(args.world, split, start)
    with shards.writing(epath.Path(args.output)), epath.Path(args.output).open("wb") as file:
        Image.fromarray(drawing.draw(scene, args.picture).picture).save(file, "PNG")
    said = captions.caption(scene, scenes.draws_of(scene, scenes.CAPTION)).text
    return f"scene {start} of {args.world}/{split} drawn to {args.output}: {said}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.show", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", nargs="?", help="written by data_pipelines.prepare")
    parser.add_argument("--world", metavar="PRESET", help=f"scenes of the world: {', '.join(PRESETS)}")
    parser.add_argument("--output", required=True, help="picture file to write")
    parser.add_argument("--task", help=f"of the world: {', '.join(pages.PAGES)}")
    parser.add_argument("--split", default="", help=f"only this split; of the world test, or {', '.join(SPLITS)}")
    parser.add_argument("--start", type=int, help="first scene of the world, 0")
    parser.add_argument("--count", type=int, default=24, help="records or scenes to draw")
    parser.add_argument("--columns", type=int, help="4, or what suits the task")
    parser.add_argument(
        "--picture", type=int, metavar="SIDE", help="of the world: the scene --start alone, SIDE pixels"
    )
    parser.add_argument("--verify", action="store_true", help="read the checksum of every shard first")
    args = parser.parse_args(argv)
    try:
        if args.picture is not None:
            print(_picture(args))
            return 0
        cells, columns = _cells(args)
        sheet, output = grid(cells, columns), epath.Path(args.output)
        if args.world:  # a palette within a few levels of the true colours: files small enough for a document
            sheet = sheet.quantize(256, Image.Quantize.MEDIANCUT, 3, dither=Image.Dither.NONE)
        with shards.writing(output), output.open("wb") as file:
            sheet.save(file, "PNG", optimize=True)
    except DataError as error:
        print(f"show: {error}", file=sys.stderr)
        return 2
    print(f"{len(cells)} records drawn to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
