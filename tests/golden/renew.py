# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stored figures that tests compare with, and the one command that renews them: `python -m tests.golden.renew NAME`.

Renew only when a change was meant to move them, and say so in the commit.
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent
# Meshes that the three tables are made for; nothing has to be there.
MESHES = {
    "data": {"dcn_data": 1, "data": 64, "fsdp": 1, "tensor": 1},
    "fsdp": {"dcn_data": 2, "data": 1, "fsdp": 64, "tensor": 1},
    "fsdp_tensor": {"dcn_data": 1, "data": 1, "fsdp": 16, "tensor": 4},
}


def shardings() -> dict:
    """{table: {path: "dtype [shape] mesh axes of each dimension"}} of the full stage 1 config."""
    import math

    from focus_jax import describe
    from focus_jax.training import config as config_lib

    found = {}
    for table, sizes in MESHES.items():
        config = config_lib.load("configs/stage1_tokenizer.py")
        config.mesh, config.sharding = sizes, table
        plan = describe.plan_of(config, describe.abstract_mesh(sizes, math.prod(sizes.values())))
        axes = lambda to: "-" if to is None else to if isinstance(to, str) else "+".join(to)
        found[table] = {
            path: f"{x.dtype} {list(x.shape)} {' '.join(axes(to) for to in x.sharding.spec) or 'whole'}"
            for path, x in sorted(plan.abstract.items())
        }
    return found


def collectives() -> dict:
    """{"jax VERSION": {kind: operations in the program}}: the tiny step on eight fake CPU devices, fsdp table."""
    import jax

    from focus_jax import compile as ahead
    from focus_jax.training import config as config_lib

    config = config_lib.load("configs/stage1_tokenizer.py:tiny")
    found = ahead.report(config, "cpu:8")["collectives"]
    return {f"jax {jax.__version__}": {kind: x["ops"] for kind, x in found.items()}}


LOSS_STEPS = 20


def losses() -> dict:
    """{"jax VERSION PLATFORM": losses of the first 20 steps} of the tiny stage 1 with all its terms, one device."""
    import jax
    import numpy as np

    from focus_jax.training import config as config_lib
    from tests.training import test_step

    config = config_lib.load("configs/stage1_tokenizer.py:tiny", ["--config.data.phases[0].streams[0].batch_size=4"])
    config.loss.weights.perceptual, config.loss.weights.adversarial = 0.5, 0.5
    config.loss.adversarial_from, config.loss.codebook_start = 15, 10
    config.model.perceptual = {"widths": (8, 16), "depths": (1, 1)}
    config.assign = (*config.assign, ("discriminator/.*", "discriminator"), ("perceptual/.*", "frozen"))
    run, found = test_step.Run(config), []
    for k in range(LOSS_STEPS):
        rng = np.random.default_rng(k)
        coarse = rng.integers(0, 256, (4, 8, 8, 3))
        large = lambda times, coarse=coarse: np.kron(coarse, np.ones((1, times, times, 1))).astype(np.uint8)
        batch = test_step.make_batch(rows=4) | {"image": large(4), "high": large(16)}
        if k == config.loss.codebook_start:
            run.event("codebook_start", batch)
        found.append(float(run.step(batch)["loss"]))
    return {f"jax {jax.__version__} {jax.default_backend()}": found}


def stored(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def renew(name: str) -> None:
    path = FOLDER / f"{name}.json"
    kept = stored(name) if name != "shardings" and path.exists() else {}  # other jax versions stay
    path.write_text(json.dumps(kept | globals()[name](), indent=1, sort_keys=True) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    from tests import conftest  # noqa: F401  the tests' environment: CPU, eight fake devices

    names = [n for n in sys.argv[1:] if n in ("shardings", "collectives", "losses")]
    if not names or len(names) < len(sys.argv) - 1:
        sys.exit("expected: python -m tests.golden.renew shardings | collectives | losses")
    for name in names:
        renew(name)
