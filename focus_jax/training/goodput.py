# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the wall time of a run goes, over all its restarts: an event log (goodput.jsonl) and a summary at the end.

Goodput is the share of wall time, from the first start to now, spent in steps whose result was kept. It is the host's
view: while the host waits for data the device may still be busy with steps already handed to it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

from etils import epath

from focus_jax.training.jsonlines import JsonLines
from focus_jax.training.metrics import duration

RUN, STEP = "run", "step"


class Goodput:
    """At every moment the run does one thing: "start" at first, "step" from `training` on, else what `measure` says.

    Lines: {"time", "event": "run", "resumed": step, "device"} once a run, else {"time", "event": activity, "seconds",
    "from", "to"} (steps; the activity's seconds since the flush before). Every line's time is when it was written.
    """

    def __init__(
        self,
        path: epath.PathLike,
        resumed: int = 0,
        writes: bool = True,
        clock: Callable[[], float] = time.time,
        device: str = "",
    ):
        """path: of the log; resumed: step of the checkpoint this run goes on from; writes: process 0 alone does.

        device: what the run trains on, in words, for the log.
        """
        self.clock, self.writes = clock, writes
        self._activity, self._since = "start", clock()
        self._spent: dict[str, float] = {}
        self._step = self._flushed = resumed
        self._log = JsonLines(path) if writes else None
        if self._log:
            self._log.append({"time": self._since, "event": RUN, "resumed": resumed, "device": device})

    def _become(self, activity: str) -> str:
        before, now = self._activity, self.clock()
        self._spent[before] = self._spent.get(before, 0.0) + now - self._since
        self._activity, self._since = activity, now
        return before

    def training(self) -> None:
        """The loop begins: from now on time outside `measure` is step time."""
        self._become(STEP)

    @contextlib.contextmanager
    def measure(self, activity: str) -> Iterator[None]:
        """Time inside is "compile", "data", "validation", "checkpoint", ...; nested, the inner one counts."""
        before = self._become(activity)
        try:
            yield
        finally:
            self._become(before)

    def flush(self, step: int) -> None:
        """Writes what was spent since the last flush; at log steps, before a checkpoint, and at the end."""
        self._become(self._activity)
        self._step = step
        if self._log:
            for activity, seconds in self._spent.items():
                line = {"time": self._since, "event": activity, "seconds": seconds, "from": self._flushed, "to": step}
                self._log.append(line)
        self._spent, self._flushed = {}, step

    def summary(self) -> dict[str, float]:
        """{activity: seconds}, with `lost` (steps done again after a restart) and `down` (between runs)."""
        return summarise(self._log.records) if self._log else {}

    def sentence(self) -> str:
        """'goodput 87.0 % of 2 h 03 min in 2 runs: step 87.0 %, compile 6.1 %, ...'"""
        spent = self.summary()
        total = sum(spent.values())
        if not total:
            return "goodput -: nothing measured yet"
        runs = sum(r["event"] == RUN for r in self._log.records) if self._log else 0
        shares = sorted(spent.items(), key=lambda x: -x[1])
        parts = ", ".join(f"{name} {100 * s / total:.1f} %" for name, s in shares)
        good = 100 * spent.get(STEP, 0.0) / total
        return f"goodput {good:.1f} % of {duration(total)} in {runs} run{'s' * (runs != 1)}: {parts}"


def summarise(records: list[dict]) -> dict[str, float]:
    """Seconds by activity of a whole log, restarts included; they add up to its time from first to last line."""
    spent: dict[str, float] = {}
    steps: list[list[float]] = []  # [seconds, from, to] of kept step time
    last = None

    def add(name, seconds):
        spent[name] = spent.get(name, 0.0) + seconds

    for r in records:
        if r["event"] == RUN:
            if last is not None:
                add("down", r["time"] - last)
            for s in steps:  # what lies beyond the checkpoint is done again
                seconds, start, end = s
                kept = min(end, max(start, r["resumed"]))
                if kept < end:
                    s[0], s[2] = seconds * (kept - start) / (end - start), kept
                    add("lost", seconds - s[0])
        elif r["event"] == STEP and r["to"] > r["from"]:
            steps.append([r["seconds"], r["from"], r["to"]])
        else:
            add(r["event"], r["seconds"])
        last = r["time"]
    if steps:
        add(STEP, sum(s[0] for s in steps))
    return spent
