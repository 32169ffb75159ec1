# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which sub-stream batch k comes from, in closed form (contract 3).

A phase lasts `steps` batches and deals them in blocks of M = sum of shares: sub-stream s stands share_s times in each
block, in an order drawn from (seed, phase, block). So the ordinal of batch k within its sub-stream follows from k alone
and every host knows it.
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines import clips, language, seeds, segmentation, targets
from data_pipelines.errors import DataError

STORED = ("codes", "latents")  # shape classes of what is stored with the records (rows.py)
STREAM_FIELDS = {"shape_class": str, "height": int, "width": int, "batch_size": int, "share": int}
GRIDS = ("semantic_grid", "pixel_grid")  # optional fields: (h, w) of stored codes


class Schedule:
    """schedule[k] -> (stream id, stream, ordinal).

    Stream ids count over all phases: a sub-stream belongs to one phase, so the same bucket in two phases is two
    sub-streams. `streams[id]` is the stream's dict with `phase` and `id` added.
    """

    def __init__(self, phases: Sequence[Mapping], seed: int):
        if not phases:
            raise DataError("data.phases: is empty, expected at least one phase with steps and streams.")
        self.seed = int(seed)
        self.streams: list[dict] = []
        self._starts = [0]
        self._ids: list[np.ndarray] = []
        self._shares: list[dict[int, int]] = []
        for p, phase in enumerate(phases):
            steps, streams = _phase(phase, p)
            ids = range(len(self.streams), len(self.streams) + len(streams))
            self.streams += [dict(s, phase=p, id=i) for s, i in zip(streams, ids)]
            self._ids.append(np.repeat(ids, [s["share"] for s in streams]))
            self._shares.append({i: s["share"] for s, i in zip(streams, ids)})
            self._starts.append(self._starts[-1] + steps)
        self._order = functools.lru_cache(maxsize=64)(self._draw)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, k: int) -> tuple[int, dict, int]:
        if not 0 <= k < len(self):
            raise IndexError(f"batch {k} of {len(self)}")
        phase = int(np.searchsorted(self._starts, k, side="right")) - 1
        block, position = divmod(int(k) - self._starts[phase], len(self._ids[phase]))
        ids, before = self._order(phase, block)
        stream = int(ids[position])
        return stream, self.streams[stream], block * self._shares[phase][stream] + int(before[position])

    def _draw(self, phase, block):
        """The stream ids of a block in order, and how often each id stood before its place in the block."""
        order = seeds.permutation(len(self._ids[phase]), self.seed, seeds.BLOCK, phase, block)
        ids = self._ids[phase][order]
        return ids, [int(np.sum(ids[:i] == ids[i])) for i in range(len(ids))]

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_order"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._order = functools.lru_cache(maxsize=64)(self._draw)


def _phase(phase: Mapping, p: int) -> tuple[int, list[dict]]:
    """Checks one phase of the config and returns (steps, streams as plain dicts)."""
    phase = dict(phase)
    where = f"data.phases[{p}]"
    if set(phase) != {"steps", "streams"}:
        raise DataError(f"{where}: has the fields {sorted(phase)}, expected steps and streams.")
    if type(phase["steps"]) is not int or phase["steps"] < 1:
        raise DataError(f"{where}.steps: is {phase['steps']!r}, expected a positive int.")
    streams = [dict(stream) for stream in phase["streams"]]
    if not streams:
        raise DataError(f"{where}.streams: is empty, expected at least one stream.")
    for i, stream in enumerate(streams):
        if set(stream) - {"high", "tokens", "scale", "latents", "sequence", segmentation.CLASS, *GRIDS} != set(
            STREAM_FIELDS
        ):
            raise DataError(
                f"{where}.streams[{i}]: has {sorted(stream)}, expected {sorted(STREAM_FIELDS)}; beside them for "
                f"pictures high and tokens, for codes {' or '.join(GRIDS)}, for sequences sequence and, of masks, "
                "segmentation, of edits scale."
            )
        for field, kind in (STREAM_FIELDS | {"high": int}).items():
            value = stream.get(field, 1)
            # Sequences of words alone have no bucket: their sides are 0.
            least = 0 if field == "high" or field in ("height", "width") and "sequence" in stream else 1
            if type(value) is not kind or (isinstance(value, int) and value < least):
                expected = (
                    "0 (none) or a positive int" if not least else "a positive int" if kind is int else "a string"
                )
                raise DataError(f"{where}.streams[{i}].{field}: is {value!r}, expected {expected}.")
        share = stream.get("tokens", 1.0)
        if type(share) not in (int, float) or not 0 < share <= 1:
            raise DataError(f"{where}.streams[{i}].tokens: is {share!r}, expected a share of the sides, 0 to 1.")
        for field in GRIDS:
            grid = stream.get(field, (1, 1))
            if not (isinstance(grid, list | tuple) and len(grid) == 2 and all(type(n) is int and n > 0 for n in grid)):
                raise DataError(f"{where}.streams[{i}].{field}: is {grid!r}, expected two positive ints, (h, w).")
        if (stream["shape_class"] in STORED) != any(field in stream for field in GRIDS):
            told = f"{' or '.join(GRIDS)} with the shape classes {' and '.join(STORED)}"
            raise DataError(f"{where}.streams[{i}]: expected {told}, and with no other.")
        shape = stream.get("latents", ())
        if (stream["shape_class"] == "latents") != bool(shape):
            raise DataError(f"{where}.streams[{i}]: expected latents with the shape class latents, and with no other.")
        if shape and not (len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)):
            raise DataError(f"{where}.streams[{i}].latents: is {shape!r}, expected three positive ints, (h, w, C).")
        masks = (segmentation.CLASS, clips.CLASS, targets.EDITING)
        classes = (*language.CLASSES, *masks, targets.GENERATION, targets.RECONSTRUCTION)
        if ("sequence" in stream) != (stream["shape_class"] in classes):
            raise DataError(
                f"{where}.streams[{i}]: expected sequence with the shape classes {', '.join(classes)}, and with no "
                "other."
            )
        if "sequence" in stream:
            language.check(stream["sequence"], f"{where}.streams[{i}].sequence")
        if (segmentation.CLASS in stream) != (stream["shape_class"] in masks):
            told = ", ".join(masks)
            raise DataError(f"{where}.streams[{i}]: expected segmentation with the shape classes {told}, no other.")
        if "scale" in stream and (stream["shape_class"] != targets.EDITING or stream["scale"] not in (1, 2)):
            raise DataError(f"{where}.streams[{i}].scale: is {stream['scale']!r}, expected 1 or 2, with edits alone.")
        if stream["shape_class"] in targets.CLASSES:
            targets.check(stream, f"{where}.streams[{i}]")
        if segmentation.CLASS in stream:
            segmentation.check(stream, f"{where}.streams[{i}]")
    return phase["steps"], streams
