"""Everything that the doctor looks at, in the order in which it is told. No state."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from agent import check, imaging
from agent.check import Finding
from agent.clock import SystemClock
from agent.config import Config
from agent.doctor import afar, heat, medium, memory, names, permissions, storage, system, timekeeping, unit, versions
from agent.doctor.finding import doubt
from agent.doctor.machine import Interpreter, Machine, answer
from agent.doctor.subject import Subject
from agent.package import shipped

_LIMIT_S: Final = 20.0
_TRIAL_S: Final = 60.0
"""A camera, an engine or a sink; one that tells of its progress, as TensorRT does, gets as much again each time."""
_PIP_S: Final = 15.0
Examine = Callable[[], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Examination:
    """One thing to look at."""

    part: str
    examine: Examine
    limit_s: float = _LIMIT_S


@dataclass(frozen=True, slots=True)
class Patient:
    """Whom the doctor looks at."""

    machine: Machine
    config: Config
    base_dir: Path
    """Relative paths in the configuration begin there."""
    state_dir: Path
    subject: Subject
    own: bool
    """Whether the configuration is the user's, and not the built-in one, which has nothing but the shipped model."""
    is_service: bool
    """Whether it is the service's."""
    may_all: bool
    """Whether the service's keys and state can be looked at: root, or no service."""


def examinations(patient: Patient, progress: Callable[[str], None]) -> Iterator[Examination]:
    """The device first, then the way out, the service, and each part of the configuration."""
    machine, subject = patient.machine, patient.subject
    told = unit.shown(machine)
    yield Examination(system.PART, partial(system.findings, machine, Interpreter.own()))
    yield Examination(versions.PART, partial(_versions, machine), _LIMIT_S + _PIP_S)
    yield Examination("temperature and power", partial(heat.findings, machine))
    yield Examination(memory.PART, partial(memory.findings, machine, subject.live_cameras))
    yield Examination(timekeeping.PART, partial(_clock, machine, told))
    yield Examination(unit.PART, partial(unit.findings, machine, told, shipped("systemd", unit.NAME)))
    yield Examination(permissions.PART, partial(_permissions, patient, told))
    if not patient.may_all:
        yield Examination("rights", _not_root)
    else:
        yield Examination(afar.PART, partial(afar.findings, patient.config, patient.state_dir))
        limit_s = _LIMIT_S + medium.LIMIT_S * len(subject.folders)
        yield Examination("disk", partial(storage.findings, machine, subject.folders, medium.measured), limit_s)
    for host in subject.hosts:
        if not names.is_address(host):
            examine = partial(names.findings, machine, host, SystemClock())
            yield Examination(f"DNS {host}", examine, names.LIMIT_S)
    taken = subject.local_cameras if told is not None and told.get("ActiveState") == "active" else frozenset[str]()
    for trial in check.trials(patient.config, patient.base_dir, patient.state_dir, progress=progress):
        if _is_wanted(trial, patient):
            attempt: Examine = partial(_in_use, trial.part) if trial.part in taken else trial.run
            yield Examination(trial.part, attempt, _TRIAL_S)


def _in_use(part: str) -> Iterator[Finding]:
    yield doubt(
        part,
        "was not opened, for the running service may have it: the unit's line above tells how it fares; to try it: "
        "sudo systemctl stop vedette",
    )


def _is_wanted(trial: check.Trial, patient: Patient) -> bool:
    if trial.part == check.STATE:
        return patient.may_all
    return patient.own or trial.part == check.LOCAL


def _not_root() -> Iterator[Finding]:
    yield doubt("rights", "its keys and its state are for root alone, and were not looked at: sudo vedette doctor")


def _versions(machine: Machine) -> Iterator[Finding]:
    pip = answer(
        [sys.executable, "-I", "-m", "pip", "check"], _PIP_S, any_code=True
    )  # it fails where something misfits
    jetson, tensorrt = system.l4t(machine) is not None, versions.has("tensorrt")
    found = versions.installed()
    yield from versions.findings(found, imaging.opencv_summary(), jetson=jetson, tensorrt=tensorrt, pip_says=pip)


def _clock(machine: Machine, told: dict[str, str] | None) -> Iterator[Finding]:
    clock = SystemClock()
    asks = told.get("ProtectClock") == "no" if told is not None and unit.is_installed(told) else None
    yield from timekeeping.findings(machine, clock.wall(), synchronized=clock.synchronized(), service_asks_kernel=asks)


def _permissions(patient: Patient, told: dict[str, str] | None) -> Iterator[Finding]:
    machine, subject = patient.machine, patient.subject
    as_service = patient.is_service and told is not None and unit.is_installed(told)
    groups = "" if told is None else told.get("SupplementaryGroups", "")
    actor = permissions.service(groups) if as_service else permissions.myself(machine)
    yield from permissions.of_devices(machine, actor, cameras=bool(subject.local_cameras), gpu=subject.gpu)
    yield from permissions.of_files(machine, subject.secrets, is_service=as_service)


def may_all(*, is_service: bool) -> bool:
    """Whether the one who runs this may look at everything."""
    return not is_service or os.geteuid() == 0
