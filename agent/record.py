"""Results and events -> the bytes of their records, as docs/*.schema.json describe them. No state."""

import json
import math
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any
from urllib.parse import quote

from agent.flow import Answer, Delivery, Kind, Outlook, Prices, Result, Route, Timings
from agent.shape import hosted_shape

SCHEMA = "vedette.result/1"
EVENT_SCHEMA = "vedette.event/1"


class EventType(str, Enum):
    """Where in an episode an event stands."""

    NEW = "new"
    UPDATE = "update"
    END = "end"


@dataclass(frozen=True, slots=True)
class Sighting:
    """Objects of one class: how many at once, at most, and the best confidence."""

    count: int
    confidence: float

    def joined(self, other: "Sighting") -> "Sighting":
        """The most of both."""
        return Sighting(max(self.count, other.count), max(self.confidence, other.confidence))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who says so: the agent's name and the boot of its machine."""

    agent: str
    boot_id: str

    def result_id(self, camera: str, seq: int, revision: int) -> str:
        """Unique across restarts, and never derived from the wall clock."""
        return f"{self.agent}/{camera}/{self.boot_id}/{seq}/{revision}"


def delivery_of(result: Result, identity: Identity) -> Delivery:
    """The message that goes to the sinks. Raises ValueError for a failed frame, which has no record."""
    name = identity.result_id(result.camera, result.seq, result.revision)
    return Delivery(name, result.camera, encoded(record_of(result, identity)))


def encoded(record: dict[str, Any]) -> bytes:
    """A record as one line of JSON."""
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def event_of(
    type_: EventType, result: Result, class_name: str, *, first: Result, sighting: Sighting, identity: Identity
) -> Delivery:
    """The message that an episode of `class_name`, which began with the result `first`, has reached `type_`."""
    episode = f"{identity.agent}/{result.camera}/{identity.boot_id}/{first.seq}/{quote(class_name, safe=' ')}"
    record = {
        "schema": EVENT_SCHEMA,
        "id": f"{episode}/{result.seq}/{type_.value}",
        "episode": episode,
        "type": type_.value,
        "agent": identity.agent,
        "camera": result.camera,
        "class": class_name,
        "count": sighting.count,
        "confidence": round(sighting.confidence, 4),
        "began_at": rfc3339(first.captured_wall_s),
        "at": rfc3339(result.captured_wall_s),
        "duration_s": round(result.captured_s - first.captured_s, 3),
        "clock_synchronized": result.clock_synchronized,
        "result": identity.result_id(result.camera, result.seq, result.revision),
    }
    return Delivery(str(record["id"]), result.camera, encoded(record), Kind.EVENT)


def record_of(result: Result, identity: Identity) -> dict[str, Any]:
    """The record's fields, in the order the schema lists them. Raises ValueError for a failed frame."""
    if result.answer is None or result.published is None:
        raise ValueError(f"frame {result.seq} of {result.camera} failed, so it has no record")
    answer = result.answer
    corrected = result.supersedes
    return {
        "schema": SCHEMA,
        "id": identity.result_id(result.camera, result.seq, result.revision),
        "agent": identity.agent,
        "camera": result.camera,
        "boot_id": identity.boot_id,
        "seq": result.seq,
        "revision": result.revision,
        "supersedes": None if corrected is None else identity.result_id(result.camera, result.seq, corrected),
        "captured_at": rfc3339(result.captured_wall_s),
        "captured_monotonic_s": round(result.captured_s, 6),
        "clock_synchronized": result.clock_synchronized,
        "task": answer.task.value,
        "model": answer.model,
        "image": {"width": result.width, "height": result.height},
        **hosted_shape(answer),
        **({} if answer.outputs is None else {"outputs": answer.outputs}),
        "route": _route(result, answer, result.published),
        "latency_ms": _latency_ms(result, answer.timings),
    }


def _route(result: Result, answer: Answer, published: Route) -> dict[str, Any]:
    decision = result.decision
    rung = decision.rung
    return {
        "decided": decision.route.value,
        "published": published.value,
        "reason": decision.reason.value,
        "late": result.late,
        "p": _rounded(decision.p, 3),
        "threshold": _rounded(decision.threshold, 2),
        "deadline_ms": _ms(decision.deadline_s - result.captured_s),
        "size_bytes": answer.size_bytes or (rung.size_bytes if rung else None),
        "quality": answer.quality or (rung.quality if rung else None),
        "engine": answer.engine,
        "hedge": result.hedge.value,
        "outlook": _outlook(decision.outlook),
        "prices": _prices(decision.prices),
    }


def _outlook(outlook: Outlook | None) -> dict[str, Any] | None:
    if outlook is None:
        return None
    return {
        "rtt_ms": _ms(outlook.rtt_s),
        "upload_ms": _ms(outlook.upload_s),
        "server_ms": _ms(outlook.server_s),
        "uplink_mbit_s": round(outlook.uplink_mbit_s, 3),
        "evidence": outlook.evidence,
        "evidence_age_ms": _ms(outlook.evidence_age_s),
    }


def _prices(prices: Prices | None) -> dict[str, Any] | None:
    if prices is None:
        return None
    return {
        "per_mb": _rounded(prices.per_mb, 4),
        "per_call": _rounded(prices.per_call, 4),
        "data_left_mb": _rounded(prices.data_left_bytes / 1e6, 3),
        "credits_left": _rounded(prices.credits_left, 4),
    }


def _latency_ms(result: Result, timings: Timings) -> dict[str, float | None]:
    return {
        "total": _ms(result.answered_s - result.captured_s),
        "queue": None if result.started_s is None else _ms(result.started_s - result.captured_s),
        "preprocess": _ms(timings.preprocess_s),
        "inference": _ms(timings.inference_s),
        "postprocess": _ms(timings.postprocess_s),
        "connect": _ms(timings.connect_s),
        "upload": _ms(timings.upload_s),
        "server": _ms(timings.server_s),
        "processing": _ms(timings.processing_s),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    """None for what is not limited, too: JSON has no infinity."""
    return None if value is None or math.isinf(value) else round(value, digits)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def rfc3339(wall_s: float) -> str:
    """Seconds since the epoch in words: UTC, in milliseconds."""
    return datetime.fromtimestamp(wall_s, tz=timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
