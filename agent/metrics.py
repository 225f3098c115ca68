"""What the agent counts, as Prometheus reads it. The only file that imports prometheus_client.

Nothing is counted here: a scrape reads what the parts count for themselves, so that no frame waits for it. Labels are
cameras, sinks and budgets, which the configuration names, and closed vocabularies. Called by the page's thread.
"""

import platform
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

import agent
from agent.controls import Controls
from agent.courier import Courier
from agent.distribution import BOUNDS_S, Spread
from agent.evidence import LinkView
from agent.flow import Fate
from agent.readiness import Condition, Readiness, Trouble, Watched
from agent.tally import Loss
from agent.telemetry import CameraStatus
from agent.uplink import Uplink

if TYPE_CHECKING:
    from prometheus_client import Metric

PREFIX: Final = "vedette_"
_UNANSWERED: Final = (Fate.OVERWRITTEN, Fate.SKIPPED, Fate.FAILED)
BREAKER: Final = ("closed", "half_open", "open")
"""Requests go; only trials do, for nothing gets through; none do, for the API said no."""
_BUCKETS: Final = tuple(f"{bound:g}" for bound in BOUNDS_S)


class Metrics:
    """The page that Prometheus scrapes."""

    def __init__(self, watched: Watched, readiness: Readiness) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector

        self._watched = watched
        self._readiness = readiness
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(self))
        ProcessCollector(registry=self._registry)

    def page(self, accept: str) -> tuple[bytes, str]:
        """All metrics, and the media type of the text, by what the request accepts."""
        from prometheus_client.exposition import choose_encoder

        encoder, media_type = choose_encoder(accept)
        return encoder(self._registry), media_type

    def families(self) -> Iterator["Metric"]:
        """Every metric with its samples of this moment."""
        watched = self._watched
        cameras = {pipeline.camera: pipeline.telemetry.status() for pipeline in watched.pipelines}
        yield from _of_agent(watched, self._readiness.condition())
        yield from _of_frames(cameras)
        yield from _of_times(cameras)
        yield from _of_machine(watched)
        yield from _of_controls(watched.controls)
        yield from _of_sinks(watched.couriers)
        if watched.uplink is not None:
            yield from _of_cloud(watched.uplink)
            yield from _of_link(watched.uplink.view())


class _Collector:
    """What the registry asks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator["Metric"]:
        return self._metrics.families()


_Labels: TypeAlias = tuple[str, ...]


def _counter(name: str, words: str, labels: _Labels, rows: Iterable[tuple[_Labels, float]]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(PREFIX + name, words, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _gauge(name: str, words: str, labels: _Labels, rows: Iterable[tuple[_Labels, float]]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(PREFIX + name, words, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _histogram(name: str, words: str, labels: _Labels, rows: Iterable[tuple[_Labels, Spread]]) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(PREFIX + name, words, labels=labels)
    for values, spread in rows:
        buckets = list(zip((*_BUCKETS, "+Inf"), map(float, spread.up_to), strict=True))
        family.add_metric(values, buckets, spread.sum_s)
    return family


def _of_agent(watched: Watched, condition: Condition) -> Iterator["Metric"]:
    from prometheus_client.core import InfoMetricFamily

    labels = {"version": agent.__version__, "python": platform.python_version(), "agent": watched.agent}
    yield InfoMetricFamily(PREFIX + "build", "The program, and the agent's name", value=labels)
    yield _gauge("ready", "1 while the agent does its work, as /readyz has it", (), [((), condition.ready)])
    there = {complaint.trouble for complaint in condition.complaints}
    rows = [((trouble.value,), float(trouble in there)) for trouble in Trouble]
    yield _gauge("degraded", "1 while the agent goes on without something that should work", ("reason",), rows)
    pings = [((), float(watched.pings()))]
    yield _counter("watchdog_pings", "How often every loop was found to make progress", (), pings)


def _of_frames(cameras: dict[str, CameraStatus]) -> Iterator["Metric"]:
    one, each = ("camera",), cameras.items()
    yield _gauge("camera_up", "1 while the camera gives pictures", one, [((n,), s.online) for n, s in each])
    again = [((n,), max(0, s.openings - 1)) for n, s in each]
    yield _counter("camera_reconnects", "How often it came back after it was lost", one, again)
    yield _counter("frames_captured", "Pictures that became frames", one, [((n,), s.captured) for n, s in each])
    lost = [((n, fate.value), s.fates.get(fate, 0)) for n, s in each for fate in _UNANSWERED]
    yield _counter("frames_dropped", "Frames without a result, by their fate", ("camera", "reason"), lost)
    held = [((n, why.value), count) for n, s in each for why, count in s.held.items()]
    held += [((n, "unreadable"), s.unreadable) for n, s in each]
    yield _counter("pictures_held", "Pictures that never became frames", ("camera", "reason"), held)
    ways = [((n, route.value, why.value), count) for n, s in each for (route, why), count in s.decisions.items()]
    yield _counter("route_decisions", "Where frames were sent, and why", ("camera", "route", "reason"), ways)
    yield _counter("results_late", "Results after their deadline", one, [((n,), s.late) for n, s in each])
    yield _counter(
        "corrections", "Results that corrected an earlier one", one, [((n,), s.corrections) for n, s in each]
    )


def _of_times(cameras: dict[str, CameraStatus]) -> Iterator["Metric"]:
    each, two = cameras.items(), ("camera", "route")
    runs = [((n, route.value), spread) for n, s in each for route, spread in s.runs.items()]
    yield _histogram("inference_duration_seconds", "From an engine's begin until its answer", two, runs)
    ages = [((n, route.value), spread) for n, s in each for route, spread in s.ages.items()]
    yield _histogram("result_age_seconds", "From the capture of a frame until its answer", two, ages)
    parts = [((n, route.value, part), spread) for n, s in each for (route, part), spread in s.parts.items()]
    yield _histogram("latency_part_seconds", "What the time until an answer went to", (*two, "part"), parts)


def _of_machine(watched: Watched) -> Iterator["Metric"]:
    heat = watched.heat()
    celsius = [((zone,), degrees) for zone, degrees in heat.celsius.items()]
    yield _gauge("soc_temperature_celsius", "Temperature of a thermal zone", ("zone",), celsius)
    throttled = [((reason,), float(holds)) for reason, holds in (heat.throttled or {}).items()]
    yield _gauge("throttled", "1 while the machine is slowed down, as its firmware says", ("reason",), throttled)
    right = [((), float(watched.clock.synchronized()))]
    yield _gauge("clock_synchronized", "1 while the wall clock is known to be right", (), right)


def _of_controls(controls: Controls) -> Iterator["Metric"]:
    wishes = controls.reasons()
    paused = [((w.camera or "", w.by), 1.0) for w in wishes if w.what == "paused"]
    yield _gauge("camera_paused", "1 while the camera is paused, by whom", ("camera", "by"), paused)
    limits = [((w.camera or "", w.by), float(w.value)) for w in wishes if w.what == "most_fps"]
    yield _gauge("camera_fps_limit", "Most frames a second for now, and who wants it", ("camera", "by"), limits)
    steered = [((w.what, str(w.value), w.by), 1.0) for w in wishes if w.what in ("mode", "prefer")]
    yield _gauge("routing_override", "1 while a key of routing has another value", ("key", "value", "by"), steered)
    changes = [((by,), float(count)) for by, count in controls.changes().items()]
    yield _counter("control_changes", "How often each has changed what it wants", ("by",), changes)


def _of_sinks(couriers: Iterable[Courier]) -> Iterator["Metric"]:
    one, each = ("sink",), [(courier, courier.outbox.status()) for courier in couriers]
    yield _gauge("sink_up", "1 while the sink takes results", one, [((c.name,), c.connected) for c, _ in each])
    yield _gauge("outbox_records", "Results that wait", one, [((c.name,), s.waiting) for c, s in each])
    yield _gauge("outbox_bytes", "What they take", one, [((c.name,), s.waiting_bytes) for c, s in each])
    exposed = [((c.name,), s.exposed) for c, s in each]
    yield _gauge("outbox_exposed_records", "Of them, in memory only for too long: a kill would take them", one, exposed)
    lost = [((c.name, why.name.lower()), s.losses.get(why, 0)) for c, s in each for why in Loss]
    yield _counter("outbox_dropped", "Results that gave way unsent", ("sink", "reason"), lost)
    sent = [
        ((c.name, outcome), count)
        for c, s in each
        for outcome, count in (("accepted", s.delivered), ("kept", s.kept), ("rejected", s.rejected))
    ]
    yield _counter("sink_publish", "How deliveries ended at the sink", ("sink", "outcome"), sent)


def _of_cloud(uplink: Uplink) -> Iterator["Metric"]:
    ended = [((outcome,), count) for outcome, count in uplink.outcomes().items()]
    yield _counter("cloud_requests", "Requests with a picture, by how they ended", ("outcome",), ended)
    carried = [(("both",), float(uplink.budget.metered_bytes))]
    yield _counter("cloud_bytes", "On the wire, headers and repetitions included", ("direction",), carried)
    used = [((window,), share) for window, share in uplink.budget.used(uplink.clock.now()).items()]
    yield _gauge("budget_used_ratio", "Share of what may be spent at once that is spent; 1: all", ("window",), used)


def _of_link(view: LinkView) -> Iterator["Metric"]:
    outlook = view.outlook(0)
    known = [] if outlook is None else [outlook]
    yield _gauge("link_rtt_seconds", "Round trip to the hosted API", (), [((), each.rtt_s) for each in known])
    speed = [((), each.uplink_mbit_s * 1e6 / 8) for each in known]
    yield _gauge("link_throughput_bytes_per_second", "How fast uploads are acknowledged", (), speed)
    yield _gauge("link_server_seconds", "What the hosted API takes", (), [((), each.server_s) for each in known])
    state = breaker(view)
    rows = [((name,), float(name == state)) for name in BREAKER]
    yield _gauge("breaker_state", "1 at the state that holds: closed: requests go to the cloud", ("state",), rows)


def breaker(view: LinkView) -> str:
    """Which of BREAKER the way to the cloud is in."""
    closed, half_open, open_ = BREAKER
    if view.closed:
        return open_
    return half_open if view.dead else closed
