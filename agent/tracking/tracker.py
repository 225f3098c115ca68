"""Which detections are the same object: ByteTrack, with time in seconds, for answers of more than one model.

ByteTrack (Zhang et al., 2022, arXiv:2110.06864) gives the surest detections to the known tracks first, and what is
left of both to each other after that. Own code, for the library that has it (`trackers`) brings 570 MB of others, and
changes ids more often where frames come at irregular times; docs/tracking.md has the figures, and how to measure them.
State is owned by the one thread that calls `update`, one Tracker a camera.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.flow import Prediction
from agent.tracking.assignment import assign
from agent.tracking.motion import Floats, Motion

_LEAST_OVERLAP = 0.1
"""Intersection over union below which two boxes are not the same object."""
_OTHER_CLASS = 0.5
"""What the overlap with a track of another class counts: a cost, for models disagree, and no wall."""
_PADDING, _LOST_PADDING = 1.0, 0.3
"""By how many standard deviations of a track's place both boxes are enlarged before they are compared, so that what may
have moved is looked for further around (after C-BIoU, Yang et al., 2023, arXiv:2211.14317); little for what the last
update missed, which else takes the next one that comes along."""
_LOST = 0.5
"""What the overlap with such a track counts: those seen last come first, as in DeepSORT's cascade."""
_TRIAL_SHARE = 0.25
"""What was seen once only is held for this share of `hold_s`."""
_MOST_SEEN = 300
"""Predictions that one update looks at, the surest first: as many as YOLOv8 gives at most."""
_MOST_TRACKS = 2 * _MOST_SEEN
_MOST_CLASSES = 100
"""Classes for which one track keeps evidence."""
_FARTHEST_PX = 1e6


@dataclass(frozen=True, slots=True)
class Settings:
    """How a tracker decides; the defaults suit the engines' default threshold of 0.4."""

    hold_s: float = 2.0
    """An object that has not been seen for longer is gone."""
    begin_confidence: float = 0.5
    """The least score with which a track begins; what is scored lower only continues one."""


@dataclass(frozen=True, slots=True)
class Track:
    """A confirmed object, as it is after an update."""

    id: int
    """1, 2, 3 and so on, in the order in which they were confirmed."""
    prediction: Prediction
    """The detection that it was last matched with."""
    class_name: str
    """The class that most of its evidence, the sum of its scores, is for."""
    confidence: float
    """The best score so far, 0..1."""
    began_s: float
    """Monotonic; when it was first detected."""
    seen_s: float
    """Monotonic; when it was last detected."""


@dataclass(frozen=True, slots=True)
class TrackUpdate:
    """What one frame's predictions tell."""

    ids: tuple[int | None, ...]
    """For each prediction, in order: its track's id; None where that is not confirmed, or it has none."""
    begun: tuple[Track, ...]
    """Confirmed by this update."""
    seen: tuple[Track, ...]
    """All confirmed tracks that this update matched, the begun ones included."""
    ended: tuple[Track, ...]
    """Not seen for `hold_s`."""


class Tracker:
    """One camera's tracks."""

    def __init__(self, settings: Settings = Settings()) -> None:
        self._settings = settings
        self._objects: list[_Object] = []
        self._motion = Motion()
        """Row by row that of the objects."""
        self._before_s = self._at_s = -math.inf
        """When the last update but one was, and the last."""
        self._confirmed = 0

    def update(self, predictions: Sequence[Prediction], at_s: float) -> TrackUpdate:
        """Take in one frame's predictions.

        Boxes that are not finite or have no area are passed over, and so are all but the surest 300.

        Args:
            predictions: what one engine found in the frame, in any order.
            at_s: when the frame was captured, monotonic seconds. One that is not after the last is ignored.
        """
        ids: list[int | None] = [None] * len(predictions)
        if not self._at_s < at_s < math.inf:
            return TrackUpdate(tuple(ids), (), (), ())
        ended = self._end(at_s, before_s=self._at_s)
        self._advance(at_s)
        usable = _usable(predictions)
        matched = self._match(predictions, usable)
        begun, seen = self._note(predictions, matched, at_s)
        for row, index in matched.items():
            ids[index] = self._objects[row].id
        self._begin([predictions[index] for index in usable if index not in matched.values()], at_s)
        ended += self._end(at_s, before_s=at_s)
        return TrackUpdate(tuple(ids), begun, seen, ended)

    def flush(self) -> tuple[Track, ...]:
        """End all tracks; those that were confirmed, by id. What comes next has new ids."""
        ended = tuple(known.track() for known in self._objects if known.id)
        self._objects, self._motion = [], Motion()
        return tuple(sorted(ended, key=lambda track: track.id))

    def _end(self, at_s: float, *, before_s: float) -> tuple[Track, ...]:
        """Let go of what was not seen for too long, and not by an update at `before_s` either.

        A time in which no frame was looked at shows nobody's absence, however long.
        """
        hold_s = self._settings.hold_s
        stay = [
            row
            for row, known in enumerate(self._objects)
            if known.seen_s >= before_s or at_s - known.seen_s <= hold_s * (1.0 if known.id else _TRIAL_SHARE)
        ]
        if len(stay) == len(self._objects):
            return ()
        kept = set(stay)
        gone = [known.track() for row, known in enumerate(self._objects) if row not in kept and known.id]
        self._objects = [self._objects[row] for row in stay]
        self._motion.keep(np.array(stay, dtype=np.intp))
        return tuple(sorted(gone, key=lambda track: track.id))

    def _advance(self, at_s: float) -> None:
        """Move all on to `at_s`. After a time without a look that is too long for that, they are where they were."""
        elapsed_s, self._before_s, self._at_s = at_s - self._at_s, self._at_s, at_s
        if elapsed_s <= self._settings.hold_s:
            self._motion.advance(elapsed_s)
        else:
            self._motion.rest()

    def _match(self, predictions: Sequence[Prediction], usable: list[int]) -> dict[int, int]:
        """Which prediction, by index, each row has: the sure ones to the confirmed, the others, then to the new."""
        least = self._settings.begin_confidence
        sure = [index for index in usable if predictions[index].confidence >= least]
        unsure = usable[len(sure) :]
        confirmed = [row for row, known in enumerate(self._objects) if known.id]
        matched = self._pair(predictions, sure, confirmed)
        matched |= self._pair(predictions, unsure, [row for row in confirmed if row not in matched])
        left = set(usable).difference(matched.values())
        trial = [row for row, known in enumerate(self._objects) if not known.id]
        return matched | self._pair(predictions, [index for index in usable if index in left], trial)

    def _pair(self, predictions: Sequence[Prediction], indices: list[int], rows: list[int]) -> dict[int, int]:
        if not indices or not rows:
            return {}
        chosen = [predictions[index] for index in indices]
        lost = np.array([[self._objects[row].seen_s < self._before_s] for row in rows])
        likeness = self._motion.overlaps(rows, _boxes(chosen), np.where(lost, _LOST_PADDING, _PADDING))
        names = np.array([[self._objects[row].class_name] for row in rows])
        likeness *= np.where(names == np.array([found.class_name for found in chosen]), 1.0, _OTHER_CLASS)
        likeness[likeness < _LEAST_OVERLAP] = 0.0
        likeness *= np.where(lost, _LOST, 1.0)
        return {rows[row]: indices[column] for row, column in assign(likeness)}

    def _note(
        self, predictions: Sequence[Prediction], matched: dict[int, int], at_s: float
    ) -> tuple[tuple[Track, ...], tuple[Track, ...]]:
        """Learn from what was matched; the tracks that are confirmed by it, and all that were seen, by id."""
        rows = sorted(matched)
        chosen = [predictions[matched[row]] for row in rows]
        self._motion.correct(np.array(rows, dtype=np.intp), _boxes(chosen))
        before = self._confirmed
        for row, found in zip(rows, chosen, strict=True):
            known = self._objects[row]
            known.note(found, at_s)
            if not known.id:
                self._confirmed += 1
                known.id = self._confirmed
        seen = sorted((self._objects[row].track() for row in rows), key=lambda track: track.id)
        return tuple(track for track in seen if track.id > before), tuple(seen)

    def _begin(self, found: list[Prediction], at_s: float) -> None:
        """What no track has may be new, the surest first, while there is room."""
        room = _MOST_TRACKS - len(self._objects)
        new = [one for one in found if one.confidence >= self._settings.begin_confidence][:room]
        self._objects += [_Object(one, at_s) for one in new]
        self._motion.add(_boxes(new))

    def __repr__(self) -> str:
        return f"<Tracker {len(self._objects)} objects, {self._confirmed} confirmed so far>"


class _Object:
    """What is known of one object, confirmed or on trial."""

    __slots__ = ("_began_s", "_best", "_evidence", "_prediction", "class_name", "id", "seen_s")

    def __init__(self, first: Prediction, at_s: float) -> None:
        self.id = 0
        """0: on trial."""
        self._began_s = at_s
        self._best = 0.0
        self._evidence: dict[str, float] = {}
        self.note(first, at_s)

    def note(self, found: Prediction, at_s: float) -> None:
        self._prediction, self.seen_s = found, at_s
        self._best = max(self._best, found.confidence)
        evidence = self._evidence
        if found.class_name in evidence or len(evidence) < _MOST_CLASSES:
            evidence[found.class_name] = evidence.get(found.class_name, 0.0) + found.confidence
        self.class_name = max(evidence, key=evidence.__getitem__)

    def track(self) -> Track:
        return Track(self.id, self._prediction, self.class_name, self._best, self._began_s, self.seen_s)


def _usable(predictions: Sequence[Prediction]) -> list[int]:
    """Indices of those that can be used, the surest first; in an order that theirs does not change."""
    usable = [index for index, found in enumerate(predictions) if _is_usable(found)]
    usable.sort(key=lambda index: _rank(predictions[index]))
    return usable[:_MOST_SEEN]


def _is_usable(found: Prediction) -> bool:
    sizes = 0.0 < found.width <= _FARTHEST_PX and 0.0 < found.height <= _FARTHEST_PX
    return sizes and abs(found.x) <= _FARTHEST_PX and abs(found.y) <= _FARTHEST_PX and 0.0 <= found.confidence <= 1.0


def _rank(found: Prediction) -> tuple[float, float, float, float, float, str]:
    return (-found.confidence, found.x, found.y, found.width, found.height, found.class_name)


def _boxes(found: list[Prediction]) -> Floats:
    """Centres and sizes, (n, 4)."""
    return np.array([(one.x, one.y, one.width, one.height) for one in found], dtype=float).reshape(-1, 4)
