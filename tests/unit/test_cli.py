"""The command line, run in this process: what it prints, and its exit codes."""

import json
import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import agent
from agent import check, cli, package
from agent.errors import ConfigError
from agent.reload import Reload
from agent.service import Service

PROGRAM = [sys.executable, "-m", "agent"]
EXAMPLE = Path(__file__).parents[2] / "config" / "vedette.example.yaml"
COMMANDS = ("run", "check", "outbox", "emulate", "explain", "simulate", "schema", "version")
GOOD = """\
agent: yard
cameras: [{name: gate, source: {type: synthetic, width: 64, height: 64, frames: 3, fps: 100}}]
engines: {local: {type: tflite, model: MODEL}}
sinks: [{type: jsonl, path: results.jsonl}]
"""


@pytest.fixture(autouse=True)
def as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command line sets up logging and signals for the whole process; tests put them back."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    root, numbers = logging.getLogger(), (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = root.handlers[:], root.level, [signal.getsignal(number) for number in numbers]
    yield
    root.handlers[:], root.level = before[0], before[1]
    for number, handler in zip(numbers, before[2], strict=True):
        signal.signal(number, handler)


def write(tmp_path: Path, text: str = GOOD) -> str:
    path = tmp_path / "vedette.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def schema(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert cli.main(["schema"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


# Help and version


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == f"vedette {agent.__version__}\n"


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"    {command} " in text for command in COMMANDS)
    assert all(f"{code}" in " ".join(text.split()) for code in ("0 done", "1 failed", "2 the command", "78 the config"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: vedette {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["watch"], ["check"], ["run", "--seconds", "soon"], ["version", "--loud"]])
def test_a_wrong_command_line_shows_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: vedette" in capsys.readouterr().err


# schema


def test_the_schema_is_valid_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(capsys))


def test_the_schema_accepts_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema.Draft202012Validator(schema(capsys)).validate(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("camera",), []),
        (("cameras", 0, "source", "type"), "rtspp"),
        (("cameras", 0, "source", "next_frame_s"), 0),
        (("engines", "cloud", "api_key"), "hunter2"),
        (("routing", "mode"), "cloudy"),
        (("sinks", 1, "tls", "verfy"), False),
    ],
)
def test_the_schema_refuses_what_the_agent_refuses(
    path: tuple[str | int, ...], value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    data = here = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    assert not jsonschema.Draft202012Validator(schema(capsys)).is_valid(data)


@pytest.mark.parametrize("command", ["schema", "version"])
def test_an_output_that_takes_nothing_is_said_in_a_sentence(command: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*PROGRAM, command], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "the output cannot be written: No space left on device\n")


def test_the_help_of_the_emulator_says_what_it_is_and_how_a_link_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["emulate", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Serve the hosted API on this machine until stopped" in text
    assert "links of your own, which need a name: mine=2mbit/60ms:10" in text
    assert "One phase alone needs no seconds" in text
    assert "emulator-key" in text


@pytest.mark.parametrize("command", ["explain", "simulate"])
def test_a_file_that_a_tool_cannot_read_is_no_wrong_configuration(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, str(tmp_path / "absent.jsonl")]) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path}/absent.jsonl cannot be read: No such file or directory")


# check


def test_a_good_file_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, EXAMPLE.read_text(encoding="utf-8"))
    (tmp_path / "yolov8n_int8.tflite").write_bytes(b"a model that nobody reads")
    assert cli.main(["check", path]) == 0
    assert capsys.readouterr().out == f"ok    {path}: 1 camera(s), routing auto\n"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("absent.tflite", "the model absent.tflite is neither a file nor a package folder (looked at "),
        ("shape", "the model shape is neither a file nor a package folder (looked at "),
        ("shapes, variant: int4", "has no variant int4; it has: float32, int8\n"),
        ("mine@7", "the model mine@7 is not there: mine has no version 7; it has 1, of which 1 is in use\n"),
        (
            "m.onnx",
            "m.onnx: does not run with type: tflite; it runs with type: onnx or tensorrt; set engines.local.type\n",
        ),
    ],
)
def test_a_model_that_is_not_there_or_is_another_type_s_is_a_mistake(
    model: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(package.shipped("models", "shapes"), tmp_path / "state" / "vedette" / "models" / "mine" / "1")
    (tmp_path / "m.onnx").write_bytes(b"")
    assert cli.main(["check", write(tmp_path, GOOD.replace("MODEL", "mine@1"))]) == 0
    assert capsys.readouterr().err == ""
    assert cli.main(["check", write(tmp_path, GOOD.replace("MODEL", model))]) == 78
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_a_model_that_only_the_service_has_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agent.model.session.SERVICE_STATE", tmp_path / "service")
    shutil.copytree(package.shipped("models", "shapes"), tmp_path / "service" / "models" / "mine" / "1")
    path = write(tmp_path, GOOD.replace("MODEL", "mine"))
    assert cli.main(["check", path]) == 0
    assert capsys.readouterr().out.startswith(f"ok    {path}")


def test_a_bad_file_ends_with_78_and_a_line_for_each_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, GOOD.replace("frames: 3", "frame: 3") + "loog: {}\n")
    assert cli.main(["check", path]) == 78
    said = capsys.readouterr()
    assert said.out == ""
    first, second = said.err.splitlines()
    assert first.startswith(f"{path}:2: cameras[0].source.frame: there is no such key here; did you mean frames?")
    assert second.startswith(f"{path}:5: loog: there is no such key here; did you mean log?")


@pytest.mark.parametrize("content", [b"", b"a: [", b"\x00\xff", b"- 1", b"cameras: &c [*c]"])
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_file_that_is_no_configuration_ends_with_78_and_a_sentence(
    command: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "vedette.yaml"
    path.write_bytes(content)
    assert cli.main([command, str(path)]) == 78
    said = capsys.readouterr().err
    assert said.startswith(f"{path}")
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_file_that_is_not_there_ends_with_78(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, str(tmp_path / "absent.yaml")]) == 78
    assert cli.main([command, str(tmp_path)]) == 78
    assert (
        capsys.readouterr().err == f"{tmp_path}/absent.yaml: no such file\n{tmp_path}: cannot be read: Is a directory\n"
    )


def test_a_probe_that_finds_a_fault_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, GOOD.replace("MODEL", "absent.tflite"))
    assert cli.main(["check", path, "--probe"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in out] == ["ok  ", "ok  ", "FAIL", "ok  ", "ok  "]


def test_a_probe_that_finds_none_ends_with_0(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = shared / "models" / "yolov8n_224_full_int8.tflite"
    assert cli.main(["check", write(tmp_path, GOOD.replace("MODEL", str(model))), "--probe"]) == 0
    assert capsys.readouterr().out.count("ok  ") == 5


def test_an_interrupted_probe_ends_as_a_shell_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "probe", interrupted)
    assert cli.main(["check", write(tmp_path), "--probe"]) == 130
    assert "Traceback" not in capsys.readouterr().err


# run


def test_a_run_ends_with_0_when_the_last_camera_has_ended(shared: Path, tmp_path: Path) -> None:
    text = GOOD.replace("MODEL", str(shared / "models" / "yolov8n_224_full_int8.tflite"))
    assert cli.main(["run", write(tmp_path, text), "--seconds", "40"]) == 0
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert results
    assert {result["agent"] for result in results} == {"yard"}


def test_a_run_whose_standard_error_was_closed_runs(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("MODEL", "shapes"))
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *PROGRAM, "run", path, "--seconds", "40"]
    assert subprocess.run(command, timeout=50, check=False).returncode == 0
    results = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["agent"] for line in results] == ["yard"] * len(results) != []


def test_the_trial_keeps_nothing_for_a_next_start_and_has_no_file_to_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: list[object] = []
    monkeypatch.chdir(tmp_path)
    wishes: list[Reload | None] = []

    def run(service: Service, **_: object) -> int:
        stores.extend(courier.outbox._store for courier in service.agent.couriers)
        signal.raise_signal(signal.SIGHUP)
        wishes.append(service.agent.stop.take())
        return 0

    monkeypatch.setattr(Service, "run", run)
    assert cli.main(["run", "--seconds", "1"]) == 0
    assert stores
    assert stores == [None] * len(stores)
    (wish,) = wishes
    assert wish is not None
    with pytest.raises(ConfigError, match="there is no file to read again"):
        wish.load()


def test_a_run_with_a_model_that_is_not_there_ends_with_78_and_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", write(tmp_path, GOOD.replace("MODEL", "absent.tflite")), "--seconds", "40"]) == 78
    assert "absent.tflite is neither a file nor a package folder" in capsys.readouterr().err


def test_a_run_with_a_video_that_is_not_there_ends_with_78_and_its_name(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = GOOD.replace("MODEL", str(shared / "models" / "yolov8n_224_full_int8.tflite"))
    text = text.replace(
        "{type: synthetic, width: 64, height: 64, frames: 3, fps: 100}", "{type: video_file, path: v.mp4}"
    )
    assert cli.main(["run", write(tmp_path, text), "--seconds", "40"]) == 78
    assert f"{tmp_path}/v.mp4: cannot be read: No such file or directory; check the path" in capsys.readouterr().err
