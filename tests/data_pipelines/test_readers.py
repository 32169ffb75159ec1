# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import io
import json
import pickle
import subprocess
import sys
import tarfile

import pytest

from data_pipelines import photographs, readers
from data_pipelines.errors import DataError
from data_pipelines.readers.folder import Folder
from data_pipelines.readers.tfds import Tfds
from data_pipelines.readers.webdataset import WebDataset
from tests.data_pipelines.pictures import encoded, noise


def everything(reader) -> dict:
    found = [item for partition in reader.partitions() for item in pickle.loads(pickle.dumps(reader)).read(partition)]
    assert len(dict(found)) == len(found)
    again = [item for partition in reader.partitions() for item in reader.read(partition)]
    assert [key for key, _ in again] == [key for key, _ in found]
    return dict(found)


def bad(found) -> dict:
    return {key: str(item) for key, item in found.items() if isinstance(item, DataError)}


# ---------------------------------------------------------------------------------------------------------- folder
@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "train/c.webp", "validation/deep/d.png", ".hidden.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(noise(20, 30), {"g": "PNG", "G": "JPEG", "p": "WEBP"}[name[-1]]))
    (tmp_path / "pictures" / "notes.md").write_text("not a picture")
    return tmp_path / "pictures"


def test_folder(folder):
    (folder / "b.txt").write_text("ein Bär\n")
    (folder / "captions.jsonl").write_text(json.dumps({"file": "train/c.webp", "caption": "a cup"}) + "\n")
    found = everything(Folder(folder, licence="CC0"))
    assert list(found) == ["a.JPG", "b.png", "train/c.webp", "validation/deep/d.png"]
    assert [e.split for e in found.values()] == ["", "", "train", "validation"]
    assert found["b.png"].turns[0].text == "ein Bär" and found["b.png"].turns[0].images == [0]
    assert found["train/c.webp"].turns[0].text == "a cup" and not found["a.JPG"].turns
    assert found["a.JPG"].images[0].data == (folder / "a.JPG").read_bytes()
    assert {e.licence for e in found.values()} == {"CC0"} and {e.source for e in found.values()} == {"pictures"}


def test_folder_caption_that_is_not_utf8(folder):
    (folder / "b.txt").write_bytes(b"caf\xe9")
    found = everything(Folder(folder))
    assert list(bad(found)) == ["b.png"] and "b.txt: the caption is not UTF-8 (byte 3)" in bad(found)["b.png"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b'{"file": "x.png", "caption": "a"}', "line 1 names 'x.png', which does not exist"),
        (b'{"file": "b.png", "caption": "a"}\n{"file": "b.png", "caption": "a"}', "line 2 names 'b.png', which stands"),
        (b'{"file": "b.png", "caption": "\xff"}', "line 1 is not UTF-8 JSON"),
        (b'{"file": "b.png"}', "line 1 is not UTF-8 JSON"),
        (b"b.png a cup", "line 1 is not UTF-8 JSON"),
    ],
)
def test_folder_captions_file(folder, line, sentence):
    (folder / "captions.jsonl").write_bytes(line)
    with pytest.raises(DataError, match="captions.jsonl: " + sentence):
        Folder(folder).partitions()


def test_folder_without_pictures(tmp_path):
    with pytest.raises(DataError, match="holds no picture, expected files ending in .jpg"):
        Folder(tmp_path).partitions()
    with pytest.raises(DataError, match="is not a directory"):
        Folder(tmp_path / "nowhere")


# ------------------------------------------------------------------------------------------------------------- tars
def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


PNG = encoded(noise(20, 30))


def test_webdataset(tmp_path):
    write_tar(tmp_path / "1.tar", [("x/1.png", PNG), ("x/1.txt", b"one"), ("x/2.json", b"{}"), ("x/2.jpg", PNG)])
    write_tar(tmp_path / "0.tar.gz", [("9.png", PNG), ("9.seg.png", PNG)], "w:gz")
    found = everything(WebDataset(tmp_path))
    assert list(found) == ["0.tar.gz/9", "1.tar/x/1", "1.tar/x/2"]
    assert found["1.tar/x/1"].turns[0].text == "one" and found["1.tar/x/1"].images[0].data == PNG
    assert not found["1.tar/x/2"].turns


def test_webdataset_bad_members(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name, data in [
            ("../../etc/1.png", PNG),
            ("/etc/2.png", PNG),
            ("3.png", PNG),
            ("3.txt", b"caf\xe9"),
            ("4.txt", b"alone"),
            ("5.png", PNG),
        ]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("6.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found = everything(WebDataset(tmp_path / "0.tar"))
    assert [key for key in found if key not in bad(found)] == ["0.tar/5"]
    reasons = bad(found)
    assert "member '../../etc/1.png' climbs out of its folder" in reasons["0.tar/../../etc/1.png"]
    assert "member '/etc/2.png' climbs out of its folder" in reasons["0.tar//etc/2.png"]
    assert "the caption is not UTF-8" in reasons["0.tar/3"]
    assert "has the members txt, expected a picture" in reasons["0.tar/4"]
    assert "is a link" in reasons["0.tar/6.png"]


def test_webdataset_cut_short(tmp_path):
    write_tar(tmp_path / "0.tar", [(f"{i}.png", encoded(noise(40, 40, i))) for i in range(4)])
    data = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(data[: len(data) // 2])
    found = everything(WebDataset(tmp_path))
    assert "0.tar/0" in found and "0.tar/3" not in found
    assert "cannot be read to its end" in bad(found)["0.tar/"]
    (tmp_path / "0.tar").write_bytes(b"")
    assert "cannot be read to its end" in bad(everything(WebDataset(tmp_path)))["0.tar/"]


def test_webdataset_without_tars(tmp_path):
    with pytest.raises(DataError, match="holds no tar"):
        WebDataset(tmp_path).partitions()
    with pytest.raises(DataError, match="does not exist"):
        WebDataset(tmp_path / "nowhere")


# ------------------------------------------------------------------------------------------------------------- tfds
_WRITE_TFDS = """
import io, json, pathlib, sys
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tests.data_pipelines.pictures import encoded, noise

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True)
features = tfds.features.FeaturesDict({
    "image": tfds.features.Image(),
    "caption": tfds.features.Text(),
    "label": tfds.features.ClassLabel(names=["cat", "dog"]),
})
serializer = ExampleSerializer(features.get_serialized_info())
splits = []
for split, shards in (("train", (3, 2)), ("val", (1,))):
    number = size = 0
    for shard, count in enumerate(shards):
        name = f"toy-{split}.array_record-{shard:05d}-of-{len(shards):05d}"
        writer = ArrayRecordWriter(str(folder / name), "group_size:1")
        for _ in range(count):
            record = {"image": io.BytesIO(encoded(noise(20, 30, number))), "caption": f"c{number}", "label": number % 2}
            data = serializer.serialize_example(features.encode_example(record))
            size, number = size + len(data), number + 1
            writer.write(data)
        writer.close()
    splits.append({
        "name": split, "numBytes": str(size), "shardLengths": [str(count) for count in shards],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    })
info = {"name": "toy", "version": "1.0.0", "fileFormat": "array_record", "moduleName": "toy", "splits": splits}
(folder / "dataset_info.json").write_text(json.dumps(info))
features.save_config(folder)
"""


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds") / "toy" / "1.0.0"
    subprocess.run([sys.executable, "-c", _WRITE_TFDS, str(folder)], check=True)
    return folder


def test_tfds(tfds_folder):
    found = everything(Tfds(tfds_folder))
    assert list(found) == [f"train/0000000{i}" for i in range(5)] + ["val/00000000"]
    for i in range(5):
        example = found[f"train/0000000{i}"]
        assert example.images[0].data == encoded(noise(20, 30, i))  # the bytes as stored, not decoded
        assert example.turns[0].text == f"c{i}" and example.classes == [["cat", "dog"][i % 2]]
        assert example.source == "toy" and example.split == "train"
    assert found["val/00000000"].split == "validation"


def test_tfds_needs_no_tensorflow(tfds_folder):
    code = (
        "import sys; from data_pipelines.readers.tfds import Tfds; r = Tfds(sys.argv[1]);"
        "n = sum(1 for p in r.partitions() for _ in r.read(p)); assert n == 6;"
        "assert not {'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tfds_folder)], check=True)


def test_tfds_damaged(tfds_folder, tmp_path):
    import shutil

    folder = tmp_path / "toy" / "1.0.0"
    shutil.copytree(tfds_folder, folder)
    path = folder / "toy-train.array_record-00000-of-00002"
    data = bytearray(path.read_bytes())
    at = data.index(encoded(noise(20, 30, 1))[100:140])
    data[at] ^= 0xFF
    path.write_bytes(data)
    found = everything(Tfds(folder))
    assert list(bad(found)) == ["train/00000001"] and "cannot be read" in bad(found)["train/00000001"]
    with pytest.raises(DataError, match="image feature 'picture', expected --image to be one of"):
        everything(Tfds(folder, image="picture"))
    (folder / "features.json").write_text("{")
    with pytest.raises(DataError, match="is not a TFDS data set"):
        Tfds(folder).partitions()
    with pytest.raises(DataError, match="has no dataset_info.json"):
        Tfds(tmp_path)


# ------------------------------------------------------------------------------------------------------ photographs
def test_photographs_split_by_photograph():
    reader = photographs.Photographs(stride=384)
    found = everything(reader)
    splits = {}
    for key, example in found.items():
        splits.setdefault(example.split, set()).add(key.split("/")[0])
    assert set(splits) == {"train", "validation", "test"}
    names = [name for split in splits.values() for name in split]
    assert len(names) == len(set(names)) == len(photographs.PHOTOGRAPHS)  # no photograph in two splits
    assert {"motorcycle_left.png", "motorcycle_right.png"} <= splits["train"]
    for name in names:  # the docstring says the lists
        assert name.split(".")[0] in photographs.__doc__
    with pytest.raises(DataError, match="takes no source"):
        photographs.Photographs("somewhere")


def test_unknown_reader():
    with pytest.raises(DataError, match="reader: 'imagenet' is unknown, expected one of coco"):
        readers.get("imagenet")
