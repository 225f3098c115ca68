"""Where the figures go beside the terminal: a JSON file, a picture. No state."""

import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from agent import words
from agent.bench import machine
from agent.bench.sample import Tally, percentiles
from agent.bench.subject import Subject
from agent.chart import benchmark, figure
from agent.chart.benchmark import Bar
from agent.errors import AgentError
from agent.flow import Route

STDOUT: Final = Path("-")
_HEAD_CHARACTERS: Final = 200
_ANOTHER: Final = "name another file"


def ensure_writable(json_file: Path | None, picture: Path | None, *, schema: str) -> None:
    """Before anything is measured: raises AgentError where the figures could not be written in the end.

    That is where a folder is missing or closed, a file would be replaced that vedette did not write, or Matplotlib is
    missing.
    """
    if picture is not None:
        _ensure_folder(picture, "--picture")
        figure.ensure_drawable(picture)
    if json_file is None or json_file == STDOUT:
        return
    _ensure_folder(json_file, "--json")
    if json_file.exists() and not json_file.is_file():
        raise AgentError(f"--json {json_file}: is no file; name a file")
    try:
        head = json_file.read_bytes()[:_HEAD_CHARACTERS] if json_file.exists() else b""
    except OSError as error:
        raise AgentError(words.unwritable(f"--json {json_file}", error, otherwise=_ANOTHER)) from error
    if head and f'"{schema}"'.encode() not in head:
        raise AgentError(f"--json {json_file} exists and holds no figures of this command; name another file")


def _ensure_folder(file: Path, option: str) -> None:
    folder = file.absolute().parent
    if not folder.is_dir():
        raise AgentError(f"{option} {file}: there is no folder {folder}; name a file in one there is")
    try:
        with tempfile.TemporaryFile(
            dir=folder
        ):  # what the rights of a folder say is not all: its disk may be read-only
            pass
    except OSError as error:
        otherwise = "name a file in another folder"
        raise AgentError(f"{option} {file}: {words.unwritable(folder, error, otherwise=otherwise)}") from error


def write(json_file: Path, told: dict[str, Any]) -> None:
    """Raises AgentError."""
    try:
        json_file.write_text(text(told) + "\n", encoding="utf-8")
    except OSError as error:
        raise AgentError(words.unwritable(f"--json {json_file}", error, otherwise=_ANOTHER)) from error


def text(told: dict[str, Any]) -> str:
    """As JSON for a file or standard output."""
    return json.dumps(told, indent=1, allow_nan=False)


def draw(path: Path, subjects: Sequence[Subject], tallies: Sequence[Tally], told: dict[str, str]) -> None:
    """The picture. Raises ChartError."""
    bars = [_bar(subject, tally) for subject, tally in zip(subjects, tallies, strict=True)]
    benchmark.draw(path, bars, title=machine.line(told))


def _bar(subject: Subject, tally: Tally) -> Bar:
    return Bar(
        subject.title_with_threads,
        subject.route is Route.CLOUD,
        percentiles(sample.end_to_end_ms for sample in tally.samples),
        percentiles(sample.execution_ms for sample in tally.samples)[0],
        tally.fps,
        statistics.median(tally.peak_mb) if tally.samples and tally.peak_mb else math.nan,
    )
