# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""From encoded bytes to the uint8 picture of a bucket: decoding, resizing, cropping, flipping.

What `decode` does with unusual files:
  truncated or empty file, no picture at all, broken metadata    DataError
  decompression bomb (more than MAX_PIXELS by its header)        DataError before a pixel is decoded
  32-bit integer or floating-point samples                       DataError (their range is not known)
  CMYK (Adobe's inverted kind too), YCbCr, Lab                   converted to RGB by PIL
  16-bit grey                                                    scaled to 8 bits (PIL's own conversion would clip)
  16-bit colour                                                  PIL keeps the high byte
  palette, 1-bit, grey                                           converted to RGB
  alpha or a transparent colour                                  composited over white
  EXIF orientation                                               applied: the size is the one displayed
  several frames (GIF, TIFF)                                     the first frame
"""

import dataclasses
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFile, ImageOps

from data_pipelines import buckets
from data_pipelines.errors import DataError

MAX_PIXELS = 89_478_485  # about 9,500^2; the level at which PIL warns by default
# A fixed list: PIL would try every plugin it has, and that for EPS starts Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")

assert not ImageFile.LOAD_TRUNCATED_IMAGES


def decode(data: bytes, name: str = "image") -> Image.Image:
    """The RGB picture in `data`, upright. `name` names the file in the DataError."""
    if not data:
        raise DataError(f"{name}: the file is empty, expected an encoded picture.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height <= MAX_PIXELS:
            return _to_rgb(image, name)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too many pixels, expected at most {MAX_PIXELS} ({error})") from error
    except Exception as error:  # PIL's plugins raise a dozen kinds on broken files
        kinds = ", ".join(FORMATS)
        raise DataError(f"{name}: cannot be decoded, expected a whole {kinds} picture ({error}).") from error
    raise DataError(f"{name}: {image.width} x {image.height} pixels, expected at most {MAX_PIXELS}.")


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    image.load()
    if image.mode in ("I", "F"):
        raise DataError(f"{name}: 32-bit samples (mode {image.mode}), expected 8 or 16 bits a channel.")
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint32)
        image = _keep_exif(Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8)), image)
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        white.alpha_composite(rgba)
        image = _keep_exif(white, image)
    if image.getexif():
        image = ImageOps.exif_transpose(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _keep_exif(new, old):
    new.getexif().update(old.getexif())
    return new


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at a size (H, W), by LANCZOS; itself where it has that size."""
    same = (image.height, image.width) == tuple(size)
    return image if same else image.resize(size[::-1], Image.Resampling.LANCZOS)


def cover(image: Image.Image, bucket: buckets.Bucket) -> Image.Image:
    """Resizes with LANCZOS, keeping the aspect ratio, to the smallest picture that covers the bucket (H, W)."""
    scale = max(bucket[1] / image.width, bucket[0] / image.height)
    return resized(image, (max(bucket[0], round(image.height * scale)), max(bucket[1], round(image.width * scale))))


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a picture's pixels went: x' = scale[0] * x - left, y' = scale[1] * y - top, of that a crop of height x
    width, then mirrored."""

    scale: tuple[float, float]
    left: int
    top: int
    height: int
    width: int
    flipped: bool

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """(x, y, width, height) [N, 4] in pixels of the picture -> the same in pixels of the crop, not cut to it."""
        out = np.asarray(boxes, np.float64).reshape(-1, 4) * (*self.scale, *self.scale)
        out[:, :2] -= self.left, self.top
        if self.flipped:
            out[:, 0] = self.width - out[:, 0] - out[:, 2]
        return out

    def cut(self, original: Image.Image, size: tuple[int, int]) -> np.ndarray:
        """The same crop of `original`, the picture as decoded, at another size (H, W): uint8 [H, W, 3]."""
        x, y = self.scale
        box = self.left / x, self.top / y, (self.left + self.width) / x, (self.top + self.height) / y
        # Rounding must not put the box outside the picture.
        box = box[0], box[1], min(box[2], original.width), min(box[3], original.height)
        image = original
        if box != (0, 0, *original.size) or size != (original.height, original.width):
            image = original.resize(size[::-1], Image.Resampling.LANCZOS, box=box)
        return np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flipped else image)


def place(
    original: Image.Image,
    bucket: buckets.Bucket,
    *,
    rng: np.random.Generator | None = None,
    flip: float = 0.0,
    random_crop: bool = False,
    max_crop_loss: float = buckets.MAX_CROP_LOSS,
    name: str = "image",
) -> tuple[np.ndarray, Placement]:
    """Brings a decoded picture to the bucket: resize to cover, crop (centre, or anywhere), flip with chance `flip`.

    Without `rng` the crop is the centre and nothing is flipped. With it three numbers are drawn whatever the options,
    so that switching one of them leaves the others' outcome alone.

    Returns:
      uint8 [H, W, 3], and where its pixels came from.
    Raises:
      DataError: a picture that would lose more than `max_crop_loss` to the crop.
    """
    height, width = bucket
    loss = buckets.crop_loss(original.height, original.width, bucket)
    if loss > max_crop_loss:
        raise DataError(
            f"{name}: {original.width} x {original.height} would lose {loss:.0%} of its area in bucket "
            f"{height}x{width}, expected at most {max_crop_loss:.0%}."
        )
    image = cover(original, bucket)
    scale = image.width / original.width, image.height / original.height
    u_flip, u_y, u_x = (1.0, 0.5, 0.5) if rng is None else rng.random(3)
    if not random_crop:
        u_y = u_x = 0.5
    top = min(int(u_y * (image.height - height + 1)), image.height - height)
    left = min(int(u_x * (image.width - width + 1)), image.width - width)
    image = image.crop((left, top, left + width, top + height))  # in PIL: numpy is five times slower at both
    flipped = bool(u_flip < flip)
    if flipped:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image), Placement(scale, left, top, height, width, flipped)


def picture(data: bytes, bucket: buckets.Bucket, *, name: str = "image", **options) -> np.ndarray:
    """The picture that `place` makes of encoded bytes, uint8 [H, W, 3]. Raises: DataError, also of `decode`."""
    return place(decode(data, name), bucket, name=name, **options)[0]


# --------------------------------------------------------------------------------------------------- the whole picture
MEAN_COLOUR = (124, 116, 104)  # ImageNet's, all but zero once normalised for the hierarchical encoder
MIN_SIDE, MAX_ASPECT = 16, 4  # pixels of a side, longer side / shorter side


@dataclasses.dataclass(frozen=True)
class Fit:
    """Where a whole picture of `size` stands on the canvas of `bucket`: its `inside` topmost, leftmost pixels. The rest
    is mean colour. All are (H, W)."""

    size: tuple[int, int]
    bucket: buckets.Bucket
    inside: tuple[int, int]

    def canvas(self, image: Image.Image, high: int = 0) -> np.ndarray:
        """uint8 [H, W, 3]: the bucket's canvas, or the same at a long edge of `high` pixels."""
        size = buckets.high_size(self.bucket, high) if high else self.bucket
        height, width = self.inside_of(size)
        out = np.full((*size, 3), MEAN_COLOUR, np.uint8)
        out[:height, :width] = np.asarray(resized(image, (height, width)))
        return out

    def values(self, values: np.ndarray) -> np.ndarray:
        """float32 [H, W] of the picture on the bucket's canvas, zero beside it; means where it shrinks."""
        out = np.zeros(self.bucket, np.float32)
        height, width = self.inside
        small = Image.fromarray(np.asarray(values, np.float32)).resize((width, height), Image.Resampling.BOX)
        out[:height, :width] = np.clip(np.asarray(small), 0.0, 1.0)
        return out

    def inside_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """How much of the bucket's canvas at another size (H, W) is picture: (height, width) in pixels of that."""
        height, width = (max(1, round(i * s / b)) for i, s, b in zip(self.inside, size, self.bucket))
        return height, width

    def back(self, canvas: np.ndarray) -> np.ndarray:
        """A canvas of the bucket's aspect ratio, uint8 [H, W, 3] -> the picture at its own size."""
        height, width = self.inside_of(canvas.shape[:2])
        return np.asarray(resized(Image.fromarray(canvas[:height, :width]), self.size))


def fit(height: int, width: int, among: Sequence[buckets.Bucket], name: str = "image") -> Fit:
    """The whole picture on the bucket of the nearest aspect ratio. Raises: DataError for one too small or too long."""
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_ASPECT * min(height, width):
        raise DataError(
            f"{name}: {width} x {height} pixels, expected sides of at least {MIN_SIDE} pixels and no side more than "
            f"{MAX_ASPECT} times the other."
        )
    return whole(height, width, buckets.nearest(height, width, among))


def whole(height: int, width: int, bucket: buckets.Bucket) -> Fit:
    """The whole picture on this bucket, however small or long it is."""
    scale = min(bucket[0] / height, bucket[1] / width)
    inside = min(bucket[0], max(1, round(height * scale))), min(bucket[1], max(1, round(width * scale)))
    return Fit((height, width), bucket, inside)


def tokenizer_size(height: int, width: int, min_pixels: int, max_pixels: int, multiple: int = 16) -> tuple[int, int]:
    """(height, width) of the tokenizer's input, as in DualViTok's release: multiples of 16 with a bounded area."""
    h, w = round(height / multiple) * multiple, round(width / multiple) * multiple
    if h * w > max_pixels:
        beta = math.sqrt(height * width / max_pixels)
        h = math.floor(height / beta / multiple) * multiple
        w = math.floor(width / beta / multiple) * multiple
    elif h * w < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        h = math.ceil(height * beta / multiple) * multiple
        w = math.ceil(width * beta / multiple) * multiple
    return max(h, multiple), max(w, multiple)


def tokenizer_picture(image: Image.Image, min_pixels: int = 32**2, max_pixels: int = 512**2) -> np.ndarray:
    """uint8 [h, w, 3]: the whole picture at `tokenizer_size`, by PIL's bicubic, as the released DualViTok does."""
    height, width = tokenizer_size(image.height, image.width, min_pixels, max_pixels)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
