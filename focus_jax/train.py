# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Trains one stage.

    python -m focus_jax.train --config=configs/stage1_tokenizer.py:tiny --workdir=runs/stage1_tokenizer

The config picks the stage; `:tiny` is the same stage on the tiny model. Any field can be set on the command line:

    --config.seed=3   --config.groups.pixel.lr=1e-4   --config.data.sources[0].path=/data/shards   --config.mesh.fsdp=4

Start the same command again and it goes on from the last checkpoint in the workdir. SIGTERM saves first, then leaves.
On a TPU pod or a cluster start it on every host with --distributed; the hosts find each other.
"""

import argparse
import sys

from focus_jax.errors import UserError, one_sentence


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and calls training.loop.train."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        "python -m focus_jax.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE[:ARG]", help="a config file, e.g. configs/stage1_tokenizer.py:tiny"
    )
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="where checkpoints, metrics and pictures go; may be gs://"
    )
    parser.add_argument(
        "--data_restart", action="store_true", help="go on with other data than the checkpoint's, from their beginning"
    )
    parser.add_argument(
        "--distributed", action="store_true", help="one of several processes (TPU pod, GKE, SLURM: found by itself)"
    )
    parser.add_argument(
        "--coordinator", metavar="HOST:PORT", help="with --processes and --process_id where nothing finds them"
    )
    parser.add_argument("--processes", type=int, metavar="N")
    parser.add_argument("--process_id", type=int, metavar="I")
    from focus_jax.platforms import without_absent_tpu
    from focus_jax.training import config as config_lib

    overrides, rest = config_lib.config_overrides(argv)
    args = parser.parse_args(rest)
    with one_sentence():
        without_absent_tpu()
        config = config_lib.load(args.config, overrides)
        import jax

        if args.distributed or args.coordinator:
            if args.coordinator and (args.processes is None or args.process_id is None):
                raise UserError("--coordinator: expected --processes and --process_id beside it.")
            jax.distributed.initialize(args.coordinator, args.processes, args.process_id)
        from focus_jax.training.loop import train

        train(config, args.workdir, data_restart=args.data_restart)


if __name__ == "__main__":
    main()
