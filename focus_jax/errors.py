# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Errors a user can mend. Entry points print them as one sentence, without a traceback, and leave with exit code 2."""

import contextlib
import errno
import sys
from collections.abc import Iterator

from data_pipelines.errors import DataError


class UserError(ValueError):
    """One sentence that names the file, the field and what was expected there."""


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Turns a user's mistake into one printed sentence and exit code 2; every other exception keeps its traceback."""
    try:
        yield
    except (UserError, DataError) as e:
        sys.stdout.flush()
        print(f"error: {e}", file=sys.stderr)
        raise SystemExit(2) from e
    except OSError as e:
        reason = {
            errno.ENOSPC: "the disk is full; free some room and start the same command again",
            errno.EACCES: "no permission to write there; choose another folder or change its permissions",
            errno.EROFS: "the file system is read-only; choose another folder",
        }.get(e.errno or 0)
        if reason is None:
            raise
        sys.stdout.flush()
        print(f"error: {e.filename or 'a file'}: {reason}.", file=sys.stderr)
        raise SystemExit(2) from e
