# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The world of this version is frozen: a change of a scene, picture or text fails here until VERSION changes."""

import json
import pathlib

import numpy as np
import pytest

from data_pipelines.world import checksum, scenes
from data_pipelines.world.vocabulary import PRESETS, VERSION

STORED = pathlib.Path(__file__).parents[2] / "golden" / "world.json"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_world_is_the_one_of_its_version(preset):
    stored = json.loads(STORED.read_text())
    assert stored["version"] == VERSION, "python -m data_pipelines.world.checksum > tests/golden/world.json"
    assert checksum.checksums(preset) == stored[preset]


def test_a_hash_tells_scenes_apart_and_no_more():
    """The last bits of a float, which differ between processors, do not count; everything else does."""
    one, two = (scenes.scene("easy", "test", i) for i in (0, 1))
    assert checksum._hash([one]) == checksum._hash([scenes.scene("easy", "test", 0)]) != checksum._hash([two])
    assert checksum._hash([one, two]) != checksum._hash([two, one])
    assert checksum._hash([0.5]) == checksum._hash([0.5 + 1e-12]) != checksum._hash([0.5001])
    assert checksum._hash([np.zeros(3)]) == checksum._hash([np.full(3, -1e-9)]) != checksum._hash([np.zeros(4)])
    assert checksum._hash([np.zeros(3, np.uint8)]) != checksum._hash([np.array([0, 0, 1], np.uint8)])
