"""The example configuration as systemd/README.md installs it: under the shipped unit."""

import re
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "config" / "vedette.example.yaml").read_text(encoding="utf-8")
EXAMPLE = yaml.safe_load(TEXT)
LOADED = set(
    re.findall(r"^LoadCredential=(\w+):", (REPOSITORY / "systemd" / "vedette.service").read_text(), re.MULTILINE)
)
SECRETS = ("password", "api_key")


def secrets(section: Any) -> list[dict[str, str]]:
    inner = section.items() if isinstance(section, dict) else enumerate(section) if isinstance(section, list) else ()
    return [secret for key, value in inner for secret in ([value] if key in SECRETS else secrets(value))]


def test_every_secret_is_a_credential_that_the_unit_loads() -> None:
    # A service under DynamicUser= has no variables of a person's shell, and may not read root's files.
    assert {way for secret in secrets(EXAMPLE) for way in secret} == {"credential"}
    assert {secret["credential"] for secret in secrets(EXAMPLE)} <= LOADED
    assert [name for name in LOADED if f"{{credential: {name}}}" not in TEXT] == []


def test_results_are_written_where_the_unit_lets_the_service_write() -> None:
    paths = [sink["path"] for sink in EXAMPLE["sinks"] if "path" in sink]
    assert paths
    assert all(path.startswith("/var/lib/vedette/") for path in [*paths, EXAMPLE["snapshots"]["folder"]])
