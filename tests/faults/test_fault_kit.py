"""The kit does what it says, and finds defects that are planted in a small outbox."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faults import case_disk, case_kills, case_power
from faults.case_disk import Shape
from faults.medium import Medium, Survival, read_records
from faults.shim import Plan
from faults.table import World

_WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1] + "/a.sqlite", isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("PRAGMA synchronous=FULL")
db.execute("CREATE TABLE t(x)")
print("made", flush=True)
for number in range(int(sys.argv[2])):
    db.execute("INSERT INTO t VALUES(?)", (str(number) * 500,))
print("done", flush=True)
import os; os._exit(0)
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "state"
    folder.mkdir()
    return folder


def run_program(library: Path, plan: Plan, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **plan.environment(), "LD_PRELOAD": str(library)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)


def run_writer(library: Path, plan: Plan, rows: int = 5) -> subprocess.CompletedProcess[str]:
    return run_program(library, plan, _WRITER, str(plan.folder), str(rows))


def test_what_sqlite_does_is_recorded_whole(library: Path, state: Path, tmp_path: Path) -> None:
    log, rebuilt = tmp_path / "log", tmp_path / "rebuilt"
    assert run_writer(library, Plan(state, log=log), rows=20).returncode == 0
    medium = Medium(state)
    for record in read_records([log]):
        medium.apply(record)
    medium.rebuild(rebuilt, Survival("all"))
    for name in ("a.sqlite", "a.sqlite-wal"):
        assert (rebuilt / name).read_bytes() == (state / name).read_bytes()


@pytest.mark.parametrize("failure", [(errno.ENOSPC, "full"), (errno.EIO, "disk I/O error")])
def test_the_nth_call_fails_as_planned_and_those_before_it_do_not(
    failure: tuple[int, str], library: Path, state: Path
) -> None:
    hit = state.parent / "hit"
    ended = run_writer(library, Plan(state, at=40, act="stay", error=failure[0], hit=hit), rows=50)
    assert ended.returncode == 1
    assert ended.stdout == "made\n"
    assert failure[1] in ended.stderr
    assert hit.read_text().startswith("40 ")


def test_a_fault_is_over_once_it_is_lifted(library: Path, state: Path, tmp_path: Path) -> None:
    lift = tmp_path / "lift"
    lift.touch()
    plan = Plan(state, at=1, act="stay", error=errno.EIO, lift=lift)
    assert run_writer(library, plan).stdout == "made\ndone\n"


def test_a_write_can_be_cut_in_half_and_fail_then(library: Path, state: Path) -> None:
    program = """
import os, sys
file = os.open(sys.argv[1] + "/f", os.O_WRONLY | os.O_CREAT)
print(os.write(file, b"x" * 100))
os.write(file, b"x" * 50)
"""
    ended = run_program(library, Plan(state, at=2, act="once", error=errno.ENOSPC, halves=True), program, str(state))
    assert ended.stdout == "50\n"
    assert "No space left on device" in ended.stderr
    assert (state / "f").stat().st_size == 50


def test_a_program_can_be_killed_in_the_middle_of_a_write(library: Path, state: Path) -> None:
    ended = run_writer(library, Plan(state, at=45, act="kill", halves=True), rows=50)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == "made\n"


def test_files_elsewhere_are_left_alone(library: Path, state: Path, tmp_path: Path) -> None:
    program = "import sys; open(sys.argv[1], 'w').write('fine')"
    assert (
        run_program(library, Plan(state, at=1, act="stay", error=errno.EIO), program, str(tmp_path / "f")).returncode
        == 0
    )


def test_only_the_wall_clock_is_stepped(library: Path, state: Path, tmp_path: Path) -> None:
    wall = tmp_path / "wall"
    program = """
import json, sys, time
before = time.time(), time.monotonic()
open(sys.argv[1], "w").write("-315532800")
print(json.dumps([time.time() - before[0], time.monotonic() - before[1]]))
"""
    stepped_s, passed_s = json.loads(run_program(library, Plan(state, wall=wall), program, str(wall)).stdout)
    assert stepped_s == pytest.approx(-315532800, abs=5)
    assert 0 <= passed_s < 5


# Planted defects


def defective(world: World, defect: str) -> World:
    return World(world.folder / defect, world.drivers, world.seed, defect)


def found(run: Any, world: World, defect: str, **size: Any) -> str:
    return "\n".join(run(defective(world, defect), **size).faults)


def test_an_outbox_that_forgets_before_the_sink_has_answered_loses_at_a_kill(world: World) -> None:
    assert " lost" in found(case_kills.run, world, "hasty", kills=10, real=0)


def test_an_outbox_that_commits_late_loses_more_than_is_stated(world: World) -> None:
    assert " lost" in found(case_kills.run, world, "slow", kills=7, real=0)


def test_an_outbox_that_commits_twice_as_late_as_stated_is_found_at_real_speed(world: World) -> None:
    assert "real speed" in found(case_kills.run, world, "late", kills=0)


def test_an_outbox_that_forgets_late_sends_more_than_was_in_flight_twice(world: World) -> None:
    assert "twice outside the in-flight window" in found(case_kills.run, world, "doubling", kills=10, real=0)


@pytest.mark.parametrize("defect", ["careless", "lazy"])
def test_an_outbox_that_does_not_sync_loses_at_a_power_cut(defect: str, world: World) -> None:
    assert " lost" in found(case_power.run, world, defect, lives=1, share=0.02, draws=1)


def test_an_outbox_that_gives_up_what_could_not_be_written_loses_on_a_full_disk(world: World) -> None:
    shape = Shape(errno.ENOSPC, "once", halves=False, killed=False)
    verdicts = [case_disk.one(defective(world, "forgetful"), shape, at)[1] for at in (33, 36, 39)]
    assert any(verdict.lost for verdict in verdicts)
