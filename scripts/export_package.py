"""The folder of a model package, written whole or not at all. No state."""

import contextlib
import json
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agent.flow import Task
from agent.package import MANIFEST, sha256_of

DEFAULTS = ("int8", "float16", "float32", "onnx")
"""Which variant is used unless the configuration names another: the fastest on a small CPU that is there."""


@dataclass(frozen=True, slots=True)
class Card:
    """What model.yaml says beside the files."""

    name: str
    description: str
    task: Task
    width: int
    """Of the input in pixels."""
    height: int
    resize: str
    """How a picture becomes so large, in the manifest's words; empty: as it is usual."""
    labels: tuple[str, ...]
    keypoints: tuple[str, ...]
    licence: str
    source: str


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` that takes its place when all went well, and is removed otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f".{out.name}.{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
        _exchange(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exchange(folder: Path, out: Path) -> None:
    """`folder` becomes `out`; what was there before comes back when that fails."""
    if not out.exists():
        folder.rename(out)
        return
    before = folder.with_name(f"{folder.name}.before")
    out.rename(before)
    try:
        folder.rename(out)
    except OSError:
        before.rename(out)
        raise
    shutil.rmtree(before, ignore_errors=True)


def describe(folder: Path, card: Card, files: Mapping[str, str]) -> None:
    """Write model.yaml into `folder`; `files`: the variants' names. Each file can be read by everybody."""
    for name in files.values():
        (folder / name).chmod(0o644)  # the quantiser makes its own executable
    page = {
        "name": card.name,
        "description": card.description,
        "task": card.task.value,
        "file": files[next(each for each in DEFAULTS if each in files)],
        "variants": dict(files),
        "input": {"width": card.width, "height": card.height, **({"resize": card.resize} if card.resize else {})},
        "labels": list(card.labels),
        "keypoints": list(card.keypoints),
        "sha256": {name: sha256_of(folder / name) for name in files.values()},
        "licence": card.licence,
        "source": card.source,
    }
    written = {key: value for key, value in page.items() if value not in ("", [])}
    text = yaml.safe_dump(written, sort_keys=False, width=120, allow_unicode=True)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def append_metadata(file: Path, metadata: Mapping[str, Any]) -> None:
    """Put `metadata` behind a TFLite file as a zip archive, as exporters do: a file by itself keeps its class names."""
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("metadata.json", (1980, 1, 1, 0, 0, 0))  # no date: the same input gives the same file
        archive.writestr(entry, json.dumps(metadata, ensure_ascii=False, sort_keys=True))
