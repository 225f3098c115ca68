"""Writes the model.yaml of a package that is being made. No state."""

from pathlib import Path
from typing import Any, Final, TypeAlias

from agent import document, package
from agent.errors import AgentError
from agent.package import MANIFEST, Input
from agent.shelf import is_name

Keys: TypeAlias = dict[str, Any]
"""model.yaml's keys and values, as YAML has them."""
_LONGEST_NAME: Final = 63
_ORDER: Final = (
    "name",
    "version",
    "description",
    "task",
    "file",
    "variants",
    "input",
    "labels",
    "keypoints",
    "sha256",
    "licence",
    "source",
    "metrics",
)


def ensure_name(name: str) -> None:
    """Raises AgentError: no package can be called `name`, and why."""
    if is_name(name):
        return
    if len(name) > _LONGEST_NAME:
        said = f"{name[:20]}...: is too long for a package's name: {len(name)} letters, {_LONGEST_NAME} are the most"
    else:
        said = f"{name!r} can be no package's name: letters, digits, - and _, a letter or digit first"
    raise AgentError(f"{said}; give another by --name")


def read(folder: Path) -> Keys:
    """The keys of a package that is right. Raises ConfigError."""
    package.about(folder)
    keys: Keys = document.read(folder / MANIFEST).data
    return keys


def write(folder: Path, keys: Keys) -> None:
    """Write model.yaml into `folder`, with the checksum of every file, and without what is empty.

    Raises OSError, or ConfigError: the keys are wrong.
    """
    sums = {name: package.sha256_of(folder / name) for name in files_of(keys)}
    said = {key: {**keys, "sha256": sums}.get(key) for key in _ORDER}
    text = document.written({key: value for key, value in said.items() if value})
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    package.about(folder)


def files_of(keys: Keys) -> list[str]:
    """The names of its files, the default one first."""
    return list(dict.fromkeys([keys["file"], *keys.get("variants", {}).values()]))


def input_keys(shape: Input) -> Keys:
    """The section `input`, without what is usual."""
    usual = Input(shape.width, shape.height)
    keys = {name: getattr(shape, name) for name in ("resize", "padding", "mean", "std", "bgr")}
    unusual = {name: value for name, value in keys.items() if value != getattr(usual, name)}
    return {"width": shape.width, "height": shape.height} | {
        name: list(value) if isinstance(value, tuple) else getattr(value, "value", value)
        for name, value in unusual.items()
    }
