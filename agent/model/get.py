"""`vedette model get`: well-known models from whoever made them, once their licence is accepted. No state."""

import argparse
import contextlib
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from agent import document, words
from agent.errors import AgentError
from agent.model import manifest, report
from agent.model.download import Wanted, Web
from agent.model.session import DONE, OTHER_STATE, Commands, Session
from agent.model.trial import ensure_runtime, tried

CATALOGUE: Final = Path(__file__).parent / "catalogue.yaml"


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the catalogue."""

    name: str
    description: str
    task: str
    url: str
    sha256: str
    width: int
    """Of the input, in pixels."""
    height: int
    licence: str
    """By its SPDX name."""
    size_bytes: int | None = None

    @property
    def file(self) -> str:
        """What the file is called."""
        return Path(urlsplit(self.url).path).name


def read(path: Path = CATALOGUE) -> dict[str, Entry]:
    """The catalogue, by name. Raises ConfigError."""
    entries: Mapping[str, Mapping[str, Any]] = document.read(path).data
    return {name: Entry(name=name, **entry) for name, entry in entries.items()}


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """See Command."""
    parser = commands.add_parser(
        "get",
        help="fetch a well-known model, such as yolov8n, from whoever made it",
        description="Fetch a well-known model from whoever made it, check it against its checksum and install it. "
        "Without a name: say which there are.",
    )
    parser.add_argument("model", nargs="?", metavar="NAME", help="such as yolov8n; left out: say which there are")
    parser.add_argument(
        "--accept-licence", metavar="LICENCE", help="the licence of the model, which you have read and accept"
    )
    return parser


def run(options: argparse.Namespace, session: Session) -> int:
    """See Command."""
    catalogue = read()
    if options.model is None:
        session.say("\n".join(_listed(catalogue)))
        return DONE
    with contextlib.closing(Web(session.clock, tell=session.meter.say)) as web:
        session.say(get(web, _chosen(catalogue, options.model), options.accept_licence, session))
    return DONE


def get(web: Web, entry: Entry, accepted: str | None, session: Session) -> str:
    """Fetch and install; what was done, for people. Raises AgentError."""
    shelf = session.shelf
    for version in shelf.versions(entry.name):
        if manifest.read(shelf.path(entry.name, version)).get("sha256") == {entry.file: entry.sha256}:
            return f"It is installed already, and the same file: {report.there(shelf, entry.name, version)}"
    _refuse_unread(entry, accepted)
    ensure_runtime(entry.file)
    wanted = Wanted(entry.file, "sha256", entry.sha256, entry.size_bytes)
    try:
        with shelf.stage(entry.sha256[:20]) as staged:
            file = web.fetch(wanted, staged, address=lambda: entry.url, meter=session.meter)
            manifest.write(staged, _keys(entry))
            done = tried(str(staged), file, session)
            manifest.write(staged, _keys(entry) | {"labels": list(done.card.labels)})
            version = shelf.install(staged, entry.name)
    except OSError as error:
        raise AgentError(words.unwritable(error.filename or shelf.folder, error, otherwise=OTHER_STATE)) from error
    told = [*report.described(entry.url, done, picture=None), f"  licence: {entry.licence}, as you have accepted", ""]
    return "\n".join([*told, *report.installed(shelf, entry.name, version, done.card.runtime)])


def _keys(entry: Entry) -> manifest.Keys:
    return {
        "name": entry.name,
        "description": entry.description,
        "task": entry.task,
        "file": entry.file,
        "input": {"width": entry.width, "height": entry.height},
        "licence": entry.licence,
        "source": entry.url,
    }


def _chosen(catalogue: Mapping[str, Entry], name: str) -> Entry:
    if name in catalogue:
        return catalogue[name]
    near = difflib.get_close_matches(name, catalogue, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise AgentError(
        f"{name}: there is no such model here; {hint}There are: {', '.join(catalogue)}. A model of your own: vedette "
        "model add FILE; one of the hosted platform: vedette model pull PROJECT/VERSION"
    )


def _refuse_unread(entry: Entry, accepted: str | None) -> None:
    if accepted == entry.licence:
        return
    wrong = f"You accept {accepted}, which is another one. " if accepted else ""
    raise AgentError(
        f"{entry.name} comes from {urlsplit(entry.url).hostname} under the licence {entry.licence}, with terms for "
        f"whoever passes on or serves what is built with it. {wrong}If you have read and accept it: vedette model get "
        f"{entry.name} --accept-licence {entry.licence}"
    )


def _listed(catalogue: Mapping[str, Entry]) -> Iterator[str]:
    rows = [
        (entry.name, entry.task, words.size(entry.size_bytes) if entry.size_bytes else "-", entry.licence)
        for entry in catalogue.values()
    ]
    described = [(*row, entry.description) for row, entry in zip(rows, catalogue.values(), strict=True)]
    yield from words.table(("NAME", "TASK", "SIZE", "LICENCE", "FINDS"), described)
    yield ""
    yield "To install one: vedette model get NAME --accept-licence LICENCE"
