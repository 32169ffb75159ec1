# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import pytest

from data_pipelines.prepare import prepare
from tests.data_pipelines.fake_tokenizer import FakeTokenizer, run
from tests.data_pipelines.pictures import encoded, noise


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """The photographs prepared with a wide stride: some 150 crops of 96 px."""
    output = tmp_path_factory.mktemp("photographs") / "prepared"
    prepare("photographs", "", output, reader_options={"stride": 192})
    return output


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Prepared: 7 square pictures and 4 wide ones for training, 1 and 3 held out, none of a bucket's size."""
    top = tmp_path_factory.mktemp("codes")
    for i in range(15):
        path = top / "pictures" / ("validation" if i % 4 == 3 or i == 4 else "train") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(noise(70, 71 + 16 * (i % 2), i)))
    prepare("folder", top / "pictures", top / "prepared", buckets=((32, 32), (32, 40)))
    return top / "prepared"


@pytest.fixture(scope="session")
def stored(source, tmp_path_factory):
    """The same with codes of the fake tokenizer that reads high-resolution pictures."""
    output = tmp_path_factory.mktemp("stored") / "codes"
    run(FakeTokenizer(high=96), source, output)
    return output
