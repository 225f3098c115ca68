"""The agent over a link that gets worse, dies and comes back, with the kernel's own TCP: answers, measures, worth.

What its answers are worth is held against what the simulator says of a link with the same steps.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import pytest
from real.shaped_link import (
    BEHIND,
    DEADLINE_MS,
    FPS,
    PORT,
    REASON,
    SEGMENT_BYTES,
    SERVER_MS,
    Door,
    ShapedLink,
    Site,
    overdue,
    unanswered,
)

from agent.case import LOCAL_WORTH
from agent.simulator.conditions import Camera, Conditions
from agent.simulator.product import Product
from agent.simulator.scenario import BIN_S, LADDER, RTT_STEP_S, Scenario, bytes_per_bin
from agent.simulator.world import Shot, World

pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON), pytest.mark.alone]
PACKET_BYTES = 1500
ANSWERED = 0.999
"""Of the frames, by the deadline and one frame period: at least."""
RETURN_S = 5.0
"""From the link's return until the cloud answers in time again, at most."""
TOLERANCE = 0.15
"""Of what is measured, against what the link was set to."""
UTILITY_TOLERANCE = 0.10
"""Of the mean worth of all answers; an agent that never used the cloud would be off by 14 %."""
LEAD_S, TAIL_S = 10.0, 2.0
"""The simulated link is good for so long before the steps, as the real one is; its camera ends 2 s before the link."""
SEED = 1


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
        """What the link can carry of our bytes: its rate without the packets' headers."""
        return self.rate_bit_s / 1e6 * SEGMENT_BYTES / PACKET_BYTES

    @property
    def tcp_mbit_s(self) -> float:
        """What TCP gets out of it (Mathis et al., CCR 1997: MSS / RTT x 1.22 / sqrt(loss)).

        An upload of some 15 packets has few acknowledgements that could stand in for one that was lost, so a packet
        counts as lost when it is, or its acknowledgement.
        """
        lost = 1 - (1 - self.loss) ** 2
        limit_bit_s = SEGMENT_BYTES * 8 / self.rtt_s * 1.22 / math.sqrt(lost) if lost else math.inf
        return min(self.payload_mbit_s, limit_bit_s / 1e6)


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
        return median(known) if known else math.nan

    def cloud_after_s(self) -> float:
        """How long into the step the first answer of the cloud came in time; infinite where none did."""
        for record in self.records:
            if record["route"]["published"] == "cloud" and not record["route"]["late"]:
                return float(record["captured_monotonic_s"] + record["latency_ms"]["total"] / 1000 - self.begin_s)
        return math.inf

    @property
    def utility(self) -> float:
        """Mean worth of the answers."""
        return fmean(worth(record) for record in self.records)

    def __str__(self) -> str:
        cloud = sum(record["route"]["published"] == "cloud" for record in self.records)
        measured = f"{self.measured('uplink_mbit_s'):6.3f} Mbit/s {self.measured('rtt_ms'):5.1f} ms"
        return (
            f"{self.step.name:<6} {len(self.records):4} answers, cloud {cloud:4}, utility {self.utility:.4f} {measured}"
        )


def worth(record: dict[str, Any]) -> float:
    """Accuracy of an answer as a share of the hosted model's best, 0..1; what came late is worth nothing."""
    route = record["route"]
    if route["late"]:
        return 0.0
    if route["published"] == "local":
        return LOCAL_WORTH
    return float(np.interp(route["size_bytes"], [rung.size_bytes for rung in LADDER], [rung.worth for rung in LADDER]))


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


class Emulated(Conditions):
    """The simulator's chances, except that the server is the emulator: as fast as it was told to be, and warm."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario, SEED, FPS)
        self.load_s = 0.0

    def server_s(self, frame: int, arrived_s: float) -> float:  # noqa: ARG002 - the same for all
        return SERVER_MS / 1000


def scenario(steps: Sequence[Step]) -> Scenario:
    """The simulator's link of the same steps, with a good begin and an end like the last."""
    whole = [Step("lead", LEAD_S), *steps, Step("tail", TAIL_S)]
    ends_s = np.cumsum([step.seconds for step in whole]).tolist()
    return Scenario(
        "the same",
        np.concatenate([np.full(round(step.seconds / BIN_S), bytes_per_bin(step.tcp_mbit_s)) for step in whole]),
        np.concatenate([np.full(round(step.seconds / RTT_STEP_S), step.rtt_s) for step in whole]),
        outages=tuple((end_s - step.seconds, end_s) for step, end_s in zip(whole, ends_s, strict=True) if step.dead),
    )


def predicted(steps: Sequence[Step], *, local_s: float) -> Iterator[float]:
    """Of each step, the mean worth of the answers as the simulator has them. `local_s`: an on-device run takes."""
    camera = Camera(FPS, DEADLINE_MS / 1000, local_s)
    shots: list[Shot] = World(Emulated(scenario(steps)), camera, Product).run().shots
    begin_s = LEAD_S
    for step in steps:
        end_s = begin_s + step.seconds
        yield fmean(shot.worth for shot in shots if begin_s <= shot.captured_s < end_s)
        begin_s = end_s


def local_run_s(records: Sequence[dict[str, Any]]) -> float:
    """Median time of an on-device run."""
    parts = ("preprocess", "inference", "postprocess")
    runs = [record["latency_ms"] for record in records if record["route"]["published"] == "local"]
    return median(sum(run[part] or 0.0 for part in parts) for run in runs) / 1000


@pytest.mark.timeout(150)
def test_over_a_link_that_degrades_dies_and_returns_every_frame_is_answered_in_time_and_worth_what_was_predicted(
    shared: Path, tmp_path: Path
) -> None:
    with ShapedLink(shared, "weather") as link, Door(link, PORT, BEHIND):
        site = Site(link, tmp_path, shared)
        link.set(rate_bit_s=STEPS[0].rate_bit_s, rtt_s=STEPS[0].rtt_s)
        site.start_cloud()
        begun_s = time.monotonic()
        site.start_agent()
        site.wait_for("cloud", 20, since_s=begun_s, limit_s=40)
        good, losing, slow, _, back = lived = tuple(live(site, STEPS))
        site.stop()
    answers = [record for each in lived for record in each.records]
    expected = tuple(predicted(STEPS, local_s=local_run_s(answers)))
    for each, utility in zip(lived, expected, strict=True):
        print(f"{each}, predicted {utility:.4f}")
    complaints = [*measurements(good), *measurements(slow), *measurements(back)]
    assert unanswered(answers) == [], site.log()
    assert len(overdue(answers)) <= (1 - ANSWERED) * len(answers), overdue(answers)
    assert good.utility > LOCAL_WORTH < losing.utility
    assert back.cloud_after_s() <= RETURN_S
    assert not complaints, complaints
    foreseen = float(np.average(expected, weights=[step.seconds for step in STEPS]))
    assert fmean(map(worth, answers)) == pytest.approx(foreseen, rel=UTILITY_TOLERANCE)
