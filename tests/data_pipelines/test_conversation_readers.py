# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Readers of conversations and captions: LLaVA's layout, text alone, img2dataset's parquet, PixMo."""

import hashlib
import json
import pathlib

import pyarrow
import pyarrow.parquet
import pytest
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import buckets, codes, prepare, readers, show
from data_pipelines.errors import DataError
from data_pipelines.readers import records
from data_pipelines.readers.img2dataset import Img2Dataset
from data_pipelines.readers.llava import Llava
from data_pipelines.readers.pixmo import Pixmo
from data_pipelines.readers.text import LAYOUTS, Text
from data_pipelines.readers.webdataset import WebDataset
from data_pipelines.shards import Shards
from focus_jax.sequence import prompts
from tests.data_pipelines.pictures import encoded, noise
from tests.data_pipelines.test_readers import bad, everything, write_tar

PNG, WIDE = encoded(noise(20, 30)), encoded(noise(20, 60, 1))
ASKED, SAID = {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cup."}
PLAIN = {"from": "human", "value": "What is a cup?"}


def talk(**fields) -> dict:
    return {"id": "a", "image": "b/c.png", "conversations": [ASKED, SAID]} | fields


@pytest.fixture
def source(tmp_path):
    """A folder for JSON, with two pictures."""
    (tmp_path / "llava" / "b").mkdir(parents=True)
    (tmp_path / "llava" / "b" / "c.png").write_bytes(PNG)
    (tmp_path / "llava" / "wide.png").write_bytes(WIDE)
    return tmp_path / "llava"


def write_json(path, rows) -> pathlib.Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines) if path.suffix == ".jsonl" else b"[" + b",\n ".join(lines) + b"]\n")
    return path


def write_parquet(path, rows, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, **options)
    return path


# ----------------------------------------------------------------------------------------------------------- LLaVA
def test_llava(source):
    several = [
        {"from": "human", "value": "<image><image>\nSame?"},
        SAID,
        {"from": "human", "value": "And <image>?"},
        SAID,
    ]
    rows = [
        talk(),
        {"id": 1, "conversations": [PLAIN, SAID]},
        talk(image=["wide.png", "b/c.png", "b/c.png"], conversations=several),
        talk(conversations=[{"from": "system", "value": "Be short."}, ASKED, SAID]),
    ]  # fmt: skip
    for name in ("a.json", "b.jsonl"):
        found = everything(Llava(write_json(source / name, rows), licence="CC0"))
        assert list(found) == [f"{name}/0000000{i}" for i in range(4)] and not bad(found)
        one, text, many, system = found.values()
        assert one.images[0].data == PNG and one.licence == "CC0" and one.source == name
        assert [(t.role, t.text, t.images) for t in one.turns] == [
            ("user", "<image>\nWhat is it?", [0]), ("assistant", "A cup.", [])
        ]  # fmt: skip
        assert not text.images and [t.images for t in text.turns] == [[], []]
        assert [i.data for i in many.images] == [WIDE, PNG, PNG]
        assert [t.images for t in many.turns] == [[0, 1], [], [2], []]
        assert [t.role for t in system.turns] == ["system", "user", "assistant"]
    assert len(everything(Llava(source))) == 8  # the folder, both files
    (source / "b.jsonl").unlink()
    pictures = source / "b"
    write_json(source / "a.json", [talk(image="c.png")])
    assert not bad(everything(Llava(source, images=str(pictures))))


def test_llava_parquet(tmp_path):
    """The Hub's columns of LLaVA-OneVision: pictures inside, some rows text alone, row groups of any size."""
    rows = [
        {"id": f"{i}", "image": {"bytes": PNG, "path": f"{i}.png"}, "conversations": [ASKED, SAID], "data_source": "x"}
        for i in range(5)
    ]
    rows[3] |= {"image": None, "conversations": [PLAIN, SAID]}
    rows[4] |= {"conversations": [PLAIN, SAID]}
    write_parquet(tmp_path / "ov" / "x" / "train-0.parquet", rows, row_group_size=2)
    reader = Llava(tmp_path / "ov")
    assert len(reader.partitions()) == 3
    found = everything(reader)
    assert list(found) == [f"x/train-0.parquet/0000000{i}" for i in range(5)]
    assert found["x/train-0.parquet/00000000"].images[0].data == PNG
    assert not found["x/train-0.parquet/00000003"].images
    assert list(bad(found)) == ["x/train-0.parquet/00000004"]


@pytest.mark.parametrize(("row", "sentence"), [
    (talk(image=None), "1 times <image> for 0 images, expected one for each"),
    (talk(image=["b/c.png", "wide.png"]), "1 times <image> for 2 images"),
    (talk(conversations=[PLAIN, SAID]), "0 times <image> for 1 images"),
    (talk(conversations=[ASKED, ASKED]), "turn 1 is the user's, expected the assistant's: turns alternate"),
    (talk(conversations=[SAID, ASKED]), "turn 0 is the assistant's, expected the user's"),
    (talk(conversations=[ASKED, SAID, PLAIN]), "3 turns, expected user and assistant in turn, the last by the assis"),
    (talk(conversations=[ASKED, {"from": "gpt", "value": " \n"}]), "turn 1 is an empty answer"),
    (talk(conversations=[ASKED, {"from": "gpt", "value": "<image>"}]), "turn 1 has <image>, expected it in the user"),
    (talk(conversations=[]), "conversations is empty"),
    (talk(conversations="hello"), "conversations is str"),
    (talk(conversations=["a", "b"]), r"conversations\[0\].from is None, expected one of human"),
    (talk(conversations=[ASKED, {"from": "gpt"}]), r"conversations\[1\].value is NoneType, expected text"),
    (talk(conversations=[{"from": "narrator", "value": "x"}, SAID]), "from is 'narrator'"),
    (talk(image="gone.png"), "gone.png cannot be read .No such file or directory."),
    (talk(image="../llava/wide.png"), "leaves its folder"),
    (talk(image="/etc/passwd"), "leaves its folder"),
    (talk(image="a\0b"), "cannot be read .embedded null byte."),
    (talk(image=7), "image is int, expected a path"),
    ({"image": "b/c.png"}, "conversations is NoneType"),
    (b"[1, 2]", "is a JSON list, expected an object"),
    (b'{"id": 1, "conversations": caf\xe9}', "is not UTF-8"),
    (b'{"id": "caf\xe9"}', "is not UTF-8 .byte 11 of the record."),
    (b'{"id": nonsense}', "is not JSON"),
    (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "is nested too deep"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_bad_record_is_one_bad_record(source, name, row, sentence):
    """Between two good ones, in a list as well as on a line of its own."""
    found = everything(Llava(write_json(source / name, [talk(), row, talk()]), images=str(source)))
    assert len(found) == 3 and list(bad(found)) == [f"{name}/00000001"]
    with pytest.raises(DataError, match=sentence):
        raise found[f"{name}/00000001"]


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", "holds no record"),
    (b" [ ] ", "holds no record"),
    (b'[{"a": 1}, {"b": 2', "the list does not end"),
    (b'[{"a": 1}, {"b": "2', "the list does not end"),
    (b'[{"a": 1}, {"b": "' + b"2 " * 500_000, "the list does not end"),
    (b'[{"a": 1}, "text", {"b": 2}]', "the list has something else than an object at byte 9"),
    (b'[{"a": 1}, {"b": 2}, 7]', "the list has something else than an object at byte 19"),
    (b'[{"a": 1}, {"b": 2},]', "the list has something else than an object at byte 19"),
    (b'[{"a": 1} {"b": 2}]', "the list has something else than an object at byte 9"),
    (b'[7, {"a": 1}]', "the list has something else than an object at byte 1"),
    (b'[{"a": 1}] and more', "the list has something else than an object at byte 10"),
])  # fmt: skip
def test_a_file_that_is_no_list(source, content, sentence):
    (source / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=f"a.json: {sentence}"):
        Llava(source / "a.json").partitions()


JSON = st.recursive(
    st.integers() | st.text('[]{}",\\ é'),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text('"]\\', max_size=3), x, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), min_size=1), st.sampled_from([None, 1]))
def test_cutting_gives_what_parsing_gives(tmp_path_factory, rows, indent):
    """Strings with brackets, quotes and backslashes in them do not move a cut; nor do pieces of two records."""
    path = epath.Path(tmp_path_factory.getbasetemp() / "cut.json")
    path.write_text(json.dumps(rows, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_PER_PARTITION", 2)
        parts = records.partitions(path, "x", ())
    found = [row for part in parts for _, row in records.rows(path, part, ())]
    assert len(parts) == -(-len(rows) // 2)
    assert found == json.loads(path.read_text())


def test_a_byte_order_mark(source):
    for name in ("a.json", "a.jsonl"):
        path = write_json(source / name, [talk(), talk()])
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        found = everything(Llava(path))
        assert len(found) == 2 and not bad(found)


def test_files_that_are_not_there(source, tmp_path):
    with pytest.raises(DataError, match="is no file or directory of .json, .jsonl, .parquet"):
        Llava(tmp_path / "gone.json").partitions()
    with pytest.raises(DataError, match="--images='gone' is not a directory"):
        Llava(source, images="gone")
    with pytest.raises(DataError, match="holds no data file"):
        Llava(source).partitions()
    with pytest.raises(DataError, match="--source is missing"):
        Llava("")


# ---------------------------------------------------------------------------------------------------------- parquet
def test_parquet_that_misses_a_column(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [{"id": "1", "picture": PNG}])
    with pytest.raises(DataError, match="a.parquet: has no column conversations, expected it beside id, picture"):
        Llava(path).partitions()
    with pytest.raises(
        DataError, match="has no column extract_solution or matched_solution, expected it beside problem"
    ):
        Text(write_parquet(path, [{"problem": "1"}]), layout="scp116k").partitions()


def test_damaged_parquet(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="a.parquet: is not a parquet file"):
        Llava(tmp_path / "a.parquet").partitions()
    rows = [{"conversations": [PLAIN, SAID]} for _ in range(6)]
    path = write_parquet(tmp_path / "a.parquet", rows, row_group_size=3, use_dictionary=False, compression="none")
    parts, data = Llava(path).partitions(), bytearray(path.read_bytes())
    data[4:200] = b"\xff" * 196  # the first row group
    path.write_bytes(data)
    found = [item for part in parts for item in Llava(path).read(part)]
    assert "cannot be read to its end" in str(found[0][1])
    assert [key for key, x in found if not isinstance(x, DataError)] == [f"a.parquet/0000000{i}" for i in (3, 4, 5)]


def test_parquet_text_that_is_not_utf8(tmp_path):
    texts = pyarrow.array([b"ok", b"caf\xe9", b"fine"]).view(pyarrow.string())
    table = pyarrow.table({"instruction": texts, "output": ["1", "2", "3"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    found = everything(Text(tmp_path / "a.parquet", layout="opc-sft"))
    assert list(bad(found)) == ["a.parquet/00000001"] and "is not UTF-8" in bad(found)["a.parquet/00000001"]


# ------------------------------------------------------------------------------------------------------------- text
ROWS = {
    "magpie": {"uuid": "1", "instruction": "Hi?", "conversations": [PLAIN, SAID]},
    "openorca": {"id": "1", "system_prompt": "Be kind.", "question": "What is a cup?", "response": "A cup."},
    "openhermes": {"source": "x", "conversations": [{"from": "system", "value": "Be kind."}, PLAIN, SAID]},
    "scp116k": {"domain": "physics", "problem": "What is a cup?", "matched_solution": "A cup.", "o1_solution": "?"},
    "opc-sft": {"instruction": "What is a cup?", "output": "A cup.", "tag": "x"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_text(tmp_path, layout):
    row = ROWS[layout]
    write_json(tmp_path / "a.jsonl", [row])
    write_json(tmp_path / "b.json", [row])
    write_parquet(tmp_path / "c.parquet", [row])
    found = everything(Text(tmp_path, layout=layout))
    assert list(found) == [f"{name}/00000000" for name in ("a.jsonl", "b.json", "c.parquet")] and not bad(found)
    system = [("system", "Be kind.")] if layout in ("openorca", "openhermes") else []
    for example in found.values():
        assert [(t.role, t.text) for t in example.turns] == [
            *system,
            ("user", "What is a cup?"),
            ("assistant", "A cup."),
        ]
        assert not example.images


def test_text_details(tmp_path):
    rows = [
        ROWS["openorca"] | {"system_prompt": ""},
        ROWS["openorca"] | {"response": ""},
        ROWS["openorca"] | {"question": None},
        ROWS["openorca"] | {"question": 'Draw <svg><image>!'},
        {"question": "a", "response": "b"},
    ]  # fmt: skip
    found = everything(Text(write_json(tmp_path / "a.jsonl", rows), layout="openorca"))
    assert [t.role for t in found["a.jsonl/00000000"].turns] == ["user", "assistant"]
    reasons = list(bad(found).values())
    assert len(reasons) == 4 and "empty answer" in reasons[0] and "question is NoneType, expected text" in reasons[1]
    assert "1 times <image> for 0 images" in reasons[2] and "system_prompt is NoneType" in reasons[3]
    newer = ROWS["scp116k"] | {"extract_solution": "Newer."}
    found = everything(Text(write_json(tmp_path / "b.jsonl", [newer]), layout="scp116k"))
    assert found["b.jsonl/00000000"].turns[1].text == "Newer."
    with pytest.raises(DataError, match="--layout='alpaca', expected one of magpie, openorca"):
        Text(tmp_path, layout="alpaca")


# --------------------------------------------------------------------------------------------------------- captions
def test_img2dataset(tmp_path):
    rows = [
        {"key": "0", "jpg": PNG, "txt": "a cup ", "caption": "other", "url": "http://x", "status": "success"},
        {"key": "1", "jpg": None, "txt": None, "caption": "gone", "url": "http://y", "status": "failed_to_download"},
        {"key": "2", "jpg": PNG, "txt": None, "caption": None, "url": "http://z", "status": "success"},
    ]
    write_parquet(tmp_path / "laion" / "00000.parquet", rows)
    found = everything(Img2Dataset(tmp_path / "laion"))
    first, failed, silent = found.values()
    assert first.images[0].data == PNG and first.turns[0].text == "a cup" and first.turns[0].role == "caption"
    assert not failed.images and not failed.turns and silent.images and not silent.turns
    manifest = prepare.prepare("img2dataset", tmp_path / "laion", tmp_path / "out", buckets=((20, 30),), near=-1)
    assert manifest["dropped"] == {"no image": 1, "exact duplicate": 1}
    write_parquet(tmp_path / "meta" / "00000.parquet", [{"key": "0", "caption": "x", "url": "http://x"}])
    with pytest.raises(DataError, match="has no column jpg or png or webp, expected it beside key, caption, url"):
        Img2Dataset(tmp_path / "meta").partitions()
    (tmp_path / "meta" / "00000_stats.json").write_text("{}")
    with pytest.raises(DataError, match="holds 00000_stats.json, expected parquet files only"):
        Img2Dataset(tmp_path / "meta").partitions()


def test_webdataset_captions_of_img2dataset(tmp_path):
    said = json.dumps({"caption": " from json", "url": "http://x"}).encode()
    write_tar(tmp_path / "0.tar", [
        ("0.jpg", PNG), ("0.txt", b"from txt"), ("0.json", said), ("1.jpg", PNG), ("1.json", said),
        ("2.jpg", PNG), ("2.json", b'{"caption": null}'), ("3.jpg", PNG), ("3.json", b"{"),
        ("4.jpg", PNG), ("4.json", b"[]"),
    ])  # fmt: skip
    found = everything(WebDataset(tmp_path))
    assert list(bad(found)) == ["0.tar/3"] and "0.tar/3.json: is not JSON" in bad(found)["0.tar/3"]
    texts = [[t.text for t in x.turns] for x in found.values() if not isinstance(x, DataError)]
    assert texts == [["from txt"], ["from json"], [], []]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_pixmo(tmp_path):
    (tmp_path / "pictures").mkdir()
    urls = [f"http://x/{i}" for i in range(4)]
    (tmp_path / "pictures" / sha256(urls[0].encode())).write_bytes(PNG)  # as Molmo's script names it
    (tmp_path / "pictures" / f"{sha256(WIDE)}.png").write_bytes(WIDE)  # by its own hash
    (tmp_path / "pictures" / f"{sha256(urls[2].encode())}.jpg").write_bytes(PNG)
    rows = [
        {"image_url": url, "image_sha256": sha256(data), "question": "What?", "answer": "A cup."}
        for url, data in zip(urls, (PNG, WIDE, WIDE, PNG))
    ]
    path, options = write_parquet(tmp_path / "ask.parquet", rows), {"images": str(tmp_path / "pictures")}
    rows = rows[:2] + [rows[2] | {"image_sha256": sha256(b"?")}, rows[3] | {"image_sha256": None}]
    found = everything(Pixmo(write_parquet(path, rows), subset="ask-model-anything", **options))
    first, second, changed, missing = found.values()
    assert first.images[0].data == PNG and second.images[0].data == WIDE
    assert [(t.role, t.text, t.images) for t in first.turns] == [
        ("user", "<image>\nWhat?", [0]), ("assistant", "A cup.", [])
    ]  # fmt: skip
    assert "is another picture than ask.parquet/00000002 is about" in str(changed)
    assert "its picture is missing, expected" in str(missing)
    rows = [{"image_url": urls[0], "caption": "A cup.", "transcripts": ["so a cup", "a cup here"]}]
    found = everything(Pixmo(write_parquet(tmp_path / "cap.parquet", rows), subset="cap", **options))
    assert [(t.role, t.text, t.images) for t in found["cap.parquet/00000000"].turns] == [
        ("caption", text, [0]) for text in ("A cup.", "so a cup", "a cup here")
    ]
    with pytest.raises(DataError, match="--subset='points', expected one of cap, ask-model-anything, cap-qa"):
        Pixmo(path, subset="points", **options)
    with pytest.raises(DataError, match="--images='' is not a directory"):
        Pixmo(path, subset="cap")


# ---------------------------------------------------------------------------------------------------------- prepare
def test_text_has_a_bucket_of_its_own(source, tmp_path):
    rows = [talk(), {"conversations": [PLAIN, SAID]}, {"conversations": [PLAIN, SAID]}, talk(image="wide.png")]
    manifest = prepare.prepare("llava", write_json(source / "a.json", rows), tmp_path / "out", buckets=((20, 30),))
    assert manifest["records"] == {"train": {"20x30": 1, "text": 1}}
    assert manifest["dropped"] == {"exact duplicate": 1, "crop loss": 1}
    texts = Shards(tmp_path / "out", "train", buckets.TEXT)
    assert len(texts) == 1 and texts[0].turns[0].text == "What is a cup?" and not texts[0].images
    pictures = Shards(tmp_path / "out", "train", (20, 30))
    assert len(pictures) == 1 and pictures[0].images[0].data == PNG
    assert not len(Shards(tmp_path / "out", "train", (10, 10)))
    assert sorted(len(e.images) for e in show.load(tmp_path / "out")) == [0, 1]
    show.cell(texts[0])
    assert [task.file for task in codes.plan(tmp_path / "out").tasks] == ["train/20x30/00000.arrayrecord"]
    assert buckets.named("text") == buckets.TEXT and buckets.named("20x30") == (20, 30)


def test_the_first_picture_decides_the_bucket(source, tmp_path):
    said = [{"from": "human", "value": "<image><image>?"}, SAID]
    rows = [talk(image=["wide.png", "b/c.png"], conversations=said)]
    manifest = prepare.prepare(
        "llava", write_json(source / "a.json", rows), tmp_path / "o", buckets=((20, 30), (20, 60))
    )
    assert manifest["records"] == {"train": {"20x60": 1}}
    example = Shards(tmp_path / "o", "train", (20, 60))[0]
    assert [(i.width, i.height) for i in example.images] == [(60, 20), (30, 20)]


def test_many_conversations_about_one_picture(source, tmp_path):
    """All are kept, and of one split; the same words again are a duplicate."""
    rows = []
    for i in range(40):
        (source / f"{i}.png").write_bytes(encoded(noise(20, 30, i)))
        rows += [talk(image=f"{i}.png", conversations=[ASKED, {"from": "gpt", "value": f"{k}"}]) for k in (0, 1, 2, 2)]
    out = tmp_path / "out"
    manifest = prepare.prepare("llava", write_json(source / "a.json", rows), out, buckets=((20, 30),), validation=0.4)
    assert manifest["dropped"] == {"exact duplicate": 40}
    held = {}
    for split in ("train", "validation"):
        records_ = Shards(out, split, (20, 30))
        assert len(records_) % 3 == 0 and 9 < len(records_) < 111
        held[split] = {records_[i].images[0].data for i in range(len(records_))}
    assert not held["train"] & held["validation"]


def test_the_fixture_comes_back(fixtures, tmp_path):
    """Real conversations about real photographs, through prepare and back, as the layout of sequences takes them."""
    path = fixtures / "llava" / "llava_instruct.json"
    rows = json.loads(path.read_text())
    out = tmp_path / "out"
    manifest = prepare.prepare(
        "llava", path, out, buckets=tuple(buckets.ANCHORS_256), reader_options={"images": str(fixtures)}
    )
    assert manifest["bad"] == 0 and not manifest["dropped"]
    found = {}
    for name in manifest["splits"]["train"]:
        source = Shards(out, "train", buckets.named(name))
        found |= {source[i].id: source[i] for i in range(len(source))}
    assert len(found) == len(rows)
    for number, row in enumerate(rows):
        example = found[f"llava_instruct.json/{number:08d}"]
        assert example.images[0].data == (fixtures / row["image"]).read_bytes()
        assert [turn.text for turn in example.turns] == [message["value"] for message in row["conversations"]]
        assert example.turns[0].images == [0] and example.turns[0].text.startswith(prompts.PLACEHOLDER)


def test_every_reader_describes_itself(capsys):
    for name in readers.READERS:
        with pytest.raises(SystemExit):
            prepare.main([name, "--help"])
        assert f"prepare {name} " in capsys.readouterr().out
