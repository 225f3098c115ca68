"""`vedette outbox`: its options, and what each of its commands does and says. Main thread."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from agent import words
from agent.backlog import export, listing, places, purge, replay, sources
from agent.backlog.options import MEMORY, add_export, add_list, add_purge, add_replay, add_state
from agent.backlog.places import Place
from agent.backlog.reading import Reader
from agent.backlog.sources import Source
from agent.clock import SystemClock
from agent.database import StoreError
from agent.errors import AgentError
from agent.flow import Delivery
from agent.stamp import boot_id
from agent.store import Store

_DONE, _FAILED = 0, 1
_Say: TypeAlias = Callable[[str], None]
_Command: TypeAlias = Callable[[argparse.Namespace, Path, _Say], int]


def add_arguments(parser: argparse.ArgumentParser, say: _Say, own_state: Callable[[], Path]) -> None:
    """The commands of `vedette outbox`.

    Args:
        parser: theirs.
        say: prints a command's output.
        own_state: the state folder where none is named.
    """
    parser.description = (
        "Look after what waits on disk for each sink: results that it has not taken yet, those that it rejected, and "
        f"damaged files. Works while the agent runs. {MEMORY}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for one, run in (
        (add_list(commands), _list),
        (add_export(commands), _export),
        (add_replay(commands), _replay),
        (add_purge(commands), _purge),
    ):
        add_state(one)
        one.set_defaults(command=partial(_run, run, say, own_state))


def _run(command: _Command, say: _Say, own_state: Callable[[], Path], options: argparse.Namespace) -> int:
    return command(options, places.state_folder(options.state, own_state()), say)


def _list(options: argparse.Namespace, state: Path, say: _Say) -> int:
    clock, boot = SystemClock(), boot_id()
    found = [listing.holding(place, clock, boot) for place in places.find(state)]
    say(json.dumps(listing.as_json(state, found), indent=2) if options.json else listing.report(state, found))
    return _FAILED if any(each.problem for each in found) else _DONE


def _export(options: argparse.Namespace, state: Path, say: _Say) -> int:
    path, name = _file_of(options.sink, state)
    table = "rejected" if options.rejected else "damaged" if options.damaged else "waiting"
    tally = export.Tally()
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(contextlib.closing(Reader(path))) if path.exists() else None
        if reader is not None and ".db.damaged-" in path.name and not reader.holds_outbox:
            raise AgentError(f"{path}: nothing of it can be read; it is too damaged, or no outbox")
        lines = export.bodies(reader, table, tally) if reader is not None else iter(())
        if options.to is None:
            export.to_output(lines)
        else:
            export.to_file(lines, options.to)
            say(f"{words.plural(tally.records, 'record')} of {name} in {options.to}")
        told = tally.told(reader.gaps if reader is not None else 0)
    if told:
        _tell(f"{name}: {words.plural(tally.records, 'record')} read; {told}")
    return _DONE


def _file_of(name: str, state: Path) -> tuple[Path, str]:
    """The file that `name` means, a path or an outbox, and what to call it. Raises AgentError."""
    path = Path(name)
    if path.is_file() and sources.is_database(path):
        return path, str(path)
    place = places.chosen(state, name)
    return place.path, place.name


def _replay(options: argparse.Namespace, state: Path, say: _Say) -> int:
    place = places.chosen(state, options.sink)
    whole: set[int] = set()
    with places.changing(place), contextlib.ExitStack() as stack:
        source, name = _source(options, place, state, whole=whole, stack=stack)
        places.make(place)
        store = Store(place.path, SystemClock(), boot_id())
        stack.callback(store.close)
        done = _put_back(store, source, partial(store.drop_aside, "rejected", whole), what=name)
    waited = f"; {done.waited} waited already, or came twice" if done.waited else ""
    say(f"{words.plural(done.put_back, 'record')} of {name} put back, to wait for {place}{waited}")
    if options.other and done.put_back:
        say(f"They wait in {name} as well; to throw those away: vedette outbox purge {name}")
    if not places.in_use(place):
        say(f"No agent has {place} now: they are sent when one does")
    return _DONE


def _put_back(store: Store, source: Source, drop: Callable[[], None], *, what: str) -> replay.Replayed:
    try:
        return replay.put_back(store, source, and_also=drop)
    except StoreError as error:
        raise AgentError(f"nothing of {what} was put back: {error}; try again") from error


def _source(
    options: argparse.Namespace, place: Place, state: Path, *, whole: set[int], stack: contextlib.ExitStack
) -> tuple[Source, str]:
    """Where the records come from, and what to call that. `whole` gets the numbers of rejected groups that are read."""
    if options.rejected:
        return _from_place(place, "rejected", stack, whole), f"what {place} rejected"
    if options.other is not None:
        other = places.chosen(state, options.other)
        if other == place:
            raise AgentError(f"{place}: what waits for it waits for it already; name another sink with --from")
        return _from_place(other, "waiting", stack), other.name
    if not sources.is_database(options.file):
        return sources.from_lines(options.file), str(options.file)
    reader = stack.enter_context(contextlib.closing(Reader(options.file)))
    if not reader.holds_outbox:
        raise AgentError(f"{options.file}: nothing of it can be read; it is too damaged, or no outbox")
    return _told(sources.from_reader(reader, "waiting"), reader, options.file), str(options.file)


def _from_place(place: Place, table: str, stack: contextlib.ExitStack, whole: set[int] | None = None) -> Source:
    if not place.path.exists():
        return lambda: iter(())
    return sources.from_reader(stack.enter_context(contextlib.closing(Reader(place.path))), table, whole)


def _told(source: Source, reader: Reader, path: Path) -> Source:
    """Says once, after it was gone through, how much could not be read."""
    told = False

    def deliveries() -> Iterator[Delivery]:
        nonlocal told
        yield from source()
        if reader.gaps and not told:
            _tell(f"{path}: {words.plural(reader.gaps, 'part')} of the file unreadable, and left out")
        told = True

    return deliveries


def _purge(options: argparse.Namespace, state: Path, say: _Say) -> int:
    place = places.chosen(state, options.sink)
    aside = options.rejected or options.damaged
    if aside and (options.camera is not None or options.older_than is not None):
        raise AgentError("--older-than and --camera choose among what waits; leave out --rejected and --damaged")
    wish = purge.Wish(options.older_than or 0.0, options.camera, options.rejected, options.damaged)
    clock, boot = SystemClock(), boot_id()
    doomed = purge.count(place, wish, clock, boot)
    if not doomed:
        say(f"{place}: there is nothing of that to throw away{_other_cameras(place, options.camera)}")
        return _DONE
    if not purge.agreed(place, doomed, yes=options.yes):
        say("Nothing was thrown away")
        return _FAILED
    with places.changing(place):
        store = Store(place.path, clock, boot)
        with contextlib.closing(store):
            done = purge.throw_away(place, store, wish)
    say(f"{place}: {done} thrown away")
    return _DONE


def _other_cameras(place: Place, camera: str | None) -> str:
    found: Sequence[str] = purge.cameras(place) if camera is not None and place.path.exists() else []
    return f"; what waits is of {', '.join(found[:10])}" if found and camera not in found else ""


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - for the person at the terminal
