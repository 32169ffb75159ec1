# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Weight files: {key: array} from safetensors and torch files, and safetensors written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from focus_jax.errors import UserError
from focus_jax.weights.torch_file import TorchFile


class SafetensorsFile(Mapping[str, np.ndarray]):
    """A safetensors file that is read key by key.

    It is opened for each of them: an open one is mapped into memory, and what was read of it would count as the
    process's own.
    """

    def __init__(self, path: epath.Path) -> None:
        self._path = str(path)
        try:
            with safetensors.safe_open(self._path, "numpy") as file:
                self._keys = list(file.keys())
        except safetensors.SafetensorError as e:
            raise UserError(f"{path}: not a readable safetensors file: {e}") from e

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self._keys:
            raise KeyError(key)
        with safetensors.safe_open(self._path, "numpy") as file:
            return file.get_tensor(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class Sharded(Mapping[str, np.ndarray]):
    """Several files by their index, *.index.json as transformers writes it; each is opened when first asked."""

    def __init__(self, path: epath.Path) -> None:
        self._path, self._files = path, dict[str, Mapping[str, np.ndarray]]()
        try:
            self._map: dict[str, str] = dict(json.loads(path.read_text())["weight_map"])
        except (ValueError, KeyError, TypeError, RecursionError) as e:
            raise UserError(f"{path}: expected json with a weight_map from keys to files: {e!r}") from e
        for name in set(self._map.values()):
            if not isinstance(name, str) or name != epath.Path(name).name:
                raise UserError(f"{path}: weight_map names {name!r}, expected files beside the index")
            if not (path.parent / name).is_file():
                raise UserError(f"{path}: {name} is not beside it, expected every file that weight_map names")

    def __getitem__(self, key: str) -> np.ndarray:
        name = self._map[key]
        if name not in self._files:
            self._files[name] = read_weights(self._path.parent / name)
        if key not in self._files[name]:
            raise UserError(f"{self._path}: {name} does not hold {key}, which weight_map says it does")
        return self._files[name][key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._map)

    def __len__(self) -> int:
        return len(self._map)


def read_weights(path: epath.PathLike) -> Mapping[str, np.ndarray]:
    """*.safetensors, torch's *.pth, *.pt, *.bin, *.ckpt, or the *.index.json of several of these -> {key: array}.

    Arrays of local safetensors and of torch's archives are read when they are asked for.
    """
    path = epath.Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.name.endswith(".index.json"):
        return Sharded(path)
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt"):
        return TorchFile(path)
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: unknown kind of file, expected .safetensors, .pth, .pt, .bin, .ckpt or .index.json")
    if "://" not in str(path):
        return SafetensorsFile(path)
    try:
        return safetensors.numpy.load(path.read_bytes())
    except safetensors.SafetensorError as e:
        raise UserError(f"{path}: not a readable safetensors file: {e}") from e


def write_weights(path: epath.PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file; an interrupted write leaves no file of that name."""
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    if "://" in str(path):
        partial.write_bytes(safetensors.numpy.save(dict(arrays), dict(metadata)))
    else:
        safetensors.numpy.save_file(dict(arrays), str(partial), dict(metadata))
    partial.replace(path)
