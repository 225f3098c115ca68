"""`vedette simulate`: a table that can be read, a picture, figures for programs, and plain words when one lacks."""

import argparse
import builtins
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, ChartError, ConfigError
from agent.simulator import command, contest, terminal
from agent.simulator.contest import POLICIES
from agent.simulator.scenario import synthetic

SHORT = ["--seconds", "12", "--deadline-ms", "500", "--jobs", "1"]


def simulate(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([*SHORT, *arguments]))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "drive.csv"
    path.write_text("seconds,Mbit/s\n0,8\n20,8\n", encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_a_trace_the_five_scenarios_run_and_every_policy_has_its_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert simulate("--no-picture") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "Deadline 500 ms, 5 scenarios"
    starts = [line.split()[0] for line in lines if line]
    assert [name for name in starts if name in POLICIES] == list(POLICIES)
    assert [name for name in starts if name.endswith("*")] == [
        "wifi-good*",
        "wifi+tunnels*",
        "server-brownout*",
        "markov-flap*",
        "step-10-0.5*",
    ]
    assert max(map(len, lines)) <= 140
    assert "5 of 5" in err


def test_a_trace_runs_alone_unless_the_scenarios_are_asked_for_too(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(str(trace), "--policies", "always-local,router", "--no-picture")
    alone = capsys.readouterr().out
    assert "1 scenario\n" in alone
    assert "drive.csv" in alone
    simulate(str(trace), "--synthetic", "--policies", "always-local", "--no-picture")
    assert "6 scenarios" in capsys.readouterr().out


def test_an_outage_in_a_trace_is_met_without_a_missed_frame(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulate(str(trace), "--outage", "2-6", "--policies", "router", "--no-picture")
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("router"))
    assert "1.000 (1.000)" in row


def test_the_figures_go_to_a_file_for_programs(trace: Path, tmp_path: Path) -> None:
    simulate(str(trace), "--json", "figures.json", "--no-picture")
    [heat] = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert heat["scenario"] == "drive.csv"
    assert heat["deadline_ms"] == 500.0
    assert set(heat["policies"]) == set(POLICIES)
    assert 0 < heat["policies"]["router"]["of_bound"] <= 1


def test_infinite_figures_are_null_in_the_file(trace: Path, tmp_path: Path) -> None:
    simulate(str(trace), "--outage", "2-6", "--policies", "always-local", "--json", "figures.json", "--no-picture")
    [heat] = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert heat["policies"]["always-local"]["returns_s"] == [None]


def test_the_picture_is_drawn(trace: Path, tmp_path: Path) -> None:
    assert simulate(str(trace), "--outage", "2-6", "--picture", "there.png") == 0
    assert (tmp_path / "there.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_table_is_printed_and_the_cure_is_told(
    trace: Path,
    capsys: pytest.CaptureFixture[str],
    no_matplotlib: None,  # noqa: ARG001 - a fixture
) -> None:
    assert simulate(str(trace), "--policies", "always-local") == 0
    out, err = capsys.readouterr()
    assert "always-local" in out
    assert "-m pip install matplotlib brings it" in err


def test_a_picture_that_was_asked_for_and_cannot_be_drawn_is_a_failure(
    trace: Path,
    capsys: pytest.CaptureFixture[str],
    no_matplotlib: None,  # noqa: ARG001 - a fixture
) -> None:
    with pytest.raises(ChartError, match="Matplotlib is not installed"):
        simulate(str(trace), "--policies", "always-local", "--picture", "there.png")
    assert "always-local" in capsys.readouterr().out


def test_options_of_traces_need_one() -> None:
    with pytest.raises(ConfigError, match="name one"):
        simulate("--outage", "2-6")


def test_a_trace_of_a_moment_is_too_short(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("0,8\n1,8\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"short.csv lasts 2 s; at least 5 s"):
        simulate(str(path))


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ("--policies magic", "'magic'; allowed: always-local, always-cloud, threshold"),
        ("--outage 5", "'5'; allowed: A-B in seconds"),
        ("--outage a-b", "'a-b'; allowed: A-B in seconds"),
        ("--outage 9-inf", "allowed: A-B in seconds"),
        ("--fps 0", "'0'; allowed: 0.01 to 240 frames a second"),
        ("--fps 1e9", "allowed: 0.01 to 240"),
        ("--fps nan", "allowed: 0.01 to 240"),
        ("--deadline-ms 10", "allowed: whole milliseconds, 50 to 8000"),
        ("--deadline-ms 300.5", "allowed: whole milliseconds, 50 to 8000"),
        ("--jobs 0", "'0'; allowed: a whole number, 1 to 64"),
        ("--seed -1", "'-1'; allowed: a whole number, 0 to"),
        ("--prefer cheap", "'cheap'; allowed: accuracy, latency, cost"),
        ("--data-cap-mb-per-day 0.5", "allowed: 0, which is no cap, or 1 MB and more"),
        ("--credits-per-day inf", "allowed: 0, which is no cap, or 0.01 credits and more"),
        ("--picture there.jpg", "allowed: a name that ends in .png"),
        ("--picture there.png --no-picture", "not allowed with argument --picture"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_allowed_before_anything_runs(
    arguments: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        simulate(*arguments.split())
    error = capsys.readouterr().err.splitlines()[-1]
    assert allowed in error
    assert " _" not in error


def test_several_processes_find_the_same_as_one() -> None:
    scenarios = synthetic(1, 8.0)[:2]
    terms = contest.Terms(policies=("always-local", "router"))
    alone, together = (
        {step.number: step.heat.scores for step in contest.run(scenarios, [0.5], terms, jobs=jobs) if step.heat}
        for jobs in (1, 2)
    )
    assert alone == together


def test_figures_replace_earlier_ones_but_neither_a_trace_nor_a_foreign_file(trace: Path, tmp_path: Path) -> None:
    some = [str(trace), "--policies", "always-local", "--no-picture", "--json"]
    assert simulate(*some, "figures.json") == simulate(*some, "figures.json") == 0
    before = trace.read_bytes()
    with pytest.raises(ConfigError, match=r"drive\.csv is a trace to be read, so it stays"):
        simulate(*some, "drive.csv")
    for text in ("important", "[]", '{"a": 1}', '[{"scenario": "x"}]'):
        (tmp_path / "other.json").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=r"other\.json exists and holds no figures of vedette"):
            simulate(*some, "other.json")
        assert (tmp_path / "other.json").read_text(encoding="utf-8") == text
    with pytest.raises(ConfigError, match="there is no folder"):
        simulate(*some, "absent/figures.json")
    assert trace.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"drive.csv", "figures.json", "other.json"}


def test_figures_on_standard_output_are_all_that_is_there(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulate(str(trace), "--policies", "always-local", "--no-picture", "--json", "-")
    [heat] = json.loads(capsys.readouterr().out)
    assert heat["scenario"] == "drive.csv"


def test_an_outage_after_the_end_of_a_trace_is_an_error(trace: Path) -> None:
    with pytest.raises(ConfigError, match=r"--outage 50-60: drive\.csv ends before that, at 12 s"):
        simulate(str(trace), "--outage", "50-60")


def test_a_long_trace_is_cut_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "long.csv").write_text("0,8\n4000,8\n", encoding="utf-8")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    [scenario] = command.links.chosen(parser.parse_args(["long.csv"]))
    assert scenario.seconds == 3600.0
    assert "long.csv lasts 8000 s; its first 3600 s are run, --seconds" in capsys.readouterr().err


def test_the_policies_are_told_in_the_readme_s_words(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulate(str(trace), "--policies", "always-local", "--no-picture")
    out = capsys.readouterr().out
    assert "threshold: a circuit breaker. ewma: a moving average of answer times. sw-ucb: a bandit." in out
    assert "The device cannot answer every frame" not in out
    simulate(str(trace), "--policies", "always-local", "--local-ms", "150", "--no-picture")
    assert "The device cannot answer every frame" in capsys.readouterr().out


def a_run(seq: int, *, deadline_ms: float = 700.0) -> str:
    """A record of a run at five frames a second, whose every second frame was answered here in 120 ms."""
    here = bool(seq % 2)
    at_s = 1000 + seq / 5
    sent = {"size_bytes": 45_000, "outlook": {"rtt_ms": 60.0, "uplink_mbit_s": 2.0}}
    record = {
        "schema": "vedette.result/1",
        "agent": "agent",
        "camera": "cam",
        "boot_id": "boot",
        "seq": seq,
        "captured_at": f"2026-01-01T00:{int(at_s % 3600) // 60:02}:{at_s % 60:06.3f}Z",
        "captured_monotonic_s": at_s,
        "route": {
            "decided": "local" if here else "cloud",
            "published": "local" if here else "cloud",
            "reason": "no_evidence" if here else "p_ok",
            "deadline_ms": deadline_ms,
            **({} if here else sent),
        },
        "latency_ms": {"total": 120.0 if here else 400.0},
    }
    return json.dumps(record) + "\n"


def test_a_results_file_is_run_as_its_run_was_and_what_it_has_that_is_no_record_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.jsonl").write_text("".join(map(a_run, range(100))) + "damaged\n", encoding="utf-8")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    some = ["run.jsonl", "--policies", "always-local", "--no-picture"]
    command.run(parser.parse_args(some))
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == (
        "As in run.jsonl: 5 frames a second, deadline 700 ms, about 120 ms for an on-device run."
    )
    assert "Deadline 700 ms, 1 scenario" in out
    assert "run.jsonl: left out: line 101: not JSON" in err
    command.run(parser.parse_args([*some, "--fps", "10", "--deadline-ms", "500", "--local-ms", "80"]))
    assert capsys.readouterr().out.startswith("Deadline 500 ms, 1 scenario")


class _Output:
    def __init__(self, error: OSError, number: int) -> None:
        self._error = error
        self._number = number

    def write(self, _: str) -> None:
        raise self._error

    def fileno(self) -> int:
        return self._number


def test_a_reader_that_has_left_is_no_error_and_a_full_disk_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "output").open("wb") as file:
        monkeypatch.setattr(sys, "stdout", _Output(BrokenPipeError(32, "Broken pipe"), file.fileno()))
        terminal.say("text")
        full = _Output(OSError(28, "No space left on device"), file.fileno())
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(AgentError, match="the output cannot be written: No space left on device"):
            terminal.say("text")
        monkeypatch.setattr(sys, "stderr", full)
        terminal.tell("text")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_simulation_that_is_ended_leaves_no_process_behind_and_ends_at_once(number: int, code: int) -> None:
    main = "import sys; from agent.cli import main; sys.exit(main())"
    begun = [sys.executable, "-c", main, "simulate", "--no-picture", "--seconds", "300"]
    with subprocess.Popen(begun, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        process.stderr.readline()  # "1 of 15"
        children = _children(process.pid)
        assert len(children) >= 2
        asked_s = time.monotonic()
        process.send_signal(number)
        assert process.wait(5) == code
        assert time.monotonic() - asked_s < 1.0
        assert b"Traceback" not in process.stderr.read()
    deadline_s = time.monotonic() + 5
    while any(map(_lives, children)):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (OSError, ValueError):
        return False
