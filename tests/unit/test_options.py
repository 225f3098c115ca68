"""Options and secrets by reference."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from agent import logs
from agent.errors import ConfigError
from agent.options import Options, Secret


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_HIDDEN", set())


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    logs.setup(stream, level="debug", with_time=False)
    yield stream
    root.handlers[:], root.level = before


def test_a_secret_comes_from_an_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "hunter2\n")
    assert Secret(env="CAMERA_PASSWORD").reveal(tmp_path) == "hunter2"


def test_a_secret_comes_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  hunter2\n", encoding="utf-8")
    assert Secret(file=Path("key")).reveal(tmp_path) == "hunter2"


def test_a_secret_comes_from_a_file_anywhere(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2", encoding="utf-8")
    assert Secret(file=tmp_path / "key").reveal(Path("/nowhere")) == "hunter2"


def test_a_secret_comes_from_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text("hunter2", encoding="utf-8")
    assert Secret(file=Path("~/key")).reveal(Path("/nowhere")) == "hunter2"


def test_a_secret_comes_from_a_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "mqtt_password").write_text("hunter2\n", encoding="utf-8")
    assert Secret(credential="mqtt_password").reveal(Path("/nowhere")) == "hunter2"


def test_a_variable_that_is_not_set_is_named_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAMERA_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="CAMERA_PASSWORD is not set; set it, or name a file"):
        Secret(env="CAMERA_PASSWORD").reveal(tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}/key cannot be read: No such file or directory"):
        Secret(file=Path("key")).reveal(tmp_path)


def test_a_file_that_is_no_text_is_named_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"hunter2\xff")
    with pytest.raises(ConfigError, match=f"{tmp_path}/key is not text") as caught:
        Secret(file=Path("key")).reveal(tmp_path)
    assert "hunter2" not in str(caught.value)


def test_a_credential_outside_systemd_says_what_the_unit_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="LoadCredential=mqtt_password:PATH"):
        Secret(credential="mqtt_password").reveal(tmp_path)


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(" \n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the secret \{file: key\} is empty; put the value there"):
        Secret(file=Path("key")).reveal(tmp_path)


@pytest.mark.parametrize("secret", ["hunter2", "p@ss/w:rd", "günther 2"])
def test_a_revealed_secret_vanishes_from_the_log(secret: str, tmp_path: Path, log: io.StringIO) -> None:
    logger = logging.getLogger("agent.test")
    logger.warning("before %s", secret)
    (tmp_path / "key").write_text(secret, encoding="utf-8")
    Secret(file=Path("key")).reveal(tmp_path)
    logger.warning("after %s", secret)
    before, after = log.getvalue().splitlines()
    assert secret in before
    assert after == "WARNING agent.test: after ***"


def test_a_secret_is_shown_as_its_reference() -> None:
    assert str(Secret(env="KEY")) == "{env: KEY}"
    assert str(Secret(credential="key")) == "{credential: key}"


def test_options_cannot_be_changed() -> None:
    secret = Secret(env="A")
    with pytest.raises(ValidationError, match="frozen"):
        secret.env = "B"  # type: ignore[misc]


class _Paths(Options):
    path: Path = Field(description="a path")


def test_a_path_has_its_home_folder_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _Paths(path=Path("~/video.mp4")).path == tmp_path / "video.mp4"
    assert _Paths(path=Path("video.mp4")).path == Path("video.mp4")


def test_a_path_that_cannot_be_one_is_refused() -> None:
    for path in ("~nobody_of_this_name/x", "a\0b"):
        with pytest.raises(ValidationError):
            _Paths(path=Path(path))
