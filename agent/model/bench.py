"""`vedette model bench`: how fast each file of a package is, with one thread and with more. Main thread."""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent import package
from agent.bench import command, output
from agent.bench.subject import Setting, Subject, of_model
from agent.model.session import Commands, Session
from agent.package import MANIFEST
from agent.shelf import MODELS

_THREADS: Final = (1, 2, 4)


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """See Command."""
    parser = commands.add_parser(
        "bench",
        help="measure how fast each file of a model is",
        description="Measures every variant of a package with several numbers of threads, each in a process of its "
        "own: how long a frame takes, how many are answered a second, and how much memory that needs.",
    )
    parser.add_argument("model", metavar="MODEL", help="an installed model, a package, or a model file")
    command.add_measuring(parser)
    parser.set_defaults(threads=[count for count in _THREADS if count == 1 or count <= (os.cpu_count() or 1)])
    return parser


def run(options: argparse.Namespace, session: Session) -> int:
    """See Command."""
    output.ensure_writable(options.json, options.picture, schema=command.SCHEMA)
    setting = Setting(session.state.absolute(), options.frames, command.source(options.source))
    return command.report(_subjects(options.model, setting, session.here), options, session.say)


def _subjects(model: str, setting: Setting, here: Path) -> list[Subject]:
    """One for each file that the package has."""
    found = package.find(model, base_dir=here, shelf=setting.state_dir / MODELS)
    folder = found.file.parent
    files = package.about(folder).files if (folder / MANIFEST).is_file() else ()
    if found.file not in files:
        return [of_model(model, setting, base_dir=here)]
    name = f"{found.name}@{found.version}" if found.version else found.name
    return [replace(of_model(str(file), setting), name=f"{name} {file.name}") for file in files]
