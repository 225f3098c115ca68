"""What `vedette explain` prints of a results file, and what becomes of its picture."""

import argparse
import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import history
from agent.errors import ConfigError
from agent.explain import add_arguments, figures, moments, run
from agent.explain.meanings import meaning_of, sentence
from agent.explain.report import explanation
from agent.flow import Answer, Decision, Fate, Hedge, Outlook, Prices, Reason, Result, Route, Rung, Timings
from agent.record import Identity, delivery_of

REPOSITORY = Path(__file__).resolve().parents[2]
IDENTITY = Identity("yard-north", "5f0c1f0e-7f0a-4f43-9d43-0a3f5e0f2a11")
FIRST_WALL_S = 1_795_441_839.0
"""2026-11-23 13:50:39 UTC."""
RUNG = Rung(45_000, 480, 70, 0.9)
OUTLOOK = Outlook(0.04, 0.41, 0.12, 0.9, 40, 0.25)
PRICES = Prices(0.05, 0.25, 12.5e6, 40.0)
ON_CLOUD = (Reason.P_OK, Reason.CLOUD_ONLY, Reason.LOCAL_OVERLOADED, Reason.PROBE)


def result(after_s: float, reason: Reason, *, camera: str = "gate", from_cloud: bool | None = None) -> Result:
    """A frame with this reason, so long after the first."""
    sent = reason in ON_CLOUD
    at_s, by_cloud = 1000.0 + after_s, sent and reason is not Reason.PROBE if from_cloud is None else from_cloud
    cloud = Answer((), "coco/7", "roboflow", Timings(connect_s=0.0, upload_s=0.5, server_s=0.15), 45_000, 70)
    return Result(
        camera=camera,
        seq=round(at_s * 1000),
        revision=0,
        captured_s=at_s,
        captured_wall_s=FIRST_WALL_S + after_s,
        clock_synchronized=True,
        width=640,
        height=480,
        decision=Decision(
            Route.CLOUD if sent else Route.LOCAL,
            reason,
            at_s + 0.5,
            at_s + 0.3,
            p=0.9 if sent else 0.31,
            threshold=0.4 if sent else 0.6,
            rung=RUNG if sent else None,
            outlook=OUTLOOK,
            prices=PRICES,
        ),
        fate=Fate.DONE,
        published=Route.CLOUD if by_cloud else Route.LOCAL,
        answer=cloud if by_cloud else Answer((), "yolov8n", "tflite", Timings(0.002, 0.031, 0.001)),
        late=False,
        started_s=at_s + 0.01,
        answered_s=at_s + (0.35 if by_cloud else 0.08),
        hedge=Hedge.SKIPPED if by_cloud else Hedge.NOW if sent else Hedge.NONE,
    )


STORY = (
    *[Reason.P_OK] * 30,
    Reason.UPLINK_BUSY,
    *[Reason.PROBE, *[Reason.P_LOW_BANDWIDTH] * 9] * 2,
    *[Reason.P_OK] * 20,
    *[Reason.DEAD] * 10,
    *[Reason.P_OK] * 5,
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(*results: Result, name: str = "results.jsonl") -> Path:
        path = tmp_path / name
        body = b"".join(delivery_of(one, IDENTITY).body + b"\n" for one in results)
        path.write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
        return path

    return written


@pytest.fixture
def story(write: Callable[..., Path]) -> Path:
    """Two cameras for 8.6 s."""
    frames = [result(n / 10, reason, camera=name) for n, reason in enumerate(STORY) for name in ("gate", "dock")]
    return write(*frames)


def explain(*arguments: object) -> int:
    parser = argparse.ArgumentParser(prog="vedette explain")
    add_arguments(parser)
    return run(parser.parse_args([str(argument) for argument in arguments]))


def words(text: str) -> str:
    return re.sub(r"\s+", " ", text)


# In words


SENTENCES = {
    Reason.P_OK: "the cloud was likely to answer in time, and for 100.0 % of these frames it did.",
    Reason.P_LOW_BANDWIDTH: "the uplink is too slow: the smallest picture takes 410 of 500 ms at 0.90 Mbit/s. "
    "A better antenna or plan helps, or a longer routing.deadline_ms.",
    Reason.P_LOW_RTT: "the way to the cloud and back is too long: a round trip takes 40 of 500 ms. "
    "Another network helps, or one with less other traffic, or a longer routing.deadline_ms.",
    Reason.P_LOW_SERVER: "the cloud computes for too long: once it has the picture it takes 120 of 500 ms. "
    "A smaller hosted model helps, or a longer routing.deadline_ms.",
    Reason.NO_EVIDENCE: "too little is known of the link. "
    "Normal at the start and after a silence; answers in time end it.",
    Reason.UPLINK_BUSY: "an earlier picture was still on the wire: the smallest takes 410 ms at 0.90 Mbit/s. "
    "Normal where the cameras give more frames than the uplink carries.",
    Reason.STALLED: "the link fell silent in the middle of an upload. If it often does: look at the signal.",
    Reason.DEAD: "nothing gets through. The agent dials until something does. If the network is there: "
    "`vedette check CONFIG --probe` tells what is in the way.",
    Reason.INFLIGHT_FULL: "as many requests as allowed had no answer yet: the cloud takes 120 ms for each. "
    "A smaller hosted model helps.",
    Reason.BUDGET_DATA: "the picture was not worth its share of the data cap: 12 MB could be spent. "
    "A higher routing.data_cap_mb_per_day (or _month) buys more; fewer frames a second need less.",
    Reason.BUDGET_CREDITS: "the request was not worth its share of the credits: 40 could be spent. "
    "A higher routing.credits_per_day (or _month) buys more; fewer frames a second need less.",
    Reason.HTTP_AUTH: "the cloud refused the key, or the account has no credits. "
    "Look at both; `vedette check CONFIG --probe` tells what is in the way.",
    Reason.HTTP_RATE_LIMITED: "the cloud asked for a pause (429). "
    "Fewer frames a second help, or a plan that allows more.",
    Reason.HTTP_ERROR: "the cloud answered with errors. "
    "The agent's log names them; `vedette check CONFIG --probe` tells what is in the way.",
    Reason.LOCAL_ONLY: "no cloud was to be used. So says routing.mode, or engines.cloud is not given.",
    Reason.CLOUD_ONLY: "the device was not to be used. So says routing.mode, or engines.local is not given.",
    Reason.LOCAL_OVERLOADED: "the device had no time left for the frame, only the cloud could answer it, and for "
    "100.0 % of them it did in time. A faster on-device model or fewer frames a second would cover such frames.",
    Reason.PROBE: "sent to find out whether the cloud serves, while the device worked on it too; 0.0 % of these "
    "frames the cloud answered in time.",
}


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_is_told_with_its_numbers_and_what_to_do(write: Callable[..., Path], reason: Reason) -> None:
    (camera,) = history.read(write(result(0.0, reason))).cameras
    assert sentence(reason.value, camera.frames) == SENTENCES[reason]


def test_numbers_that_nobody_knows_are_left_out_of_the_sentence(write: Callable[..., Path]) -> None:
    plain = result(0.0, Reason.P_LOW_BANDWIDTH)
    (camera,) = history.read(write(replace(plain, decision=replace(plain.decision, outlook=None)))).cameras
    assert sentence("p_low_bandwidth", camera.frames).startswith("the uplink is too slow. A better antenna")


def test_a_reason_of_another_version_is_told_as_such() -> None:
    assert meaning_of("moon_phase").short == "this version does not know the reason"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained_in_lines_for_a_terminal(write: Callable[..., Path], reason: Reason) -> None:
    read = history.read(write(*[result(n / 10, reason) for n in range(20)]))
    text = explanation(read.cameras[0], read.reasons)
    assert reason.value in text
    assert max(map(len, text.splitlines())) <= 100


# The report


def test_the_report_tells_how_many_frames_went_where_and_why(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(story, "--no-picture", "--camera", "gate") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{story}: 172 frames of 2 cameras\n\nyard-north/gate   2026-11-23 13:50:39 to 13:50:47 UTC")
    text = words(said)
    assert "86 frames: 64.0 % answered by the cloud, 100.0 % in time, none corrected" in text
    assert "The device answered 31, most of them (18) with the reason p_low_bandwidth: the uplink is too slow" in text
    assert "p_ok 55 64.0 % cloud 100.0 % 350 0.90 / 0.40" in text
    assert "p_low_bandwidth 18 20.9 % device 0.0 % 80 0.31 / 0.60" in text
    assert "dock" not in text


def test_the_report_tells_expected_and_actual_sizes_hedges_chance_and_budget(
    story: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explain(story, "--no-picture", "--camera", "yard-north/gate")
    text = words(capsys.readouterr().out)
    assert "round trip and upload, ms 55 450 500 50" in text
    assert "the cloud's own time, ms 55 120 150 30" in text
    assert "up to 64 kB 57 100.0 % 45.0 70 96.5 %" in text
    assert "now: it began at once 2 3.5 % 0.0 %" in text
    assert "skipped: the cloud answered first 55 96.5 % 100.0 %" in text
    assert "0.9 to 1.0 57 90.0 % 96.5 %" in text
    assert "data, MB 12.500 12.500 12.500 0.050 0.050" in text
    assert "credits 40.000 40.000 40.000 0.250 0.250" in text


def test_the_report_tells_cloud_and_device_in_turn_and_what_ended_each(
    story: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explain(story, "--no-picture", "--camera", "gate")
    text = words(capsys.readouterr().out)
    assert "4 changes; longest without the cloud: 2.0 s from 13:50:42" in text
    assert "cloud 3.1 s 31 frames 96.8 % by the cloud; ended by p_low_bandwidth: the uplink is too slow" in text
    assert "device 2.0 s 20 frames probe, then p_low_bandwidth: the uplink is too slow; back by 2 probes" in text
    assert "cloud 2.0 s 20 frames 100.0 % by the cloud; ended by dead: nothing gets through" in text
    assert "device 1.0 s 10 frames dead: nothing gets through; back by dialling" in text
    assert text.endswith("cloud 0.4 s 5 frames 100.0 % by the cloud ")


def test_of_many_changes_the_last_are_told(write: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    explain(write(*[result(n / 10, (Reason.P_OK, Reason.STALLED)[n % 2]) for n in range(200)]), "--no-picture")
    said = capsys.readouterr().out
    assert "the last 30 of 200; for others: --since, --until" in said
    assert said.count("13:5") < 100


def test_corrections_and_restarts_and_an_unset_clock_are_told(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first = replace(result(0.0, Reason.P_OK, from_cloud=False), clock_synchronized=False, late=True)
    correction = replace(result(0.0, Reason.P_OK), revision=1, supersedes=0, clock_synchronized=False, late=True)
    after = [replace(result(60.0 + n, Reason.P_OK), clock_synchronized=False) for n in range(3)]
    explain(write(first, correction, *after), "--no-picture")
    text = words(capsys.readouterr().out)
    assert "1 min 2 s, with 1 restart or long pause" in text
    assert "75.0 % in time (1 late), 0 corrected by the cloud in time and 1 late" in text
    assert "The machine's clock was not known to be right" in text


def test_where_the_first_answer_goes_at_once_a_correction_in_time_counts_for_the_cloud(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    results = []
    for n in range(40):
        first = result(n / 10, Reason.P_OK, from_cloud=False)
        results += [first, replace(result(n / 10, Reason.P_OK), revision=1, supersedes=0, late=n % 10 == 0)]
    explain(write(*results), "--no-picture")
    text = words(capsys.readouterr().out)
    assert "40 frames: 90.0 % answered by the cloud, 100.0 % in time, 36 corrected by the cloud in time and 4" in text
    assert "The device answered 4, all with the reason p_ok" in text
    assert "0.9 to 1.0 40 90.0 % 90.0 %" in text
    assert "and for 90.0 % of these frames it did" in text


def test_a_correction_counts_for_its_own_frame_only(write: Callable[..., Path]) -> None:
    plain, corrected, restarted = (result(n / 10, Reason.P_OK, from_cloud=False) for n in range(3))
    path = write(plain, corrected, replace(result(0.1, Reason.P_OK), revision=1, supersedes=0))
    elsewhere = Identity(IDENTITY.agent, "77aa6c7e-11c0-4c39-8ac2-6f6f2a2f9d10")
    other = replace(result(0.2, Reason.P_OK), revision=1, supersedes=0)
    with path.open("ab") as file:
        file.write(delivery_of(other, elsewhere).body + b"\n" + delivery_of(restarted, IDENTITY).body + b"\n")
    (camera,) = history.read(path).cameras
    assert camera.frames.cloud_in_time.tolist() == [False, True, False]


def test_the_most_common_reason_is_most_of_them_only_where_it_is(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = [Reason.DEAD] * 4 + [Reason.STALLED] * 3 + [Reason.P_LOW_RTT] * 3
    explain(write(*[result(n / 10, reason) for n, reason in enumerate(reasons)]), "--no-picture")
    text = words(capsys.readouterr().out)
    assert "The device answered 10, the most common reason (4) was dead: nothing gets through" in text


def test_a_camera_with_corrections_only_is_told_as_such(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(replace(result(0.0, Reason.P_OK), revision=1, supersedes=0))
    assert explain(path) == 0
    told = capsys.readouterr()
    assert "yard-north/gate   no frame, 1 correction of earlier ones" in told.out
    assert told.err == "no picture: there is no frame to draw\n"
    assert not path.with_name("results.png").exists()


def test_what_was_left_out_is_named_at_the_top(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with story.open("ab") as file:
        file.write(b'{"schema": "vedette.result/1", "id"')
    explain(story, "--no-picture")
    assert capsys.readouterr().out.splitlines()[1] == "  left out: line 173: torn: the file ends in the middle of it"


def program(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run `vedette explain` as a process of its own."""
    command = [sys.executable, "-m", "agent", "explain", *map(str, arguments)]
    return subprocess.run(
        command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, check=False, **{"stdout": subprocess.PIPE} | options
    )


def test_a_reader_who_has_seen_enough_is_no_error(story: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody:
        done = program(story, "--no-picture", stdout=nobody)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_output_that_takes_nothing_is_said_in_a_sentence(story: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = program(story, "--no-picture", stdout=full)
    assert (done.returncode, done.stderr) == (1, "the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_is_read_and_drawn_only_where_a_place_is_named(story: Path, name: str) -> None:
    for arguments, last in (([], ""), (["--picture", story.with_name("a.png")], f"Picture: {story.parent}/a.png\n")):
        with story.open("rb") as file:
            done = program(name, *arguments, stdin=file)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{'standard input' if name == '-' else name}: 172 frames of 2 cameras")
        assert done.stdout.endswith(last)
        assert ("Picture: " in done.stdout) == bool(last)
    assert sorted(path.name for path in story.parent.iterdir()) == ["a.png", "results.jsonl"]


def test_a_standard_input_without_results_is_refused_by_its_name() -> None:
    done = program("-", stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert done.stderr == "standard input is empty; name a file that a sink of type jsonl has written\n"


# Which part


@pytest.mark.parametrize(
    ("arguments", "frames"),
    [
        (("--since", "2s"), "21 frames"),
        (("--since", "2026-11-23T13:50:46Z"), "16 frames"),
        (("--since", "13:50:40", "--until", "13:50:41"), "11 frames"),
        (("--until", "2026-11-23T14:50:39+01:00"), "1 frame:"),
    ],
)
def test_a_part_of_the_file_is_explained(
    story: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], frames: str
) -> None:
    assert explain(story, "--no-picture", *arguments) == 0
    assert capsys.readouterr().out.count(f"\n  {frames}") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--camera", "gatte"),
            "--camera gatte: the file has no such camera, but yard-north/dock, yard-north/gate; did you mean gate?",
        ),
        (("--camera", "x"), "--camera x: the file has no such camera, but yard-north/dock, yard-north/gate"),
        (
            ("--since", "2026-11-24"),
            "--since 2026-11-24: no frame was captured then; the file has 2026-11-23 13:50:39 to 13:50:47 UTC",
        ),
        (
            ("--since", "1s", "--until", "5s"),
            "--since 1s --until 5s: no frame was captured then; the file has 2026-11-23 13:50:39 to 13:50:47 UTC",
        ),
    ],
)
def test_what_the_file_does_not_have_is_refused_with_what_it_has(
    story: Path, arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        explain(story, *arguments)
    assert str(caught.value) == said


@pytest.mark.parametrize("text", ["yesterday", "25:00", "10 parsecs", "", "2026-13-01"])
def test_a_time_that_is_none_is_refused_with_the_forms_there_are(
    story: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        explain(story, "--since", text)
    assert caught.value.code == 2
    assert "is no time; give a moment (2026-11-23T13:50:39, UTC without a zone)" in words(capsys.readouterr().err)


@given(st.text(max_size=30))
def test_no_text_for_a_time_is_more_than_refused(text: str) -> None:
    try:
        moments.parse(text).resolved(FIRST_WALL_S)
    except argparse.ArgumentTypeError:
        return


@given(st.floats(0, 1))
def test_a_share_is_shown_as_all_or_nothing_only_where_it_is(part: float) -> None:
    shown = float(figures.percent(part).rstrip(" %"))
    assert (shown == 0) == (part == 0)
    assert (shown == 100) == (part == 1)


# The picture


def test_the_picture_is_written_beside_the_results_and_the_last_line_says_where(
    story: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(story) == 0
    picture = story.with_name("results.png")
    assert capsys.readouterr().out.splitlines()[-1] == f"Picture: {picture}"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in story.parent.iterdir()) == ["results.jsonl", "results.png"]


def test_files_of_like_names_have_a_picture_each(write: Callable[..., Path]) -> None:
    for name in ("results.jsonl", "results.jsonl.gz", "results.gz"):
        assert explain(write(result(0.0, Reason.P_OK), name=name)) == 0
    (folder,) = {write(result(0.0, Reason.P_OK)).parent}
    assert {path.name for path in folder.glob("*.png")} == {"results.png", "results.jsonl.gz.png", "results.gz.png"}


def test_several_files_are_one_story_and_the_picture_is_beside_the_last(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    closed = write(result(0.0, Reason.P_OK), result(0.1, Reason.P_OK), name="results.00000001-x.jsonl.gz")
    active = write(result(0.2, Reason.DEAD))
    assert explain(closed, active) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"2 files, {closed} to {active}: 3 frames of 1 camera\n")
    assert told.endswith(f"Picture: {active.with_suffix('.png')}\n")


def test_a_file_in_the_way_stays_and_the_exit_code_tells_only_who_asked(
    story: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = story.read_bytes()
    assert explain(story, "--picture", story) == 1
    told = capsys.readouterr()
    assert "86 frames" in told.out
    assert told.err == f"{story} exists and is not a picture that vedette made, so it stays; name another file\n"
    assert story.read_bytes() == before
    story.with_name("results.png").write_bytes(b"mine")
    assert explain(story) == 0
    assert story.with_name("results.png").read_bytes() == b"mine"


def test_without_matplotlib_the_tables_are_printed_and_the_cure_is_told(
    story: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert explain(story) == 0
    told = capsys.readouterr()
    assert "Why frames went where they went" in told.out
    cure = f"{sys.executable} -m pip install matplotlib brings it"
    assert told.err == f"no picture: Matplotlib is not installed; {cure}\n"
