# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A file of JSON objects, one a line, that survives a kill: half a line at the end is dropped at the next start."""

import json
import math
from collections.abc import Callable
from typing import Any

from etils import epath

from focus_jax.errors import UserError


class JsonLines:
    """Appends records to a file; local files are appended to, object stores (which cannot) are rewritten."""

    def __init__(self, path: epath.PathLike, keep: Callable[[dict], bool] = lambda record: True):
        """Reads what is there, without the records that `keep` refuses. Raises: UserError for other lines than JSON."""
        self.path = epath.Path(path)
        self.records: list[dict[str, Any]] = []
        self._local = "://" not in str(self.path)
        self._dirty = True
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return
        text = self.path.read_text()
        lines = text.split("\n")
        whole = lines[:-1]  # after the last line break stands nothing, or a line cut short when the run was killed
        for i, line in enumerate(whole, 1):
            try:
                record = json.loads(line)
            except ValueError as e:
                raise UserError(f"{self.path}: line {i} is no JSON object ({e}); expected one object a line.") from e
            if not isinstance(record, dict):
                raise UserError(f"{self.path}: line {i} is {type(record).__name__}, expected one JSON object a line.")
            self.records.append(record)
        kept = [r for r in self.records if keep(r)]
        self._dirty = len(kept) < len(self.records) or bool(lines[-1])
        self.records = kept

    def append(self, record: dict[str, Any]) -> None:
        """Adds a line. Figures that are not finite are written as null (JSON has no other word for them)."""
        self.records.append(_plain(record))
        if self._dirty or not self._local:
            self._rewrite()
        else:
            with self.path.open("a") as f:
                f.write(json.dumps(self.records[-1]) + "\n")

    def replace_last(self, record: dict[str, Any]) -> None:
        self.records[-1] = _plain(record)
        self._rewrite()

    def _rewrite(self) -> None:
        text = "".join(json.dumps(r) + "\n" for r in self.records)
        if self._local:  # never a moment at which the file is half there
            fresh = self.path.with_name(self.path.name + ".new")
            fresh.write_text(text)
            fresh.replace(self.path)
        else:
            self.path.write_text(text)
        self._dirty = False


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    if hasattr(x, "item"):
        x = x.item()
    return None if isinstance(x, float) and not math.isfinite(x) else x
