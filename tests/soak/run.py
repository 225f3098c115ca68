"""One soak: the agent among its surroundings, faults as the timetable has them, a sample every few seconds.

One thread does all of it, so that a sample is never taken while a fault begins or ends.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from faults.oracle import Verdict, judge
from real.broker import free_port, wait_until
from soak import delivery, gauge, timetable
from soak.subject import KEPT_MB, PICTURES_MB, PRODUCT, Subject, is_calm
from soak.surroundings import Surroundings, Viewer
from soak.timetable import Slot, Timetable
from soak.verdict import Line, Sample, Seen

_EVERY_S, _LEAST_EVERY_S = 5.0, 0.5
_SETTLE_S = 2.0
"""After a fault or a viewer has gone, before a sample may count as calm."""
_MB = 2**20
_START_S, _LAST_RESULT_S = 60.0, 40.0
_ASK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done."""

    folder: Path
    total_s: float
    seed: int = 1
    program: Sequence[str] = PRODUCT
    """What stands for `vedette`."""
    tell: Callable[[str], None] = field(default=lambda _: None)
    """Takes a line now and then."""


def soak(plan: Plan) -> Seen:
    """Do it. Raises AssertionError when the agent does not even start."""
    subject = Subject(plan.folder, free_port(), program=plan.program)
    with ExitStack() as stack:
        around = stack.enter_context(Surroundings(plan.folder, subject, seed=plan.seed))
        stack.callback(subject.kill)
        subject.start(**around.places)
        wait_until(lambda: _began(subject), "every camera and sink to be there", limit_s=_START_S)
        watch = Watch(plan, subject, around)
        watch.run()
        return watch.end()


def _began(subject: Subject) -> bool:
    """Asked a few times a second."""
    time.sleep(_ASK_EVERY_S)
    return is_calm(subject.says())


class Watch:
    """Strikes, samples, and sums up."""

    def __init__(self, plan: Plan, subject: Subject, around: Surroundings) -> None:
        self._plan, self._subject, self._around = plan, subject, around
        self._timetable: Timetable = timetable.draw(plan.total_s, around.faults, seed=plan.seed)
        slot = self._timetable.slots[0]
        self._every_s = min(_EVERY_S, max(_LEAST_EVERY_S, (slot.end_s - slot.begin_s) / 6))
        self._samples: list[Sample] = []
        self._counts = delivery.Counts()
        self._begun_s = time.monotonic()
        self._due_s = 0.0

    def run(self) -> None:
        """All slots; ends early when the agent does."""
        for slot in self._timetable.slots:
            mend, viewer = self._strike(slot)
            self._sample_until(slot.over_s, settled_s=slot.end_s)
            mend()
            if viewer is not None:
                viewer.leave()
            self._sample_until(slot.end_s, settled_s=self._now_s() + _SETTLE_S)

    def _strike(self, slot: Slot) -> tuple[Callable[[], object], Viewer | None]:
        viewer = Viewer(self._subject.page, slot.viewer) if slot.viewer else None
        if not slot.fault or not self._subject.alive():
            return (lambda: None), viewer
        self._plan.tell(f"{slot.begin_s:7.0f} s  {slot.fault} for {slot.over_s - slot.begin_s:.0f} s {slot.viewer}")
        return self._around.begin(slot.fault), viewer

    def _now_s(self) -> float:
        return time.monotonic() - self._begun_s

    def _sample_until(self, end_s: float, *, settled_s: float) -> None:
        while self._subject.alive() and self._now_s() < end_s:
            time.sleep(max(0.0, min(self._due_s, end_s) - self._now_s()))
            if self._now_s() >= self._due_s and self._subject.alive():
                self._sample(settled=self._now_s() >= settled_s)
                self._due_s = self._now_s() + self._every_s

    def _sample(self, *, settled: bool) -> None:
        """The process first: asking it takes a connection of its."""
        subject, at_s = self._subject, self._now_s()
        holding, state = gauge.holding(subject.pid, api_port=self._around.api.port), subject.state
        pictures = sum(gauge.size_bytes(folder) for folder in (state / "pictures", state / "vedette" / "kept"))
        kept = gauge.size_bytes(state / "vedette") - gauge.size_bytes(state / "vedette" / "kept")
        said = subject.says()
        if said is not None:
            self._counts.note(said)
        records = subject.results.stat().st_size
        self._samples.append(
            Sample(at_s, settled and is_calm(said), holding, kept / _MB, pictures / _MB, records / _MB)
        )

    def end(self) -> Seen:
        """Stop the agent, wait for the last results, and compare."""
        faults = [] if self._subject.alive() else ["the agent ended before it was asked to"]
        code = self._subject.stop()
        if code:
            faults.append(f"it ended with {code}")
        ledger, twice = delivery.obligations(self._subject.results)
        verdict = self._compare(ledger)
        lost = verdict.faults()
        lost += [f"{len(twice)} twice in the file, the first {twice[0]}"] if twice else []
        in_file = delivery.answered(ledger)
        cameras = sorted(in_file)
        lost += [
            f"{camera}: {missing} answered frames are not in the file"
            for camera in cameras
            if (missing := self._counts.total("done", camera) - in_file[camera]) > 0
        ]
        return Seen(
            timetable=self._timetable,
            samples=self._samples,
            pictures_limit_mb=PICTURES_MB + KEPT_MB,
            lost=lost,
            accepted=verdict.accepted,
            duplicates=verdict.duplicates,
            captured=sum(map(self._counts.total, delivery.FATES)),
            most_under_way=self._counts.most_under_way,
            failed=self._counts.total("failed"),
            faults=faults,
        )

    def _compare(self, ledger: delivery.Ledger) -> Verdict:
        owed, receiver = {each.id for each in ledger.obligations}, self._around.flaps.receiver
        until_s = time.monotonic() + _LAST_RESULT_S
        while not owed <= {each.id for each in receiver.receipts()} and time.monotonic() < until_s:
            time.sleep(1.0)
        return judge(ledger, receiver.receipts())


def as_json(plan: Plan, seen: Seen, lines: Sequence[Line]) -> dict[str, Any]:
    """All of it."""
    return {"seed": plan.seed, "hours": plan.total_s / 3600, "lines": [asdict(line) for line in lines], **asdict(seen)}
