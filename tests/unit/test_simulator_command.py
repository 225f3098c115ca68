"""`vedette simulate`: a table that can be read, a picture, figures for programs, and plain words when one lacks."""

import argparse
import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ChartError, ConfigError
from agent.simulator import command, contest
from agent.simulator.contest import POLICIES

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
    "arguments",
    [
        ["--policies", "magic"],
        ["--outage", "5"],
        ["--outage", "a-b"],
        ["--fps", "0"],
        ["--jobs", "0"],
        ["--seed", "-1"],
    ],
)
def test_a_wrong_option_is_refused_before_anything_runs(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        simulate(*arguments)
    assert arguments[0] in capsys.readouterr().err


def test_several_processes_find_the_same_as_one() -> None:
    scenarios = command.synthetic(1, 8.0)[:2]
    terms = contest.Terms(policies=("always-local", "router"))
    alone, together = (
        {number: heat.scores for number, heat in contest.run(scenarios, [0.5], terms, jobs=jobs)} for jobs in (1, 2)
    )
    assert alone == together
