# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Torch files of both forms without torch, and what is refused: code, damage, other content."""

import collections
import io
import json
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from focus_jax.errors import UserError
from focus_jax.weights.files import read_weights, write_weights

LEGACY = [False, True]


def tensors():
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(4, 6)
    shared = torch.randn(10)
    return {
        "float": torch.randn(2, 3),
        "transposed": base.T,
        "slice": base[1:3, 2:],
        "shared_a": shared[:4],
        "shared_b": shared[4:],
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "half": torch.randn(3).half(),
        "bfloat16": torch.randn(3).bfloat16(),
        "bool": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.randn(2)),
    }


def save(path, tree, legacy):
    torch = pytest.importorskip("torch")
    torch.save(tree, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parity
@pytest.mark.parametrize("legacy", LEGACY)
@pytest.mark.parametrize("nested", ["", "state_dict", "model"])
def test_reads_what_torch_wrote(tmp_path, legacy, nested):
    want = tensors()
    tree = {nested: collections.OrderedDict(want), "epoch": 3} if nested else want
    got = read_weights(save(tmp_path / "weights.pth", tree, legacy))
    assert set(got) == set(want)
    for key, tensor in want.items():
        assert got[key].shape == tuple(tensor.shape)
        if key == "bfloat16":
            assert got[key].dtype == ml_dtypes.bfloat16
            tensor = tensor.float()
        np.testing.assert_array_equal(got[key].astype(tensor.detach().numpy().dtype), tensor.detach().numpy())


@pytest.mark.parity
@pytest.mark.parametrize("legacy", LEGACY)
def test_reads_a_module_state_dict(tmp_path, legacy):
    """nn.Module.state_dict() is an OrderedDict with an attribute, which pickles differently."""
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    got = read_weights(save(tmp_path / "a.bin", module.state_dict(), legacy))
    assert set(got) == set(module.state_dict())
    np.testing.assert_array_equal(got["0.weight"], module.state_dict()["0.weight"].numpy())


class Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def as_zip(path, pickled, **files):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in files.items():
            archive.writestr(f"archive/{name}", data)
    return path


def test_code_is_never_run(tmp_path):
    target = tmp_path / "made_by_pickle"
    pickled = pickle.dumps({"a": Evil(target)}, protocol=2)
    legacy = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(value, legacy, protocol=2)
    (tmp_path / "legacy.pth").write_bytes(legacy.getvalue() + pickled)
    for path in (as_zip(tmp_path / "zip.pth", pickled), tmp_path / "legacy.pth"):
        with pytest.raises(UserError, match=f"{path}: not a readable torch file of tensors: it asks for .*mkdir"):
            read_weights(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "tree, sentence",
    [
        ([1, 2], "it holds a list, expected a dictionary of tensors"),
        ({"a": 1}, "entry 'a' is no tensor"),
        (
            {"weights": {}},
            "entry 'weights' is no tensor, expected a dictionary of tensors or one named state_dict or model",
        ),
        ({"model": {"a": 1}}, "entry 'a' is no tensor"),
    ],
)
def test_other_content(tmp_path, tree, sentence):
    path = as_zip(tmp_path / "x.pth", pickle.dumps(tree, protocol=2))
    with pytest.raises(UserError, match=sentence):
        read_weights(path)


@pytest.mark.parity
def test_cut_short_in_the_size_of_an_empty_storage(tmp_path):
    """The older form ends with the storages; of an empty one only its size is there, eight zeros."""
    torch = pytest.importorskip("torch")
    path = save(tmp_path / "x.pth", {"empty": torch.zeros(0, 3)}, True)
    assert read_weights(path)["empty"].shape == (0, 3)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match="not a readable torch file"):
        read_weights(path)


@pytest.mark.parity
@pytest.mark.parametrize("legacy", LEGACY)
def test_cut_short(tmp_path, legacy):
    path = save(tmp_path / "x.pth", tensors(), legacy)
    data = path.read_bytes()
    for keep in (0, 3, 40, len(data) // 2, len(data) - 3):
        path.write_bytes(data[:keep])
        with pytest.raises(UserError, match="not a readable torch file"):
            read_weights(path)


@pytest.mark.parity
def test_tensor_beyond_its_storage(tmp_path):
    """A header that claims more than the file holds reads no foreign memory and allocates nothing."""
    source = save(tmp_path / "x.pth", {"a": pytest.importorskip("torch").zeros(3, 5)}, False)
    with zipfile.ZipFile(source) as archive:
        contents = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    pickled = contents.pop("data.pkl")
    broken = pickled.replace(b"K\x03K\x05\x86", b"K\x7fK\x05\x86")  # shape (3, 5) -> (127, 5)
    assert broken != pickled
    with pytest.raises(UserError, match="reaches beyond its storage"):
        read_weights(as_zip(tmp_path / "broken.pth", broken, **contents))


@pytest.mark.parity
@pytest.mark.parametrize("legacy", LEGACY)
def test_a_storage_of_several_tensors_is_read_once(tmp_path, legacy):
    got = read_weights(save(tmp_path / "x.pth", tensors(), legacy))
    assert np.shares_memory(got["transposed"], got["slice"])


@pytest.mark.parity
def test_tensors_of_an_archive_are_read_one_by_one(tmp_path):
    """Each when it is asked for, and not kept: damage in one of them leaves the others readable."""
    torch = pytest.importorskip("torch")
    path = save(tmp_path / "x.pth", {"good": torch.ones(50), "bad": torch.full((50,), 7.0)}, False)
    data, number = path.read_bytes(), np.float32(7).tobytes()
    at = data.index(number * 50)
    path.write_bytes(data[:at] + bytes([number[0] ^ 1]) + data[at + 1 :])
    got = read_weights(path)
    assert list(got) == ["good", "bad"] and len(got) == 2
    np.testing.assert_array_equal(got["good"], np.ones(50, np.float32))
    assert not np.shares_memory(got["good"], got["good"])
    with pytest.raises(UserError, match=f"{path}: not a readable torch file of tensors: Bad CRC-32"):
        got["bad"]
    with pytest.raises(KeyError):
        got["absent"]


def test_safetensors(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones(3, ml_dtypes.bfloat16)}
    path = tmp_path / "deep" / "x.safetensors"
    write_weights(path, arrays, {"format": "test"})
    got = read_weights(path)
    assert set(got) == set(arrays) and len(got) == 2
    assert all(np.array_equal(got[key], arrays[key]) and got[key].dtype == arrays[key].dtype for key in arrays)
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        read_weights(path)


def test_names(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_weights(tmp_path / "absent.pth")
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(UserError, match="unknown kind of file, expected .safetensors"):
        read_weights(tmp_path / "x.npz")


def sharded(folder, index=None):
    """Two safetensors files and an index, {a: [1, 1], b: [2, 2]}."""
    for name, value in (("a", 1.0), ("b", 2.0)):
        write_weights(folder / f"{name}.safetensors", {name: np.full(2, value, np.float32)}, {})
    path = folder / "model.safetensors.index.json"
    path.write_text(
        json.dumps({"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}} if index is None else index)
    )
    return path


def test_several_files_by_their_index(tmp_path):
    found = read_weights(sharded(tmp_path))
    assert list(found) == ["a", "b"] and len(found) == 2 and "c" not in found
    np.testing.assert_array_equal(found["b"], [2, 2])


@pytest.mark.parametrize(
    "index, said",
    [
        ({"weights": {}}, "expected json with a weight_map"),
        ([], "expected json with a weight_map"),
        ({"weight_map": {"a": "../a.safetensors"}}, "expected files beside the index"),
        ({"weight_map": {"a": 3}}, "expected files beside the index"),
        ({"weight_map": {"a": "none.safetensors"}}, "none.safetensors is not beside it"),
    ],
)
def test_an_index_that_misleads(tmp_path, index, said):
    with pytest.raises(UserError, match=said):
        read_weights(sharded(tmp_path, index))


def test_an_index_that_names_the_wrong_file(tmp_path):
    found = read_weights(sharded(tmp_path, {"weight_map": {"a": "b.safetensors"}}))
    with pytest.raises(UserError, match="b.safetensors does not hold a, which weight_map says it does"):
        found["a"]


def test_an_index_nested_absurdly_deep(tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match="expected json with a weight_map"):
        read_weights(path)
