"""`vedette model add`: a model file, or a package folder, is inspected, run once and installed. No state."""

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from agent import words
from agent.clock import Clock
from agent.errors import AgentError
from agent.model import manifest, report, space
from agent.model.given import Given, given
from agent.model.manifest import Keys
from agent.model.session import DONE, OTHER_STATE, Commands, Session
from agent.model.trial import Tried, runtime_of, tried
from agent.package import MANIFEST, Resize
from agent.ports import Card
from agent.shelf import Shelf

_MATTERS: Final = ("task", "input", "labels", "keypoints")
"""Keys by which two packages with the same files are read in the same way."""
_DRY: Final = "vedette-model-"
_STALE_S: Final = 86_400.0
"""A folder of a dry run that is older was left behind by a kill."""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """See Command."""
    parser = commands.add_parser(
        "add",
        help="inspect and install a .tflite, .onnx or .engine file, or a package folder",
        description="Open a model as the agent would, say what it is, run it once and install it. What the file does "
        "not say, its class names mostly, can be given.",
    )
    add = parser.add_argument
    add("file", type=_path, metavar="FILE", help=f"a .tflite, .onnx or .engine file, or a folder with {MANIFEST}")
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


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("it is empty; name a model file")
    return Path(text)


def run(options: argparse.Namespace, session: Session) -> int:
    """See Command."""
    try:
        wanted = given(options)
        with _folder(session, dry=options.dry_run) as staged:
            _gather(wanted, staged, dry=options.dry_run)
            return _inspect(wanted, staged, options, session)
    except OSError as error:
        raise AgentError(f"{error.filename or options.file}: {words.reason(error)}") from error


@contextlib.contextmanager
def _folder(session: Session, *, dry: bool) -> Iterator[Path]:
    """Where the package is put together; a dry run touches no shelf."""
    if not dry:
        with session.shelf.stage() as staged:
            yield staged
        return
    _sweep(session.clock)
    with tempfile.TemporaryDirectory(prefix=_DRY) as name:
        yield Path(name)


def _sweep(clock: Clock) -> None:
    """Take away what dry runs of this user left behind that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_DRY}*"):
        with contextlib.suppress(OSError):
            told = folder.lstat()
            if told.st_uid == os.getuid() and clock.wall() - told.st_mtime > _STALE_S:
                shutil.rmtree(folder)


def _gather(wanted: Given, staged: Path, *, dry: bool) -> None:
    if not dry:
        space.ensure(staged.parent, wanted.keys["name"], sum(file.stat().st_size for file in wanted.files.values()))
    for name, file in wanted.files.items():
        if dry:
            (staged / name).symlink_to(file.resolve())
        else:
            _copy(file, staged / name)
    manifest.write(staged, wanted.keys)


def _copy(file: Path, target: Path) -> None:
    """Raises AgentError, which names the side that is to blame: shutil.copyfile does not."""
    with file.open("rb") as source:
        try:
            with target.open("wb") as written:
                shutil.copyfileobj(source, written)
        except OSError as error:
            raise AgentError(words.unwritable(target.parent.parent, error, otherwise=OTHER_STATE)) from error


def _inspect(wanted: Given, staged: Path, options: argparse.Namespace, session: Session) -> int:
    """Run every file, say what it is, and install what runs."""
    keys = wanted.keys
    cards: dict[Path, Card] = {}
    for name in manifest.files_of(keys):
        file = wanted.files[name]
        with _as_given(staged / name, file, cards):
            done = tried(str(staged / name), staged / name, session, image=options.image)
        session.say("\n".join(report.described(str(file), done, picture=options.image)))
        cards[file] = done.card
        if name == keys["file"]:
            keys = _completed(keys, done, options.resize)
            manifest.write(staged, {**keys, "input": wanted.keys.get("input")})  # further files have these names, too
    _refuse_unlike(cards)
    if options.dry_run:
        return DONE
    manifest.write(staged, keys)
    twin = _twin(session.shelf, staged, _wanted_name(options, keys))
    if twin is not None:
        session.say(f"\nIt is installed already: {report.there(session.shelf, *twin)}")
        return DONE
    runtime = runtime_of(staged / keys["file"])
    version = session.shelf.install(staged, keys["name"], keys.get("version", ""))
    session.say("\n" + "\n".join(report.installed(session.shelf, keys["name"], version, runtime)))
    return DONE


def _refuse_unlike(cards: Mapping[Path, Card]) -> None:
    """Raises AgentError: a file differs from the first in what a package has but once."""
    (first, wanted), *others = cards.items()
    for file, card in others:
        if _shape(card) != _shape(wanted):
            raise AgentError(
                f"{file} is {_shape(card)}, and {first} is {_shape(wanted)}: the files of a package have one task and "
                f"one input size; add {file.name} as a package of its own, with another --name"
            )


def _shape(card: Card) -> str:
    return f"{card.task.value} of {card.width}x{card.height}"


@contextlib.contextmanager
def _as_given(staged: Path, file: Path, cards: Mapping[Path, Card]) -> Iterator[None]:
    """An error names the file that the user knows, and the one that it is to be a variant of."""
    try:
        yield
    except AgentError as error:
        said = str(error).replace(str(staged), str(file))
        for first, card in tuple(cards.items())[:1]:
            said += f"\nIt is given as a further file of {first}, which is {_shape(card)}"
        raise AgentError(said) from error


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


def _twin(shelf: Shelf, staged: Path, name: str | None) -> tuple[str, str] | None:
    """An installed version that is the same in all that matters."""
    new = _essence(staged)
    for other in shelf.names() if name is None else [name]:
        for version in shelf.versions(other):
            with contextlib.suppress(AgentError):
                if _essence(shelf.path(other, version)) == new:
                    return other, version
    return None


def _essence(folder: Path) -> tuple[object, ...]:
    """What makes a package another model, whatever its files are called. Raises ConfigError."""
    keys = manifest.read(folder)
    sums = keys.get("sha256", {})
    return sums.get(keys["file"]), sorted(sums.values()), *(keys.get(key) for key in _MATTERS)
