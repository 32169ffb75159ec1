# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where `prepare` runs. An engine is one method, `map(function, items)`, yielding results in the order of the items.

Functions and items pickle and results are small (the data go to disk from where they are made), so a Beam runner can
take the place of `Local` by wrapping the same function in a ParDo and sorting what comes back.
"""

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator

from data_pipelines.errors import DataError


class Local:
    """`workers` processes of this machine; 0 runs everything in the calling process."""

    def __init__(self, workers: int):
        self.workers = workers

    def map(self, function: Callable, items: Iterable) -> Iterator:
        if not self.workers:
            yield from map(function, items)
            return
        # spawn: the caller may be a trainer with threads. A killed parent must not leave workers that go on writing.
        pool = concurrent.futures.ProcessPoolExecutor(
            self.workers, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent
        )
        try:
            yield from pool.map(function, items)
        except concurrent.futures.process.BrokenProcessPool as error:
            raise DataError("prepare: a worker process died, expected enough memory for --workers of them.") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent():
    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
