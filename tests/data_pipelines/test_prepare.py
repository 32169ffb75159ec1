# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from data_pipelines import codes, dedup, prepare, shards
from data_pipelines.errors import DataError
from data_pipelines.shards import Shards
from tests.data_pipelines.fake_tokenizer import FakeTokenizer
from tests.data_pipelines.pictures import encoded, noise

COMMAND = [sys.executable, "-m", "data_pipelines.prepare"]


def tree(folder) -> dict[str, bytes]:
    folder = pathlib.Path(folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.png").write_bytes(encoded(noise(64, 64 + 16 * (i % 2), i)))
    return folder


BUCKETS = ((32, 32), (32, 40))


def run(folder, output, **options):
    return prepare.prepare("folder", folder, output, **({"buckets": BUCKETS} | options))


def test_records_come_back_as_they_went_in(folder, tmp_path):
    (folder / "3.txt").write_text("three")
    manifest = run(folder, tmp_path / "out")
    assert manifest["records"] == {"train": {"32x32": 3, "32x40": 3}}
    assert shards.read_manifest(tmp_path / "out") == manifest
    source = Shards(tmp_path / "out", "train", (32, 40))
    examples = {source[i].id: source[i] for i in range(len(source))}
    assert set(examples) == {"1.png", "3.png", "5.png"}
    example = examples["3.png"]
    assert example.images[0].data == (folder / "3.png").read_bytes()  # never re-encoded
    assert (example.images[0].width, example.images[0].height) == (80, 64)
    assert example.split == "train" and example.turns[0].text == "three"
    assert set(tree(tmp_path / "out")) == {
        "manifest.json", "bad_records.jsonl", "train/32x32/00000.arrayrecord", "train/32x40/00000.arrayrecord",
    }  # fmt: skip


def test_filters_count_by_reason(folder, tmp_path):
    for name, size in {
        "narrow": (64, 200),
        "small": (20, 20),
        "large": (300, 300),
        "tall": (64, 32),
    }.items():
        (folder / f"{name}.png").write_bytes(encoded(noise(*size, 50 + len(name))))
    manifest = run(folder, tmp_path / "out", min_side=32, max_aspect=2.0, min_pixels=64 * 32, max_pixels=200**2)
    assert manifest["dropped"] == {"aspect": 1, "smallest side": 1, "too many pixels": 1, "crop loss": 1}
    assert run(folder, tmp_path / "few", min_pixels=64 * 80)["dropped"]["too few pixels"] == 5


def test_duplicates(folder, tmp_path):
    (folder / "twin.bmp").write_bytes(encoded(noise(64, 64, 0), "BMP"))  # the same pixels in another container
    nearly = noise(64, 64, 2).copy()
    nearly[:2, :2] ^= 8
    (folder / "nearly.png").write_bytes(encoded(nearly))
    manifest = run(folder, tmp_path / "out")
    assert manifest["dropped"] == {"exact duplicate": 1, "near duplicate": 1}
    assert run(folder, tmp_path / "exact", near=-1)["dropped"] == {"exact duplicate": 1}


def test_a_held_out_twin_stays_held_out(folder, tmp_path):
    (folder / "validation").mkdir()
    (folder / "validation" / "z.png").write_bytes((folder / "0.png").read_bytes())
    manifest = run(folder, tmp_path / "out")
    assert manifest["records"]["validation"] == {"32x32": 1}
    assert manifest["records"]["train"] == {"32x32": 2, "32x40": 3}


def test_near_duplicates_are_found_exactly():
    rng = np.random.default_rng(0)
    hashes = [int(v) for v in rng.integers(0, 2**63, 60)]
    hashes += [h ^ (1 << int(a)) ^ (1 << int(b)) for h, (a, b) in zip(hashes, rng.integers(0, 64, (60, 2)))]
    records = [("train", str(i), h) for i, h in enumerate(hashes)]
    for near in (0, 1, 2, 5):
        kept, expected = [], set()
        for i, h in enumerate(hashes):  # the quadratic way
            if any((h ^ other).bit_count() <= near for other in kept):
                expected.add(i)
            else:
                kept.append(h)
        assert set(dedup.duplicates(records, near)) == expected


def test_splits_dealt_by_key(folder, tmp_path):
    for i in range(6, 60):
        (folder / f"{i}.png").write_bytes(encoded(noise(48, 48, i)))
    first = run(folder, tmp_path / "a", validation=0.3, test=0.2)["records"]
    assert set(first) == {"train", "validation", "test"} and all(sum(n.values()) > 4 for n in first.values())
    held = {e.id for e in _all(tmp_path / "a", "validation")}
    for i in range(60, 80):
        (folder / f"{i}.png").write_bytes(encoded(noise(48, 48, i)))
    run(folder, tmp_path / "b", validation=0.3, test=0.2)
    assert held <= {e.id for e in _all(tmp_path / "b", "validation")}  # more pictures move none


def _all(output, split):
    for bucket in BUCKETS:
        source = Shards(output, split, bucket)
        yield from (source[i] for i in range(len(source)))


def test_processes_change_nothing(photographs, tmp_path):
    prepare.prepare("photographs", "", tmp_path / "out", workers=2, reader_options={"stride": 192})
    assert tree(tmp_path / "out") == tree(photographs)


def test_a_finished_run_is_left_alone(folder, tmp_path):
    first = run(folder, tmp_path / "out")
    before = tree(tmp_path / "out")
    assert run(folder, tmp_path / "out") == first and tree(tmp_path / "out") == before
    with pytest.raises(DataError, match="holds data of another source or other options"):
        run(folder, tmp_path / "out", min_side=33)
    (tmp_path / "out" / ".prepare").mkdir()  # killed after the manifest was written, before the rest was cleared away
    (tmp_path / "out" / ".prepare" / "job.json").write_text("{}")
    assert run(folder, tmp_path / "out") == first and tree(tmp_path / "out") == before
    (folder / "new.png").write_bytes(encoded(noise(64, 64, 99)))
    with pytest.raises(DataError, match="holds data of another source or other options"):
        run(folder, tmp_path / "out")


# ------------------------------------------------------------------------------------------------------- bad input
def test_bad_records_within_the_budget(folder, tmp_path):
    (folder / "6.png").write_bytes(encoded(noise(64, 64, 6))[:50])
    (folder / "7.png").write_bytes(b"")
    with pytest.raises(DataError, match="2 bad records, expected at most --bad-budget=1; the last one: 7.png"):
        run(folder, tmp_path / "strict", bad_budget=1)
    assert not (tmp_path / "strict" / "manifest.json").exists()
    for output in ("strict", "lenient"):  # the budget may be raised on the run that failed, or from the start
        manifest = run(folder, tmp_path / output, bad_budget=2)
        assert manifest["bad"] == 2 and manifest["records"] == {"train": {"32x32": 3, "32x40": 3}}
        lines = [json.loads(line) for line in (tmp_path / output / "bad_records.jsonl").read_text().splitlines()]
        assert [line["key"] for line in lines] == ["6.png", "7.png"] and "is empty" in lines[1]["reason"]


def test_nothing_left(folder, tmp_path):
    with pytest.raises(DataError, match="no record is left, expected some; dropped: {'smallest side': 6}"):
        run(folder, tmp_path / "out", min_side=1000)


def test_foreign_output(folder, tmp_path):
    with pytest.raises(DataError, match="pictures: holds 0.png, expected an empty or new directory for --output"):
        run(folder, folder)


def test_a_shard_is_whole_or_absent(tmp_path):
    path = tmp_path / "train" / "00000.arrayrecord"
    writer = shards.Writer(path)
    for _ in range(50):
        writer.write(b"x" * 10_000)
        assert not path.exists()
    entry = writer.close()
    assert entry == {"records": 50, "bytes": path.stat().st_size, "sha256": shards.checksum(path)}
    other = shards.Writer(tmp_path / "other.arrayrecord")
    other.write(b"x")
    other.abandon()
    assert list(tree(tmp_path)) == ["train/00000.arrayrecord"]


def test_full_disk(folder, tmp_path, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\), expected free space"):
        run(folder, tmp_path / "out")
    monkeypatch.undo()
    assert run(folder, tmp_path / "out")["records"] == {"train": {"32x32": 3, "32x40": 3}}


@pytest.mark.parametrize("limit", [200, 20_000], ids=["manifest", "shard"])
def test_a_file_that_cannot_grow(folder, tmp_path, limit):
    """The disk ends in the middle of a file, for real: the process may not write files larger than `limit`."""
    for i in range(6):
        (folder / f"big{i}.png").write_bytes(encoded(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)))
    code = (
        "import resource, sys; from data_pipelines import prepare;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); sys.exit(prepare.main(sys.argv[1:]))"
    )
    arguments = ["folder", f"--source={folder}", f"--output={tmp_path / 'out'}", "--buckets=32x32,32x40"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("prepare: ") and done.stderr.count("\n") == 1 and "cannot be written" in done.stderr
    assert not any(name.endswith((".arrayrecord", "manifest.json")) for name in tree(tmp_path / "out"))
    assert run(folder, tmp_path / "out")["records"]["train"]["32x32"] == 9


def test_no_write_permission(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        run(folder, tmp_path / "file" / "out")
    if os.geteuid():  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(DataError, match=r"cannot be written \(Permission denied\)"):
            run(folder, tmp_path / "locked" / "out")


def test_the_command(folder, tmp_path, capsys, monkeypatch):
    arguments = ["folder", f"--source={folder}", f"--output={tmp_path / 'out'}", "--buckets=32x32,32x40"]
    assert prepare.main(arguments) == 0
    assert "train: 3 at 32x32, 3 at 32x40" in capsys.readouterr().out
    assert prepare.main(["folder", "--source=/nowhere", f"--output={tmp_path / 'no'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("prepare: folder: --source='/nowhere' is not a directory") and error.count("\n") == 1
    assert prepare.main([f"--output={tmp_path / 'no'}", "codes", "--batch=8"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("prepare: codes: stands behind other options, expected it first") and error.count("\n") == 1
    (tmp_path / "codes").symlink_to(folder)
    monkeypatch.chdir(tmp_path)  # codes is an option's value here
    assert prepare.main(["--source", "codes", "folder", "--output", "more", "--buckets=32x32,32x40"]) == 0
    with pytest.raises(SystemExit) as stop:
        prepare.main(["photographs", "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "--stride" in text and "python -m data_pipelines.prepare folder --source" in text


def test_ensure_prepared(tmp_path):
    source = {"name": "p", "path": str(tmp_path / "p"), "reader": "photographs", "options": {"stride": 500}}
    prepare.ensure_prepared(source)
    before = tree(tmp_path / "p")
    prepare.ensure_prepared(source)
    assert tree(tmp_path / "p") == before and "manifest.json" in before
    with pytest.raises(DataError, match="run python -m data_pipelines.prepare folder --source=DIR --output=.*/q first"):
        prepare.ensure_prepared({"path": str(tmp_path / "q"), "reader": "folder"})
    with pytest.raises(DataError, match="was prepared with stride 500, the config's source asks for 400; name another"):
        prepare.ensure_prepared(source | {"options": {"stride": 400}})
    prepare.ensure_prepared(source | {"reader": "world", "options": {"preset": "easy"}})  # another reader's shards


def test_codes_of_prepared_data_are_those_of_its_reader(tmp_path):
    """A directory with codes, and one with codes of that: the options of the reader still count."""
    source = {"name": "p", "path": str(tmp_path / "a"), "reader": "photographs", "options": {"stride": 500}}
    prepare.ensure_prepared(source)
    for before, after in ("a", "b"), ("b", "c"):
        codes.prepare_codes(FakeTokenizer(), codes.plan(tmp_path / before), tmp_path / after, batch=8)
        source["path"] = str(tmp_path / after)
        prepare.ensure_prepared(source)
        with pytest.raises(DataError, match=f"{after}: was prepared with stride 500, the config's source asks for 400"):
            prepare.ensure_prepared(source | {"options": {"stride": 400}})


def test_jax_torch_and_tensorflow_stay_out():
    code = (
        "import sys, data_pipelines.prepare, data_pipelines.photographs, data_pipelines.readers.tfds;"
        "assert not {'jax', 'torch', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ----------------------------------------------------------------------------------------------------- interruption
@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "phase", "after"), [(0, "scan", 5), (0, "write", 0), (0, "write", 4), (2, "write", 2)]
)
def test_killed_and_started_again(photographs, tmp_path, workers, phase, after):
    """SIGKILL in either pass: no whole-looking shard that is not whole, and the same bytes after the rerun."""
    output = tmp_path / "out"
    command = [*COMMAND, "photographs", f"--output={output}", "--stride=192", f"--workers={workers}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last_scan = output / ".prepare" / "scan-00016.json"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if len(list(output.glob(f".prepare/{phase}-*.json"))) >= after and (phase == "scan" or last_scan.exists()):
            break
        assert process.poll() is None, "it finished before it could be killed"
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_until_gone(children)
    whole, left = tree(photographs), tree(output)
    assert "manifest.json" not in left
    for name, data in left.items():
        if name.endswith(".arrayrecord"):
            assert data == whole[name]
    with pytest.raises(DataError, match="is missing, expected a directory that `data_pipelines.prepare` finished"):
        Shards(output, "train", (96, 96))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert tree(output) == whole


def test_a_shard_left_without_its_marker_is_written_again(tmp_path):
    """Killed after a shard was renamed and before its marker was written: the rerun replaces the shard."""
    for content in (b"first", b"second"):
        writer = shards.Writer(tmp_path / "a.arrayrecord")
        writer.write(content)
        entry = writer.close()
        shards.write_json(tmp_path / "a.json", entry)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arrayrecord", "a.json"]
    assert entry["sha256"] == shards.checksum(tmp_path / "a.arrayrecord")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # not Linux
        return []


def _wait_until_gone(pids: list[int]) -> None:
    """Worker processes end with their parent, or they would go on writing beside the next run."""

    def alive(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
        except OSError:
            return False

    deadline = time.monotonic() + 20
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, f"{[pid for pid in pids if alive(pid)]} outlived their parent"
        time.sleep(0.05)
