# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading of torch's .pth/.pt/.bin files without torch and without running code from the file.

Both of torch's forms are read: the zip archive (since torch 1.6) and the stream of pickles before it, in which the
public VGG16 and LPIPS files still come. The unpickler knows only the few names that a dictionary of tensors needs.
Of an archive the tensors are read one by one, so that a large file need not lie in memory whole.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import math
import pickle
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from etils import epath

from focus_jax.errors import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
NESTED = ("state_dict", "model")  # names under which a training checkpoint keeps the dictionary


@dataclasses.dataclass
class _Storage:
    """A flat buffer. read: its bytes, once it is known where they are; views: how many tensors look at it."""

    dtype: np.dtype
    size: int
    read: Callable[[], bytes] | None = None
    views: int = 0
    kept: np.ndarray | None = None

    def array(self) -> np.ndarray:
        """The numbers, read anew for one tensor and kept for several."""
        if self.kept is not None:
            return self.kept
        assert self.read is not None  # _Tensor.check
        data = np.frombuffer(self.read(), self.dtype)
        if self.views > 1:
            self.kept = data
        return data

    def expect(self, size: int) -> None:
        """Raises: ValueError where the file has another number of bytes than the storage."""
        if size != self.size * self.dtype.itemsize:
            raise ValueError(f"a storage has {size} bytes, expected {self.size * self.dtype.itemsize}")


@dataclasses.dataclass
class _Tensor:
    """A view of a storage: offset, shape and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def check(self) -> None:
        """Raises: ValueError for a view that is not inside a storage of the file; reads nothing."""
        if self.storage.read is None:
            raise ValueError("a tensor's storage is not in the file")
        numbers = (self.offset, *self.shape, *self.stride)
        if len(self.shape) != len(self.stride) or any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError("a tensor has a broken shape")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if math.prod(self.shape) and last >= self.storage.size:
            raise ValueError("a tensor reaches beyond its storage")

    def array(self) -> np.ndarray:
        if math.prod(self.shape) == 0:
            return np.empty(self.shape, self.storage.dtype)
        data = self.storage.array()
        strides = [s * data.itemsize for s in self.stride]
        # A view: nothing is allocated for shapes that the caller may still refuse.
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides, writeable=False)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    storage.views += 1
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    **{("torch", name): name for name in DTYPES},
}


class _Unpickler(pickle.Unpickler):
    """Knows the names in _NAMES and nothing else."""

    def __init__(self, file: Any, load: Callable[[str, _Storage], None]) -> None:
        super().__init__(file, encoding="utf-8")
        self._load, self.storages = load, dict[str, _Storage]()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a file of plain tensors does not need")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or dtype not in DTYPES or type(size) is not int or any(v is not None for v in view):
            raise pickle.UnpicklingError(f"it holds an object of the unknown kind {kind!r}")
        if key not in self.storages:
            self.storages[key] = _Storage(DTYPES[dtype], size)
            self._load(key, self.storages[key])
        return self.storages[key]


def _read_zip(file: BinaryIO) -> Any:
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    root = next((n.removesuffix("data.pkl") for n in names if n.split("/")[1:] == ["data.pkl"]), None)
    if root is None:
        raise ValueError("the archive has no data.pkl")
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise ValueError("the archive is compressed, which torch never does")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise ValueError("its numbers are big-endian")

    def later(key: str, storage: _Storage) -> None:
        info = archive.getinfo(f"{root}data/{key}")
        storage.expect(info.file_size)
        storage.read = functools.partial(archive.read, info)

    with archive.open(f"{root}data.pkl") as pickled:
        return _Unpickler(pickled, later).load()


def _read_legacy(file: BinaryIO) -> Any:
    def later(key: str, storage: _Storage) -> None:
        """Storages follow the objects."""

    def plain() -> Any:
        return _Unpickler(file, later).load()

    if plain() != LEGACY_MAGIC:
        raise ValueError("it does not start as a torch file")
    plain()  # protocol version
    system = plain()
    if not (isinstance(system, dict) and system.get("little_endian")):
        raise ValueError("its numbers are big-endian")
    unpickler = _Unpickler(file, later)
    tree = unpickler.load()
    for key in plain():
        storage = unpickler.storages[key]
        size = file.read(8)
        if len(size) != 8 or int.from_bytes(size, "little") != storage.size:
            raise ValueError(f"storage {key} is cut short")
        data = file.read(storage.size * storage.dtype.itemsize)
        storage.expect(len(data))
        storage.read = lambda data=data: data  # held: this older form is that of small files
    return tree


def _state_dict(tree: Any) -> Mapping[str, _Tensor]:
    """The dictionary of tensors, at the top or under one of NESTED."""
    if isinstance(tree, Mapping):
        tree = next((tree[name] for name in NESTED if isinstance(tree.get(name), Mapping)), tree)
    if not isinstance(tree, Mapping):
        raise ValueError(f"it holds a {type(tree).__name__}, expected a dictionary of tensors")
    for key, value in tree.items():
        if not isinstance(key, str) or not isinstance(value, _Tensor):
            raise ValueError(
                f"entry {key!r} is no tensor, expected a dictionary of tensors or one named {' or '.join(NESTED)}"
            )
        value.check()
    return tree


@contextlib.contextmanager
def _refusing(path: epath.Path) -> Iterator[None]:
    """What damaged or foreign bytes raise in pickle, zipfile and the checks above becomes a UserError."""
    try:
        yield
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        EOFError,
        OverflowError,
        NotImplementedError,
        ImportError,
    ) as e:
        raise UserError(f"{path}: not a readable torch file of tensors: {e}") from e


class TorchFile(Mapping[str, np.ndarray]):
    """A torch file: {key: read-only array}, bfloat16 as ml_dtypes.bfloat16.

    What the file holds is checked when it is opened; the numbers are read when they are asked for.
    Raises: UserError for anything but a whole dictionary of tensors.
    """

    def __init__(self, path: epath.Path) -> None:
        self._path, file = path, path.open("rb")
        weakref.finalize(self, file.close)
        with _refusing(path):
            start = file.read(4)
            file.seek(0)
            if start == b"PK\x03\x04":
                tree = _read_zip(file)
            elif start[:1] == b"\x80":
                tree = _read_legacy(file)
            else:
                raise ValueError("it is neither torch's zip archive nor its older stream of pickles")
            self._tensors = _state_dict(tree)

    def __getitem__(self, key: str) -> np.ndarray:
        tensor = self._tensors[key]
        with _refusing(self._path):
            return tensor.array()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
