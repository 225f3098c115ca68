"""A part of the camera faults (scripts/cameras has all of them): no camera and no reader holds the agent up.

What measures time runs by itself. The others begin at once, a few at a time, and are looked at one after the other.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from cameras.case_secrets import PASSWORD, disguises
from cameras.finding import Finding, World, table
from cameras.suite import CASES, lacks
from cameras.trial import Seen, faults_in

_AT_ONCE = 6
_PATIENT = sorted(
    (name for name, case in CASES.items() if not case.timed),
    key=lambda name: name not in ("sparse", "cycles", "secrets"),
)
"""Those that take longest begin first."""
Begun = dict[str, Future[list[Finding]]]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    """The cases that do not measure time."""
    folder = tmp_path_factory.mktemp("cameras")
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        yield {
            name: workers.submit(CASES[name].part, World(_made(folder / name), timed=False))
            for name in _PATIENT
            if not lacks(CASES[name])
        }


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", _PATIENT)
def test_the_fault_is_noticed_and_leaves_nothing_behind(name: str, begun: Begun) -> None:
    if reason := lacks(CASES[name]):
        pytest.skip(reason)
    _judge(begun[name].result())


@pytest.mark.alone
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.timed])
def test_the_fault_is_noticed_and_frames_come_again_in_time(name: str, tmp_path: Path) -> None:
    if reason := lacks(CASES[name]):
        pytest.skip(reason)
    _judge(CASES[name].part(World(tmp_path)))


def _judge(findings: list[Finding]) -> None:
    faults = [fault for finding in findings for fault in finding.faults]
    assert not faults, table(findings) + "\n" + "\n".join(faults[:5])


# The suite itself


def seen(made_s: float, captured_s: float) -> Seen:
    return Seen("door", captured_s, captured_s, made_s, (64, 48))


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        ([seen(1.0, 1.1), seen(1.1, 1.2)], ""),
        ([seen(1.0, 1.1), seen(1.0, 1.2)], "came after"),
        ([seen(1.1, 1.15), seen(1.0, 1.2)], "came after"),
        ([seen(1.0, 1.1), seen(1.1, 1.7)], "0.600 s old"),
        ([seen(1.3, 1.1)], "-0.200 s old"),
    ],
    ids=["as it should be", "twice", "out of order", "too old", "invented"],
)
def test_a_frame_that_should_not_have_come_is_found(frames: list[Seen], fault: str) -> None:
    found = faults_in(frames, oldest_s=0.5)
    assert fault in "".join(found)
    assert bool(found) is bool(fault)


@pytest.mark.parametrize(
    ("detected_s", "recovered_s", "faults"), [(2.4, 4.9, 0), (2.6, 4.9, 1), (2.4, 5.1, 1), (9.0, 9.0, 2)]
)
def test_what_took_too_long_is_found(detected_s: float, recovered_s: float, faults: int, tmp_path: Path) -> None:
    finding = Finding("camera", 1.5, detected_s, recovered_s)
    assert len(finding.judged(World(tmp_path)).faults) == faults
    assert ("FAILED" in table([finding])) is bool(faults)


@pytest.mark.parametrize(
    "leak", [PASSWORD, repr({"password": PASSWORD}), PASSWORD[3:12], "url=rtsp://u:p%2Fa%40s%25s%3Aw%22o%27r@h"]
)
def test_a_password_is_found_in_any_disguise(leak: str) -> None:
    assert any(form in f"12:00:00 ERROR {leak}; trying again" for form in disguises(PASSWORD))
