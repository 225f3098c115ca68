"""`vedette bench`: its options, and what it does and says. Main thread."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from agent import config
from agent.bench import machine, measure, output, subject, table
from agent.bench.subject import CLOUD_WARM_UP, Setting, Subject
from agent.clock import SystemClock
from agent.errors import ConfigError
from agent.flow import Route
from agent.words import printable

SCHEMA: Final = "vedette.bench/1"
_DONE, _FAILED = 0, 1
_SHIPPED: Final = "shapes"
_CALL_KB: Final = 60.0
"""A picture of 640 px at quality 85, its headers and the answer: 40 to 100 kB."""
_CREDITS_PER_CALL: Final = 0.1 / 500
"""A credit is 500 s of the server's time, and a call at least 0.1 s of it."""
_MOST_FRAMES, _MOST_RUNS, _MOST_THREADS = 100_000, 100, 64


def add_arguments(
    parser: argparse.ArgumentParser, say: Callable[[str], None], state_folder: Callable[[Path | None], Path]
) -> None:
    """The options of `vedette bench`.

    Args:
        parser: takes them.
        say: prints a command's output.
        state_folder: the one that has the installed models, by what --state says.
    """
    parser.description = (
        "Measures how long each engine takes for a frame, how many it answers a second and how much memory it needs: "
        "each in a process of its own, one after the other. Without CONFIG and --model: the shipped model."
    )
    add = parser.add_argument
    add("config", nargs="?", type=Path, metavar="CONFIG", help="measure the engines of this configuration")
    add("--model", nargs="+", default=[], metavar="MODEL", help="and these: model files, packages, names of packages")
    add_measuring(parser)
    calls = "real calls of the configuration's hosted API, which cost data and credits; 0: none (default 20)"
    state = "the agent's state folder, which has the installed models; left out: the user's own, or the service's"
    add("--state", type=Path, metavar="DIR", help=state)
    add("--calls", type=whole(0, _MOST_FRAMES), default=20, metavar="N", help=calls)
    parser.set_defaults(command=partial(_run, say, state_folder))


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """How is measured, and where the figures go."""
    add = parser.add_argument
    add("--source", type=Path, metavar="PATH", help="a video, or a folder of pictures (default: the drawn scene)")
    add("--frames", type=whole(1, _MOST_FRAMES), default=100, metavar="N", help="on the device, each run (default 100)")
    add("--runs", type=whole(1, _MOST_RUNS), default=3, metavar="N", help="on the device, in turn (default 3)")
    threads = "measure with each of these numbers of CPU threads (default: as the engine chooses)"
    add("--threads", type=whole(1, _MOST_THREADS), nargs="+", default=[], metavar="N", help=threads)
    add("--json", type=Path, metavar="FILE", help="also write the figures as JSON; -: to standard output, and no table")
    add("--picture", type=Path, metavar="FILE.png", help="also draw them (needs Matplotlib)")


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number in this range, for argparse."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} to {most}")
        return int(text)

    return parse


def _run(say: Callable[[str], None], state_folder: Callable[[Path | None], Path], options: argparse.Namespace) -> int:
    """Measure, print, write, draw; the exit code. Raises ConfigError, AgentError."""
    output.ensure_writable(options.json, options.picture, schema=SCHEMA)
    setting = Setting(state_folder(options.state).absolute(), options.frames, source(options.source))
    subjects = []
    if options.config is not None:
        settings = config.load(options.config)
        subjects += subject.of_config(settings, options.config.resolve().parent, setting, calls=options.calls)
        _warn_of_costs(subjects)
    models = options.model or ([] if options.config is not None else [_SHIPPED])
    subjects += subject.of_models(models, setting)
    return report(subjects, options, lambda text: say("\n".join(map(printable, text.split("\n")))))


def report(subjects: Sequence[Subject], options: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Measure `subjects` and give out the figures as `add_measuring` was told; 1 where one could not be measured.

    Raises AgentError: the figures cannot be given out.
    """
    output.ensure_writable(options.json, options.picture, schema=SCHEMA)
    if not subjects:
        raise ConfigError("there is nothing to measure: the configuration has a hosted API alone, and --calls is 0")
    subjects = subject.with_threads(subjects, options.threads)
    tallies = measure.measure(subjects, options.runs, tell, SystemClock())
    facts = machine.facts()
    source, rows = str(options.source or "drawn scene"), table.as_json(subjects, tallies)
    told = {"schema": SCHEMA, "source": source, "machine": facts, "rows": rows}
    say(output.text(told) if options.json == output.STDOUT else table.text(subjects, tallies, facts))
    if options.json not in {None, output.STDOUT}:
        output.write(options.json, told)
    if options.picture is not None:
        output.draw(options.picture, subjects, tallies, facts)
    return _FAILED if any(tally.trouble for tally in tallies) else _DONE


def source(given: Path | None) -> Path | None:
    """Raises ConfigError: there is no such file or folder."""
    if given is not None and not given.exists():
        raise ConfigError(f"--source {given}: there is no such video or folder of pictures")
    if given is not None and not (given.is_file() or given.is_dir()):
        raise ConfigError(f"--source {given}: is neither a file nor a folder of pictures")
    return None if given is None else given.resolve()


def _warn_of_costs(subjects: Sequence[Subject]) -> None:
    for hosted in (each for each in subjects if each.route is Route.CLOUD):
        calls = hosted.frames + CLOUD_WARM_UP
        megabytes, price = calls * _CALL_KB / 1000, calls * _CREDITS_PER_CALL
        where = hosted.options.get("url", "the hosted API")
        costs = (
            f"about {megabytes:.1f} MB of data and {price:.4f} credits; --calls changes that, --calls 0 leaves it out"
        )
        tell(f"{calls} real calls of {where} ({CLOUD_WARM_UP} to warm up): {costs}")


def tell(text: str) -> None:
    """How far it is: on standard error, if anybody reads it."""
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - for the person at the terminal
