"""Keys of the emulator from the command line and from a file."""

import argparse
from pathlib import Path

import pytest

from agent.emulator import command, keys
from agent.emulator.settings import EmulatorSettings
from agent.errors import ConfigError


def settings_of(*words: str | Path) -> EmulatorSettings:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.settings_from(parser.parse_args([str(word) for word in words]))


def test_keys_of_a_file_join_those_of_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("one\ntwo=paused\n\n", encoding="utf-8")
    settings = settings_of("--key", "zero", "--key-file", path)
    assert settings.keys == keys.parse(["zero", "one", "two=paused"])
    assert settings.key_file == path


def test_a_file_takes_the_place_of_the_well_known_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("one", encoding="utf-8")
    assert settings_of("--key-file", path).keys == keys.parse(["one"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory; check path and rights"),
        (b" \n", "is empty; put a key on each line"),
        (b"\xff\xfe", "is not text; put a key on each line"),
    ],
)
def test_a_file_without_keys_is_a_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        settings_of("--key-file", path)
    assert raised.value.problems == (f"the key file {path} {said}",)
