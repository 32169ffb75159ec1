# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The photographs that scikit-image and scikit-learn carry in their wheels, cut into crops: real pictures, no download.

Windows of `window` pixels are cut at stride `stride` from each photograph at scales 1, 1/2 and 1/4 (LANCZOS) and stored
as PNG. The split is by photograph, so no held-out pixel is seen in training:
  train       astronaut, china, motorcycle_left and motorcycle_right (one scene), hubble_deep_field, ihc, retina,
              and in grey: brick, camera, coins, grass, gravel, moon
  validation  flower, rocket
  test        chelsea, coffee
The retina is cut from scale 1/2 on: at scale 1 it alone would be a third of the training crops.
"""

import importlib.util
import io

from etils import epath
from PIL import Image as PilImage

from data_pipelines import transforms
from data_pipelines.errors import DataError
from data_pipelines.example import Example, Image

_SKIMAGE, _SKLEARN = ("skimage", "data"), ("sklearn", "datasets/images")

# name: (package, split, scales)
PHOTOGRAPHS = {
    "astronaut.png": (_SKIMAGE, "train", (1, 2, 4)),
    "brick.png": (_SKIMAGE, "train", (1, 2, 4)),
    "camera.png": (_SKIMAGE, "train", (1, 2, 4)),
    "chelsea.png": (_SKIMAGE, "test", (1, 2, 4)),
    "china.jpg": (_SKLEARN, "train", (1, 2, 4)),
    "coffee.png": (_SKIMAGE, "test", (1, 2, 4)),
    "coins.png": (_SKIMAGE, "train", (1, 2, 4)),
    "flower.jpg": (_SKLEARN, "validation", (1, 2, 4)),
    "grass.png": (_SKIMAGE, "train", (1, 2, 4)),
    "gravel.png": (_SKIMAGE, "train", (1, 2, 4)),
    "hubble_deep_field.jpg": (_SKIMAGE, "train", (1, 2, 4)),
    "ihc.png": (_SKIMAGE, "train", (1, 2, 4)),
    "moon.png": (_SKIMAGE, "train", (1, 2, 4)),
    "motorcycle_left.png": (_SKIMAGE, "train", (1, 2, 4)),
    "motorcycle_right.png": (_SKIMAGE, "train", (1, 2, 4)),
    "retina.jpg": (_SKIMAGE, "train", (2, 4)),
    "rocket.jpg": (_SKIMAGE, "validation", (1, 2, 4)),
}


class Photographs:
    """Reader. One partition a photograph; a key is NAME/SCALE/TOP-LEFT."""

    defaults = {"buckets": ((96, 96),), "near": -1}  # crops overlap on purpose, so near-duplicates stay

    def __init__(self, source: str = "", *, window: int = 96, stride: int = 48):
        if source:
            raise DataError(f"photographs: takes no source (got {source!r}), expected none: they come with the wheels.")
        if min(window, stride) < 1:
            raise DataError(f"photographs: window {window} and stride {stride}, expected positive ints.")
        self.window, self.stride = window, stride

    def options(self) -> dict:
        return {"window": self.window, "stride": self.stride}

    def partitions(self) -> list[str]:
        return list(PHOTOGRAPHS)

    def read(self, partition: str):
        (package, folder), split, scales = PHOTOGRAPHS[partition]
        photograph = load(partition)
        for scale in scales:
            image = photograph
            if scale > 1:
                size = round(photograph.width / scale), round(photograph.height / scale)
                image = photograph.resize(size, PilImage.Resampling.LANCZOS)
            for top in range(0, image.height - self.window + 1, self.stride):
                for left in range(0, image.width - self.window + 1, self.stride):
                    key = f"{partition}/{scale}/{top}-{left}"
                    crop = image.crop((left, top, left + self.window, top + self.window))
                    buffer = io.BytesIO()
                    crop.save(buffer, "PNG", compress_level=1)
                    yield (
                        key,
                        Example(
                            id=key,
                            source="photographs",
                            split=split,
                            licence=f"see {package}/{folder}",
                            images=[Image(data=buffer.getvalue(), width=self.window, height=self.window)],
                        ),
                    )


def load(name: str) -> PilImage.Image:
    """One of PHOTOGRAPHS in RGB, whole."""
    (package, folder), _, _ = PHOTOGRAPHS[name]
    spec = importlib.util.find_spec(package)  # finds the folder without importing the package
    locations = spec.submodule_search_locations if spec else None
    path = epath.Path(locations[0]) / folder / name if locations else None
    if path is None or not path.exists():
        raise DataError(f"photographs: {package}/{folder}/{name} is missing, expected {package}'s wheel installed.")
    return transforms.decode(path.read_bytes(), name)
