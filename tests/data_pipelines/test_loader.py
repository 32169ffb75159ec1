# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import collections
import contextlib
import functools
import itertools
import json
import shutil

import ml_collections
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import mixtures, models
from data_pipelines import buckets
from data_pipelines.errors import DataError
from data_pipelines.loader import Loader
from data_pipelines.mixture import Mixture
from data_pipelines.shards import Shards
from tests.data_pipelines.pictures import Numbered, numbers

A, B = Numbered("a", 60, mark=10), Numbered("b", 25, mark=20)
PHASES = [
    {"steps": 7, "streams": buckets.picture_streams([(16, 16)], 8)},
    {"steps": 30, "streams": buckets.picture_streams([(16, 16), (8, 8)], 8, {(16, 16): 2, (8, 8): 1})},
]


def only(source, split, stream):
    return source


def loader(*sources, phases=PHASES, seed=3, rows=np.arange, workdir=None, host=0, **config):
    """A loader over in-memory sources, one thread less than none: everything happens in `next`."""
    sources = sources or (A, B)
    data = {
        "sources": [{"name": s.name, "weight": 3.0 if s.mark == 10 else 1.0} for s in sources],
        "validation": [{"name": s.name} for s in sources],
        "phases": phases,
        "threads": 0,
        "prefetch": 0,
    }
    objects = {s.name: functools.partial(only, s) for s in sources}
    return Loader(data | config, seed, rows=rows, workdir=workdir, host=host, objects=objects)


def take(data: Loader, k: int, count: int) -> list:
    with data.iter_from(k) as batches:
        return list(itertools.islice(batches, count))


def assert_same(a: list, b: list) -> None:
    assert [k for k, _, _ in a] == [k for k, _, _ in b]
    for (_, stream_a, batch_a), (_, stream_b, batch_b) in zip(a, b):
        assert stream_a == stream_b and set(batch_a) == set(batch_b)
        for name in batch_a:
            np.testing.assert_array_equal(batch_a[name], batch_b[name])


# --------------------------------------------------------------------------------------------------- contract 3
def test_what_a_batch_holds():
    (k, stream, batch), *_ = take(loader(), 0, 1)
    assert k == 0 and (stream["height"], stream["batch_size"], stream["phase"]) == (16, 8, 0)
    assert {name: (array.dtype.name, array.shape) for name, array in batch.items()} == {
        "image": ("uint8", (8, 16, 16, 3)),
        "weight": ("float32", (8,)),
        "element": ("uint32", (8,)),
        "bad": ("int32", (8,)),
    }
    assert (batch["weight"] == 1).all() and (batch["bad"] == 0).all()


def test_every_element_of_a_stream_comes_once_and_in_order():
    data = loader()
    elements = collections.defaultdict(list)
    for k, stream, batch in take(data, 0, len(data.schedule)):
        ordinal = data.schedule[k][2]
        assert sorted(batch["element"]) == list(range(ordinal * 8, ordinal * 8 + 8))
        elements[stream["id"]] += sorted(batch["element"].tolist())
    assert all(found == list(range(len(found))) for found in elements.values())
    assert {stream: len(found) for stream, found in elements.items()} == {0: 56, 1: 160, 2: 80}


def test_a_source_may_belong_to_some_phases():
    sources = [{"name": "a", "phases": [0]}, {"name": "b", "phases": (0, 1)}]
    seen = [{mark for mark, _ in numbers(batch)} for _, _, batch in take(loader(sources=sources), 0, 20)]
    assert set.union(*seen[:7]) == {10, 20} and set.union(*seen[7:]) == {20}
    with pytest.raises(DataError, match="a has no train records for bucket"):
        loader(sources=sources[:1])


def test_a_source_may_belong_to_one_shape_class():
    """World examples of both kinds in turn, each from its own source; a pass over the held-out ones sees both."""
    streams = [
        models.language_stream("tiny", (64, 64), rows=4, share=1, length=304, learnt=64, pack=1, images=1),
        models.masks_stream("tiny", (64, 64), rows=4, share=1, length=208, learnt=24),
    ]
    words = mixtures.world("questions", 1.0, shape_class="language", count=4)
    masks = mixtures.world("referring", 1.0, "masks", shape_class="segmentation", count=4)
    made = loader(
        sources=[words, masks], validation=[words, masks], phases=[{"steps": 4, "streams": streams}], flip=0.0
    )
    assert [[source.name for source in mixture.sources] for mixture in made._batches.mixtures] == [
        ["world_questions"],
        ["world_referring"],
    ]
    with contextlib.closing(made.once()) as batches:
        assert sorted("targets" in batch for _, _, batch in batches) == [False, True]
    wrong = masks | {"shape_class": "slots"}
    with pytest.raises(DataError, match=r"sources\[1\].shape_class: is 'slots', expected .* language, segmentation"):
        loader(sources=[words, wrong], phases=[{"steps": 4, "streams": streams}], flip=0.0)


def test_rows_are_permuted_differently_in_each_batch():
    orders = {tuple(batch["element"] % 8) for _, _, batch in take(loader(), 0, 20)}
    assert len(orders) > 15


def test_an_epoch_holds_every_record_once_and_epochs_differ():
    phases = [{"steps": 30, "streams": buckets.picture_streams([(16, 16)], 10)}]
    seen = []
    for _, _, batch in take(loader(A, phases=phases), 0, 18):
        order = np.argsort(batch["element"])
        seen += [numbers(batch)[row][1] for row in order]
    epochs = [seen[i : i + 60] for i in (0, 60, 120)]
    assert all(sorted(epoch) == list(range(60)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != sorted(epochs[0])


def test_weights_hold_within_every_batch_of_a_stream():
    marks = collections.Counter()
    for _, _, batch in take(loader(), 0, 20):
        in_batch = collections.Counter(mark for mark, _ in numbers(batch))
        assert in_batch == {10: 6, 20: 2}
        marks += in_batch
    assert marks == {10: 120, 20: 40}


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 36), st.sampled_from([2, 4, 8]), st.integers(0, 2**31 - 1))
def test_hosts_together_make_the_global_batch(k, hosts, seed):
    """Rows split over 2, 4, 8 hosts, in blocks or interleaved, are the rows that one host would have made."""
    (whole,) = take(loader(seed=seed), k, 1)
    for split in (
        lambda size: np.arange(size).reshape(hosts, -1),
        lambda size: np.arange(size).reshape(-1, hosts).T,
    ):
        rows = [lambda size, h=h, split=split: split(size)[h] for h in range(hosts)]
        parts = [take(loader(seed=seed, rows=own), k, 1)[0] for own in rows]
        for name, expected in whole[2].items():
            joined = np.empty_like(expected)
            for own, (_, _, batch) in zip(split(8), parts):
                joined[own] = batch[name]
            np.testing.assert_array_equal(joined, expected)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 37))
def test_resumed_at_any_batch(k):
    data = loader()
    assert_same(take(data, k, 100), take(data, 0, 100)[k:])


def test_workers_and_threads_change_nothing(photographs):
    config = {
        "sources": [{"name": "photographs", "path": str(photographs), "weight": 1.0}],
        "phases": [{"steps": 50, "streams": buckets.picture_streams([(32, 32), (48, 48)], 8)}],
        "random_crop": True,
    }
    found = []
    for workers, threads in ((0, 0), (0, 3), (1, 1), (2, 2)):
        with Loader(config | {"workers": workers, "threads": threads}, 1) as data:
            found.append(take(data, 3, 9))
    assert len(found[0]) == 9 and {batch["image"].shape[1] for _, _, batch in found[0]} == {32, 48}
    for other in found[1:]:
        assert_same(found[0], other)


def test_seed_changes_everything():
    a, b = take(loader(seed=1), 0, 1), take(loader(seed=2), 0, 1)
    assert not np.array_equal(a[0][2]["image"], b[0][2]["image"])


def test_augmentation_belongs_to_the_element():
    """The same record at another element index is flipped anew; the same element is not."""
    source = Wide("wide", 1)
    data = loader(source, phases=[{"steps": 40, "streams": buckets.picture_streams([(16, 16)], 4)}], random_crop=True)
    looks = {batch["image"][row].tobytes() for _, _, batch in take(data, 0, 10) for row in range(4)}
    assert len(looks) > 4
    plain = loader(source, phases=data.config["phases"], flip=0.0)
    assert len({batch["image"][row].tobytes() for _, _, batch in take(plain, 0, 10) for row in range(4)}) == 1


class Wide(Numbered):
    """Records that look different at every crop and flip."""

    def __init__(self, name, length):
        super().__init__(name, length, mark=10)

    def __getitem__(self, index):
        from tests.data_pipelines.pictures import encoded, noise

        example = super().__getitem__(index)
        example.images[0].data = encoded(noise(16, 19, index))
        return example


def test_mixture_rejects_what_it_cannot_mix():
    with pytest.raises(DataError, match="empty: has no records"):
        Mixture([Numbered("empty", 0)], [1.0], 0)
    with pytest.raises(DataError, match="weights are .* expected all above 0"):
        Mixture([A, B], [1.0, 0.0], 0)


# ------------------------------------------------------------------------------------------------------ held out
def test_a_pass_over_held_out_records():
    phases = [{"steps": 4, "streams": buckets.picture_streams([(16, 16), (8, 8)], 8)}]
    found = list(loader(phases=phases).once())
    assert {batch["image"].shape for _, _, batch in found} == {(8, 16, 16, 3), (8, 8, 8, 3)}
    for side in (16, 8):
        batches = [batch for _, stream, batch in found if stream["height"] == side]
        seen = [n for batch in batches for n, weight in zip(numbers(batch), batch["weight"]) if weight]
        assert seen == [(10, i) for i in range(60)] + [(20, i) for i in range(25)]
        assert [batch["weight"].sum() for batch in batches] == [8] * 10 + [5]


def test_a_pass_split_over_hosts():
    whole = list(loader().once(phase=0))
    parts = [list(loader(rows=lambda size, h=h: np.arange(size)[h::2]).once(phase=0)) for h in (0, 1)]
    for n, (_, _, batch) in enumerate(whole):
        for h in (0, 1):
            for name in batch:
                np.testing.assert_array_equal(batch[name][h::2], parts[h][n][2][name])


def test_a_bad_held_out_record_does_not_count(tmp_path):
    source = Numbered("a", 10, mark=10, broken=(4,))
    batches = [batch for _, _, batch in loader(source, workdir=tmp_path).once(phase=0)]
    assert np.concatenate([batch["weight"] for batch in batches]).tolist() == [1] * 4 + [0] + [1] * 5 + [0] * 6
    assert sum(batch["bad"].sum() for batch in batches) == 1
    assert len((tmp_path / "bad_records.0.jsonl").read_text().splitlines()) == 1


def test_a_source_that_no_stream_reads_is_refused():
    with pytest.raises(
        DataError, match="no stream reads 'b', expected train records for one of picture 16x16, picture"
    ):
        loader(A, Numbered("b", 0, mark=20))


def test_a_pass_leaves_out_sizes_without_records_and_nothing_else():
    """A size without records is left out; data of a size that cannot be opened end the pass, and are not left out."""

    def held_out(split, stream):
        if split == "validation" and stream["height"] == 8:
            if broken:
                raise DataError("a: is broken on purpose.")
            return Numbered("a", 0)
        return A

    phases = [{"steps": 4, "streams": buckets.picture_streams([(16, 16), (8, 8)], 8)}]
    config = {"sources": [{"name": "a"}], "validation": [{"name": "a"}], "phases": phases, "threads": 0, "prefetch": 0}
    with Loader(config, 0, objects={"a": held_out}) as data:
        broken = False
        assert {batch["image"].shape[1] for _, _, batch in data.once()} == {16}
        broken = True
        with pytest.raises(DataError, match="a: is broken on purpose"):
            data.once()


def test_held_out_splits_of_prepared_photographs(photographs):
    config = {
        "sources": [{"name": "p", "path": str(photographs)}],
        "validation": [{"name": "p", "path": str(photographs)}],
        "phases": [{"steps": 4, "streams": buckets.picture_streams([(32, 32)], 8)}],
    }
    data = Loader(ml_collections.ConfigDict(config), 0)
    for split in ("validation", "test"):
        expected = len(Shards(photographs, split, (32, 32)))
        assert sum(batch["weight"].sum() for _, _, batch in data.once(split)) == expected > 5
    with pytest.raises(DataError, match="data.validation: p has no other records for bucket 32x32"):
        data.once("other")


# ---------------------------------------------------------------------------------------------------- bad records
BROKEN = Numbered("a", 60, mark=10, broken=(3, 11, 40))


def test_a_bad_record_is_replaced_counted_and_listed(tmp_path):
    phases = [{"steps": 12, "streams": buckets.picture_streams([(16, 16)], 10)}]
    found = take(loader(BROKEN, phases=phases, workdir=tmp_path, host=5), 0, 6)  # one epoch
    seen = collections.Counter(n for _, _, batch in found for _, n in numbers(batch))
    assert not {3, 11, 40} & set(seen) and sum(seen.values()) == 60
    bad = [(k, e) for k, _, batch in found for e, count in zip(batch["element"], batch["bad"]) if count]
    lines = [json.loads(line) for line in (tmp_path / "bad_records.5.jsonl").read_text().splitlines()]
    first = {(line["k"], line["element"]) for line in lines}
    assert first == set(bad) and sum(int(batch["bad"].sum()) for _, _, batch in found) == len(lines) >= 3
    assert {line["record"] for line in lines} == {3, 11, 40}
    assert lines[0]["source"] == "a" and "broken on purpose" in lines[0]["reason"]
    # where the other records stand does not change
    whole = take(loader(Numbered("a", 60, mark=10), phases=phases), 0, 6)
    for (_, _, batch), (_, _, good) in zip(found, whole):
        rows = batch["bad"] == 0
        np.testing.assert_array_equal(batch["image"][rows], good["image"][rows])


def test_substitutes_do_not_depend_on_workers_hosts_or_resume(tmp_path):
    def build(**options):
        return loader(BROKEN, workdir=tmp_path / str(options), **options)

    whole = take(build(), 0, 12)
    assert sum(batch["bad"].sum() for _, _, batch in whole)
    with build(workers=2) as data:
        assert_same(take(data, 0, 12), whole)
    assert_same(take(build(), 5, 7), whole[5:])
    half = loader(BROKEN, rows=lambda size: np.arange(size)[1::2])
    for (_, _, a), (_, _, b) in zip(take(half, 0, 12), whole):
        np.testing.assert_array_equal(a["image"], b["image"][1::2])


def test_the_list_of_bad_records_survives_a_resume(tmp_path):
    take(loader(BROKEN, workdir=tmp_path), 0, 20)
    lines = (tmp_path / "bad_records.0.jsonl").read_text()
    take(loader(BROKEN, workdir=tmp_path), 10, 10)  # the same records again
    assert (tmp_path / "bad_records.0.jsonl").read_text() == lines


def test_data_that_are_all_bad():
    with pytest.raises(DataError, match="a: 20 records tried in a row for element . are bad, the last one because of"):
        take(loader(Numbered("a", 9, mark=10, broken=tuple(range(9)))), 0, 1)


# --------------------------------------------------------------------------------------------------------- resume
def test_state_of_the_same_data():
    data = loader()
    assert data.state(5) == {"k": 5, "seed": 3, "fingerprint": data.fingerprint}
    loader().check(data.state(5))
    longer = [PHASES[0], PHASES[1] | {"steps": 500}]
    loader(phases=longer).check(data.state(5))
    loader(workers=2, threads=4).check(data.state(5))


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 4},
        {"flip": 0.0},
        {"phases": [PHASES[0] | {"steps": 8}, PHASES[1]]},
        {"phases": [PHASES[0], {"steps": 30, "streams": buckets.picture_streams([(16, 16), (8, 8)], 4)}]},
        {"sources": [{"name": "a", "weight": 2.0}, {"name": "b"}]},
        {"sources": [{"name": "a", "weight": 3.0}]},
    ],
    ids=["seed", "flip", "steps", "batch_size", "weight", "sources"],
)
def test_other_data_are_refused(other):
    state = loader().state(5)
    with pytest.raises(DataError, match="data state: (seed|fingerprint) is .* data_restart"):
        loader(**other).check(state)
    loader(**other).check(state, restart=True)


def test_other_records_are_refused():
    with pytest.raises(DataError, match="data state: fingerprint"):
        loader(A, Numbered("b", 24, mark=20)).check(loader().state(5))


# ------------------------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"batch": 3}, "data: unknown field 'batch', expected sources"),
        ({"sources": []}, "data.sources: is missing or empty"),
        ({"phases": None}, "data.phases: is missing or empty"),
        ({"flip": "half"}, "data.flip: is 'half', expected float"),
        ({"workers": 1.5}, "data.workers: is 1.5, expected int"),
        ({"workers": -1}, "data.workers: is -1, expected int >= 0"),
        ({"random_crop": 1}, "data.random_crop: is 1, expected bool"),
        ({"sources": [{"path": "x"}]}, r"data.sources\[0\]: is .*, expected a dict of name, path"),
        ({"sources": [{"name": "a", "colour": 1}]}, r"data.sources\[0\]: is"),
        ({"sources": [{"name": "a", "weight": 0}]}, r"data.sources\[0\].weight: is 0, expected a number above 0"),
        ({"sources": [{"name": "a", "phases": [2]}]}, r"data.sources\[0\].phases: is \[2\], expected .* in 0..1"),
        ({"sources": [{"name": "a", "phases": []}]}, r"data.sources\[0\].phases: is \[\], expected a list"),
        ({"sources": [{"name": "nowhere"}]}, "data.sources: 'nowhere' has no path"),
        ({"sources": [{"name": "n", "path": "nowhere"}]}, "nowhere/manifest.json: is missing"),
    ],
)
def test_bad_settings(config, sentence):
    with pytest.raises(DataError, match=sentence):
        loader(**config)


def test_unknown_shape_class_and_rows():
    phases = [{"steps": 1, "streams": [PHASES[0]["streams"][0] | {"shape_class": "clip"}]}]
    with pytest.raises(DataError, match="shape_class is 'clip', expected one of picture"):
        loader(phases=phases)
    with pytest.raises(DataError, match="rows: .* for batch_size 8, expected row numbers below it"):
        loader(rows=lambda size: np.array([8]))


def prepared(photographs, bucket=(32, 32), **config):
    data = {
        "sources": [{"name": "photographs", "path": str(photographs), "weight": 1.0}],
        "phases": [{"steps": 40, "streams": buckets.picture_streams([bucket], 8)}],
        "threads": 0,
        "prefetch": 0,
    }
    return Loader(data | config, 0)


def test_a_resolution_no_bucket_fits(photographs):
    for bucket in ((128, 128), (32, 64)):
        with pytest.raises(DataError, match="photographs has no train records for bucket .*, expected records"):
            prepared(photographs, bucket)
    assert prepared(photographs, (96, 96)).summary()[0].startswith("phase 0 picture 96x96 batch 8 share 1: photographs")


@pytest.fixture
def copy(photographs, tmp_path):
    shutil.copytree(photographs, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_shard_cut_short(copy):
    path = copy / "train" / "96x96" / "00000.arrayrecord"
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    for verify in ("never", "always"):
        with pytest.raises(DataError, match=f"00000.arrayrecord: has {len(data) - 100} bytes, expected {len(data)}"):
            prepared(copy, verify=verify)
    path.unlink()
    with pytest.raises(DataError, match="00000.arrayrecord: is missing, expected"):
        prepared(copy)


def test_a_shard_with_a_wrong_checksum(copy):
    path = copy / "train" / "96x96" / "00000.arrayrecord"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    for verify in ("auto", "always"):
        with pytest.raises(DataError, match="00000.arrayrecord: the checksum differs from manifest.json, expected"):
            prepared(copy, verify=verify)
    with pytest.raises(DataError, match="data.verify: is 'maybe', expected one of auto, always, never"):
        prepared(copy, verify="maybe")
    # unverified, the damage surfaces as one bad record: ArrayRecord hashes each record
    found = take(prepared(copy, verify="never"), 0, 40)
    assert 1 <= sum(batch["bad"].sum() for _, _, batch in found) <= 40


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m | {"schema_version": 99}, "schema_version is 99, expected 1; prepare the data again"),
        (lambda m: {"schema_version": 1}, "is not a manifest"),
        (lambda m: [], "is not a manifest"),
    ],
)
def test_a_manifest_of_another_version(copy, change, sentence):
    path = copy / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(DataError, match="manifest.json: " + sentence):
        prepared(copy)


def test_records_of_a_larger_bucket_of_the_same_ratio_serve(photographs):
    found = take(prepared(photographs, (48, 48)), 0, 2)
    assert found[0][2]["image"].shape == (8, 48, 48, 3) and found[0][2]["image"].std() > 10


def test_close_ends_open_iterators():
    data = loader(workers=1)
    batches = data.iter_from(0)
    next(batches)
    data.close()
    assert batches.closed and list(batches) == []
