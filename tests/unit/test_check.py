"""`check --probe`: a line for each part, and the cure where one does not work. Never a traceback."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from canary import secret
from emulator_engine import KEY, emulating
from mjpeg_server import MjpegServer

from agent import check, config, document, imaging, logs
from agent.errors import AgentError

DRAWN = "{type: synthetic, width: 64, height: 64}"
CLOUD = "cloud: {type: roboflow, model: yard/3, api_key: {file: key}, url: URL}"


@pytest.fixture(autouse=True)
def forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_HIDDEN", set())
    (tmp_path / "key").write_text(KEY, encoding="utf-8")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and which nobody else can take."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def findings(
    folder: Path, *, source: str = DRAWN, engine: str = CLOUD, sink: str = "{type: stdout}", more: str = ""
) -> Any:
    text = f"""
agent: yard
cameras: [{{name: gate, source: {source}}}]
engines: {{{engine.replace("URL", "http://127.0.0.1:9")}}}
sinks: [{sink}]
{more}
"""
    settings = config.validate(document.parse(text, name="f.yaml"))
    found = list(check.probe(settings, base_dir=folder, state_dir=folder / "state"))
    for finding in found:
        assert "\n" not in str(finding)
        assert len(finding.text) > 10
    return found


def of_camera(folder: Path, source: str) -> check.Finding:
    found: check.Finding = findings(folder, source=source)[0]
    assert found.part == "camera gate"
    return found


def of_engine(folder: Path, engine: str) -> check.Finding:
    found: check.Finding = findings(folder, engine=engine)[1]
    assert found.part == f"engine {engine.partition(':')[0]}"
    return found


def of_sink(folder: Path, sink: str) -> check.Finding:
    found: check.Finding = findings(folder, sink=sink)[2]
    assert found.part == "sink 1"
    return found


def test_every_part_has_its_line_in_the_order_of_the_file(tmp_path: Path) -> None:
    parts = [finding.part for finding in findings(tmp_path, sink="{type: jsonl}, {type: stdout}")]
    assert parts == ["camera gate", "engine cloud", "sink 1", "sink 2", "state folder"]


def test_a_line_begins_with_how_it_went() -> None:
    assert str(check.Finding("sink 1", fine=True, text="is there")) == "ok    sink 1: is there"
    assert str(check.Finding("sink 1", fine=False, text="is not")) == "FAIL  sink 1: is not"


# Cameras


def test_a_camera_that_works_says_its_size_and_which_opencv_reads_it(tmp_path: Path) -> None:
    found = of_camera(tmp_path, "{type: synthetic, width: 320, height: 240}")
    assert found == check.Finding(
        "camera gate", fine=True, text=f"gives pictures of 320x240 ({imaging.opencv_summary()})"
    )


def test_a_network_camera_that_works_is_read_once_and_let_go(tmp_path: Path) -> None:
    camera = MjpegServer().start()
    found = of_camera(tmp_path, f"{{type: mjpeg, url: '{camera.url}'}}")
    camera.stop()
    assert found.fine
    assert "64x48" in found.text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{type: v4l2, device: 97}", "/dev/video97: no such camera; plug it in, or list them with v4l2-ctl"),
        (
            "{type: rtsp, url: 'rtsp://127.0.0.1:9/x'}",
            "rtsp://127.0.0.1:9/x: nothing answers at 127.0.0.1, port 9 (connection refused); is the camera switched",
        ),
        (
            "{type: rtsp, url: 'rtsp://127.0.0.1:9/x', username: u, password: {env: NOT_SET_ANYWHERE}}",
            "the environment variable NOT_SET_ANYWHERE is not set; set it",
        ),
        (
            "{type: video_file, path: absent.mp4}",
            "absent.mp4: cannot be read: No such file or directory; check the path",
        ),
        ("{type: video_file, path: key}", "key cannot be opened; is it a video?"),
        ("{type: image_folder, path: absent}", "absent: cannot be read: No such file or directory; name a folder"),
        ("{type: image_folder, path: .}", "holds no picture"),
    ],
)
def test_a_camera_that_does_not_work_says_why(source: str, said: str, tmp_path: Path) -> None:
    found = of_camera(tmp_path, source)
    assert not found.fine
    assert said in found.text


def test_a_picture_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    found = of_camera(tmp_path, "{type: image_folder, path: .}")
    assert not found.fine
    assert "a.jpg is not a picture OpenCV can decode" in found.text


# Engines


@pytest.fixture
def model(shared: Path) -> Path:
    return shared / "models" / "yolov8n_224_full_int8.tflite"


def test_a_local_model_that_works_says_its_input_and_its_time(model: Path, tmp_path: Path) -> None:
    found = of_engine(tmp_path, f"local: {{type: tflite, model: {model}}}")
    assert found.fine
    assert "224x224 80 classes" in found.text
    assert found.text.endswith(" ms")


def test_a_local_model_that_was_calibrated_otherwise_works_and_is_warned_of(shared: Path, tmp_path: Path) -> None:
    model = shared / "models" / "yolov8n_640_full_int8_miscalibrated.tflite"
    found = findings(tmp_path, engine=f"local: {{type: tflite, model: {model}}}")
    lines = [str(each) for each in found if each.part == "engine local"]
    assert all(each.fine for each in found)
    assert [line[:4] for line in lines] == ["ok  ", "warn"]
    assert "quantised for numbers from -2.13 to 2.63, but pictures have 0 to 1: 55 of 256 steps are used" in lines[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no model at all\n", "is not a TFLite model (bytes 4 to 8 of one are TFL3); export the model as .tflite"),
        (b"", "is not a TFLite model"),
        (None, "cannot be loaded; it may be cut short"),
    ],
    ids=["text", "empty", "cut short"],
)
def test_a_local_model_that_is_none_is_said(content: bytes | None, said: str, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(model.read_bytes()[:1_000_000] if content is None else content)
    found = of_engine(tmp_path, "local: {type: tflite, model: model.tflite}")
    assert not found.fine
    assert said in found.text
    assert str(path) in found.text


def test_a_manifest_with_several_mistakes_has_one_line(tmp_path: Path) -> None:
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "model.yaml").write_text("name: 5\nlabels: robin\n", encoding="utf-8")
    found = of_engine(tmp_path, "local: {type: tflite, model: birds}")
    assert not found.fine
    assert found.text.count("birds/model.yaml:") == 3


def test_an_api_that_works_says_which_and_its_time(tmp_path: Path) -> None:
    with emulating(project="yard/3") as emulator:
        found = of_engine(tmp_path, CLOUD.replace("URL", emulator.url))
    assert found.fine, found
    assert "yard/3 at http://127.0.0.1" in found.text


def test_an_api_that_cannot_be_reached_is_said(tmp_path: Path, closed_port: int) -> None:
    found = of_engine(tmp_path, CLOUD.replace("URL", f"http://127.0.0.1:{closed_port}"))
    assert not found.fine
    said = "127.0.0.1 cannot be reached: Connection refused; does a server listen there, and are host and port of"
    assert found.text.startswith(said)


def test_an_api_that_refuses_the_key_says_so_without_the_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(secret("a-wrong-key"), encoding="utf-8")
    with emulating(project="yard/3") as emulator:
        found = of_engine(tmp_path, CLOUD.replace("URL", emulator.url))
    assert not found.fine
    assert "the API key is not accepted" in found.text
    assert "a-wrong-key" not in found.text


def test_a_key_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "key").unlink()
    found = of_engine(tmp_path, CLOUD)
    assert not found.fine
    assert f"the secret's file {tmp_path}/key cannot be read: No such file or directory" in found.text


def test_a_variable_that_is_not_set_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOFLOW_API_KEY", raising=False)
    found = of_engine(tmp_path, CLOUD.replace("{file: key}", "{env: ROBOFLOW_API_KEY}"))
    assert not found.fine
    assert "ROBOFLOW_API_KEY is not set; set it" in found.text


# Sinks


def test_a_file_that_can_be_written_is_said(tmp_path: Path) -> None:
    found = of_sink(tmp_path, "{type: jsonl, path: results.jsonl}")
    assert found.fine
    assert f"{tmp_path}/results.jsonl" in found.text


def test_a_file_that_is_not_there_is_not_created_by_a_check(tmp_path: Path) -> None:
    found = of_sink(tmp_path, "{type: jsonl, path: results.jsonl}")
    assert found.fine
    assert f"{tmp_path}/results.jsonl is not there yet; the agent creates it; " in found.text
    found = of_sink(tmp_path, "{type: jsonl, path: a/b/results.jsonl}")
    assert found.fine
    assert f"the agent creates it with its folder {tmp_path}/a/b, which is absent; " in found.text
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_the_same_holds_for_every_sink_that_writes_a_file(tmp_path: Path) -> None:
    found = of_sink(tmp_path, "{type: csv, path: results.csv, rotate: {max_hours: 1}}")
    assert found.fine
    assert f"{tmp_path}/results.csv is not there yet; the agent creates it; " in found.text
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    (tmp_path / "results.csv").write_text("of another program")
    found = of_sink(tmp_path, "{type: csv, path: results.csv}")
    assert not found.fine
    assert "results.csv does not begin as CSV rows of this version do; move it, or name another path" in found.text
    assert (tmp_path / "results.csv").read_text() == "of another program"


def test_a_file_that_cannot_be_created_is_said(tmp_path: Path) -> None:
    found = of_sink(tmp_path, "{type: jsonl, path: key/results.jsonl}")
    assert not found.fine
    assert "/key/results.jsonl cannot be created: Not a directory; free some space, let the agent's" in found.text


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    found = of_sink(tmp_path, "{type: jsonl, path: .}")
    assert not found.fine
    assert "a folder is in the way: name a file" in found.text


def test_a_broker_that_cannot_be_reached_is_said(tmp_path: Path, closed_port: int) -> None:
    found = of_sink(tmp_path, f"{{type: mqtt, host: 127.0.0.1, port: {closed_port}}}")
    assert not found.fine
    assert f"127.0.0.1:{closed_port} refuses connections; does the broker run, on this port?" in found.text


def test_one_part_that_fails_does_not_stop_the_others(tmp_path: Path, closed_port: int) -> None:
    found = findings(
        tmp_path,
        source="{type: video_file, path: absent.mp4}",
        sink=f"{{type: mqtt, host: 127.0.0.1, port: {closed_port}}}, {{type: stdout}}",
    )
    assert [finding.fine for finding in found] == [False, False, False, True, True]


def test_a_state_folder_that_can_be_written_is_said_and_stays_as_it_was(tmp_path: Path) -> None:
    found = findings(tmp_path)[-1]
    assert (found.part, found.fine) == ("state folder", True)
    assert f"{tmp_path}/state is not there yet, and can be created; " in found.text
    assert not (tmp_path / "state").exists()
    (tmp_path / "state").mkdir()
    assert f"{tmp_path}/state can be written; " in findings(tmp_path)[-1].text
    assert not list((tmp_path / "state").iterdir())


def test_a_state_folder_that_cannot_be_written_is_said_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    found = findings(tmp_path)[-1]
    assert not found.fine
    assert "XDG_STATE_HOME" in found.text


def test_a_state_folder_with_less_space_than_is_to_be_left_free_is_said_with_the_cure(tmp_path: Path) -> None:
    found = findings(tmp_path, sink="{type: stdout, outbox: {keep_free_mb: 1000000000}}")[-1]
    assert not found.fine
    assert "set a lower keep_free_mb" in found.text


@pytest.mark.parametrize(
    ("options", "fine", "said"),
    [
        ("folder: pictures", True, "pictures can be written; "),
        ("folder: f.yaml", False, "look at snapshots.folder and its rights"),
        (
            "folder: pictures, keep_free_mb: 1000000000",
            False,
            "pictures would give way or not be written; free some space",
        ),
    ],
)
def test_a_folder_of_snapshots_is_tried_and_stays_as_it_was(
    tmp_path: Path, options: str, said: str, *, fine: bool
) -> None:
    (tmp_path / "f.yaml").write_text("a file is in the way")
    found = findings(tmp_path, more=f"snapshots: {{{options}, rules: [{{}}]}}")[-2]
    assert (found.part, found.fine) == ("snapshots", fine)
    assert said in found.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.yaml", "key"]


@pytest.mark.parametrize("failing", [False, True])
def test_every_part_is_let_go_whether_it_works_or_not(
    *, failing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {kind: _Part(failing=failing) for kind in ("source", "cloud_engine", "sink")}
    for kind, part in parts.items():
        monkeypatch.setattr(f"agent.plugins.build_{kind}", lambda *_, part=part, **__: part)
    assert [finding.fine for finding in findings(tmp_path)] == [*[not failing] * 3, True]
    assert {kind: part.calls for kind, part in parts.items()} == {
        "source": ["open", "close"] if failing else ["open", "read", "close"],
        "cloud_engine": ["open", "close"] if failing else ["open", "infer", "close"],
        "sink": ["open", "close"],
    }


class _Part:
    """A source, a hosted engine and a sink that remembers what was asked of it."""

    longest_px, finest_quality = 64, 85

    def __init__(self, *, failing: bool) -> None:
        self.calls: list[str] = []
        self._failing = failing

    def open(self) -> None:
        self.calls.append("open")
        if self._failing:
            raise AgentError("it does not work today")

    def read(self) -> Any:
        self.calls.append("read")
        return np.zeros((48, 64, 3), dtype=np.uint8)

    def infer(self, *_: object) -> None:
        self.calls.append("infer")

    def close(self) -> None:
        self.calls.append("close")


def test_a_check_leaves_the_files_of_a_running_agent_as_they_are(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text('{"whole": true}\n{"torn')
    text = """
cameras: [{name: cam, source: {type: synthetic}}]
engines: {local: {type: tflite, model: shapes}}
sinks: [{type: jsonl, path: results.jsonl, append: false}]
"""
    settings = config.validate(document.parse(text, name="page"))
    assert all(finding.fine for finding in check.probe(settings, base_dir=tmp_path, state_dir=tmp_path))
    assert results.read_text() == '{"whole": true}\n{"torn'
