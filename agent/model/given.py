"""What a person gives to `vedette model add`: a model file or a package folder, and what they say of it. No state."""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent import package
from agent.errors import AgentError
from agent.model import labels, manifest
from agent.model.files import ensure_regular
from agent.model.manifest import Keys
from agent.model.trial import runtime_of
from agent.package import MANIFEST

_STRANGE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME: Final = 63


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gave."""

    keys: Keys
    files: dict[str, Path]
    """Where each file of the package is now."""


def given(options: argparse.Namespace) -> Given:
    """What the command line of `add` names: a package folder, or a file by itself.

    Raises:
        AgentError: it is not there, or cannot become a package, and why.
    """
    path: Path = options.file
    if not path.exists():
        raise AgentError(f"{path}: no such file or folder")
    if not path.is_dir():
        ensure_regular(path)
    folder = path if path.is_dir() else path.parent
    if path.is_dir() and not (path / MANIFEST).is_file():
        raise AgentError(f"{path}: has no {MANIFEST}; name a model file")
    keys = manifest.read(folder) if (folder / MANIFEST).is_file() else {}
    whole = path.is_dir() or path.name == MANIFEST
    if not whole and path.name not in (manifest.files_of(keys) if keys else ()):
        keys = {"source": path.name}
    if not whole:
        keys = {**keys, "file": path.name, "variants": {}}
    return _with_options(keys, folder, options)


def _with_options(keys: Keys, folder: Path, options: argparse.Namespace) -> Given:
    files = {name: folder / name for name in manifest.files_of(keys)}
    more = dict(_variant(text) for text in options.variant)
    files |= {file.name: file for file in more.values()}
    if len(files) < len(manifest.files_of(keys)) + len(more):
        raise AgentError("two files of a package cannot have one name; rename one of them")
    keys = {
        **keys,
        "name": (keys.get("name") or _name_of(options.file)) if options.name is None else options.name,
        "variants": keys.get("variants", {}) | {word: file.name for word, file in more.items()},
        "licence": options.licence or keys.get("licence"),
    }
    manifest.ensure_name(keys["name"])
    if options.image is not None:
        ensure_regular(options.image)
    if options.labels is not None:
        keys["labels"] = list(labels.read(options.labels))
    for file in files.values():
        _refuse_unusable(file)
    for problem in package.problems(folder) if (folder / MANIFEST).is_file() and "sha256" in keys else ():
        raise AgentError(problem)
    return Given(keys, files)


def _refuse_unusable(file: Path) -> None:
    """Raises AgentError: no engine runs it, or it is none that can be copied and named in model.yaml."""
    runtime_of(file)
    ensure_regular(file)
    try:
        file.name.encode()
    except UnicodeEncodeError as error:
        raise AgentError(f"{file}: the name of this file is not UTF-8 text; rename it, then add it") from error


def _variant(text: str) -> tuple[str, Path]:
    word, equals, file = text.partition("=")
    if not (word and equals and file):
        raise AgentError(f"--variant {text}: give it as WORD=FILE, such as float32=model.tflite")
    ensure_regular(Path(file), f"--variant {text}")
    return word, Path(file)


def _name_of(file: Path) -> str:
    return _STRANGE.sub("-", file.resolve().stem).strip("-_")[:_LONGEST_NAME] or "model"
