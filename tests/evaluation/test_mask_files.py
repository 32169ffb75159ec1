# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Masks on official files: the truth fed back is exactly 1, nothing is 0 or what the protocol says, hand-made errors
give hand-worked values; the fixtures through every reader."""

import numpy as np
import pytest

from configs import eval as eval_config
from data_pipelines import readers, transforms
from data_pipelines.example import Example, Expression, Frame, Instance, Mask, Region
from data_pipelines.world.examples import picture
from focus_jax.errors import UserError
from focus_jax.evaluation.mask_files import Evaluator, sentences
from focus_jax.evaluation.protocol import Instances, Question, Segments, Semantic

SIZE = (20, 30)


def box(top, left, height, width):
    out = np.zeros(SIZE, bool)
    out[top : top + height, left : left + width] = True
    return out


A, B = box(0, 0, 10, 10), box(10, 10, 10, 20)  # 100 and 200 pixels
PICTURE = picture(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def record(**fields):
    things = [Instance(category=name, mask=Mask.from_array(mask)) for name, mask in (("cat", A), ("dog", B))]
    return Example(id="one", images=[PICTURE], instances=things, **fields)


def asked(name, **change):
    config = eval_config.get_config(name)
    config.update(change)
    return Evaluator(config)


def values(found):
    return {name: float(figure[0]) for name, figure in found.items()}


class Told:
    """Answers by what is asked: {prompt: mask or Segments}."""

    def __init__(self, answers):
        self.answers, self.seen = answers, []

    def segment(self, images, prompts):
        out = []
        for prompt in prompts:
            self.seen.append(prompt)
            found = self.answers(prompt)
            out.append(found if isinstance(found, Segments) else Segments(found.astype(np.int32), ("x",), (1.0,)))
        return out


def test_words():
    """Two that mean something, one of them answered with its half; two that mean nothing, one answered rightly."""
    said = [("the cat", [0]), ("both", [0, 1]), ("a horse", []), ("a cow", [])]
    example = record(expressions=[Expression(text=text, instances=meant) for text, meant in said])
    answers = {"the cat": box(0, 0, 10, 5), "both": A | B, "a horse": np.zeros(SIZE, bool), "a cow": B}
    found = values(asked("refcoco").run(Told(answers.get), [example]))
    assert found["refcoco_ciou"] == pytest.approx((50 + 300 + 0 + 0) / (100 + 300 + 0 + 200))
    assert found["refcoco_giou"] == pytest.approx((0.5 + 1 + 1 + 0) / 4)
    assert found["refcoco_precision50"] == 1.0 and found["refcoco_precision60"] == 0.5
    assert found["refcoco_no_target_accuracy"] == 0.5 and found["refcoco_target_accuracy"] == 1.0


def test_what_is_to_be_ignored_counts_neither_way():
    example = record(expressions=[Expression(text="why?", kind="reasoning", instances=[0])])
    example.instances[1] = Instance(category="ignore", mask=Mask.from_array(B), crowd=True)
    told = Told(lambda prompt: A | B)
    found = values(asked("reason_seg").run(told, [example]))
    assert found["reason_seg_ciou"] == found["reason_seg_giou"] == 1.0
    assert isinstance(told.seen[0], Question)


def test_classes_and_regions():
    example = record(classes=["cat", "dog", "sky"])
    ids = np.where(A, 1, np.where(B, 2, 0)).astype(np.int32)
    right = Segments(ids, ("cat", "dog"), (1.0, 1.0))
    found = values(asked("coco_panoptic", asked=("classes",)).run(Told(lambda _: right), [example]))
    assert found == {"coco_panoptic_pq": 1.0, "coco_panoptic_sq": 1.0, "coco_panoptic_rq": 1.0}
    wrong = Segments(ids, ("dog", "dog"), (1.0, 1.0))
    found = values(asked("coco_panoptic", asked=("classes",)).run(Told(lambda _: wrong), [example]))
    # Of dogs one matches and one is too many, 1 / (1 + 0.5); of cats one is missing.
    assert found["coco_panoptic_pq"] == pytest.approx((1 / 1.5 + 0) / 2)
    hints = [Region(kind=kind, mask=Mask.from_array(A), instance=0) for kind in ("point", "box")]
    found = values(asked("coco_interactive").run(Told(lambda _: A | B), [record(regions=hints)]))
    assert found["coco_interactive_point_iou"] == found["coco_interactive_box_ciou"] == pytest.approx(1 / 3)


def test_stuff_of_the_files_is_one_and_counts_apart():
    example = record(classes=["cat", "dog", "sky"], stuff=["dog"])
    ids = np.where(A, 1, np.where(B, 2, 0)).astype(np.int32)
    ids[box(10, 10, 10, 10)] = 3  # half of the dog, which is stuff
    parts = Segments(ids, ("cat", "dog", "dog"), (1.0,) * 3)
    found = values(asked("coco_panoptic", asked=("classes",)).run(Told(lambda _: parts), [example]))
    assert {found[f"coco_panoptic_{name}"] for name in ("pq", "things_pq", "stuff_pq", "stuff_rq")} == {1.0}


def test_crowds_excuse_their_own_class_alone():
    """A dog that is found in a crowd of cats is wrong; a cat there is neither right nor wrong, nor is it missed."""
    example = record(classes=["cat", "dog"])
    example.instances[1] = Instance(category="cat", mask=Mask.from_array(B), crowd=True)
    ids = np.where(A, 1, np.where(B, 2, 0)).astype(np.int32)
    run = lambda *names: values(
        asked("coco_panoptic", asked=("classes",)).run(Told(lambda _: Segments(ids, names, (1.0, 1.0))), [example])
    )
    assert run("cat", "cat")["coco_panoptic_pq"] == 1.0
    assert run("cat", "dog")["coco_panoptic_pq"] == 0.5  # cats 1, dogs 0


def test_semantic():
    """The dog's half is said to be a cat; what is of no class, and a class that nowhere is true, count neither way."""
    example = record(classes=["cat", "dog", "sky"])
    ids = np.where(A | box(10, 10, 10, 10), 1, np.where(B, 2, 3)).astype(np.int32)
    told = Told(lambda _: Segments(ids, ("cat", "dog", "sky"), (1.0,) * 3))
    found = values(asked("coco_panoptic", asked=("semantic",)).run(told, [example]))
    assert isinstance(told.seen[0], Semantic)
    assert found == {"coco_panoptic_miou": pytest.approx((100 / 200 + 100 / 200) / 2)}


def test_instances():
    example = record(classes=["cat", "dog"])
    masks = np.stack([A, box(10, 10, 10, 14)])  # the second's IoU is 0.7
    ids = np.where(masks[0], 1, np.where(masks[1], 2, 0)).astype(np.int32)
    told = Told(lambda _: Segments(ids, ("cat", "dog"), (0.9, 0.8), masks))
    found = values(asked("coco_instances").run(told, [example]))
    assert isinstance(told.seen[0], Instances)
    # Of the dog the thresholds .50 to .70 are reached, five of ten.
    assert found["coco_instances_ap"] == pytest.approx((1 + 0.5) / 2)
    assert found["coco_instances_ap50"] == 1.0 and found["coco_instances_ap75"] == 0.5
    assert found["coco_instances_ap_small"] == found["coco_instances_ap"] and "coco_instances_ap_large" not in found
    # A surer answer where nothing is halves the precision of cats; a crowd's pixels are not wrong.
    wrong = np.stack([box(0, 20, 5, 5), *masks])
    example.instances[1].mask = Mask.from_array(masks[1])
    more = Segments(ids, ("cat", "cat", "dog"), (0.95, 0.9, 0.8), wrong)
    found = values(asked("coco_instances").run(Told(lambda _: more), [example]))
    assert found["coco_instances_ap"] == pytest.approx((0.5 + 1) / 2)
    example.instances.append(Instance(category="cat", mask=Mask.from_array(wrong[0]), crowd=True))
    assert values(asked("coco_instances").run(Told(lambda _: more), [example]))["coco_instances_ap"] == 1.0
    none = Segments(np.zeros(SIZE, np.int32), (), ())
    assert values(asked("coco_instances").run(Told(lambda _: none), [example]))["coco_instances_ap"] == 0.0


def test_errors_of_ap_come_from_whole_pictures():
    """Pictures that are all alike have no error; where half of them are missed it is that of a share."""
    example = record(classes=["cat", "dog"])
    ids = np.where(A, 1, np.where(B, 2, 0)).astype(np.int32)
    right, none = Segments(ids, ("cat", "dog"), (0.9, 0.8)), Segments(np.zeros(SIZE, np.int32), (), ())
    figures = asked("coco_instances").run(Told(lambda _: right), [example] * 8)
    assert figures["coco_instances_ap"] == (1.0, 16, 0.0)
    turns = iter([right, none] * 8)
    value, n, error = asked("coco_instances", batch_size=1).run(Told(lambda _: next(turns)), [example] * 16)[
        "coco_instances_ap"
    ]
    assert value == pytest.approx(0.5, abs=0.01) and n == 32 and 0.06 < error < 0.2


def test_instances_of_clips_are_one_over_all_frames():
    masks, example = clip()
    example.classes = ["cat", "dog"]
    for thing in example.instances:
        thing.category = "cat" if thing.track == 5 else "dog"
    ids = np.stack(masks).astype(np.int32)
    ids[0][B] = 2

    class Names(Follows):
        def segment_video(self, frames, prompt):
            assert isinstance(prompt, Instances)
            return Segments(self.ids, ("cat", "dog"), (0.9, 0.8))

    found = values(asked("youtube_vis").run(Names(ids), [example]))
    assert found["youtube_vis_ap"] == found["youtube_vis_ar1"] == 1.0
    lost = ids.copy()
    lost[2:][lost[2:] == 1] = 0  # the cat in two of four frames: an IoU of a half in space and time
    found = values(asked("youtube_vis").run(Names(lost), [example]))
    assert found["youtube_vis_ap"] == pytest.approx((0.1 + 1) / 2) and found["youtube_vis_ap75"] == 0.5


def clip():
    masks = [np.roll(A, t, axis=1) for t in range(4)]
    things = [Instance(track=5, frame=t, mask=Mask.from_array(mask)) for t, mask in enumerate(masks)]
    things.append(Instance(track=9, frame=0, mask=Mask.from_array(B)))  # leaves at once
    frames = [Frame(image=PICTURE, time=float(t)) for t in range(4)]
    said = [Expression(text="it", instances=[0, 1, 2, 3])]
    return masks, Example(id="clip", frames=frames, instances=things, expressions=said)


class Follows:
    def __init__(self, ids):
        self.ids = ids

    def segment_video(self, frames, prompt):
        count = int(prompt[1].max()) if isinstance(prompt, tuple) else 1
        return Segments(self.ids.astype(np.int32), ("x",) * count, (1.0,) * count)


def test_clips():
    masks, example = clip()
    ids = np.stack(masks).astype(np.int32)
    ids[0][B] = 2
    assert values(asked("davis").run(Follows(ids), [example])) == {f"davis_{n}": 1.0 for n in ("jf", "j", "f")}
    stays = ids.copy()
    stays[1][B] = stays[2][B] = 2  # the second thing is said to be there: 0 in both scored frames
    assert values(asked("davis").run(Follows(stays), [example]))["davis_j"] == 0.5
    first = ids.copy()
    first[0], first[3] = 0, 0  # frames that are not scored
    assert values(asked("davis").run(Follows(first), [example]))["davis_j"] == 1.0
    assert values(asked("ref_davis").run(Follows(ids == 1), [example]))["ref_davis_jf"] == 1.0
    assert values(asked("ref_davis").run(Follows(first == 1), [example]))["ref_davis_j"] == 0.5


def test_sentences():
    said = [("a", [0]), ("b", [1]), ("c", [0])]
    example = record(expressions=[Expression(text=text, instances=meant) for text, meant in said])
    assert sentences(example, "each") == [("a", [0]), ("b", [1]), ("c", [0])]
    assert sentences(example, "first") == [("a", [0]), ("b", [1])]
    assert sentences(example, "joined") == [("a c", [0]), ("b", [1])]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(sentences="all"), "config.sentences: 'all', expected one of each, first, joined"),
        (
            dict(asked=("clicks",)),
            r"config.asked: \['clicks'\], expected some of words, classes, semantic, instances, regions",
        ),
        (dict(batch_size=0), "config.batch_size: 0, expected at least 1"),
    ],
)
def test_wrong_configs(change, said):
    with pytest.raises(UserError, match=said):
        asked("refcoco", **change)


def test_records_of_something_else():
    with pytest.raises(UserError, match="config.asked: nothing of words in 1 records"):
        asked("refcoco").run(Told(lambda _: A), [record()])
    with pytest.raises(UserError, match="config.data: no record of the split ''"):
        asked("refcoco").run(Told(lambda _: A), [])


# ---------------------------------------------------------------------------------------------- the fixtures' files
class Oracle:
    """Knows the records' truth by their pictures' bytes."""

    def __init__(self, examples):
        self.by_bytes = {}
        for example in examples:
            for image in [*example.images, *(f.image for f in example.frames)]:
                self.by_bytes[np.asarray(transforms.decode(image.data)).tobytes()] = example

    def segment(self, images, prompts):
        return [self.one(self.by_bytes[x.tobytes()], x.shape[:2], prompt) for x, prompt in zip(images, prompts)]

    def one(self, example, size, prompt):
        masks = [i.mask.to_array() for i in example.instances]
        if isinstance(prompt, list):
            crowds = isinstance(prompt, Semantic)  # which are of their class as well
            there = [(i.category, mask) for i, mask in zip(example.instances, masks) if crowds or not i.crowd]
            ids = np.zeros(size, np.int32)
            for k, (_, mask) in enumerate(there, 1):
                ids[mask] = k
            whole = np.stack([mask for _, mask in there]) if isinstance(prompt, Instances) else None
            return Segments(ids, tuple(name for name, _ in there), (1.0,) * len(there), whole)
        if isinstance(prompt, str):
            meant = next(e.instances for e in example.expressions if e.text == prompt)
        else:
            meant = [next(r.instance for r in example.regions if np.array_equal(r.mask.to_array(), prompt))]
        mask = np.logical_or.reduce([np.zeros(size, bool), *(masks[i] for i in meant)])
        return Segments(mask.astype(np.int32), ("x",), (1.0,))

    def segment_video(self, frames, prompt):
        example = self.by_bytes[frames[0].tobytes()]
        ids = np.zeros(frames.shape[:3], np.int32)
        for i in example.instances:
            ids[i.frame][i.mask.to_array()] = 1
        return Segments(ids, ("x",), (1.0,))


SLOW = ("coco_panoptic", "coco_instances", "coco_interactive", "davis", "ref_davis")


@pytest.mark.parametrize(
    "name", ["refcoco", "reason_seg", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_the_truth_of_real_files_is_right(fixtures, name):
    config = eval_config.get_config(name)
    data, options = config.data, config.data.options
    if name == "refcoco":
        data.path = str(next(p for p in fixtures.glob("refcoco/**/instances.json")).parent)
        options.update(images=str(next(fixtures.glob("refcoco/**/COCO_*.jpg")).parent), by="", subset="")
    elif name == "reason_seg":
        data.path, data.split = str(next(p for p in fixtures.glob("reason_seg/**/train")).parent), ""
    elif name.startswith("coco"):
        kind = "panoptic" if name == "coco_panoptic" else "instances"
        data.path = str(next(fixtures.glob(f"coco/**/{kind}*.json")))
        options.images = ""
    else:
        data.path = str(fixtures / "DAVIS")
        if name == "ref_davis":
            options.expressions = str(fixtures / "DAVIS" / "meta_expressions.json")
    reader = readers.get(data.reader)(data.path, **options.to_dict())
    examples = [e for part in reader.partitions() for _, e in reader.read(part)]
    evaluator = Evaluator(config)
    found = evaluator.run(Oracle(examples))
    limited = "coco_instances_ar"  # one answer, or ten, a class and picture do not find all there are
    assert found and all(v == 1.0 for k, v in values(found).items() if not k.startswith(limited)), values(found)
    assert evaluator.galleries[0]["rows"]
