"""What a model is and how it is used, for the person who has just installed it. No state."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent import package, words
from agent.model import manifest
from agent.model.trial import Tried, runtime_of
from agent.package import MANIFEST
from agent.ports import Card
from agent.shelf import Shelf, Standing

_SHOWN: Final = 8
_NAMELESS: Final = "the file names none, so results call them class_0, class_1 and so on; name them by --labels FILE"


def described(title: str, done: Tried, *, picture: Path | None) -> Iterator[str]:
    """What the model is, for people."""
    card = done.card
    yield f"{words.printable(title)}: {card.task.value}, {card.width}x{card.height}, runs with {card.runtime}"
    yield from (f"  {tensor}" for tensor in card.tensors)
    yield f"  read as: {card.reading}"
    yield f"  classes: {_listed(card.labels) if card.labels else _NAMELESS}"
    if card.keypoints:
        yield f"  keypoints: {_listed(card.keypoints)}"
    threads = "" if card.threads is None else f", {words.plural(card.threads, 'thread')}"
    took_s = done.answer.timings.inference_s or 0.0
    yield f"  one run: {1000 * took_s:.1f} ms{threads}; loaded in {done.loaded_s:.1f} s"
    if picture is not None:
        yield f"  in {words.printable(str(picture))}: {_found(done)}"
    yield from (f"  but {each}" for each in complaints(card))


def complaints(card: Card) -> list[str]:
    """What is wrong with a model that runs, but for its lack of class names, which has another cure once installed."""
    return [each for each in card.complaints if card.labels or "class names" not in each]


def there(shelf: Shelf, name: str, version: str) -> str:
    """A version that is installed already: what became of it, and how it comes into use, for people."""
    current = shelf.current(name)
    if current == version:
        return f"{name}@{version}"
    event = shelf.standing(name, version)
    judged = f" It was rejected: {event.reason}." if event is not None and event.standing is Standing.REJECTED else ""
    place = f"{name}@{version}"
    return f"{place}, beside {name}@{current}, which is in use.{judged} To use it: vedette model use {place}"


def other_kind(shelf: Shelf, name: str, version: str, current: str | None) -> str | None:
    """That the two versions need different engines, for people; None: they need the same, or there is no other."""
    kinds = [_runtime(shelf, name, each) for each in (version, current) if each is not None]
    if len(set(kinds)) == 1:
        return None
    new, old = kinds
    return f"But it runs with {new}, and {name}@{current} with {old}: to use it, set `type: {new}` under engines.local."


def _runtime(shelf: Shelf, name: str, version: str) -> str:
    """Raises AgentError."""
    folder = shelf.path(name, version)
    return runtime_of(folder / manifest.read(folder)["file"])


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return words.printable(f"{len(names)} ({shown}{', ...' if len(names) > _SHOWN else ''})")


def _found(done: Tried) -> str:
    counts = Counter(each.class_name for each in done.answer.predictions)
    return words.printable(", ".join(f"{count} {name}" for name, count in counts.most_common())) or "nothing"


def installed(shelf: Shelf, name: str, version: str, runtime: str) -> Iterator[str]:
    """What was installed, and how it is used, for people."""
    current = shelf.current(name)
    if current == version:
        yield f"{name}@{version} is installed in {shelf.folder}, and in use wherever the configuration says:"
    else:
        yield f"{name}@{version} is installed in {shelf.folder}, beside {name}@{current}, which stays in use. A running"
        yield "agent tries the new one out, and takes it over if it is as good. At once, and untried:"
        yield f"  vedette model use {name}@{version}"
        other = other_kind(shelf, name, version, current)
        yield other or "Either is used wherever the configuration says:"
    if (package.shipped("models", name) / MANIFEST).is_file():
        yield f"(`model: {name}` means this one from now on, and no longer the {name} that comes with the agent.)"
    yield ""
    yield "engines:"
    yield "  local:"
    yield f"    type: {runtime}"
    yield f"    model: {name}"
