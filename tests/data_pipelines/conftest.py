# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import pytest

from data_pipelines.prepare import prepare


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """The photographs prepared with a wide stride: some 150 crops of 96 px."""
    output = tmp_path_factory.mktemp("photographs") / "prepared"
    prepare("photographs", "", output, reader_options={"stride": 192})
    return output
