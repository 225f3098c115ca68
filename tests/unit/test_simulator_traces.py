"""Links from files: three formats, told apart by what is in them, and mistakes named by file and line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import ConfigError
from agent.record import SCHEMA
from agent.simulator import traces
from agent.simulator.scenario import BIN_S, Scenario, bytes_per_bin, even_rtt

FPS = 10


def a_file(folder: Path, text: str) -> Path:
    path = folder / "a.trace"
    path.write_text(text, encoding="utf-8")
    return path


def mbit_s(scenario: Scenario, second: int) -> float:
    """What a second carries."""
    return float(scenario.capacity[100 * second : 100 * (second + 1)].sum()) * 8e-6


@pytest.mark.parametrize("head", ["", "seconds,Mbit/s\n", "# a remark\n\n", "\ufefftime,rate\r\n"])
def test_rows_hold_their_rate_until_the_next_and_the_last_as_long_as_the_one_before(tmp_path: Path, head: str) -> None:
    scenario = traces.read(a_file(tmp_path, f"{head}10,8\n12,2.5\n14,0\n"))
    assert scenario.seconds == 6.0
    assert [mbit_s(scenario, second) for second in range(6)] == pytest.approx([8, 8, 2.5, 2.5, 0, 0])


def test_rows_need_not_fall_on_the_steps_of_the_simulation(tmp_path: Path) -> None:
    scenario = traces.read(a_file(tmp_path, "0,8\n0.0333,4\n1.0,4\n2.0,4\n"))
    assert scenario.capacity.sum() == pytest.approx((0.0333 * 8 + 2.9667 * 4) * 1e6 / 8, rel=1e-3)


def test_each_line_of_a_mahimahi_trace_is_a_packet(tmp_path: Path) -> None:
    scenario = traces.read(a_file(tmp_path, "0\n0\n15\n\n999\n1000\n"))
    assert scenario.seconds == 1.0
    assert scenario.capacity.sum() == 5 * 1500
    assert scenario.capacity[0] == 3000
    assert scenario.capacity[1] == 1500


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("hello\nworld\n", r"a.trace, line 1: 'hello' begins no trace; allowed: lines of seconds,Mbit/s"),
        ("0,1\nx,2\n", "line 2: 'x,2' is not seconds,Mbit/s"),
        ("0,1\n1,2,3\n", "line 2: '1,2,3' is not seconds,Mbit/s"),
        ("seconds,Mbit/s\n", "line 1: 'seconds,Mbit/s' is not seconds,Mbit/s"),
        ("0,1\n0,2\n", "line 2: the time 0 s should follow"),
        ("0,1\n1,-2\n", "line 2: -2 Mbit/s; allowed: 0 to"),
        ("0,1\n1,nan\n", "line 2: nan Mbit/s"),
        ("0,1\nnan,1\n", "line 2: the time nan s"),
        ("0,1\n1e12,1\n", "by a week at most"),
        ("5\n4\n", "line 2: the time 4 ms should not be before"),
        ("5\n4.5\n", "line 2: '4.5' is not a whole number of milliseconds"),
        ("5\n-4\n", "line 2: '-4' is not a whole number"),
        ("99999999999999\n", "nor after a week"),
        ('{"schema": "other"}\n', "holds no result"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        traces.read(a_file(tmp_path, text))


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        traces.read(tmp_path / "absent")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        traces.read(tmp_path)
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ConfigError, match="is no trace; allowed"):
        traces.read(tmp_path / "picture")


def test_outages_are_added_and_must_not_overlap(tmp_path: Path) -> None:
    scenario = traces.read(a_file(tmp_path, "0,8\n60,8\n"))
    assert scenario.with_outages([(40, 45), (10, 12)]).outages == ((10, 12), (40, 45))
    with pytest.raises(ConfigError, match="should end after it begins"):
        scenario.with_outages([(45, 40)])
    with pytest.raises(ConfigError, match="begins before the one before it has ended"):
        scenario.with_outages([(10, 20), (15, 25)])


def a_record(seq: int, *, reason: str = "p_ok", **route: Any) -> dict[str, Any]:
    """A result as an agent at ten frames a second writes it: 45 kB over 2 Mbit/s, 60 ms away."""
    at_s = 1000 + seq / FPS
    return {
        "schema": SCHEMA,
        "id": f"agent/cam/boot/{seq}/0",
        "agent": "agent",
        "camera": "cam",
        "boot_id": "boot",
        "seq": seq,
        "revision": 0,
        "supersedes": None,
        "captured_at": f"2026-01-01T00:{int(at_s % 3600) // 60:02}:{at_s % 60:06.3f}Z",
        "captured_monotonic_s": at_s,
        "clock_synchronized": True,
        "route": {
            "decided": "cloud",
            "published": "cloud",
            "reason": reason,
            "late": False,
            "hedge": "skipped",
            "deadline_ms": 500.0,
            "size_bytes": 45_000,
            "outlook": {"rtt_ms": 60.0, "upload_ms": 180.0, "server_ms": 150.0, "uplink_mbit_s": 2.2},
            **route,
        },
        "latency_ms": {"total": 400.0, "upload": 240.0, "server": 150.0},
    }


def a_results_file(folder: Path, records: list[dict[str, Any]]) -> Path:
    return a_file(folder, "".join(json.dumps(record) + "\n" for record in records))


def test_a_run_gives_its_rate_its_round_trips_and_its_outages(tmp_path: Path) -> None:
    dead = {"decided": "local", "published": "local", "hedge": "none", "size_bytes": None, "outlook": None}
    records = [a_record(seq) for seq in range(100)]
    records += [a_record(seq, reason="stalled", **dead) for seq in range(100, 104)]
    records += [a_record(seq, reason="dead", **dead) for seq in range(104, 150)]
    records += [a_record(seq) for seq in range(150, 200)]
    scenario = traces.read(a_results_file(tmp_path, records))
    assert scenario.seconds == pytest.approx(20.0)
    assert mbit_s(scenario, 3) == pytest.approx(2.0, rel=0.01)
    assert scenario.rtt_s == pytest.approx(np.full(200, 0.06))
    [(begin_s, end_s)] = scenario.outages
    assert (begin_s, end_s) == (pytest.approx(10.0, abs=0.11), pytest.approx(15.0, abs=0.11))


def test_an_outage_that_the_run_did_not_outlive_lasts_to_the_end_of_its_link(tmp_path: Path) -> None:
    dead = {"decided": "local", "published": "local", "hedge": "none", "size_bytes": None, "outlook": None}
    records = [a_record(seq) for seq in range(100)]
    records += [a_record(seq, reason="dead", **dead) for seq in range(100, 196)]
    scenario = traces.read(a_results_file(tmp_path, records))
    [(begin_s, end_s)] = scenario.outages
    assert (begin_s, end_s) == (pytest.approx(10.0, abs=0.01), scenario.seconds)


def test_a_run_tells_how_it_worked(tmp_path: Path) -> None:
    here = {"decided": "local", "published": "local", "size_bytes": None, "outlook": None}
    records = [a_record(seq) for seq in range(50)]
    records += [a_record(seq, reason="no_evidence", **here) | {"latency_ms": {"total": 90.0}} for seq in range(50, 60)]
    records += [a_record(seq, reason="uplink_busy", **here) for seq in range(60, 90)]
    met = traces.read(a_results_file(tmp_path, records)).met
    assert met is not None
    assert (met.fps, met.deadline_ms, met.local_s, met.left_out) == (10.0, 500, 0.09, ())


def test_a_given_round_trip_goes_before_the_measured_one(tmp_path: Path) -> None:
    scenario = traces.read(a_results_file(tmp_path, [a_record(seq) for seq in range(30)]), rtt_s=0.2)
    assert scenario.rtt_s.tolist() == [0.2]


def test_a_run_that_never_asked_the_cloud_says_nothing_of_the_link(tmp_path: Path) -> None:
    here = {"decided": "local", "published": "local", "size_bytes": None, "outlook": None}
    records = [a_record(seq, reason="local_only", **here) | {"latency_ms": {"total": 80.0}} for seq in range(30)]
    with pytest.raises(ConfigError, match="tells nothing of the uplink"):
        traces.read(a_results_file(tmp_path, records))


def test_a_scenario_can_be_cut() -> None:
    scenario = Scenario("x", np.full(round(60 / BIN_S), bytes_per_bin(1)), even_rtt(50), outages=((5, 6), (40, 50)))
    assert scenario.cut(20.0).seconds == 20.0
    assert scenario.cut(20.0).outages == ((5, 6),)
    assert scenario.cut(None) is scenario
