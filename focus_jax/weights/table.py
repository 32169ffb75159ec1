# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Tables between an external checkpoint family and our parameters: one list of rules, read in both directions.

A rule pairs a key of theirs with a path of ours. `{name}` in both stands for a number:

    Rule("down.{l}.block.{i}.conv1.weight", "encoder/down_{l}/layer_{i}/block/conv1/kernel", CONV)

Tables speak of single layers (`layer_{i}`). Where our parameters are scanned stacks (`layers`, see models/stack.py),
reading stacks the layers along the rule's `axis` and writing takes them apart again.
Both directions are strict: an unknown key, a missing one and a wrong shape each end in one sentence.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from focus_jax.errors import UserError

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Transform:
    """Their array -> ours and back. `their_shape` maps shapes, so that a table can be checked without arrays."""

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_theirs: Callable[[np.ndarray], np.ndarray]
    their_shape: Callable[[Shape], Shape]


def permute(*axes: int) -> Transform:
    """ours = theirs.transpose(axes)."""
    inverse = tuple(int(i) for i in np.argsort(axes))
    return Transform(
        lambda x: x.transpose(axes), lambda x: x.transpose(inverse), lambda shape: tuple(shape[i] for i in inverse)
    )


SAME = Transform(lambda x: x, lambda x: x, lambda shape: shape)
CONV = permute(2, 3, 1, 0)  # [out, in, kh, kw] -> [kh, kw, in, out]
DENSE = permute(1, 0)  # [out, in] -> [in, out]
# torch counts batches in int64; all our leaves are float32, exact up to 16,777,216.
COUNTER = Transform(lambda x: x.astype(np.float32), lambda x: x.astype(np.int64), lambda shape: shape)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One key of theirs, one path of ours, the transform between them, and the axis that counts a stack's layers."""

    theirs: str
    ours: str
    transform: Transform = SAME
    axis: int = 0


def conv(theirs: str, ours: str, bias: bool = True) -> list[Rule]:
    """Rules of a torch Conv2d."""
    rules = [Rule(f"{theirs}.weight", f"{ours}/kernel", CONV), Rule(f"{theirs}.bias", f"{ours}/bias")]
    return rules if bias else rules[:1]


def linear(theirs: str, ours: str) -> list[Rule]:
    """Rules of a torch Linear with a bias."""
    return [Rule(f"{theirs}.weight", f"{ours}/kernel", DENSE), Rule(f"{theirs}.bias", f"{ours}/bias")]


def norm(theirs: str, ours: str) -> list[Rule]:
    """Rules of an affine normalisation layer."""
    return [Rule(f"{theirs}.weight", f"{ours}/scale"), Rule(f"{theirs}.bias", f"{ours}/bias")]


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    return re.compile("".join(rf"(?P<{p}>\d+)" if i % 2 else re.escape(p) for i, p in enumerate(parts)))


def _first_layers(paths: Iterable[str]) -> dict[str, int]:
    """{folder: number of single layers layer_0, layer_1, ... that stand in it before a scanned stack}."""
    layers: dict[str, set[str]] = collections.defaultdict(set)
    for path in paths:
        for match in re.finditer(r"/layer_(\d+)/", path):
            layers[path[: match.start()]].add(match[1])
    return {folder: len(numbers) for folder, numbers in layers.items()}


def _under(prefixes: Iterable[str]) -> tuple[str, ...]:
    """What a path inside one of these folders starts with."""
    return tuple(f"{prefix}/" for prefix in prefixes)


def _list(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


@dataclasses.dataclass(frozen=True)
class Piece:
    """What a network of a family may lack, and has whole where it has any of it.

    paths: prefixes of ours; beside: prefixes that belong to it too, which a network may also have for another end.
    keys: pattern of its keys of theirs; without: what a file that lacks them holds, for a caller to say.
    """

    paths: tuple[str, ...]
    keys: str
    without: str
    beside: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """All rules of a family.

    name: the format's name; parts: prefixes of the paths of ours that it covers.
    shapes(config) -> {our path: shape}: the network in the sizes of config (a ConfigDict), of the release for None.
    others: patterns of keys that a released file may hold beside what a network has; reading passes over them, and
    `left_out` lists them so that a caller can say so.
    prefixes: the rules' keys may stand under any one of these in a file; writing takes the first.
    constants: (pattern of paths of ours, value) that this format has no key for, because every network of its kind has
    that value there. Reading sets them, `set_to_constants` lists them so that a caller can say so, and writing refuses
    any other value.
    pieces: what a network may lack. Reading passes over the keys of such a piece, as over `others`.
    wider: (path of ours, axis, count) of parameters that a network may have more of along that axis than a file, which
    then has `count`; reading fills them up with zeros, `widened` lists them so that a caller can say so.
    beyond: (prefix of paths of ours, sentence) of a network's parts that the format knows nothing of; a caller who
    writes a file for such a network says the sentence.
    """

    name: str
    parts: tuple[str, ...]
    rules: Sequence[Rule]
    shapes: Callable[[Any], dict[str, Shape]]
    others: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ("",)
    constants: tuple[tuple[str, float], ...] = ()
    pieces: tuple[Piece, ...] = ()
    beyond: tuple[tuple[str, str], ...] = ()
    wider: tuple[tuple[str, int, int], ...] = ()

    def lacks(self, paths: Iterable[str]) -> list[Piece]:
        """Pieces of which a network with these paths of ours has nothing."""
        paths = list(paths)
        return [piece for piece in self.pieces if not any(path.startswith(_under(piece.paths)) for path in paths)]

    def covered(self, paths: Iterable[str], network: Iterable[str]) -> list[str]:
        """Those of `paths` (of ours) that the format covers for a network with the paths `network`."""
        absent = [name for piece in self.lacks(network) for name in piece.paths + piece.beside]
        return [path for path in paths if path.startswith(_under(self.parts)) and not path.startswith(_under(absent))]

    def remarks(self, paths: Iterable[str], network: Iterable[str]) -> list[str]:
        """What to say of a file written for `network` out of a checkpoint that holds `paths`."""
        paths = list(paths)
        beyond = [said for prefix, said in self.beyond if any(path.startswith(f"{prefix}/") for path in paths)]
        return [f"it holds {piece.without}" for piece in self.lacks(network)] + beyond

    def prefix_of(self, keys: Iterable[str]) -> str:
        """The one of `prefixes` under which a file with these keys holds keys of the table; the first if none does."""
        keys = list(keys)
        for prefix in self.prefixes:
            if any(key.startswith(prefix) and self.our_path(key.removeprefix(prefix)) for key in keys):
                return prefix
        return self.prefixes[0]

    def constant(self, path: str) -> float | None:
        """The value of a path of ours that `constants` names, else None."""
        return next((value for pattern, value in self.constants if re.fullmatch(pattern, path)), None)

    def set_to_constants(self, paths: Iterable[str]) -> list[str]:
        """Paths of ours that `constants` names."""
        return [path for path in paths if self.constant(path) is not None]

    def widened(self, source: Mapping[str, Any], shapes: Mapping[str, Shape]) -> list[str]:
        """Paths of ours that `wider` names and that are wider than in a file with these arrays."""
        prefix, out = self.prefix_of(source), []
        for path, axis, count in self.wider:
            pair = self.their_key(path)
            if pair is None or path not in shapes or prefix + pair[0] not in source or count >= shapes[path][axis]:
                continue
            narrow = tuple(shapes[path][:axis]) + (count,) + tuple(shapes[path][axis + 1 :])
            if tuple(source[prefix + pair[0]].shape) == pair[1].transform.their_shape(narrow):
                out.append(path)
        return out

    def left_out(self, keys: Iterable[str], paths: Iterable[str] = ()) -> list[str]:
        """Keys that a network with these paths of ours has no use for, though the format knows them: those that
        `others` names and those of the pieces that it lacks."""
        paths = set(paths)
        patterns = [*self.others, *(piece.keys for piece in self.lacks(paths))]
        used = lambda key: (found := self.our_path(key)) is not None and found[0] in paths
        return [key for key in keys if any(re.fullmatch(pattern, key) for pattern in patterns) and not used(key)]

    def our_path(self, key: str) -> tuple[str, Rule] | None:
        """Key of theirs -> (path of ours in loop layout, its rule), None where the table has no such key."""
        for rule in self.rules:
            if match := _regex(rule.theirs).fullmatch(key):
                return rule.ours.format(**match.groupdict()), rule
        return None

    def their_key(self, path: str) -> tuple[str, Rule] | None:
        """Path of ours in loop layout -> (key of theirs, its rule), None where the table has no such path."""
        for rule in self.rules:
            if match := _regex(rule.ours).fullmatch(path):
                return rule.theirs.format(**match.groupdict()), rule
        return None

    def keys(self, shapes: Mapping[str, Shape]) -> dict[str, tuple[str, int | None, Rule, Shape]]:
        """What a file of theirs holds for a network of ours: {key: (our path, stack index, rule, their shape)}."""
        found: dict[str, tuple[str, int | None, Rule, Shape]] = {}
        first = _first_layers(shapes)
        for path, shape in shapes.items():
            if self.constant(path) is not None:
                continue
            if "/layers/" not in path:
                key, rule = self._key_or_error(path)
                found[key] = (path, None, rule, rule.transform.their_shape(tuple(shape)))
                continue
            folder, leaf = path.split("/layers/", 1)
            start = first.get(folder, 0)
            axis = self._key_or_error(f"{folder}/layer_{start}/{leaf}")[1].axis
            layer_shape = tuple(shape[:axis]) + tuple(shape[axis + 1 :])
            for i in range(shape[axis]):
                key, rule = self._key_or_error(f"{folder}/layer_{start + i}/{leaf}")
                found[key] = (path, i, rule, rule.transform.their_shape(layer_shape))
        return found

    def _key_or_error(self, path: str) -> tuple[str, Rule]:
        pair = self.their_key(path)
        if pair is None:
            raise UserError(f"{self.name}: the table has no key for our parameter {path}")
        return pair

    def read(self, source: Mapping[str, np.ndarray], shapes: Mapping[str, Shape], where: str) -> dict[str, np.ndarray]:
        """Arrays of theirs -> {our path: array} for a network with `shapes`; `where` names the file in errors.

        Arrays are read one by one (source may be lazy) and keep their floating dtype.
        Raises: UserError for unknown or missing keys and for wrong shapes.
        """
        prefix = self.prefix_of(source)
        expected = {prefix + key: entry for key, entry in self.keys(shapes).items()}
        unknown = set(source) - set(expected) - set(self.left_out(source, shapes))
        if unknown:
            raise UserError(f"{where}: unknown keys for format {self.name}: {_list(unknown)}")
        missing = set(expected) - set(source)
        if missing:
            raise UserError(f"{where}: format {self.name} expects keys that are missing: {_list(missing)}")
        ours: dict[str, np.ndarray] = {}
        widened = self.widened(source, shapes)
        for key, (path, index, rule, shape) in expected.items():
            array = source[key]
            if path in widened:
                array = rule.transform.to_ours(array)
                lacking = [(0, n - m) for n, m in zip(shapes[path], array.shape)]
                ours[path] = np.pad(array, lacking)
                continue
            if tuple(array.shape) != shape:
                raise UserError(f"{where}: {key} has shape {list(array.shape)}, expected {list(shape)}")
            array = rule.transform.to_ours(array)
            if index is None:
                ours[path] = np.ascontiguousarray(array) if array.ndim else array
                continue
            # Layers go straight to their place, so that no second copy of a stack is held.
            stack = ours.get(path)
            if stack is None:
                ours[path] = stack = np.empty(shapes[path], array.dtype)
            elif array.dtype != stack.dtype:
                wider = np.promote_types(np.promote_types(np.float32, stack.dtype), array.dtype)
                ours[path] = stack = stack.astype(wider, copy=False)
            stack[(slice(None),) * rule.axis + (index,)] = array
        for path in self.set_to_constants(shapes):
            ours[path] = np.full(shapes[path], self.constant(path), np.float32)
        return ours

    def write(self, flat: Mapping[str, np.ndarray], shapes: Mapping[str, Shape] | None = None) -> dict[str, np.ndarray]:
        """{our path: array}, in either layout -> {their key: array}. Paths outside `parts` are not looked at.

        shapes: the network the result must be complete for; None takes whatever pieces and layers are there and asks
        only for the keys that every size has.
        Raises: UserError for a path without a key, a missing parameter or a wrong shape.
        """
        network = list(flat if shapes is None else shapes)
        flat = {path: flat[path] for path in self.covered(flat, network)}
        needed = [name for piece in self.pieces for name in piece.paths]
        within = [*needed, *(name for piece in self.pieces for name in piece.beside)]
        needed += [part for part in self.parts if not any(f"{name}/".startswith(f"{part}/") for name in within)]
        if not any(path.startswith(_under(needed)) for path in flat):
            raise UserError(f"{self.name}: the checkpoint holds no parameter of {', '.join(needed)}")
        held = self.keys({path: tuple(leaf.shape) for path, leaf in flat.items()})
        for path in self.set_to_constants(flat):
            if np.any(np.asarray(flat[path]) != self.constant(path)):
                raise UserError(f"{self.name}: the format has no key for {path}, which is not {self.constant(path):g}")
        if shapes is None:
            paths = self.covered((rule.ours for rule in self.rules), network)
            wanted = {rule.theirs: rule.ours for rule in self.rules if "{" not in rule.theirs and rule.ours in paths}
        else:
            expected = self.keys(shapes)
            wanted = {key: path for key, (path, *_) in expected.items()}
            wrong = {key for key in held if key in expected and held[key][3] != expected[key][3]}
            if wrong:
                key = min(wrong)
                raise UserError(
                    f"{self.name}: {held[key][0]} gives {key} shape {list(held[key][3])}, expected "
                    f"{list(expected[key][3])}"
                )
            if extra := {held[key][0] for key in held if key not in expected}:
                raise UserError(f"{self.name}: parameters that a network of this size does not have: {_list(extra)}")
        if missing := {path for key, path in wanted.items() if key not in held}:
            raise UserError(f"{self.name}: the checkpoint lacks {_list(missing)}")
        theirs: dict[str, np.ndarray] = {}
        for key, (path, index, rule, _) in held.items():
            array = np.asarray(flat[path])
            if index is not None:
                array = np.take(array, index, axis=rule.axis)
            array = rule.transform.to_theirs(array)
            theirs[self.prefixes[0] + key] = np.ascontiguousarray(array) if array.ndim else array
        return theirs
