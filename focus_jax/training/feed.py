# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""From the loader's host batches to global device arrays, one step ahead of the device."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import NamedSharding

from focus_jax.training.sharding import to_global

_END = object()


class Feed:
    """Iterates (k, stream, global batch); a thread copies the next `ahead` batches to the devices meanwhile.

    waited: seconds `next` has spent waiting for data so far. An error in the loader is raised by `next`.
    """

    def __init__(self, batches: Iterator[tuple[int, dict, dict]], sharding: NamedSharding, ahead: int = 2):
        self._batches, self._sharding = batches, sharding
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=ahead)
        self._stop = threading.Event()
        self.waited = 0.0
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for k, stream, batch in self._batches:
                with jax.transfer_guard("allow"):
                    item = (k, stream, to_global(batch, self._sharding, stream["batch_size"]))
                if not self._put(item):
                    return
            self._put(_END)
        except BaseException as e:  # handed over whole and raised in the main thread
            self._put(e)

    def _put(self, item: Any) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> "Feed":
        return self

    def __next__(self) -> tuple[int, dict, dict[str, jax.Array]]:
        start = time.perf_counter()
        item = self._queue.get()
        self.waited += time.perf_counter() - start
        if item is _END:
            raise StopIteration
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Ends the thread; the loader's iterator is the caller's to close, afterwards."""
        self._stop.set()
        self._thread.join(timeout=30)
