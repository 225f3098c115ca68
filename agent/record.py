"""Result -> the bytes of a `vedette.result/1` record, as docs/result.schema.json describes it. No state."""

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from agent.flow import Answer, Delivery, Prediction, Result, Route, Timings

SCHEMA = "vedette.result/1"


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
    body = json.dumps(record_of(result, identity), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    return Delivery(id=identity.result_id(result.camera, result.seq, result.revision), camera=result.camera, body=body)


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
        "captured_at": _rfc3339(result.captured_wall_s),
        "captured_monotonic_s": round(result.captured_s, 6),
        "clock_synchronized": result.clock_synchronized,
        "task": "object-detection",
        "model": answer.model,
        "image": {"width": result.width, "height": result.height},
        "predictions": [_prediction(found) for found in answer.predictions],
        "route": _route(result, answer, result.published),
        "latency_ms": _latency_ms(result, answer.timings),
    }


def _prediction(found: Prediction) -> dict[str, Any]:
    return {
        "x": found.x,
        "y": found.y,
        "width": found.width,
        "height": found.height,
        "confidence": found.confidence,
        "class": found.class_name,
        "class_id": found.class_id,
    }


def _route(result: Result, answer: Answer, published: Route) -> dict[str, Any]:
    decision = result.decision
    return {
        "decided": decision.route.value,
        "published": published.value,
        "reason": decision.reason.value,
        "late": result.late,
        "p": None if decision.p is None else round(decision.p, 3),
        "size_bytes": answer.size_bytes,
        "quality": answer.quality,
        "engine": answer.engine,
    }


def _latency_ms(result: Result, timings: Timings) -> dict[str, float | None]:
    return {
        "total": _ms(result.answered_s - result.captured_s),
        "queue": None if result.started_s is None else _ms(result.started_s - result.captured_s),
        "preprocess": _ms(timings.preprocess_s),
        "inference": _ms(timings.inference_s),
        "postprocess": _ms(timings.postprocess_s),
        "upload": _ms(timings.upload_s),
        "server": _ms(timings.server_s),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _rfc3339(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, tz=timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
