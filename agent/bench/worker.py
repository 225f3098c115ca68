"""The process that measures one engine and nothing else: `python -m agent.bench.worker SUBJECT`, as JSON.

It tells one line of JSON for each thing that happens: `words`, `about`, `sample`, `failed`, `trouble`, and in the
end `peak_mb`. Main thread. Whatever libraries print goes to standard error.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain
from typing import Any, Final, TypeAlias

from agent.bench import machine
from agent.bench.asking import Asking, Cloud, Local
from agent.bench.pictures import pictures
from agent.bench.subject import Subject, engine_options
from agent.clock import SystemClock
from agent.errors import AgentError, EngineError, EngineRefused
from agent.flow import Pixels, Route
from agent.ports import Context

MOST_IN_A_ROW: Final = 5
"""After so many failures one after the other nothing more is expected."""
Tell: TypeAlias = Callable[..., None]


def main() -> None:
    """Measure the subject of the command line."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(**what: Any) -> None:  # noqa: ANN401 - JSON
        out.write(json.dumps(what) + "\n")
        out.flush()

    try:
        _measure(Subject.from_json(json.loads(sys.argv[1])), tell)
    except AgentError as error:
        tell(trouble=str(error))
    tell(peak_mb=machine.peak_mb())


def _measure(subject: Subject, tell: Tell) -> None:
    """Raises AgentError: it cannot be measured, or not to the end."""
    places = (subject.base_dir, subject.state_dir)
    context = Context("bench", SystemClock(), *places, progress=lambda words: tell(words=words), trial=True)
    options = engine_options(subject.options["type"]).model_validate(dict(subject.options))
    asking = (Cloud if subject.route is Route.CLOUD else Local)(options, context)
    frames = pictures(subject.source, context)
    first = next(frames)
    try:
        tell(about=asdict(asking.open(first)))
        _ask(subject, asking, chain([first], frames), tell)
    finally:
        asking.close()


def _ask(subject: Subject, asking: Asking, frames: Iterator[Pixels], tell: Tell) -> None:
    """For every frame, the first ones to warm up.

    Raises:
        EngineError: a refusal, which would come again, or the last of too many failures.
    """
    in_a_row = 0
    for number in range(subject.warm_up + subject.frames):
        try:
            sample = asking.answer(number, next(frames))
        except EngineRefused:
            raise
        except EngineError as error:
            tell(failed=error.cause.value)
            in_a_row += 1
            if in_a_row == MOST_IN_A_ROW:
                raise
            continue
        in_a_row = 0
        tell(**({"sample": asdict(sample)} if number >= subject.warm_up else {"words": ""}))


if __name__ == "__main__":
    main()
