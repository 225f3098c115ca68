"""What the page tells: how everything stands, and a line for each result. JSON values; no state."""

import math
from typing import Any

import agent
from agent.courier import Courier
from agent.flow import Prices, Result
from agent.health import report_of_camera, report_of_controls, report_of_link, report_of_outbox
from agent.metrics import breaker
from agent.pipeline import Pipeline
from agent.readiness import Condition, Watched
from agent.telemetry import parts_of
from agent.uplink import Uplink


def of_condition(condition: Condition) -> dict[str, Any]:
    """The answer of /readyz."""
    return {
        "ready": condition.ready,
        "missing": [*(f"{name} makes no progress" for name in condition.stuck), *condition.missing],
        "degraded": [complaint.words for complaint in condition.complaints],
    }


def of_everything(watched: Watched, condition: Condition, *, uptime_s: float) -> dict[str, Any]:
    """How everything stands; times in milliseconds, as results have them."""
    clock, uplink, heat = watched.clock, watched.uplink, watched.heat()
    return {
        "agent": watched.agent,
        "version": agent.__version__,
        "uptime_s": round(uptime_s),
        "clock_synchronized": clock.synchronized(),
        "condition": of_condition(condition),
        "cameras": {each.camera: _camera(each, clock.now()) for each in watched.pipelines},
        "engines": {
            lane.name: {"open": lane.opened.is_set(), "run_ms": _ms(lane.run_s), "in_flight": lane.in_flight}
            for lane in watched.lanes.values()
        },
        "link": None if uplink is None else _link(uplink, clock.now()),
        "budget": None if uplink is None else _budget(uplink, clock.now()),
        "outboxes": {courier.name: _sink(courier) for courier in watched.couriers},
        "controls": report_of_controls(watched.controls),
        "heat": {"celsius": heat.celsius, "throttled": heat.throttled},
    }


def _camera(pipeline: Pipeline, now_s: float) -> dict[str, Any]:
    status = pipeline.telemetry.status()
    newest = status.newest
    return {
        **report_of_camera(status),
        "resting": pipeline.resting,
        "unreadable": status.unreadable,
        "reconnects": max(0, status.openings - 1),
        "routes": {route.value: count for route, count in status.routes.items()},
        "age_s": None if newest is None else round(max(0.0, now_s - newest.answered_s), 1),
    }


def _link(uplink: Uplink, now_s: float) -> dict[str, Any]:
    view = uplink.link.view(now_s)
    return {
        **report_of_link(uplink, now_s),
        "state": breaker(view),
        "stalled": view.stalled,
        "in_flight": view.in_flight,
        "unacked_bytes": view.unacked_bytes,
        "reason": view.closed_reason.value if view.closed else view.dead_cause.value if view.dead_cause else None,
        "closed_s": round(view.closed_until_s - now_s, 1) if view.closed else None,
        "outcomes": uplink.outcomes(),
        "carried_bytes": uplink.budget.metered_bytes,
    }


def _budget(uplink: Uplink, now_s: float) -> dict[str, Any]:
    prices = uplink.prices() or Prices()
    return {
        "used": {window: round(share, 4) for window, share in uplink.budget.used(now_s).items()},
        "data_left_bytes": _finite(prices.data_left_bytes),
        "credits_left": _finite(prices.credits_left),
    }


def _sink(courier: Courier) -> dict[str, Any]:
    return {**report_of_outbox(courier.outbox), "connected": courier.connected}


def of_result(result: Result) -> dict[str, Any]:
    """One result, as it happens."""
    decision, answer = result.decision, result.answer
    counts = dict[str, int]()
    for found in () if answer is None else answer.predictions:
        counts[found.class_name] = counts.get(found.class_name, 0) + 1
    return {
        "camera": result.camera,
        "seq": result.seq,
        "captured_s": round(result.captured_s, 3),
        "decided": decision.route.value,
        "route": None if result.published is None else result.published.value,
        "reason": decision.reason.value,
        "p": None if decision.p is None else round(decision.p, 3),
        "late": result.late,
        "total_ms": _ms(result.answered_s - result.captured_s),
        "deadline_ms": _ms(decision.deadline_s - result.captured_s),
        "parts_ms": {part: _ms(seconds) for part, seconds in parts_of(result)},
        "size_bytes": None if answer is None else answer.size_bytes,
        "counts": counts,
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity: None is no limit."""
    return value if math.isfinite(value) else None


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
