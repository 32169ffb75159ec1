# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`infer reconstruct`: pictures of any size through buckets and back, files of codes, what is refused."""

import json

import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image

import focus_jax
from focus_jax import infer, stages
from focus_jax.errors import UserError
from focus_jax.evaluation import figures
from focus_jax.inference import reconstruct as lib
from focus_jax.training import config as config_lib
from focus_jax.training import sharding, state, store
from tests.training.small_tokenizer import HIGH, shrink

BUCKETS = [(16, 16), (16, 32), (32, 16)]
SIZES = {"square": (16, 16), "wide": (40, 90), "tall": (61, 17), "odd": (33, 31), "deep/same": (16, 32)}


class Echo:
    """Stands in for a model: a pixel code is the mean grey of 4 x 4 pixels, decoded as that grey."""

    high, label, codes_fingerprint = 64, "echo", "0123456789abcdef"

    def encode(self, images, high):
        assert max(high.shape[1:3]) == 64 and images.dtype == high.dtype == np.uint8
        b, h, w, _ = images.shape
        self.shapes = [*getattr(self, "shapes", []), images.shape]
        return {"pixel": images.reshape(b, h // 4, 4, w // 4, 4, 3).mean((2, 4, 5)).astype(np.int32)}

    def checked_codes(self, codes, size):
        x = codes["pixel"]
        if x.min() < 0 or x.max() > 255:
            raise UserError(f"codes: expected pixel codes from 0 to 255, found {x.min()} to {x.max()}.")
        if x.shape != (size[0] // 4, size[1] // 4):
            raise UserError(f"codes: pixel {list(x.shape)}, expected {[side // 4 for side in size]}.")

    def decode(self, codes, size=None):
        x = codes["pixel"]
        return np.repeat(np.repeat(x, 4, -2), 4, -1)[..., None].repeat(3, -1).astype(np.uint8)


def ramp(height, width):
    grey = np.linspace(20, 230, height * width).reshape(height, width)
    return np.stack([grey] * 3, axis=-1).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    for name, size in SIZES.items():
        file = tmp_path / "pictures" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ramp(*size)).save(file)
    return tmp_path / "pictures"


def test_every_size_comes_back_at_its_own(folder):
    model, refused = Echo(), []
    files = lib.listed([str(folder)])
    found = {r.name: r for r in lib.reconstruct(model, lib.fitting(files, BUCKETS, refused), batch_size=2)}
    assert not refused and set(found) == set(SIZES) == set(files)
    assert all(shape[0] == 2 for shape in model.shapes), "batches of one size"
    for name, size in SIZES.items():
        r = found[name]
        assert r.picture.shape == (*size, 3) and r.canvas.shape == (*r.fit.bucket, 3)
        assert abs(r.fit.inside[0] * size[1] - r.fit.inside[1] * size[0]) <= max(size) / 2, (
            "the whole picture, its aspect"
        )
        assert r.psnr > 20, name
        assert figures.psnr(r.picture[None], ramp(*size)[None])[0] > 15, "of the picture's own size"
    assert found["wide"].fit.bucket == (16, 32) and found["tall"].fit.bucket == (32, 16)
    padding = found["wide"].original[found["wide"].fit.inside[0] :]
    assert len(padding) == 2 and np.all(padding == (124, 116, 104))


def test_a_picture_of_the_buckets_size_is_not_touched(folder):
    model = Echo()
    files = {"same": lib.listed([str(folder)])["deep/same"]}
    (r,) = lib.reconstruct(model, lib.fitting(files, BUCKETS, []), batch_size=1)
    np.testing.assert_array_equal(r.original, ramp(16, 32))
    np.testing.assert_array_equal(r.picture, r.canvas)


def test_codes_from_a_file(folder, tmp_path):
    model = Echo()
    for r in lib.reconstruct(model, lib.fitting(lib.listed([str(folder)]), BUCKETS, []), batch_size=3):
        file = tmp_path / f"x{lib.CODES}"
        lib.save_codes(file, r, model.codes_fingerprint)
        (again,) = lib.from_codes(model, {r.name: file}, 1, [])
        np.testing.assert_array_equal(again.picture, r.picture)
        assert again.original is None and again.psnr is None and again.fit == r.fit
    held = dict(np.load(file))

    def refused(words, **changes):
        np.savez(tmp_path / "bad.npz", **{k: v for k, v in (held | changes).items() if v is not None})
        with pytest.raises(UserError, match=words):
            lib.read_codes(model, tmp_path / "bad.npz")

    refused("codes of the tokenizer aaaa, expected those of 0123456789abcdef, which echo holds", fingerprint="aaaa")
    refused("bad.npz: codes: expected pixel codes from 0 to 255, found -1", pixel=held["pixel"] * 0 - 1)
    halved = lambda grid: grid[: grid.shape[0] // 2, : grid.shape[1] // 2]  # of a smaller picture, of the same aspect
    refused(r"bad.npz: codes: pixel \[.*\], expected \[.*\]", pixel=halved(held["pixel"]))
    refused("is no file of codes", bucket=None)
    refused("inside .* do not belong together", inside=np.array([99, 99]))
    refused("is no file of codes .*expected sides of at least 16", size=np.array([10**9, 10]))
    whole = file.read_bytes()
    middle = len(whole) // 3
    for data in (b"PK no archive", whole[: len(whole) // 2], whole[:middle] + b"\xff" * 40 + whole[middle + 40 :], b""):
        (tmp_path / "bad.npz").write_bytes(data)
        with pytest.raises(UserError, match="is no file of codes"):
            lib.read_codes(model, tmp_path / "bad.npz")


def test_files_of_codes_are_drawn_in_batches(folder, tmp_path):
    """Of one bucket and one shape; a file that cannot be read or drawn does not keep others from it."""
    model, files, calls, refused = Echo(), {}, [], []
    for r in lib.reconstruct(model, lib.fitting(lib.listed([str(folder)]), BUCKETS, []), batch_size=3):
        for name in (r.name, f"{r.name}2"):
            files[name] = tmp_path / f"{name.replace('/', '-')}{lib.CODES}"
            lib.save_codes(files[name], r, model.codes_fingerprint)
    files["broken"] = tmp_path / f"broken{lib.CODES}"
    files["broken"].write_bytes(b"")

    def draw(codes, bucket, names):
        calls.append((bucket, codes["pixel"].shape, tuple(names)))
        if bucket == (32, 16):
            raise UserError("size: cannot be drawn.")
        return model.decode(codes, bucket)

    found = {r.name: r for r in lib.from_codes(model, files, 3, refused, draw)}
    assert refused[0].startswith(f"{files['broken']}: is no file of codes")
    assert refused[1:] == [f"{files[name]}: size: cannot be drawn." for name in ("tall", "tall2")]
    assert set(found) == set(files) - {"broken", "tall", "tall2"}
    # 2 x 2 pictures of (16, 16), 2 x 2 of (16, 32), 2 of (32, 16), three at a time
    assert len(calls) == 5 and all(shape == (3, bucket[0] // 4, bucket[1] // 4) for bucket, shape, _ in calls)
    for name, r in found.items():
        (alone,) = lib.from_codes(model, {name: files[name]}, 1, [])
        np.testing.assert_array_equal(r.picture, alone.picture)


def test_inputs(folder, tmp_path):
    assert lib.listed([str(folder / "wide.png"), str(folder / "deep")]).keys() == {"wide", "same"}
    Image.fromarray(ramp(16, 16)).save(folder / "wide.jpg")
    with pytest.raises(UserError, match=r"wide.png: would be written to the same place as .*wide.jpg"):
        lib.listed([str(folder)])
    (folder / "wide.jpg").unlink()
    Image.fromarray(ramp(16, 16)).save(folder / "wide.map.png")
    with pytest.raises(UserError, match=r"wide.png: would be written to the same place as .*wide.map.png"):
        lib.listed([str(folder)])
    (folder / "README").write_bytes((folder / "odd.png").read_bytes())
    assert lib.listed([str(folder / "README")]).keys() == {"README"}
    with pytest.raises(UserError, match="nowhere: there is no such file or folder"):
        lib.listed([str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no picture and no file of codes"):
        lib.listed([str(tmp_path / "empty")])


def test_alike_codes_have_alike_colours():
    line = np.linspace(-1, 1, 64)[:, None] * np.array([[1.0, 2.0, 0.5, -1.0]])
    colours = lib.colours_of({"pixel": line})["pixel"].astype(int)
    assert colours.shape == (64, 3) and np.abs(np.diff(colours[:, 0])).max() < 10 and np.ptp(colours[:, 0]) == 255


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A safetensors file of a small tokenizer with drawn parameters."""
    c = config_lib.load("configs/stage1_tokenizer.py:tiny")
    shrink(c)
    plan = state.plan(c, stages.create(c).init, (), 10, sharding.make_mesh(c.mesh, jax.devices()[:1]))
    rng = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    store.save_safetensors(
        file, {p: 0.1 * rng.normal(size=x.shape).astype(x.dtype) for p, x in plan.abstract.items()}, c
    )
    return str(file)


def test_command(checkpoint, folder, tmp_path, capsys):
    output = tmp_path / "out"
    (folder / "broken.png").write_bytes(b"not a picture")
    Image.fromarray(ramp(1, 1)).save(folder / "one.png")
    Image.fromarray(ramp(16, 70)).save(folder / "long.png")
    with pytest.raises(SystemExit) as left:
        infer.main(["reconstruct", str(folder), f"--checkpoint={checkpoint}", f"--output={output}"])
    said = capsys.readouterr()
    assert left.value.code == 2 and "5 of 8 written to" in said.out and said.err.count("error: ") == 3
    assert "one.png: 1 x 1 pixels, expected sides of at least 16 pixels" in said.err
    assert "long.png: 70 x 16 pixels" in said.err and "broken.png: cannot be decoded" in said.err
    told = json.loads((output / "reconstruct.json").read_text())
    assert {p["name"] for p in told["pictures"]} == set(SIZES) and len(told["refused"]) == 3
    for name, size in SIZES.items():
        assert Image.open(output / f"{name}.png").size == size[::-1]
        assert Image.open(output / f"{name}.map.png").height > 256
    model = focus_jax.load(checkpoint)
    codes = dict(np.load(output / f"odd{lib.CODES}"))
    assert codes["semantic"].shape == (2, 2) and codes["pixel"].shape == (4, 4) and model.high == HIGH
    assert str(codes["fingerprint"]) == model.codes_fingerprint == told["tokenizer"]
    infer.main(["reconstruct", str(output / f"odd{lib.CODES}"), f"--checkpoint={checkpoint}", f"--output={tmp_path}/b"])
    assert (tmp_path / "b" / "odd.png").read_bytes() == (output / "odd.png").read_bytes()
    with pytest.raises(SystemExit):
        infer.main(["reconstruct", str(folder), f"--checkpoint={checkpoint}", "--output=x", "--batch=0"])
    assert "--batch=0: expected at least 1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        infer.main(["reconstruct", str(folder), f"--checkpoint={checkpoint}", "--output=x", "--buckets=10x10"])
    said = "--buckets=10x10: images: 10 x 10 pixels, expected multiples of the stride 4"
    assert said in capsys.readouterr().err and not epath.Path("x").exists()
    with pytest.raises(SystemExit):
        infer.main(["reconstruct", str(folder), f"--checkpoint={checkpoint}", f"--output={folder}"])
    assert "holds files of something else" in capsys.readouterr().err
    again = tmp_path / "again"
    infer.main(["reconstruct", str(output), f"--checkpoint={checkpoint}", f"--output={again}"])
    assert {f.name for f in again.glob("*.png")} == {f.name for f in output.glob("*.png")}, "from its codes alone"
