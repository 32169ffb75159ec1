# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs of the tiny stage in processes of their own: `python -m tests.training.tiny_run ACTION WORKDIR [ARGUMENTS]`."""

import os
import resource
import signal
import sys
import time


def main(action: str, workdir: str, *rest: str) -> None:
    if action == "forever":  # saves every step until it is killed
        for step, (trained, frozen, saver) in enumerate(train(workdir, checkpoint_every=1)):
            saver.save(step, trained, frozen, {"k": step})
    elif action == "full":  # no file may grow past some bytes, as on a disk that is full
        from focus_jax.errors import one_sentence

        with one_sentence():
            for step, (trained, frozen, saver) in enumerate(train(workdir, checkpoint_every=1)):
                if step == 1:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
                saver.save(step, trained, frozen, {"k": step})
                time.sleep(0.5)  # the next call, not this one, tells
    elif action in ("save", "restore"):
        process, port = int(rest[0]), rest[1]
        import jax

        jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=process)
        assert jax.device_count() == 8 and jax.local_device_count() == 4
        distributed_save(workdir, process) if action == "save" else distributed_restore(workdir)


def train(workdir, devices: int = 8, **changes):
    """Yields (trained, frozen, checkpoints) at steps 0, 1, 2, ...; the state before is donated."""
    import jax.numpy as jnp
    import numpy as np

    from focus_jax.training import checkpoint, state, step
    from tests.training.tiny_stage import WIDTH, TinyStage, tiny_config, tiny_plan

    config = tiny_config(**changes)
    plan = tiny_plan(config, devices)
    stage = TinyStage()
    params, origins = checkpoint.initial_params(config, plan, stage.init)
    trained, frozen = state.begin(plan, params)
    saver = checkpoint.Checkpoints(workdir, config, plan) if workdir else None
    if saver:
        saver.start(frozen, origins)
    compiled = step.Compiled(config, stage, plan)
    batch = {"x": jnp.asarray(np.random.default_rng(0).normal(size=(8, WIDTH)), jnp.float32)}
    while True:
        yield trained, frozen, saver
        with compiled.scope():
            trained, metrics = compiled.train(trained, frozen, batch)
        float(metrics["loss"])  # one collective program at a time on fake devices


def at_step(workdir, step: int, **changes):
    """(trained, frozen, checkpoints) of a run after some steps."""
    run = train(workdir, **changes)
    for _ in range(step):
        next(run)
    return next(run)


def new_run(workdir, step: int = 0, **changes):
    """A run saved after some steps. Returns: (trained, frozen) as numpy."""
    import jax

    trained, frozen, saver = at_step(workdir, step, **changes)
    saver.save(step, trained, frozen, {"k": step, "seed": 0}, force=True)
    saver.close()
    return jax.device_get((trained, frozen))


def resume(workdir, **changes):
    """(trained, frozen, data state) of a run's last step."""
    from focus_jax.training import checkpoint
    from tests.training.tiny_stage import tiny_config, tiny_plan

    config = tiny_config(**changes)
    plan = tiny_plan(config)
    saver = checkpoint.Checkpoints(workdir, config, plan)
    return saver.restore(saver.latest(), plan)


CHAIN = dict(assign=(("tokenizer/pixel/.*", "frozen"), ("llm/.*", "llm"), ("vae/.*", "frozen")))


def chain(first, second):
    """A second run, of one step, that freezes the tokenizer of the first. Returns: as `new_run`."""
    return new_run(second, 1, init={"tokenizer": str(first), "llm": "random", "vae": str(first)}, **CHAIN)


def distributed_save(workdir: str, process: int) -> None:
    """Saves because of a preemption notice that only process 0 received; both must stop at the same step."""
    for step, (trained, frozen, saver) in enumerate(train(workdir, checkpoint_every=1000)):
        if step == 0:
            saver.save(0, trained, frozen, {"k": 0}, force=True)
            if process == 0:
                os.kill(os.getpid(), signal.SIGTERM)
        saved = saver.save(step, trained, frozen, {"k": step})
        if saver.reached_preemption(step):
            saver.close()
            print(f"stopped at {step} saved {saved}", flush=True)
            return
        time.sleep(0.1)
        assert step < 600, "the notice never arrived"


def distributed_restore(workdir: str) -> None:
    from focus_jax.training import checkpoint, fingerprint, state
    from tests.training.tiny_stage import tiny_config, tiny_plan

    config = tiny_config()
    plan = tiny_plan(config)
    saver = checkpoint.Checkpoints(workdir, config, plan)
    trained, frozen, data = saver.restore(saver.latest(), plan)
    saver.close()
    print("fingerprint", fingerprint.fingerprint(state.all_params(trained, frozen)), data, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
