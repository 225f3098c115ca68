"""The figures as text and as JSON. No state."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, Final

from agent.bench import machine
from agent.bench.sample import PERCENTILES, Tally, median_parts, percentiles
from agent.bench.subject import Subject
from agent.flow import Route
from agent.words import table

_HEAD: Final = ("engine", "input", "threads", "end to end ms", "execution ms", "fps", "MB", "frames", "failed")
_LEGEND: Final = """\
In ms: p50 / p95 / p99. end to end: from the captured frame to the answer in hand; on the device scaling, inference and
decoding, of the hosted API encoding, upload, server and answer. execution: the inference alone; of the hosted API what
the server states. fps: frames a second, one after the other. MB: the most memory of a process that runs this engine and
reads the pictures. frames: in how many runs; those before them, to warm up, and failures are in no percentile."""
NOTHING: Final = "-"


def text(subjects: Sequence[Subject], tallies: Sequence[Tally], told: dict[str, str]) -> str:
    """Everything for people."""
    rows = [_HEAD, *map(_row, subjects, tallies)]
    notes = [note for pair in zip(subjects, tallies, strict=True) for note in _notes(*pair)]
    return "\n\n".join(
        "\n".join(part)
        for part in ([machine.line(told)], table(rows[0], rows[1:], left=(0, 1)), notes, [_LEGEND])
        if part
    )


def _row(subject: Subject, tally: Tally) -> tuple[str, ...]:
    about = tally.about
    return (
        subject.title,
        (about.input if about else "") or NOTHING,
        str(about.threads or NOTHING) if about else NOTHING,
        _three(percentiles(sample.end_to_end_ms for sample in tally.samples)),
        _three(percentiles(sample.execution_ms for sample in tally.samples)),
        f"{tally.fps:.1f}" if tally.samples else NOTHING,
        f"{statistics.median(tally.peak_mb):.0f}" if tally.samples and tally.peak_mb else NOTHING,
        f"{len(tally.samples)} in {tally.runs}",
        ", ".join(f"{count} {cause}" for cause, count in tally.failures.most_common()) or "0",
    )


def _three(values: Sequence[float]) -> str:
    return NOTHING if any(map(math.isnan, values)) else " / ".join(f"{value:.1f}" for value in values)


def _notes(subject: Subject, tally: Tally) -> list[str]:
    """What is to be known of one row beside its figures."""
    about = tally.about
    found = [] if about is None else [*([about.runtime] if about.runtime else []), *about.complaints]
    parts = median_parts(tally.samples)
    if parts:
        found.append("median " + ", ".join(f"{name} {value:.1f} ms" for name, value in parts.items()))
    size_bytes = sum(sample.size_bytes for sample in tally.samples)
    if subject.route is Route.CLOUD and size_bytes:
        found.append(f"{size_bytes / len(tally.samples) / 1000:.1f} kB a call on the wire")
    cold = sum(sample.cold_start for sample in tally.samples)
    found += [f"{cold} of its answers came from a model that had to load"] if cold else []
    found += [f"NOT MEASURED TO THE END: {tally.trouble}"] if tally.trouble else []
    return [f"{subject.title_with_threads}: {'; '.join(found)}"] if found else []


def as_json(subjects: Sequence[Subject], tallies: Sequence[Tally]) -> list[dict[str, Any]]:
    """A row each for programs; numbers that are not known are null."""
    return [_as_json(subject, tally) for subject, tally in zip(subjects, tallies, strict=True)]


def _as_json(subject: Subject, tally: Tally) -> dict[str, Any]:
    about, samples = tally.about, tally.samples
    return {
        "engine": subject.options.get("type"),
        "model": subject.name,
        "route": subject.route.value,
        "input": about and about.input,
        "threads": about and about.threads,
        "runtime": about and about.runtime,
        "end_to_end_ms": _named(percentiles(sample.end_to_end_ms for sample in samples)),
        "execution_ms": _named(percentiles(sample.execution_ms for sample in samples)),
        "parts_ms": {name: round(value, 3) for name, value in median_parts(samples).items()},
        "fps": round(tally.fps, 3) if samples else None,
        "memory_mb": round(statistics.median(tally.peak_mb), 1) if tally.peak_mb else None,
        "wire_bytes": sum(sample.size_bytes for sample in samples),
        "cold_starts": sum(sample.cold_start for sample in samples),
        "frames": len(samples),
        "runs": tally.runs,
        "failures": dict(tally.failures),
        "trouble": tally.trouble or None,
        "complaints": list(about.complaints) if about else [],
    }


def _named(values: Sequence[float]) -> dict[str, float | None]:
    names = (f"p{share}" for share in PERCENTILES)
    return {name: None if math.isnan(value) else round(value, 3) for name, value in zip(names, values, strict=True)}
