"""Snapshots: what waits in the slots, what becomes of it, and that results never wait for any of it."""

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from disks import small_disk
from fakes import FakeClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from unit.test_doubt import a_result
from unit.test_record import SCHEMA
from unit.test_supervisor import eventually

from agent import app, imaging
from agent.clock import Clock, SystemClock
from agent.errors import FrameUnreadable
from agent.flow import Answer, Frame, Pixels, Prediction, Reason, Result, Timings
from agent.loop import Loop, Stage
from agent.record import Identity
from agent.snapshots.album import Album, Limits, Loss
from agent.snapshots.taker import Develop, Snapshots
from agent.snapshots.trigger import Rule
from agent.supervisor import Supervisor

PERSON = Prediction(30.0, 24.0, 20.0, 20.0, 0.9, "person", 0)
CAR = Prediction(50.0, 24.0, 8.0, 8.0, 0.8, "car", 1)
EVERY = Rule(every_s=0.0)


def picture(pixels: Pixels, found: object, comment: str) -> bytes:
    return imaging.snapshot(pixels, found, comment, longest_px=0, quality=90)  # type: ignore[arg-type]


def snapshots(
    folder: Path,
    *rules: Rule,
    clock: Clock | None = None,
    develop: Develop = picture,
    record: bool = True,
    mb: float = 1.0,
) -> Snapshots:
    clock = clock or FakeClock()
    album = Album(folder / "yard", Limits(mb * 1e6), clock=clock, boot_id="boot")
    identity = Identity("yard", "boot-id")
    return Snapshots(rules or (EVERY,), album, develop, identity=identity, clock=clock, record=record)


def seen(seq: int, *found: Prediction, camera: str = "gate", at_s: float | None = None) -> tuple[Frame, Result]:
    """A frame of grey number `seq`, and its result."""
    at_s = 1000.0 + seq if at_s is None else at_s
    result = replace(a_result(Reason.LOCAL_ONLY, Answer(found, "m", "e", Timings()), seq=seq, at_s=at_s), camera=camera)
    pixels = np.full((48, 64, 3), seq % 256, dtype=np.uint8)
    return Frame(camera, seq, at_s, result.captured_wall_s, clock_synchronized=True, pixels=pixels), result


def names(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "next-number")
    return sorted(str(path.relative_to(folder)) for path in found)


def greys(folder: Path, camera: str = "gate") -> list[int]:
    """What the clean pictures show."""
    found = sorted((folder / "yard" / camera).glob("*.clean.jpg"))
    return [int(imaging.read_image(path).mean().round()) for path in found]


# What becomes a picture


def test_a_result_that_meets_a_rule_becomes_a_picture_that_leads_back_to_it(tmp_path: Path) -> None:
    shots = snapshots(tmp_path, Rule(classes=frozenset({"person"})))
    shots.see(*seen(7, PERSON, CAR))
    shots.see(*seen(8, CAR))
    shots.step()
    name = "yard/gate/000000001-20270115T080007Z-boot-7-0"
    assert names(tmp_path) == [f"{name}.jpg", f"{name}.json"]
    assert b"yard/gate/boot-id/7/0" in (tmp_path / f"{name}.jpg").read_bytes()
    record = json.loads((tmp_path / f"{name}.json").read_bytes())
    Draft202012Validator(SCHEMA).validate(record)
    assert record["id"] == "yard/gate/boot-id/7/0"
    assert [each["class"] for each in record["predictions"]] == ["person", "car"]


def test_where_rules_of_both_kinds_meet_a_frame_has_both_pictures_under_one_name(tmp_path: Path) -> None:
    shots = snapshots(tmp_path, EVERY, Rule(annotate=False), Rule(annotate=False), record=False)
    shots.see(*seen(200, PERSON))
    shots.step()
    boxes, clean = sorted((tmp_path / "yard" / "gate").iterdir(), key=lambda path: len(path.name))
    assert (boxes.name.removesuffix(".jpg"), len(names(tmp_path))) == (clean.name.removesuffix(".clean.jpg"), 2)
    assert greys(tmp_path) == [200]
    assert np.abs(imaging.read_image(clean).astype(int) - 200).max() <= 2
    assert np.abs(imaging.read_image(boxes).astype(int) - 200).max() > 60
    assert shots.status().written == 1


def test_a_corrections_picture_would_have_its_revision_in_its_name(tmp_path: Path) -> None:
    shots = snapshots(tmp_path, record=False)
    frame, result = seen(7, PERSON)
    shots.see(frame, replace(result, revision=1))
    shots.step()
    assert names(tmp_path)[0].endswith("-7-1.jpg")


def test_the_frame_itself_stays_as_it_was(tmp_path: Path) -> None:
    shots = snapshots(tmp_path)
    frame, result = seen(9, PERSON)
    shots.see(frame, result)
    shots.step()
    assert (frame.pixels == 9).all()


# The slots


def test_the_newest_frame_wins_the_slot_the_lost_one_is_counted_and_cameras_do_not_compete(tmp_path: Path) -> None:
    shots = snapshots(tmp_path, Rule(every_s=0.0, annotate=False))
    for seq in (1, 2, 3):
        shots.see(*seen(seq, PERSON))
    shots.see(*seen(50, PERSON, camera="road"))
    shots.step()
    assert (greys(tmp_path), greys(tmp_path, "road")) == ([3], [50])
    status = shots.status()
    assert (status.written, status.overtaken, status.held) == (2, 2, 2)


def test_a_rule_whose_frame_was_pushed_out_by_another_rule_s_gets_the_next_one(tmp_path: Path) -> None:
    person, car = Rule(classes=frozenset({"person"}), annotate=False), Rule(classes=frozenset({"car"}), annotate=False)
    shots = snapshots(tmp_path, person, car)
    shots.see(*seen(1, PERSON))
    shots.see(*seen(2, CAR))
    shots.step()
    shots.see(*seen(3, PERSON))
    shots.see(*seen(4, PERSON, CAR))
    shots.step()
    shots.see(*seen(5, PERSON, CAR))
    shots.step()
    assert greys(tmp_path) == [2, 3]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 4.0), st.sampled_from(["gate", "road"]), st.booleans(), st.booleans()), max_size=40
    )
)
def test_between_two_pictures_of_one_rule_and_camera_lies_its_interval_and_every_one_is_accounted_for(
    tmp_path: Path, events: list[tuple[float, str, bool, bool]]
) -> None:
    made, now_s = list[tuple[str, float]](), 0.0
    shots = snapshots(tmp_path, Rule(classes=frozenset({"person"}), every_s=5.0), develop=lambda *_: b"jpg", mb=100)
    pulled = 0
    for seq, (pause_s, camera, is_met, steps) in enumerate(events):
        now_s += pause_s
        shots.see(*seen(seq, PERSON if is_met else CAR, camera=camera, at_s=now_s))
        pulled += is_met and all(now_s - at_s >= 5.0 for name, at_s in made if name == camera)
        if is_met and all(now_s - at_s >= 5.0 for name, at_s in made if name == camera):
            made.append((camera, now_s))
        if steps:
            shots.step()
    shots.step()
    status = shots.status()
    assert status.written + status.overtaken == len(made) == pulled


# The loop


def test_a_stop_writes_what_still_waits_in_the_slots_and_says_what_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent")
    held, going = threading.Event(), threading.Event()

    def slowly(*args: object) -> bytes:
        going.set()
        assert held.wait(10)
        return picture(*args)  # type: ignore[arg-type]

    clock = SystemClock()
    shots = snapshots(tmp_path, EVERY, Rule(classes=frozenset({"persn"})), clock=clock, develop=slowly)
    supervisor = Supervisor([Stage("s", (Loop("snapshots", shots.run),), 5.0, on_stop=shots.wake)], clock)
    supervisor.start()
    shots.see(*seen(1, PERSON))
    assert going.wait(10)
    shots.see(*seen(2, PERSON))
    shots.see(*seen(3, PERSON, camera="road"))
    threading.Timer(0.1, held.set).start()
    supervisor.stop()
    assert supervisor.fatal is None
    assert shots.status().written == 3
    assert "pictures written=3 overtaken=0" in caplog.text
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("no result met snapshots.rules[1], classes persn; are they written as in")


def test_a_disk_that_hangs_holds_up_no_emit_thread_and_the_frames_in_memory_are_bounded(tmp_path: Path) -> None:
    hangs, going = threading.Event(), threading.Event()

    def never(*_: object) -> bytes:
        going.set()
        assert hangs.wait(30)
        return b"jpg"

    clock = SystemClock()
    shots = snapshots(tmp_path, EVERY, clock=clock, develop=never)
    supervisor = Supervisor([Stage("s", (Loop("snapshots", shots.run),), 5.0, on_stop=shots.wake)], clock)
    supervisor.start()
    shots.see(*seen(1, PERSON))
    assert going.wait(10)
    begun_s = clock.now()
    for seq in range(2, 1002):
        shots.see(*seen(seq, PERSON))
    assert clock.now() - begun_s < 5.0
    assert len(shots._slots) == 1
    assert shots.status().overtaken == 999
    hangs.set()
    assert eventually(lambda: shots.status().written == 2)
    supervisor.stop()


def test_a_disk_that_hangs_for_hours_does_not_stop_the_agent(tmp_path: Path) -> None:
    hangs, going, clock = threading.Event(), threading.Event(), FakeClock()

    def never(*_: object) -> bytes:
        going.set()
        assert hangs.wait(30)
        return b"jpg"

    shots = snapshots(tmp_path, EVERY, clock=clock, develop=never)
    supervisor = Supervisor([app._snapshots_stage(shots)], clock)
    shots.see(*seen(1, PERSON))
    supervisor.start()
    assert going.wait(10)
    clock.advance(100_000.0)
    assert supervisor.stuck() == []
    hangs.set()
    supervisor._pulses["snapshots"].stopping.set()
    supervisor._threads["snapshots"].join(10)
    assert not supervisor.alive("snapshots")


def test_pictures_are_written_on_after_a_full_disk_while_results_are_shown_all_the_time(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "size=96k") as folder:
        shots = snapshots(folder, develop=lambda *_: bytes(20_000))
        for seq in range(10):
            shots.see(*seen(seq, PERSON))
            shots.step()
        status = shots.status()
        assert status.written >= 2
        assert status.written + status.lost[Loss.DISK] == 10
        for path in (folder / "yard" / "gate").glob("000000001-*"):
            path.unlink()
        shots.see(*seen(11, PERSON))
        shots.step()
        assert shots.status().written == status.written + 1


def test_a_frame_that_cannot_be_drawn_is_counted_and_the_next_one_is_written(tmp_path: Path) -> None:
    def fails_once(pixels: Pixels, found: object, comment: str) -> bytes:
        if pixels[0, 0, 0] == 1:
            raise FrameUnreadable("the frame cannot be made a picture")
        return picture(pixels, found, comment)

    shots = snapshots(tmp_path, develop=fails_once)
    for seq in (1, 2):
        shots.see(*seen(seq, PERSON))
        shots.step()
    assert (shots.status().failed, shots.status().written) == (1, 1)


def test_old_pictures_go_while_nothing_is_seen(tmp_path: Path) -> None:
    clock = FakeClock()
    album = Album(tmp_path / "yard", Limits(1e6, age_s=60.0), clock=clock, boot_id="boot")
    shots = Snapshots([EVERY], album, picture, identity=Identity("yard", "boot"), clock=clock)
    shots.see(*seen(0, PERSON))
    shots.step()
    assert shots.status().held == 1
    clock.advance(61.0)
    shots.step()
    assert names(tmp_path) == []
