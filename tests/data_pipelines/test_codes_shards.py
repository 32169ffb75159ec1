# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""`prepare codes` over many shards: batches filled across them, interruptions, bad records, open files."""

import itertools
import json
import os
import pathlib

import numpy as np
import pytest

from data_pipelines import shards
from data_pipelines.errors import DataError
from data_pipelines.example import SCHEMA_VERSION, Example, Image, encode
from data_pipelines.shards import Shards
from tests.data_pipelines.fake_tokenizer import FakeTokenizer, run
from tests.data_pipelines.pictures import encoded, noise
from tests.data_pipelines.test_prepare import tree

WHOLE = encoded(noise(32, 32))


def prepared_by_hand(folder, *sizes, **pictures):
    """A prepared directory whose shards have so many records: the files `pictures` by name, then whole pictures."""
    pictures |= {f"record {i}": encoded(noise(32, 32, i)) for i in range(sum(sizes) - len(pictures))}
    records = iter(pictures.items())
    entries = []
    for number, size in enumerate(sizes):
        file = f"train/32x32/{number:05d}.arrayrecord"
        writer = shards.Writer(folder / file)
        for name, data in itertools.islice(records, size):
            writer.write(encode(Example(id=name, images=[Image(data=data, width=32, height=32)])))
        entries.append({"file": file} | writer.close())
    shards.write_json(
        folder / "manifest.json", {"schema_version": SCHEMA_VERSION, "splits": {"train": {"32x32": entries}}}
    )
    return folder


class ByRow(FakeTokenizer):
    """Codes that depend on the row, as rounding may; the call `stop_at` ends the command."""

    def __init__(self, stop_at: int = 0):
        super().__init__()
        self.stop_at = stop_at

    def encode(self, images, high=None):
        found = super().encode(images, high)
        if len(self.shapes) == self.stop_at:
            raise KeyboardInterrupt
        return {branch: codes + np.arange(len(codes))[:, None, None] for branch, codes in found.items()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """11 records in shards of 3, 3, 1, 2, 2: of batches of 4 only the first begins with a shard."""
    return prepared_by_hand(tmp_path_factory.mktemp("shards") / "prepared", 3, 3, 1, 2, 2)


def test_a_batch_goes_on_from_shard_to_shard(source, tmp_path):
    tokenizer = FakeTokenizer()
    run(tokenizer, source, tmp_path / "codes")
    assert len(tokenizer.shapes) == 3  # 11 records, whatever their shards


@pytest.mark.parametrize("call, whole_shards, again", [(1, 0, 3), (2, 1, 3), (3, 3, 2)])
def test_interrupted_within_a_batch(source, tmp_path, call, whole_shards, again):
    """The same bytes, though a row's codes depend on its place: after shards of 3 and 7 records, inside a batch."""
    run(ByRow(), source, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(ByRow(stop_at=call), source, tmp_path / "codes")
    left = [name for name in tree(tmp_path / "codes") if name.endswith(".arrayrecord")]
    assert len(left) == whole_shards
    second = ByRow()
    run(second, source, tmp_path / "codes")
    assert tree(tmp_path / "codes") == tree(tmp_path / "whole")
    assert len(second.shapes) == again


def test_files_are_closed_when_their_records_are_read(tmp_path):
    if not pathlib.Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    source, held = prepared_by_hand(tmp_path / "prepared", *[2] * 12), []

    class Watch(FakeTokenizer):
        def encode(self, images, high=None):
            links = [os.path.realpath(link) for link in pathlib.Path("/proc/self/fd").iterdir()]
            held.append(sum(link.startswith(str(source)) for link in links))
            return super().encode(images, high)

    run(Watch(), source, tmp_path / "codes")
    assert len(held) == 6 and max(held) <= 5  # this batch's two shards, the next one's, and one more at the border


# ------------------------------------------------------------------------------------------------------- bad records
def test_pictures_that_cannot_be_encoded(tmp_path):
    pictures = {"a": WHOLE, "cut": WHOLE[:60], "b": WHOLE, "long": encoded(noise(32, 90)), "c": WHOLE}
    source, output = prepared_by_hand(tmp_path / "source", 2, 3, **pictures), tmp_path / "codes"
    with pytest.raises(DataError, match="2 bad records, expected at most --bad-budget=1; the last one: long: 90 x 32"):
        run(FakeTokenizer(), source, output, bad_budget=1)
    assert run(FakeTokenizer(), source, output, bad_budget=2)["bad"] == 2
    found = Shards(output, "train", (32, 32))
    assert [found[i].id for i in range(len(found))] == ["a", "b", "c"]
    lines = [json.loads(line) for line in (output / "bad_records.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == ["cut", "long"] and "cannot be decoded" in lines[0]["reason"]
    none = prepared_by_hand(tmp_path / "none", 1, cut=WHOLE[:60])
    with pytest.raises(DataError, match="none: no record is left, expected some; the last bad one: cut: cannot"):
        run(FakeTokenizer(), none, tmp_path / "no", bad_budget=1)


def test_a_record_that_cannot_be_read_for_once(source, tmp_path, monkeypatch):
    """The shard that passed the budget is read again by the same command; those before it are not."""
    read = Shards.__getitem__

    def broken(self, index):
        if self.shards[0]["file"].endswith("00002.arrayrecord"):
            raise DataError(f"record {index} cannot be read (the network is down).")
        return read(self, index)

    monkeypatch.setattr(Shards, "__getitem__", broken)
    with pytest.raises(
        DataError, match="1 bad records, expected at most --bad-budget=0; the last one: record 0 cannot"
    ):
        run(ByRow(), source, tmp_path / "codes")
    assert len(list((tmp_path / "codes" / ".prepare").glob("codes-*.json"))) == 2
    monkeypatch.undo()
    assert run(ByRow(), source, tmp_path / "codes")["bad"] == 0
    run(ByRow(), source, tmp_path / "whole")
    assert tree(tmp_path / "codes") == tree(tmp_path / "whole")
