"""What happened to a track -> the bytes of an event's record, as docs/event.schema.json describes it. No state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.flow import Delivery, Kind, Prediction, Result
from agent.record import EVENT_SCHEMA, EventType, Identity, encoded, rfc3339
from agent.tracking.incident import Cause, Incident
from agent.tracking.tracker import Track

_TYPES: Final = {Cause.APPEARED: EventType.NEW, Cause.GONE: EventType.END}


@dataclass(frozen=True, slots=True)
class Episode:
    """A track's time, from its first event to its last."""

    id: str
    """AGENT/CAMERA/BOOT/SEQ/TRACK: tracks are counted anew after a restart, and sequence numbers never repeat."""
    began_s: float
    """Monotonic; when the object was first detected."""
    began_wall_s: float

    @classmethod
    def of(cls, track: Track, result: Result, identity: Identity) -> "Episode":
        """The one that begins with `result`, by which `track` is confirmed."""
        name = f"{identity.agent}/{result.camera}/{identity.boot_id}/{result.seq}/{track.id}"
        return cls(name, track.began_s, result.captured_wall_s - (result.captured_s - track.began_s))


def event_of(
    incident: Incident,
    track: Track,
    result: Result,
    *,
    episode: Episode,
    zones: Sequence[str],
    identity: Identity,
) -> Delivery:
    """The message that `incident` happened to `track`, as `result` shows; it is in `zones` after that."""
    type_ = _TYPES.get(incident.cause, EventType.UPDATE)
    record = {
        "schema": EVENT_SCHEMA,
        "id": f"{episode.id}/{result.seq}/{type_.value}{_which(incident)}",
        "episode": episode.id,
        "type": type_.value,
        "agent": identity.agent,
        "camera": result.camera,
        "class": track.class_name,
        "count": 1,
        "confidence": round(track.confidence, 4),
        "began_at": rfc3339(episode.began_wall_s),
        "at": rfc3339(result.captured_wall_s),
        "duration_s": round(result.captured_s - episode.began_s, 3),
        "clock_synchronized": result.clock_synchronized,
        "result": identity.result_id(result.camera, result.seq, result.revision),
        "tracker_id": track.id,
        "cause": incident.cause.value,
        "box": _box(track.prediction),
        "zones": list(zones),
        **_details(incident),
    }
    return Delivery(str(record["id"]), result.camera, encoded(record), Kind.EVENT)


def _which(incident: Incident) -> str:
    """What sets an update apart from others of the same track by the same result."""
    if incident.cause in _TYPES:
        return ""
    place = incident.zone or incident.line
    return f"/{incident.cause.value}" + (f"/{place}" if place else "")


def _box(found: Prediction) -> dict[str, float]:
    return {"x": found.x, "y": found.y, "width": found.width, "height": found.height}


def _details(incident: Incident) -> dict[str, Any]:
    """The fields that only some causes have."""
    totals = incident.totals
    given = {
        "zone": incident.zone,
        "inside": incident.inside,
        "dwell_s": None if incident.dwell_s is None else round(incident.dwell_s, 3),
        "line": incident.line,
        "direction": None if incident.direction is None else incident.direction.value,
        "totals": None if totals is None else {way.value: count for way, count in totals.items()},
    }
    return {key: value for key, value in given.items() if value is not None}
