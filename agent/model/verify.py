"""`vedette model verify`: are the files as they were installed, and does each model run? No state."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from agent import package
from agent.errors import AgentError
from agent.model import report
from agent.model.session import DONE, FAILED, Commands, Session
from agent.model.trial import tried
from agent.package import MANIFEST


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """See Command."""
    parser = commands.add_parser(
        "verify",
        help="check the files of installed models, and run each once",
        description="Compare every file of an installed package with its checksum, load it, and run it on one picture. "
        "Without a name: everything that is installed, and what comes with the agent.",
    )
    parser.add_argument("model", nargs="?", metavar="NAME[@VERSION]", help="as `vedette model list` shows them")
    return parser


def run(options: argparse.Namespace, session: Session) -> int:
    """See Command."""
    found = [finding(model, session) for model in _chosen(options.model, session)]
    for each in found:
        session.say(str(each))
    return DONE if all(each.fine for each in found) else FAILED


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one version."""

    model: str
    faults: tuple[str, ...] = ()
    """Why it cannot be used."""
    complaints: tuple[str, ...] = ()
    """What is wrong with it although it runs."""

    @property
    def fine(self) -> bool:
        """Whether it can be used."""
        return not self.faults

    def __str__(self) -> str:
        lines = [f"FAIL  {self.model}: {fault}" for fault in self.faults] or [f"ok    {self.model}"]
        return "\n".join([*lines, *(f"      {complaint}" for complaint in self.complaints)])


def _chosen(model: str | None, session: Session) -> list[str]:
    """Everything that is asked for, as the configuration names it. Raises AgentError."""
    shelf = session.shelf
    shipped = sorted(page.parent.name for page in package.shipped("models").glob(f"*/{MANIFEST}"))
    if model is None:
        every = [f"{name}@{version}" for name in shelf.names() for version in shelf.versions(name)]
        return every + [name for name in shipped if name not in shelf.names()]
    name, _, version = model.partition("@")
    there = shelf.versions(name)
    if not there and name in shipped and not version:
        return [name]
    if not there or (version and version not in there):
        raise AgentError(shelf.unknown(name, version or None))
    return [f"{name}@{each}" for each in there if version in {"", each}]


def finding(model: str, session: Session) -> Finding:
    """The model is run only where its files are right."""
    name, _, version = model.partition("@")
    folder = session.shelf.path(name, version) if version else package.shipped("models", name)
    faults = list(package.problems(folder))
    complaints: list[str] = []
    for file in () if faults else package.about(folder).files:
        more_faults, more_complaints = _of_file(file, name, session)
        faults += more_faults
        complaints += more_complaints
    return Finding(model, tuple(faults), tuple(complaints))


def _of_file(file: Path, name: str, session: Session) -> tuple[list[str], list[str]]:
    """Faults and complaints."""
    try:
        card = tried(str(file), file, session).card
    except AgentError as error:
        return str(error).splitlines(), []
    found = report.complaints(card)
    if not card.labels:
        cure = f"to name its classes: vedette model add {file} --name {name} --labels FILE"
        found.append(f"carries no class names, so that results call them class_0, class_1 and so on; {cure}")
    return [], [f"{file.name}: {each}" for each in found]
