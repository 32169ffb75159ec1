# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The environment of every test, set before jax is imported: CPU, eight fake devices, a persistent compile cache."""

import os
import pathlib

# Tests compile more than they compute, and without its optimisations XLA takes a third of the CPU time to compile a
# tiny stage's step (and three times as long to run it).
PLAIN = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def xla_flags(devices: int) -> str:
    """Of a process of tests with so many fake devices."""
    return f"--xla_force_host_platform_device_count={devices} {PLAIN}"


os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {xla_flags(8)}".strip()
os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # libtpu is only asked to compile; there is no TPU to look for
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # two ahead-of-time compiles may run in two test processes
os.environ["HF_HUB_OFFLINE"] = "1"
CACHE = pathlib.Path(os.environ.get("FOCUS_JAX_CACHE", pathlib.Path.home() / ".cache" / "focus_jax")) / "xla-tests"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

import jax  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402

PROOFS = ("parity", "browser")  # markers
FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "shared" / "fixtures" / "open"


def pytest_configure(config):
    flags.FLAGS.mark_as_parsed()  # Grain's worker processes read absl flags
    assert jax.device_count() == 8, f"tests need 8 fake CPU devices, found {jax.devices()}"


@pytest.fixture(scope="session")
def fixtures() -> pathlib.Path:
    """Folder of small real pictures beside the checkout."""
    if not FIXTURES.exists():
        pytest.skip(f"no real pictures at {FIXTURES}: this test needs them")
    return FIXTURES


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI a test of PROOFS that skips is a failure: a proof that did not run proves nothing."""
    outcome = yield
    report = outcome.get_result()
    proof = next((name for name in PROOFS if item.get_closest_marker(name)), None)
    if report.skipped and os.environ.get("CI") and proof and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{proof} test skipped in CI: {report.longrepr}"
