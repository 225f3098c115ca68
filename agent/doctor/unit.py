"""The systemd unit: installed, as shipped, enabled, running, and how it has fared. No state."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from agent.check import Finding
from agent.doctor.finding import doubt, fault, fine
from agent.doctor.machine import Machine

PART: Final = "unit"
NAME: Final = "vedette.service"
_SHOWN: Final = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "ExecMainStatus",
    "WatchdogUSec",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
    "StatusText",
    "SupplementaryGroups",
    "DevicePolicy",
    "ProtectClock",
)
_EXIT_CONFIG: Final = "78"


def shown(machine: Machine) -> dict[str, str] | None:
    """The unit's properties as systemd has them; None: no systemd answers here."""
    said = machine.ask("systemctl", "show", NAME, *(f"--property={name}" for name in _SHOWN))
    if said is None:
        return None
    return {name: value for name, _, value in (row.partition("=") for row in said.splitlines())}


def is_installed(unit: Mapping[str, str] | None) -> bool:
    """Whether systemd knows the unit."""
    return unit is not None and unit.get("LoadState") == "loaded"


def findings(machine: Machine, unit: Mapping[str, str] | None, shipped: Path) -> Iterator[Finding]:
    """What is to be said of it; `shipped`: the unit that comes with this version."""
    if unit is None:
        yield fine(PART, "no systemd answers here, so nothing starts the agent but you")
    elif unit.get("LoadState") == "masked":
        yield doubt(PART, "is masked, so nothing can start it: sudo systemctl unmask vedette")
    elif not is_installed(unit):
        yield doubt(PART, "is not installed, so nothing starts the agent at boot: sudo scripts/install.sh")
    else:
        yield _state(unit)
        yield from _flaws(unit)
        yield from _file(machine, unit, shipped)


def _state(unit: Mapping[str, str]) -> Finding:
    state = unit.get("ActiveState", "")
    if state == "failed" and unit.get("ExecMainStatus") == _EXIT_CONFIG:
        return fault(
            PART, "stopped, for its configuration is wrong: vedette check /etc/vedette/vedette.yaml says where"
        )
    if state == "failed":
        return fault(PART, f"failed ({unit.get('Result', '')}): journalctl -u vedette -n 50 says why")
    if state == "activating" and unit.get("SubState") == "auto-restart":
        return fault(PART, "fails at every start: journalctl -u vedette -n 50 says why")
    if state in ("inactive", "deactivating"):
        return doubt(PART, "does not run: sudo systemctl start vedette")
    said = unit.get("StatusText", "")
    return fine(PART, f"{state}{': ' if said else ''}{said}")


def _flaws(unit: Mapping[str, str]) -> Iterator[Finding]:
    if unit.get("UnitFileState") not in ("enabled", "enabled-runtime", "static", "generated"):
        yield doubt(PART, "is not started at boot: sudo systemctl enable vedette")
    restarts = unit.get("NRestarts", "0")
    if restarts.isdigit() and int(restarts):
        yield doubt(PART, f"was started again {restarts} times: journalctl -u vedette -p warning -b says why")
    if unit.get("WatchdogUSec") in ("0", "infinity"):
        yield doubt(PART, "has no watchdog, so a loop that hangs is never ended; take WatchdogSec= out of its drop-in")
    if unit.get("NeedDaemonReload") == "yes":
        yield doubt(PART, "its file was changed, and systemd has the old one: sudo systemctl daemon-reload")


def _file(machine: Machine, unit: Mapping[str, str], shipped: Path) -> Iterator[Finding]:
    try:
        wanted = shipped.read_text(encoding="utf-8").strip()
    except OSError:
        return
    name = unit.get("FragmentPath", "")
    if name and machine.read(name) != wanted:
        yield doubt(
            PART,
            f"{name} is not the unit of this version: sudo scripts/install.sh puts it there; your own changes belong "
            "in a drop-in: sudo systemctl edit vedette",
        )
    for drop_in in unit.get("DropInPaths", "").split():
        if re.search(r"^ExecStart=.", machine.read(drop_in), re.MULTILINE):
            yield doubt(PART, f"{drop_in} has a command of its own, which an update does not change; take it out")
