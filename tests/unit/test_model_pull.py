"""`vedette model pull` against the emulated platform, over a real socket."""

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from canary import secret
from emulator_engine import KEY, emulating
from file_server import Answer, serving
from toy_models import NAMES, Commands, classifier, without_rehearsal

from agent import package
from agent.clock import SystemClock
from agent.emulator import keys
from agent.emulator.server import Emulator
from agent.errors import AgentError
from agent.flow import Task
from agent.model import download, platform, preparation, pull
from agent.model.meter import Meter
from agent.model.platform import HostedWeights, WeightsPackage
from agent.model.session import Session
from agent.package import Input, Resize
from agent.shelf import Shelf

PADDING_BYTES = 300_000
POOR, BARRED, ASLEEP = secret("poor"), secret("barred"), secret("asleep")


@pytest.fixture(autouse=True)
def around(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    without_rehearsal(monkeypatch)
    monkeypatch.setattr(download, "_PAUSES_S", (0.001,) * 6)
    monkeypatch.setattr(download, "_AT_ONCE_S", 0.001)
    monkeypatch.setenv("ROBOFLOW_API_KEY", KEY)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before[0], before[1]


@pytest.fixture
def model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path / "state", capsys)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier(tmp_path_factory.mktemp("hosted") / "toy.onnx", padding_bytes=PADDING_BYTES)


@pytest.fixture(scope="module")
def running(weights: Path) -> Iterator[Emulator]:
    verdicts = [KEY, f"{POOR}=no_credits", f"{BARRED}=forbidden", f"{ASLEEP}=paused"]
    with (
        pytest.MonkeyPatch.context() as patch,
        emulating(project="toys/3", weights=weights, keys=keys.parse(verdicts)) as emulator,
    ):
        without_rehearsal(patch)
        yield emulator


@dataclass(slots=True)
class Hosted:
    """The emulated platform, with fair weather at first."""

    emulator: Emulator
    _before: dict[str, int]

    @property
    def url(self) -> str:
        return self.emulator.url

    def weather(self, **values: Any) -> dict[str, int]:
        """From now on downloads go so; the figures of them so far."""
        reply = httpx.put(f"{self.emulator.control_url}/emulator/weights", json=values)
        assert reply.status_code == 200, reply.text
        told: dict[str, int] = reply.json()["weights"]
        return told

    def since(self, name: str) -> int:
        """How much of it there was in this test."""
        told: dict[str, Any] = httpx.get(f"{self.emulator.control_url}/emulator/state").json()["weights"]
        return int(told[name]) - self._before[name]


@pytest.fixture
def hosted(running: Emulator) -> Hosted:
    plain = Hosted(running, {})
    return Hosted(running, plain.weather())


def pulled(model: Commands, hosted: Hosted, *more: str | Path) -> Any:
    return model("pull", "toys/3", "--url", hosted.url, *more)


# Pulling


def test_the_hosted_weights_are_installed_with_the_way_their_pictures_are_prepared(
    model: Commands, hosted: Hosted, weights: Path
) -> None:
    said = pulled(model, hosted)
    assert said.code == 0, said.err
    assert f"toys@3 is installed in {model.folder}, and in use" in said.out
    found = package.find("toys", base_dir=Path("/nowhere"), shelf=model.folder)
    assert found.file.read_bytes() == weights.read_bytes()
    assert (found.version, found.labels, found.task) == ("3", NAMES, Task.CLASSIFICATION)
    assert found.input == Input(16, 16)
    about = package.about(found.file.parent)
    assert about.source == f"toys/3 at {hosted.url}, package emulated-onnx"
    assert sorted(path.name for path in found.file.parent.iterdir()) == ["model.yaml", "weights.onnx"]
    assert model.litter() == []
    assert [line.partition(" (")[0] for line in said.err.splitlines()] == [
        "fetching inference_config.json",
        "fetching class_names.txt",
        "fetching weights.onnx",
    ]


def test_what_is_installed_is_not_fetched_again(model: Commands, hosted: Hosted) -> None:
    pulled(model, hosted)
    before = hosted.since("downloads")
    said = pulled(model, hosted)
    assert said.code == 0
    assert "toys@3 is installed already" in said.out
    assert hosted.since("downloads") == before == 3


def test_another_model_of_that_name_and_version_is_not_replaced(model: Commands, hosted: Hosted) -> None:
    with Shelf(model.folder).stage() as staged:
        classifier(staged / "c.onnx")
        (staged / "model.yaml").write_text("name: toys\nfile: c.onnx\n", encoding="utf-8")
        Shelf(model.folder).install(staged, "toys", "3")
    said = pulled(model, hosted)
    assert said.code == 1
    assert "toys@3 is installed, and is another model" in said.err
    assert pulled(model, hosted, "--name", "hosted-toys").code == 0
    assert Shelf(model.folder).names() == ["hosted-toys", "toys"]


def test_an_alias_is_resolved_and_names_the_package(model: Commands, weights: Path) -> None:
    with emulating(project="coco/3", weights=weights) as hosted:
        assert model("pull", "yolov8n-640", "--url", hosted.url).code == 0
    assert Shelf(model.folder).versions("yolov8n-640") == ["3"]


def test_model_and_key_can_come_from_the_configuration(
    model: Commands, hosted: Hosted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROBOFLOW_API_KEY")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "key").write_text(KEY, encoding="utf-8")
    page = tmp_path / "conf" / "vedette.yaml"
    page.write_text(
        "agent: a\ncameras: [{name: c, source: {type: synthetic}}]\nsinks: [{type: stdout}]\n"
        "engines: {cloud: {type: roboflow, model: toys/3, api_key: {file: key}}}\n",
        encoding="utf-8",
    )
    said = model("pull", "--config", page, "--url", hosted.url)
    assert said.code == 0, said.err
    assert Shelf(model.folder).versions("toys") == ["3"]


@pytest.mark.parametrize(
    ("more", "options", "url", "ca_file"),
    [
        ("url: 'https://serverless.roboflow.eu', ", (), "https://api.roboflow.eu", None),
        ("url: 'https://pi.local:9001', api: server, ca_file: own.pem, ", (), "https://api.roboflow.com", None),
        ("ca_file: own.pem, ", ("--url", "https://pi.local"), "https://pi.local", "own.pem"),
    ],
    ids=["Europe", "a server of their own", "a platform of their own"],
)
def test_the_configuration_says_which_platform_and_what_vouches_for_it(
    more: str, options: tuple[str, ...], url: str, ca_file: str | None, *, tmp_path: Path
) -> None:
    (tmp_path / "own.pem").touch()
    page = tmp_path / "vedette.yaml"
    page.write_text(
        "agent: a\ncameras: [{name: c, source: {type: synthetic}}]\nsinks: [{type: stdout}]\n"
        f"engines: {{cloud: {{type: roboflow, {more}model: toys/3, api_key: {{env: ROBOFLOW_API_KEY}}}}}}\n",
        encoding="utf-8",
    )
    given = pull.add_parser(argparse.ArgumentParser().add_subparsers()).parse_args(["--config", str(page), *options])
    clock = SystemClock()
    session = Session(print, tmp_path, tmp_path, clock, Meter(sys.stderr, clock))
    source = pull._source(given, session)
    assert (source.url, source.ca_file and source.ca_file.name) == (url, ca_file)


@pytest.mark.parametrize("way", ["env", "file", "credential"])
def test_the_key_is_named_not_written(
    way: str, model: Commands, hosted: Hosted, *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROBOFLOW_API_KEY")
    monkeypatch.setenv("OTHER_KEY", KEY)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "key").write_text(KEY, encoding="utf-8")
    value = {"env": "OTHER_KEY", "file": str(tmp_path / "key"), "credential": "key"}[way]
    assert pulled(model, hosted, f"--api-key-{way}", value).code == 0


# A bad link


def test_a_link_that_breaks_twenty_times_anywhere_still_brings_it(
    model: Commands, hosted: Hosted, weights: Path
) -> None:
    hosted.weather(break_after_bytes=20_000, times=20)
    said = pulled(model, hosted)
    assert said.code == 0, said.err
    assert hosted.since("downloads") > 20
    assert hosted.since("bytes_sent") < weights.stat().st_size + 2000, "what has come is not sent twice"
    assert package.find("toys", base_dir=Path("/"), shelf=model.folder).file.read_bytes() == weights.read_bytes()


def test_a_download_that_was_given_up_goes_on_where_it_ended(model: Commands, hosted: Hosted, weights: Path) -> None:
    hosted.weather(break_after_bytes=0)
    assert pulled(model, hosted).code == 1
    hosted.weather(break_after_bytes=20_000, times=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "_PAUSES_S", ())
        patch.setattr(download, "_AT_ONCE_S", 0.001)
        while (said := pulled(model, hosted)).code:
            assert "try again" in said.err or "hung up" in said.err
            assert Shelf(model.folder).names() == []
    assert hosted.since("bytes_sent") < weights.stat().st_size + 5000


def test_null_ends_the_breaking_of_downloads(model: Commands, hosted: Hosted) -> None:
    hosted.weather(break_after_bytes=0)
    hosted.weather(break_after_bytes=None, times=None, status=None)
    assert pulled(model, hosted).code == 0


def test_an_address_without_its_scheme_is_told_the_two_there_are(model: Commands) -> None:
    said = model("pull", "toys/3", "--url", "127.0.0.1:19001")
    assert said.code == 1
    assert said.err.startswith("--url 127.0.0.1:19001: has to begin with https:// or http://, as in https://127.")


@pytest.mark.parametrize(("name", "said"), [("", "'' can be no package's name"), ("m" * 300, "is too long")])
def test_a_name_that_no_package_can_have_is_refused(name: str, said: str, model: Commands) -> None:
    assert said in model("pull", "toys/3", "--name", name).err


def test_addresses_that_expire_are_asked_for_anew(model: Commands, hosted: Hosted) -> None:
    hosted.weather(status=403, times=2)
    assert pulled(model, hosted).code == 0


def test_addresses_that_are_never_good_are_given_up(model: Commands, hosted: Hosted) -> None:
    hosted.weather(expires_s=0.0)
    said = pulled(model, hosted)
    assert said.code == 1
    assert "127.0.0.1 refuses the file (status 403)" in said.err


def test_a_storage_that_knows_no_parts_and_fails_now_and_then_is_good_enough(model: Commands, hosted: Hosted) -> None:
    hosted.weather(status=503, times=2, ranges=False)
    assert pulled(model, hosted).code == 0


# Refusals


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (secret("wrong"), "the API key is not accepted (Unauthorized api_key."),
        (POOR, "the workspace has no credits for this ("),
        (BARRED, "the API key may not fetch the weights of toys/3 ("),
        (ASLEEP, "the workspace has paused its API use ("),
    ],
)
def test_a_refusal_says_what_to_do(
    key: str, said: str, model: Commands, hosted: Hosted, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOFLOW_API_KEY", key)
    done = pulled(model, hosted)
    assert done.code == 1
    assert done.err.startswith(said)


def test_a_model_that_is_not_there_is_said_so(model: Commands, hosted: Hosted) -> None:
    said = model("pull", "toys/4", "--url", hosted.url)
    assert said.code == 1
    assert said.err.startswith("there is no model toys/4, or the key may not see it (Requested Roboflow resource")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "which model? Give PROJECT/VERSION, or --config FILE"),
        (("toys",), "toys: is neither PROJECT/VERSION, such as my-project/3, nor a known alias"),
        (("a/b/c",), "a/b/c: is neither PROJECT/VERSION"),
        (("toys/3", "--name", "a/b"), "'a/b' can be no package's name"),
    ],
)
def test_a_command_that_cannot_be_meant_is_told_why(
    arguments: tuple[str, ...], said: str, model: Commands, hosted: Hosted
) -> None:
    done = model("pull", *arguments, "--url", hosted.url)
    assert done.code == 1
    assert said in done.err


def test_without_a_key_nothing_is_asked(model: Commands, hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOFLOW_API_KEY")
    said = pulled(model, hosted)
    assert said.code == 1
    assert "the environment variable ROBOFLOW_API_KEY is not set" in said.err


def test_a_device_without_onnx_runtime_is_told_so_before_anything_is_fetched(
    model: Commands, hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.model.trial.find_spec", lambda _: None)
    said = pulled(model, hosted)
    assert said.err == (
        "nothing on this device runs weights.onnx: onnxruntime is missing; run: "
        f"{sys.executable} -m pip install 'vedette[onnx]'\n"
    )
    assert hosted.since("downloads") == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(b"<html>hi</html>", headers={"Content-Type": "text/html"}), "a web page came in place of an answer"),
        (Answer(b'{"error": "endpoint not found"}'), "is none that is known here (endpoint not found)"),
        (Answer(b"{"), "is none that is known here ({)"),
        (Answer(b'{"modelMetadata": {"modelPackages": 3}}'), "is none that is known here"),
        (Answer(b'{"message": "a teapot"}', 418), "the platform refused with status 418 (a teapot)"),
        (Answer(b'{"modelMetadata": {"modelPackages": [3, {}]}}'), "but none at all"),
    ],
)
def test_an_answer_that_is_none_is_a_sentence(answer: Answer, said: str, model: Commands) -> None:
    with serving(lambda _: answer) as server:
        done = model("pull", "toys/3", "--url", server.url)
    assert done.code == 1
    assert said in done.err


def test_files_without_tls_are_not_taken_from_a_platform_with_it() -> None:
    source = pull.Source("a/1", "https://api.example", "k", "a")
    assert pull._safe("https://storage.example/x", source) == "https://storage.example/x"
    with pytest.raises(AgentError, match="an address without TLS"):
        pull._safe("http://storage.example/x", source)


# Which package


def described(kind: str = "onnx", precision: str = "fp32", static_batch: int | None = 1) -> WeightsPackage:
    return WeightsPackage(f"{kind}-{precision}-{static_batch}", kind, precision, static_batch, files=())


def test_the_most_precise_that_takes_one_picture_is_chosen() -> None:
    offered = [
        described("trt"),
        described(precision="fp16"),
        described(static_batch=8),
        described(static_batch=None),
        described(),
        described(precision="int8"),
    ]
    for count, wanted in ((6, "onnx-fp32-1"), (4, "onnx-fp32-None"), (2, "onnx-fp16-1")):
        assert platform.best(HostedWeights("yolov8", None, tuple(offered[:count])), "a/1").id == wanted


def test_a_model_without_onnx_weights_is_said_what_there_is() -> None:
    offered = (described("trt", "fp16"), described("torch", "fp32"), described(static_batch=8))
    with pytest.raises(AgentError) as caught:
        platform.best(HostedWeights("yolov8", None, offered), "a/1")
    assert "no ONNX weights of a/1 that take one picture at a time, but " in str(caught.value)
    assert "onnx (fp32, 8 pictures at a time), torch (fp32), trt (fp16)" in str(caught.value)


# How pictures are prepared


def prepared(tmp_path: Path, steps: dict[str, Any] | None = None, **network: Any) -> Input:
    usual = {
        "training_input_size": {"width": 640, "height": 480},
        "dynamic_spatial_size_supported": False,
        "color_mode": "rgb",
        "resize_mode": "stretch",
        "input_channels": 3,
        "scaling_factor": 255,
    }
    path = tmp_path / "inference_config.json"
    path.write_text(json.dumps({"network_input": usual | network, "image_pre_processing": steps}), encoding="utf-8")
    return preparation.read(path)


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        ({}, Input(640, 480, Resize.STRETCH, 0)),
        ({"resize_mode": "letterbox"}, Input(640, 480, Resize.LETTERBOX, 0)),
        ({"resize_mode": "letterbox", "padding_value": 114}, Input(640, 480, Resize.LETTERBOX, 114)),
        ({"resize_mode": "letterbox-reflect-edges", "padding_value": 127}, Input(640, 480, Resize.LETTERBOX, 127)),
        ({"resize_mode": "fit-longer-edge"}, Input(640, 480, Resize.LETTERBOX, 127)),
        ({"color_mode": "bgr"}, Input(640, 480, Resize.STRETCH, 0, bgr=True)),
    ],
)
def test_the_hosted_way_is_ours(network: dict[str, Any], wanted: Input, tmp_path: Path) -> None:
    assert prepared(tmp_path, **network) == wanted


@pytest.mark.parametrize("scale", [None, 1, 255, 127.5])
@pytest.mark.parametrize(
    "normalisation", [None, ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([104, 117, 123], [1, 1, 1])]
)
def test_a_value_becomes_the_number_that_the_hosted_model_reads(
    scale: float | None, normalisation: tuple[list[float], list[float]] | None, tmp_path: Path
) -> None:
    ours = prepared(tmp_path, scaling_factor=scale, normalization=normalisation)
    means, deviations = normalisation or ([0] * 3, [1] * 3)
    for value in (0, 1, 114, 255):
        for channel in range(3):
            theirs = (value / (scale or 1) - means[channel]) / deviations[channel]
            assert (value / 255 - ours.mean[channel]) / ours.std[channel] == pytest.approx(theirs, abs=1e-4, rel=1e-6)


@pytest.mark.parametrize(
    ("steps", "network", "said"),
    [
        ({"grayscale": {"enabled": True}}, {}, "they are turned to grey (grayscale)"),
        ({"contrast": {"enabled": True, "type": "Contrast Stretching"}}, {}, "they are changed in contrast"),
        ({"static-crop": {"enabled": True, "x_min": 1}}, {}, "they are cut to a fixed part (static-crop)"),
        (None, {"resize_mode": "center-crop"}, "only the middle of a picture is used, and that is not resized"),
        (None, {"resize_mode": "zigzag"}, "they are resized in a way that is not known here (zigzag)"),
        (None, {"input_channels": 4}, "they have 4 channels"),
        (None, {"training_input_size": None}, "they keep their own size"),
        (None, {"color_mode": "hsv"}, "their colours are hsv"),
    ],
)
def test_what_cannot_be_done_here_is_refused_by_name(
    steps: dict[str, Any] | None, network: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(AgentError) as caught:
        prepared(tmp_path, steps, **network)
    assert said in str(caught.value)


def test_steps_that_are_switched_off_and_turning_upright_are_no_hindrance(tmp_path: Path) -> None:
    steps = {"grayscale": {"enabled": False}, "auto-orient": {"enabled": True}, "contrast": None}
    assert prepared(tmp_path, steps) == Input(640, 480, Resize.STRETCH, 0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"network_input": 3}', '{"network_input": {}}', "[" * 100_000])
def test_a_preparation_that_is_none_is_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "inference_config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AgentError, match=r"inference_config\.json of the hosted model is not as it should be"):
        preparation.read(path)


def test_keypoints_have_the_names_of_the_platform_by_number(tmp_path: Path) -> None:
    path = tmp_path / "keypoints_metadata.json"
    points = {"10": "tail", "0": "nose", "2": "ear"}
    path.write_text(json.dumps([{"object_class_id": 0, "keypoints": points, "edges": []}]), encoding="utf-8")
    assert preparation.keypoints(path) == ("nose", "ear", "tail")
    two = [{"object_class_id": 0, "keypoints": points}, {"object_class_id": 1, "keypoints": {"0": "wheel"}}]
    path.write_text(json.dumps(two), encoding="utf-8")
    assert preparation.keypoints(path) == (), "classes that differ have no names in common"
    path.write_text("{}", encoding="utf-8")
    assert preparation.keypoints(path) == ()
    path.write_text('[{"keypoints": {"nose": 1}}]', encoding="utf-8")
    with pytest.raises(AgentError, match=r"keypoints_metadata\.json"):
        preparation.keypoints(path)
