# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Readers of videos and of edits on small copies of their layouts, every kind of damage, and the way to a row."""

import json

import numpy as np
import pytest
from PIL import Image

from configs import models
from data_pipelines import rows
from data_pipelines.errors import DataError
from data_pipelines.prepare import prepare
from data_pipelines.readers.davis import Davis, RefYoutubeVos, lines
from data_pipelines.readers.instruct_pix2pix import InstructPix2Pix
from data_pipelines.readers.youtube_vis import Revos, YoutubeVis
from data_pipelines.shards import Shards
from tests.data_pipelines.pictures import encoded, noise
from tests.data_pipelines.test_mask_readers import CAT, DOG, POLYGON, H, W, letters, numbers

FRAMES = 5


def ids_of(t):
    """Thing 1 moves to the right, thing 2 leaves after frame 2; void at the border."""
    ids = np.zeros((H, W), np.uint8)
    ids[np.roll(CAT, 2 * t, axis=1)] = 1
    if t < 3:
        ids[DOG] = 2
    ids[:, -1] = 255
    return ids


def palette(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    image.putpalette(list(range(256)) * 3)
    image.save(path)


def pictures(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        (folder / f"{name}.jpg").write_bytes(encoded(noise(H, W, seed=i), "JPEG"))


NAMES = [f"{5 * t:05d}" for t in range(FRAMES)]
WORDS = {"0": {"exp": "the cat", "obj_id": "1"}, "1": {"exp": "the dog", "obj_id": "2"}}


@pytest.fixture
def davis(tmp_path):
    root = tmp_path / "DAVIS"
    pictures(root / "JPEGImages" / "480p" / "pets", NAMES)
    for t, name in enumerate(NAMES):
        if t != 3:
            palette(root / "Annotations" / "480p" / "pets" / f"{name}.png", ids_of(t))
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "train.txt").write_text("pets\n")
    words = {"videos": {"pets": {"expressions": WORDS, "frames": NAMES}}}
    (root / "meta_expressions.json").write_text(json.dumps(words))
    return root


@pytest.fixture
def ref_youtube_vos(tmp_path):
    root = tmp_path / "rvos"
    pictures(root / "train" / "JPEGImages" / "v", NAMES)
    for t, name in enumerate(NAMES):
        palette(root / "train" / "Annotations" / "v" / f"{name}.png", ids_of(t))
    listed = root / "meta_expressions" / "train" / "meta_expressions.json"
    listed.parent.mkdir(parents=True)
    listed.write_text(json.dumps({"videos": {"v": {"expressions": WORDS, "frames": NAMES}}}))
    return root


def vis(tmp_path, **change):
    root = tmp_path / "vis"
    pictures(root / "JPEGImages" / "v", NAMES)
    masks = [ids_of(t) for t in range(FRAMES)]
    cat = [numbers(m == 1) if t else [POLYGON] for t, m in enumerate(masks)]
    dog = [letters(m == 2) if (m == 2).any() else None for m in masks]
    shared = dict(video_id=7, iscrowd=0)
    found = {
        "videos": [{"id": 7, "width": W, "height": H, "file_names": [f"v/{name}.jpg" for name in NAMES]}],
        "annotations": [
            shared | {"id": 1, "category_id": 3, "segmentations": cat},
            shared | {"id": 2, "category_id": 4, "segmentations": dog},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
    }
    (root / "train.json").write_text(json.dumps(found | change))
    return root / "train.json"


def revos(tmp_path, **change):
    root = tmp_path / "ReVOS"
    pictures(root / "JPEGImages" / "v", NAMES)
    masks = [ids_of(t) for t in range(FRAMES)]
    two = [letters(m == 2) if (m == 2).any() else None for m in masks]
    (root / "mask_dict.json").write_text(json.dumps({"10": [letters(m == 1) for m in masks], "11": two}))
    said = {
        "0": {"exp": "the cat(s)", "obj_id": [1], "anno_id": [10], "type_id": 0},
        "1": {"exp": "Which ones are pets?", "obj_id": [1, 2], "anno_id": [10, 11], "type_id": 1},
        "2": {"exp": "the horse", "obj_id": [], "anno_id": [], "type_id": 2},
    } | change
    listed = {"videos": {"v": {"vid_id": 1, "height": H, "width": W, "frames": NAMES, "expressions": said}}}
    (root / "meta_expressions_train_.json").write_text(json.dumps(listed))
    return root


def read(reader):
    return [x for partition in reader.partitions() for x in reader.read(partition)]


def masks_of(example, track):
    """{frame: mask} of a thing."""
    return {i.frame: i.mask.to_array() for i in example.instances if i.track == track}


def check_pets(example, tracks, missing=()):
    """All frames of the video are in it, in order."""
    assert len(example.frames) == FRAMES and not example.images
    times = [frame.time for frame in example.frames]
    assert times == sorted(times) and times[1] > 0
    first, second = (masks_of(example, track) for track in tracks)
    assert set(first) == set(range(FRAMES)) - set(missing) and set(second) == {0, 1, 2} - set(missing)
    for t, mask in first.items():
        np.testing.assert_array_equal(mask, ids_of(t) == 1)
    for t, mask in second.items():
        np.testing.assert_array_equal(mask, ids_of(t) == 2)


def test_davis(davis):
    ((key, example),) = read(Davis(str(davis)))
    assert key == "train/pets/0" and example.split == "train" and not example.expressions
    check_pets(example, (1, 2), missing=(3,))
    ((_, example),) = read(Davis(str(davis), expressions=str(davis / "meta_expressions.json")))
    assert [e.text for e in example.expressions] == ["the cat", "the dog"]
    assert [sorted({example.instances[i].track for i in e.instances}) for e in example.expressions] == [[1], [2]]
    parts = read(Davis(str(davis), frames=2))
    assert [key for key, _ in parts] == ["train/pets/0", "train/pets/1", "train/pets/2"]
    assert [len(e.frames) for _, e in parts] == [2, 2, 1]
    assert set(masks_of(parts[1][1], 1)) == {0, 1}, "frames 1 and 4"
    np.testing.assert_array_equal(masks_of(parts[1][1], 1)[1], ids_of(4) == 1)


def test_ref_youtube_vos(ref_youtube_vos):
    ((key, example),) = read(RefYoutubeVos(str(ref_youtube_vos)))
    assert key == "train/v/0" and [e.text for e in example.expressions] == ["the cat", "the dog"]
    check_pets(example, (1, 2))


def test_youtube_vis(tmp_path):
    ((key, example),) = read(YoutubeVis(str(vis(tmp_path))))
    assert key == "train/7/0" and example.classes == ["cat", "dog"]
    assert {i.category for i in example.instances if i.track == 1} == {"dog"}
    example.instances = [i for i in example.instances if (i.track, i.frame) != (0, 0)]  # a polygon, drawn otherwise
    assert set(masks_of(example, 0)) == {1, 2, 3, 4} and set(masks_of(example, 1)) == {0, 1, 2}
    np.testing.assert_array_equal(masks_of(example, 0)[4], ids_of(4) == 1)


def test_revos(tmp_path):
    ((_, example),) = read(Revos(str(revos(tmp_path))))
    check_pets(example, (10, 11))
    assert [(e.text, e.kind) for e in example.expressions] == [
        ("the cat", "referring"),
        ("Which ones are pets?", "reasoning"),
        ("the horse", "referring"),
    ]
    assert example.expressions[2].instances == []
    assert {example.instances[i].track for i in example.expressions[1].instances} == {10, 11}


def test_from_files_to_rows(davis, tmp_path):
    """What prepare stores comes back with sizes, and clips of words are rows: none where a thing is out of sight."""
    options = {"expressions": str(davis / "meta_expressions.json")}
    out = tmp_path / "out"
    manifest = prepare("davis", str(davis), str(out), buckets=((48, 64),), reader_options=options)
    assert manifest["bad"] == 0
    (example,) = [Shards(str(out), "train", (48, 64))[0]]
    assert [(f.image.width, f.image.height) for f in example.frames] == [(W, H)] * FRAMES
    stream = models.masks_stream("tiny", (48, 64), rows=1, share=1, length=300, learnt=32, shape_class="clips")
    kinds, lost = set(), 0
    for seed in range(40):
        row = rows.row(example, stream, rng=np.random.default_rng(seed))
        assert not row["left_out"].any()
        kinds.add(int(row["kind"][0]))
        if row["kind"][0] == 1:
            assert (row["known"].sum(axis=1) == 1).all()
            lost += int((row["there"].sum(axis=1) == 0).any())
    assert kinds == {1, 2}, "words and marks: DAVIS names nothing"
    assert lost, "the dog leaves"


DAMAGE = {
    "frame": (lambda root: (root / "JPEGImages/480p/pets/00005.jpg").write_bytes(b"no picture"), "frame 00005"),
    "ids": (
        lambda root: palette(root / "Annotations/480p/pets/00000.png", np.ones((5, 5), np.uint8)),
        "picture of ids is 5 x 5, expected the picture's 64 x 48",
    ),
    "size": (
        lambda root: (root / "JPEGImages/480p/pets/00020.jpg").write_bytes(encoded(noise(H, 2 * W), "JPEG")),
        "ids is 64 x 48, expected the picture's 128 x 48",
    ),
    "words": (
        lambda root: (root / "meta_expressions.json").write_text(
            json.dumps({"videos": {"pets": {"expressions": {"0": {"exp": "", "obj_id": "1"}}}}})
        ),
        "expression 0 has the words '' and obj_id '1', expected both",
    ),
    "list": (lambda root: (root / "ImageSets/2017/train.txt").write_text("gone\n"), "gone holds no picture"),
    "json": (lambda root: (root / "meta_expressions.json").write_text("{"), "cannot be read as expressions of videos"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_davis(davis, name):
    damage, said = DAMAGE[name]
    damage(davis)
    ((_, found),) = read(Davis(str(davis), expressions=str(davis / "meta_expressions.json")))
    assert isinstance(found, DataError) and said in str(found), found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"annotations": []}, "has no annotations, expected the split train"),
        ({"videos": 3}, "has no list of videos"),
        ({"categories": []}, "names the category 3, which the file does not list"),
        (
            {"annotations": [{"video_id": 7, "category_id": 3, "segmentations": [None]}]},
            "an annotation has 1 masks, expected one a frame, 5",
        ),
        (
            {
                "annotations": [
                    {"video_id": 7, "category_id": 3, "segmentations": [{"size": [1, 2], "counts": [2]}] * 5}
                ]
            },
            "frame 0: run lengths of size",
        ),
        ({"videos": [{"id": 7, "file_names": ["v/x.jpg", "v/y.jpg"]}], "annotations": [{"video_id": 1}]}, "is missing"),
    ],
)
def test_damaged_youtube_vis(tmp_path, change, said):
    path = vis(tmp_path, **change)
    try:
        ((_, found),) = read(YoutubeVis(str(path)))
    except DataError as error:
        found = error
    assert isinstance(found, DataError) and said in str(found), found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"3": {"exp": "a", "anno_id": [99], "type_id": 0}}, "expression 3 names the mask 99, not in mask_dict"),
        ({"3": {"exp": "a", "anno_id": [10], "type_id": 9}}, "expression 3 has the words 'a', type 9"),
    ],
)
def test_damaged_revos(tmp_path, change, said):
    ((_, found),) = read(Revos(str(revos(tmp_path, **change))))
    assert isinstance(found, DataError) and said in str(found)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: Davis(str(root)), "has no JPEGImages/480p"),
        (lambda root: RefYoutubeVos(str(root)), "meta_expressions.json is missing"),
        (lambda root: YoutubeVis(str(root / "train.json")), "is no file, expected train.json"),
        (lambda root: Revos(str(root)), "meta_expressions_train_.json is missing"),
        (lambda root: InstructPix2Pix(str(root)), "seeds.json is missing"),
    ],
)
def test_folders_of_something_else(tmp_path, make, said):
    with pytest.raises(DataError, match=said):
        make(tmp_path)


# ------------------------------------------------------------------------------------------------------------- edits
def pairs(root):
    (root / "1").mkdir(parents=True)
    (root / "seeds.json").write_text(json.dumps([["1", ["5", "6"]]]))
    (root / "1" / "prompt.json").write_text(json.dumps({"edit": "Make it green. ", "input": "a", "output": "b"}))
    for i, seed in enumerate(("5", "6")):
        for k in (0, 1):
            (root / "1" / f"{seed}_{k}.jpg").write_bytes(encoded(noise(H, W, seed=k * (i + 1)), "JPEG"))
    return root


def test_edits_come_back_and_become_rows(tmp_path):
    """Two of one picture are no duplicates; a mask beside a pair says what changes."""
    root = pairs(tmp_path / "edits")
    palette(root / "1" / "6_mask.png", CAT.astype(np.uint8) * 255)
    out = tmp_path / "out"
    manifest = prepare("instruct_pix2pix", str(root), str(out), buckets=((48, 64),))
    assert manifest["bad"] == 0 and not manifest["dropped"]
    shards = Shards(str(out), "train", (48, 64))
    first, second = (shards[i] for i in range(2))
    assert first.id == "1/5" and first.instruction == "Make it green." and first.edit_region is None
    assert (first.target.width, first.target.height) == (W, H) and first.target != first.images[0]
    np.testing.assert_array_equal(second.edit_region.to_array(), CAT)
    stream = models.masks_stream("tiny", (48, 64), 1, 1, length=300, learnt=112, shape_class="editing")
    for example, marked in ((first, 0), (second, 1)):
        row = rows.row(example, stream)
        assert row["left_out"] == 0 and row["known"].sum() == row["there"].sum() == marked


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / "1/5_1.jpg").unlink(), "a file is missing"),
        (
            lambda root: (root / "1/5_1.jpg").write_bytes(encoded(noise(H, 2 * W), "JPEG")),
            "the target is 128 x 48, expected the picture's 64 x 48",
        ),
        (lambda root: (root / "1/prompt.json").write_text('{"edit": " "}'), "its instruction is ' ', expected words"),
        (lambda root: (root / "1/prompt.json").write_text("[]"), "is not as its format says"),
        (lambda root: (root / "seeds.json").write_text("[3]"), "seeds.json: cannot be read"),
        (lambda root: (root / "seeds.json").write_text("[]"), "lists no pair"),
    ],
)
def test_damaged_edits(tmp_path, damage, said):
    root = pairs(tmp_path / "edits")
    damage(root)
    try:
        found = dict(read(InstructPix2Pix(str(root))))["1/5"]
    except DataError as error:
        found = error
    assert isinstance(found, DataError) and said in str(found), found


def test_real_clips_and_edits(fixtures, tmp_path):
    """The fixtures through prepare and into rows, as a user would."""
    options = {"expressions": str(fixtures / "DAVIS" / "meta_expressions.json")}
    prepare("davis", str(fixtures / "DAVIS"), str(tmp_path / "davis"), buckets=((192, 384),), reader_options=options)
    shards = Shards(str(tmp_path / "davis"), "validation", (192, 384))
    assert len(shards) > 0
    stream = models.masks_stream("tiny", (192, 384), 1, 1, length=2_400, learnt=64, shape_class="clips")
    row = rows.row(shards[0], stream)
    assert row["there"].any(axis=1).all() and (row["track"][row["there"]] == 1).all()
    manifest = prepare(
        "instruct_pix2pix", str(fixtures / "edit_ip2p"), str(tmp_path / "edits"), max_crop_loss=0.5, bad_budget=9
    )
    shards = sum(manifest["splits"]["train"].values(), [])
    assert manifest["bad"] <= 1 and sum(shard["records"] for shard in shards) >= 7


def test_words_as_ref_davis_gives_them(davis):
    """Two annotators, the second's in Latin-1."""
    first, second = davis / "annot1.txt", davis / "annot2.txt"
    first.write_text('pets 1 "the cat"\npets 2 "the dog that leaves"\n\nother 1 "nothing here"\n')
    second.write_bytes('pets 1 "le félin"\n'.encode("latin-1"))
    found = read(Davis(str(davis), expressions=f"{first},{second}"))
    assert {e.text for _, one in found for e in one.expressions} == {"the cat", "the dog that leaves", "le félin"}
    first.write_text("pets the cat\n")
    lines.cache_clear()
    ((_, bad),) = Davis(str(davis), expressions=str(first)).read("train/pets")
    with pytest.raises(DataError, match="annot1.txt, line 1: 'pets the cat', expected SEQUENCE NUMBER"):
        raise bad
