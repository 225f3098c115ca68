"""What a camera sees, as it changes: how many of each class, and the episodes in which a class is there.

An episode of a class begins when two results in a row of its sightings are no more than HOLD_S apart (one alone may be
a mistake of the model), is told of again when there are more of them than ever before in it, and ends when there has
been none for HOLD_S. Owner: the camera's emit thread. Corrections tell of the past, and change nothing here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.flow import Delivery, Result
from agent.ports import Report
from agent.record import EventType, Identity, Sighting, event_of
from agent.states import State, Subject

HOLD_S: Final = 3.0
"""A detector misses an object for some frames now and then; and a tenth of a frame a second is the slowest camera."""


@dataclass(slots=True)
class _Episode:
    """A class that is there, or was seen once."""

    seen_s: float
    sighting: Sighting
    first: Result | None = None
    """The result with which it was told of; None: it has been seen once only."""


class Counts:
    """How many objects of each class the newest result of one camera has."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        """`known`: the classes that an earlier run told of; those that are not there are told to be 0."""
        self._told: dict[str, int | None] = dict.fromkeys(known)
        """None: by an earlier run, and what that said may stand at a broker yet."""

    def changed(self, result: Result) -> Iterator[State]:
        """Those that are others now than they were last told."""
        sightings = _sightings(result)
        for name in sorted(self._told.keys() | sightings.keys()):
            count = sightings[name].count if name in sightings else 0
            if self._told.get(name) != count:
                self._told[name] = count
                yield State(Subject.COUNT, str(count).encode(), result.camera, name)


class Presence:
    """One camera's."""

    def __init__(self, identity: Identity, known: Iterable[str] = ()) -> None:
        """`known`: the classes that an earlier run told of; those that are not there are told to be 0."""
        self._identity = identity
        self._counts = Counts(known)
        self._episodes: dict[str, _Episode] = {}

    def note(self, result: Result) -> Report:
        """`result` as it is, the counts that it changes, and the events it makes."""
        if result.answer is None or result.revision:
            return Report(result)
        return Report(result, tuple(self._counts.changed(result)), tuple(self._events(result, _sightings(result))))

    def _events(self, result: Result, sightings: dict[str, Sighting]) -> Iterator[Delivery]:
        for name in sorted(self._episodes.keys() - sightings.keys()):
            yield from self._missed(result, name)
        for name, sighting in sightings.items():
            yield from self._seen(result, name, sighting)

    def _missed(self, result: Result, name: str) -> Iterator[Delivery]:
        episode = self._episodes[name]
        if result.captured_s - episode.seen_s >= HOLD_S:
            del self._episodes[name]
            if episode.first is not None:
                yield self._event(EventType.END, result, name, episode)

    def _seen(self, result: Result, name: str, sighting: Sighting) -> Iterator[Delivery]:
        episode = self._episodes.get(name)
        if episode is not None and result.captured_s - episode.seen_s >= HOLD_S:
            yield from self._missed(result, name)
            episode = None
        if episode is None:
            self._episodes[name] = _Episode(result.captured_s, sighting)
            return
        more = sighting.count > episode.sighting.count
        episode.seen_s, episode.sighting = result.captured_s, episode.sighting.joined(sighting)
        if episode.first is None:
            episode.first = result
            yield self._event(EventType.NEW, result, name, episode)
        elif more:
            yield self._event(EventType.UPDATE, result, name, episode)

    def _event(self, type_: EventType, result: Result, name: str, episode: _Episode) -> Delivery:
        assert episode.first is not None  # noqa: S101 - told of episodes only
        return event_of(type_, result, name, first=episode.first, sighting=episode.sighting, identity=self._identity)


def _sightings(result: Result) -> dict[str, Sighting]:
    """What one result shows of each class, in the order of its predictions."""
    found: dict[str, Sighting] = {}
    for each in result.answer.predictions if result.answer is not None else ():
        before = found.get(each.class_name, Sighting(0, 0.0))
        found[each.class_name] = Sighting(before.count + 1, max(before.confidence, each.confidence))
    return found
