# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a stage keeps of the stages before it: their figures beside its own of the same name, or of that name behind
after_ (the label under which a later stage measures them again)."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from focus_jax.evaluation import goals


def kept(stage: str, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows for every figure of an earlier stage (metrics: as in metrics.json), in the order of goals.STAGES.

    again: what this stage calls it; before, after: values of the earlier stage and of this one; change: their
    difference, error: its standard error, as if the two were independent. Where this stage did not measure it again
    `again` is empty, after and change are None, and `why` says whether it need not: the parts that made the figure are
    the same in both, by their fingerprints.
    """
    order = list(goals.STAGES)
    if stage not in order:
        return []
    here, out = metrics[stage], []
    parts = set(here["fingerprint"].values())
    for earlier in order[: order.index(stage)]:
        entry = metrics.get(earlier)
        for b in entry["benchmarks"].values() if entry else ():
            same = set(b["fingerprint"].values()) <= parts
            for name in b["figures"]:
                row = {"stage": earlier, "name": name, "before": entry[name], "after": None, "change": None}
                row |= {"error": 0.0, "again": next((x for x in (name, f"after_{name}") if x in here), "")}
                row["why"] = "its parts are the same" if same else "not measured again"
                if again := row["again"]:
                    errors = (e["standard_error"].get(x, 0.0) for e, x in ((entry, name), (here, again)))
                    row |= {"after": here[again], "change": here[again] - entry[name], "error": math.hypot(*errors)}
                    row["why"] = ""
                out.append(row)
    return out


def before(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[float, float]]:
    """Rows of `kept` as goals.judge reads them."""
    return {(row["stage"], row["again"]): (row["before"], row["error"]) for row in rows if row["again"]}
