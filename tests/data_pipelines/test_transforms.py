# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data_pipelines import transforms
from data_pipelines.errors import DataError
from tests.data_pipelines.pictures import encoded, noise


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    image = transforms.decode(data, "NAME")
    assert image.mode == "RGB"
    return np.asarray(image)


def refusal(data: bytes) -> str:
    with pytest.raises(DataError) as error:
        transforms.decode(data, "folder/NAME.jpg")
    text = str(error.value)
    assert text.startswith("folder/NAME.jpg: ") and "expected" in text and "\n" not in text
    return text


PICTURE = noise(24, 32)


# ------------------------------------------------------------------------------------------------------ refused
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_truncated(kind):
    data = saved(Image.fromarray(PICTURE), kind)
    for length in (4, len(data) // 2, len(data) * 3 // 4):
        assert "cannot be decoded" in refusal(data[:length])


def test_empty():
    assert "the file is empty" in refusal(b"")


def test_not_a_picture():
    assert "cannot be decoded" in refusal(b"<html>404</html>")
    assert "cannot be decoded" in refusal(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")


def test_bomb():
    """A header that promises 60,000 x 60,000 pixels: refused by its size, before anything is decoded."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (12_000, 60_000):  # above our bound; above PIL's own
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        body = zlib.compress(b"\0" * 100)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
        assert str(transforms.MAX_PIXELS) in refusal(data)


def test_floating_point_samples():
    assert "32-bit samples" in refusal(saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


# -------------------------------------------------------------------------------------------------- decoded rightly
def test_lossless_formats():
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(decoded(saved(Image.fromarray(PICTURE), kind)), PICTURE)


def test_cmyk():
    cmyk = Image.fromarray(PICTURE).convert("CMYK")
    np.testing.assert_array_equal(decoded(saved(cmyk, "TIFF")), PICTURE)
    difference = np.abs(decoded(saved(cmyk, "JPEG", quality=95)).astype(int) - PICTURE)
    assert difference.mean() < 6  # an inverted or unconverted one is off by about 100


def test_16_bit_grey():
    values = np.linspace(0, 65535, 24 * 32).astype(np.uint16).reshape(24, 32)
    for kind in ("PNG", "TIFF"):
        expected = np.round(values / 257).astype(int)
        out = decoded(saved(Image.fromarray(values), kind))
        assert np.abs(out.astype(int) - expected[..., None]).max() == 0


def test_16_bit_colour():
    """A 16-bit RGB PNG, which PIL cannot write: built by hand."""
    wide = PICTURE.astype(">u2") * 257
    raw = b"".join(b"\0" + row.tobytes() for row in wide)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 32, 24, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decoded(data), PICTURE)


def test_palette():
    palette = Image.fromarray(PICTURE).quantize(16)
    np.testing.assert_array_equal(decoded(saved(palette, "PNG")), np.asarray(palette.convert("RGB")))
    grey = Image.fromarray(PICTURE).convert("L")
    np.testing.assert_array_equal(decoded(saved(grey, "PNG")), np.asarray(grey)[..., None].repeat(3, -1))
    bits = Image.fromarray(np.eye(8, dtype=bool))
    np.testing.assert_array_equal(decoded(saved(bits, "PNG")), np.eye(8, dtype=np.uint8)[..., None].repeat(3, -1) * 255)


def test_alpha_is_composited_over_white():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (200, 100, 0, 255)
    rgba[0, 1] = (200, 100, 0, 0)
    rgba[1, 0] = (200, 100, 0, 128)
    out = decoded(saved(Image.fromarray(rgba), "PNG"))
    assert out[0, 0].tolist() == [200, 100, 0] and out[0, 1].tolist() == [255, 255, 255]
    assert np.abs(out[1, 0].astype(int) - [227, 177, 127]).max() <= 1
    palette = Image.fromarray(PICTURE).quantize(4)
    out = decoded(saved(palette, "PNG", transparency=0))
    assert (out[np.asarray(palette) == 0] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation):
    upright = noise(24, 32, 3)
    undo = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(np.ascontiguousarray(undo[orientation])), "PNG", exif=exif)
    np.testing.assert_array_equal(decoded(data), upright)


def test_exif_rotation_survives_alpha():
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = Image.fromarray(np.rot90(PICTURE).copy()).convert("RGBA")
    np.testing.assert_array_equal(decoded(saved(rgba, "PNG", exif=exif)), PICTURE)


def test_broken_exif_does_not_end_in_a_traceback():
    data = saved(Image.fromarray(PICTURE), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 30)
    try:
        assert decoded(data).shape == (24, 32, 3)
    except DataError as error:
        assert "NAME" in str(error)


# ----------------------------------------------------------------------------------------------------------- resizing
def test_resize_is_lanczos_to_cover_and_a_centre_crop():
    image = Image.fromarray(noise(300, 420))
    out = transforms.picture(encoded(np.asarray(image)), (128, 160))
    resized = np.asarray(image.resize((179, 128), Image.Resampling.LANCZOS))  # 420 * 128 / 300 = 179.2
    np.testing.assert_array_equal(out, resized[:, 10:170])  # 19 columns too many: 9 or 10 on the left


def test_cover_never_falls_short():
    rng = np.random.default_rng(0)
    for _ in range(200):
        h, w, bh, bw = rng.integers(1, 100, 4)
        size = transforms.cover(Image.new("RGB", (int(w), int(h))), (int(bh), int(bw))).size
        assert size[0] >= bw and size[1] >= bh and (size[0] == bw or size[1] == bh)


def test_random_crop_and_flip():
    data = encoded(noise(64, 76))
    whole = np.asarray(transforms.cover(transforms.decode(data), (64, 64)))
    seen = set()
    for seed in range(200):
        out = transforms.picture(data, (64, 64), rng=np.random.default_rng(seed), flip=0.5, random_crop=True)
        places = [
            (left, flip)
            for left in range(13)
            for flip in (0, 1)
            if np.array_equal(out[:, ::-1] if flip else out, whole[:, left : left + 64])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert {left for left, _ in seen} == set(range(13)) and {flip for _, flip in seen} == {0, 1}


def test_flip_does_not_depend_on_the_crop_option():
    data = encoded(noise(64, 64))
    for seed in range(20):
        a = transforms.picture(data, (64, 64), rng=np.random.default_rng(seed), flip=0.5, random_crop=True)
        b = transforms.picture(data, (64, 64), rng=np.random.default_rng(seed), flip=0.5)
        np.testing.assert_array_equal(a, b)


def test_crop_loss_is_refused():
    data = encoded(noise(64, 128))
    with pytest.raises(DataError, match="would lose 50% of its area in bucket 64x64, expected at most 20%"):
        transforms.picture(data, (64, 64))
    assert transforms.picture(data, (64, 64), max_crop_loss=0.5).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("size", "bounds", "expected"),
    [
        ((256, 256), (32**2, 512**2), (256, 256)),
        ((250, 263), (32**2, 512**2), (256, 256)),
        ((1080, 1920), (32**2, 512**2), (384, 672)),  # beta = sqrt(1080 * 1920 / 512^2) = 2.8125
        ((10, 20), (32**2, 512**2), (32, 48)),  # beta = sqrt(1024 / 200) = 2.263
        ((3, 500), (32**2, 512**2), (16, 416)),  # 0 x 496 at first; beta = sqrt(1024 / 1500) = 0.826
    ],
)
def test_tokenizer_size(size, bounds, expected):
    assert transforms.tokenizer_size(*size, *bounds) == expected


def test_tokenizer_picture_is_bicubic():
    image = Image.fromarray(noise(100, 150))
    expected = np.asarray(image.resize((144, 96), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(transforms.tokenizer_picture(image), expected)


def test_real_photographs(fixtures):
    paths = sorted(fixtures.glob("refcoco/images/**/*.jpg"))
    assert paths
    for path in paths:
        image = transforms.decode(path.read_bytes(), path.name)
        with Image.open(path) as reference:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(reference.convert("RGB")))
