"""Result -> the bytes of a `vedette.result/1` record, as docs/result.schema.json describes it. No state."""

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from agent.flow import Answer, Delivery, Prediction, Result

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
    """The message that goes to the sinks."""
    body = json.dumps(record_of(result, identity), separators=(",", ":"), ensure_ascii=False).encode()
    return Delivery(id=identity.result_id(result.camera, result.seq, result.revision), camera=result.camera, body=body)


def record_of(result: Result, identity: Identity) -> dict[str, Any]:
    """The record's fields, in the order the schema lists them."""
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
        "model": answer.model if answer else None,
        "image": {"width": result.width, "height": result.height},
        "predictions": [_prediction(found) for found in answer.predictions] if answer else [],
        "route": _route(result, answer),
        "latency_ms": _latency_ms(result, answer),
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


def _route(result: Result, answer: Answer | None) -> dict[str, Any]:
    decision = result.decision
    return {
        "decided": decision.route.value,
        "published": result.published.value if result.published else None,
        "reason": decision.reason.value,
        "late": result.late,
        "p": None if decision.p is None else round(decision.p, 3),
        "size_bytes": answer.size_bytes if answer else None,
        "quality": answer.quality if answer else None,
        "engine": answer.engine if answer else None,
    }


def _latency_ms(result: Result, answer: Answer | None) -> dict[str, float | None]:
    timings = answer.timings if answer else None
    return {
        "total": _ms(result.answered_s - result.captured_s),
        "queue": None if result.started_s is None else _ms(result.started_s - result.captured_s),
        "preprocess": _ms(timings.preprocess_s) if timings else None,
        "inference": _ms(timings.inference_s) if timings else None,
        "postprocess": _ms(timings.postprocess_s) if timings else None,
        "upload": _ms(timings.upload_s) if timings else None,
        "server": _ms(timings.server_s) if timings else None,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _rfc3339(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, tz=timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
