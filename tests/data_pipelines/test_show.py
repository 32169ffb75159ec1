# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
from PIL import Image as PilImage

from data_pipelines import show
from data_pipelines.errors import DataError
from data_pipelines.example import (
    Codes,
    Example,
    Expression,
    Frame,
    Image,
    Instance,
    Latents,
    Mask,
    Region,
    Turn,
)
from data_pipelines.world import drawing, scenes
from tests.data_pipelines.pictures import encoded, noise


def picture(seed=0):
    return Image(data=encoded(noise(60, 80, seed)), width=80, height=60)


def mask(top, left, size=20):
    array = np.zeros((60, 80), bool)
    array[top : top + size, left : left + size] = True
    return Mask.from_array(array)


# one change for every field of the schema: each must change the drawing
CHANGES = {
    "id": {"id": "another"},
    "source": {"source": "coco"},
    "split": {"split": "test"},
    "licence": {"licence": "CC0"},
    "images": {"images": [picture(0), picture(1)]},
    "frames": {"frames": [Frame(image=picture(2), time=0.5)]},
    "turns": {"turns": [Turn(role="user", text="what is it?", images=[0])]},
    "instances": {"instances": [Instance(category="mug", mask=mask(5, 5), box=[4.0, 4.0, 22.0, 22.0], track=3)]},
    "regions": {"regions": [Region(kind="scribble", mask=mask(30, 40, 8), instance=0)]},
    "expressions": {"expressions": [Expression(text="the red mug", instances=[0])]},
    "classes": {"classes": ["mug", "table"]},
    "stuff": {"stuff": ["table"]},
    "target": {"target": picture(3)},
    "instruction": {"instruction": "make it blue"},
    "edit_region": {"edit_region": mask(10, 10)},
    "codes": {"codes": Codes(fingerprint="f" * 64, semantic=np.zeros((9, 9), np.int32))},
    "latents": {"latents": Latents(fingerprint="f" * 64, values=np.zeros((4, 4, 4), np.float16))},
    "depth": {"depth": np.linspace(0, 9, 4800, dtype=np.float32).reshape(60, 80)},
    "edges": {"edges": np.eye(60, 80, dtype=np.uint8) * 255},
    "normals": {"normals": np.random.default_rng(0).normal(size=(60, 80, 3)).astype(np.float32)},
}


def test_every_field_is_drawn():
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Example)}
    plain = np.asarray(show.cell(Example(id="one", images=[picture()])))
    for name, change in CHANGES.items():
        drawn = np.asarray(show.cell(Example(**({"id": "one", "images": [picture()]} | change))))
        assert drawn.shape != plain.shape or (drawn != plain).any(), name


@pytest.mark.parametrize(
    "change", [{"crowd": True}, {"part_of": 0}, {"box": [1.0, 1.0, 9.0, 9.0]}, {"category": "cup"}, {"track": 4}]
)
def test_fields_of_an_instance_are_drawn(change):
    def draw(**fields):
        return np.asarray(show.cell(Example(id="one", images=[picture()], instances=[Instance(**fields)])))

    base = {"category": "mug", "mask": mask(5, 5)}
    assert (draw(**base) != draw(**(base | change))).any()


def test_a_mask_of_another_size():
    with pytest.raises(DataError, match="a mask of .* lies on a picture of .*, expected one size"):
        example = Example(id="one", images=[picture()], edit_region=Mask.from_array(np.ones((3, 3), bool)))
        show.cell(example)


def test_the_command(photographs, tmp_path, capsys):
    output = tmp_path / "sheet.png"
    assert show.main([str(photographs), f"--output={output}", "--count=7", "--columns=3", "--verify"]) == 0
    with PilImage.open(output) as sheet:
        assert sheet.width > 600 and np.asarray(sheet.convert("L")).std() > 20
    assert len(show.load(photographs, "test", 5)) == 5
    assert {example.split for example in show.load(photographs, "test", 5)} == {"test"}
    for arguments in ([str(tmp_path)], [str(photographs), "--split=other"]):
        assert show.main([*arguments, f"--output={output}"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("show: ") and error.count("\n") == 1
    assert show.main([str(photographs), f"--output={tmp_path / 'no' / 'sheet.png'}"]) == 2
    assert "cannot be written (No such file or directory)" in capsys.readouterr().err


def test_a_scene_as_it_is(tmp_path, capsys):
    output = tmp_path / "scene.png"
    assert show.main(["--world=easy", f"--output={output}", "--picture=64", "--start=1"]) == 0
    assert "scene 1 of easy/test drawn to" in capsys.readouterr().out
    with PilImage.open(output) as picture:
        found = np.asarray(picture)
    np.testing.assert_array_equal(found, drawing.draw(scenes.scene("easy", "test", 1), 64).picture)
    for wrong in (["--picture=8"], ["--picture=64", "--start=-1"], ["--picture=64", "--task=edit"]):
        assert show.main(["--world=easy", f"--output={output}", *wrong]) == 2
        assert capsys.readouterr().err.startswith("show: --picture")
