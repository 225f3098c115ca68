"""Which types of engine run a model file: known by its ending, and of .tflite by how it begins. No state."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    ".tflite": ("tflite",),
    ".onnx": ("onnx", "tensorrt"),
    ".engine": ("tensorrt",),
    ".plan": ("tensorrt",),
    ".trt": ("tensorrt",),
}
"""By the ending; the one that is usual first."""
TFLITE_MAGIC: Final = b"TFL3"
"""Bytes 4 to 8 of the file; the other formats begin with nothing of their own."""
_KNOWN: Final = frozenset(one for types in TYPES.values() for one in types)


def is_tflite(file: Path) -> bool:
    """By what is in it. Raises OSError."""
    with file.open("rb") as opened:
        return opened.read(8)[4:] == TFLITE_MAGIC


def misfit(file: Path, type_: str) -> str | None:
    """Why an engine of `type_` is the wrong one for a model file that may be sound; None: it is not. Raises OSError."""
    types = TYPES[".tflite"] if is_tflite(file) else TYPES.get(file.suffix.lower(), ())
    if not types or type_ in types or type_ not in _KNOWN:
        return None
    return f"{file}: does not run with type: {type_}; it runs with type: {' or '.join(types)}; set engines.local.type"
