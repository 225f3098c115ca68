"""The configuration: the example, and what is said of every kind of mistake."""

import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agent import config, document, plugins
from agent.backfill.doubt import Doubt, Judge
from agent.budget import Caps
from agent.care.relief import Policy
from agent.care.strain import Limits
from agent.config import BackfillConfig, Config
from agent.document import Document, KeyPath
from agent.errors import ConfigError
from agent.flow import Route
from agent.mistakes import Mistakes
from agent.options import Options, OutboxOptions, Secret
from agent.router import Mode, Prefer
from agent.snapshot_options import SnapshotRuleConfig, SnapshotsConfig
from agent.snapshots import album
from agent.snapshots.trigger import Rule

EXAMPLE = Path(__file__).parents[2] / "config" / "vedette.example.yaml"

GOOD = """\
agent: yard
cameras:
  - name: gate
    source: {type: synthetic}
engines:
  local: {type: tflite, model: m.tflite}
  cloud: {type: roboflow, model: coco/7, api_key: {env: KEY}}
sinks:
  - {type: stdout}
"""


def parsed(text: str) -> Config:
    return config.validate(document.parse(text, name="f.yaml"))


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return caught.value.problems


def only(text: str) -> str:
    found = problems(text)
    assert len(found) == 1, found
    return found[0]


def source(text: str) -> str:
    return GOOD.replace("{type: synthetic}", text)


def sink(text: str) -> str:
    return GOOD.replace("{type: stdout}", text)


def api_key(text: str) -> str:
    return GOOD.replace("{env: KEY}", text)


# What is right


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (GOOD.replace("{type: stdout}", "{type: mqtt, host: h, tls: }"), "sinks[0].tls"),
        (GOOD.replace("{type: stdout}", "{type: jsonl, rotate: }"), "sinks[0].rotate"),
        (GOOD + "snapshots:\n", "snapshots"),
    ],
)
def test_a_section_that_was_left_empty_is_a_mistake_and_not_switched_off_in_silence(text: str, key: str) -> None:
    assert f"{key}: is empty; write {{}} for its defaults, or take the key out to leave it off" in only(text)


def test_a_short_file_gets_its_defaults() -> None:
    settings_ = parsed(GOOD)
    assert settings_.agent == "yard"
    assert settings_.routing.deadline_ms == 500
    assert settings_.mode is Mode.AUTO
    assert settings_.log.level == "info"


def test_without_a_name_the_agent_has_the_machine_s() -> None:
    name = parsed(GOOD.replace("agent: yard\n", "")).agent
    assert re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]{0,62}", name)


@pytest.mark.parametrize(
    ("host", "name"),
    [("pi.local", "pi-local"), ("-_-", "agent"), ("", "agent"), ("é-cam", "cam"), ("x" * 80, "x" * 63), ("a_1", "a_1")],
)
def test_a_machine_s_name_becomes_one_that_topics_and_files_can_hold(
    host: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert parsed(GOOD.replace("agent: yard\n", "")).agent == name


@pytest.mark.parametrize(
    ("engine", "mode"),
    [
        ("  cloud: {type: roboflow, model: coco/7, api_key: {env: KEY}}\n", Mode.LOCAL_ONLY),
        ("  local", Mode.CLOUD_ONLY),
    ],
)
def test_with_one_engine_there_is_nothing_to_choose(engine: str, mode: Mode) -> None:
    line = next(line for line in GOOD.splitlines(keepends=True) if line.startswith(engine.rstrip("\n")))
    assert parsed(GOOD.replace(line, "")).mode is mode


def test_anchors_and_merge_keys_work() -> None:
    text = GOOD.replace(
        "    source: {type: synthetic}\n",
        "    source: &drawn {type: synthetic, width: 320, seed: 1}\n"
        "  - name: yard\n    source:\n      <<: *drawn\n      seed: 2\n",
    )
    first, second = (camera.source for camera in parsed(text).cameras)
    assert (first.width, first.seed) == (320, 1)  # type: ignore[attr-defined]
    assert (second.width, second.seed) == (320, 2)  # type: ignore[attr-defined]


def test_a_mistake_that_came_through_an_anchor_is_named_where_it_stands() -> None:
    text = "x: &drawn {type: synthetic, fps: 0}\n" + source("*drawn")
    assert "f.yaml:1: cameras[0].source.fps: should be greater than 0 (it is 0)" in problems(text)


def test_caps_and_preference_reach_the_router_and_the_budget() -> None:
    text = GOOD + "routing: {prefer: cost, data_cap_mb_per_day: 200, credits_per_month: 20}\n"
    routing = parsed(text).routing
    assert routing.prefer is Prefer.COST
    assert routing.caps == Caps(data_mb_per_day=200.0, credits_per_month=20.0)


def test_a_deadline_that_the_hosted_api_can_hardly_meet_is_noted_but_allowed() -> None:
    assert parsed(GOOD).notes == ()
    (note,) = parsed(GOOD + "routing: {deadline_ms: 300}\n").notes
    assert "350 or more" in note
    assert parsed(GOOD + "routing: {deadline_ms: 300, mode: local_only}\n").notes == ()


# What is wrong


@pytest.mark.parametrize(("key", "value"), [("data_cap_mb_per_day", "0.2"), ("credits_per_month", "0.0001")])
def test_a_cap_that_could_never_pay_for_a_frame_is_refused(key: str, value: str) -> None:
    (problem,) = problems(GOOD + f"routing: {{{key}: {value}}}\n")
    assert f"routing.{key}: give 0 for no cap, or at least" in problem


@pytest.mark.parametrize("value", [".inf", ".nan", "-1", "much"])
def test_a_cap_is_a_number(value: str) -> None:
    assert len(problems(GOOD + f"routing: {{data_cap_mb_per_day: {value}}}\n")) == 1


def test_all_mistakes_come_at_once_in_the_order_of_their_lines() -> None:
    text = """\
agent: yard north
cameras:
  - name: gate
    source: {type: rtspp}
  - nam: yard
    source: {type: synthetic, fps: -1, width: wide}
engines:
  local: {type: tflite}
sinks: []
routing:
  deadline_ms: 5
  mode: atuo
loging: {level: debug}
"""
    expected = """\
f.yaml:1: agent: may hold letters, digits, - and _ only, begins with a letter or digit, and has at most 63 of them \
(it is 'yard north')
f.yaml:4: cameras[0].source.type: 'rtspp' is unknown; did you mean rtsp? \
Allowed: csi, image_folder, mjpeg, picamera, rtsp, synthetic, v4l2, video_file
f.yaml:5: cameras[1].name: is missing: the camera's name in results and topics: letters, digits, - and _
f.yaml:5: cameras[1].nam: there is no such key here; did you mean name? \
Allowed: crop, fps, lines, masks, motion, name, rotate, schedule, source, tracking, zones
f.yaml:6: cameras[1].source.width: should be a whole number (it is 'wide')
f.yaml:6: cameras[1].source.fps: should be greater than 0 (it is -1)
f.yaml:8: engines.local.model: is missing: a model file, a model package folder, \
or the name of an installed or shipped one
f.yaml:9: sinks: needs at least one item
f.yaml:11: routing.deadline_ms: should be greater than or equal to 50 (it is 5)
f.yaml:12: routing.mode: 'atuo' is unknown; did you mean auto? Allowed: auto, local_only, cloud_only
f.yaml:13: loging: there is no such key here; did you mean log? Allowed: agent, backfill, cameras, care, engines, \
log, page, remote, routing, sinks, snapshots
"""
    assert list(problems(text)) == expected.splitlines()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            source("5"),
            "f.yaml:4: cameras[0].source: should be a section: keys with values, indented below it (it is 5)",
        ),
        (
            source(""),
            "f.yaml:4: cameras[0].source: should be a section: keys with values, indented below it (it is noth",
        ),
        (
            source("{}"),
            "f.yaml:4: cameras[0].source: needs a type: one of csi, image_folder, mjpeg, picamera, rtsp, synthetic",
        ),
        (source("{type: }"), "f.yaml:4: cameras[0].source.type: needs a type: one of csi, image_folder"),
        (source("{type: [1]}"), "f.yaml:4: cameras[0].source.type: '[1]' is unknown; allowed: csi, image_folder"),
        (source("{type: 5}"), "f.yaml:4: cameras[0].source.type: '5' is unknown; allowed: csi, image_folder"),
        (source("{type: RTSP}"), "'RTSP' is unknown; did you mean rtsp?"),
        (source("{type: v4l2}"), "f.yaml:4: cameras[0].source.device: is missing: its path, best /dev/v4l"),
        (source("{type: v4l2, device: 1.5}"), "f.yaml:4: cameras[0].source.device: should be text"),
        (source("{type: v4l2, device: [0]}"), "f.yaml:4: cameras[0].source.device: should be text"),
        (
            source("{type: rtsp, url: cam}"),
            "cameras[0].source.url: needs its scheme and host: rtsp://HOST/PATH or rtsps://HOST/PATH",
        ),
        (
            source("{type: mjpeg, url: 'rtsp://h/1'}"),
            "source.url: needs its scheme and host: http://HOST/PATH or https://HOST",
        ),
        (source("{type: csi, camera: 'a ! b'}"), "f.yaml:4: cameras[0].source.camera: "),
        (source("{type: rtsp, url: 'rtsp://h/1', password: {env: X}}"), "a password needs a username beside it"),
        (
            source("{type: v4l2, v4l2: 1, device: 0}"),
            "f.yaml:4: cameras[0].source.v4l2: there is no such key here",
        ),
        (source("{type: synthetic, fps: .inf}"), "cameras[0].source.fps: should be a finite number (it is inf)"),
        (source("{type: synthetic, 1: 2}"), "f.yaml:4: cameras[0].source.1: there is no such key here; allowed: fps"),
        (source("{type: video_file, path: x, loop: maybe}"), "loop: should be true or false (it is 'maybe')"),
        (source("{type: video_file, path: ~nobody_here/x}"), "source.path: there is no such user, or no home folder"),
        (source('{type: video_file, path: "a\\0b"}'), "source.path: holds a NUL character"),
        (GOOD.replace("name: gate", "name: no"), "cameras[0].name: should be text; put it in quotes (it is False)"),
        (GOOD.replace("name: gate", "name: 12"), "cameras[0].name: should be text; put it in quotes (it is 12)"),
        (
            GOOD.replace("type: tflite", "type: tflit"),
            "f.yaml:6: engines.local.type: 'tflit' is unknown; did you mean tfl",
        ),
        (GOOD.replace("type: tflite, ", ""), "f.yaml:6: engines.local: needs a type: one of onnx, tensorrt, tflite"),
        (
            GOOD.replace("type: tflite,", "type: tensorrt, threads: 2,"),
            "f.yaml:6: engines.local.threads: there is no such key here",  # a GPU has none to give
        ),
        (GOOD.replace("coco/7", "yolov8n"), "f.yaml:7: engines.cloud.model: give PROJECT/VERSION"),
        (sink("stdout"), "f.yaml:9: sinks[0]: should be a section"),
        (sink("{typ: stdout}"), f"f.yaml:9: sinks[0]: needs a type: one of {', '.join(plugins.names('sinks'))}"),
        (
            GOOD.replace("\n  - {type: stdout}", " 5"),
            "f.yaml:8: sinks: should be a list: each item on a line of its own",
        ),
        (GOOD.replace("\n  - {type: stdout}", ""), "f.yaml:8: sinks: should be a list"),
        (GOOD + "routing: fast\n", "f.yaml:10: routing: should be a section"),
        (GOOD + "log: {level: DEBUG}\n", "f.yaml:10: log.level: 'DEBUG' is unknown; did you mean debug?"),
        (GOOD + "log: {level: info, level: debug}\n", "f.yaml:10: log.level: stands twice, the first time in line 10"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(text: str, said: str) -> None:
    assert said in only(text)


def test_a_type_that_is_a_list_does_not_hide_the_other_mistakes() -> None:
    first, second = problems(GOOD.replace("type: roboflow,", "type: [roboflow], modl: x,"))
    assert first.startswith("f.yaml:7: engines.cloud.type: ")
    assert second.startswith("f.yaml:7: engines.cloud.modl: there is no such key here; did you mean model?")


def test_engines_without_any_engine_are_refused() -> None:
    text = re.sub("engines:\n.*\n.*\n", "engines: {}\n", GOOD)
    assert only(text) == "f.yaml:5: engines: give local, cloud or both"


@pytest.mark.parametrize("route", ["local", "cloud"])
def test_a_mode_that_needs_an_engine_that_is_not_there_is_refused(route: str) -> None:
    text = re.sub(f"  {route}: .*\n", "", GOOD) + f"routing:\n  mode: {route}_only\n"
    assert only(text) == f"f.yaml:9: routing: mode is {route}_only but engines.{route} is not given"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("  cloud:", "  #cloud:"), "give engines.cloud, or remove this"),
        (GOOD.replace("  local:", "  #local:"), "give engines.local, or remove this"),
        (f"{GOOD}routing: {{mode: local_only}}\n", "needs routing.mode auto, and it is local_only"),
        (f"{GOOD}routing: {{mode: cloud_only}}\n", "needs routing.mode auto, and it is cloud_only"),
    ],
)
def test_a_second_look_needs_both_engines_and_a_choice_between_them(text: str, said: str) -> None:
    found = only(f"{text}backfill: {{}}\n")
    assert ": backfill: " in found
    assert said in found


def test_a_second_look_has_defaults_that_keep_pictures_small_and_few() -> None:
    backfill = parsed(f"{GOOD}backfill: {{contribute: {{project: yard}}}}\n").backfill
    assert backfill is not None
    assert backfill.doubt == Doubt(below=0.6, judge=Judge.LOWEST, empty=False)
    assert (backfill.limits.size_bytes, backfill.limits.age_s, backfill.every_s) == (100_000_000, 86_400, 10)
    assert backfill.contribute is not None
    assert (backfill.contribute.per_hour, backfill.contribute.per_day) == (20, 100)
    assert parsed(GOOD).backfill is None


@pytest.mark.parametrize("url", ["https://u:p@api.roboflow.com", "https://api.roboflow.com/?api_key=k"])
def test_a_key_in_the_platforms_address_is_refused_and_not_repeated(url: str) -> None:
    found = only(f'{GOOD}backfill: {{contribute: {{project: yard, url: "{url}"}}}}\n')
    assert "backfill.contribute.url: give the server's address alone" in found
    assert url not in found


def test_two_cameras_of_one_name_are_refused() -> None:
    text = GOOD.replace("engines:", "  - {name: gate, source: {type: synthetic}}\nengines:")
    assert only(text) == "f.yaml:2: cameras: two cameras are called gate; give each a name of its own"


def test_duplicate_keys_do_not_hide_the_other_mistakes() -> None:
    found = problems(GOOD + "agent: shed\nlogg: {}\n")
    assert found[0] == "f.yaml:10: agent: stands twice, the first time in line 1; keep one"
    assert found[1].startswith("f.yaml:11: logg: there is no such key here; did you mean log?")


def test_a_long_value_is_not_repeated_whole() -> None:
    assert len(only(GOOD.replace("name: gate", f"name: {'x' * 5000}"))) < 300


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- a\n", "words\n"])
def test_a_file_without_sections_holds_no_configuration(text: str) -> None:
    assert only(text) == "f.yaml: holds no configuration; start from the example in the README"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\xff", "is not UTF-8 text"),
        (b"a: [", "is not valid YAML"),
        (b"", "holds no configuration"),
    ],
)
def test_a_file_that_is_no_configuration_is_a_config_error(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "vedette.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{path}.*{said}"):
        config.load(path)


def test_a_directory_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        config.load(tmp_path)


# Secrets


@pytest.mark.parametrize(
    "bare", ["hunter2", "'hunter2'", "[hunter2]", "{hunter2}", "{env: [hunter2]}", "{key: hunter2}"]
)
def test_a_secret_that_stands_in_the_file_is_never_repeated(bare: str) -> None:
    said = only(api_key(bare))
    assert said == "f.yaml:7: engines.cloud.api_key: give a reference, not the secret: env, file or credential"


@pytest.mark.parametrize("bare", ["48151623", "{env: 48151623}", "481.51623", "481_516_23"])
def test_a_secret_of_digits_is_never_repeated(bare: str) -> None:
    assert "481" not in only(api_key(bare))


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://viewer:hunter2@192.0.2.1/x",
        "rtsp://viewer:hun/ter2hunter2@192.0.2.1/x",
        "rtsp://viewer:hunter2\u2100@192.0.2.1/x",
        "rtsp://hunter2@192.0.2.1/x",
        "rtsp://viewer:hunter2@[192.0.2.1/x",
    ],
)
def test_a_camera_address_with_a_user_in_it_is_refused_and_not_repeated(url: str) -> None:
    said = only(source(f"{{type: rtsp, url: '{url}'}}"))
    assert "hunter2" not in said
    assert "keep user and password out of url" in said


@pytest.mark.parametrize("url", ["htp://u:hunter2@h/", "http://u:hunter2@[h/", "http://u:hunter2/x@h/", "u:hunter2@h"])
def test_a_password_in_a_wrong_api_address_is_not_repeated(url: str) -> None:
    said = only(GOOD.replace("{type: roboflow,", f"{{type: roboflow, url: '{url}',"))
    assert said.startswith("f.yaml:7: engines.cloud.url: ")
    assert "hunter2" not in said


def test_a_secret_needs_exactly_one_reference() -> None:
    for given_ in ("{}", "{env: A, file: b}"):
        assert only(api_key(given_)) == "f.yaml:7: engines.cloud.api_key: give exactly one of env, file, credential"


# Whatever it is, it is a Config or a ConfigError

_WORDS = ("synthetic", "rtsp", "tflite", "roboflow", "mqtt", "stdout", "auto", "gate", "rtsp://h/x", "", "~x", "\x00")
_KEYS = (
    "type",
    "name",
    "source",
    "url",
    "env",
    "model",
    "path",
    "fps",
    "local",
    "cloud",
    "tls",
    "deadline_ms",
    "rtsp",
)
_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(_WORDS), st.just(10**400)
)
_DATA = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(_KEYS), st.text(max_size=3)), inner, max_size=4),
    ),
    max_leaves=8,
)
_BASE: dict[str, Any] = yaml.safe_load(GOOD)


def _places(value: object, path: KeyPath = ()) -> list[KeyPath]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in _places(inner, (*path, key)))]


def _with(value: Any, path: KeyPath, new: object) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(copy[path[0]], path[1:], new)
    return copy


def _is_config_or_config_error(page: Document) -> None:
    try:
        config.validate(page)
    except ConfigError as error:
        found = error.problems
    else:
        return
    assert found
    assert all(problem.startswith(page.name) for problem in found)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(_places(_BASE)), _DATA)
def test_a_good_file_with_anything_at_any_place_is_a_config_or_a_config_error(path: KeyPath, new: object) -> None:
    data = _with(_BASE, path, new)
    _is_config_or_config_error(Document(name="f", data=data, lines={}, duplicates=()))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(_places(_BASE)), st.sampled_from(_KEYS), _DATA)
def test_a_good_file_with_any_key_more_is_a_config_or_a_config_error(path: KeyPath, key: str, new: object) -> None:
    here: Any = _BASE
    for step in path:
        here = here[step]
    data = _with(_BASE, path, {**here, key: new} if isinstance(here, dict) else [here, new])
    _is_config_or_config_error(Document(name="f", data=data, lines={}, duplicates=()))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_good_file_that_was_cut_and_typed_into_is_a_config_or_a_config_error(data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(begin, min(len(GOOD), begin + 30)))
    typed = data.draw(st.text(alphabet="a1:-[]{}&*!|>'\"%@#,.<~= \n\t", max_size=8))
    try:
        page = document.parse(GOOD[:begin] + typed + GOOD[end:], name="f")
    except ConfigError:
        return
    _is_config_or_config_error(page)


# The example


_LOCAL = re.compile(r"^  local:\n(?: {4}.*\n)+", re.MULTILINE)


def _enabled(text: str, *, local: int = 0) -> str:
    """The example with every key in use that it leaves out; of its on-device engines only the one of that number."""
    enabled = re.sub(r"^( *)#(?=\S)", r"\1", text, flags=re.MULTILINE)
    for number, other in enumerate(_LOCAL.findall(enabled)):
        enabled = enabled if number == local else enabled.replace(other, "\n" * other.count("\n"))
    return enabled


def _locals() -> list[dict[str, Any]]:
    """All on-device engines that the example shows."""
    text = EXAMPLE.read_text(encoding="utf-8")
    count = len(_LOCAL.findall(re.sub(r"^( *)#(?=\S)", r"\1", text, flags=re.MULTILINE)))
    pages = (document.parse(_enabled(text, local=number), name="example") for number in range(count))
    return [page.data["engines"]["local"] for page in pages]


@pytest.fixture(scope="module")
def whole() -> Document:
    return document.parse(_enabled(EXAMPLE.read_text(encoding="utf-8")), name="example")


def test_the_example_loads_as_it_stands_without_network_or_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOFLOW_API_KEY", raising=False)
    monkeypatch.setattr("socket.socket", None)
    assert config.load(EXAMPLE).mode is Mode.AUTO


@pytest.mark.parametrize(
    "other", [r"    model: yolov8x-640\n", r"    workflow:\n( {6}.*\n)+"], ids=["workflow", "model"]
)
def test_the_example_loads_with_every_key_in_use_of_a_model_and_a_workflow_one(other: str) -> None:
    text, count = re.subn(other, "", _enabled(EXAMPLE.read_text(encoding="utf-8")))
    assert count == 1
    assert len(config.validate(document.parse(text, name="example")).cameras) == 8


def _keys_of(options: type[BaseModel], prefix: str) -> set[str]:
    keys = {f"{prefix}.{name}" for name in options.model_fields}
    for name, field in options.model_fields.items():
        inner = [kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if _is_section(kind)]
        keys = keys.union(*(_keys_of(kind, f"{prefix}.{name}") for kind in inner if kind is not Secret))
    return keys


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _keys_in(data: dict[str, Any], prefix: str) -> set[str]:
    inner = (_keys_in(value, f"{prefix}.{key}") for key, value in data.items() if isinstance(value, dict))
    return {f"{prefix}.{key}" for key in data}.union(*inner)


_PLUGINS: dict[str, tuple[type[Options], ...]] = {
    "source": plugins.options_of("sources"),
    "local": plugins.options_of("engines", route=Route.LOCAL),
    "cloud": plugins.options_of("engines", route=Route.CLOUD),
    "sink": plugins.options_of("sinks"),
}


def test_every_key_of_every_plugin_stands_in_the_example(whole: Document) -> None:
    data = whole.data
    used: dict[str, list[dict[str, Any]]] = {
        "source": [camera["source"] for camera in data["cameras"]],
        "local": _locals(),
        "cloud": [data["engines"]["cloud"]],
        "sink": data["sinks"],
    }
    for place, choices in _PLUGINS.items():
        for options in choices:
            name = options.__module__.rpartition(".")[2]
            shown = set().union(*(_keys_in(section, name) for section in used[place] if section["type"] == name))
            if place == "local":
                assert {f"{name}.type", f"{name}.model"} <= shown
                shown |= _keys_in(data["engines"]["local"], name)  # what all of them have is shown once
            assert {key for key in _keys_of(options, name) if not key.startswith(f"{name}.outbox.")} <= shown
    assert _keys_of(OutboxOptions, "outbox") <= set().union(*(_keys_in(outbox, "outbox") for outbox in _outboxes(data)))


def _outboxes(data: dict[str, Any]) -> list[dict[str, Any]]:
    """All sinks have the same keys there, and one of them shows what they are."""
    return [sink["outbox"] for sink in data["sinks"]]


def test_every_other_key_stands_in_the_example(whole: Document) -> None:
    assert set(whole.data) == set(Config.model_fields)
    for name in ("engines", "routing", "page", "remote", "log"):
        assert set(whole.data[name]) == set(getattr(config, f"{name.title()}Config").model_fields)


def test_every_key_of_the_back_fill_stands_in_the_example(whole: Document) -> None:
    assert _keys_of(BackfillConfig, "backfill") == _keys_in(whole.data["backfill"], "backfill")


def test_snapshots_reach_the_trigger_and_the_album() -> None:
    text = (
        "snapshots: {max_mb: 2, rules: [{}, {cameras: [gate], classes: [person, 人], every_s: 0, annotate: false}]}\n"
    )
    snapshots = parsed(GOOD + text).snapshots
    assert snapshots is not None
    first, second = (rule.rule for rule in snapshots.rules)
    assert first == Rule(frozenset(), frozenset(), 0.5, 10.0, annotate=True)
    assert second == Rule(frozenset({"gate"}), frozenset({"person", "人"}), 0.5, 0.0, annotate=False)
    assert snapshots.limits == album.Limits(2_000_000, math.inf, 300_000_000)
    assert parsed(GOOD).snapshots is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("{}", "snapshots.rules: is missing"),
        ("{rules: []}", "snapshots.rules: needs at least one item"),
        ("{rules: [{cameras: []}]}", "snapshots.rules[0].cameras: needs at least one item"),
        ("{rules: [{classes: person}]}", "snapshots.rules[0].classes: should be a list"),
        ("{rules: [{class: [person]}]}", "there is no such key here; did you mean classes?"),
        ("{rules: [{confidence: 60}]}", "snapshots.rules[0].confidence: should be less than 1 (it is 60)"),
        ("{rules: [{cameras: [gat, gate, yard]}]}", "snapshots: no camera is called gat, yard; there are gate"),
        ("{max_mb: 0, rules: [{}]}", "snapshots.max_mb: should be greater than or equal to 1 (it is 0)"),
    ],
)
def test_a_mistake_in_the_snapshots_is_named(options: str, said: str) -> None:
    assert said in only(f"{GOOD}snapshots: {options}\n")


def test_every_key_of_the_snapshots_stands_in_the_example(whole: Document) -> None:
    section = whole.data["snapshots"]
    assert set(section) == set(SnapshotsConfig.model_fields)
    assert set().union(*section["rules"]) == set(SnapshotRuleConfig.model_fields)


def test_all_three_ways_to_a_secret_stand_in_the_example() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert all(
        re.search(rf"^ +\w+: {{{way}: \w", text, re.MULTILINE) or f"{{{way}: " in text for way in Secret.model_fields
    )


def _explained(whole: Document) -> list[tuple[KeyPath, str]]:
    """Every key of the example that stands on a line of its own, with the comment above it."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    found = []
    for path, number in whole.lines.items():
        if isinstance(path[-1], int) or path[-1] in Secret.model_fields:
            continue
        first = number - 1
        while re.match(r" *# ", lines[first - 1]):
            first -= 1
        found.append((path, " ".join(line.strip(" #") for line in lines[first : number - 1])))
    return found


def test_every_key_of_the_example_has_a_comment_above_it(whole: Document) -> None:
    for path, comment in _explained(whole):
        assert len(comment) > 5, document.dotted_path(path)


@cache
def schema() -> dict[str, Any]:
    return config.json_schema()


def _default(whole: Document, path: KeyPath) -> Any:
    """The default of one key; None for a section, an item, and a key that is needed or may be left out."""
    field = Mistakes(whole, schema())._section(path).get(str(path[-1]), {})
    return None if isinstance(field.get("default"), dict) else field.get("default")


def test_the_defaults_that_the_example_states_are_the_real_ones(whole: Document) -> None:
    stated = 0
    for path, comment in _explained(whole):
        default = _default(whole, path)
        if default is not None:
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            assert f"Default: {shown}" in comment, document.dotted_path(path)
            stated += 1
        else:
            assert "Default: " not in comment, document.dotted_path(path)
    assert stated > 20


def test_the_limits_that_the_example_states_are_the_real_ones(whole: Document) -> None:
    for path, comment in _explained(whole):
        mistakes = Mistakes(whole, schema())
        field = mistakes._resolve(mistakes._section(path).get(str(path[-1]), {}), None)
        for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if name in field:
                limit = {"exclusiveMinimum": "above ", "exclusiveMaximum": "below "}.get(name, "") + f"{field[name]:g}"
                assert re.search(rf"(?<![\w-]){limit}\b", comment), f"{document.dotted_path(path)}: {limit}"


def test_care_holds_back_frames_where_the_machine_would_slow_itself_down_unless_told_otherwise() -> None:
    care = parsed(GOOD).care
    assert (care.policy, care.limits, care.metered) == (Policy.LOWER_FPS, Limits(), ())
    assert parsed(f"{GOOD}care: {{policy: none}}\n").care.policy is Policy.NONE


def test_care_that_shifts_to_the_cloud_needs_one() -> None:
    said = only(GOOD.replace("  cloud:", "  #cloud:") + "care: {policy: both}\n")
    assert said.startswith("f.yaml:")
    assert said.endswith(": care: policy both needs both engines and routing.mode auto; give lower_fps or none instead")


def test_a_key_that_the_example_leaves_out_is_shown_with_its_default(whole: Document) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for path, number in whole.lines.items():
        default = _default(whole, path)
        if default is not None and re.match(r" *#\w", lines[number - 1]):
            value: Any = whole.data
            for step in path:
                value = value[step]
            assert value == default, document.dotted_path(path)


def test_the_example_begins_with_the_line_that_gives_editors_the_schema() -> None:
    first = EXAMPLE.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=vedette.schema.json"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{type: stdout}", "{type: stdout}"),
        ("{type: jsonl, path: a.jsonl}", "{type: jsonl, path: ./b/../a.jsonl}"),
        ("{type: jsonl, path: a, what: events}", "{type: csv, path: a}"),
        ("{type: mqtt, host: broker}", "{type: mqtt, host: broker}"),
    ],
)
def test_two_sinks_that_would_be_in_each_others_way_are_refused(one: str, other: str) -> None:
    said = only(sink(f"{one}\n  - {other}"))
    assert said.startswith("f.yaml:8: sinks: two sinks have ")


def test_two_sinks_of_one_type_with_targets_of_their_own_are_fine() -> None:
    brokers = "{type: mqtt, host: one}\n  - {type: mqtt, host: other}"
    parsed(sink(f"{brokers}\n  - {{type: jsonl, path: a}}\n  - {{type: jsonl, path: b}}"))


@pytest.mark.parametrize("host", ["mqtt://broker", "broker:1883"])
def test_a_brokers_host_is_its_name_alone(host: str) -> None:
    assert "the port has its own key" in only(sink(f'{{type: mqtt, host: "{host}"}}'))
