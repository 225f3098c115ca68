"""Results files of the past, whole and damaged, as columns."""

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.flow import Answer, Decision, Fate, Hedge, Outlook, Prices, Reason, Result, Route, Rung, Timings
from agent.history import HEDGES, Columns, History, moment, read
from agent.record import Identity, delivery_of

IDENTITY = Identity("yard-north", "5f0c1f0e-7f0a-4f43-9d43-0a3f5e0f2a11")
REBOOTED = replace(IDENTITY, boot_id="77aa6c7e-11c0-4c39-8ac2-6f6f2a2f9d10")
FIRST_WALL_S = 1_790_000_000.0
CLOUD = Result(
    camera="gate",
    seq=1000,
    revision=0,
    captured_s=1000.0,
    captured_wall_s=FIRST_WALL_S,
    clock_synchronized=True,
    width=640,
    height=480,
    decision=Decision(
        Route.CLOUD,
        Reason.P_OK,
        1000.5,
        1000.3,
        p=0.9,
        threshold=0.4,
        rung=Rung(45_000, 480, 70, 0.9),
        outlook=Outlook(0.04, 0.06, 0.12, 6.5, 40, 0.25),
        prices=Prices(0.05, 0.25, 12.5e6, 40.0),
    ),
    fate=Fate.DONE,
    published=Route.CLOUD,
    answer=Answer((), "coco/7", "roboflow", Timings(0.004, connect_s=0.0, upload_s=0.08, server_s=0.13), 48_213, 85),
    late=False,
    started_s=1000.01,
    answered_s=1000.25,
    hedge=Hedge.SKIPPED,
)
LOCAL = replace(
    CLOUD,
    decision=Decision(Route.LOCAL, Reason.DEAD, 1000.5, 1000.0),
    published=Route.LOCAL,
    answer=Answer((), "yolov8n", "tflite", Timings(0.002, 0.031, 0.001)),
    late=True,
    hedge=Hedge.NONE,
)
EXAMPLE_OF_OLD = """\
{"schema": "vedette.result/1", "id": "yard-north/gate/1f8d0bac-8a7a-4cc0-82a9-6aebcf92f9b1/8123456/0",
 "agent": "yard-north", "camera": "gate", "boot_id": "1f8d0bac-8a7a-4cc0-82a9-6aebcf92f9b1", "seq": 8123456,
 "revision": 0, "supersedes": null, "captured_at": "2026-11-23T13:50:39.785Z", "captured_monotonic_s": 8123.468935,
 "clock_synchronized": true, "task": "object-detection", "model": "yolov8n_int8",
 "image": {"width": 768, "height": 576},
 "predictions": [{"x": 515.7, "y": 192.8, "width": 30.7, "height": 73.6, "confidence": 0.76, "class": "person",
                  "class_id": 0}],
 "route": {"decided": "cloud", "published": "local", "reason": "p_ok", "late": false, "p": 0.94, "size_bytes": null,
           "quality": null, "engine": "tflite"},
 "latency_ms": {"total": 490.1, "queue": 309.2, "preprocess": 1.1, "inference": 81.9, "postprocess": 0.6,
                "upload": null, "server": null}}
"""
"""As records were before the router told of its expectations."""


def at(result: Result, after_s: float) -> Result:
    """The same, that much later."""
    return replace(
        result,
        seq=result.seq + round(after_s * 1000),
        captured_s=result.captured_s + after_s,
        captured_wall_s=result.captured_wall_s + after_s,
        decision=replace(result.decision, deadline_s=result.decision.deadline_s + after_s),
        answered_s=result.answered_s + after_s,
    )


def lines(results: Sequence[Result], identity: Identity = IDENTITY) -> bytes:
    return b"".join(delivery_of(result, identity).body + b"\n" for result in results)


def changed(result: Result = CLOUD, **route: Any) -> bytes:
    record = json.loads(delivery_of(result, IDENTITY).body)
    record["route"].update(route)
    return json.dumps(record).encode() + b"\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def told(file: Path, content: bytes) -> History:
    file.write_bytes(content)
    return read(file)


def frames_of(history: History) -> Columns:
    (camera,) = history.cameras
    return camera.frames


# What a record says


def test_every_column_is_what_the_record_says(file: Path) -> None:
    history = told(file, lines([CLOUD]))
    frames = frames_of(history)
    said = {column.name: getattr(frames, column.name)[0] for column in fields(Columns)}
    assert said == {
        "at_s": FIRST_WALL_S,
        "span": 0,
        "reason": history.reasons.index("p_ok"),
        "hedge": HEDGES.index("skipped"),
        "sent": True,
        "from_cloud": True,
        "late": False,
        "cloud_in_time": True,
        **{name: pytest.approx(value, rel=1e-6) for name, value in NUMBERS.items()},
    }


NUMBERS = {
    "p": 0.9,
    "threshold": 0.4,
    "deadline_ms": 500.0,
    "size_bytes": 48_213.0,
    "quality": 85.0,
    "rtt_ms": 40.0,
    "upload_ms": 60.0,
    "server_ms": 120.0,
    "uplink_mbit_s": 6.5,
    "per_mb": 0.05,
    "per_call": 0.25,
    "data_left_mb": 12.5,
    "credits_left": 40.0,
    "took_ms": 250.0,
    "connect_took_ms": 0.0,
    "upload_took_ms": 80.0,
    "server_took_ms": 130.0,
}


def test_what_is_not_known_is_nan_and_what_is_null_is_no_fault(file: Path) -> None:
    history = told(file, lines([LOCAL]))
    frames = frames_of(history)
    unknown = {name for name in NUMBERS if math.isnan(getattr(frames, name)[0])}
    assert unknown == set(NUMBERS) - {"deadline_ms", "took_ms"}
    assert (frames.late[0], frames.sent[0], frames.from_cloud[0]) == (True, False, False)
    assert history.faults == ()


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_comes_back_by_name(file: Path, reason: Reason) -> None:
    history = told(file, lines([replace(CLOUD, decision=replace(CLOUD.decision, reason=reason))]))
    assert history.reasons[frames_of(history).reason[0]] == reason.value


def test_a_record_from_before_the_router_told_of_its_expectations_is_read(file: Path) -> None:
    history = told(file, EXAMPLE_OF_OLD.replace("\n", " ").encode() + b"\n")
    frames = frames_of(history)
    assert history.faults == ()
    assert frames.p[0] == pytest.approx(0.94)
    assert frames.took_ms[0] == pytest.approx(490.1)
    assert (frames.hedge[0], frames.sent[0], frames.from_cloud[0]) == (-1, True, False)
    assert np.isnan([frames.threshold[0], frames.deadline_ms[0], frames.rtt_ms[0], frames.connect_took_ms[0]]).all()


def test_a_reason_of_another_version_keeps_its_name_and_comes_after_those_of_this(file: Path) -> None:
    history = told(file, changed(reason="moon_phase"))
    assert history.reasons == (*[reason.value for reason in Reason], "moon_phase")
    assert history.reasons[frames_of(history).reason[0]] == "moon_phase"


# Which records


def test_each_camera_has_its_own_columns_by_name(file: Path) -> None:
    history = told(file, lines([CLOUD, replace(CLOUD, camera="dock"), at(replace(CLOUD, camera="dock"), 1.0)]))
    assert [(camera.name, len(camera.frames)) for camera in history.cameras] == [
        ("yard-north/dock", 2),
        ("yard-north/gate", 1),
    ]


def test_a_correction_is_no_frame_of_its_own(file: Path) -> None:
    correction = replace(CLOUD, revision=1, supersedes=0, late=True, answered_s=1001.5)
    (camera,) = told(file, lines([LOCAL, correction])).cameras
    assert (len(camera.frames), len(camera.corrections)) == (1, 1)
    assert camera.corrections.took_ms[0] == pytest.approx(1500.0)


def test_a_late_answer_to_a_frame_without_any_is_a_frame(file: Path) -> None:
    (camera,) = told(file, lines([replace(CLOUD, revision=1, supersedes=None, late=True)])).cameras
    assert (len(camera.frames), len(camera.corrections)) == (1, 0)


def test_a_record_that_came_twice_counts_once_and_all_are_in_the_order_of_capture(file: Path) -> None:
    first, second = CLOUD, at(CLOUD, 0.1)
    frames = frames_of(told(file, lines([second, first, second, first])))
    assert np.round(frames.at_s - FIRST_WALL_S, 6).tolist() == [0.0, 0.1]


def test_a_compressed_file_is_read_too(file: Path) -> None:
    assert len(frames_of(told(file, gzip.compress(lines([CLOUD]))))) == 1


def test_closed_compressed_and_active_files_are_read_as_one_and_a_record_in_two_of_them_counts_once(
    tmp_path: Path,
) -> None:
    parts = [lines([at(CLOUD, n / 10) for n in range(first, first + 10)]) for first in (0, 10, 20)]
    files = [
        tmp_path / name for name in ("r.00000001-x.jsonl.gz", "r.00000001-x.jsonl", "r.00000002-x.jsonl", "r.jsonl")
    ]
    for file, part in zip(files, (parts[0], *parts), strict=True):
        file.write_bytes(gzip.compress(part) if file.suffix == ".gz" else part)
    for order in (files, files[::-1]):
        frames = frames_of(read(*order))
        assert [round(10 * (at_s - FIRST_WALL_S)) for at_s in frames.at_s] == list(range(30))


def test_of_several_files_each_fault_names_its_own(tmp_path: Path) -> None:
    whole, damaged, empty = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.jsonl"
    whole.write_bytes(lines([CLOUD]))
    damaged.write_bytes(lines([at(CLOUD, 1.0)]) + b"{\n")
    empty.write_bytes(b"")
    assert read(whole, damaged, empty).faults == (f"{damaged}, line 2: not JSON",)
    with pytest.raises(ConfigError, match=r"2 files, .*c\.jsonl to .*c\.jsonl is empty; name a file"):
        read(empty, empty)
    with pytest.raises(ConfigError, match=r"d\.jsonl cannot be read: No such file or directory"):
        read(whole, tmp_path / "d.jsonl")
    many = [tmp_path / f"{n}.jsonl" for n in range(100)]
    for file in many:
        file.write_bytes(b"{\n")
    faults = read(whole, *many).faults
    assert len(faults) <= 22
    assert "elsewhere, lines 1, 1, 1 and 77 more: not a record, for other causes" in faults


# Time


def test_a_step_of_the_wall_clock_makes_none_in_the_columns(file: Path) -> None:
    unset = [replace(at(CLOUD, n / 10), captured_wall_s=12.0 + n / 10, clock_synchronized=False) for n in range(5)]
    set_later = [at(CLOUD, n / 10) for n in range(5, 10)]
    (camera,) = told(file, lines([*unset, *set_later])).cameras
    assert np.round(camera.frames.at_s - FIRST_WALL_S, 3).tolist() == [n / 10 for n in range(10)]
    assert camera.clock_set


def test_a_clock_that_was_never_set_is_said_to_be_so(file: Path) -> None:
    (camera,) = told(file, lines([replace(CLOUD, clock_synchronized=False)])).cameras
    assert not camera.clock_set


def test_a_restart_and_a_long_pause_begin_a_span_and_a_usual_gap_does_not(file: Path) -> None:
    first = [at(CLOUD, s) for s in (0.0, 0.1, 0.2, 1.2, 30.0, 30.1)]
    after = [replace(at(CLOUD, s), captured_s=s, seq=round(s * 1000)) for s in (60.0, 60.1)]
    frames = frames_of(told(file, lines(first) + lines(after, REBOOTED)))
    assert frames.span.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]


def test_a_boot_with_a_wrong_clock_comes_after_the_one_before_it(file: Path) -> None:
    wrong = [replace(at(CLOUD, s), captured_wall_s=s, clock_synchronized=False) for s in (0.0, 0.1)]
    frames = frames_of(told(file, lines([CLOUD, at(CLOUD, 0.1)]) + lines(wrong, REBOOTED)))
    assert (np.diff(frames.at_s) > 0).all()
    assert frames.span.tolist() == [0, 0, 1, 1]


def test_files_joined_in_the_wrong_order_are_put_right_by_their_clocks(file: Path) -> None:
    earlier = replace(at(CLOUD, -3600.0), captured_s=5.0, seq=5)
    frames = frames_of(told(file, lines([CLOUD]) + lines([earlier], REBOOTED)))
    assert np.round(frames.at_s - FIRST_WALL_S).tolist() == [-3600.0, 0.0]


@pytest.mark.parametrize(
    "text", ["2026-11-23T13:50:39.785Z", "2026-11-23T14:50:39.785+01:00", "2026-11-23 13:50:39.785"]
)
def test_a_moment_is_utc_where_no_zone_is_given(text: str) -> None:
    assert moment(text).timestamp() == pytest.approx(1_795_441_839.785)


# Damage


@pytest.mark.parametrize(
    ("damaged", "fault"),
    [
        (b"\0\0\0\0\n", "line 2: not JSON"),
        (b"\xff\xfe\xfd\n", "line 2: not JSON"),
        (b"[" * 100_000 + b"\n", "line 2: not JSON"),
        (b"17\n", "line 2: JSON, but no result"),
        (b'{"schema": 1}\n', "line 2: JSON, but no result"),
        (b'{"schema": "vedette.result/2"}\n', "line 2: a record of vedette.result/2, not of vedette.result/1"),
        (b'{"schema": "vedette.result/1"}\n', "line 2: not as vedette.result/1 should be"),
        (changed(reason="Not A Reason"), "line 2: not as vedette.result/1 should be"),
        (changed(p="high"), "line 2: not as vedette.result/1 should be"),
        (changed(outlook=[1]), "line 2: not as vedette.result/1 should be"),
        (changed(size_bytes=10**400), "line 2: not as vedette.result/1 should be"),
        (changed(decided="moon"), "line 2: not as vedette.result/1 should be"),
        (lines([CLOUD])[:200], "line 2: torn: the file ends in the middle of it"),
    ],
)
def test_a_damaged_line_is_named_and_the_others_are_read(file: Path, damaged: bytes, fault: str) -> None:
    history = told(file, lines([at(CLOUD, 1.0)]) + damaged)
    assert history.faults == (fault,)
    assert len(frames_of(history)) == 1


@pytest.mark.parametrize("field", ["agent", "camera", "boot_id", "seq", "captured_at", "captured_monotonic_s", "route"])
@pytest.mark.parametrize("value", [None, 17e300, [], {}, "", "a b/c", True])
def test_a_field_that_cannot_be_so_leaves_its_record_out_and_nothing_else(
    file: Path, field: str, value: object
) -> None:
    record = json.loads(delivery_of(at(CLOUD, 1.0), IDENTITY).body)
    bad = json.dumps({**record, field: value}).encode() + b"\n"
    history = told(file, bad + lines([CLOUD]))
    assert history.faults == ("line 1: not as vedette.result/1 should be",)
    assert len(frames_of(history)) == 1


def test_of_many_faults_the_first_are_named_and_the_rest_counted(file: Path) -> None:
    history = told(file, b"{\n" * 1000 + lines([CLOUD]))
    assert history.faults == ("lines 1, 2, 3 and 997 more: not JSON",)


def test_kinds_of_fault_reasons_and_cameras_are_bounded(file: Path) -> None:
    schemas = b"".join(b'{"schema": "other/%d"}\n' % n for n in range(100))
    reasons = b"".join(changed(at(CLOUD, n), reason=f"r{n}") for n in range(300))
    history = told(file, schemas + reasons)
    assert len(history.faults) <= 22
    assert len(history.reasons) <= 200


def test_a_compressed_file_that_is_cut_off_is_read_as_far_as_it_goes(file: Path) -> None:
    whole = gzip.compress(lines([at(CLOUD, n / 10) for n in range(2000)]))
    history = told(file, whole[: len(whole) // 2])
    assert history.faults[-1].endswith("the compressed file is damaged from here on")
    assert 100 < len(frames_of(history)) < 2000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; name a file that a sink of type jsonl has written"),
        (b"a: 1\n", "holds no result (line 1: not JSON); name a file that a sink of type jsonl has written"),
    ],
)
def test_a_file_without_results_is_refused_with_what_it_is(file: Path, content: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        told(file, content)
    assert str(caught.value) == f"{file} {said}"


def test_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    said = r"absent\.jsonl cannot be read: No such file or directory; name a results file"
    with pytest.raises(ConfigError, match=said):
        read(tmp_path / "absent.jsonl")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read(tmp_path)


WHOLE = lines([CLOUD, LOCAL, at(CLOUD, 0.1)]) + lines([replace(CLOUD, camera="dock")], REBOOTED)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLACES = [(key,) for key in json.loads(WHOLE.splitlines()[0])] + [
    (part, key) for part in ("route", "latency_ms") for key in json.loads(WHOLE.splitlines()[0])[part]
]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def survives(file: Path, content: bytes) -> None:
    try:
        history = told(file, content)
    except ConfigError:
        return
    for camera in history.cameras:
        assert np.isfinite(camera.frames.at_s).all()
        assert (np.diff(camera.frames.at_s) >= 0).all()
        sizes = {len(getattr(camera.frames, column.name)) for column in fields(Columns)}
        assert sizes == {len(camera.frames)}


@QUICK
@given(begin=st.integers(0, len(WHOLE)), end=st.integers(0, len(WHOLE)), planted=st.binary(max_size=40))
def test_no_damage_to_bytes_is_more_than_a_fault(file: Path, begin: int, end: int, planted: bytes) -> None:
    survives(file, WHOLE[:begin] + planted + WHOLE[end:])


@QUICK
@given(place=st.sampled_from(PLACES), value=JSON)
def test_no_value_in_any_field_is_more_than_a_fault(file: Path, place: tuple[str, ...], value: object) -> None:
    record = json.loads(WHOLE.splitlines()[0])
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    survives(file, WHOLE + json.dumps(record).encode())
