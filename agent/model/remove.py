"""`vedette model remove`: an installed package, or one version of it, off the disk. No state."""

import argparse

from agent import words
from agent.errors import AgentError
from agent.model.session import DONE, Commands, Session


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """See Command."""
    parser = commands.add_parser(
        "remove",
        help="take an installed package, or one version of it, off the disk",
        description="Take an installed package off the disk: all its versions and its history, or one version that is "
        "not in use. An agent that has it loaded goes on with it until its next start.",
    )
    parser.add_argument("model", metavar="NAME[@VERSION]", help="as `vedette model list` shows them")
    return parser


def run(options: argparse.Namespace, session: Session) -> int:
    """See Command."""
    name, at, version = options.model.partition("@")
    if not name or (at and not version):
        raise AgentError(f"{options.model}: name a package as NAME, or one version as NAME@VERSION")
    shelf = session.shelf
    doomed = [version] if version else shelf.versions(name)
    shelf.remove(name, version or None)
    what = f"{name}@{version}" if version else f"{name} ({words.plural(len(doomed), 'version')})"
    session.say(f"{what} removed from {shelf.folder}")
    return DONE
