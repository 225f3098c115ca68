"""The agent over a link that gets worse, dies and comes back, with the kernel's own TCP: answers, measures, worth."""

import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest
from real.shaped_link import BEHIND, PORT, REASON, SEGMENT_BYTES, Door, ShapedLink, Site, overdue, unanswered

pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)
LOCAL_WORTH = 37.3 / 53.9
WORTH = ((20_000, 0.930), (45_000, 0.980), (90_000, 0.997), (180_000, 1.000))
"""Of a hosted answer, by the bytes that were sent for it."""
PACKET_BYTES = 1500
RETURN_S = 5.0
"""From the link's return until the cloud answers in time again, at most."""
TOLERANCE = 0.15


@dataclass(frozen=True, slots=True)
class Step:
    """What the link is like for a while."""

    name: str
    seconds: float
    rate_bit_s: float = 8e6
    rtt_s: float = 0.060
    loss: float = 0.0
    dead: bool = False

    @property
    def payload_mbit_s(self) -> float:
        """What TCP can carry of our bytes: the link's rate without the packets' headers."""
        return self.rate_bit_s / 1e6 * SEGMENT_BYTES / PACKET_BYTES


STEPS = (
    Step("good", 14),
    Step("losing", 12, loss=0.05),
    Step("slow", 16, rate_bit_s=256e3),
    Step("dead", 20, dead=True),
    Step("back", 12),
)


@dataclass(frozen=True, slots=True)
class Lived:
    """A step as it was: the answers to what was captured in it, in order of capture."""

    step: Step
    begin_s: float
    records: list[dict[str, Any]]

    def measured(self, field: str) -> float:
        """Median of what the router went by in the later half of the step."""
        from_s = self.begin_s + self.step.seconds / 2
        outlooks = [record["route"]["outlook"] for record in self.records if record["captured_monotonic_s"] >= from_s]
        known = [outlook[field] for outlook in outlooks if outlook is not None]
        return median(known) if known else float("nan")

    def cloud_after_s(self) -> float:
        """How long into the step the first answer of the cloud came in time; infinite where none did."""
        for record in self.records:
            if record["route"]["published"] == "cloud" and not record["route"]["late"]:
                return float(record["captured_monotonic_s"] + record["latency_ms"]["total"] / 1000 - self.begin_s)
        return float("inf")

    @property
    def utility(self) -> float:
        """Mean worth of the answers."""
        return fmean(worth(record) for record in self.records)


def worth(record: dict[str, Any]) -> float:
    """Accuracy of an answer as a share of the hosted model's best, 0..1; what came late is worth nothing."""
    route = record["route"]
    if route["late"]:
        return 0.0
    if route["published"] == "local":
        return LOCAL_WORTH
    sizes = [size for size, _ in WORTH]
    place = min(max(bisect(sizes, route["size_bytes"]), 1), len(WORTH) - 1)
    (small, low), (large, high) = WORTH[place - 1 : place + 1]
    share = min(1.0, max(0.0, (route["size_bytes"] - small) / (large - small)))
    return low + share * (high - low)


def live(site: Site, steps: Sequence[Step]) -> Iterator[Lived]:
    """Put the link through `steps`, one after the other; what came of each, when all is over."""
    begins_s = []
    for step in steps:
        begins_s.append(time.monotonic())
        site.link.set(rate_bit_s=step.rate_bit_s, rtt_s=step.rtt_s, loss=step.loss, outage="drop" if step.dead else "")
        time.sleep(step.seconds)
    end_s = time.monotonic()
    site.wait_for("cloud", 1, since_s=end_s)
    ends_s = [*begins_s[1:], end_s]
    records = site.records(begins_s[0])
    for step, begin_s, until_s in zip(steps, begins_s, ends_s, strict=True):
        yield Lived(step, begin_s, [r for r in records if begin_s <= r["captured_monotonic_s"] < until_s])


def measurements(lived: Lived) -> Iterator[str]:
    """What the router took the link for, where that is off by more than the tolerance."""
    expected = {"uplink_mbit_s": lived.step.payload_mbit_s, "rtt_ms": lived.step.rtt_s * 1000}
    for field, truth in expected.items():
        found = lived.measured(field)
        if not abs(found / truth - 1) <= TOLERANCE:
            yield f"{lived.step.name}: {field} was measured as {found:.3f}, and is {truth:.3f}"


@pytest.mark.timeout(150)
def test_over_a_link_that_degrades_dies_and_returns_every_frame_is_answered_in_time(
    shared: Path, tmp_path: Path
) -> None:
    with ShapedLink(shared, "weather") as link, Door(link, PORT, BEHIND):
        site = Site(link, tmp_path, shared)
        link.set(rate_bit_s=STEPS[0].rate_bit_s, rtt_s=STEPS[0].rtt_s)
        site.start_cloud()
        begun_s = time.monotonic()
        site.start_agent()
        site.wait_for("cloud", 20, since_s=begun_s, limit_s=40)
        good, losing, slow, dead, back = lived = tuple(live(site, STEPS))
        site.stop()
    answers = [record for each in lived for record in each.records]
    for each in lived:
        print(
            each.step.name,
            len(each.records),
            "answers, cloud",
            sum(r["route"]["published"] == "cloud" for r in each.records),
            "utility",
            round(each.utility, 4),
            "rate",
            each.measured("uplink_mbit_s"),
            "rtt",
            each.measured("rtt_ms"),
            "missing",
            unanswered(each.records),
            "overdue",
            overdue(each.records),
        )
    print("back after", back.cloud_after_s())
    complaints = [*measurements(good), *measurements(slow), *measurements(back)]
    assert len(unanswered(answers)) <= 0.001 * len(answers), (unanswered(answers), site.log())
    assert len(overdue(answers)) <= 0.001 * len(answers), overdue(answers)
    assert unanswered([*slow.records, *dead.records]) == []
    assert good.utility > LOCAL_WORTH < losing.utility
    assert back.cloud_after_s() <= RETURN_S
    assert not complaints, complaints
