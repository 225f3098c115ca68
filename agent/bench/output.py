"""Where the figures go beside the terminal: a JSON file, a picture. No state."""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from agent.bench import machine
from agent.bench.sample import Tally, percentiles
from agent.bench.subject import Subject
from agent.chart import benchmark
from agent.chart.benchmark import Bar
from agent.chart.figure import refuse_what_is_not_ours as refuse_another_picture
from agent.errors import AgentError
from agent.flow import Route

STDOUT: Final = Path("-")
_HEAD_CHARACTERS: Final = 200


def refuse_what_is_not_ours(json_file: Path | None, picture: Path | None, *, schema: str) -> None:
    """Before anything is measured: raises AgentError where a file would be replaced that vedette did not write."""
    if picture is not None:
        refuse_another_picture(picture)
    if json_file is None or json_file == STDOUT:
        return
    try:
        if not json_file.absolute().parent.is_dir():
            raise AgentError(f"--json {json_file}: there is no such folder; name a file in one there is")
        head = json_file.read_bytes()[:_HEAD_CHARACTERS] if json_file.exists() else b""
    except OSError as error:
        raise AgentError(f"--json {json_file} cannot be written: {error.strerror}; name another file") from error
    if head and f'"{schema}"'.encode() not in head:
        raise AgentError(f"--json {json_file} exists and holds no figures of this command; name another file")


def write(json_file: Path, told: dict[str, Any]) -> None:
    """Raises AgentError."""
    try:
        json_file.write_text(text(told) + "\n", encoding="utf-8")
    except OSError as error:
        raise AgentError(f"--json {json_file} cannot be written: {error.strerror}; name another file") from error


def text(told: dict[str, Any]) -> str:
    """As JSON for a file or standard output."""
    return json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False)


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
