"""Power cuts: what was not synced is dropped, or survives in part, at any disk call of a recorded life.

The processes are recorded while sinks come and go, one of them is killed and another ends well. Then the record is cut
after every call, the medium is rebuilt as it would be (medium.py has the model), and the outbox opens what is left:
what was accepted and not delivered before the cut has to be there, whole, and takes a fresh result.
"""

import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from faults.driven import Scene
from faults.driver import body_of
from faults.medium import Medium, Record, Survival, read_records
from faults.oracle import COMMIT_SLACK_S, Ledger, Obligation, Receipt, Verdict, checksum, judge
from faults.sample import SampleOutbox
from faults.table import Row, World

from agent.clock import SystemClock
from agent.flow import Delivery
from agent.outbox import Limits, Outbox
from agent.store import Store

_FRESH = "faults/cam0/after/0/0"
_SPEED = 10.0
_INTERVAL_S = 1.0 / _SPEED
"""The commit interval, in the machine's seconds."""
_SHM = Path("/dev/shm")  # noqa: S108 - rebuilt media need no medium


def run(world: World, *, lives: int = 5, share: float = 1.0, draws: int = 6) -> Row:
    """Record so many scenes, and cut each at a drawn share of all calls.

    Each cut is rebuilt without what was unsynced, and with `draws` parts of it.
    """
    row = Row("power cuts")
    for number in range(lives):
        draw = random.Random(f"{world.seed}/power/{number}")  # noqa: S311 - not a secret
        scene = Scene(
            world.subfolder(f"power-{number}"), world.drivers, speed=_SPEED, rate_hz=200.0, defect=world.defect
        )
        records = read_records(list(_record(scene, draw)))
        row.notes.append(f"{sum(record.op != 'M' for record in records)} disk calls")
        with tempfile.TemporaryDirectory(dir=_SHM if _SHM.is_dir() else None) as place:
            past = _Past(world, scene, Path(place) / "medium")
            for cut, record in enumerate(records):
                past.add(record)
                if record.op != "M" and draw.random() < share:
                    for survival in _survivals(draws, draw):
                        verdict, faults = past.cut(record, survival)
                        row.add(verdict, faults, f"life {number}, call {cut} ({survival.how}, {survival.seed})")
    return row


def _record(scene: Scene, draw: random.Random) -> Iterator[Path]:
    """A process that is killed at a disk call, one that delivers all and ends, and one more."""
    lives: tuple[dict[str, Any], ...] = ({"act": "kill", "at": draw.randint(150, 250)}, {}, {})
    for number, more in enumerate(lives):
        log = scene.folder / f"record-{number}"
        scene.switch("away", on=True)
        process = scene.start(count=1000 if more else 150, ends=not more, plan=scene.plan(log=log, **more))
        for trouble, pause_s in (("away", 0.6), ("stuck-after", 0.15), ("away", 0.3)):
            process.ended_within(pause_s)
            scene.switch(trouble, on=False)
            process.ended_within(draw.uniform(0.05, 0.2))
            scene.switch({"away": "stuck-after", "stuck-after": "away"}[trouble], on=not process.ended_within(0.0))
        for trouble in ("away", "stuck-after"):
            scene.switch(trouble, on=False)
        scene.note_end(process.end(20) if not more or process.ended_within(2) else process.kill())
        yield log


def _survivals(draws: int, draw: random.Random) -> Iterator[Survival]:
    yield Survival("none")
    for number in range(draws):
        yield Survival(("some", "torn", "all")[number % 3], draw.randrange(1_000_000))


class _Past:
    """What was accepted, delivered and given to the medium so far."""

    def __init__(self, world: World, scene: Scene, place: Path) -> None:
        self._world = world
        self._deaths = scene.deaths
        self._place = place
        self._medium = Medium(scene.state)
        self._ledger = Ledger()
        self._receipts: list[Receipt] = []

    def add(self, record: Record) -> None:
        """One more disk call, or mark."""
        self._medium.apply(record)
        if record.op != "M":
            return
        word, name = record.text.split()
        body = checksum(body_of(name, int(name.split("/")[3])))
        if word == "intend":
            self._ledger.intended[name] = body
        elif word == "put":
            camera = name.split("/")[1]
            self._ledger.obligations.append(Obligation(name, camera, body, record.time_s, record.life))
        else:
            self._receipts.append(Receipt(name, body, record.life))

    def cut(self, last: Record, survival: Survival) -> tuple[Verdict, list[str]]:
        """The power goes after `last`, and comes back: what the outbox makes of it, with what came before."""
        self._place.mkdir()
        self._medium.rebuild(self._place, survival)
        recovered = _recovered(self._world, self._place / "outbox-0.sqlite")
        aside = [f"{path.name} was moved aside" for path in self._place.glob("*damaged*")]
        shutil.rmtree(self._place)
        verdict = self._verdict(recovered, [*self._deaths[: last.life], last.time_s])
        return verdict, aside[:1] + verdict.faults()

    def _verdict(self, recovered: Sequence[Delivery], deaths: Sequence[float | None]) -> Verdict:
        fresh = Obligation(_FRESH, "cam0", checksum(b"fresh"), 0.0, run=99)
        whole = Ledger([*self._ledger.obligations, fresh], {**self._ledger.intended, _FRESH: fresh.checksum})
        found = [Receipt(each.id, checksum(each.body), session=99) for each in recovered]
        window_s, well = _INTERVAL_S + COMMIT_SLACK_S, {life for life, died_s in enumerate(deaths) if died_s is None}
        return judge(whole, [*self._receipts, *found], deaths=deaths, window_s=window_s, ended_well=well)


def _recovered(world: World, path: Path) -> list[Delivery]:
    """All that the outbox hands out, and a fresh result after it."""
    clock = SystemClock()
    outbox: Any = SampleOutbox(path, _INTERVAL_S, clock, world.defect) if world.defect else None
    outbox = outbox or Outbox(Store(path, clock, "later"), Limits(commit_interval_s=_INTERVAL_S), clock)
    outbox.claim()
    outbox.verify()
    found = list(outbox.peek(1_000_000, 0.0))
    outbox.put(Delivery(_FRESH, "cam0", b"fresh"))
    outbox.commit()
    found += outbox.peek(1_000_000, 0.0)[-1:]
    outbox.close()
    return found
