"""`vedette model use`: which version of an installed package is used. No state."""

import argparse

from agent.errors import AgentError
from agent.model import report, verify
from agent.model.session import DONE, Commands, Session
from agent.rollout import choice


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """See Command."""
    parser = commands.add_parser(
        "use",
        help="let another version of an installed package be used",
        description="Use this version wherever the configuration says `model: NAME`, without a trial beyond that it "
        "runs. A running agent follows within seconds. The others stay installed; newer ones that were not tried yet "
        "are not tried any more.",
    )
    parser.add_argument("model", metavar="NAME@VERSION", help="as `vedette model list` shows them")
    return parser


def run(options: argparse.Namespace, session: Session) -> int:
    """See Command."""
    name, at, version = options.model.partition("@")
    if not (name and at and version):
        raise AgentError(f"{options.model}: say which version, as NAME@VERSION; vedette model list shows them")
    shelf = session.shelf
    before = shelf.current(name)
    if before is None or version not in shelf.versions(name):
        raise AgentError(shelf.unknown(name, version))
    for fault in verify.finding(f"{name}@{version}", session).faults:
        raise AgentError(f"{name}@{version} cannot be used, and {name}@{before} stays: {fault}")
    kind = report.other_kind(shelf, name, version, before)
    choice.use(shelf, name, version)
    session.say(f"{name}@{version} is used now" + (f"; before it was {before}" if before != version else ", as before"))
    if kind is not None:
        session.say(kind)
    return DONE
