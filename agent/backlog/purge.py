"""`vedette outbox purge`: throws away what nobody wants, once a person has agreed. Owned by the main thread."""

import contextlib
import sys
from dataclasses import dataclass

from agent import database, words
from agent.backlog.places import Place
from agent.backlog.reading import Reader
from agent.backlog.replay import discard_hidden
from agent.clock import Clock
from agent.errors import AgentError
from agent.stamp import elapsed_s
from agent.store import Store


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be thrown away: by default what waits, all of it."""

    older_s: float = 0.0
    camera: str | None = None
    rejected: bool = False
    damaged: bool = False

    @property
    def waiting(self) -> bool:
        """Whether it is what waits."""
        return not (self.rejected or self.damaged)


@dataclass(frozen=True, slots=True)
class Doomed:
    """How much that is."""

    waiting: int = 0
    rejected: int = 0
    groups: int = 0
    files: int = 0

    def __bool__(self) -> bool:
        return bool(self.waiting or self.rejected or self.groups or self.files)

    def __str__(self) -> str:
        counts = {
            "waiting record": self.waiting,
            "rejected record": self.rejected,
            "damaged group": self.groups,
            "damaged file": self.files,
        }
        return " and ".join(words.plural(count, noun) for noun, count in counts.items() if count) or "nothing"


def count(place: Place, wish: Wish, clock: Clock, boot_id: str) -> Doomed:
    """How much there is of it now. Raises StoreError."""
    files = len(place.damaged) if wish.damaged else 0
    if not place.path.exists():
        return Doomed(files=files)
    with contextlib.closing(Reader(place.path)) as reader:
        return Doomed(
            _waiting(reader, wish, clock, boot_id) if wish.waiting else 0,
            sum(len(entries or ()) for _, entries in reader.entries("rejected")) if wish.rejected else 0,
            sum(1 for _ in reader.groups("damaged")) if wish.damaged else 0,
            files,
        )


def _waiting(reader: Reader, wish: Wish, clock: Clock, boot_id: str) -> int:
    if wish.camera is None:
        return sum(g.count for g in reader.groups("waiting") if elapsed_s(g.stamp, clock, boot_id) >= wish.older_s)
    return sum(
        sum(entry.delivery.camera == wish.camera for entry in entries or ())
        for group, entries in reader.entries("waiting")
        if elapsed_s(group.stamp, clock, boot_id) >= wish.older_s
    )


def cameras(place: Place) -> list[str]:
    """Those of which something waits. Raises StoreError."""
    with contextlib.closing(Reader(place.path)) as reader:
        return sorted({entry.delivery.camera for _, entries in reader.entries("waiting") for entry in entries or ()})


def agreed(place: Place, doomed: Doomed, *, yes: bool) -> bool:
    """Whether the person means it; asked on a terminal. Raises AgentError: there is nobody to ask."""
    if yes:
        return True
    question = f"{place}: {doomed} would be thrown away for good"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise AgentError(f"{question}; add --yes to do it")
    print(f"{question}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201 - for the person
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def throw_away(place: Place, store: Store, wish: Wish) -> Doomed:
    """Do it, in one transaction; damaged files follow. How much that was. Raises StoreError: nothing is gone."""
    done = Doomed()
    if place.path.exists():
        discard_hidden(store)
        with store.transaction():
            waiting = store.purge(wish.older_s, wish.camera) if wish.waiting else 0
            done = Doomed(waiting, *_drop_aside(place, store, wish))
        with contextlib.suppress(database.StoreError):  # what matters is done
            store.shrink()
    return Doomed(done.waiting, done.rejected, done.groups, _unlinked(place) if wish.damaged else 0)


def _drop_aside(place: Place, store: Store, wish: Wish) -> tuple[int, int]:
    """Inside the transaction: nobody else changes what is read here."""
    with contextlib.closing(Reader(place.path)) as reader:
        rejected = [(g.first, len(found or ())) for g, found in reader.entries("rejected")] if wish.rejected else []
        groups = [group.first for group in reader.groups("damaged")] if wish.damaged else []
    store.drop_aside("rejected", [number for number, _ in rejected])
    store.drop_aside("damaged", groups)
    return sum(records for _, records in rejected), len(groups)


def _unlinked(place: Place) -> int:
    files = place.damaged
    try:
        for path in files:
            database.remove(path)
    except OSError as error:
        raise AgentError(f"{error.filename} cannot be deleted: {error.strerror}") from error
    return len(files)
