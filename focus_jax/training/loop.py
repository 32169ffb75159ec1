# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The training loop, from a config to a trained workdir, top to bottom. It knows no model: a stage brings the networks.

A workdir holds config.json, parameters.txt, checkpoints/, metrics.jsonl, goodput.jsonl, tensorboard/, pictures/ and,
when there was something to list, bad_records.HOST.jsonl, stacks_HOST.txt and skipped_examples.txt.
"""

import contextlib
import os
import signal
import threading
from typing import Any

import jax
from etils import epath

from data_pipelines import settings
from data_pipelines.loader import Loader
from data_pipelines.prepare import ensure_prepared
from focus_jax import stages
from focus_jax.training import config as config_lib
from focus_jax.training import parts, sharding, state, step, store
from focus_jax.training.checkpoint import Checkpoints, initial_params
from focus_jax.training.feed import Feed
from focus_jax.training.flops import peak_flops, train_flops
from focus_jax.training.goodput import Goodput
from focus_jax.training.health import SkipGuard, TrainingStopped, Watchdog, compare_hosts, wait_for_all
from focus_jax.training.metrics import Metrics, Speed, Window
from focus_jax.training.provenance import code_version


def train(config: Any, workdir: epath.PathLike, *, data_restart: bool = False) -> dict[str, float]:
    """Trains one stage; started again in the same workdir it goes on from the last whole checkpoint.

    Args:
      config: a training config (configs/), unlocked or locked; not changed.
      workdir: local folder or gs://; shared by all processes.
      data_restart: accept other data than the checkpoint was made with, from their beginning.

    Returns: figures of the last validation.
    Raises: UserError or DataError, one sentence, for what a user can mend.
    """
    workdir = epath.Path(workdir)
    first_process = jax.process_index() == 0

    # ------------------------------------------------------------------------------- 1. checks, before anything is big
    config_lib.validate(config, jax.device_count())
    if config.compile_cache:
        jax.config.update("jax_compilation_cache_dir", os.path.expanduser(config.compile_cache))
    if first_process:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "config.json").write_text(config.to_json(indent=2) + "\n")
    resumed = max(store.steps(workdir), default=0)
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    goodput = Goodput(workdir / "goodput.jsonl", resumed, writes=first_process, device=device)
    steps = config_lib.total_steps(config)
    stage = stages.create(config)

    # ------------------------------------------------------------------------------------------------ 2. mesh and data
    mesh = sharding.make_mesh(config.mesh)
    rows = sharding.batch_sharding(mesh, sharding.table(config))
    if first_process:
        data = settings.check(config.data)
        for source in (*data["sources"], *data["validation"]):
            if not settings.left_out(source, data):
                ensure_prepared(source)
    wait_for_all()
    loader = Loader(
        config.data,
        config.seed,
        rows=lambda batch_size: sharding.host_rows(rows, batch_size),
        workdir=workdir,
        host=jax.process_index(),
    )
    compare_hosts(config=config_lib.digest(config), code=code_version(), data=loader.fingerprint)

    # --------------------------------------------------- 3. state: the run's own checkpoint, else what config.init says
    plan = state.plan(config, stage.init, tuple(e.name for e in stage.events), steps, mesh)
    checkpoints = Checkpoints(workdir, config, plan)
    metrics = Metrics(workdir, steps, resumed)
    if resumed:
        trained, frozen, data_state = checkpoints.restore(resumed, plan)
        step.check_events(stage.events, jax.device_get(trained.events), resumed)
        if data_restart:  # batch 0 of these data comes next, whatever the step
            data_state = data_state | loader.state(0) | {"from": resumed}
        loader.check(data_state)
    else:
        params, origins = initial_params(config, plan, stage.init)
        trained, frozen = state.begin(plan, params)
        del params
        checkpoints.start(frozen, origins)
        data_state = loader.state(0) | {"from": 0}
    if loader.stores_codes:
        params = parts.unflatten(state.all_params(trained, frozen))
        of_latents = stage.latents_fingerprint(params) if hasattr(stage, "latents_fingerprint") else ""
        loader.check_codes(stage.codes_fingerprint(params), of_latents)
    metrics.overview(plan.abstract)
    for text in _introduction(config, stage, plan, loader, checkpoints, resumed):
        metrics.say(text)

    # -------------------------------------------------------------------------------------------------- 4. functions
    compiled = step.Compiled(config, stage, plan)
    executables: dict[tuple[Any, ...], tuple[Any, int]] = {}  # by phase and shape: the step and its model FLOPs

    def executable(stream, batch):
        key = stream["phase"], *(x.shape for x in batch.values())
        if key not in executables:
            for old in [k for k in executables if k[0] != key[0]]:
                del executables[old]  # a phase that is over: its programs take room on the device
            with compiled.scope(), goodput.measure("compile"), speed.pause(), watchdog.pause():
                built = compiled.train.lower(trained, frozen, batch).compile()
                flops = train_flops(stage, trained.params, frozen, batch, config.accumulate)
                wait_for_all()
            if config.hlo_dump and first_process:
                name = f"step_{stream['height']}x{stream['width']}_{stream['batch_size']}.hlo.txt"
                (workdir / name).write_text(built.as_text())
            executables[key] = built, flops
        return executables[key]

    def validate(k: int, phase: int, pictures: bool) -> dict[str, float]:
        params = state.all_params(trained, frozen, ema=config.validate_weights == "ema")
        window = Window()
        with contextlib.closing(loader.once(phase=phase)) as batches, compiled.scope():
            for i, (_, stream, batch) in zip(range(config.validate_batches), batches):
                measured = compiled.measure(params, sharding.to_global(batch, rows, stream["batch_size"]))
                shown = {n: x for n, x in measured.items() if n.startswith("show/")}
                window.add({n: x for n, x in measured.items() if n not in shown} | (shown if i == 0 else {}))
        figures, shown = window.reduce()
        if pictures:
            metrics.pictures(k, {f"validation/{n}": x for n, x in shown.items()})
        metrics.write(k, {f"validation/{n}": x for n, x in figures.items()})
        metrics.say(f"step {k:,} validation  " + "  ".join(f"{n} {x:.4g}" for n, x in figures.items()))
        return figures

    # ------------------------------------------------------------------------------------------------------ 5. the loop
    speed = Speed(steps, peak_flops(jax.devices()[0].device_kind, config.compute_dtype))
    if "speed" in data_state:
        speed.restore(data_state["speed"])
    data_from = int(data_state["from"])  # step at which the data began; above 0 after data_restart
    guard = SkipGuard(config.health.max_skipped, lambda k: loader.names(k - data_from), workdir)
    bad, window, figures = int(data_state.get("bad", 0)), Window(), {}
    pending_bad = []  # device scalars since the last log
    events = {e.step: e for e in stage.events}
    batches = loader.iter_from(resumed - data_from)
    feed = Feed(batches, rows)
    terminated = threading.Event()
    with (
        contextlib.closing(checkpoints), contextlib.closing(metrics), contextlib.closing(loader),
        contextlib.closing(feed), Watchdog(workdir, config.health.watchdog) as watchdog, _sigterm(terminated),
    ):  # fmt: skip
        goodput.training()
        for k in range(resumed, steps):
            with goodput.measure("data"), speed.waiting():
                _, stream, batch = next(feed)
            train_step, flops = executable(stream, batch)
            _profile(config, workdir, k)
            if event := events.get(k):
                with compiled.scope(), goodput.measure("compile"), speed.pause(), watchdog.pause():
                    trained, frozen = compiled.events[event.name](trained, frozen, batch)
                metrics.say(f"step {k:,} event {event.name}")
            with jax.transfer_guard("disallow"):
                trained, measured = train_step(trained, frozen, batch)
            done = k + 1
            pending_bad.append(measured.pop("bad_records"))
            window.add(measured)
            guard.check(done, measured)
            speed.tick(stream["batch_size"], flops)
            watchdog.beat(done)

            last = done == steps
            # Orbax agrees on a preemption step among processes; one process alone needs no agreement.
            leaving = checkpoints.reached_preemption(done) or (jax.process_count() == 1 and terminated.is_set())
            validating = done % config.validate_every == 0 or last
            if done % config.log_every == 0 or last or leaving:
                shown, _ = window.reduce()
                bad, pending_bad = bad + sum(int(x) for x in jax.device_get(pending_bad)), []
                metrics.log(done, shown | speed.figures(done) | {"bad_records": bad})
                for text in stage.alarms(done, shown):
                    metrics.say(f"step {done:,} alarm: {text}")
                goodput.flush(done)
                if bad > config.data.bad_record_budget:
                    raise TrainingStopped(
                        f"config.data.bad_record_budget: {bad} bad records by step {done}, allowed are "
                        f"{config.data.bad_record_budget}; they are listed in {workdir}/bad_records.*.jsonl."
                    )
            if validating and not leaving:
                with goodput.measure("validation"), speed.pause(), watchdog.pause():
                    figures = validate(done, stream["phase"], last or done % config.pictures_every == 0)
            with goodput.measure("checkpoint"):
                due = last or leaving or validating or done % config.checkpoint_every == 0
                checkpoints.check()
                if due:
                    with speed.pause(), watchdog.pause():
                        bad, pending_bad = bad + sum(int(x) for x in jax.device_get(pending_bad)), []
                        kept = loader.state(done - data_from) | {"from": data_from, "bad": bad, "speed": speed.state()}
                        measured = figures if validating and not leaving else None
                        checkpoints.save(done, trained, frozen, kept, measured, force=True)
                if leaving:
                    checkpoints.wait()
                    metrics.say(f"step {done:,} asked to stop: saved; the same command goes on from here")
                    goodput.flush(done)
                    return figures
        guard.finish()
        _profile(config, workdir, steps)
        with goodput.measure("checkpoint"):
            checkpoints.wait()
        goodput.flush(steps)
        metrics.say(goodput.sentence())
    return figures


def _introduction(config, stage, plan, loader, checkpoints, resumed):
    """What a user wants to see before the first step."""
    devices = jax.devices()
    mesh = dict(plan.mesh.shape)
    yield f"{config.name}: {len(devices)} x {devices[0].device_kind}, mesh {mesh}, table {config.sharding}"
    for group, tree in plan.trained.params.items():
        count = sum(x.size for x in tree.values())
        yield f"group {group}: {count:,} parameters, {plan.groups[group].optimizer} lr {plan.groups[group].lr:g}"
    yield f"frozen and buffers: {sum(x.size for x in plan.frozen.values()):,} values"
    for part, origin in checkpoints.origins.items():
        yield f"part {part}: from {origin}"
    yield from loader.summary()
    yield from (f"note: {note}" for note in stage.notes())
    if resumed:
        yield f"resumed from step {resumed:,}"


def _profile(config, workdir, k: int) -> None:
    """A profiler trace of config.profile_steps, read by TensorBoard or xprof."""
    first, last = config.profile_steps
    if first < last and k == first:
        jax.profiler.start_trace(str(workdir / "profile"))
    if first < last and k == last:
        jax.profiler.stop_trace()


@contextlib.contextmanager
def _sigterm(flag: threading.Event):
    """One process: SIGTERM asks the loop to save and leave. With several, Orbax and jax.distributed do it."""
    if jax.process_count() > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: flag.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
