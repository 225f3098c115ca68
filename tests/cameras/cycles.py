"""A program that opens, reads and ends a camera in every way, in turns. Prints what it held before and after (JSON)."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parents[1]), str(_HERE.parent)]

from cameras import survey  # noqa: E402 - the checkout goes first on the path
from cameras.survey import Holdings  # noqa: E402

from agent.clock import SystemClock  # noqa: E402
from agent.errors import SourceError  # noqa: E402
from agent.isolation.isolated import Isolated  # noqa: E402
from agent.isolation.reader import Limits, Recipe  # noqa: E402

_WARM_UP = 4


def main() -> None:
    """`cycles.py COUNT FOLDER`."""
    count, script = int(sys.argv[1]), Path(sys.argv[2]) / "script"
    settings = {"script": str(script), "fps": 50, "width": 320, "height": 240}
    recipe = Recipe("scripted_reader", "scripted", settings)
    source = Isolated(lambda: recipe, Limits(next_frame_s=0.5), SystemClock(), name="scripted")
    ways: list[Callable[[], None]] = [
        lambda: None,
        lambda: _signal(signal.SIGKILL, source),
        lambda: _signal(signal.SIGSTOP, None),
        lambda: _crash(script, source),
    ]
    said: dict[str, object] = {}
    for number in range(_WARM_UP + count):
        if number == _WARM_UP:
            said |= {"before": _held(), "before_bytes": survey.resident_bytes(os.getpid())}
        source.open()
        while source.read() is None:
            pass
        ways[number % len(ways)]()
        source.close()
    said |= {"after": _held(), "after_bytes": survey.resident_bytes(os.getpid())}
    print(json.dumps(said))


def _held() -> dict[str, int]:
    return asdict(Holdings.of(os.getpid()))


def _signal(number: int, source: Isolated | None) -> None:
    for pid in survey.children(os.getpid()):
        os.kill(pid, number)
    _read_until_lost(source)


def _crash(script: Path, source: Isolated) -> None:
    script.write_text("crash")
    _read_until_lost(source)
    script.unlink()


def _read_until_lost(source: Isolated | None) -> None:
    with contextlib.suppress(SourceError):
        while source is not None:
            source.read()


if __name__ == "__main__":
    main()
