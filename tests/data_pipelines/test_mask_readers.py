# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Readers of annotations with masks: the three ways COCO writes a mask, panoptic maps, references, reasoning; and one
record of every kind of damage."""

import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image as PilImage
from pycocotools import mask as coco
from scipy.io import savemat

from data_pipelines.errors import DataError
from data_pipelines.example import decode, encode
from data_pipelines.readers import mask_formats
from data_pipelines.readers.coco import Coco, annotations, clean, held_out
from data_pipelines.readers.index_masks import IndexMasks
from data_pipelines.readers.lisa_plus import LisaPlus
from data_pipelines.readers.pascal_part import CLASSES, PascalPart, part_name
from data_pipelines.readers.reason_seg import ReasonSeg
from data_pipelines.readers.refer import Refer, references
from tests.data_pipelines.pictures import encoded, noise

H, W = 48, 64
CAT, DOG = np.zeros((H, W), bool), np.zeros((H, W), bool)
CAT[8:24, 8:32], DOG[20:40, 40:60] = True, True
POLYGON = [8, 8, 32, 8, 32, 24, 8, 24]


def letters(mask):
    out = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": out["size"], "counts": out["counts"].decode()}


def numbers(mask):
    flat = mask.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return {"size": [H, W], "counts": np.diff(np.concatenate([[0], edges])).tolist()}


# ------------------------------------------------------------------------------------------------------ mask formats
@pytest.mark.parametrize("form", [numbers, letters])
def test_run_lengths_both_ways_of_writing(form):
    rng = np.random.default_rng(0)
    for mask in (CAT, ~CAT, rng.random((H, W)) < 0.5, np.zeros((H, W), bool), np.ones((H, W), bool)):
        np.testing.assert_array_equal(mask_formats.coco_mask(form(mask), H, W, "x").to_array(), mask)


def test_polygons_are_pycocotools_and_several_are_one():
    other = [40, 20, 60, 20, 60, 40, 40, 40]
    found = mask_formats.coco_mask([POLYGON, other], H, W, "x").to_array()
    np.testing.assert_array_equal(found, CAT | DOG)
    odd = [3.5, 2.25, 30.1, 11.7, 17.3, 40.9]
    want = coco.decode(coco.frPyObjects([odd], H, W))[..., 0].astype(bool)
    np.testing.assert_array_equal(mask_formats.coco_mask([odd], H, W, "x").to_array(), want)


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ([[1, 2, 3, 4]], "a polygon of 2 points, expected at least three"),
        ([[1, 2, 3, 4, 5]], "expected finite numbers"),
        ([["a", "b"] * 3], "expected numbers"),
        ([], r"segmentation is \[\]"),
        (None, "segmentation is None"),
        ({"size": [W, H], "counts": [H * W]}, r"size \[64, 48\], expected the picture's \[48, 64\]"),
        ({"size": [H, W], "counts": [5, 7]}, "sum to 12, expected 48"),
        ({"size": [H, W], "counts": [-5, 7]}, "expected numbers from 0"),
        ({"size": [H, W], "counts": "~~"}, "hold the letter '~'"),
        ({"size": [H, W], "counts": "o"}, "end in the middle of a number"),
        ({"size": [H, W]}, "run lengths are None"),
        ({"size": 7, "counts": [1]}, "run lengths of size 7"),
        ({"size": [H, W], "counts": "\udcff"}, "hold the letter"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], r"reaches to 1e\+09, far beyond 64 x 48"),
    ],
)
def test_masks_that_are_none(segmentation, said):
    with pytest.raises(DataError, match=said):
        mask_formats.coco_mask(segmentation, H, W, "x")


def test_names_of_stuff():
    assert [clean(n) for n in ("wall-other-merged", "sky", "paper-merged", "window-blind")] == [
        "wall",
        "sky",
        "paper",
        "window blind",
    ]


# -------------------------------------------------------------------------------------------------------------- coco
def annotation(i, image, category, segmentation, **more):
    box = [1, 2, 3, 4]
    return {"id": i, "image_id": image, "category_id": category, "segmentation": segmentation, "bbox": box} | more


@pytest.fixture
def folder(tmp_path):
    pictures = tmp_path / "val2017"
    pictures.mkdir()
    names = ["a.jpg", "b.jpg", "polygon.jpg", "category.jpg", "size.jpg", "lost.jpg"]
    for i, name in enumerate(names[:5]):
        (pictures / name).write_bytes(encoded(noise(H, W, i)))
    images = [{"id": i, "file_name": name, "height": H, "width": W} for i, name in enumerate(names)]
    images[4]["height"] = 99
    data = {
        "images": images,
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            annotation(1, 0, 3, [POLYGON], iscrowd=0),
            annotation(2, 0, 7, letters(DOG), iscrowd=1),
            annotation(3, 2, 3, [[1, 2, 3, 4]]),
            annotation(4, 3, 99, [POLYGON]),
            annotation(5, 1, 3, [POLYGON], bbox=[1, None, 3, 4]),
        ],
    }
    path = tmp_path / "annotations"
    path.mkdir()
    (path / "instances.json").write_text(json.dumps(data))
    return tmp_path


def read(reader):
    return [record for partition in reader.partitions() for record in reader.read(partition)]


def test_instances(folder):
    found = dict(read(Coco(str(folder / "annotations/instances.json"), split="validation")))
    first = found["a.jpg"]
    assert [(i.category, i.crowd) for i in first.instances] == [("cat", False), ("dog", True)]
    np.testing.assert_array_equal(first.instances[0].mask.to_array(), CAT)
    np.testing.assert_array_equal(first.instances[1].mask.to_array(), DOG)
    assert first.classes == ["cat", "dog"] and first.split == "validation"
    for name, said in {
        "polygon.jpg": "annotation 0: a polygon of 2 points",
        "category.jpg": "category 99 is not among",
        "size.jpg": "is 64 x 48, its annotations are of 64 x 99",
        "lost.jpg": "is not in .*val2017",
        "b.jpg": "b.jpg: is not as its format says",
    }.items():
        assert isinstance(found[name], DataError)
        with pytest.raises(DataError, match=said):
            raise found[name]


def test_panoptic(folder):
    ids = np.where(CAT, 300, np.where(DOG, 70_000, 0))
    for name, value in (("a", ids), ("b", np.where(CAT, 5, ids))):
        target = folder / "annotations/panoptic"
        target.mkdir(exist_ok=True)
        rgb = np.stack([value % 256, value // 256 % 256, value // 65536], axis=-1).astype(np.uint8)
        PilImage.fromarray(rgb).save(target / f"{name}.png")
    segments = [{"id": 300, "category_id": 3, "iscrowd": 0}, {"id": 70_000, "category_id": 7}]
    data = json.loads((folder / "annotations/instances.json").read_text())
    data["images"] = data["images"][:2]
    data["annotations"] = [
        {"image_id": i, "file_name": f"{name}.png", "segments_info": segments} for i, name in enumerate("ab")
    ]
    data["images"].append(data["images"][0] | {"id": 77})
    (folder / "annotations/panoptic.json").write_text(json.dumps(data))
    (_, first), (_, second), (_, third) = read(
        Coco(str(folder / "annotations/panoptic.json"), images=str(folder / "val2017"))
    )
    for instance, category, mask in zip(first.instances, ("cat", "dog"), (CAT, DOG)):
        assert instance.category == category
        np.testing.assert_array_equal(instance.mask.to_array(), mask)
    with pytest.raises(DataError, match="b.png holds the id 5, which segments_info does not declare"):
        raise second
    with pytest.raises(DataError, match="a.jpg: has no annotation in a panoptic file"):
        raise third


def test_files_that_are_no_coco(folder):
    bad = folder / "bad.json"
    for text in ("[1, 2]", "{", '{"images": []}'):
        bad.write_text(text)
        with pytest.raises(DataError, match="is no COCO file"):
            Coco(str(bad)).partitions()
        annotations.cache_clear()
    with pytest.raises(DataError, match="is no file"):
        Coco(str(folder))


# ------------------------------------------------------------------------------------------------------------- refer
def refs(*given):
    keys = ("ref_id", "image_id", "split", "ann_id", "sentences")
    return [dict(zip(keys, one)) | {"file_name": "a_16.jpg"} for one in given]


def sentences(*texts):
    return [{"sent": text} for text in texts]


GIVEN = refs(
    (0, 0, "train", 1, sentences("the cat", "left one")),
    (1, 0, "train", 2, sentences("dog")),
    (2, 0, "testAB", 1, sentences("held out")),
    (3, 1, "val", 9, sentences("nothing there")),
    (4, 1, "testA", [1], sentences()),
)


@pytest.fixture
def referring(folder):
    (folder / "annotations/refs(unc).p").write_bytes(pickle.dumps(GIVEN, protocol=2))
    return folder


def refer(folder, **options):
    return Refer(str(folder / "annotations"), images=str(folder / "val2017"), **options)


def test_references(referring):
    found = dict(read(refer(referring)))
    train = found["train/a.jpg"]
    assert [(e.text, e.instances) for e in train.expressions] == [("the cat", [0]), ("left one", [0]), ("dog", [1])]
    assert [i.category for i in train.instances] == ["cat", "dog"] and train.split == "train"
    np.testing.assert_array_equal(train.instances[1].mask.to_array(), DOG)
    with pytest.raises(DataError, match="reference 3 names annotation 9, which is missing"):
        raise found["val/b.jpg"]
    assert "testA/b.jpg" not in found  # a reference without a sentence
    # Pictures of several tests at once belong to each of them.
    assert [key for key, _ in read(refer(referring, subset="testB"))] == ["testB/a.jpg"]
    with pytest.raises(DataError, match="holds no reference of the subset 'testC'"):
        refer(referring, subset="testC").partitions()


def test_several_targets_and_none(folder):
    given = refs((0, 0, "train", [1, 2], sentences("both")), (1, 0, "train", [-1], sentences("the horse")))
    (folder / "annotations/grefs(unc).json").write_text(json.dumps(given))
    ((_, found),) = read(refer(folder))
    assert [(e.text, e.instances) for e in found.expressions] == [("both", [0, 1]), ("the horse", [])]


class Harm:
    def __reduce__(self):
        return print, ("harm",)


def test_a_pickle_with_more_than_plain_data_is_refused(folder, capsys):
    (folder / "annotations/refs(unc).p").write_bytes(pickle.dumps([Harm()], protocol=2))
    with pytest.raises(DataError, match=r"names (builtins|__builtin__).print, expected a pickle of plain lists"):
        refer(folder).partitions()
    assert not capsys.readouterr().out
    (folder / "annotations/refs(unc).p").write_bytes(b"\x80\x02broken")
    references.cache_clear()
    with pytest.raises(DataError, match="expected a pickle of plain lists"):
        refer(folder).partitions()


def test_files_of_references_are_chosen_by_name(referring):
    (referring / "annotations/refs(google).p").write_bytes(pickle.dumps(GIVEN[:1], protocol=2))
    with pytest.raises(DataError, match=r"are refs\(google\).p, refs\(unc\).p, expected one, chosen by --by"):
        refer(referring).partitions()
    assert len(read(refer(referring, by="google"))) == 1


def test_held_out_pictures_are_left_out_of_coco(referring):
    """Picture 1 is in val and testA alone, picture 0 also in a test."""
    source, refs = str(referring / "annotations/instances.json"), str(referring / "annotations/refs(unc).p")
    every, some = dict(read(Coco(source))), dict(read(Coco(source, without=refs)))
    assert set(every) - set(some) == {"a.jpg", "b.jpg"} and held_out(refs) == {0, 1}
    with pytest.raises(DataError, match="--without=nowhere is no file"):
        Coco(source, without="nowhere").partitions()


# --------------------------------------------------------------------------------------------------------- reasoning
def test_questions_about_several_things(folder):
    asked = [
        {"English Question": "Who may bark?", "img_path": "train2017/a.jpg", "ID": ["1", "2"]},
        {"English Question": "Where?", "img_path": "a.jpg", "ID": ["77"]},
        {"English Question": " ", "img_path": "a.jpg", "ID": ["1"]},
        {"English Question": "Where?", "img_path": "missing.jpg", "ID": ["1"]},
        {"img_path": "a.jpg"},
    ]
    (folder / "data.json").write_text(json.dumps(asked))
    options = dict(annotations=str(folder / "annotations/instances.json"), images=str(folder / "val2017"))
    good, *bad = (one for _, one in read(LisaPlus(str(folder / "data.json"), **options)))
    assert [(e.text, e.kind, e.instances) for e in good.expressions] == [("Who may bark?", "reasoning", [0, 1])]
    assert [i.category for i in good.instances] == ["cat", "dog"]
    np.testing.assert_array_equal(good.instances[1].mask.to_array(), DOG)
    for error, said in zip(bad, ("names annotation 77", "expected a question", "is missing", "not as its format says")):
        with pytest.raises(DataError, match=said):
            raise error
    with pytest.raises(DataError, match="--annotations='' is no file"):
        LisaPlus(str(folder / "data.json"), images=options["images"])


def test_answers_that_explain(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "explanatory").mkdir()
    shape = {"label": "target", "points": [[8, 8], [32, 8], [32, 24]]}
    (tmp_path / "train/a.jpg").write_bytes(encoded(noise(H, W)))
    (tmp_path / "train/a.json").write_text(json.dumps({"text": ["What is it?"], "shapes": [shape]}))
    told = [
        {"image": "a.jpg", "query": "What is it?", "outputs": "The mug, since it holds tea."},
        {"image": "a.jpg", "query": "Why?", "outputs": "Tea is hot."},
    ]
    (tmp_path / "explanatory/train.json").write_text(json.dumps(told))
    ((_, found),) = read(ReasonSeg(str(tmp_path)))
    assert [(e.text, e.answer) for e in found.expressions] == [(one["query"], one["outputs"]) for one in told]
    assert decode(encode(found)) == found
    (tmp_path / "explanatory/train.json").write_text(json.dumps([{"image": "a.jpg"}]))
    ((_, found),) = read(ReasonSeg(str(tmp_path)))
    with pytest.raises(DataError, match="entry 0 lacks one of image, query and outputs"):
        raise found


# ------------------------------------------------------------------------------------------------------------- parts
@pytest.mark.parametrize(
    ("short", "words"),
    [
        *(("lfwing", "wing"), ("engine_2", "engine"), ("lleg", "leg"), ("llleg", "lower leg"), ("luleg", "upper leg")),
        *(("lflleg", "lower leg"), ("rbho", "hoof"), ("leftmirror", "mirror"), ("fliplate", "license plate")),
        *(("hroofside_1", "roof"), ("head", "head"), ("hair", "hair"), ("body", "body"), ("chainwheel", "chainwheel")),
        *(("cfrontside_3", "front"), ("gadget", "gadget"), ("lfoot", "foot"), ("rfoot", "foot")),
    ],
)
def test_names_of_parts(short, words):
    assert part_name(short) == words


def test_pascal_part(tmp_path):
    def parts(*given):
        if not given:
            return np.zeros((0, 0))
        out = np.zeros((1, len(given)), dtype=[("part_name", object), ("mask", object)])
        for i, one in enumerate(given):
            out[0, i] = one
        return out

    def file(name, *things):
        objects = np.zeros((1, len(things)), dtype=[(k, object) for k in ("class", "class_ind", "mask", "parts")])
        for i, (called, mask, inside) in enumerate(things):
            objects[0, i] = (called, 1, mask.astype(np.uint8), inside)
        savemat(tmp_path / "mats" / f"{name}.mat", {"anno": {"imname": name, "objects": objects}})

    for folder in ("mats", "images", "sets"):
        (tmp_path / folder).mkdir()
    ear = CAT & (np.arange(W) < 12)
    file("one", ("cat", CAT, parts(("lear", ear.astype(np.uint8)))), ("tvmonitor", DOG, parts()))
    file("size", ("cat", CAT[:9], parts()))
    (tmp_path / "mats/broken.mat").write_bytes(b"no file of MATLAB")
    for name in ("one", "size", "broken"):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(encoded(noise(H, W)))
    (tmp_path / "sets/train.txt").write_text("one\nother\n")
    (tmp_path / "sets/val.txt").write_text("size\nbroken\n")
    options = dict(images=str(tmp_path / "images"), sets=str(tmp_path / "sets"))
    found = dict(read(PascalPart(str(tmp_path / "mats"), **options)))
    one = found["train/one"]
    assert [(i.category, i.part_of) for i in one.instances] == [("cat", None), ("cat ear", 0), ("tv monitor", None)]
    assert one.classes == CLASSES and {"cat", "cat ear", "dog paw"} < set(CLASSES) and one.split == "train"
    np.testing.assert_array_equal(one.instances[1].mask.to_array(), ear)
    with pytest.raises(DataError, match="a mask is 64 x 9, its picture 64 x 48"):
        raise found["validation/size"]
    with pytest.raises(DataError, match="its MATLAB file cannot be read"):
        raise found["validation/broken"]
    assert len(read(PascalPart(str(tmp_path / "mats"), images=options["images"]))) == 3
    with pytest.raises(DataError, match="lists no picture"):
        PascalPart(str(tmp_path / "mats"), images=options["images"], sets=str(tmp_path)).partitions()


# --------------------------------------------------------------------------------------------------------- reasoning
def test_reasoning(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    square = lambda left, top, side: [[left, top], [left + side, top], [left + side, top + side], [left, top + side]]
    shapes = [
        {"label": "ignore", "points": square(12, 12, 4)},  # small, in the target: cuts its piece out
        {"label": "target", "points": square(8, 8, 24)},
        {"label": "flag", "points": square(0, 0, 2)},
    ]
    records = {
        "train/good": {"text": ["What is it?", "Which one?"], "is_sentence": True, "shapes": shapes},
        "train/mute": {"text": [], "shapes": shapes},
        "train/line": {"text": ["What?"], "shapes": [{"label": "target", "points": [[1, 1], [2, 2]]}]},
        "train/none": {"text": ["What?"], "shapes": [shapes[0]]},
        "train/odd": {"text": ["What?"], "shapes": [{"label": "target", "points": [1, 2, 3]}]},
        "val/latin": {"text": "Où est-il ?", "shapes": shapes},
    }
    for key, data in records.items():
        (tmp_path / f"{key}.jpg").write_bytes(encoded(noise(H, W)))
        raw = json.dumps(data, ensure_ascii=False)
        (tmp_path / f"{key}.json").write_bytes(raw.encode("cp1252" if "latin" in key else "utf-8"))
    found = dict(read(ReasonSeg(str(tmp_path))))
    good = found["train/good"]
    assert [(e.text, e.kind, e.instances) for e in good.expressions] == [
        ("What is it?", "reasoning", [0]),
        ("Which one?", "reasoning", [0]),
    ]
    assert [i.crowd for i in good.instances] == [False, True]
    target, ignored = (i.mask.to_array() for i in good.instances)
    assert ignored.sum() == 16 and target.sum() == 24 * 24 - 16 and not target[0, 0]
    assert found["val/latin"].expressions[0].text == "Où est-il ?" and found["val/latin"].split == "validation"
    with pytest.raises(DataError, match="no polygon labelled target is left"):
        raise found["train/none"]
    with pytest.raises(DataError, match="train/odd: is not as its format says"):
        raise found["train/odd"]
    with pytest.raises(DataError, match="text is .*, expected a question"):
        raise found["train/mute"]
    with pytest.raises(DataError, match="a polygon of 2 points"):
        raise found["train/line"]


def test_pictures_of_ids():
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    buffer = io.BytesIO()
    PilImage.fromarray(gray).save(buffer, "PNG")
    np.testing.assert_array_equal(mask_formats.id_map(buffer.getvalue(), (3, 4), "x"), gray)
    with pytest.raises(DataError, match="is 4 x 3, expected the picture's 3 x 4"):
        mask_formats.id_map(buffer.getvalue(), (4, 3), "x")
    with pytest.raises(DataError, match="cannot be read"):
        mask_formats.id_map(b"no picture", (3, 4), "x")


# ------------------------------------------------------------------------------------- hints, parts, own pictures
def own(tmp_path, classes='{"1": "cat", "2": "dog"}'):
    for folder in ("pictures", "pngs"):
        (tmp_path / folder / "a").mkdir(parents=True)
    (tmp_path / "pictures/a/x.jpg").write_bytes(encoded(noise(H, W), "JPEG"))
    ids = np.where(CAT, 1, np.where(DOG, 2, 0)).astype(np.uint8)
    ids[0] = 255
    PilImage.fromarray(ids).save(tmp_path / "pngs/a/x.png")
    (tmp_path / "classes.json").write_text(classes)
    return dict(source=str(tmp_path / "pictures"), masks=str(tmp_path / "pngs"))


def test_own_pictures_by_class_and_thing_by_thing(tmp_path):
    options = own(tmp_path)
    reader = IndexMasks(**options, classes=str(tmp_path / "classes.json"))
    ((key, example),) = [x for part in reader.partitions() for x in reader.read(part)]
    assert key == "a/x.jpg" and example.classes == ["cat", "dog"] and not example.regions
    assert [i.category for i in example.instances] == ["cat", "dog"]
    np.testing.assert_array_equal(example.instances[0].mask.to_array(), CAT)
    reader = IndexMasks(**options)
    ((_, things),) = [x for part in reader.partitions() for x in reader.read(part)]
    assert not things.classes and [(r.kind, r.instance) for r in things.regions] == [
        (kind, number) for number in (0, 1) for kind in ("point", "scribble", "box", "mask")
    ]
    for region in things.regions:
        assert (region.mask.to_array() & things.instances[region.instance].mask.to_array()).any()
    ((_, again),) = [x for part in reader.partitions() for x in reader.read(part)]
    assert again == things


@pytest.mark.parametrize(
    ("classes", "damage", "said"),
    [
        ('{"1": "cat"}', lambda root: None, "x.png holds the id 2, which .* does not declare"),
        ('{"1": "cat", "2": "dog"}', lambda root: (root / "pngs/a/x.png").unlink(), "is missing, expected its PNG"),
        (
            '{"1": "cat", "2": "dog"}',
            lambda root: PilImage.fromarray(np.zeros((H, W), np.uint8)).save(root / "pngs/a/x.png"),
            "marks nothing",
        ),
        (
            '{"1": "cat", "2": "dog"}',
            lambda root: PilImage.fromarray(np.ones((5, 4), np.uint8)).save(root / "pngs/a/x.png"),
            "picture of ids is 4 x 5, expected the picture's 64 x 48",
        ),
        ("[1]", lambda root: None, "classes.json: cannot be read"),
        ('{"0": "nothing"}', lambda root: None, "expected names for numbers 1 to 254"),
    ],
)
def test_damaged_own_pictures(tmp_path, classes, damage, said):
    options = own(tmp_path, classes)
    damage(tmp_path)
    try:
        reader = IndexMasks(**options, classes=str(tmp_path / "classes.json"))
        ((_, found),) = [x for part in reader.partitions() for x in reader.read(part)]
    except DataError as error:
        found = error
    assert isinstance(found, DataError)
    with pytest.raises(DataError, match=said):
        raise found
    with pytest.raises(DataError, match="--masks='' is no directory"):
        IndexMasks(options["source"])


def test_coco_can_be_pointed_at_and_knows_parts(tmp_path):
    """PACO's names, PartImageNet's folders; hints of all kinds in place of the class list."""
    (tmp_path / "n01440764").mkdir()
    (tmp_path / "n01440764/n01440764_1.JPEG").write_bytes(encoded(noise(H, W), "JPEG"))
    marked = [
        {"image_id": 1, "category_id": 0, "segmentation": numbers(CAT)},
        {"image_id": 1, "category_id": 1, "segmentation": letters(DOG), "iscrowd": 1},
    ]
    names = [{"id": 0, "name": "mug_(drink):handle"}, {"id": 1, "name": "Quadruped Head"}]
    picture = {"id": 1, "file_name": "n01440764_1.JPEG", "height": H, "width": W}
    file = tmp_path / "train.json"
    file.write_text(json.dumps({"images": [picture], "annotations": marked, "categories": names}))
    read = lambda **o: [x for r in [Coco(str(file), images=str(tmp_path), **o)] for x in r.read(r.partitions()[0])]
    ((_, example),) = read()
    assert example.classes == ["mug handle", "Quadruped Head"] and not example.regions
    ((_, pointed),) = read(ask="regions")
    assert not pointed.classes and [(r.kind, r.instance) for r in pointed.regions] == [
        (kind, 0) for kind in ("point", "scribble", "box", "mask")
    ], "a crowd is not pointed at"
    with pytest.raises(DataError, match="--ask=words, expected classes or regions"):
        read(ask="words")
