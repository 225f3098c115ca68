"""Models small enough to be made in a test, and `vedette model` run in this process."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_file
import pytest
from onnx_file import FLOAT

from agent import cli

NAMES = ("red", "green", "blue")


def classifier(
    path: Path, *, names: Sequence[str] = NAMES, side_px: int = 16, padding_bytes: int = 0, mark: str = ""
) -> Path:
    """An .onnx file that tells which of three colours there is most of; `mark` makes it another file."""
    metadata = {"padding": "x" * padding_bytes, "mark": mark}
    if names:
        metadata |= {"task": "classify", "names": repr(dict(enumerate(names)))}
    nodes: list[onnx_file.Node] = [
        ("GlobalAveragePool", ["images"], ["means"], {}),
        ("Flatten", ["means"], ["flat"], {"axis": 1}),
        ("Softmax", ["flat"], ["out"], {"axis": 1}),
    ]
    picture = ("images", FLOAT, [1, 3, side_px, side_px])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(onnx_file.model([picture], [("out", FLOAT, [1, 3])], nodes, metadata=metadata))
    return path


def without_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is new is tried in a process of its own first, which takes a second: these are known."""
    monkeypatch.setattr("agent.engines._rehearsal.threads", lambda *_: 1)


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Commands:
    """`vedette model` with a state folder of its own."""

    def __init__(self, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.state = state
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Said:
        self._capsys.readouterr()
        code = cli.main(["model", *map(str, arguments), "--state", str(self.state)])
        printed = self._capsys.readouterr()
        return Said(code, printed.out, printed.err)

    @property
    def folder(self) -> Path:
        """Where packages are installed."""
        return self.state / "models"

    def litter(self) -> list[str]:
        """What lies on the shelf and is no package."""
        there = self.folder.rglob("*") if self.folder.exists() else ()
        return sorted(path.name for path in there if path.name.startswith(".") and path.name != ".lock")
