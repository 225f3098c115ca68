"""`vedette model add`: a model file, or a package folder, is inspected, run once and installed. No state."""

import argparse
import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent import package
from agent.errors import AgentError
from agent.model import labels, manifest, report, space
from agent.model.manifest import Keys
from agent.model.session import DONE, Commands, Session
from agent.model.trial import Tried, runtime_of, tried
from agent.package import MANIFEST, Resize
from agent.shelf import Shelf, is_name

_STRANGE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME: Final = 63
_MATTERS: Final = ("task", "input", "labels", "keypoints")
"""Keys by which two packages with the same files are read in the same way."""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """See Command."""
    parser = commands.add_parser(
        "add",
        help="inspect and install a .tflite, .onnx or .engine file, or a package folder",
        description="Open a model as the agent would, say what it is, run it once and install it. What the file does "
        "not say, its class names mostly, can be given.",
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help=f"a .tflite, .onnx or .engine file, or a folder with {MANIFEST}")
    add("--name", help="what it is called (letters, digits, - and _); left out: the file's name")
    add(
        "--variant",
        action="append",
        default=[],
        metavar="WORD=FILE",
        help="a further file of the same model, such as float32=m.tflite, used with `variant: WORD`; again for more",
    )
    add("--labels", type=Path, metavar="FILE", help="class names: a line each, or YAML or JSON with `names`, or COCO's")
    add(
        "--resize",
        choices=[each.value for each in Resize],
        help="how the model was shown its training pictures (default: letterbox, as YOLO is trained)",
    )
    add("--licence", default="", metavar="TEXT", help="on what terms it may be used, such as AGPL-3.0; only noted")
    add("--image", type=Path, metavar="PICTURE", help="run it on this picture, and say what it finds")
    add("--dry-run", action="store_true", help="inspect it and install nothing")
    return parser


def run(options: argparse.Namespace, session: Session) -> int:
    """See Command."""
    try:
        given = _given(options)
        with _folder(session.shelf, dry=options.dry_run) as staged:
            _gather(given, staged, dry=options.dry_run)
            return _inspect(given, staged, options, session)
    except OSError as error:
        raise AgentError(f"{options.file}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _Given:
    """What the user gave."""

    keys: Keys
    files: dict[str, Path]
    """Where each file of the package is now."""


def _given(options: argparse.Namespace) -> _Given:
    """A package folder, or a file by itself. Raises AgentError."""
    path: Path = options.file
    if not path.exists():
        raise AgentError(f"{path}: no such file or folder")
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


def _with_options(keys: Keys, folder: Path, options: argparse.Namespace) -> _Given:
    files = {name: folder / name for name in manifest.files_of(keys)}
    more = dict(_variant(text) for text in options.variant)
    files |= {file.name: file for file in more.values()}
    if len(files) < len(manifest.files_of(keys)) + len(more):
        raise AgentError("two files of a package cannot have one name; rename one of them")
    keys = {
        **keys,
        "name": options.name or keys.get("name") or _name_of(options.file),
        "variants": keys.get("variants", {}) | {word: file.name for word, file in more.items()},
        "licence": options.licence or keys.get("licence"),
    }
    if not is_name(keys["name"]):
        raise AgentError(f"{keys['name']!r} can be no package's name: letters, digits, - and _; give another by --name")
    if options.labels is not None:
        keys["labels"] = list(labels.read(options.labels))
    for file in files.values():
        runtime_of(file)
    for problem in package.problems(folder) if (folder / MANIFEST).is_file() and "sha256" in keys else ():
        raise AgentError(problem)
    return _Given(keys, files)


def _variant(text: str) -> tuple[str, Path]:
    word, equals, file = text.partition("=")
    if not (word and equals and file):
        raise AgentError(f"--variant {text}: give it as WORD=FILE, such as float32=model.tflite")
    if not Path(file).is_file():
        raise AgentError(f"--variant {text}: there is no such file")
    return word, Path(file)


def _name_of(file: Path) -> str:
    return _STRANGE.sub("-", file.resolve().stem).strip("-_")[:_LONGEST_NAME] or "model"


@contextlib.contextmanager
def _folder(shelf: Shelf, *, dry: bool) -> Iterator[Path]:
    """Where the package is put together; a dry run touches no shelf."""
    if not dry:
        with shelf.stage() as staged:
            yield staged
        return
    with tempfile.TemporaryDirectory(prefix="vedette-model-") as name:
        yield Path(name)


def _gather(given: _Given, staged: Path, *, dry: bool) -> None:
    if not dry:
        space.ensure(staged.parent, given.keys["name"], sum(file.stat().st_size for file in given.files.values()))
    for name, file in given.files.items():
        if dry:
            (staged / name).symlink_to(file.resolve())
        else:
            _copy(file, staged / name)
    manifest.write(staged, given.keys)


def _copy(file: Path, target: Path) -> None:
    """Raises AgentError, which names the side that is to blame: shutil.copyfile does not."""
    with file.open("rb") as source:
        try:
            with target.open("wb") as written:
                shutil.copyfileobj(source, written)
        except OSError as error:
            raise AgentError(f"{target.parent.parent} cannot be written: {error.strerror}; make room there") from error


def _inspect(given: _Given, staged: Path, options: argparse.Namespace, session: Session) -> int:
    """Run every file, say what it is, and install what runs."""
    keys = given.keys
    for name in manifest.files_of(keys):
        with _as_given(staged / name, given.files[name]):
            done = tried(str(staged / name), staged / name, session, image=options.image)
        session.say("\n".join(report.described(str(given.files[name]), done, picture=options.image)))
        if name == keys["file"]:
            keys = _completed(keys, done, options.resize)
    if options.dry_run:
        return DONE
    manifest.write(staged, keys)
    twin = _twin(session.shelf, staged, _wanted_name(options, keys))
    if twin is not None:
        session.say(f"\nIt is installed already: {twin}")
        return DONE
    runtime = runtime_of(staged / keys["file"])
    version = session.shelf.install(staged, keys["name"], keys.get("version", ""))
    session.say("\n" + "\n".join(report.installed(session.shelf, keys["name"], version, runtime)))
    return DONE


@contextlib.contextmanager
def _as_given(staged: Path, given: Path) -> Iterator[None]:
    """An error names the file that the user knows."""
    try:
        yield
    except AgentError as error:
        raise AgentError(str(error).replace(str(staged), str(given))) from error


def _wanted_name(options: argparse.Namespace, keys: Keys) -> str | None:
    """What it is to be called; None: nobody has said."""
    said = options.name is not None or options.file.is_dir() or options.file.name == MANIFEST
    return keys["name"] if said else None


def _completed(keys: Keys, done: Tried, resize: str | None) -> Keys:
    """With what was found out."""
    card = done.card
    shape = keys.get("input") or {"width": card.width, "height": card.height}
    return {
        **keys,
        "task": keys.get("task") or card.task.value,
        "input": shape | ({"resize": resize} if resize else {}),
        "labels": keys.get("labels") or list(card.labels),
        "keypoints": keys.get("keypoints") or list(card.keypoints),
    }


def _twin(shelf: Shelf, staged: Path, name: str | None) -> str | None:
    """An installed version that is the same in all that matters."""
    new = _essence(staged)
    for other in shelf.names() if name is None else [name]:
        for version in shelf.versions(other):
            with contextlib.suppress(AgentError):
                if _essence(shelf.path(other, version)) == new:
                    return f"{other}@{version}"
    return None


def _essence(folder: Path) -> tuple[object, ...]:
    """What makes a package another model, whatever its files are called. Raises ConfigError."""
    keys = manifest.read(folder)
    sums = keys.get("sha256", {})
    return sums.get(keys["file"]), sorted(sums.values()), *(keys.get(key) for key in _MATTERS)
