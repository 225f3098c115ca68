"""The metrics: their names, their labels, that they tell what was counted, and that dashboard and alerts use them."""

import json
import re
from pathlib import Path

import pytest
import yaml
from fakes import a_frame
from prometheus_client.parser import text_string_to_metric_families
from unit.test_doubt import a_result
from unit.test_health import Bench

from agent.budget import Budget, Caps
from agent.controls import BY
from agent.distribution import BOUNDS_S, Distribution
from agent.errors import Cause, EngineUnavailable
from agent.flow import Answer, Fate, Reason, Route, Timings
from agent.heat import REASONS, Heat, measured
from agent.metrics import BREAKER, Metrics
from agent.readiness import Readiness, Trouble, Watched
from agent.router import Mode, Prefer
from agent.tally import Loss
from agent.uplink import IN_TIME, LATE, YIELDED

MONITORING = Path(__file__).parents[2] / "config" / "monitoring"
PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
FIELD_NAMES = (
    "frames_captured_total{camera}",
    "frames_dropped_total{camera,reason}",
    "inference_duration_seconds{camera,route}",
    "result_age_seconds{camera,route}",
    "route_decisions_total{camera,reason,route}",
    "cloud_requests_total{outcome}",
    "cloud_bytes_total{direction}",
    "link_rtt_seconds",
    "link_throughput_bytes_per_second",
    "breaker_state{state}",
    "outbox_records{sink}",
    "outbox_bytes{sink}",
    "outbox_dropped_total{reason,sink}",
    "sink_publish_total{outcome,sink}",
    "camera_up{camera}",
    "camera_reconnects_total{camera}",
    "soc_temperature_celsius{zone}",
    "throttled{reason}",
    "clock_synchronized",
    "budget_used_ratio{window}",
    "watchdog_pings_total",
    "build_info{agent,python,version}",
)
"""What operators know from elsewhere; each with its labels."""


class Meter:
    """An agent of one camera whose counters a test moves."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        clock = self.bench.clock
        self.bench.uplink.budget = Budget(
            Caps(data_mb_per_day=100, credits_per_month=1), folder / "caps", clock=clock, boot_id="boot"
        )
        watched = Watched(
            "porch",
            clock,
            [self.bench.camera],
            self.bench.couriers,
            {},
            self.bench.uplink,
            stuck=list,
            trouble=lambda _: None,
            pings=lambda: 7,
            heat=lambda: Heat({"cpu": 51.5}, dict.fromkeys(REASONS, False)),
            controls=self.bench.controls,
        )
        self.metrics = Metrics(watched, Readiness(watched))

    def values(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """By name and label values, without the prefix."""
        text, _ = self.metrics.page("")
        return {
            (each.name.removeprefix("vedette_"), tuple(value for _, value in sorted(each.labels.items()))): each.value
            for family in text_string_to_metric_families(text.decode())
            for each in family.samples
        }

    def labels(self) -> dict[str, tuple[str, ...]]:
        """The labels of each of our metrics that has a sample."""
        text, _ = self.metrics.page("")
        return {
            re.sub("_(bucket|sum|count)$", "", each.name.removeprefix("vedette_")): tuple(
                sorted(set(each.labels) - {"le"})
            )
            for family in text_string_to_metric_families(text.decode())
            for each in family.samples
            if each.name.startswith("vedette_")
        }

    def upload(self) -> None:
        """One request that is answered, so that the link is known."""
        uplink, camera = self.bench.uplink, self.bench.camera
        assert camera._ladder is not None
        load = uplink.begin(a_frame(), camera._ladder.rungs[0], ladder=camera._ladder, due_s=self.bench.clock.now() + 1)
        load.carry(self.bench.clock.now() + 8)
        load.end()


@pytest.fixture
def meter(tmp_path: Path) -> Meter:
    return Meter(tmp_path)


def busy(meter: Meter) -> Meter:
    """One of everything has happened."""
    camera = meter.bench.camera.telemetry
    answer = Answer((), "m", "e", Timings(0.001, 0.02, 0.001))
    for _ in range(2):
        camera.note_online(online=True)
        camera.note_online(online=False)
    camera.note_captured()
    camera.note_dropped(Fate.OVERWRITTEN)
    camera.note_result(a_result(Reason.DEAD, answer, seq=1, at_s=1000.0))
    meter.upload()
    controls = meter.bench.controls
    controls.pause("door", by="remote")
    controls.limit_fps("door", 4.0, by="heat")
    controls.steer(None, Prefer.COST, by="data")
    return meter


def test_the_names_are_those_that_operators_know(meter: Meter) -> None:
    found = {name + (f"{{{','.join(labels)}}}" if labels else "") for name, labels in busy(meter).labels().items()}
    assert set(FIELD_NAMES) <= found


def test_a_scrape_tells_what_was_counted(meter: Meter) -> None:
    values = busy(meter).values()
    assert values["frames_captured_total", ("door",)] == 1
    assert values["frames_dropped_total", ("door", "overwritten")] == 1
    assert values["route_decisions_total", ("door", "dead", "local")] == 1
    assert values["camera_reconnects_total", ("door",)] == 1
    assert values["camera_up", ("door",)] == 0
    assert values["cloud_requests_total", (IN_TIME,)] == 1
    assert values["cloud_bytes_total", ("both",)] == meter.bench.uplink.budget.metered_bytes > 0
    assert values["link_rtt_seconds", ()] == pytest.approx(0.04)
    assert [values["breaker_state", (state,)] for state in BREAKER] == [1, 0, 0]
    assert values["latency_part_seconds_sum", ("door", "inference", "local")] == pytest.approx(0.02)
    assert values["watchdog_pings_total", ()] == 7
    assert values["soc_temperature_celsius", ("cpu",)] == 51.5
    assert values["ready", ()] == 0
    assert values["camera_paused", ("remote", "door")] == 1
    assert values["camera_fps_limit", ("heat", "door")] == 4
    assert values["routing_override", ("data", "prefer", "cost")] == 1
    assert [values["control_changes_total", (by,)] for by in BY] == [1, 1, 1, 0]
    assert values["degraded", ("held_back",)] == 1
    assert 0 < values["budget_used_ratio", ("data_day",)] < 1


def test_a_failed_request_is_counted_by_its_cause_and_a_refused_or_dead_cloud_is_no_closed_breaker(
    meter: Meter,
) -> None:
    meter.bench.uplink.engine.error = EngineUnavailable("nobody", Cause.CONNECT)  # type: ignore[attr-defined]
    with pytest.raises(EngineUnavailable):
        meter.upload()
    values = meter.values()
    assert values["cloud_requests_total", ("connect",)] == 1
    assert [values["breaker_state", (state,)] for state in BREAKER] == [0, 1, 0]


def test_no_label_has_more_values_than_the_configuration_and_closed_vocabularies(meter: Meter) -> None:
    allowed = {
        "camera": {"door"},
        "sink": {"mqtt-1"},
        "route": {route.value for route in Route},
        "window": {"data_day", "credits_month"},
        "state": set(BREAKER),
        "direction": {"both"},
        "by": set(BY),
        "key": {"mode", "prefer"},
        "value": {each.value for vocabulary in (Mode, Prefer) for each in vocabulary},
        "zone": {"cpu"},
        "part": {"queue", *(name.removesuffix("_s") for name in Timings.__dataclass_fields__)},
        "outcome": {IN_TIME, LATE, YIELDED, "accepted", "kept", "rejected", *(cause.value for cause in Cause)},
        "reason": {
            *(each.value for vocabulary in (Reason, Fate, Trouble) for each in vocabulary),
            *(loss.name.lower() for loss in Loss),
            *REASONS,
            *("surplus", "still", "unreadable"),
        },
    }
    text, _ = busy(meter).metrics.page("")
    for family in text_string_to_metric_families(text.decode()):
        for each in family.samples:
            if each.name.startswith("vedette_") and each.name != "vedette_build_info":
                for label, value in each.labels.items():
                    assert label == "le" or value in allowed[label], each


def test_openmetrics_is_spoken_to_who_asks_for_it(meter: Meter) -> None:
    text, media_type = meter.metrics.page("application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_a_distribution_counts_each_time_once_below_its_bound() -> None:
    times = Distribution()
    for seconds in (0.0, BOUNDS_S[0], 0.3, 99.0, -1.0):
        times.note(seconds)
    spread = times.spread()
    assert (spread.up_to[0], spread.up_to[BOUNDS_S.index(0.5)], spread.up_to[-2], spread.up_to[-1]) == (3, 4, 4, 5)
    assert spread.sum_s == pytest.approx(99.305)


# The machine


def zone(folder: Path, number: int, name: str, temp: str) -> None:
    place = folder / "class" / "thermal" / f"thermal_zone{number}"
    place.mkdir(parents=True)
    (place / "type").write_text(name + "\n")
    (place / "temp").write_text(temp + "\n")


def test_temperatures_are_read_where_there_are_any_and_nonsense_is_left_out(tmp_path: Path) -> None:
    for number, (name, temp) in enumerate([("cpu", "51234"), ("x", "40000"), ("x", "41000"), ("pmic", "-256000")]):
        zone(tmp_path, number, name, temp)
    zone(tmp_path, 9, "broken", "")
    assert measured(tmp_path) == Heat({"cpu": 51.234, "x-1": 40.0, "x-2": 41.0}, None)
    assert measured(tmp_path / "nowhere") == Heat({}, None)


def test_what_the_firmware_of_a_raspberry_pi_says_is_told_by_name(tmp_path: Path) -> None:
    place = tmp_path / "devices/platform/soc/soc:firmware"
    place.mkdir(parents=True)
    (place / "get_throttled").write_text("50005\n")
    throttled = measured(tmp_path).throttled
    assert throttled == {
        "under_voltage": True,
        "frequency_capped": False,
        "throttled": True,
        "soft_temperature_limit": False,
    }


# What is made for operators


def used_in(text: str) -> set[str]:
    return {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\bvedette_(\w+)", text)}


def known(meter: Meter) -> set[str]:
    text, _ = busy(meter).metrics.page("")
    found = {family.name.removeprefix("vedette_") for family in text_string_to_metric_families(text.decode())}
    return found | set(meter.labels()) | {name + "_total" for name in found}


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are(meter: Meter) -> None:
    there = known(meter)
    dashboard = (MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8")
    panels = [panel for panel in json.loads(dashboard)["panels"] if panel["type"] != "row"]
    assert len(panels) >= 12
    assert all(panel["targets"] for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
    rules = (MONITORING / "alerts.yml").read_text(encoding="utf-8")
    for text in (dashboard, rules):
        assert used_in(text) - there == set()
        assert len(used_in(text)) >= 8


def test_every_alert_says_how_bad_it_is_and_what_it_means() -> None:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    for rule in rules:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"].keys() >= {"summary", "description"}
        assert rule["for"]
        assert f"`{rule['alert']}`" in PAGE


def test_the_table_in_the_documentation_has_every_metric_with_its_labels(meter: Meter) -> None:
    rows = dict(re.findall(r"^\| `vedette_(\w+)` \| ([^|]*) \|", PAGE, re.MULTILINE))
    labels = {name: tuple(sorted(re.findall(r"`(\w+)`", cells))) for name, cells in rows.items()}
    meter.bench.camera.telemetry.note_unreadable()
    there = busy(meter).labels()
    assert {name: labels.get(name) for name in there} == there
    assert set(rows) - set(there) == set()
