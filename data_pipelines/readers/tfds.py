# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Any TFDS data set that was prepared in the ArrayRecord layout, read through tfds.data_source without TensorFlow."""

import json
from typing import Any

from etils import epath

from data_pipelines.errors import DataError
from data_pipelines.example import Example, Image, Turn

_PER_PARTITION = 1024


class Tfds:
    """A prepared data set directory (the one with dataset_info.json and features.json). A key is SPLIT/NUMBER.

    `image` and `caption` name the features to take; by default the only Image feature, and the feature `caption` where
    there is one and it is text. ClassLabel features become the record's classes. The splits train, validation
    and test keep their names; `val` is validation; any other counts as train.
    """

    def __init__(self, source: str, *, image: str = "", caption: str = "", licence: str = ""):
        self.source, self.image, self.caption, self.licence = epath.Path(source), image, caption, licence
        if not source or not (self.source / "dataset_info.json").exists():
            raise DataError(f"tfds: --source={source!r} has no dataset_info.json, expected a prepared TFDS directory.")
        self._builder: Any = None

    def options(self) -> dict:
        return {"image": self.image, "caption": self.caption, "licence": self.licence}

    def partitions(self) -> list[str]:
        parts = []
        for split, info in sorted(self._open().info.splits.items()):
            count = info.num_examples
            parts += [json.dumps([split, i, min(i + _PER_PARTITION, count)]) for i in range(0, count, _PER_PARTITION)]
        if not parts:
            raise DataError(f"{self.source}: has no examples in any split, expected some.")
        return parts

    def read(self, partition: str):
        import tensorflow_datasets as tfds

        split, start, stop = json.loads(partition)
        builder = self._open()
        image, caption, labels = self._features(builder.info.features)
        try:
            source = builder.as_data_source(split, decoders={image: tfds.decode.SkipDecoding()})
        except Exception as error:  # tfds and array_record raise several kinds
            message = f"{self.source}: split {split} cannot be opened ({error}), expected whole shards."
            raise DataError(message) from error
        for number in range(start, stop):
            key = f"{split}/{number:08d}"
            try:
                record = source[number]
                yield key, self._example(key, split, record, image, caption, labels, builder.info.features)
            except DataError as error:
                yield key, error
            except Exception as error:  # a damaged shard or record, in the words of array_record or tfds
                yield key, DataError(f"{self.source}: record {key} cannot be read ({error}).")

    def _open(self):
        if self._builder is None:
            import tensorflow_datasets as tfds

            try:
                self._builder = tfds.builder_from_directory(self.source)
            except Exception as error:  # tfds raises whatever json, protobuf or its registry raised
                raise DataError(f"{self.source}: is not a TFDS data set ({error}), expected one as written.") from error
            layout = self._builder.info.file_format.value
            if layout != "array_record":
                raise DataError(f"{self.source}: has file_format {layout}, expected array_record.")
        return self._builder

    def _features(self, features) -> tuple[str, str | None, list[str]]:
        import tensorflow_datasets as tfds

        images = [name for name, f in features.items() if isinstance(f, tfds.features.Image)]
        image = self.image or (images[0] if len(images) == 1 else "")
        if image not in images:
            raise DataError(f"{self.source}: image feature {image!r}, expected --image to be one of {images}.")
        texts = [name for name, f in features.items() if isinstance(f, tfds.features.Text)]
        caption = self.caption or ("caption" if "caption" in texts else None)
        if caption is not None and caption not in texts:
            raise DataError(f"{self.source}: caption feature {caption!r}, expected --caption to be one of {texts}.")
        return image, caption, [n for n, f in features.items() if isinstance(f, tfds.features.ClassLabel)]

    def _example(self, key, split, record, image, caption, labels, features) -> Example:
        turns = []
        if caption is not None:
            try:
                turns = [Turn(role="caption", text=bytes(record[caption]).decode(), images=[0])]
            except UnicodeDecodeError as error:
                raise DataError(f"{self.source}: {caption} of {key} is not UTF-8, expected UTF-8 text.") from error
        return Example(
            id=key,
            source=self._open().info.name,
            split={"val": "validation"}.get(split, split if split in ("validation", "test") else "train"),
            licence=self.licence,
            images=[Image(data=bytes(record[image]), width=0, height=0)],  # prepare fills in the size
            turns=turns,
            classes=[features[name].int2str(int(record[name])) for name in labels if int(record[name]) >= 0],
        )

    def __getstate__(self):
        return self.__dict__ | {"_builder": None}
