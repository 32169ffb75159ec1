# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Guards around the loop: hosts that disagree, updates skipped again and again, steps that hang.

The guard inside the step (skipping of updates that are not finite or spike) is in step.py.
"""

import contextlib
import faulthandler
import hashlib
import itertools
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from focus_jax.errors import UserError


class TrainingStopped(UserError):
    """A run that must not go on; one sentence that says at which step and why."""


_waits = itertools.count()  # a name for each wait: all processes wait in the same order


def wait_for_all(hours: float = 24) -> None:
    """All processes call this before a computation that they may begin long after each other, as after compiling.

    A collective gives the others some seconds to come (Gloo: 30); this wait, which needs no device, as long as it is
    told. Raises: jax.errors.JaxRuntimeError where one of them never comes.
    """
    multihost.get_barrier_sync_fn()(key=f"focus_jax {next(_waits)}", timeout_ms=int(hours * 3.6e6))


def compare_hosts(**things: Any) -> None:
    """All hosts call this at start with the same names: config=..., code=..., data=... (anything JSON can hold).

    Raises: UserError on every host, naming hosts and fields, if a thing is not the same everywhere.
    """
    names = sorted(things)
    digests = [hashlib.sha256(json.dumps(things[n], sort_keys=True, default=str).encode()).digest() for n in names]
    mine = np.frombuffer(b"".join([*digests, socket.gethostname().encode()[:64].ljust(64, b"\0")]), np.uint8)
    disagreements = _disagreements(names, np.atleast_2d(multihost_utils.process_allgather(mine)))
    if disagreements:
        raise UserError(f"hosts: {'; '.join(disagreements)}; start every host from one checkout, command and data set.")


def _disagreements(names: Sequence[str], gathered: np.ndarray) -> list[str]:
    """gathered: uint8 [hosts, 32 * fields + 64] as `compare_hosts` makes them."""
    named = [bytes(row[-64:]).rstrip(b"\0").decode(errors="replace") for row in gathered]
    hosts = [f"host {i} ({name})" for i, name in enumerate(named)]
    out = []
    for f, name in enumerate(names):
        values = [bytes(row[32 * f : 32 * (f + 1)]) for row in gathered]
        usual = Counter(values).most_common(1)[0][0]  # of equally many the one met first: host 0's
        if odd := [h for h, v in zip(hosts, values) if v != usual]:
            verb = "has" if len(odd) == 1 else "have"
            out.append(f"{', '.join(odd)} {verb} another {name} than the rest")
    return out


class SkipGuard:
    """Stops a run whose updates are skipped too often in a row, and names what it was reading.

    It reads the counts one step late, so the device always has a step to work on while the host looks; this also keeps
    the host from running further ahead, which the watchdog's and Speed's clocks rely on.
    """

    def __init__(
        self, max_skipped: int, examples: Callable[[int], Sequence[str]], workdir: epath.PathLike | None = None
    ):
        """examples: step -> names of the examples in its batch. workdir: gets skipped_examples.txt with all of them."""
        self.max_skipped, self.examples, self.workdir = max_skipped, examples, workdir
        self._pending: tuple[int, Mapping[str, Any]] | None = None

    def check(self, step: int, metrics: Mapping[str, Any]) -> None:
        """After each step, with train_step's metrics (step: how many are done with it). Raises: TrainingStopped."""
        now = (step, {k: x for k, x in metrics.items() if k.startswith("skipped_in_a_row/")})
        if self._pending is not None:
            stop_after_skips(*self._pending, self.max_skipped, self.examples, self.workdir)
        self._pending = now

    def finish(self) -> None:
        """Looks at the last step too."""
        if self._pending is not None:
            stop_after_skips(*self._pending, self.max_skipped, self.examples, self.workdir)
        self._pending = None


def stop_after_skips(
    step: int,
    metrics: Mapping[str, Any],
    max_skipped: int,
    examples: Callable[[int], Sequence[str]],
    workdir: epath.PathLike | None = None,
) -> None:
    """Raises TrainingStopped when a group's `skipped_in_a_row/GROUP` has reached max_skipped.

    Args:
      step: number of steps done; the batches of steps step - max_skipped ... step - 1 were skipped.
      examples: step -> names of the examples of that step's batch.
      workdir: where process 0 writes skipped_examples.txt with all of them.
    """
    rows = {k.split("/", 1)[1]: int(jax.device_get(x)) for k, x in metrics.items() if k.startswith("skipped_in_a_row/")}
    over = {group: n for group, n in rows.items() if n >= max_skipped}
    if not over:
        return
    group, n = max(over.items(), key=lambda x: x[1])
    batches = {k: list(examples(k)) for k in range(max(step - n, 0), step)}
    names = list(dict.fromkeys(name for k in reversed(batches) for name in batches[k]))  # the last batch first
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    where = ""
    if workdir is not None:
        path = epath.Path(workdir) / "skipped_examples.txt"
        if jax.process_index() == 0:
            path.write_text("".join(f"step {k}: {name}\n" for k, row in batches.items() for name in row))
        where = f" (all in {path})"
    raise TrainingStopped(
        f"step {step}: the update of group {group!r} was skipped {n} times in a row (config.health.max_skipped is "
        f"{max_skipped}); its gradients were not finite or spiked on the examples {shown}{where}."
    )


class Watchdog:
    """A thread that writes all Python stacks to workdir/stacks_PROCESS.txt when a step takes far longer than usual.

    Usual is the median of the last 100 steps; the first `needs` steps and time inside `pause` do not count. One dump
    a hanging step; the run goes on (it may only be slow). `beat` must follow the device: see SkipGuard.
    """

    def __init__(
        self,
        workdir: epath.PathLike,
        factor: float,
        needs: int = 10,
        at_least: float = 10.0,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ):
        """factor: config.health.watchdog, 0 = off; at_least: seconds below which no step is called slow."""
        self.path = epath.Path(workdir) / f"stacks_{jax.process_index()}.txt"
        self.factor, self.needs, self.at_least, self.say = factor, needs, at_least, say
        self.dumps = 0
        self._times: deque[float] = deque(maxlen=100)
        self._step, self._since, self._paused, self._dumped = 0, None, 0, False
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        if self.factor:
            self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def beat(self, step: int) -> None:
        """A step is done."""
        with self._lock:
            now = time.monotonic()
            if self._since is not None:
                self._times.append(now - self._since)
            self._step, self._since, self._dumped = step, now, False

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Around compilation, validation and checkpoints; the step around it is not measured."""
        with self._lock:
            self._paused, self._since = self._paused + 1, None
        try:
            yield
        finally:
            with self._lock:
                self._paused -= 1
                if not self._paused:
                    self._since = time.monotonic()

    def limit(self) -> float | None:
        """Seconds after which a step is slow; None as long as too few were seen."""
        if len(self._times) < self.needs:
            return None
        return max(self.factor * statistics.median(self._times), self.at_least)

    def _watch(self) -> None:
        while not self._stop.wait(min(1.0, self.at_least / 5)):
            with self._lock:
                limit = self.limit()
                if limit is None or self._since is None or self._paused or self._dumped:
                    continue
                took = time.monotonic() - self._since
                if took < limit:
                    continue
                self._dumped, step = True, self._step
                usual = statistics.median(self._times)
            self._dump(step, took, usual)

    def _dump(self, step: int, took: float, usual: float) -> None:
        text = f"step {step + 1} has taken {took:.1f} s, the median is {usual:.3g} s"
        with open_local(self.path) as f:
            f.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            f.flush()
            faulthandler.dump_traceback(file=f, all_threads=True)
            f.write("\n")
        self.dumps += 1
        self.say(f"watchdog: {text}; stacks of all threads are in {self.path}")


@contextlib.contextmanager
def open_local(path: epath.Path) -> Iterator[Any]:
    """Opens a file with a descriptor to append to; for a path without one (gs://) a temporary file is copied there."""
    if "://" not in str(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as f:
            yield f
        return
    with tempfile.TemporaryFile("w+") as f:
        yield f
        f.seek(0)
        path.write_text((path.read_text() if path.exists() else "") + f.read())
