"""The example consumer: its logic for any arrival of results, its program on a pipe, and the page that shows it."""

import importlib.util
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import pytest
from canary import MARK
from hypothesis import given
from hypothesis import strategies as st
from webhook_receiver import receiving

from agent.clock import SystemClock
from agent.flow import Delivery
from agent.ports import Context
from agent.sinks import webhook

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "consume.py"
PAGE = (REPOSITORY / "docs" / "consuming.md").read_text(encoding="utf-8")
Record: TypeAlias = dict[str, Any]


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("consume", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["consume"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


consume = _loaded()


def result(seq: int, *, camera: str = "gate", boot: str = "b1", revision: int = 0) -> Record:
    name = f"yard/{camera}/{boot}/{seq}"
    supersedes = f"{name}/{revision - 1}" if revision else None
    record = {"schema": "vedette.result/1", "id": f"{name}/{revision}", "agent": "yard", "camera": camera}
    return {**record, "boot_id": boot, "seq": seq, "revision": revision, "supersedes": supersedes}


def sequence(*, hold_s: float = 1e9, hold_most: int = 1_000_000, remember: int = 1_000_000) -> Any:
    return consume.Sequence(hold_s=hold_s, hold_most=hold_most, remember=remember)


def ids(records: list[Record]) -> list[str]:
    return [record["id"] for record in records]


def marks(records: list[Record]) -> list[tuple[int, bool, bool]]:
    return [(record["seq"], record["consumer"]["late"], record["consumer"]["correction"]) for record in records]


# Any arrival

SEQS = st.sets(st.integers(0, 200), min_size=1, max_size=25).map(sorted)
"""Gaps are normal."""
CAMERAS = st.fixed_dictionaries({"gate": SEQS, "yard": SEQS})
WINDOW = 8


def in_order(cameras: dict[str, list[int]], corrected: set[int]) -> list[Record]:
    """The results as the agent made them: cameras take turns, and some frames have a correction."""
    made = []
    for camera, seqs in cameras.items():
        for seq in seqs:
            made += [result(seq, camera=camera, revision=revision) for revision in range(1 + (seq in corrected))]
    return sorted(made, key=lambda record: (record["seq"], record["camera"], record["revision"]))


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Record], list[tuple[float, Record]]]:
    """Results in order, and the same as they come: each up to WINDOW places later, once or more often, with times."""
    made = in_order(draw(CAMERAS), draw(st.sets(st.integers(0, 200), max_size=10)))
    came = []
    for place, record in enumerate(made):
        delays = draw(st.lists(st.floats(0, WINDOW - 0.5), min_size=1, max_size=3))
        came += [(place + delay, record) for delay in delays]
    return made, sorted(came, key=lambda item: item[0])


def of_camera(records: list[Record], camera: str) -> list[str]:
    return [record["id"] for record in records if record["camera"] == camera]


@given(arrivals())
def test_within_the_window_of_results_each_comes_once_and_in_order(
    world: tuple[list[Record], list[tuple[float, Record]]],
) -> None:
    made, came = world
    tried = sequence(hold_most=2 * WINDOW)
    shown = []
    for _, record in came:
        tried.take(record, 0.0)
        shown += tried.due(0.0)
    shown += tried.rest()
    assert sorted(ids(shown)) == sorted(ids(made))
    assert all(of_camera(shown, camera) == of_camera(made, camera) for camera in ("gate", "yard"))
    assert not any(record["consumer"]["late"] for record in shown)
    assert tried.duplicates == len(came) - len(made)


@given(arrivals())
def test_within_the_window_of_time_each_comes_once_and_in_order(
    world: tuple[list[Record], list[tuple[float, Record]]],
) -> None:
    made, came = world
    tried = sequence(hold_s=WINDOW)
    shown = []
    for at_s, record in came:
        shown += tried.due(at_s)
        tried.take(record, at_s)
    shown += tried.rest()
    assert all(of_camera(shown, camera) == of_camera(made, camera) for camera in ("gate", "yard"))
    assert not any(record["consumer"]["late"] for record in shown)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 1), st.sampled_from("ab"), st.sampled_from(["b1", "b2"])),
        max_size=60,
    ),
    st.integers(0, 5),
    st.floats(0, 5),
)
def test_whatever_comes_each_is_shown_once_and_what_is_out_of_order_is_marked_late(
    came: list[tuple[int, int, str, str]], hold_most: int, hold_s: float
) -> None:
    tried = sequence(hold_most=hold_most, hold_s=hold_s)
    shown: list[Record] = []
    for now_s, (seq, revision, camera, boot) in enumerate(came):
        tried.take(result(seq, revision=revision, camera=camera, boot=boot), now_s)
        shown += tried.due(now_s)
        assert len(tried._unprinted) <= hold_most
    shown += tried.rest()
    expected = {f"yard/{camera}/{boot}/{seq}/{revision}" for seq, revision, camera, boot in came}
    assert sorted(ids(shown)) == sorted(expected)
    for camera in "ab":
        places = [_place(record) for record in shown if record["camera"] == camera and not record["consumer"]["late"]]
        assert all(places.count(place) == 1 for place in places)
        for boot in ("b1", "b2"):
            of_boot = [place for place in places if place[0] == boot]
            assert of_boot == sorted(of_boot)
        assert len([1 for one, other in pairwise(places) if one[0] != other[0]]) <= 1


def _place(record: Record) -> tuple[str, int, int]:
    return record["boot_id"], record["seq"], record["revision"]


# Single rules


def test_a_result_is_held_back_for_its_time_and_no_longer() -> None:
    tried = sequence(hold_s=2)
    tried.take(result(5), 10.0)
    tried.take(result(4), 11.5)
    assert tried.due(11.9) == []
    assert marks(tried.due(12.0)) == [(4, False, False), (5, False, False)]
    assert tried.due(99.0) == []


def test_one_camera_does_not_hold_up_another() -> None:
    tried = sequence(hold_s=2)
    tried.take(result(1, camera="gate"), 0.0)
    tried.take(result(1, camera="yard"), 1.0)
    assert of_camera(tried.due(2.0), "gate") == ["yard/gate/b1/1/0"]
    assert of_camera(tried.due(3.0), "yard") == ["yard/yard/b1/1/0"]


def test_what_comes_too_late_is_shown_at_once_with_a_mark() -> None:
    tried = sequence(hold_most=0)
    shown = []
    for seq in (7, 9, 8):
        tried.take(result(seq), 0.0)
        shown += tried.due(0.0)
    assert marks(shown) == [(7, False, False), (9, False, False), (8, True, False)]


def test_a_correction_is_marked_and_follows_what_it_corrects() -> None:
    tried = sequence()
    for record in (result(2), result(1, revision=1), result(1)):
        tried.take(record, 0.0)
    assert marks(tried.rest()) == [(1, False, False), (1, False, True), (2, False, False)]


def test_after_a_restart_of_the_machine_smaller_numbers_come_later() -> None:
    tried = sequence()
    for record in (result(900), result(3, boot="b2"), result(901), result(2, boot="b2")):
        tried.take(record, 0.0)
    assert ids(tried.rest()) == [f"yard/gate/{place}/0" for place in ("b1/900", "b1/901", "b2/2", "b2/3")]


def test_memory_is_bounded() -> None:
    tried = sequence(hold_most=10, remember=50)
    for seq in range(1000):
        tried.take(result(seq, boot=f"b{seq // 10}"), float(seq))
        tried.due(float(seq))
    (camera,) = tried._cameras.values()
    assert len(tried._known) == 50
    assert len(tried._unprinted) == len(camera.held) == len(camera.first) == len(tried._arrivals) == 10
    assert len(camera.boots) <= 16


@pytest.mark.parametrize(
    "line",
    [b"", b"words", b"[]", b"5", b"{}", b'{"schema": "vedette.event/1"}', b"[" * 100_000, b"\xff"],
)
def test_a_line_that_is_no_result_is_none(line: bytes) -> None:
    assert consume.parsed(line) is None


@pytest.mark.parametrize("name", ["id", "agent", "camera", "boot_id", "seq", "revision"])
def test_a_result_without_one_of_the_fields_that_are_read_is_none(name: str) -> None:
    for other in (None, [], True, 1.5):
        assert consume.parsed(json.dumps({**result(1), name: other}).encode()) is None
    assert consume.parsed(json.dumps(result(1)).encode()) == result(1)


def test_every_result_has_the_fields_that_are_read() -> None:
    schema = json.loads((REPOSITORY / "docs" / "result.schema.json").read_text(encoding="utf-8"))
    assert {*consume.FIELDS, "supersedes"} <= set(schema["required"])
    assert schema["properties"]["schema"]["const"] == consume.SCHEMA


# The program


def text_of(records: list[Record]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def consumed(text: bytes, *options: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, SCRIPT, "--stdin", *options]
    return subprocess.run(command, input=text, capture_output=True, timeout=30, check=True)


def test_from_standard_input_each_result_comes_once_and_in_order() -> None:
    came = [result(2), result(1), result(2), result(4), result(3, revision=1), result(3)]
    done = consumed(text_of(came))
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert ids(shown) == [f"yard/gate/b1/{place}" for place in ("1/0", "2/0", "3/0", "3/1", "4/0")]
    assert done.stderr == b"consume: 1 duplicates were left out\n"


def test_lines_that_are_no_results_are_counted_and_left_out() -> None:
    done = consumed(b"words\n\n" + text_of([result(1)]) + b'{"half": ')
    assert len(done.stdout.splitlines()) == 1
    assert b"2 lines are no results" in done.stderr


def test_a_last_line_without_its_end_counts() -> None:
    assert len(consumed(text_of([result(1), result(2)]).rstrip()).stdout.splitlines()) == 2


@contextmanager
def running(*options: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, SCRIPT, "--stdin", *options]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, bufsize=0, **pipes) as process:  # unbuffered, so that select sees every line
        try:
            yield process
        finally:
            process.kill()


def written(process: "subprocess.Popen[bytes]", records: list[Record]) -> None:
    assert process.stdin is not None
    process.stdin.write(text_of(records))
    process.stdin.flush()


def line_of(process: "subprocess.Popen[bytes]") -> Record:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 20)[0], "no line came"
    shown: Record = json.loads(process.stdout.readline())
    return shown


def test_on_a_pipe_that_stays_open_results_come_when_their_time_is_over() -> None:
    with running("--hold-s", "0.2") as process:
        written(process, [result(1)])
        assert line_of(process)["seq"] == 1
        written(process, [result(2)])
        assert line_of(process)["seq"] == 2


def test_a_stop_shows_what_was_held_back() -> None:
    with running("--hold-s", "1000", "--hold-most", "1") as process:
        written(process, [result(3), result(1), result(2)])
        assert [line_of(process)["seq"] for _ in range(2)] == [1, 2]
        process.send_signal(signal.SIGTERM)
        assert line_of(process)["seq"] == 3
        assert process.wait(20) == 0


def test_a_reader_that_has_gone_ends_it_without_a_traceback() -> None:
    read_end, write_end = os.pipe()
    command = [sys.executable, SCRIPT, "--stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=write_end, stderr=subprocess.PIPE) as process:
        os.close(read_end)
        os.close(write_end)
        _, said = process.communicate(text_of([result(1)]), timeout=20)
    assert process.returncode == 1
    assert said == b""


# The page


def test_the_page_shows_what_the_program_does() -> None:
    given_, shown = re.findall(r"```jsonl\n(.*?)```", PAGE, re.DOTALL)
    options = re.search(r"`scripts/consume.py --stdin (.*?) \| jq", PAGE)
    assert options is not None
    done = consumed(given_.encode(), *options[1].split())
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [[each["seq"], each["revision"], each["consumer"]] for each in found] == [
        json.loads(line) for line in shown.splitlines()
    ]


def test_the_options_that_the_page_names_exist() -> None:
    usage = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"(?<![\w-])--[a-z-]+", PAGE))
    assert {"--host", "--stdin", "--hold-s", "--remember"} <= named
    assert {name for name in named if name not in usage} == set()


@pytest.mark.parametrize("size", [1, 10])
def test_the_check_of_a_signature_that_the_page_shows_takes_ours_and_no_other(size: int, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own page
    secret = f"whsec_{MARK * 4}"
    (tmp_path / "key").write_text(secret)
    with receiving() as receiver:
        settings = {"type": "webhook", "url": f"http://127.0.0.1:{receiver.port}/", "secret": {"file": "key"}}
        options = webhook.Options.model_validate({**settings, "batch": size})
        sink = webhook.build(options, Context("yard", SystemClock(), tmp_path, tmp_path))
        sink.open()
        try:
            sink.send([Delivery("yard/gate/b1/1/0", "gate", text_of([result(1)]))])
        finally:
            sink.close()
    (request,) = receiver.requests
    assert names["is_genuine"](request.headers, request.body, secret)
    assert not names["is_genuine"](request.headers, request.body + b" ", secret)
    assert not names["is_genuine"](request.headers, request.body, secret.swapcase().replace("WHSEC_", "whsec_"))
    old = {**request.headers, "webhook-timestamp": "1614265330"}
    assert not names["is_genuine"](old, request.body, secret)
