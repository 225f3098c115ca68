"""The options of `vedette simulate`, and what each allows. No state."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from agent.router import Prefer
from agent.simulator.contest import POLICIES, Terms
from agent.simulator.scenario import SECONDS, USUAL_RTT_S, Span

DEADLINES_MS = (300, 500, 1000)
DEFAULT_PICTURE = Path("vedette-simulation.png")
LONGEST_S = 3600.0
"""Of a trace, without --seconds."""
_LEAST_DEADLINE_MS, _MOST_DEADLINE_MS = 50, 8000
"""As routing.deadline_ms."""
_MOST_SECONDS = 7 * 86_400.0
_MOST_SEED = 2**63 - 1
_MOST_JOBS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `vedette simulate`."""
    parser.description = (
        "Runs the agent's own router over simulated links, beside simpler policies and the best that anybody could do "
        "who knew the future. Without a trace: over five made-up scenarios."
    )
    _add_links(parser)
    _add_terms(parser)
    _add_outputs(parser)


def _add_links(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    trace = "seconds,Mbit/s lines, a mahimahi trace, or a results file of a run"
    add("traces", nargs="*", type=Path, metavar="TRACE", help=trace)
    add("--synthetic", action="store_true", help="also run the five scenarios, beside the traces")
    rtt = f"round trip of the traces (default: as measured, else {USUAL_RTT_S * 1000:g})"
    add("--rtt-ms", type=_number(1, 10_000, "milliseconds"), metavar="MS", help=rtt)
    add("--outage", action="append", type=_span, metavar="A-B", help="the traces' link is dead from second A to B")
    seconds = (
        f"no more than so long (default: the first {LONGEST_S:g} of a trace, {SECONDS:g} of the scenarios); the last "
        "two have no frames"
    )
    add("--seconds", type=_number(5, _MOST_SECONDS, "seconds"), metavar="S", help=seconds)


def _add_terms(parser: argparse.ArgumentParser) -> None:
    add, defaults = parser.add_argument, Terms()
    run = "; of a results file: as in its run"
    deadlines = f"again for more (default {', '.join(map(str, DEADLINES_MS))}{run})"
    add("--deadline-ms", action="append", type=_deadline_ms, metavar="MS", help=deadlines)
    add("--fps", type=_number(0.01, 240, "frames a second"), help=f"frames a second (default {defaults.fps:g}{run})")
    local = f"an on-device run takes (default {defaults.local_s * 1000:g}{run})"
    add("--local-ms", type=_number(1, 60_000, "milliseconds"), metavar="MS", help=local)
    add("--policies", type=_policies, default=defaults.policies, metavar="A,B", help=f"of {', '.join(POLICIES)}")
    prefer = f"the router's routing.prefer: {', '.join(prefer.value for prefer in Prefer)} (default accuracy)"
    add("--prefer", type=_prefer, default=defaults.prefer, metavar="WHAT", help=prefer)
    add("--data-cap-mb-per-day", type=_cap(1.0, "MB"), default=0.0, metavar="MB", help="the router's data budget")
    add("--credits-per-day", type=_cap(0.01, "credits"), default=0.0, metavar="N", help="the router's credit budget")
    add("--seed", type=_whole(0, _MOST_SEED), default=defaults.seed, help="of all that is random (default %(default)s)")
    add("--jobs", type=_whole(1, _MOST_JOBS), default=2, metavar="N", help="processes (default %(default)s)")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    picture = parser.add_mutually_exclusive_group()
    where = f"where the picture goes (default {DEFAULT_PICTURE})"
    picture.add_argument("--picture", type=_png, metavar="FILE.png", help=where)
    picture.add_argument("--no-picture", action="store_true", help="draw none")
    json = "also write every figure there; -: print that instead of the tables"
    parser.add_argument("--json", type=Path, metavar="FILE", help=json)


def _number(least: float, most: float, unit: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = _float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r}; allowed: {least:g} to {most:g} {unit}")
        return value

    return parse


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = _int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r}; allowed: a whole number, {least} to {most}")
        return value

    return parse


def _deadline_ms(text: str) -> int:
    value = _int(text)
    if not _LEAST_DEADLINE_MS <= value <= _MOST_DEADLINE_MS:
        allowed = f"whole milliseconds, {_LEAST_DEADLINE_MS} to {_MOST_DEADLINE_MS}, as of routing.deadline_ms"
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: {allowed}")
    return value


def _cap(least: float, unit: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = _float(text)
        if value and not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r}; allowed: 0, which is no cap, or {least:g} {unit} and more")
        return value

    return parse


def _float(text: str) -> float:
    """NaN, which no limits allow, for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _int(text: str) -> int:
    """-1 for what is no whole number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < len(str(_MOST_SEED)) + 1 else -1


def _span(text: str) -> Span:
    begin, dash, end = text.partition("-")
    begin_s, end_s = _float(begin), _float(end)
    if not dash or not 0 <= begin_s < end_s <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: A-B in seconds, B after A, as in 40-45")
    return begin_s, end_s


def _prefer(text: str) -> Prefer:
    try:
        return Prefer(text)
    except ValueError:
        allowed = ", ".join(prefer.value for prefer in Prefer)
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: {allowed}") from None


def _policies(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in POLICIES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(map(repr, unknown))}; allowed: {', '.join(POLICIES)}")
    return names


def _png(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: a name that ends in .png")
    return path
