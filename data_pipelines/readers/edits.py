# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Edits in tables of one row each: a picture, an instruction, what it makes of the picture, and where."""

import io
from collections.abc import Callable

import numpy as np
from etils import epath
from PIL import Image as PilImage
from scipy import ndimage

from data_pipelines import transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Example, Image, Mask
from data_pipelines.readers import mask_formats, records, tried

# By layout its columns: picture, target, instruction (a text or several of which the last is the shortest), mask or "".
LAYOUTS = {
    "magicbrush": ("source_img", "target_img", "instruction", "mask_img"),
    "ultraedit": ("source_image", "edited_image", "edit_prompt", "mask_image"),
    "omniedit": ("src_img", "edited_img", "edited_prompt_list", ""),
    "anyedit": ("image_file", "edited_file", "edit_instruction", ""),
    "seed_edit": ("source_image", "target_image", "instruction", ""),
}
Marked = Callable[[tuple[int, int]], np.ndarray | None]
REGIONS = ("", "diff")  # where a record has no mask: none, or one found from what differs
CHANGED = 32  # levels of a channel, after a blur, from which on a pixel differs
LEAST, MOST = 0.002, 0.6  # shares of the pixels that a region found from differences may have


class Edits:
    """Parquet files, JSON lists or JSON lines, one file or a folder of them. A key is FILE/NUMBER.

    layout: of LAYOUTS. images: the folder of pictures that rows name by their path; not needed where the bytes lie in
    the table. A mask marks by white, or by transparency where it has that. regions: diff derives one where a record has
    none, from what differs between the two pictures; such records say so in their source, and edits of more than MOST
    of the picture get none. whole: COLUMN=VALUE,VALUE names the kinds of edits that are of the whole picture, such as
    its style: their region is all of it. A target of another size is refused: it would not lie on its picture.

      prepare edits --layout=omniedit --source=OmniEdit --output=data/omniedit --buckets=512 --whole=task=style

    Columns are those that published loading code reads; the files themselves could not be seen.
    """

    def __init__(
        self, source: str, *, layout: str = "", images: str = "", regions: str = "", whole: str = "", licence: str = ""
    ):
        self.source, self.images, self.layout = epath.Path(source), images, layout
        self.regions, self.whole, self.licence = regions, whole, licence
        self._kind, _, of_all = whole.partition("=")
        self._whole = {value.strip() for value in of_all.split(",")} - {""}
        if whole and not (self._kind and self._whole):
            raise DataError(f"edits: --whole={whole!r}, expected COLUMN=VALUE,VALUE, as in edit_type=style_change.")
        if not source:
            raise DataError("edits: --source is missing, expected a table or a directory of them.")
        if layout not in LAYOUTS:
            raise DataError(f"edits: --layout={layout!r}, expected one of {', '.join(LAYOUTS)}.")
        check_regions(regions)
        if images and not epath.Path(images).is_dir():
            raise DataError(f"edits: --images={images!r} is not a directory, expected the one with the pictures.")
        self._folder = epath.Path(images) if images else self.source if self.source.is_dir() else self.source.parent

    def options(self) -> dict:
        return {name: getattr(self, name) for name in ("layout", "images", "regions", "whole", "licence")}

    def partitions(self) -> list[str]:
        required = [name for name in (*LAYOUTS[self.layout][:3], self._kind) if name]
        return records.partitions(self.source, "edits", required)

    def read(self, partition: str):
        columns = [name for name in (*LAYOUTS[self.layout], self._kind) if name]
        for key, row in records.rows(self.source, partition, columns):
            yield key, row if isinstance(row, DataError) else tried(key, self._example, key, row)

    def _example(self, key: str, row: dict) -> Example:
        before, after, words, masks = LAYOUTS[self.layout]
        said = row.get(words)
        if isinstance(said, list | tuple | np.ndarray) and len(said):
            said = said[-1]
        if not isinstance(said, str):
            raise DataError(f"{key}: {words} is {type(said).__name__}, expected text.")
        source, target = (records.picture(row.get(name), self._folder, key) for name in (before, after))
        cell = row.get(masks) if masks else None
        mask = None if cell is None else records.picture(cell, self._folder, key)
        marked = None if mask is None else lambda size: marks(mask, size, key)
        if self._kind and str(row.get(self._kind)) in self._whole:
            marked = lambda size: np.ones(size, bool)
        return pair(key, source, target, said, marked, name=self.layout, regions=self.regions, licence=self.licence)


def check_regions(regions: str) -> None:
    """Raises: DataError for a way to find regions that is none."""
    if regions not in REGIONS:
        raise DataError(f"--regions={regions}: expected diff, or nothing.")


def pair(
    key: str, before: bytes, after: bytes, instruction: str, marked: Marked | None, *, name: str, regions: str = "",
    licence: str = "",
) -> Example:  # fmt: skip
    """One edit. marked: what changes, bool [H, W] of the picture's size, None for nothing that is known; name: of the
    data set. Raises: DataError."""
    if not instruction.strip():
        raise DataError(f"{key}: its instruction is {instruction!r}, expected words.")
    sizes = [mask_formats.picture_size(content, key) for content in (before, after)]
    if sizes[0] != sizes[1]:
        (h, w), (height, width) = sizes
        raise DataError(f"{key}: the target is {width} x {height}, expected the picture's {w} x {h}.")
    out = Example(
        id=key,
        source=name,
        licence=licence,
        images=[Image(data=before, width=0, height=0)],
        target=Image(data=after, width=0, height=0),
        instruction=instruction.strip(),
    )
    if marked is not None:
        found = marked(sizes[0])
        out.edit_region = None if found is None else Mask.from_array(found)
    elif regions == "diff":
        found = difference(*(np.asarray(transforms.decode(content, key)) for content in (before, after)))
        if found is not None:
            out.edit_region, out.source = Mask.from_array(found), f"{name}, region derived"
    return out


def marks(data: bytes, size: tuple[int, int], key: str) -> np.ndarray | None:
    """bool [H, W]: where a mask is transparent, if any of it is, else where it is white; None where it marks nothing.
    Raises: DataError."""
    try:
        image = PilImage.open(io.BytesIO(data), formats=transforms.FORMATS)
        pixels = np.asarray(image.convert("RGBA"))
    except Exception as error:
        raise DataError(f"{key}: its mask cannot be read ({error}).") from error
    if pixels.shape[:2] != size:
        height, width = pixels.shape[:2]
        raise DataError(f"{key}: its mask is {width} x {height}, expected the picture's {size[1]} x {size[0]}.")
    clear = pixels[..., 3] < 128
    found = clear if clear.any() else pixels[..., :3].min(axis=-1) >= 128
    return found if found.any() else None


def difference(before: np.ndarray, after: np.ndarray) -> np.ndarray | None:
    """bool [H, W] where two pictures uint8 [H, W, 3] differ by more than re-encoding does, in whole pieces; None where
    that is next to nothing or most of the picture."""
    blur = max(1.0, max(before.shape[:2]) / 256)
    smooth = lambda x: ndimage.gaussian_filter(x.astype(np.float32), (blur, blur, 0))
    differs = np.abs(smooth(before) - smooth(after)).max(axis=-1) > CHANGED
    size = np.ones((2 * round(blur) + 1,) * 2)
    whole = ndimage.binary_fill_holes(ndimage.binary_closing(ndimage.binary_opening(differs, size), size, iterations=2))
    return whole if LEAST <= whole.mean() <= MOST else None
