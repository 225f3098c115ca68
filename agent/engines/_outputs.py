"""A workflow's answer: its predictions, and what else was asked for, as a record can hold it. No state."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.engines import _fields

MOST_BYTES: Final = 64_000
"""Of all other outputs in one record, as JSON: records wait in outboxes by the thousand."""
_DEEPEST: Final = 20
"""Lists and objects inside of each other; what lies deeper is left out."""
_PICTURE: Final = object()


class NoSuchOutput(Exception):
    """The workflow has no output of that name; the text says which it has."""


def of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The outputs for the one picture that was sent, by name. Raises ValueError."""
    outputs = _fields.items(body.get("outputs"), "outputs")
    if len(outputs) != 1:
        raise ValueError(f"it has outputs for {len(outputs)} pictures, and one was sent")
    return _fields.section(outputs[0], "the outputs")


def predictions(outputs: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The output that is the answer of a model, which has the hosted shape. Raises NoSuchOutput, ValueError."""
    return _fields.section(_named(outputs, name), f"the output {name}")


def others(outputs: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """What the outputs called `names` say, and the names of those that would make it more than MOST_BYTES.

    The latter are null. Pictures are left out, wherever they stand, and numbers that JSON does not have are null.

    Raises:
        NoSuchOutput: there is none of one of these names.
    """
    kept: dict[str, Any] = {}
    too_large: list[str] = []
    left_bytes = MOST_BYTES
    for name in names:
        value = _plain(_named(outputs, name))
        if value is _PICTURE:
            continue
        size_bytes = len(json.dumps(value, ensure_ascii=False).encode())
        if size_bytes > left_bytes:
            too_large.append(name)
            value, size_bytes = None, 0
        kept[name] = value
        left_bytes -= size_bytes
    return kept, too_large


def _named(outputs: Mapping[str, Any], name: str) -> object:
    if name not in outputs:
        there = ", ".join(sorted(_fields.cleaned(each) for each in outputs)[:20]) or "none"
        raise NoSuchOutput(f"has no output {name}; it has: {there}")
    return outputs[name]


def _plain(value: object, depth: int = 0) -> object:
    if isinstance(value, str):
        return _fields.cleaned(value, longest=len(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _plain_parts(value, depth) if isinstance(value, list | dict) else value


def _plain_parts(value: list[Any] | dict[str, Any], depth: int) -> object:
    if depth >= _DEEPEST:
        return None
    if isinstance(value, list):
        return [each for each in (_plain(item, depth + 1) for item in value) if each is not _PICTURE]
    if value.get("type") == "base64" and "value" in value:
        return _PICTURE
    inside = ((_fields.cleaned(name, longest=len(name)), _plain(item, depth + 1)) for name, item in value.items())
    return {name: each for name, each in inside if each is not _PICTURE}
