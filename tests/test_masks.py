# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Real annotations with masks through prepare, shards and rows: COCO instances and panoptic, RefCOCO's and ReasonSeg's
layouts."""

import json

import numpy as np
import pytest

from configs import models
from data_pipelines import prepare, rows, segmentation
from data_pipelines.shards import Shards

BUCKETS = ((48, 64), (64, 48), (64, 64))
SOURCES = {
    "instances": ("coco", "coco/annotations/instances_val2017.json", {"images": "coco/val2017"}),
    "panoptic": ("coco", "coco/annotations/panoptic_val2017.json", {"images": "coco/val2017"}),
    "refcoco": ("refer", "refcoco/refcoco", {"images": "refcoco/images/mscoco/images/train2014"}),
    "reason_seg": ("reason_seg", "reason_seg/ReasonSeg", {}),
}


def stream(bucket):
    sequence = models.sequence("tiny", bucket, length=2_048, learnt=512, pack=1, images=1)
    limits = {"conditions": 134, "targets": 40, "regions": 3, "names": 1.0}
    base = dict(shape_class="segmentation", height=bucket[0], width=bucket[1], high=128, batch_size=1, share=1)
    return base | {"sequence": sequence, "segmentation": limits}


@pytest.mark.parametrize("name", SOURCES)
def test_real_annotations_become_rows(name, fixtures, tmp_path):
    reader, source, options = SOURCES[name]
    options = {key: str(fixtures / path) for key, path in options.items()}
    given = dict(buckets=BUCKETS, max_crop_loss=0.4, near=-1, reader_options=options)
    manifest = prepare.prepare(reader, fixtures / source, tmp_path, **given)
    assert not manifest["bad"] and not manifest["dropped"]
    made = 0
    for split, by_bucket in manifest["splits"].items():
        for bucket in (tuple(map(int, text.split("x"))) for text in by_bucket):
            data = Shards(str(tmp_path), split, bucket, name=name)
            for i in range(len(data)):
                example = data[i]
                row = rows.row(example, stream(bucket), max_crop_loss=0.4)
                made += row["there"].any() and not row["left_out"]
                kind = segmentation.KINDS[row["kind"]]
                assert kind == ("words" if name in ("refcoco", "reason_seg") else "classes")
                # A mask of the row covers as much of it as of the picture, but for what the crop took.
                masks = np.unpackbits(row["targets"], axis=-1)[row["there"]]
                if kind == "words":
                    whole = [example.instances[k].mask.to_array().mean() for k in example.expressions[0].instances]
                    assert abs(masks.mean(axis=(1, 2)) - whole).max() < 0.35
    assert made > 2


def test_panoptic_masks_have_the_areas_that_are_declared(fixtures):
    from data_pipelines.readers.coco import Coco

    file = fixtures / "coco/annotations/panoptic_val2017.json"
    declared = {
        a["image_id"]: sorted(s["area"] for s in a["segments_info"])
        for a in json.loads(file.read_text())["annotations"]
    }
    reader, seen = Coco(str(file), images=str(fixtures / "coco/val2017")), 0
    for key, example in reader.read(reader.partitions()[0]):
        areas = sorted(int(i.mask.to_array().sum()) for i in example.instances)
        assert areas == declared[int(key.split(".")[0])]
        seen += 1
    assert seen == len(declared) > 2
