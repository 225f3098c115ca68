"""Engines that were built on this device, each with a note of what it was built from, by what and for what.

A file by itself is never trusted: only one that its note describes, byte for byte, and that was made of and for exactly
what is here now. Used by the lane's thread, and by the process that builds, one of which at a time writes.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from agent import folder
from agent.engines._tensorrt_cuda import Gpu

_WORDS: Final = {
    "onnx_sha256": "the content of the .onnx file",
    "precision": "the precision",
    "width": "the width of the input",
    "height": "the height of the input",
    "tensorrt": "TensorRT",
    "gpu": "the GPU",
    "compute_capability": "the GPU's compute capability",
    "multiprocessors": "the number of the GPU's multiprocessors",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that an engine depends on."""

    onnx_sha256: str
    precision: str
    width: int
    """Of an input that takes any."""
    height: int
    tensorrt: str
    """Version; an engine runs with no other."""
    gpu: str
    compute_capability: str
    multiprocessors: int


def recipe(onnx: Path, precision: str, size: tuple[int, int], *, tensorrt: str, gpu: Gpu) -> Recipe:
    """What an engine of `onnx` depends on here. Raises OSError."""
    width, height = size
    return Recipe(
        sha256_of(onnx), precision, width, height, tensorrt, gpu.name, gpu.compute_capability, gpu.multiprocessors
    )


class Cache:
    """The place of the engine of one .onnx file."""

    def __init__(self, home: Path, onnx: Path) -> None:
        """`home`: the folder of all of them, which need not be there."""
        self.home = home
        self.onnx = onnx.absolute()
        name = f"{onnx.stem}-{hashlib.sha256(bytes(self.onnx)).hexdigest()[:8]}"
        self.engine = home / f"{name}.engine"
        self.note = home / f"{name}.json"

    def complaint(self, wanted: Recipe) -> str | None:
        """Why the engine that is there, if any, is not the wanted one; None: it is."""
        note = _read(self.note)
        if note is None or not self.engine.is_file():
            return "none was built here yet"
        for field in fields(Recipe):
            now, then = getattr(wanted, field.name), note.get(field.name)
            if now != then:
                return f"it was built with another: {_WORDS[field.name]} was {_short(then)} and is {_short(now)}"
        with contextlib.suppress(OSError):
            if sha256_of(self.engine) == note.get("engine_sha256"):
                return None
        return "its file is damaged"

    @property
    def took_s(self) -> float | None:
        """How long the last build took; None: that is not known."""
        took_s = (_read(self.note) or {}).get("took_s")
        return float(took_s) if isinstance(took_s, int | float) else None

    def keep(self, engine: bytes, made: Recipe, took_s: float) -> None:
        """Put an engine in its place, with its note: whole, or not at all. Raises OSError."""
        about = {
            "onnx": str(self.onnx),
            **asdict(made),
            "engine_sha256": hashlib.sha256(engine).hexdigest(),
            "took_s": round(took_s, 1),
        }
        folder.write_whole(self.engine, engine, beside=self.home / "part", mode=0o644)
        folder.write_whole(self.note, json.dumps(about, indent=2).encode(), beside=self.home / "part", mode=0o644)
        folder.sync_folder(self.home)

    def drop(self) -> None:
        """Forget the engine that is there. Raises OSError."""
        self.note.unlink(missing_ok=True)
        self.engine.unlink(missing_ok=True)


def tidy(home: Path) -> None:
    """Take away the engines whose .onnx file is gone. Raises OSError."""
    for note in home.glob("*.json"):
        onnx = (_read(note) or {}).get("onnx")
        if not isinstance(onnx, str) or not Path(onnx).is_file():
            note.unlink(missing_ok=True)
            note.with_suffix(".engine").unlink(missing_ok=True)


def sha256_of(file: Path) -> str:
    """Raises OSError."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _read(note: Path) -> Mapping[str, Any] | None:
    """None: it is not there, or is none."""
    try:
        read = json.loads(note.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."  # noqa: PLR2004 - a sum of 64 digits says no more than 12
