# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Memory of inference on one chip: what each program reads, and what stays where parts take turns."""

import jax
import pytest

from focus_jax.errors import UserError
from focus_jax.inference import memory
from focus_jax.training import config as config_lib
from tests.stages.test_editing import config


@pytest.fixture(scope="module")
def lowered():
    return memory.Lowered(config())


@pytest.mark.slow
def test_programs_read_what_they_need(lowered):
    found = {name: lowered.compiled(name, jax.devices()[0]) for name in lowered.programs}
    parts = {name: {path.partition("/")[0] for path in program.used} for name, program in found.items()}
    assert parts[memory.READ] == parts[memory.SAY] == parts[memory.WRITE] == {"llm"}
    assert {"llm", "tokenizer", "adapter", "fusion_mlp"} <= parts[memory.LOOK]
    assert {"llm", "tokenizer", "mask_tokens", "mask_decoder", "mask_pixel_decoder"} <= parts[memory.MARK]
    assert parts[memory.CODES] == {"tokenizer"} and parts[memory.STEPS] == {"unet", "mask_guidance"}
    assert parts[memory.PICTURE] == {"vae"}
    assert all(program.beside > 0 for program in found.values())
    assert found[memory.WRITE].beside > found[memory.SAY].beside  # two rows of a cache

    weights = {path: memory._bytes(x) for path, x in lowered.flat.items()}
    rows = {r["task"]: r for r in memory._rows("v5e", found, weights, 2**30, estimate=False)}
    assert set(rows) == set(memory.TASKS)
    for row in rows.values():
        assert 0 < row["moved"] < row["peak"] < row["hbm"]
    most = max(found[name].beside for name in memory.TASKS["edit"])
    assert rows["edit"]["peak"] == sum(weights.values()) + most
    text = memory.text({"name": "small", "rows": list(rows.values())})
    assert text.count("fits") == 2 * len(rows) and "NOT" not in text
    tight = [row | {"hbm": row["moved"], "estimate": True} for row in rows.values()]
    text = memory.text({"name": "small", "rows": tight})
    assert text.count("does NOT fit") == len(rows) and "(estimate)" in text


def test_mistakes():
    tiny = config_lib.load("configs/stage4.py:tiny")
    with pytest.raises(UserError, match="--chips: 'v3', expected some of v5e, v5p, v6e"):
        memory.report(tiny, ["v3"])
    with pytest.raises(UserError, match="does not do all tasks, expected a config of stage 4"):
        memory.report(config_lib.load("configs/stage3.py:tiny"))
