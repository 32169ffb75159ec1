# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The encoders' parts of `benchmark tokenizer` on small sizes: the same work on both sides. No time is judged here."""

import json

import pytest

from focus_jax import benchmark
from focus_jax.benchmarks import encoders
from focus_jax.benchmarks.beside_torch import compare
from focus_jax.errors import UserError

VIT = dict(width=32, heads=2, depth=1, pixels=56, batch=2)
CONVNEXT = dict(widths=(8, 16, 24, 32), depths=(1, 1, 1, 1), pixels=32, batch=2)
FIGURES = {"examples_per_second", "torch_examples_per_second", "ratio", "loss", "torch_loss", "steps", "repeats"}


def flags(part, sizes):
    value = lambda x: ",".join(map(str, x)) if isinstance(x, tuple) else x
    return [f"--{part}-{name}={value(x)}" for name, x in sizes.items()]


@pytest.mark.slow
@pytest.mark.parity
def test_parts(tmp_path, capsys):
    pytest.importorskip("torch")
    file = tmp_path / "figures.json"
    argv = ["tokenizer", "--part=vit,convnext", "--encoder-steps=1", "--repeats=1", f"--json={file}"]
    benchmark.main([*argv, *flags("vit", VIT), *flags("convnext", CONVNEXT)])
    found = json.loads(file.read_text())
    assert list(found) == ["vit", "convnext"]
    for part, sizes in (("vit", VIT), ("convnext", CONVNEXT)):
        figures = found[part]
        assert set(figures) == FIGURES | set(sizes)
        assert {name: figures[name] for name in sizes} == {
            k: list(x) if type(x) is tuple else x for k, x in sizes.items()
        }
        assert figures["ratio"] > 0 and figures["loss"] == pytest.approx(figures["torch_loss"], rel=1e-5)
    out = capsys.readouterr().out
    assert "step   vit, batch 2, 56 x 56 pixels, float32, CPU" in out and "(goal 1.0)" in out
    assert "step   convnext, batch 2, 32 x 32 pixels, float32, CPU" in out and "(goal 0.8)" in out


@pytest.mark.parity
@pytest.mark.parametrize(
    "part, sizes, key",
    [("vit", VIT, "blocks.0.mlp.fc2.weight"), ("convnext", CONVNEXT, "encoder.stages.2.layers.0.pwconv2.weight")],
)
def test_another_weight_in_a_block_is_refused(monkeypatch, part, sizes, key):
    """The loss depends on what the blocks compute, so that equal losses speak for equal work."""
    pytest.importorskip("torch")
    made = encoders.torch_step
    monkeypatch.setattr(
        encoders, "torch_step", lambda m, weights, loss: made(m, {**weights, key: 2 * weights[key]}, loss)
    )
    with pytest.raises(UserError, match=f"benchmark {part}: the losses differ"):
        compare(part, getattr(encoders, part)(**sizes), batch=2, steps=1, repeats=1)


@pytest.mark.parametrize("ours", [1.001, float("nan")])
def test_losses_that_differ_are_refused(ours):
    with pytest.raises(UserError, match="benchmark vit: the losses differ"):
        compare("vit", {"ours": lambda: ours, "torch": lambda: 1.0}, batch=1, steps=1, repeats=1)


def test_medians_of_interleaved_repeats(monkeypatch):
    """Four timed steps a repeat after one that is not, sides taking turns to go first, on a clock the steps move."""
    now, calls = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def side(name, seconds):
        def step():
            calls.append(name)
            now[0] += seconds * (10 if 11 <= len(calls) <= 12 else 1)  # one slow repeat of the three
            return 1.0

        return step

    figures = compare("vit", {"ours": side("o", 0.5), "torch": side("t", 0.25)}, batch=2, steps=4, repeats=3)
    assert "".join(calls) == "ot" + "o" * 5 + "t" * 10 + "o" * 10 + "t" * 5
    assert figures["examples_per_second"] == 4 and figures["torch_examples_per_second"] == 8
    assert figures["ratio"] == 0.5


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--part=vit,unet", "no part 'unet', expected some of tokenizer,vit,convnext"),
        ("--vit-pixels=30", "pictures of 30 pixels, expected a multiple of 28"),
        ("--convnext-pixels=48", "pictures of 48 pixels, expected a multiple of 32"),
        ("--convnext-depths=1,1", "4 widths but 2 depths"),
    ],
)
def test_mistakes_end_in_a_sentence(flag, said, capsys):
    pytest.importorskip("torch")
    part = flag[2:].split("-")[0]
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(["tokenizer", *([] if part.startswith("part") else [f"--part={part}"]), flag])
    assert stopped.value.code == 2 and said in capsys.readouterr().err
