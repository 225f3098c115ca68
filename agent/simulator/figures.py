"""The scores as JSON, for programs. No state."""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from agent.errors import AgentError, ConfigError
from agent.simulator.contest import Heat

_KEYS = {"scenario", "deadline_ms", "bound", "policies"}
"""What each scenario has, by which a file of ours is known."""
_LARGEST_BYTES = 100_000_000


def text(heats: Sequence[Heat]) -> str:
    """Every figure."""
    told = [
        {
            "scenario": heat.scenario,
            "deadline_ms": round(heat.deadline_s * 1000, 3),
            "bound": heat.bound,
            "policies": {
                name: {"of_bound": heat.ratio(name), "on_time": score.on_time, **asdict(score)}
                for name, score in heat.scores.items()
            },
        }
        for heat in heats
    ]
    return json.dumps(_finite(told), indent=1, allow_nan=False)


def _finite(value: object) -> object:
    """The same with null for infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refuse_what_is_not_ours(path: Path, traces: Sequence[Path]) -> None:
    """Raises ConfigError where figures would replace a trace, a folder, or a file that holds none of ours."""
    try:
        if not path.resolve().parent.is_dir():
            raise ConfigError(f"--json {path}: there is no folder {path.resolve().parent}; name a file in one there is")
        if not path.exists():
            return
        if any(trace.exists() and path.samefile(trace) for trace in traces):
            raise ConfigError(f"--json {path} is a trace to be read, so it stays; name another file")
        if path.is_file() and _is_ours(path):
            return
    except OSError as error:
        raise ConfigError(f"--json {path} cannot be written: {error.strerror}; name another file") from error
    raise ConfigError(f"--json {path} exists and holds no figures of vedette simulate, so it stays; name another file")


def _is_ours(path: Path) -> bool:
    if path.stat().st_size > _LARGEST_BYTES:
        return False
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(heat, dict) and heat.keys() >= _KEYS for heat in found)
    )


def write(path: Path, heats: Sequence[Heat]) -> None:
    """Through a file beside it, so that no reader meets half of it. Raises AgentError."""
    path = path.resolve()  # a link stays one
    try:
        with contextlib.ExitStack() as undo:
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
            undo.callback(Path(name).unlink, missing_ok=True)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text(heats) + "\n")
                os.fchmod(file.fileno(), 0o644)
            Path(name).replace(path)
            undo.pop_all()
    except OSError as error:
        raise AgentError(f"{path} cannot be written: {error.strerror}; name another file") from error
