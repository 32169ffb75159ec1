# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Edits in tables: every layout, masks, regions derived from differences, records that are refused."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.prepare import prepare
from data_pipelines.readers.edits import LAYOUTS, Edits, difference
from data_pipelines.world import drawing, edits, scenes


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def edit_of(index, kind="remove"):
    """(before, after, where they differ, instruction) of a scene."""
    scene = next(s for i in range(index, index + 50) if len((s := scenes.scene("easy", "train", i)).things) > 1)
    made = edits.edit(scene, scenes.draws_of(scene, scenes.EDIT), kind)
    source, target = (drawing.draw(x, 96).picture for x in (made.source, made.target))
    return source, target, edits.region(made, 96), made.instruction


def table(root, layout, rows):
    """A parquet file of a layout; rows: (before, after, instruction, mask) as bytes and text."""
    before, after, words, marks = LAYOUTS[layout]
    cell = lambda x: None if x is None else {"bytes": x, "path": None}
    many = layout == "omniedit"
    columns = {
        before: [cell(r[0]) for r in rows],
        after: [cell(r[1]) for r in rows],
        words: [["Said at length: " + r[2], r[2]] if many else r[2] for r in rows],
    }
    if marks:
        columns[marks] = [cell(r[3]) for r in rows]
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), root / "part.parquet")


def read(reader):
    return dict(found for part in reader.partitions() for found in reader.read(part))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout, tmp_path):
    before, after, region, words = edit_of(0)
    clear = np.dstack([before, np.where(region, 0, 255)]).astype(np.uint8)
    white = np.repeat(np.where(region, 255, 0)[..., None], 3, axis=-1).astype(np.uint8)
    table(tmp_path, layout, [(png(before), png(after), words, png(x)) for x in (clear, white)])
    found = list(read(Edits(str(tmp_path), layout=layout)).values())
    for example in found:
        assert example.instruction == words and example.source == layout
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(example.images[0].data))), before)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(example.target.data))), after)
        if LAYOUTS[layout][3]:
            np.testing.assert_array_equal(example.edit_region.to_array(), region)
        else:
            assert example.edit_region is None


def test_rows_may_name_files(tmp_path):
    before, after, *_, words = edit_of(0)
    for name, pixels in (("a.png", before), ("b.png", after)):
        (tmp_path / name).write_bytes(png(pixels))
    row = {"image_file": "a.png", "edited_file": "b.png", "edit_instruction": words}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (example,) = read(Edits(str(tmp_path / "rows.jsonl"), layout="anyedit", images=str(tmp_path))).values()
    assert example.instruction == words


@pytest.mark.parametrize("kind", ["remove", "recolour", "replace"])
def test_a_region_can_be_derived(kind, tmp_path):
    """From pictures that went through JPEG it is nearly what changed; the record says what it is."""
    rows, regions = [], []
    for i in range(4):
        before, after, _, words = edit_of(60 * i, kind)
        rows.append((jpeg(before), jpeg(after), words, None))
        regions.append(np.abs(before.astype(int) - after).max(axis=-1) > 8)
    table(tmp_path, "omniedit", rows)
    found = read(Edits(str(tmp_path), layout="omniedit", regions="diff")).values()
    for example, region in zip(found, regions):
        got = example.edit_region.to_array()
        assert (got & region).sum() / (got | region).sum() > 0.6
        assert example.source == "omniedit, region derived"


def test_kinds_of_edits_of_the_whole_picture_are_named(tmp_path):
    before, after, _, words = edit_of(0)
    table(tmp_path, "omniedit", [(png(before), png(after), words, None)] * 3)
    path = tmp_path / "part.parquet"
    pq.write_table(pq.read_table(path).append_column("task", pa.array(["style", "removal", None])), path)
    found = list(read(Edits(str(tmp_path), layout="omniedit", whole="task=style,env")).values())
    assert found[0].edit_region.to_array().all()
    assert [example.edit_region for example in found[1:]] == [None, None]
    with pytest.raises(DataError, match=r"\bkind\b"):
        Edits(str(tmp_path), layout="omniedit", whole="kind=style").partitions()


def test_what_is_alike_or_all_other_has_no_region():
    before, *_ = edit_of(0)
    noisy = np.clip(before.astype(int) + np.random.default_rng(0).integers(-9, 10, before.shape), 0, 255)
    assert difference(before, noisy.astype(np.uint8)) is None
    assert difference(before, 255 - before) is None


def test_bad_records_are_counted(tmp_path):
    before, after, region, words = edit_of(0)
    mask = png(np.where(region, 255, 0).astype(np.uint8))
    rows = [
        (png(before), png(after), words, mask),
        (png(before), png(after[:-8]), words, mask),
        (png(before), png(after), "  ", mask),
        (png(before), png(after), words, mask[:40]),
        (png(before), png(after), words, png(np.zeros((4, 4), np.uint8))),
        (png(before)[:50], png(after), words, mask),
    ]
    table(tmp_path / "in", "ultraedit", rows)
    found = list(read(Edits(str(tmp_path / "in"), layout="ultraedit")).values())
    said = [str(x) for x in found[1:]]
    assert not isinstance(found[0], DataError)
    for text, expected in zip(
        said, ("the target is 96 x 88", "instruction is '  '", "mask cannot be read", "mask is 4 x 4", "")
    ):
        assert expected in text and isinstance(found[said.index(text) + 1], DataError)
    options = {"layout": "ultraedit"}
    out, buckets = str(tmp_path / "out"), ((64, 64),)
    manifest = prepare("edits", str(tmp_path / "in"), out, buckets=buckets, bad_budget=9, reader_options=options)
    assert manifest["bad"] == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(layout="mine"), "--layout='mine', expected one of magicbrush"),
        (dict(layout="omniedit", regions="guess"), "--regions=guess: expected diff"),
        (dict(layout="omniedit", whole="style"), "--whole='style', expected COLUMN=VALUE,VALUE"),
        (dict(layout="omniedit", images="/nowhere"), "--images='/nowhere' is not a directory"),
    ],
)
def test_mistakes(options, said, tmp_path):
    with pytest.raises(DataError, match=said):
        Edits(str(tmp_path), **options)


def test_a_column_is_missing(tmp_path):
    pq.write_table(pa.table({"src_img": [b"x"], "edited_img": [b"y"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="edited_prompt_list"):
        Edits(str(tmp_path), layout="omniedit").partitions()
