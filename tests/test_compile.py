# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The train step compiled for devices that are not there, and the reading of compiled programs."""

import json
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from focus_jax import compile as ahead
from focus_jax import describe, hlo
from focus_jax.errors import UserError
from focus_jax.training import config as config_lib
from focus_jax.training import sharding
from tests.golden import renew


@pytest.fixture(scope="module")
def tiny():
    return config_lib.load("configs/stage1_tokenizer.py:tiny")


@pytest.fixture(scope="module")
def on_cpu(tiny):
    return ahead.report(tiny, "cpu:8")


@pytest.mark.slow
def test_report_of_the_tiny_step(on_cpu, tiny):
    assert on_cpu["devices"] == 8 and on_cpu["shape"] == "0/64x64" and on_cpu["mesh"]["fsdp"] == 8
    assert on_cpu["step_seconds"] is None and on_cpu["fits"] is None  # no peak and no HBM is known of a CPU
    alone = ahead.report(tiny, "cpu:1", plan_only=True)
    assert alone["flops_per_device"] == 8 * on_cpu["flops_per_device"] > 1e9
    assert on_cpu["replicated"] == []
    json.dumps(on_cpu)


@pytest.mark.slow
def test_plan_counts_arguments_exactly(on_cpu, tiny):
    plan = ahead.report(tiny, "cpu:8", plan_only=True)["memory"]
    # Counted, though the step does not read them: float32 scale and bias of the norms of maps that fusion does not see.
    unread = sum(2 * 4 * width for width in tiny.model.tokenizer.convnext.widths[:2])
    assert plan["arguments"] - unread == pytest.approx(on_cpu["memory"]["arguments"], abs=8)
    assert plan["total"] == sum(v for k, v in plan.items() if k != "total")
    assert plan["residuals"] > 0


@pytest.mark.slow
def test_collectives_are_as_stored(on_cpu):
    """After a change that was meant to move them: `python -m tests.golden.renew collectives`."""
    found = {kind: x["ops"] for kind, x in on_cpu["collectives"].items()}
    stored = renew.stored("collectives")
    version = f"jax {jax.__version__}"
    if version not in stored:
        pytest.skip(f"no collectives are stored for {version}: python -m tests.golden.renew collectives")
    assert found == stored[version]


def test_collectives_of_a_known_program():
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(AxisType.Auto,))
    rows, cols = NamedSharding(mesh, PartitionSpec("fsdp")), NamedSharding(mesh, PartitionSpec(None, "fsdp"))

    def layers(ws, x):  # each turn gathers one [64, 64] float32
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, ws)[0]

    stack = NamedSharding(mesh, PartitionSpec(None, "fsdp"))
    ws = jax.ShapeDtypeStruct((5, 64, 64), jnp.float32, sharding=stack)
    x = jax.ShapeDtypeStruct((256, 64), jnp.float32, sharding=rows)
    found = hlo.collectives(jax.jit(layers, out_shardings=rows).lower(ws, x).compile().as_text())
    assert found["all-gather"] == {"ops": 1, "count": 5, "bytes": 5 * 64 * 64 * 4}

    total = jax.jit(lambda x: x.sum(0), out_shardings=NamedSharding(mesh, PartitionSpec()))
    found = hlo.collectives(total.lower(x).compile().as_text())
    assert found["all-reduce"] == {"ops": 1, "count": 1, "bytes": 64 * 4}

    move = jax.jit(lambda x: x, out_shardings=cols)
    found = hlo.collectives(move.lower(x).compile().as_text())
    assert found["all-to-all"]["ops"] == 1 and sum(x["ops"] for x in found.values()) == 1


def test_collectives_as_tpu_programs_write_them():
    text = """HloModule jit_f
%add.1 (a: f32[], b: f32[]) -> f32[] {
  ROOT %s = f32[] add(f32[] %a, f32[] %b)
}

%all-reduce-scatter.2 (p: f32[64,8]) -> f32[1,8] {
  %all-reduce.9 = f32[64,8]{1,0} all-reduce(%p), replica_groups={{0,1}}, to_apply=%add.1
  ROOT %slice = f32[1,8] dynamic-slice(%all-reduce.9, %i), dynamic_slice_sizes={1,8}
}

%condition (c: (s32[], f32[8])) -> pred[] {
  %bound = s32[]{:T(128)} constant(3)
  ROOT %less = pred[] compare(%i, %bound), direction=LT
}

%body (c: (s32[], f32[8])) -> (s32[], f32[8]) {
  %ag = (bf16[2,8]{1,0}, bf16[16,8]{1,0}) all-gather-start(%x), replica_groups=[1,8]<=[8], dimensions={0}
  %done = bf16[16,8]{1,0} all-gather-done(%ag)
  %rs = f32[4]{0:T(128)S(1)} reduce-scatter(%y), replica_groups=mesh['a'=4,'b'=2] {'a','b'}, to_apply=%add.1
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %loop = (s32[], f32[8]) while(%t), condition=%condition, body=%body
  %f = f32[1,8] fusion(%g), kind=kCustom, calls=%all-reduce-scatter.2
  %cp = (f32[6]{0}, f32[6]{0}, u32[], u32[]) collective-permute-start(%f), source_target_pairs={{0,1}}
  %cpd = f32[6]{0} collective-permute-done(%cp)
}
"""
    found = hlo.collectives(text)
    assert found["all-gather"] == {"ops": 1, "count": 3, "bytes": 3 * 16 * 8 * 2}
    assert found["reduce-scatter"] == {"ops": 2, "count": 4, "bytes": 64 * 8 * 4 + 3 * 8 * 4 * 4}
    assert found["collective-permute"] == {"ops": 1, "count": 1, "bytes": 24}
    assert found["all-reduce"]["ops"] == 0


def test_replicated_arrays_are_listed(monkeypatch):
    monkeypatch.setattr(ahead, "REPLICATED_LIMIT", 1024)
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(AxisType.Auto,))
    rows, whole = NamedSharding(mesh, PartitionSpec("fsdp")), NamedSharding(mesh, PartitionSpec())
    state = {
        "sharded": jax.ShapeDtypeStruct((512,), jnp.float32, sharding=rows),
        "unread": jax.ShapeDtypeStruct((512,), jnp.float32, sharding=whole),
        "large": jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=whole),
        "small": jax.ShapeDtypeStruct((256,), jnp.float32, sharding=whole),
    }
    step = jax.jit(lambda s: {"sum": s["sharded"] + s["small"].sum(), "out": s["large"] + 1}, out_shardings=whole)
    lowered = step.lower(state)
    found = ahead.replicated(types.SimpleNamespace(mesh=mesh), lowered.compile(), lowered)
    assert [(x["what"], x["name"], x["bytes"]) for x in found] == [
        ("argument", "[0]['large']", 2048),
        ("output", "['out']", 2048),
        ("output", "['sum']", 2048),
    ]


@pytest.mark.parametrize("fsdp", [8, 64, 256])
def test_full_state_has_nothing_large_and_whole_under_the_fsdp_table(fsdp):
    config = config_lib.load("configs/stage1_tokenizer.py")
    plan = describe.plan_of(config, describe.abstract_mesh(config.mesh, fsdp))
    state = {"trained": plan.trained, "frozen": plan.frozen}
    assert ahead.large_and_whole(plan, state) == []
    config.sharding = "data"  # the check itself must find them
    plan = describe.plan_of(config, describe.abstract_mesh(config.mesh, fsdp))
    names = " ".join(x["name"] for x in ahead.large_and_whole(plan, {"trained": plan.trained}))
    assert "tokenizer/pixel/decoder/mid/block_1/conv1/kernel" in names


def test_costliest_and_named_streams():
    config = config_lib.load("configs/stage1_tokenizer.py")
    found = ahead.costliest(config)
    assert ahead.shape_name(found) == "1/320x960"  # of the anchors near 512 x 512 the one with the most pixels
    assert ahead.stream_named(config, "0/256x256")["batch_size"] == 256
    with pytest.raises(UserError, match=r"--shape=3/1x1: .* expected one of 0/256x256, "):
        ahead.stream_named(config, "3/1x1")
    both = config_lib.load("configs/stage3.py:tiny")  # words and masks of one shape
    assert ahead.costliest(both)["shape_class"] == "segmentation"  # of those of 16 rows the longest
    assert ahead.stream_named(both, "0/64x64/language")["shape_class"] == "language"
    said = r"5 streams have this shape, expected one of 0/64x64/language, 0/64x64/segmentation, 0/64x64/clips, "
    with pytest.raises(UserError, match=said):
        ahead.stream_named(both, "0/64x64")
    twice = config_lib.load("configs/stage1_decoder.py")  # one class and shape, two sizes of its tokens
    assert ahead.stream_named(twice, "0/512x512/picture@0.5")["tokens"] == 0.5
    assert ahead.stream_named(twice, "1/1024x1024")["tokens"] == 0.5
    with pytest.raises(UserError, match=r"2 streams have this shape, expected one of 0/512x512/picture@1, "):
        ahead.stream_named(twice, "0/512x512/picture")
    with pytest.raises(UserError, match="--topology=cpu:99: expected cpu:N, N from 1 to 8"):
        ahead.topology_devices("cpu:99")


def test_command_and_table(tmp_path, capsys):
    report = tmp_path / "report.json"
    ahead.main(
        ["--config=configs/stage1_tokenizer.py:tiny", "--topology=cpu:8", "--plan", f"--report={report}", "--markdown"]
    )
    (row,) = json.loads(report.read_text())
    table = capsys.readouterr().out
    assert "| stage1_tokenizer:tiny | cpu:8 | 0/64x64 | 8 | 1 |" in table and row["memory"]["arguments"] > 0
    assert "not compiled" in ahead.text(row)
    assert "does not fit: no room" in ahead.text(row | {"memory": None, "out_of_memory": "no room", "fits": False})


@pytest.mark.tpu_compile
@pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache")  # no TPU to read it back
@pytest.mark.slow
def test_tiny_step_compiles_for_a_tpu_slice(tiny):
    found = ahead.report(tiny, "v5e:2x2")
    assert found["device_kind"] == "TPU v5 lite" and found["devices"] == 4 and found["fits"]
    memory = found["memory"]
    assert memory["total"] < 2**30 and memory["arguments"] > 2**20
    assert memory["arguments"] < found["peak"] <= memory["total"]
    assert found["collectives"]["all-gather"]["count"] + found["collectives"]["all-reduce"]["count"] > 4
    assert found["step_seconds"] == pytest.approx(found["flops_per_device"] / (0.4 * 197e12))


@pytest.mark.tpu_compile
def test_unknown_topology():
    with pytest.raises(UserError, match=r"--topology=v9z:1x1: libtpu does not give it"):
        ahead.topology_devices("v9z:1x1")


@pytest.mark.tpu_compile
def test_multislice_mesh_keeps_slices_apart(tiny):
    devices = ahead.topology_devices("v5e:2x2", slices=2)
    mesh = sharding.make_mesh({"dcn_data": 2, "data": 1, "fsdp": -1, "tensor": 1}, devices)
    assert math.prod(mesh.devices.shape) == 8
    for i in range(2):
        assert {d.slice_index for d in np.ravel(mesh.devices[i])} == {i}


@pytest.mark.slow
@pytest.mark.tpu_compile
def test_full_step_fits_a_v5p_slice():
    config = config_lib.load("configs/stage1_tokenizer.py")
    found = ahead.report(config, "v5p:4x4x4", stream=ahead.stream_named(config, "0/256x256"), quick=True)
    assert found["fits"] and found["memory"]["total"] < 16 * 2**30
    assert found["replicated"] == []
