"""What holds for an ONNX model wherever it runs: its metadata, and the size of an input that takes any. No state."""

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from agent.engines import _metadata
from agent.errors import EngineBroken
from agent.package import ModelPackage

USUAL_PX: Final = 640
"""Side of the input where neither package nor exporter says it; YOLOv8 was trained at this."""
_METADATA, _KEY, _VALUE = 14, 1, 2
"""Fields of ModelProto and StringStringEntryProto in onnx.proto."""
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""Protobuf's wire types; the two others are groups, and onnx.proto has none."""
_VARINT_UP_TO_BITS = 63
_AXES, _COLOURS = 4, 3
_LONGEST: Final = (1 << 31) - 1
"""Bytes of a field of protobuf; nothing that says more is one."""


def values(texts: Mapping[str, str]) -> dict[str, Any]:
    """Metadata as data: an exporter writes each value that is no plain text as a literal of Python."""
    return {name: _value(text) for name, text in texts.items() if len(text) <= _metadata.UP_TO_BYTES}


def _value(text: str) -> Any:  # noqa: ANN401 - whatever an exporter may write
    parsed = _metadata.parsed(text)
    return text if parsed is None else parsed


def metadata(file: Path) -> dict[str, Any]:
    """What the exporter wrote into `file`, read without a library; of a damaged file as much as can be read."""
    texts: dict[str, str] = {}
    with contextlib.suppress(OSError, EOFError), file.open("rb") as model:
        for number, entry in _fields(model):
            if number == _METADATA:
                texts |= _pair(entry)
    return values(texts)


def _pair(entry: bytes) -> dict[str, str]:
    """One key with its value; nothing where either is absent."""
    parts: dict[int, str] = {}
    with contextlib.suppress(EOFError):
        for number, text in _fields(io.BytesIO(entry)):
            parts[number] = text.decode("utf-8", "replace")
    return {parts[_KEY]: parts[_VALUE]} if {_KEY, _VALUE} <= parts.keys() else {}


def _fields(message: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field of bytes; what is too long for metadata is passed over, as other fields are.

    Raises EOFError: the message ends, in a field or after the last one, or is no protobuf.
    """
    while True:
        tag = _varint(message)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _varint(message)
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            message.seek(8 if kind == _EIGHT_BYTES else 4, os.SEEK_CUR)
        elif kind == _BYTES:
            length = _varint(message)
            if length > _LONGEST:
                raise EOFError
            if length > _metadata.UP_TO_BYTES:
                message.seek(length, os.SEEK_CUR)
                continue
            content = message.read(length)
            if len(content) < length:
                raise EOFError
            yield number, content
        else:
            raise EOFError


def _varint(message: BinaryIO) -> int:
    value = shift = 0
    while (byte := message.read(1)) and shift <= _VARINT_UP_TO_BITS:
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:  # noqa: PLR2004 - the highest bit says that another byte follows
            return value
        shift += 7
    raise EOFError


def size_of(found: ModelPackage, written: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height for an input that takes any: what the package states, else the exporter, else the usual ones."""
    if found.input is not None:
        return found.input.width, found.input.height
    return _metadata.read(written).size or (USUAL_PX, USUAL_PX)


def settled(shape: Sequence[int | None], size: tuple[int, int], file: Path) -> tuple[int, ...]:
    """The `shape` of the input with its open axes filled: one picture, three colours, and `size`, width and height.

    Raises EngineBroken: it is no picture's, or takes several at once.
    """
    if len(shape) != _AXES or shape[0] not in {None, 1}:
        given = ", ".join("any" if axis is None else str(axis) for axis in shape)
        raise EngineBroken(f"{file}: takes an input of [{given}], not one colour picture; export it for a batch of 1")
    width, height = size
    last = shape[3] == _COLOURS and shape[1] != _COLOURS
    whole = (1, height, width, _COLOURS) if last else (1, _COLOURS, height, width)
    return tuple(wanted if axis is None else axis for axis, wanted in zip(shape, whole, strict=True))
