"""Where the objects of one camera are, as they move: the tracks of a result, their events, zones' and lines' counts.

Owner: the camera's emit thread. Corrections tell of the past: they get the ids that are known, and change nothing. A
zone's counts are taken from the tracks anew each time, so nothing can make them drift.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from agent.flow import UNTRACKED, Answer, Delivery, Prediction, Result
from agent.ports import Report
from agent.presence import Counts
from agent.record import Identity
from agent.states import Direction, State, Subject
from agent.tracking.event import Episode, event_of
from agent.tracking.incident import Cause, Incident
from agent.tracking.lines import Passage
from agent.tracking.recall import Recall
from agent.tracking.rules import Rules
from agent.tracking.spot import Anchor, Spot, spot_of
from agent.tracking.tracker import Track, Tracker, TrackUpdate
from agent.tracking.zones import Stay
from agent.view.crop import Crop

_AWAY_S: Final = 30.0
"""A camera that is back sooner shows whom it showed: it was opened again, or some frames got no answer."""
_GAPS: Final = 15
_UNUSUAL: Final = 3.0
"""Times as long as between two results as a rule: the camera was away."""


@dataclass(slots=True)
class _Course:
    """One track's way through the picture so far."""

    track: Track
    episode: Episode
    stays: list[Stay]
    passages: list[Passage]

    @property
    def zones(self) -> list[str]:
        return [stay.zone.name for stay in self.stays if stay.since_s is not None]


class Whereabouts:
    """One camera's."""

    def __init__(
        self, rules: Rules, identity: Identity, *, crop: Crop | None = None, known: Iterable[str] = ()
    ) -> None:
        """`known`: the classes that an earlier run told counts of; those that are not there are told to be 0."""
        known = list(known)
        self._rules = rules
        self._identity = identity
        self._crop = crop or Crop()
        self._counts = Counts(known)
        self._classes = {name for name in (*known, *rules.classes) if rules.wants(name)}
        """Those that zones without classes of their own tell counts of."""
        self._tracker = Tracker(rules.settings)
        self._recall = Recall()
        self._courses: dict[int, _Course] = {}
        self._totals = {line.name: dict.fromkeys(Direction, 0) for line in rules.lines}
        self._before: Result | None = None
        self._gaps_s: deque[float] = deque(maxlen=_GAPS)
        self._told_inside: dict[tuple[str, str], int] = {}
        self._told_totals: dict[tuple[str, Direction], int] = {}

    def note(self, result: Result) -> Report:
        """`result` with the ids of its objects, the counts that it changes, and the events it makes."""
        answer = result.answer
        if answer is None:
            return Report(result)
        if result.revision:
            return Report(_with(result, answer, self._recall.named(result.seq, answer.predictions)))
        events = list(self._part(result))
        chosen = [found for found in answer.predictions if self._rules.wants(found.class_name)]
        update = self._tracker.update(chosen, result.captured_s)
        named = self._named(answer.predictions, update)
        self._recall.note(result.seq, named)
        result = _with(result, answer, named)
        events += self._events(result, update)
        camera = result.camera
        states = (*self._counts.changed(result), *self._zone_states(camera), *self._line_states(camera))
        return Report(result, states, tuple(events))

    def _part(self, result: Result) -> Iterator[Delivery]:
        """After a long time without the camera nobody knows who went and who came: all is begun anew."""
        before, self._before = self._before, result
        if before is None:
            return
        gap_s = result.captured_s - before.captured_s
        usual_s = median(self._gaps_s) if self._gaps_s else 0.0
        self._gaps_s.append(gap_s)
        if gap_s > max(_AWAY_S, self._rules.settings.hold_s + self._rules.still_s, _UNUSUAL * usual_s):
            for track in self._tracker.flush():
                yield from self._end(before, track)

    def _named(self, predictions: Iterable[Prediction], update: TrackUpdate) -> tuple[Prediction, ...]:
        """All of them with the ids of their tracks."""
        ids = iter(update.ids)
        return tuple(
            replace(found, tracker_id=(next(ids) if self._rules.wants(found.class_name) else None) or UNTRACKED)
            for found in predictions
        )

    def _events(self, result: Result, update: TrackUpdate) -> Iterator[Delivery]:
        for track in update.ended:
            yield from self._end(result, track)
        for track in update.begun:
            yield from self._begin(result, track)
        for track in update.seen:
            yield from self._move(result, track)

    def _begin(self, result: Result, track: Track) -> Iterator[Delivery]:
        stays, passages = [Stay(zone) for zone in self._rules.zones], [Passage(line) for line in self._rules.lines]
        course = _Course(track, Episode.of(track, result, self._identity), stays, passages)
        self._courses[track.id] = course
        yield self._event(Incident(Cause.APPEARED), course, result)

    def _end(self, result: Result, track: Track) -> Iterator[Delivery]:
        course = self._courses[track.id]
        for stay in course.stays:
            for incident in stay.leave(track.seen_s):
                yield self._event(incident, course, result)
        del self._courses[track.id]
        yield self._event(Incident(Cause.GONE), course, result)

    def _move(self, result: Result, track: Track) -> Iterator[Delivery]:
        course = self._courses[track.id]
        if track.class_name != course.track.class_name:
            yield from self._rename(result, track, course)
        course.track = track
        self._classes.add(track.class_name)
        for stay in course.stays:
            for incident in self._stay(stay, track, result):
                yield self._event(incident, course, result)
        for passage in course.passages:
            for incident in self._pass(passage, track, result):
                yield self._event(incident, course, result)

    def _rename(self, result: Result, track: Track, course: _Course) -> Iterator[Delivery]:
        """It has another class now; as what it was, it leaves the zones that are not for that."""
        for stay in course.stays:
            if not stay.zone.wants(track.class_name):
                for incident in stay.leave(result.captured_s):
                    yield self._event(incident, course, result)
        course.track = track
        yield self._event(Incident(Cause.CLASS), course, result)

    def _stay(self, stay: Stay, track: Track, result: Result) -> Iterable[Incident]:
        if not stay.zone.wants(track.class_name):
            return ()
        return stay.note(self._spot(track, stay.zone.anchor, result), result.captured_s)

    def _spot(self, track: Track, anchor: Anchor, result: Result) -> Spot:
        return spot_of(track.prediction, anchor, crop=self._crop, width=result.width, height=result.height)

    def _pass(self, passage: Passage, track: Track, result: Result) -> Iterable[Incident]:
        line = passage.line
        direction = passage.note(self._spot(track, line.anchor, result))
        if direction is None or not line.wants(track.class_name):
            return ()
        self._totals[line.name][direction] += 1
        totals = dict(self._totals[line.name])
        return (Incident(Cause.CROSSED, line=line.name, direction=direction, totals=totals),)

    def _event(self, incident: Incident, course: _Course, result: Result) -> Delivery:
        track = course.track
        if incident.zone is not None:
            incident = replace(incident, inside=self._occupancy()[incident.zone, track.class_name])
        return event_of(incident, track, result, episode=course.episode, zones=course.zones, identity=self._identity)

    def _occupancy(self) -> Counter[tuple[str, str]]:
        """How many of each class are in each zone."""
        return Counter((zone, course.track.class_name) for course in self._courses.values() for zone in course.zones)

    def _zone_states(self, camera: str) -> Iterator[State]:
        """The counts of zones that have not been told so yet."""
        occupancy = self._occupancy()
        for zone in self._rules.zones:
            for name in sorted(zone.classes or self._classes):
                about, count = (zone.name, name), occupancy[zone.name, name]
                if self._told_inside.get(about) != count:
                    self._told_inside[about] = count
                    yield State(Subject.ZONE, str(count).encode(), camera, name, zone.name)

    def _line_states(self, camera: str) -> Iterator[State]:
        """The same of lines."""
        for name, totals in self._totals.items():
            for direction, count in totals.items():
                if self._told_totals.get((name, direction)) != count:
                    self._told_totals[name, direction] = count
                    yield State(Subject.LINE, str(count).encode(), camera, place=name, direction=direction)


def _with(result: Result, answer: Answer, predictions: tuple[Prediction, ...]) -> Result:
    return replace(result, answer=replace(answer, predictions=predictions))
