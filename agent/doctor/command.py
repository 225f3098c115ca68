"""`vedette doctor`: its options, and what it says. Main thread."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import agent
from agent import config, document, logs, options
from agent.backlog.places import SERVICE_STATE
from agent.check import Finding
from agent.clock import SystemClock
from agent.console import Terminal, progress_on
from agent.doctor import permissions, subject
from agent.doctor.examination import Patient, examinations, may_all
from agent.doctor.finding import doubt, fault, fine
from agent.doctor.machine import Machine
from agent.doctor.patience import Patience
from agent.errors import ConfigError

SCHEMA: Final = "vedette.doctor/1"
_DONE, _FAILED = 0, 1
_PART: Final = "configuration"
_BUILT_IN: Final = """
cameras: [{name: built-in, source: {type: synthetic}}]
engines: {local: {type: tflite, model: shapes}}
sinks: [{type: stdout}]
"""
"""What is looked at where there is no configuration: one inference with the shipped model."""


def add_arguments(parser: argparse.ArgumentParser, say: Callable[[str], None], own_state: Callable[[], Path]) -> None:
    """The options of `vedette doctor`.

    Args:
        parser: takes them.
        say: prints a command's output.
        own_state: the user's own state folder.
    """
    service = Path(permissions.CONFIG)
    parser.description = (
        "Looks at all that the agent needs on this device: cameras, runtime, model, API key, broker, DNS, clock, disk, "
        "temperature, power, unit, permissions, versions. One line each: ok, warn or FAIL, with what to do."
    )
    add = parser.add_argument
    add("config", nargs="?", type=Path, metavar="CONFIG", help=f"the YAML file; left out: {service}, if it is there")
    add("--state", type=Path, metavar="DIR", help="the agent's state folder; left out: the service's or the user's own")
    add("--json", action="store_true", help="print all findings as one JSON object, when done")
    parser.set_defaults(command=partial(_run, Machine(), say, own_state))


def _run(
    machine: Machine, say: Callable[[str], None], own_state: Callable[[], Path], options: argparse.Namespace
) -> int:
    logs.setup(sys.stderr, level="error", with_time=False)
    terminal = Terminal(sys.stderr)
    patience = Patience(SystemClock())
    show = progress_on(terminal)

    def progress(words: str) -> None:
        patience.sign()
        show(words)

    found: list[Finding] = []
    for finding in _findings(machine, options, own_state, patience=patience, progress=progress):
        found.append(finding)
        if not options.json:
            terminal.clear()
            say(logs.redact(str(finding)))
    say(json.dumps(_document(found), ensure_ascii=False, indent=2) if options.json else _summary(found))
    code = _DONE if all(finding.fine for finding in found) else _FAILED
    if patience.exhausted:
        sys.stdout.flush()
        os._exit(code)  # what hangs would hold up an orderly end
    return code


def _findings(
    machine: Machine,
    given: argparse.Namespace,
    own_state: Callable[[], Path],
    *,
    patience: Patience,
    progress: Callable[[str], None],
) -> Iterator[Finding]:
    service = machine.path(permissions.CONFIG)
    path = given.config or (service if service.is_file() else None)
    is_service = path is not None and path.resolve() == service.resolve()
    if is_service and os.geteuid() == 0:
        options.credentials_from(machine.path(permissions.CREDENTIALS))
    settings, said = _configuration(path)
    yield from said
    own = settings is not None
    settings = settings or config.validate(document.parse(_BUILT_IN, name="built-in"))
    base_dir = Path.cwd() if path is None else path.resolve().parent
    state_dir = given.state or (SERVICE_STATE if is_service else own_state())
    patient = Patient(
        machine,
        settings,
        base_dir,
        state_dir,
        subject.of_config(settings, base_dir, state_dir),
        own=own,
        is_service=is_service,
        may_all=may_all(is_service=is_service),
    )
    for examination in examinations(patient, progress):
        yield from patience.wait(examination.part, examination.examine, examination.limit_s)
    if os.geteuid() == 0:
        _hand_over(state_dir)


def _hand_over(state_dir: Path) -> None:
    """Engines that were built here belong to the owner of the state folder, who has to replace them one day."""
    with contextlib.suppress(OSError):
        owner = state_dir.stat()
        for path in (state_dir / "engines", *(state_dir / "engines").iterdir()):
            about = path.lstat()
            if about.st_uid == 0 and (path.is_dir() or about.st_nlink == 1):  # not a file that has another name, too
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _configuration(path: Path | None) -> tuple[config.Config | None, list[Finding]]:
    """The configuration, if there is a good one, and what is to be said of it."""
    if path is None:
        text = f"none is named, nor is there {permissions.CONFIG}: the shipped model is tried; vedette doctor CONFIG"
        return None, [doubt(_PART, text)]
    try:
        settings = config.load(path)
    except ConfigError as error:
        return None, [fault(_PART, problem) for problem in error.problems]
    return settings, [
        fine(_PART, f"{path}: {len(settings.cameras)} camera(s), routing {settings.mode.value}"),
        *(doubt(_PART, note) for note in settings.notes),
    ]


def _word(finding: Finding) -> str:
    return str(finding).split(maxsplit=1)[0].lower()


def _document(found: list[Finding]) -> dict[str, Any]:
    rows = [{"part": one.part, "verdict": _word(one), "text": logs.redact(one.text)} for one in found]
    return {"schema": SCHEMA, "vedette": agent.__version__, "fine": all(one.fine for one in found), "findings": rows}


def _summary(found: list[Finding]) -> str:
    words = [_word(finding) for finding in found]
    failed, warned = words.count("fail"), words.count("warn")
    if not failed and not warned:
        return "all is fine"
    return f"{failed} to mend (FAIL), {warned} to know (warn)"
