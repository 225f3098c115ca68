"""`vedette model list`: what is installed and what comes with the agent, as a table or as JSON. No state."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent import package, words
from agent.bench.subject import RUNTIMES
from agent.errors import ConfigError
from agent.model.session import DONE, FAILED, Commands, Session
from agent.package import MANIFEST, About
from agent.shelf import Shelf, Standing


@dataclass(frozen=True, slots=True)
class Row:
    """One version of one package."""

    name: str
    version: str
    """Empty: it has none."""
    current: bool
    """Whether `model: NAME` means this one."""
    task: str
    width: int | None
    """Of the input, in pixels."""
    height: int | None
    runtimes: tuple[str, ...]
    """The `type` of an engine that runs a file of it."""
    size_bytes: int
    source: str
    licence: str
    state: str
    """What became of it, as the shelf's history tells."""
    reason: str
    path: str
    """Its folder."""
    problem: str | None = None
    """Why it cannot be used."""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """See Command."""
    parser = commands.add_parser(
        "list",
        help="say which models are installed, and which come with the agent",
        description="Say which models are installed, in which versions, which version is in use, where they came from "
        "and what became of them, and which come with the agent.",
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")
    return parser


def run(options: argparse.Namespace, session: Session) -> int:
    """See Command."""
    shelf = session.shelf
    rows = [*_installed(shelf), *_shipped(shelf)]
    if options.json:
        found = {"folder": str(shelf.folder), "models": [_as_json(row) for row in rows]}
        session.say(json.dumps(found, indent=2))
    else:
        session.say("\n".join(_report(shelf, rows)))
    return FAILED if any(row.problem for row in rows) else DONE


def _installed(shelf: Shelf) -> Iterator[Row]:
    for name in shelf.names():
        current = shelf.current(name)
        for version in shelf.versions(name):
            event = shelf.standing(name, version)
            standing = Standing.INSTALLED if event is None else event.standing
            yield _row(
                shelf.path(name, version),
                name=name,
                version=version,
                current=version == current,
                state=standing.value,
                reason="" if event is None else event.reason,
            )


def _shipped(shelf: Shelf) -> Iterator[Row]:
    hidden = set(shelf.names())
    for page in sorted(package.shipped("models").glob(f"*/{MANIFEST}")):
        name = page.parent.name
        yield _row(page.parent, name=name, version="", current=name not in hidden, state="with the agent", reason="")


def _row(folder: Path, *, name: str, version: str, current: bool, state: str, reason: str) -> Row:
    try:
        about, problem = package.about(folder), None
    except ConfigError as error:
        about, problem = About(name, version, "", None, None, None, (), 0, "", ""), str(error)
    return Row(
        name=name,
        version=version,
        current=current,
        task="" if about.task is None else about.task.value,
        width=about.width,
        height=about.height,
        runtimes=tuple(dict.fromkeys(RUNTIMES.get(file.suffix.lower(), "?") for file in about.files)),
        size_bytes=sum(file.stat().st_size for file in about.files if file.is_file()),
        source=about.source,
        licence=about.licence,
        state=state,
        reason=reason,
        path=str(folder),
        problem=problem,
    )


def _as_json(row: Row) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if value is not None}


def _report(shelf: Shelf, rows: list[Row]) -> Iterator[str]:
    yield f"Models in {shelf.folder}, and those that come with the agent. * marks the version that NAME alone means."
    yield ""
    head = ("", "NAME", "VERSION", "TASK", "INPUT", "RUNTIME", "SIZE", "FROM", "STATE")
    yield from words.table(head, [_cells(row) for row in rows])
    notes = [f"{row.name}@{row.version}: {row.problem}" for row in rows if row.problem]
    if notes:
        yield ""
        yield from notes


def _cells(row: Row) -> tuple[str, ...]:
    state = f"{row.state}: {row.reason}" if row.reason else row.state
    return (
        "*" if row.current else "",
        row.name,
        row.version or "-",
        row.task or "-",
        f"{row.width}x{row.height}" if row.width else "-",
        ", ".join(row.runtimes) or "-",
        words.size(row.size_bytes),
        words.printable(row.source) or "-",
        "cannot be used" if row.problem else words.printable(state),
    )
