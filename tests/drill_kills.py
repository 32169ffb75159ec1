# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A long drill: kills a run with SIGKILL again and again, then compares it bit for bit with one that was left alone.

    python -m tests.drill_kills --kills=20

It saves at every step, so that most kills hit an asynchronous save.
"""

import argparse
import pathlib
import random
import tempfile

from data_pipelines import prepare
from tests.training import test_loop


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.drill_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        prepare.prepare("photographs", "", str(root / "data"), reader_options={"window": 192, "stride": 192})
        # Logged at every step too: a resumed run averages what it logs over its own steps only.
        more = ("--config.checkpoint_every=1", "--config.validate_every=40", "--config.log_every=1")
        steps = 4 * args.kills
        test_loop.run(test_loop.command(root / "alone", root / "data", steps, *more))
        reached = test_loop.kill_and_restart(
            root / "killed", root / "data", args.kills, random.Random(args.seed), 0.6, steps, *more
        )
        same = test_loop.final_state(root / "killed", steps) == test_loop.final_state(root / "alone", steps)
        losses = test_loop.figures(root / "killed") == test_loop.figures(root / "alone")
        print(f"{args.kills} kills at steps {reached}: state bit for bit equal: {same}, logged losses equal: {losses}")
        raise SystemExit(0 if same and losses else 1)


if __name__ == "__main__":
    main()
