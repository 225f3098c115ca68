"""Writes small .onnx files, and gives others a new border, in the format itself (onnx.proto): no library is needed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

FLOAT, UINT8, INT64, FLOAT16 = 1, 2, 7, 10
"""TensorProto.DataType."""
_VARINT, _BYTES = 0, 2
_IR_VERSION, _GRAPH, _OPSET, _METADATA = 1, 7, 8, 14
_NODE, _NAME, _INPUT, _OUTPUT = 1, 2, 11, 12
"""Fields of ModelProto and of GraphProto."""
_INTEGER = 2
"""AttributeProto.AttributeType."""

Value = tuple[str, int, Sequence[int | str]]
"""A tensor of the graph's border: name, type, axes; an axis that has a name is open."""
Node = tuple[str, Sequence[str], Sequence[str], Mapping[str, int]]
"""Operator, inputs, outputs, attributes that are whole numbers."""


def model(
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    nodes: Sequence[Node],
    *,
    metadata: Mapping[str, str] | None = None,
    opset: int = 17,
) -> bytes:
    """A ModelProto."""
    graph = _join(_NODE, map(_node, nodes)) + _field(_NAME, b"graph")
    graph += _join(_INPUT, map(_value, inputs)) + _join(_OUTPUT, map(_value, outputs))
    entries = (_field(1, key.encode()) + _field(2, text.encode()) for key, text in (metadata or {}).items())
    return _field(_IR_VERSION, 8) + _field(_GRAPH, graph) + _field(_OPSET, _field(2, opset)) + _join(_METADATA, entries)


def bordered(
    file: Path,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    *,
    first: Sequence[Node] = (),
    last: Sequence[Node] = (),
) -> bytes:
    """The model in `file` with other inputs and outputs, and nodes before and after its own."""
    border = _join(_INPUT, map(_value, inputs)) + _join(_OUTPUT, map(_value, outputs))
    before, after = _join(_NODE, map(_node, first)), _join(_NODE, map(_node, last))
    parts = list(_fields(file.read_bytes()))
    graph = next(content for number, content in parts if number == _GRAPH)
    assert isinstance(graph, bytes)
    kept = b"".join(_field(*part) for part in _fields(graph) if part[0] not in {_INPUT, _OUTPUT})
    others = b"".join(_field(*part) for part in parts if part[0] != _GRAPH)
    return others + _field(_GRAPH, before + kept + after + border)


def _value(value: Value) -> bytes:
    name, kind, axes = value
    dims = (_field(1, axis) if isinstance(axis, int) else _field(2, axis.encode()) for axis in axes)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, kind) + _field(2, _join(1, dims))))


def _node(node: Node) -> bytes:
    operator, inputs, outputs, attributes = node
    made = _join(1, (name.encode() for name in inputs)) + _join(2, (name.encode() for name in outputs))
    numbers = (
        _field(1, name.encode()) + _field(3, number) + _field(20, _INTEGER) for name, number in attributes.items()
    )
    return made + _field(4, operator.encode()) + _join(5, numbers)


def _join(number: int, contents: "Iterator[bytes] | map[bytes]") -> bytes:
    return b"".join(_field(number, content) for content in contents)


def _field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return _varint(number << 3 | _VARINT) + _varint(content)
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0
    while at < len(message):
        tag, at = _read(message, at)
        number, at = _read(message, at)
        if tag & 7 == _VARINT:
            yield tag >> 3, number
        else:
            assert tag & 7 == _BYTES
            yield tag >> 3, message[at : at + number]
            at += number


def _read(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while message[at] >= 0x80:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | message[at] << shift, at + 1
