"""`vedette bench`: what it measures of each engine, what it says of those that fail, and what it leaves alone."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from canary import secret
from emulator_engine import KEY, ScriptedEngine, emulating
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from agent import cli, config
from agent.bench import measure, output, table
from agent.bench.sample import About, Sample, Tally, percentiles
from agent.bench.subject import Setting, Subject, of_config, of_model, with_threads
from agent.errors import AgentError
from agent.flow import Route


def subject(tmp_path: Path, **more: Any) -> Subject:
    options = more.pop("options", {"type": "tflite", "model": "shapes"})
    return Subject("shapes", more.pop("route", Route.LOCAL), options, tmp_path, tmp_path, frames=3, **more)


def sample(end_to_end_ms: float, execution_ms: float | None = 1.0, **parts: float) -> Sample:
    return Sample(end_to_end_ms, execution_ms, parts)


def figures(path: Path) -> list[dict[str, Any]]:
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return list(told["rows"])


def configuration(tmp_path: Path, url: str, *, key: str = KEY, local: str = "") -> Path:
    (tmp_path / "key").write_text(key)
    page = tmp_path / "vedette.yaml"
    page.write_text(
        "cameras: [{name: yard, source: {type: synthetic}}]\n"
        f"engines: {{{local} cloud: {{type: roboflow, model: shapes/1, url: '{url}', api_key: {{file: key}}}}}}\n"
        "sinks: [{type: stdout}]\n"
    )
    return page


# Figures


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=50))
def test_percentiles_are_those_that_numpy_gives(values: list[float]) -> None:
    assert percentiles(values) == pytest.approx(np.percentile(values, (50, 95, 99)).tolist())


def test_what_is_not_known_has_no_percentile() -> None:
    assert all(map(math.isnan, percentiles([None, None])))
    assert percentiles([None, 2.0]) == (2.0, 2.0, 2.0)


def test_frames_a_second_are_those_of_all_frames_one_after_the_other() -> None:
    tally = Tally(samples=[sample(10.0), sample(30.0)])
    assert tally.fps == pytest.approx(50.0)


def test_a_failure_stands_by_its_cause_and_in_no_figure(tmp_path: Path) -> None:
    tally = Tally(About("320x240", None), [sample(20.0, None, upload=12.0)], runs=1)
    tally.failures.update(["timeout", "timeout", "server"])
    (row,) = table.as_json([subject(tmp_path, route=Route.CLOUD)], [tally])
    assert row["failures"] == {"timeout": 2, "server": 1}
    assert (row["frames"], row["fps"], row["end_to_end_ms"]["p99"]) == (1, 50.0, 20.0)
    assert row["execution_ms"] == {"p50": None, "p95": None, "p99": None}
    shown = table.text([subject(tmp_path)], [tally], {"cores": "2", "python": "3", "vedette": "0"})
    assert "2 timeout, 1 server" in shown
    assert "median upload 12.0 ms" in shown


# Measuring


def test_each_model_is_measured_with_each_number_of_threads_and_one_that_does_not_load_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, picture, broken = tmp_path / "figures.json", tmp_path / "figures.png", tmp_path / "broken.tflite"
    broken.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    asked = ["--model", str(broken), "shapes", "--threads", "2", "1", "--frames", "3", "--runs", "1"]
    assert cli.main(["bench", *asked, "--json", str(kept), "--picture", str(picture)]) == 1
    *lost, two, one = figures(kept)
    assert [(row["frames"], row["fps"], row["memory_mb"] > 0) for row in lost] == [(0, None, True)] * 2
    assert all("broken.tflite" in row["trouble"] for row in lost)
    assert (two["threads"], one["threads"]) == (2, 1)
    for row in (two, one):
        assert (row["engine"], row["input"], row["frames"], row["failures"]) == ("tflite", "320x320", 3, {})
        assert 0 < row["execution_ms"]["p50"] <= row["end_to_end_ms"]["p50"] <= row["end_to_end_ms"]["p99"]
        assert row["memory_mb"] > 30
    told = capsys.readouterr().out
    assert told.count("NOT MEASURED TO THE END") == 2
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_hosted_api_is_called_as_often_as_is_said_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, engine = tmp_path / "figures.json", ScriptedEngine()
    with emulating(engine, project="shapes/1", server_s=0.02, server_spread=0.0) as emulator:
        page = configuration(tmp_path, emulator.url)
        assert cli.main(["bench", str(page), "--calls", "3", "--json", str(kept)]) == 0
    assert len(engine.sizes) == 5
    told = capsys.readouterr()
    assert told.err.index("5 real calls") < told.err.index("run 1 of 3")
    assert "0.0010 credits" in told.err
    (row,) = figures(kept)
    assert (row["route"], row["frames"], row["runs"], row["input"]) == ("cloud", 3, 1, "640x480 q85")
    assert 20 <= row["execution_ms"]["p50"] < row["end_to_end_ms"]["p50"]
    assert {"encode", "upload", "server"} <= set(row["parts_ms"])
    assert row["wire_bytes"] > 3 * 2000
    assert KEY not in told.out + told.err + kept.read_text()


def test_a_refused_key_ends_the_calls_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with emulating(project="shapes/1") as emulator:
        page = configuration(tmp_path, emulator.url, key=secret("wrong"))
        assert cli.main(["bench", str(page), "--calls", "50"]) == 1
    assert "NOT MEASURED TO THE END: the API key is not accepted" in capsys.readouterr().out


def test_without_calls_the_hosted_api_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = configuration(tmp_path, "http://127.0.0.1:9", local="local: {type: tflite, model: shapes, threads: 1},")
    settings, setting = config.load(page), Setting(tmp_path, 7)
    (local,) = of_config(settings, tmp_path, setting, calls=0)
    assert (local.route, local.options["threads"], local.frames) == (Route.LOCAL, 1, 7)
    assert [each.frames for each in of_config(settings, tmp_path, setting, calls=4)] == [7, 4]
    assert cli.main(["bench", str(configuration(tmp_path, "http://127.0.0.1:9")), "--calls", "0"]) == 78
    assert "there is nothing to measure" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("kill -SEGV $$", "crashed (SIGSEGV)"),
        ("kill -KILL $$", "memory was short"),
        ("echo the reason >&2; exit 3", "its process failed: the reason"),
    ],
)
def test_a_process_that_ends_by_itself_is_one_row_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    (tally,) = measure.measure([subject(tmp_path)], 3, lambda _: None, FakeClock())
    assert said in tally.trouble
    assert tally.runs == 1


def test_a_process_that_tells_nothing_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 100\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(measure, "SILENCE_S", 0.2)
    (tally,) = measure.measure([subject(tmp_path)], 1, lambda _: None, FakeClock())
    assert tally.trouble == "its process did nothing for 0.2 s, and was killed"


# What is asked for


def test_a_name_that_nothing_has_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--model", "shape"]) != 0
    assert "did you mean shapes?" in capsys.readouterr().err


def test_of_several_models_one_that_is_not_there_is_a_row_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "figures.json"
    asked = ["--model", "shape", "shapes", "--threads", "1", "--frames", "2", "--runs", "1", "--json", str(kept)]
    assert cli.main(["bench", *asked, "--state", str(tmp_path)]) == 1
    lost, found = figures(kept)
    assert (lost["model"], lost["engine"], lost["frames"]) == ("shape", None, 0)
    assert "did you mean shapes?" in lost["trouble"]
    assert (found["model"], found["frames"], found["trouble"]) == ("shapes", 2, None)
    assert "shape: NOT MEASURED TO THE END: the model shape is neither" in capsys.readouterr().out


def test_models_of_which_none_is_there_are_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--model", "shape", "shap"]) != 0
    told = capsys.readouterr().err
    assert (told.count("did you mean shapes?"), "run 1" in told) == (2, False)


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [
        ("--picture", "none/x.png", "there is no folder"),
        ("--json", "none/x.json", "there is no folder"),
        ("--picture", "x.jpg", "does not end in .png"),
        ("--json", "pipe", "pipe: is no file"),
    ],
)
def test_figures_that_could_not_be_written_are_refused_before_the_first_run(
    option: str, name: str, said: str, *, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert cli.main(["bench", option, str(tmp_path / name)]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "run 1" not in told


@pytest.mark.parametrize("option", ["--json", "--picture"])
def test_a_folder_in_which_nothing_can_be_made_is_refused_before_the_first_run(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", option, "/proc/x.png"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"{option} /proc/x.png: /proc cannot be written: ")
    assert "run 1" not in told


def test_without_matplotlib_a_picture_is_refused_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(["bench", "--picture", str(tmp_path / "x.png")]) == 1
    told = capsys.readouterr().err
    assert ("-m pip install matplotlib brings it" in told, "run 1" in told) == (True, False)


def test_a_file_that_no_engine_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"PK")
    with pytest.raises(AgentError, match=r"weights.pt: no engine runs such a file; .*\.tflite"):
        of_model(str(tmp_path / "weights.pt"), Setting(tmp_path, 1))


def test_threads_are_for_engines_on_the_device_alone(tmp_path: Path) -> None:
    cloud = subject(tmp_path, route=Route.CLOUD, options={"type": "roboflow", "model": "shapes/1"})
    asked = with_threads([subject(tmp_path), cloud], [1, 4])
    assert [each.options.get("threads") for each in asked] == [1, 4, None]


def test_a_subject_is_the_same_in_the_process_that_measures_it(tmp_path: Path) -> None:
    for source in (None, tmp_path / "people.avi"):
        asked = subject(tmp_path, source=source)
        assert Subject.from_json(json.loads(json.dumps(asked.as_json()))) == asked


def test_a_file_that_holds_other_things_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    assert cli.main(["bench", "--json", str(tmp_path / "notes.json")]) == 1
    assert "notes.json exists and holds no figures of this command" in capsys.readouterr().err
    assert (tmp_path / "notes.json").read_text() == '{"mine": 1}'


def test_the_picture_shows_what_could_not_be_measured_as_that(tmp_path: Path) -> None:
    tallies = [Tally(About("320x320", 2), [sample(5.0, 4.0)], peak_mb=[120.0]), Tally(trouble="no answer")]
    facts = {"cores": "2", "python": "3.11", "vedette": "0"}
    output.draw(tmp_path / "bench.png", [subject(tmp_path), subject(tmp_path)], tallies, facts)
    assert (tmp_path / "bench.png").stat().st_size > 5_000
