# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The one Example that every reader yields and every shard stores (contract 4), and its encoding.

A record holds fields, not prompt wording. Geometry is in pixels of the picture it belongs to, x to the right, y down.
Encoding is msgpack: a map per dataclass (fields at their default are left out), arrays as an extension type that
carries dtype and shape. Decoding is strict: an unknown field, a wrong type or another schema version is refused.
"""

import dataclasses
import functools
import types
import typing

import msgpack
import numpy as np

from data_pipelines.errors import DataError

SCHEMA_VERSION = 1  # changes when an older record would be misread; a field added at its default changes nothing

PLACEHOLDER = "<image>"  # where a turn's text shows an image; without any they stand before the text
_ARRAY = 1  # msgpack extension code


class Record:
    """Equality by value, arrays compared by dtype, shape and content (the generated one cannot compare arrays)."""

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return all(_equal(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))

    __hash__ = None  # type: ignore[assignment]


def _equal(a, b):
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        same = isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
        return same and a.tobytes() == b.tobytes()
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return a == b


@typing.dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(dataclasses.field,))
def record(cls):
    return dataclasses.dataclass(eq=False, kw_only=True, slots=True)(cls)


@record
class Image(Record):
    """An encoded picture (JPEG, PNG, WebP, ...) and its size as displayed, after EXIF rotation."""

    data: bytes
    width: int
    height: int


@record
class Frame(Record):
    """A picture of a clip at `time` seconds."""

    image: Image
    time: float


@record
class Turn(Record):
    """What `role` says. Roles: user, assistant, system, caption.

    `images` are indices into Example.images, in the order of the text's placeholders where it has some.
    """

    role: str
    text: str
    images: list[int] = dataclasses.field(default_factory=list)


@record
class Mask(Record):
    """A binary mask as run lengths in column-major order that start with the zeros (COCO's uncompressed RLE).

    counts: uint32 [runs], summing to height * width.
    """

    height: int
    width: int
    counts: np.ndarray

    @classmethod
    def from_array(cls, mask: np.ndarray) -> "Mask":
        """mask: bool or {0, 1} [H, W]."""
        flat = np.asarray(mask, bool).ravel(order="F")
        edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1] if flat.size else True))
        counts = np.diff(edges, prepend=0).astype(np.uint32) if flat.size else np.zeros(0, np.uint32)
        return cls(height=mask.shape[0], width=mask.shape[1], counts=counts)

    def to_array(self) -> np.ndarray:
        """Returns bool [H, W]. DataError where the counts do not cover the picture."""
        if self.counts.ndim != 1 or int(self.counts.sum()) != self.height * self.width:
            raise DataError(f"mask: counts sum to {int(self.counts.sum())}, expected {self.height} * {self.width}.")
        values = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(values, self.counts).reshape(self.width, self.height).T


@record
class Instance(Record):
    """One object in one picture or frame; the same `track` in other frames is the same object.

    attributes: words such as its colour; box: float (x, y, width, height); frame: index into frames, or into images
    where there are no frames; part_of: index into Example.instances.
    """

    category: str = ""
    attributes: list[str] = dataclasses.field(default_factory=list)
    mask: Mask | None = None
    box: list[float] | None = None
    track: int | None = None
    crowd: bool = False
    part_of: int | None = None
    frame: int = 0


@record
class Region(Record):
    """A hint drawn by a user. kind: point, scribble, box or mask; `instance` is what it points at."""

    kind: str
    mask: Mask
    frame: int = 0
    instance: int | None = None


EDIT = "edit"


@record
class Expression(Record):
    """Words for some instances (indices); an empty list means that the words have no target. kind: referring, ...,
    EDIT of an instruction; answer: what is to be said of them before the mask, empty for their names."""

    text: str
    answer: str = ""
    kind: str = "referring"
    instances: list[int] = dataclasses.field(default_factory=list)


@record
class Codes(Record):
    """Tokens precomputed by the tokenizer with this fingerprint. semantic, pixel: int32 [h, w]."""

    fingerprint: str
    semantic: np.ndarray | None = None
    pixel: np.ndarray | None = None


@record
class Latents(Record):
    """VAE latents precomputed by the part with this fingerprint. values: float [h, w, C]."""

    fingerprint: str
    values: np.ndarray


@record
class Example(Record):
    """One record of any task; a task reads the fields that it needs.

    stuff: those of classes of which a picture has one segment, such as sky. depth: float32 [H, W]; edges: uint8 [H, W];
    normals: float32 [H, W, 3]. split: train, validation, test, or empty where the source does not say (prepare then
    deals it).
    """

    id: str
    source: str = ""
    split: str = ""
    licence: str = ""
    images: list[Image] = dataclasses.field(default_factory=list)
    frames: list[Frame] = dataclasses.field(default_factory=list)
    turns: list[Turn] = dataclasses.field(default_factory=list)
    instances: list[Instance] = dataclasses.field(default_factory=list)
    regions: list[Region] = dataclasses.field(default_factory=list)
    expressions: list[Expression] = dataclasses.field(default_factory=list)
    classes: list[str] = dataclasses.field(default_factory=list)
    stuff: list[str] = dataclasses.field(default_factory=list)
    target: Image | None = None
    instruction: str = ""
    edit_region: Mask | None = None
    codes: Codes | None = None
    latents: Latents | None = None
    depth: np.ndarray | None = None
    edges: np.ndarray | None = None
    normals: np.ndarray | None = None


def encode(example: Example) -> bytes:
    """The bytes of an example. DataError names the field that has a wrong type."""
    if not isinstance(example, Example):
        raise DataError(f"example: is {type(example).__name__}, expected Example.")
    return msgpack.packb([SCHEMA_VERSION, _pack(example, "example")], use_bin_type=True)


def decode(data: bytes) -> Example:
    """The example in `data`. DataError in one sentence for anything that `encode` would not have written."""
    try:
        outer = msgpack.unpackb(data, ext_hook=_unpack_array)
    except DataError:
        raise
    except Exception as error:  # msgpack raises a dozen kinds
        raise DataError(f"example: the record is not msgpack ({error}).") from error
    if not (isinstance(outer, list) and len(outer) == 2 and type(outer[0]) is int):
        raise DataError("example: the record is not [schema version, fields], expected one that encode wrote.")
    if outer[0] != SCHEMA_VERSION:
        raise DataError(
            f"example: schema version {outer[0]}, expected {SCHEMA_VERSION}; prepare the data again with this code."
        )
    return _unpack(Example, outer[1], "example")


# --------------------------------------------------------------- the two directions, driven by the type annotations
@functools.cache
def _schema(cls):
    """{field: (type, optional, default or MISSING)}; lists are given as (element type,)."""
    hints, schema = typing.get_type_hints(cls), {}
    for field in dataclasses.fields(cls):
        hint, optional = hints[field.name], False
        if isinstance(hint, types.UnionType):
            hint, optional = next(a for a in typing.get_args(hint) if a is not type(None)), True
        if typing.get_origin(hint) is list:
            hint = typing.get_args(hint)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        schema[field.name] = (hint, optional, default)
    return schema


def _pack(value, path):
    out = {}
    for name, (hint, optional, default) in _schema(type(value)).items():
        item = getattr(value, name)
        packed = None if item is None and optional else _pack_value(hint, item, f"{path}.{name}")
        if default is dataclasses.MISSING or type(packed) is not type(default) or packed != default:
            out[name] = packed  # ExtType never equals a default, so arrays are always written
    return out


def _pack_value(hint, value, path):
    if isinstance(hint, tuple):
        if type(value) is not list:
            raise _wrong(path, value, "list")
        return [_pack_value(hint[0], v, f"{path}[{i}]") for i, v in enumerate(value)]
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint and not (hint is np.ndarray and isinstance(value, np.ndarray)):
        raise _wrong(path, value, hint.__name__)
    if hint is int and not -(2**63) <= value < 2**63:
        raise DataError(f"{path}: {value} does not fit 64 bits.")
    if hint is str:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{path}: the text cannot be written as UTF-8, expected valid Unicode.") from error
    if hint is np.ndarray:
        if value.dtype.kind not in "biuf":
            raise DataError(f"{path}: dtype {value.dtype}, expected bool, integers or floats.")
        head = msgpack.packb([value.dtype.newbyteorder("<").str, list(value.shape)])
        return msgpack.ExtType(_ARRAY, head + value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes())
    return _pack(value, path) if dataclasses.is_dataclass(hint) else value


def _unpack_array(code, data):
    if code != _ARRAY:
        raise DataError(f"example: extension type {code}, expected {_ARRAY} (an array).")
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    try:
        dtype, shape = unpacker.unpack()
        return np.frombuffer(data, np.dtype(dtype), offset=unpacker.tell()).reshape(shape).copy()
    except Exception as error:
        raise DataError(f"example: an array does not hold its dtype and shape ({error}).") from error


def _unpack(cls, fields, path):
    if type(fields) is not dict:
        raise _wrong(path, fields, "a map of fields")
    schema = _schema(cls)
    values = {}
    for name, item in fields.items():
        if name not in schema:
            raise DataError(f"{path}: unknown field '{name}', expected one of {', '.join(schema)}.")
        hint, optional, _ = schema[name]
        values[name] = None if item is None and optional else _unpack_value(hint, item, f"{path}.{name}")
    for name, (_, _, default) in schema.items():
        if default is dataclasses.MISSING and name not in values:
            raise DataError(f"{path}: the field '{name}' is missing.")
    return cls(**values)


def _unpack_value(hint, value, path):
    if isinstance(hint, tuple):
        if type(value) is not list:
            raise _wrong(path, value, "list")
        return [_unpack_value(hint[0], v, f"{path}[{i}]") for i, v in enumerate(value)]
    if dataclasses.is_dataclass(hint):
        return _unpack(hint, value, path)
    if type(value) is not hint:
        raise _wrong(path, value, hint.__name__)
    return value


def _wrong(path, value, expected):
    return DataError(f"{path}: is {type(value).__name__}, expected {expected}.")
