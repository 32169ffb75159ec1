# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself: a line in the terminal, metrics.jsonl, TensorBoard and pictures; and how fast it is.

Figures of MFU and TFLOP/s count model FLOPs (focus_jax/training/flops.py says which) against the dense peak of the
device in the dtype of the matmuls; where no peak is known MFU stands as "-".
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import clu.metrics
import clu.parameter_overview
import jax
import jax.numpy as jnp
import numpy as np
import tensorboardX
from etils import epath
from jax.experimental import multihost_utils
from PIL import Image

from focus_jax.training.jsonlines import JsonLines

# Counts since the start of the run: the last value tells, a mean over a window would not.
LAST = ("skipped/", "skipped_in_a_row/")


def _as_metric(name: str, x: Any) -> Any:
    if name.startswith("hist/"):
        return x
    total, count = x if isinstance(x, tuple | list) else (x, jnp.ones((), jnp.int32))
    return clu.metrics.Average(total=jnp.asarray(total, jnp.float32), count=count)


@jax.jit
def _add(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {k: a[k].merge(x) if isinstance(x, clu.metrics.Metric) else a[k] + x for k, x in b.items()}


@jax.jit
def _first(b: dict[str, Any]) -> dict[str, Any]:
    return {k: _as_metric(k, x) for k, x in b.items()}


def to_host(tree: Any) -> Any:
    """Arrays -> numpy on every host. With several hosts it gathers what is not here, so all hosts must call it."""

    def fetch(x):
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            if not x.is_fully_replicated:
                return multihost_utils.process_allgather(x, tiled=True)
            x = x.addressable_data(0)
        return np.asarray(jax.device_get(x))

    return jax.tree.map(fetch, tree)


def histogram_figures(name: str, counts: np.ndarray) -> dict[str, float]:
    """counts [K] -> NAME_usage, share of bins that are not empty, and NAME_perplexity, exp of the entropy in nats."""
    counts = np.asarray(counts, np.float64)
    total = counts.sum()
    if total <= 0:
        return {}
    p = counts[counts > 0] / total
    return {f"{name}_usage": len(p) / counts.size, f"{name}_perplexity": float(np.exp(-np.sum(p * np.log(p))))}


class Window:
    """Metrics of the steps since the last log, summed on device so that no step waits for the host.

    `add` takes what train_step or Stage.measures returns: scalars (their mean over steps counts), (sum, count) pairs
    (sum of sums / sum of counts), `hist/NAME` arrays (added), `show/NAME` arrays (the last one stays).
    """

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._last: dict[str, Any] = {}

    def add(self, metrics: Mapping[str, Any]) -> None:
        last = {k: x for k, x in metrics.items() if k.startswith(("show/", *LAST))}
        self._last |= last
        new = _first({k: x for k, x in metrics.items() if k not in last})
        both = new.keys() & self._sums.keys()  # shape classes differ in their terms
        added = _add({k: self._sums[k] for k in both}, {k: new[k] for k in both})
        self._sums |= new | added

    def reduce(self) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """(figures, {NAME of show/NAME: array}) and starts anew; waits for the device. All hosts call it."""
        sums, last = to_host(self._sums), to_host(self._last)
        self._sums, self._last = {}, {}
        figures: dict[str, float] = {}
        for name, x in sums.items():
            if name.startswith("hist/"):
                figures |= histogram_figures(name.removeprefix("hist/"), x)
            elif x.count != 0:  # nothing to divide by: the term is absent, not zero
                figures[name] = float(x.compute())
        figures |= {k: x.item() for k, x in last.items() if not k.startswith("show/")}
        return figures, {k.removeprefix("show/"): x for k, x in last.items() if k.startswith("show/")}


class Speed:
    """Rates of a run without its warm-up and pauses; the integrals go into the checkpoint and count over restarts.

    The clock starts with the first `tick` after construction, so compiling and filling the queues are left out. The
    host runs ahead of the device: read metrics of a finished step (Window.reduce does) before `figures` or `pause`.
    """

    INTEGRALS = ("seconds", "paused", "waited", "steps", "examples", "flops")

    def __init__(
        self,
        steps: int,
        peak: float | None = None,
        devices: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        """steps: length of the whole run; peak: FLOP/s of one device or None; devices: default all of them."""
        self.total, self.peak, self.clock = steps, peak, clock
        self.devices = jax.device_count() if devices is None else devices
        self.sums = dict.fromkeys(self.INTEGRALS, 0.0)
        self._since: float | None = None  # the clock at the end of the warm-up, then at the last settling
        self._mark: dict[str, float] = dict(self.sums)
        self._pace: float | None = None  # smoothed seconds a step, later pauses too
        self._pausing = False

    def _settle(self, into: str = "seconds") -> None:
        now = self.clock()
        if self._since is not None:
            self.sums[into] += now - self._since
            self._since = now

    def tick(self, examples: int, flops: float = 0.0) -> None:
        """After every step: rows of its global batch, and model FLOPs of the step over all devices."""
        if self._since is None:
            self._since = self.clock()
            return
        self.sums["steps"] += 1
        self.sums["examples"] += examples
        self.sums["flops"] += flops

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Around validation, checkpoints, compilation: not training time. May be nested."""
        outer, self._pausing = self._pausing, True
        self._settle("paused" if outer else "seconds")
        try:
            yield
        finally:
            self._settle("paused")
            self._pausing = outer

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the loader's next(): time that the step waits for data (it stays training time)."""
        start = self.clock()
        try:
            yield
        finally:
            if self._since is not None and not self._pausing:
                self.sums["waited"] += self.clock() - start

    def figures(self, step: int) -> dict[str, float]:
        """Since the last call: steps_per_second, examples_per_second, tflops_per_device, mfu, data_wait; eta_seconds.

        mfu is absent where no peak is known, everything before two steps have passed. device_hours counts all runs.
        """
        self._settle()
        new = {k: self.sums[k] - self._mark[k] for k in self.INTEGRALS}
        self._mark = dict(self.sums)
        if not new["steps"] or not new["seconds"]:
            return {}
        rate = new["flops"] / new["seconds"] / self.devices
        # Of late, not of the whole run; and the first pauses compile every shape, the later ones none.
        if self._pace is None:
            self._pace = new["seconds"] / new["steps"]
        else:
            self._pace = 0.7 * self._pace + 0.3 * (new["seconds"] + new["paused"]) / new["steps"]
        out = {
            "steps_per_second": new["steps"] / new["seconds"],
            "examples_per_second": new["examples"] / new["seconds"],
            "data_wait": new["waited"] / new["seconds"],
            "eta_seconds": (self.total - step) * self._pace,
            "device_hours": self.sums["seconds"] * self.devices / 3600,
        }
        if new["flops"]:
            out["tflops_per_device"] = rate / 1e12
            if self.peak:
                out["mfu"] = rate / self.peak
        return out

    def state(self) -> dict[str, float]:
        """Integrals of all runs so far, plain numbers for the checkpoint's `meta`."""
        self._settle()
        return dict(self.sums)

    def restore(self, state: Mapping[str, float]) -> None:
        self.sums = {k: float(state[k]) for k in self.INTEGRALS}
        self._mark = dict(self.sums)


def duration(seconds: float) -> str:
    """'41 s', '3 min 20 s', '5 h 02 min', '3 d 04 h'."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02d} s"
    if s < 86_400:
        return f"{s // 3600} h {s % 3600 // 60:02d} min"
    return f"{s // 86_400} d {s % 86_400 // 3600:02d} h"


def line(step: int, steps: int, figures: Mapping[str, float]) -> str:
    """The terminal line of a step; what a figure is not known for stands as "-"."""
    show = lambda name, form, scale=1.0: format(figures[name] * scale, form) if name in figures else "-"
    return (
        f"step {step:,}/{steps:,}  loss {show('loss', '.4f')}  {show('steps_per_second', '.3g')} steps/s  "
        f"{show('examples_per_second', '.4g')} examples/s  {show('tflops_per_device', '.3g')} TFLOP/s/device  "
        f"MFU {show('mfu', '.1f', 100)}{' %' if 'mfu' in figures else ''}  "
        f"data wait {show('data_wait', '.1f', 100)} %  "
        f"ETA {duration(figures['eta_seconds']) if 'eta_seconds' in figures else '-'}"
    )


class Metrics:
    """Writes figures and pictures of a run; only process 0 writes, the other hosts' calls do nothing.

    workdir/metrics.jsonl: one object a step, {"step": int, "time": seconds since 1970, FIGURE: number or null}.
    workdir/tensorboard: the same scalars, and pictures. workdir/pictures/NAME_STEP.png.
    """

    def __init__(self, workdir: epath.PathLike, steps: int, resumed: int = 0):
        """steps: length of the run; resumed: step of the checkpoint it goes on from; what is beyond is cut off."""
        self.workdir, self.steps = epath.Path(workdir), steps
        self.writes = jax.process_index() == 0
        if self.writes:
            self._lines = JsonLines(self.workdir / "metrics.jsonl", keep=lambda r: r["step"] <= resumed)
            # purge_step: TensorBoard leaves out what an earlier run wrote from there on.
            self._board = tensorboardX.SummaryWriter(
                str(self.workdir / "tensorboard"), purge_step=resumed + 1 if resumed else None
            )

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of a step; a second call for the same step adds to its line."""
        if not self.writes:
            return
        record = {"step": step, "time": time.time(), **figures}
        last = self._lines.records[-1] if self._lines.records else {}
        if last.get("step") == step:
            self._lines.replace_last(last | record)
        else:
            self._lines.append(record)
        for name, value in figures.items():
            self._board.add_scalar(name, float(value), step)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """`write`, and the line in the terminal."""
        self.write(step, figures)
        self.say(line(step, self.steps, figures))

    def say(self, text: str) -> None:
        """A line in the terminal, once for all hosts."""
        if self.writes:
            print(text, flush=True)

    def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """{NAME: uint8, or float in [-1, 1], of [H, W, 3] or [N, H, W, 3] (laid out as a grid)}."""
        if not self.writes:
            return
        for name, x in pictures.items():
            picture = grid(x)
            path = self.workdir / "pictures" / f"{name.replace('/', '_')}_{step}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as f:
                Image.fromarray(picture).save(f, format="PNG")
            self._board.add_image(name, picture, step, dataformats="HWC")

    def overview(self, params: Mapping[str, Any]) -> None:
        """Writes the table of all parameters to workdir/parameters.txt. params: {path: array or ShapeDtypeStruct}."""
        if self.writes:
            table = clu.parameter_overview.get_parameter_overview(dict(params), include_stats=False)
            (self.workdir / "parameters.txt").write_text(table + "\n")

    def flush(self) -> None:
        if self.writes:
            self._board.flush()

    def close(self) -> None:
        if self.writes:
            self._board.close()


def grid(x: np.ndarray) -> np.ndarray:
    """[N, H, W, 3] or [H, W, 3], uint8 or float in [-1, 1] -> one uint8 picture [rows * H, columns * W, 3]."""
    x = np.asarray(x)
    if x.dtype != np.uint8:
        x = np.clip(np.round((x.astype(np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)
    if x.ndim == 3:
        return x
    n, h, w, c = x.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    x = np.concatenate([x, np.zeros((rows * columns - n, h, w, c), np.uint8)])
    return x.reshape(rows, columns, h, w, c).swapaxes(1, 2).reshape(rows * h, columns * w, c)
